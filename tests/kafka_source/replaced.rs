//! A topic that is deleted and made anew while it is being read.

use std::time::Duration;

use nazar::pipeline::identity::{Continuation, continuation, verify_logs};
use rdkafka::admin::TopicReplication;

use crate::fixture::*;
use crate::kafka::Kafka;

fn recreate(kafka: &Kafka, topic: &str, gone: Duration) {
    kafka.delete_topic(topic);
    std::thread::sleep(gone);
    // The broker may still be deleting.
    for _ in 0..50 {
        if std::panic::catch_unwind(|| kafka.create_topics(&[(topic, 2)])).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("the topic could not be created again");
}

/// The new log is shorter, so its ends say it.
#[test]
fn a_topic_that_is_made_anew_is_told_and_not_read_on() {
    let kafka = Kafka::start();
    kafka.create_topics(&[("anew", 2)]);
    kafka.produce("anew", numbered(0, 1000).chain(numbered(1, 1000)));
    let world = World::new();
    let brokers = kafka.brokers();
    let member = Joining::new(&brokers, "anew").join(&world);
    for index in 0..2 {
        world.until("it is read and its end is known", |world| {
            world.quiets(click(index)).contains(&1000)
        });
    }
    recreate(&kafka, "anew", Duration::ZERO);
    kafka.produce("anew", numbered(0, 300).chain(numbered(1, 300)));
    for index in 0..2 {
        world.until("it is told", |world| world.told(click(index)).contains(&Told::Replaced));
    }
    // It grows beyond the old cursor: exactly then an offset alone would seem to fit.
    kafka.produce("anew", numbered(0, 1700).chain(numbered(1, 1700)));
    std::thread::sleep(Duration::from_secs(3));
    for index in 0..2 {
        assert_eq!(world.cursor(click(index)), 1000, "nothing of the new log");
        assert!(world.quiets(click(index)).iter().all(|&at| at <= 1000));
    }
    // The owner decides to begin it; a plain seek, which may be from before, does not.
    world.forget_told();
    world.seek(click(0), 0);
    world.seek_in_new_log(click(1), 0);
    world.until_read(click(1), 2000);
    let read = world.told(click(1)).into_iter().find(|told| matches!(told, Told::Records(..)));
    assert!(matches!(read, Some(Told::Records(0, ..))), "{read:?}");
    world.until("it is quiet", |world| world.quiets(click(1)).contains(&2000));
    assert_eq!(world.told(click(0)), [], "neither read nor quiet");
    member.stop();
}

/// The new log has outgrown the old one before its ends are asked for again, but the topic was
/// seen to be missing.
#[test]
fn a_topic_that_was_gone_is_another_even_if_it_is_longer() {
    let kafka = Kafka::start();
    kafka.create_topics(&[("longer", 2)]);
    kafka.produce("longer", numbered(0, 100).chain(numbered(1, 100)));
    let world = World::new();
    let brokers = kafka.brokers();
    let member = Joining::new(&brokers, "longer").join(&world);
    for index in 0..2 {
        world.until("it is read and its end is known", |world| {
            world.quiets(click(index)).contains(&100)
        });
    }
    // Members are held back so that none reads on before the ends are known.
    world.hold.store(true, std::sync::atomic::Ordering::Relaxed);
    recreate(&kafka, "longer", Duration::from_secs(6));
    kafka.produce("longer", numbered(0, 500).chain(numbered(1, 500)));
    for index in 0..2 {
        world.until("it is told", |world| world.told(click(index)).contains(&Told::Replaced));
    }
    world.hold.store(false, std::sync::atomic::Ordering::Relaxed);
    std::thread::sleep(Duration::from_secs(2));
    for index in 0..2 {
        assert_eq!(world.cursor(click(index)), 100, "nothing of the new log");
    }
    member.stop();
}

/// A real unclean election: the replica that becomes the leader was down while records were
/// written, so the log loses a tail that has been read.
#[test]
fn a_leader_without_the_tail_is_told_and_known_by_fingerprints() {
    let kafka = Kafka::start_cluster(3);
    kafka.create_replicated(
        "unclean",
        1,
        TopicReplication::Variable(&[&[1, 2]]),
        &[("unclean.leader.election.enable", "true")],
    );
    let world = World::new();
    let brokers = kafka.brokers();
    let print = |world: &World| world.fingerprints.lock().unwrap()[&click(0)];
    let member = Joining::new(&brokers, "unclean").join(&world);
    kafka.produce("unclean", numbered(0, 100));
    world.until_read(click(0), 100);
    let older = print(&world);
    world.until("both have them", |_| kafka.in_sync("unclean", 0) == 2);
    kafka.kill_node(2);
    world.until("one is in sync", |_| kafka.in_sync("unclean", 0) == 1);
    kafka.produce("unclean", numbered(0, 100));
    world.until("all are read", |world| world.quiets(click(0)).contains(&200));
    let newest = print(&world);
    assert_eq!((older.offset, newest.offset), (99, 199));
    kafka.kill_node(1);
    kafka.restart_node(2);
    world.until("the other leads", |_| kafka.leader("unclean", 0) == 2);
    world.until("it is told", |world| world.told(click(0)).contains(&Told::Replaced));
    let prints = [(click(0), newest), (click(0), older)];
    let decide = || {
        let config = config(&brokers, "unclean", &[]);
        let lookup = lookup(&brokers, "unclean");
        let verdicts = verify_logs(&config, &lookup, &prints, Duration::from_secs(10));
        let verdicts =
            verdicts.into_iter().zip(prints).map(|((_, verdict), (_, print))| (print, verdict));
        continuation(200, &verdicts.collect::<Vec<_>>())
    };
    assert_eq!(decide(), Continuation::Truncated { from: 100, reread_max: 0 });
    kafka.produce("unclean", numbered(0, 300));
    assert_eq!(decide(), Continuation::Truncated { from: 100, reread_max: 100 });
    assert_eq!(world.cursor(click(0)), 200, "nothing of the other log was read");
    member.stop();
}
