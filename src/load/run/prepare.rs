//! What has to be known and to exist before the first record.

use rdkafka::consumer::BaseConsumer;

use super::RunOptions;
use crate::load::environment::Environment;
use crate::load::kafka;
use crate::load::replay::Replay;
use crate::load::run_file::{FORMAT, RunFile, RunTopic, State};
use crate::load::scenario::statement::Account;
use crate::load::traffic::Traffic;

/// Creates topics and notes where they end; the number of their partitions is filled in.
pub fn prepare(options: &RunOptions) -> anyhow::Result<(RunFile, Traffic)> {
    let mut traffic = options.traffic.clone();
    let kinds = traffic.kinds();
    let names: Vec<&str> = kinds.iter().map(|&kind| traffic.topic(kind)).collect();
    if let Some((partitions, replication)) = options.create {
        let mut topics: Vec<(&str, u32)> = names.iter().map(|&name| (name, partitions)).collect();
        topics.push((&traffic.dead_letter_topic, 1));
        options.cluster.create_topics(&topics, replication)?;
    }
    let consumer = options.cluster.consumer()?;
    let counts = kafka::partition_counts(&consumer, &names)?;
    let mut topics = Vec::new();
    for (&kind, &count) in kinds.iter().zip(&counts) {
        let topic = traffic.topic(kind).to_owned();
        let start_offsets = end_offsets(&consumer, &topic, count)?;
        let expected = Default::default();
        topics.push(RunTopic { kind, topic, start_offsets, end_offsets: Vec::new(), expected });
    }
    for (&kind, &count) in kinds.iter().zip(&counts) {
        traffic.workload.partitions[kind as usize] = count;
    }
    let run = RunFile {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        librdkafka: rdkafka::util::get_rdkafka_version().1,
        environment: Some(Environment::here()),
        state: State::Running,
        seed: traffic.workload.seed,
        rules: traffic.workload.rules,
        parameters: traffic.parameters.clone(),
        records: 0,
        digest: String::new(),
        topics,
        seconds: 0.0,
        events_per_second: 0.0,
        behind_max_ms: 0,
        replay: traffic.replay.as_ref().map(Replay::started_account),
        scenario: Account::before(&traffic),
        latency: None,
        validity: None,
        thresholds: Vec::new(),
        verify: None,
        verdict: None,
    };
    Ok((run, traffic))
}

/// The end of each partition's log.
pub fn end_offsets(
    consumer: &BaseConsumer,
    topic: &str,
    partitions: u32,
) -> anyhow::Result<Vec<i64>> {
    let bounds = kafka::log_bounds(consumer, topic, partitions)?;
    Ok(bounds.into_iter().map(|(_, end)| end).collect())
}
