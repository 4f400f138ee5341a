//! Transactions and compaction: logs whose offsets do not all hold records.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::producer::Producer;

use crate::fixture::*;
use crate::kafka::{self, Kafka, Record};

const COMMITTED_ONLY: &[(&str, &str)] = &[("isolation.level", "read_committed")];

#[test]
fn exactly_the_committed_records_are_read() {
    const PARTITIONS: i32 = 3;
    let kafka = Kafka::shared();
    kafka.create_topics(&[("mixed", PARTITIONS)]);
    let world = World::new();
    world.holes.store(true, Ordering::Relaxed);
    let brokers = kafka.brokers();
    let member = Joining::new(&brokers, "mixed").with(COMMITTED_ONLY).join(&world);
    let producer = kafka.producer(&[("transactional.id", "mixed")]);
    producer.init_transactions(WAIT).unwrap();
    // Where each transaction's records are: (commit, offsets), the same in every partition.
    let mut committed = Vec::new();
    let mut next = 0;
    for round in 0..20 {
        let commit = round % 3 != 1;
        producer.begin_transaction().unwrap();
        kafka::produce(
            &producer,
            "mixed",
            (0..PARTITIONS).flat_map(|partition| numbered(partition, 50)),
        );
        if commit {
            producer.commit_transaction(WAIT).unwrap();
            committed.extend(next..next + 50);
        } else {
            producer.abort_transaction(WAIT).unwrap();
        }
        // And the marker.
        next += 51;
        world.until("the markers are there", |_| {
            (0..PARTITIONS).all(|index| kafka.offsets("mixed", index).1 == next)
        });
    }
    for index in 0..PARTITIONS {
        world.until("it is quiet at its end", |world| world.quiets(click(index)).contains(&next));
        let applied: Vec<(i64, usize)> = committed.iter().map(|&offset| (offset, 1)).collect();
        assert_eq!(world.applied(click(index)), applied);
    }
    // Records hidden by an open transaction: silent, but never quiet, however long it takes.
    // The other partition has nothing that is hidden.
    producer.begin_transaction().unwrap();
    kafka::produce(&producer, "mixed", numbered(0, 10));
    std::thread::sleep(Duration::from_millis(1200));
    world.forget_told();
    world.until("the other is quiet", |world| world.quiets(click(1)).len() >= 4);
    assert_eq!(world.told(click(0)), [], "neither read nor quiet");
    producer.commit_transaction(WAIT).unwrap();
    let end = next + 11;
    world.until("it is read and quiet", |world| world.quiets(click(0)).contains(&end));
    assert_eq!(world.applied(click(0)).len(), committed.len() + 10);
    member.stop();
}

#[test]
fn the_gaps_of_a_compacted_topic_are_passed() {
    let kafka = Kafka::shared();
    let eager_cleaning = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "100"),
        ("min.compaction.lag.ms", "0"),
    ];
    kafka.create_topic("compacted", 1, &eager_cleaning);
    let keyed = |key: usize| Record { key: Some(format!("k{key}").into()), ..Record::new(0, "x") };
    // Every key a hundred times; segments roll with the first record after their time.
    for _ in 0..4 {
        kafka.produce("compacted", (0..2500).map(|number| keyed(number % 100)));
        std::thread::sleep(Duration::from_millis(150));
    }
    let count = || {
        let world = World::new();
        world.holes.store(true, Ordering::Relaxed);
        let brokers = kafka.brokers();
        let member = Joining::new(&brokers, "compacted").join(&world);
        world.until_read(click(0), 10_000);
        world.until("it is quiet", |world| world.quiets(click(0)).contains(&10_000));
        member.stop();
        assert_eq!(world.count(|told| matches!(told, Told::Lost(..) | Told::Replaced)), 0);
        assert!(world.applied(click(0)).iter().all(|&(_, times)| times == 1));
        world.applied(click(0)).len()
    };
    let mut cleaned = 10_000;
    for _ in 0..20 {
        cleaned = count();
        if cleaned < 9_000 {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(cleaned < 9_000, "the broker did not compact: {cleaned}");
}
