//! One of the parallel strands that a workload is spun from.
//!
//! ```text
//! number   0 1 2 3 … 15 │ 16 17 18 … 31 │ 32 …
//! lane     0 1 2 3 … 15 │  0  1  2 … 15 │  0 …
//! ```
//!
//! The records of a stream are dealt out to a fixed number of lanes in turn. Each has shoppers of its
//! own, who know nothing of the others', and so lanes can be worked on by as many threads as
//! there are: the stream is the same. What depends on the log of a partition, which all lanes
//! write to, is decided afterwards, in order ([`super::gate`]).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::catalogue::Catalogue;
use super::encode::write_key;
use super::inject::Inject;
use super::kind::Kind;
use super::partitioner::partition_of;
use super::rng::Dice;
use super::scenario::Script;
use super::shopper::{Deed, Scene, Shoppers};
use super::workload::WorkloadConfig;

/// Part of what the bytes of a seed are: more allow more threads, fewer keep sessions of a low
/// rate together in time.
pub const LANES: usize = 16;

/// Deeds that may be passed over because their keys lead to a silent partition. A shop whose few keys
/// all do is written to it nevertheless.
const PASSED_OVER_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    Late,
    Dup,
    Malformed,
    Reorder,
    Future,
    Tombstone,
    Drift,
    /// Again what was written before, at the event time that it had.
    Copy {
        event_time_ms: i64,
    },
}

/// A record before its fate is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draft {
    pub due_ns: u64,
    pub intended_ms: i64,
    pub create_time_ms: i64,
    /// Unique within a run, and between runs of different seeds; a copy has that of the original.
    pub event: u64,
    pub deed: Deed,
    pub partition: u32,
    pub fault: Fault,
    /// For what remains to be drawn.
    pub dice: Dice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PendingCopy {
    due_ms: i64,
    event: u64,
    event_time_ms: i64,
    partition: u32,
    deed: Deed,
}

#[derive(Debug)]
pub struct Lane {
    shoppers: Shoppers,
    /// Copies that wait for their turn, by the time they are due.
    copies: BinaryHeap<Reverse<PendingCopy>>,
}

impl Lane {
    pub fn new(config: &WorkloadConfig, lane: usize) -> Self {
        let strand = (lane as u64, LANES as u64);
        let shoppers = Shoppers::new(config.seed, strand, config.users, config.order_status);
        Self { shoppers, copies: BinaryHeap::new() }
    }

    /// The record with this number in the stream, which must be one of this lane's.
    pub fn draft(
        &mut self,
        config: &WorkloadConfig,
        catalogue: &Catalogue,
        script: Option<&Script>,
        number: u64,
        due_ns: u64,
    ) -> Draft {
        let now_ms = config.schedule.event_time_ms(due_ns);
        let mut dice = Dice::new(config.seed, number);
        // Between a producer's decision and the broker's clock lie a few milliseconds.
        let create_time_ms = now_ms + dice.between(1, 20);
        let of = |event, deed, partition, fault, dice| Draft {
            due_ns,
            intended_ms: now_ms,
            create_time_ms,
            event,
            deed,
            partition,
            fault,
            dice,
        };
        if let Some(copy) = self.copy_due(config, now_ms) {
            let fault = Fault::Copy { event_time_ms: copy.event_time_ms };
            return of(copy.event, copy.deed, copy.partition, fault, dice);
        }
        let scene = script.map(|script| Scene { mood: script.mood(due_ns), cast: &script.cast });
        let mut deed = self.shoppers.next(now_ms, catalogue, scene.as_ref());
        let mut place = place_of(config, &deed);
        if let Some(script) = script {
            for _ in 0..PASSED_OVER_MAX {
                if !script.is_silent(place.0, place.1) {
                    break;
                }
                deed = self.shoppers.next(now_ms, catalogue, scene.as_ref());
                place = place_of(config, &deed);
            }
        }
        let (_, partition) = place;
        let event = Dice::event(config.seed, number);
        let fault = draw_fault(&config.inject, &mut dice);
        if fault == Fault::Dup {
            let Inject { dup, .. } = config.inject;
            let due_ms = now_ms + dice.between(dup.min_ms, dup.max_ms);
            let copy = PendingCopy { due_ms, event, event_time_ms: now_ms, partition, deed };
            self.copies.push(Reverse(copy));
        }
        of(event, deed, partition, fault, dice)
    }

    fn copy_due(&mut self, config: &WorkloadConfig, now_ms: i64) -> Option<PendingCopy> {
        while self.copies.peek().is_some_and(|Reverse(copy)| copy.due_ms <= now_ms) {
            let Reverse(copy) = self.copies.pop()?;
            // A copy that might be late by now is not worth sending: its fate would not be
            // duplicate. No watermark is ahead of the schedule.
            if config.rules.pane_end(copy.event_time_ms) > now_ms - config.rules.lateness_ms {
                return Some(copy);
            }
        }
        None
    }
}

fn draw_fault(inject: &Inject, dice: &mut Dice) -> Fault {
    let Inject { late, dup, malformed, reorder, future, tombstone, drift } = inject;
    let mut at = dice.unit();
    for (fault, kind) in [
        (late, Fault::Late),
        (dup, Fault::Dup),
        (malformed, Fault::Malformed),
        (reorder, Fault::Reorder),
        (future, Fault::Future),
        (tombstone, Fault::Tombstone),
        // Each new one comes last: it takes its share of the records that were whole.
        (drift, Fault::Drift),
    ] {
        if at < fault.ratio {
            return kind;
        }
        at -= fault.ratio;
    }
    Fault::None
}

/// The partition that the key of a deed leads to.
fn place_of(config: &WorkloadConfig, deed: &Deed) -> (Kind, u32) {
    let kind = deed.action.kind();
    let mut key = KeyBuffer::default();
    write_key(&mut key, config.key, deed);
    (kind, partition_of(key.bytes(), config.partitions[kind as usize]))
}

/// A key on its way to the hash: no key of ours is longer.
#[derive(Default)]
struct KeyBuffer {
    bytes: [u8; 24],
    len: usize,
}

impl KeyBuffer {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl super::encode::Out for KeyBuffer {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}
