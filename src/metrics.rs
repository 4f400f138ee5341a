//! What the daemon tells Prometheus: every name, help text and label set stands in this file.
//!
//! `docs/METRICS.md` says the same for readers, and a test compares the two. Rules:
//! - Base units, last in the name; counters end in `_total`; times are `_timestamp_seconds`.
//! - Labels are closed sets, and each of their series exists from the start, so that `rate()`
//!   sees the first increment. What is unknown has no series: there are no sentinels.
//! - Updates are per batch or flush, never per record. Handles are resolved once.
//! - Counters are of this process. Records that are read again after a seek count again.

pub mod checkpoint;
mod define;
mod histogram;
mod series;
pub mod team;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{Counter, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, TextEncoder};

use crate::event::Kind;
use crate::pipeline::delivery::Ledger;
use crate::sinks::FlushReport;

use checkpoint::CheckpointMetrics;
use define::Define;
pub use define::Definition;
pub use histogram::Histogram;
pub use series::{HeldBackBy, LagSeries, Timestamp};
use team::TeamMetrics;

/// The label values that depend on configuration or belong to other modules.
#[derive(Clone, Copy, Debug, Default)]
pub struct Labels<'a> {
    /// The kinds that are on, with their topics.
    pub topics: &'a [(Kind, String)],
    pub dimensions: &'a [String],
    pub windows: &'a [String],
    /// Why a record can be malformed; [`TopicMetrics::malformed`] takes an index into it.
    pub malformed: &'a [&'static str],
    /// Classes of Redis errors; [`RedisMetrics::errors`] is in this order.
    pub redis_errors: &'a [&'static str],
}

/// Why the reading of a partition is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Pause {
    /// Deliveries wait for the merger or Redis, up to the memory bound.
    Memory = 0,
    /// The partition is too far ahead of the slowest in event time.
    Skew = 1,
}
const PAUSES: [&str; 2] = ["memory", "skew"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rebalance {
    Assign = 0,
    Revoke = 1,
    Lost = 2,
}
const REBALANCES: [&str; 3] = ["assign", "revoke", "lost"];

/// The parts of a flush that take time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FlushPhase {
    /// Closing windows and building views.
    Build = 0,
    /// From the first command to the last acknowledgement of Redis.
    Write = 1,
}
const FLUSH_PHASES: [&str; 2] = ["build", "write"];

const DROPS: [&str; 5] = ["late", "duplicate", "malformed", "future", "tombstone"];
const KEY_OUTCOMES: [&str; 3] = ["written", "unchanged", "deleted"];

/// From 50 ms, the least a flush can add, to 2 h, a catch-up.
const AGE_SECONDS: [f64; 13] =
    [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0];
/// A record is late by at least one base pane; a day tells an outage from a wrong clock.
const LATE_SECONDS: [f64; 9] = [1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0];
const FLUSH_SECONDS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Everything `/metrics` shows.
pub struct Metrics {
    define: Define,
    /// One scrape at a time: the ledger is copied, then rendered.
    scrape: Mutex<()>,
    topics: Vec<(Kind, TopicMetrics)>,
    pub kafka: KafkaMetrics,
    pub time: TimeMetrics,
    pub merge: MergeMetrics,
    pub flush: FlushMetrics,
    pub redis: RedisMetrics,
    pub checkpoint: CheckpointMetrics,
    pub team: Arc<TeamMetrics>,
}

/// What is counted by topic.
pub struct TopicMetrics {
    ledger: Mutex<Ledger>,
    consumed: IntCounter,
    applied: IntCounter,
    dropped: [IntCounter; DROPS.len()],
    foreign_currency: IntCounter,
    malformed: Vec<IntCounter>,
    pub consumed_bytes: IntCounter,
    /// Records acknowledged by the dead-letter topic.
    pub dead_letters: IntCounter,
    pub lost_to_retention: IntCounter,
    /// From event time to readable in Redis; observe `(seconds, records)` at each acknowledgement.
    pub freshness: Arc<Histogram>,
    /// From event time to applied; observe `(seconds, records)` per delivery and pane.
    pub event_age: Arc<Histogram>,
    /// How far behind the watermark late records were.
    pub late_by: Arc<Histogram>,
    pub late_revenue_minor: IntCounter,
    pub watermark: Timestamp,
    pub assigned_partitions: IntGauge,
    pub quiet_partitions: IntGauge,
}

pub struct KafkaMetrics {
    pub lag: LagSeries,
    /// When the ends of the logs were last learnt from the broker.
    pub ends_learnt: Timestamp,
    rebalances: [IntCounter; REBALANCES.len()],
    errors: IntCounterVec,
    pub dead_letter_errors: IntCounter,
    paused_partitions: [IntGauge; PAUSES.len()],
    paused_seconds: [Counter; PAUSES.len()],
}

pub struct TimeMetrics {
    pub stream_time: Timestamp,
    pub group_watermark: Timestamp,
    pub held_back_by: HeldBackBy,
    /// Partitions left out because they neither progressed nor were confirmed quiet.
    pub missing_partitions: IntGauge,
    /// 1 while the latest windows are covered by every partition.
    pub complete: IntGauge,
}

pub struct MergeMetrics {
    pub after_close: IntCounter,
    pub over_cap: IntCounter,
    /// By dimension, in the order of [`Labels::dimensions`].
    pub entities: Vec<IntGauge>,
    pub entities_limit: Vec<IntGauge>,
    memory: IntGaugeVec,
    memory_limit: IntGaugeVec,
}

pub struct FlushMetrics {
    duration: Vec<Arc<Histogram>>,
    last_success: Timestamp,
    keys: [IntCounter; KEY_OUTCOMES.len()],
    bytes: IntCounter,
    history_skipped: IntCounter,
    /// By window, in the order of [`Labels::windows`].
    pub windows_closed: Vec<IntCounter>,
    pub closed_through: Vec<Timestamp>,
}

pub struct RedisMetrics {
    pub connected: IntGauge,
    /// In the order of [`Labels::redis_errors`].
    pub errors: Vec<IntCounter>,
    pub retries: IntCounter,
    pub republishes: IntCounter,
    pub history_lost: IntCounter,
}

impl Metrics {
    pub fn new(labels: &Labels) -> Metrics {
        let mut define = Define::default();
        build_info(&mut define);
        let topics = topic_metrics(&mut define, labels);
        let kafka = KafkaMetrics::new(&mut define, labels);
        let time = TimeMetrics::new(&mut define, labels);
        let merge = MergeMetrics::new(&mut define, labels);
        let flush = FlushMetrics::new(&mut define, labels);
        let redis = RedisMetrics::new(&mut define, labels);
        let checkpoint = CheckpointMetrics::new(&mut define);
        let team = Arc::new(TeamMetrics::new(&mut define));
        let scrape = Mutex::new(());
        Metrics { define, scrape, topics, kafka, time, merge, flush, redis, checkpoint, team }
    }

    /// Adds CPU, memory and file descriptors of this process, where the platform tells them.
    pub fn with_process(self) -> Metrics {
        #[cfg(target_os = "linux")]
        {
            let process = prometheus::process_collector::ProcessCollector::for_self();
            self.define
                .registry
                .register(Box::new(process))
                .expect("no other family has its names");
        }
        self
    }

    /// The series of a topic; `None` for a kind that is off.
    pub fn topic(&self, kind: Kind) -> Option<&TopicMetrics> {
        self.topics.iter().find(|(of, _)| *of == kind).map(|(_, topic)| topic)
    }

    /// Every family of ours, in the order of this file.
    pub fn definitions(&self) -> &[Definition] {
        &self.define.definitions
    }

    /// The text of `/metrics`. Within one answer every topic's ledger closes to zero.
    pub fn render(&self) -> String {
        let _one_at_a_time = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, topic) in &self.topics {
            topic.publish_ledger();
        }
        let mut text = String::new();
        if let Err(error) =
            TextEncoder::new().encode_utf8(&self.define.registry.gather(), &mut text)
        {
            tracing::error!(%error, "metrics cannot be rendered");
        }
        text
    }
}

fn build_info(define: &mut Define) {
    let labels = ["version", "revision", "librdkafka"];
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    define
        .int_gauges("nazar_build_info", "What runs: always 1, the labels tell.", &labels)
        .with_label_values(&[
            env!("CARGO_PKG_VERSION"),
            option_env!("NAZAR_REVISION").unwrap_or("unknown"),
            &librdkafka,
        ])
        .set(1);
}

fn topic_metrics(define: &mut Define, labels: &Labels) -> Vec<(Kind, TopicMetrics)> {
    let consumed = define.int_counters(
        "nazar_events_consumed_total",
        "Records read. Equals applied plus dropped in every scrape.",
        &["topic"],
    );
    let applied = define.int_counters(
        "nazar_events_applied_total",
        "Records that count in every window which contains them.",
        &["topic"],
    );
    let dropped = define.int_counters(
        "nazar_events_dropped_total",
        "Records that count in no window, each under exactly one reason.",
        &["topic", "reason"],
    );
    let malformed = define.int_counters(
        "nazar_events_malformed_total",
        "Malformed records by what was wrong with them.",
        &["topic", "detail"],
    );
    let foreign_currency = define.int_counters(
        "nazar_events_foreign_currency_total",
        "Of the applied: purchases whose revenue is in another currency, so on no board.",
        &["topic"],
    );
    let lost = define.int_counters(
        "nazar_events_lost_total",
        "Offsets that were gone before they could be read; beside the ledger, not in it.",
        &["topic", "cause"],
    );
    let dead_letters = define.int_counters(
        "nazar_dead_letters_total",
        "Rejected records that the dead-letter topic has acknowledged.",
        &["topic"],
    );
    let consumed_bytes = define.int_counters(
        "nazar_consumed_bytes_total",
        "Bytes of record values read, after decompression.",
        &["topic"],
    );
    let topic_names = || labels.topics.iter().map(|(_, topic)| topic.clone());
    let mut freshness = define
        .histograms(
            "nazar_freshness_seconds",
            "From an event's time until the views that count it were readable, per record.",
            "topic",
            topic_names(),
            &AGE_SECONDS,
        )
        .into_iter();
    let mut event_age = define
        .histograms(
            "nazar_event_age_seconds",
            "From an event's time until the record was applied, per record.",
            "topic",
            topic_names(),
            &AGE_SECONDS,
        )
        .into_iter();
    let mut late_by = define
        .histograms(
            "nazar_late_by_seconds",
            "How far late records were behind their partition's watermark.",
            "topic",
            topic_names(),
            &LATE_SECONDS,
        )
        .into_iter();
    let late_revenue = define.int_counters(
        "nazar_late_revenue_minor_total",
        "Revenue of late purchases, missing in the views, in minor units of money.currency.",
        &["topic"],
    );
    let watermark = define.gauges(
        "nazar_watermark_timestamp_seconds",
        "The least watermark of the topic's partitions read here.",
        &["topic"],
    );
    let assigned = define.int_gauges(
        "nazar_kafka_assigned_partitions",
        "Partitions this process reads.",
        &["topic"],
    );
    let quiet = define.int_gauges(
        "nazar_quiet_partitions",
        "Partitions whose log the broker says has been read to its end.",
        &["topic"],
    );

    let series = |(kind, topic): &(Kind, String)| {
        let metrics = TopicMetrics {
            ledger: Mutex::default(),
            consumed: consumed.with_label_values(&[topic]),
            applied: applied.with_label_values(&[topic]),
            dropped: DROPS.map(|reason| dropped.with_label_values(&[topic, reason])),
            foreign_currency: foreign_currency.with_label_values(&[topic]),
            malformed: labels
                .malformed
                .iter()
                .map(|detail| malformed.with_label_values(&[topic.as_str(), detail]))
                .collect(),
            consumed_bytes: consumed_bytes.with_label_values(&[topic]),
            dead_letters: dead_letters.with_label_values(&[topic]),
            lost_to_retention: lost.with_label_values(&[topic.as_str(), "retention"]),
            freshness: freshness.next()?,
            event_age: event_age.next()?,
            late_by: late_by.next()?,
            late_revenue_minor: late_revenue.with_label_values(&[topic]),
            watermark: Timestamp::new(&watermark, &[topic]),
            assigned_partitions: assigned.with_label_values(&[topic]),
            quiet_partitions: quiet.with_label_values(&[topic]),
        };
        Some((*kind, metrics))
    };
    labels.topics.iter().filter_map(series).collect()
}

impl TopicMetrics {
    /// Adds what a partition's ledger gained. One call per batch or delivery.
    pub fn record(&self, before: &Ledger, after: &Ledger) {
        let mut sum = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        sum.consumed += after.consumed.saturating_sub(before.consumed);
        sum.applied += after.applied.saturating_sub(before.applied);
        sum.late += after.late.saturating_sub(before.late);
        sum.duplicate += after.duplicate.saturating_sub(before.duplicate);
        sum.malformed += after.malformed.saturating_sub(before.malformed);
        sum.future += after.future.saturating_sub(before.future);
        sum.tombstone += after.tombstone.saturating_sub(before.tombstone);
        sum.foreign_currency += after.foreign_currency.saturating_sub(before.foreign_currency);
    }

    /// Counts why records were malformed; `detail` is an index into [`Labels::malformed`].
    pub fn malformed(&self, detail: usize, records: u64) {
        if let Some(counter) = self.malformed.get(detail) {
            counter.inc_by(records);
        }
    }

    fn publish_ledger(&self) {
        let sum = *self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        raise_to(&self.consumed, sum.consumed);
        raise_to(&self.applied, sum.applied);
        raise_to(&self.foreign_currency, sum.foreign_currency);
        let dropped = [sum.late, sum.duplicate, sum.malformed, sum.future, sum.tombstone];
        for (counter, total) in self.dropped.iter().zip(dropped) {
            raise_to(counter, total);
        }
    }
}

impl KafkaMetrics {
    fn new(define: &mut Define, labels: &Labels) -> Self {
        let partition = ["topic", "partition"];
        let lag = LagSeries {
            topics: labels.topics.iter().cloned().collect(),
            records: define.int_gauges(
                "nazar_kafka_lag_records",
                "Readable records that are not applied yet, by partition read here.",
                &partition,
            ),
            seconds: define.gauges(
                "nazar_kafka_lag_seconds",
                "Age of the next record to apply, as the broker stamped it; 0 without lag.",
                &partition,
            ),
            applied_offset: define.int_gauges(
                "nazar_kafka_applied_offset",
                "The cursor: all records before it are applied.",
                &partition,
            ),
            end_offset: define.int_gauges(
                "nazar_kafka_end_offset",
                "End of the partition's log, as the broker last said.",
                &partition,
            ),
            assigned: Mutex::new(HashMap::new()),
        };
        let ends_learnt = define.gauges(
            "nazar_kafka_ends_learnt_timestamp_seconds",
            "When the ends of the logs were last learnt; lag is as old as this.",
            &[],
        );
        let rebalances = define.int_counters(
            "nazar_kafka_rebalances_total",
            "Changes of the assignment, by kind.",
            &["kind"],
        );
        let errors = define.int_counters(
            "nazar_kafka_errors_total",
            "Errors that librdkafka reported, by its code.",
            &["code"],
        );
        let dead_letter_errors = define.int_counter(
            "nazar_dead_letter_errors_total",
            "Dead letters that were not acknowledged and are sent again.",
        );
        let paused = define.int_gauges(
            "nazar_paused_partitions",
            "Partitions that are not read for now, by cause.",
            &["cause"],
        );
        let paused_seconds = define.counters(
            "nazar_paused_seconds_total",
            "Time during which at least one partition was paused, by cause.",
            &["cause"],
        );
        Self {
            lag,
            ends_learnt: Timestamp::new(&ends_learnt, &[]),
            rebalances: REBALANCES.map(|kind| rebalances.with_label_values(&[kind])),
            errors,
            dead_letter_errors,
            paused_partitions: PAUSES.map(|cause| paused.with_label_values(&[cause])),
            paused_seconds: PAUSES.map(|cause| paused_seconds.with_label_values(&[cause])),
        }
    }

    pub fn rebalanced(&self, kind: Rebalance) {
        self.rebalances[kind as usize].inc();
    }

    /// Counts an error by librdkafka's name of its code (a closed set of some 150).
    pub fn error(&self, code: &str) {
        self.errors.with_label_values(&[code]).inc();
    }

    pub fn set_paused(&self, cause: Pause, partitions: usize) {
        self.paused_partitions[cause as usize].set(partitions as i64);
    }

    pub fn add_paused_seconds(&self, cause: Pause, seconds: f64) {
        self.paused_seconds[cause as usize].inc_by(seconds.max(0.0));
    }
}

impl TimeMetrics {
    fn new(define: &mut Define, labels: &Labels) -> Self {
        let stream_time = define.gauges(
            "nazar_stream_time_timestamp_seconds",
            "Stream time: the newest event time that moved a watermark.",
            &[],
        );
        let group_watermark = define.gauges(
            "nazar_group_watermark_timestamp_seconds",
            "Group watermark: windows that end at or before it are closed.",
            &[],
        );
        let held_back_by = HeldBackBy {
            topics: labels.topics.iter().cloned().collect(),
            family: define.int_gauges(
                "nazar_group_watermark_held_back_by",
                "1 for the partition that the group watermark waits for.",
                &["topic", "partition"],
            ),
            shown: Mutex::new(None),
        };
        Self {
            stream_time: Timestamp::new(&stream_time, &[]),
            group_watermark: Timestamp::new(&group_watermark, &[]),
            held_back_by,
            missing_partitions: define.int_gauge(
                "nazar_missing_partitions",
                "Partitions left out: neither progressing nor confirmed quiet for time.stall_limit.",
            ),
            complete: define.int_gauge(
                "nazar_complete",
                "1 while every partition covers the longest window.",
            ),
        }
    }
}

impl MergeMetrics {
    fn new(define: &mut Define, labels: &Labels) -> Self {
        let after_close = define.int_counter(
            "nazar_events_after_close_total",
            "Of the applied: records whose pane the group watermark had passed already.",
        );
        let over_cap = define.int_counter(
            "nazar_over_cap_total",
            "Entities of applied records that counted under __other__ because a cap was reached.",
        );
        let entities =
            define.int_gauges("nazar_entities", "Entities with live cells.", &["dimension"]);
        let entities_limit = define.int_gauges(
            "nazar_entities_limit",
            "limits.entities: beyond it, new entities count under __other__.",
            &["dimension"],
        );
        let by_dimension = |family: &IntGaugeVec| {
            labels.dimensions.iter().map(|name| family.with_label_values(&[name])).collect()
        };
        Self {
            after_close,
            over_cap,
            entities: by_dimension(&entities),
            entities_limit: by_dimension(&entities_limit),
            memory: define.int_gauges(
                "nazar_memory_bytes",
                "Memory in use, by part, as the daemon accounts for it.",
                &["part"],
            ),
            memory_limit: define.int_gauges(
                "nazar_memory_limit_bytes",
                "The most a part may take; their sum is the bound printed at start.",
                &["part"],
            ),
        }
    }

    /// Shows what a part of the memory takes (`panes`, `sketches`, `in_flight`, …).
    pub fn set_memory(&self, part: &str, bytes: u64) {
        self.memory.with_label_values(&[part]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub fn set_memory_limit(&self, part: &str, bytes: u64) {
        self.memory_limit.with_label_values(&[part]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

impl FlushMetrics {
    fn new(define: &mut Define, labels: &Labels) -> Self {
        let duration = define.histograms(
            "nazar_flush_duration_seconds",
            "Duration of flushes, by phase.",
            "phase",
            FLUSH_PHASES.map(str::to_owned),
            &FLUSH_SECONDS,
        );
        let last_success = define.gauges(
            "nazar_flush_last_success_timestamp_seconds",
            "When Redis last acknowledged a flush.",
            &[],
        );
        let keys = define.int_counters(
            "nazar_flush_keys_total",
            "Keys of flushed views, by what became of them.",
            &["outcome"],
        );
        let bytes = define.int_counter("nazar_flush_bytes_total", "Bytes of commands to Redis.");
        let history_skipped = define.int_counter(
            "nazar_history_skipped_total",
            "Closed windows that stood in their history stream already, after a restart.",
        );
        let closed = define.int_counters(
            "nazar_windows_closed_total",
            "Windows closed and published, by size.",
            &["window"],
        );
        let closed_through = define.gauges(
            "nazar_closed_through_timestamp_seconds",
            "End of the newest closed window, by size.",
            &["window"],
        );
        let windows = labels.windows.iter();
        Self {
            duration,
            last_success: Timestamp::new(&last_success, &[]),
            keys: KEY_OUTCOMES.map(|outcome| keys.with_label_values(&[outcome])),
            bytes,
            history_skipped,
            windows_closed: windows.clone().map(|name| closed.with_label_values(&[name])).collect(),
            closed_through: windows.map(|name| Timestamp::new(&closed_through, &[name])).collect(),
        }
    }

    pub fn took(&self, phase: FlushPhase, seconds: f64) {
        if let Some(histogram) = self.duration.get(phase as usize) {
            histogram.observe(seconds, 1);
        }
    }

    /// Counts a flush that Redis has acknowledged at `now`, in seconds since the epoch.
    pub fn acknowledged(&self, report: &FlushReport, now_seconds: f64) {
        self.last_success.set_seconds(now_seconds);
        let keys = [report.keys_written, report.keys_unchanged, report.keys_deleted];
        for (counter, keys) in self.keys.iter().zip(keys) {
            counter.inc_by(keys);
        }
        self.bytes.inc_by(report.bytes);
        self.history_skipped.inc_by(report.history_skipped);
    }
}

impl RedisMetrics {
    fn new(define: &mut Define, labels: &Labels) -> Self {
        let connected = define
            .int_gauge("nazar_redis_connected", "1 while the last exchange with Redis went well.");
        let errors = define.int_counters(
            "nazar_redis_errors_total",
            "Failed commands and connections, by class.",
            &["class"],
        );
        Self {
            connected,
            errors: labels.redis_errors.iter().map(|&c| errors.with_label_values(&[c])).collect(),
            retries: define
                .int_counter("nazar_redis_retries_total", "Attempts that followed a failed one."),
            republishes: define.int_counter(
                "nazar_republishes_total",
                "Times that all views were written anew because Redis had lost some.",
            ),
            history_lost: define.int_counter(
                "nazar_history_lost_total",
                "History entries of closed windows that Redis lost and nobody can remake.",
            ),
        }
    }
}

/// Lifts a counter to a total that is kept elsewhere. A total that fell leaves it alone.
pub fn raise_to(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

#[cfg(test)]
mod tests;
