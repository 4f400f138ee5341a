//! A log in the making: records, each with the label of its fate.
//!
//! Everything follows from the configuration and the seed: no clock is read, the number of threads
//! does not matter, and the same configuration yields the same bytes in the same order. The records
//! of one partition are meant to be written in the order in which they come, by one producer
//! that keeps order; only then are the labels exact, because late is a matter of order.
//!
//! Each record has an intended time, which the schedule fixes. It becomes the record's event time,
//! except where a fault says otherwise, and its Kafka CreateTime is a few
//! milliseconds later: so *future* means future also when a log of hours is written in seconds.

use super::block::{Block, Meta};
use super::catalogue::Popularity;
use super::clock::Rules;
use super::drift::Drift;
use super::generator::Generator;
use super::inject::Inject;
use super::scenario::Play;
use super::schedule::Schedule;
use super::spoil::Spoil;

/// What decides a record's partition, by the hash that Java producers use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Product,
    User,
}

#[derive(Clone, Debug)]
pub struct WorkloadConfig {
    pub seed: u64,
    pub schedule: Schedule,
    /// Partitions of each kind's topic, in the order of [`super::kind::Kind::ALL`].
    pub partitions: [u32; 4],
    pub products: u32,
    pub categories: u32,
    pub sellers: u32,
    pub users: u32,
    pub popularity: Popularity,
    pub key: Key,
    /// Whether orders are followed by status events.
    pub order_status: bool,
    pub inject: Inject,
    /// What is the matter with the shop today.
    pub play: Option<Play>,
    /// The daemon's rules that make a record late or future.
    pub rules: Rules,
    /// The currency that revenue counts in.
    pub currency: String,
}

/// What was done to a record on purpose, whatever its fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    Nothing,
    Reordered,
    Spoiled(Spoil),
    Drifted(&'static Drift),
}

/// A record by itself, for whoever does not care about speed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub meta: Meta,
    pub key: Vec<u8>,
    /// `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
}

impl std::ops::Deref for Record {
    type Target = Meta;

    fn deref(&self) -> &Meta {
        &self.meta
    }
}

/// The records of a workload, one by one.
#[derive(Debug)]
pub struct Workload {
    generator: Generator,
    block: Block,
    at: usize,
}

impl Workload {
    pub fn new(config: WorkloadConfig) -> Self {
        Self { generator: Generator::new(config), block: Block::default(), at: 0 }
    }
}

impl Iterator for Workload {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        if self.at == self.block.len() {
            self.generator.fill(std::slice::from_mut(&mut self.block));
            self.at = 0;
        }
        let record = self.block.get(self.at)?;
        self.at += 1;
        let payload = record.payload.map(<[u8]>::to_vec);
        Some(Record { meta: *record.meta, key: record.key.to_vec(), payload })
    }
}
