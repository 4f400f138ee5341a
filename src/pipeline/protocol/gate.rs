//! A new leader: what it may show, and what its predecessor has already shown.
//!
//! A checkpoint is written less often than views are published, so a new leader starts behind
//! what readers have seen. `meta` says how far that is: the offset vector of the published views
//! and, by window, the end of the newest closed one.
//!
//! ```text
//!   manifest ──────┤ m                    the new leader starts here
//!   published ─────────────────┤ v        and shows nothing before it is here
//!   replayed        [m ─────── v)         judged by the predecessor; its count is in meta
//!   new                         [v ─ …    judged by what the predecessor closed
//! ```

use std::time::Duration;

use super::cursors::Cursors;
use crate::pipeline::delivery::Partition;
use crate::time::EventTime;

/// Whether a leader may close and publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Its cursors are behind what readers have seen.
    Shut,
    Open,
    /// The published offsets could not be reached in time (a dead partition, a log cut
    /// short). Views step back once, and `meta` says `republished`.
    Forced,
}

/// What `meta` held when a leader took over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    published: Cursors,
    passage: Option<Passage>,
}

impl Gate {
    /// How long a new leader waits for its cursors to reach what was published. Longer, and a
    /// dead partition keeps all views from being refreshed; shorter, and a slow replay makes
    /// views step back that would have caught up.
    pub const PATIENCE: Duration = Duration::from_secs(30);

    pub fn new(published: impl IntoIterator<Item = (Partition, i64)>) -> Self {
        Self { published: published.into_iter().collect(), passage: None }
    }

    /// Asks to pass, `waited` after the takeover. Once open it stays so.
    pub fn pass(&mut self, cursors: &Cursors, waited: Duration) -> Passage {
        if let Some(passage) = self.passage {
            return passage;
        }
        if cursors.reached(self.published.iter()) {
            self.passage = Some(Passage::Open);
        } else if waited >= Self::PATIENCE {
            self.passage = Some(Passage::Forced);
        }
        self.passage.unwrap_or(Passage::Shut)
    }

    /// Whether anything stands that readers have seen.
    pub fn has_predecessor(&self) -> bool {
        self.published.iter().next().is_some()
    }

    /// Whether it has been passed.
    pub fn is_open(&self) -> bool {
        self.passage.is_some()
    }

    /// Whether a delivery that ends at `to` is judged for records that come after close.
    ///
    /// What lies before the published offsets was judged by the predecessor, and its count
    /// stands in `meta`: the new leader starts from the larger of the counts in manifest and
    /// meta. A delivery that straddles the offset is judged as a whole, because a doubt must
    /// never read as certainty; [`Gate::cut`] makes that rare.
    pub fn judges(&self, partition: Partition, to: i64) -> bool {
        self.published.get(partition).is_none_or(|published| to > published)
    }

    /// Where an owner that reads `[from, to)` has to end the delivery, so that none straddles
    /// the offset published for its partition.
    pub fn cut(from: i64, to: i64, published: Option<i64>) -> i64 {
        published.filter(|&published| from < published && published < to).unwrap_or(to)
    }
}

/// By window: the end of the newest closed window. Nothing at or below it is emitted again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClosedThrough(Vec<Option<EventTime>>);

impl ClosedThrough {
    pub fn new(by_window: Vec<Option<EventTime>>) -> Self {
        Self(by_window)
    }

    /// Claims the window that ends at `end`; false if it, or a later one, was closed before.
    #[must_use]
    pub fn claim(&mut self, window: usize, end: EventTime) -> bool {
        if self.0.len() <= window {
            self.0.resize(window + 1, None);
        }
        let newest = &mut self.0[window];
        let is_new = newest.is_none_or(|newest| newest < end);
        if is_new {
            *newest = Some(end);
        }
        is_new
    }

    pub fn get(&self, window: usize) -> Option<EventTime> {
        self.0.get(window).copied().flatten()
    }

    /// The group watermark of a new leader: the latest that manifest or meta tell of, and at
    /// least what was closed. Readers never see it go back, and quiet marks that moved it
    /// need not be heard again.
    pub fn group_watermark(
        &self,
        manifest: Option<EventTime>,
        meta: Option<EventTime>,
    ) -> Option<EventTime> {
        self.0.iter().copied().flatten().max().max(manifest).max(meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;

    const P: Partition = Partition { kind: Kind::Click, index: 0 };
    const Q: Partition = Partition { kind: Kind::Click, index: 1 };

    fn at(millis: i64) -> EventTime {
        EventTime::from_millis(millis)
    }

    #[test]
    fn the_gate_opens_at_what_was_published_and_stays_open() {
        let mut gate = Gate::new([(P, 10), (Q, 5)]);
        let mut cursors = Cursors::from_iter([(P, 10), (Q, 4)]);
        assert_eq!(gate.pass(&cursors, Duration::ZERO), Passage::Shut);
        cursors.start(Q, 6);
        assert_eq!(gate.pass(&cursors, Duration::ZERO), Passage::Open);
        assert_eq!(gate.pass(&Cursors::default(), Duration::ZERO), Passage::Open);
        let mut first = Gate::new([]);
        assert_eq!(first.pass(&Cursors::default(), Duration::ZERO), Passage::Open);
    }

    #[test]
    fn a_partition_that_never_returns_forces_the_gate() {
        let mut gate = Gate::new([(P, 10)]);
        let cursors = Cursors::from_iter([(P, 9)]);
        let almost = Gate::PATIENCE - Duration::from_millis(1);
        assert_eq!(gate.pass(&cursors, almost), Passage::Shut);
        assert_eq!(gate.pass(&cursors, Gate::PATIENCE), Passage::Forced);
        assert_eq!(gate.pass(&cursors, Duration::ZERO), Passage::Forced);
    }

    #[test]
    fn only_what_the_predecessor_has_not_judged_is_judged() {
        let gate = Gate::new([(P, 10)]);
        assert!(!gate.judges(P, 10));
        assert!(gate.judges(P, 11));
        assert!(gate.judges(Q, 1), "a partition that was not there before");
        assert_eq!(Gate::cut(5, 15, Some(10)), 10);
        assert_eq!(Gate::cut(10, 15, Some(10)), 15);
        assert_eq!(Gate::cut(5, 10, Some(10)), 10);
        assert_eq!(Gate::cut(5, 15, None), 15);
    }

    #[test]
    fn a_window_is_claimed_once_and_in_order() {
        let mut closed = ClosedThrough::new(vec![Some(at(60)), None]);
        assert!(!closed.claim(0, at(60)));
        assert!(closed.claim(0, at(120)));
        assert!(!closed.claim(0, at(90)));
        assert!(closed.claim(1, at(60)));
        assert!(closed.claim(2, at(60)), "a window that was added");
        assert_eq!(closed.get(0), Some(at(120)));
        assert_eq!(closed.group_watermark(Some(at(100)), None), Some(at(120)));
        assert_eq!(closed.group_watermark(Some(at(130)), Some(at(140))), Some(at(140)));
        assert_eq!(ClosedThrough::default().group_watermark(None, None), None);
    }
}
