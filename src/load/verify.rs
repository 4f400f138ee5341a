//! `nazar-load verify`: reads the log and Redis, and lets them disagree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::closed::{self, Closing, compare_closed_windows};
use super::compare::Differences;
use super::kafka::{Cluster, Range};
use super::latest::{Judged, compare_latest};
use super::observed::{Fields, Keys, LatestSnapshot, Observed, RedisObserved};
use super::oracle::definitions::{Definitions, Window};
use super::oracle::facts::Facts;
use super::oracle::window::Counter;
use super::read_back::{ranges, read_log};
use super::reconcile::{self, TopicRead};
use super::report::{LatestReport, TopicReport, VerifyReport};
use super::run_file::{RunFile, State};
use super::scenario;

/// A daemon that has closed nothing for so long will not go on: it closes a backlog's windows in
/// rounds of seconds, between checkpoints that may hold them as long.
const CLOSING_PATIENCE: Duration = Duration::from_secs(15);

#[derive(Clone, Debug)]
pub struct VerifyOptions {
    pub directory: PathBuf,
    pub cluster: Cluster,
    pub redis_url: String,
    pub prefix: String,
    /// In place of what the daemon states.
    pub definitions: Option<PathBuf>,
    /// From the beginning of the log, not of the run.
    pub from_start: bool,
    /// The daemon's result line.
    pub daemon_json: Option<PathBuf>,
    pub latest_samples: u64,
    pub every: Duration,
    /// How long to wait until the daemon has read the whole log, and closed what is due.
    pub wait: Duration,
    /// Closed boards kept per window, if the definitions do not say; 0: all.
    pub closed_keep: Option<usize>,
    /// How many differences are named; all are counted.
    pub differences: usize,
}

pub fn verify(options: &VerifyOptions) -> anyhow::Result<VerifyReport> {
    RunFile::load(&options.directory)?;
    let mut verification = Verification::begin(options)?;
    eprintln!("{}\n", verification.definitions);
    for number in 0..options.latest_samples {
        if number > 0 {
            std::thread::sleep(options.every);
        }
        verification.sample()?;
        eprintln!("sample {} of {}", number + 1, options.latest_samples);
    }
    verification.finish(&finished_run(options)?)
}

/// A verification under way: samples of latest views are taken while the daemon runs, and judged with
/// everything else once the log is complete.
pub struct Verification<'a> {
    options: &'a VerifyOptions,
    started: Instant,
    keys: Keys,
    redis: RedisObserved,
    definitions: Definitions,
    /// By sample, a picture of each window.
    samples: Vec<Vec<LatestSnapshot>>,
}

impl<'a> Verification<'a> {
    /// Connects to Redis and reads what the daemon was asked for.
    pub fn begin(options: &'a VerifyOptions) -> anyhow::Result<Self> {
        let keys = Keys { prefix: options.prefix.clone() };
        let mut redis = RedisObserved::connect(&options.redis_url, &options.prefix)?;
        let mut definitions = match &options.definitions {
            Some(path) => Definitions::parse(
                &std::fs::read_to_string(path)
                    .with_context(|| format!("read {}", path.display()))?,
            )?,
            None => redis.definitions(&keys)?,
        };
        if let Some(keep) = options.closed_keep {
            definitions.limits.closed_keep = keep;
        }
        let started = Instant::now();
        Ok(Self { options, started, keys, redis, definitions, samples: Vec::new() })
    }

    /// Goes on with the samples of another one, which has lost its connection.
    pub fn take_over(&mut self, other: Self) {
        self.started = other.started;
        self.samples = other.samples;
    }

    /// Takes a picture of the latest views of each window.
    pub fn sample(&mut self) -> anyhow::Result<()> {
        let windows = self.definitions.windows.iter();
        let pictures = windows
            .map(|window| self.redis.latest(&self.keys, &self.definitions, &window.label))
            .collect::<anyhow::Result<_>>()?;
        self.samples.push(pictures);
        Ok(())
    }

    pub fn samples(&self) -> usize {
        self.samples.len()
    }

    /// Forgets every other sample.
    pub fn thin(&mut self) {
        let mut keeps = false;
        self.samples.retain(|_| {
            keeps = !keeps;
            keeps
        });
    }

    /// Recounts the log of a run that has ended, and compares.
    pub fn finish(self, run: &RunFile) -> anyhow::Result<VerifyReport> {
        let Self { options, started, keys, mut redis, definitions, samples } = self;
        let mut report = VerifyReport::default();
        report.differences.kept_max = options.differences;
        let ranges = {
            let VerifyOptions { cluster, from_start, .. } = options;
            ranges(cluster, *from_start, run, &definitions, &mut report.notes)?
        };
        wait_for_daemon(options, &keys, &definitions, &ranges, &mut redis, &mut report.notes)?;
        let (facts, topics) = read_log(&options.cluster, &definitions, &ranges)?;
        eprintln!("read {} records, {} applied", records(&topics), facts.facts.len());
        let due = closed::due(&definitions, &facts);
        wait_for_closing(options, &keys, &due, &mut redis, &mut report.notes)?;

        reconcile::with_broker(&topics, &mut report.differences);
        reconcile::with_run(run, &definitions, &topics, &mut report.differences);
        if let Some(path) = &options.daemon_json {
            let json = std::fs::read_to_string(path)
                .with_context(|| format!("read {}", path.display()))?;
            reconcile::with_daemon(&json, &topics, &mut report.differences)?;
        }
        report.closed = compare_closed_windows(
            &definitions,
            &keys,
            &facts,
            &mut redis,
            &mut report.differences,
            &mut report.notes,
        )?;
        judge_scenario(options, run, &definitions, &facts, &mut report);
        let pictures = samples.concat();
        report.latest =
            latest_windows(&definitions, &keys, &facts, &pictures, &mut report.differences);

        let earlier = run.earlier_records();
        if earlier > 0 && report.differences.count > 0 {
            report.notes.push(format!(
                "the topics held {earlier} records before this run: if the daemon has read those too, \
                 repeat on clean topics (scripts/kafka clean) and a clean prefix (nazar reset)"
            ));
        }
        report.records = records(&topics);
        report.topics = topics
            .into_iter()
            .map(|TopicRead { topic, offsets, counts, .. }| TopicReport { topic, offsets, counts })
            .collect();
        report.equal = report.differences.count == 0;
        report.seconds = started.elapsed().as_secs_f64();
        Ok(report)
    }
}

/// What the run's scenario states against the recount.
fn judge_scenario(
    options: &VerifyOptions,
    run: &RunFile,
    definitions: &Definitions,
    facts: &Facts,
    report: &mut VerifyReport,
) {
    let Some(account) = &run.scenario else { return };
    if options.from_start && run.earlier_records() > 0 {
        let name = &account.name;
        report.notes.push(format!("{name} is not judged: the log holds more than the run"));
        return;
    }
    let judged = scenario::judge::judge(account, definitions, facts, &mut report.differences);
    scenario::judge::judge_silence(account, run, &mut report.differences);
    let stated = account.statements.as_ref().map_or(0, Vec::len);
    report.notes.push(format!("{}: {judged} of {stated} statements judged", account.name));
}

fn records(topics: &[TopicRead]) -> u64 {
    topics.iter().map(|topic| topic.counts.total()).sum()
}

/// The run's account. Samples are taken while a run goes on: then its end is waited for.
fn finished_run(options: &VerifyOptions) -> anyhow::Result<RunFile> {
    let deadline = Instant::now() + options.wait;
    loop {
        let run = RunFile::load(&options.directory)?;
        if run.state != State::Running || Instant::now() >= deadline {
            return Ok(run);
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Waits until every latest window covers the whole range, or the daemon says that it has ended.
fn wait_for_daemon(
    options: &VerifyOptions,
    keys: &Keys,
    definitions: &Definitions,
    ranges: &[Range],
    redis: &mut RedisObserved,
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + options.wait;
    loop {
        let meta = redis.hash(&keys.meta())?;
        let missing = if Closing::from_meta(&meta).ended {
            0
        } else {
            records_missing(&meta, definitions, ranges)
        };
        if missing == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            notes.push(format!("the daemon has not published {missing} records yet (see --wait)"));
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Waits until every window that is due has been closed. Latest views may come before it: they show
/// a backlog as soon as it is merged, and its windows close in rounds.
fn wait_for_closing(
    options: &VerifyOptions,
    keys: &Keys,
    due: &BTreeMap<String, i64>,
    redis: &mut RedisObserved,
    notes: &mut Vec<String>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + options.wait;
    let mut closed = (BTreeMap::new(), Instant::now());
    loop {
        let closing = Closing::from_meta(&redis.hash(&keys.meta())?);
        let behind = closing.behind(due);
        if behind.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        if closing.closed_through != closed.0 {
            closed = (closing.closed_through.clone(), now);
        }
        if now >= deadline || now.duration_since(closed.1) >= CLOSING_PATIENCE {
            notes.push(format!(
                "windows of {} that are due have not been closed (see --wait)",
                behind.join(", ")
            ));
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn records_missing(meta: &Fields, definitions: &Definitions, ranges: &[Range]) -> i64 {
    let missing = |window: &Window| -> i64 {
        let offsets = meta.get(&format!("offsets:{}", window.label)).map_or("", String::as_str);
        let next: BTreeMap<&str, i64> = offsets
            .split(',')
            .filter_map(|part| part.split_once('='))
            .filter_map(|(place, next)| Some((place, next.parse().ok()?)))
            .collect();
        ranges
            .iter()
            .map(|Range { topic, partition, from, to, .. }| {
                let place = format!("{topic}/{partition}");
                (to - next.get(place.as_str()).copied().unwrap_or(*from)).max(0)
            })
            .sum()
    };
    definitions.windows.iter().map(missing).max().unwrap_or(0)
}

fn latest_windows(
    definitions: &Definitions,
    keys: &Keys,
    facts: &Facts,
    snapshots: &[LatestSnapshot],
    differences: &mut Differences,
) -> Option<LatestReport> {
    if snapshots.is_empty() {
        return None;
    }
    let mut report = LatestReport::default();
    let mut counter = Counter::new(definitions, facts);
    let mut flushes = BTreeSet::new();
    for snapshot in snapshots {
        report.samples += 1;
        match compare_latest(definitions, keys, facts, &mut counter, snapshot, differences) {
            Judged::NotPublished => report.not_published += 1,
            Judged::Compared { demanded, found } => {
                report.compared += 1;
                report.demanded.add(demanded);
                report.found.add(found);
                flushes.insert(["leader", "seq"].map(|field| snapshot.meta.get(field)));
            }
        }
    }
    report.flushes = flushes.len() as u64;
    Some(report)
}

/// Whether a run directory can be verified at all; said before anything is connected.
pub fn check_directory(directory: &std::path::Path) -> anyhow::Result<()> {
    let path = directory.join("run.json");
    ensure!(path.is_file(), "{} does not exist: give the --out directory of a run", path.display());
    Ok(())
}
