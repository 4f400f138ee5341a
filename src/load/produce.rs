//! Writing a workload to Kafka, in order and fast.
//!
//! The producer is idempotent, so a retry neither repeats a record nor lets one overtake
//! another: the order on the log is the order of the workload, which the labels rest on.
//! Where latency is measured, each acknowledgement is reported, with the record's times in the word
//! that the client carries along. Without a meter only failures are, as reports cost nearly as much as
//! sending. Either way the end offsets that the broker states afterwards are compared with what was sent.

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
use super::latency::meter::Meter;
use super::latency::stamp::Stamp;
use super::ledger::Ledger;
use super::pacer::Pacer;

/// Records between two calls of the controlling function: often enough to stop at once, too
/// seldom to cost anything.
const CONTROL_EVERY: u64 = 256;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(120);
const DEFAULTS: [(&str, &str); 6] = [
    ("enable.idempotence", "true"),
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

/// What hears of acknowledgements.
struct Reports {
    failures: Arc<Failures>,
    meter: Option<Arc<Meter>>,
}

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    /// A [`Stamp`].
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, stamp: usize) {
        match (result, &self.meter) {
            (Ok(_), Some(meter)) => meter.acknowledged(Stamp::from_word(stamp)),
            (Ok(_), None) => {}
            (Err((error, message)), _) => {
                self.failures.count.fetch_add(1, Ordering::Relaxed);
                let place = format!("{}/{}: {error}", message.topic(), message.partition());
                let _ = self.failures.first.set(place);
            }
        }
    }
}

/// Writes records to the topics of their kinds.
pub struct Producer {
    inner: ThreadedProducer<Reports>,
    topics: [String; 4],
    failures: Arc<Failures>,
    meter: Option<Arc<Meter>>,
    started: Instant,
}

impl Producer {
    /// `topics` by kind, in the order of [`Kind::ALL`].
    pub fn new(
        cluster: &Cluster,
        topics: [String; 4],
        meter: Option<Arc<Meter>>,
    ) -> anyhow::Result<Self> {
        let failures = Arc::new(Failures::default());
        let inner = cluster
            .client_config(&DEFAULTS)
            .set("delivery.report.only.error", if meter.is_some() { "false" } else { "true" })
            .create_with_context(Reports { failures: Arc::clone(&failures), meter: meter.clone() })
            .context("create the Kafka producer")?;
        Ok(Self { inner, topics, failures, meter, started: Instant::now() })
    }

    pub fn topic(&self, kind: Kind) -> &str {
        &self.topics[kind as usize]
    }

    /// Returns once the brokers have answered. The client connects when it is first needed, and the first
    /// records would have to wait for that.
    pub fn connect(&self, topics: &[&str]) -> anyhow::Result<()> {
        for topic in topics {
            self.inner
                .client()
                .fetch_metadata(Some(topic), CONNECT_TIMEOUT)
                .with_context(|| format!("ask the broker for topic {topic}"))?;
        }
        Ok(())
    }

    /// Time since the start: the meter's, if there is one.
    fn elapsed(&self) -> Duration {
        self.meter.as_ref().map_or_else(|| self.started.elapsed(), |meter| meter.elapsed())
    }

    /// Hands a record to the client, `elapsed` after the start; waits while its queue is full.
    pub fn send(&self, record: &RecordRef<'_>, elapsed: Duration) -> anyhow::Result<()> {
        let stamp = |elapsed: Duration| {
            let stamped = self.meter.as_ref().map(|meter| meter.stamp(record.meta, elapsed));
            stamped.unwrap_or_default()
        };
        let opaque = stamp(elapsed).into_word();
        let mut message = BaseRecord::with_opaque_to(self.topic(record.meta.kind), opaque)
            .partition(record.meta.partition as i32)
            .key(record.key)
            .timestamp(record.meta.create_time_ms);
        if let Some(payload) = record.payload {
            message = message.payload(payload);
        }
        loop {
            self.check()?;
            let word = message.delivery_opaque;
            match self.inner.send(message) {
                Ok(()) => {
                    if let Some(meter) = &self.meter {
                        meter.handed_over(record.meta, Stamp::from_word(word));
                    }
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), returned)) => {
                    message = returned;
                    std::thread::sleep(Duration::from_millis(1));
                    // It is sent when the client takes it.
                    message.delivery_opaque = stamp(self.elapsed()).into_word();
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
            let elapsed = producer.elapsed();
            let wait = pacer.wait(record.meta.due_ns, elapsed);
            if !wait.is_zero() {
                // In slices, so that a stop is heard at low rates as well.
                std::thread::sleep(wait.min(Duration::from_millis(50)));
                until_control = 0;
                continue;
            }
            producer.send(&record, elapsed)?;
            at += 1;
            until_control -= 1;
        }
        ledger.note(&block, at);
        feed.used(block);
    }
    producer.flush()?;
    Ok(complete)
}
