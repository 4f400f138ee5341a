//! Between the owners' threads and the merger's: deliveries one way, positions the other.
//! Whoever learns about partitions (that they exist, that records were lost) tells it here, too.
//!
//! Deliveries wait in a channel that is bounded in bytes, not in number: a delivery may hold
//! ten cells or a hundred thousand. An owner that finds it full stops reading (and goes on
//! polling), so librdkafka's own bounded prefetch fills, and fetching stops.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use crate::pipeline::clock::Coverage;
use crate::pipeline::delivery::{Delivery, Partition};
use crate::pipeline::merge::Position;
use crate::time::EventTime;

/// What the merger is told.
#[derive(Debug)]
pub enum Message {
    Delivery(Box<Delivery>),
    /// One that another instance has sent through its outbox.
    FromOutbox(Box<Delivery>),
    /// A partition of the configured topics exists; reading it starts at an offset.
    Partition {
        partition: Partition,
        start: i64,
        coverage: Coverage,
    },
    /// The owners are gone: publish what there is and end.
    Stop,
}

/// The owners' end of the channel.
#[derive(Clone)]
pub struct Outlet {
    sender: Sender<(Message, usize)>,
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// The merger's end of the channel.
pub struct Inlet {
    receiver: Receiver<(Message, usize)>,
    bytes: Arc<AtomicUsize>,
}

/// The merger is gone; the daemon is going down.
#[derive(Debug, thiserror::Error)]
#[error("the merger has ended")]
pub struct MergerGone;

/// A channel for deliveries of at most so many bytes, and one more delivery per owner.
pub fn channel(bytes_max: usize) -> (Outlet, Inlet) {
    let (sender, receiver) = mpsc::channel();
    let bytes = Arc::new(AtomicUsize::new(0));
    (Outlet { sender, bytes: bytes.clone(), bytes_max }, Inlet { receiver, bytes })
}

impl Outlet {
    /// Whether owners should stop reading for now.
    pub fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) >= self.bytes_max
    }

    /// Bytes of deliveries that wait.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn deliver(&self, delivery: Delivery) -> Result<(), MergerGone> {
        let bytes = delivery.bytes();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.send(Message::Delivery(Box::new(delivery)), bytes)
    }

    pub fn deliver_from_outbox(&self, delivery: Delivery) -> Result<(), MergerGone> {
        let bytes = delivery.bytes();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.send(Message::FromOutbox(Box::new(delivery)), bytes)
    }

    pub fn tell(&self, message: Message) -> Result<(), MergerGone> {
        self.send(message, 0)
    }

    fn send(&self, message: Message, bytes: usize) -> Result<(), MergerGone> {
        self.sender.send((message, bytes)).map_err(|_| MergerGone)
    }
}

impl Inlet {
    /// The next message; its bytes are free from now on.
    pub fn receive(&self, timeout: Duration) -> Result<Message, RecvTimeoutError> {
        let (message, bytes) = self.receiver.recv_timeout(timeout)?;
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Ok(message)
    }

    /// Bytes of deliveries that wait.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What the merger lets the owners know. Locks are held for a look-up, never over a batch.
#[derive(Default)]
pub struct MergedState {
    positions: Mutex<HashMap<Partition, Position>>,
    /// `i64::MIN`: none.
    stream_time: AtomicI64,
    slowest_progressing: AtomicI64,
    has_stream_time: AtomicBool,
    has_slowest: AtomicBool,
    records: AtomicU64,
    /// Outboxes with deliveries that were read and not merged.
    refused_outboxes: Mutex<BTreeSet<Partition>>,
}

impl MergedState {
    pub fn note_refused_outbox(&self, partition: Partition) {
        self.refused_outboxes.lock().unwrap_or_else(PoisonError::into_inner).insert(partition);
    }

    /// Outboxes that have to be read again.
    pub fn take_refused_outboxes(&self) -> BTreeSet<Partition> {
        std::mem::take(&mut *self.refused_outboxes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn position(&self, partition: Partition) -> Option<Position> {
        self.lock().get(&partition).cloned()
    }

    /// All partitions that are known.
    pub fn partitions(&self) -> Vec<Partition> {
        self.lock().keys().copied().collect()
    }

    pub fn cursor(&self, partition: Partition) -> Option<i64> {
        self.lock().get(&partition).map(|position| position.cursor)
    }

    pub fn set_position(&self, partition: Partition, position: Position) {
        self.lock().insert(partition, position);
    }

    pub fn stream_time(&self) -> Option<EventTime> {
        load(&self.has_stream_time, &self.stream_time)
    }

    pub fn set_stream_time(&self, time: Option<EventTime>) {
        store(&self.has_stream_time, &self.stream_time, time);
    }

    /// The least newest time among partitions that progress.
    pub fn slowest_progressing(&self) -> Option<EventTime> {
        load(&self.has_slowest, &self.slowest_progressing)
    }

    pub fn set_slowest_progressing(&self, time: Option<EventTime>) {
        store(&self.has_slowest, &self.slowest_progressing, time);
    }

    /// Records merged so far, by all partitions' ledgers.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    pub fn add_records(&self, records: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Partition, Position>> {
        // A panic elsewhere leaves no half-written position: every write is one insert.
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an owner lets others know about a partition that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadingFacts {
    /// The offset to be read next.
    pub next_offset: i64,
    /// Kafka's timestamp of the oldest record that was read and is not merged yet.
    pub next_record_millis: Option<i64>,
}

/// The partitions that are read in this process.
#[derive(Default)]
pub struct Reading {
    partitions: Mutex<BTreeMap<Partition, ReadingFacts>>,
}

impl Reading {
    pub fn set(&self, partition: Partition, facts: ReadingFacts) {
        self.lock().insert(partition, facts);
    }

    pub fn remove(&self, partition: Partition) {
        self.lock().remove(&partition);
    }

    pub fn load(&self) -> BTreeMap<Partition, ReadingFacts> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Partition, ReadingFacts>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(is_some: &AtomicBool, value: &AtomicI64) -> Option<EventTime> {
    let is_some = is_some.load(Ordering::Acquire);
    is_some.then(|| EventTime::from_millis(value.load(Ordering::Relaxed)))
}

fn store(is_some: &AtomicBool, value: &AtomicI64, time: Option<EventTime>) {
    if let Some(time) = time {
        value.store(time.millis(), Ordering::Relaxed);
    }
    is_some.store(time.is_some(), Ordering::Release);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;
    use crate::pipeline::delivery::{Cells, PartitionState};

    #[test]
    fn the_channel_is_full_until_the_merger_takes_what_waits() {
        let (outlet, inlet) = channel(1);
        assert!(!outlet.is_full());
        let delivery = Delivery {
            partition: Partition { kind: Kind::Click, index: 0 },
            from: 0,
            to: 1,
            state_to: PartitionState::default(),
            cells: Cells::default(),
            oldest_record_millis: None,
            has_gap: false,
        };
        outlet.deliver(delivery).expect("the merger's end is open");
        assert!(outlet.is_full() && inlet.bytes() > 0);
        let message = inlet.receive(Duration::ZERO).expect("it waits");
        assert!(matches!(message, Message::Delivery(delivery) if delivery.to == 1));
        assert!(!outlet.is_full());
    }
}
