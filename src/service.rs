//! The daemon, put together: start, run, drain.
//!
//! Order matters at both ends. Start: everything that can be refused is refused before anything
//! is touched; the pages for operators answer from the first moment; Redis and Kafka are waited
//! for as long as it takes. Drain: readers hand over and leave the group, the merger publishes
//! what it has, the sink writes it; then the process ends, with a deadline on the whole.

mod checkpoint;
mod observe;
mod publish;
mod resume;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::Config;
use crate::event::Kind;
use crate::health::Health;
use crate::http::{Pages, Server};
use crate::metrics::{Labels, Metrics, raise_to};
use crate::pipeline::checkpoint::line::capture_line;
use crate::pipeline::client;
use crate::pipeline::clock::Coverage;
use crate::pipeline::dead_letter::DeadLetters;
use crate::pipeline::decode::{DecodeLimits, Decoder, Malformed};
use crate::pipeline::definitions::Definitions;
use crate::pipeline::delivery::{Ledger, Partition};
use crate::pipeline::flush::{Checkpoints, Plan, Publisher, SinkGone, job_channel};
use crate::pipeline::handover::{MergedState, Message, Reading, channel};
use crate::pipeline::identity::{OtherCluster, check_cluster};
use crate::pipeline::merge::{Merger, Position};
use crate::pipeline::offset::{
    At, Discovered, Lookup, LookupError, OffsetMap, Topics, until_answered,
};
use crate::pipeline::owner::{Failure, Owner, OwnerLinks, OwnerSettings};
use crate::pipeline::protocol::{Gate, Token};
use crate::pipeline::source::{Source, SourceSettings};
use crate::pipeline::watch::LogWatch;
use crate::sinks::redis::RedisSink;
use crate::sinks::redis::error::{ErrorClass, RedisSinkError};
use crate::sinks::redis::health::RedisHealth;
use crate::sinks::redis::lease::draw_token;
use crate::time::EventTime;

use checkpoint::Keeper;
use observe::{Backlog, MergeObserver, Overseer};
use publish::{Audience, publish, wall_clock_millis};
use resume::{Cursors, Resume};

/// After a signal to stop, publishing what was read may take so long.
const DRAIN_MAX: Duration = Duration::from_secs(25);
/// Leaving the consumer group may take so long.
const LEAVE_MAX: Duration = Duration::from_secs(6);
/// A reading loop turns every few milliseconds; answering a rebalance may take seconds.
const POLL_PULSE: Duration = Duration::from_secs(60);
/// Closing a long backlog of windows is the longest turn of the merger.
const MERGE_PULSE: Duration = Duration::from_secs(120);
const SINK_PULSE: Duration = Duration::from_secs(30);
/// An owner hands over so many times per flush: more often is fresher, and combines less.
const HAND_OVERS_PER_FLUSH: u32 = 4;
/// An open delta is handed over when it has grown so large: small enough that the merger has
/// work at all times, large enough that names and cells repeat within it.
const DELTA_BYTES_MAX: usize = 256 << 10;

/// How the daemon is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Stop at the end offsets seen at start, and close every window that holds a record.
    pub bounded: bool,
}

/// What was done: one line of JSON at the end of a bounded run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Records consumed.
    pub events: u64,
    #[serde(flatten)]
    pub ledger: LedgerLine,
    pub events_after_close: u64,
    pub over_cap: u64,
    pub windows_closed: u64,
    /// From the start of the process until everything was readable.
    pub seconds: f64,
    pub events_per_second: f64,
    /// The same by topic.
    pub topics: BTreeMap<String, TopicLine>,
}

/// One topic's share.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct TopicLine {
    pub events: u64,
    #[serde(flatten)]
    pub ledger: LedgerLine,
}

/// Where records went.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct LedgerLine {
    pub applied: u64,
    pub late: u64,
    pub duplicate: u64,
    pub malformed: u64,
    pub future: u64,
    pub tombstone: u64,
    pub foreign_currency: u64,
}

impl LedgerLine {
    fn add(&mut self, ledger: &Ledger) {
        self.applied += ledger.applied;
        self.late += ledger.late;
        self.duplicate += ledger.duplicate;
        self.malformed += ledger.malformed;
        self.future += ledger.future;
        self.tombstone += ledger.tombstone;
        self.foreign_currency += ledger.foreign_currency;
    }
}

/// Runs until `stop` turns true, or a bounded run has ended.
///
/// # Errors
/// A prefix that is not ours to write ([`RedisSinkError`] in the chain), a failure that waiting
/// cannot mend, or a drain that was not done in time.
pub async fn run(
    config: Config,
    options: Options,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<Summary> {
    let started = Instant::now();
    let definitions = Arc::new(config.definitions());
    let topics = Topics::new(&config.topics);
    client::check_properties(&config.kafka)?;
    config.warnings().iter().for_each(|warning| warn!("{warning}"));
    info!("{}", config.memory_estimate());

    let health = Arc::new(Health::default());
    let metrics = Arc::new(metrics(&config, &definitions, &topics));
    let _pages = serve_pages(&config, &metrics, &health).await?;

    let token = draw_token();
    let sink = RedisSink::new(
        &config.redis,
        definitions.clone(),
        &config.topics,
        &config.fields,
        &config.limits,
        &config.meaning_hash(),
        &token.to_string(),
    )?;
    let redis = sink.health();
    let claim = until_stopped(stop.clone(), sink.claim());
    let Some(sink) = said_while_waiting(claim, &redis, &health).await else {
        return stopped_early(options, "Redis");
    };
    let mut sink = sink?;
    health.redis_usable.hold();

    let mut keeper = Keeper::new(&config, &token.to_string(), metrics.clone())?;
    let Some(restored) = until_stopped(stop.clone(), keeper.restore(&definitions)).await else {
        sink.release().await;
        return stopped_early(options, "the checkpoint");
    };
    let mut merger = match restored? {
        Some(merger) => merger,
        None => {
            let mut merger = Merger::new(definitions.clone());
            merger.keep_journal();
            merger
        }
    };
    merger.succeed(sink.predecessor().clone());

    let cursor = |(&partition, position): (&Partition, &Position)| {
        (partition, (position.cursor, position.state.prints))
    };
    let known = Known {
        cluster_id: keeper.cluster_id().map(str::to_owned),
        cursors: merger.positions().iter().map(cursor).collect(),
    };
    let log =
        Log::find(&config, &definitions, topics.clone(), options, known, &health, stop.clone());
    let Some(log) = log.await? else {
        sink.release().await;
        return stopped_early(options, "Kafka");
    };
    health.topics_present.hold();
    log.resume.apply(&mut merger, &topics);
    keeper.set_cluster_id(log.cluster_id.clone());

    let (outlet, inlet) = channel(usize_of(config.limits.in_flight_bytes / 2));
    let merged = Arc::new(MergedState::default());
    let reading = Arc::new(Reading::default());
    for (&partition, &start) in log.starts.iter() {
        let position = merger.position(partition).cloned();
        merged.set_position(partition, position.unwrap_or_else(|| Position::start(start)));
        let coverage = log.coverage(partition, start);
        outlet.tell(Message::Partition { partition, start, coverage })?;
    }
    outlet.tell(Message::TopologyKnown)?;
    merged.set_stream_time(merger.clock().stream_time());
    let stream_time = {
        let merged = merged.clone();
        move || merged.stream_time()
    };
    let log_watch = LogWatch::start(log.lookup, log.discovered, stream_time)
        .context("start the log watcher")?;

    let (jobs, job_receiver) = job_channel();
    let all_windows = job_receiver.all_windows();
    let (capture_sender, captures) = capture_line();
    let published: OffsetMap = sink.predecessor().offsets.iter().collect();
    let plan = Plan {
        definitions: definitions.clone(),
        flush: config.redis.flush,
        refresh: config.refresh_by_window(),
        closed_keep: (config.redis.closed_keep > 0).then_some(config.redis.closed_keep),
        unpublished_bytes_max: usize_of(config.limits.in_flight_bytes / 2),
        state_bytes_max: usize_of(config.limits.state_bytes),
        bounded: log.ends.as_deref().cloned(),
        gate: Gate::new(published.iter().map(|(&partition, &offset)| (partition, offset))),
        checkpoints: Some(Checkpoints { every: config.checkpoint.every, line: capture_sender }),
    };
    let observer = MergeObserver::new(metrics.clone(), health.pulse("merge", MERGE_PULSE));
    let publisher = Publisher::new(plan, merger, inlet, merged.clone(), jobs, observer);
    let merger = tokio::task::spawn_blocking(move || publisher.run());

    let published = Arc::new(published);
    let dead_letters = dead_letters(&config)?;
    let failure = Failure::default();
    let links = |pulse| OwnerLinks {
        outlet: outlet.clone(),
        merged: merged.clone(),
        reading: reading.clone(),
        dead_letters: dead_letters.clone(),
        metrics: metrics.clone(),
        failure: failure.clone(),
        pulse,
    };
    let mut sources = Vec::new();
    for handle in 0..config.kafka.handles {
        let settings = SourceSettings {
            topics: topics.clone(),
            client: client::consumer(&config.kafka, &config.limits, log.starts.len()),
            starts: log.starts.clone(),
            ends: log.ends.clone(),
            log: log_watch.view(),
            max_skew: definitions.max_skew,
        };
        let pulse = health.pulse(format!("poll {handle}"), POLL_PULSE);
        let owner = owner(&config, &definitions, &topics, token, published.clone(), links(pulse));
        sources.push(Source::start(&format!("source-{handle}"), settings, owner)?);
    }
    let sources = Arc::new(sources);

    let committers = sources.clone();
    let audience = Audience {
        metrics: metrics.clone(),
        health: health.clone(),
        pulse: health.pulse("sink", SINK_PULSE),
    };
    let lost = {
        let redis = redis.clone();
        move || redis.republishes()
    };
    let mut sink_task = tokio::spawn(publish(sink, job_receiver, audience, lost));
    // For other people's lag tools: what a restart will not read again.
    let keeper = tokio::spawn(keeper.run(captures, move |cursors| {
        committers.iter().for_each(|source| source.commit(cursors.iter().copied()));
    }));
    let mut overseer = Overseer {
        metrics: metrics.clone(),
        health: health.clone(),
        topics: topics.clone(),
        log: log_watch.view(),
        merged: merged.clone(),
        reading: reading.clone(),
        redis,
        drained_millis: BTreeMap::new(),
        said: None,
        unassigned_since: None,
        all_windows,
        backlog: Backlog::default(),
    };

    // Running. What ends it: a signal, a bounded run's end, or a part that cannot go on.
    let mut merger = merger;
    let mut look = tokio::time::interval(Duration::from_secs(1));
    let ending = loop {
        tokio::select! {
            ended = &mut merger => break Ending::Merger(Box::new(ended.context("the merger panicked")?)),
            failed = &mut sink_task => break Ending::Sink(failed.context("the sink panicked")?),
            () = stopped(stop.clone()) => break Ending::Stopped,
            _ = look.tick() => {
                overseer.look();
                count_dead_letters(&metrics, &dead_letters);
                if sources.iter().any(Source::is_finished) {
                    break Ending::Source;
                }
            }
        }
    };

    // Draining.
    health.serving.fail("is shutting down");
    info!("draining");
    sources.iter().for_each(Source::stop);
    let drain = async {
        let merger = match ending {
            Ending::Merger(merger) => *merger,
            // Without an error it ends after the last flush only: the merger has sent that, and
            // is about to notice that it was written.
            Ending::Sink(result) => {
                result?;
                merger.await.context("the merger panicked")?
            }
            Ending::Stopped | Ending::Source => {
                while !sources.iter().all(Source::is_finished) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                outlet.tell(Message::Stop)?;
                merger.await.context("the merger panicked")?
            }
        };
        match merger {
            Ok(merger) => Ok(merger),
            // The sink has said why.
            Err(SinkGone) => {
                sink_task.await.context("the sink panicked")??;
                anyhow::bail!("the sink ended early")
            }
        }
    };
    let merger = tokio::time::timeout(DRAIN_MAX, drain)
        .await
        .context("what was read could not be published in time; it will be read again")??;
    // The merger has waited for the last checkpoint; what commits for it lets the sources go.
    keeper.abort();
    let _ = keeper.await;
    overseer.look();
    if let Some(reason) = failure.get() {
        anyhow::bail!("{reason}");
    }
    // Members that have left the group let a successor begin at once.
    let left = async {
        while Arc::strong_count(&sources) > 1 || !sources.iter().all(Source::is_finished) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(LEAVE_MAX, left).await.is_err() {
        warn!("leaving the consumer group takes too long; the broker will notice by itself");
    }
    for source in Arc::into_inner(sources).into_iter().flatten() {
        source.join()?;
    }
    let summary = summary(&merger, &metrics, &topics, started);
    info!(events = summary.events, applied = summary.ledger.applied, "ended");
    Ok(summary)
}

/// What ended the run.
enum Ending {
    Merger(Box<Result<Merger, SinkGone>>),
    Sink(anyhow::Result<()>),
    Source,
    Stopped,
}

/// What Kafka says before reading begins.
struct Log {
    lookup: Lookup,
    discovered: Discovered,
    starts: Arc<OffsetMap>,
    ends: Option<Arc<OffsetMap>>,
    /// The time that was asked for, with `kafka.start = "window"`.
    window_from: Option<EventTime>,
    /// How the logs stand to the cursors of a checkpoint.
    resume: Resume,
    /// Where the brokers have one.
    cluster_id: Option<String>,
}

/// What a checkpoint knows of the logs.
struct Known {
    cluster_id: Option<String>,
    cursors: Cursors,
}

impl Log {
    /// Waits for Kafka and all topics; `None` when stopped meanwhile.
    async fn find(
        config: &Config,
        definitions: &Definitions,
        topics: Topics,
        options: Options,
        known: Known,
        health: &Arc<Health>,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<Option<Log>> {
        let by_window = config.kafka.start == crate::config::Start::Window;
        let from = EventTime::from_millis(wall_clock_millis()) - definitions.reach_back();
        let kafka = config.kafka.clone();
        let prefix = config.redis.prefix.clone();
        let stopping = Arc::new(AtomicBool::new(false));
        let seen = stopping.clone();
        let health = health.clone();
        let find = tokio::task::spawn_blocking(move || {
            let lookup = Lookup::new(&kafka, topics)?;
            let hear = |error: &LookupError| health.topics_present.fail(error.to_string());
            let discovered = lookup.wait_for_topics(&seen, hear)?;
            if !kafka.dead_letter_topic.is_empty() {
                // Found missing later, it would hold every partition that has a reject.
                let topic = &kafka.dead_letter_topic;
                until_answered(&seen, || lookup.require(topic).inspect_err(hear))?;
            }
            let cluster_id = lookup.cluster_id();
            check_cluster(known.cluster_id.as_deref(), cluster_id.as_deref(), &prefix)?;
            let leaders = &discovered.leaders;
            let (starts, resume) = if known.cursors.is_empty() {
                let starts = until_answered(&seen, || lookup.start_offsets(&kafka, leaders, from))?;
                (starts, Resume::default())
            } else {
                let ask = || resume::compare(&kafka, &lookup, leaders, &known.cursors);
                let resume = until_answered(&seen, ask)?;
                (resume.starts(), resume)
            };
            let ends = if options.bounded {
                Some(Arc::new(until_answered(&seen, || lookup.offsets(leaders, At::End))?))
            } else {
                None
            };
            let (starts, window_from) = (Arc::new(starts), by_window.then_some(from));
            anyhow::Ok(Log { lookup, discovered, starts, ends, window_from, resume, cluster_id })
        });
        tokio::select! {
            found = find => found.context("looking for topics panicked")?.map(Some),
            () = stopped(stop) => {
                stopping.store(true, Ordering::Relaxed);
                Ok(None)
            }
        }
    }

    fn coverage(&self, partition: Partition, start: i64) -> Coverage {
        if self.resume.is_added(partition) {
            return Coverage::Everything;
        }
        match (start, self.window_from) {
            (0, _) => Coverage::Everything,
            (_, Some(from)) => Coverage::From(from),
            _ => Coverage::Unknown,
        }
    }
}

fn metrics(config: &Config, definitions: &Definitions, topics: &Topics) -> Metrics {
    let topics: Vec<(Kind, String)> =
        topics.kinds().map(|(kind, name)| (kind, name.to_owned())).collect();
    let dimensions: Vec<String> = definitions.dimensions.iter().map(|d| d.name.clone()).collect();
    let windows: Vec<String> = definitions.windows.iter().map(|w| w.label.clone()).collect();
    let metrics = Metrics::new(&Labels {
        topics: &topics,
        dimensions: &dimensions,
        windows: &windows,
        malformed: &Malformed::ALL.map(Malformed::name),
        redis_errors: &ErrorClass::ALL.map(ErrorClass::name),
    });
    for (gauge, dimension) in metrics.merge.entities_limit.iter().zip(&definitions.dimensions) {
        gauge.set(dimension.entities_max as i64);
    }
    for (part, bytes) in config.memory_estimate().parts {
        metrics.merge.set_memory_limit(part, bytes);
    }
    metrics.with_process()
}

/// Serves the pages until the daemon ends: a drain can be watched.
async fn serve_pages(
    config: &Config,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
) -> anyhow::Result<Option<PagesTask>> {
    if config.http.listen.is_empty() {
        return Ok(None);
    }
    let server = Server::bind(&config.http.listen).await?;
    info!(address = %server.address(), "serving /metrics, /livez and /readyz");
    let metrics = metrics.clone();
    let pages = Pages { metrics: Arc::new(move || metrics.render()), health: health.clone() };
    Ok(Some(PagesTask(tokio::spawn(server.run(pages, std::future::pending())))))
}

struct PagesTask(tokio::task::JoinHandle<()>);

impl Drop for PagesTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn dead_letters(config: &Config) -> anyhow::Result<DeadLetters> {
    if config.kafka.dead_letter_topic.is_empty() {
        return Ok(DeadLetters::off());
    }
    let client = client::producer(&config.kafka, &config.limits);
    DeadLetters::start(&client, &config.kafka.dead_letter_topic, config.limits.in_flight_bytes / 4)
        .context("create the producer of dead letters")
}

fn count_dead_letters(metrics: &Metrics, dead_letters: &DeadLetters) {
    if let Some(counters) = dead_letters.counters() {
        raise_to(
            &metrics.kafka.dead_letter_errors,
            counters.failed_attempts.load(Ordering::Relaxed),
        );
        for (counter, kind) in counters.acknowledged_by_kind.iter().zip(Kind::ALL) {
            if let Some(topic) = metrics.topic(kind) {
                raise_to(&topic.dead_letters, counter.load(Ordering::Relaxed));
            }
        }
    }
}

fn owner(
    config: &Config,
    definitions: &Arc<Definitions>,
    topics: &Topics,
    lease: Token,
    published: Arc<OffsetMap>,
    links: OwnerLinks,
) -> Owner {
    let limits = DecodeLimits {
        record_bytes_max: usize_of(config.limits.record_bytes),
        id_bytes_max: config.limits.id_bytes,
    };
    let decoder = Decoder::new(&config.fields, definitions, limits);
    let settings = OwnerSettings {
        definitions: definitions.clone(),
        topics: topics.clone(),
        interval: config.redis.flush / HAND_OVERS_PER_FLUSH,
        delta_bytes_max: DELTA_BYTES_MAX,
        max_consecutive_rejects: config.limits.max_consecutive_rejects,
        lease,
        published,
    };
    Owner::new(settings, decoder, links)
}

fn summary(merger: &Merger, metrics: &Metrics, topics: &Topics, started: Instant) -> Summary {
    let mut total = LedgerLine::default();
    let mut by_topic: BTreeMap<String, TopicLine> = BTreeMap::new();
    let mut events = 0;
    for (Partition { kind, .. }, position) in merger.positions() {
        let ledger = &position.state.ledger;
        events += ledger.consumed;
        total.add(ledger);
        let topic = by_topic.entry(topics.name(*kind).to_owned()).or_default();
        topic.events += ledger.consumed;
        topic.ledger.add(ledger);
    }
    let (seconds, meta) = (started.elapsed().as_secs_f64(), merger.meta());
    Summary {
        events,
        ledger: total,
        events_after_close: meta.events_after_close,
        over_cap: meta.over_cap,
        windows_closed: metrics.flush.windows_closed.iter().map(|counter| counter.get()).sum(),
        seconds,
        events_per_second: events as f64 / seconds,
        topics: by_topic,
    }
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // A sender that is gone will never ask to stop.
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// A signal came before there was anything to drain.
fn stopped_early(options: Options, meanwhile: &str) -> anyhow::Result<Summary> {
    anyhow::ensure!(!options.bounded, "stopped while waiting for {meanwhile}");
    info!("stopped while waiting for {meanwhile}");
    Ok(Summary::default())
}

/// Waits for the claim; readiness tells an instance that stands by from one without Redis.
async fn said_while_waiting<F: Future>(
    claim: F,
    redis: &RedisHealth,
    health: &Health,
) -> F::Output {
    let mut claim = std::pin::pin!(claim);
    loop {
        if redis.is_standby() {
            health.redis_usable.fail("another instance holds the lease; this one stands by");
        }
        if let Ok(claimed) = tokio::time::timeout(Duration::from_millis(250), &mut claim).await {
            return claimed;
        }
    }
}

async fn until_stopped<F: Future>(stop: watch::Receiver<bool>, future: F) -> Option<F::Output> {
    tokio::select! {
        output = future => Some(output),
        () = stopped(stop) => None,
    }
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Whether an error is a refusal: nothing was touched, and another configuration is needed.
pub fn is_refusal(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        matches!(
            cause.downcast_ref(),
            Some(
                RedisSinkError::Config(_)
                    | RedisSinkError::ConfigChanged { .. }
                    | RedisSinkError::Ended { .. }
            )
        ) || cause.is::<client::RefusedProperty>()
            || cause.is::<OtherCluster>()
    })
}
