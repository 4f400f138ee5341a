//! Reading the log back and judging it: which part of each partition, and several at a time.

use anyhow::Context;

use super::kafka::{self, Cluster, Range};
use super::ledger::Counts;
use super::oracle::definitions::Definitions;
use super::oracle::facts::Facts;
use super::oracle::judge::{Judge, Verdict};
use super::oracle::{join, threads};
use super::reconcile::TopicRead;
use super::run_file::RunFile;

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
    for (_, topic) in definitions.topics() {
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
            ranges.push(Range { topic: topic.to_owned(), partition, from: from.max(first), to });
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

/// Reads and judges all partitions, on several threads: a partition is judged by its own log alone.
pub fn read_log(
    cluster: &Cluster,
    definitions: &Definitions,
    ranges: &[Range],
) -> anyhow::Result<(Facts, Vec<TopicRead>)> {
    let threads = threads();
    let parts = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                let mine: Vec<&Range> = ranges.iter().skip(first).step_by(threads).collect();
                scope.spawn(move || read_part(cluster, definitions, &mine))
            })
            .collect();
        workers.into_iter().map(|worker| join(worker)?).collect::<anyhow::Result<Vec<_>>>()
    })?;
    let mut topics: Vec<TopicRead> = definitions
        .topics()
        .into_iter()
        .map(|(kind, topic)| {
            let of_topic = ranges.iter().filter(|range| range.topic == topic);
            let offsets: i64 = of_topic.map(|range| range.to - range.from).sum();
            TopicRead {
                kind,
                topic: topic.to_owned(),
                offsets: u64::try_from(offsets).unwrap_or(0),
                counts: Counts::default(),
            }
        })
        .collect();
    let mut facts = Facts::new(definitions);
    for (part, counts) in parts {
        for (trace, counts) in part.partitions.iter().zip(counts) {
            let topic = topics.iter_mut().find(|topic| topic.topic == trace.topic);
            topic.into_iter().for_each(|topic| topic.counts += counts);
        }
        facts.append(part);
    }
    facts.sort();
    Ok((facts, topics))
}

/// The facts of some partitions, and the counts of each.
fn read_part(
    cluster: &Cluster,
    definitions: &Definitions,
    ranges: &[&Range],
) -> anyhow::Result<(Facts, Vec<Counts>)> {
    let mut facts = Facts::new(definitions);
    let mut counts = vec![Counts::default(); ranges.len()];
    let kind_of = |topic: &str| definitions.topics().into_iter().find(|(_, name)| *name == topic);
    let mut judges = Vec::with_capacity(ranges.len());
    for range in ranges {
        let (kind, _) = kind_of(&range.topic).context("find the kind of a topic")?;
        let partition = facts.add_partition(&range.topic, range.partition);
        judges.push((Judge::new(definitions, kind), partition));
    }
    kafka::read_ranges(&cluster.consumer()?, ranges, |at, record| {
        let (judge, partition) = &mut judges[at];
        let verdict = judge.judge(&record);
        counts[at][verdict.reason()] += 1;
        facts.note_newest(*partition, record.offset, judge.newest());
        if let Verdict::Applied(valid) = &verdict {
            facts.push(*partition, record.offset, valid);
        }
    })?;
    Ok((facts, counts))
}
