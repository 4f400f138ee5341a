//! What nazar needs is absent, silent, or late. Alive throughout, ready only when it works.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::daemon::{Daemon, Running};
use crate::kafka::{Kafka, Record};
use crate::redis_server::Server;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn click(partition: i32, time_ms: i64) -> Record {
    let user = time_ms / 1000 % 97;
    let event =
        format!(r#"{{"timestamp":{time_ms},"user_id":{user},"product_id":"p{partition}"}}"#);
    Record::new(partition, event)
}

/// One click a second.
fn clicks(partition: i32, from_ms: i64, to_ms: i64) -> impl Iterator<Item = Record> {
    (from_ms..to_ms).step_by(1000).map(move |time_ms| click(partition, time_ms))
}

fn millis(daemon: &Running, metric: &str) -> i64 {
    daemon.metric(metric, "").map_or(0, |seconds| (seconds * 1000.0).round() as i64)
}

fn group_watermark(daemon: &Running) -> i64 {
    millis(daemon, "nazar_group_watermark_timestamp_seconds")
}

fn stream_time(daemon: &Running) -> i64 {
    millis(daemon, "nazar_stream_time_timestamp_seconds")
}

/// Waiting is neither dead nor ready.
fn is_waiting(daemon: &mut Running) {
    for _ in 0..5 {
        assert!(daemon.is_alive(), "{}", daemon.log());
        assert_eq!((daemon.status("/livez"), daemon.status("/readyz")), (200, 503));
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn kafka_may_be_absent_at_start_and_freeze_later() {
    let (kafka, redis) = (Kafka::start(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    kafka.create_topics(&[("frozen.click", 2), ("frozen.dead", 1)]);
    kafka.stop();

    let mut daemon = Daemon::new(&directory, "frozen", &kafka.brokers(), &redis.url())
        .clicks_only()
        .set("time.lateness", "2s")
        .start();
    daemon.until("it says what it waits for", |daemon| daemon.log().contains("waiting for Kafka"));
    is_waiting(&mut daemon);
    kafka.restart();
    let start = now_ms() - 60_000;
    kafka.produce("frozen.click", (0..2).flat_map(|p| clicks(p, start, start + 10_000)));
    daemon.until_ready();

    // While the broker answers, its word that all logs have ended lets time go on.
    daemon.until("event time passes", |daemon| group_watermark(daemon) >= start + 10_000);
    kafka.freeze();
    // An answer already given is good for five seconds.
    std::thread::sleep(Duration::from_secs(7));
    let (still, stream_still) = (group_watermark(&daemon), stream_time(&daemon));
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(group_watermark(&daemon), still, "nobody has confirmed that the log is quiet");
        assert_eq!(stream_time(&daemon), stream_still, "so time does not pass either");
        assert_eq!(daemon.status("/livez"), 200);
    }
    kafka.thaw();
    daemon.until("event time goes on", |daemon| group_watermark(daemon) > still);
    let next = still + 30_000;
    kafka.produce("frozen.click", (0..2).flat_map(|p| clicks(p, next, next + 10_000)));
    daemon.until("records go on", |daemon| group_watermark(daemon) >= next + 7_000);
    assert_eq!(daemon.metric("nazar_events_applied_total", ""), Some(40.0));
}

#[test]
fn redis_may_be_absent_at_start() {
    let (kafka, mut redis) = (Kafka::shared(), Server::stopped(&[]));
    let directory = tempfile::tempdir().unwrap();
    kafka.create_topics(&[("unstored.click", 1), ("unstored.dead", 1)]);
    kafka.produce("unstored.click", clicks(0, now_ms() - 10_000, now_ms()));
    let mut daemon =
        Daemon::new(&directory, "unstored", &kafka.brokers(), &redis.url()).clicks_only().start();
    daemon.until("it says what it waits for", |daemon| {
        let log = daemon.log();
        log.contains("redis write is retried") && log.contains(&redis.port.to_string())
    });
    is_waiting(&mut daemon);
    assert!(!daemon.not_ready_because("redis_usable").is_empty());
    redis.run();
    daemon.until_ready();
    daemon.until("all is published", |_| {
        redis.ask::<Option<u64>>("HGET {unstored}:totals:1m events") == Some(10)
    });
}

#[test]
fn a_missing_topic_is_named_and_waited_for() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    kafka.create_topics(&[
        ("untopical.click", 1),
        ("untopical.purchase", 1),
        ("untopical.dead", 1),
    ]);
    let mut daemon = Daemon::new(&directory, "untopical", &kafka.brokers(), &redis.url()).start();
    daemon.until("the log names it", |daemon| daemon.log().contains("untopical.wishlist"));
    assert!(!daemon.log().contains("untopical.purchase"), "{}", daemon.log());
    is_waiting(&mut daemon);
    let reason = daemon.not_ready_because("topics_present");
    assert!(reason.contains("untopical.wishlist"), "{reason}");
    kafka.create_topic("untopical.wishlist", 1, &[]);
    kafka.produce("untopical.wishlist", clicks(0, now_ms() - 5_000, now_ms()));
    daemon.until_ready();
}

/// ```text
/// event time  0      1m                       8m        12m
/// partition 0 ████████████████████████████████░         ██
/// partition 1 ████████████████████████████████░         ██
/// partition 2 ████████░ buffered by its producer ██████ ██
///                                       ↑ G = 7 m when these arrive
/// ```
#[test]
fn a_producer_that_delivers_minutes_later_loses_nothing() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    kafka.create_topics(&[("buffered.click", 3), ("buffered.dead", 1)]);
    let minute = 60_000;
    let start = (now_ms() / minute - 30) * minute;
    let daemon = Daemon::new(&directory, "buffered", &kafka.brokers(), &redis.url())
        .clicks_only()
        .set("window", r#"[{size="1m",slide="1s"},{size="1h",slide="1m",refresh="250ms"}]"#)
        .start();
    let count = |name: &str, labels: &str| daemon.metric(name, labels).unwrap_or(0.0) as i64;

    kafka.produce("buffered.click", (0..3).flat_map(|p| clicks(p, start, start + minute)));
    daemon.until("the first minute is applied", |_| count("nazar_events_applied_total", "") == 180);
    // Two partitions go on for seven minutes; the broker confirms that the third is silent.
    let outage = (start + minute, start + 8 * minute);
    kafka.produce("buffered.click", (0..2).flat_map(|p| clicks(p, outage.0, outage.1)));
    daemon.until("the group goes on without the third", |daemon| {
        group_watermark(daemon) >= start + 7 * minute - 1000
    });

    // Once everything is silent, stream time grows with real time, and the group watermark with
    // it: nothing is buffered for the half minute it may grow into while this runs.
    let sure = start + 7 * minute - 2000;
    let open = start + 7 * minute + 30_000;
    let backlog: Vec<Record> = clicks(2, outage.0, sure).chain(clicks(2, open, outage.1)).collect();
    let delivered = backlog.len() as i64;
    kafka.produce("buffered.click", backlog);
    daemon.until("the backlog is read", |_| {
        count("nazar_events_consumed_total", "") == 180 + 840 + delivered
    });
    assert!(group_watermark(&daemon) < open, "this machine was too slow for the test");
    assert_eq!(count("nazar_events_dropped_total", ""), 0, "late is what its own log makes late");

    // After close is exactly what ended at or before the group watermark.
    let passed = clicks(2, outage.0, sure).count() as i64;
    let meta =
        |field: &str| -> Option<i64> { redis.ask(&format!("HGET {{buffered}}:meta {field}")) };
    daemon.until("it is published", |_| meta("events_after_close") == Some(passed));
    assert_eq!(count("nazar_events_after_close_total", ""), passed);
    daemon.until("every record counts in the open window", |_| {
        redis.ask::<Option<i64>>("HGET {buffered}:totals:1h events") == Some(1020 + delivered)
    });

    // Windows closed without the third say so; those closed later by every log are proven.
    let later = start + 12 * minute;
    kafka.produce("buffered.click", (0..3).flat_map(|p| clicks(p, later, later + 3 * minute)));
    let closed = |minutes: i64| -> Vec<(String, Vec<String>)> {
        let end = start + minutes * minute;
        redis.ask(&format!("XRANGE {{buffered}}:history:1m {end} {end}"))
    };
    let field = |minutes: i64, name: &str| -> String {
        let fields = &closed(minutes)[0].1;
        let at = fields.iter().position(|field| field == name).unwrap();
        fields[at + 1].clone()
    };
    daemon.until("the thirteenth minute closes", |_| !closed(13).is_empty());
    assert_eq!((field(5, "events"), field(5, "proven"), field(5, "quiet")), {
        ("120".into(), "0".into(), "1".into())
    });
    assert_eq!((field(13, "events"), field(13, "proven")), ("180".into(), "1".into()));
    assert_eq!(meta("events_after_close"), Some(passed));
}
