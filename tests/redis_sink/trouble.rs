//! Redis goes away, forgets, refuses or stalls: a flush waits, then stands exactly once.

use std::time::Duration;

use nazar::pipeline::view::Flush;
use nazar::sinks::redis::RedisSink;
use nazar::sinks::redis::error::{ErrorClass, RedisSinkError};

use crate::fixture::*;
use crate::server::Server;

const LONG: Duration = Duration::from_secs(20);

/// Publishes in the background while the test plays with the server.
async fn publish_while(
    mut sink: RedisSink,
    flush: Flush,
    play: impl AsyncFnOnce(),
) -> (RedisSink, nazar::sinks::FlushReport) {
    let task = tokio::spawn(async move {
        let report = tokio::time::timeout(LONG, sink.publish(&flush)).await;
        let report = report.expect("the flush completes once Redis is back").unwrap();
        (sink, report)
    });
    play().await;
    task.await.unwrap()
}

async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for {what}");
}

fn all_windows(seconds: i64, clicks: u64) -> Flush {
    let clicks = [("a", clicks)];
    Flush {
        latest: vec![
            latest(window(0, 60, seconds, &clicks)),
            latest(window(1, 300, seconds, &clicks)),
        ],
        closed: vec![],
        meta: meta(2),
        keeps_latest: false,
    }
}

fn check_views(server: &Server, clicks: u64) {
    check_values(server, clicks);
    let staged: Vec<String> = server.ask("KEYS {nazar}:tmp:*");
    assert_eq!(staged, Vec::<String>::new(), "nothing is left behind");
}

fn check_values(server: &Server, clicks: u64) {
    for label in ["1m", "5m"] {
        let score = format!("ZSCORE {{nazar}}:top:product:clicks:{label} a");
        assert_eq!(server.ask::<u64>(&score), clicks);
        let total = format!("HGET {{nazar}}:totals:{label} clicks");
        assert_eq!(server.ask::<u64>(&total), clicks);
        let field = format!("HGET nazar:product:a clicks.{label}");
        assert_eq!(server.ask::<u64>(&field), clicks);
        let users = format!("PFCOUNT {{nazar}}:uniques:click:category:tv%20%26%20hifi:{label}");
        assert_eq!(server.ask::<u64>(&users), clicks);
        let seq: u64 = server.ask(&format!("HGET {{nazar}}:meta seq:{label}"));
        assert!(seq <= server.ask::<u64>("HGET {nazar}:meta seq"));
    }
}

#[tokio::test]
async fn redis_absent_at_start_is_waited_for() {
    let mut server = Server::stopped(&[]);
    let settings = config(&server);
    let opening = tokio::spawn(async move { open(&settings).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!opening.is_finished());
    server.run();
    let sink = tokio::time::timeout(LONG, opening).await.unwrap().unwrap();
    assert!(sink.health().connected());
    assert!(sink.health().errors(ErrorClass::Io) > 0);
}

#[tokio::test]
async fn a_restart_that_keeps_data_is_survived() {
    let mut server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut sink = open(&config(&server)).await;
    sink.publish(&closes(&[1, 2])).await.unwrap();
    sink.publish(&all_windows(1, 1)).await.unwrap();
    server.kill();
    let health = sink.health();
    let (sink, report) = publish_while(sink, all_windows(2, 2), async || {
        wait_for("the outage to be noticed", || !health.connected()).await;
        server.run();
    })
    .await;
    check_views(&server, 2);
    assert_eq!(health.republishes(), 0);
    assert!(health.connected() && health.retries() > 0 && health.last_success_millis().is_some());
    assert!(report.keys_written > 0);
    assert_eq!(server.ask::<u64>("XLEN {nazar}:history:1m"), 2);
    drop(sink);
}

#[tokio::test]
async fn a_restart_that_loses_data_is_healed() {
    let mut server = Server::start();
    let mut sink = open(&config(&server)).await;
    sink.publish(&closes(&[1])).await.unwrap();
    sink.publish(&all_windows(1, 1)).await.unwrap();
    let seq: u64 = server.ask("HGET {nazar}:meta seq");
    server.kill();
    server.run();
    // The same views as before: without noticing the loss, none would be written.
    sink.publish(&all_windows(1, 1)).await.unwrap();
    check_views(&server, 1);
    assert_eq!(sink.health().republishes(), 1);
    assert!(server.ask::<u64>("HGET {nazar}:meta seq") > seq, "the number never goes back");
    assert_eq!(server.ask::<String>("HGET {nazar}:meta config_hash"), "hash-1");
    assert!(server.ask::<bool>("HEXISTS {nazar}:schema definitions"));
    assert_eq!(server.ask::<u64>("PFCOUNT {nazar}:uniques:click:category:tv%20%26%20hifi:1m"), 1);
    assert!(server.ask::<bool>("EXISTS nazar:product:a"));
    // What had closed is back, and what closes from now on follows it.
    let report = sink.publish(&closes(&[2])).await.unwrap();
    assert_eq!((report.history_skipped, server.ask::<u64>("XLEN {nazar}:history:1m")), (0, 2));
}

#[tokio::test]
async fn flushall_is_healed_by_the_next_flush() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    sink.publish(&all_windows(1, 1)).await.unwrap();
    server.ask::<()>("FLUSHALL");
    sink.publish(&all_windows(1, 1)).await.unwrap();
    check_views(&server, 1);
    assert_eq!(sink.health().republishes(), 1);
    assert!(sink.health().connected());
}

/// A replica that lagged is promoted, or a snapshot is restored: meta holds a lower number.
#[tokio::test]
async fn a_roll_back_is_healed() {
    let mut server = Server::start();
    let mut sink = open(&config(&server)).await;
    sink.publish(&all_windows(1, 1)).await.unwrap();
    sink.publish(&minute(1, &[("gone", 1), ("a", 1)])).await.unwrap();
    server.ask::<()>("SAVE");
    sink.publish(&all_windows(2, 2)).await.unwrap();
    assert!(!server.ask::<bool>("EXISTS nazar:product:gone"));
    server.kill();
    server.run();
    assert!(server.ask::<bool>("EXISTS nazar:product:gone"), "the old state is back");
    sink.publish(&all_windows(2, 2)).await.unwrap();
    check_views(&server, 2);
    assert_eq!(sink.health().republishes(), 1);
    assert!(!server.ask::<bool>("EXISTS nazar:product:gone"));
}

#[tokio::test]
async fn a_replica_is_waited_out() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    sink.publish(&all_windows(1, 1)).await.unwrap();
    server.ask::<()>("REPLICAOF 127.0.0.1 1");
    let health = sink.health();
    publish_while(sink, all_windows(2, 2), async || {
        wait_for("READONLY", || health.errors(ErrorClass::ReadOnly) > 1).await;
        server.ask::<()>("REPLICAOF NO ONE");
    })
    .await;
    check_views(&server, 2);
    assert_eq!(health.republishes(), 0);
}

#[tokio::test]
async fn full_memory_is_waited_out_and_nothing_is_half_written() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    sink.publish(&closes(&[1])).await.unwrap();
    sink.publish(&all_windows(1, 1)).await.unwrap();
    server.ask::<()>("CONFIG SET maxmemory 1mb");
    let health = sink.health();
    let mut flush = all_windows(2, 2);
    flush.closed = closes(&[2]).closed;
    let (_, report) = publish_while(sink, flush, async || {
        wait_for("OOM", || health.errors(ErrorClass::Oom) > 1).await;
        check_views(&server, 1);
        assert_eq!(server.ask::<u64>("XLEN {nazar}:history:1m"), 1);
        server.ask::<()>("CONFIG SET maxmemory 0");
    })
    .await;
    check_views(&server, 2);
    assert_eq!((report.history_skipped, server.ask::<u64>("XLEN {nazar}:history:1m")), (0, 2));
}

#[tokio::test]
async fn too_few_replicas_are_waited_out() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    sink.publish(&all_windows(1, 1)).await.unwrap();
    server.ask::<()>("CONFIG SET min-replicas-to-write 1");
    let health = sink.health();
    publish_while(sink, all_windows(2, 2), async || {
        wait_for("NOREPLICAS", || health.errors(ErrorClass::Durability) > 0).await;
        server.ask::<()>("CONFIG SET min-replicas-to-write 0");
    })
    .await;
    check_views(&server, 2);
}

/// A stopped server takes requests into its socket buffers and carries them out on waking up,
/// after we have given up on them: their outcome is unknown, and must not be doubled.
#[tokio::test]
async fn a_stalled_server_applies_each_flush_once() {
    let server = Server::start();
    let mut settings = config(&server);
    settings.response_timeout = Duration::from_millis(150);
    settings.connect_timeout = Duration::from_millis(150);
    let mut sink = open(&settings).await;
    sink.publish(&closes(&[1])).await.unwrap();
    let health = sink.health();
    for round in 2..10 {
        let mut flush = all_windows(round, round as u64);
        flush.closed = closes(&[round]).closed;
        // The first stall begins before the flush, the others somewhere in its midst.
        if round == 2 {
            server.signal("-STOP");
        }
        let stall = async {
            for _ in 0..round * 3 {
                tokio::task::yield_now().await;
            }
            server.signal("-STOP");
            tokio::time::sleep(Duration::from_millis(600)).await;
            server.signal("-CONT");
        };
        let (report, ()) = tokio::join!(tokio::time::timeout(LONG, sink.publish(&flush)), stall);
        let report = report.unwrap().unwrap();
        check_values(&server, round as u64);
        assert_eq!(report.history_skipped, 0);
        assert_eq!(server.ask::<u64>("XLEN {nazar}:history:1m"), round as u64);
    }
    assert!(health.errors(ErrorClass::Timeout) > 0, "the server was stalled");
    assert_eq!(health.republishes(), 0);
    // What the server staged after we had turned away is left to its TTL.
    for key in server.ask::<Vec<String>>("KEYS {nazar}:tmp:*") {
        assert!(server.ask::<i64>(&format!("TTL {key}")) > 0, "{key}");
    }
}

/// A caller may drop a flush at any moment, such as at a shutdown deadline. The next one makes
/// up for whatever of it arrived, even where it says the same as the one before.
#[tokio::test]
async fn a_cancelled_flush_leaves_no_trace() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    sink.publish(&all_windows(1, 7)).await.unwrap();
    let mut cancelled = 0;
    for round in 0..150 {
        let mut flush = all_windows(2, 1000 + round);
        let mut extra = flush.latest[0].entities[0].clone();
        extra.name = name("extra");
        flush.latest[1].entities.push(extra);
        let patience = async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            outcome = sink.publish(&flush) => drop(outcome.unwrap()),
            () = patience => cancelled += 1,
        }
        sink.publish(&all_windows(1, 7)).await.unwrap();
        check_views(&server, 7);
        let keys: Vec<String> = server.ask("KEYS nazar:product:*");
        assert_eq!(keys, ["nazar:product:a"]);
        assert_eq!(server.ask::<Vec<String>>("SMEMBERS {nazar}:index:entities"), keys);
    }
    assert!(cancelled > 20, "only {cancelled} were cancelled, which proves little");
    assert_eq!(sink.health().republishes(), 0);
}

#[tokio::test]
async fn forgotten_scripts_are_loaded_again() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    sink.publish(&all_windows(1, 1)).await.unwrap();
    server.ask::<()>("SCRIPT FLUSH");
    sink.publish(&all_windows(2, 2)).await.unwrap();
    check_views(&server, 2);
    assert_eq!(sink.health().retries(), 0);
}

#[tokio::test]
async fn a_dropped_connection_is_made_again() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    sink.publish(&all_windows(1, 1)).await.unwrap();
    server.ask::<u64>("CLIENT KILL TYPE normal SKIPME yes");
    sink.publish(&all_windows(2, 2)).await.unwrap();
    check_views(&server, 2);
    assert!(sink.health().errors(ErrorClass::Io) > 0);
}

#[tokio::test]
async fn a_foreign_value_under_our_name_is_named() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    server.ask::<()>("SET nazar:product:a 1");
    let refused = sink.publish(&all_windows(1, 1)).await.err().unwrap();
    let RedisSinkError::Refused { class, key, .. } = &refused else { panic!("{refused}") };
    assert_eq!((*class, key.as_deref()), (ErrorClass::Type, Some("nazar:product:a")));
    server.ask::<()>("DEL nazar:product:a");
    server.ask::<()>("SET {nazar}:history:1m 1");
    let refused = sink.publish(&closes(&[1])).await.err().unwrap();
    assert_eq!(refused.class(), Some(ErrorClass::Type), "{refused}");
    assert!(refused.to_string().contains("{nazar}:history:1m"), "{refused}");
    server.ask::<()>("DEL {nazar}:history:1m");
    sink.publish(&closes(&[1])).await.unwrap();
    sink.publish(&all_windows(2, 2)).await.unwrap();
    check_views(&server, 2);
}

#[tokio::test]
async fn lost_permissions_end_the_flush_at_once() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    server.ask::<()>("ACL SETUSER default -rename");
    let refused = sink.publish(&all_windows(1, 1)).await.err().unwrap();
    assert_eq!(refused.class(), Some(ErrorClass::Auth), "{refused}");
    assert!(!sink.health().connected());
}

/// Entries deleted by hand: the stream still remembers its newest id.
#[tokio::test]
async fn history_ids_that_were_deleted_are_not_written_again() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    sink.publish(&closes(&[1, 2])).await.unwrap();
    let newest = format!("XDEL {{nazar}}:history:1m {}-0", T0 + 120_000);
    assert_eq!(server.ask::<u64>(&newest), 1);
    drop(sink);
    let mut sink = open(&config(&server)).await;
    let report = sink.publish(&closes(&[2, 3])).await.unwrap();
    assert_eq!(report.history_skipped, 1);
    assert_eq!(server.ask::<u64>("XLEN {nazar}:history:1m"), 2);
    assert_eq!(server.ask::<Vec<String>>("KEYS {nazar}:tmp:*"), Vec::<String>::new());
}
