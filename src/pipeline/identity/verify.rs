//! Asks the logs about fingerprints: by their ends where those suffice, else by reading one
//! record of each.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::Offset;
use tracing::debug;

use crate::config::KafkaConfig;
use crate::pipeline::client::{self, UntilTheEnd};
use crate::pipeline::delivery::Partition;
use crate::pipeline::identity::{Fingerprint, LogVerdict};
use crate::pipeline::offset::{At, Lookup, LookupError, OffsetMap};

/// How long a poll for records waits.
const POLL: Duration = Duration::from_millis(50);

/// Compares fingerprints with the logs as they are now. A partition may have several; the
/// answer is in the order of the question. Takes `timeout` at most for the records, and a few
/// bounded questions for the ends of the logs.
pub fn verify_logs(
    kafka: &KafkaConfig,
    lookup: &Lookup,
    prints: &[(Partition, Fingerprint)],
    timeout: Duration,
) -> Vec<(Partition, LogVerdict)> {
    let mut verdicts = match judge_by_ends(lookup, prints) {
        Ok(verdicts) => verdicts,
        Err(error) => {
            let unknown = |&(id, _): &_| (id, LogVerdict::Unknown(error.to_string()));
            return prints.iter().map(unknown).collect();
        }
    };
    let deadline = Instant::now() + timeout;
    // A consumer reads one place of a partition at a time: several fingerprints take rounds.
    loop {
        let mut round = BTreeMap::new();
        for (index, verdict) in verdicts.iter().enumerate() {
            if let Judged::ToRead { log_start } = *verdict {
                let (id, print) = prints[index];
                round.entry(id).or_insert(Wanted { index, print, log_start });
            }
        }
        if round.is_empty() {
            break;
        }
        let asked: Vec<usize> = round.values().map(|wanted| wanted.index).collect();
        let found = read_records(kafka, lookup, round, deadline);
        for index in asked {
            let silence = || LogVerdict::Unknown("no record came in time".to_owned());
            let verdict = match &found {
                Ok(found) => found.get(&index).cloned().unwrap_or_else(silence),
                Err(error) => LogVerdict::Unknown(error.to_string()),
            };
            verdicts[index] = Judged::Done(verdict);
        }
    }
    let ids = prints.iter().map(|(id, _)| *id);
    ids.zip(verdicts).filter_map(|(id, judged)| Some((id, judged.verdict()?))).collect()
}

enum Judged {
    Done(LogVerdict),
    ToRead { log_start: i64 },
}

impl Judged {
    fn verdict(self) -> Option<LogVerdict> {
        if let Self::Done(verdict) = self { Some(verdict) } else { None }
    }
}

/// What the ends of the logs alone can tell.
fn judge_by_ends(
    lookup: &Lookup,
    prints: &[(Partition, Fingerprint)],
) -> Result<Vec<Judged>, LookupError> {
    let mut leaders = lookup.discover()?.leaders;
    leaders.retain(|id, _| prints.iter().any(|(asked, _)| asked == id));
    let starts = lookup.offsets(&leaders, At::Start)?;
    let ends = lookup.offsets(&leaders, At::End)?;
    let judge = |(id, print): &(Partition, Fingerprint)| match (starts.get(id), ends.get(id)) {
        (Some(&log_start), Some(&log_end)) => judge_by_bounds(print, log_start, log_end),
        _ => Judged::Done(LogVerdict::Unknown("no such partition, or no leader".to_owned())),
    };
    Ok(prints.iter().map(judge).collect())
}

fn judge_by_bounds(print: &Fingerprint, log_start: i64, log_end: i64) -> Judged {
    if print.offset >= log_end {
        Judged::Done(LogVerdict::BeyondEnd { log_start, log_end })
    } else if print.offset < log_start {
        Judged::Done(LogVerdict::GoneToRetention { log_start })
    } else {
        Judged::ToRead { log_start }
    }
}

/// A record to be read.
struct Wanted {
    /// Of its fingerprint, in the question.
    index: usize,
    print: Fingerprint,
    log_start: i64,
}

impl Wanted {
    fn judge(&self, found: &Fingerprint) -> LogVerdict {
        if *found == self.print {
            LogVerdict::Same
        } else if found.offset > self.print.offset {
            LogVerdict::Compacted
        } else {
            LogVerdict::Different { log_start: self.log_start }
        }
    }
}

/// Reads one record of each partition, and says what it is by the index of its fingerprint.
fn read_records(
    kafka: &KafkaConfig,
    lookup: &Lookup,
    mut wanted: BTreeMap<Partition, Wanted>,
    deadline: Instant,
) -> Result<BTreeMap<usize, LogVerdict>, KafkaError> {
    let consumer: BaseConsumer<UntilTheEnd> =
        client::one_record_each(kafka).create_with_context(UntilTheEnd)?;
    let topics = lookup.topics();
    let places = wanted.iter().map(|(&id, wanted)| (id, Offset::Offset(wanted.print.offset)));
    consumer.assign(&topics.list(places))?;
    let mut found = BTreeMap::new();
    while !wanted.is_empty() && Instant::now() < deadline {
        match consumer.poll(POLL) {
            Some(Ok(message)) => {
                let Some(id) = topics.partition(message.topic(), message.partition()) else {
                    continue;
                };
                if let Some(wanted) = wanted.remove(&id) {
                    found.insert(wanted.index, wanted.judge(&fingerprint(&message)));
                }
            }
            // The end of a partition comes without its topic, and moves the position: what has
            // no record from the wanted place to its end was passed over.
            Some(Err(KafkaError::PartitionEOF(_))) => {
                let passed = positions(&consumer, lookup)?;
                wanted.retain(|id, wanted| {
                    let is_passed = passed.get(id).is_some_and(|&at| at > wanted.print.offset);
                    if is_passed {
                        found.insert(wanted.index, LogVerdict::Compacted);
                    }
                    !is_passed
                });
            }
            // What stays unanswered is unknown in the end.
            Some(Err(error)) => debug!(%error, "read the record before a cursor"),
            None => {}
        }
    }
    Ok(found)
}

fn positions(
    consumer: &BaseConsumer<UntilTheEnd>,
    lookup: &Lookup,
) -> Result<OffsetMap, KafkaError> {
    let list = consumer.position()?;
    let elements = list.elements();
    let known = elements.iter().filter_map(|element| {
        let id = lookup.topics().partition(element.topic(), element.partition())?;
        match element.offset() {
            Offset::Offset(offset) => Some((id, offset)),
            _ => None,
        }
    });
    Ok(known.collect())
}

fn fingerprint(message: &BorrowedMessage<'_>) -> Fingerprint {
    let millis = message.timestamp().to_millis().filter(|&millis| millis >= 0);
    Fingerprint::new(message.offset(), millis, message.key(), message.payload())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_log_tell_what_need_not_be_read() {
        let judge =
            |offset| judge_by_bounds(&Fingerprint::new(offset, None, None, None), 10, 20).verdict();
        assert_eq!(judge(9), Some(LogVerdict::GoneToRetention { log_start: 10 }));
        assert_eq!([judge(10), judge(19)], [None, None]);
        assert_eq!(judge(20), Some(LogVerdict::BeyondEnd { log_start: 10, log_end: 20 }));
    }
}
