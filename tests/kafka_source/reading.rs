//! Where reading begins, goes on after a seek, and ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nazar::config::{KafkaConfig, Start};
use nazar::pipeline::offset::{LookupError, OffsetMap, until_answered};
use nazar::time::EventTime;

use crate::fixture::*;
use crate::kafka::{self, Kafka, Record};

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
            world.forget_told();
            world.seek(click(0), target);
            world.until("records come again", |world| !world.told(click(0)).is_empty());
            let first = world.told(click(0)).remove(0);
            assert!(matches!(first, Told::Records(offset, ..) if offset == target), "{first:?}");
            world.until_read(click(0), 10_000);
        }
        member.stop();
    }
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

/// Seven hours of event time, of which five minutes may be read ahead of what is merged. Without the
/// source's asking, nothing would ever be handed over here.
#[test]
fn what_was_read_is_handed_over_before_reading_has_to_wait() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("ahead", 2)]);
    for partition in [0, 1] {
        kafka.produce("ahead", numbered(partition, 25_000));
    }
    let world = World::new();
    world.is_timed.store(true, Ordering::Relaxed);
    let member = member(&kafka.brokers(), "ahead", &world, &[], OffsetMap::new(), None);
    // Less than a quarter of the five minutes waits for the clock.
    for partition in [click(0), click(1)] {
        world.until_read(partition, 25_000 - 75);
    }
    member.stop();
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

    let before = |second: i64, records: i64| {
        let from = EventTime::from_millis(millis(second));
        let ask = || lookup.offsets_before(&leaders, from, records);
        let offsets = until_answered(&AtomicBool::new(false), ask).unwrap();
        [0, 1, 2].map(|index| offsets[&click(index)])
    };
    assert_eq!(before(60, 0), [60, 10, 0]);
    assert_eq!(before(60, 8), [52, 2, 0]);
    assert_eq!(before(60, 64), [20, 0, 0], "as far as the log has them");

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
    world.seek(click(0), 10);
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
