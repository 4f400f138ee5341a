//! Reading the log back and judging it: which part of each partition, and several at a time.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::kafka::{self, Cluster};
use super::kind::Kind;
use super::ledger::Counts;
use super::oracle::definitions::Definitions;
use super::oracle::facts::Facts;
use super::oracle::judge::{Judge, Verdict};
use super::oracle::{join, threads};
use super::reconcile::TopicRead;
use super::run_file::RunFile;

/// The part of one partition's log that is judged.
#[derive(Clone, Debug)]
pub struct Range {
    pub kind: Kind,
    pub topic: String,
    pub partition: u32,
    pub from: i64,
    pub to: i64,
}

/// From where the run began, or the log; to where the run ended, or the log. Says in `notes`
/// what of it is gone or was added.
pub fn ranges(
    cluster: &Cluster,
    from_start: bool,
    run: &RunFile,
    definitions: &Definitions,
    notes: &mut Vec<String>,
) -> anyhow::Result<Vec<Range>> {
    let consumer = cluster.consumer()?;
    let mut ranges = Vec::new();
    for (kind, topic) in definitions.topics() {
        let partitions = kafka::partition_counts(&consumer, &[topic])?[0];
        let bounds = kafka::log_bounds(&consumer, topic, partitions)?;
        let written = run.topics.iter().find(|written| written.topic == topic);
        let (mut lost, mut beyond) = (0, 0);
        for (partition, (first, end)) in (0..partitions).zip(bounds) {
            let at = partition as usize;
            let wanted = written.filter(|_| !from_start);
            let from = wanted.and_then(|run| run.start_offsets.get(at)).copied().unwrap_or(first);
            let to = written.and_then(|run| run.end_offsets.get(at)).copied().unwrap_or(end);
            lost += (first - from).max(0);
            beyond += (end - to).max(0);
            ranges.push(Range {
                kind,
                topic: topic.to_owned(),
                partition,
                from: from.max(first),
                to,
            });
        }
        if lost > 0 {
            notes.push(format!("{topic}: the broker no longer has {lost} records of the run"));
        }
        if beyond > 0 {
            notes.push(format!(
                "{topic}: {beyond} records were written after the run; they are not read"
            ));
        }
    }
    Ok(ranges)
}

/// Reads and judges all partitions, several at a time: a partition is judged by its own log alone.
pub fn read_log(
    cluster: &Cluster,
    definitions: &Definitions,
    ranges: &[Range],
) -> anyhow::Result<(Facts, Vec<TopicRead>)> {
    let next = AtomicUsize::new(0);
    let worker = || -> anyhow::Result<Vec<(usize, Facts, Counts)>> {
        let consumer = cluster.consumer()?;
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(range) = ranges.get(at) else { return Ok(done) };
            let mut facts = Facts::new(definitions);
            let mut counts = Counts::default();
            let mut judge = Judge::new(definitions, range.kind);
            facts.begin_partition(&range.topic, range.partition);
            let bounds = (range.from, range.to);
            kafka::read_partition(&consumer, &range.topic, range.partition, bounds, |record| {
                let verdict = judge.judge(&record);
                counts[verdict.reason()] += 1;
                facts.note_newest(record.offset, judge.newest());
                if let Verdict::Applied(valid) = &verdict {
                    facts.push(record.offset, valid);
                }
            })?;
            done.push((at, facts, counts));
        }
    };
    let mut parts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads()).map(|_| scope.spawn(worker)).collect();
        let mut parts = Vec::new();
        for worker in workers {
            parts.extend(join(worker)??);
        }
        anyhow::Ok(parts)
    })?;
    parts.sort_by_key(|&(at, ..)| at);

    let mut facts = Facts::new(definitions);
    let mut topics: Vec<TopicRead> = definitions
        .topics()
        .into_iter()
        .map(|(kind, topic)| TopicRead {
            kind,
            topic: topic.to_owned(),
            offsets: 0,
            counts: Counts::default(),
        })
        .collect();
    for (at, part, counts) in parts {
        facts.append(part);
        if let Some(topic) = topics.iter_mut().find(|topic| topic.topic == ranges[at].topic) {
            topic.offsets += u64::try_from(ranges[at].to - ranges[at].from).unwrap_or(0);
            topic.counts += counts;
        }
    }
    facts.sort();
    Ok((facts, topics))
}
