//! Marks of panes that stream time has not reached, each kept as it is: a frontier would
//! delete what a window that ends before the newest of them still needs.

use std::collections::BTreeMap;

use super::SketchId;
use crate::pipeline::hll::Registers;

/// Marks that may wait, over all sketches (about 2.5 MiB). They come from records whose clock
/// leapt too far to be believed, a few dozen per leap; without a bound, a producer that mixes
/// in the year 2099 for ever would fill the memory.
pub const AHEAD_MARKS_MAX: usize = 1 << 16;

/// (sketch, pane, register).
pub type Key = (SketchId, i64, u16);

#[derive(Default)]
pub struct Ahead {
    /// The greatest rank.
    marks: BTreeMap<Key, u8>,
    /// The oldest pane in `marks`.
    first: Option<i64>,
    /// Marks not taken in because of the bound.
    pub refused: u64,
}

impl Ahead {
    pub fn add(&mut self, sketch: SketchId, pane: i64, register: u16, rank: u8) {
        let key = (sketch, pane, register);
        if self.marks.len() >= AHEAD_MARKS_MAX && !self.marks.contains_key(&key) {
            self.refused += 1;
            return;
        }
        let highest = self.marks.entry(key).or_default();
        *highest = rank.max(*highest);
        self.first = Some(self.first.map_or(pane, |first| first.min(pane)));
    }

    /// Removes and returns the marks of panes before this one.
    pub fn take_before(&mut self, pane: i64) -> Vec<(Key, u8)> {
        if self.first.is_none_or(|first| first >= pane) {
            return Vec::new();
        }
        let mut taken = Vec::new();
        self.marks.retain(|&key, &mut rank| {
            let stays = key.1 >= pane;
            if !stays {
                taken.push((key, rank));
            }
            stays
        });
        self.first = self.marks.keys().map(|key| key.1).min();
        taken
    }

    /// Raises `out` by the marks of panes in `[start, end)`.
    pub fn range(&self, sketch: SketchId, start: i64, end: i64, out: &mut Registers) {
        if start >= end || self.first.is_none_or(|first| first >= end) {
            return;
        }
        for (&(_, _, register), &rank) in self.marks.range((sketch, start, 0)..(sketch, end, 0)) {
            out.raise(register, rank);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (Key, u8)> {
        self.marks.iter().map(|(&key, &rank)| (key, rank))
    }

    pub fn holds(&self, sketch: SketchId) -> bool {
        self.marks.range((sketch, i64::MIN, 0)..=(sketch, i64::MAX, u16::MAX)).next().is_some()
    }

    /// About 40 bytes a mark in a B-tree.
    pub fn bytes(&self) -> usize {
        self.marks.len() * 40
    }
}
