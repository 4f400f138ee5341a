//! Several instances: who leads, and what goes through outboxes.

use prometheus::{IntCounter, IntGauge};

use super::Define;

/// What became of a delivery on its way to an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxOutcome {
    Appended,
    /// There was no room: it is tried again.
    Full,
    /// Redis refused it: another instance owns the partition.
    Fenced,
    /// Redis has lost what went before.
    Lost,
}

const OUTCOMES: [&str; 4] = ["appended", "full", "fenced", "lost"];

pub struct TeamMetrics {
    pub leads: IntGauge,
    outbox: [IntCounter; OUTCOMES.len()],
    outbox_bytes: IntCounter,
}

impl TeamMetrics {
    pub(super) fn new(define: &mut Define) -> Self {
        let leads = define
            .int_gauge("nazar_leads", "1 if this instance merges and publishes, 0 if it follows.");
        let outbox = define.int_counters(
            "nazar_outbox_deliveries_total",
            "Deliveries handed over through Redis, by what became of them.",
            &["outcome"],
        );
        let outbox_bytes =
            define.int_counter("nazar_outbox_bytes_total", "Bytes of deliveries appended.");
        let outbox = OUTCOMES.map(|outcome| outbox.with_label_values(&[outcome]));
        Self { leads, outbox, outbox_bytes }
    }

    pub fn outbox(&self, outcome: OutboxOutcome, bytes: usize) {
        self.outbox[outcome as usize].inc();
        self.outbox_bytes.inc_by(bytes as u64);
    }
}
