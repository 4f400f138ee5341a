//! An open cell: the marks of a few panes, until the closed edge folds them into main.
//!
//! Nearly every user is added here, so adding is a write and no search. A cell starts as a
//! plain log of marks. A full log becomes a table of the newest mark of each register, where
//! a next mark replaces most of what it makes superfluous, and a log of the older marks that
//! a window may still need. Logs are not sorted: a read looks at all of it, and folding sorts
//! it once.

use crate::pipeline::frontier::{Mark, minimize};
use crate::pipeline::hll::{REGISTERS, Registers};

/// Marks in a log before it is cleaned, and turned into a table if that did not help much:
/// 32 KiB, half as much as the table. Tests set it low to meet both forms.
const LOG_MARKS_MAX: usize = if cfg!(test) { 12 } else { 4096 };

pub struct Cell {
    /// The first pane; marks count their panes from here.
    start: i64,
    log: Vec<Mark>,
    /// How long the log may get before it is cleaned.
    log_marks_max: usize,
    /// By register: pane and rank of its newest mark (of those, the highest), 0 for none.
    /// Marks of the register in the log are all older.
    newest: Option<Box<[u32; REGISTERS]>>,
    /// Whether it has gained marks since they were last saved.
    pub unsaved: bool,
}

impl Cell {
    pub fn new(start: i64) -> Self {
        Self { start, log: Vec::new(), log_marks_max: LOG_MARKS_MAX, newest: None, unsaved: false }
    }

    /// The first pane of the cell.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// Adds a mark; the pane is one of this cell's.
    #[inline]
    pub fn insert(&mut self, register: u16, pane: i64, rank: u8) {
        self.unsaved = true;
        let mark = Mark::new(register, (pane - self.start) as u64, rank);
        let older = match &mut self.newest {
            Some(newest) => show(newest, mark),
            None => Some(mark),
        };
        if let Some(older) = older {
            self.log.push(older);
            if self.log.len() >= self.log_marks_max {
                self.clean();
            }
        }
    }

    /// Raises the registers to the greatest ranks among the panes from `start` on.
    pub fn suffix(&self, start: i64, out: &mut Registers) {
        let first = start.saturating_sub(self.start).max(0) as u64;
        for mark in &self.log {
            out.raise(mark.register(), if mark.pane() >= first { mark.rank() } else { 0 });
        }
        if let Some(newest) = &self.newest {
            out.raise_all(newest.iter().map(|&low| {
                let mark = Mark::with(0, low);
                if mark.pane() >= first { mark.rank() } else { 0 }
            }));
        }
    }

    /// Moves all marks that a suffix can show to `out`, sorted.
    pub fn take(&mut self, out: &mut Vec<Mark>) {
        out.clear();
        self.drop_superfluous();
        let Some(newest) = self.newest.take() else {
            out.append(&mut self.log);
            return;
        };
        let mut older = self.log.drain(..).peekable();
        for (register, &low) in (0..).zip(newest.iter()) {
            while let Some(mark) = older.next_if(|mark| mark.register() == register) {
                out.push(mark);
            }
            if low != 0 {
                out.push(Mark::with(register, low));
            }
        }
    }

    /// All marks that a suffix can show, and maybe others, in any order.
    pub fn marks(&self) -> Vec<Mark> {
        let mut marks = self.log.clone();
        for (register, &low) in (0..).zip(self.newest.iter().flat_map(|newest| newest.iter())) {
            if low != 0 {
                marks.push(Mark::with(register, low));
            }
        }
        marks
    }

    /// Forgets the panes before `oldest`.
    pub fn prune(&mut self, oldest: i64) {
        let first = oldest.saturating_sub(self.start).max(0) as u64;
        self.log.retain(|mark| mark.pane() >= first);
        for low in self.newest.iter_mut().flat_map(|newest| newest.iter_mut()) {
            if Mark::with(0, *low).pane() < first {
                *low = 0;
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        let no_newest = |newest: &[u32; REGISTERS]| newest.iter().all(|&low| low == 0);
        self.log.is_empty() && self.newest.as_deref().is_none_or(no_newest)
    }

    pub fn bytes(&self) -> usize {
        self.log.capacity() * size_of::<Mark>()
            + self.newest.as_ref().map_or(0, |newest| size_of_val(&**newest))
    }

    #[cold]
    fn clean(&mut self) {
        self.drop_superfluous();
        if self.newest.is_none() && self.log.len() > LOG_MARKS_MAX / 2 {
            let mut newest = Box::new([0; REGISTERS]);
            let marks = std::mem::take(&mut self.log);
            self.log.extend(marks.into_iter().filter_map(|mark| show(&mut newest, mark)));
            self.newest = Some(newest);
        }
        // Growing by a quarter, so that cleaning costs little per mark however many stay.
        self.log_marks_max = LOG_MARKS_MAX + self.log.len() / 4 * 5;
        if self.log.len() > LOG_MARKS_MAX {
            self.log.reserve_exact(self.log_marks_max - self.log.len());
        }
    }

    fn drop_superfluous(&mut self) {
        minimize(&mut self.log);
        if let Some(newest) = &self.newest {
            let rank = |register: u16| Mark::with(0, newest[register as usize]).rank();
            self.log.retain(|mark| mark.rank() > rank(mark.register()));
        }
    }
}

/// Shows a mark to the table. Returns what has to go to the log, if anything: the mark that
/// was newest before, or a late one.
#[inline]
fn show(newest: &mut [u32; REGISTERS], mark: Mark) -> Option<Mark> {
    let slot = &mut newest[mark.register() as usize % REGISTERS];
    let before = Mark::with(mark.register(), *slot);
    if mark.pane() < before.pane() {
        return (mark.rank() > before.rank()).then_some(mark);
    }
    let higher = mark.rank() >= before.rank();
    if !higher && mark.pane() == before.pane() {
        return None;
    }
    *slot = mark.low();
    (!higher).then_some(before)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_cell_shows_and_hands_on_what_it_was_told(
            marks in prop::collection::vec((0..8u16, 50..60i64, 1..=9u8), 0..150),
            oldest in 45..58i64,
        ) {
            let mut cell = Cell::new(50);
            let mut told = Vec::new();
            for &(register, pane, rank) in &marks {
                cell.insert(register, pane, rank);
                told.push(Mark::new(register, (pane - 50) as u64, rank));
            }
            for start in 48..61 {
                let (mut out, mut naive) = (Registers::new(), Registers::new());
                cell.suffix(start, &mut out);
                for &(register, _, rank) in marks.iter().filter(|mark| mark.1 >= start) {
                    naive.raise(register, rank);
                }
                prop_assert_eq!(out, naive);
            }
            cell.prune(oldest);
            told.retain(|mark| mark.pane() as i64 + 50 >= oldest);
            prop_assert_eq!(cell.is_empty(), told.is_empty());
            minimize(&mut told);
            let mut saved = cell.marks();
            minimize(&mut saved);
            prop_assert_eq!(&saved, &told);
            let mut taken = Vec::new();
            cell.take(&mut taken);
            prop_assert_eq!(taken, told);
        }
    }

    #[test]
    fn repeated_users_do_not_make_it_grow() {
        let mut cell = Cell::new(0);
        for mark in 0..60_000u16 {
            cell.insert(mark % 2, i64::from(mark / 10_000), (mark % 3) as u8 + 1);
        }
        assert!(cell.bytes() <= 16 * LOG_MARKS_MAX, "{} bytes", cell.bytes());
    }
}
