//! Distinct users of every kind, and of every entity of the dimensions that ask for it,
//! for all windows at once: one sketch each, however many windows there are.
//!
//! A sketch is made of [frontiers](crate::pipeline::frontier). A frontier answers suffixes
//! ("from `start` on"), so it is exact for a window exactly while nothing at or beyond the
//! window's end has been put into it. Two kinds of windows are read, and for each that is
//! arranged by keeping marks apart until they may be folded:
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
//! A sketch is charged [`SKETCH_BYTES_WORST`] when it is created. Beyond the budget, new
//! entities share the sketch of `__other__` of their kind and dimension.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::event::Kind;
use crate::pipeline::definitions::Definitions;
use crate::pipeline::frontier::{Frontier, PANES_MAX};
use crate::pipeline::hll::Registers;
use crate::time::{EventTime, Span};

/// What a sketch is charged against the budget when it is created.
pub const SKETCH_BYTES_WORST: usize = 256 << 10;

/// Marks that may wait ahead of stream time, over all sketches (about 2.5 MiB). They come
/// from records whose clock leapt too far to be believed, a few dozen per leap; without a
/// bound a producer that mixes in the year 2099 for ever would fill the memory.
pub const AHEAD_MARKS_MAX: usize = 1 << 16;

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
}

struct Sketch {
    kind: Kind,
    entity: Option<Entity>,
    /// Panes before the folded edge.
    main: Frontier,
    /// Cells at or after the folded edge: first pane and marks, ascending, seldom more than a few.
    open: Vec<(i64, Frontier)>,
    bytes_charged: usize,
}

impl Distinct {
    /// Creates the sketches that always exist: of every kind, and of `__other__` in every
    /// dimension with distinct users.
    ///
    /// # Panics
    /// If the longest window or the cells are wider than half of [`PANES_MAX`] base panes,
    /// which configuration refuses.
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
        };
        for kind in Definitions::UNIQUE_KINDS {
            distinct.create(kind, None);
            for (dimension, _) in definitions.dimensions.iter().enumerate().filter(|d| d.1.uniques)
            {
                distinct.create(kind, Some((dimension as u16, OTHER_ENTITY)));
            }
        }
        distinct
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
            main: Frontier::new(i64::MAX),
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
            Place::Open(cell) => sketch.open_cell(cell).insert(register, pane, rank),
            _ => {
                if !sketch.main.covers(pane) {
                    sketch.main.prune(self.edges.needed());
                }
                sketch.main.insert(register, pane, rank);
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
        for ((id, pane, register), rank) in self.ahead.take_before(ahead_from) {
            let place = self.edges.place(pane);
            if place != Place::Forgotten {
                self.insert(SketchId(id), pane, place, register, rank);
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
        let (needed, cell_panes) = (self.edges.needed(), self.edges.cell_panes);
        for sketch in self.slots.iter_mut().flatten() {
            sketch.fold(end, cell_panes, needed);
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
        for (cell, frontier) in &state.open {
            if cell + self.edges.cell_panes > start {
                frontier.suffix(start, out);
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

impl Sketch {
    #[inline]
    fn open_cell(&mut self, cell: i64) -> &mut Frontier {
        // From the back: nearly always the newest.
        let mut at = self.open.len();
        while at > 0 && self.open[at - 1].0 > cell {
            at -= 1;
        }
        if at == 0 || self.open[at - 1].0 != cell {
            self.open.insert(at, (cell, Frontier::new(cell)));
            at += 1;
        }
        &mut self.open[at - 1].1
    }

    fn fold(&mut self, end: i64, cell_panes: i64, needed: i64) {
        let closed = self.open.partition_point(|(cell, _)| cell + cell_panes <= end);
        for (cell, mut frontier) in self.open.drain(..closed) {
            if cell < needed {
                frontier.prune(needed);
            }
            if frontier.is_empty() {
                continue;
            }
            if !self.main.covers(cell + cell_panes - 1) {
                self.main.prune(needed);
            }
            self.main.append(&frontier);
        }
    }

    fn prune(&mut self, needed: i64) {
        self.main.prune(needed);
        self.open.retain_mut(|(cell, frontier)| {
            if *cell < needed {
                frontier.prune(needed);
            }
            !frontier.is_empty()
        });
    }

    fn is_empty(&self) -> bool {
        self.main.is_empty() && self.open.is_empty()
    }

    fn bytes(&self) -> usize {
        let open: usize = self.open.iter().map(|(_, frontier)| frontier.bytes()).sum();
        self.main.bytes() + open + self.open.capacity() * size_of::<(i64, Frontier)>()
    }
}

/// What is done with a mark, by its pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// No window can ask for it.
    Forgotten,
    Main,
    /// The open cell that starts at this pane.
    Open(i64),
    Ahead,
}

/// The panes where one place ends and the next begins. Panes are numbered from the epoch.
struct Edges {
    base_pane: Span,
    cell_panes: i64,
    longest_panes: i64,
    /// Panes before this one are in main; a cell's start.
    folded: i64,
    /// The first pane that starts after stream time.
    ahead_from: i64,
    /// The oldest pane that the caller needs.
    oldest: i64,
}

impl Edges {
    fn new(definitions: &Definitions) -> Self {
        let base_pane = definitions.base_pane();
        let panes = |span: Span| span.millis() / base_pane.millis();
        let cell = definitions.windows.iter().fold(Span::ZERO, |gcd, w| gcd.gcd(w.closed_step));
        let longest = definitions.windows.iter().map(|w| w.size).max().unwrap_or(base_pane);
        let before_all = panes(EventTime::MIN - EventTime::from_millis(0));
        let edges = Self {
            base_pane,
            cell_panes: panes(cell).max(1),
            longest_panes: panes(longest),
            folded: before_all,
            ahead_from: before_all,
            oldest: before_all,
        };
        assert!(
            edges.cell_panes.max(edges.longest_panes) <= PANES_MAX / 2,
            "configuration allows {} panes of {base_pane:?} in a window",
            PANES_MAX / 2
        );
        edges
    }

    fn pane(&self, start: EventTime) -> i64 {
        start.millis().div_euclid(self.base_pane.millis())
    }

    fn place(&self, pane: i64) -> Place {
        match pane {
            _ if pane >= self.ahead_from => Place::Ahead,
            _ if pane >= self.folded => Place::Open(pane - pane.rem_euclid(self.cell_panes)),
            _ if pane >= self.needed() => Place::Main,
            _ => Place::Forgotten,
        }
    }

    /// The oldest pane that a window read from now on can hold. Closed windows end at the
    /// folded edge or later, latest ones after stream time.
    fn needed(&self) -> i64 {
        self.oldest.max(self.folded.min(self.ahead_from) - self.longest_panes)
    }

    fn is_cell_start(&self, pane: i64) -> bool {
        pane.rem_euclid(self.cell_panes) == 0
    }
}

/// Marks of panes that stream time has not reached.
#[derive(Default)]
struct Ahead {
    marks: BTreeMap<(u32, i64, u16), u8>,
    /// The oldest pane in `marks`, or an older one.
    first: Option<i64>,
    refused: u64,
}

impl Ahead {
    fn add(&mut self, sketch: SketchId, pane: i64, register: u16, rank: u8) {
        let key = (sketch.0, pane, register);
        if self.marks.len() >= AHEAD_MARKS_MAX && !self.marks.contains_key(&key) {
            self.refused += 1;
            return;
        }
        let mark = self.marks.entry(key).or_default();
        *mark = rank.max(*mark);
        self.first = Some(self.first.map_or(pane, |first| first.min(pane)));
    }

    fn take_before(&mut self, pane: i64) -> Vec<((u32, i64, u16), u8)> {
        if self.first.is_none_or(|first| first >= pane) {
            return Vec::new();
        }
        let mut taken = Vec::new();
        self.marks.retain(|&key, &mut rank| {
            if key.1 < pane {
                taken.push((key, rank));
            }
            key.1 >= pane
        });
        self.first = self.marks.keys().map(|key| key.1).min();
        taken
    }

    /// Raises `out` by the marks of panes in `[start, end)`.
    fn range(&self, sketch: SketchId, start: i64, end: i64, out: &mut Registers) {
        if self.first.is_none_or(|first| first >= end) || start >= end {
            return;
        }
        for (&(_, _, register), &rank) in self.marks.range((sketch.0, start, 0)..(sketch.0, end, 0))
        {
            out.raise(register, rank);
        }
    }

    fn holds(&self, sketch: SketchId) -> bool {
        self.marks.range((sketch.0, i64::MIN, 0)..=(sketch.0, i64::MAX, u16::MAX)).next().is_some()
    }

    /// About 40 bytes a mark in a B-tree.
    fn bytes(&self) -> usize {
        self.marks.len() * 40
    }
}

#[cfg(test)]
mod tests;
