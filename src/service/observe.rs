//! Turns what the parts know into metrics, health and log lines. Nothing here decides anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::health::{Health, Pulse};
use crate::lag::{Lag, LagInput};
use crate::metrics::{Metrics, raise_to};
use crate::pipeline::delivery::Delivery;
use crate::pipeline::flush::{AllWindows, Observer};
use crate::pipeline::handover::{MergedState, Reading};
use crate::pipeline::merge::{Merged, Merger};
use crate::pipeline::offset::Topics;
use crate::pipeline::watch::LogView;
use crate::service::publish::wall_clock_millis;
use crate::sinks::redis::error::ErrorClass;
use crate::sinks::redis::health::RedisHealth;

/// How often gauges of the merged state are set.
const GAUGES: Duration = Duration::from_millis(250);

/// Hears the merger's thread.
pub struct MergeObserver {
    metrics: Arc<Metrics>,
    pulse: Arc<Pulse>,
    gauges_set: Option<Instant>,
}

impl MergeObserver {
    pub fn new(metrics: Arc<Metrics>, pulse: Arc<Pulse>) -> Self {
        Self { metrics, pulse, gauges_set: None }
    }

    fn set_gauges(&self, merger: &Merger, unpublished_bytes: usize) {
        let (metrics, clock) = (&self.metrics, merger.clock());
        if let Some(stream_time) = clock.stream_time() {
            metrics.time.stream_time.set(stream_time);
        }
        if let Some(group_watermark) = clock.group_watermark() {
            metrics.time.group_watermark.set(group_watermark);
        }
        let meta = merger.meta(0);
        metrics.time.held_back_by.set(clock.holding_back().map(|(partition, _)| partition));
        metrics.time.missing_partitions.set(meta.missing.len() as i64);
        metrics.time.complete.set(i64::from(meta.complete));
        for (kind, quiet, watermark) in clock.by_kind() {
            if let Some(topic) = metrics.topic(kind) {
                topic.quiet_partitions.set(quiet as i64);
                if let Some(watermark) = watermark {
                    topic.watermark.set(watermark);
                }
            }
        }
        for (dimension, gauge) in metrics.merge.entities.iter().enumerate() {
            gauge.set(merger.windows().entities(dimension).live() as i64);
        }
        metrics.merge.set_memory("panes", merger.windows().bytes() as u64);
        metrics.merge.set_memory("sketches", merger.distinct_bytes() as u64);
        metrics.merge.set_memory("unpublished", unpublished_bytes as u64);
    }
}

impl Observer for MergeObserver {
    fn merged(&mut self, delivery: &Delivery, merged: Merged) {
        self.metrics.merge.after_close.inc_by(merged.after_close);
        self.metrics.merge.over_cap.inc_by(merged.over_cap);
        if let Some(topic) = self.metrics.topic(delivery.partition.kind) {
            let now_millis = wall_clock_millis();
            for pane in &delivery.cells.panes {
                let age_millis = (now_millis - pane.start_millis).max(0);
                topic.event_age.observe(age_millis as f64 / 1000.0, pane.totals.events);
            }
        }
    }

    fn ticked(&mut self, merger: &Merger, unpublished_bytes: usize, _now_millis: u64) {
        self.pulse.beat();
        if self.gauges_set.is_none_or(|last| last.elapsed() >= GAUGES) {
            self.gauges_set = Some(Instant::now());
            self.set_gauges(merger, unpublished_bytes);
        }
    }
}

/// What is looked at once a second.
pub struct Overseer {
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub topics: Topics,
    pub log: LogView,
    pub merged: Arc<MergedState>,
    pub reading: Arc<Reading>,
    pub redis: Arc<RedisHealth>,
    /// When each partition's lag was last 0, by the wall clock.
    pub drained_millis: std::collections::BTreeMap<crate::pipeline::delivery::Partition, i64>,
    /// The records merged when progress was last said.
    pub said: Option<(Instant, u64)>,
    /// Since when no partition is read here, and whether that was said.
    pub unassigned_since: Option<(Instant, bool)>,
    /// Of the leader.
    pub all_windows: Option<AllWindows>,
    pub backlog: Backlog,
}

/// Notices the end of a backlog: then every window is due, whatever its cadence. Otherwise a
/// day's views would show a part of it for up to a minute more.
pub struct Backlog {
    is_behind: bool,
    /// Looks at which the end is still said: at the first, the last of it is on its way.
    says_left: u8,
    /// Records merged at the last look.
    merged: u64,
}

/// The end of a backlog is said at so many looks in a row.
const END_SAID: u8 = 3;

impl Default for Backlog {
    /// A start is behind until it is shown not to be.
    fn default() -> Self {
        Self { is_behind: true, says_left: 0, merged: 0 }
    }
}

impl Backlog {
    /// Whether it has been caught up with lately. `merged`: records since the start; `lag`:
    /// records not merged yet. Called about once a second.
    fn has_ended(&mut self, merged: u64, lag: u64) -> bool {
        let lately = merged - self.merged.min(merged);
        self.merged = merged;
        // Live there is always a little lag: less than half of what a second brings.
        if lag >= CATCHING_UP_RECORDS {
            self.is_behind = true;
        } else if self.is_behind && merged > 0 && lag <= lately / 2 {
            (self.is_behind, self.says_left) = (false, END_SAID);
        }
        let says = self.says_left > 0;
        self.says_left = self.says_left.saturating_sub(1);
        says
    }
}

/// Progress is said so often while catching up.
const PROGRESS: Duration = Duration::from_secs(5);
/// Catching up means to be at least so many records behind.
const CATCHING_UP_RECORDS: u64 = 100_000;

impl Overseer {
    pub fn look(&mut self) {
        self.look_at_redis();
        self.look_at_log();
        let lag_records = self.look_at_lag();
        if self.backlog.has_ended(self.merged.records(), lag_records) {
            self.all_windows.iter().for_each(AllWindows::ask);
        }
        self.say_progress(lag_records);
    }

    fn look_at_redis(&self) {
        let redis = &self.metrics.redis;
        redis.connected.set(i64::from(self.redis.connected()));
        raise_to(&redis.retries, self.redis.retries());
        raise_to(&redis.republishes, self.redis.republishes());
        raise_to(&redis.history_lost, self.redis.history_lost());
        for (counter, class) in redis.errors.iter().zip(ErrorClass::ALL) {
            raise_to(counter, self.redis.errors(class));
        }
        if self.redis.connected() {
            self.health.redis_usable.hold();
        } else {
            self.health.redis_usable.fail("the last exchange with Redis failed; it is retried");
        }
    }

    fn look_at_log(&self) {
        let log = self.log.load();
        if log.missing.is_empty() {
            self.health.topics_present.hold();
        } else {
            let missing: Vec<String> =
                log.missing.iter().map(|(topic, reason)| format!("{topic}: {reason}")).collect();
            self.health.topics_present.fail(format!("missing topics: {}", missing.join(", ")));
        }
        let newest = log.partitions.values().flatten().map(|bounds| bounds.asked).max();
        if let Some(asked) = newest {
            let learnt = wall_clock_millis() as f64 / 1000.0 - asked.elapsed().as_secs_f64();
            self.metrics.kafka.ends_learnt.set_seconds(learnt);
        }
    }

    /// Lag of every partition read here; returns the sum in records.
    fn look_at_lag(&mut self) -> u64 {
        let (log, now_millis) = (self.log.load(), wall_clock_millis());
        let owned = self.reading.load();
        self.metrics.kafka.lag.retain(|partition| owned.contains_key(&partition));
        let mut sum = 0;
        for (&partition, facts) in &owned {
            let bounds = log.partitions.get(&partition).copied().flatten();
            let cursor = self.merged.cursor(partition);
            let lag = Lag::of(&LagInput {
                end: bounds.map(|bounds| bounds.end),
                log_start: bounds.map(|bounds| bounds.start),
                position: cursor,
                fetch_position: Some(facts.next_offset),
                pending: cursor != Some(facts.next_offset),
                next_record_millis: facts.next_record_millis,
                drained_millis: self.drained_millis.get(&partition).copied(),
                now_millis,
            });
            if lag == Some(Lag::ZERO) {
                self.drained_millis.insert(partition, now_millis);
            }
            sum += lag.map_or(0, |lag| lag.records);
            let (applied, end) = (cursor.unwrap_or(0), bounds.map_or(0, |bounds| bounds.end));
            self.metrics.kafka.lag.set(partition, applied, end, lag);
        }
        for (kind, _) in self.topics.kinds() {
            if let Some(topic) = self.metrics.topic(kind) {
                let assigned = owned.keys().filter(|partition| partition.kind == kind).count();
                topic.assigned_partitions.set(assigned as i64);
            }
        }
        if !owned.is_empty() {
            self.unassigned_since = None;
            self.health.kafka_joined.hold();
        } else if !log.partitions.is_empty() {
            self.health.kafka_joined.fail("no partition is assigned to this process");
            self.say_unassigned();
        }
        sum
    }

    /// Says once why nothing is read, when that takes longer than joining a group does.
    fn say_unassigned(&mut self) {
        let (since, said) = self.unassigned_since.get_or_insert_with(|| (Instant::now(), false));
        if !*said && since.elapsed() >= PROGRESS {
            *said = true;
            info!(
                "no partition is assigned yet: the group waits for a member that died up to \
                 session.timeout.ms (45 s by default)"
            );
        }
    }

    fn say_progress(&mut self, lag_records: u64) {
        let merged = self.merged.records();
        let Some((since, before)) = self.said else {
            self.said = Some((Instant::now(), merged));
            return;
        };
        if since.elapsed() < PROGRESS {
            return;
        }
        self.said = Some((Instant::now(), merged));
        if lag_records >= CATCHING_UP_RECORDS {
            let per_second = (merged - before) as f64 / since.elapsed().as_secs_f64();
            let remaining =
                if per_second > 0.0 { lag_records as f64 / per_second } else { f64::NAN };
            info!(
                lag_records,
                records_per_second = per_second as u64,
                seconds_remaining = remaining as u64,
                "catching up"
            );
            if per_second == 0.0 {
                warn!(lag_records, "nothing was merged lately");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_backlog_is_noticed() {
        let mut backlog = Backlog::default();
        let looks = [
            ((0, 0), false),
            ((500_000, 1_500_000), false),
            ((1_500_000, 500_000), false),
            ((1_950_000, 50_000), true),
            ((2_000_000, 0), true),
            ((2_001_000, 400), true),
            // Live.
            ((2_002_000, 3_000), false),
            ((2_003_000, 0), false),
            // Behind again.
            ((2_003_000, 200_000), false),
            ((2_150_000, 60_000), true),
        ];
        for ((merged, lag), expected) in looks {
            assert_eq!(backlog.has_ended(merged, lag), expected, "{merged} {lag}");
        }
    }
}
