//! A log that is no longer the one that was read: what a daemon does while it runs, and what a
//! start from a checkpoint does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::daemon::{Daemon, Running};
use crate::kafka::{Kafka, Record};
use crate::redis_server::Server;

const TOPIC: &str = "logs.click";
const WINDOWS: &str = r#"[{size="1h",slide="15s",refresh="250ms"}]"#;

/// Clicks of now on partition 0, each on a product of its own.
fn clicks(what: &str, count: usize) -> impl Iterator<Item = Record> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let record = move |number: usize| {
        let text =
            format!(r#"{{"timestamp":{now_ms},"user_id":"u","product_id":"{what}-{number}"}}"#);
        Record::new(0, text)
    };
    (0..count).map(record)
}

fn recreate(kafka: &Kafka) {
    kafka.delete_topic(TOPIC);
    // The broker may still be deleting.
    for _ in 0..100 {
        if std::panic::catch_unwind(|| kafka.create_topics(&[(TOPIC, 1)])).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the topic could not be created again");
}

fn clicks_published(redis: &Server) -> u64 {
    redis.ask::<Option<u64>>("HGET {logs}:totals:1h clicks").unwrap_or(0)
}

fn has_checkpoint_of(redis: &Server, seq: u64) -> bool {
    redis.ask::<Option<u64>>("HGET {logs}:manifest seq").unwrap_or(0) >= seq
}

fn publishes(daemon: &Running, redis: &Server, clicks: u64) {
    daemon.until("all clicks are published", |_| clicks_published(redis) == clicks);
}

#[test]
fn a_topic_made_anew_ends_the_daemon_and_a_start_begins_the_new_log() {
    let (kafka, redis) = (Kafka::start(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    kafka.create_topics(&[(TOPIC, 1), ("logs.dead", 1)]);
    let prepared = Daemon::new(&directory, "logs", &kafka.brokers(), &redis.url())
        .clicks_only()
        .set("window", WINDOWS)
        .set("checkpoint.every", "1s");
    kafka.produce(TOPIC, clicks("first", 50));
    let mut daemon = prepared.start();
    publishes(&daemon, &redis, 50);
    daemon.until("it is saved", |_| has_checkpoint_of(&redis, 2));

    // While it runs: shorter, so its end says it.
    recreate(&kafka);
    kafka.produce(TOPIC, clicks("second", 20));
    assert_eq!(daemon.end(), 1, "{}", daemon.log());
    assert!(daemon.log().contains("was made anew or lost records"), "{}", daemon.log());
    let mut daemon = prepared.start();
    publishes(&daemon, &redis, 70);
    assert!(daemon.log().contains("the log was made anew"), "{}", daemon.log());
    let seq: u64 = redis.ask("HGET {logs}:manifest seq");
    daemon.until("it is saved", |_| has_checkpoint_of(&redis, seq + 2));
    assert_eq!(daemon.terminate(Duration::from_secs(30)).0, 0, "{}", daemon.log());

    // Between two runs: longer than the cursor, so that only the record before it tells.
    recreate(&kafka);
    kafka.produce(TOPIC, clicks("third", 40));
    let daemon = prepared.start();
    publishes(&daemon, &redis, 110);
    assert_eq!(redis.ask::<String>("HGET {logs}:meta complete"), "0", "what was before is gone");
    let score: Option<u64> = redis.ask("ZSCORE {logs}:top:product:clicks:1h third-0");
    assert_eq!(score, Some(1), "from its very beginning");
    drop(daemon);

    // Another cluster: its offsets mean nothing here.
    let other = Kafka::start();
    other.create_topics(&[(TOPIC, 1), ("logs.dead", 1)]);
    let elsewhere = prepared.set("kafka.brokers", &other.brokers());
    // Once while the lease of the killed one stands, and once when it could lead.
    for is_held in [true, false] {
        let held = || redis.ask::<bool>("EXISTS {logs}:lease");
        while held() != is_held {
            assert!(!is_held, "the lease was given up");
            std::thread::sleep(Duration::from_millis(100));
        }
        let refused = elsewhere.refused();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains("nazar reset") && said.contains("cluster"), "{said}");
        assert!(is_held || !held(), "the lease was kept");
    }
}
