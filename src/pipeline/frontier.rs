//! One HyperLogLog for every suffix of time.
//!
//! A plain register forgets when it was raised. A *frontier* keeps, per register, the marks
//! (pane, rank) that can still decide "what is the greatest rank among the panes from
//! `start` on": a mark is kept iff no other mark of the register is both as new and as high.
//! So within a register panes ascend and ranks strictly descend:
//!
//! ```text
//! rank  7 ┤ ●                         suffix(start): the first mark at or after start
//!       4 ┤        ●                  a new mark (pane 9, rank 4) deletes the three that
//!       2 ┤            ●              it is newer and not lower than, and nothing else
//!       1 ┤                 ●
//!         └─┬──────┬───┬────┬─► pane
//!           1      4   6    8
//! ```
//!
//! Marks may come in any order of panes and any number of times; the frontier is the same.
//! Of n marks with the ranks of random users, about ½·log₂(n) + ⅔ stay in a register.
//!
//! What a frontier cannot answer is a window that ended: a new mark may have deleted an old
//! one that such a window still needs. [`distinct`](crate::pipeline::distinct) owns that rule.
//!
//! # In memory
//! A small frontier is one sorted list of marks in 64 bits; a large one is 256 lists of marks
//! in 32 bits, each for 64 registers, which share their high bits. Most marks come by
//! [`append`](Frontier::append), sorted, in one pass over the lists. Panes count from a base:
//! [`prune`](Frontier::prune) forgets older panes and makes the oldest needed one the base.

mod mark;

pub use mark::{Mark, PANES_MAX, minimize};

use mark::{RANK, RANK_BITS, REGISTER_SHIFT};

use crate::pipeline::hll::{REGISTERS, Registers};

const BLOCK_REGISTERS: usize = 64;
const BLOCKS: usize = REGISTERS / BLOCK_REGISTERS;
const BLOCK_SHIFT: u32 = REGISTER_SHIFT + BLOCK_REGISTERS.trailing_zeros();

/// The marks up to which one list is kept: about where 256 lists of half the width (and 6 KiB
/// of their own) cost as much memory. Tests set it low to meet both forms.
const SMALL_MARKS_MAX: usize = if cfg!(test) { 24 } else { 2048 };

/// The marks of one sketch that some suffix of time can still show.
#[derive(Clone, Debug)]
pub struct Frontier {
    base: i64,
    marks: usize,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Small(Vec<u64>),
    Large(Box<[Vec<u32>; BLOCKS]>),
}

impl Frontier {
    /// An empty frontier for panes from `base` on.
    pub const fn new(base: i64) -> Self {
        Self { base, marks: 0, form: Form::Small(Vec::new()) }
    }

    pub fn is_empty(&self) -> bool {
        self.marks == 0
    }

    /// How many marks are kept.
    pub fn len(&self) -> usize {
        self.marks
    }

    /// Bytes on the heap, by capacity.
    pub fn bytes(&self) -> usize {
        match &self.form {
            Form::Small(list) => list.capacity() * size_of::<u64>(),
            Form::Large(blocks) => {
                let marks: usize = blocks.iter().map(Vec::capacity).sum();
                size_of_val(&**blocks) + marks * size_of::<u32>()
            }
        }
    }

    /// Whether the pane may be inserted: it is at or after the base and less than
    /// [`PANES_MAX`] after it.
    #[inline]
    pub fn covers(&self, pane: i64) -> bool {
        (pane.wrapping_sub(self.base) as u64) < PANES_MAX as u64
    }

    /// Adds a mark of any pane that is [covered](Self::covers).
    pub fn insert(&mut self, register: u16, pane: i64, rank: u8) {
        if !self.covers(pane) {
            debug_assert!(false, "pane {pane} is out of reach from base {}", self.base);
            return;
        }
        let Mark(bits) = Mark::new(register, (pane - self.base) as u64, rank);
        let grown = match &mut self.form {
            Form::Small(list) => insert_into(list, bits),
            Form::Large(blocks) => insert_into(&mut blocks[block_of(bits)], bits & BLOCK_MASK),
        };
        self.marks = self.marks.wrapping_add_signed(grown);
        if self.marks > SMALL_MARKS_MAX {
            self.enlarge();
        }
    }

    /// Adds [minimal](minimize) marks whose panes, counted from `base`, are all covered and
    /// newer than any in here.
    ///
    /// Then all of them stay, and of ours those that are higher than the register's oldest
    /// new mark, which is its highest: one pass without searching. `scratch` is reused memory.
    pub fn append(&mut self, newer: &[Mark], base: i64, scratch: &mut Vec<u32>) {
        let reach = newer.iter().map(|mark| mark.pane()).max().unwrap_or(0);
        if base < self.base || !self.covers(base.saturating_add(reach as i64)) {
            debug_assert!(false, "prune before appending");
            return;
        }
        let shift = ((base - self.base) as u64) << RANK_BITS;
        if self.marks + newer.len() > SMALL_MARKS_MAX {
            self.enlarge();
        }
        match &mut self.form {
            Form::Small(list) => {
                let mut merged = Vec::with_capacity(list.len() + newer.len());
                merge_newer(list, newer, shift, u64::MAX, &mut merged);
                *list = merged;
                self.marks = list.len();
            }
            Form::Large(blocks) => {
                for newer in newer.chunk_by(|a, b| block_of(a.0) == block_of(b.0)) {
                    let list = &mut blocks[block_of(newer[0].0)];
                    self.marks -= list.len();
                    scratch.clear();
                    merge_newer(list, newer, shift, BLOCK_MASK, scratch);
                    if list.capacity() < scratch.len() {
                        grow(list, scratch.len() - list.len());
                    }
                    list.clear();
                    list.extend_from_slice(scratch);
                    self.marks += list.len();
                }
            }
        }
    }

    /// Raises the registers to the greatest ranks among the panes from `start` on.
    pub fn suffix(&self, start: i64, out: &mut Registers) {
        let start = start.saturating_sub(self.base);
        if start >= PANES_MAX {
            return;
        }
        let first = (start.max(0) as u64) << RANK_BITS;
        let since = move |bits: u64| {
            let pane_and_rank = bits & ((1 << REGISTER_SHIFT) - 1);
            // Rank 0 raises nothing: cheaper than a branch that is taken half of the time.
            if pane_and_rank >= first { (bits & RANK) as u8 } else { 0 }
        };
        match &self.form {
            Form::Small(list) => {
                for &bits in list {
                    out.raise((bits >> REGISTER_SHIFT) as u16, since(bits));
                }
            }
            Form::Large(blocks) => {
                for (block, list) in blocks.iter().enumerate() {
                    let offset = block * BLOCK_REGISTERS;
                    for &bits in list {
                        let register = offset + (bits >> REGISTER_SHIFT) as usize;
                        out.raise(register as u16, since(u64::from(bits)));
                    }
                }
            }
        }
    }

    /// Forgets the panes before `oldest` and makes it the base. Suffixes from `oldest` on
    /// stay exact. Memory that is no longer needed is given back.
    pub fn prune(&mut self, oldest: i64) {
        let shift = oldest.saturating_sub(self.base);
        if self.is_empty() || shift >= PANES_MAX {
            *self = Self::new(oldest);
            return;
        }
        if shift <= 0 {
            return;
        }
        self.base = oldest;
        let shift = (shift as u64) << RANK_BITS;
        self.marks = match &mut self.form {
            Form::Small(list) => prune_list(list, shift),
            Form::Large(blocks) => blocks.iter_mut().map(|list| prune_list(list, shift)).sum(),
        };
        // Half of the limit, so that a sketch at the limit does not change form to and fro.
        if self.marks <= SMALL_MARKS_MAX / 2 {
            self.reduce();
        }
    }

    /// Every mark kept, as (register, pane, rank), by register and then pane.
    pub fn for_each(&self, mut visit: impl FnMut(u16, i64, u8)) {
        let mut visit = |bits| {
            let mark = Mark(bits);
            visit(mark.register(), self.base + mark.pane() as i64, mark.rank());
        };
        match &self.form {
            Form::Small(list) => list.iter().for_each(|&bits| visit(bits)),
            Form::Large(blocks) => {
                for (block, list) in blocks.iter().enumerate() {
                    list.iter().for_each(|&bits| visit(widen(block, bits)));
                }
            }
        }
    }

    fn enlarge(&mut self) {
        let Form::Small(list) = &self.form else { return };
        let mut blocks: Box<[Vec<u32>; BLOCKS]> = Box::new([const { Vec::new() }; BLOCKS]);
        for of_block in list.chunk_by(|&a, &b| block_of(a) == block_of(b)) {
            blocks[block_of(of_block[0])] = of_block.iter().map(|&bits| bits as u32).collect();
        }
        self.form = Form::Large(blocks);
    }

    fn reduce(&mut self) {
        let Form::Large(blocks) = &self.form else { return };
        let mut list = Vec::with_capacity(self.marks);
        for (block, marks) in blocks.iter().enumerate() {
            list.extend(marks.iter().map(|&bits| widen(block, bits)));
        }
        self.form = Form::Small(list);
    }
}

/// What a block keeps of a mark: 6 bits of register, 20 of pane, 6 of rank.
const BLOCK_MASK: u64 = (1 << BLOCK_SHIFT) - 1;
const _: () = assert!(BLOCK_MASK == u32::MAX as u64);

fn block_of(bits: u64) -> usize {
    (bits >> BLOCK_SHIFT) as usize
}

fn widen(block: usize, bits: u32) -> u64 {
    (block as u64) << BLOCK_SHIFT | u64::from(bits)
}

/// A mark in a list: `u64`, or `u32` without the high bits of the register.
trait Bits: Copy {
    fn get(self) -> u64;
    fn cut(bits: u64) -> Self;
}

impl Bits for u64 {
    fn get(self) -> u64 {
        self
    }
    fn cut(bits: u64) -> Self {
        bits
    }
}

impl Bits for u32 {
    fn get(self) -> u64 {
        u64::from(self)
    }
    fn cut(bits: u64) -> Self {
        bits as u32
    }
}

/// Inserts a mark and deletes those it makes superfluous. Returns by how much the list grew.
fn insert_into<B: Bits>(list: &mut Vec<B>, bits: u64) -> isize {
    let rank = bits & RANK;
    let same_register = |other: B| (other.get() ^ bits) >> REGISTER_SHIFT == 0;
    // The first mark at or after this pane.
    let at = list.partition_point(|mark| mark.get() < bits & !RANK);
    let mut end = at;
    if let Some(&newer) = list.get(at)
        && same_register(newer)
    {
        // Ranks descend, so this is the highest of those as new as ours.
        if newer.get() & RANK >= rank {
            return 0;
        }
        let same_pane = (newer.get() ^ bits) >> RANK_BITS == 0;
        end += usize::from(same_pane);
    }
    let mut first = at;
    while first > 0 && same_register(list[first - 1]) && list[first - 1].get() & RANK <= rank {
        first -= 1;
    }
    if first == end {
        if list.len() == list.capacity() {
            grow(list, 1);
        }
        list.insert(first, B::cut(bits));
        return 1;
    }
    list[first] = B::cut(bits);
    list.drain(first + 1..end);
    1 - (end - first) as isize
}

/// Merges marks that are newer than ours into `merged`, all sorted. `shift` translates
/// their panes to our base, `mask` is what our list keeps of a mark.
fn merge_newer<B: Bits>(ours: &[B], newer: &[Mark], shift: u64, mask: u64, merged: &mut Vec<B>) {
    let mut at = 0;
    for newer in newer.chunk_by(|a, b| a.register() == b.register()) {
        let first = newer[0].0 & mask;
        let (register, highest) = (first >> REGISTER_SHIFT, first & RANK);
        let from = at;
        while at < ours.len() && ours[at].get() >> REGISTER_SHIFT < register {
            at += 1;
        }
        merged.extend_from_slice(&ours[from..at]);
        while at < ours.len() && ours[at].get() >> REGISTER_SHIFT == register {
            if ours[at].get() & RANK > highest {
                merged.push(ours[at]);
            }
            at += 1;
        }
        merged.extend(newer.iter().map(|mark| B::cut((mark.0 & mask) + shift)));
    }
    merged.extend_from_slice(&ours[at..]);
}

/// Makes room for `more` marks and an eighth besides. Doubling would waste more memory on
/// lists that hardly grow once a sketch has seen a whole window.
fn grow<B>(list: &mut Vec<B>, more: usize) {
    list.reserve_exact(more + list.len() / 8 + 4);
}

/// Deletes the panes before the new base and counts the others from it. Returns the length.
fn prune_list<B: Bits>(list: &mut Vec<B>, shift: u64) -> usize {
    list.retain_mut(|mark| {
        let keep = Mark(mark.get()).pane() << RANK_BITS >= shift;
        if keep {
            *mark = B::cut(mark.get() - shift);
        }
        keep
    });
    if list.capacity() > 16 && list.len() < list.capacity() / 2 {
        list.shrink_to(list.len() + list.len() / 8);
    }
    list.len()
}

#[cfg(test)]
mod tests;
