//! `nazar-load top` on views that the sink has written.

use std::process::{Command, Output};
use std::time::Duration;

use nazar::config::{RedisConfig, Secret};
use nazar::load::top::reader::{Failure, Reader};
use nazar::load::top::what::Asked;
use nazar::pipeline::view::Flush;
use nazar::sinks::redis::RedisSink;
use serde_json::{Value, json};

use crate::cluster_servers::Cluster;
use crate::fixture::*;
use crate::schema;
use crate::sentinels::Watched;
use crate::server::Server;

fn top(url: &str, words: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nazar-load"))
        .args(["top", "--redis", url])
        .args(words.split_whitespace())
        .env_remove("NO_COLOR")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> (i32, String) {
    (output.status.code().unwrap(), String::from_utf8(output.stderr.clone()).unwrap())
}

/// A minute of two products, written by a sink that still holds the lease.
async fn filled(config: &RedisConfig) -> RedisSink {
    let mut sink = open(config).await;
    let closed = vec![closed(window(0, 60, 0, &[("old", 2)]))];
    sink.publish(&Flush { closed, ..minute(1, &[("p1", 30), ("evil\u{1b}[2J", 12)]) })
        .await
        .unwrap();
    sink
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_is_what_redis_holds() {
    let server = Server::start();
    let mut sink = filled(&config(&server)).await;

    let output = top(&server.url(), "--json -");
    let picture: Value = serde_json::from_str(&said(&output)).unwrap_or_else(|_| {
        panic!("{:?}", complaint(&output));
    });
    assert_eq!(schema::violations("top-1.json", &picture), [""; 0]);
    assert_eq!(picture["window"], "1m");
    assert_eq!(picture["window_end_ms"], T0 + 1000);
    assert_eq!(picture["times_ms"]["stream_time"], T0 + 999);
    assert_eq!(picture["times_ms"]["group_watermark"], T0 - 10_001);
    let age = picture["read_at_ms"].as_i64().unwrap() - (T0 + 999);
    assert_eq!(picture["ages_ms"]["stream_time"], age);
    assert_eq!(picture["leader"]["token"], "token-1");
    let lease_left = picture["leader"]["lease_left_ms"].as_i64().unwrap();
    assert!((0..=10_000).contains(&lease_left), "{lease_left}");
    assert_eq!(picture["totals"]["clicks"], 42);
    assert_eq!(picture["totals"]["uniques"], 42);
    assert_eq!(picture["currency"], "EUR");
    let rows = json!([{"id": "p1", "score": 30}, {"id": "evil\u{1b}[2J", "score": 12}]);
    assert_eq!(
        picture["boards"][0],
        json!({"dimension": "product", "metric": "clicks", "rows": rows})
    );
    // The first board of each dimension.
    assert_eq!(picture["boards"][1]["dimension"], "category");
    assert_eq!(picture["boards"].as_array().unwrap().len(), 2);
    assert_eq!(picture["closed"][0]["window_end"], T0);

    // Without a terminal one picture is printed, plain.
    let text = said(&top(&server.url(), "--board product:revenue_minor --rows 1"));
    for shown in ["42 clicks", "42.00 EUR", "top product by revenue, EUR", "p1", "30.00 █"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(!text.contains("evil") && !text.contains('\u{1b}'), "{text}");

    sink.release().await;
    let text = said(&top(&server.url(), "--once"));
    assert!(text.contains("no lease: nobody leads") && text.contains("evil·[2J"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_kept_is_named() {
    let server = Server::start();
    let (code, why) = complaint(&top(&server.url(), ""));
    assert_eq!(code, 1);
    assert!(why.contains("has a daemon published under this prefix?"), "{why}");

    let _sink = filled(&config(&server)).await;
    let (code, why) = complaint(&top(&server.url(), "--window 1h"));
    assert_eq!((code, why.as_str()), (2, "nazar-load: --window 1h: there are 1m, 5m\n"));
    let (code, why) = complaint(&top(&server.url(), "--board seller:clicks"));
    assert_eq!(code, 2);
    assert!(why.contains("product:clicks, product:revenue_minor, category:clicks"), "{why}");
    // Kept, and not written yet.
    let text = said(&top(&server.url(), "--window 5m"));
    assert!(text.contains("no latest views of 5m"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_went_away_is_read_again() {
    let mut server = Server::start();
    let sink = filled(&config(&server)).await;
    let mut reader = Reader::new(&server.url(), "nazar", Asked { rows: 3, ..Asked::default() });
    let seq = |picture: Result<nazar::load::top::picture::Picture, Failure>| {
        picture.map(|picture| picture.leader.seq)
    };
    let before = seq(reader.picture(|| 0)).unwrap();
    assert!(before.is_some());
    drop(sink);
    server.kill();
    for _ in 0..2 {
        assert!(matches!(reader.picture(|| 0), Err(Failure::Away(_))));
    }
    // Back without data, and then with other definitions.
    server.run();
    assert!(matches!(reader.picture(|| 0), Err(Failure::Away(_))));
    let hour = definitions(&[3600]);
    let mut sink = open_as(&config(&server), hour, "hash-2", "token-2").await.unwrap();
    assert_eq!(reader.picture(|| 0).unwrap().window, "1h");
    sink.release().await;
    server.ask::<()>("FLUSHALL");
    let mut sink =
        open_as(&config(&server), definitions(&[60]), "hash-3", "token-3").await.unwrap();
    sink.publish(&Flush { meta: meta(1), ..minute(1, &[("p1", 1)]) }).await.unwrap();
    // The connection has outlived them; the picture is of what is kept now.
    assert_eq!(reader.picture(|| 0).unwrap().window, "1m");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_of_a_cluster_will_do() {
    let cluster = Cluster::start();
    let servers = RedisConfig { url: Secret::new(cluster.url()), ..config(&cluster.nodes[0]) };
    let _sink = filled(&servers).await;
    for node in &cluster.nodes {
        let output = top(&node.url(), "--once");
        assert!(said(&output).contains("42 clicks"), "{:?}", complaint(&output));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_sentinels_the_next_master_is_found() {
    let mut watched = Watched::start();
    let servers = RedisConfig { url: Secret::new(watched.url()), ..config(&watched.servers[0]) };
    let mut sink = filled(&servers).await;
    let mut reader = Reader::new(&watched.url(), "nazar", Asked::default());
    let before = reader.picture(|| 0).unwrap();
    watched.servers[0].kill();
    watched.promoted(0);
    // Written to the new master only.
    sink.publish(&minute(2, &[("p1", 1)])).await.unwrap();
    let after = std::iter::repeat_with(|| reader.picture(|| 0)).take(100).find_map(|answer| {
        std::thread::sleep(Duration::from_millis(50));
        answer.ok()
    });
    assert!(after.unwrap().leader.seq > before.leader.seq);
}
