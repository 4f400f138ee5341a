//! Comparing logs with what was read of them before.

use std::time::{Duration, Instant};

use nazar::pipeline::delivery::Partition;
use nazar::pipeline::identity::{
    Continuation, Fingerprint, LogVerdict, check_cluster, continuation, verify_logs,
};
use rdkafka::producer::Producer;

use crate::fixture::*;
use crate::kafka::{self, Kafka, Record};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the topic up to `end` in each partition, and returns what would be stored.
fn read_and_remember(
    kafka: &Kafka,
    topic: &str,
    partitions: i32,
    end: i64,
) -> Vec<(Partition, Fingerprint)> {
    let world = World::new();
    world.holes.store(true, std::sync::atomic::Ordering::Relaxed);
    let brokers = kafka.brokers();
    let member = Joining::new(&brokers, topic).join(&world);
    for index in 0..partitions {
        world.until_read(click(index), end);
    }
    member.stop();
    let prints = world.fingerprints.lock().unwrap();
    prints.iter().map(|(&id, &print)| (id, print)).collect()
}

fn verify(kafka: &Kafka, topic: &str, prints: &[(Partition, Fingerprint)]) -> Vec<LogVerdict> {
    let brokers = kafka.brokers();
    let verdicts =
        verify_logs(&config(&brokers, topic, &[]), &lookup(&brokers, topic), prints, TIMEOUT);
    assert!(verdicts.iter().map(|(id, _)| id).eq(prints.iter().map(|(id, _)| id)));
    verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

#[test]
fn the_same_log_is_known_again_quickly_however_many_partitions_there_are() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("same", 64)]);
    kafka.produce("same", (0..64).flat_map(|partition| numbered(partition, 200)));
    let prints = read_and_remember(kafka, "same", 64, 200);
    assert_eq!(prints.len(), 64);
    kafka.produce("same", (0..64).flat_map(|partition| numbered(partition, 5000)));
    let started = Instant::now();
    assert_eq!(verify(kafka, "same", &prints), vec![LogVerdict::Same; 64]);
    println!("64 logs were compared in {} ms", started.elapsed().as_millis());
    assert!(started.elapsed() < TIMEOUT, "all at once, not one after the other");
    assert_eq!(verify(kafka, "same", &[]), []);
}

#[test]
fn retention_is_told_from_the_rest_and_its_gap_counted() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("retained", 3)]);
    kafka.produce("retained", (0..3).flat_map(|partition| numbered(partition, 100)));
    let prints = read_and_remember(kafka, "retained", 3, 100);
    kafka.produce("retained", (0..3).flat_map(|partition| numbered(partition, 100)));
    kafka.delete_records("retained", 0, 99);
    kafka.delete_records("retained", 1, 100);
    kafka.delete_records("retained", 2, 150);
    let verdicts = verify(kafka, "retained", &prints);
    let gone = |log_start| LogVerdict::GoneToRetention { log_start };
    assert_eq!(verdicts, [LogVerdict::Same, gone(100), gone(150)]);
    let next = verdicts.into_iter().map(|verdict| continuation(100, &[(prints[0].1, verdict)]));
    let go_on = Continuation::GoOn { from: 100 };
    let gap = Continuation::Gap { from: 100, to: 150 };
    assert_eq!(next.collect::<Vec<_>>(), [go_on, go_on, gap]);
}

#[test]
fn a_topic_that_was_made_anew_between_two_runs_is_another() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("other", 3)]);
    kafka.produce("other", (0..3).flat_map(|partition| numbered(partition, 100)));
    let prints = read_and_remember(kafka, "other", 3, 100);
    kafka.delete_topic("other");
    let brokers = kafka.brokers();
    let wait = Instant::now() + WAIT;
    while !lookup(&brokers, "other").discover().unwrap().unknown.contains("other") {
        assert!(Instant::now() < wait);
        std::thread::sleep(Duration::from_millis(50));
    }
    for verdict in verify(kafka, "other", &prints) {
        assert!(matches!(verdict, LogVerdict::Unknown(_)), "{verdict:?}");
    }
    kafka.create_topics(&[("other", 3)]);
    // The very same bytes, but at another time; a longer log; a shorter one; an empty one.
    kafka.produce("other", numbered(0, 1000).chain(numbered(1, 50)));
    let verdicts = verify(kafka, "other", &prints);
    let beyond = |log_end| LogVerdict::BeyondEnd { log_start: 0, log_end };
    assert_eq!(verdicts, [LogVerdict::Different { log_start: 0 }, beyond(50), beyond(0)]);
    for verdict in verdicts {
        assert_eq!(continuation(100, &[(prints[0].1, verdict)]), Continuation::Anew { from: 0 });
    }
}

/// A log that lost its tail: what an unclean election leaves, as far as a reader can see. The
/// fingerprint at 149 was taken of a record that is not there, the one at 99 is.
#[test]
fn a_log_that_lost_its_tail_is_told_from_another_by_an_older_fingerprint() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("tail", 2)]);
    kafka.produce("tail", (0..2).flat_map(|partition| numbered(partition, 100)));
    let older = read_and_remember(kafka, "tail", 2, 100);
    kafka.produce("tail", numbered(1, 100));
    let lost = |index| (click(index), Fingerprint::new(149, Some(1), None, Some(b"lost")));
    let verdicts = verify(kafka, "tail", &[lost(0), older[0], lost(1), older[1]]);
    let beyond = LogVerdict::BeyondEnd { log_start: 0, log_end: 100 };
    let different = LogVerdict::Different { log_start: 0 };
    assert_eq!(verdicts, [beyond.clone(), LogVerdict::Same, different.clone(), LogVerdict::Same]);
    let decide = |newest| continuation(150, &[(lost(0).1, newest), (older[0].1, LogVerdict::Same)]);
    assert_eq!(decide(beyond), Continuation::Truncated { from: 100, reread_max: 0 });
    assert_eq!(decide(different), Continuation::Truncated { from: 100, reread_max: 50 });
}

/// Offsets that hold no record: a marker of a transaction stands where one is looked for, with
/// records after it, and without.
#[test]
fn an_offset_without_a_record_is_no_proof_of_another_log() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("marked", 2)]);
    let producer = kafka.producer(&[("transactional.id", "marked")]);
    producer.init_transactions(WAIT).unwrap();
    producer.begin_transaction().unwrap();
    let record = |partition| Record { key: Some(b"k".to_vec()), ..Record::new(partition, "v") };
    kafka::produce(&producer, "marked", [record(0), record(1)]);
    producer.commit_transaction(WAIT).unwrap();
    // Markers are written after the commit has been answered.
    let wait = Instant::now() + WAIT;
    while (0..2).any(|index| kafka.offsets("marked", index).1 < 2) {
        assert!(Instant::now() < wait);
        std::thread::sleep(Duration::from_millis(20));
    }
    kafka.produce("marked", [record(0)]);
    let at = |index| (click(index), Fingerprint::new(1, Some(1), None, None));
    assert_eq!(verify(kafka, "marked", &[at(0), at(1)]), vec![LogVerdict::Compacted; 2]);
}

#[test]
fn no_answer_is_no_verdict_and_comes_in_bounded_time() {
    let kafka = Kafka::start();
    kafka.create_topics(&[("silent", 1)]);
    kafka.produce("silent", numbered(0, 10));
    let prints = read_and_remember(&kafka, "silent", 1, 10);
    kafka.freeze();
    let started = Instant::now();
    let verdicts = verify(&kafka, "silent", &prints);
    assert!(matches!(verdicts[0], LogVerdict::Unknown(_)), "{verdicts:?}");
    assert!(started.elapsed() < TIMEOUT + Duration::from_secs(10));
    kafka.thaw();
    assert_eq!(verify(&kafka, "silent", &prints), [LogVerdict::Same]);
}

#[test]
fn a_cluster_says_who_it_is() {
    let kafka = Kafka::shared();
    let found = lookup(&kafka.brokers(), "any").cluster_id();
    assert!(found.as_ref().is_some_and(|id| !id.is_empty()), "{found:?}");
    assert_eq!(check_cluster(found.as_deref(), found.as_deref(), "nazar"), Ok(()));
    assert!(check_cluster(Some("another"), found.as_deref(), "nazar").is_err());
}

/// Not a benchmark: says what it costs where it is taken, once per batch.
#[test]
fn a_fingerprint_costs_nothing_to_speak_of() {
    let payload = vec![b'x'; 1 << 20];
    for len in [200, 1 << 20] {
        let started = Instant::now();
        for offset in 0..10_000 {
            std::hint::black_box(Fingerprint::new(offset, Some(1), None, Some(&payload[..len])));
        }
        let nanos = started.elapsed().as_nanos() / 10_000;
        println!("a fingerprint of a record of {len} bytes took {nanos} ns");
    }
}
