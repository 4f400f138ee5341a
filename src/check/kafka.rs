//! Asks Kafka, with the clients that a run would use.
//!
//! librdkafka's questions block, so they are asked on a thread of their own, which hands each
//! finding over as it comes: whatever is known when the time is up is in the report.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, OwnedResourceSpecifier, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::topic::{self, Needs, TopicSettings};
use super::{ANSWERS_MAX, Finding, Section, counted, grouped};
use crate::config::{Config, Start};
use crate::event::Kind;
use crate::pipeline::client;
use crate::pipeline::delivery::Partition;
use crate::pipeline::offset::{At, Discovered, Lookup, LookupError, OffsetMap, Topics};
use crate::time::EventTime;

/// One answer. A cluster that needs longer will not do for a stream either.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Pause before a question is asked again that could not be answered just then.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How long the reasons for a failure may take to arrive after it.
const REASONS_MAX: Duration = Duration::from_millis(300);

pub async fn section(config: &Config, now: EventTime) -> Section {
    let (said, mut heard) = unbounded_channel();
    let (copy, handle) = (config.clone(), Handle::current());
    let started = thread::Builder::new().name("check-kafka".into()).spawn(move || {
        let asking = Asking { config: &copy, topics: Topics::new(&copy.topics), said, handle };
        // What cut it short has been said.
        let _ = asking.ask(now);
    });
    let mut findings = Vec::new();
    if let Err(error) = started {
        findings.push(Finding::fail("kafka", format!("start a thread: {error}"), ""));
    }
    let hear_all = async {
        while let Some(finding) = heard.recv().await {
            findings.push(finding);
        }
    };
    if tokio::time::timeout(ANSWERS_MAX, hear_all).await.is_err() {
        let found = format!("not all was answered within {} s", ANSWERS_MAX.as_secs());
        findings.push(Finding::fail("kafka", found, "is a broker frozen, or the network slow?"));
    }
    Section { name: format!("kafka {}", config.kafka.brokers), findings }
}

/// Nothing more can be asked; why has been said.
struct CutShort;

struct Asking<'a> {
    config: &'a Config,
    topics: Topics,
    said: UnboundedSender<Finding>,
    handle: Handle,
}

impl Asking<'_> {
    fn say(&self, finding: Finding) {
        // Nobody hears it any more after the deadline.
        let _ = self.said.send(finding);
    }

    fn fail<T>(&self, what: &str, found: impl Into<String>, advice: &str) -> Result<T, CutShort> {
        self.say(Finding::fail(what, found, advice));
        Err(CutShort)
    }

    fn ask(&self, now: EventTime) -> Result<(), CutShort> {
        let consumer = self.clients()?;
        let metadata = self.brokers(&consumer)?;
        drop(metadata);
        let lookup = Lookup::new(&self.config.kafka, self.topics.clone());
        let lookup = lookup.or_else(|error| self.fail("properties", error.to_string(), ""))?;
        let discovered = match lookup.discover() {
            Ok(discovered) => discovered,
            Err(error) => return self.fail("topics", error.to_string(), ""),
        };
        let settings = self.describe(&discovered);
        let existing = self.topics(&discovered, &settings);
        self.dead_letters(&consumer, &settings);
        self.group(&consumer, &lookup, &existing);
        self.offsets(&lookup, &existing, now)
    }

    /// Makes the clients that a run makes: librdkafka looks at all properties, and opens
    /// certificate files.
    fn clients(&self) -> Result<BaseConsumer<Reasons>, CutShort> {
        let Config { kafka, limits, .. } = self.config;
        const ADVICE: &str = "correct it under [kafka.properties]";
        if let Err(refused) = client::check_properties(kafka) {
            return self.fail("properties", refused.to_string(), ADVICE);
        }
        let member = client::consumer(kafka, limits, 1).create::<BaseConsumer>();
        let consumer =
            member.and_then(|_| client::lookup(kafka).create_with_context(Reasons::default()));
        match consumer {
            Ok(consumer) => {
                if !kafka.properties.is_empty() {
                    let found = counted(kafka.properties.len(), "property");
                    let found = found.replace("propertys", "properties");
                    self.say(Finding::ok("properties", format!("{found} taken by librdkafka")));
                }
                Ok(consumer)
            }
            Err(error) => self.fail("properties", error.to_string(), ADVICE),
        }
    }

    fn brokers(&self, consumer: &BaseConsumer<Reasons>) -> Result<Metadata, CutShort> {
        let any = self.topics.names().next();
        let answer = consumer.fetch_metadata(any, ANSWER_MAX).and_then(|_| {
            // Once more over the open connection: the first time paid for opening it.
            let asked = Instant::now();
            Ok((consumer.fetch_metadata(any, ANSWER_MAX)?, asked.elapsed()))
        });
        let (metadata, took) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let reasons = Reasons::of(consumer);
                let found = if reasons.is_empty() { error.to_string() } else { reasons };
                return self.fail(
                    "brokers",
                    found,
                    "is kafka.brokers right, and do security.protocol, sasl.* and ssl.* fit the \
                     listener?",
                );
            }
        };
        let addresses: Vec<String> = metadata
            .brokers()
            .iter()
            .map(|broker| format!("{}:{}", broker.host(), broker.port()))
            .collect();
        let cluster = consumer.client().fetch_cluster_id(ANSWER_MAX);
        self.say(Finding::ok(
            "brokers",
            format!(
                "{} in cluster {}, answer in {:.1} ms; advertised: {}",
                counted(addresses.len(), "broker"),
                cluster.as_deref().unwrap_or("(unnamed)"),
                took.as_secs_f64() * 1000.0,
                addresses.join(", ")
            ),
        ));
        Ok(metadata)
    }

    /// The settings of all topics by name, dead letters included. Those that may not be read, or
    /// are not there, are left out.
    fn describe(&self, discovered: &Discovered) -> BTreeMap<String, TopicSettings> {
        let dead_letters = &self.config.kafka.dead_letter_topic;
        let missing = |name: &&str| discovered.missing.iter().any(|(missing, _)| missing == name);
        let mut names: Vec<&str> = self.topics.names().filter(|name| !missing(name)).collect();
        if !dead_letters.is_empty() {
            names.push(dead_letters);
        }
        match self.try_describe(&names) {
            Ok(settings) => settings,
            Err(error) => {
                self.say(Finding::warn(
                    "topic settings",
                    error.to_string(),
                    "retention and sizes were not looked at",
                ));
                BTreeMap::new()
            }
        }
    }

    fn try_describe(&self, names: &[&str]) -> Result<BTreeMap<String, TopicSettings>, KafkaError> {
        let Config { kafka, limits, .. } = self.config;
        let admin: AdminClient<DefaultClientContext> = client::producer(kafka, limits).create()?;
        let options = AdminOptions::new().request_timeout(Some(ANSWER_MAX));
        let topics: Vec<_> = names.iter().map(|&name| ResourceSpecifier::Topic(name)).collect();
        let answers = self.handle.block_on(admin.describe_configs(&topics, &options))?;
        let mut settings = BTreeMap::new();
        for answer in answers {
            match answer {
                Ok(resource) => {
                    let OwnedResourceSpecifier::Topic(name) = resource.specifier else { continue };
                    let entries = resource.entries.into_iter();
                    let entries = entries.filter_map(|entry| Some((entry.name, entry.value?)));
                    settings.insert(name, entries.collect());
                }
                // Said where the topic is looked for.
                Err(RDKafkaErrorCode::UnknownTopicOrPartition) => {}
                Err(code) => self.say(Finding::warn(
                    "topic settings",
                    code.to_string(),
                    "retention and sizes were not looked at; they need the right DescribeConfigs \
                     on each topic",
                )),
            }
        }
        Ok(settings)
    }

    /// One line for each topic and for each setting that may hurt. Answers the partitions that
    /// can be read.
    fn topics(
        &self,
        discovered: &Discovered,
        settings: &BTreeMap<String, TopicSettings>,
    ) -> BTreeMap<Partition, i32> {
        let needs = Needs {
            reach: self.config.definitions().reach_back(),
            record_bytes_max: self.config.limits.record_bytes,
        };
        let mut stamps = Vec::new();
        for kind in Kind::ALL {
            let name = self.topics.name(kind);
            if name.is_empty() {
                continue;
            }
            let what = format!("topic {name}");
            if let Some((_, reason)) =
                discovered.missing.iter().find(|(missing, _)| missing == name)
            {
                self.say(Finding::fail(
                    what,
                    reason.as_str(),
                    format!(
                        "create it, grant Describe and Read on it, or correct topics.{}; no window \
                         closes before",
                        kind.name()
                    ),
                ));
                continue;
            }
            let leaders = discovered.leaders.iter().filter(|(id, _)| id.kind == kind);
            let (led, leaderless): (Vec<_>, Vec<_>) =
                leaders.partition(|(_, leader)| **leader >= 0);
            if !leaderless.is_empty() {
                self.say(Finding::fail(
                    what.as_str(),
                    format!("{} without a leader", counted(leaderless.len(), "partition")),
                    "are all brokers up?",
                ));
            }
            let mut found = counted(led.len(), "partition");
            if let Some(settings) = settings.get(name) {
                found.extend(topic::kept(settings).map(|kept| format!(", {kept}")));
                stamps.extend(settings.get("message.timestamp.type").map(|of| (name, of.as_str())));
            }
            self.say(Finding::ok(what, found));
            if let Some(settings) = settings.get(name) {
                topic::judge(name, settings, needs)
                    .into_iter()
                    .for_each(|finding| self.say(finding));
            }
        }
        topic::stamps(&stamps).into_iter().for_each(|finding| self.say(finding));
        discovered.leaders.iter().filter(|(_, l)| **l >= 0).map(|(&id, &l)| (id, l)).collect()
    }

    fn dead_letters(
        &self,
        consumer: &BaseConsumer<Reasons>,
        settings: &BTreeMap<String, TopicSettings>,
    ) {
        let name = &self.config.kafka.dead_letter_topic;
        if name.is_empty() {
            let off = Finding::ok("dead letters", "off");
            self.say(off.remark("rejected records are counted, and written nowhere"));
            return;
        }
        let metadata = match consumer.fetch_metadata(Some(name), ANSWER_MAX) {
            Ok(metadata) => metadata,
            Err(error) => {
                return self.say(Finding::fail("dead letters", error.to_string(), ""));
            }
        };
        let Some(found) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return;
        };
        match found.error() {
            Some(error) => self.say(Finding::fail(
                "dead letters",
                format!("topic {name}: {}", RDKafkaErrorCode::from(error)),
                "create it and grant Write on it, or set kafka.dead_letter_topic = \"\": the first \
                 rejected record would stop reading",
            )),
            None => {
                let partitions = counted(found.partitions().len(), "partition");
                self.say(Finding::ok("dead letters", format!("topic {name}, {partitions}")));
            }
        }
        if let Some(settings) = settings.get(name) {
            let findings = topic::judge_dead_letters(settings, self.config.limits.record_bytes);
            findings.into_iter().for_each(|finding| self.say(finding));
        }
    }

    fn group(
        &self,
        consumer: &BaseConsumer<Reasons>,
        lookup: &Lookup,
        partitions: &BTreeMap<Partition, i32>,
    ) {
        let name = &self.config.kafka.group;
        let what = format!("group {name}");
        let committed = match self.committed(lookup, partitions) {
            Ok(committed) => committed,
            Err(error) => {
                let advice = "grant Read on the group, or is its coordinator away?";
                return self.say(Finding::fail(what, error.to_string(), advice));
            }
        };
        let committed = match committed.len() {
            0 => "nothing committed".to_owned(),
            some => format!("committed for {some} of {}", counted(partitions.len(), "partition")),
        };
        // Brokers too old or too strict to list members are no reason to complain.
        let groups = consumer.client().fetch_group_list(Some(name), ANSWER_MAX).ok();
        let members =
            groups.map_or(0, |groups| groups.groups().iter().map(|g| g.members().len()).sum());
        self.say(match members {
            0 => Finding::ok(what, format!("{committed}, no members")),
            some => Finding::ok(what, format!("{committed}, {}", counted(some, "member"))).remark(
                "something reads in this group already: a nazar on this prefix shares the work; \
                 anything else takes partitions away, and views would hold only a part",
            ),
        });
    }

    /// A coordinator that is being found, or that loads what was committed, is asked again.
    fn committed(
        &self,
        lookup: &Lookup,
        partitions: &BTreeMap<Partition, i32>,
    ) -> Result<OffsetMap, LookupError> {
        use RDKafkaErrorCode::{
            CoordinatorLoadInProgress, CoordinatorNotAvailable, NotCoordinator,
        };
        let deadline = Instant::now() + ANSWER_MAX;
        loop {
            let answer = lookup.committed(&self.config.kafka, partitions.keys().copied());
            let Err(LookupError::Kafka(error)) = &answer else { return answer };
            let is_passing = matches!(
                error.rdkafka_error_code(),
                Some(CoordinatorLoadInProgress | CoordinatorNotAvailable | NotCoordinator)
            );
            if !is_passing || Instant::now() >= deadline {
                return answer;
            }
            thread::sleep(ASK_AGAIN);
        }
    }

    /// Where a first start would begin: asks for offsets in the ways that a run does.
    fn offsets(
        &self,
        lookup: &Lookup,
        partitions: &BTreeMap<Partition, i32>,
        now: EventTime,
    ) -> Result<(), CutShort> {
        const WHAT: &str = "log";
        let from = now - self.config.definitions().reach_back();
        let asked = || -> Result<(OffsetMap, OffsetMap, OffsetMap), LookupError> {
            let logs =
                (lookup.offsets(partitions, At::Start)?, lookup.offsets(partitions, At::End)?);
            Ok((lookup.start_offsets(&self.config.kafka, partitions, from)?, logs.0, logs.1))
        };
        let (first, starts, ends) = match asked() {
            Ok(offsets) => offsets,
            Err(error @ LookupError::NoOffsetsByTime) => {
                return self.fail(WHAT, error.to_string(), "");
            }
            Err(error) => {
                return self.fail(
                    WHAT,
                    error.to_string(),
                    "are all brokers reachable from here under the addresses that they advertise?",
                );
            }
        };
        let start = match self.config.kafka.start {
            Start::Window => "window",
            Start::Earliest => "earliest",
            Start::Committed => "committed",
            Start::Latest => "latest",
        };
        self.say(Finding::ok(
            WHAT,
            format!(
                "{} records; with kafka.start = {start} the last {} are read first",
                grouped(between(&starts, &ends)),
                grouped(between(&first, &ends))
            ),
        ));
        Ok(())
    }
}

fn between(from: &OffsetMap, to: &OffsetMap) -> u64 {
    let length = |(id, end): (&Partition, &i64)| {
        let start = from.get(id).copied().unwrap_or(*end);
        u64::try_from(end - start).unwrap_or(0)
    };
    to.iter().map(length).sum()
}

/// Why a client could not connect: librdkafka tells a callback, not the caller.
#[derive(Default)]
struct Reasons {
    said: Mutex<Vec<String>>,
}

impl Reasons {
    fn of(consumer: &BaseConsumer<Reasons>) -> String {
        let deadline = Instant::now() + REASONS_MAX;
        while Instant::now() < deadline {
            let _ = consumer.poll(Duration::from_millis(50));
        }
        let said = consumer.context().said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().take(3).cloned().collect::<Vec<_>>().join("; ")
    }
}

impl ClientContext for Reasons {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, reason: &str) {
        let summary = Some(RDKafkaErrorCode::AllBrokersDown);
        // "(after 3ms in state CONNECT, …)" makes the same reason look like a new one.
        let reason = reason.split(" (after ").next().unwrap_or(reason);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if error.rdkafka_error_code() != summary && !said.iter().any(|known| known == reason) {
            said.push(reason.to_owned());
        }
    }
}

impl ConsumerContext for Reasons {}
