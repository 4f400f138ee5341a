//! The fate of each record of one partition, in the order of its log.
//!
//! Precedence: tombstone, malformed, future, late, duplicate, applied.

use std::collections::HashMap;

use super::definitions::Definitions;
use super::record::{self, Valid};
use crate::load::clock::{Clock, Rules};
use crate::load::kafka::LogRecord;
use crate::load::kind::{Kind, Reason};

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Applied(Valid),
    Not(Reason),
}

impl Verdict {
    pub fn reason(&self) -> Reason {
        match self {
            Verdict::Applied(_) => Reason::Applied,
            Verdict::Not(reason) => *reason,
        }
    }
}

pub struct Judge<'a> {
    definitions: &'a Definitions,
    rules: Rules,
    kind: Kind,
    clock: Clock,
    /// By event id: the latest end of a base pane that a valid, not late record of it lies in.
    seen: HashMap<String, i64>,
}

impl<'a> Judge<'a> {
    pub fn new(definitions: &'a Definitions, kind: Kind) -> Self {
        let rules = definitions.rules();
        Self { definitions, rules, kind, clock: Clock::default(), seen: HashMap::new() }
    }

    /// The partition's newest time that moved its watermark, after the records judged so far.
    pub fn newest(&self) -> Option<i64> {
        self.clock.newest()
    }

    pub fn judge(&mut self, record: &LogRecord<'_>) -> Verdict {
        let Some(payload) = record.payload else { return Verdict::Not(Reason::Tombstone) };
        let kafka_time_ms = record.kafka_time_ms;
        let Ok(valid) = record::read(self.definitions, self.kind, payload, kafka_time_ms) else {
            return Verdict::Not(Reason::Malformed);
        };
        if kafka_time_ms.is_some_and(|time| self.rules.is_future(valid.time_ms, time)) {
            return Verdict::Not(Reason::Future);
        }
        // Both questions are asked of the watermark as it stood before this record.
        let is_late = self.clock.is_late(valid.time_ms, &self.rules);
        let watermark = self.clock.watermark(&self.rules);
        self.clock.observe(valid.time_ms, &self.rules);
        if is_late {
            return Verdict::Not(Reason::Late);
        }
        if self.definitions.deduplicate && self.is_duplicate(&valid, watermark) {
            return Verdict::Not(Reason::Duplicate);
        }
        Verdict::Applied(valid)
    }

    fn is_duplicate(&mut self, valid: &Valid, watermark: Option<i64>) -> bool {
        let Some(event_id) = &valid.event_id else { return false };
        let pane_end = self.rules.pane_end(valid.time_ms);
        let before = self.seen.get(event_id).copied();
        self.seen.insert(event_id.clone(), before.map_or(pane_end, |end| end.max(pane_end)));
        before.is_some_and(|end| watermark.is_none_or(|watermark| end > watermark))
    }
}
