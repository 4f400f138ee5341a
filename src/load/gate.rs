//! What becomes of each record, decided in the order in which they will stand in the log.
//!
//! Late is a matter of order: it depends on the watermark of the record's partition, hence on
//! every record before. The gate keeps the clock of every partition as whoever reads the log will,
//! chooses event times that make the faults come true, and labels each record with its fate.

use super::clock::{Clock, Rules};
use super::drift::{Drift, Expected};
use super::inject::Inject;
use super::kind::{Kind, Reason};
use super::lane::{Draft, Fault};
use super::spoil::Spoil;
use super::workload::{Injected, WorkloadConfig};

/// A record that only has to be written down.
#[derive(Clone, Copy, Debug)]
pub struct Decided {
    pub draft: Draft,
    pub event_time_ms: i64,
    pub label: Reason,
    pub injected: Injected,
}

#[derive(Debug)]
pub struct Gate {
    clocks: [Vec<Clock>; 4],
    rules: Rules,
    inject: Inject,
    /// Late records that could not be made yet, because their partition had no watermark.
    late_owed: u64,
}

impl Gate {
    pub fn new(config: &WorkloadConfig) -> Self {
        Self {
            clocks: config.partitions.map(|count| vec![Clock::default(); count.max(1) as usize]),
            rules: config.rules,
            inject: config.inject,
            late_owed: 0,
        }
    }

    fn clock(&mut self, kind: Kind, partition: u32) -> &mut Clock {
        &mut self.clocks[kind as usize][partition as usize]
    }

    pub fn decide(&mut self, mut draft: Draft) -> Decided {
        if draft.fault == Fault::None && self.late_owed > 0 {
            self.late_owed -= 1;
            draft.fault = Fault::Late;
        }
        let kind = draft.deed.action.kind();
        let mut injected = Injected::Nothing;
        let now_ms = draft.intended_ms;
        let event_time_ms = match draft.fault {
            Fault::Tombstone => {
                return Decided {
                    draft,
                    event_time_ms: now_ms,
                    label: Reason::Tombstone,
                    injected,
                };
            }
            Fault::Malformed => {
                injected = Injected::Spoiled(Spoil::draw(kind, &mut draft.dice));
                return Decided {
                    draft,
                    event_time_ms: now_ms,
                    label: Reason::Malformed,
                    injected,
                };
            }
            Fault::Copy { event_time_ms } => {
                // A drifted record without a time may have moved the watermark beyond the schedule.
                let label = match self.judge(kind, &draft, event_time_ms) {
                    Reason::Late => Reason::Late,
                    _ => Reason::Duplicate,
                };
                return Decided { draft, event_time_ms, label, injected };
            }
            Fault::Drift => {
                let drift = Drift::draw(kind, &mut draft.dice);
                injected = Injected::Drifted(drift);
                if let Expected::Malformed(_) = drift.expected {
                    let label = Reason::Malformed;
                    return Decided { draft, event_time_ms: now_ms, label, injected };
                }
                if drift.hides_time() { draft.create_time_ms } else { now_ms }
            }
            Fault::Late => self.late_time(kind, &mut draft),
            Fault::Reorder => self.reordered_time(kind, &mut draft),
            Fault::Future => {
                let Inject { future, .. } = self.inject;
                let beyond = draft.dice.between(future.min_ms.max(1), future.max_ms.max(1));
                draft.create_time_ms + self.rules.max_future_ms + beyond
            }
            Fault::None | Fault::Dup => now_ms,
        };
        if draft.fault == Fault::Reorder {
            let newest = self.clock(kind, draft.partition).newest();
            if newest.is_some_and(|newest| event_time_ms < newest) {
                injected = Injected::Reordered;
            }
        }
        let label = self.judge(kind, &draft, event_time_ms);
        Decided { draft, event_time_ms, label, injected }
    }

    /// The fate of a valid record of this time, noted in its partition's clock.
    fn judge(&mut self, kind: Kind, draft: &Draft, event_time_ms: i64) -> Reason {
        let rules = self.rules;
        if rules.is_future(event_time_ms, draft.create_time_ms) {
            return Reason::Future;
        }
        let clock = self.clock(kind, draft.partition);
        let late = clock.is_late(event_time_ms, &rules);
        clock.observe(event_time_ms, &rules);
        if late { Reason::Late } else { Reason::Applied }
    }

    /// A time whose base pane ended at or before the partition's watermark.
    fn late_time(&mut self, kind: Kind, draft: &mut Draft) -> i64 {
        let (rules, Inject { late, .. }) = (self.rules, self.inject);
        match self.clock(kind, draft.partition).watermark(&rules) {
            None => {
                self.late_owed += 1;
                draft.intended_ms
            }
            Some(watermark) => {
                let behind = draft.dice.between(late.min_ms, late.max_ms);
                rules.oldest_in_time(watermark) - 1 - behind
            }
        }
    }

    /// A time behind the schedule, but still in time.
    fn reordered_time(&mut self, kind: Kind, draft: &mut Draft) -> i64 {
        let (rules, Inject { reorder, .. }) = (self.rules, self.inject);
        let time = draft.intended_ms - draft.dice.between(reorder.min_ms, reorder.max_ms);
        let watermark = self.clock(kind, draft.partition).watermark(&rules);
        watermark.map_or(time, |watermark| time.max(rules.oldest_in_time(watermark)))
    }
}
