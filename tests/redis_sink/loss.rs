//! Redis loses closed windows, wholly or in part: those in memory come back as they were, the
//! others are counted. Each case is compared, key by key, with a twin that nothing happened to.

use std::collections::BTreeMap;
use std::time::Duration;

use nazar::config::RedisConfig;
use nazar::pipeline::view::Flush;
use nazar::sinks::redis::RedisSink;
use nazar::time::EventTime;

use crate::fixture::*;
use crate::server::Server;

/// The minute that ends there, after every fifth the five minutes too, and latest views.
fn step(minute: i64) -> Flush {
    let clicks = [("a", minute as u64), ("b", 1)];
    let mut closed = vec![closed(window(0, 60, minute * 60, &clicks))];
    let through = |minute: i64| Some(EventTime::from_millis(T0 + minute * 60_000));
    let mut meta = meta(2);
    meta.closed_through = vec![through(minute), through(minute - minute % 5)];
    if minute % 5 == 0 {
        closed.push(self::closed(window(1, 300, minute * 60, &clicks)));
    }
    let now = minute * 60 + 15;
    let latest =
        vec![latest(window(0, 60, now, &clicks)), latest(window(1, 300, now, &[("a", 9)]))];
    Flush { closed, latest, meta, keeps_latest: false }
}

async fn publish(sink: &mut RedisSink, minutes: impl IntoIterator<Item = i64>) {
    for minute in minutes {
        sink.publish(&step(minute)).await.unwrap();
    }
}

/// A Redis and a sink for it, which keeps the boards of two windows of each size.
async fn pair() -> (Server, RedisSink) {
    let server = Server::start();
    let sink = open(&config(&server)).await;
    (server, sink)
}

/// What an undisturbed run leaves.
async fn twin(through: i64) -> Server {
    let (server, mut sink) = pair().await;
    publish(&mut sink, 1..=through).await;
    server
}

type Content = BTreeMap<String, Vec<Vec<u8>>>;

/// All keys but those that name this very writer, with all that they hold.
fn content(server: &Server) -> Content {
    let keys: Vec<String> = server.ask("KEYS *nazar*");
    let private = ["meta", "lease", "schema"].map(|name| format!("{{nazar}}:{name}"));
    // Hashes of entities carry the number of the flush.
    let is_public = |key: &String| {
        !private.contains(key) && !key.starts_with("nazar:") && !key.contains(":history:")
    };
    keys.into_iter().filter(is_public).map(|key| (key.clone(), value(server, &key))).collect()
}

fn value(server: &Server, key: &str) -> Vec<Vec<u8>> {
    let kind: String = server.ask(&format!("TYPE {key}"));
    let mut value: Vec<Vec<u8>> = match kind.as_str() {
        "zset" => server.ask(&format!("ZRANGE {key} 0 -1 WITHSCORES")),
        "hash" => server.ask(&format!("HGETALL {key}")),
        "set" => server.ask(&format!("SMEMBERS {key}")),
        "string" => vec![server.ask(&format!("GET {key}"))],
        other => panic!("{key} is a {other}"),
    };
    if kind == "set" {
        value.sort();
    }
    value
}

type Entries = Vec<(String, Vec<String>)>;

fn history(server: &Server, label: &str) -> Entries {
    server.ask(&format!("XRANGE {{nazar}}:history:{label} - +"))
}

/// The entries of the twin's history at these minutes.
fn entries_at(twin: &Server, label: &str, minutes: &[i64]) -> Entries {
    let ids: Vec<String> =
        minutes.iter().map(|minute| format!("{}-0", T0 + minute * 60_000)).collect();
    let mut entries = history(twin, label);
    entries.retain(|(id, _)| ids.contains(id));
    assert_eq!(entries.len(), minutes.len());
    entries
}

fn check_through(server: &Server, twin: &Server) {
    for label in ["1m", "5m"] {
        let field = format!("HGET {{nazar}}:meta closed_through:{label}");
        assert_eq!(server.ask::<String>(&field), twin.ask::<String>(&field));
    }
}

fn lower_seq(server: &Server) {
    server.ask::<i64>("HINCRBY {nazar}:meta seq -1");
}

#[tokio::test]
async fn after_flushall_kept_closed_windows_come_back_and_older_history_is_counted() {
    let (server, mut sink) = pair().await;
    publish(&mut sink, 1..=7).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let board = format!("PTTL {{nazar}}:closed:top:product:clicks:1m:{}", T0 + 7 * 60_000);
    let ttl: i64 = server.ask(&board);
    server.ask::<()>("FLUSHALL");
    publish(&mut sink, [8]).await;
    let restored: i64 = server.ask(&board);
    assert!(0 < restored && restored <= ttl, "{restored} ms are more than the {ttl} ms before");

    let twin = twin(8).await;
    assert_eq!(content(&server), content(&twin));
    assert_eq!(history(&server, "1m"), entries_at(&twin, "1m", &[6, 7, 8]));
    assert_eq!(history(&server, "5m"), entries_at(&twin, "5m", &[5]));
    check_through(&server, &twin);
    assert_eq!((sink.health().republishes(), sink.health().history_lost()), (1, 5));
    for key in server.ask::<Vec<String>>("KEYS {nazar}:closed:[mtu]*") {
        assert!(server.ask::<i64>(&format!("PTTL {key}")) > 0, "{key} has no TTL");
    }
}

/// A snapshot is restored, or a replica that had stalled is promoted.
#[tokio::test]
async fn after_a_roll_back_the_newest_closed_windows_follow_those_that_stand() {
    let (mut server, mut sink) = pair().await;
    publish(&mut sink, 1..=4).await;
    server.ask::<()>("SAVE");
    publish(&mut sink, 5..=7).await;
    server.kill();
    server.run();
    assert_eq!(history(&server, "1m").len(), 4, "the old state is back");
    publish(&mut sink, [8]).await;

    let twin = twin(8).await;
    assert_eq!(content(&server), content(&twin));
    assert_eq!(history(&server, "1m"), entries_at(&twin, "1m", &[1, 2, 3, 4, 6, 7, 8]));
    assert_eq!(history(&server, "5m"), entries_at(&twin, "5m", &[5]));
    check_through(&server, &twin);
    assert_eq!(sink.health().history_lost(), 1, "the fifth minute is no longer in memory");
}

#[tokio::test]
async fn a_short_roll_back_loses_nothing() {
    let (mut server, mut sink) = pair().await;
    publish(&mut sink, 1..=5).await;
    server.ask::<()>("SAVE");
    publish(&mut sink, 6..=7).await;
    server.kill();
    server.run();
    publish(&mut sink, [7, 8]).await;
    let twin = twin(8).await;
    assert_eq!(content(&server), content(&twin));
    for label in ["1m", "5m"] {
        assert_eq!(history(&server, label), history(&twin, label));
    }
    assert_eq!(sink.health().history_lost(), 0);
}

#[tokio::test]
async fn of_a_window_that_is_lost_in_part_what_stands_is_left_alone() {
    let (server, mut sink) = pair().await;
    publish(&mut sink, 1..=7).await;
    let (sixth, seventh) = (T0 + 6 * 60_000, T0 + 7 * 60_000);
    let changed = format!("{{nazar}}:closed:top:product:revenue_minor:1m:{seventh}");
    server.ask::<i64>(&format!("ZINCRBY {changed} 5 a"));
    let expected = content(&server);
    let member = format!("{{nazar}}:closed:uniques:click:category:tv%20%26%20hifi:1m:{seventh}");
    let gone = [
        format!("{{nazar}}:closed:top:product:clicks:1m:{sixth}"),
        format!("{{nazar}}:closed:members:1m:{sixth}"),
        format!("{{nazar}}:closed:uniques:click:1m:{seventh}"),
        member,
    ];
    for key in &gone {
        assert_eq!(server.ask::<u64>(&format!("DEL {key}")), 1, "{key}");
    }
    server.ask::<u64>(&format!("ZREM {{nazar}}:closed:ends:5m {}", T0 + 5 * 60_000));
    lower_seq(&server);
    let entries = history(&server, "1m");
    publish(&mut sink, [7]).await;
    assert_eq!(content(&server), expected);
    assert_eq!(history(&server, "1m"), entries);
    assert_eq!((sink.health().republishes(), sink.health().history_lost()), (1, 0));
    let through: i64 = server.ask("HGET {nazar}:meta closed_through:1m");
    assert_eq!(through, seventh);
}

/// What its predecessor closed is not in its memory, unless it had to close it again.
#[tokio::test]
async fn a_new_writer_brings_back_what_it_has_closed_and_counts_the_rest() {
    let (server, mut first) = pair().await;
    publish(&mut first, 1..=5).await;
    first.release().await;
    let mut second =
        open_as(&config(&server), definitions(&[60, 300]), "hash-1", "token-2").await.unwrap();
    let mut report = second.publish(&step(5)).await.unwrap();
    assert_eq!(report.history_skipped, 2);
    server.ask::<()>("FLUSHALL");
    report = second.publish(&step(6)).await.unwrap();
    assert_eq!(report.history_skipped, 0);
    let twin = twin(6).await;
    assert_eq!(content(&server), content(&twin));
    assert_eq!(history(&server, "1m"), entries_at(&twin, "1m", &[5, 6]));
    assert_eq!(second.health().history_lost(), 4);
}

/// What was read again in part does not come back in the place of what stood.
#[tokio::test]
async fn an_incomplete_window_does_not_replace_one_that_stood() {
    let (server, mut first) = pair().await;
    publish(&mut first, 1..=2).await;
    first.release().await;
    let mut second =
        open_as(&config(&server), definitions(&[60, 300]), "hash-1", "token-2").await.unwrap();
    let mut again = step(2);
    std::sync::Arc::make_mut(&mut again.closed[0]).complete = false;
    second.publish(&again).await.unwrap();
    server.ask::<()>("FLUSHALL");
    publish(&mut second, [3]).await;
    assert_eq!(history(&server, "1m").len(), 1);
    assert_eq!(second.health().history_lost(), 2);
}

/// Lost again while a loss is being made good, in flushes that close windows and are given up
/// anywhere: every window ever published stands or was counted, once.
#[tokio::test]
async fn losses_that_interrupt_each_other_are_made_good_and_counted_once() {
    let server = Server::start();
    let settings = RedisConfig { history_keep: 0, ..config(&server) };
    let mut sink = open(&settings).await;
    let mut interrupted = 0;
    for round in 1..=120 {
        publish(&mut sink, [3 * round - 2]).await;
        if round % 2 == 0 {
            publish(&mut sink, [3 * round - 1]).await;
        }
        let flush = step(3 * round);
        // Given up at once: the next attempt looks at Redis before it does anything.
        tokio::select! {
            biased;
            outcome = sink.publish(&flush) => drop(outcome.unwrap()),
            () = std::future::ready(()) => {}
        }
        server.ask::<()>("FLUSHALL");
        let health = sink.health();
        let losses = health.republishes();
        let patience = async {
            while health.republishes() == losses {
                tokio::task::yield_now().await;
            }
            for _ in 0..20 * round {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            outcome = sink.publish(&flush) => drop(outcome.unwrap()),
            () = patience => interrupted += 1,
        }
        if round % 3 == 0 {
            server.ask::<()>("FLUSHALL");
        }
        sink.publish(&flush).await.unwrap();
        let minutes = 2 * round + round / 2;
        let fives = (1..=3 * round)
            .filter(|minute| minute % 5 == 0)
            .filter(|minute| minute % 3 != 2 || (minute + 1) / 3 % 2 == 0)
            .count() as u64;
        let standing = history(&server, "1m").len() + history(&server, "5m").len();
        assert_eq!(
            standing as u64 + sink.health().history_lost(),
            minutes as u64 + fives,
            "round {round}"
        );
        let ends: Vec<i64> = server.ask("ZRANGE {nazar}:closed:ends:1m 0 -1");
        assert_eq!(ends.len(), 2);
        assert_eq!(ends[1], T0 + 3 * round * 60_000);
    }
    assert!(interrupted > 20, "only {interrupted} were interrupted, which proves little");
}
