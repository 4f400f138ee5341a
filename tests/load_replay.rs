//! Files of real shops through the whole system: replayed to a real broker, read by the daemon to its
//! end, and recounted by the oracle.
//!
//! The files are made here, in the layouts in which the data sets are published.

#[path = "common/daemon.rs"]
mod daemon;
#[path = "common/kafka.rs"]
mod kafka;
#[path = "common/load.rs"]
mod load;
#[path = "common/redis.rs"]
mod redis_server;
#[path = "common/schema.rs"]
mod schema;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use daemon::Daemon;
use kafka::Kafka;
use load::{json_file, outcome};
use redis_server::Server;
use serde_json::Value;

const WINDOWS: &str = r#"[{size="10m",slide="5m"},{size="1h",slide="15m"}]"#;
/// The greatest common divisor of the slides.
const BASE_PANE: &str = "5m";

/// Numbers that look random and are always the same.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn nazar_load(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nazar-load")).args(words).output().unwrap()
}

fn write_gzip(path: &Path, text: &str) {
    let file = std::fs::File::create(path).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap();
}

/// A replay of `file`, read by a daemon to its end, and verified: `run.json`, and the daemon's line.
fn replayed(name: &str, file: &Path, map: &str, options: &str) -> (Value, Value) {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("run");
    let (brokers, out_text) = (kafka.brokers(), out.display().to_string());
    let (prefix, file) = (format!("{name}."), file.display().to_string());
    let mut words = vec![
        "replay",
        &file,
        "--map",
        map,
        "-b",
        &brokers,
        "--out",
        &out_text,
        "--topic-prefix",
        &prefix,
        "--create-topics",
        "--partitions",
        "3",
        "--base-pane",
        BASE_PANE,
        "--no-progress",
        "--max-behind",
        "1h",
    ];
    words.extend(options.split_whitespace());
    let (code, said) = outcome(&nazar_load(&words));
    assert_eq!(code, 0, "{said}");

    kafka.create_topic(&format!("{name}.dead"), 1, &[]);
    let mut daemon = Daemon::new(&directory, name, &brokers, &redis.url())
        .set("window", WINDOWS)
        .set("redis.closed_keep", "0")
        .set("redis.history_keep", "0");
    let run = json_file(&out.join("run.json"));
    assert_eq!(schema::violations("run-1.json", &run), [""; 0]);
    if run["topics"].as_array().unwrap().iter().any(|topic| topic["kind"] == "order_status") {
        daemon = daemon.set("topics.order_status", &format!("{name}.order-events"));
    }
    let output = daemon.bounded();
    assert_eq!(output.status.code(), Some(0), "{}", outcome(&output).1);
    let json = directory.path().join("daemon.json");
    std::fs::write(&json, &output.stdout).unwrap();
    let (code, report) = outcome(&nazar_load(&[
        "verify",
        &out_text,
        "-b",
        &brokers,
        "--redis",
        &redis.url(),
        "--prefix",
        name,
        "--daemon-json",
        &json.display().to_string(),
    ]));
    assert_eq!(code, 0, "{report}");
    assert!(report.contains(&format!("\n0 differences; {} records", run["records"])), "{report}");
    (run, serde_json::from_slice(&output.stdout).unwrap())
}

/// Expected counts of a kind's topic.
fn expected(run: &Value, kind: &str, reason: &str) -> u64 {
    let topics = run["topics"].as_array().unwrap();
    let topic = topics.iter().find(|topic| topic["kind"] == kind).unwrap();
    topic["expected"]["counts"][reason].as_u64().unwrap()
}

/// Within the days that the mapping of Taobao lets in.
const START_S: u64 = 1_511_568_000;

fn taobao(directory: &Path) -> PathBuf {
    let (mut dice, mut text) = (Dice(1), String::new());
    for row in 0..3000 {
        let behavior = ["pv", "pv", "pv", "pv", "fav", "cart", "buy"][dice.below(7) as usize];
        let (user, item) = (dice.below(300), dice.below(200));
        // Every fiftieth lies an hour back: late, as the file is sorted but for those.
        let time = START_S + row * 3 - if row % 50 == 49 && row > 1500 { 3600 } else { 0 };
        writeln!(text, "{user},{item},{},{behavior},{time}", item % 9).unwrap();
    }
    // Clocks that are far off, as the published file has them, and broken rows.
    text.push_str("1,2,3,pv,1700000000\n1,2,3,pv\n1,2,3,look,1511568000\n1,2,3,pv,soon\n");
    let path = directory.join("UserBehavior.csv.gz");
    write_gzip(&path, &text);
    path
}

#[test]
fn taobao_with_late_and_broken_rows() {
    let directory = tempfile::tempdir().unwrap();
    let (run, daemon) = replayed("taobao", &taobao(directory.path()), "taobao", "");
    let replay = &run["replay"];
    assert_eq!((&replay["rows"], &replay["events"]), (&3004.into(), &3000.into()));
    assert_eq!(replay["left_out"]["time"], 1);
    for reason in ["wrong_columns", "unknown_kind", "unreadable_time"] {
        assert_eq!(replay["unmapped"][reason]["count"], 1, "{reason}");
    }
    let example = replay["unmapped"]["wrong_columns"]["example"].as_str().unwrap();
    assert!(example.ends_with("UserBehavior.csv.gz:3002: it has 4 columns, not 5"), "{example}");
    assert_eq!(replay["behind"], 30);
    let late: u64 =
        ["click", "wishlist", "purchase"].map(|kind| expected(&run, kind, "late")).iter().sum();
    assert_eq!(late, 30);
    assert_eq!((&daemon["late"], &daemon["applied"]), (&late.into(), &2970.into()));
    assert!(expected(&run, "wishlist", "applied") > 500);
}

#[test]
fn retailrocket_paced_and_moved_to_now() {
    let directory = tempfile::tempdir().unwrap();
    let (mut dice, mut text) =
        (Dice(2), "timestamp,visitorid,event,itemid,transactionid\n".to_owned());
    for row in 0..2000u64 {
        // Not sorted: minutes forth and back.
        let time = 1_433_221_332_117 + row * 4000 + dice.below(1_200_000);
        let (visitor, item) = (dice.below(400), dice.below(150));
        match dice.below(20) {
            0 => writeln!(text, "{time},{visitor},addtocart,{item},").unwrap(),
            1 => writeln!(text, "{time},{visitor},transaction,{item},{row}").unwrap(),
            _ => writeln!(text, "{time},{visitor},view,{item},").unwrap(),
        }
    }
    let path = directory.path().join("events.csv");
    std::fs::write(&path, text).unwrap();
    let before = now_ms();
    let options = "--sort --speed 4000x --rebase now";
    let (run, _) = replayed("retailrocket", &path, "retailrocket", options);
    // Sorted, so nothing is late; the last event happens when it is sent, and none before.
    assert_eq!((&run["replay"]["behind"], &run["records"]), (&0.into(), &2000.into()));
    let span_ms =
        run["replay"]["last_ms"].as_i64().unwrap() - run["replay"]["first_ms"].as_i64().unwrap();
    let seconds = run["seconds"].as_f64().unwrap();
    assert!(seconds * 1000.0 >= (span_ms / 4000) as f64 * 0.99, "{seconds} s for {span_ms} ms");
    let end_ms: i64 = run["parameters"]["end_ms"].as_str().unwrap().parse().unwrap();
    assert!((before + span_ms / 4000 - 1..=now_ms()).contains(&end_ms), "{end_ms}");
    assert!(run["latency"]["ack"]["corrected"]["samples"].as_u64().unwrap() == 2000);
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_millis() as i64
}

#[test]
fn rees46_with_prices_brands_and_removals() {
    let directory = tempfile::tempdir().unwrap();
    let mut text = "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n".to_owned();
    let mut dice = Dice(3);
    for row in 0..2000u64 {
        let kind = ["view", "view", "view", "cart", "remove_from_cart", "purchase"]
            [dice.below(6) as usize];
        let (product, second) = (dice.below(100), row * 4);
        let price = 100 + product * 7;
        let code = if product % 3 == 0 { "" } else { "electronics.smartphone" };
        writeln!(
            text,
            "2019-10-01 {:02}:{:02}:{:02} UTC,{kind},{product},20530135{},{code},brand{},{}.{:02},{},s-{row}",
            second / 3600, second / 60 % 60, second % 60, product % 5, product % 4, price / 100, price % 100, dice.below(300),
        )
        .unwrap();
    }
    // A price that is none matters where a price is read.
    text.push_str("2019-10-01 03:00:00 UTC,view,1,2,,b,-5.00,1,s\n2019-10-01 03:00:00 UTC,purchase,1,2,,b,-5.00,1,s\n");
    let path = directory.path().join("2019-Oct.csv");
    std::fs::write(&path, text).unwrap();
    let (run, _) = replayed("rees46", &path, "rees46", "");
    assert_eq!(run["replay"]["unmapped"]["bad_price"]["count"], 1);
    assert_eq!(run["records"], 2001);
    assert!(
        expected(&run, "wishlist", "applied") > 300 && expected(&run, "purchase", "applied") > 200
    );
}

#[test]
fn olist_orders_joined_with_items_products_and_customers() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let mut dice = Dice(4);
    let mut orders = "\"order_id\",\"customer_id\",\"order_status\",\"order_purchase_timestamp\",\"order_approved_at\",\"order_delivered_carrier_date\",\"order_delivered_customer_date\",\"order_estimated_delivery_date\"\n".to_owned();
    let mut items = "\"order_id\",\"order_item_id\",\"product_id\",\"seller_id\",\"shipping_limit_date\",\"price\",\"freight_value\"\n".to_owned();
    let mut customers = "\"customer_id\",\"customer_unique_id\",\"customer_zip_code_prefix\",\"customer_city\",\"customer_state\"\n".to_owned();
    let mut products =
        "\"product_id\",\"product_category_name\",\"product_name_lenght\"\n".to_owned();
    for product in 0..40 {
        writeln!(
            products,
            "\"p{product}\",\"{}\",9",
            ["beleza_saude", "", "informatica"][product % 3]
        )
        .unwrap();
    }
    let time = |minute: u64| {
        format!("2017-10-{:02} {:02}:{:02}:33", 2 + minute / 1440, minute / 60 % 24, minute % 60)
    };
    for order in 0..600u64 {
        let minute = dice.below(2000);
        let (status, shipped) = match order % 60 {
            7 => ("canceled", String::new()),
            _ => ("delivered", time(minute + 60)),
        };
        let approved = time(minute + 5);
        writeln!(orders, "\"o{order}\",\"c{order}\",\"{status}\",\"{}\",\"{approved}\",\"{shipped}\",\"\",\"2017-11-01 00:00:00\"", time(minute)).unwrap();
        writeln!(
            customers,
            "\"c{order}\",\"person{}\",\"01000\",\"são paulo, sp\",\"SP\"",
            order % 200
        )
        .unwrap();
        // One order has no items.
        for item in 0..if order == 99 { 0 } else { 1 + order % 3 } {
            let product = dice.below(40);
            writeln!(
                items,
                "\"o{order}\",{item},\"p{product}\",\"s{}\",\"2017-11-01 00:00:00\",{}.9,8.72",
                product % 7,
                10 + product
            )
            .unwrap();
        }
    }
    write("olist_orders_dataset.csv", &orders);
    write("olist_order_items_dataset.csv", &items);
    write("olist_products_dataset.csv", &products);
    write_gzip(&directory.path().join("olist_customers_dataset.csv.gz"), &customers);
    let path = directory.path().join("olist_orders_dataset.csv");
    let (run, daemon) = replayed("olist", &path, "olist", "--sort --key user");
    let replay = &run["replay"];
    assert_eq!(replay["unmapped"]["no_items"]["count"], 1);
    assert_eq!(
        (&replay["by_kind"]["purchase"], &replay["by_kind"]["order_status"]),
        (&599.into(), &(600 + 600 + 590 + 10).into())
    );
    assert_eq!(
        (&replay["left_out"]["no_time"], &replay["left_out"]["when"]),
        (&(10 + 600).into(), &590.into())
    );
    assert_eq!((expected(&run, "purchase", "applied"), &daemon["late"]), (599, &0.into()));
}

fn otto(directory: &Path) -> PathBuf {
    let (mut dice, mut text) = (Dice(5), String::new());
    for session in 0..120 {
        let mut time = 1_659_304_800_025 + dice.below(5_000_000);
        write!(text, "{{\"session\":{session},\"events\":[").unwrap();
        for event in 0..2 + dice.below(30) {
            let kind = ["clicks", "clicks", "clicks", "carts", "orders"][dice.below(5) as usize];
            let comma = if event == 0 { "" } else { "," };
            write!(text, "{comma}{{\"aid\":{},\"ts\":{time},\"type\":\"{kind}\"}}", dice.below(90))
                .unwrap();
            time += dice.below(200_000);
        }
        text.push_str("]}\n");
    }
    let path = directory.join("train.jsonl");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn otto_sessions_become_their_events() {
    let directory = tempfile::tempdir().unwrap();
    let path = otto(directory.path());
    let events = std::fs::read_to_string(&path).unwrap().matches("\"aid\"").count();
    let (sorted, _) = replayed("otto", &path, "otto", "--sort");
    assert_eq!((&sorted["replay"]["rows"], &sorted["records"]), (&120.into(), &events.into()));
    assert_eq!(expected(&sorted, "click", "late"), 0);
    // As it is, session after session: much is late, and every one of it is foreseen.
    let (unsorted, daemon) = replayed("unsorted", &path, "otto", "");
    assert!(expected(&unsorted, "click", "late") > 100);
    assert_eq!(daemon["events"], events);
}

#[test]
fn nothing_is_sent_of_what_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = taobao(directory.path());
    let path = path.to_str().unwrap();
    let said = |words: &[&str]| {
        // Nobody listens there: whoever asked the broker would not come to an end so soon.
        let out = directory.path().join("out").display().to_string();
        let rest = ["-b", "127.0.0.1:1", "--out", out.as_str()];
        outcome(&nazar_load(&[&["replay"], words, rest.as_slice()].concat()))
    };
    let (code, text) = said(&[path, "--map", "taobao", "--strict"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("3 rows cannot be mapped") && text.contains("unknown_kind: 1"), "{text}");
    let (code, text) = said(&[path, "--map", "tao"]);
    assert!(code == 2 && text.contains("taobao, retailrocket, rees46, olist, otto"), "{text}");
    let (code, text) = said(&[path, "--map", "rees46"]);
    assert!(code == 1 && text.contains("rees46 does not fit"), "{text}");
    assert!(text.contains("there is no column `event_type`"), "{text}");
    let (code, text) = said(&[path, "--map", "taobao", "--sort", "--sort-memory", "1KiB"]);
    assert!(code == 1 && text.contains("raise --sort-memory"), "{text}");
    let (code, text) = said(&[path, "--map", "taobao", "--limit", "0"]);
    assert!(code == 1 && text.contains("no event"), "{text}");
    let (code, text) = said(&["none.csv", "--map", "taobao"]);
    assert!(code == 1 && text.contains("open none.csv"), "{text}");
    let (code, text) = said(&[path, "--map", "taobao", "--speed", "fast"]);
    assert!(code == 2 && text.contains("10x or 0.5x"), "{text}");
    assert!(!directory.path().join("out").exists());
}
