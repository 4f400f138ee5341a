//! Generator, Kafka protocol, oracle and Redis together, with a stand-in for the daemon.
//!
//! The stand-in lets Redis do the arithmetic: one ZINCRBY, HINCRBY and PFADD per record and
//! window. It shares neither code nor method with the oracle, so agreement of the two says
//! something: about sums and ranks, about key names, and about the registers of PFADD itself.
//! The broker is librdkafka's mock cluster; redis-server must be installed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use nazar::load::cli::{Cli, Command};
use nazar::load::kind::{Kind, Reason};
use nazar::load::plan::plan;
use nazar::load::run::{RunOptions, run};
use nazar::load::run_file::{RunFile, State};
use nazar::load::traffic::Traffic;
use nazar::load::verify::{VerifyOptions, verify};
use nazar::load::workload::{Workload, WorkloadConfig};
use rdkafka::mocking::MockCluster;
use redis::Connection;
use serde_json::{Value, json};

const PARTITIONS: i32 = 4;
const SIZE_MS: i64 = 300_000;
const STEP_MS: i64 = 60_000;
const BASE_MS: i64 = 1_785_000_000_000;

struct Redis {
    child: Child,
    url: String,
}

impl Redis {
    fn start(directory: &Path) -> Self {
        let socket = directory.join("redis.sock");
        let child = Process::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .current_dir(directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let redis = Self { child, url: format!("redis+unix://{}", socket.display()) };
        let deadline = Instant::now() + Duration::from_secs(10);
        while redis::Client::open(&*redis.url).unwrap().get_connection().is_err() {
            assert!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        redis
    }

    fn connect(&self) -> Connection {
        redis::Client::open(&*self.url).unwrap().get_connection().unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn mock_cluster() -> (MockCluster<'static, rdkafka::producer::DefaultProducerContext>, String) {
    let cluster = MockCluster::new(1).unwrap();
    for kind in Kind::ALL {
        cluster.create_topic(&format!("t.{}", kind.default_topic()), PARTITIONS, 1).unwrap();
    }
    let brokers = cluster.bootstrap_servers();
    (cluster, brokers)
}

fn run_options(brokers: &str, out: &Path, more: &str) -> RunOptions {
    let line = format!(
        "nazar-load run -b {brokers} --out {} --seed 5 --base-time {BASE_MS} --products 300 --sellers 20 --users 400 --topic-prefix t. --order-events --no-progress \
         --base-pane 30s {more}",
        out.display()
    );
    match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
        Command::Run(args) => args.options().unwrap(),
        _ => unreachable!(),
    }
}

fn verify_options(brokers: &str, redis: &Redis, directory: &Path) -> VerifyOptions {
    let line = format!(
        "nazar-load verify {} -b {brokers} --redis {} --prefix shop --latest-samples 1",
        directory.display(),
        redis.url
    );
    match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
        Command::Verify(args) => args.options(),
        _ => unreachable!(),
    }
}

fn definitions() -> Value {
    let boards = |dimension: &str, metrics: &[&str]| -> Vec<Value> {
        let board = |metric| json!({"dimension": dimension, "metric": metric, "top": 1000});
        metrics.iter().map(board).collect()
    };
    let all = ["clicks", "wishlists", "orders", "units", "revenue_minor"];
    let boards = [boards("product", &all), boards("category", &all), boards("seller", &all)];
    json!({
        "topics": {"click": "t.click", "wishlist": "t.wishlist", "purchase": "t.purchase", "order_status": "t.order-events"},
        "windows": [{"label": "5m", "size_ms": SIZE_MS, "slide_ms": 30_000, "closed_step_ms": STEP_MS}],
        "dimensions": [
            {"name": "product", "field": "product_id"},
            {"name": "category", "field": "category", "uniques": true},
            {"name": "seller", "field": "seller_id"},
        ],
        "boards": boards.concat(),
        "lateness_ms": 60_000, "max_future_ms": 300_000, "base_pane_ms": 30_000,
        "currency": "USD", "deduplicate": false,
    })
}

fn encoded(id: &str) -> String {
    const ENCODED: percent_encoding::AsciiSet =
        percent_encoding::NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-');
    percent_encoding::utf8_percent_encode(id, &ENCODED).to_string()
}

/// One record into one window: `{shop}:<place>…:5m<suffix>`.
fn add(pipe: &mut redis::Pipeline, kind: Kind, event: &Value, place: &str, suffix: &str) {
    let counts = format!("counts{suffix}");
    let mut count = |field: &str, by: u64| _ = pipe.hincr(&counts, field, by);
    count("events", 1);
    let text = |object: &Value, field: &str| object[field].as_str().map(str::to_owned);
    let (metric, lines): (_, Vec<Value>) = match kind {
        Kind::OrderStatus => {
            return count(&format!("orders.{}", text(event, "status").unwrap()), 1);
        }
        Kind::Wishlist if event["action"] == "remove" => return count("wishlist_removes", 1),
        Kind::Wishlist => ("wishlists", vec![event.clone()]),
        Kind::Click => ("clicks", vec![event.clone()]),
        Kind::Purchase => match event["items"].as_array() {
            Some(items) => ("orders", items.clone()),
            None => ("orders", vec![event.clone()]),
        },
    };
    count(metric, 1);
    let home = event["currency"].as_str().is_none_or(|currency| currency == "USD");
    let mut touched = BTreeSet::new();
    let mut scores: Vec<(String, String, u64)> = Vec::new();
    for line in &lines {
        let units = line["quantity"].as_u64().unwrap_or(1);
        let revenue = line["price_minor"].as_u64().unwrap_or(0) * units;
        if kind == Kind::Purchase {
            count("units", units);
            let revenue_field = match home {
                true => "revenue_minor".to_owned(),
                false => format!("revenue_minor.{}", text(event, "currency").unwrap()),
            };
            count(&revenue_field, revenue);
        }
        for (dimension, field) in
            [("product", "product_id"), ("category", "category"), ("seller", "seller_id")]
        {
            let entity = text(line, field).or_else(|| text(event, field)).unwrap();
            if kind == Kind::Purchase {
                scores.push((format!("{dimension}:units"), entity.clone(), units));
            }
            if kind == Kind::Purchase && home {
                scores.push((format!("{dimension}:revenue_minor"), entity.clone(), revenue));
            }
            touched.insert((dimension, entity));
        }
    }
    for (board, member, by) in scores {
        pipe.zincr(format!("{{shop}}:{place}top:{board}:5m{suffix}"), member, by);
    }
    let user = match &event["user_id"] {
        Value::String(user) => user.clone(),
        user => user.to_string(),
    };
    let uniques = format!("{{shop}}:{place}uniques:{}", kind.name());
    pipe.pfadd(format!("{uniques}:5m{suffix}"), &user);
    for (dimension, entity) in touched {
        pipe.zincr(format!("{{shop}}:{place}top:{dimension}:{metric}:5m{suffix}"), &entity, 1);
        if dimension == "category" {
            pipe.pfadd(format!("{uniques}:category:{}:5m{suffix}", encoded(&entity)), &user);
        }
    }
}

/// The numbers of a window, partly as counted, partly asked of Redis.
fn totals(redis: &mut Connection, place: &str, suffix: &str, end: i64) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> =
        redis::cmd("HGETALL").arg(format!("counts{suffix}")).query(redis).unwrap();
    let keys: Vec<String> = Kind::WITH_USERS
        .map(|kind| format!("{{shop}}:{place}uniques:{}:5m{suffix}", kind.name()))
        .into();
    for (kind, key) in Kind::WITH_USERS.iter().zip(&keys) {
        let users: u64 = redis::cmd("PFCOUNT").arg(key).query(redis).unwrap();
        fields.insert(format!("uniques.{}", kind.name()), users.to_string());
    }
    let users: u64 = redis::cmd("PFCOUNT").arg(&keys).query(redis).unwrap();
    fields.insert("uniques".into(), users.to_string());
    let number = |name: &str| fields.get(name).map_or(0, |text| text.parse::<u64>().unwrap());
    if let Some(conversion) = (10_000 * number("orders")).checked_div(number("clicks")) {
        fields.insert("conversion".into(), conversion.to_string());
    }
    fields.insert("window_start".into(), (end - SIZE_MS).to_string());
    fields.insert("window_end".into(), end.to_string());
    fields
}

/// Publishes everything the workload leads to, record by record.
fn publish(redis: &mut Connection, config: WorkloadConfig, run: &RunFile) {
    let records: Vec<(Kind, Value, i64)> = Workload::new(config)
        .filter(|record| matches!(record.label, Reason::Applied | Reason::Duplicate))
        .map(|record| {
            let event: Value = serde_json::from_slice(record.payload.as_ref().unwrap()).unwrap();
            let time = match &event["timestamp"] {
                Value::String(text) => {
                    let time = humantime::parse_rfc3339(text).unwrap();
                    time.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
                }
                number => number.as_i64().unwrap(),
            };
            (record.kind, event, time)
        })
        .collect();
    let stream_time = records.iter().map(|(.., time)| *time).max().unwrap();
    let latest_end = (stream_time / 30_000 + 1) * 30_000;
    let mut ends = BTreeSet::new();
    for records in records.chunks(200) {
        let mut pipe = redis::pipe();
        for (kind, event, time) in records {
            let mut end = (time / STEP_MS + 1) * STEP_MS;
            while end - SIZE_MS <= *time {
                add(&mut pipe, *kind, event, "closed:", &format!(":{end}"));
                ends.insert(end);
                end += STEP_MS;
            }
            if (latest_end - SIZE_MS..latest_end).contains(time) {
                add(&mut pipe, *kind, event, "", "");
            }
        }
        pipe.query::<()>(redis).unwrap();
    }
    for end in ends {
        let fields = totals(redis, "closed:", &format!(":{end}"), end);
        let mut entry = redis::cmd("XADD");
        entry.arg("{shop}:history:5m").arg(format!("{end}-0"));
        fields.iter().for_each(|(name, value)| _ = entry.arg(name).arg(value));
        entry.arg("proven").arg(1).arg("quiet").arg(0).exec(redis).unwrap();
    }
    let fields = totals(redis, "", "", latest_end);
    let offsets: Vec<String> = run
        .topics
        .iter()
        .flat_map(|topic| {
            let ends = topic.end_offsets.iter().enumerate();
            ends.map(|(partition, end)| format!("{}/{partition}={end}", topic.topic))
        })
        .collect();
    redis::pipe()
        .hset_multiple("{shop}:totals:5m", &fields.into_iter().collect::<Vec<_>>())
        .hset("{shop}:schema", "definitions", definitions().to_string())
        .hset("{shop}:meta", "ended", 1)
        .hset("{shop}:meta", "offsets:5m", offsets.join(","))
        .hset("{shop}:meta", "stream_time:5m", stream_time)
        .hset("{shop}:meta", "window_end:5m", latest_end)
        .query::<()>(redis)
        .unwrap();
}

#[test]
fn what_was_written_is_read_back_recounted_and_compared() {
    let directory = tempfile::tempdir().unwrap();
    let redis = Redis::start(directory.path());
    let (_cluster, brokers) = mock_cluster();
    let out = directory.path().join("run");
    let inject = "usual,late=3%,dup=2%,malformed=3%,future=1%,tombstone=1%";
    let options = run_options(
        &brokers,
        &out,
        &format!("--events 4000 --event-time-span 30m --inject {inject}"),
    );
    let written = run(&options, &AtomicBool::new(false)).unwrap();
    assert_eq!((written.state, written.records), (State::Complete, 4000));
    assert_eq!(RunFile::load(&out).unwrap(), written);

    let mut config = options.traffic.workload.clone();
    config.partitions = [PARTITIONS as u32; 4];
    let mut connection = redis.connect();
    publish(&mut connection, config.clone(), &written);
    // A plan with the same partitions makes the same stream.
    let planned = plan(&Traffic { workload: config, ..options.traffic });
    assert_eq!((&planned.digest, planned.records), (&written.digest, written.records));
    for (planned, written) in planned.topics.iter().zip(&written.topics) {
        assert_eq!(planned.expected, written.expected);
    }

    let options = verify_options(&brokers, &redis, &out);
    let report = verify(&options).unwrap();
    assert!(report.equal, "{}", report.text());
    assert_eq!(report.closed.demanded, report.closed.found);
    assert_eq!(report.records, 4000);
    let demanded = report.closed.demanded;
    assert!(demanded.windows >= 34 && demanded.boards > 200 && demanded.sketches > 1000);
    assert_eq!(report.latest.as_ref().unwrap().compared, 1);

    // One member by hand, in a closed window and in the latest one.
    let end = BASE_MS / STEP_MS * STEP_MS;
    for key in [
        format!("{{shop}}:closed:top:product:clicks:5m:{end}"),
        "{shop}:top:seller:clicks:5m".into(),
    ] {
        let (member, score): (String, f64) = {
            let rows: Vec<(String, f64)> = redis::cmd("ZRANGE")
                .arg(&key)
                .arg("0")
                .arg("0")
                .arg("WITHSCORES")
                .query(&mut connection)
                .unwrap();
            rows[0].clone()
        };
        let change = |by: i32, connection: &mut Connection| {
            redis::cmd("ZINCRBY").arg(&key).arg(by).arg(&member).exec(connection).unwrap();
        };
        change(1, &mut connection);
        let report = verify(&options).unwrap();
        assert_eq!((report.equal, report.differences.count), (false, 1), "{}", report.text());
        let expected = format!("{key} {member}: expected {score}, found {}", score + 1.0);
        assert_eq!(report.differences.first[0].to_string(), expected);
        change(-1, &mut connection);
    }
    assert!(verify(&options).unwrap().equal);
}

#[test]
fn a_stopped_run_leaves_an_exact_account() {
    let directory = tempfile::tempdir().unwrap();
    let (_cluster, brokers) = mock_cluster();
    let options = run_options(&brokers, directory.path(), "--for 1h --rate 2000");
    let stop = AtomicBool::new(false);
    let run = std::thread::scope(|scope| {
        // As a signal would.
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(1500));
            stop.store(true, Ordering::Relaxed);
        });
        run(&options, &stop).unwrap()
    });
    assert_eq!(run.state, State::Interrupted);
    assert!((1_000..10_000).contains(&run.records), "{}", run.records);
    let on_the_log: i64 = run.topics.iter().flat_map(|topic| &topic.end_offsets).sum();
    assert_eq!(on_the_log as u64, run.records);
    // Reading a number of seconds back may be off by its last bit.
    let saved = RunFile::load(directory.path()).unwrap();
    assert!((saved.seconds - run.seconds).abs() < 1e-9);
    assert_eq!(RunFile { seconds: run.seconds, ..saved }, run);
}
