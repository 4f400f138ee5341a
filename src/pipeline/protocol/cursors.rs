//! The merger's side: how far each partition is merged, and which delivery comes next.

use std::collections::BTreeMap;

use crate::pipeline::delivery::Partition;

/// What the merger does with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It continues the merged log: add its cells, take over its state.
    Apply,
    /// All of it is merged already: a repetition, by whomever.
    Ignore,
    /// It overlaps or leaves a gap. Nothing of it may be merged, and the cursor has to be
    /// made visible (by a checkpoint, or directly in the same process), so that its owner
    /// sees where to start again.
    Refuse,
}

/// Judges the range `[from, to)` against the offset of the next record to be merged.
///
/// A range that overlaps cannot be cut, because cells carry no offsets. An empty range at
/// the cursor is applied: it carries the news that the log ends there.
pub fn admit(cursor: i64, from: i64, to: i64) -> Admission {
    if to < from {
        Admission::Refuse
    } else if from == cursor {
        Admission::Apply
    } else if to <= cursor {
        Admission::Ignore
    } else {
        Admission::Refuse
    }
}

/// The cursor of every partition: the offsets before which the merged state is exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursors(BTreeMap<Partition, i64>);

impl Cursors {
    /// Sets the cursor of a partition whose state is taken from elsewhere: from the start
    /// offsets of the group, or from a checkpoint.
    pub fn start(&mut self, partition: Partition, offset: i64) {
        self.0.insert(partition, offset);
    }

    pub fn get(&self, partition: Partition) -> Option<i64> {
        self.0.get(&partition).copied()
    }

    /// Judges a delivery. On [`Admission::Apply`] the cursor has moved to `to`, and the caller
    /// merges the delivery before anybody else looks at the merged state.
    ///
    /// A partition that was never started refuses everything: its start is not ours to guess.
    #[must_use]
    pub fn admit(&mut self, partition: Partition, from: i64, to: i64) -> Admission {
        let Some(cursor) = self.0.get_mut(&partition) else {
            return Admission::Refuse;
        };
        let admission = admit(*cursor, from, to);
        if admission == Admission::Apply {
            *cursor = to;
        }
        admission
    }

    /// Whether every partition of `vector` is merged at least up to its offset there.
    pub fn reached(&self, vector: impl IntoIterator<Item = (Partition, i64)>) -> bool {
        vector
            .into_iter()
            .all(|(partition, offset)| self.get(partition).is_some_and(|cursor| cursor >= offset))
    }

    /// Ascending by partition.
    pub fn iter(&self) -> impl Iterator<Item = (Partition, i64)> {
        self.0.iter().map(|(&partition, &offset)| (partition, offset))
    }
}

impl FromIterator<(Partition, i64)> for Cursors {
    fn from_iter<I: IntoIterator<Item = (Partition, i64)>>(offsets: I) -> Self {
        Self(offsets.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;

    const P: Partition = Partition { kind: Kind::Click, index: 0 };
    const Q: Partition = Partition { kind: Kind::Click, index: 1 };

    #[test]
    fn a_delivery_is_applied_only_where_the_previous_one_ended() {
        //   merged ────────────┤ cursor = 10
        for (from, to, expected) in [
            (10, 15, Admission::Apply),
            (10, 10, Admission::Apply), // empty: a quiet mark
            (5, 10, Admission::Ignore),
            (0, 3, Admission::Ignore),
            (5, 5, Admission::Ignore),
            (5, 15, Admission::Refuse),  // straddles
            (11, 15, Admission::Refuse), // leaves a gap
            (12, 12, Admission::Refuse),
            (10, 9, Admission::Refuse), // not a range
            (9, 3, Admission::Refuse),
        ] {
            assert_eq!(admit(10, from, to), expected, "[{from}, {to})");
        }
    }

    #[test]
    fn the_cursor_moves_with_what_is_applied_and_with_nothing_else() {
        let mut cursors = Cursors::from_iter([(P, 10)]);
        assert_eq!(cursors.admit(P, 10, 15), Admission::Apply);
        assert_eq!(cursors.admit(P, 10, 15), Admission::Ignore, "the same again");
        assert_eq!(cursors.admit(P, 14, 20), Admission::Refuse);
        assert_eq!(cursors.get(P), Some(15));
        assert_eq!(cursors.admit(Q, 0, 5), Admission::Refuse, "never started");
        assert_eq!(cursors.get(Q), None);
    }

    #[test]
    fn a_vector_is_reached_when_every_partition_is() {
        let cursors = Cursors::from_iter([(P, 10)]);
        assert!(cursors.reached([]));
        assert!(cursors.reached([(P, 10)]));
        assert!(!cursors.reached([(P, 11)]));
        assert!(!cursors.reached([(P, 10), (Q, 1)]));
    }
}
