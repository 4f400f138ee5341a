//! Brokers, topics and librdkafka properties.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use super::Rules;
use crate::config::Config;
use crate::config::error::nearest;
use crate::config::secret::is_secret_property;
use crate::event::Kind;
use crate::pipeline::client;

const COMMITS: &str = "nazar commits what the sink has acknowledged; anything else loses records";

/// Properties that nazar sets itself, with the reason or the key to use instead.
const OURS: [(&str, &str); 14] = [
    ("bootstrap.servers", "use kafka.brokers"),
    ("metadata.broker.list", "use kafka.brokers"),
    ("group.id", "use kafka.group"),
    ("client.id", "use kafka.client_id"),
    ("auto.offset.reset", "use kafka.start, nazar chooses every start offset itself"),
    ("enable.auto.commit", COMMITS),
    ("auto.commit.interval.ms", COMMITS),
    ("auto.commit.enable", COMMITS),
    ("enable.auto.offset.store", COMMITS),
    ("offset.store.method", "offsets are kept with the state that they explain"),
    (
        "enable.partition.eof",
        "quiet partitions are known from the broker's end offsets; end-of-partition events would \
         be taken for records",
    ),
    ("queued.max.messages.kbytes", "use limits.prefetch_bytes"),
    ("enable.sasl.oauthbearer.unsecure.jwt", "unsigned tokens authenticate nobody"),
    ("plugin.library.paths", "a configuration file must not load code"),
];

pub(super) fn check(config: &Config, rules: &mut Rules<'_>) {
    let kafka = &config.kafka;
    check_brokers(&kafka.brokers, rules);
    rules.refuse_if(
        kafka.group.trim().is_empty(),
        "kafka.group",
        "must not be empty: the group names who shares the partitions",
    );
    rules.refuse_if(
        !(1..=64).contains(&kafka.handles),
        "kafka.handles",
        "must be from 1 to 64: each is a thread and a member of the group",
    );
    check_topics(config, rules);
    check_properties(config, rules);
}

fn check_brokers(brokers: &str, rules: &mut Rules<'_>) {
    let wrong = brokers.split(',').map(str::trim).find(|broker| !is_broker(broker));
    if let Some(broker) = wrong {
        rules.refuse(
            "kafka.brokers",
            format!("{broker:?} is not host:port; write \"host:9092\", several with commas"),
        );
    }
}

/// `host:port`, `[::1]:port`, with librdkafka's optional `PLAINTEXT://` before it.
fn is_broker(broker: &str) -> bool {
    let address = broker.split_once("://").map_or(broker, |(_, address)| address);
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let host_is_plain =
        !host.is_empty() && !host.contains(['/', '@']) && !host.contains(char::is_whitespace);
    let colons_are_bracketed =
        !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
    host_is_plain && colons_are_bracketed && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn check_topics(config: &Config, rules: &mut Rules<'_>) {
    let mut named: Vec<(String, &str)> = Kind::ALL
        .into_iter()
        .map(|kind| (format!("topics.{}", kind.name()), config.topics.of(kind)))
        .filter(|(_, topic)| !topic.is_empty())
        .collect();
    rules.refuse_if(named.is_empty(), "topics.click", "nothing to read: name at least one topic");
    if !config.kafka.dead_letter_topic.is_empty() {
        named.push(("kafka.dead_letter_topic".to_owned(), &config.kafka.dead_letter_topic));
    }
    for (position, (path, topic)) in named.iter().enumerate() {
        rules.refuse_if(
            !is_topic(topic),
            path,
            "is no topic name: Kafka allows letters, digits, '.', '_' and '-', at most 249 of them",
        );
        if let Some((other, _)) = named[..position].iter().find(|(_, before)| before == topic) {
            let (path, other) = rules.culprit(path, other);
            rules.refuse(
                path,
                format!("is the topic of {other} too: a topic holds events of one kind"),
            );
        }
    }
}

fn is_topic(topic: &str) -> bool {
    let is_plain = topic.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    is_plain && topic.len() <= 249 && topic != "." && topic != ".."
}

fn check_properties(config: &Config, rules: &mut Rules<'_>) {
    for (name, value) in &config.kafka.properties {
        let from_file = config.files.kafka_properties.contains_key(name);
        let table = if from_file { "properties_files" } else { "properties" };
        let path = format!("kafka.{table}.{name}");
        if let Some((_, reason)) = OURS.iter().find(|(ours, _)| ours == name) {
            rules.refuse(&path, format!("is not to be set here: {reason}"));
            continue;
        }
        if let Some(reason) = client::refused_by_group_protocol(&config.kafka, name) {
            rules.refuse(&path, format!("cannot be set: {reason}"));
            continue;
        }
        match refused_by_librdkafka(name, value) {
            Some(Refusal::Unknown) => {
                let meant = nearest(name, COMMON);
                // A misspelled password is a password.
                if meant.is_none_or(is_secret_property) {
                    rules.hide(&path);
                }
                let hint = meant.map(|meant| format!("; did you mean {meant:?}?"));
                let hint = hint.unwrap_or_default();
                rules.refuse(&path, format!("librdkafka knows no such property{hint}"));
            }
            Some(Refusal::Value(reason)) => {
                // Its words may quote the value.
                let is_leak = (from_file || is_secret_property(name)) && reason.contains(value);
                let reason = if is_leak { "not this value" } else { &reason };
                rules.refuse(&path, format!("librdkafka says: {reason}"));
            }
            None => {}
        }
    }
}

enum Refusal {
    Unknown,
    Value(String),
}

/// Asks librdkafka itself, which knows its properties; nothing is connected.
fn refused_by_librdkafka(name: &str, value: &str) -> Option<Refusal> {
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) => None,
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            Some(Refusal::Unknown)
        }
        Err(KafkaError::ClientConfig(_, reason, ..)) => Some(Refusal::Value(reason)),
        Err(error) => Some(Refusal::Value(error.to_string())),
    }
}

/// Properties that people set most, for hints; librdkafka's list is not limited to them.
const COMMON: [&str; 30] = [
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
    "fetch.min.bytes",
    "fetch.max.bytes",
    "fetch.wait.max.ms",
    "fetch.message.max.bytes",
    "max.partition.fetch.bytes",
    "fetch.queue.backoff.ms",
    "queued.min.messages",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "group.instance.id",
    "group.protocol",
    "partition.assignment.strategy",
    "isolation.level",
    "client.rack",
    "socket.timeout.ms",
    "socket.keepalive.enable",
    "broker.address.family",
    "debug",
];
