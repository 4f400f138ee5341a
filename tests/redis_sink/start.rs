//! Starting: whose prefix it is, what an earlier run left, who may read, and starting over.

use std::sync::Arc;
use std::time::Duration;

use nazar::config::Secret;
use nazar::pipeline::view::Flush;
use nazar::sinks::redis::admin::{reset, survey};
use nazar::sinks::redis::error::{ErrorClass, RedisSinkError};
use nazar::time::{EventTime, Span};
use redis::Client;

use crate::fixture::*;
use crate::server::{Server, ask};

#[tokio::test]
async fn another_configuration_is_refused_and_named() {
    let server = Server::start();
    let settings = config(&server);
    open(&settings).await.publish(&minute(1, &[("a", 1)])).await.unwrap();
    let mut other = definitions(&[60, 300]);
    other.lateness = Span::from_secs(30);
    other.windows[1].slide = Span::from_secs(5);
    let refused = open_as(&settings, other.clone(), "hash-2", "token-1").await.err().unwrap();
    let text = refused.to_string();
    for part in [
        "lateness_ms: stored 10000, now 30000",
        "windows[5m].slide_ms: stored 1000, now 5000",
        "nazar reset",
        "`nazar`",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let RedisSinkError::ConfigChanged { changes, .. } = refused else { panic!("{refused}") };
    assert_eq!(changes.len(), 2);
    // The views are as they were, and the first configuration may go on.
    assert_eq!(server.ask::<u64>("ZSCORE {nazar}:top:product:clicks:1m a"), 1);
    open(&settings).await.publish(&minute(2, &[("a", 2)])).await.unwrap();
    // After a reset the other one may start.
    assert!(reset(&settings).await.unwrap() > 8);
    open_as(&settings, other, "hash-2", "token-1").await.unwrap();
}

#[tokio::test]
async fn an_ended_run_is_not_followed() {
    let server = Server::start();
    let settings = config(&server);
    let mut flush = minute(1, &[("a", 1)]);
    flush.meta.ended = true;
    open(&settings).await.publish(&flush).await.unwrap();
    assert_eq!(server.ask::<u64>("HGET {nazar}:meta ended"), 1);
    let refused = open_as(&settings, definitions(&[60, 300]), "hash-1", "token-1").await.err();
    let text = refused.unwrap().to_string();
    assert!(text.contains("has ended") && text.contains("nazar reset"), "{text}");
}

#[tokio::test]
async fn a_writer_that_was_replaced_is_refused() {
    let server = Server::start();
    let settings = config(&server);
    let mut first = open(&settings).await;
    first.publish(&minute(1, &[("a", 1)])).await.unwrap();
    // The token changes under a running writer: nothing of its flush may be seen.
    server.ask::<u64>("HSET {nazar}:meta leader token-2");
    let refused = first.publish(&minute(2, &[("a", 2)])).await.err().unwrap();
    assert!(matches!(&refused, RedisSinkError::Fenced { holder, .. } if holder == "token-2"));
    assert_eq!(server.ask::<u64>("ZSCORE {nazar}:top:product:clicks:1m a"), 1);
    assert_eq!(first.health().errors(ErrorClass::Fenced), 1);
    assert!(!first.health().connected());
}

/// With one constant token, two daemons on one prefix would take turns at overwriting each
/// other: the earlier one notices by the sequence number.
#[tokio::test]
async fn a_second_writer_with_our_token_is_noticed() {
    let server = Server::start();
    let settings = config(&server);
    let mut first = open(&settings).await;
    first.publish(&minute(1, &[("a", 1)])).await.unwrap();
    let mut second = open(&settings).await;
    second.publish(&minute(1, &[("a", 5)])).await.unwrap();
    let refused = first.publish(&minute(2, &[("a", 2)])).await.err().unwrap();
    assert!(refused.to_string().contains("our own token"), "{refused}");
    assert_eq!(server.ask::<u64>("ZSCORE {nazar}:top:product:clicks:1m a"), 5);
}

#[tokio::test]
async fn a_restart_goes_on_where_the_last_run_ended() {
    let server = Server::start();
    let settings = config(&server);
    let mut connection = server.connect();
    let mut first = open(&settings).await;
    first.publish(&closes(&[1, 2, 3])).await.unwrap();
    first.publish(&minute(1, &[("a", 1), ("b", 1)])).await.unwrap();
    let five = latest(window(1, 300, 1, &[("b", 1)]));
    first.publish(&Flush { latest: vec![five], ..minute(0, &[]) }).await.unwrap();
    let seq: u64 = ask(&mut connection, "HGET {nazar}:meta seq");
    drop(first);

    let mut second = open(&settings).await;
    // It closes windows again: those that stand are skipped, values as they were.
    let mut again = closes(&[2, 3, 4]);
    Arc::make_mut(&mut again.closed[0]).view.totals.clicks = 99;
    let report = second.publish(&again).await.unwrap();
    assert_eq!(report.history_skipped, 2);
    assert_eq!(ask::<u64>(&mut connection, "XLEN {nazar}:history:1m"), 4);
    let newest: String = ask(&mut connection, "HGET {nazar}:meta closed_through:1m");
    assert_eq!(newest, (T0 + 240_000).to_string());
    // Nothing is left of entities that are no longer on a board, nor of their users.
    second.publish(&minute(2, &[("c", 1)])).await.unwrap();
    let none = latest(window(1, 300, 2, &[]));
    second.publish(&Flush { latest: vec![none], ..minute(0, &[]) }).await.unwrap();
    assert_eq!(ask::<Vec<String>>(&mut connection, "KEYS nazar:*"), ["nazar:product:c"]);
    let users: Vec<String> = ask(&mut connection, "KEYS {nazar}:uniques:*");
    assert_eq!(users.len(), 2, "{users:?}");
    assert!(ask::<u64>(&mut connection, "HGET {nazar}:meta seq") > seq);
}

/// A close that moved backwards in meta would let a reader believe that windows reopened.
#[tokio::test]
async fn closed_through_never_goes_back() {
    let server = Server::start();
    let settings = config(&server);
    open(&settings).await.publish(&closes(&[5])).await.unwrap();
    let mut second = open(&settings).await;
    second.publish(&closes(&[1])).await.unwrap();
    assert_eq!(server.ask::<i64>("HGET {nazar}:meta closed_through:1m"), T0 + 300_000);
}

#[tokio::test]
async fn reset_takes_this_prefix_and_no_other() {
    let server = Server::start();
    let mut settings = config(&server);
    settings.prefix = "nazar-eu".to_owned();
    open(&settings).await.publish(&minute(1, &[("a", 1)])).await.unwrap();
    server.ask::<()>("SET nazarene 1");
    let others: u64 = server.ask("DBSIZE");
    settings.prefix = "nazar".to_owned();
    open(&settings).await.publish(&minute(1, &[("a", 1)])).await.unwrap();
    server.ask::<()>("SET {nazar:click:0}:outbox 1");
    let ours = server.ask::<u64>("DBSIZE") - others;
    assert_eq!(reset(&settings).await.unwrap(), ours);
    assert_eq!(server.ask::<u64>("DBSIZE"), others);
    assert_eq!(reset(&settings).await.unwrap(), 0);
}

#[tokio::test]
async fn schema_says_what_is_computed() {
    let server = Server::start();
    let _sink = open(&config(&server)).await;
    let definitions: String = server.ask("HGET {nazar}:schema definitions");
    let definitions: serde_json::Value = serde_json::from_str(&definitions).unwrap();
    let lines: Vec<String> = definitions
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| format!("{name} {}", value.to_string().replace('"', "'")))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    base_pane_ms 1000
    boards [{'dimension':'product','field':'product_id','metric':'clicks','top':3},{'dimension':'product','field':'product_id','metric':'revenue_minor','top':3},{'dimension':'category','field':'category','metric':'clicks','top':3}]
    currency 'EUR'
    deduplicate false
    dimensions [{'entities_max':100,'field':'product_id','name':'product','uniques':false},{'entities_max':100,'field':'category','name':'category','uniques':true}]
    fields {'action':'action','category':'category','currency':'currency','event_id':'event_id','items':'items','order_id':'order_id','price_minor':'price_minor','product_id':'product_id','quantity':'quantity','seller_id':'seller_id','session_id':'session_id','status':'status','timestamp':'timestamp','user_id':'user_id'}
    format 1
    lateness_ms 10000
    limits {'entities':{'product':100},'id_bytes':256,'record_bytes':1048576,'sketch_bytes':1048576}
    max_future_ms 300000
    topics {'click':'click','order_status':'','purchase':'purchase','wishlist':'wishlist'}
    uniques_dimensions ['category']
    uniques_kinds ['click','wishlist','purchase']
    windows [{'closed_step_ms':60000,'label':'1m','size_ms':60000,'slide_ms':1000},{'closed_step_ms':60000,'label':'5m','size_ms':300000,'slide_ms':1000}]
    ");
    assert_eq!(server.ask::<String>("HGET {nazar}:schema config_hash"), "hash-1");
    let totals: String = server.ask("HGET {nazar}:schema {nazar}:totals:<window>#conversion");
    assert!(totals.contains("basis points"), "{totals}");
}

/// Every key, and every field of totals, history, meta and entity hashes, is described.
#[tokio::test]
async fn nothing_published_is_undescribed() {
    let server = Server::start();
    let mut sink = open(&config(&server)).await;
    let mut flush = closes(&[1]);
    flush.latest = minute(1, &[("a", 1)]).latest;
    flush.meta.closed_through = vec![flush.meta.stream_time; 2];
    flush.meta.ended = true;
    sink.publish(&flush).await.unwrap();
    let mut connection = server.connect();
    let schema: Vec<String> = ask(&mut connection, "HKEYS {nazar}:schema");
    let described = |name: &str| schema.iter().any(|pattern| matches(pattern, name));
    for key in ask::<Vec<String>>(&mut connection, "KEYS *") {
        let fields: Vec<String> = match key.as_str() {
            "{nazar}:schema" => continue,
            key if key.contains(":history:") => {
                let entries: Vec<(String, Vec<String>)> =
                    ask(&mut connection, &format!("XRANGE {key} - +"));
                entries[0].1.iter().step_by(2).cloned().collect()
            }
            key if key.contains(":totals:") || key.contains(":meta") || key.starts_with('n') => {
                ask(&mut connection, &format!("HKEYS {key}"))
            }
            _ => vec![],
        };
        // A hash of an entity is described by its fields.
        assert!(key.starts_with('n') || described(&key), "{key}");
        let shared = key.replace(":history:", ":totals:");
        for field in fields {
            let named = format!("{key}#{field}");
            assert!(described(&named) || described(&format!("{shared}#{field}")), "{named}");
        }
    }
}

/// Whether a name fits a pattern in which `<…>` stands for one part and `*` for the rest.
fn matches(pattern: &str, name: &str) -> bool {
    let Some(start) = pattern.find(['<', '*']) else { return pattern == name };
    if !name.starts_with(&pattern[..start]) {
        return false;
    }
    if pattern[start..].starts_with('*') {
        return true;
    }
    let rest = &pattern[start + pattern[start..].find('>').unwrap() + 1..];
    let name = &name[start..];
    (1..=name.len())
        .filter(|&end| name.is_char_boundary(end) && !name[..end].contains([':', '#']))
        .any(|end| matches(rest, &name[end..]))
}

#[tokio::test]
async fn a_read_only_user_can_read_and_a_writer_needs_little() {
    let server = Server::start();
    server.ask::<()>("ACL SETUSER reader on >pw1 +@read +multi +exec +subscribe ~{nazar}:* ~nazar:* &{nazar}:flushes");
    server.ask::<()>(
        "ACL SETUSER writer on >pw2 ~{nazar}:* ~nazar:* &{nazar}:flushes +@read +@write +@connection +@scripting +multi +exec +publish +info",
    );
    server.ask::<()>("ACL SETUSER default off");
    let mut settings = config(&server);
    (settings.username, settings.password) = ("writer".into(), Secret::new("pw2"));
    let mut sink = open(&settings).await;
    sink.publish(&minute(1, &[("a", 3)])).await.unwrap();
    let found = survey(&settings).await.unwrap().servers.remove(0);
    assert_eq!((found.refused, found.lazyfree_lazy_server_del), (None, None));

    let url = format!("redis://reader:pw1@127.0.0.1:{}/", server.port);
    let mut reader = Client::open(url).unwrap().get_connection().unwrap();
    assert_eq!(ask::<u64>(&mut reader, "PFCOUNT {nazar}:uniques:click:1m"), 3);
    let mut cut = redis::pipe();
    cut.atomic().cmd("ZRANGE").arg(&["{nazar}:top:product:clicks:1m", "0", "9", "REV"]);
    cut.cmd("HGETALL").arg("{nazar}:meta");
    let (board, _meta): (Vec<String>, Vec<String>) = cut.query(&mut reader).unwrap();
    assert_eq!(board, ["a"]);
    let denied = redis::cmd("DEL").arg("{nazar}:meta").exec(&mut reader).unwrap_err();
    assert_eq!(denied.code(), Some("NOPERM"));

    // A writer whose rights are too small is told which, at the start and by the probe.
    let mut small = settings.clone();
    (small.username, small.password) = ("reader".into(), Secret::new("pw1"));
    let refused = open_as(&small, definitions(&[60]), "hash-1", "token-1").await.err().unwrap();
    assert_eq!(refused.class(), Some(ErrorClass::Auth), "{refused}");
    small.password = Secret::new("wrong");
    let refused = survey(&small).await.unwrap_err();
    assert_eq!(refused.class(), Some(ErrorClass::Auth), "{refused}");
}

#[tokio::test]
async fn the_probe_tells_what_it_found() {
    let server = Server::with(&["--maxmemory", "200mb", "--maxmemory-policy", "allkeys-lru"]);
    let found = survey(&config(&server)).await.unwrap().servers.remove(0);
    assert_eq!((found.server.as_str(), found.mode.as_str()), ("redis", "standalone"));
    assert_eq!((found.maxmemory_bytes, found.lazyfree_lazy_server_del), (200 << 20, Some(false)));
    assert_eq!(found.refused, None);
    assert_eq!(found.warnings().len(), 2, "{:?}", found.warnings());
    assert_eq!(server.ask::<u64>("DBSIZE"), 0, "a probe leaves nothing behind");
    server.ask::<()>("ACL SETUSER default -rename");
    let found = survey(&config(&server)).await.unwrap().servers.remove(0);
    assert!(found.refused.unwrap().contains("rename"));
}

#[tokio::test]
async fn configuration_errors_name_their_key() {
    let server = Server::stopped(&[]);
    let check = async |change: fn(&mut nazar::config::RedisConfig), part: &str| {
        let mut settings = config(&server);
        change(&mut settings);
        let refused = open_as(&settings, definitions(&[60]), "h", "t").await.err().unwrap();
        let text = refused.to_string();
        assert!(text.contains(part) && !text.contains("hunter2"), "{text}");
    };
    check(|c| c.prefix = "a:b".into(), "redis.prefix").await;
    check(|c| c.url = Secret::new("http://u:hunter2@x/"), "redis.url").await;
    check(|c| c.tls_ca_file = Some("/ca.pem".into()), "redis.tls_ca_file").await;
    check(
        |c| {
            c.url = Secret::new("rediss://u:hunter2@x/");
            c.tls_ca_file = Some("/missing/ca.pem".into());
        },
        "/missing/ca.pem",
    )
    .await;
}

#[tokio::test]
async fn a_unix_socket_will_do() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("redis.sock").to_str().unwrap().to_owned();
    let server = Server::with(&["--unixsocket", &path]);
    let mut settings = config(&server);
    settings.url = Secret::new(format!("redis+unix://{path}"));
    let opened = tokio::time::timeout(Duration::from_secs(5), open(&settings)).await;
    opened.unwrap().publish(&minute(1, &[("a", 1)])).await.unwrap();
    assert_eq!(server.ask::<u64>("ZCARD {nazar}:top:product:clicks:1m"), 1);
}

/// A certificate authority and a certificate for `localhost`, made by openssl.
fn certificates(dir: &std::path::Path) -> bool {
    std::fs::write(dir.join("ext"), "subjectAltName=DNS:localhost").unwrap();
    let steps = [
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca",
        "req -newkey rsa:2048 -nodes -keyout redis.key -out redis.csr -subj /CN=localhost",
        "x509 -req -in redis.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out redis.pem -days 2 -extfile ext",
    ];
    steps.iter().all(|step| {
        let mut openssl = std::process::Command::new("openssl");
        let output = openssl.args(step.split(' ')).current_dir(dir).output();
        output.is_ok_and(|output| output.status.success())
    })
}

#[tokio::test]
async fn tls_trusts_the_given_authority_only() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    if !certificates(dir.path()) {
        eprintln!("skipped: needs the openssl command");
        return;
    }
    let tls_port = Server::stopped(&[]).port;
    let server = Server::with(&[
        "--tls-port",
        &tls_port.to_string(),
        "--tls-cert-file",
        &path("redis.pem"),
        "--tls-key-file",
        &path("redis.key"),
        "--tls-ca-cert-file",
        &path("ca.pem"),
        "--tls-auth-clients",
        "no",
    ]);
    let mut settings = config(&server);
    settings.url = Secret::new(format!("rediss://localhost:{tls_port}/"));
    let refused = survey(&settings).await.unwrap_err();
    assert!(refused.to_string().to_lowercase().contains("certificate"), "{refused}");
    settings.tls_ca_file = Some(path("ca.pem").into());
    let opened = tokio::time::timeout(Duration::from_secs(5), open(&settings)).await;
    opened.unwrap().publish(&minute(1, &[("a", 1)])).await.unwrap();
    assert_eq!(server.ask::<u64>("ZCARD {nazar}:top:product:clicks:1m"), 1);
}

#[tokio::test]
async fn an_earlier_run_tells_what_it_had_merged_when_it_closed_and_when_it_showed() {
    let server = Server::start();
    let config = config(&server);
    // Killed in its first flush: some windows have closed, and no latest view stands.
    let mut first = open(&config).await;
    first.publish(&closes(&[1, 2])).await.unwrap();
    first.release().await;
    let mut second = open(&config).await;
    let closed = Some(EventTime::from_millis(T0 + 2 * 60_000));
    let offsets = |sink: &nazar::sinks::redis::RedisSink| -> Vec<i64> {
        sink.predecessor().offsets.iter().map(|(_, offset)| offset).collect()
    };
    assert_eq!(second.predecessor().group_watermark, closed);
    assert_eq!(offsets(&second), [22, 11]);
    // Each partition counts as far as either says.
    second.publish(&minute(130, &[("a", 15)])).await.unwrap();
    second.release().await;
    let third = open(&config).await;
    assert_eq!(third.predecessor().group_watermark, closed);
    assert_eq!(offsets(&third), [30, 15]);
    drop(third);
    // Without a vector the end of a closed window says nothing of what was merged.
    server.ask::<u64>("HDEL {nazar}:meta closed_offsets offsets:1m offsets:5m offsets:1h");
    server.ask::<u64>("DEL {nazar}:lease");
    let fourth = open(&config).await;
    assert_eq!(fourth.predecessor().group_watermark, None);
    assert_eq!(fourth.predecessor().offsets.iter().count(), 0);
}
