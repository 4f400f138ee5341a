//! The watermark of one partition: a function of its own log alone.
//!
//! The watermark C says: *records older than C are late*. It follows the newest event time M
//! that was allowed to move it, at a distance of `lateness`, and never goes back.
//!
//! One clock that runs ahead must not make everybody else late. So a step larger than
//! `max_future` needs evidence: more than half of the partition's last 64 records, or its last
//! 8 without exception, beyond it. Then M passes to the earliest of them, and on through the
//! others as far as no further gap is larger than `max_future`.
//!
//! ```text
//!   event time ▲            x  (one record from tomorrow: applied, moves nothing)
//!              │
//!              │      x x xx  ◄── M
//!              │  x xx  x
//!              │ x            ◄── C = M − lateness
//!              └──────────────▶ offset
//! ```

use crate::pipeline::definitions::Definitions;
use crate::time::{EventTime, Span};

/// How many records back a gap is judged by.
pub const RECENT: usize = 64;
/// So many in a row beyond a gap pass it, too.
const RUN: usize = 8;

/// The part of a partition's state that judges lateness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// M: the newest event time that moved the watermark.
    newest: Option<EventTime>,
    /// The event times of the last records, a ring.
    recent: [EventTime; RECENT],
    /// Records seen, so where the ring is written next.
    seen: u64,
}

impl Default for Watermark {
    fn default() -> Self {
        Self { newest: None, recent: [EventTime::MIN; RECENT], seen: 0 }
    }
}

impl Watermark {
    /// M, the newest event time that moved the watermark.
    pub fn newest(&self) -> Option<EventTime> {
        self.newest
    }

    /// Records seen.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The event times of the last records, oldest first: [`Self::recent_len`] of them.
    pub fn recent(&self) -> impl Iterator<Item = EventTime> + '_ {
        (1..=Self::recent_len(self.seen) as u64).rev().map(|back| self.nth_last(back))
    }

    /// How many event times are remembered after so many records.
    pub fn recent_len(seen: u64) -> usize {
        seen.min(RECENT as u64) as usize
    }

    /// What [`Self::newest`], [`Self::seen`] and [`Self::recent`] told; `None` unless they
    /// agree: there is a newest time, and as many recent ones as there must be, from the
    /// first record on; and no more records than there are offsets.
    pub fn from_parts(
        newest: Option<EventTime>,
        seen: u64,
        recent: &[EventTime],
    ) -> Option<Watermark> {
        let agree = newest.is_some() == (seen > 0)
            && recent.len() == Self::recent_len(seen)
            && seen <= i64::MAX as u64;
        let mut watermark = Watermark { newest, seen, ..Watermark::default() };
        for (back, &time) in (1..=seen).zip(recent.iter().rev()) {
            watermark.recent[((seen - back) % RECENT as u64) as usize] = time;
        }
        agree.then_some(watermark)
    }

    /// C; `None` before the first record.
    pub fn watermark(&self, lateness: Span) -> Option<EventTime> {
        self.newest.map(|newest| newest - lateness)
    }

    /// Takes note of a valid record. Returns by how much it is late: the time from the end of
    /// its base pane to the watermark that stood before it; `None` when it is not late.
    pub fn observe(&mut self, time: EventTime, definitions: &Definitions) -> Option<Span> {
        self.recent[(self.seen % RECENT as u64) as usize] = time;
        self.seen += 1;
        let Some(newest) = self.newest else {
            self.newest = Some(time);
            return None;
        };
        if time > newest {
            if time - newest <= definitions.max_future {
                self.newest = Some(time);
            } else {
                self.weigh_gap(newest + definitions.max_future, definitions.max_future);
            }
            return None;
        }
        let watermark = newest - definitions.lateness;
        let pane_end = time.next_multiple(definitions.base_pane());
        (pane_end <= watermark).then(|| watermark - pane_end)
    }

    /// Passes a gap that ends at `limit` if enough recent records lie beyond it.
    #[cold]
    fn weigh_gap(&mut self, limit: EventTime, max_gap: Span) {
        let len = Self::recent_len(self.seen);
        let beyond = |time: &EventTime| *time > limit;
        let mut evidence: Vec<EventTime> =
            self.recent[..len].iter().copied().filter(beyond).collect();
        let is_run = len >= RUN && (1..=RUN as u64).all(|back| beyond(&self.nth_last(back)));
        if evidence.len() <= RECENT / 2 && !is_run {
            return;
        }
        evidence.sort_unstable();
        let mut newest = evidence[0];
        for time in evidence {
            if time - newest > max_gap {
                break;
            }
            newest = time;
        }
        self.newest = Some(newest);
    }

    /// The record so many places back; 1 is the last.
    fn nth_last(&self, back: u64) -> EventTime {
        self.recent[((self.seen - back) % RECENT as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing;
    use proptest::prelude::*;

    /// Lateness 5 s, max_future 30 s, base pane 1 s; times in seconds.
    fn after(times: impl IntoIterator<Item = i64>) -> Watermark {
        let mut watermark = Watermark::default();
        for time in times {
            watermark.observe(EventTime::from_millis(time * 1000), &testing::definitions());
        }
        watermark
    }

    fn newest(times: impl IntoIterator<Item = i64>) -> i64 {
        after(times).newest().expect("not empty").millis() / 1000
    }

    #[test]
    fn one_record_from_the_future_moves_nothing() {
        assert_eq!(newest([100, 101, 100_000, 102]), 102);
        // 31 of the last 64, never 8 in a row, are too few.
        let mixed = (0..33).flat_map(|n| [100 + n, 100_000]).take(63);
        assert_eq!(newest(mixed), 131);
    }

    #[test]
    fn a_run_of_eight_passes_the_gap_and_so_does_a_majority_of_sixty_four() {
        assert_eq!(newest([100].into_iter().chain([200; 7])), 100);
        assert_eq!(newest([100].into_iter().chain([200; 8])), 200);
        // Two of three lie beyond: a majority of 64 as soon as there are 33 of them.
        let two_of_three = |records| (0..records).map(|n| if n % 3 == 0 { 100 } else { 200 });
        assert_eq!(newest(two_of_three(49)), 100);
        assert_eq!(newest(two_of_three(50)), 200);
    }

    #[test]
    fn a_passed_gap_ends_at_the_next_gap() {
        // 200, 210, 220 hold together; 900 is a gap of its own.
        assert_eq!(newest([100, 900, 200, 210, 220, 200, 210, 220, 200]), 220);
    }

    #[test]
    fn late_is_a_base_pane_that_ended_at_or_before_the_watermark() {
        let definitions = testing::definitions();
        let late = |millis| {
            after([100]).observe(EventTime::from_millis(millis), &definitions).map(Span::millis)
        };
        // C = 95 s. The pane [94, 95) ended there, the pane [95, 96) did not.
        assert_eq!(late(94_999), Some(0));
        assert_eq!(late(93_999), Some(1000));
        assert_eq!(late(95_000), None);
    }

    #[test]
    fn its_parts_make_it_again_and_have_to_agree() {
        for records in [0, 1, 63, 64, 65, 200] {
            let watermark = after((0..records).map(|n| 100 + n % 7));
            let recent: Vec<EventTime> = watermark.recent().collect();
            let last = (0..records).rev().take(RECENT).map(|n| (100 + n % 7) * 1000);
            assert!(recent.iter().rev().map(|time| time.millis()).eq(last), "{records}");
            let (newest, seen) = (watermark.newest(), watermark.seen());
            assert_eq!(Watermark::from_parts(newest, seen, &recent), Some(watermark));
            assert_eq!(
                Watermark::from_parts(newest.xor(Some(EventTime::MIN)), seen, &recent),
                None
            );
            let longer = [&recent[..], &[EventTime::MIN]].concat();
            assert_eq!(Watermark::from_parts(newest, seen, &longer), None);
        }
    }

    /// The rule as it is written, over the whole log.
    fn naive(times: &[i64]) -> Option<i64> {
        let mut newest: Option<i64> = None;
        for (number, &time) in times.iter().enumerate() {
            let recent = &times[(number + 1).saturating_sub(64)..=number];
            let Some(m) = newest else {
                newest = Some(time);
                continue;
            };
            if time - m <= 30 {
                newest = Some(m.max(time));
                continue;
            }
            let mut beyond: Vec<i64> = recent.iter().copied().filter(|t| *t > m + 30).collect();
            let run = recent.len() >= 8 && recent[recent.len() - 8..].iter().all(|t| *t > m + 30);
            if beyond.len() > 32 || run {
                beyond.sort_unstable();
                let step = |at: i64, next: i64| if next - at <= 30 { next } else { at };
                newest = beyond.iter().copied().reduce(step);
            }
        }
        newest
    }

    proptest! {
        #[test]
        fn the_watermark_is_the_rule_and_never_goes_back(
            bursts in prop::collection::vec((prop_oneof![0i64..50, 0i64..400], 1usize..20), 1..40),
        ) {
            let times: Vec<i64> =
                bursts.iter().flat_map(|&(time, count)| (0..count).map(move |n| time + n as i64 % 3)).collect();
            let mut before = None;
            for end in 1..=times.len() {
                let now = after(times[..end].iter().copied()).newest().map(|m| m.millis() / 1000);
                prop_assert_eq!(now, naive(&times[..end]));
                prop_assert!(now >= before);
                before = now;
            }
        }
    }
}
