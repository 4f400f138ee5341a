//! Kafka, and the pure function of it that merged state has to equal.

use std::collections::BTreeMap;

use nazar::event::Kind;
use nazar::pipeline::delivery::Partition;

/// Event time is counted in panes: the pane of time `t` ends at `t + 1`.
pub const LATENESS: i64 = 3;
/// A window holds the panes that end in `(end − SIZE, end]`.
pub const SIZE: i64 = 2;

pub fn partition(p: usize) -> Partition {
    Partition { kind: Kind::Click, index: p as i32 }
}

pub fn pane_end(time: i64) -> i64 {
    time + 1
}

/// Lateness, judged by what the partition's own log has shown before.
pub fn is_late(moved: Option<i64>, time: i64) -> bool {
    moved.is_some_and(|moved| pane_end(time) <= moved - LATENESS)
}

/// What records add to a pane: a sum of random weights shows any loss or repetition.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Cell {
    pub weight: u64,
    pub records: u64,
}

pub type Panes = BTreeMap<i64, Cell>;

pub fn add(panes: &mut Panes, pane: i64, cell: Cell) {
    let sum = panes.entry(pane).or_default();
    sum.weight = sum.weight.wrapping_add(cell.weight);
    sum.records += cell.records;
}

pub fn window(panes: &Panes, end: i64) -> u64 {
    panes.range(end - SIZE + 1..=end).fold(0, |sum, (_, cell)| sum.wrapping_add(cell.weight))
}

#[derive(Clone, Copy)]
pub struct Record {
    pub time: i64,
    pub weight: u64,
}

/// The log of one partition, with what is known before each offset.
pub struct Log {
    records: Vec<Record>,
    digests: Vec<u64>,
    moved: Vec<Option<i64>>,
}

impl Log {
    pub fn new() -> Self {
        Self { records: vec![], digests: vec![0], moved: vec![None] }
    }

    pub fn push(&mut self, record: Record) {
        let moved = *self.moved.last().unwrap();
        let weight = if is_late(moved, record.time) { 0 } else { record.weight };
        self.digests.push(self.digests.last().unwrap().wrapping_add(weight));
        self.moved.push(moved.max(Some(record.time)));
        self.records.push(record);
    }

    pub fn end(&self) -> i64 {
        self.records.len() as i64
    }

    pub fn read(&self, offset: i64) -> Record {
        self.records[offset as usize]
    }

    /// The sum of all weights applied before an offset.
    pub fn digest(&self, before: i64) -> u64 {
        self.digests[before as usize]
    }

    /// Adds what the log before an offset contributes: the pure function.
    pub fn add_panes(&self, before: i64, panes: &mut Panes) {
        for (offset, record) in self.records[..before as usize].iter().enumerate() {
            if !is_late(self.moved[offset], record.time) {
                let cell = Cell { weight: record.weight, records: 1 };
                add(panes, pane_end(record.time), cell);
            }
        }
    }
}
