//! `nazar-load verify`: reads the log and Redis, and lets them disagree.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::compare::{self, Differences};
use super::kafka::{self, Cluster};
use super::kind::Kind;
use super::latest::{Judged, compare_latest};
use super::ledger::Counts;
use super::observed::{Fields, Keys, LatestSnapshot, Observed, RedisObserved};
use super::oracle::definitions::{Definitions, Window};
use super::oracle::facts::Facts;
use super::oracle::judge::{Judge, Verdict};
use super::oracle::window::{Counter, Truth, demanded_ends};
use super::reconcile::{self, TopicRead};
use super::report::{LatestReport, TopicReport, VerifyReport, WindowsReport};
use super::run_file::RunFile;

/// Threads that recount windows and read partitions. More hold more windows in memory at once.
const THREADS_MAX: usize = 8;

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
    /// How long to wait until the daemon has read the whole log.
    pub wait: Duration,
    /// Closed boards kept per window, if the definitions do not say; 0: all.
    pub closed_keep: Option<usize>,
}

pub fn verify(options: &VerifyOptions) -> anyhow::Result<VerifyReport> {
    let started = Instant::now();
    let run = RunFile::load(&options.directory)?;
    let keys = Keys { prefix: options.prefix.clone() };
    let mut redis = RedisObserved::connect(&options.redis_url)?;
    let mut definitions = match &options.definitions {
        Some(path) => Definitions::parse(
            &std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?,
        )?,
        None => redis.definitions(&keys)?,
    };
    if let Some(keep) = options.closed_keep {
        definitions.limits.closed_keep = keep;
    }
    eprintln!("{definitions}\n");

    let snapshots = sample(options, &keys, &definitions, &mut redis)?;
    let mut report = VerifyReport::default();
    let ranges = ranges(options, &run, &definitions, &mut report.notes)?;
    wait_for_daemon(options, &keys, &definitions, &ranges, &mut redis, &mut report.notes)?;
    let (facts, topics) = read_log(options, &definitions, &ranges)?;
    eprintln!("read {} records, {} applied", records(&topics), facts.facts.len());

    reconcile::with_broker(&topics, &mut report.differences);
    reconcile::with_run(&run, &definitions, &topics, &mut report.differences);
    if let Some(path) = &options.daemon_json {
        let json =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        reconcile::with_daemon(&json, &topics, &mut report.differences)?;
    }
    report.closed = closed_windows(&definitions, &keys, &facts, &mut redis, &mut report)?;
    report.latest =
        latest_windows(&definitions, &keys, &facts, &snapshots, &mut report.differences);

    report.records = records(&topics);
    report.topics = topics
        .into_iter()
        .map(|TopicRead { topic, offsets, counts, .. }| TopicReport { topic, offsets, counts })
        .collect();
    report.equal = report.differences.count == 0;
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

fn records(topics: &[TopicRead]) -> u64 {
    topics.iter().map(|topic| topic.counts.total()).sum()
}

fn sample(
    options: &VerifyOptions,
    keys: &Keys,
    definitions: &Definitions,
    redis: &mut RedisObserved,
) -> anyhow::Result<Vec<LatestSnapshot>> {
    let mut snapshots = Vec::new();
    for number in 0..options.latest_samples {
        if number > 0 {
            std::thread::sleep(options.every);
        }
        for window in &definitions.windows {
            snapshots.push(redis.latest(keys, definitions, &window.label)?);
        }
        eprintln!("sample {} of {}", number + 1, options.latest_samples);
    }
    Ok(snapshots)
}

/// The part of one partition's log that is judged.
#[derive(Clone, Debug)]
struct Range {
    kind: Kind,
    topic: String,
    partition: u32,
    from: i64,
    to: i64,
}

fn ranges(
    options: &VerifyOptions,
    run: &RunFile,
    definitions: &Definitions,
    notes: &mut Vec<String>,
) -> anyhow::Result<Vec<Range>> {
    let consumer = options.cluster.consumer()?;
    let mut ranges = Vec::new();
    for (kind, topic) in definitions.topics() {
        let partitions = kafka::partition_counts(&consumer, &[topic])?[0];
        let bounds = kafka::log_bounds(&consumer, topic, partitions)?;
        let written = run.topics.iter().find(|written| written.topic == topic);
        let (mut lost, mut beyond) = (0, 0);
        for (partition, (first, end)) in (0..partitions).zip(bounds) {
            let at = partition as usize;
            let wanted = written.filter(|_| !options.from_start);
            let from = wanted.and_then(|run| run.start_offsets.get(at)).copied().unwrap_or(first);
            let to = written.and_then(|run| run.end_offsets.get(at)).copied().unwrap_or(end);
            lost += (first - from).max(0);
            beyond += (end - to).max(0);
            ranges.push(Range {
                kind,
                topic: topic.to_owned(),
                partition,
                from: from.max(first),
                to,
            });
        }
        if lost > 0 {
            notes.push(format!("{topic}: the broker no longer has {lost} records of the run"));
        }
        if beyond > 0 {
            notes.push(format!(
                "{topic}: {beyond} records were written after the run; they are not read"
            ));
        }
    }
    Ok(ranges)
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
        let missing = if ended(&meta) { 0 } else { records_missing(&meta, definitions, ranges) };
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

fn ended(meta: &Fields) -> bool {
    meta.get("ended").is_some_and(|value| value == "1" || value == "true")
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

/// Reads and judges all partitions, several at a time: a partition is judged by its own log alone.
fn read_log(
    options: &VerifyOptions,
    definitions: &Definitions,
    ranges: &[Range],
) -> anyhow::Result<(Facts, Vec<TopicRead>)> {
    let next = AtomicUsize::new(0);
    let worker = || -> anyhow::Result<Vec<(usize, Facts, Counts)>> {
        let consumer = options.cluster.consumer()?;
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(range) = ranges.get(at) else { return Ok(done) };
            let mut facts = Facts::new(definitions);
            let mut counts = Counts::default();
            let mut judge = Judge::new(definitions, range.kind);
            facts.begin_partition(&range.topic, range.partition);
            let bounds = (range.from, range.to);
            kafka::read_partition(&consumer, &range.topic, range.partition, bounds, |record| {
                let verdict = judge.judge(&record);
                counts[verdict.reason()] += 1;
                facts.note_newest(record.offset, judge.newest());
                if let Verdict::Applied(valid) = &verdict {
                    facts.push(record.offset, valid);
                }
            })?;
            done.push((at, facts, counts));
        }
    };
    let mut parts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads()).map(|_| scope.spawn(worker)).collect();
        let mut parts = Vec::new();
        for worker in workers {
            parts.extend(join(worker)??);
        }
        anyhow::Ok(parts)
    })?;
    parts.sort_by_key(|&(at, ..)| at);

    let mut facts = Facts::new(definitions);
    let mut topics: Vec<TopicRead> = definitions
        .topics()
        .into_iter()
        .map(|(kind, topic)| TopicRead {
            kind,
            topic: topic.to_owned(),
            offsets: 0,
            counts: Counts::default(),
        })
        .collect();
    for (at, part, counts) in parts {
        facts.append(part);
        if let Some(topic) = topics.iter_mut().find(|topic| topic.topic == ranges[at].topic) {
            topic.offsets += u64::try_from(ranges[at].to - ranges[at].from).unwrap_or(0);
            topic.counts += counts;
        }
    }
    facts.sort();
    Ok((facts, topics))
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).min(THREADS_MAX)
}

fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("a thread of the oracle has panicked"))
}

/// What meta says about closing.
struct Closing {
    all: bool,
    events_after_close: u64,
    meta: Fields,
}

impl Closing {
    /// The last end that must have been closed.
    fn through(&self, window: &Window, facts: &Facts, lateness_ms: i64) -> i64 {
        if self.all {
            return i64::MAX;
        }
        let stated = self.meta.get(&format!("closed_through:{}", window.label));
        let stated = stated.and_then(|text| text.parse().ok()).unwrap_or(i64::MIN);
        let newest = facts.partitions.iter().map(|trace| trace.newest.last().map(|last| last.1));
        let proven = newest.min().flatten().map_or(i64::MIN, |newest| newest - lateness_ms);
        stated.max(proven)
    }
}

fn closed_windows(
    definitions: &Definitions,
    keys: &Keys,
    facts: &Facts,
    redis: &mut dyn Observed,
    report: &mut VerifyReport,
) -> anyhow::Result<WindowsReport> {
    let meta = redis.hash(&keys.meta())?;
    let count = |name: &str| meta.get(name).and_then(|text| text.parse().ok()).unwrap_or(0u64);
    let closing = Closing {
        all: ended(&meta),
        events_after_close: count("events_after_close"),
        meta: meta.clone(),
    };
    if !closing.all {
        report.notes.push(
            "the daemon has not ended a bounded run: judged is what it has closed or must have closed".into(),
        );
    }
    if closing.events_after_close > 0 {
        report.notes.push(format!(
            "{} events arrived after their pane was closed: only proven windows are judged",
            closing.events_after_close
        ));
    }
    if count("over_cap") > 0 {
        report.notes.push(format!(
            "{} entities were counted under `__other__`: boards cannot be equal",
            count("over_cap")
        ));
    }
    let mut result = WindowsReport::default();
    let mut known_keys = HashSet::new();
    let mut unjudged = HashSet::new();
    for window in &definitions.windows {
        let entries = redis.history(&keys.history(&window.label))?;
        let ends = demanded_ends(window, facts);
        let through = closing.through(window, facts, definitions.lateness_ms);
        let demanded: Vec<i64> = ends.iter().copied().filter(|&end| end <= through).collect();
        let quiet = entries.values().filter(|fields| is_quiet(fields)).count();
        if quiet > 0 {
            report.notes.push(format!(
                "{}: {quiet} of {} windows were closed on the broker's word that partitions were quiet",
                window.label,
                entries.len()
            ));
        }
        let content: BTreeSet<i64> = ends.into_iter().collect();
        compare::compare_surplus(
            &keys.history(&window.label),
            &content,
            window.closed_step_ms,
            &entries,
            &mut report.differences,
        );
        // The last of all that was closed, empty windows included.
        let closed: BTreeSet<i64> = demanded.iter().chain(entries.keys()).copied().collect();
        let kept = |keep: usize, end: i64| keep == 0 || closed.range(end + 1..).count() < keep;
        each_truth(definitions, facts, window, &demanded, |truth| {
            let views_are_kept = kept(definitions.limits.closed_keep, truth.end_ms);
            let entry_is_kept = kept(definitions.limits.history_keep, truth.end_ms);
            let names = compare::closed_keys(definitions, keys, &window.label, &truth);
            known_keys.extend(names.boards);
            known_keys.extend(names.sketches.into_iter().map(|(key, _)| key));
            let entry = entries.get(&truth.end_ms);
            let proven = !entry.is_some_and(is_quiet);
            if (closing.events_after_close > 0 && !proven) || (!entry_is_kept && entry.is_none()) {
                result.not_judged += 1;
                unjudged.insert((window.label.clone(), truth.end_ms));
                return Ok(());
            }
            let (demanded, found) = compare::compare_closed(
                definitions,
                keys,
                &window.label,
                &truth,
                entry,
                views_are_kept,
                redis,
                &mut report.differences,
            )?;
            result.demanded.add(demanded);
            result.found.add(found);
            Ok(())
        })?;
        eprintln!("{}: {} closed windows demanded", window.label, demanded.len());
    }
    surplus_keys(keys, redis, &known_keys, &unjudged, &mut report.differences)?;
    Ok(result)
}

/// Whether some partition's part in it rests on the broker's word instead of its own watermark.
fn is_quiet(fields: &Fields) -> bool {
    let stated = |name: &str| fields.get(name).map(String::as_str);
    stated("quiet").is_some_and(|quiet| quiet != "0") || stated("proven") == Some("0")
}

/// Closed boards and distinct counts that nothing demands.
fn surplus_keys(
    keys: &Keys,
    redis: &mut dyn Observed,
    known: &HashSet<String>,
    unjudged: &HashSet<(String, i64)>,
    differences: &mut Differences,
) -> anyhow::Result<()> {
    let closed = format!("{{{}}}:closed:", keys.prefix);
    let views = [format!("{closed}top:"), format!("{closed}uniques:")];
    // Other keys in there are bookkeeping and no views.
    let is_view = |key: &String| views.iter().any(|view| key.starts_with(view));
    for key in redis.keys(&closed)?.into_iter().filter(is_view) {
        let mut parts = key.rsplitn(3, ':');
        let end = parts.next().and_then(|end| end.parse().ok());
        let window = parts.next().unwrap_or_default().to_owned();
        let is_unjudged = end.is_some_and(|end| unjudged.contains(&(window, end)));
        if !known.contains(&key) && !is_unjudged {
            differences.add(&key, "", "no such key, for its window has no such content", "a key");
        }
    }
    Ok(())
}

/// Recounts the windows that end at `ends` on all cores, and hands them over in order.
fn each_truth(
    definitions: &Definitions,
    facts: &Facts,
    window: &Window,
    ends: &[i64],
    mut each: impl FnMut(Truth) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let threads = threads();
    std::thread::scope(|scope| {
        let (receivers, workers): (Vec<_>, Vec<_>) = (0..threads)
            .map(|first| {
                // One truth in waiting per thread: enough to stay busy, little to hold.
                let (sender, receiver) = std::sync::mpsc::sync_channel(1);
                let worker = scope.spawn(move || {
                    let mut counter = Counter::new(definitions, facts);
                    for &end in ends.iter().skip(first).step_by(threads) {
                        // The receiver is gone once an error has ended the comparison.
                        if sender.send(counter.count(window, end, |_| true)).is_err() {
                            return;
                        }
                    }
                });
                (receiver, worker)
            })
            .unzip();
        let mut result = Ok(());
        for (at, _) in ends.iter().enumerate() {
            match receivers[at % threads].recv() {
                Ok(truth) => result = each(truth),
                Err(_) => break,
            }
            if result.is_err() {
                break;
            }
        }
        drop(receivers);
        for worker in workers {
            join(worker)?;
        }
        result
    })
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
    for snapshot in snapshots {
        report.samples += 1;
        match compare_latest(definitions, keys, facts, &mut counter, snapshot, differences) {
            Judged::NotPublished => report.not_published += 1,
            Judged::Compared { demanded, found } => {
                report.compared += 1;
                report.demanded.add(demanded);
                report.found.add(found);
            }
        }
    }
    Some(report)
}

/// Whether a run directory can be verified at all; said before anything is connected.
pub fn check_directory(directory: &std::path::Path) -> anyhow::Result<()> {
    let path = directory.join("run.json");
    ensure!(path.is_file(), "{} does not exist: give the --out directory of a run", path.display());
    Ok(())
}
