//! Traffic as a busy shop would show it, fed through the methods that the daemon uses.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nazar::event::Kind;
use nazar::lag::{Lag, LagInput};
use nazar::metrics::checkpoint::CheckpointReport;
use nazar::metrics::team::OutboxOutcome;
use nazar::metrics::{FlushPhase, Labels, Metrics, Pause, Rebalance, raise_to};
use nazar::pipeline::delivery::{Ledger, Partition};
use nazar::sinks::FlushReport;
use nazar::time::{EventTime, Span};

/// A flush interval.
pub const STEP: Duration = Duration::from_millis(250);
const STEPS_PER_SECOND: u64 = 4;
const PARTITIONS: i32 = 4;
const TOPICS: [(Kind, &str, u64); 3] = [
    (Kind::Click, "click", 4_000),
    (Kind::Wishlist, "wishlist", 700),
    (Kind::Purchase, "purchase", 300),
];
const MEMORY: [(&str, u64, u64); 4] =
    [("entities", 300, 900), ("panes", 800, 4096), ("sketches", 40, 64), ("in_flight", 20, 256)];

pub fn metrics() -> Metrics {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let metrics = Metrics::new(&Labels {
        topics: &TOPICS.map(|(kind, topic, _)| (kind, topic.to_owned())),
        dimensions: &owned(&["product", "category", "seller"]),
        windows: &owned(&["1m", "5m", "1h", "24h"]),
        malformed: &["invalid_json", "missing_timestamp", "empty_id"],
        redis_errors: &["oom", "readonly", "timeout", "io"],
    });
    for (part, _, limit_mib) in MEMORY {
        metrics.merge.set_memory_limit(part, limit_mib << 20);
    }
    for (gauge, limit) in metrics.merge.entities_limit.iter().zip([2_000_000, 10_000, 200_000]) {
        gauge.set(limit);
    }
    metrics
}

/// What happens in one flush interval; `step` counts them.
pub fn step(metrics: &Metrics, step: u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now_millis = now.as_millis() as i64;
    // One wave in five minutes: the load swings by half, and lag follows.
    let wave = (step as f64 / (300.0 * STEPS_PER_SECOND as f64) * std::f64::consts::TAU).sin();
    for (number, (kind, _, rate)) in TOPICS.into_iter().enumerate() {
        let records = (rate as f64 * (1.0 + wave / 2.0)) as u64 / STEPS_PER_SECOND;
        topic(metrics, kind, records, step);
        for index in 0..PARTITIONS {
            let partition = Partition { kind, index };
            let behind = (records as f64 * (1.2 + wave)) as i64 + i64::from(index) * 3;
            let applied = (step as i64 + 1) * 1_000 + number as i64;
            let lag = Lag::of(&LagInput {
                end: Some(applied + behind),
                log_start: Some(0),
                position: Some(applied),
                fetch_position: Some(applied + behind),
                pending: true,
                next_record_millis: Some(now_millis - 200 - (300.0 * wave) as i64),
                drained_millis: None,
                now_millis,
            });
            metrics.kafka.lag.set(partition, applied, applied + behind, lag);
        }
    }
    kafka_and_time(metrics, step, now);
    flush(metrics, step, wave, now);
}

fn topic(metrics: &Metrics, kind: Kind, records: u64, step: u64) {
    let topic = metrics.topic(kind).expect("every kind of the list is on");
    let seldom = u64::from(step.is_multiple_of(3));
    let ledger = Ledger {
        consumed: records + 6 + 3 * seldom,
        applied: records,
        late: 4,
        duplicate: 2,
        malformed: seldom,
        future: seldom,
        tombstone: seldom,
        foreign_currency: 1,
    };
    topic.record(&Ledger::default(), &ledger);
    topic.malformed((step % 2) as usize, seldom);
    topic.consumed_bytes.inc_by(180 * ledger.consumed);
    topic.dead_letters.inc_by(2 * seldom);
    topic.lost_to_retention.inc_by(u64::from(step == 10));
    for (share, age) in [(6, 0.08), (3, 0.3), (1, 1.7)] {
        topic.event_age.observe(age, records * share / 10);
        topic.freshness.observe(age + 0.2, records * share / 10);
    }
    topic.late_by.observe(3.0, 3);
    topic.late_by.observe(70.0, 1);
    topic.late_revenue_minor.inc_by(1_999);
    topic.assigned_partitions.set(i64::from(PARTITIONS));
    topic.quiet_partitions.set(i64::from(step % 120 < 20));
}

fn kafka_and_time(metrics: &Metrics, step: u64, now: Duration) {
    let (kafka, time, merge) = (&metrics.kafka, &metrics.time, &metrics.merge);
    kafka.ends_learnt.set_seconds(now.as_secs_f64());
    if step % 1_200 == 60 {
        kafka.rebalanced(Rebalance::Assign);
        kafka.error("BrokerTransportFailure");
        kafka.dead_letter_errors.inc();
    }
    let paused = step % 80 < 8;
    kafka.set_paused(Pause::Memory, usize::from(paused));
    kafka.set_paused(Pause::Skew, 0);
    kafka.add_paused_seconds(Pause::Memory, if paused { STEP.as_secs_f64() } else { 0.0 });

    let stream_time = EventTime::from_millis(now.as_millis() as i64 - 400);
    time.stream_time.set(stream_time);
    time.group_watermark.set(stream_time - Span::from_secs(62));
    for (kind, _, _) in TOPICS {
        let topic = metrics.topic(kind).expect("every kind of the list is on");
        topic.watermark.set(stream_time - Span::from_secs(60 + kind as i64));
    }
    let index = (step / 8) as i32 % PARTITIONS;
    time.held_back_by.set(Some(Partition { kind: Kind::Purchase, index }));
    time.missing_partitions.set(0);
    time.complete.set(1);

    merge.after_close.inc_by(u64::from(step.is_multiple_of(40)));
    merge.over_cap.inc_by(u64::from(step.is_multiple_of(60)));
    for (gauge, entities) in merge.entities.iter().zip([400_000, 900, 60_000]) {
        gauge.set(entities + (step % 400) as i64 * entities / 4_000);
    }
    for (part, used_mib, _) in MEMORY {
        merge.set_memory(part, (used_mib + step % 8) << 20);
    }
}

fn flush(metrics: &Metrics, step: u64, wave: f64, now: Duration) {
    let (flush, redis) = (&metrics.flush, &metrics.redis);
    flush.took(FlushPhase::Build, 0.012 + 0.008 * wave);
    flush.took(FlushPhase::Write, 0.035 + 0.02 * wave);
    let report = FlushReport {
        keys_written: 40 + step % 17,
        keys_unchanged: 120,
        keys_deleted: step % 3,
        bytes: 90_000 + step % 1_000,
        history_skipped: u64::from(step < 4),
    };
    flush.acknowledged(&report, now.as_secs_f64());
    let report = CheckpointReport {
        written_bytes: 90_000,
        written_blobs: 12,
        standing_blobs: 340,
        standing_bytes: 9_000_000,
    };
    metrics.checkpoint.stored(&report, 0.08, now.as_secs_f64());
    metrics.checkpoint.failed();
    metrics.team.leads.set(1);
    metrics.team.outbox(OutboxOutcome::Appended, 12_000);
    let windows = flush.windows_closed.iter().zip(&flush.closed_through).zip([4, 20, 240, 3_600]);
    for ((closed, through), steps) in windows {
        closed.inc_by(u64::from(step.is_multiple_of(steps)));
        let end = EventTime::from_millis(now.as_millis() as i64 - 62_000);
        through.set(end.floor(Span::from_secs(60.min(steps as i64 / 4))));
    }
    redis.connected.set(1);
    if let Some(timeout) = redis.errors.get(2) {
        timeout.inc_by(u64::from(step % 100 == 45));
    }
    raise_to(&redis.retries, step / 100);
    raise_to(&redis.republishes, step / 400);
    raise_to(&redis.history_lost, step / 400 * 3);
}
