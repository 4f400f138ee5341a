//! What the broker knows of the log: topics, partitions, and where each log starts and ends.
//!
//! Offsets are those of the next record: a start is inclusive, an end exclusive. The end of a
//! log is its high watermark, never the last stable offset: an open transaction does not make
//! a partition look finished.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset;
use tracing::{info, warn};

use crate::config::{KafkaConfig, Start, TopicsConfig};
use crate::event::Kind;
use crate::pipeline::client;
use crate::pipeline::delivery::Partition;
use crate::pipeline::rebalance::SourceContext;
use crate::time::EventTime;

/// How long one question may take. A frozen broker costs this much per round.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Pause between attempts while the broker or a topic is missing.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// If `topic.metadata.refresh.interval.ms` turns librdkafka's refresh off, ours goes on.
const METADATA_MILLIS: u64 = 30_000;

/// Offsets by partition.
pub type OffsetMap = BTreeMap<Partition, i64>;

/// The configured topics, one per kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    names: Vec<(Kind, String)>,
}

impl Topics {
    /// A kind with an empty topic name is turned off.
    pub fn new(config: &TopicsConfig) -> Self {
        let names = [
            (Kind::Click, &config.click),
            (Kind::Wishlist, &config.wishlist),
            (Kind::Purchase, &config.purchase),
            (Kind::OrderStatus, &config.order_status),
        ];
        let configured = names.into_iter().filter(|(_, name)| !name.is_empty());
        Self { names: configured.map(|(kind, name)| (kind, name.clone())).collect() }
    }

    /// The kinds that are on, with their topics.
    pub fn kinds(&self) -> impl Iterator<Item = (Kind, &str)> {
        self.names.iter().map(|(kind, name)| (*kind, name.as_str()))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(_, name)| name.as_str())
    }

    /// The topic that carries `kind`; empty if the kind is turned off.
    pub fn name(&self, kind: Kind) -> &str {
        self.names.iter().find(|(of, _)| *of == kind).map_or("", |(_, name)| name)
    }

    pub fn partition(&self, topic: &str, index: i32) -> Option<Partition> {
        let (kind, _) = self.names.iter().find(|(_, name)| name == topic)?;
        Some(Partition { kind: *kind, index })
    }

    /// A librdkafka list of partitions, each with an offset.
    pub fn list(
        &self,
        offsets: impl IntoIterator<Item = (Partition, Offset)>,
    ) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            let mut element = list.add_partition(self.name(partition.kind), partition.index);
            // Only offsets that cannot be written as a number are refused: we make none.
            let _ = element.set_offset(offset);
        }
        list
    }
}

/// Where to look in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The first record that has not been deleted.
    Start,
    /// Past the last record.
    End,
    /// The first record whose Kafka time is not before this.
    Time(EventTime),
}

/// What metadata says of the configured topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovered {
    /// Every partition with the broker that leads it; −1 while none does.
    pub leaders: BTreeMap<Partition, i32>,
    /// Topics that do not exist (or may not be seen), with the broker's reason.
    pub missing: Vec<(String, String)>,
    /// Of the missing: those that a broker says do not exist.
    pub unknown: BTreeSet<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("ask Kafka: {0}")]
    Kafka(#[from] KafkaError),
    #[error("ask Kafka for {topic}/{index}: {source}")]
    Partition { topic: String, index: i32, source: KafkaError },
    #[error(
        "this broker does not find offsets by time: a backfill is not possible, and kafka.start has to be earliest, committed or latest"
    )]
    NoOffsetsByTime,
    #[error("the logs do not say whether they are those that were read before")]
    Unanswered,
    #[error("missing topics: {0}")]
    Missing(String),
    #[error("stopped")]
    Stopped,
}

/// Asks the broker about topics and offsets. Every call blocks for a bounded time.
pub struct Lookup {
    client: BaseConsumer<SourceContext>,
    topics: Topics,
    metadata_interval: Duration,
}

impl Lookup {
    pub fn new(kafka: &KafkaConfig, topics: Topics) -> Result<Self, KafkaError> {
        let config = client::lookup(kafka);
        let millis = config.get("topic.metadata.refresh.interval.ms").and_then(|v| v.parse().ok());
        let metadata_interval = Duration::from_millis(millis.unwrap_or(METADATA_MILLIS));
        let client = config.create_with_context(SourceContext::default())?;
        Ok(Self { client, topics, metadata_interval })
    }

    /// How often metadata is to be asked for, as the clients do.
    pub fn metadata_interval(&self) -> Duration {
        self.metadata_interval
    }

    pub fn topics(&self) -> &Topics {
        &self.topics
    }

    pub fn discover(&self) -> Result<Discovered, KafkaError> {
        self.drain_events();
        let mut discovered = Discovered::default();
        for (kind, name) in &self.topics.names {
            let metadata = self.client.fetch_metadata(Some(name), ANSWER_TIMEOUT)?;
            for topic in metadata.topics().iter().filter(|topic| topic.name() == name) {
                if let Some(error) = topic.error() {
                    let code = RDKafkaErrorCode::from(error);
                    if code == RDKafkaErrorCode::UnknownTopicOrPartition {
                        discovered.unknown.insert(name.clone());
                    }
                    discovered.missing.push((name.clone(), code.to_string()));
                }
                for partition in topic.partitions() {
                    let id = Partition { kind: *kind, index: partition.id() };
                    discovered.leaders.insert(id, partition.leader());
                }
            }
        }
        Ok(discovered)
    }

    /// The cluster's own name for itself. `None` from brokers that have none.
    pub fn cluster_id(&self) -> Option<String> {
        self.drain_events();
        self.client.client().fetch_cluster_id(ANSWER_TIMEOUT)
    }

    /// Succeeds if a topic exists that records are written to.
    pub fn require(&self, topic: &str) -> Result<(), LookupError> {
        self.drain_events();
        let metadata = self.client.fetch_metadata(Some(topic), ANSWER_TIMEOUT)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        match found.map(|found| found.error()) {
            Some(None) => Ok(()),
            Some(Some(error)) => {
                let reason = RDKafkaErrorCode::from(error);
                Err(LookupError::Missing(format!("{topic} ({reason})")))
            }
            None => Err(LookupError::Missing(topic.to_owned())),
        }
    }

    /// Offsets of all partitions that one broker leads, in one request. A partition without
    /// such an offset (no record that late) is not in the answer.
    pub fn offsets_of_leader(
        &self,
        partitions: &[Partition],
        at: At,
    ) -> Result<OffsetMap, LookupError> {
        if partitions.is_empty() {
            return Ok(OffsetMap::new());
        }
        self.drain_events();
        let asked = match at {
            At::Start => Offset::Beginning,
            At::End => Offset::End,
            At::Time(time) => Offset::Offset(time.millis().max(0)),
        };
        let list = self.topics.list(partitions.iter().map(|&partition| (partition, asked)));
        let answer = self.client.offsets_for_times(list, ANSWER_TIMEOUT)?;
        let mut offsets = OffsetMap::new();
        for element in answer.elements() {
            let (topic, index) = (element.topic(), element.partition());
            element.error().map_err(|source| LookupError::Partition {
                topic: topic.to_owned(),
                index,
                source,
            })?;
            if let (Some(partition), Offset::Offset(offset)) =
                (self.topics.partition(topic, index), element.offset())
            {
                offsets.insert(partition, offset);
            }
        }
        Ok(offsets)
    }

    /// Errors of the client pile up until they are polled.
    fn drain_events(&self) {
        for _ in 0..1000 {
            if self.client.poll(Duration::ZERO).is_none() {
                break;
            }
        }
    }

    /// Offsets of partitions whoever leads them: one request per leader, all of which must answer.
    pub fn offsets(
        &self,
        leaders: &BTreeMap<Partition, i32>,
        at: At,
    ) -> Result<OffsetMap, LookupError> {
        let mut offsets = OffsetMap::new();
        for partitions in by_leader(leaders).values() {
            offsets.extend(self.offsets_of_leader(partitions, at)?);
        }
        Ok(offsets)
    }

    /// What the group has committed; partitions without a commit are not in the answer.
    pub fn committed(
        &self,
        kafka: &KafkaConfig,
        partitions: impl IntoIterator<Item = Partition>,
    ) -> Result<OffsetMap, LookupError> {
        let member: BaseConsumer = client::lookup(kafka).set("group.id", &kafka.group).create()?;
        let list = self.topics.list(partitions.into_iter().map(|id| (id, Offset::Invalid)));
        let committed = member.committed_offsets(list, ANSWER_TIMEOUT)?;
        let known = committed.elements().into_iter().filter_map(|element| {
            let partition = self.topics.partition(element.topic(), element.partition())?;
            match element.offset() {
                Offset::Offset(offset) => Some((partition, offset)),
                _ => None,
            }
        });
        Ok(known.collect())
    }

    /// Where each partition is first read from; partitions added later begin at 0. A group's
    /// coordinator may take a while to answer, so ask with [`until_answered`]. `window_from` is the time from which on the
    /// longest window needs records.
    pub fn start_offsets(
        &self,
        kafka: &KafkaConfig,
        leaders: &BTreeMap<Partition, i32>,
        window_from: EventTime,
    ) -> Result<OffsetMap, LookupError> {
        let log_start = || self.offsets(leaders, At::Start);
        match kafka.start {
            Start::Earliest => log_start(),
            Start::Latest => self.offsets(leaders, At::End),
            Start::Committed => {
                let mut offsets = log_start()?;
                offsets.extend(self.committed(kafka, leaders.keys().copied())?);
                Ok(offsets)
            }
            Start::Window => self.offsets_from(leaders, window_from),
        }
    }

    /// So many records before the first at or after `time`, as far as the log has them.
    pub fn offsets_before(
        &self,
        leaders: &BTreeMap<Partition, i32>,
        time: EventTime,
        records: i64,
    ) -> Result<OffsetMap, LookupError> {
        let log_starts = self.offsets(leaders, At::Start)?;
        let mut offsets = self.offsets_from(leaders, time)?;
        for (partition, offset) in &mut offsets {
            let log_start = log_starts.get(partition).copied().unwrap_or(0);
            *offset = (*offset - records).max(log_start).min(*offset);
        }
        Ok(offsets)
    }

    /// The first record at or after `time`, or the end of a log that has none.
    fn offsets_from(
        &self,
        leaders: &BTreeMap<Partition, i32>,
        time: EventTime,
    ) -> Result<OffsetMap, LookupError> {
        // The end is asked first: a record that arrives in between is not skipped.
        let starts = self.offsets(leaders, At::Start)?;
        let ends = self.offsets(leaders, At::End)?;
        let found = self.offsets(leaders, At::Time(time))?;
        let none_found: BTreeMap<Partition, i32> = leaders
            .iter()
            .filter(|(id, _)| !found.contains_key(id) && starts.get(id) < ends.get(id))
            .map(|(&id, &leader)| (id, leader))
            .collect();
        // A broker that cannot look up times finds nothing, however far back it is asked.
        if !none_found.is_empty()
            && self.offsets(&none_found, At::Time(EventTime::from_millis(0)))?.is_empty()
        {
            return Err(LookupError::NoOffsetsByTime);
        }
        let mut offsets = ends;
        offsets.extend(found);
        Ok(offsets)
    }

    /// Waits until the broker answers and every configured topic exists with all its leaders.
    /// Each change of what is missing is logged once; `hear` is told it with every attempt.
    pub fn wait_for_topics(
        &self,
        stop: &AtomicBool,
        hear: impl Fn(&LookupError),
    ) -> Result<Discovered, LookupError> {
        let discovered = until_answered(stop, || self.discover_all().inspect_err(&hear))?;
        info!(partitions = discovered.leaders.len(), "all topics are there");
        Ok(discovered)
    }

    fn discover_all(&self) -> Result<Discovered, LookupError> {
        let discovered = self.discover()?;
        let missing = missing(&self.topics, &discovered);
        if missing.is_empty() { Ok(discovered) } else { Err(LookupError::Missing(missing)) }
    }
}

/// Repeats a question until it is answered, or until it never will be. Each change of what
/// stands in the way is logged once.
pub fn until_answered<T>(
    stop: &AtomicBool,
    mut ask: impl FnMut() -> Result<T, LookupError>,
) -> Result<T, LookupError> {
    let (mut pause, mut said) = (RETRY_MIN, String::new());
    loop {
        match ask() {
            Ok(answer) => return Ok(answer),
            Err(error @ LookupError::NoOffsetsByTime) => return Err(error),
            Err(error) => {
                let text = error.to_string();
                if text != said {
                    warn!(reason = text, "waiting for Kafka");
                    said = text;
                }
            }
        }
        let resume = Instant::now() + pause;
        while Instant::now() < resume {
            if stop.load(Ordering::Relaxed) {
                return Err(LookupError::Stopped);
            }
            thread::sleep(Duration::from_millis(20));
        }
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// Partitions by the broker that leads them; those without a leader are left out.
pub fn by_leader(leaders: &BTreeMap<Partition, i32>) -> BTreeMap<i32, Vec<Partition>> {
    let mut groups = BTreeMap::<i32, Vec<Partition>>::new();
    for (&partition, &leader) in leaders.iter().filter(|(_, leader)| **leader >= 0) {
        groups.entry(leader).or_default().push(partition);
    }
    groups
}

/// What is not there yet, in words; empty if nothing is missing.
fn missing(topics: &Topics, discovered: &Discovered) -> String {
    let absent = discovered.missing.iter().map(|(name, reason)| format!("{name} ({reason})"));
    let leaderless: BTreeSet<String> = discovered
        .leaders
        .iter()
        .filter(|(_, leader)| **leader < 0)
        .map(|(id, _)| format!("{}/{} (no leader)", topics.name(id.kind), id.index))
        .collect();
    absent.chain(leaderless).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics() -> Topics {
        Topics::new(&TopicsConfig {
            click: "click".into(),
            wishlist: "wish".into(),
            purchase: "buy".into(),
            order_status: String::new(),
        })
    }

    #[test]
    fn a_kind_without_a_topic_is_off() {
        let topics = topics();
        assert_eq!(topics.names().collect::<Vec<_>>(), ["click", "wish", "buy"]);
        assert_eq!(topics.name(Kind::OrderStatus), "");
        assert_eq!(topics.partition("buy", 3), Some(Partition { kind: Kind::Purchase, index: 3 }));
        assert_eq!(topics.partition("other", 0), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        let click = |index| Partition { kind: Kind::Click, index };
        let mut discovered = Discovered::default();
        discovered.leaders.extend([(click(0), 1), (click(1), -1), (click(2), 1)]);
        discovered.missing.push(("buy".into(), "unknown".into()));
        assert_eq!(missing(&topics(), &discovered), "buy (unknown), click/1 (no leader)");
        assert_eq!(by_leader(&discovered.leaders), [(1, vec![click(0), click(2)])].into());
    }
}
