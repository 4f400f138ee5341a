//! Whether a log is still the same while it is watched: it only grows at its end, and only
//! shrinks at its start.

use std::collections::BTreeSet;

use crate::pipeline::delivery::Partition;
use crate::pipeline::watch::LogBounds;

/// Whether a partition's log is still the same. One answer is no proof: a broker that has just
/// started, or does not know yet that it leads no more, may answer from the past. So whatever
/// contradicts what is known has to be said twice in a row.
#[derive(Debug, Default)]
pub struct Continuity {
    /// Contradicted once.
    suspected: BTreeSet<Partition>,
    /// Of topics that did not exist when last asked.
    missing: BTreeSet<Partition>,
    /// Of topics that did not exist twice in a row; when they are back, they are others.
    gone: BTreeSet<Partition>,
}

impl Continuity {
    /// `missing`: partitions of topics that a broker says do not exist, with every answer.
    pub fn note_missing(&mut self, missing: BTreeSet<Partition>) {
        self.gone.extend(self.missing.intersection(&missing));
        self.missing = missing;
    }

    /// What is known after an answer; `None` while it is doubted.
    pub fn judge(
        &mut self,
        partition: Partition,
        known: Option<LogBounds>,
        answer: LogBounds,
    ) -> Option<LogBounds> {
        let gone = self.gone.remove(&partition);
        let Some(known) = known else { return Some(answer) };
        let contradicts = contradict(&known, &answer);
        if contradicts && !gone && self.suspected.insert(partition) {
            return None;
        }
        self.suspected.remove(&partition);
        let generation = known.generation + u32::from(gone || contradicts);
        Some(LogBounds { generation, ..answer })
    }
}

/// Whether no log could have been `earlier` once and be `later` afterwards.
fn contradict(earlier: &LogBounds, later: &LogBounds) -> bool {
    later.end < earlier.end || later.start < earlier.start
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::event::Kind;

    const P: Partition = Partition { kind: Kind::Click, index: 0 };

    fn bounds(start: i64, end: i64) -> LogBounds {
        LogBounds { start, end, asked: Instant::now(), stream_time: None, generation: 0 }
    }

    /// (start, end) of successive answers to the generations after each; `None` while doubted.
    fn generations(answers: &[(i64, i64)]) -> Vec<Option<u32>> {
        let mut continuity = Continuity::default();
        let mut known = None;
        answers
            .iter()
            .map(|&(start, end)| {
                let judged = continuity.judge(P, known, bounds(start, end));
                known = judged.or(known);
                judged.map(|bounds| bounds.generation)
            })
            .collect()
    }

    #[test]
    fn a_log_that_grows_and_expires_stays_the_same() {
        assert_eq!(generations(&[(0, 0), (0, 9), (5, 9), (9, 9), (9, 10)]), [Some(0); 5]);
    }

    #[test]
    fn a_log_that_shrinks_is_another_once_it_is_said_twice() {
        let (same, doubted, other) = (Some(0), None, Some(1));
        assert_eq!(generations(&[(0, 9), (0, 3), (0, 4), (0, 5)]), [same, doubted, other, other]);
        assert_eq!(generations(&[(5, 9), (0, 20), (0, 21)]), [same, doubted, other]);
        assert_eq!(generations(&[(0, 9), (0, 3), (0, 10), (0, 3)]), [same, doubted, same, doubted]);
        assert_eq!(
            generations(&[(0, 9), (0, 3), (0, 3), (0, 2), (0, 2)]),
            [same, doubted, other, doubted, Some(2)]
        );
    }

    #[test]
    fn a_topic_that_was_gone_comes_back_as_another() {
        let mut continuity = Continuity::default();
        let after = |continuity: &mut Continuity| {
            continuity.judge(P, Some(bounds(0, 9)), bounds(0, 50)).unwrap().generation
        };
        continuity.note_missing([P].into());
        continuity.note_missing([].into());
        continuity.note_missing([P].into());
        assert_eq!(after(&mut continuity), 0, "missing once may be a broker that just started");
        continuity.note_missing([P].into());
        assert_eq!(after(&mut continuity), 1);
        assert_eq!(after(&mut continuity), 0, "it is back");
    }
}
