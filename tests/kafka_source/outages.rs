//! Brokers that restart, are away, or die.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::fixture::*;
use crate::kafka::{self, Kafka};

#[test]
fn reading_goes_on_after_the_broker_was_restarted_and_after_it_was_away() {
    let kafka = Kafka::start();
    kafka.create_topics(&[("restarted", 3)]);
    let world = World::new();
    let brokers = kafka.brokers();
    let (a, b) = (
        Joining::new(&brokers, "restarted").named("a").join(&world),
        Joining::new(&brokers, "restarted").named("b").join(&world),
    );
    world.until("both own some", |world| {
        world.owned_by("a").len() + world.owned_by("b").len() == 3
            && ["a", "b"].iter().all(|name| !world.owned_by(name).is_empty())
    });
    let mut end = 0;
    // The second time everything is away for longer than the session.
    for away in [0, 8] {
        kafka.produce("restarted", (0..3).flat_map(|partition| numbered(partition, 500)));
        kafka.stop();
        std::thread::sleep(Duration::from_millis(500));
        world.forget_told();
        std::thread::sleep(Duration::from_secs(away));
        assert_eq!(world.count(|told| matches!(told, Told::Quiet(_))), 0, "nobody can say so");
        kafka.restart();
        kafka.produce("restarted", (0..3).flat_map(|partition| numbered(partition, 500)));
        end += 1000;
        for index in 0..3 {
            world.until_read(click(index), end);
            world.until("it is quiet", |world| world.quiets(click(index)).contains(&end));
            world.assert_applied_once(click(index), 0..end);
        }
    }
    assert_eq!(world.count(|told| matches!(told, Told::Replaced | Told::Lost(..))), 0);
    a.stop();
    b.stop();
}

/// kill -9 of the leader of a partition, three times in a row, each time another broker. What
/// was acknowledged with acks=all is read, once.
#[test]
fn every_acknowledged_record_is_read_when_leaders_die() {
    const PARTITIONS: i32 = 6;
    let kafka = Kafka::start_cluster(3);
    kafka.create_topic("led", PARTITIONS, &[("min.insync.replicas", "2")]);
    let world = World::new();
    // A retry of the producer may append a record twice; an idempotent one does not.
    let producer = kafka.producer(&[("enable.idempotence", "true")]);
    let producing = Arc::new(AtomicBool::new(true));
    let writer = std::thread::spawn({
        let producing = producing.clone();
        move || {
            let mut written = 0;
            while producing.load(Ordering::Relaxed) {
                let batch = (0..PARTITIONS).flat_map(|partition| numbered(partition, 20));
                kafka::produce(&producer, "led", batch);
                written += 20;
                std::thread::sleep(Duration::from_millis(10));
            }
            written
        }
    });
    let brokers = kafka.brokers();
    let (a, b) = (
        Joining::new(&brokers, "led").named("a").join(&world),
        Joining::new(&brokers, "led").named("b").join(&world),
    );
    world.until("both own half", |world| {
        ["a", "b"].iter().all(|name| world.owned_by(name).len() == 3)
    });
    for index in 0..3 {
        let leader = kafka.leader("led", index);
        let before = world.cursor(click(index));
        world.until_read(click(index), before + 100);
        kafka.kill_node(leader);
        world.until("another leads", |_| {
            let now = kafka.leader("led", index);
            now >= 0 && now != leader
        });
        let at = world.cursor(click(index));
        world.until_read(click(index), at + 200);
        kafka.restart_node(leader);
        world.until("it is back in sync", |_| kafka.in_sync("led", index) == 3);
    }
    producing.store(false, Ordering::Relaxed);
    let written: i64 = writer.join().unwrap();
    for index in 0..PARTITIONS {
        world.until_read(click(index), written);
        world.assert_applied_once(click(index), 0..written);
    }
    assert_eq!(world.count(|told| matches!(told, Told::Replaced | Told::Lost(..))), 0);
    a.stop();
    b.stop();
}
