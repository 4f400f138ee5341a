//! The Kafka edge of the generator and the oracle: topics, offsets, and reading a log back.

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
            ("enable.partition.eof", "true"),
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
    (0..partitions as i32)
        .map(|partition| {
            consumer
                .fetch_watermarks(topic, partition, TIMEOUT)
                .with_context(|| format!("ask the broker for the offsets of {topic}/{partition}"))
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

/// Hands over the records in `[from, to)` of one partition, in order.
pub fn read_partition(
    consumer: &BaseConsumer,
    topic: &str,
    partition: u32,
    (from, to): (i64, i64),
    mut each: impl FnMut(LogRecord<'_>),
) -> anyhow::Result<()> {
    if from >= to {
        return Ok(());
    }
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, partition as i32, Offset::Offset(from))
        .context("choose the offset to read from")?;
    consumer.assign(&assignment).with_context(|| format!("assign {topic}/{partition}"))?;
    let mut last_progress = Instant::now();
    let result = loop {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                last_progress = Instant::now();
                // Offsets may be missing (transactions, compaction), so the end is passed, not met.
                if message.offset() >= to {
                    break Ok(());
                }
                each(LogRecord {
                    offset: message.offset(),
                    kafka_time_ms: message.timestamp().to_millis(),
                    payload: message.payload(),
                });
                if message.offset() + 1 >= to {
                    break Ok(());
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => break Ok(()),
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_transient) => {}
            Some(Err(error)) => {
                break Err(error).with_context(|| format!("read {topic}/{partition}"));
            }
            None => {}
        }
        if last_progress.elapsed() > READ_STALL {
            break Err(anyhow::anyhow!(
                "{topic}/{partition} has yielded nothing for {READ_STALL:?}"
            ));
        }
    };
    consumer.unassign().context("unassign")?;
    result
}

/// librdkafka goes on by itself after these.
fn is_transient(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::RequestTimedOut
            | RDKafkaErrorCode::NotLeaderForPartition
            | RDKafkaErrorCode::LeaderNotAvailable
    )
}
