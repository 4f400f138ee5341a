//! Logs that do not have what is to be read next.

use std::sync::atomic::Ordering;

use nazar::pipeline::offset::OffsetMap;

use crate::fixture::*;
use crate::kafka::Kafka;

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
    let told = [Told::Assigned(5000), Told::Replaced];
    assert_eq!(world.told(click(0)), told, "neither read nor lost nor quiet");
    member.stop();
}

/// Retention overtakes a reader that is held back: each deletion is told once, exactly.
#[test]
fn retention_that_overtakes_a_held_reader_is_counted_exactly() {
    let kafka = Kafka::shared();
    // Records of 100 kB: far more than the reader prefetches while it is held.
    let large = |count| (0..count).map(|_| crate::kafka::Record::new(0, vec![b'x'; 100_000]));
    kafka.create_topics(&[("overtaken", 1)]);
    kafka.produce("overtaken", large(10));
    let world = World::new();
    let member = member(
        &kafka.brokers(),
        "overtaken",
        &world,
        &[("queued.min.messages", "1"), ("queued.max.messages.kbytes", "1000")],
        OffsetMap::new(),
        None,
    );
    world.until_read(click(0), 10);
    world.hold.store(true, Ordering::Relaxed);
    kafka.produce("overtaken", large(500));
    kafka.delete_records("overtaken", 0, 400);
    world.hold.store(false, Ordering::Relaxed);
    world.until_read(click(0), 510);
    let lost: Vec<_> = world
        .told(click(0))
        .into_iter()
        .filter_map(|told| if let Told::Lost(from, to) = told { Some((from, to)) } else { None })
        .collect();
    let [(from, 400)] = lost[..] else { panic!("{lost:?}") };
    // What was fetched before it was deleted still counts; the fixture checks that the
    // records before the gap end where the gap begins.
    assert!((10..400).contains(&from), "{from}");
    let applied: Vec<i64> = world.applied(click(0)).into_iter().map(|(at, _)| at).collect();
    assert_eq!(applied, (0..from).chain(400..510).collect::<Vec<_>>());
    member.stop();
}
