//! Times: text to milliseconds since 1970.

use chrono::format::{Item, Parsed, StrftimeItems, parse};
use chrono::{DateTime, FixedOffset, NaiveTime};

use super::{Result, unmapped};

pub const FORMATS: &str =
    "epoch_s, epoch_ms, rfc3339 or a pattern such as \"%Y-%m-%d %H:%M:%S\" (of strftime)";
/// 2000-01-01 up to 2100-01-01, as docs/EVENTS.md demands.
pub const TIMES_MS: std::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;

#[derive(Clone, Debug)]
pub enum TimeFormat {
    EpochSeconds,
    EpochMillis,
    Rfc3339,
    Pattern { items: Vec<Item<'static>>, zone: FixedOffset },
}

impl TimeFormat {
    /// `zone` is where times without an offset are meant, UTC by default.
    pub fn new(name: &str, zone: Option<&str>) -> std::result::Result<Self, String> {
        if !name.contains('%') && zone.is_some() {
            return Err(format!("`{name}`, which needs no zone"));
        }
        match name {
            "epoch_s" => Ok(TimeFormat::EpochSeconds),
            "epoch_ms" => Ok(TimeFormat::EpochMillis),
            "rfc3339" => Ok(TimeFormat::Rfc3339),
            pattern if pattern.contains('%') => {
                let items = StrftimeItems::new(pattern).parse_to_owned();
                let items = items.map_err(|_| format!("`{name}`: expected {FORMATS}"))?;
                let zone = zone.unwrap_or("+00:00");
                let zone = zone.parse::<FixedOffset>();
                let zone =
                    zone.map_err(|_| format!("`{name}` with a zone that is not like +08:00"))?;
                Ok(TimeFormat::Pattern { items, zone })
            }
            _ => Err(format!("`{name}`: expected {FORMATS}")),
        }
    }

    pub fn millis(&self, text: &str) -> Result<i64> {
        let time = match self {
            TimeFormat::EpochSeconds => {
                text.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1000))
            }
            TimeFormat::EpochMillis => text.parse().ok(),
            TimeFormat::Rfc3339 => rfc3339_ms(text),
            TimeFormat::Pattern { items, zone } => by_pattern(text, items, *zone),
        };
        match time {
            Some(time) if TIMES_MS.contains(&time) => Ok(time),
            Some(_) => {
                unmapped("time_out_of_range", format!("the time is {text:?}: not in 2000 to 2099"))
            }
            None => unmapped("unreadable_time", format!("the time is {text:?}")),
        }
    }
}

pub fn rfc3339_ms(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
}

fn by_pattern(text: &str, items: &[Item<'static>], zone: FixedOffset) -> Option<i64> {
    let mut parsed = Parsed::new();
    parse(&mut parsed, text, items.iter()).ok()?;
    if let Ok(time) = parsed.to_datetime() {
        return Some(time.timestamp_millis());
    }
    // A pattern of a date alone means its midnight, one that ends with the hour its beginning.
    let has_hour = parsed.hour_mod_12().is_some();
    if has_hour && parsed.minute().is_none() {
        parsed.set_minute(0).ok()?;
    }
    let time = if has_hour { parsed.to_naive_time().ok()? } else { NaiveTime::MIN };
    let local = parsed.to_naive_date().ok()?.and_time(time);
    Some(local.and_local_timezone(zone).single()?.timestamp_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_the_public_layouts() {
        let millis = |format: &str, zone: Option<&str>, text: &str| {
            TimeFormat::new(format, zone).unwrap().millis(text).map_err(|error| error.reason)
        };
        assert_eq!(millis("epoch_s", None, "1511544070"), Ok(1_511_544_070_000));
        assert_eq!(millis("epoch_ms", None, "1433221332117"), Ok(1_433_221_332_117));
        let rees46 = "%Y-%m-%d %H:%M:%S UTC";
        assert_eq!(millis(rees46, None, "2019-10-01 00:00:00 UTC"), Ok(1_569_888_000_000));
        let olist = "%Y-%m-%d %H:%M:%S";
        assert_eq!(millis(olist, None, "2017-10-02 10:56:33"), Ok(1_506_941_793_000));
        assert_eq!(millis(olist, Some("-03:00"), "2017-10-02 10:56:33"), Ok(1_506_952_593_000));
        assert_eq!(millis("%d.%m.%Y", None, "01.10.2019"), Ok(1_569_888_000_000));
        assert_eq!(millis("%d.%m.%Y %Hh", None, "01.10.2019 02h"), Ok(1_569_895_200_000));
        assert_eq!(
            millis("%Y-%m-%dT%H:%M:%S%z", None, "2019-10-01T02:00:00+0200"),
            Ok(1_569_888_000_000)
        );
        assert_eq!(millis("rfc3339", None, "2019-10-01T00:00:00.5Z"), Ok(1_569_888_000_500));
        assert_eq!(millis(rees46, None, "2019-10-01 00:00:00"), Err("unreadable_time"));
        assert_eq!(millis("epoch_s", None, "1511544070000"), Err("time_out_of_range"));
        assert_eq!(millis("epoch_s", None, "9223372036854775807"), Err("unreadable_time"));
        assert_eq!(millis("epoch_ms", None, ""), Err("unreadable_time"));
    }

    #[test]
    fn formats_that_are_none_are_refused() {
        for (format, zone) in
            [("iso", None), ("%Q", None), ("%Y", Some("Berlin")), ("epoch_s", Some("+01:00"))]
        {
            assert!(TimeFormat::new(format, zone).is_err(), "{format}");
        }
    }
}
