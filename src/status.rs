//! `nazar status`: who writes, how far the views are, and what holds them back.
//!
//! Asks Redis and Kafka, not the daemon, so it works from anywhere and tells of a daemon that
//! is gone. Nothing is written.

mod partitions;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;

pub use partitions::PartitionStatus;
use partitions::Table;

use crate::config::Config;
use crate::pipeline::checkpoint::Manifest;
use crate::pipeline::delivery::Partition;
use crate::pipeline::offset::{At, Lookup, Topics};
use crate::sinks::redis::checkpoint::ManifestStore;
use crate::sinks::redis::holdings::{Standing, standing};

/// All times in milliseconds since 1970; `None`: not known (yet).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    pub prefix: String,
    pub leader: Option<String>,
    /// `None`: nobody holds the lease.
    pub lease_left_millis: Option<u64>,
    pub seq: Option<u64>,
    pub written_ago_millis: Option<i64>,
    pub stream_time: Option<i64>,
    pub group_watermark: Option<i64>,
    /// `topic/partition` with the least watermark.
    pub held_back_by: Option<String>,
    /// Why it does, as far as a checkpoint tells.
    pub held_back_because: Option<String>,
    pub is_complete: bool,
    pub missing: String,
    pub events_after_close: u64,
    pub over_cap: u64,
    /// A bounded run has ended here.
    pub has_ended: bool,
    pub windows: Vec<WindowStatus>,
    pub topics: Vec<TopicStatus>,
    /// As of the last checkpoint, those first that hold back the most.
    pub partitions: Vec<PartitionStatus>,
    pub checkpoint_ago_millis: Option<i64>,
    /// Why Kafka could not be asked.
    pub kafka_error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WindowStatus {
    pub window: String,
    /// The end of the latest views.
    pub end: Option<i64>,
    pub written_ago_millis: Option<i64>,
    pub closed_through: Option<i64>,
}

/// How far a topic's log goes beyond the newest latest views.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TopicStatus {
    pub topic: String,
    pub partitions: usize,
    pub records_behind: u64,
    /// `topic/partition` and its records, unless nothing is behind.
    pub most_behind: Option<(String, u64)>,
}

/// Next offset by `topic/partition`.
type Ends = BTreeMap<String, i64>;

/// Asks Redis, then Kafka. `None`: nothing has been written under the prefix.
///
/// # Errors
/// Redis does not answer. Kafka not answering is part of the status.
pub async fn ask(config: &Config) -> anyhow::Result<Option<Status>> {
    let Some(standing) = standing(&config.redis).await.context("ask Redis")? else {
        return Ok(None);
    };
    let definitions = config.definitions();
    let windows: Vec<String> =
        definitions.windows.iter().map(|window| window.label.clone()).collect();
    let mut manifests = ManifestStore::new(&config.redis, "")?;
    let manifest = manifests.read().await.context("read the checkpoint")?;
    let topics = Topics::new(&config.topics);
    let (kafka, asked) = (config.kafka.clone(), topics.clone());
    let ends = tokio::task::spawn_blocking(move || -> anyhow::Result<Ends> {
        let lookup = Lookup::new(&kafka, asked)?;
        let discovered = lookup.discover()?;
        let ends = lookup.offsets(&discovered.leaders, At::End)?;
        let name = |kind| lookup.topics().name(kind);
        Ok(ends.iter().map(|(id, &end)| (format!("{}/{}", name(id.kind), id.index), end)).collect())
    });
    let ends = ends.await.context("asking Kafka panicked")?.map_err(|error| format!("{error:#}"));
    let known_ends = ends.clone().unwrap_or_default();
    let mut status = Status::new(&config.redis.prefix, &windows, &standing, ends);
    // One of another version tells nothing; the rest of the status stands.
    if let Some(manifest) = manifest
        && let Ok(Manifest { cut, .. }) = Manifest::decode(&manifest.body)
    {
        let ago = (standing.now_millis - manifest.written_at_millis).max(0);
        let name = |id: Partition| format!("{}/{}", topics.name(id.kind), id.index);
        let rows = partitions::partitions(&cut, definitions.lateness, name, &known_ends);
        status.add_partitions(rows, ago);
    }
    Ok(Some(status))
}

impl Status {
    fn new(
        prefix: &str,
        windows: &[String],
        standing: &Standing,
        ends: Result<Ends, String>,
    ) -> Self {
        let text = |name: &str| standing.meta.get(name).filter(|text| !text.is_empty()).cloned();
        let number = |name: &str| text(name).and_then(|text| text.parse::<i64>().ok());
        let count = |name: &str| number(name).and_then(|n| u64::try_from(n).ok());
        let ago = |name: &str| number(name).map(|millis| (standing.now_millis - millis).max(0));
        let newest = windows.iter().max_by_key(|window| number(&format!("flushed_at:{window}")));
        let merged = newest.and_then(|window| text(&format!("offsets:{window}")));
        Status {
            prefix: prefix.to_owned(),
            leader: text("leader"),
            lease_left_millis: standing.lease_left_millis,
            seq: count("seq"),
            written_ago_millis: ago("flushed_at"),
            stream_time: number("stream_time"),
            group_watermark: number("group_watermark"),
            held_back_by: text("held_back_by"),
            held_back_because: None,
            is_complete: number("complete") == Some(1),
            missing: text("missing").unwrap_or_default(),
            events_after_close: count("events_after_close").unwrap_or(0),
            over_cap: count("over_cap").unwrap_or(0),
            has_ended: number("ended") == Some(1),
            windows: windows
                .iter()
                .map(|window| WindowStatus {
                    window: window.clone(),
                    end: number(&format!("window_end:{window}")),
                    written_ago_millis: ago(&format!("flushed_at:{window}")),
                    closed_through: number(&format!("closed_through:{window}")),
                })
                .collect(),
            partitions: Vec::new(),
            checkpoint_ago_millis: None,
            kafka_error: ends.as_ref().err().cloned(),
            topics: behind(&ends.unwrap_or_default(), &offsets(&merged.unwrap_or_default())),
        }
    }
}

impl Status {
    fn add_partitions(&mut self, rows: Vec<PartitionStatus>, checkpoint_ago_millis: i64) {
        let holder = rows.iter().find(|row| Some(&row.partition) == self.held_back_by.as_ref());
        self.held_back_because =
            holder.filter(|_| self.kafka_error.is_none()).map(PartitionStatus::reason);
        self.partitions = rows;
        self.checkpoint_ago_millis = Some(checkpoint_ago_millis);
    }
}

/// `topic/partition=offset,…`
fn offsets(text: &str) -> Ends {
    let parse = |part: &str| {
        let (partition, offset) = part.split_once('=')?;
        Some((partition.to_owned(), offset.parse().ok()?))
    };
    text.split(',').filter_map(parse).collect()
}

fn behind(ends: &Ends, merged: &Ends) -> Vec<TopicStatus> {
    let mut topics: BTreeMap<&str, TopicStatus> = BTreeMap::new();
    for (partition, end) in ends {
        let topic = partition.rsplit_once('/').map_or(&**partition, |(topic, _)| topic);
        let records = merged.get(partition).map_or(0, |merged| (end - merged).max(0)) as u64;
        let status = topics.entry(topic).or_default();
        status.topic = topic.to_owned();
        status.partitions += 1;
        status.records_behind += records;
        if records > status.most_behind.as_ref().map_or(0, |most| most.1) {
            status.most_behind = Some((partition.clone(), records));
        }
    }
    topics.into_values().collect()
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let writer = match (&self.leader, self.lease_left_millis, self.has_ended) {
            (_, _, true) => "nobody: a bounded run has ended here".to_owned(),
            (Some(leader), Some(left), _) => {
                format!("{leader}, lease {} left", seconds(left as i64))
            }
            (Some(leader), None, _) => format!("nobody; the last was {leader}"),
            (None, ..) => "unknown".to_owned(),
        };
        writeln!(f, "prefix      {}", self.prefix)?;
        writeln!(f, "writer      {writer}")?;
        let seq = self.seq.map_or_else(|| "-".into(), |seq| seq.to_string());
        writeln!(f, "written     {}, seq {seq}", ago(self.written_ago_millis))?;
        writeln!(f, "stream time {}", time(self.stream_time))?;
        write!(f, "closed up to {}", time(self.group_watermark))?;
        if let (Some(stream_time), Some(watermark)) = (self.stream_time, self.group_watermark) {
            write!(f, ", {} behind stream time", seconds(stream_time - watermark))?;
        }
        if let Some(partition) = &self.held_back_by {
            write!(f, ", least in {partition}")?;
        }
        writeln!(f)?;
        if let (Some(partition), Some(reason)) = (&self.held_back_by, &self.held_back_because) {
            writeln!(f, "held back   by {partition}: {reason}")?;
        }
        let missing = if self.missing.is_empty() { "" } else { ", without " };
        let complete = if self.is_complete { "complete" } else { "not complete" };
        writeln!(f, "views       {complete}{missing}{}", self.missing)?;
        writeln!(
            f,
            "counted     {} events after close, {} increments over a cap",
            self.events_after_close, self.over_cap
        )?;
        writeln!(f, "\n{:8}{:22}{:14}closed until", "window", "latest until", "written")?;
        for window in &self.windows {
            let (end, written) = (time(window.end), ago(window.written_ago_millis));
            let closed = time(window.closed_through);
            writeln!(f, "{:8}{end:22}{written:14}{closed}", window.window)?;
        }
        if let Some(error) = &self.kafka_error {
            writeln!(f, "\nKafka could not be asked: {error}")?;
        }
        if !self.topics.is_empty() {
            self.write_topics(f)?;
        }
        let Self { partitions: rows, checkpoint_ago_millis, has_ended, .. } = self;
        if *has_ended {
            return Ok(());
        }
        Table { rows, checkpoint_ago_millis: *checkpoint_ago_millis }.fmt(f)
    }
}

impl Status {
    fn write_topics(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = self.topics.iter().map(|topic| topic.topic.len()).max().unwrap_or(0).max(8);
        writeln!(f, "\n{:wide$}  partitions  records behind", "topic")?;
        for TopicStatus { topic, partitions, records_behind, most_behind } in &self.topics {
            write!(f, "{topic:wide$}  {partitions:>10}  {records_behind:>14}")?;
            if let Some((partition, records)) = most_behind {
                write!(f, "  most in {partition}: {records}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

fn time(millis: Option<i64>) -> String {
    let Some(millis) = millis.and_then(|millis| u64::try_from(millis).ok()) else {
        return "-".into();
    };
    let seconds = Duration::from_secs(millis / 1000);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + seconds).to_string()
}

fn ago(millis: Option<i64>) -> String {
    millis.map_or_else(|| "never".into(), |millis| format!("{} ago", seconds(millis)))
}

fn seconds(millis: i64) -> String {
    format!("{:.1}s", millis as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(fields: &[(&str, &str)], lease_left_millis: Option<u64>) -> Standing {
        let meta = fields.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        Standing { meta, lease_left_millis, now_millis: 1_700_000_010_000 }
    }

    #[test]
    fn a_status_says_who_writes_and_what_is_behind() {
        let fields = [
            ("leader", "0af3"),
            ("seq", "77"),
            ("flushed_at", "1700000009600"),
            ("stream_time", "1700000009000"),
            ("group_watermark", "1699999949000"),
            ("held_back_by", "click/1"),
            ("complete", "0"),
            ("missing", "click/2"),
            ("events_after_close", "3"),
            ("over_cap", "0"),
            ("flushed_at:1m", "1700000009600"),
            ("window_end:1m", "1700000010000"),
            ("closed_through:1m", "1699999920000"),
            ("offsets:1m", "click/0=100,click/1=40,purchase/0=7"),
            ("flushed_at:1h", "1700000000000"),
            ("offsets:1h", "click/0=0,click/1=0,purchase/0=0"),
        ];
        let ends = [("click/0", 105), ("click/1", 60), ("purchase/0", 7), ("purchase/1", 9)];
        let ends = ends.map(|(partition, end)| (partition.to_owned(), end)).into();
        let windows = ["1m".to_owned(), "1h".to_owned()];
        let mut status = Status::new("nazar", &windows, &standing(&fields, Some(8100)), Ok(ends));
        let row = |partition: &str, behind| PartitionStatus {
            partition: partition.into(),
            cursor: 40,
            records_behind: Some(behind),
            watermark: Some(1_699_999_949_000),
            lets_close: Some(1_699_999_949_000),
            quiet_at: None,
        };
        status.add_partitions(vec![row("click/1", 20), row("click/0", 0)], 2500);
        insta::assert_snapshot!(status, @r#"
        prefix      nazar
        writer      0af3, lease 8.1s left
        written     0.4s ago, seq 77
        stream time 2023-11-14T22:13:29Z
        closed up to 2023-11-14T22:12:29Z, 60.0s behind stream time, least in click/1
        held back   by click/1: 20 records of it are not merged
        views       not complete, without click/2
        counted     3 events after close, 0 increments over a cap

        window  latest until          written       closed until
        1m      2023-11-14T22:13:30Z  0.4s ago      2023-11-14T22:12:00Z
        1h      -                     10.0s ago     -

        topic     partitions  records behind
        click              2              25  most in click/1: 20
        purchase           2               0

        partition        cursor    behind  watermark             lets close until
        click/1              40        20  2023-11-14T22:12:29Z  2023-11-14T22:12:29Z
        click/0              40         0  2023-11-14T22:12:29Z  2023-11-14T22:12:29Z
        (as of the checkpoint, 2.5s ago)
        "#);
    }

    #[test]
    fn without_a_writer_and_without_kafka_it_says_so() {
        let held = standing(&[("leader", "0af3")], None);
        let status = Status::new("nazar", &[], &held, Err("timed out".into()));
        insta::assert_snapshot!(status, @r#"
        prefix      nazar
        writer      nobody; the last was 0af3
        written     never, seq -
        stream time -
        closed up to -
        views       not complete
        counted     0 events after close, 0 increments over a cap

        window  latest until          written       closed until

        Kafka could not be asked: timed out

        no checkpoint tells of the partitions
        "#);
    }
}
