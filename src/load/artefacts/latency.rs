//! Distributions as `run.json` and `timeline.jsonl` state them: percentiles with the number of
//! measurements behind them, in milliseconds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::latency::meter::{Meter, Stage};
use crate::load::latency::recorder::Micros;

/// A percentile needs ten measurements beyond it; with fewer it is one or two unlucky records.
const BEYOND_MIN: f64 = 10.0;

/// Measurements that have to stand behind a quantile.
pub fn samples_needed(quantile: f64) -> u64 {
    (BEYOND_MIN / (1.0 - quantile)).round() as u64
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Measurements; each may stand for several records.
    pub samples: u64,
    pub mean_ms: f64,
    /// `null` where there are too few measurements to say.
    pub p50_ms: Option<f64>,
    pub p90_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub p99_9_ms: Option<f64>,
    pub p99_99_ms: Option<f64>,
    pub max_ms: f64,
}

impl Distribution {
    /// Of a histogram that `samples` measurements were taken for.
    pub fn of(histogram: &Micros, samples: u64) -> Self {
        let percentile = |quantile: f64| {
            (samples >= samples_needed(quantile))
                .then(|| millis(histogram.value_at_quantile(quantile)))
        };
        Self {
            samples,
            mean_ms: if histogram.is_empty() { 0.0 } else { round(histogram.mean() / 1000.0) },
            p50_ms: percentile(0.5),
            p90_ms: percentile(0.9),
            p99_ms: percentile(0.99),
            p99_9_ms: percentile(0.999),
            p99_99_ms: percentile(0.9999),
            max_ms: millis(histogram.max()),
        }
    }

    /// In the order in which they are shown.
    pub fn percentiles(&self) -> [(&'static str, Option<f64>); 5] {
        [
            ("p50", self.p50_ms),
            ("p90", self.p90_ms),
            ("p99", self.p99_ms),
            ("p99.9", self.p99_9_ms),
            ("p99.99", self.p99_99_ms),
        ]
    }
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

/// One clock. See [`crate::load::latency`] for what is measured from when to when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClockResult {
    /// From the intended time.
    pub corrected: Distribution,
    /// From the time of sending; the schedule's own clock has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uncorrected: Option<Distribution>,
    /// Measurements that said that the effect came before the cause.
    pub negative: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VisibleResult {
    #[serde(flatten)]
    pub clock: ClockResult,
    /// Records that were not visible when the run stopped waiting. They enter the distributions with
    /// the time that they had waited by then.
    pub missing: u64,
    /// One record in so many was measured at the end; 1: every one.
    pub one_in: u64,
    /// How often the offset vector was read: the resolution of the figures.
    pub poll_ms: f64,
    /// The window whose vector it was; absent: whichever was furthest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Records intended before this count nowhere here.
    pub warmup_seconds: f64,
    pub schedule: ClockResult,
    pub ack: ClockResult,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visible: Option<VisibleResult>,
}

impl Latency {
    /// What the meter has up to the end of its last interval. How visibility was watched is not known
    /// here.
    pub fn of(meter: &Meter, warmup: Duration) -> Self {
        let visible = meter.pending().map(|pending| (pending.missing(), pending.one_in()));
        let visible = visible.map(|(missing, one_in)| VisibleResult {
            clock: ClockResult::of(meter, Stage::Visible),
            missing,
            one_in,
            ..VisibleResult::default()
        });
        Self {
            warmup_seconds: warmup.as_secs_f64(),
            schedule: ClockResult::of(meter, Stage::Schedule),
            ack: ClockResult::of(meter, Stage::Ack),
            visible,
        }
    }

    pub fn clock(&self, stage: Stage) -> Option<&ClockResult> {
        match stage {
            Stage::Schedule => Some(&self.schedule),
            Stage::Ack => Some(&self.ack),
            Stage::Visible => self.visible.as_ref().map(|visible| &visible.clock),
        }
    }
}

impl ClockResult {
    /// What the meter has up to the end of its last interval.
    pub fn of(meter: &Meter, stage: Stage) -> Self {
        let recorder = meter.recorder(stage);
        let (total, samples) = (recorder.total(), recorder.samples());
        let uncorrected = Distribution::of(&total.uncorrected, samples);
        Self {
            corrected: Distribution::of(&total.corrected, samples),
            uncorrected: (stage != Stage::Schedule).then_some(uncorrected),
            negative: recorder.negative(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::latency::recorder::empty;

    #[test]
    fn a_percentile_needs_ten_beyond_it() {
        let mut histogram = empty();
        (1..=1000).for_each(|ms| histogram.saturating_record(ms * 1000));
        let found = Distribution::of(&histogram, 1000);
        assert_eq!(found.samples, 1000);
        assert!((found.p50_ms.unwrap() - 500.0).abs() < 1.0);
        assert!((found.p99_ms.unwrap() - 990.0).abs() < 1.0);
        assert_eq!((found.p99_9_ms, found.p99_99_ms), (None, None));
        assert!((found.mean_ms - 500.5).abs() < 1.0 && (found.max_ms - 1000.0).abs() < 1.0);
        assert_eq!(Distribution::of(&empty(), 0), Distribution::default());
    }
}
