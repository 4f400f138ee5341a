//! History computed anew, and put in the place of what was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::process::Output;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::daemon::Daemon;
use crate::kafka::Kafka;
use crate::load::{Load, outcome};
use crate::redis_server::{Server, ask};

const WINDOWS: &str =
    r#"[{size="1m",slide="1s"},{size="10m",slide="1m",closed_step="5m"},{size="1h",slide="15m"}]"#;
const LABELS: [&str; 3] = ["1m", "10m", "1h"];
const MINUTE: i64 = 60_000;

/// Fields of a history entry by name, by window and end.
type History = BTreeMap<(&'static str, i64), BTreeMap<String, String>>;
/// Content of closed boards, distinct counts and their lists, by what follows the prefix.
type Closed = BTreeMap<String, Vec<Vec<u8>>>;

fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn rfc3339(millis: i64) -> String {
    let since = Duration::from_millis(millis as u64);
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

fn history(redis: &Server, prefix: &str) -> History {
    let mut history = History::new();
    for label in LABELS {
        let rows: Vec<(String, BTreeMap<String, String>)> =
            redis.ask(&format!("XRANGE {{{prefix}}}:history:{label} - +"));
        for (id, fields) in rows {
            history.insert((label, id.strip_suffix("-0").unwrap().parse().unwrap()), fields);
        }
    }
    history
}

fn closed(redis: &Server, prefix: &str) -> Closed {
    let mut connection = redis.connect();
    let keys: Vec<String> = ask(&mut connection, &format!("KEYS {{{prefix}}}:closed:*"));
    let strip = |text: &[u8]| {
        String::from_utf8_lossy(text).replace(&format!("{{{prefix}}}"), "{}").into_bytes()
    };
    let mut closed = Closed::new();
    for key in keys {
        let kind: String = ask(&mut connection, &format!("TYPE {key}"));
        let content: Vec<Vec<u8>> = match kind.as_str() {
            "zset" => ask(&mut connection, &format!("ZRANGE {key} 0 -1 WITHSCORES")),
            "string" => vec![ask(&mut connection, &format!("GET {key}"))],
            _ => {
                let members: Vec<Vec<u8>> = ask(&mut connection, &format!("SMEMBERS {key}"));
                let mut members: Vec<_> = members.iter().map(|member| strip(member)).collect();
                members.sort();
                members
            }
        };
        assert!(ask::<i64>(&mut connection, &format!("PTTL {key}")) > 0 || key.contains(":ends:"));
        closed.insert(key.split_once('}').unwrap().1.to_owned(), content);
    }
    closed
}

/// The end of a closed window in the name of a key; the lists of ends have none.
fn end_of(key: &str) -> Option<i64> {
    key.rsplit_once(':')?.1.parse().ok()
}

fn backfill(daemon: &Daemon, prefix: &str, (from, to): (i64, i64), more: &[&str]) -> Output {
    let (from, to) = (rfc3339(from), rfc3339(to));
    let words = ["--prefix", prefix, "--from", &from, "--to", &to];
    daemon.other("backfill", &[&words, more].concat())
}

fn start_backfill(
    daemon: &Daemon,
    prefix: &str,
    (from, to): (i64, i64),
    more: &[&str],
) -> std::process::Child {
    let (from, to) = (rfc3339(from), rfc3339(to));
    let words = ["--prefix", prefix, "--from", &from, "--to", &to];
    daemon.start_other("backfill", &[&words, more].concat())
}

fn json(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", outcome(output).1);
    let line = std::str::from_utf8(&output.stdout).unwrap();
    assert_eq!(line.lines().count(), 1, "one line on stdout: {line}");
    serde_json::from_str(line).unwrap()
}

/// Compares what stands under two prefixes, and names the first few differences only.
fn same<K: Ord + Debug, V: PartialEq + Debug>(found: &BTreeMap<K, V>, expected: &BTreeMap<K, V>) {
    let keys: BTreeSet<&K> = found.keys().chain(expected.keys()).collect();
    let differ = keys.into_iter().filter(|key| found.get(key) != expected.get(key));
    let differ: Vec<String> = differ
        .map(|key| format!("{key:?}\n  {:?}\n  {:?}", found.get(key), expected.get(key)))
        .collect();
    let few: Vec<&String> = differ.iter().take(3).collect();
    assert!(differ.is_empty(), "{} differences: {few:#?}", differ.len());
}

/// By window: a count of what a promotion says.
fn counts(report: &Value, what: &str) -> Vec<u64> {
    report["windows"].as_array().unwrap().iter().map(|row| row[what].as_u64().unwrap()).collect()
}

#[test]
fn a_period_in_the_middle_of_a_log_is_what_the_whole_log_says_of_it() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "middle");
    kafka.create_topic("middle.dead", 1, &[]);
    let end = now_millis() / MINUTE * MINUTE - 30 * MINUTE;
    let hours = "--events 30000 --event-time-span 4h --partitions 3 --inject usual";
    load.run(&format!("{hours} --base-time {end}"));

    let daemon = Daemon::new(&directory, "middle", &kafka.brokers(), &redis.url())
        .set("window", WINDOWS)
        .set("redis.closed_keep", "0")
        .set("redis.history_keep", "0");
    json(&daemon.bounded());
    let (whole, whole_closed) = (history(&redis, "middle"), closed(&redis, "middle"));
    let (_, letters) = kafka.offsets("middle.dead", 0);
    assert!(letters > 0);

    // An end at the very beginning of the period is not in it, one at its end is.
    let (from, to) = (end - 120 * MINUTE, end - 45 * MINUTE);
    let wanted = |end: i64| from < end && end <= to;
    let result = json(&backfill(&daemon, "part", (from, to), &[]));
    let part = history(&redis, "part");
    let expected: History =
        whole.iter().filter(|((_, end), _)| wanted(*end)).map(|(k, v)| (*k, v.clone())).collect();
    assert_eq!(expected.len(), 75 + 15 + 5, "the ends of the period");
    same(&part, &expected);
    assert!(part.values().all(|fields| fields["complete"] == "1" && fields["proven"] == "1"));
    assert_eq!(result["windows_closed"], part.len());
    assert_eq!(
        (&result["from_ms"], &result["to_ms"], &result["prefix"]),
        (&from.into(), &to.into(), &"part".into())
    );
    let read = result["events"].as_u64().unwrap();
    assert!((10_000..30_000).contains(&read), "{read} of the log's records were read");

    let part_closed = closed(&redis, "part");
    let is_wanted = |key: &String| end_of(key).is_some_and(wanted);
    let expected: Closed = whole_closed.into_iter().filter(|(key, _)| is_wanted(key)).collect();
    let (views, ends): (Closed, Closed) =
        part_closed.into_iter().partition(|(key, _)| end_of(key).is_some());
    same(&views, &expected);
    assert_eq!(ends.len(), LABELS.len());
    assert_eq!(kafka.offsets("middle.dead", 0).1, letters, "rejects are not dead letters twice");
    let latest: Vec<String> = redis.ask("KEYS {part}:t*");
    assert_eq!(latest, Vec::<String>::new(), "no latest views of the past");

    // The first half of one partition goes. What it held in part is not called complete.
    kafka.delete_records("middle.click", 0, kafka.offsets("middle.click", 0).1 / 2);
    json(&backfill(&daemon, "torn", (from, to), &[]));
    let torn = history(&redis, "torn");
    assert!(torn.keys().eq(part.keys()), "every window of the period has its entry");
    let start = |fields: &BTreeMap<String, String>| fields["window_start"].parse::<i64>().unwrap();
    let (sound, torn_ones): (Vec<_>, Vec<_>) =
        torn.iter().partition(|(_, fields)| fields["complete"] == "1");
    let covered_from = sound.iter().map(|(_, fields)| start(fields)).min().unwrap();
    assert!(torn_ones.iter().all(|(_, fields)| start(fields) < covered_from));
    let middle = end - 120 * MINUTE;
    assert!((covered_from - middle).abs() < 20 * MINUTE, "{covered_from} {middle}");
    assert!(torn_ones.len() > LABELS.len(), "{} windows", torn_ones.len());
    assert!(sound.iter().all(|(key, fields)| &part[*key] == *fields));
}

#[test]
fn a_killed_backfill_goes_on_where_it_was() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "again");
    kafka.create_topic("again.dead", 1, &[]);
    let end = now_millis() / MINUTE * MINUTE - 30 * MINUTE;
    let hours = "--events 60000 --event-time-span 4h --partitions 3 --inject usual";
    load.run(&format!("{hours} --base-time {end}"));
    let daemon = Daemon::new(&directory, "again", &kafka.brokers(), &redis.url())
        .set("window", WINDOWS)
        .set("redis.lease", "1s")
        .set("checkpoint.every", "1s")
        .set("redis.flush", "50ms");
    let period = (end - 150 * MINUTE, end - 30 * MINUTE);
    json(&backfill(&daemon, "undisturbed", period, &["--keep-all"]));

    // One that has begun to write, and not ended, is stopped by its Redis, and then killed.
    let killed = (0..10).map(|number| format!("killed{number}")).find(|prefix| {
        let mut child = start_backfill(&daemon, prefix, period, &["--keep-all"]);
        let begun = format!("XLEN {{{prefix}}}:history:1m");
        while redis.ask::<u64>(&begun) == 0 {
            assert!(child.try_wait().unwrap().is_none(), "it ended without a word");
            std::thread::sleep(Duration::from_millis(1));
        }
        redis.ask::<()>("CLIENT PAUSE 10000 WRITE");
        child.kill().unwrap();
        child.wait().unwrap();
        redis.ask::<()>("CLIENT UNPAUSE");
        !redis.ask::<bool>(&format!("HEXISTS {{{prefix}}}:meta ended"))
    });
    let prefix = killed.expect("one of ten is killed in time");
    let begun: u64 = redis.ask(&format!("XLEN {{{prefix}}}:history:1m"));
    eprintln!("killed with {begun} of 120 entries");
    while redis.ask::<bool>(&format!("EXISTS {{{prefix}}}:lease")) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let (code, said) =
        outcome(&daemon.other("promote", &["--prefix", &prefix, "--set", "redis.prefix=x"]));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("has not ended"), "{said}");

    let resumed = backfill(&daemon, &prefix, period, &["--keep-all"]);
    assert!(outcome(&resumed).1.contains("going on with what was begun"));
    let resumed = json(&resumed);
    assert_eq!(resumed["events_after_close"], 0);
    same(&history(&redis, &prefix), &history(&redis, "undisturbed"));
    let (mut found, mut expected) = (closed(&redis, &prefix), closed(&redis, "undisturbed"));
    // Boards that were written in the last moment are in place, and need not be listed.
    found.retain(|key, _| end_of(key).is_some());
    expected.retain(|key, _| end_of(key).is_some());
    same(&found, &expected);
}

#[test]
fn lost_history_comes_back_and_the_daemon_goes_on() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "lost");
    kafka.create_topic("lost.dead", 1, &[]);
    let end = now_millis() / MINUTE * MINUTE - 30 * MINUTE;
    let hours = "--events 20000 --event-time-span 3h --partitions 3 --inject usual";
    load.run(&format!("{hours} --base-time {end}"));

    let live = Daemon::new(&directory, "lost", &kafka.brokers(), &redis.url())
        .set("window", WINDOWS)
        .set("checkpoint.every", "1s")
        .set("redis.lease", "2s");
    let mut daemon = live.start();
    let through = |label: &str| {
        redis.ask::<Option<i64>>(&format!("HGET {{lost}}:meta closed_through:{label}")).unwrap_or(0)
    };
    daemon.until("the log has closed", |_| through("1m") >= end - 2 * MINUTE);

    // Its status tells of every partition, and of the one that windows wait for.
    let status = || -> Value {
        let output = live.other("status", &["--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
    };
    daemon.until("a checkpoint tells that all is merged", |_| {
        let status = status();
        let rows = status["partitions"].as_array().unwrap();
        rows.len() == 9 && rows.iter().all(|row| row["records_behind"] == 0)
    });
    let said = status();
    let rows = said["partitions"].as_array().unwrap();
    let number = |row: &Value, field: &str| row[field].as_i64().unwrap();
    assert_eq!(rows.iter().map(|row| number(row, "cursor")).sum::<i64>(), 20_000);
    assert!(rows.iter().all(|row| number(row, "lets_close") >= number(row, "watermark")));
    assert!(rows.is_sorted_by_key(|row| number(row, "lets_close")));
    let because = said["held_back_because"].as_str().unwrap();
    assert!(because.contains("nothing has come") || because.contains("all of it"), "{because}");
    let held_by = rows.iter().find(|row| row["partition"] == said["held_back_by"]);
    assert!(held_by.is_some(), "{said}");

    // Not while a daemon is at work.
    let period = (end - 180 * MINUTE, through("1m"));
    json(&backfill(&live, "next", period, &[]));
    let promote = |prefix: &str| live.other("promote", &["--prefix", prefix, "--json"]);
    let (code, said) = outcome(&promote("next"));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("stop it first"), "{said}");

    assert_eq!(daemon.terminate(Duration::from_secs(40)).0, 0, "{}", daemon.log());
    drop(daemon);
    let (undisturbed, undisturbed_closed) = (history(&redis, "lost"), closed(&redis, "lost"));
    assert!(undisturbed.keys().all(|(_, end)| *end <= period.1), "nothing has closed since");
    let meta: BTreeMap<String, String> = redis.ask("HGETALL {lost}:meta");
    let manifest: BTreeMap<String, Vec<u8>> = redis.ask("HGETALL {lost}:manifest");

    // What stands already is not touched.
    let equal = json(&promote("next"));
    assert_eq!(counts(&equal, "added").iter().sum::<u64>(), 0, "{equal}");
    assert_eq!(counts(&equal, "replaced").iter().sum::<u64>(), 0, "{equal}");
    assert_eq!(counts(&equal, "equal").iter().sum::<u64>(), undisturbed.len() as u64);
    same(&closed(&redis, "lost"), &undisturbed_closed);

    let mut connection = redis.connect();
    for pattern in ["{lost}:history:*", "{lost}:closed:*"] {
        for key in ask::<Vec<String>>(&mut connection, &format!("KEYS {pattern}")) {
            ask::<()>(&mut connection, &format!("DEL {key}"));
        }
    }
    // One window came back wrong, one board too many.
    let wrong = through("1m") - 5 * MINUTE;
    ask::<String>(&mut connection, &format!("XADD {{lost}}:history:1m {wrong}-0 complete 1"));
    ask::<()>(&mut connection, &format!("ZADD {{lost}}:closed:ends:1m {wrong} {wrong}"));
    let stray = format!("{{lost}}:closed:uniques:click:category:stray:1m:{wrong}");
    ask::<()>(&mut connection, &format!("SET {stray} x"));
    ask::<()>(&mut connection, &format!("SADD {{lost}}:closed:members:1m:{wrong} {stray}"));
    let report = json(&promote("next"));
    assert_eq!(counts(&report, "replaced"), [1, 0, 0], "{report}");
    assert_eq!(counts(&report, "not_closed"), [0, 0, 0], "{report}");
    assert_eq!(counts(&report, "boards"), [10, 10, 10], "{report}");
    same(&history(&redis, "lost"), &undisturbed);
    let mut found = closed(&redis, "lost");
    let mut expected = undisturbed_closed;
    // The list of the window that was wrong may name what is gone.
    let list = format!(":closed:members:1m:{wrong}");
    assert!(found.remove(&list).is_some() && expected.remove(&list).is_some());
    same(&found, &expected);
    assert_eq!(redis.ask::<i64>("PTTL {lost}:history:1m"), -1, "history stays");
    assert_eq!(redis.ask::<Vec<String>>("KEYS {lost}:tmp:*"), Vec::<String>::new());
    let leaves = |name: &str| name != "leader";
    let now: BTreeMap<String, String> = redis.ask("HGETALL {lost}:meta");
    assert!(now.iter().filter(|(n, _)| leaves(n)).eq(meta.iter().filter(|(n, _)| leaves(n))));
    assert_eq!(redis.ask::<BTreeMap<String, Vec<u8>>>("HGETALL {lost}:manifest"), manifest);

    // The daemon goes on from its checkpoint, with what is there.
    let daemon = live.start();
    load.run("--events 3000 --event-time-span 10m");
    daemon.until("more closes", |_| through("1m") > end + 10 * MINUTE);
    assert!(daemon.log().contains("the checkpoint is restored"), "{}", daemon.log());
    assert_eq!(daemon.metric("nazar_republishes_total", ""), Some(0.0));
    let later = history(&redis, "lost");
    assert!(undisturbed.iter().all(|(key, fields)| later[key] == *fields), "rewritten");
    assert!(later.keys().filter(|(label, _)| *label == "1m").count() > 180);
}

#[test]
fn what_does_not_fit_is_refused() {
    let (kafka, redis) = (Kafka::shared(), Server::start());
    let directory = tempfile::tempdir().unwrap();
    let load = Load::new(kafka, &directory, "fit");
    kafka.create_topic("fit.dead", 1, &[]);
    let end = now_millis() / MINUTE * MINUTE - 30 * MINUTE;
    load.run(&format!("--events 3000 --event-time-span 30m --partitions 1 --base-time {end}"));
    let daemon = Daemon::new(&directory, "fit", &kafka.brokers(), &redis.url());
    let period = (end - 20 * MINUTE, end - 10 * MINUTE);
    let refused = |output: Output, words: &[&str]| {
        let (code, said) = outcome(&output);
        assert_eq!(code, 2, "{said}");
        for word in words {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
    };
    let promote = |prefix: &str| daemon.other("promote", &["--prefix", prefix]);

    refused(backfill(&daemon, "fit", period, &[]), &["redis.prefix itself"]);
    refused(backfill(&daemon, "next", (period.1, period.0), &[]), &["--from"]);
    let future = (period.0, now_millis() + MINUTE);
    refused(backfill(&daemon, "next", future, &[]), &["--to", "time.lateness"]);
    refused(promote("next"), &["nazar backfill"]);
    assert_eq!(redis.ask::<u64>("DBSIZE"), 0, "nothing was touched");

    json(&backfill(&daemon, "next", period, &[]));
    // Complete, or another period, or another meaning, or not a backfill.
    refused(backfill(&daemon, "next", period, &[]), &["complete", "nazar reset"]);
    let other = (period.0, period.1 - MINUTE);
    refused(backfill(&daemon, "next", other, &[]), &["another period"]);
    let patient = daemon.clone().set("time.lateness", "30s");
    let change = "lateness_ms: stored 60000, now 30000";
    refused(backfill(&patient, "next", period, &[]), &["another configuration", change]);
    refused(promote("next"), &["nothing has been written under the prefix fit"]);

    let mut running = daemon.start();
    running.until("it closes windows", |_| redis.ask::<u64>("XLEN {fit}:history:1m") > 5);
    let elsewhere = daemon.clone().set("redis.prefix", "x");
    let (code, said) = outcome(&backfill(&elsewhere, "fit", period, &[]));
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("somebody writes under fit"), "{said}");
    assert_eq!(running.terminate(Duration::from_secs(40)).0, 0, "{}", running.log());
    refused(promote("fit"), &["redis.prefix itself"]);
    refused(backfill(&elsewhere, "fit", period, &[]), &["no backfill has made"]);
    refused(elsewhere.other("promote", &["--prefix", "fit"]), &["no backfill has made"]);
    refused(patient.other("promote", &["--prefix", "next"]), &["another configuration", change]);
    json(&backfill(&patient, "patient", period, &[]));
    refused(promote("patient"), &["patient", "another configuration"]);
    // A daemon does not go on where a backfill was.
    let (code, said) = outcome(&daemon.clone().set("redis.prefix", "next").refused());
    assert_eq!(code, 2, "{said}");

    let done = promote("next");
    assert_eq!(done.status.code(), Some(0), "{}", outcome(&done).1);
}
