//! Writing a workload to Kafka, in order and fast.
//!
//! The producer is idempotent, so a retry neither repeats a record nor lets one overtake
//! another: the order on the log is the order of the workload, which the labels rest on.
//! Success is not reported record by record (that would cost as much as sending); failures
//! are, and the end offsets that the broker states afterwards are compared with what was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message};

use super::block::RecordRef;
use super::feed::Feed;
use super::kafka::Cluster;
use super::kind::Kind;
use super::ledger::Ledger;
use super::pacer::Pacer;

/// Records between two calls of the controlling function: often enough to stop at once, too
/// seldom to cost anything.
const CONTROL_EVERY: u64 = 256;
const FLUSH_TIMEOUT: Duration = Duration::from_secs(120);
const DEFAULTS: [(&str, &str); 7] = [
    ("enable.idempotence", "true"),
    ("delivery.report.only.error", "true"),
    ("compression.type", "lz4"),
    // Large batches: at rates where it matters they fill before the linger ends.
    ("linger.ms", "20"),
    ("batch.size", "1000000"),
    ("queue.buffering.max.messages", "500000"),
    ("queue.buffering.max.kbytes", "262144"),
];

#[derive(Debug, Default)]
struct Failures {
    count: AtomicU64,
    first: std::sync::OnceLock<String>,
}

struct Context_(Arc<Failures>);

impl ClientContext for Context_ {}

impl ProducerContext for Context_ {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, message)) = result {
            self.0.count.fetch_add(1, Ordering::Relaxed);
            let place = format!("{}/{}: {error}", message.topic(), message.partition());
            let _ = self.0.first.set(place);
        }
    }
}

/// Writes records to the topics of their kinds.
pub struct Producer {
    inner: ThreadedProducer<Context_>,
    topics: [String; 4],
    failures: Arc<Failures>,
}

impl Producer {
    /// `topics` by kind, in the order of [`Kind::ALL`].
    pub fn new(cluster: &Cluster, topics: [String; 4]) -> anyhow::Result<Self> {
        let failures = Arc::new(Failures::default());
        let inner = cluster
            .client_config(&DEFAULTS)
            .create_with_context(Context_(Arc::clone(&failures)))
            .context("create the Kafka producer")?;
        Ok(Self { inner, topics, failures })
    }

    pub fn topic(&self, kind: Kind) -> &str {
        &self.topics[kind as usize]
    }

    /// Hands a record to the client; waits while its queue is full.
    pub fn send(&self, record: &RecordRef<'_>) -> anyhow::Result<()> {
        let mut message = BaseRecord::to(self.topic(record.meta.kind))
            .partition(record.meta.partition as i32)
            .key(record.key)
            .timestamp(record.meta.create_time_ms);
        if let Some(payload) = record.payload {
            message = message.payload(payload);
        }
        loop {
            self.check()?;
            match self.inner.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                    message = returned;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => {
                    return Err(error)
                        .with_context(|| format!("send to {}", self.topic(record.meta.kind)));
                }
            }
        }
    }

    /// Returns once everything sent is acknowledged.
    pub fn flush(&self) -> anyhow::Result<()> {
        self.inner.flush(FLUSH_TIMEOUT).context("wait for the last acknowledgements")?;
        self.check()
    }

    fn check(&self) -> anyhow::Result<()> {
        let failed = self.failures.count.load(Ordering::Relaxed);
        if failed > 0 {
            let first = self.failures.first.get().map_or("", String::as_str);
            bail!("{failed} records were not acknowledged, the first at {first}");
        }
        Ok(())
    }
}

/// What the controlling function says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    Go,
    /// Ask again after this long: whoever reads the log should not fall further behind.
    Hold(Duration),
    Stop,
}

/// Writes blocks until they end or `control` stops it, and flushes. `control` sees how many records
/// have been handed over so far, every few hundred records and while it holds.
///
/// Returns whether the blocks came to their end.
pub fn produce(
    feed: &Feed,
    producer: &Producer,
    pacer: &mut Pacer,
    ledger: &mut Ledger,
    mut control: impl FnMut(u64) -> Control,
) -> anyhow::Result<bool> {
    let started = Instant::now();
    let mut until_control = 0;
    let mut complete = true;
    while complete && let Some(block) = feed.next() {
        let mut at = 0;
        while let Some(record) = block.get(at) {
            if until_control == 0 {
                until_control = CONTROL_EVERY;
                match control(ledger.records() + at as u64) {
                    Control::Go => {}
                    Control::Hold(pause) => {
                        until_control = 0;
                        std::thread::sleep(pause);
                        continue;
                    }
                    Control::Stop => {
                        complete = false;
                        break;
                    }
                }
            }
            let wait = pacer.wait(record.meta.due_ns, started.elapsed());
            if !wait.is_zero() {
                // In slices, so that a stop is heard at low rates as well.
                std::thread::sleep(wait.min(Duration::from_millis(50)));
                until_control = 0;
                continue;
            }
            producer.send(&record)?;
            at += 1;
            until_control -= 1;
        }
        ledger.note(&block, at);
        feed.used(block);
    }
    producer.flush()?;
    Ok(complete)
}
