//! What a run is held to: `visible.p99<2s`.
//!
//! ```text
//! threshold = metric op value
//! metric    = clock ["." "uncorrected"] "." stat      visible.p99, ack.uncorrected.max
//!           | "rate"                                  records handed over per second
//!           | "visible.missing"                       records that did not become visible in time
//!           | "verify.mismatch"                       differences that the verification found
//! clock     = "schedule" | "ack" | "visible"
//! stat      = "p50" | "p90" | "p99" | "p99.9" | "p99.99" | "max" | "mean" | "samples"
//! op        = "<" | "<=" | ">" | ">=" | "==" | "!="
//! value     = a duration for latencies (2s, 50ms); else a number, with k or M (50k)
//! ```
//!
//! A percentile that too few records stand behind is unknown, and what is unknown does not hold.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::artefacts::latency::{Distribution, Latency, samples_needed};
use super::latency::meter::Stage;
use super::schedule::profile::rate;

#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    metric: Metric,
    op: Op,
    /// Milliseconds or a number.
    value: f64,
    /// As it was written.
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    Latency { stage: Stage, corrected: bool, stat: Stat },
    Rate,
    Missing,
    Mismatch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stat {
    Percentile(&'static str),
    Max,
    Mean,
    Samples,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
    Unequal,
}

/// Longer ones first: `<` begins `<=`.
const OPS: [(&str, Op); 6] = [
    ("<=", Op::AtMost),
    (">=", Op::AtLeast),
    ("==", Op::Equal),
    ("!=", Op::Unequal),
    ("<", Op::Below),
    (">", Op::Above),
];

/// A latency, and what it is held to: a line in a chart of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    pub stage: Stage,
    pub corrected: bool,
    /// As in the name of the metric: `p99`, `max`.
    pub stat: &'static str,
    pub ms: f64,
}

/// What thresholds are judged by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures<'a> {
    pub latency: Option<&'a Latency>,
    pub records_per_second: Option<f64>,
    pub differences: Option<u64>,
}

/// A threshold that was judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    pub threshold: String,
    /// Milliseconds or a number; `null`: unknown.
    pub value: Option<f64>,
    pub holds: bool,
    /// The value for people.
    pub shown: String,
}

impl Threshold {
    pub fn judge(&self, figures: &Figures<'_>) -> Judged {
        let value = self.metric.value(figures);
        let shown = match (value, self.metric.is_duration()) {
            (None, _) => "unknown: too few records stand behind it".to_owned(),
            (Some(value), true) => format!("{value}ms"),
            (Some(value), false) => value.to_string(),
        };
        let holds = value.is_some_and(|value| self.op.holds(value, self.value));
        Judged { threshold: self.text.clone(), value, holds, shown }
    }

    /// `None` if it is not about how long something takes.
    pub fn bound(&self) -> Option<Bound> {
        let Metric::Latency { stage, corrected, stat } = self.metric else { return None };
        let stat = match stat {
            Stat::Percentile(name) => name,
            Stat::Max => "max",
            Stat::Mean => "mean",
            Stat::Samples => return None,
        };
        Some(Bound { stage, corrected, stat, ms: self.value })
    }

    /// Whether a run that misses it may be ended before its time: a latency that is too high is
    /// known at once, while a number of samples has to grow first.
    pub fn can_abort(&self) -> bool {
        let is_latency = self.metric.is_duration();
        is_latency && matches!(self.op, Op::Below | Op::AtMost)
    }

    /// Measurements without which it is unknown.
    pub fn samples_needed(&self) -> u64 {
        match self.metric {
            Metric::Latency { stat: Stat::Percentile(name), .. } => {
                let percentile = name.trim_start_matches('p').parse().unwrap_or(0.0);
                samples_needed(percentile / 100.0)
            }
            _ => 1,
        }
    }

    pub fn needs_visibility(&self) -> bool {
        matches!(self.metric, Metric::Missing | Metric::Latency { stage: Stage::Visible, .. })
    }

    pub fn needs_verification(&self) -> bool {
        self.metric == Metric::Mismatch
    }

    pub fn needs_schedule(&self) -> bool {
        matches!(self.metric, Metric::Missing | Metric::Latency { .. })
    }
}

impl Metric {
    fn parse(text: &str) -> Option<Self> {
        let whole = match text {
            "rate" => Some(Metric::Rate),
            "visible.missing" => Some(Metric::Missing),
            "verify.mismatch" => Some(Metric::Mismatch),
            _ => None,
        };
        if whole.is_some() {
            return whole;
        }
        let (stage, stat) = text.split_once('.')?;
        let stage = Stage::ALL.into_iter().find(|one| one.name() == stage)?;
        let (corrected, stat) = match stat.strip_prefix("uncorrected.") {
            Some(stat) if stage != Stage::Schedule => (false, stat),
            _ => (true, stat),
        };
        let percentiles = Distribution::default().percentiles().map(|(name, _)| name);
        let stat = match stat {
            "max" => Stat::Max,
            "mean" => Stat::Mean,
            "samples" => Stat::Samples,
            name => Stat::Percentile(percentiles.into_iter().find(|&one| one == name)?),
        };
        Some(Metric::Latency { stage, corrected, stat })
    }

    fn is_duration(self) -> bool {
        matches!(self, Metric::Latency { stat, .. } if stat != Stat::Samples)
    }

    fn value(self, figures: &Figures<'_>) -> Option<f64> {
        match self {
            Metric::Rate => figures.records_per_second,
            Metric::Mismatch => figures.differences.map(|count| count as f64),
            Metric::Missing => Some(figures.latency?.visible.as_ref()?.missing as f64),
            Metric::Latency { stage, corrected, stat } => {
                let clock = figures.latency?.clock(stage)?;
                let distribution =
                    if corrected { &clock.corrected } else { clock.uncorrected.as_ref()? };
                match stat {
                    Stat::Samples => Some(distribution.samples as f64),
                    _ if distribution.samples == 0 => None,
                    Stat::Max => Some(distribution.max_ms),
                    Stat::Mean => Some(distribution.mean_ms),
                    Stat::Percentile(wanted) => {
                        let percentiles = distribution.percentiles();
                        percentiles.into_iter().find(|(name, _)| *name == wanted)?.1
                    }
                }
            }
        }
    }
}

impl Op {
    #[allow(clippy::float_cmp, reason = "what is compared exactly are counts")]
    fn holds(self, found: f64, wanted: f64) -> bool {
        match self {
            Op::Below => found < wanted,
            Op::AtMost => found <= wanted,
            Op::Above => found > wanted,
            Op::AtLeast => found >= wanted,
            Op::Equal => found == wanted,
            Op::Unequal => found != wanted,
        }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "expected METRIC OP VALUE, for example visible.p99<2s";
        let found = OPS.iter().filter_map(|(sign, op)| Some((text.find(sign)?, sign, *op)));
        // The first sign in the text; of two that begin there, the longer one, which comes first.
        let (at, sign, op) = found.min_by_key(|(at, ..)| *at).ok_or(example)?;
        let (name, value) = (text[..at].trim(), text[at + sign.len()..].trim());
        let metric = Metric::parse(name).ok_or_else(|| {
            format!(
                "unknown metric `{name}`: expected schedule, ack or visible, with .p50, .p90, .p99, .p99.9, \
                 .p99.99, .max, .mean or .samples, for example visible.p99; or rate, visible.missing, verify.mismatch"
            )
        })?;
        let value = if metric.is_duration() {
            let duration = humantime::parse_duration(value)
                .map_err(|error| format!("`{value}` is not a time: {error}"))?;
            duration.as_secs_f64() * 1000.0
        } else {
            rate(value).map_err(|_| format!("`{value}` is not a number"))?
        };
        let text = format!("{name}{sign}{}", text[at + sign.len()..].trim());
        Ok(Self { metric, op, value, text })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::artefacts::latency::{ClockResult, VisibleResult};

    fn latency() -> Latency {
        let corrected = Distribution {
            samples: 5_000,
            mean_ms: 20.0,
            p99_ms: Some(812.0),
            max_ms: 900.0,
            ..Distribution::default()
        };
        let uncorrected = Distribution { p99_ms: Some(3.0), ..corrected };
        let clock = ClockResult { corrected, uncorrected: Some(uncorrected), negative: 0 };
        let visible = VisibleResult { clock: clock.clone(), missing: 2, ..Default::default() };
        Latency { schedule: clock.clone(), ack: clock, visible: Some(visible), warmup_seconds: 0.0 }
    }

    fn judge(threshold: &str) -> (bool, Option<f64>) {
        let latency = latency();
        let figures = Figures {
            latency: Some(&latency),
            records_per_second: Some(49_990.0),
            differences: Some(0),
        };
        let judged = threshold.parse::<Threshold>().unwrap().judge(&figures);
        (judged.holds, judged.value)
    }

    #[test]
    fn thresholds_are_judged_by_their_metric() {
        assert_eq!(judge("visible.p99<2s"), (true, Some(812.0)));
        assert_eq!(judge("visible.p99 < 812ms"), (false, Some(812.0)));
        assert_eq!(judge("visible.p99<=812ms"), (true, Some(812.0)));
        assert_eq!(judge("ack.uncorrected.p99<5ms"), (true, Some(3.0)));
        assert_eq!(judge("schedule.max>=1s"), (false, Some(900.0)));
        assert_eq!(judge("ack.samples>=5k"), (true, Some(5_000.0)));
        assert_eq!(judge("rate>49.9k"), (true, Some(49_990.0)));
        assert_eq!(judge("verify.mismatch==0"), (true, Some(0.0)));
        assert_eq!(judge("visible.missing!=2"), (false, Some(2.0)));
    }

    #[test]
    fn what_is_unknown_does_not_hold() {
        assert_eq!(judge("visible.p99.99<1h"), (false, None));
        let nothing = "ack.p99<2s".parse::<Threshold>().unwrap().judge(&Figures::default());
        assert!(!nothing.holds && nothing.shown.starts_with("unknown"));
    }

    #[test]
    fn percentiles_say_what_they_need() {
        let needed = |text: &str| text.parse::<Threshold>().unwrap().samples_needed();
        assert_eq!(["ack.p50<1s", "ack.p99<1s", "ack.p99.99<1s"].map(needed), [20, 1000, 100_000]);
        assert_eq!(needed("ack.max<1s"), 1);
    }

    #[test]
    fn latencies_have_bounds_and_counts_have_none() {
        let bound = |text: &str| text.parse::<Threshold>().unwrap().bound();
        let stage = Stage::Visible;
        assert_eq!(
            bound("visible.p99.9<2s"),
            Some(Bound { stage, corrected: true, stat: "p99.9", ms: 2000.0 })
        );
        assert!(bound("ack.uncorrected.max<5ms").is_some_and(|bound| !bound.corrected));
        assert_eq!(["rate>5", "visible.missing==0", "ack.samples>5"].map(bound), [None; 3]);
    }

    #[test]
    fn only_a_latency_that_is_too_high_ends_a_run_early() {
        let can = |text: &str| text.parse::<Threshold>().unwrap().can_abort();
        assert!(can("visible.p99<2s") && can("ack.max<=1s"));
        assert!(!can("visible.p99>2s") && !can("ack.samples<9") && !can("rate<5"));
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| text.parse::<Threshold>().unwrap_err();
        assert!(error("visible.p99").contains("METRIC OP VALUE"));
        assert!(error("visible.p98<2s").contains("unknown metric `visible.p98`"));
        assert!(error("p99<2s").contains("unknown metric `p99`"));
        assert!(error("schedule.uncorrected.p99<2s").contains("unknown metric"));
        assert!(error("visible.p99<2").contains("`2` is not a time"));
        assert!(error("rate>fast").contains("`fast` is not a number"));
    }
}
