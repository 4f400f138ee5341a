//! Whether a run may be believed, and what it amounts to.

use serde::{Deserialize, Serialize};

use super::artefacts::latency::Latency;
use super::latency::meter::{Meter, Stage};
use super::report::exit;
use super::run_file::{RunFile, State};

/// More of the records than this handed over too late: the load was not the one that was asked for.
const LATE_SHARE_MAX: f64 = 0.01;
/// More of the measurements than this negative: the clock cannot be trusted.
const NEGATIVE_SHARE_MAX: f64 = 0.0001;

/// Whether the generator held its schedule. One that did not has measured another load than the one
/// that was asked for, and its figures say little about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validity {
    pub valid: bool,
    /// Records that count, i.e. were intended after the warm-up, and those of them that were handed over
    /// more than `max_behind_ms` after their time. One in a hundred may be.
    pub records: u64,
    pub late: u64,
    pub max_behind_ms: f64,
    pub reasons: Vec<String>,
}

impl Validity {
    pub fn of(meter: &Meter, latency: &Latency, max_behind: std::time::Duration) -> Self {
        let (records, late) = meter.held();
        let mut reasons = Vec::new();
        let share = late as f64 / records.max(1) as f64;
        if share > LATE_SHARE_MAX {
            reasons.push(format!(
                "the schedule was not held: {:.1}% of the records were handed over more than {} late",
                share * 100.0,
                humantime::format_duration(max_behind)
            ));
        }
        if records == 0 {
            reasons.push("no record was due after the warm-up".to_owned());
        }
        for stage in Stage::ALL {
            let Some(clock) = latency.clock(stage) else { continue };
            let samples = clock.corrected.samples;
            if clock.negative as f64 > NEGATIVE_SHARE_MAX * samples as f64 {
                let negative = clock.negative;
                reasons.push(format!(
                    "{negative} of {samples} latencies of `{}` were negative: the clock went back",
                    stage.name()
                ));
            }
        }
        let max_behind_ms = max_behind.as_secs_f64() * 1000.0;
        Self { valid: reasons.is_empty(), records, late, max_behind_ms, reasons }
    }
}

/// What a run amounts to: the first of these that is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Interrupted,
    Invalid,
    Mismatch,
    Threshold,
    Good,
}

impl Verdict {
    pub fn of(run: &RunFile) -> Self {
        if run.state == State::Interrupted {
            Verdict::Interrupted
        } else if run.validity.as_ref().is_some_and(|validity| !validity.valid) {
            Verdict::Invalid
        } else if run.verify.as_ref().is_some_and(|report| !report.equal) {
            Verdict::Mismatch
        } else if run.thresholds.iter().any(|judged| !judged.holds) {
            Verdict::Threshold
        } else {
            Verdict::Good
        }
    }

    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Interrupted => exit::INTERRUPTED,
            Verdict::Invalid => exit::INVALID,
            Verdict::Mismatch => exit::DIFFERENT,
            Verdict::Threshold => exit::THRESHOLD,
            Verdict::Good => exit::GOOD,
        }
    }
}
