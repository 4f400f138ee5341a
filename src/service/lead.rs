//! Leading: the lease is held, so merged state is restored, kept, published and saved here.
//!
//! ```text
//!   claim ─► prepare: checkpoint, logs ─► start: what waits in outboxes ─► merger, sink, keeper, feed
//! ```
//! A process leads from its start, or begins to when the leader before it has ended. One that
//! loses its lease finds out from Redis, and ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::checkpoint::Keeper;
use super::log::{Known, Log};
use super::observe::MergeObserver;
use super::publish::{Audience, publish};
use super::{Ending, MERGE_PULSE, Parts, SINK_PULSE, feed, until_stopped, usize_of};
use crate::pipeline::capture_line::capture_line;
use crate::pipeline::delivery::Partition;
use crate::pipeline::flush::{AllWindows, Checkpoints, Plan, Publisher, SinkGone, job_channel};
use crate::pipeline::handover::{Inlet, Message, Outlet};
use crate::pipeline::merge::{Merger, Position, Predecessor};
use crate::pipeline::offset::{Discovered, Lookup, OffsetMap};
use crate::pipeline::protocol::Gate;
use crate::sinks::redis::RedisSink;
use crate::sinks::redis::error::RedisSinkError;
use crate::sinks::redis::outbox::Feed;

/// A new leader reads what waits in outboxes for so long at most before it begins.
const OUTBOXES_MAX: Duration = Duration::from_secs(20);

/// What the claim answers.
type Claim = JoinHandle<Result<RedisSink, RedisSinkError>>;

/// Waits for the lease; `None` once another instance is known to hold it, for one that follows
/// meanwhile. Readiness tells what is waited for.
pub async fn claimed(claim: &mut Claim, parts: &Parts) -> Option<anyhow::Result<RedisSink>> {
    loop {
        if parts.redis.is_standby() {
            if !parts.options.bounded {
                return None;
            }
            let reason = "another instance holds the lease; this one stands by";
            parts.health.redis_usable.fail(reason);
        }
        if let Ok(claimed) = tokio::time::timeout(Duration::from_millis(250), &mut *claim).await {
            let claimed = claimed.context("the claim panicked");
            return Some(claimed.and_then(|claimed| Ok(claimed?)));
        }
    }
}

/// What a leader begins with.
pub struct Ready {
    merger: Merger,
    keeper: Keeper,
    /// The offsets that the views of an earlier run explain.
    pub published: OffsetMap,
    /// Where a bounded run ends.
    pub ends: Option<Arc<OffsetMap>>,
}

/// Restores the checkpoint and compares it with the logs; `None` when stopped meanwhile. Whom it
/// asked can go on watching them. A lease that leads to nothing is given back.
pub async fn prepare(
    parts: &Parts,
    sink: &mut RedisSink,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<Option<(Ready, Lookup, Discovered)>> {
    let prepared = restore_and_compare(parts, sink.predecessor(), stop).await;
    if !matches!(prepared, Ok(Some(_))) {
        sink.release().await;
    }
    prepared
}

async fn restore_and_compare(
    parts: &Parts,
    predecessor: &Predecessor,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<Option<(Ready, Lookup, Discovered)>> {
    let definitions = &parts.definitions;
    let hash = parts.options.state_hash(&parts.config);
    let token = parts.token.to_string();
    let mut keeper = Keeper::new(&parts.config, hash, &token, parts.metrics.clone())?;
    let Some(restored) = until_stopped(stop.clone(), keeper.restore(definitions)).await else {
        return Ok(None);
    };
    let mut merger = restored?.unwrap_or_else(|| {
        let mut merger = Merger::new(definitions.clone());
        merger.keep_journal();
        merger
    });
    let cursor = |(&partition, position): (&Partition, &Position)| {
        (partition, (position.cursor, position.state.prints))
    };
    let known = Known {
        cluster_id: keeper.cluster_id().map(str::to_owned),
        cursors: merger.positions().iter().map(cursor).collect(),
    };
    let Some(log) = Log::find(parts, known, stop).await? else { return Ok(None) };
    let predecessor = log.resume.still_there(predecessor);
    let published = predecessor.offsets.iter().collect();
    merger.succeed(predecessor);
    log.resume.apply(&mut merger, &parts.topics);
    keeper.set_cluster_id(log.cluster_id.clone());
    for (&partition, &start) in log.starts.iter() {
        merger.add_partition(partition, start, log.coverage(partition, start), 0);
    }
    merger.clock_mut().topology_known();
    for (&partition, position) in merger.positions() {
        parts.merged.set_position(partition, position.clone());
    }
    parts.merged.set_stream_time(merger.clock().stream_time());
    let Log { lookup, discovered, ends, .. } = log;
    Ok(Some((Ready { merger, keeper, published, ends }, lookup, discovered)))
}

/// The parts of a leader at work.
pub struct Leadership {
    merger: JoinHandle<Result<Merger, SinkGone>>,
    sink: JoinHandle<anyhow::Result<()>>,
    keeper: JoinHandle<()>,
    feed: JoinHandle<()>,
    pub all_windows: AllWindows,
}

/// Begins to merge what comes through `inlet` and the outboxes. `commit` hears the cursors of
/// every checkpoint.
pub async fn start(
    parts: &Arc<Parts>,
    ready: Ready,
    sink: RedisSink,
    inlet: Inlet,
    outlet: &Outlet,
    commit: impl Fn(&[(Partition, i64)]) + Send + 'static,
) -> anyhow::Result<Leadership> {
    let Parts { config, definitions, health, metrics, merged, redis, .. } = &**parts;
    let Ready { mut merger, keeper, published, ends } = ready;
    let mut outboxes = Feed::new(&config.redis, &config.topics)?;
    take_what_waits(&mut outboxes, &mut merger).await;
    for (&partition, position) in merger.positions() {
        merged.set_position(partition, position.clone());
    }
    let (jobs, job_receiver) = job_channel();
    let all_windows = job_receiver.all_windows();
    let (capture_sender, captures) = capture_line();
    let plan = Plan {
        definitions: definitions.clone(),
        flush: config.redis.flush,
        refresh: config.refresh_by_window(),
        closed_keep: (config.redis.closed_keep > 0).then_some(config.redis.closed_keep),
        unpublished_bytes_max: usize_of(config.limits.in_flight_bytes / 2),
        state_bytes_max: usize_of(config.limits.state_bytes),
        bounded: ends.as_deref().cloned(),
        period: parts.options.period,
        gate: Gate::new(published.iter().map(|(&partition, &offset)| (partition, offset))),
        checkpoints: Some(Checkpoints { every: config.checkpoint.every, line: capture_sender }),
    };
    let observer = MergeObserver::new(metrics.clone(), health.pulse("merge", MERGE_PULSE));
    let publisher = Publisher::new(plan, merger, inlet, merged.clone(), jobs, observer);
    let merger = tokio::task::spawn_blocking(move || publisher.run());

    let audience = Audience {
        metrics: metrics.clone(),
        health: health.clone(),
        pulse: health.pulse("sink", SINK_PULSE),
    };
    let redis = redis.clone();
    let sink = tokio::spawn(publish(sink, job_receiver, audience, move || redis.republishes()));
    let (checkpointed, trimmed) = watch::channel(Vec::new());
    let keeper = tokio::spawn(keeper.run(captures, move |cursors| {
        commit(cursors);
        checkpointed.send_replace(cursors.to_vec());
    }));
    let feed = tokio::spawn(feed::run(outboxes, merged.clone(), outlet.clone(), trimmed));
    Ok(Leadership { merger, sink, keeper, feed, all_windows })
}

/// Merges what the instances have handed over since the checkpoint, before anything comes through
/// memory that builds on it. What does not come in time comes later.
async fn take_what_waits(outboxes: &mut Feed, merger: &mut Merger) {
    let partitions: Vec<Partition> = merger.positions().keys().copied().collect();
    let since = Instant::now();
    while since.elapsed() < OUTBOXES_MAX {
        match feed::read(outboxes, &partitions).await {
            Some(deliveries) if deliveries.is_empty() => return,
            Some(deliveries) => tokio::task::block_in_place(|| {
                deliveries.iter().for_each(|one| _ = merger.merge_from_outbox(one, 0));
            }),
            None => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Waits for a part of the leader that ends by itself; for ever, where nobody leads.
pub async fn ended(leadership: Option<&mut Leadership>) -> anyhow::Result<Ending> {
    let Some(Leadership { merger, sink, .. }) = leadership else { std::future::pending().await };
    tokio::select! {
        ended = merger => Ok(Ending::Merger(Box::new(ended.context("the merger panicked")?))),
        failed = sink => Ok(Ending::Sink(failed.context("the sink panicked")?)),
    }
}

impl Leadership {
    /// Publishes and saves what was read, and gives up the lease. `finished`: nothing more is read.
    pub async fn drain(
        self,
        ending: Ending,
        finished: impl Future<Output = ()>,
        outlet: &Outlet,
    ) -> anyhow::Result<Merger> {
        self.feed.abort();
        let _ = self.feed.await;
        let merger = match ending {
            Ending::Merger(merger) => *merger,
            // Without an error it ends after the last flush only: the merger has sent that, and
            // is about to notice that it was written.
            Ending::Sink(result) => {
                result?;
                self.merger.await.context("the merger panicked")?
            }
            Ending::Stopped | Ending::Source => {
                finished.await;
                outlet.tell(Message::Stop)?;
                self.merger.await.context("the merger panicked")?
            }
        };
        // The merger has waited for the last checkpoint; what commits for it lets the sources go.
        self.keeper.abort();
        let _ = self.keeper.await;
        match merger {
            Ok(merger) => Ok(merger),
            // The sink has said why.
            Err(SinkGone) => {
                self.sink.await.context("the sink panicked")??;
                anyhow::bail!("the sink ended early")
            }
        }
    }
}
