//! The daemon, put together: start, run, drain.
//!
//! Order matters at both ends. Start: everything that can be refused is refused before anything
//! is touched; the pages for operators answer from the first moment; Redis and Kafka are waited
//! for as long as it takes. Drain: readers hand over and leave the group, the merger publishes
//! what it has, the sink writes it; then the process ends, with a deadline on the whole.

mod checkpoint;
mod courier;
mod feed;
mod lead;
mod log;
mod observe;
mod progress;
mod publish;
mod resume;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::config::Config;
use crate::event::Kind;
use crate::health::Health;
use crate::http::{Pages, Server};
use crate::metrics::{Labels, Metrics, raise_to};
use crate::pipeline::client;
use crate::pipeline::clock::Coverage;
use crate::pipeline::dead_letter::DeadLetters;
use crate::pipeline::decode::{DecodeLimits, Decoder, Malformed};
use crate::pipeline::definitions::Definitions;
use crate::pipeline::delivery::{Ledger, Partition};
use crate::pipeline::flush::SinkGone;
use crate::pipeline::handover::{MergedState, Message, Outlet, Reading, channel};
use crate::pipeline::identity::OtherCluster;
use crate::pipeline::merge::Merger;
use crate::pipeline::offset::Topics;
use crate::pipeline::owner::{Failure, Owner, OwnerLinks, OwnerSettings};
use crate::pipeline::period::Period;
use crate::pipeline::protocol::Token;
use crate::pipeline::role::{Role, draw_token};
use crate::pipeline::source::{Source, SourceSettings};
use crate::pipeline::watch::LogWatch;
use crate::sinks::redis::RedisSink;
use crate::sinks::redis::checkpoint::ManifestStore;
use crate::sinks::redis::error::{ErrorClass, RedisSinkError};
use crate::sinks::redis::health::RedisHealth;
use crate::sinks::redis::outbox::Outboxes;

use courier::{Courier, Relay};
use log::Log;
use observe::{Backlog, Overseer};
use progress::Progress;

/// After a signal to stop, publishing what was read may take so long.
const DRAIN_MAX: Duration = Duration::from_secs(25);
/// A follower appends its last deliveries within so long.
const FOLLOWER_DRAIN_MAX: Duration = Duration::from_secs(5);
/// One append takes less, unless Redis is away.
const LAST_APPEND: Duration = Duration::from_millis(100);
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
    /// Of a bounded run: publish the closed windows of this period, and nothing else.
    pub period: Option<Period>,
}

impl Options {
    pub fn bounded(bounded: bool) -> Self {
        Self { bounded, period: None }
    }

    /// Under which hash state is kept. That of a period goes on with the same period only.
    pub fn state_hash(&self, config: &Config) -> String {
        let meaning = config.meaning_hash();
        self.period.map_or(meaning.clone(), |period| period.mark(&meaning))
    }
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
        &options.state_hash(&config),
        &token.to_string(),
    )?;
    let redis = sink.health();
    let parts = Arc::new(Parts {
        merged: Arc::default(),
        reading: Arc::default(),
        failure: Failure::default(),
        redis,
        token,
        config,
        options,
        definitions,
        topics,
        health,
        metrics,
    });
    let Parts { config, definitions, topics, health, metrics, .. } = &*parts;

    // Who holds the lease leads. A bounded run waits for it; others follow meanwhile.
    let mut claim = tokio::spawn(sink.claim());
    let claimed = tokio::select! {
        claimed = lead::claimed(&mut claim, &parts) => claimed,
        () = stopped(stop.clone()) => {
            claim.abort();
            return stopped_early(options, "Redis");
        }
    };
    let mut sink = claimed.transpose()?;
    health.redis_usable.hold();

    let (outlet, inlet) = channel(usize_of(config.limits.in_flight_bytes / 2));
    let (role, openings) = Role::new(token);
    let role = Arc::new(role);
    let mut prepared = None;
    let mut manifests = ManifestStore::new(&config.redis, &token.to_string())?;
    let (lookup, discovered, ends) = if let Some(sink) = &mut sink {
        let prepared_now = lead::prepare(&parts, sink, stop.clone()).await?;
        let Some((ready, lookup, discovered)) = prepared_now else {
            return stopped_early(options, "Kafka");
        };
        let ends = ready.ends.clone();
        prepared = Some(ready);
        role.begin_to_lead();
        (lookup, discovered, ends)
    } else {
        let looked = Log::look(&parts, manifests.cluster_id().await, stop.clone()).await?;
        let Some((lookup, discovered)) = looked else {
            claim.abort();
            return stopped_early(options, "Kafka");
        };
        (lookup, discovered, None)
    };
    health.topics_present.hold();
    let partitions = discovered.leaders.len();
    let stream_time = {
        let merged = parts.merged.clone();
        move || merged.stream_time()
    };
    let log_watch =
        LogWatch::start(lookup, discovered, stream_time).context("start the log watcher")?;

    if let Some(ready) = &prepared {
        role.set_published(ready.published.iter().map(|(&partition, &offset)| (partition, offset)));
    }
    let dead_letters = dead_letters(config)?;
    let links = |pulse| OwnerLinks {
        outlet: outlet.clone(),
        role: role.clone(),
        merged: parts.merged.clone(),
        reading: parts.reading.clone(),
        dead_letters: dead_letters.clone(),
        metrics: metrics.clone(),
        failure: parts.failure.clone(),
        pulse,
    };
    let mut sources = Vec::new();
    for handle in 0..config.kafka.handles {
        let settings = SourceSettings {
            topics: topics.clone(),
            client: client::consumer(&config.kafka, &config.limits, partitions),
            starts: Arc::default(),
            ends: ends.clone(),
            log: log_watch.view(),
            max_skew: definitions.max_skew,
        };
        let pulse = health.pulse(format!("poll {handle}"), POLL_PULSE);
        let owner = owner(config, definitions, topics, links(pulse));
        sources.push(Source::start(&format!("source-{handle}"), settings, owner)?);
    }
    let sources = Arc::new(sources);

    // The courier takes the outboxes of partitions that begin here, and fills them while this
    // process follows.
    let (deliveries, delivered) = mpsc::channel(4);
    let courier = {
        let courier = Courier {
            outboxes: Outboxes::new(&config.redis, &config.topics, Outboxes::BYTES_MAX)?,
            manifests,
            windows: definitions.windows.iter().map(|window| window.label.clone()).collect(),
            topics: config.topics.clone(),
            role: role.clone(),
            merged: parts.merged.clone(),
            metrics: metrics.team.clone(),
        };
        let commit = committer(&parts, &sources);
        tokio::spawn(courier.run(openings, delivered, commit))
    };
    let mut relay = None;
    let mut leadership = None;
    match (sink, prepared) {
        (Some(sink), Some(ready)) => {
            leadership = Some(
                lead::start(&parts, ready, sink, inlet, &outlet, committer(&parts, &sources))
                    .await?,
            );
        }
        _ => {
            courier::say_following();
            health.first_flush.hold();
            relay = Some(Relay::start(inlet, deliveries)?);
        }
    }
    let mut overseer = Overseer {
        metrics: metrics.clone(),
        health: health.clone(),
        topics: topics.clone(),
        log: log_watch.view(),
        merged: parts.merged.clone(),
        reading: parts.reading.clone(),
        redis: parts.redis.clone(),
        drained_millis: BTreeMap::new(),
        said: None,
        unassigned_since: None,
        all_windows: leadership.as_ref().map(|leadership| leadership.all_windows.clone()),
        backlog: Backlog::default(),
    };

    // Running. What ends it: a signal, a bounded run's end, or a part that cannot go on.
    let mut progress = options.period.map(|period| Progress::new(period, definitions));
    let mut look = tokio::time::interval(Duration::from_secs(1));
    let ended = loop {
        tokio::select! {
            ending = lead::ended(leadership.as_mut()) => break ending,
            claimed = &mut claim, if relay.is_some() => {
                let take_over = async {
                    let mut sink = claimed.context("the claim panicked")??;
                    let prepared = lead::prepare(&parts, &mut sink, stop.clone()).await?;
                    let Some((ready, ..)) = prepared else { return Ok(None) };
                    let Some(inlet) = relay.take().and_then(Relay::stop) else {
                        sink.release().await;
                        return Ok(None);
                    };
                    role.set_published(ready.published.iter().map(|(&id, &offset)| (id, offset)));
                    role.begin_to_lead();
                    let commit = committer(&parts, &sources);
                    lead::start(&parts, ready, sink, inlet, &outlet, commit).await.map(Some)
                };
                match take_over.await {
                    Ok(Some(began)) => {
                        overseer.all_windows = Some(began.all_windows.clone());
                        leadership = Some(began);
                    }
                    Ok(None) => break Ok(Ending::Stopped),
                    Err(error) => break Err(error),
                }
            }
            () = stopped(stop.clone()) => break Ok(Ending::Stopped),
            _ = look.tick() => {
                overseer.look();
                progress.iter_mut().for_each(|progress| progress.look(&parts.merged));
                metrics.team.leads.set(i64::from(leadership.is_some()));
                add_partitions(&parts, &log_watch, &outlet, leadership.is_some());
                count_dead_letters(metrics, &dead_letters);
                if sources.iter().any(Source::is_finished) {
                    break Ok(Ending::Source);
                }
            }
        }
    };

    // Draining.
    health.serving.fail("is shutting down");
    info!("draining");
    claim.abort();
    sources.iter().for_each(Source::stop);
    let finished = async {
        while !sources.iter().all(Source::is_finished) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let mut merger = None;
    let mut failed = None;
    match (leadership, ended) {
        (Some(leadership), Ok(ending)) => {
            let drain = leadership.drain(ending, finished, &outlet);
            let drained = tokio::time::timeout(DRAIN_MAX, drain)
                .await
                .context("what was read could not be published in time; it will be read again")?;
            merger = Some(drained?);
        }
        // What was handed over last is appended, or read again by the next owner.
        (None, ended) => {
            failed = ended.err();
            let appended = async {
                finished.await;
                while outlet.bytes() > 0 {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                tokio::time::sleep(LAST_APPEND).await;
            };
            let _ = tokio::time::timeout(FOLLOWER_DRAIN_MAX, appended).await;
        }
        (Some(_), Err(error)) => return Err(error),
    }
    courier.abort();
    let _ = courier.await;
    drop(relay.and_then(Relay::stop));
    overseer.look();
    if let Some(reason) = parts.failure.get() {
        anyhow::bail!("{reason}");
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let lost = parts.redis.history_lost();
    anyhow::ensure!(
        options.period.is_none() || lost == 0,
        "Redis has lost {lost} history entries while they were computed; delete the prefix with \
         `nazar reset` and begin again"
    );
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
    let summary =
        merger.map_or_else(Summary::default, |merger| summary(&merger, metrics, topics, started));
    info!(events = summary.events, applied = summary.ledger.applied, "ended");
    Ok(summary)
}

/// What all parts of a run share.
struct Parts {
    config: Config,
    options: Options,
    definitions: Arc<Definitions>,
    topics: Topics,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    merged: Arc<MergedState>,
    reading: Arc<Reading>,
    failure: Failure,
    redis: Arc<RedisHealth>,
    /// Under which this process leads.
    token: Token,
}

/// Commits offsets to Kafka for other people's lag tools: what a restart will not read again.
/// Nobody watches the group of a period, which is gone with its last member as long as it has
/// committed nothing.
fn committer(
    parts: &Parts,
    sources: &Arc<Vec<Source>>,
) -> impl Fn(&[(Partition, i64)]) + Send + 'static {
    let sources = sources.clone();
    let commits = parts.options.period.is_none();
    move |cursors| {
        let heard = sources.iter().filter(|_| commits);
        heard.for_each(|source| source.commit(cursors.iter().copied()));
    }
}

/// Partitions that were added while running: read from their beginning, by whoever owns them.
fn add_partitions(parts: &Parts, log: &LogWatch, outlet: &Outlet, leads: bool) {
    if !leads || parts.options.bounded {
        return;
    }
    for &partition in log.view().load().partitions.keys() {
        if parts.merged.position(partition).is_none() {
            let coverage = Coverage::Everything;
            let _ = outlet.tell(Message::Partition { partition, start: 0, coverage });
        }
    }
}

/// What ended the run.
enum Ending {
    Merger(Box<Result<Merger, SinkGone>>),
    Sink(anyhow::Result<()>),
    Source,
    Stopped,
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
    let (seconds, meta) = (started.elapsed().as_secs_f64(), merger.meta(0));
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

async fn until_stopped<F: Future>(stop: watch::Receiver<bool>, future: F) -> Option<F::Output> {
    tokio::select! {
        output = future => Some(output),
        () = stopped(stop) => None,
    }
}

fn usize_of(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// What a command refuses before it has touched anything, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

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
            || cause.is::<Refused>()
            || cause.is::<OtherCluster>()
    })
}
