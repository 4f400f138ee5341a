//! Many rebalances: members join and leave as a seed says while a producer writes.
//!
//! The long form: `NAZAR_REBALANCES=1000 cargo test --release --test kafka_source stress --
//! --nocapture`; `NAZAR_SEED` chooses another course.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::fixture::*;
use crate::kafka::{self, Kafka};

const PARTITIONS: i32 = 6;
const MEMBERS_MAX: usize = 3;
/// How long a member that joins or leaves may take until every partition has an owner again.
const SETTLED_MAX: Duration = Duration::from_secs(30);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// xorshift64*: the course of members depends on the seed alone.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }
}

fn rebalance_many_times(topic: &str, properties: &[(&str, &str)], rebalances: u64) {
    let seed = number("NAZAR_SEED", 1).max(1);
    let kafka = Kafka::shared();
    kafka.create_topics(&[(topic, PARTITIONS)]);
    let producing = Arc::new(AtomicBool::new(true));
    let producer = std::thread::spawn({
        let (producing, producer) = (producing.clone(), kafka.producer(&[]));
        let topic = topic.to_owned();
        move || {
            while producing.load(Ordering::Relaxed) {
                let batch = (0..PARTITIONS).flat_map(|partition| numbered(partition, 20));
                kafka::produce(&producer, &topic, batch);
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    });
    let brokers = kafka.brokers();
    let world = World::new();
    let mut dice = Dice(seed);
    let mut members: Vec<(String, Member)> = Vec::new();
    let started = Instant::now();
    let mut slowest = Duration::ZERO;
    for step in 0..rebalances {
        let begun = Instant::now();
        let joins = members.len() < 2 || members.len() < MEMBERS_MAX && dice.roll(2) == 0;
        if joins {
            let name = format!("m{step}");
            let joining = Joining::new(&brokers, topic).named(&name).with(properties);
            members.push((name.clone(), joining.join(&world)));
        } else {
            let (_, member) = members.remove(dice.roll(members.len()));
            member.stop();
        }
        // Now and then the next change comes while this one is still under way.
        if dice.roll(4) == 0 {
            continue;
        }
        let fair = PARTITIONS as usize / members.len();
        while !members.iter().all(|(name, _)| world.owned_by(name).len() == fair) {
            assert!(begun.elapsed() < SETTLED_MAX, "step {step} (seed {seed}) does not settle");
            std::thread::sleep(Duration::from_millis(2));
        }
        slowest = slowest.max(begun.elapsed());
    }
    let took = started.elapsed();
    producing.store(false, Ordering::Relaxed);
    producer.join().unwrap();
    let mut records = 0;
    for index in 0..PARTITIONS {
        let end = kafka.offsets(topic, index).1;
        world.until_read(click(index), end);
        world.assert_applied_once(click(index), 0..end);
        records += end;
    }
    members.into_iter().for_each(|(_, member)| member.stop());
    let lost = world.count(|told| matches!(told, Told::Revoked { lost: true }));
    let revoked = world.count(|told| matches!(told, Told::Revoked { .. }));
    println!(
        "{topic}: {rebalances} joins and leaves (seed {seed}) in {:.1} s, {:.0} a minute, the \
         slowest settled after {:.2} s; {revoked} revocations, {lost} of them lost; {records} \
         records, each applied once",
        took.as_secs_f64(),
        rebalances as f64 * 60.0 / took.as_secs_f64(),
        slowest.as_secs_f64(),
    );
}

#[test]
fn many_rebalances_lose_and_repeat_nothing() {
    rebalance_many_times("stress", &[], number("NAZAR_REBALANCES", 30));
}

#[test]
fn many_rebalances_by_the_broker_lose_and_repeat_nothing() {
    let properties = [("group.protocol", "consumer")];
    rebalance_many_times("stress-848", &properties, number("NAZAR_REBALANCES", 30));
}

#[test]
fn many_eager_rebalances_lose_and_repeat_nothing() {
    let properties = [("partition.assignment.strategy", "range")];
    rebalance_many_times("stress-eager", &properties, number("NAZAR_REBALANCES", 30));
}
