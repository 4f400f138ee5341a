//! The Kafka edge against a real broker: what an owner may rely on, whatever the group, the log
//! and the brokers do. The tests of a topic share one broker, unless they disturb it.

mod deaths;
mod fixture;
mod group;
mod identity;
#[path = "../common/kafka.rs"]
mod kafka;
mod logs;
mod outages;
mod protocols;
mod quiet;
mod reading;
mod replaced;
mod stress;
mod transactions;
