//! One writer at a time: standing by, taking over, and what becomes of a writer that was paused.

use std::sync::Arc;
use std::time::Duration;

use nazar::sinks::redis::RedisSink;
use nazar::sinks::redis::error::RedisSinkError;
use nazar::sinks::redis::health::RedisHealth;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::fixture::*;
use crate::server::Server;

/// A second writer, claiming in the background.
fn second(
    settings: &nazar::config::RedisConfig,
) -> (JoinHandle<Result<RedisSink, RedisSinkError>>, Arc<RedisHealth>) {
    let sink = unclaimed(settings, "token-2");
    let health = sink.health();
    (tokio::spawn(sink.claim()), health)
}

async fn stands_by(health: &RedisHealth) {
    while !health.is_standby() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_second_writer_stands_by_and_follows_when_the_first_has_ended() {
    let server = Server::start();
    let settings = config(&server);
    let mut first = open(&settings).await;
    first.publish(&minute(1, &[("a", 1)])).await.unwrap();
    let (claim, health) = second(&settings);
    stands_by(&health).await;
    first.publish(&minute(2, &[("a", 2)])).await.unwrap();
    assert_eq!(server.ask::<String>("HGET {nazar}:meta leader"), "token-1");
    assert!(!claim.is_finished());

    first.release().await;
    let mut follower = claim.await.unwrap().unwrap();
    assert!(!health.is_standby());
    follower.publish(&minute(3, &[("a", 5)])).await.unwrap();
    let refused = first.publish(&minute(4, &[("a", 9)])).await.err().unwrap();
    assert!(matches!(&refused, RedisSinkError::Fenced { holder, .. } if holder == "token-2"));
    assert_eq!(server.ask::<u64>("ZSCORE {nazar}:top:product:clicks:1m a"), 5);
}

/// A runtime that nobody drives stands still with all its tasks, like a stopped process.
fn process() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_writer_that_was_paused_for_longer_than_its_lease_is_refused_by_redis() {
    let server = Server::start();
    let settings = nazar::config::RedisConfig { lease: Duration::from_secs(1), ..config(&server) };
    let (paused, awake) = (process(), process());
    let mut first = paused.block_on(async {
        let mut sink = open(&settings).await;
        sink.publish(&minute(1, &[("a", 1)])).await.unwrap();
        sink
    });
    let follower = awake.block_on(async {
        let mut sink = unclaimed(&settings, "token-2").claim().await.unwrap();
        sink.publish(&minute(2, &[("a", 5)])).await.unwrap();
        sink
    });
    let seq: u64 = server.ask("HGET {nazar}:meta seq");
    let refused = paused.block_on(first.publish(&minute(3, &[("a", 9)]))).err().unwrap();
    assert!(matches!(&refused, RedisSinkError::Fenced { holder, .. } if holder == "token-2"));
    assert_eq!(server.ask::<u64>("ZSCORE {nazar}:top:product:clicks:1m a"), 5);
    assert_eq!(server.ask::<u64>("HGET {nazar}:meta seq"), seq);
    assert_eq!(server.ask::<String>("GET {nazar}:lease"), "token-2", "it renewed nothing");
    drop(follower);
}

#[tokio::test]
async fn a_writer_at_work_keeps_its_lease() {
    let server = Server::start();
    let settings = nazar::config::RedisConfig { lease: Duration::from_secs(1), ..config(&server) };
    let first = open(&settings).await;
    let (claim, health) = second(&settings);
    stands_by(&health).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!claim.is_finished(), "renewed without a flush");
    drop(first);
    claim.await.unwrap().unwrap();
}

/// The writer has all views in memory, its successor would have to read the log again.
#[tokio::test]
async fn after_data_loss_the_writer_comes_before_its_standby() {
    let server = Server::start();
    let settings = config(&server);
    let mut first = open(&settings).await;
    first.publish(&minute(1, &[("a", 1)])).await.unwrap();
    let (claim, health) = second(&settings);
    stands_by(&health).await;
    server.ask::<String>("FLUSHALL");
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(server.ask::<u64>("EXISTS {nazar}:lease {nazar}:meta"), 0, "nobody took it");
    first.publish(&minute(2, &[("a", 2)])).await.unwrap();
    assert_eq!(first.health().republishes(), 1);
    assert_eq!(server.ask::<String>("GET {nazar}:lease"), "token-1");
    assert!(!claim.is_finished());
    claim.abort();
}
