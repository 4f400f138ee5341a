//! What librdkafka calls back with, translated: callbacks record, the source's loop decides.
//!
//! librdkafka runs the rebalance callback inside `poll`, and then waits until the application
//! has assigned or unassigned, whenever that is. So the callback only notes what is asked for,
//! and the loop answers it after `poll` has returned, with everything it owns at hand.
//! While the consumer closes, nobody is left to decide, and the callback answers itself.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use tracing::{debug, error, info, warn};

/// What the group asks of this member.
#[derive(Debug)]
pub enum Rebalance {
    Assign(TopicPartitionList),
    /// `lost`: the partitions may already have another owner.
    Revoke {
        partitions: TopicPartitionList,
        lost: bool,
    },
}

/// Keeps an error that repeats from filling the log: it is said when it changes, and again
/// after a while.
#[derive(Debug, Default)]
pub struct Complaint {
    last: Option<(String, Instant)>,
}

/// Shorter: more lines while a broker is away. Longer: an outage that comes back with the
/// same error within that time is not said.
const SAY_AGAIN: Duration = Duration::from_secs(30);

impl Complaint {
    pub fn is_news(&mut self, text: &str, now: Instant) -> bool {
        let repeated = |(last, said): &(String, Instant)| last == text && now - *said < SAY_AGAIN;
        if self.last.as_ref().is_some_and(repeated) {
            return false;
        }
        self.last = Some((text.to_owned(), now));
        true
    }
}

/// Collects what librdkafka reports about one consumer.
#[derive(Default)]
pub struct SourceContext {
    asked: Mutex<VecDeque<Rebalance>>,
    complaint: Mutex<Complaint>,
    /// Of librdkafka's log: a commit that waited out an outage is reported once each.
    logged: Mutex<Complaint>,
    /// From now on rebalances are answered in the callback.
    closing: AtomicBool,
}

impl SourceContext {
    /// The oldest rebalance that has not been answered.
    pub fn next_rebalance(&self) -> Option<Rebalance> {
        self.asked().pop_front()
    }

    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    fn asked(&self) -> MutexGuard<'_, VecDeque<Rebalance>> {
        // A panic while the queue is pushed to or popped from leaves it whole.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for SourceContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_news(message, Instant::now()) {
            log(level, facility, message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let mut complaint = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        if complaint.is_news(&error.to_string(), Instant::now()) {
            warn!(%error, reason, "Kafka client");
        }
    }
}

impl ConsumerContext for SourceContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        err: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assign = err == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let answered = if assign {
                assign_partitions(consumer, partitions)
            } else {
                unassign_partitions(consumer, partitions)
            };
            if let Err(error) = answered {
                debug!(%error, "answer a rebalance while closing");
            }
            return;
        }
        let partitions = partitions.clone();
        self.asked().push_back(if assign {
            Rebalance::Assign(partitions)
        } else {
            Rebalance::Revoke { partitions, lost: consumer.assignment_lost() }
        });
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        // Commits only inform other people's lag tools; the next one makes up for it.
        if let Err(error) = result {
            debug!(%error, "commit offsets");
        }
    }
}

/// Answers an assignment, exactly once. `partitions` are those that are added (cooperative)
/// or all that are assigned from now on (eager); an empty list is an answer, too.
pub fn assign_partitions<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(partitions),
        _ => consumer.assign(partitions),
    }
}

pub fn unassign_partitions<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(partitions),
        _ => consumer.unassign(),
    }
}

/// A line of librdkafka's log, as a line of ours.
pub fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => error!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Warning => warn!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Notice => info!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            debug!(target: "librdkafka", facility, message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_said_when_it_changes_and_again_after_a_while() {
        let mut complaint = Complaint::default();
        let start = Instant::now();
        let said = [("down", 0), ("down", 1), ("auth", 2), ("down", 3), ("down", 32), ("down", 33)]
            .map(|(text, secs)| complaint.is_news(text, start + Duration::from_secs(secs)));
        assert_eq!(said, [true, false, true, true, false, true]);
    }
}
