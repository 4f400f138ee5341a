//! A log in the making: an iterator over records, each with the label of its fate.
//!
//! Everything follows from the configuration and the seed: no clock is read, no thread is
//! started, and the same configuration yields the same bytes in the same order. The records
//! of one partition are meant to be written in the order in which they come, by one producer
//! that keeps order; only then are the labels exact, because late is a matter of order.
//!
//! Each record has an intended time, which the schedule fixes. It becomes the record's event time, except where a fault says otherwise, and its Kafka CreateTime is a few
//! milliseconds later: so *future* means future also when a log of hours is written in seconds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter::Peekable;

use super::catalogue::Catalogue;
use super::clock::{Clock, Rules};
use super::encode::{Encoder, order_name, product_name, user_name};
use super::inject::Inject;
use super::kind::{Kind, Reason};
use super::partitioner::partition_of;
use super::rng::{Rng, mix};
use super::schedule::{Schedule, Times};
use super::shopper::{Action, Deed, Shoppers};
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
    /// Partitions of each kind's topic, in the order of [`Kind::ALL`].
    pub partitions: [u32; 4],
    pub products: u32,
    pub categories: u32,
    pub sellers: u32,
    pub users: u32,
    pub key: Key,
    /// Whether orders are followed by status events.
    pub order_status: bool,
    pub inject: Inject,
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
}

/// A record to be written, with what will become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind: Kind,
    pub partition: u32,
    pub key: Vec<u8>,
    /// `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    pub create_time_ms: i64,
    /// When it is due, after the start of the schedule.
    pub due_ns: u64,
    /// The same as an event time.
    pub intended_ms: i64,
    /// Its fate, provided that duplicates are dropped; a daemon that does not drop them
    /// applies what is labelled duplicate.
    pub label: Reason,
    pub injected: Injected,
}

#[derive(Debug)]
pub struct Workload {
    config: WorkloadConfig,
    shoppers: Shoppers,
    faults: Rng,
    clocks: [Vec<Clock>; 4],
    times: Peekable<Times>,
    /// Copies that wait for their turn, by the time they are due.
    copies: BinaryHeap<Reverse<PendingCopy>>,
    next: u64,
    /// Late records that could not be made yet, because their partition had no watermark.
    late_owed: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PendingCopy {
    due_ms: i64,
    number: u64,
    event_time_ms: i64,
    kind: Kind,
    partition: u32,
    key: Vec<u8>,
    payload: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Late,
    Dup,
    Malformed,
    Reorder,
    Future,
    Tombstone,
}

impl Workload {
    pub fn new(config: WorkloadConfig) -> Self {
        let catalogue = Catalogue::new(config.products, config.categories, config.sellers);
        Self {
            shoppers: Shoppers::new(config.seed, catalogue, config.users, config.order_status),
            faults: Rng::new(config.seed, 2),
            clocks: config.partitions.map(|count| vec![Clock::default(); count.max(1) as usize]),
            times: config.schedule.times(config.seed).peekable(),
            copies: BinaryHeap::new(),
            next: 0,
            late_owed: 0,
            config,
        }
    }

    pub fn config(&self) -> &WorkloadConfig {
        &self.config
    }

    /// How many records have been made.
    pub fn made(&self) -> u64 {
        self.next
    }

    /// When the next record is due; `None` after the last one.
    pub fn next_due_ns(&mut self) -> Option<u64> {
        self.times.peek().copied()
    }

    fn clock(&mut self, kind: Kind, partition: u32) -> &mut Clock {
        &mut self.clocks[kind as usize][partition as usize]
    }

    /// The fate of a valid record of this time, noted in its partition's clock.
    fn judge(&mut self, kind: Kind, partition: u32, time: i64, create_time: i64) -> Reason {
        let rules = self.config.rules;
        if rules.is_future(time, create_time) {
            return Reason::Future;
        }
        let clock = self.clock(kind, partition);
        let late = clock.is_late(time, &rules);
        clock.observe(time, &rules);
        if late { Reason::Late } else { Reason::Applied }
    }

    /// Between a producer's decision and the broker's clock lie a few milliseconds.
    fn create_time(&mut self, intended_ms: i64) -> i64 {
        intended_ms + self.faults.between(1, 20)
    }

    fn copy_due(&mut self, now_ms: i64) -> Option<Record> {
        while self.copies.peek().is_some_and(|Reverse(copy)| copy.due_ms <= now_ms) {
            let Reverse(copy) = self.copies.pop()?;
            let rules = self.config.rules;
            // A copy that would be late by now is not worth sending: its fate would not be duplicate.
            if self.clock(copy.kind, copy.partition).is_late(copy.event_time_ms, &rules) {
                continue;
            }
            let create_time_ms = self.create_time(now_ms);
            self.judge(copy.kind, copy.partition, copy.event_time_ms, create_time_ms);
            return Some(Record {
                kind: copy.kind,
                partition: copy.partition,
                key: copy.key,
                payload: Some(copy.payload),
                create_time_ms,
                due_ns: 0,
                intended_ms: now_ms,
                label: Reason::Duplicate,
                injected: Injected::Nothing,
            });
        }
        None
    }

    fn draw_fault(&mut self) -> Fault {
        let Inject { late, dup, malformed, reorder, future, tombstone } = self.config.inject;
        let mut at = self.faults.unit();
        for (fault, kind) in [
            (late, Fault::Late),
            (dup, Fault::Dup),
            (malformed, Fault::Malformed),
            (reorder, Fault::Reorder),
            (future, Fault::Future),
            (tombstone, Fault::Tombstone),
        ] {
            if at < fault.ratio {
                return kind;
            }
            at -= fault.ratio;
        }
        Fault::None
    }

    fn key_of(&self, deed: &Deed) -> String {
        match (self.config.key, &deed.action) {
            (Key::User, _) => user_name(deed.user),
            (Key::Product, Action::Click { product } | Action::Wishlist { product, .. }) => {
                product_name(*product)
            }
            (Key::Product, Action::Purchase { lines, .. }) => product_name(lines[0].product),
            (Key::Product, Action::Status { order, .. }) => order_name(*order),
        }
    }

    fn make(&mut self, number: u64, now_ms: i64) -> Record {
        let deed = self.shoppers.next(now_ms);
        let kind = deed.action.kind();
        let key = self.key_of(&deed).into_bytes();
        let partition = partition_of(&key, self.config.partitions[kind as usize]);
        let create_time_ms = self.create_time(now_ms);
        let fault = match self.draw_fault() {
            Fault::None if self.late_owed > 0 => {
                self.late_owed -= 1;
                Fault::Late
            }
            fault => fault,
        };
        let mut record = Record {
            kind,
            partition,
            key,
            payload: None,
            create_time_ms,
            due_ns: 0,
            intended_ms: now_ms,
            label: Reason::Tombstone,
            injected: Injected::Nothing,
        };
        // Unique within a run, and between runs of different seeds.
        let event = mix(mix(self.config.seed) ^ number);
        let time = match fault {
            Fault::Tombstone => return record,
            Fault::Malformed => {
                let (spoil, payload) = self.spoiled(event, now_ms, &deed);
                record.label = Reason::Malformed;
                record.injected = Injected::Spoiled(spoil);
                record.payload = Some(payload);
                return record;
            }
            Fault::Late => self.late_time(kind, partition, now_ms),
            Fault::Reorder => self.reordered_time(kind, partition, now_ms),
            Fault::Future => {
                let Inject { future, .. } = self.config.inject;
                let beyond = self.faults.between(future.min_ms.max(1), future.max_ms.max(1));
                create_time_ms + self.config.rules.max_future_ms + beyond
            }
            Fault::None | Fault::Dup => now_ms,
        };
        if fault == Fault::Reorder
            && self.clock(kind, partition).newest().is_some_and(|newest| time < newest)
        {
            record.injected = Injected::Reordered;
        }
        record.label = self.judge(kind, partition, time, create_time_ms);
        let payload = self.encode(event, time, &deed, None).0;
        if fault == Fault::Dup && record.label == Reason::Applied {
            let Inject { dup, .. } = self.config.inject;
            self.copies.push(Reverse(PendingCopy {
                due_ms: now_ms + self.faults.between(dup.min_ms, dup.max_ms),
                number,
                event_time_ms: time,
                kind,
                partition,
                key: record.key.clone(),
                payload: payload.clone(),
            }));
        }
        record.payload = Some(payload);
        record
    }

    /// A time whose base pane ended at or before the partition's watermark.
    fn late_time(&mut self, kind: Kind, partition: u32, now_ms: i64) -> i64 {
        let (rules, Inject { late, .. }) = (self.config.rules, self.config.inject);
        match self.clock(kind, partition).watermark(&rules) {
            None => {
                self.late_owed += 1;
                now_ms
            }
            Some(watermark) => {
                let behind = self.faults.between(late.min_ms, late.max_ms);
                rules.oldest_in_time(watermark) - 1 - behind
            }
        }
    }

    /// A time behind the schedule, but still in time.
    fn reordered_time(&mut self, kind: Kind, partition: u32, now_ms: i64) -> i64 {
        let (rules, Inject { reorder, .. }) = (self.config.rules, self.config.inject);
        let time = now_ms - self.faults.between(reorder.min_ms, reorder.max_ms);
        let watermark = self.clock(kind, partition).watermark(&rules);
        watermark.map_or(time, |watermark| time.max(rules.oldest_in_time(watermark)))
    }

    fn spoiled(&mut self, event: u64, time: i64, deed: &Deed) -> (Spoil, Vec<u8>) {
        let spoil = Spoil::draw(deed.action.kind(), &mut self.faults);
        match self.encode(event, time, deed, Some(spoil)) {
            (payload, true) => (spoil, payload),
            // This shape of event does not have the field.
            _ => (Spoil::Truncated, self.encode(event, time, deed, Some(Spoil::Truncated)).0),
        }
    }

    fn encode(&self, event: u64, time: i64, deed: &Deed, spoil: Option<Spoil>) -> (Vec<u8>, bool) {
        let catalogue = self.shoppers.catalogue();
        Encoder { catalogue, currency: &self.config.currency, spoil }.encode(event, time, deed)
    }
}

impl Iterator for Workload {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let due_ns = self.times.next()?;
        let number = self.next;
        self.next += 1;
        let now_ms = self.config.schedule.event_time_ms(due_ns);
        let record = self.copy_due(now_ms).unwrap_or_else(|| self.make(number, now_ms));
        Some(Record { due_ns, ..record })
    }
}
