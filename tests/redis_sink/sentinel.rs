//! The sink behind Sentinels: it finds the master, and finds the next one after a failover.

use std::time::Duration;

use nazar::config::{RedisConfig, Secret};
use nazar::pipeline::view::Flush;
use nazar::sinks::redis::RedisSink;
use nazar::sinks::redis::admin::survey;
use nazar::sinks::redis::error::ErrorClass;

use crate::fixture::*;
use crate::picture::{assert_same, public};
use crate::sentinels::Watched;
use crate::server::Server;

const LONG: Duration = Duration::from_secs(60);

fn settings(url: String) -> RedisConfig {
    // A master that is paused is left after this long.
    let response_timeout = Duration::from_secs(1);
    RedisConfig { url: Secret::new(url), response_timeout, ..config(&Server::stopped(&[])) }
}

fn flush(step: u64) -> Flush {
    let seconds = i64::try_from(step).unwrap();
    let rows = [("a", step), ("b", 2 * step)];
    Flush {
        closed: vec![closed(window(0, 60, seconds * 60, &rows))],
        latest: vec![latest(window(0, 60, seconds, &rows))],
        meta: meta(2),
        keeps_latest: false,
    }
}

async fn publish(sink: &mut RedisSink, step: u64) {
    let published = tokio::time::timeout(LONG, sink.publish(&flush(step))).await;
    published.expect("the flush completes once there is a master").unwrap();
}

/// What a single Redis holds after the same flushes.
async fn assert_as_undisturbed(found: &Server, steps: u64) {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    for step in 1..=steps {
        sink.publish(&flush(step)).await.unwrap();
    }
    assert_same(&public(found), &public(&server));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_promoted_replica_is_found() {
    let mut watched = Watched::start();
    let mut sink = open(&settings(watched.url())).await;
    publish(&mut sink, 1).await;
    assert!(watched.servers[0].ask::<bool>("EXISTS {nazar}:meta"), "it went to the master");
    // One Sentinel less is no matter.
    watched.kill_sentinel();
    watched.servers[0].kill();
    // Begun while there is no master.
    publish(&mut sink, 2).await;
    assert_eq!(watched.master(), 1);
    publish(&mut sink, 3).await;
    assert_as_undisturbed(&watched.servers[1], 3).await;
    assert!(sink.health().errors(ErrorClass::Io) > 0);
    let found = survey(&settings(watched.url())).await.unwrap();
    assert_eq!((found.servers.len(), found.servers[0].role.as_str()), (1, "master"));
}

/// Only READONLY, or the end of the connection, tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_was_replaced_while_it_stood_still_is_left() {
    let watched = Watched::start();
    let mut sink = open(&settings(watched.url())).await;
    publish(&mut sink, 1).await;
    watched.servers[0].signal("-STOP");
    let promoted = watched.promoted(0);
    watched.servers[0].signal("-CONT");
    // It goes on as if nothing had been, and takes writes until a Sentinel gets to it; these are
    // lost then, and made good.
    for step in 2..=3 {
        publish(&mut sink, step).await;
    }
    watched.until("it follows its successor", |watched| watched.role(0) == "slave");
    publish(&mut sink, 4).await;
    assert_as_undisturbed(&watched.servers[promoted], 4).await;
}

/// The replica stood still while the master went on, and then took over from it.
#[tokio::test(flavor = "multi_thread")]
async fn writes_that_a_failover_has_lost_are_written_again() {
    let mut watched = Watched::start();
    let mut sink = open(&settings(watched.url())).await;
    publish(&mut sink, 1).await;
    // Until it has all of that: what follows is what it will lack.
    let behind = |server: &Server| -> u64 { server.ask("HGET {nazar}:meta seq") };
    let seq = behind(&watched.servers[0]);
    watched.until("the replica has the first flush", |watched| behind(&watched.servers[1]) == seq);
    // A replica that is paused for longer than `down-after` is no heir until it has been seen again.
    watched.servers[1].signal("-STOP");
    publish(&mut sink, 2).await;
    publish(&mut sink, 3).await;
    watched.servers[0].kill();
    watched.servers[1].signal("-CONT");
    watched.promoted(0);
    let at = behind(&watched.servers[1]);
    publish(&mut sink, 4).await;
    assert_as_undisturbed(&watched.servers[1], 4).await;
    if at < seq + 2 {
        assert!(sink.health().republishes() > 0, "it fell back to {at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_is_said_and_waited_for() {
    let watched = Watched::start();
    let url = watched.url().replace("/shop", "/store");
    let refused = survey(&settings(url.clone())).await.unwrap_err().to_string();
    assert!(refused.contains("Sentinels know no master `store`"), "{refused}");
    let mut sink = unclaimed(&settings(url), "token-1");
    let health = sink.health();
    let publishing = tokio::spawn(async move { sink.publish(&flush(1)).await.map(drop) });
    while health.errors(ErrorClass::Unavailable) == 0 {
        assert!(!publishing.is_finished());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    publishing.abort();
}
