//! The Kafka edge against a real broker: what an owner may rely on, whatever the group does.

#[path = "common/kafka.rs"]
mod kafka;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kafka::{Kafka, Record};
use nazar::config::{KafkaConfig, LimitsConfig, Start, TopicsConfig};
use nazar::event::Kind;
use nazar::pipeline::batch::Batch;
use nazar::pipeline::client;
use nazar::pipeline::delivery::Partition;
use nazar::pipeline::offset::{Lookup, LookupError, OffsetMap, Topics, until_answered};
use nazar::pipeline::source::{Assigned, Flow, PartitionOwner, Source, SourceSettings, Turn};
use nazar::pipeline::watch::LogWatch;
use nazar::time::{EventTime, Span};
use rdkafka::producer::Producer;

const WAIT: Duration = Duration::from_secs(30);

/// What happened, in the order in which the owners of all members were told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Assigned(i64),
    Revoked {
        lost: bool,
    },
    /// Offsets of the records of one batch: first, last, how many.
    Records(i64, i64, usize),
    Lost(i64, i64),
    Quiet(i64),
    ReachedEnd(i64),
}

/// Stands for the merger: cursors that move only from where they are.
#[derive(Default)]
struct World {
    told: Mutex<Vec<(Instant, Partition, Told)>>,
    cursors: Mutex<OffsetMap>,
    /// Records handed over, by partition and offset.
    applied: Mutex<BTreeMap<(Partition, i64), usize>>,
    seeks: Mutex<Vec<(Partition, i64)>>,
    hold: AtomicBool,
    stream_time: AtomicI64,
}

impl World {
    fn new() -> Arc<Self> {
        let world = Arc::new(Self::default());
        world.stream_time.store(1000, Ordering::Relaxed);
        world
    }

    fn tell(&self, partition: Partition, told: Told) {
        self.told.lock().unwrap().push((Instant::now(), partition, told));
    }

    fn told(&self, partition: Partition) -> Vec<Told> {
        let told = self.told.lock().unwrap();
        told.iter().filter(|(_, id, _)| *id == partition).map(|(_, _, told)| told.clone()).collect()
    }

    fn quiets(&self, partition: Partition) -> Vec<i64> {
        let told = self.told(partition).into_iter();
        told.filter_map(|told| if let Told::Quiet(at) = told { Some(at) } else { None }).collect()
    }

    fn cursor(&self, partition: Partition) -> i64 {
        self.cursors.lock().unwrap().get(&partition).copied().unwrap_or(0)
    }

    fn until(&self, what: &str, holds: impl Fn(&World) -> bool) {
        let deadline = Instant::now() + WAIT;
        while !holds(self) {
            assert!(Instant::now() < deadline, "waited too long until {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn until_read(&self, partition: Partition, to: i64) {
        self.until("the records are read", |world| world.cursor(partition) >= to);
    }

    /// Every offset in the range was handed over exactly once, and nothing else.
    fn assert_applied_once(&self, partition: Partition, range: std::ops::Range<i64>) {
        let applied = self.applied.lock().unwrap();
        let seen: Vec<(i64, usize)> = applied
            .range((partition, i64::MIN)..=(partition, i64::MAX))
            .map(|(&(_, offset), &times)| (offset, times))
            .collect();
        let wanted: Vec<(i64, usize)> = range.map(|offset| (offset, 1)).collect();
        assert_eq!(seen, wanted, "{partition:?}");
    }
}

/// Hands over what it read, like the real owner, and checks the source's contract on the way.
struct Owner {
    world: Arc<World>,
    /// What was read and not handed over: (from, offsets).
    open: BTreeMap<Partition, (i64, Vec<i64>)>,
    /// The next offset that may come, by partition.
    next: OffsetMap,
}

impl Owner {
    fn new(world: &Arc<World>) -> Self {
        Self { world: world.clone(), open: BTreeMap::new(), next: OffsetMap::new() }
    }

    fn hand_over(&mut self, partition: Partition) {
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
        }
        self.open.insert(partition, (to, Vec::new()));
    }
}

impl PartitionOwner for Owner {
    fn assigned(&mut self, partition: Partition, start: i64) -> Assigned {
        let from = self.world.cursors.lock().unwrap().get(&partition).copied().unwrap_or(start);
        self.world.tell(partition, Told::Assigned(from));
        self.open.insert(partition, (from, Vec::new()));
        self.next.insert(partition, from);
        Assigned::From(from)
    }

    fn revoked(&mut self, partition: Partition, lost: bool) {
        if !lost {
            self.hand_over(partition);
        }
        self.open.remove(&partition);
        self.world.tell(partition, Told::Revoked { lost });
    }

    fn records(&mut self, partition: Partition, batch: &Batch<'_>) {
        let next = self.next[&partition];
        let (_, open) = self.open.get_mut(&partition).expect("records of an assigned partition");
        let before = open.len();
        open.extend(batch.iter().map(|record| record.offset()));
        let new = &open[before..];
        assert!(new[0] >= next, "{} came after {next} was due", new[0]);
        assert!(new.is_sorted_by(|a, b| a < b));
        let (first, last) = (new[0], new[new.len() - 1]);
        self.world.tell(partition, Told::Records(first, last, new.len()));
        self.next.insert(partition, last + 1);
    }

    fn lost(&mut self, partition: Partition, from: i64, to: i64) {
        assert_eq!(from, self.next[&partition]);
        self.next.insert(partition, to);
        self.world.tell(partition, Told::Lost(from, to));
    }

    fn quiet(&mut self, partition: Partition, position: i64, stream_time: EventTime) {
        assert_eq!(stream_time.millis(), self.world.stream_time.load(Ordering::Relaxed));
        self.world.tell(partition, Told::Quiet(position));
    }

    fn reached_end(&mut self, partition: Partition, position: i64) {
        self.world.tell(partition, Told::ReachedEnd(position));
    }

    fn tick(&mut self, turn: &mut Turn<'_>) -> Flow {
        let owned: Vec<Partition> = self.open.keys().copied().collect();
        owned.into_iter().for_each(|partition| self.hand_over(partition));
        for (partition, offset) in self.world.seeks.lock().unwrap().drain(..) {
            self.open.insert(partition, (offset, Vec::new()));
            self.next.insert(partition, offset);
            self.world.cursors.lock().unwrap().insert(partition, offset);
            turn.seek(partition, offset);
        }
        if self.world.hold.load(Ordering::Relaxed) { Flow::Hold } else { Flow::Read }
    }

    fn watermark(&self, _: Partition) -> Option<EventTime> {
        None
    }

    fn slowest_progressing(&self) -> Option<EventTime> {
        None
    }
}

fn click(index: i32) -> Partition {
    Partition { kind: Kind::Click, index }
}

fn topics(click: &str) -> Topics {
    let off = String::new();
    Topics::new(&TopicsConfig {
        click: click.into(),
        wishlist: off.clone(),
        purchase: off.clone(),
        order_status: off,
    })
}

fn config(brokers: &str, group: &str, properties: &[(&str, &str)]) -> KafkaConfig {
    let quick = [("heartbeat.interval.ms", "100"), ("session.timeout.ms", "6000")];
    let quick = quick.into_iter().chain([("topic.metadata.refresh.interval.ms", "500")]);
    KafkaConfig {
        brokers: brokers.into(),
        group: group.into(),
        client_id: "test".into(),
        start: Start::Earliest,
        handles: 1,
        dead_letter_topic: String::new(),
        properties: quick
            .chain(properties.iter().copied())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    }
}

fn limits() -> LimitsConfig {
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

/// One member of the group `topic`, which reads `topic` as clicks, and what it needs.
struct Member {
    source: Source,
    watch: LogWatch,
}

fn lookup(brokers: &str, topic: &str) -> Lookup {
    Lookup::new(&config(brokers, topic, &[]), topics(topic)).unwrap()
}

fn member(
    brokers: &str,
    topic: &str,
    world: &Arc<World>,
    properties: &[(&str, &str)],
    starts: OffsetMap,
    ends: Option<OffsetMap>,
) -> Member {
    let lookup = lookup(brokers, topic);
    let discovered = lookup.wait_for_topics(&AtomicBool::new(false), |_| ()).unwrap();
    let clock = world.clone();
    let stream_time =
        move || Some(EventTime::from_millis(clock.stream_time.load(Ordering::Relaxed)));
    let partitions = discovered.leaders.len();
    let watch = LogWatch::start(lookup, discovered, stream_time).unwrap();
    let settings = SourceSettings {
        topics: topics(topic),
        client: client::consumer(&config(brokers, topic, properties), &limits(), partitions),
        starts: Arc::new(starts),
        ends: ends.map(Arc::new),
        log: watch.view(),
        max_skew: Span::from_secs(300),
    };
    Member { source: Source::start("source", settings, Owner::new(world)).unwrap(), watch }
}

impl Member {
    fn stop(self) {
        let started = Instant::now();
        self.source.stop();
        self.source.join().unwrap();
        assert!(started.elapsed() < Duration::from_secs(6), "closing is bounded");
        drop(self.watch);
    }
}

fn numbered(partition: i32, count: usize) -> impl Iterator<Item = Record> {
    (0..count).map(move |number| Record::new(partition, format!("record {number}")))
}

/// Member A stays; B joins and leaves 16 times while records keep coming.
#[test]
fn no_record_is_skipped_or_repeated_by_cooperative_rebalances() {
    const PARTITIONS: i32 = 6;
    let kafka = Kafka::shared();
    kafka.create_topics(&[("rebalanced", PARTITIONS)]);
    let producing = Arc::new(AtomicBool::new(true));
    let producer = std::thread::spawn({
        let producing = producing.clone();
        let producer = kafka.producer(&[]);
        move || {
            while producing.load(Ordering::Relaxed) {
                let batch = (0..PARTITIONS).flat_map(|partition| numbered(partition, 200));
                kafka::produce(&producer, "rebalanced", batch);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    });
    let world = World::new();
    let join = || member(&kafka.brokers(), "rebalanced", &world, &[], OffsetMap::new(), None);
    let count = |wanted: fn(&Told) -> bool| {
        world.told.lock().unwrap().iter().filter(|(_, _, told)| wanted(told)).count()
    };
    let assigned = || count(|told| matches!(told, Told::Assigned(_)));
    let a = join();
    world.until("A owns all", |_| assigned() == PARTITIONS as usize);
    for _ in 0..16 {
        let before = assigned();
        let b = join();
        world.until("B owns its half", |_| assigned() >= before + PARTITIONS as usize / 2);
        std::thread::sleep(Duration::from_millis(50));
        b.stop();
        world.until("A has it back", |_| assigned() >= before + PARTITIONS as usize);
    }
    producing.store(false, Ordering::Relaxed);
    producer.join().unwrap();
    for index in 0..PARTITIONS {
        let end = kafka.offsets("rebalanced", index).1;
        assert!(end > 1000);
        world.until_read(click(index), end);
        world.assert_applied_once(click(index), 0..end);
    }
    a.stop();
    let revoked = count(|told| matches!(told, Told::Revoked { lost: false }));
    assert!(revoked >= 16 * PARTITIONS as usize / 2, "{revoked}");
    assert_eq!(count(|told| matches!(told, Told::Revoked { lost: true })), 0);
}

#[test]
fn after_a_seek_the_next_record_is_the_one_asked_for() {
    let kafka = Kafka::shared();
    for strategy in ["cooperative-sticky", "range"] {
        let topic = format!("sought-{strategy}");
        kafka.create_topics(&[(&topic, 1)]);
        kafka.produce(&topic, numbered(0, 10_000));
        let world = World::new();
        let properties = [("partition.assignment.strategy", strategy)];
        let member = member(&kafka.brokers(), &topic, &world, &properties, OffsetMap::new(), None);
        world.until_read(click(0), 10_000);
        for target in [3, 9_999, 0, 5_000] {
            world.told.lock().unwrap().clear();
            world.seeks.lock().unwrap().push((click(0), target));
            world.until("records come again", |world| !world.told(click(0)).is_empty());
            let first = world.told(click(0)).remove(0);
            assert!(matches!(first, Told::Records(offset, ..) if offset == target), "{first:?}");
            world.until_read(click(0), 10_000);
        }
        member.stop();
    }
}

#[test]
fn only_the_broker_can_call_a_partition_quiet() {
    let kafka = Kafka::start();
    kafka.create_topics(&[("quiet", 2)]);
    kafka.produce("quiet", numbered(0, 100));
    let world = World::new();
    let member = member(&kafka.brokers(), "quiet", &world, &[], OffsetMap::new(), None);
    world.until_read(click(0), 100);
    let read = Instant::now();
    world.until("both are quiet", |world| {
        !world.quiets(click(0)).is_empty() && !world.quiets(click(1)).is_empty()
    });
    assert!(read.elapsed() < Duration::from_millis(3500), "{:?}", read.elapsed());
    assert_eq!((world.quiets(click(0))[0], world.quiets(click(1))[0]), (100, 0));

    // A slow consumer: the log goes on, but is not read.
    world.hold.store(true, Ordering::Relaxed);
    kafka.produce("quiet", numbered(0, 10));
    std::thread::sleep(Duration::from_millis(500));
    world.told.lock().unwrap().clear();
    world.until("the other partition is quiet", |world| world.quiets(click(1)).len() >= 3);
    assert!(world.quiets(click(0)).is_empty(), "held back, not quiet");
    world.hold.store(false, Ordering::Relaxed);
    world.until("it is quiet at its new end", |world| world.quiets(click(0)).contains(&110));

    // A dead broker says nothing, so nobody is quiet. An answer may be on its way.
    kafka.freeze();
    std::thread::sleep(Duration::from_millis(500));
    world.told.lock().unwrap().clear();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!((world.quiets(click(0)), world.quiets(click(1))), (vec![], vec![]));
    kafka.thaw();
    world.until("the broker answers again", |world| !world.quiets(click(1)).is_empty());
    member.stop();
}

#[test]
fn an_aborted_tail_is_read_to_its_end() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("transactions", 1)]);
    let producer = kafka.producer(&[("transactional.id", "t")]);
    producer.init_transactions(WAIT).unwrap();
    for commit in [true, false] {
        producer.begin_transaction().unwrap();
        kafka::produce(&producer, "transactions", numbered(0, 5));
        if commit {
            producer.commit_transaction(WAIT).unwrap();
        } else {
            producer.abort_transaction(WAIT).unwrap();
        }
    }
    let world = World::new();
    // Five records, a marker, five aborted records, a marker; markers are written a bit later.
    world.until("the markers are there", |_| kafka.offsets("transactions", 0) == (0, 12));
    let ends = Some(OffsetMap::from([(click(0), 12)]));
    let member = member(&kafka.brokers(), "transactions", &world, &[], OffsetMap::new(), ends);
    world.until("the end is reached", |world| world.told(click(0)).contains(&Told::ReachedEnd(12)));
    world.until("it is quiet at the high watermark", |world| world.quiets(click(0)).contains(&12));
    world.assert_applied_once(click(0), 0..5);

    // Behind an open transaction the last stable offset is reached, but the log goes on.
    producer.begin_transaction().unwrap();
    kafka::produce(&producer, "transactions", numbered(0, 3));
    std::thread::sleep(Duration::from_millis(500));
    world.told.lock().unwrap().clear();
    std::thread::sleep(Duration::from_millis(2500));
    assert!(world.quiets(click(0)).is_empty(), "records wait behind the open transaction");
    producer.abort_transaction(WAIT).unwrap();
    member.stop();
}

#[test]
fn a_bounded_run_reads_up_to_its_ends_and_no_further() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("bounded", 2)]);
    kafka.produce("bounded", numbered(0, 1000));
    let world = World::new();
    let ends = Some(OffsetMap::from([(click(0), 600), (click(1), 0)]));
    let member = member(&kafka.brokers(), "bounded", &world, &[], OffsetMap::new(), ends);
    for (index, end) in [(0, 600), (1, 0)] {
        world.until("the end is reached", |world| {
            world.told(click(index)).contains(&Told::ReachedEnd(end))
        });
    }
    member.stop();
    world.assert_applied_once(click(0), 0..600);
}

#[test]
fn a_partition_that_is_added_is_read_from_its_beginning() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("growing", 1)]);
    kafka.produce("growing", numbered(0, 10));
    let world = World::new();
    let starts = OffsetMap::from([(click(0), 10)]);
    let member = member(&kafka.brokers(), "growing", &world, &[], starts, None);
    world.until("the first is assigned", |world| !world.told(click(0)).is_empty());
    kafka.add_partitions("growing", 2);
    kafka.produce("growing", numbered(1, 10));
    world.until_read(click(1), 10);
    world.assert_applied_once(click(1), 0..10);
    world.until("the watcher knows it", |_| {
        member.watch.view().load().partitions.get(&click(1)).is_some_and(Option::is_some)
    });
    let bounds = member.watch.view().load().partitions[&click(1)].unwrap();
    assert_eq!((bounds.start, bounds.end, bounds.lag_records(4)), (0, 10, 6));
    member.stop();
}

#[test]
fn a_topic_that_appears_later_is_waited_for() {
    let kafka = Kafka::shared();
    let lookup = lookup(&kafka.brokers(), "late-topic");
    let missing = lookup.discover().unwrap().missing;
    assert_eq!(missing[0].0, "late-topic");
    let stop = Arc::new(AtomicBool::new(false));
    let waiting = std::thread::spawn({
        let stop = stop.clone();
        move || lookup.wait_for_topics(&stop, |_| ()).map(|discovered| discovered.leaders.len())
    });
    std::thread::sleep(Duration::from_millis(700));
    assert!(!waiting.is_finished());
    kafka.create_topics(&[("late-topic", 3)]);
    assert_eq!(waiting.join().unwrap().unwrap(), 3);

    let absent = self::lookup(&kafka.brokers(), "never-created");
    stop.store(true, Ordering::Relaxed);
    assert!(matches!(absent.wait_for_topics(&stop, |_| ()), Err(LookupError::Stopped)));
}

#[test]
fn records_deleted_before_they_were_read_are_counted() {
    let kafka = Kafka::shared();
    for strategy in ["cooperative-sticky", "range"] {
        let topic = format!("trimmed-{strategy}");
        kafka.create_topics(&[(&topic, 2)]);
        kafka.produce(&topic, numbered(0, 1000).chain(numbered(1, 50)));
        kafka.delete_records(&topic, 0, 400);
        let world = World::new();
        let starts = OffsetMap::from([(click(0), 100)]);
        let properties = [("partition.assignment.strategy", strategy)];
        let member = member(&kafka.brokers(), &topic, &world, &properties, starts, None);
        world.until_read(click(0), 1000);
        let told = world.told(click(0));
        assert_eq!(told[..2], [Told::Assigned(100), Told::Lost(100, 400)]);
        world.assert_applied_once(click(0), 400..1000);
        world.until_read(click(1), 50);
        world.assert_applied_once(click(1), 0..50);
        // It goes on as before.
        kafka.produce(&topic, numbered(0, 10));
        world.until_read(click(0), 1010);
        member.stop();
    }
}

#[test]
fn a_log_that_ends_before_the_cursor_is_not_read() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("recreated", 2)]);
    kafka.produce("recreated", numbered(0, 100).chain(numbered(1, 100)));
    let world = World::new();
    let starts = OffsetMap::from([(click(0), 5000)]);
    let member = member(&kafka.brokers(), "recreated", &world, &[], starts, None);
    world.until_read(click(1), 100);
    world.until("the other is quiet", |world| world.quiets(click(1)).len() >= 2);
    assert_eq!(world.told(click(0)), [Told::Assigned(5000)], "neither read nor lost nor quiet");
    member.stop();
}

#[test]
fn start_offsets_follow_the_setting() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("started", 3)]);
    let millis = |second: i64| 1_700_000_000_000 + second * 1000;
    let record = |partition, second| Record {
        timestamp_ms: Some(millis(second)),
        ..Record::new(partition, "x")
    };
    kafka.produce("started", (0..100).map(|second| record(0, second)));
    kafka.produce("started", (0..10).map(|second| record(1, second)));
    kafka.delete_records("started", 0, 20);
    let lookup = lookup(&kafka.brokers(), "started");
    let leaders = lookup.discover().unwrap().leaders;
    let start = |start: Start, second: i64| {
        let config = KafkaConfig { start, ..config(&kafka.brokers(), "started", &[]) };
        let from = EventTime::from_millis(millis(second));
        let ask = || lookup.start_offsets(&config, &leaders, from);
        let offsets = until_answered(&AtomicBool::new(false), ask).unwrap();
        [0, 1, 2].map(|index| offsets[&click(index)])
    };
    assert_eq!(start(Start::Earliest, 0), [20, 0, 0]);
    assert_eq!(start(Start::Latest, 0), [100, 10, 0]);
    assert_eq!(start(Start::Window, 60), [60, 10, 0], "no record that late: from the end");
    assert_eq!(start(Start::Window, 5), [20, 5, 0], "never before the log");
    assert_eq!(start(Start::Committed, 0), [20, 0, 0], "nothing committed: from the log's start");

    let world = World::new();
    let starts = OffsetMap::from([(click(0), 20)]);
    let member = member(&kafka.brokers(), "started", &world, &[], starts, None);
    world.until_read(click(0), 100);
    member.source.commit([(click(0), 77)]);
    let deadline = Instant::now() + WAIT;
    while start(Start::Committed, 0) != [77, 0, 0] {
        assert!(Instant::now() < deadline, "the commit does not arrive");
        std::thread::sleep(Duration::from_millis(50));
    }
    member.stop();
}

/// The demo runs on librdkafka's mock cluster.
#[test]
fn the_embedded_broker_serves_the_source() {
    let cluster = rdkafka::mocking::MockCluster::new(1).unwrap();
    cluster.create_topic("mocked", 4, 1).unwrap();
    let brokers = cluster.bootstrap_servers();
    let mut producer = rdkafka::ClientConfig::new();
    producer.set("bootstrap.servers", &brokers).set("compression.type", "lz4");
    let producer: rdkafka::producer::BaseProducer<kafka::MustDeliver> =
        producer.create_with_context(kafka::MustDeliver).unwrap();
    kafka::produce(&producer, "mocked", (0..4).flat_map(|partition| numbered(partition, 5000)));

    let world = World::new();
    let member = member(&brokers, "mocked", &world, &[], OffsetMap::new(), None);
    for index in 0..4 {
        world.until_read(click(index), 5000);
        world.assert_applied_once(click(index), 0..5000);
    }
    world.until("partitions are quiet", |world| !world.quiets(click(0)).is_empty());
    world.seeks.lock().unwrap().push((click(0), 10));
    world.until("it is read again", |world| {
        world.told(click(0)).iter().any(|told| matches!(told, Told::Records(10, ..)))
    });

    let lookup = lookup(&brokers, "mocked");
    let leaders = lookup.discover().unwrap().leaders;
    let config = KafkaConfig { start: Start::Window, ..config(&brokers, "mocked", &[]) };
    let by_time = lookup.start_offsets(&config, &leaders, EventTime::from_millis(1));
    assert!(matches!(by_time, Err(LookupError::NoOffsetsByTime)), "{by_time:?}");
    member.stop();
}
