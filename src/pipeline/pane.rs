//! Panes: what happened in one stretch of event time, kept until no window can need it.
//!
//! A pane is a log of cells, sorted and combined whenever it has doubled. Appending costs a
//! few nanoseconds where a hash map costs some forty, and combining is paid once per cell.
//!
//! ```text
//! level 0   |1 s|1 s|1 s|1 s|1 s|            the youngest data, for windows that slide by 1 s
//! level 1   |    5 s    |    5 s    |        older than any window of level 0 needs
//! level 2   |  1 m  |                        …
//! ```
//! A pane is rolled up into the next level only when no window of its own level, at the
//! latest or at the closed edge, can still need it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::pipeline::delivery::Totals;
use crate::time::{EventTime, Span};

/// What one entity gained in one pane. 16 bytes; there are tens of millions of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaneCell {
    pub amount: u64,
    /// The merger's number of the entity.
    pub entity: u32,
    pub series: u16,
}

impl PaneCell {
    fn key(&self) -> u64 {
        (u64::from(self.series) << 32) | u64::from(self.entity)
    }
}

/// The cells and totals of one pane.
#[derive(Clone, Debug, Default)]
pub struct Pane {
    cells: Vec<PaneCell>,
    /// Cells that were left by the last combining.
    combined: usize,
    pub totals: Totals,
    /// When its content changed last, as its owner counts changes. Combining is no change.
    pub changed: u64,
}

/// Below this a pane is not worth combining: sorting so little saves no memory.
const COMBINE_MIN_CELLS: usize = 4096;

impl Pane {
    /// A pane with what a checkpoint tells of: cells sorted by series and entity.
    pub fn restore(cells: Vec<PaneCell>, totals: Totals) -> Self {
        Self { combined: cells.len(), cells, totals, changed: 0 }
    }

    pub fn push(&mut self, cell: PaneCell) {
        self.cells.push(cell);
    }

    pub fn cells(&self) -> &[PaneCell] {
        &self.cells
    }

    /// Combines the cells if there are twice as many as after the last time.
    /// `merged` hears of each cell that was folded into another.
    pub fn combine_if_doubled(&mut self, merged: impl FnMut(PaneCell)) {
        if self.cells.len() >= COMBINE_MIN_CELLS.max(2 * self.combined) {
            self.combine(merged);
        }
    }

    /// Whether there is one cell per series and entity, sorted.
    pub fn is_combined(&self) -> bool {
        self.combined == self.cells.len()
    }

    /// Leaves one cell per series and entity.
    pub fn combine(&mut self, mut merged: impl FnMut(PaneCell)) {
        if self.is_combined() {
            return;
        }
        sort(&mut self.cells);
        self.cells.dedup_by(|cell, kept| {
            let same = cell.key() == kept.key();
            if same {
                kept.amount += cell.amount;
                merged(*cell);
            }
            same
        });
        self.combined = self.cells.len();
        if self.cells.capacity() > 2 * self.cells.len() + COMBINE_MIN_CELLS {
            self.cells.shrink_to_fit();
        }
    }

    /// Takes over another pane's content.
    pub fn absorb(&mut self, other: Arc<Pane>) {
        self.totals.add(&other.totals);
        if self.cells.is_empty() {
            let other = Arc::unwrap_or_clone(other);
            self.cells = other.cells;
            self.combined = other.combined;
        } else {
            self.cells.extend_from_slice(&other.cells);
        }
    }

    pub fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<PaneCell>() + size_of::<Pane>()
    }
}

/// Fewer cells are sorted faster by comparing them.
const RADIX_MIN_CELLS: usize = 512;
/// 2048 counters fit the first cache, and series and entity two or three digits.
const DIGIT_BITS: u32 = 11;

/// Sorts cells by series and entity: by their digits, from the lowest on.
fn sort(cells: &mut [PaneCell]) {
    if cells.len() < RADIX_MIN_CELLS {
        cells.sort_unstable_by_key(PaneCell::key);
        return;
    }
    let (entities, all_series) = cells
        .iter()
        .fold((0, 0), |(entity, series), cell| (entity | cell.entity, series | cell.series));
    let entity_bits = u32::BITS - entities.leading_zeros();
    let bits = entity_bits + (u16::BITS - all_series.leading_zeros());
    let key = |cell: &PaneCell| u64::from(cell.series) << entity_bits | u64::from(cell.entity);
    let mut copy = cells.to_vec();
    let (mut from, mut to) = (&mut *cells, &mut copy[..]);
    let passes = bits.div_ceil(DIGIT_BITS);
    for pass in 0..passes {
        let shift = pass * DIGIT_BITS;
        let digit = |cell: &PaneCell| (key(cell) >> shift) as usize & ((1 << DIGIT_BITS) - 1);
        let mut places = [0u32; 1 << DIGIT_BITS];
        for cell in &*from {
            places[digit(cell)] += 1;
        }
        let mut place = 0;
        for count in &mut places {
            (*count, place) = (place, place + *count);
        }
        for cell in &*from {
            let place = &mut places[digit(cell)];
            to[*place as usize] = *cell;
            *place += 1;
        }
        std::mem::swap(&mut from, &mut to);
    }
    if passes % 2 == 1 {
        // The sorted cells are in the copy, which is `from` now.
        to.copy_from_slice(from);
    }
}

/// The panes of one width. A checkpoint can hold on to a pane while it changes: it is copied
/// before the change then.
#[derive(Debug)]
pub struct Level {
    pub width: Span,
    pub panes: BTreeMap<EventTime, Arc<Pane>>,
    /// Panes before this have moved to the next level (or were dropped from the last).
    pub rolled_to: EventTime,
}

impl Level {
    pub fn new(width: Span) -> Self {
        Self { width, panes: BTreeMap::new(), rolled_to: EventTime::MIN }
    }

    /// The pane that holds an instant.
    pub fn pane_mut(&mut self, time: EventTime) -> &mut Pane {
        Arc::make_mut(self.panes.entry(time.floor(self.width)).or_default())
    }

    /// Removes and returns the panes before `end`, which from now on belong elsewhere.
    pub fn take_before(&mut self, end: EventTime) -> BTreeMap<EventTime, Arc<Pane>> {
        let rest = self.panes.split_off(&end);
        self.rolled_to = self.rolled_to.max(end);
        std::mem::replace(&mut self.panes, rest)
    }

    pub fn bytes(&self) -> usize {
        self.panes.values().map(|pane| pane.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cell(series: u16, entity: u32, amount: u64) -> PaneCell {
        PaneCell { amount, entity, series }
    }

    #[test]
    fn combining_keeps_sums_and_reports_what_it_folded() {
        let mut pane = Pane::default();
        for cell in [cell(0, 7, 1), cell(1, 7, 5), cell(0, 3, 2), cell(0, 7, 4)] {
            pane.push(cell);
        }
        let mut merged = 0;
        pane.combine(|_| merged += 1);
        assert_eq!(pane.cells(), [cell(0, 3, 2), cell(0, 7, 5), cell(1, 7, 5)]);
        assert_eq!(merged, 1);
    }

    proptest! {
        #[test]
        fn cells_are_sorted_by_series_and_entity(
            drafts in prop::collection::vec((0u16..40, any::<u32>()), 0..1500),
            entity_bits in 0u32..=32,
        ) {
            let draft = |(at, &(series, entity)): (usize, &(u16, u32))| {
                cell(series, (u64::from(entity) & ((1 << entity_bits) - 1)) as u32, at as u64)
            };
            let mut cells: Vec<PaneCell> = drafts.iter().enumerate().map(draft).collect();
            let mut expected = cells.clone();
            expected.sort_by_key(PaneCell::key);
            sort(&mut cells);
            if cells.len() < RADIX_MIN_CELLS {
                // Equal keys may stand in any order.
                cells.sort_by_key(|cell| (cell.key(), cell.amount));
            }
            prop_assert_eq!(cells, expected);
        }
    }

    #[test]
    fn a_cell_is_sixteen_bytes() {
        assert_eq!(size_of::<PaneCell>(), 16);
    }
}
