//! A log that stands still, read once to its end, against the oracle.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::daemon::Daemon;
use crate::kafka::Kafka;
use crate::load::{Load, outcome};
use crate::redis_server::Server;
use crate::rejects::letters;

const DROPPED: [&str; 5] = ["late", "duplicate", "malformed", "future", "tombstone"];
const WINDOWS: &str =
    r#"[{size="1m",slide="1s"},{size="10m",slide="1m",closed_step="5m"},{size="1h",slide="15m"}]"#;

/// Reads everything to the end, keeps every closed board, and leaves the JSON line in a file.
fn bounded(daemon: Daemon, json: &Path) -> (Daemon, Value) {
    let daemon = daemon.set("redis.closed_keep", "0").set("redis.history_keep", "0");
    let output = daemon.bounded();
    assert_eq!(output.status.code(), Some(0), "{}", outcome(&output).1);
    std::fs::write(json, &output.stdout).unwrap();
    let line = std::str::from_utf8(&output.stdout).unwrap();
    assert_eq!(line.lines().count(), 1, "one line on stdout: {line}");
    (daemon, serde_json::from_str(line).unwrap())
}

fn count(json: &Value, field: &str) -> u64 {
    json[field].as_u64().unwrap_or_else(|| panic!("{field} in {json}"))
}

/// The daemon's line against the generator's labels, reason by reason and topic by topic. A
/// daemon that does not look for duplicates applies them.
fn ledger_is_the_generators(result: &Value, account: &Value, deduplicated: bool) {
    let topics = account["topics"].as_array().unwrap();
    for topic in topics.iter().filter(|topic| topic["kind"] != "order_status") {
        let name = topic["topic"].as_str().unwrap();
        let (found, labels) = (&result["topics"][name], &topic["expected"]["counts"]);
        let kept = if deduplicated { 0 } else { count(labels, "duplicate") };
        assert_eq!(count(found, "applied"), count(labels, "applied") + kept, "{name} applied");
        for reason in DROPPED {
            let kept = if reason == "duplicate" { kept } else { 0 };
            assert_eq!(count(found, reason), count(labels, reason) - kept, "{name} {reason}");
        }
    }
}

#[test]
fn every_closed_window_of_a_faulty_log_equals_the_oracle() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "bounded");
    kafka.create_topic("bounded.dead", 1, &[]);
    load.run("--events 40000 --event-time-span 2h --partitions 12 --inject usual");

    let json = directory.path().join("daemon.json");
    let daemon = Daemon::new(&directory, "bounded", &kafka.brokers(), &redis.url());
    let (daemon, result) = bounded(daemon.set("window", WINDOWS), &json);

    let verified = |options: &str| {
        let options = format!("--daemon-json {} {options}", json.display());
        outcome(&load.verify(&redis.url(), &options))
    };
    let (code, report) = verified("");
    assert_eq!(code, 0, "{report}");
    assert!(report.contains("\n0 differences; 40000 records"), "{report}");

    assert_eq!(count(&result, "events"), 40_000);
    ledger_is_the_generators(&result, &load.account(), false);
    for reason in ["late", "malformed", "future"] {
        assert!(count(&result, reason) > 0, "the log holds no {reason} record");
    }
    assert_eq!(count(&result, "duplicate"), 0, "duplicates count unless they are looked for");

    let (_, dead_letters) = kafka.offsets("bounded.dead", 0);
    assert_eq!(dead_letters as u64, count(&result, "malformed") + count(&result, "future"));

    // The prefix is finished: a second start changes nothing and says what would help.
    let (code, said) = outcome(&daemon.refused());
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("nazar reset"), "{said}");

    // One member by hand: found and named.
    let mut connection = redis.connect();
    let key: String = {
        let end: Vec<String> = redis.ask("ZRANGE {bounded}:closed:ends:10m 5 5");
        format!("{{bounded}}:closed:top:product:clicks:10m:{}", end[0])
    };
    let member: Vec<String> = redis.ask(&format!("ZRANGE {key} 3 3"));
    redis::cmd("ZINCRBY").arg(&key).arg(1).arg(&member[0]).exec(&mut connection).unwrap();
    let (code, report) = verified("");
    assert_eq!(code, 3, "{report}");
    assert!(report.contains(&format!("DIFFERENT  {key} {}", member[0])), "{report}");
    assert!(report.contains("\n1 differences"), "{report}");
}

#[test]
fn other_windows_and_deduplication_read_the_same_log_exactly() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "tumbling");
    kafka.create_topic("tumbling.dead", 1, &[]);
    load.run(
        "--events 20000 --event-time-span 2h --partitions 3 --base-pane 5m --inject usual,dup=2%",
    );

    // Two levels of panes: five minutes, and their roll-up to half an hour.
    let json = directory.path().join("daemon.json");
    let daemon = Daemon::new(&directory, "tumbling", &kafka.brokers(), &redis.url())
        .set("window", r#"[{size="5m",slide="5m"},{size="1h",slide="30m"}]"#)
        .set("deduplicate.enabled", "true");
    let (_, result) = bounded(daemon, &json);
    assert!(count(&result, "duplicate") > 300, "{result}");
    ledger_is_the_generators(&result, &load.account(), true);

    let options = format!("--daemon-json {}", json.display());
    let (code, report) = outcome(&load.verify(&redis.url(), &options));
    assert_eq!(code, 0, "{report}");
    assert!(report.contains("\n0 differences; 20000 records"), "{report}");
}

/// Records that must be rejected, by the reason that the generator says.
fn rejects_expected(account: &Value) -> BTreeMap<String, u64> {
    let mut reasons = BTreeMap::new();
    for topic in account["topics"].as_array().unwrap() {
        for drifted in topic["expected"]["drifted_by"].as_object().into_iter().flatten() {
            if let Some(reason) = drifted.1["malformed"].as_str() {
                *reasons.entry(reason.to_owned()).or_default() += count(drifted.1, "records");
            }
        }
    }
    reasons
}

#[test]
fn an_attack_shows_in_the_views_and_drifted_records_meet_their_fates() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "attack");
    kafka.create_topic("attack.dead", 1, &[]);
    load.run(
        "--events 12000 --event-time-span 20m --partitions 3 --scenario bot-attack \
         --inject drift=3%,late=1%,dup=1%",
    );
    let json = directory.path().join("daemon.json");
    let daemon = Daemon::new(&directory, "attack", &kafka.brokers(), &redis.url());
    let (_, result) = bounded(daemon.set("window", r#"[{size="1m",slide="1s"}]"#), &json);
    let verified = || {
        let options = format!("--daemon-json {}", json.display());
        outcome(&load.verify(&redis.url(), &options))
    };
    let (code, report) = verified();
    assert_eq!(code, 0, "{report}");
    assert!(report.contains("\n0 differences; 12000 records"), "{report}");
    let mut account = load.account();
    let stated = account["scenario"]["statements"].as_array().unwrap();
    let all = format!("bot-attack: {0} of {0} statements judged", stated.len());
    assert!(stated.len() >= 8 && report.contains(&all), "{report}");

    // The targets are where the generator says, for as long as it says.
    let lead = &stated[0];
    let mut targets: Vec<&str> = lead["claim"]["leads"]["entities"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    targets.sort_unstable();
    for end in [count(lead, "first_end_ms"), count(lead, "last_end_ms")] {
        let key = format!("{{attack}}:closed:top:product:clicks:1m:{end}");
        let mut first: Vec<String> = redis.ask(&format!("ZRANGE {key} 0 3 REV"));
        first.sort_unstable();
        assert_eq!(first, targets);
    }

    // What has drifted is rejected for the reason that was foreseen, or applied.
    ledger_is_the_generators(&result, &account, false);
    let expected = rejects_expected(&account);
    let rejected = count(&result, "malformed");
    assert!(rejected > 80 && expected.values().sum::<u64>() == rejected, "{expected:?} {result}");
    let mut reasons = BTreeMap::new();
    for (headers, ..) in letters(kafka, "attack.dead", rejected as usize) {
        *reasons.entry(headers["nazar.error.reason"].clone()).or_default() += 1;
    }
    assert_eq!(reasons, expected);

    // A statement that the log does not bear out is a difference.
    account["scenario"]["statements"][0]["claim"]["leads"]["entities"][0] = "nobody".into();
    std::fs::write(load.out.join("run.json"), account.to_string()).unwrap();
    let (code, report) = verified();
    assert_eq!(code, 3, "{report}");
    assert!(report.contains("scenario: 1m window that ends at"), "{report}");
}
