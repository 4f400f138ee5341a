//! Times written as text, for the oracle: RFC 3339 and nothing else.

/// Milliseconds since the epoch; parts of a millisecond are cut off. `None`: not RFC 3339.
pub fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 20 || !text.is_ascii() {
        return None;
    }
    let separators = [(4, b"-"), (7, b"-"), (13, b":"), (16, b":")];
    if separators.iter().any(|&(at, separator)| bytes[at] != separator[0])
        || !matches!(bytes[10], b'T' | b't' | b' ')
    {
        return None;
    }
    let year = digits(&text[0..4])?;
    let month = digits(&text[5..7]).filter(|month| (1..=12).contains(month))?;
    let day = digits(&text[8..10]).filter(|day| (1..=days_in(year, month)).contains(day))?;
    let hour = digits(&text[11..13]).filter(|hour| *hour < 24)?;
    let minute = digits(&text[14..16]).filter(|minute| *minute < 60)?;
    // 60 is a leap second.
    let second = digits(&text[17..19]).filter(|second| *second <= 60)?;

    let mut rest = &text[19..];
    let mut millis = 0;
    if let Some(after) = rest.strip_prefix('.') {
        let count = after.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return None;
        }
        let padded = format!("{}000", &after[..count]);
        millis = digits(&padded[..3])?;
        rest = &after[count..];
    }
    let offset_minutes = match rest.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let hours = digits(&rest[1..3]).filter(|hours| *hours < 24)?;
            let minutes = digits(&rest[4..6]).filter(|minutes| *minutes < 60)?;
            let offset = hours * 60 + minutes;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let days = days_before(year) + (1..month).map(|m| days_in(year, m)).sum::<i64>() + day - 1;
    let minutes = (days * 24 + hour) * 60 + minute - offset_minutes;
    Some((minutes * 60 + second) * 1000 + millis)
}

fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first of January of this year.
fn days_before(year: i64) -> i64 {
    let days_of = |year| 365 + i64::from(is_leap(year));
    if year >= 1970 {
        (1970..year).map(days_of).sum()
    } else {
        -(year..1970).map(days_of).sum::<i64>()
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn times_are_read() {
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse("1970-01-01T03:00:00.5+03:00"), Some(500));
        assert_eq!(parse("2000-02-29T00:00:00.123456Z"), Some(951_782_400_123));
        assert_eq!(parse("2024-12-31 23:59:59.999z"), Some(1_735_689_599_999));
        assert_eq!(parse("1969-12-31T23:59:59Z"), Some(-1000));
    }

    #[test]
    fn other_texts_are_not() {
        for text in [
            "",
            "yesterday",
            "2024-12-31",
            "2024-12-31T23:59:59",
            "2024-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-12-31T24:00:00Z",
            "2024-12-31T23:59:59.Z",
            "2024-12-31T23:59:59+3:00",
            "2024-12-31T23:59:59Zx",
            "+024-12-31T23:59:59Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
