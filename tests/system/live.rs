//! The daemon while events arrive: latest views, Redis going away, and ending in between.

use std::time::Duration;

use crate::daemon::{Daemon, Running};
use crate::kafka::Kafka;
use crate::load::{Load, outcome};
use crate::redis_server::Server;

/// The longer window holds everything these tests write. Its views are refreshed so rarely that
/// only a drain publishes what was read last.
const WINDOWS: &str = r#"[{size="10s",slide="1s"},{size="1h",slide="15s",refresh="2s"}]"#;

fn applied(daemon: &Running) -> u64 {
    daemon.metric("nazar_events_applied_total", "").unwrap_or(0.0) as u64
}

fn consumed(daemon: &Running) -> u64 {
    daemon.metric("nazar_events_consumed_total", "").unwrap_or(0.0) as u64
}

/// How many records the latest views of the longest window explain.
fn offsets_published(redis: &Server, name: &str) -> u64 {
    let offsets: Option<String> = redis.ask(&format!("HGET {{{name}}}:meta offsets:1h"));
    let offsets = offsets.unwrap_or_default();
    offsets.split(',').filter_map(|item| item.split_once('=')?.1.parse::<u64>().ok()).sum()
}

/// Applied records in the latest views of the longest window.
fn events_published(redis: &Server, name: &str) -> u64 {
    let events: Option<u64> = redis.ask(&format!("HGET {{{name}}}:totals:1h events"));
    events.unwrap_or(0)
}

/// A field of the log's last line that says `ended`.
fn said_at_the_end(daemon: &Running, field: &str) -> u64 {
    let log = daemon.log();
    let line = log.lines().rev().find(|line| line.contains(" ended ")).expect(&log);
    let value = line.split_once(&format!("{field}=")).unwrap().1;
    value.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn latest_views_under_load_equal_the_log_up_to_their_offsets() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "latest");
    kafka.create_topic("latest.dead", 1, &[]);
    let daemon = Daemon::new(&directory, "latest", &kafka.brokers(), &redis.url())
        .set("window", WINDOWS)
        .set("time.lateness", "5s")
        .start();
    let generator = load
        .start("--for 15s --rate 1500 --partitions 3 --lateness 5s --inject usual,reorder=2%:2s");
    daemon.until("views are published", |_| events_published(&redis, "latest") > 0);
    let (code, report) =
        outcome(&load.verify(&redis.url(), "--latest-samples 20 --every 500ms --wait 40s"));
    generator.wait();
    assert_eq!(code, 0, "{report}");
    assert!(report.contains("latest: 40 samples, 40 compared"), "{report}");
    assert_eq!(daemon.status("/readyz"), 200);
}

#[test]
fn redis_may_go_and_come_back_without_data() {
    let (kafka, mut redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "outage");
    kafka.create_topic("outage.dead", 1, &[]);
    let daemon = Daemon::new(&directory, "outage", &kafka.brokers(), &redis.url())
        .set("window", WINDOWS)
        .start();
    let generator = load.start("--for 12s --rate 1000 --partitions 3 --inject usual");
    daemon.until("views are published", |_| events_published(&redis, "outage") > 0);
    daemon.until_ready();

    redis.kill();
    daemon.until("it is not ready", |daemon| daemon.status("/readyz") == 503);
    assert!(daemon.not_ready_because("redis_usable").contains("Redis"));
    let before = applied(&daemon);
    for _ in 0..10 {
        assert_eq!(daemon.status("/livez"), 200);
        assert_eq!(daemon.status("/readyz"), 503);
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(applied(&daemon) > before, "reading goes on while there is room");
    redis.run();
    generator.wait();
    daemon.until_ready();

    // Nothing has closed within the lateness of a minute, so the latest views are all there is.
    let options = "--latest-samples 1 --wait 30s";
    daemon.until("everything is published", |_| offsets_published(&redis, "outage") == 12_000);
    let (code, report) = outcome(&load.verify(&redis.url(), options));
    assert_eq!(code, 0, "{report}");
    assert_eq!(events_published(&redis, "outage"), applied(&daemon));
    assert!(daemon.metric("nazar_republishes_total", "").unwrap() >= 1.0);
}

#[test]
fn a_killed_daemon_goes_on_from_its_checkpoint() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "killed");
    kafka.create_topic("killed.dead", 1, &[]);
    let blobs = format!("file://{}", directory.path().join("blobs").display());
    let prepared = Daemon::new(&directory, "killed", &kafka.brokers(), &redis.url())
        .set("window", WINDOWS)
        .set("time.lateness", "5s")
        .set("checkpoint.every", "1s")
        // The broker is told of a death by its silence.
        .set("kafka.properties.session.timeout.ms", "6000");
    let in_directory = |blobs: &str| prepared.clone().set("checkpoint.blobs", blobs);
    let generator = load.start("--for 25s --rate 1500 --partitions 3 --lateness 5s --inject usual");
    let mut read_again = 0;
    for blobs in ["redis", "redis", &blobs, &blobs] {
        let mut daemon = in_directory(blobs).start();
        let before = offsets_published(&redis, "killed");
        daemon.until("more is published", |_| offsets_published(&redis, "killed") > before + 500);
        let stored = |daemon: &Running| {
            daemon.metric("nazar_checkpoints_total", r#"outcome="stored""#).unwrap_or(0.0)
        };
        daemon.until("checkpoints are stored", |daemon| stored(daemon) >= 2.0);
        read_again += consumed(&daemon);
        daemon.kill();
    }
    let daemon = in_directory(&blobs).start();
    generator.wait();
    let total = 25 * 1500;
    daemon.until("everything is published", |_| offsets_published(&redis, "killed") == total);
    assert!(daemon.log().contains("the checkpoint is restored"), "{}", daemon.log());
    read_again += consumed(&daemon);
    // Each of four kills has a second or two of the log read again, not the whole of it.
    assert!((total..2 * total).contains(&read_again), "{read_again} of {total} were read");
    let (code, report) = outcome(&load.verify(&redis.url(), "--latest-samples 2 --wait 60s"));
    assert_eq!(code, 0, "{report}");
}

#[test]
fn sigterm_publishes_what_was_read_and_a_restart_goes_on() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "drain");
    kafka.create_topic("drain.dead", 1, &[]);
    let prepared =
        Daemon::new(&directory, "drain", &kafka.brokers(), &redis.url()).set("window", WINDOWS);
    // A past, so that windows close; then a present, to be interrupted.
    load.run("--events 6000 --event-time-span 10m --partitions 3");
    let mut daemon = prepared.start();
    daemon.until("windows close", |_| redis.ask::<u64>("XLEN {drain}:history:10s") > 5);
    let generator = load.start("--for 8s --rate 1500 --inject usual");
    let seen = offsets_published(&redis, "drain");
    daemon.until("the load arrives", |_| offsets_published(&redis, "drain") > seen + 1000);

    let (code, took) = daemon.terminate(Duration::from_secs(15));
    assert_eq!(code, 0, "{}", daemon.log());
    eprintln!("drained in {took:?}");
    let read = said_at_the_end(&daemon, "events");
    assert!(read < 18_000, "the load had ended before the signal");
    assert_eq!(offsets_published(&redis, "drain"), read);
    let applied_before = said_at_the_end(&daemon, "applied");
    assert_eq!(events_published(&redis, "drain"), applied_before);
    let history: Vec<String> = history_ids(&redis);
    generator.wait();
    drop(daemon);

    let mut daemon = prepared.start();
    daemon.until("everything is published", |_| {
        let published = offsets_published(&redis, "drain");
        assert!(published >= read, "the views of the last run were replaced by older ones");
        published == 18_000
    });
    assert!(daemon.log().contains("the checkpoint is restored"), "{}", daemon.log());
    assert_eq!(consumed(&daemon), 18_000 - read, "nothing is read twice");
    assert_eq!(history_ids(&redis)[..history.len()], history, "what stands is not rewritten");
    assert_eq!(events_published(&redis, "drain"), applied_before + applied(&daemon));

    // Without Redis there is no good end.
    let mut redis = redis;
    redis.kill();
    daemon.until("it is not ready", |daemon| daemon.status("/readyz") == 503);
    let (code, took) = daemon.terminate(Duration::from_secs(30));
    assert_ne!(code, 0, "{}", daemon.log());
    eprintln!("given up after {took:?}");
    assert!(daemon.log().contains("it will be read again"), "{}", daemon.log());
}

fn history_ids(redis: &Server) -> Vec<String> {
    let rows: Vec<(String, Vec<String>)> = redis.ask("XRANGE {drain}:history:10s - +");
    rows.into_iter().map(|(id, _)| id).collect()
}
