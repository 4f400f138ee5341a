//! Members of a group with an owner that checks the source's contract, and a world that stands
//! for the merger: cursors that move only from where they are.
//!
//! The contract, asserted with every call: `assigned` and `revoked` alternate; nothing is
//! delivered for a partition that is not assigned; offsets ascend from the start that was named,
//! without a gap unless the test says that the log has holes. A failed assertion ends the
//! member's thread, which fails the test at the latest when the member is stopped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nazar::config::{KafkaConfig, LimitsConfig, Start, TopicsConfig};
use nazar::event::Kind;
use nazar::pipeline::batch::Batch;
use nazar::pipeline::client;
use nazar::pipeline::delivery::Partition;
use nazar::pipeline::identity::Fingerprint;
use nazar::pipeline::offset::{Lookup, OffsetMap, Topics};
use nazar::pipeline::source::{Assigned, Flow, PartitionOwner, Source, SourceSettings, Turn};
use nazar::pipeline::watch::LogWatch;
use nazar::time::{EventTime, Span};

use crate::kafka::Record;

pub const WAIT: Duration = Duration::from_secs(60);

/// What happened, in the order in which the owners of all members were told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Assigned(i64),
    Revoked {
        lost: bool,
    },
    /// Offsets of the records of one batch: first, last, how many.
    Records(i64, i64, usize),
    Lost(i64, i64),
    Quiet(i64),
    ReachedEnd(i64),
    Replaced,
}

/// Something that an owner was told.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name of its member.
    pub member: String,
    pub partition: Partition,
    pub told: Told,
}

#[derive(Default)]
pub struct World {
    log: Mutex<Vec<Entry>>,
    pub cursors: Mutex<OffsetMap>,
    /// Records handed over, by partition and offset.
    applied: Mutex<BTreeMap<(Partition, i64), usize>>,
    /// Of the record before each cursor.
    pub fingerprints: Mutex<BTreeMap<Partition, Fingerprint>>,
    seeks: Mutex<Vec<(Partition, i64, bool)>>,
    pub hold: AtomicBool,
    /// Offsets may be missing: markers of transactions, compaction.
    pub holes: AtomicBool,
    pub stream_time: AtomicI64,
    /// Event time counts: a second for each offset. What was read is handed over only when the
    /// source asks for it, and the slowest stands where that has come to.
    pub is_timed: AtomicBool,
}

impl World {
    pub fn new() -> Arc<Self> {
        let world = Arc::new(Self::default());
        world.stream_time.store(1000, Ordering::Relaxed);
        world
    }

    pub fn told(&self, partition: Partition) -> Vec<Told> {
        self.entries(|entry| entry.partition == partition).into_iter().map(|e| e.told).collect()
    }

    pub fn entries(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        self.log.lock().unwrap().iter().filter(|entry| wanted(entry)).cloned().collect()
    }

    pub fn count(&self, wanted: impl Fn(&Told) -> bool) -> usize {
        self.log.lock().unwrap().iter().filter(|entry| wanted(&entry.told)).count()
    }

    pub fn forget_told(&self) {
        self.log.lock().unwrap().clear();
    }

    /// The partitions that a member owns, as far as its owner was told.
    pub fn owned_by(&self, member: &str) -> Vec<Partition> {
        let mut owned = BTreeMap::new();
        for entry in self.log.lock().unwrap().iter().filter(|entry| entry.member == member) {
            match entry.told {
                Told::Assigned(_) => owned.insert(entry.partition, ()),
                Told::Revoked { .. } => owned.remove(&entry.partition),
                _ => None,
            };
        }
        owned.into_keys().collect()
    }

    pub fn quiets(&self, partition: Partition) -> Vec<i64> {
        let told = self.told(partition).into_iter();
        told.filter_map(|told| if let Told::Quiet(at) = told { Some(at) } else { None }).collect()
    }

    pub fn cursor(&self, partition: Partition) -> i64 {
        self.cursors.lock().unwrap().get(&partition).copied().unwrap_or(0)
    }

    /// Every member's owner that has the partition reads it from `offset` on.
    pub fn seek(&self, partition: Partition, offset: i64) {
        self.seeks.lock().unwrap().push((partition, offset, false));
    }

    /// The same, after `replaced`.
    pub fn seek_in_new_log(&self, partition: Partition, offset: i64) {
        self.seeks.lock().unwrap().push((partition, offset, true));
    }

    pub fn until(&self, what: &str, holds: impl Fn(&World) -> bool) {
        let deadline = Instant::now() + WAIT;
        while !holds(self) {
            if Instant::now() >= deadline {
                let log = self.log.lock().unwrap();
                let last: Vec<_> = log.iter().rev().take(30).rev().collect();
                panic!("waited too long until {what}; the last that was told: {last:#?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn until_read(&self, partition: Partition, to: i64) {
        self.until("the records are read", |world| world.cursor(partition) >= to);
    }

    pub fn applied(&self, partition: Partition) -> Vec<(i64, usize)> {
        let applied = self.applied.lock().unwrap();
        let all = (partition, i64::MIN)..=(partition, i64::MAX);
        applied.range(all).map(|(&(_, offset), &times)| (offset, times)).collect()
    }

    /// Every offset in the range was handed over exactly once, and nothing else.
    pub fn assert_applied_once(&self, partition: Partition, range: std::ops::Range<i64>) {
        let wanted: Vec<(i64, usize)> = range.map(|offset| (offset, 1)).collect();
        let applied = self.applied(partition);
        if applied != wanted {
            let wrong: Vec<_> = applied.iter().filter(|(_, times)| *times != 1).take(20).collect();
            let missing = wanted.iter().filter(|w| applied.binary_search(w).is_err()).take(20);
            let missing: Vec<_> = missing.collect();
            panic!(
                "{partition:?}: {} applied, {} wanted; not once: {wrong:?}; missing: {missing:?}",
                applied.len(),
                wanted.len()
            );
        }
    }
}

/// Hands over what it read, like the real owner, and checks the source's contract on the way.
pub struct Owner {
    world: Arc<World>,
    member: String,
    /// What was read and not handed over: (from, offsets).
    open: BTreeMap<Partition, (i64, Vec<i64>)>,
    /// The next offset that may come, by partition.
    next: OffsetMap,
    fingerprints: BTreeMap<Partition, Fingerprint>,
    /// Where the merger's cursor stands instead of where this owner thought.
    rewinds: Vec<(Partition, i64)>,
    /// Milliseconds that the next call with records takes.
    block: Arc<AtomicU64>,
}

impl Owner {
    fn tell(&self, partition: Partition, told: Told) {
        let entry = Entry { member: self.member.clone(), partition, told };
        self.world.log.lock().unwrap().push(entry);
    }

    fn is_timed(&self) -> bool {
        self.world.is_timed.load(Ordering::Relaxed)
    }

    fn apply(&mut self, partition: Partition) {
        let Some((from, offsets)) = self.open.get_mut(&partition) else { return };
        let to = self.next[&partition];
        let mut cursors = self.world.cursors.lock().unwrap();
        let cursor = cursors.entry(partition).or_insert(*from);
        if *cursor == *from {
            *cursor = to;
            let mut applied = self.world.applied.lock().unwrap();
            for offset in offsets.drain(..) {
                *applied.entry((partition, offset)).or_default() += 1;
            }
            if let Some(&fingerprint) = self.fingerprints.get(&partition) {
                self.world.fingerprints.lock().unwrap().insert(partition, fingerprint);
            }
            self.open.insert(partition, (to, Vec::new()));
        } else {
            // The rule of owners: what was sent is not there, so it is read again.
            let cursor = *cursor;
            self.open.insert(partition, (cursor, Vec::new()));
            self.next.insert(partition, cursor);
            self.rewinds.push((partition, cursor));
        }
    }
}

impl PartitionOwner for Owner {
    fn assigned(&mut self, partition: Partition, start: i64) -> Assigned {
        assert!(!self.open.contains_key(&partition), "{partition:?} is assigned already");
        let from = self.world.cursors.lock().unwrap().get(&partition).copied().unwrap_or(start);
        self.tell(partition, Told::Assigned(from));
        self.open.insert(partition, (from, Vec::new()));
        self.next.insert(partition, from);
        Assigned::From(from)
    }

    fn revoked(&mut self, partition: Partition, lost: bool) {
        assert!(self.open.contains_key(&partition), "{partition:?} is not assigned");
        if !lost {
            self.apply(partition);
        }
        self.open.remove(&partition);
        self.tell(partition, Told::Revoked { lost });
    }

    fn records(&mut self, partition: Partition, batch: &Batch<'_>) {
        let next = self.next[&partition];
        let (_, open) = self.open.get_mut(&partition).expect("records of an assigned partition");
        let before = open.len();
        open.extend(batch.iter().map(|record| record.offset()));
        let new = &open[before..];
        assert!(new[0] >= next, "{} came after {next} was due", new[0]);
        assert!(new.is_sorted_by(|a, b| a < b));
        let (first, last, count) = (new[0], new[new.len() - 1], new.len());
        if !self.world.holes.load(Ordering::Relaxed) {
            assert_eq!(first, next, "{partition:?} has a gap");
            assert_eq!(last - first, count as i64 - 1, "{partition:?} has a gap");
        }
        self.fingerprints.extend(Fingerprint::of_last(batch).map(|print| (partition, print)));
        self.tell(partition, Told::Records(first, last, count));
        self.next.insert(partition, last + 1);
        let millis = self.block.swap(0, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(millis));
    }

    fn lost(&mut self, partition: Partition, from: i64, to: i64) {
        assert!(self.open.contains_key(&partition), "{partition:?} is not assigned");
        assert_eq!(from, self.next[&partition]);
        self.next.insert(partition, to);
        self.tell(partition, Told::Lost(from, to));
    }

    fn replaced(&mut self, partition: Partition) {
        assert!(self.open.contains_key(&partition), "{partition:?} is not assigned");
        self.tell(partition, Told::Replaced);
    }

    fn quiet(&mut self, partition: Partition, position: i64, stream_time: EventTime) {
        assert!(self.open.contains_key(&partition), "{partition:?} is not assigned");
        assert_eq!(stream_time.millis(), self.world.stream_time.load(Ordering::Relaxed));
        self.tell(partition, Told::Quiet(position));
    }

    fn reached_end(&mut self, partition: Partition, position: i64) {
        self.tell(partition, Told::ReachedEnd(position));
    }

    fn hand_over(&mut self, _: &mut Turn<'_>) {
        let owned: Vec<Partition> = self.open.keys().copied().collect();
        owned.into_iter().for_each(|partition| self.apply(partition));
    }

    fn tick(&mut self, turn: &mut Turn<'_>) -> Flow {
        if !self.is_timed() {
            self.hand_over(turn);
        }
        for (partition, cursor) in self.rewinds.drain(..) {
            turn.seek(partition, cursor);
        }
        let mut seeks = self.world.seeks.lock().unwrap();
        seeks.retain(|&(partition, offset, in_new_log)| {
            let ours = self.open.contains_key(&partition);
            if ours {
                self.open.insert(partition, (offset, Vec::new()));
                self.next.insert(partition, offset);
                self.world.cursors.lock().unwrap().insert(partition, offset);
                if in_new_log {
                    turn.seek_in_new_log(partition, offset);
                } else {
                    turn.seek(partition, offset);
                }
            }
            !ours
        });
        if self.world.hold.load(Ordering::Relaxed) { Flow::Hold } else { Flow::Read }
    }

    fn watermark(&self, partition: Partition) -> Option<EventTime> {
        self.is_timed().then(|| seconds(self.next[&partition]))
    }

    fn slowest_progressing(&self) -> Option<EventTime> {
        let cursors = self.world.cursors.lock().unwrap();
        let slowest = self.open.keys().map(|id| cursors.get(id).copied().unwrap_or(0)).min();
        slowest.filter(|_| self.is_timed()).map(seconds)
    }
}

fn seconds(offset: i64) -> EventTime {
    EventTime::from_millis(offset * 1000)
}

pub fn click(index: i32) -> Partition {
    Partition { kind: Kind::Click, index }
}

pub fn topics(click: &str) -> Topics {
    let off = String::new();
    Topics::new(&TopicsConfig {
        click: click.into(),
        wishlist: off.clone(),
        purchase: off.clone(),
        order_status: off,
    })
}

/// With properties that make things happen soon, where the group's protocol allows them.
pub fn config(brokers: &str, group: &str, properties: &[(&str, &str)]) -> KafkaConfig {
    let quick = [("heartbeat.interval.ms", "100"), ("session.timeout.ms", "6000")];
    let quick = if properties.contains(&("group.protocol", "consumer")) { &[] } else { &quick[..] };
    let soon = [("topic.metadata.refresh.interval.ms", "500")];
    KafkaConfig {
        brokers: brokers.into(),
        group: group.into(),
        client_id: "test".into(),
        start: Start::Earliest,
        handles: 1,
        dead_letter_topic: String::new(),
        properties: quick
            .iter()
            .chain(&soon)
            .chain(properties)
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    }
}

pub fn limits() -> LimitsConfig {
    LimitsConfig {
        entities: BTreeMap::new(),
        sketch_bytes: 0,
        state_bytes: 0,
        in_flight_bytes: 0,
        prefetch_bytes: 64 << 20,
        record_bytes: 1 << 20,
        id_bytes: 256,
        max_consecutive_rejects: 0,
    }
}

pub fn lookup(brokers: &str, topic: &str) -> Lookup {
    Lookup::new(&config(brokers, topic, &[]), topics(topic)).unwrap()
}

/// How a member of the group `topic`, which reads `topic` as clicks, is to be.
pub struct Joining<'a> {
    pub name: &'a str,
    pub brokers: &'a str,
    pub topic: &'a str,
    pub properties: &'a [(&'a str, &'a str)],
    pub starts: OffsetMap,
    pub ends: Option<OffsetMap>,
}

impl<'a> Joining<'a> {
    pub fn new(brokers: &'a str, topic: &'a str) -> Self {
        let (starts, ends) = (OffsetMap::new(), None);
        Self { name: "a", brokers, topic, properties: &[], starts, ends }
    }

    pub fn named(self, name: &'a str) -> Self {
        Self { name, ..self }
    }

    pub fn with(self, properties: &'a [(&'a str, &'a str)]) -> Self {
        Self { properties, ..self }
    }

    pub fn join(self, world: &Arc<World>) -> Member {
        let Self { name, brokers, topic, properties, starts, ends } = self;
        let lookup = lookup(brokers, topic);
        let discovered = lookup.wait_for_topics(&AtomicBool::new(false), |_| ()).unwrap();
        let clock = world.clone();
        let stream_time =
            move || Some(EventTime::from_millis(clock.stream_time.load(Ordering::Relaxed)));
        let partitions = discovered.leaders.len();
        let watch = LogWatch::start(lookup, discovered, stream_time).unwrap();
        let config = config(brokers, topic, properties);
        client::check_properties(&config).unwrap();
        let settings = SourceSettings {
            topics: topics(topic),
            client: client::consumer(&config, &limits(), partitions),
            starts: Arc::new(starts),
            ends: ends.map(Arc::new),
            log: watch.view(),
            max_skew: Span::from_secs(300),
        };
        let block = Arc::new(AtomicU64::new(0));
        let owner = Owner {
            world: world.clone(),
            member: name.into(),
            open: BTreeMap::new(),
            next: OffsetMap::new(),
            fingerprints: BTreeMap::new(),
            rewinds: Vec::new(),
            block: block.clone(),
        };
        Member { source: Source::start(name, settings, owner).unwrap(), watch, block }
    }
}

/// A member and what it needs.
pub struct Member {
    pub source: Source,
    pub watch: LogWatch,
    block: Arc<AtomicU64>,
}

/// A member with the usual name.
pub fn member(
    brokers: &str,
    topic: &str,
    world: &Arc<World>,
    properties: &[(&str, &str)],
    starts: OffsetMap,
    ends: Option<OffsetMap>,
) -> Member {
    Joining { starts, ends, ..Joining::new(brokers, topic).with(properties) }.join(world)
}

impl Member {
    /// The next call of its owner with records takes so long.
    pub fn block(&self, millis: u64) {
        self.block.store(millis, Ordering::Relaxed);
    }

    pub fn stop(self) {
        let started = Instant::now();
        self.source.stop();
        self.source.join().unwrap();
        assert!(started.elapsed() < Duration::from_secs(6), "closing is bounded");
        drop(self.watch);
    }
}

pub fn numbered(partition: i32, count: usize) -> impl Iterator<Item = Record> {
    (0..count).map(move |number| Record::new(partition, format!("record {number}")))
}
