//! What is published: values ready to be written, with the offsets that explain them.
//!
//! The merger builds these; a [`Sink`](crate::sinks::Sink) writes them. All numbers are
//! absolute, so writing a view twice changes nothing.

use std::sync::Arc;

use crate::event::{Kind, Metric};
use crate::pipeline::delivery::{Partition, Totals};
use crate::time::EventTime;

/// An entity's name; shared with the merger's table of names.
pub type Name = Arc<str>;

/// The top entities of one dimension by one metric: score descending, then name bytes
/// descending (the order of `ZRANGE … REV`), never longer than the board's `top`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoardView {
    /// Index into `Definitions::dimensions`.
    pub dimension: usize,
    pub metric: Metric,
    pub rows: Vec<(Name, u64)>,
}

/// Distinct users as a Redis HyperLogLog value, ready for SET. A sketch without users is not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UniquesView {
    pub kind: Kind,
    /// (index into `Definitions::dimensions`, entity); `None`: all users of the kind.
    pub entity: Option<(usize, Name)>,
    /// The string value: header with cached cardinality, then sparse or dense registers.
    pub value: Vec<u8>,
    /// The cached cardinality, as PFCOUNT will answer it.
    pub estimate: u64,
}

/// All metrics of one entity that stands on some board of the window, by `Metric as usize`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntityView {
    pub dimension: usize,
    pub name: Name,
    pub metrics: [u64; Metric::COUNT],
}

/// The content of one window `[start, end)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowView {
    /// Index into `Definitions::windows`.
    pub window: usize,
    pub start: EventTime,
    pub end: EventTime,
    pub totals: Totals,
    /// Users of any kind, by union of the kinds' registers.
    pub uniques: u64,
    /// One per configured board, in that order; empty boards included. None at all for a closed
    /// window whose boards would be pushed out at once.
    pub boards: Vec<BoardView>,
    pub distinct: Vec<UniquesView>,
}

/// The next record to be merged, by partition: the views are exact for the log before these offsets.
pub type Offsets = Arc<Vec<(Partition, i64)>>;

/// The latest state of one window size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestView {
    pub view: WindowView,
    pub offsets: Offsets,
    /// Stream time at these offsets.
    pub stream_time: EventTime,
    pub entities: Vec<EntityView>,
}

/// A window that will never change again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedView {
    pub view: WindowView,
    /// How many partitions were closed by the broker's word that their log had ended, not by
    /// their own watermark. 0 means proven: a pure function of the log.
    pub quiet: usize,
    /// Every partition is covered from `start` on.
    pub complete: bool,
    /// What was merged when it closed. Whoever reads these records again knows that they were
    /// judged then.
    pub offsets: Offsets,
    /// How many of them had come after close.
    pub events_after_close: u64,
}

impl ClosedView {
    /// Bytes it occupies while it waits to be written, by estimate.
    pub fn bytes(&self) -> usize {
        const ROW_BYTES: usize = 40;
        let rows: usize = self.view.boards.iter().map(|board| board.rows.len()).sum();
        let sketches: usize =
            self.view.distinct.iter().map(|view| view.value.capacity() + 64).sum();
        let offsets = size_of_val(&**self.offsets);
        size_of::<Self>() + rows * ROW_BYTES + sketches + offsets
    }
}

/// What stands in the `meta` hash besides the offset vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// `None` before the first record.
    pub stream_time: Option<EventTime>,
    pub group_watermark: Option<EventTime>,
    /// The newest time of the slowest partition that progresses: others are not read when they
    /// are too far ahead of it.
    pub slowest_progressing: Option<EventTime>,
    /// By window: the end of the newest closed window.
    pub closed_through: Vec<Option<EventTime>>,
    /// Every partition is covered from the start of the longest latest window.
    pub complete: bool,
    /// Partitions left out because they neither progressed nor were confirmed quiet.
    pub missing: Vec<Partition>,
    /// The partition whose watermark is least.
    pub held_back_by: Option<Partition>,
    pub events_after_close: u64,
    /// (record, entity) pairs counted under `__other__` because a cap was reached.
    pub over_cap: u64,
    /// A bounded run has ended: nothing follows.
    pub ended: bool,
}

/// Everything one flush publishes: closed windows first, in order of their ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flush {
    /// Shared, because a sink may have to write them again: see its own contract.
    pub closed: Vec<Arc<ClosedView>>,
    /// The windows that are due, each complete in itself.
    pub latest: Vec<LatestView>,
    pub meta: Meta,
    /// The latest views of an earlier run stay, with what meta says of them: they know more of
    /// the log than we do yet. Only closed windows are written.
    pub keeps_latest: bool,
}
