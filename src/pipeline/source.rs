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
//! - `quiet` is the broker's word, not a timer's: all records that were in the partition when
//!   the stream time was read have been delivered. A partition that is held back, stalled or
//!   unreachable is never called quiet.
//!
//! Backpressure is not reading: on [`Flow::Hold`] the loop goes on polling, so the member stays
//! in its group, and librdkafka stops fetching at its own bound. Nothing is paused or purged.
//!
//! Errors about a partition keep that partition waiting and are said once; the others go on.
//! Only a fatal error of the client ends the source.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{error, info, warn};

use crate::pipeline::batch::{Batch, BatchBuffer, BatchConsumer, PartitionError, PartitionQueue};
use crate::pipeline::delivery::Partition;
use crate::pipeline::offset::{OffsetMap, Topics};
use crate::pipeline::read_order::{self, Candidate};
use crate::pipeline::rebalance::{
    Rebalance, SourceContext, assign_partitions, unassign_partitions,
};
use crate::pipeline::watch::{LogBounds, LogView};
use crate::time::{EventTime, Span};

/// Records taken at once. More: fewer calls and clock reads. Fewer: partitions stay closer
/// together in event time, and a full outcome is held in the caches.
const BATCH_RECORDS_MAX: usize = 4096;
/// How long the loop sleeps in `poll` when there is nothing to read: the latency it adds.
const IDLE_POLL: Duration = Duration::from_millis(5);
/// While there is always something to read, librdkafka's events are served this often.
const BUSY_POLL: Duration = Duration::from_millis(1);
/// A partition counts as silent when it delivered nothing for so long before the broker was asked.
const SILENT: Duration = Duration::from_secs(1);
/// How often positions are compared with the ends of a bounded run.
const END_CHECK: Duration = Duration::from_millis(50);
/// A hand-over within a rebalance should take less; the whole group waits for it.
const HAND_OVER_MAX: Duration = Duration::from_secs(1);
/// librdkafka may hang while it leaves a group whose coordinator is gone.
const CLOSE_MAX: Duration = Duration::from_secs(5);
const SEEK_MAX: Duration = Duration::from_millis(500);

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
    seeks: &'turn mut Vec<(Partition, i64)>,
}

impl Turn<'_> {
    /// Reads the partition from `offset` on; records fetched before are dropped.
    pub fn seek(&mut self, partition: Partition, offset: i64) {
        self.seeks.push((partition, offset));
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

    /// The partition held nothing unread when `stream_time` was read. `position` is its end;
    /// it may lie past the last record delivered, behind markers of transactions.
    fn quiet(&mut self, partition: Partition, position: i64, stream_time: EventTime);

    /// The partition has been read up to the end set for a bounded run; said once per assignment.
    fn reached_end(&mut self, partition: Partition, position: i64);

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

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Offsets to commit; the newest of a partition replaces an older one.
    commits: Mutex<OffsetMap>,
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

/// The state of one assigned partition.
struct Reader<'consumer> {
    queue: PartitionQueue<'consumer>,
    /// The offset of the next record, unless holes follow.
    next: i64,
    state: State,
    last_read: Instant,
    last_read_turn: u64,
    /// The newest answer about this partition's log that was acted on.
    answer: Option<Instant>,
    /// Where a bounded run ends.
    end: i64,
    reached_end: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    /// The owner has not said from where.
    Waiting,
    /// The broker does not have the next offset; the watcher will say what it has.
    OutOfRange {
        since: Instant,
    },
    /// The log ends before the next offset: it is another log, or lost its tail. Nothing that
    /// could be read from here on would be what was asked for.
    BeyondEnd,
}

struct Reading<'a, O> {
    settings: &'a SourceSettings,
    consumer: &'a BatchConsumer<SourceContext>,
    owner: O,
    readers: BTreeMap<Partition, Reader<'a>>,
    buffer: BatchBuffer,
    candidates: Vec<Candidate<Partition>>,
    seeks: Vec<(Partition, i64)>,
    turn: u64,
    rounds_seen: u64,
    end_check_due: Instant,
    /// The last error said, so that it is said once.
    complaint: String,
}

impl<'a, O: PartitionOwner> Reading<'a, O> {
    fn new(
        settings: &'a SourceSettings,
        consumer: &'a BatchConsumer<SourceContext>,
        owner: O,
    ) -> Self {
        Self {
            settings,
            consumer,
            owner,
            readers: BTreeMap::new(),
            buffer: BatchBuffer::new(BATCH_RECORDS_MAX),
            candidates: Vec::new(),
            seeks: Vec::new(),
            turn: 0,
            rounds_seen: 0,
            end_check_due: Instant::now(),
            complaint: String::new(),
        }
    }

    fn run(&mut self, shared: &Shared) -> Result<(), SourceError> {
        let mut last_poll = Instant::now();
        while !shared.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let flow = self.owner.tick(&mut Turn { now, seeks: &mut self.seeks });
            self.apply_seeks();
            if flow == Flow::Stop {
                break;
            }
            let read = flow == Flow::Read && self.read_one(now);
            if !read || now - last_poll >= BUSY_POLL {
                self.poll(if read { Duration::ZERO } else { IDLE_POLL })?;
                last_poll = Instant::now();
                self.answer_rebalances();
                self.commit(shared);
            }
            self.heed_watcher(now);
            self.check_ends(now);
        }
        Ok(())
    }

    /// Reads one batch, from the first partition in order that has any.
    fn read_one(&mut self, now: Instant) -> bool {
        self.turn += 1;
        self.candidates.clear();
        for (&id, reader) in &self.readers {
            if reader.state == State::Reading && !reader.reached_end {
                let watermark = self.owner.watermark(id);
                let last_read_turn = reader.last_read_turn;
                self.candidates.push(Candidate { id, watermark, last_read_turn });
            }
        }
        let slowest = self.owner.slowest_progressing();
        read_order::plan(&mut self.candidates, self.turn, slowest, self.settings.max_skew);
        let mut candidates = std::mem::take(&mut self.candidates);
        let read = candidates.iter().any(|candidate| self.read_partition(candidate.id, now));
        candidates.clear();
        self.candidates = candidates;
        read
    }

    fn read_partition(&mut self, id: Partition, now: Instant) -> bool {
        let Some(reader) = self.readers.get_mut(&id) else { return false };
        let mut batch = reader.queue.read(&mut self.buffer);
        batch.keep(reader.next, reader.end);
        let read = batch.last_offset();
        if let Some(last) = read {
            self.owner.records(id, &batch);
            reader.next = last + 1;
            reader.last_read = now;
            reader.last_read_turn = self.turn;
        }
        let errors = batch.errors().to_vec();
        drop(batch);
        for error in errors {
            self.partition_error(id, error, now);
        }
        read.is_some()
    }

    fn partition_error(&mut self, id: Partition, error: PartitionError, now: Instant) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        if error.is_out_of_range() {
            reader.state = State::OutOfRange { since: now };
        }
        let topic = self.settings.topics.name(id.kind);
        warn!(
            topic,
            partition = id.index,
            code = error.code,
            text = error.text,
            "read a partition"
        );
    }

    fn poll(&mut self, timeout: Duration) -> Result<(), SourceError> {
        match self.consumer.poll(timeout) {
            None => Ok(()),
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                Err(SourceError::Fatal(error))
            }
            Some(Err(error)) => {
                self.complain(&error);
                Ok(())
            }
            Some(Ok(message)) => {
                // Partition queues keep every message away from here. Should one come
                // nevertheless, it is read again from its place: nothing may be skipped.
                use rdkafka::message::Message;
                let id = self.settings.topics.partition(message.topic(), message.partition());
                error!(topic = message.topic(), "a message came outside its partition's queue");
                if let Some((id, reader)) = id.and_then(|id| Some((id, self.readers.get(&id)?))) {
                    self.seeks.push((id, reader.next));
                }
                Ok(())
            }
        }
    }

    /// Errors of the client: said when they change.
    fn complain(&mut self, error: &KafkaError) {
        let text = error.to_string();
        if text != self.complaint {
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                    warn!(%error, "a topic is missing; it is read once it exists");
                }
                _ => warn!(%error, "poll Kafka"),
            }
            self.complaint = text;
        }
    }

    fn answer_rebalances(&mut self) {
        while let Some(rebalance) = self.consumer.context().next_rebalance() {
            let answered = match rebalance {
                Rebalance::Assign(partitions) => self.assign(&partitions),
                Rebalance::Revoke { partitions, lost } => self.revoke(&partitions, lost),
            };
            if let Err(error) = answered {
                error!(%error, "answer a rebalance");
            }
        }
    }

    /// Assigns once, with explicit offsets: what librdkafka has stored or committed is of no interest.
    fn assign(&mut self, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
        let ids = self.ids(partitions);
        let mut offsets = Vec::with_capacity(ids.len());
        for id in ids {
            let start = self.settings.starts.get(&id).copied().unwrap_or(0);
            let (state, next) = match self.owner.assigned(id, start) {
                Assigned::From(offset) => (State::Reading, offset),
                Assigned::Wait => (State::Waiting, start),
            };
            if let Some(reader) = self.open(id, state, next) {
                self.readers.insert(id, reader);
                offsets.push((id, Offset::Offset(next)));
            }
        }
        info!(partitions = offsets.len(), owned = self.readers.len(), "partitions assigned");
        assign_partitions(self.consumer, &self.settings.topics.list(offsets))
    }

    fn open(&self, id: Partition, state: State, next: i64) -> Option<Reader<'a>> {
        let topic = self.settings.topics.name(id.kind);
        let queue = PartitionQueue::open(self.consumer, topic, id.index)?;
        let end = self.settings.ends.as_ref().map(|ends| ends.get(&id).copied().unwrap_or(0));
        Some(Reader {
            queue,
            next,
            state,
            last_read: Instant::now(),
            last_read_turn: self.turn,
            answer: None,
            end: end.unwrap_or(i64::MAX),
            reached_end: false,
        })
    }

    fn revoke(&mut self, partitions: &TopicPartitionList, lost: bool) -> Result<(), KafkaError> {
        let started = Instant::now();
        for id in self.ids(partitions) {
            self.hand_over(id, lost);
        }
        let took = started.elapsed();
        if took > HAND_OVER_MAX {
            warn!(millis = took.as_millis() as u64, "handing over took long, the group waited");
        }
        info!(
            partitions = partitions.count(),
            lost,
            owned = self.readers.len(),
            "partitions revoked"
        );
        unassign_partitions(self.consumer, partitions)
    }

    /// The queue goes before the assignment does.
    fn hand_over(&mut self, id: Partition, lost: bool) {
        if self.readers.remove(&id).is_some() {
            self.owner.revoked(id, lost);
        }
    }

    fn hand_over_all(&mut self) {
        let owned: Vec<Partition> = self.readers.keys().copied().collect();
        owned.into_iter().for_each(|id| self.hand_over(id, false));
    }

    fn ids(&self, partitions: &TopicPartitionList) -> Vec<Partition> {
        let elements = partitions.elements();
        let id = |topic: &str, index| self.settings.topics.partition(topic, index);
        elements.iter().filter_map(|element| id(element.topic(), element.partition())).collect()
    }

    fn apply_seeks(&mut self) {
        for (id, offset) in std::mem::take(&mut self.seeks) {
            if let Err(error) = self.go_on_at(id, offset) {
                let topic = self.settings.topics.name(id.kind);
                error!(%error, topic, partition = id.index, offset, "seek");
                // Without it the partition would be read from the wrong place.
                self.seeks.push((id, offset));
            }
        }
    }

    /// Reads the partition from `offset` on, whatever state librdkafka has it in.
    fn go_on_at(&mut self, id: Partition, offset: i64) -> Result<(), KafkaError> {
        let Some(reader) = self.readers.get_mut(&id) else { return Ok(()) };
        reader.next = offset;
        reader.reached_end = false;
        // Until librdkafka has moved, its position is that from before. Not being silent for
        // a while keeps that from being mistaken for the end of the log.
        reader.last_read = Instant::now();
        let one = self.settings.topics.list([(id, Offset::Offset(offset))]);
        let sought = self.consumer.seek_partitions(one.clone(), SEEK_MAX);
        let sought = sought.is_ok_and(|list| list.elements().iter().all(|e| e.error().is_ok()));
        if !sought {
            // librdkafka seeks only where it fetches, and it does not after an error or
            // right after an assignment. Assigning again works from every state.
            self.assign_again(id, &one)?;
        }
        if let Some(reader) = self.readers.get_mut(&id) {
            reader.state = State::Reading;
        }
        Ok(())
    }

    fn assign_again(&mut self, id: Partition, one: &TopicPartitionList) -> Result<(), KafkaError> {
        use rdkafka::consumer::RebalanceProtocol::Cooperative;
        let topics = &self.settings.topics;
        let cooperative = matches!(self.consumer.rebalance_protocol(), Cooperative);
        let again: Vec<Partition> =
            if cooperative { vec![id] } else { self.readers.keys().copied().collect() };
        if cooperative {
            self.consumer.incremental_unassign(one)?;
        }
        for id in &again {
            if let Some(reader) = self.readers.get_mut(id)
                && let Some(queue) =
                    PartitionQueue::open(self.consumer, topics.name(id.kind), id.index)
            {
                reader.queue = queue;
            }
        }
        let next = |id: &Partition| self.readers.get(id).map_or(0, |reader| reader.next);
        let offsets = again.iter().map(|id| (*id, Offset::Offset(next(id))));
        assign_partitions(self.consumer, &topics.list(offsets))
    }

    /// Acts on what the broker said about the ends of the log since the last look.
    fn heed_watcher(&mut self, now: Instant) {
        let rounds = self.settings.log.rounds();
        if rounds == self.rounds_seen {
            return;
        }
        self.rounds_seen = rounds;
        let log = self.settings.log.load();
        let positions = self.positions();
        let ids: Vec<Partition> = self.readers.keys().copied().collect();
        for id in ids {
            if let Some(Some(bounds)) = log.partitions.get(&id) {
                self.heed_bounds(id, bounds, positions.get(&id).copied(), now);
            }
        }
    }

    fn heed_bounds(
        &mut self,
        id: Partition,
        bounds: &LogBounds,
        position: Option<i64>,
        now: Instant,
    ) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        if reader.answer == Some(bounds.asked) {
            return;
        }
        reader.answer = Some(bounds.asked);
        match reader.state {
            State::Reading => {
                let position = position.map_or(reader.next, |position| position.max(reader.next));
                let silent = bounds.asked.saturating_duration_since(reader.last_read) >= SILENT;
                if let Some(stream_time) = bounds.stream_time
                    && silent
                    && position == bounds.end
                {
                    self.owner.quiet(id, position, stream_time);
                }
            }
            State::OutOfRange { since } if bounds.asked > since => self.resume(id, bounds, now),
            State::OutOfRange { .. } | State::Waiting | State::BeyondEnd => {}
        }
    }

    /// The next offset is not in the log: find out why, and go on where that is right.
    fn resume(&mut self, id: Partition, bounds: &LogBounds, now: Instant) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let (topic, next) = (self.settings.topics.name(id.kind), reader.next);
        if next > bounds.end {
            reader.state = State::BeyondEnd;
            error!(
                topic,
                partition = id.index,
                next,
                end = bounds.end,
                "the log ends before the next offset: the topic was re-created or lost records; \
                 this partition is not read until a restart"
            );
            return;
        }
        // Retention may delete more while we resume; then the next answer continues from there.
        reader.state = State::OutOfRange { since: now };
        let from = next.max(bounds.start);
        if bounds.start > next {
            let lost = bounds.start - next;
            error!(
                topic,
                partition = id.index,
                from = next,
                to = bounds.start,
                lost,
                "records were deleted before they were read"
            );
            self.owner.lost(id, next, bounds.start);
        }
        if let Err(error) = self.go_on_at(id, from) {
            error!(%error, topic, partition = id.index, offset = from, "resume after a gap");
        }
    }

    /// What librdkafka has handed out, bookkeeping records included.
    fn positions(&self) -> OffsetMap {
        let Ok(list) = self.consumer.position() else { return OffsetMap::new() };
        let elements = list.elements();
        let position = |offset| match offset {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        };
        elements
            .iter()
            .filter_map(|e| {
                let id = self.settings.topics.partition(e.topic(), e.partition())?;
                Some((id, position(e.offset())?))
            })
            .collect()
    }

    /// Tells the owner of partitions that have been read up to the end of a bounded run.
    fn check_ends(&mut self, now: Instant) {
        if self.settings.ends.is_none() || now < self.end_check_due {
            return;
        }
        self.end_check_due = now + END_CHECK;
        let positions = self.positions();
        for (&id, reader) in &mut self.readers {
            let position = positions.get(&id).map_or(reader.next, |&at| at.max(reader.next));
            if reader.state == State::Reading && !reader.reached_end && position >= reader.end {
                reader.reached_end = true;
                self.owner.reached_end(id, reader.end.max(reader.next));
            }
        }
    }

    fn commit(&mut self, shared: &Shared) {
        let asked =
            std::mem::take(&mut *shared.commits.lock().unwrap_or_else(PoisonError::into_inner));
        let ours = asked.into_iter().filter(|(id, _)| self.readers.contains_key(id));
        let list = self.settings.topics.list(ours.map(|(id, offset)| (id, Offset::Offset(offset))));
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
        {
            self.complain(&error);
        }
    }
}
