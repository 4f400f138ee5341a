//! The ceiling: how fast this machine reads and decodes the configured topics with nazar's own
//! parts, if nothing is counted. What `nazar run --bounded` does beside it is the price of
//! windows; `bench/run` runs the two alternately and prints the ratio.
//!
//! The same as in the daemon: consumer properties, source threads, order of reading, decoder,
//! allocator, configuration (`--config FILE --set section.key=value`). Absent: watermarks,
//! deltas, merging, publishing, Redis. It reads each topic from its beginning to the end seen at
//! the start, in a consumer group of its own (`<kafka.group>-ceiling`), and commits nothing.
//!
//! One JSON line goes to stdout. `seconds` counts from the start of the process, as the daemon's
//! line does; `reading_seconds` from the first batch to the last, without finding the broker and
//! joining the group.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytesize::ByteSize;
use clap::Parser;
use nazar::config::{Config, LoadOptions};
use nazar::pipeline::batch::Batch;
use nazar::pipeline::client;
use nazar::pipeline::decode::{DecodeLimits, Decoded, Decoder};
use nazar::pipeline::delivery::Partition;
use nazar::pipeline::offset::{At, Lookup, OffsetMap, Topics};
use nazar::pipeline::source::{Assigned, Flow, PartitionOwner, Source, SourceSettings, Turn};
use nazar::pipeline::watch::LogWatch;
use nazar::time::EventTime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CHECK_EVERY: Duration = Duration::from_millis(5);

/// Read and decode every record of the configured topics, and count
#[derive(Parser)]
struct Cli {
    /// The daemon's configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any key of it, may be repeated
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    sets: Vec<String>,
}

fn main() -> anyhow::Result<()> {
    let started = Instant::now();
    nazar::allocator::keep_freed_memory();
    let cli = Cli::parse();
    let options = LoadOptions { file: cli.config, env: std::env::vars(), sets: cli.sets };
    let mut config = Config::load(options)?;
    config.kafka.group.push_str("-ceiling");
    let counted = read_all(&config)?;
    println!("{}", counted.line(started)?);
    Ok(())
}

/// Reads every partition between its two offsets and waits for the last.
fn read_all(config: &Config) -> anyhow::Result<Counted> {
    let topics = Topics::new(&config.topics);
    let lookup = Lookup::new(&config.kafka, topics.clone()).context("create a Kafka client")?;
    let discovered = lookup.wait_for_topics(&AtomicBool::new(false), |_| ())?;
    let starts = Arc::new(lookup.offsets(&discovered.leaders, At::Start)?);
    let ends = Arc::new(lookup.offsets(&discovered.leaders, At::End)?);
    let watch = LogWatch::start(lookup, discovered, || None).context("start a thread")?;
    let settings = || SourceSettings {
        topics: topics.clone(),
        client: client::consumer(&config.kafka, &config.limits, ends.len()),
        starts: starts.clone(),
        ends: Some(ends.clone()),
        log: watch.view(),
        max_skew: config.time.max_skew.into(),
    };
    let shared = Arc::new(Mutex::new(Counted::default()));
    let sources = (0..config.kafka.handles)
        .map(|handle| {
            Source::start(&format!("source-{handle}"), settings(), Owner::new(config, &shared))
        })
        .collect::<Result<Vec<_>, _>>()?;
    while lock(&shared).finished.len() < ends.len() && !sources.iter().all(Source::is_finished) {
        std::thread::sleep(CHECK_EVERY);
    }
    // What was counted until now; leaving the group takes its time and is no part of it.
    let counted = lock(&shared).clone();
    sources.iter().for_each(Source::stop);
    for source in sources {
        source.join()?;
    }
    Ok(counted)
}

fn lock(shared: &Mutex<Counted>) -> MutexGuard<'_, Counted> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all handles have seen.
#[derive(Clone, Default)]
struct Counted {
    outcomes: Outcomes,
    first_batch: Option<Instant>,
    last_batch: Option<Instant>,
    /// Next offsets: a partition that moves from one handle to another is read on from here.
    next: OffsetMap,
    finished: BTreeSet<Partition>,
}

#[derive(Clone, Copy, Default)]
struct Outcomes {
    events: u64,
    /// Valid events: late ones and duplicates would be told from them by what is absent here.
    applied: u64,
    malformed: u64,
    future: u64,
    tombstone: u64,
}

impl Counted {
    fn line(&self, started: Instant) -> anyhow::Result<String> {
        let first = self.first_batch.unwrap_or(started);
        let last = self.last_batch.unwrap_or_else(Instant::now);
        let seconds = (last - started).as_secs_f64();
        let reading_seconds = (last - first).as_secs_f64();
        let Outcomes { events, applied, malformed, future, tombstone } = self.outcomes;
        let line = serde_json::json!({
            "events": events,
            "applied": applied,
            "malformed": malformed,
            "future": future,
            "tombstone": tombstone,
            "seconds": seconds,
            "reading_seconds": reading_seconds,
            "events_per_second": events as f64 / seconds.max(f64::MIN_POSITIVE),
            "peak_rss_bytes": peak_rss_bytes(),
        });
        serde_json::to_string(&line).context("encode the result")
    }
}

/// The most memory this process ever had resident; `None` where the kernel does not tell by file.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(ByteSize::kib(kib).as_u64())
}

/// Decodes and counts.
struct Owner {
    decoder: Decoder,
    shared: Arc<Mutex<Counted>>,
    /// The newest event time by partition: decides the order of reading, as in the daemon.
    newest: BTreeMap<Partition, EventTime>,
}

impl Owner {
    fn new(config: &Config, shared: &Arc<Mutex<Counted>>) -> Self {
        let limits = DecodeLimits {
            record_bytes_max: usize::try_from(config.limits.record_bytes).unwrap_or(usize::MAX),
            id_bytes_max: config.limits.id_bytes,
        };
        let decoder = Decoder::new(&config.fields, &config.definitions(), limits);
        Self { decoder, shared: shared.clone(), newest: BTreeMap::new() }
    }
}

impl PartitionOwner for Owner {
    fn assigned(&mut self, partition: Partition, start: i64) -> Assigned {
        Assigned::From(lock(&self.shared).next.get(&partition).copied().unwrap_or(start))
    }

    fn revoked(&mut self, _: Partition, _: bool) {}

    fn records(&mut self, partition: Partition, batch: &Batch<'_>) {
        let begun = Instant::now();
        let mut outcomes = Outcomes::default();
        let mut newest = None;
        for record in batch.iter() {
            let kafka_time = record.timestamp_ms().map(EventTime::from_millis);
            self.decoder.decode(partition.kind, record.payload(), kafka_time, |decoded| {
                *match decoded {
                    Decoded::Event(event) => {
                        newest = newest.max(Some(event.time));
                        &mut outcomes.applied
                    }
                    Decoded::Tombstone => &mut outcomes.tombstone,
                    Decoded::Malformed(_) => &mut outcomes.malformed,
                    Decoded::Future(_) => &mut outcomes.future,
                } += 1;
            });
            outcomes.events += 1;
        }
        if let Some(newest) = newest {
            let known = self.newest.entry(partition).or_insert(newest);
            *known = newest.max(*known);
        }
        let mut counted = lock(&self.shared);
        counted.first_batch.get_or_insert(begun);
        counted.last_batch = Some(Instant::now());
        if let Some(last) = batch.last_offset() {
            counted.next.insert(partition, last + 1);
        }
        counted.outcomes.add(outcomes);
    }

    fn lost(&mut self, _: Partition, _: i64, _: i64) {}

    fn quiet(&mut self, _: Partition, _: i64, _: EventTime) {}

    fn reached_end(&mut self, partition: Partition, _: i64) {
        lock(&self.shared).finished.insert(partition);
    }

    fn tick(&mut self, _: &mut Turn<'_>) -> Flow {
        Flow::Read
    }

    fn watermark(&self, partition: Partition) -> Option<EventTime> {
        self.newest.get(&partition).copied()
    }

    fn slowest_progressing(&self) -> Option<EventTime> {
        None
    }
}

impl Outcomes {
    fn add(&mut self, more: Outcomes) {
        self.events += more.events;
        self.applied += more.applied;
        self.malformed += more.malformed;
        self.future += more.future;
        self.tombstone += more.tombstone;
    }
}
