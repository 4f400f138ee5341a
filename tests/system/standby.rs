//! Two daemons on one prefix: one writes, the other stands by. What happens when the writer is
//! killed or paused stands in `tests/faults`.

use std::time::Duration;

use crate::daemon::{Daemon, Running};
use crate::kafka::Kafka;
use crate::load::{Load, outcome};
use crate::redis_server::Server;

const WINDOWS: &str = r#"[{size="10s",slide="1s"},{size="1h",slide="15s",refresh="2s"}]"#;

fn applied(daemon: &Running) -> f64 {
    daemon.metric("nazar_events_applied_total", "").unwrap_or(0.0)
}

#[test]
fn a_standby_waits_while_another_writes_and_takes_over_when_that_ends() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "standby");
    kafka.create_topic("standby.dead", 1, &[]);
    let daemon = || {
        Daemon::new(&directory, "standby", &kafka.brokers(), &redis.url())
            .set("window", WINDOWS)
            .set("time.lateness", "5s")
            .set("redis.lease", "2s")
            // The least that a broker allows: so long it waits for a member that is gone.
            .set("kafka.properties.session.timeout.ms", "6000")
    };
    let mut first = daemon().start();
    let generator = load
        .start("--for 20s --rate 1000 --partitions 3 --lateness 5s --inject usual,reorder=2%:2s");
    first.until("it publishes", |first| applied(first) > 0.0 && first.status("/readyz") == 200);
    let leader = || redis.ask::<String>("HGET {standby}:meta leader");
    let first_token = leader();

    let mut second = daemon().start();
    second.until("it stands by", |second| {
        second.not_ready_because("redis_usable").contains("stands by")
    });
    let before = applied(&first);
    first.until("the first goes on", |first| applied(first) > before + 1000.0);
    assert_eq!(applied(&second), 0.0, "a standby must not take partitions from the writer");
    assert_eq!(leader(), first_token);

    let (code, _) = first.terminate(Duration::from_secs(40));
    assert_eq!(code, 0, "{}", first.log());
    second.until_ready();
    assert_ne!(leader(), first_token);
    let (code, report) =
        outcome(&load.verify(&redis.url(), "--latest-samples 6 --every 500ms --wait 40s"));
    generator.wait();
    assert_eq!(code, 0, "{report}");
    let (code, _) = second.terminate(Duration::from_secs(40));
    assert_eq!(code, 0);
    assert_eq!(redis.ask::<u64>("EXISTS {standby}:lease"), 0, "given up at the end");
}
