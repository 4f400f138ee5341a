//! The librdkafka clients: which properties each gets.
//!
//! Ours are defaults; `[kafka.properties]` overrides them, except for the few on which
//! correctness rests, where another value is refused with the reason.

use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing::warn;

use crate::config::{KafkaConfig, LimitsConfig};

/// A property that may not be what the user asks for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("kafka.properties.{key}: {value:?} is refused, {reason}")]
pub struct RefusedProperty {
    pub key: String,
    pub value: String,
    pub reason: &'static str,
}

/// (property, the one value it may have, why).
const FIXED: [(&str, &str, &str); 6] = [
    (
        "enable.auto.commit",
        "false",
        "offsets are committed after the checkpoint that explains them",
    ),
    (
        "auto.commit.enable",
        "false",
        "offsets are committed after the checkpoint that explains them",
    ),
    (
        "enable.auto.offset.store",
        "false",
        "offsets are committed after the checkpoint that explains them",
    ),
    ("enable.partition.eof", "false", "the end of a partition is asked of the broker instead"),
    ("auto.offset.reset", "error", "a gap in the log is counted, never skipped in silence"),
    ("acks", "all", "a dead letter is written when every in-sync replica has it"),
];

/// (property, the key to set instead).
const NAMED_ELSEWHERE: [(&str, &str); 5] = [
    ("bootstrap.servers", "it is kafka.brokers"),
    ("metadata.broker.list", "it is kafka.brokers"),
    ("group.id", "it is kafka.group"),
    ("client.id", "it is kafka.client_id"),
    ("statistics.interval.ms", "nothing reads librdkafka's statistics"),
];

/// Properties that the broker decides with `group.protocol=consumer`; librdkafka does not
/// start a client that sets one of them as well. Each with what to set instead.
const CLASSIC_PROTOCOL_ONLY: [(&str, &str); 4] = [
    (
        "session.timeout.ms",
        "with group.protocol=consumer the broker decides it: group.consumer.session.timeout.ms",
    ),
    (
        "heartbeat.interval.ms",
        "with group.protocol=consumer the broker decides it: group.consumer.heartbeat.interval.ms",
    ),
    (
        "partition.assignment.strategy",
        "with group.protocol=consumer the broker assigns: choose by group.remote.assignor",
    ),
    ("group.protocol.type", "group.protocol=consumer has no such thing"),
];

/// Prefixes of properties that mean something to consumers only.
const CONSUMER_ONLY: [&str; 13] = [
    "auto.offset",
    "check.crcs",
    "enable.auto",
    "enable.partition",
    "fetch.",
    "group.",
    "heartbeat.",
    "isolation.",
    "max.poll.",
    "max.partition.fetch",
    "partition.assignment.",
    "queued.",
    "session.",
];

/// A partition's queue is never bounded below this: a smaller one starves the reader.
const PREFETCH_BYTES_PER_PARTITION_MIN: u64 = 1 << 20;

/// Checks `[kafka.properties]` before any client is made.
pub fn check_properties(kafka: &KafkaConfig) -> Result<(), RefusedProperty> {
    for (key, value) in &kafka.properties {
        let refused = |reason| RefusedProperty { key: key.clone(), value: value.clone(), reason };
        if let Some((_, reason)) = NAMED_ELSEWHERE.iter().find(|(name, _)| name == key) {
            return Err(refused(reason));
        }
        let fixed = FIXED.iter().find(|(name, ..)| name == key);
        if let Some((_, allowed, reason)) = fixed
            && !value.trim().eq_ignore_ascii_case(allowed)
        {
            return Err(refused(reason));
        }
        if let Some(reason) = refused_by_group_protocol(kafka, key) {
            return Err(refused(reason));
        }
    }
    Ok(())
}

/// Why a property does not go together with the group protocol that is asked for.
pub fn refused_by_group_protocol(kafka: &KafkaConfig, key: &str) -> Option<&'static str> {
    let (_, reason) = CLASSIC_PROTOCOL_ONLY.iter().find(|(name, _)| *name == key)?;
    let protocol = kafka.properties.get("group.protocol")?;
    is_consumer_protocol(protocol).then_some(*reason)
}

fn is_consumer_protocol(protocol: &str) -> bool {
    protocol.trim().eq_ignore_ascii_case("consumer")
}

/// What every client needs to reach the cluster.
fn base(kafka: &KafkaConfig) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &kafka.brokers);
    config.set("client.id", &kafka.client_id);
    config.set("allow.auto.create.topics", "false");
    // Partitions added to a topic are read within this time.
    config.set("topic.metadata.refresh.interval.ms", "30000");
    config.set("reconnect.backoff.max.ms", "2000");
    config
}

/// A member of the group. `partitions` is how many there are in all topics: queues are kept
/// per partition, so librdkafka's bounds are the whole budget divided by them. Partitions
/// that are added later come on top until the next start.
pub fn consumer(kafka: &KafkaConfig, limits: &LimitsConfig, partitions: usize) -> ClientConfig {
    let share = limits.prefetch_bytes / partitions.max(1) as u64;
    let share = share.max(PREFETCH_BYTES_PER_PARTITION_MIN);
    let mut config = base(kafka);
    config
        .set("group.id", &kafka.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "false")
        .set("auto.offset.reset", "error")
        // With the default of a second, a partition whose queue was full once idles for a
        // second after the reader has emptied it.
        .set("fetch.queue.backoff.ms", "5")
        // librdkafka stops fetching at whichever bound is reached first. Bytes decide: the
        // count is what the share holds if records are as small as 64 bytes.
        .set("queued.max.messages.kbytes", (share / 1000).max(1).to_string())
        .set("queued.min.messages", (share / 64).clamp(10_000, 500_000).to_string())
        // One response may overshoot the queue's bound, so it is bounded as well. A record
        // larger than this is still fetched, alone.
        .set("fetch.message.max.bytes", share.min(1 << 20).to_string())
        // How long a fetch may wait at the end of the log: bounds how long a partition that
        // receives records waits behind one that does not, on the same connection.
        .set("fetch.wait.max.ms", "100");
    if !kafka.properties.get("group.protocol").is_some_and(|value| is_consumer_protocol(value)) {
        config.set("partition.assignment.strategy", "cooperative-sticky");
    }
    for (key, value) in &kafka.properties {
        config.set(key, value);
    }
    config
}

/// A client without a group, to ask for metadata and offsets. Its connections are its own:
/// on the consumer's, a question would wait behind a fetch. It reads uncommitted, which makes
/// the broker answer with high watermarks instead of last stable offsets.
pub fn lookup(kafka: &KafkaConfig) -> ClientConfig {
    let mut config = base(kafka);
    for (key, value) in &kafka.properties {
        if !CONSUMER_ONLY.iter().any(|prefix| key.starts_with(prefix)) {
            config.set(key, value);
        }
    }
    config.set("isolation.level", "read_uncommitted");
    config
}

/// Reads a single record of each of many partitions, to compare logs. It commits nothing and
/// joins no group; librdkafka only wants a group's name before it assigns. It is told the end
/// of a partition, which [`consumer`] must not be: here the position may move on it.
pub fn one_record_each(kafka: &KafkaConfig) -> ClientConfig {
    let mut config = lookup(kafka);
    config
        .set("group.id", &kafka.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("queued.min.messages", "1")
        .set("queued.max.messages.kbytes", "64")
        // A batch is sent whole, and beyond this only if it is the first of an answer: with less
        // than a batch takes, each partition costs an answer of its own.
        .set("fetch.message.max.bytes", (1 << 20).to_string())
        .set("fetch.queue.backoff.ms", "5")
        .set("fetch.wait.max.ms", "100");
    config
}

/// Of consumers that are told the ends of partitions. By default rdkafka logs those as errors.
pub struct UntilTheEnd;

impl ClientContext for UntilTheEnd {
    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition comes to whoever polls, too.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            warn!(%error, reason, "librdkafka");
        }
    }
}

impl ConsumerContext for UntilTheEnd {}

/// Writes dead letters. Failures come back after the timeout and are retried by us.
pub fn producer(kafka: &KafkaConfig, limits: &LimitsConfig) -> ClientConfig {
    let mut config = base(kafka);
    config
        .set("acks", "all")
        .set("compression.type", "lz4")
        .set("linger.ms", "20")
        .set("message.timeout.ms", Duration::from_secs(30).as_millis().to_string())
        // The topic's own limit decides what is too large, not the client's.
        .set(
            "message.max.bytes",
            limits.record_bytes.saturating_mul(2).clamp(1 << 20, 1_000_000_000).to_string(),
        );
    for (key, value) in &kafka.properties {
        if !CONSUMER_ONLY.iter().any(|prefix| key.starts_with(prefix)) {
            config.set(key, value);
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Start;
    use std::collections::BTreeMap;

    fn kafka(properties: &[(&str, &str)]) -> KafkaConfig {
        KafkaConfig {
            brokers: "localhost:9092".into(),
            group: "nazar".into(),
            client_id: "nazar".into(),
            start: Start::Window,
            handles: 1,
            dead_letter_topic: String::new(),
            properties: properties.iter().map(|&(k, v)| (k.into(), v.into())).collect(),
        }
    }

    fn limits(prefetch_bytes: u64) -> LimitsConfig {
        LimitsConfig {
            entities: BTreeMap::new(),
            sketch_bytes: 0,
            state_bytes: 0,
            in_flight_bytes: 0,
            prefetch_bytes,
            record_bytes: 1 << 20,
            id_bytes: 256,
            max_consecutive_rejects: 0,
        }
    }

    #[test]
    fn properties_that_break_promises_are_refused_by_name() {
        for (key, value) in [
            ("enable.auto.commit", "true"),
            ("auto.offset.reset", "latest"),
            ("enable.partition.eof", "TRUE"),
            ("group.id", "other"),
        ] {
            let error = check_properties(&kafka(&[(key, value)])).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
        let harmless = [("enable.auto.commit", "False"), ("fetch.wait.max.ms", "7")];
        assert_eq!(check_properties(&kafka(&harmless)), Ok(()));
    }

    #[test]
    fn users_win_over_our_defaults() {
        let config = consumer(&kafka(&[("fetch.wait.max.ms", "7")]), &limits(1 << 28), 12);
        assert_eq!(config.get("fetch.wait.max.ms"), Some("7"));
        assert_eq!(config.get("fetch.queue.backoff.ms"), Some("5"));
    }

    #[test]
    fn the_prefetch_budget_is_divided_among_partitions() {
        let kbytes = |budget, partitions| {
            let config = consumer(&kafka(&[]), &limits(budget), partitions);
            config.get("queued.max.messages.kbytes").unwrap().parse::<u64>().unwrap()
        };
        assert_eq!(kbytes(256_000_000, 16), 16_000);
        assert_eq!(kbytes(256_000_000, 100_000), 1048, "never below 1 MiB");
        assert_eq!(kbytes(256_000_000, 0), 256_000);
    }

    #[test]
    fn the_new_group_protocol_gets_no_classic_property() {
        for protocol in ["consumer", "Consumer "] {
            let asked = kafka(&[("group.protocol", protocol)]);
            assert_eq!(check_properties(&asked), Ok(()));
            let config = consumer(&asked, &limits(1 << 28), 1);
            for (key, _) in CLASSIC_PROTOCOL_ONLY {
                assert_eq!(config.get(key), None);
                let both = kafka(&[("group.protocol", protocol), (key, "1")]);
                let refused = check_properties(&both).unwrap_err().to_string();
                assert!(refused.contains(key), "{refused}");
                assert_eq!(check_properties(&kafka(&[(key, "1")])), Ok(()));
            }
        }
        for classic in [&[][..], &[("group.protocol", "classic")]] {
            let config = consumer(&kafka(classic), &limits(1 << 28), 1);
            assert_eq!(config.get("partition.assignment.strategy"), Some("cooperative-sticky"));
        }
    }

    #[test]
    fn only_consumers_get_consumer_properties() {
        let asked = kafka(&[("fetch.wait.max.ms", "7"), ("security.protocol", "ssl")]);
        let config = producer(&asked, &limits(1 << 28));
        assert_eq!(config.get("fetch.wait.max.ms"), None);
        assert_eq!(config.get("security.protocol"), Some("ssl"));
        assert_eq!(lookup(&asked).get("isolation.level"), Some("read_uncommitted"));
    }
}
