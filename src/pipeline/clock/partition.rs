//! What the group clock knows of one partition.

use std::time::Duration;

use super::GroupClock;
use super::coverage::Coverage;
use crate::pipeline::watermark::Watermark;
use crate::time::{EventTime, Span};

/// A partition that nobody has spoken of yet is the default: it holds the group watermark.
#[derive(Clone, Debug, Default)]
pub(super) struct PartitionClock {
    /// M_p
    newest: Option<EventTime>,
    /// q_p
    quiet_mark: Option<EventTime>,
    /// The first and the last moment at which the broker confirmed that nothing is there, with
    /// no record in between.
    quiet_between: Option<(Duration, Duration)>,
    progressed_at: Option<Duration>,
    /// Time that counts towards `stall_limit`.
    pub(super) stalled_for: Duration,
    pub(super) held: bool,
    pub(super) coverage: Coverage,
}

impl PartitionClock {
    pub(super) fn progressed(&mut self, watermark: &Watermark, now: Duration) {
        self.newest = self.newest.max(watermark.newest());
        self.coverage.first_record(watermark.first());
        self.quiet_between = None;
        self.progressed_at = Some(now);
        self.stalled_for = Duration::ZERO;
    }

    pub(super) fn confirmed_quiet(&mut self, mark: Option<EventTime>, asked_at: Duration) {
        self.quiet_mark = self.quiet_mark.max(mark);
        let (since, until) = self.quiet_between.unwrap_or((asked_at, asked_at));
        self.quiet_between = Some((since, until.max(asked_at)));
        self.stalled_for = Duration::ZERO;
    }

    /// C_p
    pub(super) fn watermark(&self, lateness: Span) -> Option<EventTime> {
        self.newest.map(|newest| newest - lateness)
    }

    /// D_p
    pub(super) fn reached(&self, lateness: Span) -> Option<EventTime> {
        self.newest.max(self.quiet_mark).map(|time| time - lateness)
    }

    pub(super) fn quiet_between(&self) -> Option<(Duration, Duration)> {
        self.quiet_between
    }

    pub(super) fn is_alive(&self, now: Duration) -> bool {
        let confirmed_at = self.quiet_between.map(|(_, until)| until);
        self.progressed_at.max(confirmed_at).is_some_and(|heard| is_recent(heard, now))
    }

    pub(super) fn is_progressing(&self, now: Duration) -> bool {
        self.quiet_between.is_none() && self.progressed_at.is_some_and(|at| is_recent(at, now))
    }
}

fn is_recent(moment: Duration, now: Duration) -> bool {
    now.saturating_sub(moment) <= GroupClock::ALIVE
}
