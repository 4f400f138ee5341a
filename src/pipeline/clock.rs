//! The group's clock: stream time, the group watermark, and which partitions hold them.
//!
//! Per partition p there is C_p, the watermark of its own log, and q_p, its *quiet mark*: the
//! stream time that was known before the broker said that p's log holds nothing more. Then
//!
//! ```text
//! D_p = max(C_p, q_p − lateness)      how far p lets windows close
//! G   = min D_p over all partitions   the group watermark: closes windows, judges nothing late
//! N   = newest event time that moved any watermark: places the latest windows
//! ```
//! A partition that is merely slow, or whose broker is away, has no new quiet mark: it holds G
//! and nothing becomes late. Monotonic time comes in as an argument and serves two ends only:
//! N grows with it while every partition is quiet, and a partition that has stalled for
//! `stall_limit` is left out of G, visibly.

use std::collections::BTreeMap;

use crate::event::Kind;
use crate::pipeline::definitions::Definitions;
use crate::pipeline::delivery::Partition;
use crate::time::{EventTime, Span};

/// A partition progresses if it delivered a record so recently.
const PROGRESS_MILLIS: u64 = 10_000;

/// A broker's word that a log has ended holds for so long; it is asked again every second.
const QUIET_MILLIS: u64 = 5_000;

/// From which event time on a partition's log has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// From the very beginning of the log (offset 0).
    Everything,
    /// From a later offset that was asked for by time: covered from the first record read,
    /// plus lateness; from the time asked for if there is none.
    From(EventTime),
    /// From a later offset, no time known: covered from the first record read, plus lateness.
    Unknown,
}

#[derive(Clone, Debug)]
struct PartitionClock {
    /// M_p.
    newest: Option<EventTime>,
    /// q_p.
    quiet: Option<EventTime>,
    /// Its log ends at our position, as far as the broker has told since the last record.
    is_quiet: bool,
    covered_from: Option<EventTime>,
    /// Replaced by the first record; see [`Coverage`].
    coverage_is_provisional: bool,
    last_record_millis: Option<u64>,
    /// The last record, or the last time the broker confirmed the end of the log.
    last_sign_millis: u64,
    left_out: bool,
}

/// Pure: time and progress come in as arguments.
#[derive(Clone, Debug)]
pub struct Clock {
    lateness: Span,
    stall_limit_millis: u64,
    partitions: BTreeMap<Partition, PartitionClock>,
    stream_time: Option<EventTime>,
    /// Monotonic time since which every partition has been quiet, and N at that moment.
    all_quiet_since: Option<(u64, EventTime)>,
    group_watermark: Option<EventTime>,
    /// Until every configured topic is known, G must not move.
    topology_known: bool,
    last_tick_millis: Option<u64>,
}

/// What a checkpoint keeps of a clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedClock {
    pub stream_time: Option<EventTime>,
    pub group_watermark: Option<EventTime>,
    pub partitions: Vec<(Partition, SavedPartitionClock)>,
}

/// What a checkpoint keeps of one partition's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedPartitionClock {
    pub newest: Option<EventTime>,
    pub quiet: Option<EventTime>,
    pub covered_from: Option<EventTime>,
    pub coverage_is_provisional: bool,
}

impl Clock {
    pub fn new(definitions: &Definitions) -> Self {
        Self {
            lateness: definitions.lateness,
            stall_limit_millis: definitions.stall_limit.millis().unsigned_abs(),
            partitions: BTreeMap::new(),
            stream_time: None,
            all_quiet_since: None,
            group_watermark: None,
            topology_known: false,
            last_tick_millis: None,
        }
    }

    pub fn save(&self) -> SavedClock {
        let save = |(&partition, clock): (&Partition, &PartitionClock)| {
            let &PartitionClock { newest, quiet, covered_from, coverage_is_provisional, .. } =
                clock;
            let saved =
                SavedPartitionClock { newest, quiet, covered_from, coverage_is_provisional };
            (partition, saved)
        };
        SavedClock {
            stream_time: self.stream_time,
            group_watermark: self.group_watermark,
            partitions: self.partitions.iter().map(save).collect(),
        }
    }

    /// The clock that was saved. What it knew by monotonic time (who progresses, who is quiet
    /// now) has to be heard again.
    pub fn restore(definitions: &Definitions, saved: SavedClock) -> Self {
        let mut clock = Self::new(definitions);
        clock.stream_time = saved.stream_time;
        clock.group_watermark = saved.group_watermark;
        for (partition, saved) in saved.partitions {
            let SavedPartitionClock { newest, quiet, covered_from, coverage_is_provisional } =
                saved;
            let restored = PartitionClock {
                newest,
                quiet,
                is_quiet: false,
                covered_from,
                coverage_is_provisional,
                last_record_millis: None,
                last_sign_millis: 0,
                left_out: false,
            };
            clock.partitions.insert(partition, restored);
        }
        clock
    }

    pub fn add_partition(&mut self, partition: Partition, coverage: Coverage, now_millis: u64) {
        let (covered_from, coverage_is_provisional) = match coverage {
            Coverage::Everything => (Some(EventTime::MIN), false),
            Coverage::From(time) => (Some(time), true),
            Coverage::Unknown => (None, true),
        };
        self.partitions.entry(partition).or_insert(PartitionClock {
            newest: None,
            quiet: None,
            is_quiet: false,
            covered_from,
            coverage_is_provisional,
            last_record_millis: None,
            last_sign_millis: now_millis,
            left_out: false,
        });
    }

    /// Every configured topic exists and its partitions have been added.
    pub fn topology_known(&mut self) {
        self.topology_known = true;
        self.advance_group_watermark();
    }

    /// A partition's log was reset, or records were lost to retention: what comes from here on
    /// is covered, what was before is not known to be.
    pub fn lost(&mut self, partition: Partition) {
        if let Some(clock) = self.partitions.get_mut(&partition) {
            let known_to = clock.newest.map(|newest| newest + self.lateness);
            clock.covered_from = clock.covered_from.max(known_to);
            clock.coverage_is_provisional |= known_to.is_none();
        }
    }

    pub fn forget(&mut self, partition: Partition) {
        self.partitions.remove(&partition);
    }

    /// A delivery was merged: `newest` and `quiet` are the partition's marks after it.
    pub fn delivered(
        &mut self,
        partition: Partition,
        has_records: bool,
        newest: Option<EventTime>,
        quiet: Option<EventTime>,
        now_millis: u64,
    ) {
        let lateness = self.lateness;
        let Some(clock) = self.partitions.get_mut(&partition) else { return };
        let confirmed_quiet = quiet.is_some() && !has_records;
        clock.quiet = clock.quiet.max(quiet);
        clock.newest = clock.newest.max(newest);
        if has_records {
            clock.last_record_millis = Some(now_millis);
            if let Some(newest) = newest.filter(|_| clock.coverage_is_provisional) {
                clock.covered_from = clock.covered_from.max(Some(newest + lateness));
                clock.coverage_is_provisional = false;
            }
        }
        clock.is_quiet = confirmed_quiet;
        clock.last_sign_millis = now_millis;
        clock.left_out = false;
        self.stream_time = self.stream_time.max(newest);
        self.grow_stream_time(now_millis);
        self.advance_group_watermark();
    }

    /// Lets monotonic time pass. `held`: we ourselves have stopped reading (backpressure), so
    /// that nobody can be said to stall.
    pub fn tick(&mut self, now_millis: u64, held: bool) {
        let elapsed = now_millis.saturating_sub(self.last_tick_millis.unwrap_or(now_millis));
        self.last_tick_millis = Some(now_millis);
        if held {
            for clock in self.partitions.values_mut() {
                clock.last_sign_millis += elapsed;
            }
        }
        self.grow_stream_time(now_millis);
        let recently = |clock: &PartitionClock, limit| {
            now_millis.saturating_sub(clock.last_sign_millis) < limit
        };
        // Stalling counts only while somebody else shows signs of life.
        let somebody_moves = self.partitions.values().any(|clock| recently(clock, PROGRESS_MILLIS));
        if somebody_moves {
            for clock in self.partitions.values_mut() {
                clock.left_out |= !recently(clock, self.stall_limit_millis);
            }
        }
        self.advance_group_watermark();
    }

    /// While every partition is quiet, stream time goes on with the monotonic clock, so that
    /// the last windows close although nothing arrives.
    fn grow_stream_time(&mut self, now_millis: u64) {
        let Some(stream_time) = self.stream_time else { return };
        let confirmed = |clock: &PartitionClock| {
            clock.is_quiet && now_millis.saturating_sub(clock.last_sign_millis) < QUIET_MILLIS
        };
        let all_quiet = self.partitions.values().all(|clock| confirmed(clock) || clock.left_out)
            && self.partitions.values().any(confirmed);
        if !all_quiet {
            self.all_quiet_since = None;
            return;
        }
        let (since, at_start) = *self.all_quiet_since.get_or_insert((now_millis, stream_time));
        let grown = Span::from_millis(now_millis.saturating_sub(since) as i64);
        self.stream_time = Some(stream_time.max(at_start + grown));
    }

    fn advance_group_watermark(&mut self) {
        if !self.topology_known || self.partitions.values().all(|clock| clock.left_out) {
            return;
        }
        let lateness = self.lateness;
        let least = self
            .partitions
            .values()
            .filter(|clock| !clock.left_out)
            .map(|clock| clock.newest.max(clock.quiet).map(|time| time - lateness))
            .min()
            .flatten();
        self.group_watermark = self.group_watermark.max(least);
    }

    /// G is at least this: what an earlier run has shown. It never goes back.
    pub fn raise_group_watermark(&mut self, shown: Option<EventTime>) {
        self.group_watermark = self.group_watermark.max(shown);
    }

    /// A bounded run has read all it will.
    pub fn finish(&mut self) {
        self.group_watermark = Some(EventTime::MAX);
    }

    /// N; `None` before the first record.
    pub fn stream_time(&self) -> Option<EventTime> {
        self.stream_time
    }

    /// G; `None` until every partition has a watermark or is quiet.
    pub fn group_watermark(&self) -> Option<EventTime> {
        self.group_watermark
    }

    /// How many partitions' own watermarks have not reached `end`: 0 means proven.
    pub fn quiet_closed(&self, end: EventTime) -> usize {
        let own = |clock: &&PartitionClock| {
            clock.newest.is_none_or(|newest| newest - self.lateness < end)
        };
        self.partitions.values().filter(own).count()
    }

    /// Whether every partition is covered from `start` on and none is left out.
    pub fn complete(&self, start: EventTime) -> bool {
        self.partitions
            .values()
            .all(|clock| !clock.left_out && clock.covered_from.is_some_and(|from| from <= start))
    }

    /// Partitions left out of the group watermark.
    pub fn missing(&self) -> Vec<Partition> {
        self.partitions.iter().filter(|(_, clock)| clock.left_out).map(|(&p, _)| p).collect()
    }

    /// The least newest time among partitions that progress: others are not read when they are
    /// more than `max_skew` ahead of it.
    pub fn slowest_progressing(&self, now_millis: u64) -> Option<EventTime> {
        self.partitions
            .values()
            .filter(|clock| !clock.is_quiet)
            .filter(|clock| {
                clock
                    .last_record_millis
                    .is_some_and(|at| now_millis.saturating_sub(at) < PROGRESS_MILLIS)
            })
            .filter_map(|clock| clock.newest)
            .min()
    }

    /// The partition with the least D_p, and that D_p: who holds the group watermark.
    pub fn holding_back(&self) -> Option<(Partition, Option<EventTime>)> {
        self.partitions
            .iter()
            .filter(|(_, clock)| !clock.left_out)
            .map(|(&partition, clock)| {
                (partition, clock.newest.max(clock.quiet).map(|time| time - self.lateness))
            })
            .min_by_key(|&(_, least)| least)
    }

    /// By kind: how many partitions are quiet, and the least watermark if all have one.
    pub fn by_kind(&self) -> Vec<(Kind, usize, Option<EventTime>)> {
        let of = |kind: Kind| self.partitions.iter().filter(move |(p, _)| p.kind == kind);
        let summary = |kind: Kind| {
            let quiet = of(kind).filter(|(_, clock)| clock.is_quiet).count();
            let least = of(kind).map(|(_, clock)| clock.newest).min().flatten();
            (kind, quiet, least.map(|newest| newest - self.lateness))
        };
        Kind::ALL.into_iter().map(summary).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::testing;
    use proptest::prelude::*;

    const LATENESS: i64 = 5;

    fn p(index: i32) -> Partition {
        Partition { kind: Kind::Click, index }
    }

    fn at(secs: i64) -> Option<EventTime> {
        Some(EventTime::from_millis(secs * 1000))
    }

    fn clock(partitions: i32) -> Clock {
        let mut clock = Clock::new(&testing::definitions());
        (0..partitions).for_each(|index| clock.add_partition(p(index), Coverage::Everything, 0));
        clock.topology_known();
        clock
    }

    fn record(clock: &mut Clock, index: i32, secs: i64, now_secs: u64) {
        clock.delivered(p(index), true, at(secs), None, now_secs * 1000);
    }

    /// The broker confirms the end of the log; N was read before.
    fn quiet(clock: &mut Clock, index: i32, now_secs: u64) {
        let n = clock.stream_time();
        clock.delivered(p(index), false, None, n, now_secs * 1000);
    }

    #[test]
    fn a_partition_without_record_or_quiet_mark_holds_the_group() {
        let mut clock = clock(2);
        record(&mut clock, 0, 100, 0);
        assert_eq!(clock.group_watermark(), None);
        assert_eq!(clock.stream_time(), at(100));
        quiet(&mut clock, 1, 1);
        assert_eq!(clock.group_watermark(), at(100 - LATENESS));
        // The slow one holds, however far the other goes.
        record(&mut clock, 0, 500, 2);
        assert_eq!(clock.group_watermark(), at(100 - LATENESS));
        assert_eq!(clock.holding_back().map(|(p, _)| p.index), Some(1));
    }

    #[test]
    fn nothing_moves_while_a_topic_is_missing() {
        let mut clock = Clock::new(&testing::definitions());
        clock.add_partition(p(0), Coverage::Everything, 0);
        record(&mut clock, 0, 100, 0);
        assert_eq!(clock.group_watermark(), None);
        clock.topology_known();
        assert_eq!(clock.group_watermark(), at(95));
    }

    #[test]
    fn stream_time_grows_only_while_all_are_quiet() {
        let mut clock = clock(2);
        record(&mut clock, 0, 100, 0);
        quiet(&mut clock, 0, 1);
        clock.tick(3_000, false);
        assert_eq!(clock.stream_time(), at(100), "the other one is not quiet");
        quiet(&mut clock, 1, 3);
        clock.tick(5_000, false);
        assert_eq!(clock.stream_time(), at(102));
        // The next confirmations carry the grown N, and the group follows.
        quiet(&mut clock, 0, 5);
        quiet(&mut clock, 1, 5);
        assert_eq!(clock.group_watermark(), at(102 - LATENESS));
        // The broker answers no more: its word is not good for ever.
        clock.tick(9_000, false);
        clock.tick(60_000, false);
        assert_eq!(clock.stream_time(), at(106));
        quiet(&mut clock, 0, 60);
        quiet(&mut clock, 1, 60);
        clock.tick(61_000, false);
        assert_eq!(clock.stream_time(), at(107), "it goes on from where it stood");
        record(&mut clock, 0, 104, 62);
        clock.tick(64_000, false);
        assert_eq!(clock.stream_time(), at(107), "a record has come: no growth, and never back");
    }

    #[test]
    fn a_stalled_partition_is_left_out_and_named_while_others_move() {
        let mut clock = clock(2);
        record(&mut clock, 0, 100, 0);
        record(&mut clock, 1, 100, 0);
        for now in 1..=600 {
            record(&mut clock, 0, 100 + now, now as u64);
            clock.tick(now as u64 * 1000, false);
        }
        assert_eq!(clock.missing(), [p(1)]);
        assert_eq!(clock.group_watermark(), at(700 - LATENESS));
        assert!(!clock.complete(EventTime::from_millis(0)));
        // It comes back: counted again, and the group does not go back.
        record(&mut clock, 1, 101, 601);
        assert_eq!(clock.missing(), []);
        assert_eq!(clock.group_watermark(), at(700 - LATENESS));
    }

    #[test]
    fn when_all_stall_or_we_hold_them_nobody_is_left_out() {
        let mut silent = clock(2);
        record(&mut silent, 0, 100, 0);
        record(&mut silent, 1, 90, 0);
        (1..2000).for_each(|now| silent.tick(now * 1000, false));
        assert_eq!((silent.missing(), silent.group_watermark()), (vec![], at(85)));
        let mut held = clock(2);
        record(&mut held, 0, 100, 0);
        (1..2000).for_each(|now| held.tick(now * 1000, true));
        assert_eq!(held.missing(), []);
    }

    #[test]
    fn coverage_starts_at_the_first_record_plus_lateness() {
        let mut clock = Clock::new(&testing::definitions());
        clock.add_partition(p(0), Coverage::Everything, 0);
        clock.add_partition(p(1), Coverage::From(EventTime::from_millis(50_000)), 0);
        clock.topology_known();
        assert!(clock.complete(EventTime::from_millis(50_000)), "the time asked for, while empty");
        assert!(!clock.complete(EventTime::from_millis(49_999)));
        record(&mut clock, 1, 60, 0);
        assert!(!clock.complete(EventTime::from_millis(64_999)));
        assert!(clock.complete(EventTime::from_millis(65_000)));
        record(&mut clock, 1, 80, 1);
        clock.lost(p(1));
        assert!(!clock.complete(EventTime::from_millis(84_999)));
        assert!(clock.complete(EventTime::from_millis(85_000)));
    }

    #[test]
    fn proven_counts_the_partitions_closed_by_quiet() {
        let mut clock = clock(2);
        record(&mut clock, 0, 100, 0);
        quiet(&mut clock, 1, 0);
        assert_eq!(clock.quiet_closed(EventTime::from_millis(95_000)), 1);
        record(&mut clock, 1, 100, 0);
        assert_eq!(clock.quiet_closed(EventTime::from_millis(95_000)), 0);
        assert_eq!(clock.quiet_closed(EventTime::from_millis(95_001)), 2);
    }

    proptest! {
        #[test]
        fn the_group_watermark_is_the_least_and_never_goes_back(
            steps in prop::collection::vec((0i32..4, 0i64..1000, any::<bool>()), 1..200),
        ) {
            let mut clock = clock(4);
            let mut marks = [None; 4];
            let mut before = None;
            for (index, secs, is_record) in steps {
                let mark = &mut marks[index as usize];
                if is_record {
                    record(&mut clock, index, secs, 0);
                    *mark = (*mark).max(at(secs - LATENESS));
                } else {
                    let n = clock.stream_time();
                    quiet(&mut clock, index, 0);
                    *mark = (*mark).max(n.map(|n| n - Span::from_secs(LATENESS)));
                }
                let least = marks.iter().copied().min().flatten();
                prop_assert_eq!(clock.group_watermark(), least);
                prop_assert!(clock.group_watermark() >= before);
                before = clock.group_watermark();
            }
        }
    }
}
