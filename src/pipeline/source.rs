//! Reads the partitions that the consumer group assigns to this process, and hands them to
//! their owner in batches.
//!
//! # The contract
//!
//! A [`Source`] is one consumer handle on an OS thread of its own. That thread polls librdkafka,
//! answers rebalances, reads batches and calls a [`PartitionOwner`]; no other thread touches
//! the handle. The owner can rely on this, for each partition:
//!
//! - `assigned` comes first and names the offset to start from; `revoked` comes last. In
//!   between, `records` delivers the log in order and without a gap: every offset from the
//!   start on is delivered once, or was deleted before it could be read (`lost`), or holds no
//!   record (compaction, aborted transactions and their markers).
//! - After a seek that the owner asked for, the next records begin at that offset.
//! - Offsets mean something only within one log. When the log of a partition is found to be
//!   another one (the topic was deleted and made anew, or the log lost its tail), the owner is
//!   told `replaced`, and gets nothing more of it until it says where in the new one to begin.
//! - `quiet` is the broker's word, not a timer's: all records that were in the partition when
//!   the stream time was read have been delivered. A partition that is held back, stalled or
//!   unreachable is never called quiet.
//!
//! Backpressure is not reading: on [`Flow::Hold`] the loop goes on polling, so the member stays
//! in its group, and librdkafka stops fetching at its own bound. Nothing is paused or purged.
//!
//! Errors about a partition keep that partition waiting and are said once; the others go on.
//! Only a fatal error of the client ends the source.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use tracing::warn;

use crate::pipeline::batch::{Batch, BatchConsumer};
use crate::pipeline::delivery::Partition;
use crate::pipeline::offset::{OffsetMap, Topics};
use crate::pipeline::reading::Reading;
use crate::pipeline::rebalance::SourceContext;
use crate::pipeline::watch::LogView;
use crate::time::{EventTime, Span};

/// librdkafka may hang while it leaves a group whose coordinator is gone.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// Where an owner wants a partition to be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assigned {
    From(i64),
    /// Not known yet: nothing is read until the owner asks for a seek.
    Wait,
}

/// Whether there is room for more records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Read,
    Hold,
    /// Hand over and end.
    Stop,
}

/// What a turn of the loop asks of the owner; called at least every few milliseconds.
pub struct Turn<'turn> {
    pub now: Instant,
    seeks: &'turn mut Vec<Seek>,
}

/// A place to go on at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seek {
    pub partition: Partition,
    pub offset: i64,
    /// The offset was chosen knowing that the log was replaced.
    pub in_new_log: bool,
}

impl<'turn> Turn<'turn> {
    /// Seeks are added to `seeks`.
    pub fn new(now: Instant, seeks: &'turn mut Vec<Seek>) -> Self {
        Self { now, seeks }
    }

    /// Reads the partition from `offset` on; records fetched before are dropped.
    pub fn seek(&mut self, partition: Partition, offset: i64) {
        self.seeks.push(Seek { partition, offset, in_new_log: false });
    }

    /// After [`PartitionOwner::replaced`]: reads the log that is there now, from `offset` on. A
    /// plain seek does not, since it may have been decided before the owner knew.
    pub fn seek_in_new_log(&mut self, partition: Partition, offset: i64) {
        self.seeks.push(Seek { partition, offset, in_new_log: true });
    }
}

/// What is done with the records of the partitions that this process owns.
pub trait PartitionOwner: Send {
    /// The partition is ours. `start` is where the group begins when nothing else is known.
    fn assigned(&mut self, partition: Partition, start: i64) -> Assigned;

    /// The partition goes away: hand over what is open, or drop it. All partitions of a
    /// rebalance together have one second. `lost`: another member may own it already.
    fn revoked(&mut self, partition: Partition, lost: bool);

    /// Records in order of their offsets; never empty.
    fn records(&mut self, partition: Partition, batch: &Batch<'_>);

    /// The records in `[from, to)` were deleted before they were read; the next is at `to` or after.
    fn lost(&mut self, partition: Partition, from: i64, to: i64);

    /// The log is no longer the one that was read so far: its topic was re-created, or it lost
    /// its tail. Nothing of it is delivered until the owner asks with [`Turn::seek_in_new_log`]; one that does not leaves the
    /// partition unread until the next start compares the logs
    /// ([`crate::pipeline::identity`]). Said once per assignment.
    fn replaced(&mut self, _partition: Partition) {}

    /// The partition held nothing unread when `stream_time` was read. `position` is its end;
    /// it may lie past the last record delivered, behind markers of transactions.
    fn quiet(&mut self, partition: Partition, position: i64, stream_time: EventTime);

    /// The partition has been read up to the end set for a bounded run; said once per assignment.
    fn reached_end(&mut self, partition: Partition, position: i64);

    /// Reading has come far ahead of what is merged, and would have to wait: hand over what is open.
    fn hand_over(&mut self, _turn: &mut Turn<'_>) {}

    /// Every turn: flush what is due, say whether there is room, ask for seeks.
    fn tick(&mut self, turn: &mut Turn<'_>) -> Flow;

    /// `None` before the first record.
    fn watermark(&self, partition: Partition) -> Option<EventTime>;

    /// The least watermark of a partition that progresses, anywhere in the group.
    fn slowest_progressing(&self) -> Option<EventTime>;
}

/// What a source needs to know.
pub struct SourceSettings {
    pub topics: Topics,
    /// The properties of the consumer, see [`crate::pipeline::client::consumer`].
    pub client: ClientConfig,
    /// Where the group begins. A partition that is not listed was added later, and begins at 0.
    pub starts: Arc<OffsetMap>,
    /// A bounded run reads each listed partition up to here, and no other.
    pub ends: Option<Arc<OffsetMap>>,
    pub log: LogView,
    pub max_skew: Span,
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("create the Kafka consumer: {0}")]
    Create(KafkaError),
    #[error("subscribe: {0}")]
    Subscribe(KafkaError),
    #[error("the Kafka consumer failed for good: {0}")]
    Fatal(KafkaError),
    #[error("start the thread of a source: {0}")]
    Thread(std::io::Error),
    #[error("the thread of a source panicked")]
    Panicked,
}

/// A consumer handle and its thread.
pub struct Source {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), SourceError>>>,
}

/// What other threads ask of a source.
#[derive(Default)]
pub(super) struct Shared {
    stop: AtomicBool,
    /// Offsets to commit; the newest of a partition replaces an older one.
    commits: Mutex<OffsetMap>,
}

impl Shared {
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub fn take_commits(&self) -> OffsetMap {
        std::mem::take(&mut *self.commits.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Source {
    pub fn start<O: PartitionOwner + 'static>(
        name: &str,
        settings: SourceSettings,
        owner: O,
    ) -> Result<Self, SourceError> {
        let shared = Arc::new(Shared::default());
        let seen = shared.clone();
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&settings, owner, &seen))
            .map_err(SourceError::Thread)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Commits offsets to Kafka for other people's lag tools: soon, and without telling when.
    /// Only partitions that this handle owns at that time are committed.
    pub fn commit(&self, offsets: impl IntoIterator<Item = (Partition, i64)>) {
        self.shared.commits.lock().unwrap_or_else(PoisonError::into_inner).extend(offsets);
    }

    /// Asks the source to hand over and end.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end, which comes within seconds of [`Source::stop`].
    pub fn join(mut self) -> Result<(), SourceError> {
        let thread = self.thread.take();
        thread.map_or(Ok(()), |thread| thread.join().unwrap_or(Err(SourceError::Panicked)))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run<O: PartitionOwner>(
    settings: &SourceSettings,
    owner: O,
    shared: &Shared,
) -> Result<(), SourceError> {
    let consumer: BaseConsumer<SourceContext> = settings
        .client
        .create_with_context(SourceContext::default())
        .map_err(SourceError::Create)?;
    let consumer = BatchConsumer::new(consumer);
    let topics: Vec<_> = settings.topics.names().collect();
    consumer.subscribe(&topics).map_err(SourceError::Subscribe)?;
    let mut reading = Reading::new(settings, &consumer, owner);
    let outcome = reading.run(shared);
    reading.hand_over_all();
    drop(reading);
    close(consumer.into_inner());
    outcome
}

/// Leaves the group. librdkafka offers no deadline, so a thread closes, and is left behind
/// if it takes too long; the process is about to end.
fn close(consumer: BaseConsumer<SourceContext>) {
    consumer.context().close();
    let (closed, wait) = mpsc::channel();
    let closer = thread::Builder::new().name("kafka-close".into()).spawn(move || {
        drop(consumer);
        let _ = closed.send(());
    });
    if closer.is_ok() && wait.recv_timeout(CLOSE_MAX).is_err() {
        warn!(seconds = CLOSE_MAX.as_secs(), "the consumer did not close in time, leaving it");
    }
}
