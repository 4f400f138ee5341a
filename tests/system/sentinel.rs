//! Two daemons that find their Redis by Sentinels, one of which promotes a replica meanwhile.

use std::time::Duration;

use crate::daemon::{Daemon, Running};
use crate::kafka::Kafka;
use crate::load::{Load, outcome};
use crate::sentinels::Watched;

const WINDOWS: &str = r#"[{size="10s",slide="1s"},{size="1h",slide="15s",refresh="2s"}]"#;

fn applied(daemon: &Running) -> f64 {
    daemon.metric("nazar_events_applied_total", "").unwrap_or(0.0)
}

/// How many records the latest views explain.
fn published(watched: &Watched) -> u64 {
    let server = &watched.servers[watched.master()];
    let offsets: Option<String> = server.ask("HGET {guarded}:meta offsets:10s");
    let offsets = offsets.unwrap_or_default();
    offsets.split(',').filter_map(|item| item.split_once('=')?.1.parse::<u64>().ok()).sum()
}

#[test]
fn views_are_exact_after_a_failover() {
    let (kafka, mut watched) = (Kafka::shared(), Watched::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "guarded");
    kafka.create_topic("guarded.dead", 1, &[]);
    let daemon = || {
        Daemon::new(&directory, "guarded", &kafka.brokers(), &watched.url())
            .set("window", WINDOWS)
            .set("time.lateness", "5s")
            .set("redis.closed_keep", "0")
            .set("checkpoint.every", "2s")
    };
    let first = daemon().start();
    let generator = load
        .start("--for 40s --rate 1000 --partitions 3 --lateness 5s --inject usual,reorder=2%:2s");
    first.until("it publishes", |first| applied(first) > 0.0 && published(&watched) > 0);
    let second = daemon().start();
    second.until("it reads its share", |second| applied(second) > 500.0);

    let before = published(&watched);
    watched.servers[0].kill();
    assert_eq!(watched.promoted(0), 1);
    first.until("views go on at the promoted replica", |_| published(&watched) > before + 1000);

    let (code, report) =
        outcome(&load.verify(&watched.url(), "--latest-samples 10 --every 500ms --wait 90s"));
    generator.wait();
    assert_eq!(code, 0, "{report}\n{}\n{}", first.log(), second.log());
    assert!(report.contains("20 compared"), "{report}");
    for mut daemon in [second, first] {
        let (code, _) = daemon.terminate(Duration::from_secs(40));
        assert_eq!(code, 0, "{}", daemon.log());
    }
}
