//! What a flush leaves behind, key by key.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nazar::pipeline::view::Flush;
use redis::Connection;

use crate::fixture::*;
use crate::server::{Server, ask};

/// Every key with its type, sorted; long numbers of one run replaced.
fn listing(connection: &mut Connection) -> String {
    let mut keys: Vec<String> = ask(connection, "KEYS *");
    keys.sort_unstable();
    let lines = keys.iter().map(|key| {
        let kind: String = redis::cmd("TYPE").arg(key).query(connection).unwrap();
        format!("{kind:6} {key}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn both_windows() -> Flush {
    let clicks = [("p:1", 7), ("p2", 5), ("p3", 5)];
    Flush {
        closed: vec![closed(window(0, 60, 0, &clicks)), closed(window(1, 300, 0, &clicks))],
        latest: vec![latest(window(0, 60, 1, &clicks)), latest(window(1, 300, 5, &clicks))],
        meta: meta(2),
        keeps_latest: false,
    }
}

#[tokio::test]
async fn a_flush_key_by_key() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    let mut connection = server.connect();
    let report = sink.publish(&both_windows()).await.unwrap();
    insta::assert_snapshot!(listing(&mut connection), @r"
    hash   nazar:product:p%3A1
    hash   nazar:product:p2
    hash   nazar:product:p3
    zset   {nazar}:closed:ends:1m
    zset   {nazar}:closed:ends:5m
    set    {nazar}:closed:members:1m:1700000100000
    set    {nazar}:closed:members:5m:1700000100000
    zset   {nazar}:closed:top:category:clicks:1m:1700000100000
    zset   {nazar}:closed:top:category:clicks:5m:1700000100000
    zset   {nazar}:closed:top:product:clicks:1m:1700000100000
    zset   {nazar}:closed:top:product:clicks:5m:1700000100000
    zset   {nazar}:closed:top:product:revenue_minor:1m:1700000100000
    zset   {nazar}:closed:top:product:revenue_minor:5m:1700000100000
    string {nazar}:closed:uniques:click:1m:1700000100000
    string {nazar}:closed:uniques:click:5m:1700000100000
    string {nazar}:closed:uniques:click:category:tv%20%26%20hifi:1m:1700000100000
    string {nazar}:closed:uniques:click:category:tv%20%26%20hifi:5m:1700000100000
    stream {nazar}:history:1m
    stream {nazar}:history:5m
    set    {nazar}:index:entities
    set    {nazar}:index:uniques:1m
    set    {nazar}:index:uniques:5m
    string {nazar}:lease
    hash   {nazar}:meta
    hash   {nazar}:schema
    zset   {nazar}:top:category:clicks:1m
    zset   {nazar}:top:category:clicks:5m
    zset   {nazar}:top:product:clicks:1m
    zset   {nazar}:top:product:clicks:5m
    zset   {nazar}:top:product:revenue_minor:1m
    zset   {nazar}:top:product:revenue_minor:5m
    hash   {nazar}:totals:1m
    hash   {nazar}:totals:5m
    string {nazar}:uniques:click:1m
    string {nazar}:uniques:click:5m
    string {nazar}:uniques:click:category:tv%20%26%20hifi:1m
    string {nazar}:uniques:click:category:tv%20%26%20hifi:5m
    ");

    let board: Vec<(String, u64)> =
        ask(&mut connection, "ZRANGE {nazar}:top:product:clicks:1m 0 -1 REV WITHSCORES");
    let expected = [("p:1", 7), ("p3", 5), ("p2", 5)].map(|(id, score)| (id.to_owned(), score));
    assert_eq!(board, expected, "ties stand in descending order of ids");
    let closed: Vec<(String, u64)> = ask(
        &mut connection,
        &format!("ZRANGE {{nazar}}:closed:top:product:clicks:5m:{T0} 0 -1 REV WITHSCORES"),
    );
    assert_eq!(closed, expected);
    assert_eq!(ask::<u64>(&mut connection, "PFCOUNT {nazar}:uniques:click:1m"), 17);
    let category = "PFCOUNT {nazar}:uniques:click:category:tv%20%26%20hifi:1m";
    assert_eq!(ask::<u64>(&mut connection, category), 17);
    let ends: Vec<i64> = ask(&mut connection, "ZRANGE {nazar}:closed:ends:1m 0 -1");
    assert_eq!(ends, [T0]);

    let mut meta: BTreeMap<String, String> = ask(&mut connection, "HGETALL {nazar}:meta");
    for name in ["flushed_at", "flushed_at:1m", "flushed_at:5m"] {
        assert!(meta.remove(name).unwrap().parse::<i64>().unwrap() > 1_700_000_000_000);
    }
    insta::assert_snapshot!(text(&meta), @r"
    closed_offsets click/0=22,click/1=11
    closed_through:1m 1700000100000
    closed_through:5m 1700000100000
    complete 1
    config_hash hash-1
    events_after_close 0
    group_watermark 1700000089999
    held_back_by 
    leader token-1
    missing 
    offsets:1m click/0=34,click/1=17
    offsets:5m click/0=34,click/1=17
    over_cap 0
    seq 4
    seq:1m 3
    seq:5m 4
    stream_time 1700000099999
    stream_time:1m 1700000100999
    stream_time:5m 1700000104999
    window_end:1m 1700000101000
    window_end:5m 1700000105000
    window_start:1m 1700000041000
    window_start:5m 1699999805000
    ");
    let totals: BTreeMap<String, String> = ask(&mut connection, "HGETALL {nazar}:totals:1m");
    insta::assert_snapshot!(text(&totals), @r"
    clicks 17
    conversion 588
    events 18
    orders 1
    orders.CANCELLED 0
    orders.DELIVERED 0
    orders.PENDING 0
    orders.PROCESSING 0
    orders.RETURNED 0
    orders.SHIPPED 0
    revenue_minor 1700
    uniques 17
    uniques.click 17
    uniques.purchase 0
    uniques.wishlist 0
    units 2
    window_end 1700000101000
    window_start 1700000041000
    wishlist_removes 0
    wishlists 0
    ");
    let product: BTreeMap<String, String> = ask(&mut connection, "HGETALL nazar:product:p%3A1");
    insta::assert_snapshot!(text(&product), @r"
    as_of 1700000104999
    clicks.1m 7
    clicks.5m 7
    orders.1m 0
    orders.5m 0
    revenue_minor.1m 700
    revenue_minor.5m 700
    seq 4
    units.1m 0
    units.5m 0
    wishlists.1m 0
    wishlists.5m 0
    ");

    type Entries = Vec<(String, BTreeMap<String, String>)>;
    let history: Entries = ask(&mut connection, "XRANGE {nazar}:history:1m - +");
    let [(id, entry)] = &history[..] else { panic!("{history:?}") };
    assert_eq!(id, &format!("{T0}-0"));
    let expected = [("clicks", "17"), ("uniques.click", "17"), ("proven", "1"), ("complete", "1")];
    for (name, value) in expected {
        assert_eq!(entry[name], value, "{name}");
    }
    // 14 latest and closed boards and sketches … of each window, counted once by the report.
    assert_eq!((report.keys_deleted, report.keys_unchanged, report.history_skipped), (4, 0, 0));
    assert_eq!(report.keys_written, 2 + 2 * 5 + 2 * 6 + 2 * 3, "{report:?}");
}

fn text(fields: &BTreeMap<String, String>) -> String {
    let lines = fields.iter().map(|(name, value)| format!("{name} {value}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// How often each command was called so far.
fn calls(connection: &mut Connection, command: &str) -> u64 {
    let info: String = ask(connection, "INFO commandstats");
    let start = format!("cmdstat_{command}:calls=");
    let line = info.lines().find_map(|line| line.strip_prefix(&start));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn unchanged_views_are_not_written_again() {
    let server = Server::start();
    // Renewing it is a SET, too, after a third of its time.
    let lease = Duration::from_secs(300);
    let settings = nazar::config::RedisConfig { lease, ..config(&server) };
    let mut sink = open(&settings).await;
    let mut connection = server.connect();
    sink.publish(&minute(1, &[("a", 1), ("b", 2)])).await.unwrap();
    let commands = ["zadd", "rename", "set", "unlink", "sadd", "pexpire"];
    let before = commands.map(|command| calls(&mut connection, command));
    let report = sink.publish(&minute(1, &[("a", 1), ("b", 2)])).await.unwrap();
    let after = commands.map(|command| calls(&mut connection, command));
    assert_eq!(before, after);
    assert_eq!((report.keys_written, report.keys_deleted, report.bytes), (0, 0, 0));
    assert_eq!(ask::<u64>(&mut connection, "HGET {nazar}:meta seq:1m"), 2, "meta moves on");

    // One more click: the boards, totals, sketches and the product's hash, nothing else.
    let report = sink.publish(&minute(1, &[("a", 1), ("b", 3)])).await.unwrap();
    assert_eq!((report.keys_written, report.keys_unchanged), (7, 3), "{report:?}");
}

#[tokio::test]
async fn what_is_empty_is_deleted() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    let mut connection = server.connect();
    sink.publish(&both_windows()).await.unwrap();
    let none = Flush {
        closed: vec![],
        latest: vec![latest(window(0, 60, 61, &[])), latest(window(1, 300, 65, &[]))],
        meta: meta(2),
        keeps_latest: false,
    };
    sink.publish(&none).await.unwrap();
    let keys: Vec<String> = ask(&mut connection, "KEYS *");
    let gone = |key: &&String| {
        !key.contains(":closed:")
            && (key.contains(":top:") || key.contains(":uniques:") || key.contains("product"))
    };
    assert_eq!(keys.iter().filter(gone).collect::<Vec<_>>(), Vec::<&String>::new());
    let conversion: Option<u64> = ask(&mut connection, "HGET {nazar}:totals:1m conversion");
    assert_eq!(conversion, None, "no clicks, no conversion, also none from before");
}

#[tokio::test]
async fn an_entity_that_left_all_boards_loses_its_hash() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    let mut connection = server.connect();
    sink.publish(&both_windows()).await.unwrap();
    sink.publish(&minute(2, &[("p2", 9)])).await.unwrap();
    let left: HashMap<String, u64> = ask(&mut connection, "HGETALL nazar:product:p3");
    assert!(left.contains_key("clicks.5m") && !left.contains_key("clicks.1m"), "{left:?}");
    let five = latest(window(1, 300, 6, &[("p2", 9)]));
    sink.publish(&Flush { latest: vec![five], ..minute(2, &[]) }).await.unwrap();
    assert!(!ask::<bool>(&mut connection, "EXISTS nazar:product:p3"));
    assert!(ask::<bool>(&mut connection, "EXISTS nazar:product:p2"));
    let index: Vec<String> = ask(&mut connection, "SMEMBERS {nazar}:index:entities");
    assert_eq!(index, ["nazar:product:p2"]);
}

/// Boards and meta that a reader takes in one MULTI belong to one swap.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_never_see_half_a_flush() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    let mut connection = server.connect();
    let seen = Arc::new(AtomicU64::new(0));
    sink.publish(&minute(1, &[("a", 1)])).await.unwrap();
    let reader = std::thread::spawn({
        let seen = seen.clone();
        move || {
            let mut last = 0;
            while seen.load(Ordering::Relaxed) < 50 {
                let mut cut = redis::pipe();
                cut.atomic();
                cut.cmd("ZSCORE").arg(&["{nazar}:top:product:clicks:1m", "a"]);
                cut.cmd("ZSCORE").arg(&["{nazar}:top:product:revenue_minor:1m", "a"]);
                cut.cmd("PFCOUNT").arg("{nazar}:uniques:click:1m");
                cut.cmd("HGET").arg(&["{nazar}:totals:1m", "clicks"]);
                cut.cmd("HMGET").arg(&["{nazar}:meta", "offsets:1m", "window_end:1m", "seq:1m"]);
                let (clicks, revenue, users, total, meta): (u64, u64, u64, u64, Vec<String>) =
                    cut.query(&mut connection).unwrap();
                assert_eq!((revenue, users, total), (clicks * 100, clicks, clicks));
                let expected = [
                    format!("click/0={},click/1={clicks}", 2 * clicks),
                    end(clicks),
                    clicks.to_string(),
                ];
                assert_eq!(meta, expected);
                seen.fetch_add(u64::from(clicks > last), Ordering::Relaxed);
                last = clicks;
            }
        }
    });
    // As many flushes as it takes for the reader to see fifty of them, however busy the machine.
    for flush in 2.. {
        sink.publish(&minute(flush, &[("a", flush as u64)])).await.unwrap();
        if reader.is_finished() {
            break;
        }
        assert!(flush < 20_000, "the reader saw only {} flushes", seen.load(Ordering::Relaxed));
    }
    reader.join().unwrap();
}

fn end(seconds: u64) -> String {
    (T0 + seconds as i64 * 1000).to_string()
}

#[tokio::test]
async fn a_notice_follows_each_swap() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    let mut connection = server.connect();
    let mut subscriber = connection.as_pubsub();
    subscriber.subscribe("{nazar}:flushes").unwrap();
    sink.publish(&both_windows()).await.unwrap();
    let mut notice = || subscriber.get_message().unwrap().get_payload::<String>().unwrap();
    assert_eq!(notice(), format!(r#"{{"seq":3,"window":"1m","window_end":{}}}"#, T0 + 1000));
    assert_eq!(notice(), format!(r#"{{"seq":4,"window":"5m","window_end":{}}}"#, T0 + 5000));
}

#[tokio::test]
async fn old_closed_views_and_history_are_trimmed() {
    let server = Server::start();
    let mut settings = config(&server);
    settings.history_keep = 100;
    let mut sink = open(&settings).await;
    let mut connection = server.connect();
    // Five at once: the first three get no boards at all.
    let report = sink.publish(&closes(&[1, 2, 3, 4, 5])).await.unwrap();
    assert_eq!(report.keys_deleted, 0);
    let ends = |connection: &mut Connection| -> Vec<i64> {
        let ends: Vec<i64> = ask(connection, "ZRANGE {nazar}:closed:ends:1m 0 -1");
        ends.iter().map(|end| (end - T0) / 60_000).collect()
    };
    let boards = |connection: &mut Connection| -> usize {
        ask::<Vec<String>>(connection, "KEYS {nazar}:closed:*:1m:*").len()
    };
    assert_eq!(ends(&mut connection), [4, 5]);
    // Three boards, the users of clicks, those of the category, and the list of the latter.
    assert_eq!(boards(&mut connection), 2 * 6);
    sink.publish(&closes(&[6])).await.unwrap();
    assert_eq!(ends(&mut connection), [5, 6]);
    assert_eq!(boards(&mut connection), 2 * 6);
    assert_eq!(ask::<u64>(&mut connection, "XLEN {nazar}:history:1m"), 6, "history is kept longer");
    sink.publish(&closes(&(7..500).collect::<Vec<_>>())).await.unwrap();
    let left: u64 = ask(&mut connection, "XLEN {nazar}:history:1m");
    assert!((100..=300).contains(&left), "{left} entries: about 100 are to be kept");
    let through: i64 = ask(&mut connection, "HGET {nazar}:meta closed_through:1m");
    assert_eq!(through, T0 + 499 * 60_000);
}

#[tokio::test]
async fn closed_keep_zero_keeps_all() {
    let server = Server::start();
    let mut settings = config(&server);
    (settings.closed_keep, settings.history_keep) = (0, 0);
    let mut sink = open(&settings).await;
    sink.publish(&closes(&(1..=30).collect::<Vec<_>>())).await.unwrap();
    let mut connection = server.connect();
    let boards: Vec<String> = ask(&mut connection, "KEYS {nazar}:closed:top:product:clicks:1m:*");
    assert_eq!(boards.len(), 30);
    assert_eq!(ask::<u64>(&mut connection, "XLEN {nazar}:history:1m"), 30);
    let ttl: i64 = ask(&mut connection, &format!("TTL {}", boards[0]));
    assert!((3600..=3660).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn every_view_expires_and_nothing_else_does() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    let mut connection = server.connect();
    sink.publish(&both_windows()).await.unwrap();
    for key in ask::<Vec<String>>(&mut connection, "KEYS *") {
        let ttl: i64 = redis::cmd("TTL").arg(&key).query(&mut connection).unwrap();
        let expected = match key.as_str() {
            key if key.contains(":closed:ends:") || key.contains(":history:") => -1..=-1,
            "{nazar}:meta" | "{nazar}:schema" | "{nazar}:index:entities" => -1..=-1,
            "{nazar}:lease" => 5..=10,
            key if key.contains(":index:") || key.contains(":members:") => 7000..=8100,
            // Two closed windows, a minute apart, are kept.
            key if key.contains(":closed:") && key.contains(":1m:") => 3770..=3780,
            key if key.contains(":closed:") => 4010..=4020,
            key if key.ends_with(":1m") => 3650..=3660,
            _ => 3890..=3900,
        };
        assert!(expected.contains(&ttl), "{key}: {ttl}");
    }
}

#[tokio::test]
async fn the_ttl_of_unchanged_views_is_renewed() {
    let server = Server::start();
    let mut settings = config(&server);
    settings.ttl_slack = Duration::ZERO;
    let mut sink = open_as(&settings, definitions(&[1]), "h", "t").await.unwrap();
    let mut connection = server.connect();
    let flush = || Flush {
        latest: vec![latest(window(0, 1, 1, &[("a", 1)]))],
        meta: meta(1),
        keeps_latest: false,
        closed: vec![],
    };
    let keys = [
        "{nazar}:top:product:clicks:1s",
        "{nazar}:totals:1s",
        "{nazar}:uniques:click:1s",
        "{nazar}:uniques:click:category:tv%20%26%20hifi:1s",
        "nazar:product:a",
    ];
    sink.publish(&flush()).await.unwrap();
    for _ in 0..15 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        sink.publish(&flush()).await.unwrap();
        for key in keys {
            assert!(ask::<bool>(&mut connection, &format!("EXISTS {key}")), "{key} expired");
        }
    }
    assert_eq!(calls(&mut connection, "rename"), 5, "boards, totals and users were renamed once");
    // A key that somebody deleted comes back with the next renewal.
    ask::<u64>(&mut connection, &format!("DEL {}", keys[0]));
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        sink.publish(&flush()).await.unwrap();
    }
    assert!(ask::<bool>(&mut connection, &format!("EXISTS {}", keys[0])));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(ask::<Vec<String>>(&mut connection, "KEYS {nazar}:top:*"), Vec::<String>::new());
}

/// Larger than one pipeline, one command and one put script.
#[tokio::test]
async fn large_views_arrive_whole() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    let mut connection = server.connect();
    let ids: Vec<String> =
        (0..25_000).map(|id| format!("product-with-a-long-name-{id:06}")).collect();
    let mut view = window(0, 60, 1, &[("a", 1)]);
    let rows = ids.iter().map(|id| (name(id), 7)).collect();
    view.boards[0].rows = rows;
    let sketch = view.distinct[1].clone();
    view.distinct.extend((0..1_500).map(|id| {
        let mut one = sketch.clone();
        one.entity = Some((CATEGORY, name(&format!("c{id}"))));
        one.value.resize(12_304, 0);
        one
    }));
    let flush =
        Flush { latest: vec![latest(view)], closed: vec![], meta: meta(2), keeps_latest: false };
    let report = sink.publish(&flush).await.unwrap();
    assert_eq!(ask::<u64>(&mut connection, "ZCARD {nazar}:top:product:clicks:1m"), 25_000);
    let index = "SCARD {nazar}:index:uniques:1m";
    assert_eq!(ask::<u64>(&mut connection, index), 1_501);
    assert!(ask::<bool>(&mut connection, "EXISTS {nazar}:uniques:click:category:c1499:1m"));
    assert!(ask::<bool>(&mut connection, "EXISTS nazar:product:product-with-a-long-name-024999"));
    assert!(report.bytes > 18 << 20, "{report:?}");
    sink.publish(&minute(2, &[("a", 1)])).await.unwrap();
    assert_eq!(ask::<u64>(&mut connection, index), 1);
    assert!(!ask::<bool>(&mut connection, "EXISTS {nazar}:uniques:click:category:c1499:1m"));
    assert!(!ask::<bool>(&mut connection, "EXISTS nazar:product:product-with-a-long-name-024999"));
}
