//! The Kafka edge of the generator and the oracle: topics, offsets, and reading a log back.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

const TIMEOUT: Duration = Duration::from_secs(30);
/// A log that yields nothing for this long, though its end is not reached, is an error.
const READ_STALL: Duration = Duration::from_secs(60);
/// Topics made by us keep everything: the Kafka times of a preloaded log may lie so far back
/// that the broker's retention would take records while they are being verified.
const RETENTION_FOREVER: &str = "-1";

/// How to reach a cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub brokers: String,
    /// librdkafka properties that win over ours.
    pub properties: Vec<(String, String)>,
}

impl Cluster {
    pub fn client_config(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "nazar-load");
        defaults.iter().for_each(|(key, value)| _ = config.set(*key, *value));
        self.properties.iter().for_each(|(key, value)| _ = config.set(key, value));
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    pub fn consumer(&self) -> anyhow::Result<BaseConsumer> {
        // No group is joined and nothing is committed: the name is there because the client asks for one.
        self.client_config(&[
            ("group.id", "nazar-load-verify"),
            ("enable.auto.commit", "false"),
            ("queued.min.messages", "500000"),
            ("queued.max.messages.kbytes", "262144"),
            ("fetch.queue.backoff.ms", "5"),
            // Only what is there is read, so a fetch has nothing to wait for; and one that waits
            // at the end of a partition would hold up the next partition.
            ("fetch.wait.max.ms", "10"),
        ])
        .create()
        .context("create the Kafka consumer")
    }

    /// Creates the topics that do not exist yet.
    pub fn create_topics(&self, topics: &[(&str, u32)], replication: i32) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> =
            self.client_config(&[]).create().context("create the Kafka admin client")?;
        let new_topics: Vec<NewTopic> = topics
            .iter()
            .map(|&(name, partitions)| {
                NewTopic::new(name, partitions as i32, TopicReplication::Fixed(replication))
                    .set("retention.ms", RETENTION_FOREVER)
                    .set("message.timestamp.type", "CreateTime")
            })
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start the runtime")?;
        let options =
            AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
        let results = runtime
            .block_on(admin.create_topics(&new_topics, &options))
            .context("create topics")?;
        for result in results {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => bail!("create topic {name}: {code}"),
            }
        }
        Ok(())
    }
}

/// The number of partitions of each topic; waits a while for topics that were just created.
pub fn partition_counts(consumer: &BaseConsumer, topics: &[&str]) -> anyhow::Result<Vec<u32>> {
    let deadline = Instant::now() + Duration::from_secs(10);
    topics
        .iter()
        .map(|topic| {
            loop {
                let metadata = consumer
                    .fetch_metadata(Some(topic), TIMEOUT)
                    .with_context(|| format!("ask the broker for topic {topic}"))?;
                let count = metadata
                    .topics()
                    .iter()
                    .find(|found| found.name() == *topic && found.error().is_none())
                    .map_or(0, |found| found.partitions().len());
                if count > 0 {
                    return Ok(count as u32);
                }
                ensure!(
                    Instant::now() < deadline,
                    "topic {topic} does not exist; create it, or run with --create-topics"
                );
                std::thread::sleep(Duration::from_millis(200));
            }
        })
        .collect()
}

/// The first offset and the end offset (that of the next record) of each partition.
pub fn log_bounds(
    consumer: &BaseConsumer,
    topic: &str,
    partitions: u32,
) -> anyhow::Result<Vec<(i64, i64)>> {
    let deadline = Instant::now() + TIMEOUT;
    (0..partitions as i32)
        .map(|partition| {
            loop {
                match consumer.fetch_watermarks(topic, partition, TIMEOUT) {
                    Ok(bounds) => return Ok(bounds),
                    // A topic that was just created has no leader at first.
                    Err(error) if is_transient(&error) && Instant::now() < deadline => {
                        std::thread::sleep(Duration::from_millis(200));
                    }
                    Err(error) => {
                        return Err(error).with_context(|| {
                            format!("ask the broker for the offsets of {topic}/{partition}")
                        });
                    }
                }
            }
        })
        .collect()
}

/// A record as it stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct LogRecord<'a> {
    pub offset: i64,
    /// `None` where the broker keeps none.
    pub kafka_time_ms: Option<i64>,
    pub payload: Option<&'a [u8]>,
}

/// The records `[from, to)` of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub topic: String,
    pub partition: u32,
    pub from: i64,
    pub to: i64,
}

/// Hands over the records of all ranges, each partition's in order, the partitions mixed.
/// `each` gets the index of the range and the record.
///
/// Limit: a range whose last offset is no record (the marker of a transaction) never ends, and
/// is reported as a log that yields nothing.
pub fn read_ranges(
    consumer: &BaseConsumer,
    ranges: &[&Range],
    mut each: impl FnMut(usize, LogRecord<'_>),
) -> anyhow::Result<()> {
    let mut assignment = TopicPartitionList::new();
    let mut open: HashMap<i32, Vec<usize>> = HashMap::new();
    let mut open_count = 0usize;
    for (at, range) in ranges.iter().enumerate().filter(|(_, range)| range.from < range.to) {
        let (partition, from) = (range.partition as i32, Offset::Offset(range.from));
        assignment
            .add_partition_offset(&range.topic, partition, from)
            .context("choose the offset to read from")?;
        open.entry(partition).or_default().push(at);
        open_count += 1;
    }
    consumer.assign(&assignment).context("assign the partitions")?;
    let mut last_progress = Instant::now();
    while open_count > 0 {
        let message = match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => message,
            Some(Err(error)) if !is_transient(&error) => {
                return Err(error).context("read the log back");
            }
            _ => {
                let silent = last_progress.elapsed();
                ensure!(silent < READ_STALL, "the log has yielded nothing for {silent:?}");
                continue;
            }
        };
        last_progress = Instant::now();
        let Some(candidates) = open.get_mut(&message.partition()) else { continue };
        let is_of = |&at: &usize| ranges[at].topic == message.topic();
        let Some(place) = candidates.iter().position(is_of) else { continue };
        let at = candidates[place];
        let to = ranges[at].to;
        if message.offset() < to {
            each(
                at,
                LogRecord {
                    offset: message.offset(),
                    kafka_time_ms: message.timestamp().to_millis(),
                    payload: message.payload(),
                },
            );
        }
        if message.offset() + 1 >= to {
            candidates.swap_remove(place);
            open_count -= 1;
            let mut done = TopicPartitionList::new();
            done.add_partition(message.topic(), message.partition());
            // Else records behind the range would be fetched until all others are done.
            consumer.pause(&done).context("pause a partition that was read")?;
        }
    }
    consumer.unassign().context("unassign the partitions")
}

/// librdkafka goes on by itself after these.
fn is_transient(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::*;
    matches!(
        error.rdkafka_error_code(),
        Some(
            BrokerTransportFailure
                | AllBrokersDown
                | OperationTimedOut
                | RequestTimedOut
                | NotLeaderForPartition
                | UnknownTopicOrPartition
                | UnknownPartition
                | LeaderNotAvailable
        )
    )
}
