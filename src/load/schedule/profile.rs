//! How the rate goes over time, as people write it: `30s@5k,2m@50k,30s@50k..100k`.
//!
//! ```text
//! profile = segment {"," segment}
//! segment = DURATION "@" shape
//! shape   = RATE                          constant
//!         | RATE ".." RATE                evenly from one rate to another
//!         | "sine:" RATE ".." RATE "/" PERIOD     from the low to the high and back in a period
//!         | "diurnal:" RATE ["/" DAY]     a day of a storefront with this mean, from midnight on;
//!                                         DAY is how long it takes, the whole segment by default
//! RATE    = records per second: 5, 0.5, 5k, 1.5M
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::piece::piece_count;

/// A thousand million a second is beyond any machine; what is larger is a typing error.
const RATE_MAX: f64 = 1e9;
/// 5 MB of pieces. Only swings of a short period over a long time come near.
const PIECES_MAX: f64 = 100_000.0;

#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    segments: Vec<Segment>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Segment {
    pub duration: Duration,
    pub shape: Shape,
}

/// Rates are in records per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    Linear { from: f64, to: f64 },
    Sine { low: f64, high: f64, period: Duration },
    Diurnal { mean: f64, day: Duration },
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct ProfileError(String);

impl Profile {
    pub fn constant(duration: Duration, rate: f64) -> Self {
        Self { segments: vec![Segment { duration, shape: Shape::Linear { from: rate, to: rate } }] }
    }

    /// Constant rates, one after another, each for a step.
    pub fn of_steps(step: Duration, rates: impl Iterator<Item = f64>) -> Self {
        let segment =
            |rate| Segment { duration: step, shape: Shape::Linear { from: rate, to: rate } };
        Self { segments: rates.map(segment).collect() }
    }

    pub fn of_segments(segments: Vec<Segment>) -> Self {
        Self { segments }
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        let segments = text.split(',').map(|part| segment(part.trim()));
        let segments = segments.collect::<Result<Vec<_>, _>>()?;
        if segments.iter().map(piece_count).sum::<f64>() > PIECES_MAX {
            return Err(ProfileError("it has too many swings: make the period longer".into()));
        }
        Ok(Self { segments })
    }
}

fn segment(part: &str) -> Result<Segment, ProfileError> {
    let (length, shape) = part.split_once('@').ok_or_else(|| {
        ProfileError(format!("`{part}`: expected DURATION@RATE, for example 30s@5k"))
    })?;
    let wrong = |why: String| ProfileError(format!("`{part}`: {why}"));
    let duration = duration(length).map_err(wrong)?;
    let shape = shape_of(shape, duration).map_err(wrong)?;
    Ok(Segment { duration, shape })
}

fn shape_of(text: &str, whole: Duration) -> Result<Shape, String> {
    if let Some(swing) = text.strip_prefix("sine:") {
        let (rates, period) = swing.split_once('/').ok_or("expected sine:LOW..HIGH/PERIOD")?;
        let (low, high) = rates.split_once("..").ok_or("expected sine:LOW..HIGH/PERIOD")?;
        let (low, high, period) = (rate(low)?, rate(high)?, duration(period)?);
        return Ok(Shape::Sine { low, high, period });
    }
    if let Some(day) = text.strip_prefix("diurnal:") {
        return Ok(match day.split_once('/') {
            Some((mean, day)) => Shape::Diurnal { mean: rate(mean)?, day: duration(day)? },
            None => Shape::Diurnal { mean: rate(day)?, day: whole },
        });
    }
    Ok(match text.split_once("..") {
        Some((from, to)) => Shape::Linear { from: rate(from)?, to: rate(to)? },
        None => Shape::Linear { from: rate(text)?, to: rate(text)? },
    })
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err(format!("`{text}` is no time at all")),
        Ok(duration) => Ok(duration),
        Err(error) => Err(format!("`{text}` is not a time: {error}")),
    }
}

/// Records per second, with `k` for thousands and `M` for millions.
pub fn rate(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1e3),
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    let rate = number.parse::<f64>().ok().map(|number| number * unit);
    rate.filter(|rate| (0.0..=RATE_MAX).contains(rate))
        .ok_or_else(|| format!("`{text}` is not a rate: expected 5, 0.5, 5k or 1.5M"))
}

fn show_rate(rate: f64) -> String {
    match rate {
        rate if rate >= 1e6 && rate % 1e4 == 0.0 => format!("{}M", rate / 1e6),
        rate if rate >= 1e3 && rate % 10.0 == 0.0 => format!("{}k", rate / 1e3),
        rate => rate.to_string(),
    }
}

fn show_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace(' ', "")
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, segment) in self.segments.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{}@{}", show_duration(segment.duration), segment.shape)?;
        }
        Ok(())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Shape::Linear { from, to } if from == to => write!(f, "{}", show_rate(from)),
            Shape::Linear { from, to } => write!(f, "{}..{}", show_rate(from), show_rate(to)),
            Shape::Sine { low, high, period } => {
                let period = show_duration(period);
                write!(f, "sine:{}..{}/{period}", show_rate(low), show_rate(high))
            }
            Shape::Diurnal { mean, day } => {
                write!(f, "diurnal:{}/{}", show_rate(mean), show_duration(day))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_people_write() {
        let profile: Profile =
            "30s@5k, 2m@0.5,1h30m@50k..1.5M,1m@sine:1k..2k/10s,1d@diurnal:20k".parse().unwrap();
        let seconds = Duration::from_secs;
        let expected = [
            (30, Shape::Linear { from: 5e3, to: 5e3 }),
            (120, Shape::Linear { from: 0.5, to: 0.5 }),
            (5400, Shape::Linear { from: 50e3, to: 1.5e6 }),
            (60, Shape::Sine { low: 1e3, high: 2e3, period: seconds(10) }),
            (86_400, Shape::Diurnal { mean: 20e3, day: seconds(86_400) }),
        ];
        let found: Vec<_> =
            profile.segments().iter().map(|s| (s.duration.as_secs(), s.shape)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_it_prints_it_reads() {
        let text = "30s@5k,2m@1234,1h30m@50k..1.5M,1m@sine:0..2k/10s,1day@diurnal:0.25/1h";
        let profile: Profile = text.parse().unwrap();
        assert_eq!(profile.to_string(), text);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| text.parse::<Profile>().unwrap_err().to_string();
        assert!(error("").contains("expected DURATION@RATE"));
        assert!(error("30s@5k,,").contains("expected DURATION@RATE"));
        assert!(error("30@5k").contains("`30` is not a time"));
        assert!(error("0s@5k").contains("no time at all"));
        assert!(error("30s@fast").contains("`fast` is not a rate"));
        assert!(error("30s@-5").contains("not a rate"));
        assert!(error("30s@5k..").contains("`` is not a rate"));
        assert!(error("30s@2G").contains("not a rate"));
        assert!(error("30s@sine:5..9").contains("LOW..HIGH/PERIOD"));
        assert!(error("1day@sine:5..9/1ms").contains("too many swings"));
        // Letters beyond ASCII are no reason to panic.
        assert!(error("30s@5é").contains("not a rate"));
    }
}
