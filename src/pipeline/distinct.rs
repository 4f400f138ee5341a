//! Distinct users of every kind, and of every entity of the dimensions that ask for it,
//! for all windows at once: one sketch each, however many windows there are.
//!
//! A sketch is a [frontier](crate::pipeline::frontier) and what may not go into it yet. A
//! frontier answers suffixes ("from `start` on"), so it is exact for a window only while
//! nothing at or beyond the window's end has been put into it. Two kinds of windows are read,
//! and for both that is arranged by keeping marks apart until they may be folded:
//!
//! ```text
//!                     folded edge F                  N    end of N's pane
//!   ─────────────────────────┬─────────┬─────────┬───┴────┬───────────────► panes
//!    main: one frontier      │ open    │ open    │ open   │ ahead: every mark, by pane
//!                            │ cell    │ cell    │ cell   │
//! ```
//!
//! - **Closed** windows end at multiples of the cell width (the greatest common divisor of
//!   all closed steps). At the closed edge E call [`fold_to`](Distinct::fold_to)`(E)`, then
//!   read with [`closed`](Distinct::closed) every window that ends at E, before folding on:
//!   main holds all panes before E and none after.
//! - **Latest** windows end at the first slide end strictly after stream time N, so at or
//!   after the end of N's base pane. Main and the open cells together hold only panes before
//!   it; what lies beyond (records that were applied but did not move the watermark) waits
//!   ahead, mark by mark, and is looked up by pane.
//!
//! Both stay exact for whatever comes later: a record of a closed pane goes into main (no
//! window that ended before F is read again), and folding beyond N (the end of a bounded
//! run) leaves what is ahead where it is. Panes that no window can ask for again,
//! `min(F, end of N's pane) − longest window`, are ignored, and forgotten by
//! [`prune`](Distinct::prune).
//!
//! # Memory
//! A sketch is charged [`SKETCH_BYTES_WORST`] when it is created, and its real size from the
//! [`prune`](Distinct::prune) on that finds it larger. Beyond the budget, new entities share
//! the sketch of `__other__` of their kind and dimension.

mod ahead;
mod cell;
mod edges;
mod save;

pub use ahead::AHEAD_MARKS_MAX;
pub use save::{Captured, MarkRun, SavedCell, SavedEdges, SketchOwner};

use std::sync::Arc;

use hashbrown::HashMap;

use crate::event::Kind;
use crate::pipeline::definitions::Definitions;
use crate::pipeline::frontier::{Frontier, Mark};
use crate::pipeline::hll::Registers;
use crate::time::EventTime;
use ahead::Ahead;
use cell::Cell;
use edges::{Edges, Place};
use save::Journal;

/// What a sketch is charged against the budget when it is created: what a day in 1 s panes
/// costs with a million users, each seen ten times, open cells included (measured: 347 KiB,
/// see `benches/distinct.rs`).
///
/// It is not the end of what users can make of a sketch. New users in every register and
/// every second, which takes 100,000 a second in one sketch, end at 9 marks a register,
/// 0.8 MiB, and 0.5 MiB for each open cell. Names chosen to harm could force 51 marks into
/// every register, 3.6 MiB, and 8 MiB for an open cell. What is seen is charged, so fewer new
/// sketches are granted; those that exist are not cut.
pub const SKETCH_BYTES_WORST: usize = 384 << 10;

/// The entity id of `__other__`, in every dimension.
pub const OTHER_ENTITY: u32 = 0;

/// (dimension, entity id): whose users are counted besides a kind's.
pub type Entity = (u16, u32);

/// A sketch, until [`Distinct::prune`] reports it as freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SketchId(u32);

/// Where the users of an entity are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    Own(SketchId),
    /// The budget is spent: the sketch of `__other__`, and each user added is over a cap.
    Other(SketchId),
}

impl Reserved {
    pub fn id(self) -> SketchId {
        match self {
            Reserved::Own(id) | Reserved::Other(id) => id,
        }
    }
}

/// All distinct-user sketches of one merger.
pub struct Distinct {
    edges: Edges,
    slots: Vec<Option<Sketch>>,
    free: Vec<u32>,
    by_key: HashMap<(Kind, Option<Entity>), SketchId>,
    ahead: Ahead,
    /// The pane start seen last and what follows from it: marks come pane by pane.
    cursor: (EventTime, i64, Place),
    bytes_max: usize,
    bytes_charged: usize,
    /// What changed since the last checkpoint; `None` where there are none.
    journal: Option<Journal>,
}

struct Sketch {
    kind: Kind,
    entity: Option<Entity>,
    /// Panes before the folded edge. A checkpoint can hold on to it while it changes.
    main: Arc<Frontier>,
    /// Cells at or after the folded edge, ascending, seldom more than a few.
    open: Vec<Cell>,
    bytes_charged: usize,
}

impl Distinct {
    /// Creates the sketches that always exist: of every kind, and of `__other__` in every
    /// dimension with distinct users. They are granted even beyond the budget.
    ///
    /// # Panics
    /// If the longest window or the cells are wider than half of
    /// [`PANES_MAX`](crate::pipeline::frontier::PANES_MAX) base panes, which configuration refuses.
    pub fn new(definitions: &Definitions) -> Self {
        let edges = Edges::new(definitions);
        let mut distinct = Self {
            edges,
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            ahead: Ahead::default(),
            cursor: (EventTime::MIN, 0, Place::Forgotten),
            bytes_max: definitions.sketch_bytes_max,
            bytes_charged: 0,
            journal: None,
        };
        for (kind, entity) in permanent(definitions) {
            distinct.create(kind, entity);
        }
        distinct
    }

    /// What the sketches that always exist are charged: a smaller budget makes no sense.
    pub fn bytes_min(definitions: &Definitions) -> usize {
        permanent(definitions).count() * SKETCH_BYTES_WORST
    }

    /// The sketch of a kind's users, or of those within an entity. Creates it if the budget
    /// allows. An entity whose sketch gets no mark before the next prune loses it again.
    pub fn sketch(&mut self, kind: Kind, entity: Option<Entity>) -> Reserved {
        if let Some(&id) = self.by_key.get(&(kind, entity)) {
            return Reserved::Own(id);
        }
        if let Some((dimension, _)) = entity
            && self.bytes_charged + SKETCH_BYTES_WORST > self.bytes_max
        {
            let other = (kind, Some((dimension, OTHER_ENTITY)));
            let id = self.by_key.get(&other).copied();
            return Reserved::Other(id.unwrap_or_else(|| self.create(kind, other.1)));
        }
        Reserved::Own(self.create(kind, entity))
    }

    /// Whether a sketch of its own exists.
    pub fn holds(&self, kind: Kind, entity: Option<Entity>) -> bool {
        self.by_key.contains_key(&(kind, entity))
    }

    fn create(&mut self, kind: Kind, entity: Option<Entity>) -> SketchId {
        let sketch = Sketch {
            kind,
            entity,
            // Its base is set by the first prune, when the oldest needed pane is known.
            main: Arc::new(Frontier::new(i64::MAX)),
            open: Vec::new(),
            bytes_charged: SKETCH_BYTES_WORST,
        };
        let id = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize] = Some(sketch);
                SketchId(index)
            }
            None => {
                self.slots.push(Some(sketch));
                SketchId(self.slots.len() as u32 - 1)
            }
        };
        self.by_key.insert((kind, entity), id);
        self.bytes_charged += SKETCH_BYTES_WORST;
        id
    }

    /// Counts a user, given as its [mark](crate::pipeline::hll::mark), in a base pane.
    ///
    /// Call [`advance_stream_time`](Self::advance_stream_time) before, and add pane by pane:
    /// any order is exact, these are fast.
    #[inline]
    pub fn add(&mut self, sketch: SketchId, pane_start: EventTime, register: u16, rank: u8) {
        if self.cursor.0 != pane_start {
            let pane = self.edges.pane(pane_start);
            self.cursor = (pane_start, pane, self.edges.place(pane));
        }
        let (_, pane, place) = self.cursor;
        match place {
            Place::Forgotten => {}
            Place::Ahead => self.ahead.add(sketch, pane, register, rank),
            place => self.insert(sketch, pane, place, register, rank),
        }
    }

    #[inline]
    fn insert(&mut self, id: SketchId, pane: i64, place: Place, register: u16, rank: u8) {
        let Some(sketch) = self.slots.get_mut(id.0 as usize).and_then(Option::as_mut) else {
            debug_assert!(false, "{id:?} was freed");
            return;
        };
        match place {
            Place::Open(start) => sketch.open_cell(start).insert(register, pane, rank),
            _ => {
                if let Some(journal) = &mut self.journal {
                    journal.late(id, pane, register, rank);
                }
                let main = Arc::make_mut(&mut sketch.main);
                if !main.covers(pane) {
                    main.prune(self.edges.needed());
                }
                main.insert(register, pane, rank);
            }
        }
    }

    /// Tells stream time N. It never goes back.
    pub fn advance_stream_time(&mut self, n: EventTime) {
        let ahead_from = self.edges.pane(n) + 1;
        if ahead_from <= self.edges.ahead_from {
            return;
        }
        self.edges.ahead_from = ahead_from;
        self.forget_cursor();
        for ((sketch, pane, register), rank) in self.ahead.take_before(ahead_from) {
            let place = self.edges.place(pane);
            if place != Place::Forgotten {
                self.insert(sketch, pane, place, register, rank);
            }
        }
    }

    /// Moves the closed edge: afterwards [`closed`](Self::closed) reads windows that end here.
    /// `end` is a multiple of the window's closed step; an earlier edge than before changes nothing.
    pub fn fold_to(&mut self, end: EventTime) {
        let end = self.edges.pane(end);
        debug_assert!(self.edges.is_cell_start(end), "closed edges are multiples of the cells");
        if end <= self.edges.folded {
            return;
        }
        self.edges.folded = end;
        self.forget_cursor();
        let mut scratch = (Vec::new(), Vec::new());
        for sketch in self.slots.iter_mut().flatten() {
            sketch.fold(&self.edges, &mut scratch, self.journal.as_mut());
        }
    }

    /// Raises `out` by the users of `[start, E)`, where E is the edge folded to last.
    ///
    /// `out` is not cleared, so reading several sketches into it is their union.
    pub fn closed(&self, sketch: SketchId, start: EventTime, out: &mut Registers) {
        let start = self.edges.pane(start);
        debug_assert!(start >= self.edges.needed(), "the window starts before the longest one");
        let Some(state) = self.state(sketch) else { return };
        state.main.suffix(start, out);
        self.ahead.range(sketch, start, self.edges.folded, out);
    }

    /// Raises `out` by the users of `[start, end)`, where `end` is after stream time.
    pub fn latest(&self, sketch: SketchId, start: EventTime, end: EventTime, out: &mut Registers) {
        let (start, end) = (self.edges.pane(start), self.edges.pane(end));
        debug_assert!(end >= self.edges.ahead_from, "a latest window ends after stream time");
        debug_assert!(start >= self.edges.needed(), "the window starts before the longest one");
        let Some(state) = self.state(sketch) else { return };
        if start < self.edges.folded {
            state.main.suffix(start, out);
        }
        for cell in &state.open {
            if self.edges.cell_end(cell.start()) > start {
                cell.suffix(start, out);
            }
        }
        self.ahead.range(sketch, start, end, out);
    }

    /// Forgets what no window can show: panes before `oldest_needed` and before what follows
    /// from the edges. Frees the sketches of entities (never those of kinds or of
    /// `__other__`) that are left without a mark, and returns whose they were.
    ///
    /// Touches every mark; once per closed edge is often enough.
    pub fn prune(&mut self, oldest_needed: EventTime) -> Vec<(Kind, Entity)> {
        self.edges.oldest = self.edges.oldest.max(self.edges.pane(oldest_needed));
        self.forget_cursor();
        let needed = self.edges.needed();
        let mut freed = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            let Some(sketch) = slot else { continue };
            sketch.prune(needed);
            self.bytes_charged -= sketch.bytes_charged;
            if let Some(entity @ (_, id)) = sketch.entity
                && id != OTHER_ENTITY
                && sketch.is_empty()
                && !self.ahead.holds(SketchId(index as u32))
            {
                self.by_key.remove(&(sketch.kind, sketch.entity));
                freed.push((sketch.kind, entity));
                self.free.push(index as u32);
                *slot = None;
                continue;
            }
            sketch.bytes_charged = sketch.bytes().max(SKETCH_BYTES_WORST);
            self.bytes_charged += sketch.bytes_charged;
        }
        freed
    }

    /// All sketches, and whose they are.
    pub fn sketches(&self) -> impl Iterator<Item = (SketchId, Kind, Option<Entity>)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            slot.as_ref().map(|sketch| (SketchId(index as u32), sketch.kind, sketch.entity))
        })
    }

    /// Bytes on the heap, by capacity.
    pub fn bytes(&self) -> usize {
        let sketches: usize = self.slots.iter().flatten().map(Sketch::bytes).sum();
        sketches + self.slots.capacity() * size_of::<Option<Sketch>>() + self.ahead.bytes()
    }

    /// What is charged against the budget: for each sketch its reservation or, from the
    /// prune on that found it larger, its size.
    pub fn bytes_charged(&self) -> usize {
        self.bytes_charged
    }

    /// Users not counted because [`AHEAD_MARKS_MAX`] marks were waiting ahead of stream time.
    pub fn ahead_refused(&self) -> u64 {
        self.ahead.refused
    }

    fn state(&self, sketch: SketchId) -> Option<&Sketch> {
        let state = self.slots.get(sketch.0 as usize).and_then(Option::as_ref);
        debug_assert!(state.is_some(), "{sketch:?} was freed");
        state
    }

    fn forget_cursor(&mut self) {
        self.cursor = (EventTime::MIN, 0, Place::Forgotten);
    }
}

/// Of every kind, and of `__other__` in every dimension with distinct users.
fn permanent(definitions: &Definitions) -> impl Iterator<Item = (Kind, Option<Entity>)> {
    let dimensions = definitions.dimensions.iter().enumerate();
    let others: Vec<_> = dimensions
        .filter(|(_, dimension)| dimension.uniques)
        .map(|(index, _)| Some((index as u16, OTHER_ENTITY)))
        .collect();
    Definitions::UNIQUE_KINDS.into_iter().flat_map(move |kind| {
        std::iter::once(None).chain(others.clone()).map(move |entity| (kind, entity))
    })
}

impl Sketch {
    #[inline]
    fn open_cell(&mut self, start: i64) -> &mut Cell {
        // From the back: nearly always the newest.
        let mut at = self.open.len();
        while at > 0 && self.open[at - 1].start() > start {
            at -= 1;
        }
        if at == 0 || self.open[at - 1].start() != start {
            self.open.insert(at, Cell::new(start));
            at += 1;
        }
        &mut self.open[at - 1]
    }

    fn owner(&self) -> SketchOwner {
        (self.kind, self.entity)
    }

    fn fold(
        &mut self,
        edges: &Edges,
        scratch: &mut (Vec<Mark>, Vec<u32>),
        mut journal: Option<&mut Journal>,
    ) {
        let needed = edges.needed();
        let closed = self.open.partition_point(|cell| edges.cell_end(cell.start()) <= edges.folded);
        if closed == 0 {
            return;
        }
        let owner = self.owner();
        let main = Arc::make_mut(&mut self.main);
        for mut cell in self.open.drain(..closed) {
            let (marks, block) = &mut *scratch;
            cell.take(marks);
            let start = cell.start();
            match journal.as_deref_mut() {
                Some(journal) if cell.unsaved => journal.folded(owner, start, marks),
                Some(journal) => journal.folded_as_saved(marks),
                None => {}
            }
            if !main.covers(start) || !main.covers(edges.cell_end(start) - 1) {
                main.prune(needed);
            }
            if main.covers(start) {
                main.append(marks, start, block);
                continue;
            }
            // A cell that was left open for longer than the longest window.
            for mark in marks {
                let pane = start + mark.pane() as i64;
                if pane >= needed {
                    main.insert(mark.register(), pane, mark.rank());
                }
            }
        }
    }

    fn prune(&mut self, needed: i64) {
        Arc::make_mut(&mut self.main).prune(needed);
        for cell in self.open.iter_mut().take_while(|cell| cell.start() < needed) {
            cell.prune(needed);
        }
        self.open.retain(|cell| !cell.is_empty());
    }

    fn is_empty(&self) -> bool {
        self.main.is_empty() && self.open.is_empty()
    }

    fn bytes(&self) -> usize {
        let open: usize = self.open.iter().map(Cell::bytes).sum();
        self.main.bytes() + open + self.open.capacity() * size_of::<Cell>()
    }
}

#[cfg(test)]
mod tests;
