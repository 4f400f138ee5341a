//! Series that come and go: what is unknown or not ours any more has no series at all.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use prometheus::{Gauge, GaugeVec, IntGauge, IntGaugeVec};

use crate::event::Kind;
use crate::lag::Lag;
use crate::pipeline::delivery::Partition;
use crate::time::EventTime;

/// An instant that may not be known yet.
pub struct Timestamp {
    family: GaugeVec,
    label: Vec<String>,
}

impl Timestamp {
    pub(super) fn new(family: &GaugeVec, label: &[&str]) -> Self {
        let label = label.iter().map(|&value| value.to_owned()).collect();
        Self { family: family.clone(), label }
    }

    /// Shows the time; before any and after all events there is none to show.
    pub fn set(&self, time: EventTime) {
        if time > EventTime::MIN && time < EventTime::MAX {
            self.set_seconds(time.millis() as f64 / 1000.0);
        }
    }

    pub fn set_seconds(&self, seconds_since_epoch: f64) {
        self.family.with_label_values(&self.label).set(seconds_since_epoch);
    }
}

/// The name of a partition's topic, and its number, as label values.
pub(super) type TopicNames = HashMap<Kind, String>;

fn labels(topics: &TopicNames, partition: Partition) -> [String; 2] {
    let topic = topics.get(&partition.kind).map_or(partition.kind.name(), String::as_str);
    [topic.to_owned(), partition.index.to_string()]
}

/// Lag and offsets of the partitions that are assigned to this process, and of no other.
pub struct LagSeries {
    pub(super) topics: TopicNames,
    pub(super) records: IntGaugeVec,
    pub(super) seconds: GaugeVec,
    pub(super) applied_offset: IntGaugeVec,
    pub(super) end_offset: IntGaugeVec,
    /// Resolved once per assignment.
    pub(super) assigned: Mutex<HashMap<Partition, LagGauges>>,
}

pub(super) struct LagGauges {
    records: IntGauge,
    applied_offset: IntGauge,
    end_offset: IntGauge,
    seconds: Option<Gauge>,
}

impl LagSeries {
    /// Shows a partition's lag; `None` takes its series away until it is known.
    pub fn set(&self, partition: Partition, applied: i64, end: i64, lag: Option<Lag>) {
        let Some(lag) = lag else { return self.remove(partition) };
        let labels = labels(&self.topics, partition);
        let mut assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        let gauges = assigned.entry(partition).or_insert_with(|| LagGauges {
            records: self.records.with_label_values(&labels),
            applied_offset: self.applied_offset.with_label_values(&labels),
            end_offset: self.end_offset.with_label_values(&labels),
            seconds: None,
        });
        gauges.records.set(i64::try_from(lag.records).unwrap_or(i64::MAX));
        gauges.applied_offset.set(applied);
        gauges.end_offset.set(end);
        match lag.seconds {
            Some(seconds) => gauges
                .seconds
                .get_or_insert_with(|| self.seconds.with_label_values(&labels))
                .set(seconds),
            None if gauges.seconds.take().is_some() => {
                // It existed a moment ago, so removing it cannot fail.
                let _ = self.seconds.remove_label_values(&labels);
            }
            None => {}
        }
    }

    /// Takes the series of a partition away, at revocation or loss.
    pub fn remove(&self, partition: Partition) {
        let mut assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(gauges) = assigned.remove(&partition) else { return };
        let labels = labels(&self.topics, partition);
        for family in [&self.records, &self.applied_offset, &self.end_offset] {
            let _ = family.remove_label_values(&labels);
        }
        if gauges.seconds.is_some() {
            let _ = self.seconds.remove_label_values(&labels);
        }
    }

    /// Keeps the series of these partitions only.
    pub fn retain(&self, is_assigned: impl Fn(Partition) -> bool) {
        let assigned = self.assigned.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<Partition> =
            assigned.keys().copied().filter(|&partition| !is_assigned(partition)).collect();
        drop(assigned);
        gone.into_iter().for_each(|partition| self.remove(partition));
    }
}

/// The one partition that the group watermark waits for.
pub struct HeldBackBy {
    pub(super) topics: TopicNames,
    pub(super) family: IntGaugeVec,
    pub(super) shown: Mutex<Option<Partition>>,
}

impl HeldBackBy {
    pub fn set(&self, partition: Option<Partition>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown != partition {
            self.family.reset();
            *shown = partition;
        }
        if let Some(partition) = partition {
            self.family.with_label_values(&labels(&self.topics, partition)).set(1);
        }
    }
}
