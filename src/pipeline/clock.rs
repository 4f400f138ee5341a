//! The group clock: how far event time has come for all partitions together.
//!
//! | | |
//! |---|---|
//! | C_p | watermark of a partition: M_p − lateness, by its own log |
//! | q_p | quiet mark: the stream time that was known *before* the broker said "nothing further" |
//! | D_p | max(C_p, q_p − lateness): how far the partition has come |
//! | G | group watermark: the least D_p of all partitions that exist; windows close by it |
//! | N | stream time: the largest M_p, and more while everything is quiet |
//!
//! ```text
//!              quiet: the broker says so             delivers at last
//!  p0  ──●──●──┤ q=30        q=47          q=60 ──●(41)──●(58)
//!  p1  ─────●─────●(47)────●(60)──────────────────●(62)
//!  G+lateness     30        47            60                       60, 62 once p0 is there
//! ```
//!
//! A quiet partition does not hold the others back, and nothing is late because of it: lateness
//! asks C_p alone. What p0 delivers at 41 above is counted where windows are still open.
//!
//! No wall clock decides anything. Event time that no event shows is told by *elapsed*
//! monotonic time, and only while every partition is known to be quiet, up to the moment of
//! which the last of them has been confirmed. When the broker falls silent, that moment, N and
//! G stand still.
//!
//! A partition that neither progresses nor is confirmed quiet holds G. After `stall_limit` it is
//! left out and named: windows then close, and are not called complete. Only time in which
//! some other partition is alive counts towards the limit, and none in which we held the
//! partition back ourselves; otherwise an outage of ours or of the whole cluster would make
//! data incomplete. When no partition is left, G stands still.
//!
//! Monotonic time comes in as a [`Duration`] since any fixed moment.

mod coverage;
mod partition;

use std::collections::BTreeMap;
use std::time::Duration;

pub use coverage::Coverage;

use crate::pipeline::delivery::Partition;
use crate::pipeline::watermark::Watermark;
use crate::time::{EventTime, Span};
use partition::PartitionClock;

/// The clock of the merged partitions. Feed it what deliveries and brokers say, [`tick`] it at
/// each flush, then read it.
///
/// [`tick`]: GroupClock::tick
#[derive(Clone, Debug)]
pub struct GroupClock {
    lateness: Span,
    stall_limit: Duration,
    partitions: BTreeMap<Partition, PartitionClock>,
    topics_exist: bool,
    /// G stands still while our own trouble keeps everything from progressing.
    held: bool,
    group_watermark: Option<EventTime>,
    stream_time: Option<EventTime>,
    /// Elapsed time up to here is part of the stream time.
    grown_until: Duration,
    ticked_at: Option<Duration>,
}

impl GroupClock {
    /// A partition that delivered or was confirmed quiet within this is alive, and one that
    /// delivered within it and is not quiet is progressing. Longer, and a partition that
    /// has died still paces the others; shorter, and slow polls make it seem dead.
    pub const ALIVE: Duration = Duration::from_secs(10);

    /// The most that one tick counts towards `stall_limit`. Ticks come at each flush, so a
    /// longer step means that this process was stopped, which is nobody's stall.
    pub const STEP_MAX: Duration = Duration::from_secs(5);

    pub fn new(lateness: Span, stall_limit: Duration) -> Self {
        Self {
            lateness,
            stall_limit,
            partitions: BTreeMap::new(),
            topics_exist: false,
            held: false,
            group_watermark: None,
            stream_time: None,
            grown_until: Duration::ZERO,
            ticked_at: None,
        }
    }

    /// Takes over what a predecessor had reached. Neither time goes back.
    pub fn resume(&mut self, group_watermark: Option<EventTime>, stream_time: Option<EventTime>) {
        self.group_watermark = self.group_watermark.max(group_watermark);
        self.stream_time = self.stream_time.max(stream_time);
    }

    // ---- what is told

    /// The partitions in the topics' metadata, owned or not. New ones hold G until they are
    /// heard of. G does not move before all configured topics exist.
    pub fn set_partitions(
        &mut self,
        partitions: impl IntoIterator<Item = Partition>,
        topics_exist: bool,
    ) {
        let mut known = std::mem::take(&mut self.partitions);
        self.partitions = partitions
            .into_iter()
            .map(|partition| (partition, known.remove(&partition).unwrap_or_default()))
            .collect();
        self.topics_exist = topics_exist;
    }

    /// A partition is read from here on; also after a reset or a loss, when what was covered
    /// before no longer is.
    pub fn start(&mut self, partition: Partition, coverage: Coverage) {
        self.partition(partition).coverage = coverage;
    }

    /// Records of a partition were merged, and left it with this watermark.
    pub fn progressed(&mut self, partition: Partition, watermark: &Watermark, now: Duration) {
        let newest = watermark.newest();
        self.partition(partition).progressed(watermark, now);
        self.stream_time = self.stream_time.max(newest);
    }

    /// The broker has confirmed that the log of a partition ends where we are. `mark` is the
    /// stream time that the owner had read *before* it asked, and `asked_at` when that was.
    pub fn quiet(&mut self, partition: Partition, mark: Option<EventTime>, asked_at: Duration) {
        self.partition(partition).confirmed_quiet(mark, asked_at);
        self.grow();
    }

    /// We hold a partition back ourselves (it runs ahead), or do no longer.
    pub fn hold(&mut self, partition: Partition, held: bool) {
        self.partition(partition).held = held;
    }

    /// We hold everything back ourselves (the sink is away, memory is full), or do no longer.
    pub fn hold_all(&mut self, held: bool) {
        self.held = held;
    }

    /// Counts elapsed time towards stalls and moves the group watermark.
    pub fn tick(&mut self, now: Duration) {
        let elapsed = now.saturating_sub(self.ticked_at.unwrap_or(now)).min(Self::STEP_MAX);
        self.ticked_at = Some(now);
        let alive = self.partitions.values().filter(|p| p.is_alive(now)).count();
        for partition in self.partitions.values_mut() {
            let others_alive = alive - usize::from(partition.is_alive(now));
            if others_alive > 0 && !self.held && !partition.held {
                partition.stalled_for += elapsed;
            }
        }
        if self.topics_exist {
            self.group_watermark = self.group_watermark.max(self.slowest().and_then(|(_, d)| d));
        }
    }

    /// A bounded run has read its prefix: every window may close.
    pub fn finish(&mut self) {
        self.group_watermark = Some(EventTime::MAX);
    }

    // ---- what is known

    /// G. Windows that end at or before it are final.
    pub fn group_watermark(&self) -> Option<EventTime> {
        self.group_watermark
    }

    /// N.
    pub fn stream_time(&self) -> Option<EventTime> {
        self.stream_time
    }

    /// The partition that holds G, with its D_p: the least of those that are not left out.
    pub fn slowest(&self) -> Option<(Partition, Option<EventTime>)> {
        self.partitions
            .iter()
            .filter(|(_, clock)| !self.is_left_out(clock))
            .map(|(&partition, clock)| (partition, clock.reached(self.lateness)))
            .min_by_key(|&(_, reached)| reached)
    }

    /// The least watermark among the partitions that delivered of late and are not quiet. Who
    /// is more than `max_skew` ahead of it is paused; the stuck and the unowned pace nobody.
    pub fn slowest_progressing(&self, now: Duration) -> Option<EventTime> {
        let progressing = self.partitions.values().filter(|clock| clock.is_progressing(now));
        progressing.filter_map(|clock| clock.watermark(self.lateness)).min()
    }

    /// C_p.
    pub fn watermark(&self, partition: Partition) -> Option<EventTime> {
        self.partitions.get(&partition)?.watermark(self.lateness)
    }

    /// How many partitions a window that ends at `end` was closed for by the broker's word, not
    /// by their own log. With 0 it is proven: a pure function of the log.
    pub fn quiet_closed(&self, end: EventTime) -> usize {
        let proven = |clock: &PartitionClock| {
            clock.watermark(self.lateness).is_some_and(|watermark| watermark >= end)
        };
        self.partitions.values().filter(|clock| !proven(clock)).count()
    }

    /// Whether all records with times from `from` on have been, or will be, read: every
    /// partition is covered since then, and none is left out.
    pub fn complete(&self, from: EventTime) -> bool {
        let complete = |clock: &PartitionClock| {
            !self.is_left_out(clock)
                && clock.coverage.from(self.lateness).is_some_and(|covered| covered <= from)
        };
        self.topics_exist && self.partitions.values().all(complete)
    }

    /// The partitions that are left out.
    pub fn missing(&self) -> Vec<Partition> {
        let left_out = self.partitions.iter().filter(|(_, clock)| self.is_left_out(clock));
        left_out.map(|(&partition, _)| partition).collect()
    }

    fn is_left_out(&self, clock: &PartitionClock) -> bool {
        clock.stalled_for >= self.stall_limit
    }

    fn partition(&mut self, partition: Partition) -> &mut PartitionClock {
        // Records of a partition may arrive before the metadata that names it.
        self.partitions.entry(partition).or_default()
    }

    /// Adds to the stream time what elapsed while every partition was quiet: from when the
    /// last of them became so to the moment up to which all are confirmed.
    fn grow(&mut self) {
        let Some(stream_time) = self.stream_time else { return };
        let mut all_quiet = Some((self.grown_until, Duration::MAX));
        for clock in self.partitions.values() {
            all_quiet = all_quiet
                .zip(clock.quiet_between())
                .map(|((from, to), (since, until))| (from.max(since), to.min(until)));
        }
        if let Some((from, to)) = all_quiet
            && from < to
        {
            self.stream_time = Some(stream_time + Span::from(to - from));
            self.grown_until = to;
        }
    }
}

#[cfg(test)]
mod tests;
