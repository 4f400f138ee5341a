//! Two daemons on a Redis Cluster whose slots move while they work.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::cluster_servers::Cluster;
use crate::daemon::{Daemon, Running};
use crate::kafka::Kafka;
use crate::load::{Load, outcome};

const WINDOWS: &str = r#"[{size="10s",slide="1s"},{size="1h",slide="15s",refresh="2s"}]"#;

fn applied(daemon: &Running) -> f64 {
    daemon.metric("nazar_events_applied_total", "").unwrap_or(0.0)
}

/// How many records the latest views explain.
fn published(cluster: &Cluster) -> u64 {
    let offsets: Option<String> = cluster.ask("{sharded}:meta", "HGET {sharded}:meta offsets:10s");
    let offsets = offsets.unwrap_or_default();
    offsets.split(',').filter_map(|item| item.split_once('=')?.1.parse::<u64>().ok()).sum()
}

#[test]
fn views_on_a_cluster_are_exact_while_its_slots_move() {
    let (kafka, cluster) = (Kafka::shared(), Cluster::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "sharded");
    kafka.create_topic("sharded.dead", 1, &[]);
    let daemon = || {
        Daemon::new(&directory, "sharded", &kafka.brokers(), &cluster.url())
            .set("window", WINDOWS)
            .set("time.lateness", "5s")
            .set("redis.closed_keep", "0")
            .set("checkpoint.every", "2s")
    };
    let first = daemon().start();
    let generator = load
        .start("--for 45s --rate 1000 --partitions 3 --lateness 5s --inject usual,reorder=2%:2s");
    first.until("it publishes", |first| applied(first) > 0.0 && published(&cluster) > 0);
    let second = daemon().start();
    second.until("it reads its share", |second| applied(second) > 500.0);

    // The views and the checkpoint lie in one slot, each outbox and each entity in its own.
    let outbox = (0..3)
        .map(|partition| format!("{{sharded:sharded.click:{partition}}}:owner"))
        .find(|key| cluster.ask::<bool>(key, &format!("EXISTS {key}")))
        .expect("the follower has an outbox");
    let meta = "{sharded}:meta".to_owned();
    let home = cluster.owner(cluster.slot(&meta));
    let entity = cluster.nodes.iter().enumerate().filter(|(index, _)| *index != home);
    let entity: Option<String> =
        entity.flat_map(|(_, node)| node.ask::<Vec<String>>("KEYS sharded:product:*")).next();
    let moved = [entity.expect("products lie on other nodes as well"), outbox, meta];
    for key in &moved {
        let slot = cluster.slot(key);
        let to = (cluster.owner(slot) + 1) % 3;
        let before = published(&cluster);
        cluster.migrate(slot, to, || std::thread::sleep(Duration::from_millis(5)));
        assert_eq!(cluster.owner(slot), to, "{key}");
        first.until("views go on", |_| published(&cluster) > before + 1000);
    }
    let sizes = cluster.nodes.iter().map(|node| node.ask::<u64>("DBSIZE"));
    assert!(sizes.clone().all(|size| size > 0), "{:?}", sizes.collect::<Vec<_>>());
    let slots: BTreeSet<usize> = moved.iter().map(|key| cluster.slot(key)).collect();
    assert_eq!(slots.len(), 3);

    let (code, report) =
        outcome(&load.verify(&cluster.url(), "--latest-samples 10 --every 500ms --wait 90s"));
    generator.wait();
    assert_eq!(code, 0, "{report}\n{}\n{}", first.log(), second.log());
    assert!(report.contains("20 compared"), "{report}");
    assert_eq!(cluster.errors("CROSSSLOT"), 0);
    let met = ["ASK", "MOVED", "TRYAGAIN"].map(|name| cluster.errors(name));
    assert!(met.iter().all(|&count| count > 0), "slots moved under commands: {met:?}");
    for mut daemon in [second, first] {
        let refused = daemon.metric("nazar_redis_errors_total", r#"class="unsupported""#);
        assert_eq!(refused, Some(0.0), "{}", daemon.log());
        let (code, _) = daemon.terminate(Duration::from_secs(40));
        assert_eq!(code, 0, "{}", daemon.log());
    }
}
