//! `nazar dead-letters`: what is in the dead-letter topic, by reason and topic.
//!
//! Reads the topic as it stands, from its beginning, without joining a group and without
//! committing: looking changes nothing. What is read are the headers that the daemon has added
//! (docs/EVENTS.md), so letters of other writers in the same topic are counted apart.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context, bail};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::Serialize;

use crate::config::Config;
use crate::pipeline::client::{self, UntilTheEnd};

/// Longest wait for one answer of a broker, and for the next record of a topic that has more.
const ANSWER_MAX: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(100);

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The dead-letter topic.
    pub topic: String,
    pub letters: u64,
    /// Most letters first.
    pub reasons: Vec<Line>,
    /// The end was not reached: a signal came before.
    pub is_partial: bool,
}

/// One reason in one topic.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// As in `nazar_events_malformed_total`, or `future`; `unknown` for letters of others.
    pub reason: String,
    /// The topic that the record was read from.
    pub topic: String,
    pub letters: u64,
    /// Kafka's time of the newest of these records, in milliseconds since 1970.
    pub newest_millis: Option<i64>,
    /// Where the last one read came from, `topic/partition@offset`, and what is wrong with it.
    pub example: String,
    pub message: String,
}

/// Reads the dead-letter topic up to its end as it is now, or until `stop`. Blocks.
///
/// # Errors
/// No topic is configured or there is none, or Kafka does not answer.
pub fn read(config: &Config, stop: &AtomicBool) -> anyhow::Result<Report> {
    let topic = &config.kafka.dead_letter_topic;
    if topic.is_empty() {
        bail!("kafka.dead_letter_topic is empty: rejects are counted only, see /metrics");
    }
    client::check_properties(&config.kafka)?;
    let consumer: BaseConsumer<UntilTheEnd> = client::lookup(&config.kafka)
        // librdkafka asks for a name; nothing joins under it.
        .set("group.id", format!("{}-dead-letters", config.kafka.group))
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .create_with_context(UntilTheEnd)
        .context("create a consumer")?;
    let mut ends = open_partitions(&consumer, topic)?;
    let mut lines: BTreeMap<(String, String), Line> = BTreeMap::new();
    let mut letters = 0;
    let mut heard = Instant::now();
    while !ends.is_empty() && !stop.load(Ordering::Relaxed) {
        match consumer.poll(POLL) {
            Some(Ok(record)) => {
                heard = Instant::now();
                let end = ends.get(&record.partition()).copied();
                if end.is_some_and(|end| record.offset() < end) {
                    letters += 1;
                    note(&mut lines, &record);
                }
                if end.is_some_and(|end| record.offset() + 1 >= end) {
                    ends.remove(&record.partition());
                }
            }
            // Also where the last offsets hold no record: a marker of a transaction, say.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                ends.remove(&partition);
            }
            Some(Err(error)) if heard.elapsed() >= ANSWER_MAX => {
                return Err(error).context("read the dead-letter topic");
            }
            None if heard.elapsed() >= ANSWER_MAX => bail!("Kafka sends no more dead letters"),
            Some(Err(_)) | None => {}
        }
    }
    let mut reasons: Vec<Line> = lines.into_values().collect();
    reasons.sort_by_key(|line| Reverse(line.letters));
    Ok(Report { topic: topic.clone(), letters, reasons, is_partial: !ends.is_empty() })
}

/// Assigns every partition that holds something, from its beginning; answers their ends.
fn open_partitions(
    consumer: &BaseConsumer<UntilTheEnd>,
    topic: &str,
) -> anyhow::Result<BTreeMap<i32, i64>> {
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER_MAX).context("ask Kafka")?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let Some(found) = found.filter(|found| found.error().is_none()) else {
        bail!("there is no topic {topic:?} (kafka.dead_letter_topic)");
    };
    let mut ends = BTreeMap::new();
    let mut assignment = TopicPartitionList::new();
    for partition in found.partitions() {
        let (low, high) = consumer
            .fetch_watermarks(topic, partition.id(), ANSWER_MAX)
            .with_context(|| format!("ask for the ends of {topic}/{}", partition.id()))?;
        if low < high {
            ends.insert(partition.id(), high);
            assignment.add_partition_offset(topic, partition.id(), Offset::Offset(low))?;
        }
    }
    consumer.assign(&assignment).context("assign the dead-letter topic")?;
    Ok(ends)
}

fn note(lines: &mut BTreeMap<(String, String), Line>, record: &BorrowedMessage<'_>) {
    let header = |name: &str| {
        let mut headers = record.headers().into_iter().flat_map(Headers::iter);
        // The daemon appends its headers to those that the record had.
        let found = headers.by_ref().filter(|header| header.key == name).last();
        found.and_then(|header| header.value).map(|value| {
            let text = String::from_utf8_lossy(value);
            text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>()
        })
    };
    let reason = header("nazar.error.reason").unwrap_or_else(|| "unknown".into());
    let topic = header("__connect.errors.topic").unwrap_or_else(|| "unknown".into());
    let line = lines.entry((reason.clone(), topic.clone())).or_insert_with(|| Line {
        reason,
        topic: topic.clone(),
        letters: 0,
        newest_millis: None,
        example: String::new(),
        message: String::new(),
    });
    line.letters += 1;
    line.newest_millis = line.newest_millis.max(record.timestamp().to_millis());
    let part = |name| header(name).unwrap_or_else(|| "?".into());
    let (partition, offset) = (part("__connect.errors.partition"), part("__connect.errors.offset"));
    line.example = format!("{topic}/{partition}@{offset}");
    line.message = part("__connect.errors.exception.message");
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, letters, reasons, is_partial } = self;
        if !reasons.is_empty() {
            let head = ["reason", "topic", "letters", "newest", "for example"].map(str::to_owned);
            let rows: Vec<[String; 5]> =
                std::iter::once(head).chain(reasons.iter().map(Line::row)).collect();
            let width = |column: usize| {
                rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
            };
            let widths = [0, 1, 2, 3].map(width);
            for [reason, topic, letters, newest, example] in &rows {
                let [a, b, c, d] = widths;
                writeln!(f, "{reason:a$}  {topic:b$}  {letters:>c$}  {newest:d$}  {example}")?;
            }
        }
        let so_far = if *is_partial { " so far" } else { "" };
        writeln!(f, "{letters} dead letters in {topic}{so_far}")
    }
}

impl Line {
    fn row(&self) -> [String; 5] {
        let time = |millis| {
            let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
            humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
        };
        [
            self.reason.clone(),
            self.topic.clone(),
            self.letters.to_string(),
            self.newest_millis.map_or_else(|| "-".into(), time),
            format!("{}: {}", self.example, self.message),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_table() {
        let line = |reason: &str, letters, newest_millis| Line {
            reason: reason.into(),
            topic: "click".into(),
            letters,
            newest_millis,
            example: "click/3@17".into(),
            message: "expected value".into(),
        };
        let report = Report {
            topic: "dead".into(),
            letters: 1205,
            reasons: vec![
                line("invalid_json", 1200, Some(1_700_000_000_123)),
                line("future", 5, None),
            ],
            is_partial: true,
        };
        insta::assert_snapshot!(report, @r"
        reason        topic  letters  newest                for example
        invalid_json  click     1200  2023-11-14T22:13:20Z  click/3@17: expected value
        future        click        5  -                     click/3@17: expected value
        1205 dead letters in dead so far
        ");
    }
}
