//! What Kafka says before reading begins: topics, where to start, and whether the logs are those
//! that a checkpoint was read from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use tokio::sync::watch;

use super::publish::wall_clock_millis;
use super::resume::{Comparison, Cursors, Resume};
use super::{Parts, stopped};
use crate::config::Start;
use crate::pipeline::clock::Coverage;
use crate::pipeline::delivery::Partition;
use crate::pipeline::identity::check_cluster;
use crate::pipeline::offset::{At, Discovered, Lookup, LookupError, OffsetMap, until_answered};
use crate::pipeline::period::Period;
use crate::time::EventTime;

/// What Kafka says before reading begins.
pub struct Log {
    pub lookup: Lookup,
    pub discovered: Discovered,
    pub starts: Arc<OffsetMap>,
    pub ends: Option<Arc<OffsetMap>>,
    /// The time that was asked for, with `kafka.start = "window"` or for a period.
    window_from: Option<EventTime>,
    /// How the logs stand to the cursors of a checkpoint.
    pub resume: Resume,
    /// Where the brokers have one.
    pub cluster_id: Option<String>,
}

/// What a checkpoint knows of the logs.
pub struct Known {
    pub cluster_id: Option<String>,
    pub cursors: Cursors,
}

impl Log {
    /// Waits for Kafka and all topics; `None` when stopped meanwhile.
    pub async fn find(
        parts: &Parts,
        known: Known,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<Option<Log>> {
        let Parts { config, definitions, topics, health, options, .. } = parts;
        let (topics, options) = (topics.clone(), *options);
        let by_window = config.kafka.start == Start::Window;
        let period = options.period;
        let by_window = by_window || period.is_some();
        let from = period.map_or_else(
            || EventTime::from_millis(wall_clock_millis()) - definitions.reach_back(),
            |period| period.read_from(definitions),
        );
        let kafka = config.kafka.clone();
        let prefix = config.redis.prefix.clone();
        let stopping = Arc::new(AtomicBool::new(false));
        let seen = stopping.clone();
        let health = health.clone();
        let find = tokio::task::spawn_blocking(move || {
            let lookup = Lookup::new(&kafka, topics)?;
            let hear = |error: &LookupError| health.topics_present.fail(error.to_string());
            let discovered = lookup.wait_for_topics(&seen, hear)?;
            if !kafka.dead_letter_topic.is_empty() {
                // Found missing later, it would hold every partition that has a reject.
                let topic = &kafka.dead_letter_topic;
                until_answered(&seen, || lookup.require(topic).inspect_err(hear))?;
            }
            let cluster_id = lookup.cluster_id();
            check_cluster(known.cluster_id.as_deref(), cluster_id.as_deref(), &prefix)?;
            let leaders = &discovered.leaders;
            let (starts, resume) = if known.cursors.is_empty() {
                let ask = || match period {
                    Some(_) => lookup.offsets_before(leaders, from, Period::RECORDS_BEFORE),
                    None => lookup.start_offsets(&kafka, leaders, from),
                };
                let starts = until_answered(&seen, ask)?;
                (starts, Resume::default())
            } else {
                let mut comparison = Comparison::new(&known.cursors);
                let ask = || comparison.ask(&kafka, &lookup, leaders);
                let resume = until_answered(&seen, ask)?;
                (resume.starts(), resume)
            };
            let ends = if options.bounded {
                Some(Arc::new(until_answered(&seen, || lookup.offsets(leaders, At::End))?))
            } else {
                None
            };
            let (starts, window_from) = (Arc::new(starts), by_window.then_some(from));
            anyhow::Ok(Log { lookup, discovered, starts, ends, window_from, resume, cluster_id })
        });
        tokio::select! {
            found = find => found.context("looking for topics panicked")?.map(Some),
            () = stopped(stop) => {
                stopping.store(true, Ordering::Relaxed);
                Ok(None)
            }
        }
    }

    /// As a follower: waits for Kafka and all topics. Where reading goes on, the leader says,
    /// who reads `cluster_id`.
    pub async fn look(
        parts: &Parts,
        cluster_id: Option<String>,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<Option<(Lookup, Discovered)>> {
        let (kafka, topics) = (parts.config.kafka.clone(), parts.topics.clone());
        let health = parts.health.clone();
        let prefix = parts.config.redis.prefix.clone();
        let stopping = Arc::new(AtomicBool::new(false));
        let seen = stopping.clone();
        let look = tokio::task::spawn_blocking(move || {
            let lookup = Lookup::new(&kafka, topics)?;
            let hear = |error: &LookupError| health.topics_present.fail(error.to_string());
            let discovered = lookup.wait_for_topics(&seen, hear)?;
            check_cluster(cluster_id.as_deref(), lookup.cluster_id().as_deref(), &prefix)?;
            anyhow::Ok((lookup, discovered))
        });
        tokio::select! {
            found = look => found.context("looking for topics panicked")?.map(Some),
            () = stopped(stop) => {
                stopping.store(true, Ordering::Relaxed);
                Ok(None)
            }
        }
    }

    pub fn coverage(&self, partition: Partition, start: i64) -> Coverage {
        if self.resume.is_added(partition) {
            return Coverage::Everything;
        }
        match (start, self.window_from) {
            (0, _) => Coverage::Everything,
            (_, Some(from)) => Coverage::From(from),
            _ => Coverage::Unknown,
        }
    }
}
