//! The watermark of a partition: how far its own log says that event time has come.
//!
//! C_p = M − lateness, where M is the largest event time that was allowed to move it. A record
//! is *late* if its base pane ended at or before C_p. Both are functions of the partition's
//! log alone: no clock, no other partition, no pause of ours makes a record late.
//!
//! One event with a wrong date must not make every later record late. So M passes a gap larger
//! than `max_future` only when the log itself insists: when more than half of its last 64
//! records, or the last 8 without exception, lie beyond the gap. Until then such records are
//! applied, and M stays.
//!
//! ```text
//!  lateness 10 s, max_future 300 s, panes of 1 s; times in seconds
//!  record    M     C_p
//!  100      100     90    the first sets it
//!  103      103     93
//!   93      103     93    its pane [93, 94) ended after 93: not late
//!   92      103     93    its pane ended at 93: late
//!  403      403    393    a step of max_future is believed
//!  904      403    393    a larger one is not: applied, but M stays
//!  905 …    403    393    … six more like it: still not
//!  911      911    901    the eighth in a row: M passes the gap, up to the newest of them
//! ```
//!
//! When M passes a gap it goes to the nearest record beyond, and on from record to record while
//! the steps are at most `max_future`: what lies behind a second gap is not believed yet.

use crate::time::{EventTime, Span};

/// What the rule is configured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params {
    pub lateness: Span,
    pub max_future: Span,
    pub base_pane: Span,
}

/// What the watermark says of one record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// If late: how long before the watermark its pane had ended, 0 included. Had `lateness` been
    /// larger by more than this, the record would have counted.
    pub late_by: Option<Span>,
}

/// The watermark of one partition, with what it needs to judge the next record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watermark {
    newest: Option<EventTime>,
    first: Option<EventTime>,
    recent: Recent,
}

impl Watermark {
    /// How many records are asked whether a gap is real. More, and a producer's clock that was
    /// put right moves the watermark later; fewer, and a few wrong dates suffice to move it.
    pub const RECENT: usize = 64;
    /// Of them, how many in a row are believed without exception. This lets a partition with
    /// few records wake after a long silence without waiting for a majority of 64.
    pub const RUN: usize = 8;

    /// Judges a valid record (no tombstone, malformed or future one) by what came before it,
    /// then lets it move the watermark.
    #[inline]
    pub fn observe(&mut self, time: EventTime, params: &Params) -> Judgement {
        let judgement = self.judge(time, params);
        self.recent.push(time);
        if self.first.is_none() && judgement.late_by.is_none() {
            self.first = Some(time);
        }
        match self.newest {
            Some(newest) if time <= newest => {}
            Some(newest) if time - newest > params.max_future => self.pass_gap(newest, params),
            _ => self.newest = Some(time),
        }
        judgement
    }

    /// C_p: no record whose pane ended at or before it will be applied. `None` before the first.
    pub fn watermark(&self, lateness: Span) -> Option<EventTime> {
        self.newest.map(|newest| newest - lateness)
    }

    /// M: the largest event time that moved the watermark.
    pub fn newest(&self) -> Option<EventTime> {
        self.newest
    }

    /// The time of the first record that was read and not late, or of the first such record
    /// after a loss: the partition is covered from one lateness later.
    pub fn first(&self) -> Option<EventTime> {
        self.first
    }

    /// Notes that records were lost before the next one. Time does not go back for it.
    pub fn records_lost(&mut self) {
        self.first = None;
    }

    /// The times of the last records, late ones and duplicates included; oldest first, at most
    /// [`Self::RECENT`]. With [`Self::newest`] and [`Self::first`] all there is to store.
    pub fn recent(&self) -> impl Iterator<Item = EventTime> {
        self.recent.iter()
    }

    /// The watermark as it was when `newest`, `first` and `recent` were read.
    pub fn restore(
        newest: Option<EventTime>,
        first: Option<EventTime>,
        recent: impl IntoIterator<Item = EventTime>,
    ) -> Self {
        let mut ring = Recent::default();
        recent.into_iter().for_each(|time| ring.push(time));
        Self { newest, first, recent: ring }
    }

    #[inline]
    fn judge(&self, time: EventTime, params: &Params) -> Judgement {
        let late_by = self.watermark(params.lateness).and_then(|watermark| {
            // A pane ends after every time in it, so most records need no division.
            if time >= watermark {
                return None;
            }
            let pane_end = time.next_multiple(params.base_pane);
            (pane_end <= watermark).then(|| watermark - pane_end)
        });
        Judgement { late_by }
    }

    /// A record beyond a gap has arrived: asks the recent ones whether the gap is real.
    #[cold]
    fn pass_gap(&mut self, newest: EventTime, params: &Params) {
        let horizon = newest + params.max_future;
        let is_beyond = |time: &EventTime| *time > horizon;
        let mut beyond: Vec<EventTime> = self.recent.iter().filter(is_beyond).collect();
        let run = self.recent.iter().rev().take_while(is_beyond).take(Self::RUN).count();
        if beyond.len() <= Self::RECENT / 2 && run < Self::RUN {
            return;
        }
        beyond.sort_unstable();
        let chain = beyond.into_iter().reduce(|reached, next| {
            // Once a step is too large every later one is larger still.
            if next - reached <= params.max_future { next } else { reached }
        });
        self.newest = self.newest.max(chain);
    }
}

/// A ring of the last event times, in place.
#[derive(Clone)]
struct Recent {
    times: [EventTime; Watermark::RECENT],
    /// How many are held.
    len: u8,
    /// Where the next one goes.
    next: u8,
}

impl Recent {
    #[inline]
    fn push(&mut self, time: EventTime) {
        self.times[usize::from(self.next) % Watermark::RECENT] = time;
        self.next = (self.next + 1) % Watermark::RECENT as u8;
        self.len = (self.len + 1).min(Watermark::RECENT as u8);
    }

    /// Oldest first.
    fn iter(&self) -> impl DoubleEndedIterator<Item = EventTime> {
        let start = usize::from(self.next) + Watermark::RECENT - usize::from(self.len);
        (start..start + usize::from(self.len)).map(|index| self.times[index % Watermark::RECENT])
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self { times: [EventTime::MIN; Watermark::RECENT], len: 0, next: 0 }
    }
}

/// By content: where a ring begins says nothing.
impl PartialEq for Recent {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Recent {}

impl std::fmt::Debug for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARAMS: Params = Params {
        lateness: Span::from_secs(10),
        max_future: Span::from_secs(300),
        base_pane: Span::from_secs(1),
    };

    fn at(seconds: i64) -> EventTime {
        EventTime::from_millis(seconds * 1000)
    }

    /// Observes times in seconds and returns M after each.
    fn newest_after(times: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let mut watermark = Watermark::default();
        times
            .into_iter()
            .map(|time| {
                watermark.observe(at(time), &PARAMS);
                watermark.newest().unwrap().millis() / 1000
            })
            .collect()
    }

    #[test]
    fn late_is_judged_by_the_pane_and_before_the_record_moves_anything() {
        let mut watermark = Watermark::default();
        assert_eq!(watermark.watermark(PARAMS.lateness), None);
        let mut late_by = |millis| {
            let judgement = watermark.observe(EventTime::from_millis(millis), &PARAMS);
            judgement.late_by.map(Span::millis)
        };
        //  …──92─)[93─────)[94──…      C_p = 93 after the first record
        assert_eq!(late_by(103_000), None, "the first is never late");
        assert_eq!(late_by(93_000), None, "its pane ends at 94");
        assert_eq!(late_by(92_999), Some(0), "its pane ended at 93");
        assert_eq!(late_by(90_500), Some(2000));
        assert_eq!(late_by(103_999), None);
        assert_eq!(late_by(92_999), Some(999), "C_p = 93.999");
        assert_eq!(late_by(93_000), None, "its pane ends at 94, after C_p");
    }

    #[test]
    fn a_step_of_max_future_is_believed_and_a_larger_one_is_not() {
        //                                      ┌ 300 s ┐┌ 301 s
        assert_eq!(newest_after([100, 103, 92, 403, 704]), [100, 103, 103, 403, 403]);
    }

    #[test]
    fn the_first_record_is_remembered_until_records_are_lost() {
        let mut watermark = Watermark::default();
        assert_eq!(watermark.first(), None);
        watermark.observe(at(100), &PARAMS);
        watermark.observe(at(99), &PARAMS);
        assert_eq!(watermark.first(), Some(at(100)));
        watermark.records_lost();
        assert_eq!((watermark.first(), watermark.newest()), (None, Some(at(100))));
        watermark.observe(at(80), &PARAMS);
        assert_eq!(watermark.first(), None, "a late one tells nothing of those before it");
        watermark.observe(at(150), &PARAMS);
        assert_eq!(watermark.first(), Some(at(150)));
    }

    #[test]
    fn one_event_from_the_future_never_moves_it() {
        //  100 … 109 │ 9999 │ 110 … 172        M goes on as if nothing had been
        let times = (100..110).chain([9999]).chain(110..173);
        let newest = newest_after(times);
        assert_eq!(newest[10], 109);
        assert_eq!(newest.last(), Some(&172));
        // Not even as the second record of its partition, and not again and again.
        assert_eq!(newest_after([100, 9999, 101, 9999, 102]).last(), Some(&102));
    }

    #[test]
    fn eight_in_a_row_move_it() {
        //  100 │ 1000 … 1007
        let newest = newest_after([100].into_iter().chain(1000..1008));
        assert_eq!(newest, [100, 100, 100, 100, 100, 100, 100, 100, 1007]);
        //  a record from before the gap breaks the run
        let broken = (1000..1007).chain([101]).chain(1007..1014);
        assert_eq!(newest_after([100].into_iter().chain(broken)).last(), Some(&101));
    }

    #[test]
    fn a_majority_of_64_moves_it() {
        //  two of three records come from beyond the gap, never eight in a row
        let times = (0..60).map(|i| if i % 3 == 0 { 100 + i } else { 5000 + i });
        let newest = newest_after(times);
        let moved = newest.iter().position(|&newest| newest >= 5000).unwrap();
        // Of i = 0..=49, 33 lie beyond: more than half of 64.
        assert_eq!((moved, newest[moved]), (49, 5049));
    }

    #[test]
    fn half_of_64_does_not_nor_does_what_a_step_could_reach() {
        //  32 of 51 lie beyond 400 + 300; one, at 700, could be reached by a step
        let beyond = (0..48).map(|i| if i % 3 == 2 { 400 } else { 701 });
        let mut times: Vec<i64> = [100, 700, 400].into_iter().chain(beyond).collect();
        assert_eq!(newest_after(times.clone()).last(), Some(&400));
        times.push(701);
        assert_eq!(newest_after(times).last(), Some(&701));
    }

    #[test]
    fn what_lies_behind_a_second_gap_is_not_believed_yet() {
        //  100 │ 1003 1001 1002 90000 1300 1000 1004 1005      eight beyond, one far beyond
        let times = [100, 1003, 1001, 1002, 90_000, 1300, 1000, 1004, 1005];
        assert_eq!(newest_after(times).last(), Some(&1300));
    }

    /// The rule in its own words, over the whole log.
    #[derive(Default)]
    struct Naive {
        log: Vec<i64>,
        newest: Option<i64>,
    }

    impl Naive {
        fn observe(&mut self, t: i64, params: &Params) -> bool {
            let [lateness, max_future, pane] =
                [params.lateness, params.max_future, params.base_pane].map(Span::millis);
            let late = self.newest.is_some_and(|m| (t.div_euclid(pane) + 1) * pane <= m - lateness);
            self.log.push(t);
            let Some(m) = self.newest else {
                self.newest = Some(t);
                return late;
            };
            if t > m && t - m <= max_future {
                self.newest = Some(t);
            } else if t > m {
                let last = |n: usize| &self.log[self.log.len().saturating_sub(n)..];
                let mut beyond = last(64).to_vec();
                beyond.retain(|&t| t > m + max_future);
                let run = self.log.len() >= 8 && last(8).iter().all(|&t| t > m + max_future);
                if beyond.len() > 32 || run {
                    beyond.sort_unstable();
                    let mut reached = beyond[0];
                    for &next in &beyond[1..] {
                        if next - reached > max_future {
                            break;
                        }
                        reached = next;
                    }
                    self.newest = Some(reached);
                }
            }
            late
        }
    }

    /// Times that wander, with steps back, steps of about max_future, and other eras.
    fn times() -> impl Strategy<Value = Vec<i64>> {
        let step = prop_oneof![
            8 => -40..60i64,
            2 => 90..110i64,
            1 => 100..2_000i64,
            1 => -2_000..0i64,
        ];
        prop::collection::vec((step, prop::bool::weighted(0.4)), 1..300).prop_map(|steps| {
            let (mut base, mut times) = (0, vec![]);
            for (step, stays) in steps {
                times.push(base + step);
                base = if stays { base + step } else { base + 1 };
            }
            times
        })
    }

    proptest! {
        #[test]
        fn agrees_with_the_rule_is_monotone_and_resumes(
            times in times(), lateness in 0..50i64, pane in 1..20i64, restored_at in 0..300usize,
        ) {
            let params = Params {
                lateness: Span::from_millis(lateness),
                max_future: Span::from_millis(100),
                base_pane: Span::from_millis(pane),
            };
            let (mut watermark, mut naive) = (Watermark::default(), Naive::default());
            for (index, &time) in times.iter().enumerate() {
                if index == restored_at {
                    let (newest, first) = (watermark.newest(), watermark.first());
                    let restored = Watermark::restore(newest, first, watermark.recent());
                    prop_assert_eq!(&restored, &watermark);
                    watermark = restored;
                }
                let before = watermark.newest();
                let judgement = watermark.observe(EventTime::from_millis(time), &params);
                prop_assert_eq!(judgement.late_by.is_some(), naive.observe(time, &params));
                prop_assert_eq!(watermark.newest().map(EventTime::millis), naive.newest);
                prop_assert!(watermark.newest() >= before);
            }
        }
    }
}
