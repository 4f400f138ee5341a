//! One log, read by one instance, by two, by four, and by one that is killed ten times: what was
//! closed has to be the same, byte by byte.
//!
//! Every run has a Redis of its own and the same prefix. The instances of a run join the group
//! before any of them may lead, so that each reads its share from the beginning. Compared is
//! everything of a closed window but `quiet` and `proven` in its history entry: those say when
//! it was closed, not what is in it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nazar::load::rng::Rng;
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::{Daemon, Running};
use crate::judge::{Excuses, judge};
use crate::kafka::Kafka;
use crate::load::Load;
use crate::outcome::Outcome;
use crate::redis_server::{Server, ask};
use crate::watch::sum_of_offsets;

const NAME: &str = "faults-same-log";
const PARTITIONS: usize = 12;
const WINDOWS: &str = r#"[{size="1m",slide="10s",closed_step="1m"},{size="15m",slide="1m",closed_step="1m"},{size="2h",slide="5m",closed_step="5m"}]"#;
const LABELS: [&str; 3] = ["1m", "15m", "2h"];
/// The longest step between two closed windows.
const STEP_MS: i64 = 5 * 60_000;
/// Event time of the log; also how far its records may lie behind it.
const SPAN: &str = "2h";
const LATENESS_MS: i64 = 60_000;
const LEASE: Duration = Duration::from_secs(2);
const RUN_MAX: Duration = Duration::from_secs(600);
const STEP: Duration = Duration::from_millis(20);

struct Case {
    what: &'static str,
    instances: usize,
    kills: usize,
}

const CASES: [Case; 4] = [
    Case { what: "one instance", instances: 1, kills: 0 },
    Case { what: "two instances", instances: 2, kills: 0 },
    Case { what: "four instances", instances: 4, kills: 0 },
    Case { what: "one, killed ten times", instances: 1, kills: 10 },
];

/// By key: a hash of what it holds.
type Contents = BTreeMap<String, u64>;

/// The log all cases read, and from when on its closed windows may not be decided yet.
struct Log {
    kafka: &'static Kafka,
    load: Load,
    records: i64,
    decided_ms: i64,
}

pub fn play(records: u64, seed: u64, outcome: &mut Outcome) -> anyhow::Result<()> {
    let kafka = Kafka::shared();
    let directory = tempfile::tempdir()?;
    let mut load = Load::new(kafka, &directory, NAME);
    load.seed = seed;
    kafka.create_topic(&format!("{NAME}.dead"), 1, &[]);
    load.run(&format!(
        "--events {records} --event-time-span {SPAN} --partitions {PARTITIONS} --inject usual \
         --base-pane 10s"
    ));
    let account = load.account();
    let end_ms = account["parameters"]["end_ms"].as_str().context("end_ms in run.json")?;
    let decided_ms = end_ms.parse::<i64>()? - LATENESS_MS - STEP_MS;
    outcome.produced = account["records"].as_u64().context("records in run.json")?;
    let log = Log { kafka, load, records: outcome.produced as i64, decided_ms };

    let mut first: Option<Contents> = None;
    for (number, case) in CASES.iter().enumerate() {
        let redis = Server::start();
        let started = Instant::now();
        let mut rng = Rng::new(seed, number as u64);
        let said = log.run(case, &redis, &directory, &mut rng).with_context(|| case.what)?;
        let contents = contents(&redis, log.decided_ms);
        let mut hasher = DefaultHasher::new();
        contents.hash(&mut hasher);
        let hash = hasher.finish();
        outcome.runs += 1;
        outcome.proofs.push(format!(
            "{}: {} keys of closed windows, hash {hash:016x}, {:.0} s, {said}",
            case.what,
            contents.len(),
            started.elapsed().as_secs_f64()
        ));
        let meta = |field: &str| redis.ask::<u64>(&format!("HGET {{{NAME}}}:meta {field}"));
        outcome.events_after_close += meta("events_after_close");
        match &first {
            None => {
                log.judge(&redis, outcome)?;
                first = Some(contents);
            }
            Some(first) => compare(case.what, first, &contents, outcome),
        }
    }
    if outcome.events_after_close > 0 {
        outcome.fail(format!("{} records came after close", outcome.events_after_close));
    }
    Ok(())
}

fn compare(what: &str, expected: &Contents, found: &Contents, outcome: &mut Outcome) {
    let missing = expected.keys().filter(|&key| !found.contains_key(key));
    let more = found.keys().filter(|&key| !expected.contains_key(key));
    let other = expected.iter().filter(|&(key, hash)| found.get(key).is_some_and(|it| it != hash));
    outcome.under += missing.clone().count() as u64 + other.clone().count() as u64;
    outcome.over += more.clone().count() as u64;
    for key in missing.chain(more).chain(other.map(|(key, _)| key)).take(5) {
        outcome.fail(format!("{what}: {key} is not as with one instance"));
    }
}

impl Log {
    /// Reads the whole log; says who read how much, or how far each kill let it come.
    fn run(
        &self,
        case: &Case,
        redis: &Server,
        directory: &TempDir,
        rng: &mut Rng,
    ) -> anyhow::Result<String> {
        let group = case.what.replace([' ', ','], "-");
        let daemon = || {
            Daemon::new(directory, NAME, &self.kafka.brokers(), &redis.url())
                .set("kafka.group", &format!("{NAME}-{group}"))
                .set("window", WINDOWS)
                .set("time.lateness", &format!("{LATENESS_MS}ms"))
                .set("redis.lease", &format!("{}s", LEASE.as_secs()))
                .set("redis.closed_keep", "0")
                .set("redis.history_keep", "0")
                .set("checkpoint.every", "1s")
                .set("kafka.properties.session.timeout.ms", "6000")
        };
        let prepared: Vec<Daemon> = (0..case.instances).map(|_| daemon()).collect();
        // Somebody else's lease: all follow, and share the partitions, until it is gone.
        redis.ask::<()>(&format!("SET {{{NAME}}}:lease nobody PX 600000"));
        let mut running: Vec<Running> = prepared.iter().map(Daemon::start).collect();
        let owned = |daemon: &Running| -> usize {
            let log = daemon.log();
            let last = log.lines().rev().find_map(|line| line.rsplit_once(" owned="));
            last.map_or(0, |(_, count)| count.parse().unwrap())
        };
        running[0].until("all have their shares of the partitions", |_| {
            let shares: Vec<usize> = running.iter().map(owned).collect();
            shares.iter().all(|share| *share > 0) && shares.iter().sum::<usize>() == 3 * PARTITIONS
        });
        redis.ask::<()>(&format!("DEL {{{NAME}}}:lease"));
        let mut reached = Vec::new();
        for _ in 0..case.kills {
            self.wait(redis, |redis| {
                let applied = running[0].metric("nazar_events_applied_total", "");
                applied.is_some_and(|applied| applied > 0.0) || self.is_through(redis)
            })?;
            std::thread::sleep(Duration::from_millis(rng.between(0, 2_000) as u64));
            reached.push(format!("{}%", 100 * self.published(redis) / self.records));
            running[0].kill();
            running[0] = prepared[0].start();
        }
        self.wait(redis, |redis| self.is_through(redis))?;
        running.iter().for_each(Running::until_ready);
        let applied = |daemon: &Running| daemon.metric("nazar_events_applied_total", "");
        let shares: Vec<f64> = running.iter().filter_map(applied).collect();
        let codes: Vec<i32> =
            running.iter_mut().map(|daemon| daemon.terminate(Duration::from_secs(60)).0).collect();
        ensure!(codes.iter().all(|code| *code == 0), "at SIGTERM they ended with {codes:?}");
        if case.kills > 0 {
            return Ok(format!("killed with {} of the log published", reached.join(", ")));
        }
        ensure!(shares.iter().all(|share| *share > 0.0), "applied: {shares:?}");
        Ok(format!("applied {shares:?}"))
    }

    fn wait(&self, redis: &Server, holds: impl Fn(&Server) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + RUN_MAX;
        while !holds(redis) {
            ensure!(Instant::now() < deadline, "{} records published", self.published(redis));
            std::thread::sleep(STEP);
        }
        Ok(())
    }

    /// Records that the latest views of the first window explain.
    fn published(&self, redis: &Server) -> i64 {
        let offsets = redis.ask::<Option<String>>(&format!("HGET {{{NAME}}}:meta offsets:1m"));
        sum_of_offsets(&offsets.unwrap_or_default())
    }

    fn is_through(&self, redis: &Server) -> bool {
        let closed = |label: &&str| {
            let field = format!("HGET {{{NAME}}}:meta closed_through:{label}");
            redis.ask::<Option<i64>>(&field).is_some_and(|end| end >= self.decided_ms)
        };
        self.published(redis) == self.records && LABELS.iter().all(closed)
    }

    /// The first run is held to the oracle, the others to the first.
    fn judge(&self, redis: &Server, outcome: &mut Outcome) -> anyhow::Result<()> {
        let output = self.load.verify(&redis.url(), "--json --differences 1000");
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(matches!(output.status.code(), Some(0 | 3)), "nazar-load verify: {said}");
        let report: Value = serde_json::from_slice(&output.stdout)?;
        let judgement = judge(&report, &Excuses::default());
        (outcome.over, outcome.under) = (judgement.over, judgement.under);
        judgement.named.into_iter().for_each(|difference| outcome.fail(difference));
        outcome.windows = report["closed"]["found"]["windows"].as_u64().unwrap_or(0);
        outcome.counted = report["records"].as_u64().unwrap_or(0);
        ensure!(outcome.windows > 0, "no closed window was compared");
        Ok(())
    }
}

/// Everything of the windows that end by `decided_ms`.
fn contents(redis: &Server, decided_ms: i64) -> Contents {
    let mut connection = redis.connect();
    let mut contents = Contents::new();
    let mut take = |key: String, value: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        value(&mut hasher);
        contents.insert(key, hasher.finish());
    };
    for label in LABELS {
        let rows: Vec<(String, Vec<(String, String)>)> =
            ask(&mut connection, &format!("XRANGE {{{NAME}}}:history:{label} - {decided_ms}"));
        for (id, mut fields) in rows {
            fields.retain(|(name, _)| name != "quiet" && name != "proven");
            take(format!("history:{label} {id}"), &|hasher| fields.hash(hasher));
        }
    }
    let keys: Vec<String> = ask(&mut connection, &format!("KEYS {{{NAME}}}:closed:*"));
    for key in keys {
        // What lists the closed windows grows with those that are not decided.
        let end = key.rsplit(':').next().and_then(|end| end.parse::<i64>().ok());
        if end.is_none_or(|end| end > decided_ms) {
            continue;
        }
        match ask::<String>(&mut connection, &format!("TYPE {key}")).as_str() {
            "zset" => {
                let rows: Vec<(String, String)> =
                    ask(&mut connection, &format!("ZRANGE {key} 0 -1 WITHSCORES"));
                take(key, &|hasher| rows.hash(hasher));
            }
            "set" => {
                let mut rows: Vec<String> = ask(&mut connection, &format!("SMEMBERS {key}"));
                rows.sort();
                take(key, &|hasher| rows.hash(hasher));
            }
            _ => {
                let bytes: Vec<u8> = ask(&mut connection, &format!("GET {key}"));
                take(key, &|hasher| bytes.hash(hasher));
            }
        }
    }
    contents
}
