//! The group protocols: cooperative, eager, static members, and the one of KIP-848.

use std::time::Duration;

use crate::fixture::*;
use crate::kafka::Kafka;

const PARTITIONS: i32 = 6;
const COOPERATIVE: &[(&str, &str)] = &[];
const EAGER: &[(&str, &str)] = &[("partition.assignment.strategy", "range")];
const BROKER_SIDE: &[(&str, &str)] = &[("group.protocol", "consumer")];

/// A alone, then with B and C, then with C, then alone again; records in each phase.
fn members_come_and_go(topic: &str, properties: &[(&str, &str)]) {
    let kafka = Kafka::shared();
    kafka.create_topics(&[(topic, PARTITIONS)]);
    let brokers = kafka.brokers();
    let world = World::new();
    let join = |name| Joining::new(&brokers, topic).named(name).with(properties).join(&world);
    let mut end = 0;
    let mut produce_and_read = || {
        kafka.produce(topic, (0..PARTITIONS).flat_map(|partition| numbered(partition, 500)));
        end += 500;
        for index in 0..PARTITIONS {
            world.until_read(click(index), end);
        }
        end
    };
    let owns = |name: &str, count: usize| {
        world.until(&format!("{name} owns {count}"), |world| world.owned_by(name).len() == count);
    };
    let a = join("a");
    owns("a", 6);
    produce_and_read();
    let (b, c) = (join("b"), join("c"));
    ["a", "b", "c"].iter().for_each(|name| owns(name, 2));
    produce_and_read();
    b.stop();
    ["a", "c"].iter().for_each(|name| owns(name, 3));
    produce_and_read();
    a.stop();
    owns("c", 6);
    let end = produce_and_read();
    c.stop();
    for index in 0..PARTITIONS {
        world.assert_applied_once(click(index), 0..end);
    }
    assert_eq!(world.count(|told| matches!(told, Told::Revoked { lost: true })), 0);
}

#[test]
fn cooperative_members_share_and_hand_over() {
    members_come_and_go("cooperative", COOPERATIVE);
}

#[test]
fn eager_members_share_and_hand_over() {
    members_come_and_go("eager", EAGER);
}

#[test]
fn members_of_the_broker_side_protocol_share_and_hand_over() {
    members_come_and_go("broker-side", BROKER_SIDE);
}

#[test]
fn a_cooperative_member_keeps_what_does_not_move() {
    let kafka = Kafka::shared();
    for (topic, properties, moved) in
        [("kept", COOPERATIVE, 3), ("kept-848", BROKER_SIDE, 3), ("all-moved", EAGER, 6)]
    {
        kafka.create_topics(&[(topic, PARTITIONS)]);
        let brokers = kafka.brokers();
        let world = World::new();
        let join = |name| Joining::new(&brokers, topic).named(name).with(properties).join(&world);
        let a = join("a");
        world.until("a owns all", |world| world.owned_by("a").len() == 6);
        let b = join("b");
        world.until("b owns half", |world| world.owned_by("b").len() == 3);
        world.until("a owns half", |world| world.owned_by("a").len() == 3);
        let revoked = |e: &Entry| e.member == "a" && matches!(e.told, Told::Revoked { .. });
        assert_eq!(world.entries(revoked).len(), moved, "{topic}");
        b.stop();
        a.stop();
    }
}

/// A static member that is back within the session finds its partitions, and nobody else is
/// disturbed.
#[test]
fn a_static_member_that_restarts_in_time_causes_no_rebalance() {
    let kafka = Kafka::shared();
    let protocols: [(&str, &[(&str, &str)]); 2] =
        [("static", &[("session.timeout.ms", "20000")]), ("static-848", BROKER_SIDE)];
    for (topic, properties) in protocols {
        kafka.create_topics(&[(topic, PARTITIONS)]);
        let brokers = kafka.brokers();
        let world = World::new();
        let join = |name: &str| {
            let mut properties = properties.to_vec();
            properties.push(("group.instance.id", name));
            Joining::new(&brokers, topic).named(name).with(&properties).join(&world)
        };
        let (a, b) = (join("a"), join("b"));
        world.until("both own half", |world| {
            ["a", "b"].iter().all(|name| world.owned_by(name).len() == 3)
        });
        let before = world.owned_by("b");
        b.stop();
        kafka.produce(topic, (0..PARTITIONS).flat_map(|partition| numbered(partition, 100)));
        world.forget_told();
        let b = join("b");
        world.until("b is back", |world| world.owned_by("b").len() == 3);
        assert_eq!(world.owned_by("b"), before);
        for index in 0..PARTITIONS {
            world.until_read(click(index), 100);
            world.assert_applied_once(click(index), 0..100);
        }
        std::thread::sleep(Duration::from_millis(500));
        let rebalanced = |told: &Told| matches!(told, Told::Assigned(_) | Told::Revoked { .. });
        let of_a = world.entries(|entry| entry.member == "a" && rebalanced(&entry.told));
        assert!(of_a.is_empty(), "{topic}: {of_a:?}");
        a.stop();
        b.stop();
    }
}

#[test]
fn seeks_work_with_the_broker_side_protocol() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("sought-848", 2)]);
    kafka.produce("sought-848", numbered(0, 1000).chain(numbered(1, 1000)));
    kafka.delete_records("sought-848", 1, 300);
    let world = World::new();
    let brokers = kafka.brokers();
    let member = Joining::new(&brokers, "sought-848").with(BROKER_SIDE).join(&world);
    world.until_read(click(0), 1000);
    world.until_read(click(1), 1000);
    assert!(world.told(click(1)).contains(&Told::Lost(0, 300)));
    for target in [3, 999, 0] {
        world.forget_told();
        world.seek(click(0), target);
        world.until("records come again", |world| !world.told(click(0)).is_empty());
        let first = world.told(click(0)).remove(0);
        assert!(matches!(first, Told::Records(offset, ..) if offset == target), "{first:?}");
        world.until_read(click(0), 1000);
    }
    member.stop();
}
