//! When windows are closed: at once as a rule, in rounds while a backlog is caught up with.
//!
//! Live, a window closes each minute. In a backlog hours of event time pass in seconds, and
//! most windows would be pushed out of Redis by later ones of the same flush or the next. So
//! after closing some, the merger waits a little before it closes more: then it sees which of
//! them will stay, and builds boards and distinct counts only for those. Every window still
//! gets its history entry.
//!
//! A round closes what the group watermark had passed when it began. It is worked off in
//! slices, between which merging goes on.

use std::time::Duration;

use crate::time::{EventTime, Span};

/// Between two rounds at most: how much later a window of a backlog can close.
const ROUND_MAX: Duration = Duration::from_secs(5);

/// What is merged before the next round begins early, or the one under way is no longer cut
/// into slices: panes that wait to be closed take memory.
const MERGED_BYTES_MAX: usize = 256 << 20;

/// How long closing may keep the merger from merging.
const SLICE: Duration = Duration::from_millis(20);

/// Decides when windows that can be closed are closed. Time is what has passed since any start.
#[derive(Debug)]
pub struct Rounds {
    pause: Duration,
    /// When the last round that closed something was through.
    last: Option<Duration>,
    /// Since the last round began.
    merged_bytes: usize,
    under_way: Option<Round>,
}

#[derive(Debug)]
struct Round {
    until: EventTime,
    has_closed: bool,
    slice_end: Duration,
}

impl Rounds {
    /// `shortest_step`: the least event time between two closed windows of a size. Live, it
    /// passes between two rounds, so that none is ever late.
    pub fn new(shortest_step: Span) -> Self {
        let step = Duration::from_millis(shortest_step.millis().unsigned_abs());
        // Half of it, since a live group watermark does not rise evenly.
        Self { pause: ROUND_MAX.min(step / 2), last: None, merged_bytes: 0, under_way: None }
    }

    pub fn merged(&mut self, bytes: usize) {
        self.merged_bytes += bytes;
    }

    /// Up to where windows may be closed now, if at all: then a slice begins.
    pub fn begin(&mut self, group_watermark: EventTime, now: Duration) -> Option<EventTime> {
        let slice_end = now + SLICE;
        if let Some(round) = &mut self.under_way {
            round.slice_end = slice_end;
            return Some(round.until);
        }
        let has_paused = self.last.is_none_or(|last| now.saturating_sub(last) >= self.pause);
        if !has_paused && self.merged_bytes < MERGED_BYTES_MAX {
            return None;
        }
        self.merged_bytes = 0;
        self.under_way = Some(Round { until: group_watermark, has_closed: false, slice_end });
        Some(group_watermark)
    }

    /// A window was closed. Returns whether the slice goes on.
    pub fn closed(&mut self, now: Duration) -> bool {
        let Some(round) = &mut self.under_way else { return false };
        round.has_closed = true;
        now < round.slice_end || self.merged_bytes >= MERGED_BYTES_MAX
    }

    /// Nothing is left to be closed in this round.
    pub fn done(&mut self, now: Duration) {
        if self.under_way.take().is_some_and(|round| round.has_closed) {
            self.last = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Span = Span::from_millis(60_000);
    const G: EventTime = EventTime::from_millis(1_000_000);

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A round that closed one window and was through at this time.
    fn round(rounds: &mut Rounds, now: Duration) {
        assert_eq!(rounds.begin(G, now), Some(G));
        rounds.closed(now);
        rounds.done(now);
    }

    #[test]
    fn a_window_that_follows_after_its_step_closes_at_once() {
        for (step, next) in [(60_000, 60_000), (10_000, 9_000), (1_000, 900)] {
            let mut rounds = Rounds::new(Span::from_millis(step));
            round(&mut rounds, at(500));
            round(&mut rounds, at(500 + next));
        }
    }

    #[test]
    fn those_of_a_backlog_wait_for_the_next_round() {
        let mut rounds = Rounds::new(MINUTE);
        round(&mut rounds, at(1_000));
        assert_eq!(rounds.begin(G, at(5_900)), None);
        assert_eq!(rounds.begin(G, at(6_000)), Some(G));
    }

    #[test]
    fn looking_in_vain_is_no_round() {
        let mut rounds = Rounds::new(MINUTE);
        for now in 0..5 {
            assert_eq!(rounds.begin(G, at(now)), Some(G));
            rounds.done(at(now));
        }
    }

    #[test]
    fn a_round_keeps_its_end_and_is_cut_into_slices() {
        let mut rounds = Rounds::new(MINUTE);
        assert_eq!(rounds.begin(G, at(0)), Some(G));
        assert!(rounds.closed(at(19)));
        assert!(!rounds.closed(at(20)), "the slice is over");
        let later = EventTime::from_millis(2_000_000);
        assert_eq!(rounds.begin(later, at(30)), Some(G), "the round goes on");
        assert!(rounds.closed(at(49)));
        rounds.done(at(50));
        assert_eq!(rounds.begin(later, at(60)), None);
    }

    #[test]
    fn what_was_merged_bounds_the_pause_and_the_slices() {
        let mut rounds = Rounds::new(MINUTE);
        round(&mut rounds, at(0));
        rounds.merged(MERGED_BYTES_MAX - 1);
        assert_eq!(rounds.begin(G, at(1_000)), None);
        rounds.merged(1);
        assert_eq!(rounds.begin(G, at(1_000)), Some(G));
        assert!(!rounds.closed(at(2_000)));
        rounds.merged(MERGED_BYTES_MAX);
        assert!(rounds.closed(at(3_000)), "no slice ends until the round is through");
    }
}
