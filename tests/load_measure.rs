//! What a run measures, against a broker and a Redis that behave as the test wants.
//!
//! The broker is librdkafka's mock cluster. In place of the daemon a thread looks at the ends of
//! the logs and states them as the offset vector of views: so what is visible when is known.

#[path = "common/redis.rs"]
mod redis_server;
#[path = "common/schema.rs"]
mod schema;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use nazar::load::artefacts::timeline;
use nazar::load::cli::{Cli, Command};
use nazar::load::kafka::{Cluster, log_bounds};
use nazar::load::kind::Kind;
use nazar::load::run::{RunOptions, run};
use nazar::load::run_file::{RunFile, State};
use nazar::load::search::search;
use nazar::load::verdict::Verdict;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use redis_server::Server;
use serde_json::Value;

const PARTITIONS: u32 = 2;

struct World {
    _mock: MockCluster<'static, DefaultProducerContext>,
    brokers: String,
    redis: Server,
    out: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let mock = MockCluster::new(1).unwrap();
        for kind in Kind::ALL {
            mock.create_topic(kind.default_topic(), PARTITIONS as i32, 1).unwrap();
        }
        let brokers = mock.bootstrap_servers();
        let out = tempfile::tempdir().unwrap();
        World { _mock: mock, brokers, redis: Server::start(), out }
    }

    fn words(&self, more: &str) -> Vec<String> {
        let line = format!(
            "run -b {} --out {} --products 300 --sellers 20 --users 400 --no-progress --seed 5 {more}",
            self.brokers,
            self.out.path().display(),
        );
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn options(&self, more: &str) -> RunOptions {
        let words = std::iter::once("nazar-load".to_owned()).chain(self.words(more));
        match Cli::try_parse_from(words).unwrap().command {
            Command::Run(args) => args.options().unwrap(),
            _ => unreachable!(),
        }
    }

    fn watched(&self, more: &str) -> String {
        format!("--redis {} --prefix shop {more}", self.redis.url())
    }

    /// States the ends of the logs as the vector of the views, every 20 ms, while `body` runs and
    /// unless `paused` says so.
    fn with_views<T>(&self, paused: impl Fn() -> bool + Send, body: impl FnOnce() -> T) -> T {
        self.with_daemon(
            move |stated, ends| {
                if !paused() {
                    *stated = ends.to_vec()
                }
            },
            body,
        )
    }

    /// The vector moves on by so many records a second at most.
    fn with_capacity<T>(&self, records_per_second: f64, body: impl FnOnce() -> T) -> T {
        let mut last = Instant::now();
        let mut credit = 0.0;
        let step = move |stated: &mut Vec<i64>, ends: &[i64]| {
            credit += last.elapsed().as_secs_f64() * records_per_second;
            last = Instant::now();
            for (stated, end) in stated.iter_mut().zip(ends) {
                let taken = (end - *stated).min(credit as i64);
                *stated += taken;
                credit -= taken as f64;
            }
            // Time without work is not saved up.
            credit = credit.min(records_per_second * 0.05);
        };
        self.with_daemon(step, body)
    }

    /// A stand-in for the daemon, which states what `step` makes of the ends of the logs.
    fn with_daemon<T>(
        &self,
        mut step: impl FnMut(&mut Vec<i64>, &[i64]) + Send,
        body: impl FnOnce() -> T,
    ) -> T {
        let done = AtomicBool::new(false);
        // The mock belongs to the thread that has made it.
        let (brokers, redis, done) = (self.brokers.clone(), &self.redis, &done);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let cluster = Cluster { brokers, properties: Vec::new() };
                let consumer = cluster.consumer().unwrap();
                let mut connection = redis.connect();
                let places = Kind::WITH_USERS.map(|kind| {
                    let topic = kind.default_topic();
                    (0..PARTITIONS).map(move |at| format!("{topic}/{at}"))
                });
                let places: Vec<String> = places.into_iter().flatten().collect();
                let mut stated = vec![0; places.len()];
                while !done.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(20));
                    let mut ends = Vec::new();
                    for kind in Kind::WITH_USERS {
                        let bounds = log_bounds(&consumer, kind.default_topic(), PARTITIONS);
                        ends.extend(bounds.unwrap().into_iter().map(|(_, end)| end));
                    }
                    step(&mut stated, &ends);
                    let vector = places.iter().zip(&stated);
                    let vector: Vec<String> =
                        vector.map(|(place, next)| format!("{place}={next}")).collect();
                    redis::cmd("HSET")
                        .arg("{shop}:meta")
                        .arg("offsets:1m")
                        .arg(vector.join(","))
                        .exec(&mut connection)
                        .unwrap();
                }
            });
            let result = body();
            done.store(true, Ordering::Relaxed);
            result
        })
    }
}

fn run_json(directory: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(directory.join("run.json")).unwrap()).unwrap()
}

#[test]
fn a_run_leaves_what_a_report_needs() {
    let world = World::new();
    let options = world.options(&world.watched(
        "--profile 1s@500,2s@500..1500 --arrivals poisson --warmup 1s --max-behind 10s \
         --scenario flash-sale --inject drift=2% --threshold visible.p99<20s --threshold ack.samples>=1500 --threshold rate>100",
    ));
    let run = world.with_views(|| false, || run(&options, &AtomicBool::new(false)).unwrap());
    assert_eq!(run.verdict, Some(Verdict::Good), "{:?} {:?}", run.validity, run.thresholds);
    assert!(run.thresholds.len() == 3 && run.thresholds.iter().all(|judged| judged.holds));

    let latency = run.latency.as_ref().unwrap();
    let visible = latency.visible.as_ref().unwrap();
    assert_eq!((visible.missing, visible.one_in), (0, 1));
    let samples = visible.clock.corrected.samples;
    assert!((1800..2200).contains(&samples), "the warm-up's 500 do not count: {samples}");
    assert_eq!(latency.ack.corrected.samples, samples);
    assert_eq!(latency.schedule.corrected.samples, samples);
    // Acknowledged before visible, and sent before acknowledged.
    assert!(latency.ack.corrected.p50_ms > latency.schedule.corrected.p50_ms);
    assert!(visible.clock.corrected.p50_ms > latency.ack.corrected.p50_ms);

    let seconds = timeline::load(world.out.path()).unwrap();
    let sum = |count: fn(&timeline::Second) -> u64| seconds.iter().map(count).sum::<u64>();
    assert_eq!(sum(|second| second.intended), run.records);
    assert_eq!(sum(|second| second.sent), run.records);
    assert_eq!(sum(|second| second.acked), run.records);
    assert_eq!(sum(|second| second.visible.unwrap()), run.records);
    assert!(seconds.len() >= 3 && seconds[0].warmup && !seconds[2].warmup);

    // Every record of the interval log is there, and the histograms begin after the warm-up.
    let log = std::fs::read(world.out.path().join("latency.hlog")).unwrap();
    let tags = IntervalLogIterator::new(&log).filter_map(|entry| match entry.unwrap() {
        LogEntry::Interval(interval) => Some(interval.tag().unwrap().as_str().to_owned()),
        _ => None,
    });
    let tags: std::collections::BTreeSet<String> = tags.collect();
    let expected = ["ack", "ack.uncorrected", "schedule", "visible", "visible.uncorrected"];
    assert_eq!(tags.iter().collect::<Vec<_>>(), expected);

    assert_eq!(schema::violations("run-1.json", &run_json(world.out.path())), [""; 0]);
    let lines = std::fs::read_to_string(world.out.path().join("timeline.jsonl")).unwrap();
    for line in lines.lines() {
        let line = serde_json::from_str(line).unwrap();
        assert_eq!(schema::violations("timeline-1.json", &line), [""; 0]);
    }
    // The schema does look.
    let mut broken = run_json(world.out.path());
    broken["latency"]["ack"]["corrected"]["p99_ms"] = "fast".into();
    broken["surprise"] = 1.into();
    assert_eq!(schema::violations("run-1.json", &broken).len(), 2);
    assert_eq!(RunFile::load(world.out.path()).unwrap().thresholds, run.thresholds);
}

#[test]
fn prometheus_is_answered_while_a_run_goes_on() {
    let world = World::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let more = format!("--for 30s --rate 500 --max-behind 10s --metrics-listen {address}");
    let options = world.options(&world.watched(&more));
    let stop = AtomicBool::new(false);
    let ask = || {
        let mut stream = TcpStream::connect(&address).ok()?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n").ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        let sent = page.lines().find_map(|line| {
            line.strip_prefix("nazar_load_records_total{stage=\"sent\"} ")?.parse::<u64>().ok()
        });
        sent.filter(|sent| *sent > 100 && page.contains("clock=\"visible\",quantile=\"0.99\""))
    };
    let (stopped, asked) = (&stop, &ask);
    let run = std::thread::scope(|scope| {
        scope.spawn(move || {
            let deadline = Instant::now() + Duration::from_secs(25);
            while asked().is_none() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(50));
            }
            stopped.store(true, Ordering::Relaxed);
        });
        world.with_views(|| false, || run(&options, &stop).unwrap())
    });
    // Else it would have come to its end.
    assert_eq!(run.state, State::Interrupted);
    assert!(run.seconds < 25.0, "nobody was answered");
}

#[test]
fn views_that_stand_still_are_seen_to() {
    let world = World::new();
    let options = world.options(&world.watched("--for 6s --rate 500 --max-behind 10s"));
    let started = Instant::now();
    let stands = || (2_000..4_000).contains(&started.elapsed().as_millis());
    let run = world.with_views(stands, || run(&options, &AtomicBool::new(false)).unwrap());
    let latency = run.latency.unwrap();
    let visible = latency.visible.unwrap().clock;
    assert!(visible.corrected.p99_ms.unwrap() >= 1_000.0, "{visible:?}");
    // The generator sent in time, so the delay is the views': the other clocks do not have it.
    let waited = visible.uncorrected.unwrap().p99_ms.unwrap();
    assert!(waited >= 1_000.0, "{waited}");
    assert!(latency.ack.corrected.p90_ms.unwrap() < 1_000.0, "{:?}", latency.ack);
}

#[test]
fn what_never_becomes_visible_counts_with_the_time_it_was_waited_for() {
    let world = World::new();
    let options = world.options(&world.watched(
        "--for 1s --rate 400 --visible-wait 500ms --max-behind 10s --threshold visible.missing==0",
    ));
    let run = run(&options, &AtomicBool::new(false)).unwrap();
    let visible = run.latency.as_ref().unwrap().visible.as_ref().unwrap();
    assert_eq!((visible.missing, visible.clock.corrected.samples), (400, 400));
    assert!(visible.clock.corrected.p50_ms.unwrap() >= 900.0);
    assert_eq!(run.verdict, Some(Verdict::Threshold));
    assert_eq!(Verdict::of(&run).exit_code(), 4);
}

#[test]
fn a_rate_beyond_the_machine_makes_the_run_invalid() {
    let world = World::new();
    let options = world.options("--for 200ms --rate 5000000 --max-behind 20ms");
    let run = run(&options, &AtomicBool::new(false)).unwrap();
    let validity = run.validity.as_ref().unwrap();
    assert!(!validity.valid && validity.late * 2 > validity.records, "{validity:?}");
    assert_eq!((run.verdict, Verdict::of(&run).exit_code()), (Some(Verdict::Invalid), 5));
    assert!(validity.reasons[0].contains("the schedule was not held"), "{:?}", validity.reasons);
    // Sent late is not the same as seen fast: the corrected latency has the delay.
    let ack = run.latency.unwrap().ack;
    assert!(ack.corrected.p50_ms > ack.uncorrected.unwrap().p50_ms);
}

#[test]
fn a_missed_threshold_ends_the_run_if_it_is_to() {
    let world = World::new();
    let more = "--for 60s --rate 300 --max-behind 10s --threshold ack.p50<1us --abort-on-fail";
    let options = world.options(more);
    let run = run(&options, &AtomicBool::new(false)).unwrap();
    assert_eq!((run.state, run.verdict), (State::Aborted, Some(Verdict::Threshold)));
    assert!(run.seconds < 50.0, "{}", run.seconds);
    let on_the_log: i64 = run.topics.iter().flat_map(|topic| &topic.end_offsets).sum();
    assert_eq!(on_the_log as u64, run.records);
}

/// The views cover so many records a second and no more: what the search has to find.
#[test]
fn a_search_finds_what_the_views_can_take() {
    const CAPACITY: f64 = 600.0;
    let world = World::new();
    let line = format!(
        "nazar-load search -b {} --out {} --products 300 --sellers 20 --users 400 --no-progress \
         --redis {} --prefix shop --slo visible.p90<900ms --min 200 --max 3k --within 60% --warmup 1s \
         --probe 4s --max-behind 10s --visible-wait 30s",
        world.brokers,
        world.out.path().display(),
        world.redis.url(),
    );
    let options = match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
        Command::Search(args) => args.options().unwrap(),
        _ => unreachable!(),
    };
    let found =
        world.with_capacity(CAPACITY, || search(&options, &AtomicBool::new(false)).unwrap());
    let (low, high) = (found.low.unwrap(), found.high.unwrap());
    assert!(low < 1.3 * CAPACITY && high > 0.7 * CAPACITY, "{}", found.text());
    assert!(high / low <= 1.6 && found.confirmed, "{}", found.text());
    let missed = found.probes.iter().find(|probe| !probe.holds).unwrap();
    assert!(missed.valid && !missed.reasons.is_empty(), "the views were the limit: {missed:?}");
    let saved = std::fs::read_to_string(world.out.path().join("search.json")).unwrap();
    let saved = serde_json::from_str(&saved).unwrap();
    assert_eq!(schema::violations("search-1.json", &saved), [""; 0]);
    assert!(world.out.path().join("probe-01/run.json").is_file());
}

/// The ^Z experiment: the generator itself is stopped for a while.
#[test]
fn a_generator_that_was_held_says_so() {
    let world = World::new();
    let child = Process::new(env!("CARGO_BIN_EXE_nazar-load"))
        .args(world.words(&world.watched("--for 6s --rate 500")))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id().to_string();
    let signal = |name: &str| {
        let sent = Process::new("sh").args(["-c", "kill $0 $1", name, &pid]).status().unwrap();
        assert!(sent.success());
    };
    let output = world.with_views(
        || false,
        || {
            // Well into the run: its first second has been written down.
            let timeline = world.out.path().join("timeline.jsonl");
            let deadline = Instant::now() + Duration::from_secs(60);
            while std::fs::read_to_string(&timeline).map_or(0, |text| text.lines().count()) < 2 {
                assert!(Instant::now() < deadline, "the run has not begun");
                std::thread::sleep(Duration::from_millis(20));
            }
            signal("-STOP");
            std::thread::sleep(Duration::from_secs(2));
            signal("-CONT");
            child.wait_with_output().unwrap()
        },
    );
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("invalid: these figures are not those of the load"), "{said}");
    let run = RunFile::load(world.out.path()).unwrap();
    let latency = run.latency.unwrap();
    let visible = latency.visible.unwrap().clock;
    // A third of the records was due while nothing could be sent. What they waited is in the corrected
    // figure only: without the correction they look as if they had been fast.
    let (corrected, uncorrected) = (visible.corrected, visible.uncorrected.unwrap());
    assert!(corrected.p90_ms.unwrap() >= 1_000.0, "{corrected:?}");
    assert!(uncorrected.p90_ms.unwrap() < corrected.p90_ms.unwrap() / 2.0, "{uncorrected:?}");
    assert!(latency.schedule.corrected.p90_ms.unwrap() >= 1_000.0);
}
