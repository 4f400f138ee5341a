//! The Kafka edge against a real broker.

#[path = "common/kafka.rs"]
mod kafka;

use kafka::{Kafka, Record};

#[test]
fn smoke() {
    let kafka = Kafka::shared();
    kafka.create_topics(&[("a", 2)]);
    kafka.produce("a", (0..1000).map(|i| Record::new(i % 2, format!("{i}"))));
    assert_eq!(kafka.offsets("a", 0), (0, 500));
}
