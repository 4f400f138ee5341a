//! Runs that measure and verify a daemon while it works.

use std::time::Duration;

use nazar::load::artefacts::timeline;

use crate::daemon::Daemon;
use crate::kafka::Kafka;
use crate::load::{Load, outcome};
use crate::redis_server::Server;

const WINDOWS: &str = r#"[{size="10s",slide="1s",closed_step="5s"}]"#;

fn daemon(directory: &tempfile::TempDir, name: &str, kafka: &Kafka, redis: &Server) -> Daemon {
    kafka.create_topic(&format!("{name}.dead"), 1, &[]);
    Daemon::new(directory, name, &kafka.brokers(), &redis.url())
        .set("window", WINDOWS)
        .set("time.lateness", "3s")
}

#[test]
fn a_run_verifies_the_daemon_as_it_goes() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "verified");
    let daemon = daemon(&directory, "verified", kafka, &redis).start();
    let watched = format!(
        "--redis {} --prefix verified --daemon-metrics {} --verify --verify-every 1s --verify-wait 60s \
         --partitions 2 --rate 800 --inject usual,reorder=2%:1s --threshold verify.mismatch==0",
        redis.url(),
        daemon.url("/metrics"),
    );
    let generator = load.start(&format!(
        "{watched} --for 20s --lateness 3s --threshold visible.p99<60s --threshold visible.missing==0"
    ));
    let (code, said) = outcome(&generator.output());
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("✓ verify.mismatch==0"), "{said}");
    let account = load.account();
    assert_eq!(account["verdict"], "good");
    let verified = &account["verify"];
    assert!(verified["closed"]["found"]["windows"].as_u64().unwrap() > 0, "{verified}");
    assert!(verified["latest"]["compared"].as_u64().unwrap() > 5, "{verified}");
    let seconds = timeline::load(&load.out).unwrap();
    let applied = seconds.iter().filter_map(|second| second.daemon?.applied);
    assert!(applied.fold(0.0, f64::max) > 1000.0, "{seconds:?}");

    // Labels made for another lateness than the daemon's are not what it counts.
    let again = load.start(&format!("{watched} --for 2s --lateness 2s --verify-samples 0"));
    let (code, said) = outcome(&again.output());
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("run.json lateness_ms"), "{said}");
    assert_eq!(load.account()["verdict"], "mismatch");
}

/// The generator goes on while the daemon is stopped, and the figures say what readers had to wait.
#[test]
fn a_daemon_that_stands_still_is_in_the_figures() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "stopped");
    let daemon = daemon(&directory, "stopped", kafka, &redis).start();
    let options = "--partitions 2 --rate 500 --for 15s --lateness 3s --prefix stopped";
    let generator = load.start(&format!("{options} --redis {}", redis.url()));
    daemon.until("views are published", |_| {
        let offsets: Option<String> = redis.ask("HGET {stopped}:meta offsets:10s");
        offsets.is_some_and(|offsets| !offsets.is_empty())
    });
    daemon.signal("-STOP");
    std::thread::sleep(Duration::from_secs(2));
    daemon.signal("-CONT");
    generator.wait();
    let latency = &load.account()["latency"];
    let p99_ms = |clock: &str| latency[clock]["corrected"]["p99_ms"].as_f64().unwrap();
    assert!(p99_ms("visible") >= 1_000.0, "{latency:#}");
    // It sent in time, and the broker took it: the two seconds are the daemon's.
    assert!(p99_ms("visible") > p99_ms("ack") && p99_ms("ack") >= p99_ms("schedule"));
}
