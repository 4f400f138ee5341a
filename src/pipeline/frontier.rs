//! One HyperLogLog for every suffix of time.
//!
//! A plain register forgets when it was raised. A *frontier* keeps, per register, the marks
//! (pane, rank) that can still decide "what is the greatest rank among the panes from
//! `start` on": a mark is kept iff no other mark of the register is both as new and as high.
//! So within a register panes ascend and ranks strictly descend:
//!
//! ```text
//! rank  7 ┤ ●                         suffix(start): the first mark at or after start
//!       4 ┤        ●                  a new mark (pane 9, rank 4) deletes the two that it
//!       2 ┤            ●    ●         is both newer and not lower than, and nothing else
//!         └─┬──────┬───┬────┬─► pane
//! ```
//!
//! Marks may come in any order of panes and any number of times; the frontier is the same.
//! Of n marks with the ranks of random users, about ½·log₂(n) + ⅔ stay in a register.
//!
//! What a frontier cannot answer is a window that ended: a new mark may have deleted an old
//! one that such a window still needs. [`distinct`](crate::pipeline::distinct) owns that rule.
//!
//! # In memory
//! A mark is `register | pane − base (20 bits) | rank (6 bits)`, so sorting numbers sorts by
//! register and pane. A small frontier is one sorted list of `u64`; a large one is 256 lists
//! of `u32`, each for 64 registers, which share their high bits. A list of that size is moved
//! in about the time that a cache miss takes. The base is a pane: [`prune`](Frontier::prune)
//! forgets older ones and makes the oldest needed pane the new base.

use crate::pipeline::hll::{REGISTERS, Registers};

/// How many panes, from its base on, a frontier can tell apart. Configurations whose longest
/// window (or closed step) exceeds half of it are refused: with 1 s panes that is 6 days.
pub const PANES_MAX: i64 = 1 << PANE_BITS;

const RANK_BITS: u32 = 6;
const PANE_BITS: u32 = 20;
const RANK: u64 = (1 << RANK_BITS) - 1;
const REGISTER_SHIFT: u32 = RANK_BITS + PANE_BITS;

const BLOCK_REGISTERS: usize = 64;
const BLOCKS: usize = REGISTERS / BLOCK_REGISTERS;
const BLOCK_MASK: u64 = (1 << (REGISTER_SHIFT + BLOCK_REGISTERS.trailing_zeros())) - 1;

/// The marks up to which one list is kept. More: fewer sketches pay for 256 lists (6 KiB
/// empty), but an insertion moves more memory. Tests set it low to meet both forms.
const SMALL_MARKS_MAX: usize = if cfg!(test) { 24 } else { 512 };

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

    /// Whether [`insert`](Self::insert) may be called for this pane.
    #[inline]
    pub fn covers(&self, pane: i64) -> bool {
        (pane.wrapping_sub(self.base) as u64) < PANES_MAX as u64
    }

    /// Adds a mark of a pane that is [covered](Self::covers); others are ignored.
    #[inline]
    pub fn insert(&mut self, register: u16, pane: i64, rank: u8) {
        if !self.covers(pane) {
            debug_assert!(false, "pane {pane} is outside of base {} and its reach", self.base);
            return;
        }
        let register = u64::from(register) % REGISTERS as u64;
        let pane = (pane - self.base) as u64;
        self.insert_bits(register << REGISTER_SHIFT | pane << RANK_BITS | u64::from(rank) & RANK);
    }

    #[inline]
    fn insert_bits(&mut self, bits: u64) {
        let change = match &mut self.form {
            Form::Small(list) => insert_into(list, bits),
            Form::Large(blocks) => insert_into(&mut blocks[block_of(bits)], bits & BLOCK_MASK),
        };
        self.marks = self.marks.wrapping_add_signed(change);
        if change > 0 && self.marks > SMALL_MARKS_MAX {
            self.enlarge();
        }
    }

    /// Adds the marks of a frontier whose panes are all newer than those in here.
    ///
    /// Then whatever it holds stays, and of our marks those survive that are higher than its
    /// oldest, which is its highest: one pass without searching.
    pub fn append(&mut self, newer: &Frontier) {
        let Form::Large(theirs) = &newer.form else {
            newer.for_each(|register, pane, rank| self.insert(register, pane, rank));
            return;
        };
        let shift = newer.base.wrapping_sub(self.base);
        if !(0..PANES_MAX).contains(&shift) {
            debug_assert!(false, "prune before appending");
            return;
        }
        self.enlarge();
        let Form::Large(ours) = &mut self.form else { return };
        let mut merged = Vec::new();
        for (ours, theirs) in ours.iter_mut().zip(theirs.iter()) {
            append_block(ours, theirs, (shift as u32) << RANK_BITS, &mut merged);
        }
        self.marks = ours.iter().map(Vec::len).sum();
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
        if self.is_empty() {
            *self = Self::new(oldest);
            return;
        }
        let shift = oldest.saturating_sub(self.base);
        if shift <= 0 {
            return;
        }
        if shift >= PANES_MAX {
            *self = Self::new(oldest);
            return;
        }
        self.base = oldest;
        let shift = (shift as u64) << RANK_BITS;
        match &mut self.form {
            Form::Small(list) => {
                prune_list(list, shift);
                self.marks = list.len();
            }
            Form::Large(blocks) => {
                blocks.iter_mut().for_each(|list| prune_list(list, shift));
                self.marks = blocks.iter().map(Vec::len).sum();
            }
        }
        // Half of the limit, so that a sketch at the limit does not change form to and fro.
        if self.marks <= SMALL_MARKS_MAX / 2 {
            self.reduce();
        }
    }

    /// Every mark kept, by register and then pane.
    pub fn for_each(&self, mut visit: impl FnMut(u16, i64, u8)) {
        let mut visit = |bits: u64| {
            let pane = (bits >> RANK_BITS) as i64 & (PANES_MAX - 1);
            visit((bits >> REGISTER_SHIFT) as u16, self.base + pane, (bits & RANK) as u8);
        };
        match &self.form {
            Form::Small(list) => list.iter().for_each(|&bits| visit(bits)),
            Form::Large(blocks) => {
                for (block, list) in blocks.iter().enumerate() {
                    list.iter().for_each(|&bits| visit(bits_in(block, bits)));
                }
            }
        }
    }

    fn enlarge(&mut self) {
        let Form::Small(list) = &self.form else { return };
        let mut blocks: Box<[Vec<u32>; BLOCKS]> = Box::new([const { Vec::new() }; BLOCKS]);
        for of_block in list.chunk_by(|&a, &b| block_of(a) == block_of(b)) {
            blocks[block_of(of_block[0])] =
                of_block.iter().map(|&bits| (bits & BLOCK_MASK) as u32).collect();
        }
        self.form = Form::Large(blocks);
    }

    fn reduce(&mut self) {
        let Form::Large(blocks) = &self.form else { return };
        let mut list = Vec::with_capacity(self.marks);
        for (block, marks) in blocks.iter().enumerate() {
            list.extend(marks.iter().map(|&bits| bits_in(block, bits)));
        }
        self.form = Form::Small(list);
    }
}

fn block_of(bits: u64) -> usize {
    (bits >> BLOCK_MASK.count_ones()) as usize
}

fn bits_in(block: usize, bits: u32) -> u64 {
    (block as u64) << BLOCK_MASK.count_ones() | u64::from(bits)
}

/// A mark in a list: `u64` with the whole register, `u32` with its low six bits.
trait Mark: Copy {
    fn bits(self) -> u64;
    fn pack(bits: u64) -> Self;
}

impl Mark for u64 {
    fn bits(self) -> u64 {
        self
    }
    fn pack(bits: u64) -> Self {
        bits
    }
}

impl Mark for u32 {
    fn bits(self) -> u64 {
        u64::from(self)
    }
    fn pack(bits: u64) -> Self {
        bits as u32
    }
}

/// Inserts a mark and deletes those it dominates. Returns by how much the list has grown.
#[inline]
fn insert_into<M: Mark>(list: &mut Vec<M>, bits: u64) -> isize {
    let rank = bits & RANK;
    let same_register = |other: M| (other.bits() ^ bits) >> REGISTER_SHIFT == 0;
    // The first mark at or after this pane.
    let at = list.partition_point(|mark| mark.bits() < bits & !RANK);
    let mut end = at;
    if let Some(&newer) = list.get(at)
        && same_register(newer)
    {
        // Ranks descend, so this is the highest of those as new as ours.
        if newer.bits() & RANK >= rank {
            return 0;
        }
        let same_pane = (newer.bits() ^ bits) >> RANK_BITS == 0;
        end += usize::from(same_pane);
    }
    let mut first = at;
    while first > 0 && same_register(list[first - 1]) && list[first - 1].bits() & RANK <= rank {
        first -= 1;
    }
    let mark = M::pack(bits);
    if first == end {
        if list.len() == list.capacity() {
            // An eighth instead of doubling: thousands of lists stay near their final size.
            list.reserve_exact((list.len() / 8).max(8));
        }
        list.insert(first, mark);
        return 1;
    }
    // The most frequent case: a newer mark takes the place of one old mark.
    list[first] = mark;
    list.drain(first + 1..end);
    1 - (end - first) as isize
}

/// Appends newer marks to a block, both sorted; `shift` translates theirs to our base.
fn append_block(ours: &mut Vec<u32>, theirs: &[u32], shift: u32, merged: &mut Vec<u32>) {
    merged.clear();
    let mut rest = &ours[..];
    for newer in theirs.chunk_by(|a, b| a >> REGISTER_SHIFT == b >> REGISTER_SHIFT) {
        let register = newer[0] >> REGISTER_SHIFT;
        let rank = newer[0] & RANK as u32;
        let before = rest.partition_point(|mark| mark >> REGISTER_SHIFT < register);
        let through = before
            + rest[before..].iter().take_while(|&&mark| mark >> REGISTER_SHIFT == register).count();
        merged.extend_from_slice(&rest[..before]);
        merged.extend(rest[before..through].iter().filter(|&&mark| mark & RANK as u32 > rank));
        merged.extend(newer.iter().map(|mark| mark + shift));
        rest = &rest[through..];
    }
    merged.extend_from_slice(rest);
    if ours.capacity() < merged.len() {
        ours.reserve_exact(merged.len() - ours.len());
    }
    ours.clear();
    ours.extend_from_slice(merged);
}

/// Deletes the panes before the new base and counts the others from it.
fn prune_list<M: Mark>(list: &mut Vec<M>, shift: u64) {
    const PANE: u64 = ((PANES_MAX - 1) as u64) << RANK_BITS;
    list.retain(|mark| mark.bits() & PANE >= shift);
    for mark in list.iter_mut() {
        *mark = M::pack(mark.bits() - shift);
    }
    if list.capacity() > 16 && list.len() < list.capacity() / 2 {
        list.shrink_to(list.len() + list.len() / 8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every mark ever shown; a suffix is a maximum over all of them.
    type Naive = Vec<(u16, i64, u8)>;

    fn suffix_of(marks: &Naive, start: i64) -> Registers {
        let mut out = Registers::new();
        for &(register, pane, rank) in marks {
            if pane >= start {
                out.raise(register, rank);
            }
        }
        out
    }

    fn suffix(frontier: &Frontier, start: i64) -> Registers {
        let mut out = Registers::new();
        frontier.suffix(start, &mut out);
        out
    }

    /// No mark is implied by another, and the count is right.
    fn check_minimal(frontier: &Frontier) {
        let mut kept = Vec::new();
        frontier.for_each(|register, pane, rank| kept.push((register, pane, rank)));
        assert_eq!(kept.len(), frontier.len());
        for two in kept.windows(2).filter(|two| two[0].0 == two[1].0) {
            assert!(two[0].1 < two[1].1 && two[0].2 > two[1].2, "{two:?}");
        }
        assert!(kept.is_sorted());
    }

    /// A few registers, at both ends of a block and of the whole, so that marks meet.
    fn marks(panes: std::ops::Range<i64>) -> impl Strategy<Value = Naive> {
        let register = prop_oneof![0..6u16, 60..68u16, 16_380..16_384u16];
        prop::collection::vec((register, panes, 1..=12u8), 0..120)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn every_suffix_is_exact_in_any_order(marks in marks(100..140)) {
            let mut frontier = Frontier::new(90);
            for &(register, pane, rank) in &marks {
                frontier.insert(register, pane, rank);
            }
            check_minimal(&frontier);
            for start in 95..145 {
                prop_assert_eq!(suffix(&frontier, start), suffix_of(&marks, start));
            }
        }

        #[test]
        fn pruning_and_rebasing_keep_what_is_needed(
            old in marks(100..140), oldest in 80..150i64, new in marks(150..PANES_MAX + 80),
        ) {
            let mut frontier = Frontier::new(90);
            old.iter().for_each(|&(register, pane, rank)| frontier.insert(register, pane, rank));
            frontier.prune(oldest);
            new.iter().for_each(|&(register, pane, rank)| frontier.insert(register, pane, rank));
            check_minimal(&frontier);
            let all = [old, new].concat();
            for start in [oldest, 120, 139, 150, 1000, PANES_MAX + 79, PANES_MAX + 500] {
                if start >= oldest {
                    prop_assert_eq!(suffix(&frontier, start), suffix_of(&all, start));
                }
            }
        }

        #[test]
        fn appending_equals_inserting(old in marks(100..140), new in marks(140..180)) {
            let (mut appended, mut newer) = (Frontier::new(90), Frontier::new(140));
            old.iter().for_each(|&(register, pane, rank)| appended.insert(register, pane, rank));
            new.iter().for_each(|&(register, pane, rank)| newer.insert(register, pane, rank));
            appended.append(&newer);
            check_minimal(&appended);
            let all = [old, new].concat();
            for start in 95..185 {
                prop_assert_eq!(suffix(&appended, start), suffix_of(&all, start));
            }
        }
    }

    #[test]
    fn a_mark_deletes_what_it_makes_superfluous_and_nothing_else() {
        let kept_after = |marks: &[(i64, u8)]| {
            let mut frontier = Frontier::new(0);
            marks.iter().for_each(|&(pane, rank)| frontier.insert(7, pane, rank));
            let mut kept = Vec::new();
            frontier.for_each(|_, pane, rank| kept.push((pane, rank)));
            kept
        };
        let picture = [(1, 7), (4, 4), (6, 2), (8, 1)];
        assert_eq!(kept_after(&picture), picture);
        assert_eq!(kept_after(&[&picture[..], &[(9, 4)]].concat()), [(1, 7), (9, 4)]);
        assert_eq!(kept_after(&[&picture[..], &[(4, 4), (3, 4), (5, 2)]].concat()), picture);
        assert_eq!(kept_after(&[&picture[..], &[(4, 7)]].concat()), [(4, 7), (6, 2), (8, 1)]);
    }

    #[test]
    fn memory_is_given_back_when_traffic_ends() {
        let mut frontier = Frontier::new(0);
        for register in 0..4000 {
            frontier.insert(register, i64::from(register % 10), 3);
        }
        let full = frontier.bytes();
        assert!(full > 4000 * 4);
        frontier.prune(9);
        assert_eq!(frontier.len(), 400);
        assert!(frontier.bytes() < full / 2);
        frontier.prune(PANES_MAX * 2);
        assert_eq!((frontier.len(), frontier.bytes()), (0, 0));
        assert!(frontier.covers(PANES_MAX * 2));
    }
}
