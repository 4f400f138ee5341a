//! The owner of a consumer handle's partitions: feeds records to them, hands over what they
//! contribute. The edge around [`OwnedPartition`].
//!
//! A delivery goes out at every interval, when it has grown large, and before a partition is
//! revoked. It waits here until the dead letters of its rejects are acknowledged, so that no
//! offset passes before its record is safe somewhere.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tracing::{debug, error, warn};

use crate::health::Pulse;
use crate::metrics::{Metrics, Pause};
use crate::pipeline::batch::Batch;
use crate::pipeline::clock::Coverage;
use crate::pipeline::dead_letter::DeadLetters;
use crate::pipeline::decode::{Decoded, Decoder};
use crate::pipeline::definitions::Definitions;
use crate::pipeline::delivery::{Delivery, Ledger, Partition};
use crate::pipeline::handover::{MergedState, Message, Outlet, Reading, ReadingFacts};
use crate::pipeline::identity::Fingerprint;
use crate::pipeline::merge::Position;
use crate::pipeline::offset::Topics;
use crate::pipeline::owned::{Outcome, OwnedPartition};
use crate::pipeline::protocol::Verdict;
use crate::pipeline::role::{Opening, Role, draw_token};
use crate::pipeline::source::{Assigned, Flow, PartitionOwner, Turn};
use crate::time::EventTime;

/// Deliveries of one partition that may wait for their dead letters before reading holds.
const WAITING_MAX: usize = 4;

/// How long a revoked partition's dead letters are waited for.
const REVOKE_WAIT: Duration = Duration::from_millis(500);

/// What an owner is set up with.
pub struct OwnerSettings {
    pub definitions: Arc<Definitions>,
    pub topics: Topics,
    /// Time between deliveries.
    pub interval: Duration,
    /// A partition's open delta is handed over when it has grown so large.
    pub delta_bytes_max: usize,
    /// So many rejects in a row stop the daemon: wrong topic or format.
    pub max_consecutive_rejects: u64,
}

/// Whom an owner deals with.
#[derive(Clone)]
pub struct OwnerLinks {
    pub outlet: Outlet,
    pub role: Arc<Role>,
    pub merged: Arc<MergedState>,
    pub reading: Arc<Reading>,
    pub dead_letters: DeadLetters,
    pub metrics: Arc<Metrics>,
    pub failure: Failure,
    /// Beats with every turn of the reading loop.
    pub pulse: Arc<Pulse>,
}

/// Why reading had to stop for good; set once, by whoever finds it.
pub type Failure = Arc<OnceLock<String>>;

/// Implements [`PartitionOwner`] for a [`Source`](crate::pipeline::source::Source).
pub struct Owner {
    settings: OwnerSettings,
    decoder: Decoder,
    partitions: BTreeMap<Partition, Slot>,
    /// Assigned, but nobody has said yet where they are merged to.
    unplaced: BTreeSet<Partition>,
    links: OwnerLinks,
    next_hand_over: Instant,
    held_since: Option<Instant>,
    merger_gone: bool,
}

struct Slot {
    owned: OwnedPartition,
    /// Taken, but not handed over until dead letters are acknowledged.
    waiting: VecDeque<Delivery>,
    /// Taken and not merged yet: end, and Kafka's timestamp of the oldest record.
    unmerged: VecDeque<(i64, Option<i64>)>,
    /// Where a delivery has to end, until that is passed.
    cut: Option<i64>,
    /// The merger takes what it knows of coverage from the first record that it hears of, so that
    /// one goes alone.
    awaits_first: bool,
}

impl Slot {
    /// Takes what the partition has gathered.
    fn take(&mut self, role: &Role) {
        if let Some(delivery) = self.owned.take(role.way()) {
            self.unmerged.push_back((delivery.to, delivery.oldest_record_millis));
            self.waiting.push_back(delivery);
        }
    }

    /// To be called before each record.
    #[inline]
    fn cut_before(&mut self, offset: i64, role: &Role) {
        if self.cut.is_some_and(|cut| offset >= cut) {
            self.cut = None;
            self.take(role);
        }
        if self.awaits_first && self.owned.newest().is_some() {
            self.awaits_first = false;
            self.take(role);
        }
    }

    fn facts(&mut self, cursor: i64) -> ReadingFacts {
        while self.unmerged.front().is_some_and(|&(to, _)| to <= cursor) {
            self.unmerged.pop_front();
        }
        let taken = self.unmerged.iter().find_map(|&(_, oldest_millis)| oldest_millis);
        ReadingFacts {
            next_offset: self.owned.next_offset(),
            next_record_millis: taken.or(self.owned.oldest_record_millis()),
        }
    }
}

impl Owner {
    pub fn new(settings: OwnerSettings, decoder: Decoder, links: OwnerLinks) -> Self {
        Self {
            settings,
            decoder,
            partitions: BTreeMap::new(),
            unplaced: BTreeSet::new(),
            links,
            next_hand_over: Instant::now(),
            held_since: None,
            merger_gone: false,
        }
    }

    fn own(&self, partition: Partition, position: Position) -> Slot {
        let definitions = self.settings.definitions.clone();
        let cut = self.links.role.cut(partition, position.cursor);
        self.links.role.start(Opening { partition, token: draw_token(), cursor: position.cursor });
        let owned = OwnedPartition::start(partition, position, definitions);
        let awaits_first = owned.newest().is_none();
        Slot { owned, waiting: VecDeque::new(), unmerged: VecDeque::new(), cut, awaits_first }
    }

    /// Takes what a partition has gathered; it goes out when its dead letters are safe.
    fn take(&mut self, partition: Partition) {
        if let Some(slot) = self.partitions.get_mut(&partition) {
            slot.take(&self.links.role);
        }
        self.send_ready(partition);
    }

    fn send_ready(&mut self, partition: Partition) {
        let Some(slot) = self.partitions.get_mut(&partition) else { return };
        if slot.waiting.is_empty() {
            return;
        }
        let safe_before = self.links.dead_letters.acknowledged_before(partition);
        while slot.waiting.front().is_some_and(|delivery| delivery.to <= safe_before) {
            let Some(delivery) = slot.waiting.pop_front() else { break };
            self.merger_gone |= self.links.outlet.deliver(delivery).is_err();
        }
    }

    /// The owner's one rule, for every partition; then what is due goes out.
    fn hand_over_all(&mut self, turn: &mut Turn<'_>) {
        self.place(turn);
        let partitions: Vec<Partition> = self.partitions.keys().copied().collect();
        for partition in partitions {
            let Some(position) = self.links.merged.position(partition) else { continue };
            let Some(slot) = self.partitions.get_mut(&partition) else { continue };
            self.links.reading.set(partition, slot.facts(position.cursor));
            let reach = self.links.role.reach(partition, slot.owned.sent_to());
            match slot.owned.check(&position, &reach) {
                Verdict::GoOn => self.take(partition),
                Verdict::Restart => {
                    let topic = self.settings.topics.name(partition.kind);
                    let offset = position.cursor;
                    warn!(
                        topic,
                        partition = partition.index,
                        offset,
                        "reading again from the cursor"
                    );
                    let slot = self.own(partition, position);
                    turn.seek(partition, slot.owned.next_offset());
                    self.partitions.insert(partition, slot);
                }
            }
        }
    }

    /// Begins partitions whose merged position has become known.
    fn place(&mut self, turn: &mut Turn<'_>) {
        let merged = self.links.merged.clone();
        let known = |&partition: &Partition| Some((partition, merged.position(partition)?));
        let placed: Vec<(Partition, Position)> = self.unplaced.iter().filter_map(known).collect();
        for (partition, position) in placed {
            self.unplaced.remove(&partition);
            let slot = self.own(partition, position);
            turn.seek(partition, slot.owned.next_offset());
            self.partitions.insert(partition, slot);
        }
    }

    /// Whether there is room for more records; counts the time in which there is none.
    fn flow(&mut self, now: Instant) -> Flow {
        let waiting = |slot: &Slot| slot.waiting.len() > WAITING_MAX;
        let hold = self.links.outlet.is_full()
            || self.links.dead_letters.is_full()
            || self.partitions.values().any(waiting);
        if let Some(since) = self.held_since.take() {
            self.links.metrics.kafka.add_paused_seconds(Pause::Memory, (now - since).as_secs_f64());
        }
        if hold {
            self.held_since = Some(now);
            return Flow::Hold;
        }
        Flow::Read
    }

    fn count(&self, partition: Partition, before: &Ledger, after: &Ledger, bytes: u64) {
        if let Some(topic) = self.links.metrics.topic(partition.kind) {
            topic.record(before, after);
            topic.consumed_bytes.inc_by(bytes);
        }
    }
}

impl PartitionOwner for Owner {
    fn assigned(&mut self, partition: Partition, start: i64) -> Assigned {
        let Some(position) = self.links.merged.position(partition) else {
            self.unplaced.insert(partition);
            if self.links.role.leads() {
                // Added after the start: read from its beginning.
                let coverage = Coverage::Everything;
                let message = Message::Partition { partition, start, coverage };
                self.merger_gone |= self.links.outlet.tell(message).is_err();
            }
            return Assigned::Wait;
        };
        let slot = self.own(partition, position);
        let from = slot.owned.next_offset();
        self.partitions.insert(partition, slot);
        Assigned::From(from)
    }

    fn revoked(&mut self, partition: Partition, lost: bool) {
        if !lost {
            self.take(partition);
            if self.partitions.get(&partition).is_some_and(|slot| !slot.waiting.is_empty()) {
                self.links.dead_letters.flush(REVOKE_WAIT);
                self.send_ready(partition);
            }
        }
        // What is still open or waiting is dropped: the next owner reads it again.
        self.partitions.remove(&partition);
        self.unplaced.remove(&partition);
        self.links.role.end(partition);
        self.links.reading.remove(partition);
    }

    fn records(&mut self, partition: Partition, batch: &Batch<'_>) {
        let Self { partitions, decoder, links, settings, .. } = self;
        let OwnerLinks { dead_letters, metrics, failure, role, .. } = links;
        let Some(slot) = partitions.get_mut(&partition) else { return };
        let topic = settings.topics.name(partition.kind);
        let before = slot.owned.ledger();
        let mut bytes = 0;
        for record in batch.iter() {
            slot.cut_before(record.offset(), role);
            let payload = record.payload();
            bytes += payload.map_or(0, <[u8]>::len) as u64;
            let kafka_millis = record.timestamp_ms();
            let kafka_time = kafka_millis.map(EventTime::from_millis);
            let mut ahead = None;
            let outcome = decoder.decode(partition.kind, payload, kafka_time, |decoded| {
                if let Decoded::Future(future) = decoded {
                    ahead = Some(future.ahead());
                }
                slot.owned.record(record.offset(), &decoded, kafka_millis)
            });
            match outcome {
                Outcome::Applied | Outcome::Tombstone | Outcome::Duplicate | Outcome::Refilled => {}
                Outcome::Late { by, revenue_minor } => {
                    if let Some(topic) = metrics.topic(partition.kind) {
                        topic.late_by.observe(by.millis() as f64 / 1000.0, 1);
                        topic.late_revenue_minor.inc_by(revenue_minor);
                    }
                }
                Outcome::Malformed(reason) => {
                    if let Some(topic) = metrics.topic(partition.kind) {
                        topic.malformed(reason as usize, 1);
                    }
                    let message = decoder.explain(reason);
                    dead_letters.send(topic, partition, record, reason.name(), &message);
                }
                Outcome::Future => {
                    let message = future_message(ahead.map_or(0, |ahead| ahead.millis()));
                    dead_letters.send(topic, partition, record, "future", &message);
                }
            }
        }
        if let Some(print) = Fingerprint::of_last(batch) {
            slot.owned.note_print(print);
        }
        let rejects = slot.owned.consecutive_rejects();
        let after = slot.owned.ledger();
        let is_large = slot.owned.open_bytes() >= settings.delta_bytes_max;
        if rejects >= settings.max_consecutive_rejects {
            let reason = format!(
                "topic {topic:?} partition {} has sent {rejects} rejected records in a row; is it \
                 the right topic, in the right format? (limits.max_consecutive_rejects)",
                partition.index
            );
            if failure.set(reason).is_ok() {
                error!(topic, partition = partition.index, rejects, "too many rejects in a row");
            }
        }
        self.count(partition, &before, &after, bytes);
        if is_large {
            self.take(partition);
        }
    }

    fn lost(&mut self, partition: Partition, from: i64, to: i64) {
        if let Some(slot) = self.partitions.get_mut(&partition) {
            slot.owned.lost(to);
        }
        if let Some(topic) = self.links.metrics.topic(partition.kind) {
            topic.lost_to_retention.inc_by((to - from).max(0) as u64);
        }
    }

    fn replaced(&mut self, partition: Partition) {
        // Whether it lost its tail or is another log is found out by comparing records, which a
        // start does for every partition before it believes an offset.
        let topic = self.settings.topics.name(partition.kind);
        let _ = self.links.failure.set(format!(
            "topic {topic:?} partition {} was made anew or lost records; a restart compares the \
             logs and goes on",
            partition.index
        ));
    }

    fn quiet(&mut self, partition: Partition, position: i64, stream_time: EventTime) {
        if let Some(slot) = self.partitions.get_mut(&partition) {
            slot.owned.quiet(position, stream_time);
        }
        self.take(partition);
    }

    fn reached_end(&mut self, partition: Partition, position: i64) {
        if let Some(slot) = self.partitions.get_mut(&partition) {
            slot.owned.skip_to(position);
        }
        debug!(
            topic = self.settings.topics.name(partition.kind),
            partition = partition.index,
            position,
            "read to the end"
        );
        self.take(partition);
    }

    fn hand_over(&mut self, turn: &mut Turn<'_>) {
        self.next_hand_over = turn.now + self.settings.interval;
        self.hand_over_all(turn);
    }

    fn tick(&mut self, turn: &mut Turn<'_>) -> Flow {
        self.links.pulse.beat();
        if self.merger_gone || self.links.failure.get().is_some() {
            return Flow::Stop;
        }
        if turn.now >= self.next_hand_over {
            self.hand_over(turn);
        }
        self.flow(turn.now)
    }

    fn watermark(&self, partition: Partition) -> Option<EventTime> {
        self.partitions.get(&partition)?.owned.newest()
    }

    fn slowest_progressing(&self) -> Option<EventTime> {
        self.links.merged.slowest_progressing()
    }
}

fn future_message(ahead_millis: i64) -> String {
    format!("the event's time is {ahead_millis} ms after the record's own Kafka timestamp")
}
