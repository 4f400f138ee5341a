//! Several daemons on one prefix share the reading; one of them leads. What happens when they are
//! killed or paused stands in `tests/faults`.

use std::time::Duration;

use crate::daemon::{Daemon, Running};
use crate::kafka::Kafka;
use crate::load::{Load, outcome};
use crate::redis_server::Server;

const WINDOWS: &str = r#"[{size="10s",slide="1s"},{size="1h",slide="15s",refresh="2s"}]"#;

fn metric(daemon: &Running, name: &str) -> f64 {
    daemon.metric(name, "").unwrap_or(0.0)
}

fn applied(daemon: &Running) -> f64 {
    metric(daemon, "nazar_events_applied_total")
}

fn leads(daemon: &Running) -> bool {
    metric(daemon, "nazar_leads") == 1.0
}

#[test]
fn instances_share_the_reading_and_one_of_them_leads() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "team");
    kafka.create_topic("team.dead", 1, &[]);
    let daemon = || {
        Daemon::new(&directory, "team", &kafka.brokers(), &redis.url())
            .set("window", WINDOWS)
            .set("time.lateness", "5s")
            .set("redis.lease", "2s")
            .set("checkpoint.every", "2s")
            // The least that a broker allows: so long it waits for a member that is gone.
            .set("kafka.properties.session.timeout.ms", "6000")
    };
    let mut first = daemon().start();
    let generator = load
        .start("--for 40s --rate 1000 --partitions 3 --lateness 5s --inject usual,reorder=2%:2s");
    first.until("it publishes", |first| applied(first) > 0.0 && first.status("/readyz") == 200);
    assert!(leads(&first));
    let leader = || redis.ask::<String>("HGET {team}:meta leader");
    let first_token = leader();

    let (mut second, mut third) = (daemon().start(), daemon().start());
    for follower in [&second, &third] {
        follower.until("it reads its share", |follower| applied(follower) > 1000.0);
        assert!(!leads(follower));
        let appended = r#"outcome="appended""#;
        follower.until("it hands over", |follower| {
            follower.metric("nazar_outbox_deliveries_total", appended).unwrap_or(0.0) > 0.0
        });
        follower.until_ready();
    }
    let before = applied(&first);
    first.until("the first reads on", |first| applied(first) > before + 300.0);
    assert_eq!(leader(), first_token);

    // The leader leaves: another one leads, and all of the log is read.
    let (code, _) = first.terminate(Duration::from_secs(40));
    assert_eq!(code, 0, "{}", first.log());
    second.until("somebody else leads", |second| leads(second) || leads(&third));
    assert_ne!(leader(), first_token);
    let (code, report) =
        outcome(&load.verify(&redis.url(), "--latest-samples 20 --every 500ms --wait 60s"));
    generator.wait();
    assert_eq!(code, 0, "{report}\n{}\n{}", second.log(), third.log());
    // The follower leaves first, and its partitions go to the leader.
    if leads(&second) {
        std::mem::swap(&mut second, &mut third);
    }
    assert_eq!(second.terminate(Duration::from_secs(40)).0, 0, "{}", second.log());
    assert_eq!(third.terminate(Duration::from_secs(40)).0, 0, "{}", third.log());
    assert_eq!(redis.ask::<u64>("EXISTS {team}:lease"), 0, "given up at the end");
}
