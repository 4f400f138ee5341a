//! Marks of users, sketch by sketch: registers ascending, panes ascending within a register.

use super::state::{read_owner, write_owner};
use crate::pipeline::codec::{CodecError, Problem, Reader, Writer};
use crate::pipeline::distinct::{MarkRun, SketchOwner};
use crate::pipeline::frontier::{Frontier, Mark, PANES_MAX, minimize};
use crate::pipeline::hll::REGISTERS;

pub fn encode(runs: Vec<MarkRun>) -> Vec<u8> {
    let mut writer = Writer::with_capacity(runs.iter().map(|run| 16 + 4 * run.marks.len()).sum());
    writer.usize(runs.len());
    for MarkRun { owner, base, mut marks } in runs {
        minimize(&mut marks);
        write_owner(&mut writer, owner);
        writer.i64(base);
        writer.usize(marks.len());
        let (mut register, mut pane) = (0, 0);
        for mark in marks {
            if mark.register() != register {
                pane = 0;
            }
            writer.u64((mark.register() - register).into());
            writer.u64(mark.pane() - pane);
            writer.u8(mark.rank());
            (register, pane) = (mark.register(), mark.pane());
        }
    }
    writer.into_bytes()
}

/// A sketch's main frontier, as a run.
pub fn of_frontier(owner: SketchOwner, frontier: &Frontier) -> MarkRun {
    let mut oldest: Option<i64> = None;
    frontier.for_each(|_, pane, _| oldest = Some(oldest.map_or(pane, |oldest| oldest.min(pane))));
    let base = oldest.unwrap_or_default();
    let mut marks = Vec::with_capacity(frontier.len());
    frontier.for_each(|register, pane, rank| {
        marks.push(Mark::new(register, (pane - base) as u64, rank));
    });
    MarkRun { owner, base, marks }
}

pub fn decode(content: &[u8]) -> Result<Vec<MarkRun>, CodecError> {
    let mut reader = Reader::new(content);
    let mut runs = Vec::new();
    for _ in 0..reader.count(4)? {
        let owner = read_owner(&mut reader)?;
        let base = reader.i64()?;
        let count = reader.count(3)?;
        let mut marks = Vec::with_capacity(count);
        let (mut register, mut pane) = (0u64, 0u64);
        for _ in 0..count {
            let out_of_range = reader.error(Problem::OutOfRange);
            let step: u16 = reader.narrow()?;
            if step > 0 {
                pane = 0;
            }
            register += u64::from(step);
            pane = pane.checked_add(reader.u64()?).ok_or(out_of_range)?;
            let rank = reader.u8()?;
            if register >= REGISTERS as u64 || pane >= PANES_MAX as u64 || rank > RANK_MAX {
                return Err(out_of_range);
            }
            marks.push(Mark::new(register as u16, pane, rank));
        }
        runs.push(MarkRun { owner, base, marks });
    }
    reader.finish()?;
    Ok(runs)
}

/// Of a 50-bit tail without a one.
const RANK_MAX: u8 = 51;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_come_back_minimal(
            drafts in prop::collection::vec(
                (any::<Option<(u16, u32)>>(), -5i64..1 << 40, prop::collection::vec(
                    (0..REGISTERS as u16, 0..PANES_MAX as u64, 1..=RANK_MAX), 0..50)),
                0..4,
            ),
        ) {
            let mut runs: Vec<MarkRun> = drafts
                .into_iter()
                .map(|(entity, base, marks)| MarkRun {
                    owner: (Kind::Purchase, entity),
                    base,
                    marks: marks.into_iter().map(|(r, pane, rank)| Mark::new(r, pane, rank)).collect(),
                })
                .collect();
            let content = encode(runs.clone());
            runs.iter_mut().for_each(|run| minimize(&mut run.marks));
            prop_assert_eq!(decode(&content), Ok(runs));
            for cut in 0..content.len() {
                prop_assert!(decode(&content[..cut]).is_err());
            }
        }
    }
}
