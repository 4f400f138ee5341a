//! When an event happened: milliseconds, or an RFC 3339 time.

use crate::time::EventTime;

use super::reject::Malformed;

/// 2000-01-01T00:00:00Z, the first accepted time.
pub(super) const MILLIS_MIN: i64 = 946_684_800_000;
/// 2100-01-01T00:00:00Z, the first time beyond. Seconds or microseconds since the epoch,
/// taken for milliseconds, fall outside for any date of our time.
pub(super) const MILLIS_END: i64 = 4_102_444_800_000;

pub(super) fn in_range(millis: i64) -> Result<EventTime, Malformed> {
    if (MILLIS_MIN..MILLIS_END).contains(&millis) {
        Ok(EventTime::from_millis(millis))
    } else {
        Err(Malformed::TimeOutOfRange)
    }
}

/// The token of a JSON integer, or a string of digits. Whatever does not fit is out of range.
pub(super) fn from_integer(digits: &str) -> Result<EventTime, Malformed> {
    in_range(digits.parse().unwrap_or(i64::MAX))
}

/// The token of a JSON number with fraction or exponent: `1.7e12` and `1700000000000.0` are
/// whole numbers, as some serializers write them.
pub(super) fn from_float(number: &str) -> Result<EventTime, Malformed> {
    let millis: f64 = serde_json::from_str(number).map_err(|_| Malformed::InvalidTimestamp)?;
    if millis.fract() != 0.0 {
        return Err(Malformed::InvalidTimestamp);
    }
    // A double beyond the range of i64 becomes its nearest value, which is out of range too.
    in_range(millis as i64)
}

/// A JSON string: decimal digits only, or an RFC 3339 time.
pub(super) fn from_text(text: &str) -> Result<EventTime, Malformed> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return from_integer(text);
    }
    in_range(rfc3339_millis(text.as_bytes()).ok_or(Malformed::InvalidTimestamp)?)
}

/// `2024-05-17T08:30:00.123Z`, also with a lower-case `t` or `z` or a space for the `T`, any
/// number of fractional digits (cut to milliseconds), and an offset `+02:00`. A leap second
/// `:60` is the first second of the next minute. A time without offset is refused, because
/// it does not say when the event happened.
fn rfc3339_millis(text: &[u8]) -> Option<i64> {
    let (date_time, rest) = text.split_at_checked(19)?;
    let number = |from: usize, to: usize| decimal(&date_time[from..to]);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let separators = [4, 7, 10, 13, 16].map(|at| date_time[at]);
    if !matches!(separators, [b'-', b'-', b'T' | b't' | b' ', b':', b':'])
        || !(1..=12).contains(&month)
        || !(1..=days_in_month(year, month)).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    let (fraction_millis, rest) = fraction(rest)?;
    let offset_minutes = offset(rest)?;
    let minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute - offset_minutes;
    Some((minutes * 60 + second) * 1000 + fraction_millis)
}

fn decimal(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value, &byte| {
        byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0'))
    })
}

/// The milliseconds of `.123456`, and what follows; 0 without a point.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(text) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(count);
    let millis = match *digits {
        [] => return None,
        [a] => decimal(&[a, b'0', b'0']),
        [a, b] => decimal(&[a, b, b'0']),
        [a, b, c, ..] => decimal(&[a, b, c]),
    };
    Some((millis?, rest))
}

/// `Z`, or minutes east of Greenwich.
fn offset(text: &[u8]) -> Option<i64> {
    match *text {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (decimal(&[h1, h2])?, decimal(&[m1, m2])?);
            let total = hours * 60 + minutes;
            let valid = hours <= 23 && minutes <= 59;
            valid.then_some(if sign == b'-' { -total } else { total })
        }
        _ => None,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(is_leap(year)),
        _ => 31,
    }
}

/// Days of the Gregorian calendar. Counting years from March puts the leap day last, so that
/// the months before it have fixed starts: 153 days per five months.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> Option<i64> {
        rfc3339_millis(text.as_bytes())
    }

    #[test]
    fn days_agree_with_counting_them_one_by_one() {
        let mut days = 0;
        for year in 1970..2110 {
            for month in 1..=12 {
                for day in 1..=days_in_month(year, month) {
                    assert_eq!(days_since_1970(year, month, day), days, "{year}-{month}-{day}");
                    days += 1;
                }
            }
        }
        assert_eq!(days_since_1970(2100, 1, 1) * 86_400_000, MILLIS_END);
        assert_eq!(days_since_1970(2000, 1, 1) * 86_400_000, MILLIS_MIN);
    }

    #[test]
    fn rfc3339_forms() {
        let base = 1_715_934_600_000;
        for same in [
            "2024-05-17T08:30:00Z",
            "2024-05-17t08:30:00z",
            "2024-05-17 08:30:00.000Z",
            "2024-05-17T08:30:00.0009999999Z",
            "2024-05-17T10:30:00+02:00",
            "2024-05-17T03:00:00-05:30",
            "2024-05-16T23:30:00.000-09:00",
            "2024-05-17T08:29:60Z",
            "2024-05-17T08:30:00-00:00",
        ] {
            assert_eq!(millis(same), Some(base), "{same}");
        }
        let with_millis =
            ["2024-05-17T08:30:00.1Z", "2024-05-17T08:30:00.12Z", "2024-05-17T08:30:00.1239Z"];
        assert_eq!(with_millis.map(|text| millis(text).unwrap() - base), [100, 120, 123]);
        assert_eq!(millis("2024-02-29T00:00:00Z"), Some(1_709_164_800_000));
    }

    #[test]
    fn what_is_not_rfc3339() {
        for wrong in [
            "",
            "2024",
            "2024-05-17",
            "2024-05-17T08:30:00",
            "2024-05-17T08:30:00.Z",
            "2024-05-17T08:30Z",
            "2024-05-17T08:30:00+0200",
            "2024-05-17T08:30:00+24:00",
            "2024-05-17T08:30:00+02:60",
            "2024-05-17T24:00:00Z",
            "2024-05-17T08:60:00Z",
            "2024-05-17T08:30:61Z",
            "2024-13-17T08:30:00Z",
            "2024-00-17T08:30:00Z",
            "2024-05-00T08:30:00Z",
            "2023-02-29T08:30:00Z",
            "2024-05-17T08:30:00ZZ",
            "2024-05-17T08:30:00Z ",
            " 2024-05-17T08:30:00Z",
            "2024/05/17T08:30:00Z",
            "20a4-05-17T08:30:00Z",
            "+024-05-17T08:30:00Z",
            "2024-05-17T08:30:0é",
        ] {
            assert_eq!(millis(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn numbers_and_the_edges_of_the_range() {
        let ok = |millis| Ok(EventTime::from_millis(millis));
        let beyond = Err(Malformed::TimeOutOfRange);
        assert_eq!(from_integer("946684800000"), ok(MILLIS_MIN));
        assert_eq!(from_integer("946684799999"), beyond);
        assert_eq!(from_integer("4102444799999"), ok(MILLIS_END - 1));
        assert_eq!(from_integer("4102444800000"), beyond);
        assert_eq!(from_integer("-1"), beyond);
        assert_eq!(from_integer("99999999999999999999999"), beyond);
        assert_eq!(from_integer("1700000000"), beyond, "seconds");
        assert_eq!(from_float("1.7e12"), ok(1_700_000_000_000));
        assert_eq!(from_float("1700000000000.0"), ok(1_700_000_000_000));
        assert_eq!(from_float("1700000000000.5"), Err(Malformed::InvalidTimestamp));
        assert_eq!(from_float("1e300"), beyond);
        assert_eq!(from_float("-1e300"), beyond);
        assert_eq!(from_text("01700000000000"), ok(1_700_000_000_000));
        assert_eq!(from_text("-1700000000000"), Err(Malformed::InvalidTimestamp));
        assert_eq!(from_text("1999-12-31T23:59:59.999Z"), beyond);
        assert_eq!(from_text("1999-12-31T23:59:59-00:01"), ok(MILLIS_MIN + 59_000));
        assert_eq!(from_text("2099-12-31T23:59:60Z"), beyond);
    }
}
