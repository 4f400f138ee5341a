//! The merger: the only writer of merged state, a pure state machine.
//!
//! Invariant: *merged state = f(the log of every partition before its cursor)*. A delivery is
//! applied if it starts at the cursor, so each record counts once, whoever sent it and however
//! often. Between two deliveries the state is an exact cut; views are read there.
//!
//! ```text
//! delivery ─► admit ─► counts ─► windows ─┐
//!                └───► users ──► distinct ┼─► closed views (as the group watermark passes)
//!                └───► clock ─────────────┘   latest views (when asked for)
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::pipeline::checkpoint::{Capture, Cut};
use crate::pipeline::clock::{Clock, Coverage};
use crate::pipeline::definitions::Definitions;
use crate::pipeline::delivery::{Cells, Delivery, Partition, PartitionState, Prints, SketchKey};
use crate::pipeline::distinct::{Distinct, Reserved, SketchId};
use crate::pipeline::hll::Registers;
use crate::pipeline::protocol::{Admission, Cursors, admit};
use crate::pipeline::view::{ClosedView, LatestView, Meta, Offsets, UniquesView, WindowView};
use crate::pipeline::window::{Resolution, Windows};
use crate::time::{EventTime, Span};

/// Sketches are pruned so often while the longest window passes once: they hold at most so
/// much more than the windows need.
const PRUNES_PER_WINDOW: i64 = 64;

/// Where a partition's merged state stands.
#[derive(Clone, Debug)]
pub struct Position {
    /// The next offset to be merged.
    pub cursor: i64,
    pub state: PartitionState,
    /// Deliveries refused so far. What was refused is dropped, so its owner has to begin again
    /// at the cursor even where that is a boundary of what it sent.
    pub refusals: u64,
}

impl Position {
    /// Nothing merged yet: reading starts at an offset.
    pub fn start(offset: i64) -> Self {
        let state = PartitionState { warm_from: offset, ..PartitionState::default() };
        Self { cursor: offset, state, refusals: 0 }
    }
}

/// What merging a delivery did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    pub admission: Admission,
    /// Of the delivery's applied records: those whose pane the group watermark had passed.
    pub after_close: u64,
    /// (record, entity) pairs counted under `__other__`.
    pub over_cap: u64,
}

/// What readers have seen of an earlier run, which knew more of the log than its last
/// checkpoint.
#[derive(Clone, Debug, Default)]
pub struct Predecessor {
    /// The offsets that its views explain.
    pub offsets: Cursors,
    pub group_watermark: Option<EventTime>,
    pub events_after_close: u64,
}

/// How much of a window is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    /// What its history entry says: totals, and users by kind.
    Totals,
    Everything,
}

/// Merged state of all partitions.
pub struct Merger {
    definitions: Arc<Definitions>,
    windows: Windows,
    distinct: Distinct,
    clock: Clock,
    positions: BTreeMap<Partition, Position>,
    closed_through: Vec<Option<EventTime>>,
    after_close: u64,
    over_cap: u64,
    ended: bool,
    /// How many closed windows of a size keep their boards; `None`: all.
    closed_keep: Option<usize>,
    /// Windows that end up to here are nobody's concern.
    unwanted_to: EventTime,
    pruned_to: Option<EventTime>,
    predecessor: Predecessor,
    /// Reused for every sketch that is read.
    registers: Registers,
    union: Registers,
}

impl Merger {
    pub fn new(definitions: Arc<Definitions>) -> Self {
        Self {
            windows: Windows::new(definitions.clone()),
            distinct: Distinct::new(&definitions),
            clock: Clock::new(&definitions),
            positions: BTreeMap::new(),
            closed_through: vec![None; definitions.windows.len()],
            after_close: 0,
            over_cap: 0,
            ended: false,
            closed_keep: None,
            unwanted_to: EventTime::MIN,
            pruned_to: None,
            predecessor: Predecessor::default(),
            registers: Registers::new(),
            union: Registers::new(),
            definitions,
        }
    }

    /// From now on [`Merger::capture`] can take checkpoints.
    pub fn keep_journal(&mut self) {
        self.distinct.keep_journal();
    }

    /// Merged state as a checkpoint tells of it.
    pub fn restore(
        definitions: Arc<Definitions>,
        windows: Windows,
        distinct: Distinct,
        cut: Cut,
    ) -> Self {
        Self {
            windows,
            distinct,
            clock: Clock::restore(&definitions, cut.clock),
            positions: cut.positions.into_iter().collect(),
            closed_through: cut.closed_through,
            after_close: cut.events_after_close,
            over_cap: cut.over_cap,
            ..Self::new(definitions)
        }
    }

    /// Goes on from what an earlier run has published. The records that it has judged for coming
    /// after close are in its count; others are judged by its group watermark too, until it is
    /// [overtaken](Self::overtake) and that is ours.
    pub fn succeed(&mut self, predecessor: Predecessor) {
        self.after_close = self.after_close.max(predecessor.events_after_close);
        self.predecessor = predecessor;
    }

    /// All that the earlier run has shown is merged: its group watermark is ours from now on.
    pub fn overtake(&mut self) {
        self.clock.raise_group_watermark(self.predecessor.group_watermark);
    }

    /// An exact cut, for a checkpoint. `everything`: also what earlier captures held.
    pub fn capture(&mut self, everything: bool) -> Capture {
        let panes = self.windows.capture(everything);
        let users = self.distinct.capture(everything);
        let dimensions = 0..self.definitions.dimensions.len();
        Capture {
            names: dimensions.map(|d| self.windows.entities(d).segments()).collect(),
            panes,
            cut: Cut {
                positions: self
                    .positions
                    .iter()
                    .map(|(&p, position)| (p, position.clone()))
                    .collect(),
                clock: self.clock.save(),
                windows: self.windows.save(),
                sketch_edges: users.edges,
                sketches: users.owners.clone(),
                closed_through: self.closed_through.clone(),
                events_after_close: self.after_close,
                over_cap: self.over_cap,
            },
            users,
            is_everything: everything,
        }
    }

    /// Keeps boards and sketches of the last so many closed windows of a size only: those of a
    /// window that so many others will follow at once are not even built.
    pub fn keep_closed(&mut self, windows: usize) {
        self.closed_keep = Some(windows);
    }

    /// Windows that end at or before `end` will not be published: they are closed without boards
    /// and sketches of entities.
    pub fn leave_out_to(&mut self, end: EventTime) {
        self.unwanted_to = end;
    }

    /// Declares a partition of the topics' metadata: from now on it holds the group watermark.
    /// A partition that is known already stays as it is.
    pub fn add_partition(
        &mut self,
        partition: Partition,
        start: i64,
        coverage: Coverage,
        now_millis: u64,
    ) {
        if self.positions.contains_key(&partition) {
            return;
        }
        self.positions.insert(partition, Position::start(start));
        self.clock.add_partition(partition, coverage, now_millis);
    }

    /// The log that this partition's cursor belongs to is gone: another one begins, at `start`.
    /// What was counted stays; what is missing is not known.
    pub fn restart_partition(&mut self, partition: Partition, start: i64) {
        self.positions.insert(partition, Position::start(start));
        self.clock.lost(partition);
    }

    /// The log has lost its tail: what is written from `cursor` on is new.
    pub fn cut_partition(&mut self, partition: Partition, cursor: i64) {
        if let Some(position) = self.positions.get_mut(&partition) {
            position.cursor = cursor;
            position.state.warm_from = position.state.warm_from.min(cursor);
            let prints = &mut position.state.prints;
            *prints =
                Prints { newest: prints.older.filter(|older| older.offset < cursor), older: None };
        }
        self.clock.lost(partition);
    }

    /// The partition exists no more, so it cannot hold the group watermark.
    pub fn forget_partition(&mut self, partition: Partition) {
        self.positions.remove(&partition);
        self.clock.forget(partition);
    }

    pub fn position(&self, partition: Partition) -> Option<&Position> {
        self.positions.get(&partition)
    }

    pub fn positions(&self) -> &BTreeMap<Partition, Position> {
        &self.positions
    }

    /// As [`Merger::merge`], for a delivery that came through an outbox: if it is refused, its
    /// owner learns that from the cursor of the next checkpoint.
    pub fn merge_from_outbox(&mut self, delivery: &Delivery, now_millis: u64) -> Merged {
        let before = self.positions.get(&delivery.partition).map(|position| position.refusals);
        let merged = self.merge(delivery, now_millis);
        if let Some((position, before)) = self.positions.get_mut(&delivery.partition).zip(before) {
            position.refusals = before;
        }
        merged
    }

    /// Applies a delivery if it starts at its partition's cursor.
    pub fn merge(&mut self, delivery: &Delivery, now_millis: u64) -> Merged {
        let refused = |admission| Merged { admission, after_close: 0, over_cap: 0 };
        let Some(position) = self.positions.get_mut(&delivery.partition) else {
            return refused(Admission::Refuse);
        };
        let admission = admit(position.cursor, delivery.from, delivery.to);
        if admission != Admission::Apply {
            position.refusals += u64::from(admission == Admission::Refuse);
            return refused(admission);
        }
        if delivery.has_gap {
            self.clock.lost(delivery.partition);
        }
        position.cursor = delivery.to;
        position.state = delivery.state_to.clone();
        let after_close = self.count_after_close(delivery);
        // Stream time first: marks of panes beyond it would have to wait.
        self.clock.delivered(
            delivery.partition,
            delivery.to > delivery.from,
            delivery.state_to.watermark.newest(),
            delivery.state_to.quiet,
            now_millis,
        );
        self.sync_stream_time();
        let resolution = self.windows.resolve(&delivery.cells);
        let mut over_cap = self.windows.add(&delivery.cells, &resolution);
        over_cap += self.add_users(&delivery.cells, &resolution);
        self.windows.release(&resolution);
        self.after_close += after_close;
        self.over_cap += over_cap;
        Merged { admission, after_close, over_cap }
    }

    fn count_after_close(&self, delivery: &Delivery) -> u64 {
        let Predecessor { offsets, group_watermark, .. } = &self.predecessor;
        if offsets.get(delivery.partition).is_some_and(|judged| delivery.to <= judged) {
            return 0;
        }
        let group_watermark = self.clock.group_watermark().max(*group_watermark);
        let Some(group_watermark) = group_watermark else { return 0 };
        let base = self.definitions.base_pane();
        let passed = |pane: &&crate::pipeline::delivery::PaneCells| {
            EventTime::from_millis(pane.start_millis) + base <= group_watermark
        };
        delivery.cells.panes.iter().filter(passed).map(|pane| pane.totals.events).sum()
    }

    /// Adds the users of a delivery to their sketches; returns how many went to `__other__`.
    fn add_users(&mut self, cells: &Cells, resolution: &Resolution) -> u64 {
        let mut over_cap = 0;
        let mut sketches = Vec::with_capacity(cells.sketches.len());
        for &SketchKey { kind, entity } in &cells.sketches {
            let entity = entity.map(|(dimension, index)| {
                (dimension, resolution[usize::from(dimension)][index as usize])
            });
            let is_known = self.distinct.holds(kind, entity);
            let reserved = self.distinct.sketch(kind, entity);
            // A sketch refers to its entity until it is pruned.
            if let (Reserved::Own(_), Some((dimension, id)), false) = (reserved, entity, is_known) {
                self.windows.entities_mut(usize::from(dimension)).retain(id);
            }
            sketches.push(reserved);
        }
        for pane in &cells.panes {
            let time = EventTime::from_millis(pane.start_millis);
            for mark in &pane.users {
                let reserved = sketches[mark.sketch as usize];
                over_cap += u64::from(matches!(reserved, Reserved::Other(_)));
                self.distinct.add(reserved.id(), time, mark.register, mark.rank);
            }
        }
        over_cap
    }

    /// Lets monotonic time pass: stream time grows while every partition is quiet, and
    /// partitions that stall too long are left out.
    /// `held`: we do not read for now, so nobody else can be said to stall.
    pub fn tick(&mut self, now_millis: u64, held: bool) {
        self.clock.tick(now_millis, held);
        self.sync_stream_time();
    }

    fn sync_stream_time(&mut self) {
        if let Some(stream_time) = self.clock.stream_time() {
            self.distinct.advance_stream_time(stream_time);
        }
    }

    /// Merged state has (or has no longer) reached its bound in bytes: new names count under
    /// `__other__`.
    pub fn set_full(&mut self, full: bool) {
        for dimension in 0..self.definitions.dimensions.len() {
            self.windows.entities_mut(dimension).set_full(full);
        }
    }

    /// A bounded run has read all it will: every window that holds a record may close.
    pub fn finish(&mut self) {
        self.clock.finish();
        self.ended = true;
    }

    /// As [`Merger::finish`], for a run that wants windows up to `end` only: what it has read
    /// beyond says nothing final of later ones.
    pub fn finish_at(&mut self, end: EventTime) {
        self.clock.raise_group_watermark(Some(end));
        self.ended = true;
    }

    /// Whether a bounded run has read all it will.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next window that ends at or before `until` and can be closed, in order of ends.
    /// The caller goes on until there is none: whether a window's boards will stay is judged
    /// by those that follow it up to `until`.
    pub fn close_next(&mut self, until: EventTime) -> Option<ClosedView> {
        let until = until.min(self.clock.group_watermark()?);
        let closing = self.windows.next_closing(until)?;
        self.distinct.fold_to(closing.end);
        let start = closing.end - self.definitions.windows[closing.window].size;
        let is_superseded = closing.end <= self.unwanted_to
            || self
                .closed_keep
                .is_some_and(|keep| self.windows.is_superseded(closing, keep, until));
        let detail = if is_superseded { Detail::Totals } else { Detail::Everything };
        let (distinct, uniques) =
            self.read_distinct(detail, |distinct, sketch, out| distinct.closed(sketch, start, out));
        let boards =
            if is_superseded { Vec::new() } else { self.windows.closed_boards(closing.window) };
        let view = WindowView {
            window: closing.window,
            start,
            end: closing.end,
            totals: self.windows.closed_totals(closing.window).clone(),
            uniques,
            boards,
            distinct,
        };
        self.windows.closed(closing);
        self.closed_through[closing.window] = Some(closing.end);
        Some(ClosedView {
            view,
            quiet: self.clock.quiet_closed(closing.end),
            complete: self.clock.complete(start),
            offsets: self.offsets(),
            events_after_close: self.after_close,
        })
    }

    /// Lets the latest edges follow stream time without reading views: what they leave can be
    /// given back.
    pub fn advance_latest(&mut self) {
        let Some(stream_time) = self.clock.stream_time() else { return };
        for window in 0..self.definitions.windows.len() {
            self.windows.advance_latest(window, stream_time);
        }
    }

    /// The latest state of one window; `None` before the first record.
    pub fn latest(&mut self, window: usize, offsets: &Offsets) -> Option<LatestView> {
        let stream_time = self.clock.stream_time()?;
        let end = self.windows.advance_latest(window, stream_time);
        let start = end - self.definitions.windows[window].size;
        let (distinct, uniques) =
            self.read_distinct(Detail::Everything, |distinct, sketch, out| {
                distinct.latest(sketch, start, end, out);
            });
        let (boards, entities) = self.windows.latest(window);
        let totals = self.windows.latest_totals(window).clone();
        let view = WindowView { window, start, end, totals, uniques, boards, distinct };
        Some(LatestView { view, offsets: offsets.clone(), stream_time, entities })
    }

    /// Reads sketches; also the number of users of any kind.
    fn read_distinct(
        &mut self,
        detail: Detail,
        read: impl Fn(&Distinct, SketchId, &mut Registers),
    ) -> (Vec<UniquesView>, u64) {
        let Self { distinct, registers, union, windows, .. } = self;
        union.clear();
        let mut views = Vec::new();
        for (sketch, kind, entity) in distinct.sketches() {
            if entity.is_some() && detail == Detail::Totals {
                continue;
            }
            registers.clear();
            read(distinct, sketch, registers);
            if registers.is_empty() {
                continue;
            }
            if entity.is_none() {
                union.merge(registers);
            }
            let entity = entity.map(|(dimension, id)| {
                let dimension = usize::from(dimension);
                (dimension, windows.entities(dimension).name(id).clone())
            });
            let estimate = registers.count();
            let value = registers.encode_with(estimate);
            views.push(UniquesView { kind, entity, value, estimate });
        }
        let uniques = if union.is_empty() { 0 } else { union.count() };
        (views, uniques)
    }

    /// Gives back what no window needs any more. Called after each round of views.
    pub fn roll_up(&mut self) {
        let Some(oldest_needed) = self.windows.roll_up() else { return };
        // Pruning touches every mark of every sketch, so it waits until it is worth it.
        let worth = Span::from_millis(self.longest_window().millis() / PRUNES_PER_WINDOW);
        if self.pruned_to.is_some_and(|pruned_to| oldest_needed < pruned_to + worth) {
            return;
        }
        self.pruned_to = Some(oldest_needed);
        for (_, (dimension, id)) in self.distinct.prune(oldest_needed) {
            self.windows.entities_mut(usize::from(dimension)).release(id);
        }
    }

    fn longest_window(&self) -> Span {
        self.definitions.windows.last().map(|window| window.size).unwrap_or_default()
    }

    pub fn offsets(&self) -> Offsets {
        Arc::new(self.positions.iter().map(|(&p, position)| (p, position.cursor)).collect())
    }

    pub fn meta(&self, now_millis: u64) -> Meta {
        let longest = self.longest_window();
        let stream_time = self.clock.stream_time();
        Meta {
            stream_time,
            group_watermark: self.clock.group_watermark(),
            slowest_progressing: self.clock.slowest_progressing(now_millis),
            closed_through: self.closed_through.clone(),
            complete: stream_time.is_some_and(|time| self.clock.complete(time - longest)),
            missing: self.clock.missing(),
            held_back_by: self.clock.holding_back().map(|(partition, _)| partition),
            events_after_close: self.after_close,
            over_cap: self.over_cap + self.distinct.ahead_refused(),
            ended: self.ended,
        }
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn clock_mut(&mut self) -> &mut Clock {
        &mut self.clock
    }

    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    pub fn distinct_bytes(&self) -> usize {
        self.distinct.bytes()
    }

    /// Heap bytes of merged state.
    pub fn bytes(&self) -> usize {
        self.windows.bytes() + self.distinct.bytes()
    }
}
