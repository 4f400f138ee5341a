//! Members that end or stall without a word.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use crate::fixture::*;
use crate::kafka::Kafka;

const BROKERS: &str = "NAZAR_TEST_MEMBER_BROKERS";
const TOPIC: &str = "NAZAR_TEST_MEMBER_TOPIC";
const PROTOCOL: &str = "NAZAR_TEST_MEMBER_PROTOCOL";

/// Not a test: the member that another test kills. It reads and never tells anybody, and
/// ends with whoever holds the other end of its input.
#[test]
#[ignore = "run by the test that kills it"]
fn member_of_another_process() {
    let [Ok(brokers), Ok(topic), Ok(protocol)] = [BROKERS, TOPIC, PROTOCOL].map(std::env::var)
    else {
        return;
    };
    let world = World::new();
    let properties = [("group.protocol", protocol.as_str())];
    let _member = Joining::new(&brokers, &topic).with(&properties).join(&world);
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    world.until("it owns some", |world| !world.owned_by("a").is_empty());
    for partition in world.owned_by("a") {
        world.until("it has read", |world| world.cursor(partition) > 0);
    }
    println!("member reads");
    loop {
        std::thread::park();
    }
}

/// A member in a process of its own that owns partitions and has read from each.
fn other_process(brokers: &str, topic: &str, protocol: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "deaths::member_of_another_process", "--ignored", "--nocapture"])
        .envs([(BROKERS, brokers), (TOPIC, topic), (PROTOCOL, protocol)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    assert!(output.lines().any(|line| line.unwrap().contains("member reads")));
    child
}

#[test]
fn the_partitions_of_a_killed_member_are_read_again_from_the_cursor() {
    let kafka = Kafka::shared();
    for protocol in ["classic", "consumer"] {
        let topic = format!("killed-{protocol}");
        kafka.create_topics(&[(&topic, 4)]);
        kafka.produce(&topic, (0..4).flat_map(|partition| numbered(partition, 1000)));
        let brokers = kafka.brokers();
        let world = World::new();
        let properties = [("group.protocol", protocol)];
        let a = Joining::new(&brokers, &topic).with(&properties).join(&world);
        world.until("a owns all", |world| world.owned_by("a").len() == 4);
        let mut child = other_process(&brokers, &topic, protocol);
        world.until("a owns half", |world| world.owned_by("a").len() == 2);
        // SIGKILL: neither a leave nor a hand-over.
        child.kill().unwrap();
        child.wait().unwrap();
        kafka.produce(&topic, (0..4).flat_map(|partition| numbered(partition, 1000)));
        world.until("a has them again", |world| world.owned_by("a").len() == 4);
        for index in 0..4 {
            world.until_read(click(index), 2000);
            world.assert_applied_once(click(index), 0..2000);
        }
        a.stop();
    }
}

/// A member whose owner takes longer than max.poll.interval.ms loses its partitions, drops what
/// was open, and is back by itself.
#[test]
fn a_member_that_polls_too_late_loses_its_partitions_and_comes_back() {
    let kafka = Kafka::shared();
    for protocol in ["classic", "consumer"] {
        let topic = format!("slow-{protocol}");
        kafka.create_topics(&[(&topic, 4)]);
        let brokers = kafka.brokers();
        let world = World::new();
        let mut properties = vec![("group.protocol", protocol), ("max.poll.interval.ms", "6000")];
        if protocol == "classic" {
            properties.push(("session.timeout.ms", "3000"));
        }
        let join = |name| Joining::new(&brokers, &topic).named(name).with(&properties).join(&world);
        let (a, b) = (join("a"), join("b"));
        world.until("both own half", |world| {
            ["a", "b"].iter().all(|name| world.owned_by(name).len() == 2)
        });
        a.block(12_000);
        kafka.produce(&topic, (0..4).flat_map(|partition| numbered(partition, 1000)));
        // B gets everything while A still believes that it has its own.
        world.until("b owns all", |world| world.owned_by("b").len() == 4);
        assert_eq!(world.owned_by("a").len(), 2, "a has not been told yet");
        for index in 0..4 {
            world.until_read(click(index), 1000);
        }
        let lost = |e: &Entry| e.member == "a" && e.told == Told::Revoked { lost: true };
        world.until("a is told", |world| world.entries(lost).len() == 2);
        world.until("both own half again", |world| {
            ["a", "b"].iter().all(|name| world.owned_by(name).len() == 2)
        });
        kafka.produce(&topic, (0..4).flat_map(|partition| numbered(partition, 1000)));
        for index in 0..4 {
            world.until_read(click(index), 2000);
            world.assert_applied_once(click(index), 0..2000);
        }
        a.stop();
        b.stop();
    }
}
