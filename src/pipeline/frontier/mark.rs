//! One sighting of a user: register, pane and rank in one number.

use crate::pipeline::hll::REGISTERS;

/// How many panes, from its base on, a mark can tell apart. Configurations whose longest
/// window (or closed step) exceeds half of it are refused: with 1 s panes that is 6 days.
pub const PANES_MAX: i64 = 1 << PANE_BITS;

pub(super) const RANK_BITS: u32 = 6;
const PANE_BITS: u32 = 20;
pub(super) const RANK: u64 = (1 << RANK_BITS) - 1;
pub(super) const REGISTER_SHIFT: u32 = RANK_BITS + PANE_BITS;

/// `register | pane (20 bits) | rank (6 bits)`, so that sorting numbers sorts by register and
/// pane. The pane counts from a base that the holder of the mark knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub(super) u64);

impl Mark {
    /// The pane is less than [`PANES_MAX`]; a register or rank beyond what
    /// [`mark`](crate::pipeline::hll::mark) returns is cut to its bits.
    #[inline]
    pub fn new(register: u16, pane: u64, rank: u8) -> Self {
        debug_assert!(pane < PANES_MAX as u64);
        let register = u64::from(register) % REGISTERS as u64;
        Self(register << REGISTER_SHIFT | pane << RANK_BITS | u64::from(rank) & RANK)
    }

    /// The mark of a register with the [`low`](Self::low) bits of another.
    #[inline]
    pub fn with(register: u16, low: u32) -> Self {
        Self(u64::from(register) << REGISTER_SHIFT | u64::from(low))
    }

    /// Pane and rank; 0 only without a rank.
    #[inline]
    pub fn low(self) -> u32 {
        (self.0 & ((1 << REGISTER_SHIFT) - 1)) as u32
    }

    #[inline]
    pub fn register(self) -> u16 {
        (self.0 >> REGISTER_SHIFT) as u16
    }

    #[inline]
    pub fn pane(self) -> u64 {
        self.0 >> RANK_BITS & (PANES_MAX as u64 - 1)
    }

    #[inline]
    pub fn rank(self) -> u8 {
        (self.0 & RANK) as u8
    }
}

/// Sorts marks and deletes those that another one makes superfluous: what is left is a
/// frontier.
pub fn minimize(marks: &mut Vec<Mark>) {
    // Newest first, then a mark stays iff it is higher than all newer ones of its register.
    // The stable sort is the one that makes use of a part that is sorted already.
    marks.sort_by(|a, b| b.cmp(a));
    let (mut register, mut highest) = (0, 0);
    marks.retain(|mark| {
        if mark.register() != register {
            (register, highest) = (mark.register(), 0);
        }
        let keep = mark.rank() > highest;
        highest = highest.max(mark.rank());
        keep
    });
    marks.reverse();
}
