//! Records that could not be used, written to a topic of their own before their offset passes.
//!
//! [`DeadLetters::send`] copies a record; a thread writes it with key, value and headers
//! unchanged, plus the headers that Kafka Connect gives its dead letters. An owner hands over
//! the offsets up to `to` only when [`DeadLetters::acknowledged_before`] has reached `to`. So
//! every reject is written at least once: after a crash its offset is read again.
//!
//! A write that fails is repeated for as long as it takes, because dropping it would break
//! that promise: while the topic is missing or may not be written, progress waits, visibly.
//! The one exception is a value that the topic refuses as too large: its dead letter keeps
//! key and headers, and states the size of the value it omits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use tracing::{error, info};

use crate::event::Kind;
use crate::pipeline::batch::{OwnedHeader, RecordRef};
use crate::pipeline::delivery::Partition;
use crate::pipeline::rebalance;

/// Pause before a failed write is repeated.
const RETRY: Duration = Duration::from_secs(1);
/// How often delivery reports are collected while some are due.
const POLL: Duration = Duration::from_millis(10);
/// What a waiting letter costs besides its bytes.
const LETTER_OVERHEAD_BYTES: usize = 256;

/// How many dead letters there are, and what became of them.
#[derive(Debug, Default)]
pub struct DeadLetterCounters {
    /// Written and acknowledged.
    pub acknowledged: AtomicU64,
    /// The same by the kind of the topic they came from, in the order of [`Kind::ALL`].
    pub acknowledged_by_kind: [AtomicU64; Kind::ALL.len()],
    /// Attempts that failed and are repeated.
    pub failed_attempts: AtomicU64,
    /// Of the acknowledged: written without their value, which the topic refused as too large.
    pub values_omitted: AtomicU64,
    /// Bytes waiting for their acknowledgement.
    pub waiting_bytes: AtomicU64,
}

/// A handle to the writer; clones share it. Without a topic it does nothing, and everything
/// counts as acknowledged.
#[derive(Clone, Default)]
pub struct DeadLetters {
    writer: Option<Arc<Writer>>,
}

struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    bytes_max: u64,
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    stop: AtomicBool,
    counters: DeadLetterCounters,
}

#[derive(Default)]
struct Waiting {
    queue: VecDeque<Arc<Letter>>,
    /// How many letters are not acknowledged, by partition and offset.
    open: BTreeMap<Partition, BTreeMap<i64, usize>>,
}

#[derive(Clone)]
struct Letter {
    partition: Partition,
    offset: i64,
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    timestamp_ms: Option<i64>,
    headers: Vec<OwnedHeader>,
    attempt: Attempt,
}

/// How a letter is written. A topic that refuses a batch as too large does not say which
/// record was, so each of the batch is tried alone before a value is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Batched,
    Alone,
    WithoutValue,
}

impl DeadLetters {
    /// Rejects are counted elsewhere, and written nowhere.
    pub fn off() -> Self {
        Self::default()
    }

    /// `client` holds the producer's properties, see [`crate::pipeline::client::producer`].
    /// More than `bytes_max` waiting bytes mean [`DeadLetters::is_full`].
    pub fn start(client: &ClientConfig, topic: &str, bytes_max: u64) -> Result<Self, KafkaError> {
        if topic.is_empty() {
            return Ok(Self::off());
        }
        let shared = Arc::new(Shared {
            bytes_max,
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            stop: AtomicBool::new(false),
            counters: DeadLetterCounters::default(),
        });
        let reports = Reports { shared: shared.clone(), failed: Mutex::default() };
        let producer: BaseProducer<Reports> = client.create_with_context(reports)?;
        let topic = topic.to_owned();
        let thread = thread::Builder::new()
            .name("dead-letters".into())
            .spawn(move || write(&producer, &topic))
            .map_err(|error| KafkaError::ClientCreation(format!("start a thread: {error}")))?;
        Ok(Self { writer: Some(Arc::new(Writer { shared, thread: Some(thread) })) })
    }

    /// Takes a copy of a record that cannot be used. `topic` is where it came from; `reason`
    /// is a short fixed word, `message` says more. Never blocks: see [`DeadLetters::is_full`].
    pub fn send(
        &self,
        topic: &str,
        partition: Partition,
        record: RecordRef<'_>,
        reason: &str,
        message: &str,
    ) {
        let Some(writer) = &self.writer else { return };
        let mut headers = record.headers();
        headers.extend(error_headers(topic, partition.index, record.offset(), reason, message));
        writer.shared.add(Letter {
            partition,
            offset: record.offset(),
            key: record.key().map(<[u8]>::to_vec),
            payload: record.payload().map(<[u8]>::to_vec),
            timestamp_ms: record.timestamp_ms(),
            headers,
            attempt: Attempt::Batched,
        });
    }

    /// Every reject of the partition below this offset has been acknowledged; `i64::MAX` if
    /// none waits. A delivery may be handed over up to here, and no further.
    pub fn acknowledged_before(&self, partition: Partition) -> i64 {
        self.writer.as_ref().map_or(i64::MAX, |writer| {
            let waiting = writer.shared.waiting();
            let first = waiting.open.get(&partition).and_then(|open| open.keys().next());
            first.copied().unwrap_or(i64::MAX)
        })
    }

    /// No more records should be read until some letters are acknowledged. A batch that is
    /// being worked on may still be sent.
    pub fn is_full(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| {
            let waiting = writer.shared.counters.waiting_bytes.load(Ordering::Relaxed);
            waiting >= writer.shared.bytes_max
        })
    }

    pub fn counters(&self) -> Option<&DeadLetterCounters> {
        self.writer.as_ref().map(|writer| &writer.shared.counters)
    }

    /// Waits until all is acknowledged, for at most `timeout`. Says whether it is.
    pub fn flush(&self, timeout: Duration) -> bool {
        let Some(writer) = &self.writer else { return true };
        let deadline = Instant::now() + timeout;
        loop {
            if writer.shared.waiting().open.is_empty() {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.shared.arrived.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the record was and why it is here, as Kafka Connect says it; all values are text.
fn error_headers(
    topic: &str,
    partition: i32,
    offset: i64,
    reason: &str,
    message: &str,
) -> Vec<OwnedHeader> {
    let (partition, offset) = (partition.to_string(), offset.to_string());
    [
        ("__connect.errors.topic", topic),
        ("__connect.errors.partition", &partition),
        ("__connect.errors.offset", &offset),
        ("__connect.errors.connector.name", "nazar"),
        ("__connect.errors.task.id", "0"),
        ("__connect.errors.stage", "VALUE_CONVERTER"),
        ("__connect.errors.class.name", "nazar::pipeline::decode"),
        ("__connect.errors.exception.class.name", reason),
        ("__connect.errors.exception.message", message),
        ("nazar.error.reason", reason),
    ]
    .map(|(name, value)| (name.to_owned(), Some(value.as_bytes().to_vec())))
    .into()
}

impl Letter {
    fn bytes(&self) -> u64 {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len))
            .sum();
        let body = [&self.key, &self.payload].map(|part| part.as_ref().map_or(0, Vec::len));
        (body.iter().sum::<usize>() + headers + LETTER_OVERHEAD_BYTES) as u64
    }

    /// The same letter, as it is tried after the topic refused it as too large.
    fn after_too_large(&self) -> Letter {
        let mut letter = self.clone();
        letter.attempt = match self.attempt {
            Attempt::Batched => Attempt::Alone,
            Attempt::Alone | Attempt::WithoutValue => Attempt::WithoutValue,
        };
        if letter.attempt == Attempt::WithoutValue
            && let Some(payload) = letter.payload.take()
        {
            let size = payload.len().to_string().into_bytes();
            letter.headers.push(("nazar.error.omitted_bytes".into(), Some(size)));
        }
        letter
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Each change of the map is complete before anything could panic.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, letter: Letter) {
        self.counters.waiting_bytes.fetch_add(letter.bytes(), Ordering::Relaxed);
        let mut waiting = self.waiting();
        *waiting.open.entry(letter.partition).or_default().entry(letter.offset).or_default() += 1;
        waiting.queue.push_back(Arc::new(letter));
        drop(waiting);
        self.arrived.notify_one();
    }

    fn acknowledge(&self, letter: &Letter) {
        let counters = &self.counters;
        counters.acknowledged.fetch_add(1, Ordering::Relaxed);
        counters.acknowledged_by_kind[letter.partition.kind as usize]
            .fetch_add(1, Ordering::Relaxed);
        counters
            .values_omitted
            .fetch_add(u64::from(letter.attempt == Attempt::WithoutValue), Ordering::Relaxed);
        counters.waiting_bytes.fetch_sub(letter.bytes(), Ordering::Relaxed);
        let mut waiting = self.waiting();
        if let Some(open) = waiting.open.get_mut(&letter.partition) {
            if let Some(count) = open.get_mut(&letter.offset) {
                *count -= 1;
                if *count == 0 {
                    open.remove(&letter.offset);
                }
            }
            if open.is_empty() {
                waiting.open.remove(&letter.partition);
            }
        }
    }

    /// Puts a replacement for `letter` in its place.
    fn replace(&self, letter: &Letter, by: &Letter) {
        self.counters.waiting_bytes.fetch_sub(letter.bytes(), Ordering::Relaxed);
        self.counters.waiting_bytes.fetch_add(by.bytes(), Ordering::Relaxed);
    }

    /// Waits for letters to write, for at most `timeout`.
    fn take(&self, timeout: Duration) -> VecDeque<Arc<Letter>> {
        let mut waiting = self.waiting();
        if waiting.queue.is_empty() && !self.stop.load(Ordering::Relaxed) {
            let waited = self.arrived.wait_timeout(waiting, timeout);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut waiting.queue)
    }
}

/// Receives delivery reports, on the thread that polls.
struct Reports {
    shared: Arc<Shared>,
    failed: Mutex<Vec<(Arc<Letter>, RDKafkaErrorCode)>>,
}

impl Reports {
    fn failed(&self) -> MutexGuard<'_, Vec<(Arc<Letter>, RDKafkaErrorCode)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        rebalance::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "dead letter client");
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Letter>;

    fn delivery(&self, result: &DeliveryResult<'_>, letter: Arc<Letter>) {
        match result {
            Ok(_) => self.shared.acknowledge(&letter),
            Err((error, _)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                self.failed().push((letter, code));
            }
        }
    }
}

/// The writer's loop. It ends when stopped, with what is in librdkafka's hands given a second.
fn write(producer: &BaseProducer<Reports>, topic: &str) {
    let reports = producer.context();
    let shared = &reports.shared;
    let mut todo: VecDeque<Arc<Letter>> = VecDeque::new();
    let mut retry_at = Instant::now();
    // The error that keeps letters from being written, said once per change.
    let mut complaint: Option<RDKafkaErrorCode> = None;
    while !shared.stop.load(Ordering::Relaxed) {
        let idle = producer.in_flight_count() == 0 && todo.is_empty();
        todo.extend(shared.take(if idle { RETRY } else { Duration::ZERO }));
        if Instant::now() >= retry_at
            && let Err(code) = produce_all(producer, topic, &mut todo)
        {
            fail(shared, &mut complaint, topic, code);
            retry_at = Instant::now() + RETRY;
        }
        let acknowledged = shared.counters.acknowledged.load(Ordering::Relaxed);
        producer.poll(POLL);
        let failed = std::mem::take(&mut *reports.failed());
        let progress = shared.counters.acknowledged.load(Ordering::Relaxed) > acknowledged;
        if failed.is_empty() && progress && complaint.take().is_some() {
            info!(topic, "dead letters are written again");
        }
        for (letter, code) in failed {
            let too_large = code == RDKafkaErrorCode::MessageSizeTooLarge;
            if too_large && letter.attempt != Attempt::WithoutValue {
                let next = letter.after_too_large();
                shared.replace(&letter, &next);
                todo.push_back(Arc::new(next));
            } else {
                fail(shared, &mut complaint, topic, code);
                todo.push_back(letter);
                retry_at = Instant::now() + RETRY;
            }
        }
    }
    let _ = producer.flush(RETRY);
}

/// Gives librdkafka what it takes. A letter that must be alone waits until nothing is in
/// flight, and the others wait for it.
fn produce_all(
    producer: &BaseProducer<Reports>,
    topic: &str,
    todo: &mut VecDeque<Arc<Letter>>,
) -> Result<(), RDKafkaErrorCode> {
    while let Some(letter) = todo.front() {
        let alone = letter.attempt != Attempt::Batched;
        if alone && producer.in_flight_count() > 0 {
            return Ok(());
        }
        match produce(producer, topic, letter) {
            Ok(()) => drop(todo.pop_front()),
            // A full queue empties by polling.
            Err(RDKafkaErrorCode::QueueFull) => return Ok(()),
            Err(code) => return Err(code),
        }
        if alone {
            // What follows may not join its batch. A broker that is away takes longer; then
            // the letter may fail in company, and is tried once more.
            let _ = producer.flush(RETRY);
            return Ok(());
        }
    }
    Ok(())
}

fn fail(
    shared: &Shared,
    complaint: &mut Option<RDKafkaErrorCode>,
    topic: &str,
    code: RDKafkaErrorCode,
) {
    shared.counters.failed_attempts.fetch_add(1, Ordering::Relaxed);
    if *complaint != Some(code) {
        error!(topic, error = %code, "dead letters cannot be written; their partitions wait");
        *complaint = Some(code);
    }
}

fn produce(
    producer: &BaseProducer<Reports>,
    topic: &str,
    letter: &Arc<Letter>,
) -> Result<(), RDKafkaErrorCode> {
    let mut headers = OwnedHeaders::new_with_capacity(letter.headers.len());
    for (key, value) in &letter.headers {
        headers = headers.insert(Header { key, value: value.as_deref() });
    }
    let mut record = BaseRecord::<[u8], [u8], Arc<Letter>>::with_opaque_to(topic, letter.clone())
        .headers(headers);
    record.key = letter.key.as_deref();
    record.payload = letter.payload.as_deref();
    record.timestamp = letter.timestamp_ms;
    match producer.send(record) {
        Ok(()) => Ok(()),
        // Too large for the client: reported like a refusal by the broker.
        Err((error, _)) => match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                let failed = (letter.clone(), RDKafkaErrorCode::MessageSizeTooLarge);
                producer.context().failed().push(failed);
                Ok(())
            }
            code => Err(code.unwrap_or(RDKafkaErrorCode::Unknown)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;

    fn letter(index: i32, offset: i64) -> Letter {
        let partition = Partition { kind: Kind::Click, index };
        let (key, payload, timestamp_ms) = (None, Some(vec![b'x'; 1000]), None);
        let headers = error_headers("click", index, offset, "json", "not JSON");
        Letter { partition, offset, key, payload, timestamp_ms, headers, attempt: Attempt::Batched }
    }

    fn writer(bytes_max: u64) -> (DeadLetters, Arc<Shared>) {
        let shared = Arc::new(Shared {
            bytes_max,
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            stop: AtomicBool::new(false),
            counters: DeadLetterCounters::default(),
        });
        let writer = Writer { shared: shared.clone(), thread: None };
        (DeadLetters { writer: Some(Arc::new(writer)) }, shared)
    }

    #[test]
    fn progress_waits_for_the_first_letter_that_is_not_acknowledged() {
        let (letters, shared) = writer(u64::MAX);
        let partition = |index| Partition { kind: Kind::Click, index };
        let reached = || letters.acknowledged_before(partition(0));
        assert_eq!(reached(), i64::MAX);
        // Sent in order 5, 8, 8 (re-read after a seek); acknowledged in another.
        for offset in [5, 8, 8] {
            shared.add(letter(0, offset));
        }
        assert_eq!(reached(), 5);
        shared.acknowledge(&letter(0, 8));
        assert_eq!(reached(), 5);
        shared.acknowledge(&letter(0, 5));
        assert_eq!(reached(), 8, "the second copy of 8 is still on its way");
        assert_eq!(letters.acknowledged_before(partition(1)), i64::MAX);
        shared.acknowledge(&letter(0, 8));
        assert_eq!(reached(), i64::MAX);
    }

    #[test]
    fn waiting_letters_are_bounded_in_bytes() {
        let (letters, shared) = writer(3000);
        shared.add(letter(0, 1));
        assert!(!letters.is_full());
        shared.add(letter(0, 2));
        assert!(letters.is_full());
        for offset in [1, 2] {
            shared.acknowledge(&letter(0, offset));
        }
        assert!(!letters.is_full());
        assert_eq!(letters.counters().unwrap().waiting_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn without_a_topic_nothing_waits() {
        let off = DeadLetters::start(&ClientConfig::new(), "", 1).unwrap();
        assert_eq!(off.acknowledged_before(Partition { kind: Kind::Click, index: 0 }), i64::MAX);
        assert!(!off.is_full() && off.flush(Duration::ZERO) && off.counters().is_none());
    }
}
