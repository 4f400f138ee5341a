//! Who is quiet: the broker's word, and nothing else.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nazar::pipeline::offset::OffsetMap;
use rdkafka::producer::Producer;

use crate::fixture::*;
use crate::kafka::{self, Kafka};

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
    world.forget_told();
    world.until("the other partition is quiet", |world| world.quiets(click(1)).len() >= 3);
    assert!(world.quiets(click(0)).is_empty(), "held back, not quiet");
    world.hold.store(false, Ordering::Relaxed);
    world.until("it is quiet at its new end", |world| world.quiets(click(0)).contains(&110));

    // A dead broker says nothing, so nobody is quiet. An answer may be on its way.
    kafka.freeze();
    std::thread::sleep(Duration::from_millis(500));
    world.forget_told();
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
    world.forget_told();
    std::thread::sleep(Duration::from_millis(2500));
    assert!(world.quiets(click(0)).is_empty(), "records wait behind the open transaction");
    producer.abort_transaction(WAIT).unwrap();
    member.stop();
}
