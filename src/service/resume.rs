//! How the logs stand to the cursors of a checkpoint: each difference by a rule, and said.
//!
//! ```text
//!   the record before the cursor is the one that was merged     goes on at the cursor
//!   it was deleted, and the log starts after the cursor         goes on; the gap is counted when read
//!   it is not there, but an older one is the same               the log lost its tail: goes on at the end
//!   it is another one, or there is no log as long               another log: from its start
//!   no cursor                                                   a partition that was added: from its start
//!   no log                                                      a partition that is gone: holds nobody back
//! ```
//! [`continuation`] is the rule for logs with fingerprints; a partition of which nothing was read
//! has none, and is judged by where the log ends.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::warn;

use crate::config::KafkaConfig;
use crate::pipeline::delivery::{Partition, Prints};
use crate::pipeline::identity::LogVerdict::Unknown;
use crate::pipeline::identity::{Continuation, Fingerprint, LogVerdict, continuation, verify_logs};
use crate::pipeline::merge::{Merger, Predecessor};
use crate::pipeline::offset::{At, Lookup, LookupError, OffsetMap, Topics};

/// How long records are waited for that a checkpoint remembers.
const COMPARE_MAX: Duration = Duration::from_secs(10);

/// Asks the logs about the cursors of a checkpoint. What has been answered stays answered, so
/// that a slow broker is asked less each time.
pub struct Comparison<'a> {
    cursors: &'a Cursors,
    /// By partition and offset.
    known: BTreeMap<(Partition, i64), LogVerdict>,
}

impl<'a> Comparison<'a> {
    pub fn new(cursors: &'a Cursors) -> Self {
        Self { cursors, known: BTreeMap::new() }
    }

    /// # Errors
    /// Kafka does not answer (yet), or not all.
    pub fn ask(
        &mut self,
        kafka: &KafkaConfig,
        lookup: &Lookup,
        leaders: &BTreeMap<Partition, i32>,
    ) -> Result<Resume, LookupError> {
        let log_starts = lookup.offsets(leaders, At::Start)?;
        let log_ends = lookup.offsets(leaders, At::End)?;
        loop {
            let prints = self.unanswered(&log_starts);
            if prints.is_empty() {
                break;
            }
            let before = self.known.len();
            let verdicts = verify_logs(kafka, lookup, &prints, COMPARE_MAX);
            if verdicts.len() != prints.len() {
                return Err(LookupError::Unanswered);
            }
            let answers = prints.iter().zip(verdicts);
            let answers = answers.map(|((id, print), (_, verdict))| ((*id, print.offset), verdict));
            self.known.extend(answers.filter(|(_, verdict)| !matches!(verdict, Unknown(_))));
            if self.known.len() == before {
                return Err(LookupError::Unanswered);
            }
        }
        let verdicts: Vec<_> = self
            .prints(&log_starts)
            .filter_map(|(id, print)| {
                Some((id, print, self.known.get(&(id, print.offset))?.clone()))
            })
            .collect();
        Resume::new(self.cursors, &log_starts, &log_ends, &verdicts).ok_or(LookupError::Unanswered)
    }

    /// Of partitions that exist; those of one partition newest first.
    fn prints(&self, exist: &OffsetMap) -> impl Iterator<Item = (Partition, Fingerprint)> {
        let those = self.cursors.iter().filter(|(id, _)| exist.contains_key(id));
        those.flat_map(|(&id, (_, prints))| prints.iter().map(move |print| (id, print)))
    }

    /// What is still to be asked: an older record only where the newest is not there any more.
    fn unanswered(&self, exist: &OffsetMap) -> Vec<(Partition, Fingerprint)> {
        let is_wanted = |(id, print): &(Partition, Fingerprint)| {
            let newest = self.cursors[id].1.newest.map_or(print.offset, |newest| newest.offset);
            let is_replaced = matches!(
                self.known.get(&(*id, newest)),
                Some(LogVerdict::Different { .. } | LogVerdict::BeyondEnd { .. })
            );
            (print.offset == newest || is_replaced)
                && !self.known.contains_key(&(*id, print.offset))
        };
        self.prints(exist).filter(is_wanted).collect()
    }
}

/// Where each partition's merged log ends, and how it is known again.
pub type Cursors = BTreeMap<Partition, (i64, Prints)>;

/// How each partition is read on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    continued: BTreeMap<Partition, Continuation>,
    /// Where the log of a partition begins that the checkpoint does not know.
    added: OffsetMap,
    gone: Vec<Partition>,
}

impl Resume {
    /// `verdicts`: those of one partition newest first. `None`: a log did
    /// not answer, so nothing may be concluded.
    pub fn new(
        cursors: &Cursors,
        log_starts: &OffsetMap,
        log_ends: &OffsetMap,
        verdicts: &[(Partition, Fingerprint, LogVerdict)],
    ) -> Option<Self> {
        let mut resume = Self::default();
        for (&partition, &start) in log_starts {
            let Some(&(cursor, _)) = cursors.get(&partition) else {
                resume.added.insert(partition, start);
                continue;
            };
            let of_partition: Vec<(Fingerprint, LogVerdict)> = verdicts
                .iter()
                .filter(|(id, ..)| *id == partition)
                .map(|(_, print, verdict)| (*print, verdict.clone()))
                .collect();
            let is_beyond = log_ends.get(&partition).is_some_and(|&end| cursor > end);
            let continued = match continuation(cursor, &of_partition) {
                Continuation::Ask => return None,
                _ if of_partition.is_empty() && is_beyond => Continuation::Anew { from: start },
                continued => continued,
            };
            resume.continued.insert(partition, continued);
        }
        resume.gone = cursors.keys().copied().filter(|id| !log_starts.contains_key(id)).collect();
        Some(resume)
    }

    /// Where each partition is read from.
    pub fn starts(&self) -> OffsetMap {
        let from = |(&partition, &continued): (&Partition, &Continuation)| match continued {
            Continuation::GoOn { from }
            | Continuation::Gap { from, .. }
            | Continuation::Truncated { from, .. }
            | Continuation::Anew { from } => Some((partition, from)),
            Continuation::Ask => None,
        };
        let added = self.added.iter().map(|(&partition, &from)| (partition, from));
        self.continued.iter().filter_map(from).chain(added).collect()
    }

    /// Whether nothing of the partition was known when the checkpoint was taken.
    pub fn is_added(&self, partition: Partition) -> bool {
        self.added.contains_key(&partition)
    }

    /// What an earlier run has shown, without offsets of records that exist no more: nobody can
    /// reach those again.
    pub fn still_there(&self, predecessor: &Predecessor) -> Predecessor {
        let reachable = |(partition, offset): (Partition, i64)| match self.continued.get(&partition)
        {
            Some(Continuation::Anew { .. }) => None,
            Some(&Continuation::Truncated { from, .. }) => Some((partition, offset.min(from))),
            _ => (!self.gone.contains(&partition)).then_some((partition, offset)),
        };
        let offsets = predecessor.offsets.iter().filter_map(reachable).collect();
        Predecessor { offsets, ..predecessor.clone() }
    }

    /// Lets restored state follow.
    pub fn apply(&self, merger: &mut Merger, topics: &Topics) {
        for (&id, &continued) in &self.continued {
            let (topic, partition) = (topics.name(id.kind), id.index);
            match continued {
                Continuation::GoOn { .. } | Continuation::Ask => {}
                Continuation::Gap { from, to } => {
                    warn!(
                        topic,
                        partition, from, to, "retention took records before they were read"
                    );
                }
                Continuation::Truncated { from, reread_max } => {
                    warn!(
                        topic,
                        partition,
                        from,
                        reread_max,
                        "the log lost records that were counted, and is read on at its end; windows \
                         before are not complete"
                    );
                    merger.cut_partition(id, from);
                }
                Continuation::Anew { from } => {
                    warn!(
                        topic,
                        partition,
                        from,
                        "the log was made anew, and is read from its start; windows before are not \
                         complete"
                    );
                    merger.restart_partition(id, from);
                }
            }
        }
        for &id in &self.gone {
            let topic = topics.name(id.kind);
            warn!(topic, partition = id.index, "the partition exists no more");
            merger.forget_partition(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;

    fn id(index: i32) -> Partition {
        Partition { kind: Kind::Click, index }
    }

    fn offsets<const N: usize>(offsets: [(i32, i64); N]) -> OffsetMap {
        offsets.map(|(index, offset)| (id(index), offset)).into()
    }

    #[test]
    fn an_older_record_is_asked_for_only_where_the_newest_is_not_there() {
        let print = |offset| Fingerprint { offset, kafka_millis: None, hash: 7 };
        let prints =
            |offset| Prints { newest: Some(print(offset)), older: Some(print(offset - 9)) };
        let cursors: Cursors =
            [(0, 50), (1, 60), (9, 70)].map(|(i, c)| (id(i), (c, prints(c - 1)))).into();
        let exist = offsets([(0, 10), (1, 10)]);
        let mut comparison = Comparison::new(&cursors);
        let asked = |comparison: &Comparison<'_>| -> Vec<(Partition, i64)> {
            comparison.unanswered(&exist).iter().map(|(id, print)| (*id, print.offset)).collect()
        };
        assert_eq!(asked(&comparison), [(id(0), 49), (id(1), 59)]);
        comparison.known.insert((id(0), 49), LogVerdict::Same);
        comparison.known.insert((id(1), 59), LogVerdict::BeyondEnd { log_start: 0, log_end: 55 });
        assert_eq!(asked(&comparison), [(id(1), 50)]);
        comparison.known.insert((id(1), 50), LogVerdict::Same);
        assert_eq!(asked(&comparison), []);
    }

    #[test]
    fn each_difference_has_its_rule() {
        let print = |offset| Fingerprint { offset, kafka_millis: None, hash: 7 };
        let cursors: Cursors = [(0, 50), (1, 5), (2, 500), (3, 100), (5, 80), (9, 7)]
            .map(|(index, cursor)| (id(index), (cursor, Prints::default())))
            .into();
        let log_starts = offsets([(0, 10), (1, 10), (2, 10), (3, 10), (4, 3), (5, 10)]);
        let log_ends = log_starts.keys().map(|&id| (id, 100)).collect();
        let mut verdicts = vec![
            (id(0), print(49), LogVerdict::Same),
            (id(1), print(4), LogVerdict::GoneToRetention { log_start: 10 }),
            (id(5), print(79), LogVerdict::Different { log_start: 10 }),
            (id(5), print(29), LogVerdict::Same),
        ];
        let resume = Resume::new(&cursors, &log_starts, &log_ends, &verdicts).unwrap();
        let expected = [
            (0, Continuation::GoOn { from: 50 }),
            (1, Continuation::Gap { from: 5, to: 10 }),
            // Without a fingerprint, by the end of the log.
            (2, Continuation::Anew { from: 10 }),
            (3, Continuation::GoOn { from: 100 }),
            (5, Continuation::Truncated { from: 30, reread_max: 50 }),
        ];
        assert_eq!(resume.continued, expected.map(|(index, how)| (id(index), how)).into());
        let starts = offsets([(0, 50), (1, 5), (2, 10), (3, 100), (4, 3), (5, 30)]);
        assert_eq!(resume.starts(), starts);
        assert_eq!((&resume.added, &resume.gone), (&offsets([(4, 3)]), &vec![id(9)]));

        let shown = [(0, 60), (1, 20), (2, 510), (5, 85), (9, 7)];
        let shown = shown.map(|(index, offset)| (id(index), offset)).into_iter().collect();
        let shown = Predecessor { offsets: shown, ..Predecessor::default() };
        let there: Vec<_> = resume.still_there(&shown).offsets.iter().collect();
        assert_eq!(there, [(id(0), 60), (id(1), 20), (id(5), 30)]);

        verdicts[0].2 = LogVerdict::Unknown("no answer".into());
        assert_eq!(Resume::new(&cursors, &log_starts, &log_ends, &verdicts), None);
    }
}
