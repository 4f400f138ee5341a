//! Closed windows of one prefix in the place of another's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nazar::config::RedisConfig;
use nazar::pipeline::period::Period;
use nazar::pipeline::view::{ClosedView, Flush};
use nazar::sinks::redis::error::RedisSinkError;
use nazar::sinks::redis::promote::{Source, WindowReport, promote};
use nazar::time::EventTime;

use crate::fixture::{self, T0, config, definitions, meta, open_as, window};
use crate::server::Server;

/// Each attempt has its own.
fn token() -> String {
    static ATTEMPTS: AtomicU64 = AtomicU64::new(0);
    format!("promoter-{}", ATTEMPTS.fetch_add(1, Ordering::Relaxed))
}

/// Clicks of one-minute windows that close at `T0 + 60 × minute`.
fn closes(windows: &[(i64, u64, bool)]) -> Flush {
    let close = |&(minute, clicks, complete): &(i64, u64, bool)| {
        let view = window(0, 60, minute * 60, &[("a", clicks)]);
        Arc::new(ClosedView {
            view,
            quiet: 0,
            complete,
            offsets: Arc::default(),
            events_after_close: 0,
        })
    };
    let closed = windows.iter().map(close).collect();
    Flush { closed, latest: vec![], meta: meta(2), keeps_latest: false }
}

async fn publish(config: &RedisConfig, flush: &Flush) {
    let mut sink = open_as(config, definitions(&[60, 300]), "hash-1", "writer").await.unwrap();
    sink.publish(flush).await.unwrap();
    sink.release().await;
}

fn at(minute: i64) -> i64 {
    T0 + minute * 60_000
}

/// The first window size's report.
async fn promoted(
    config: &RedisConfig,
    period: (i64, i64),
) -> Result<WindowReport, RedisSinkError> {
    let time = |minute| EventTime::from_millis(at(minute));
    let source =
        Source { prefix: "next", period: Period { from: time(period.0), to: time(period.1) } };
    let definitions = definitions(&[60, 300]);
    let reports = promote(config, &definitions, "hash-1", &token(), &source).await?;
    assert_eq!(reports[1], WindowReport { window: "5m".into(), ..WindowReport::default() });
    Ok(reports[0].clone())
}

/// Clicks and completeness by minute.
fn history(server: &Server) -> Vec<(i64, u64, bool)> {
    let rows: Vec<(String, BTreeMap<String, String>)> = server.ask("XRANGE {nazar}:history:1m - +");
    let row = |(id, fields): (String, BTreeMap<String, String>)| {
        let end: i64 = id.strip_suffix("-0").unwrap().parse().unwrap();
        ((end - T0) / 60_000, fields["clicks"].parse().unwrap(), fields["complete"] == "1")
    };
    rows.into_iter().map(row).collect()
}

/// The clicks of product `a` on the boards that are listed, and how many keys each has.
fn boards(server: &Server) -> Vec<(i64, Option<u64>, usize)> {
    let ends: Vec<i64> = server.ask("ZRANGE {nazar}:closed:ends:1m 0 -1");
    let board = |end: i64| {
        let keys: Vec<String> = server.ask(&format!("KEYS {{nazar}}:closed:*:1m:{end}"));
        let key = format!("{{nazar}}:closed:top:product:clicks:1m:{end}");
        ((end - T0) / 60_000, server.ask(&format!("ZSCORE {key} a")), keys.len())
    };
    ends.into_iter().map(board).collect()
}

/// Three boards, the users of a kind, those of a category, and the list that names these.
const KEYS: usize = 6;

#[tokio::test]
async fn the_better_account_of_each_window_stands() {
    let server = Server::start();
    let live = config(&server);
    let next = RedisConfig { prefix: "next".into(), closed_keep: 0, ..config(&server) };
    // The live one lacks minute 2 and has minutes 3 and 4 wrong.
    publish(&live, &closes(&[(1, 10, true), (3, 31, false), (4, 41, true), (5, 51, true)])).await;
    let computed = [(1, 10, true), (2, 20, true), (3, 30, true), (4, 40, true), (5, 50, false)];
    publish(&next, &closes(&[&computed[..], &[(6, 60, true)]].concat())).await;

    let report = promoted(&live, (1, 6)).await.unwrap();
    let expected = WindowReport {
        window: "1m".into(),
        added: 1,
        replaced: 2,
        worse: 1,
        not_closed: 1,
        boards: 1,
        boards_too_old: 2,
        ..WindowReport::default()
    };
    assert_eq!(report, expected);
    assert_eq!(
        history(&server),
        [(1, 10, true), (2, 20, true), (3, 30, true), (4, 40, true), (5, 51, true)]
    );
    assert_eq!(boards(&server), [(4, Some(40), KEYS), (5, Some(51), KEYS)]);
    assert_eq!(server.ask::<u64>("EXISTS {nazar}:lease"), 0, "given back");
    assert_eq!(server.ask::<Vec<String>>("KEYS {nazar}:tmp:*"), Vec::<String>::new());

    // Again, it changes nothing.
    let before = (history(&server), boards(&server));
    let again = promoted(&live, (1, 6)).await.unwrap();
    assert_eq!((again.added, again.replaced, again.equal), (0, 0, 3));
    assert_eq!((history(&server), boards(&server)), before);

    // The writer goes on after what it had closed itself, however much was lost before.
    publish(&live, &closes(&[(2, 99, true), (5, 99, true), (6, 61, true)])).await;
    assert_eq!(history(&server).last(), Some(&(6, 61, true)));
    assert_eq!(history(&server).len(), 6);
}

#[tokio::test]
async fn boards_beyond_the_last_fall_out_and_expired_ones_stay_away() {
    let server = Server::start();
    let live = config(&server);
    let next = RedisConfig { prefix: "next".into(), closed_keep: 0, ..config(&server) };
    publish(&live, &closes(&[(1, 10, true), (9, 90, true)])).await;
    publish(&next, &closes(&[(7, 70, true), (8, 80, true)])).await;
    // Another category had users at minute 8, as far as the live one knew.
    let stray = format!("{{nazar}}:closed:uniques:click:category:stray:1m:{}", at(8));
    server.ask::<()>(&format!("SET {stray} x"));
    server.ask::<()>(&format!("SADD {{nazar}}:closed:members:1m:{} {stray}", at(8)));

    let report = promoted(&live, (0, 9)).await.unwrap();
    assert_eq!((report.added, report.boards, report.boards_too_old), (2, 1, 1));
    assert_eq!(boards(&server), [(8, Some(80), KEYS), (9, Some(90), KEYS)]);
    let fallen: Vec<String> = server.ask(&format!("KEYS {{nazar}}:closed:*:{}", at(1)));
    assert_eq!(fallen, Vec::<String>::new());

    let all: Vec<String> = server.ask(&format!("KEYS {{next}}:closed:*:1m:{}", at(8)));
    for key in &all {
        server.ask::<()>(&format!("PEXPIRE {key} 30000"));
    }
    server.ask::<()>(&format!("ZREM {{nazar}}:closed:ends:1m {}", at(8)));
    let report = promoted(&live, (0, 9)).await.unwrap();
    assert_eq!((report.equal, report.boards, report.boards_expired), (2, 0, 1));
    assert_eq!(boards(&server), [(9, Some(90), KEYS)]);
}

#[tokio::test]
async fn a_stream_remembers_what_the_one_before_it_did() {
    let server = Server::start();
    let live = RedisConfig { history_keep: 3, ..config(&server) };
    let next = RedisConfig { prefix: "next".into(), ..config(&server) };
    publish(&live, &closes(&[(1, 10, true), (2, 20, true), (8, 80, true), (9, 90, true)])).await;
    publish(&next, &closes(&[(5, 50, true), (6, 60, true)])).await;
    // The newest entry was deleted by hand, so its window must not be written again.
    server.ask::<()>(&format!("XDEL {{nazar}}:history:1m {}-0", at(9)));

    let report = promoted(&live, (0, 9)).await.unwrap();
    assert_eq!((report.added, report.trimmed), (2, 2), "of five, three are kept");
    assert_eq!(history(&server), [(5, 50, true), (6, 60, true), (8, 80, true)]);
    let info: BTreeMap<String, redis::Value> = server.ask("XINFO STREAM {nazar}:history:1m");
    let last: String = redis::from_redis_value_ref(&info["last-generated-id"]).unwrap();
    assert_eq!(last, format!("{}-0", at(9)));
    assert_eq!(info["entries-added"], redis::Value::Int(6));
}

#[tokio::test]
async fn whenever_it_is_interrupted_each_window_is_whole_and_another_attempt_ends_it() {
    let server = Server::start();
    let live = RedisConfig { closed_keep: 0, ..config(&server) };
    let next = RedisConfig { prefix: "next".into(), ..live.clone() };
    let all = |clicks: u64| -> Vec<(i64, u64, bool)> {
        (1..=20).map(|minute| (minute, clicks + minute as u64, true)).collect()
    };
    publish(&live, &closes(&all(100))).await;
    publish(&next, &closes(&all(500))).await;
    let (old, new) = ((all(100), boards(&server)), all(500));

    let mut mixed = 0;
    for micros in (200..).step_by(400) {
        let limit = Duration::from_micros(micros);
        let ended = tokio::time::timeout(limit, promoted(&live, (0, 20))).await;
        let (history, boards) = (history(&server), boards(&server));
        // The history of a size changes in one step, after the boards of each window have.
        assert!(history == old.0 || history == new, "{history:?}");
        let is_new = |row: &&(i64, Option<u64>, usize)| row.1 == Some(500 + row.0 as u64);
        let changed = boards.iter().take_while(is_new).count();
        assert_eq!(boards[changed..], old.1[changed..]);
        assert!(boards.iter().all(|row| row.2 == KEYS));
        assert!(history == old.0 || changed == boards.len());
        mixed += u32::from((1..20).contains(&changed));
        match ended {
            Ok(report) => {
                assert_eq!(report.unwrap().boards, 20);
                assert_eq!(history, new);
                break;
            }
            // As if the lease had run out.
            Err(_) => server.ask::<()>("DEL {nazar}:lease"),
        }
    }
    eprintln!("interrupted {mixed} times between two windows");
}

#[tokio::test]
async fn only_the_writer_promotes() {
    let server = Server::start();
    let live = config(&server);
    let next = RedisConfig { prefix: "next".into(), ..config(&server) };
    publish(&live, &closes(&[(1, 10, true), (9, 90, true)])).await;
    publish(&next, &closes(&[(2, 20, true)])).await;
    let before = (history(&server), boards(&server));

    let writer = fixture::open(&live).await;
    let refused = promoted(&live, (0, 9)).await;
    assert!(matches!(refused, Err(RedisSinkError::Fenced { .. })), "{refused:?}");
    drop(writer);
    server.ask::<()>("DEL {nazar}:lease");
    server.ask::<()>("HSET {nazar}:meta config_hash other");
    let refused = promoted(&live, (0, 9)).await;
    assert!(matches!(refused, Err(RedisSinkError::ConfigChanged { .. })), "{refused:?}");
    assert_eq!((history(&server), boards(&server)), before);
}
