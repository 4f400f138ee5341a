//! What a checkpoint takes of the sketches.
//!
//! A sketch is the union of its marks, in any order and however often each is told. So it may be
//! saved in pieces, and most pieces need not be written again:
//!
//! ```text
//!            base of each sketch, in turns        folded and late      open cells
//!  main  ─────────────────────────────────┬──────────────────────┬────┬────┬────▶ panes
//!         a few sketches a checkpoint     │ marks since then,    │ each cell again
//!                                         │ once                 │ when it has changed
//! ```
//! When every sketch had its turn (a *round*), what was folded before the round is in the bases;
//! when that would outweigh the bases before, all of them are taken at once.
//! Between two checkpoints the folded marks are kept here. If they outgrow their bound, as in a
//! backlog, they are dropped, and the next checkpoint takes every base.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Distinct, Entity, Place, SketchId};
use crate::event::Kind;
use crate::pipeline::definitions::Definitions;
use crate::pipeline::frontier::{Frontier, Mark};

/// Whose users a sketch counts.
pub type SketchOwner = (Kind, Option<Entity>);

/// Marks of one sketch, whose panes count from `base`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkRun {
    pub owner: SketchOwner,
    pub base: i64,
    pub marks: Vec<Mark>,
}

/// A round is spread over so many checkpoints, ten minutes by default: fewer write more bytes a
/// checkpoint, more leave more folded marks beside the bases.
const ROUND_CAPTURES: usize = 60;

/// Folded and late marks kept between two checkpoints. Tests set it low to meet its end.
const KEPT_BYTES_MAX: usize = if cfg!(test) { 3 << 10 } else { 32 << 20 };

/// Folded marks that may stand beside the bases, however small those are.
const BESIDE_BYTES_MIN: usize = if cfg!(test) { 4 << 10 } else { 1 << 20 };

/// A late mark as a run of its own, with its owner and its allocation.
const LATE_BYTES: usize = size_of::<LateMark>();

type LateMark = (SketchId, i64, u16, u8);

/// What has to be saved, and what not again.
#[derive(Default)]
pub struct Journal {
    folded: Vec<MarkRun>,
    late: Vec<LateMark>,
    bytes: usize,
    overflown: bool,
    /// Bytes of folded marks that checkpoints took in the last round, and in this one: they stand
    /// beside the bases.
    beside: [usize; 2],
    /// Checkpoints taken so far.
    captures: u64,
    /// The first checkpoint of this round, and the next slot whose turn it is.
    round: (u64, usize),
}

impl Journal {
    fn keep(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        if self.bytes > KEPT_BYTES_MAX {
            (self.folded, self.late, self.overflown) = (Vec::new(), Vec::new(), true);
        }
        !self.overflown
    }

    /// Marks that went from a cell into a sketch's main frontier.
    pub fn folded(&mut self, owner: SketchOwner, base: i64, marks: &[Mark]) {
        if self.keep(size_of::<MarkRun>() + size_of_val(marks)) {
            self.folded.push(MarkRun { owner, base, marks: marks.to_vec() });
        }
    }

    /// The same for a cell that the last checkpoint took as it was: its blob stays.
    pub fn folded_as_saved(&mut self, marks: &[Mark]) {
        self.beside[1] += size_of_val(marks);
    }

    /// A mark that went there directly.
    pub fn late(&mut self, sketch: SketchId, pane: i64, register: u16, rank: u8) {
        if self.keep(LATE_BYTES) {
            self.late.push((sketch, pane, register, rank));
        }
    }
}

/// The marks of an open cell, of all sketches.
#[derive(Clone, Debug)]
pub struct SavedCell {
    pub start: i64,
    /// `None`: as the last checkpoint took it.
    pub runs: Option<Vec<MarkRun>>,
}

/// What a checkpoint takes.
pub struct Captured {
    /// Counts checkpoints taken from these sketches.
    pub number: u64,
    pub edges: SavedEdges,
    /// All sketches.
    pub owners: Vec<SketchOwner>,
    /// The sketches whose turn it is.
    pub bases: Vec<(SketchOwner, Arc<Frontier>)>,
    pub cells: Vec<SavedCell>,
    /// What main gained since the last checkpoint.
    pub folded: Vec<MarkRun>,
    /// All marks that wait ahead of stream time.
    pub ahead: Vec<MarkRun>,
    /// What checkpoints up to this one have taken as folded is in the bases now.
    pub superseded: Option<u64>,
}

/// Where panes belong, and what was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedEdges {
    pub folded: i64,
    pub ahead_from: i64,
    pub oldest: i64,
    pub ahead_refused: u64,
}

impl Distinct {
    /// From now on changes are noted for [`Distinct::capture`].
    pub fn keep_journal(&mut self) {
        self.journal = Some(Journal { round: (1, 0), ..Journal::default() });
    }

    /// What has to be saved so that [`Distinct::restore`] makes the same sketches. `everything`:
    /// what earlier checkpoints took may be lost.
    pub fn capture(&mut self, everything: bool) -> Captured {
        let mut journal = self.journal.take().unwrap_or_default();
        journal.captures += 1;
        // Read back, folded marks cost as much as bases: they may not outweigh them, as they
        // would after a backlog.
        let [last_round, this_round] = journal.beside;
        let beside = last_round + this_round + journal.bytes;
        let bases: usize = self.slots.iter().flatten().map(|sketch| sketch.main.len()).sum();
        let outweigh = beside > (bases * size_of::<Mark>()).max(BESIDE_BYTES_MIN);
        let everything = everything || journal.overflown || outweigh;
        let number = journal.captures;
        let turns = if everything {
            // All of it is in the bases.
            (journal.folded, journal.late) = (Vec::new(), Vec::new());
            journal.round = (number, 0);
            (journal.beside, journal.bytes) = ([0, 0], 0);
            0..self.slots.len()
        } else {
            let first = journal.round.1;
            first..self.slots.len().min(first + self.slots.len().div_ceil(ROUND_CAPTURES))
        };
        journal.round.1 = turns.end;
        journal.beside[1] += journal.bytes;
        let ends_round = turns.end >= self.slots.len();
        let superseded = ends_round.then_some(journal.round.0);
        if ends_round {
            journal.round = (number + 1, 0);
            journal.beside = [journal.beside[1], 0];
        }
        let base = |sketch: &super::Sketch| (sketch.owner(), sketch.main.clone());
        let captured = Captured {
            number,
            edges: SavedEdges {
                folded: self.edges.folded,
                ahead_from: self.edges.ahead_from,
                oldest: self.edges.oldest,
                ahead_refused: self.ahead.refused,
            },
            owners: self.slots.iter().flatten().map(|sketch| sketch.owner()).collect(),
            bases: self.slots[turns].iter().flatten().map(base).collect(),
            folded: self.take_folded(&mut journal),
            cells: self.take_cells(everything),
            ahead: self.ahead_runs(),
            superseded,
        };
        (journal.bytes, journal.overflown) = (0, false);
        self.journal = Some(journal);
        captured
    }

    fn take_folded(&self, journal: &mut Journal) -> Vec<MarkRun> {
        let mut folded = std::mem::take(&mut journal.folded);
        let late = std::mem::take(&mut journal.late);
        folded.extend(self.runs(late));
        folded
    }

    fn ahead_runs(&self) -> Vec<MarkRun> {
        self.runs(
            self.ahead
                .iter()
                .map(|((sketch, pane, register), rank)| (sketch, pane, register, rank)),
        )
    }

    /// Marks sketch by sketch; those of sketches that were freed are left out. A run spans less
    /// panes than a mark can count.
    fn runs(&self, marks: impl IntoIterator<Item = LateMark>) -> Vec<MarkRun> {
        let mut marks: Vec<LateMark> = marks.into_iter().collect();
        marks.sort_unstable();
        let mut runs: Vec<MarkRun> = Vec::new();
        let mut last = None;
        for (sketch, pane, register, rank) in marks {
            let Some(Some(state)) = self.slots.get(sketch.0 as usize) else { continue };
            let fits = |run: &MarkRun| pane - run.base < crate::pipeline::frontier::PANES_MAX;
            if last != Some(sketch) || !runs.last().is_some_and(fits) {
                last = Some(sketch);
                runs.push(MarkRun { owner: state.owner(), base: pane, marks: Vec::new() });
            }
            if let Some(run) = runs.last_mut() {
                run.marks.push(Mark::new(register, (pane - run.base) as u64, rank));
            }
        }
        runs
    }

    fn take_cells(&mut self, everything: bool) -> Vec<SavedCell> {
        let mut unsaved: BTreeMap<i64, bool> = BTreeMap::new();
        for cell in self.slots.iter_mut().flatten().flat_map(|sketch| &mut sketch.open) {
            *unsaved.entry(cell.start()).or_default() |= everything || cell.unsaved;
            cell.unsaved = false;
        }
        let runs = |start: i64| {
            let run = |sketch: &super::Sketch| {
                let cell = sketch.open.iter().find(|cell| cell.start() == start)?;
                Some(MarkRun { owner: sketch.owner(), base: start, marks: cell.marks() })
            };
            self.slots.iter().flatten().filter_map(run).collect()
        };
        let save =
            |(start, unsaved): (i64, bool)| SavedCell { start, runs: unsaved.then(|| runs(start)) };
        unsaved.into_iter().map(save).collect()
    }

    /// Sketches without marks yet, with their edges where they stood. Journalled from now on.
    pub fn restore(definitions: &Definitions, edges: SavedEdges, owners: &[SketchOwner]) -> Self {
        let mut distinct = Self::new(definitions);
        distinct.edges.folded = edges.folded;
        distinct.edges.ahead_from = edges.ahead_from;
        distinct.edges.oldest = edges.oldest;
        distinct.ahead.refused = edges.ahead_refused;
        for &(kind, entity) in owners {
            if !distinct.holds(kind, entity) {
                distinct.create(kind, entity);
            }
        }
        distinct.keep_journal();
        distinct
    }

    /// Puts saved marks back. Those of a sketch that is gone, or of a pane that no window can
    /// ask for, are passed over.
    pub fn restore_run(&mut self, run: &MarkRun) {
        let (kind, entity) = run.owner;
        let Some(&id) = self.by_key.get(&(kind, entity)) else { return };
        // What is told here is saved already.
        let journal = self.journal.take();
        for mark in &run.marks {
            let pane = run.base.saturating_add(mark.pane() as i64);
            match self.edges.place(pane) {
                Place::Forgotten => {}
                Place::Ahead => self.ahead.add(id, pane, mark.register(), mark.rank()),
                place => self.insert(id, pane, place, mark.register(), mark.rank()),
            }
        }
        if let Some(Some(sketch)) = self.slots.get_mut(id.0 as usize) {
            sketch.open.iter_mut().for_each(|cell| cell.unsaved = false);
        }
        self.journal = journal;
    }
}
