//! Dead letters against a real broker.

#[path = "common/kafka.rs"]
mod kafka;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kafka::{Kafka, Record};
use nazar::config::Config;
use nazar::event::Kind;
use nazar::pipeline::batch::{BatchBuffer, BatchConsumer, PartitionQueue};
use nazar::pipeline::dead_letter::DeadLetters;
use nazar::pipeline::delivery::Partition;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message, OwnedMessage};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

const WAIT: Duration = Duration::from_secs(30);
const CLICK: Partition = Partition { kind: Kind::Click, index: 0 };

fn producer(kafka: &Kafka) -> ClientConfig {
    let mut config = kafka.client_config();
    config.set("acks", "all").set("topic.metadata.propagation.max.ms", "300");
    config
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !holds() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reads the first `count` records of partition 0 as batches and sends each as a dead letter.
fn reject_all(kafka: &Kafka, topic: &str, count: usize, letters: &DeadLetters) {
    let consumer: BaseConsumer = kafka.client_config().set("group.id", topic).create().unwrap();
    let consumer = BatchConsumer::new(consumer);
    let mut queue = PartitionQueue::open(&consumer, topic, 0).unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&assignment).unwrap();
    let (mut buffer, mut sent) = (BatchBuffer::new(100), 0);
    until("the records are read", || {
        for record in queue.read(&mut buffer).iter() {
            letters.send(topic, CLICK, record, "json", "expected value at column 1");
            sent += 1;
        }
        consumer.poll(Duration::ZERO);
        sent >= count
    });
}

fn read_back(kafka: &Kafka, topic: &str, count: usize) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer =
        kafka.client_config().set("group.id", format!("check-{topic}")).create().unwrap();
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&assignment).unwrap();
    let mut messages = Vec::new();
    until("the dead letters are read", || {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            messages.push(message.unwrap().detach());
        }
        messages.len() >= count
    });
    messages
}

fn headers(message: &OwnedMessage) -> Vec<(String, Option<Vec<u8>>)> {
    let headers = message.headers().unwrap();
    headers.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
}

#[test]
fn key_value_and_headers_survive_and_the_reason_is_added() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("events", 1), ("rejects", 1)]);
    let original = Record {
        key: Some(b"user-7".to_vec()),
        timestamp_ms: Some(1_700_000_000_123),
        headers: vec![("trace".into(), Some(b"abc".to_vec())), ("empty".into(), None)],
        ..Record::new(0, b"{broken \xff".to_vec())
    };
    let bare = Record { payload: Some(Vec::new()), ..Record::default() };
    kafka.produce("events", [original, bare]);
    let letters = DeadLetters::start(&producer(kafka), "rejects", 1 << 20).unwrap();
    reject_all(kafka, "events", 2, &letters);
    assert!(letters.flush(WAIT));
    assert_eq!(letters.acknowledged_before(CLICK), i64::MAX);

    let messages = read_back(kafka, "rejects", 2);
    let first = &messages[0];
    assert_eq!(first.key(), Some(&b"user-7"[..]));
    assert_eq!(first.payload(), Some(&b"{broken \xff"[..]));
    assert_eq!(first.timestamp().to_millis(), Some(1_700_000_000_123));
    let mut kept = headers(first);
    let added = kept.split_off(2);
    assert_eq!(kept, [("trace".into(), Some(b"abc".to_vec())), ("empty".into(), None)]);
    let added: BTreeMap<String, String> = added
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8(value.unwrap()).unwrap()))
        .collect();
    let wanted = [
        ("__connect.errors.class.name", "nazar::pipeline::decode"),
        ("__connect.errors.connector.name", "nazar"),
        ("__connect.errors.exception.class.name", "json"),
        ("__connect.errors.exception.message", "expected value at column 1"),
        ("__connect.errors.offset", "0"),
        ("__connect.errors.partition", "0"),
        ("__connect.errors.stage", "VALUE_CONVERTER"),
        ("__connect.errors.task.id", "0"),
        ("__connect.errors.topic", "events"),
        ("nazar.error.reason", "json"),
    ];
    assert_eq!(added, wanted.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
    assert_eq!((messages[1].key(), messages[1].payload()), (None, Some(&b""[..])));
}

#[test]
fn letters_are_counted_by_reason_and_topic_and_those_of_others_apart() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("counted", 1), ("counted-rejects", 3), ("counted-none", 1)]);
    kafka.produce("counted", (0..7).map(|number| Record::new(0, format!("{number}"))));
    let letters = DeadLetters::start(&producer(kafka), "counted-rejects", 1 << 20).unwrap();
    reject_all(kafka, "counted", 7, &letters);
    assert!(letters.flush(WAIT));
    kafka.produce("counted-rejects", [Record::new(2, "no headers")]);

    let mut config = Config::default();
    config.kafka.brokers = kafka.brokers();
    let mut read = |topic: &str| {
        config.kafka.dead_letter_topic = topic.to_owned();
        nazar::letters::read(&config, &AtomicBool::new(false))
    };
    let report = read("counted-rejects").unwrap();
    assert_eq!((report.letters, report.is_partial), (8, false));
    let lines: Vec<_> = report
        .reasons
        .iter()
        .map(|line| (line.reason.as_str(), line.topic.as_str(), line.letters))
        .collect();
    assert_eq!(lines, [("json", "counted", 7), ("unknown", "unknown", 1)]);
    assert!(report.reasons[0].example.starts_with("counted/0@"), "{report:?}");
    assert_eq!(report.reasons[0].message, "expected value at column 1");
    assert_eq!(read("counted-none").unwrap().to_string(), "0 dead letters in counted-none\n");
    let refused = read("counted-missing").err().unwrap().to_string();
    assert!(refused.contains("no topic \"counted-missing\""), "{refused}");
}

#[test]
fn progress_waits_while_the_topic_is_missing() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("unlucky", 1)]);
    kafka.produce("unlucky", (0..20).map(|number| Record::new(0, format!("{number}"))));
    let letters = DeadLetters::start(&producer(kafka), "not-yet", 1000).unwrap();
    reject_all(kafka, "unlucky", 20, &letters);
    let counters = letters.counters().unwrap();
    until("a write fails", || counters.failed_attempts.load(Ordering::Relaxed) > 0);
    assert_eq!(letters.acknowledged_before(CLICK), 0);
    assert!(letters.is_full());
    kafka.create_topics(&[("not-yet", 1)]);
    assert!(letters.flush(WAIT), "written once the topic exists");
    assert!(!letters.is_full());
    assert_eq!(counters.acknowledged.load(Ordering::Relaxed), 20);
    let values: Vec<_> = read_back(kafka, "not-yet", 20)
        .iter()
        .map(|message| String::from_utf8(message.payload().unwrap().to_vec()).unwrap())
        .collect();
    assert_eq!(values.len(), 20);
}

#[test]
fn a_value_too_large_for_the_topic_is_left_out_and_said() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("large", 1)]);
    kafka.create_topic("small-rejects", 1, &[("max.message.bytes", "2000")]);
    kafka.produce("large", [Record::new(0, noise(10_000)), Record::new(0, "small")]);
    let letters = DeadLetters::start(&producer(kafka), "small-rejects", 1 << 20).unwrap();
    reject_all(kafka, "large", 2, &letters);
    assert!(letters.flush(WAIT));
    assert_eq!(letters.counters().unwrap().values_omitted.load(Ordering::Relaxed), 1);
    let messages = read_back(kafka, "small-rejects", 2);
    let large = messages.iter().find(|message| message.payload().is_none()).unwrap();
    let omitted = headers(large).into_iter().find(|(name, _)| name == "nazar.error.omitted_bytes");
    assert_eq!(omitted.unwrap().1, Some(b"10000".to_vec()));
    assert!(messages.iter().any(|message| message.payload() == Some(b"small")));
}

/// Bytes that do not compress.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(count)
    .collect()
}
