//! When a checkpoint is due: at a steady pace, soon after one that failed, and soon when another
//! instance waits to learn where the merged log ends.
//!
//! ```text
//!  stored ── every ──► stored ── every ──► failed ─ 1 s ─► failed ── 2 s ──► failed ─── 4 s ───► stored ── every ──►
//! ```
//! A checkpoint that was lost, or could not be stored, leaves a restart with an older one or with
//! none, so the next attempt is soon. It has to hold everything, so the pauses grow: a store that
//! stays away is not hammered with whole states.

use std::time::Duration;

/// After one failure. Longer leaves a restart without a checkpoint for longer, shorter meets the
/// same outage again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// When somebody waits for one. Shorter answers a burst of refusals with as many checkpoints.
const ASKED_PAUSE: Duration = Duration::from_millis(500);

/// Decides from times that it is told.
#[derive(Clone, Debug)]
pub struct Cadence {
    every: Duration,
    last: Option<Duration>,
    /// Between a failed attempt and the next.
    pause: Duration,
    is_asked: bool,
}

impl Cadence {
    pub fn new(every: Duration) -> Self {
        Self { every, last: None, pause: FIRST_PAUSE.min(every), is_asked: false }
    }

    /// `needs_everything`: the last checkpoint does not stand (any more).
    pub fn is_due(&self, now: Duration, needs_everything: bool) -> bool {
        let pause = match (needs_everything, self.is_asked) {
            (true, _) => self.pause,
            (false, true) => self.every.min(ASKED_PAUSE),
            (false, false) => self.every,
        };
        self.last.is_none_or(|last| now.saturating_sub(last) >= pause)
    }

    /// The next one is waited for.
    pub fn ask(&mut self) {
        self.is_asked = true;
    }

    /// What stood is known to be gone from a store that answers again: there is no reason to
    /// wait as after a failure.
    pub fn begin_anew(&mut self) {
        self.pause = FIRST_PAUSE.min(self.every);
    }

    /// One is on its way.
    pub fn taken(&mut self, now: Duration, needs_everything: bool) {
        (self.last, self.is_asked) = (Some(now), false);
        let pause = if needs_everything { self.pause.saturating_mul(2) } else { FIRST_PAUSE };
        self.pause = pause.min(self.every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_first_is_due_at_once_and_the_others_at_a_steady_pace() {
        let mut cadence = Cadence::new(EVERY);
        assert!(cadence.is_due(at(0), false));
        cadence.taken(at(0), false);
        assert!(!cadence.is_due(at(9), false));
        assert!(cadence.is_due(at(10), false));
    }

    #[test]
    fn one_that_is_waited_for_is_due_soon_and_once() {
        let mut cadence = Cadence::new(EVERY);
        cadence.taken(at(0), false);
        cadence.ask();
        assert!(!cadence.is_due(Duration::from_millis(499), false));
        assert!(cadence.is_due(Duration::from_millis(500), false));
        cadence.taken(at(1), false);
        assert!(!cadence.is_due(at(10), false));
    }

    #[test]
    fn a_loss_makes_one_due_soon_and_failures_slow_it_down() {
        let mut cadence = Cadence::new(EVERY);
        cadence.taken(at(0), false);
        assert!(!cadence.is_due(Duration::from_millis(999), true));
        let mut taken_at = Vec::new();
        for now in 1..60 {
            if cadence.is_due(at(now), true) {
                cadence.taken(at(now), true);
                taken_at.push(now);
            }
        }
        assert_eq!(taken_at, [1, 3, 7, 15, 25, 35, 45, 55]);
        // The store is back, and empty.
        cadence.begin_anew();
        assert!(cadence.is_due(at(56), true));
        // One stood: the next failure is met quickly again.
        assert!(cadence.is_due(at(65), false));
        cadence.taken(at(65), false);
        assert!(cadence.is_due(at(66), true));
    }

    #[test]
    fn a_pace_faster_than_the_pause_is_kept() {
        let mut cadence = Cadence::new(Duration::from_millis(100));
        cadence.taken(at(0), true);
        assert!(cadence.is_due(Duration::from_millis(100), true));
    }
}
