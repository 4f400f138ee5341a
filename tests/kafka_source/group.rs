//! Members that join and leave while records keep coming.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nazar::pipeline::offset::OffsetMap;

use crate::fixture::*;
use crate::kafka::{self, Kafka};

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
    let count = |wanted: fn(&Told) -> bool| world.count(wanted);
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
