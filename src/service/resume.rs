//! How the logs stand to the cursors of a checkpoint: each difference by a rule, and said.
//!
//! ```text
//!   log start ─────── cursor ─────── log end     goes on at the cursor
//!   cursor ── log start                          goes on; the gap is counted when it is read
//!   log end ── cursor                            another log under the same name: from its start
//!   no cursor                                    a partition that was added: from its start
//!   no log                                       a partition that is gone: holds nobody back
//! ```

use tracing::warn;

use crate::pipeline::delivery::Partition;
use crate::pipeline::merge::Merger;
use crate::pipeline::offset::{OffsetMap, Topics};

/// The partitions that do not simply go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// Where the new log begins.
    remade: OffsetMap,
    added: OffsetMap,
    gone: Vec<Partition>,
}

impl Resume {
    pub fn new(cursors: &OffsetMap, log_starts: &OffsetMap, log_ends: &OffsetMap) -> Self {
        let mut resume = Self::default();
        for (&partition, &start) in log_starts {
            match cursors.get(&partition) {
                None => drop(resume.added.insert(partition, start)),
                Some(cursor) if log_ends.get(&partition).is_some_and(|end| cursor > end) => {
                    resume.remade.insert(partition, start);
                }
                Some(_) => {}
            }
        }
        resume.gone = cursors.keys().copied().filter(|id| !log_starts.contains_key(id)).collect();
        resume
    }

    /// Where each partition is read from.
    pub fn starts(&self, cursors: &OffsetMap, log_starts: &OffsetMap) -> OffsetMap {
        let start = |(&partition, &log_start): (&Partition, &i64)| {
            let goes_on = !self.remade.contains_key(&partition);
            let cursor = cursors.get(&partition).filter(|_| goes_on);
            (partition, cursor.copied().unwrap_or(log_start))
        };
        log_starts.iter().map(start).collect()
    }

    /// Whether nothing of the partition was known when the checkpoint was taken.
    pub fn is_added(&self, partition: Partition) -> bool {
        self.added.contains_key(&partition)
    }

    /// Lets restored state follow.
    pub fn apply(&self, merger: &mut Merger, topics: &Topics) {
        for (&partition, &offset) in &self.remade {
            let topic = topics.name(partition.kind);
            warn!(
                topic,
                partition = partition.index,
                offset,
                "the log ends before the checkpoint's cursor: it was made anew or cut short, and \
                 is read from its start; windows before are not complete"
            );
            merger.restart_partition(partition, offset);
        }
        for &partition in &self.gone {
            let topic = topics.name(partition.kind);
            warn!(topic, partition = partition.index, "the partition exists no more");
            merger.forget_partition(partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;

    fn offsets<const N: usize>(offsets: [(i32, i64); N]) -> OffsetMap {
        offsets.map(|(index, offset)| (Partition { kind: Kind::Click, index }, offset)).into()
    }

    #[test]
    fn each_difference_has_its_rule() {
        let cursors = offsets([(0, 50), (1, 5), (2, 500), (3, 100), (9, 7)]);
        let log_starts = offsets([(0, 10), (1, 10), (2, 10), (3, 10), (4, 3)]);
        let log_ends = offsets([(0, 100), (1, 100), (2, 100), (3, 100), (4, 100)]);
        let resume = Resume::new(&cursors, &log_starts, &log_ends);
        let starts = resume.starts(&cursors, &log_starts);
        // Goes on; goes on before a gap; another log; at the very end; added.
        assert_eq!(starts, offsets([(0, 50), (1, 5), (2, 10), (3, 100), (4, 3)]));
        assert_eq!(resume.remade, offsets([(2, 10)]));
        assert_eq!(resume.added, offsets([(4, 3)]));
        assert_eq!(resume.gone.iter().map(|id| id.index).collect::<Vec<_>>(), [9]);
    }
}
