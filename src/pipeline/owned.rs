//! One owned partition: watermark → duplicate? → delta → delivery. Pure.
//!
//! Its owner feeds it every record from the merger's cursor on, once and in order, and takes a
//! delivery whenever it wants to hand over. The same range of offsets gives the same cells,
//! however it was cut. Everything that happens to a record is counted in the ledger, once.

use std::sync::Arc;

use crate::event::{Effect, Event};
use crate::pipeline::decode::{Decoded, Malformed};
use crate::pipeline::dedup::{Dedup, Seen};
use crate::pipeline::definitions::Definitions;
use crate::pipeline::delivery::{Delivery, Ledger, Partition, PartitionState};
use crate::pipeline::delta::Delta;
use crate::pipeline::identity::Fingerprint;
use crate::pipeline::merge::Position;
use crate::pipeline::protocol::{Reach, Sent, Verdict, Way};
use crate::time::{EventTime, Span};

/// What became of a record: one line of the ledger each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Applied,
    /// Its base pane had ended by so much when the watermark passed; the revenue missed.
    Late {
        by: Span,
        revenue_minor: u64,
    },
    Duplicate,
    Malformed(Malformed),
    Future,
    Tombstone,
    /// Before the cursor: it was counted already, and only its id is remembered again.
    Refilled,
}

/// A partition from its merged position on.
pub struct OwnedPartition {
    partition: Partition,
    definitions: Arc<Definitions>,
    state: PartitionState,
    /// Counting begins here; records before it only refill the ids remembered.
    cursor: i64,
    /// The offset after the last record read.
    next: i64,
    delta: Delta,
    dedup: Option<Dedup>,
    sent: Sent,
    /// The merger's count when we started.
    refusals: u64,
    oldest_record_millis: Option<i64>,
    consecutive_rejects: u64,
    /// A quiet mark has not been handed over yet.
    has_news: bool,
    /// Records were lost since the last delivery.
    has_gap: bool,
}

impl OwnedPartition {
    /// Starts at the merged position.
    pub fn start(partition: Partition, position: Position, definitions: Arc<Definitions>) -> Self {
        let Position { cursor, state, refusals } = position;
        let dedup = definitions.deduplicate.then(|| Dedup::new(definitions.deduplicate_bytes_max));
        let next = if dedup.is_some() { state.warm_from.min(cursor) } else { cursor };
        Self {
            partition,
            delta: Delta::new(&definitions),
            definitions,
            state,
            cursor,
            next,
            dedup,
            sent: Sent::start(cursor),
            refusals,
            oldest_record_millis: None,
            consecutive_rejects: 0,
            has_news: false,
            has_gap: false,
        }
    }

    /// The offset to read next: before the cursor while remembered ids are refilled.
    pub fn next_offset(&self) -> i64 {
        self.next
    }

    /// M: the newest event time that moved the watermark.
    pub fn newest(&self) -> Option<EventTime> {
        self.state.watermark.newest()
    }

    pub fn ledger(&self) -> Ledger {
        self.state.ledger
    }

    /// Kafka's timestamp of the oldest record that is not handed over.
    pub fn oldest_record_millis(&self) -> Option<i64> {
        self.oldest_record_millis
    }

    /// Rejects in a row, up to now.
    pub fn consecutive_rejects(&self) -> u64 {
        self.consecutive_rejects
    }

    /// Bytes of the open delta.
    pub fn open_bytes(&self) -> usize {
        self.delta.bytes()
    }

    /// Counts the record at `offset`.
    pub fn record(
        &mut self,
        offset: i64,
        decoded: &Decoded<'_>,
        kafka_millis: Option<i64>,
    ) -> Outcome {
        debug_assert!(offset >= self.next, "records come in order, each once");
        self.next = offset + 1;
        if offset < self.cursor {
            self.refill(offset, decoded);
            return Outcome::Refilled;
        }
        self.oldest_record_millis =
            [self.oldest_record_millis, kafka_millis].into_iter().flatten().min();
        let outcome = match decoded {
            Decoded::Event(event) => self.event(offset, event),
            Decoded::Tombstone => Outcome::Tombstone,
            Decoded::Malformed(reason) => Outcome::Malformed(*reason),
            Decoded::Future(_) => Outcome::Future,
        };
        self.count(outcome);
        outcome
    }

    fn event(&mut self, offset: i64, event: &Event<'_>) -> Outcome {
        let definitions = &self.definitions;
        let watermark_before = self.state.watermark.watermark(definitions.lateness);
        if let Some(by) = self.state.watermark.observe(event.time, definitions) {
            return Outcome::Late { by, revenue_minor: revenue_minor(&event.effect) };
        }
        let pane_start = event.time.floor(definitions.base_pane());
        if let (Some(dedup), Some(id)) = (&mut self.dedup, event.event_id) {
            let pane_end = pane_start + definitions.base_pane();
            if dedup.observe(id, offset, pane_end, watermark_before) == Seen::Duplicate {
                return Outcome::Duplicate;
            }
        }
        if let Effect::Purchase { foreign_currency: Some(_), .. } = event.effect {
            self.state.ledger.foreign_currency += 1;
        }
        self.delta.apply(event, pane_start);
        Outcome::Applied
    }

    fn refill(&mut self, offset: i64, decoded: &Decoded<'_>) {
        if let (Some(dedup), Decoded::Event(event)) = (&mut self.dedup, decoded)
            && let Some(id) = event.event_id
        {
            dedup.warm(id, offset, event.time.next_multiple(self.definitions.base_pane()));
        }
    }

    fn count(&mut self, outcome: Outcome) {
        let ledger = &mut self.state.ledger;
        ledger.consumed += 1;
        *match outcome {
            Outcome::Applied => &mut ledger.applied,
            Outcome::Late { .. } => &mut ledger.late,
            Outcome::Duplicate => &mut ledger.duplicate,
            Outcome::Malformed(_) => &mut ledger.malformed,
            Outcome::Future => &mut ledger.future,
            Outcome::Tombstone => &mut ledger.tombstone,
            Outcome::Refilled => return,
        } += 1;
        match outcome {
            Outcome::Malformed(_) | Outcome::Future => self.consecutive_rejects += 1,
            _ => self.consecutive_rejects = 0,
        }
    }

    /// Keeps the fingerprint of the last record read.
    pub fn note_print(&mut self, print: Fingerprint) {
        if print.offset >= self.cursor {
            self.state.prints.note(print);
        }
    }

    /// Passes over offsets whose records were deleted before they could be read.
    pub fn lost(&mut self, position: i64) {
        self.skip_to(position);
        self.has_gap = true;
    }

    /// Passes over offsets that hold no record (transaction markers, compaction).
    pub fn skip_to(&mut self, position: i64) {
        self.next = self.next.max(position);
    }

    /// The broker has said that the log ends at `position`, where we stand; `stream_time` was
    /// known before it was asked.
    pub fn quiet(&mut self, position: i64, stream_time: EventTime) {
        self.skip_to(position);
        self.state.quiet = self.state.quiet.max(Some(stream_time));
        self.has_news = true;
    }

    /// Hands over what was read since the last delivery, to go this way; `None` if there is
    /// nothing to say.
    pub fn take(&mut self, way: Way) -> Option<Delivery> {
        let from = self.sent.end();
        if self.next < self.cursor || (self.next == from && !self.has_news) {
            return None;
        }
        self.has_news = false;
        if let Some(dedup) = &self.dedup {
            self.state.warm_from = dedup.warm_from(self.next);
        }
        self.sent.hand_over(self.next, way);
        Some(Delivery {
            partition: self.partition,
            from,
            to: self.next,
            state_to: self.state.clone(),
            cells: self.delta.take(),
            oldest_record_millis: self.oldest_record_millis.take(),
            has_gap: std::mem::take(&mut self.has_gap),
        })
    }

    /// The owner's one rule: may it go on, given where the merger stands?
    pub fn check(&mut self, position: &Position, reach: &Reach) -> Verdict {
        if position.refusals != self.refusals {
            self.sent.refused();
        }
        self.sent.check(position.cursor, reach)
    }

    /// The end of all that was handed over.
    pub fn sent_to(&self) -> i64 {
        self.sent.end()
    }
}

fn revenue_minor(effect: &Effect<'_>) -> u64 {
    match effect {
        Effect::Purchase { lines, foreign_currency: None } => {
            lines.iter().map(|line| line.revenue_minor).sum()
        }
        _ => 0,
    }
}
