//! What checkpoints cost, how old the last one is, and what a restart took from it.

use std::sync::Arc;

use prometheus::{IntCounter, IntGauge};

use super::Define;
use super::histogram::Histogram;
use super::series::Timestamp;

/// From a few changed panes to a state that fills its bound.
const SECONDS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

const OUTCOMES: [&str; 2] = ["stored", "failed"];

pub struct CheckpointMetrics {
    duration: Arc<Histogram>,
    outcomes: [IntCounter; OUTCOMES.len()],
    bytes: IntCounter,
    blobs: IntGauge,
    size: IntGauge,
    last_success: Timestamp,
    pub restored_bytes: IntGauge,
}

/// What one checkpoint wrote, and what it leaves standing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointReport {
    pub written_bytes: u64,
    pub written_blobs: u64,
    pub standing_blobs: u64,
    pub standing_bytes: u64,
}

impl CheckpointMetrics {
    pub(super) fn new(define: &mut Define) -> Self {
        let duration = define
            .histograms(
                "nazar_checkpoint_duration_seconds",
                "From the capture of merged state to its manifest standing in Redis.",
                "outcome",
                ["stored".to_owned()],
                &SECONDS,
            )
            .remove(0);
        let outcomes = define.int_counters(
            "nazar_checkpoints_total",
            "Checkpoints, by what became of them.",
            &["outcome"],
        );
        let last_success = define.gauges(
            "nazar_checkpoint_last_success_timestamp_seconds",
            "When the last manifest was written: a restart reads the log again from there.",
            &[],
        );
        Self {
            duration,
            outcomes: OUTCOMES.map(|outcome| outcomes.with_label_values(&[outcome])),
            bytes: define.int_counter(
                "nazar_checkpoint_bytes_total",
                "Bytes of blobs and manifests written.",
            ),
            blobs: define.int_gauge("nazar_checkpoint_blobs", "Blobs that the manifest names."),
            size: define.int_gauge("nazar_checkpoint_size_bytes", "Bytes of those blobs."),
            last_success: Timestamp::new(&last_success, &[]),
            restored_bytes: define.int_gauge(
                "nazar_checkpoint_restored_bytes",
                "Bytes of the checkpoint that this process started from; 0: it had none.",
            ),
        }
    }

    pub fn stored(&self, report: &CheckpointReport, seconds: f64, now_seconds: f64) {
        self.duration.observe(seconds, 1);
        self.outcomes[0].inc();
        self.bytes.inc_by(report.written_bytes);
        self.set_standing(report.standing_blobs, report.standing_bytes);
        self.last_success.set_seconds(now_seconds);
    }

    pub fn failed(&self) {
        self.outcomes[1].inc();
    }

    pub fn set_standing(&self, blobs: u64, bytes: u64) {
        self.blobs.set(i64::try_from(blobs).unwrap_or(i64::MAX));
        self.size.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
