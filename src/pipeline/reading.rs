//! The loop of a [`Source`](crate::pipeline::source::Source): polls, answers rebalances, reads
//! batches in order of event time, and acts on what the watcher learns about the log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{CommitMode, Consumer, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tracing::{error, info, warn};

use crate::pipeline::batch::{BatchBuffer, BatchConsumer, PartitionError, PartitionQueue};
use crate::pipeline::delivery::Partition;
use crate::pipeline::offset::OffsetMap;
use crate::pipeline::read_order::{self, Candidate};
use crate::pipeline::rebalance::{
    Complaint, Rebalance, SourceContext, assign_partitions, unassign_partitions,
};
use crate::pipeline::source::{
    Assigned, Flow, PartitionOwner, Seek, Shared, SourceError, SourceSettings, Turn,
};
use crate::pipeline::watch::LogBounds;
use crate::time::EventTime;

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
const SEEK_MAX: Duration = Duration::from_millis(500);

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
    /// It is another log, or lost its tail. Nothing that could be read from here on would be
    /// what was asked for, until the owner asks for something else.
    Replaced,
}

/// The loop of a source, with all that its thread owns.
pub(super) struct Reading<'a, O> {
    settings: &'a SourceSettings,
    consumer: &'a BatchConsumer<SourceContext>,
    owner: O,
    readers: BTreeMap<Partition, Reader<'a>>,
    buffer: BatchBuffer,
    candidates: Vec<Candidate<Partition>>,
    seeks: Vec<Seek>,
    turn: u64,
    rounds_seen: u64,
    end_check_due: Instant,
    /// Where merging stood when the last hand-over was asked for.
    handed_over_at: Option<EventTime>,
    hand_over_due: bool,
    /// About commits.
    complaint: Complaint,
}

impl<'a, O: PartitionOwner> Reading<'a, O> {
    pub fn new(
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
            handed_over_at: None,
            hand_over_due: false,
            complaint: Complaint::default(),
        }
    }

    pub fn run(&mut self, shared: &Shared) -> Result<(), SourceError> {
        let mut last_poll = Instant::now();
        while !shared.is_stopped() {
            let now = Instant::now();
            let mut turn = Turn::new(now, &mut self.seeks);
            if std::mem::take(&mut self.hand_over_due) {
                self.owner.hand_over(&mut turn);
            }
            let flow = self.owner.tick(&mut turn);
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
        // Once for each place that merging has come to.
        if self.handed_over_at != slowest
            && read_order::is_ahead(&self.candidates, slowest, self.settings.max_skew)
        {
            self.handed_over_at = slowest;
            self.hand_over_due = true;
        }
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
        if error.is_truncation() {
            self.replaced(id);
        }
    }

    fn poll(&mut self, timeout: Duration) -> Result<(), SourceError> {
        match self.consumer.poll(timeout) {
            None => Ok(()),
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                Err(SourceError::Fatal(error))
            }
            // The context has said it; librdkafka goes on trying.
            Some(Err(_)) => Ok(()),
            Some(Ok(message)) => {
                // Partition queues keep every message away from here. Should one come
                // nevertheless, it is read again from its place: nothing may be skipped.
                let id = self.settings.topics.partition(message.topic(), message.partition());
                error!(topic = message.topic(), "a message came outside its partition's queue");
                if let Some((id, reader)) = id.and_then(|id| Some((id, self.readers.get(&id)?))) {
                    let (partition, offset) = (id, reader.next);
                    self.seeks.push(Seek { partition, offset, in_new_log: false });
                }
                Ok(())
            }
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
                if self.settings.log.replaced_by(id).is_some() {
                    self.replaced(id);
                }
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

    pub fn hand_over_all(&mut self) {
        let owned: Vec<Partition> = self.readers.keys().copied().collect();
        let lost = self.consumer.assignment_lost();
        owned.into_iter().for_each(|id| self.hand_over(id, lost));
    }

    fn ids(&self, partitions: &TopicPartitionList) -> Vec<Partition> {
        let elements = partitions.elements();
        let id = |topic: &str, index| self.settings.topics.partition(topic, index);
        elements.iter().filter_map(|element| id(element.topic(), element.partition())).collect()
    }

    fn apply_seeks(&mut self) {
        for seek in std::mem::take(&mut self.seeks) {
            let Seek { partition: id, offset, in_new_log } = seek;
            let Some(reader) = self.readers.get_mut(&id) else { continue };
            if reader.state == State::Replaced {
                if !in_new_log {
                    continue;
                }
                self.settings.log.accept(id);
            }
            if let Err(error) = self.go_on_at(id, offset) {
                let topic = self.settings.topics.name(id.kind);
                error!(%error, topic, partition = id.index, offset, "seek");
                // Without it the partition would be read from the wrong place.
                self.seeks.push(seek);
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
        let topics = &self.settings.topics;
        let cooperative =
            matches!(self.consumer.rebalance_protocol(), RebalanceProtocol::Cooperative);
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
        if self.settings.log.replaced_by(id).is_some() && reader.state != State::Replaced {
            self.replaced(id);
            return;
        }
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
            State::OutOfRange { .. } | State::Waiting | State::Replaced => {}
        }
    }

    /// The next offset is not in the log: find out why, and go on where that is right.
    fn resume(&mut self, id: Partition, bounds: &LogBounds, now: Instant) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        let (topic, next) = (self.settings.topics.name(id.kind), reader.next);
        if next > bounds.end {
            self.replaced(id);
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

    /// The log is not the one that the next offset belongs to.
    fn replaced(&mut self, id: Partition) {
        let Some(reader) = self.readers.get_mut(&id) else { return };
        reader.state = State::Replaced;
        error!(
            topic = self.settings.topics.name(id.kind),
            partition = id.index,
            next = reader.next,
            "the topic was re-created or lost records: this is not the log that was read so far"
        );
        self.owner.replaced(id);
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
        let asked = shared.take_commits();
        let ours = asked.into_iter().filter(|(id, _)| self.readers.contains_key(id));
        let list = self.settings.topics.list(ours.map(|(id, offset)| (id, Offset::Offset(offset))));
        if list.count() > 0
            && let Err(error) = self.consumer.commit(&list, CommitMode::Async)
            && self.complaint.is_news(&error.to_string(), Instant::now())
        {
            warn!(%error, "commit offsets");
        }
    }
}
