//! What a delivery costs as bytes: encoding, decoding, and its size.
//!
//! Measured on one thread, with the allocator of the daemon: deliveries of the workload that
//! `nazar-load run` writes by default (100,000 products, 48 categories, 2,000 sellers, 100,000
//! users, 12 partitions a topic), decoded and applied by `OwnedPartition` under the default
//! views. Not measured: Redis, see the head of `sinks/redis/outbox.rs`.
//!
//! - `backlog`: a delivery of a click partition at the owner's size limit, 256 KiB of open delta,
//!   from a log of ten million events in two hours.
//! - `live`: a second of the same partition, with 20,000 events a second over all topics.
//!
//! | | `backlog` | `live` |
//! |---|---|---|
//! | records, panes, cells, users | 4,215, 45, 9,234, 8,336 | 1,421, 7, 1,896, 2,816 |
//! | bytes in memory, encoded | 256,538, 50,242 | 72,323, 16,557 |
//! | bytes a record | 11.9 | 11.6 |
//! | encode, ns a cell (a record) | 54 (118) | 84 (112) |
//! | decode, ns a cell (a record) | 44 (97) | 117 (157) |
//!
//! The times are of one run on two shared cores of a virtual machine under other load, built with
//! the dev profile and optimisation 3: orders of magnitude, while the first three lines are exact.
//! Sorting cells and users as packed numbers made encoding four times as fast as sorting them by
//! their parts.
//!
//! Run with `cargo bench --bench wire`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nazar::config::Config;
use nazar::event::Kind;
use nazar::load::catalogue::Popularity;
use nazar::load::clock::Rules;
use nazar::load::kind::Kind as LoadKind;
use nazar::load::schedule::Schedule;
use nazar::load::workload::{Key, Workload, WorkloadConfig};
use nazar::pipeline::decode::{DecodeLimits, Decoder};
use nazar::pipeline::delivery::{Delivery, Partition};
use nazar::pipeline::merge::Position;
use nazar::pipeline::owned::OwnedPartition;
use nazar::pipeline::protocol::Way;
use nazar::pipeline::wire;
use nazar::time::EventTime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The owner's size limit.
const DELTA_BYTES_MAX: usize = 256 << 10;
const PARTITIONS: u32 = 12;
const END_MILLIS: i64 = 1_785_000_000_000;
/// The first delivery after a start has an unusual watermark; what follows is the rule.
const WARM_UP: usize = 2;

/// Deliveries of one click partition, each taken as soon as `is_full` says so.
fn deliveries(
    schedule: Schedule,
    count: usize,
    is_full: impl Fn(&OwnedPartition, i64) -> bool,
) -> Vec<Delivery> {
    let config = Config::default();
    let definitions = Arc::new(config.definitions());
    let limits = DecodeLimits { record_bytes_max: 1 << 20, id_bytes_max: 256 };
    let mut decoder = Decoder::new(&config.fields, &definitions, limits);
    let partition = Partition { kind: Kind::Click, index: 0 };
    let mut owned = OwnedPartition::start(partition, Position::start(0), definitions);
    let records = Workload::new(WorkloadConfig {
        seed: 1,
        schedule,
        partitions: [PARTITIONS; 4],
        products: 100_000,
        categories: 48,
        sellers: 2_000,
        users: 100_000,
        popularity: Popularity::Storefront,
        key: Key::Product,
        order_status: false,
        inject: "usual".parse().expect("the load generator knows it"),
        play: None,
        rules: Rules::default(),
        currency: config.money.currency.clone(),
    });
    let mut taken = Vec::new();
    let of_partition =
        records.filter(|record| record.kind == LoadKind::Click && record.partition == 0);
    for (offset, record) in (0..).zip(of_partition) {
        let time = EventTime::from_millis(record.create_time_ms);
        decoder.decode(Kind::Click, record.payload.as_deref(), Some(time), |decoded| {
            owned.record(offset, &decoded, Some(record.create_time_ms))
        });
        if is_full(&owned, record.intended_ms) {
            taken.extend(owned.take(Way::Outbox));
        }
        if taken.len() == count + WARM_UP {
            break;
        }
    }
    taken.split_off(WARM_UP)
}

fn backlog() -> Vec<Delivery> {
    let schedule = Schedule::over_span(END_MILLIS, 7_200_000, 10_000_000);
    deliveries(schedule, 8, |owned, _| owned.open_bytes() >= DELTA_BYTES_MAX)
}

fn live() -> Vec<Delivery> {
    let schedule = Schedule::at_rate(END_MILLIS, 20_000, u64::MAX);
    let second = std::cell::Cell::new(0);
    deliveries(schedule, 8, |_, intended_ms| {
        second.replace(intended_ms / 1000) != intended_ms / 1000
    })
}

fn wire(c: &mut Criterion) {
    for (name, deliveries) in [("backlog", backlog()), ("live", live())] {
        let encoded: Vec<Vec<u8>> = deliveries.iter().map(wire::encode).collect();
        let panes = || deliveries.iter().flat_map(|delivery| &delivery.cells.panes);
        let cells: usize = panes().map(|pane| pane.cells.len()).sum();
        let users: usize = panes().map(|pane| pane.users.len()).sum();
        let records: i64 = deliveries.iter().map(|delivery| delivery.to - delivery.from).sum();
        let bytes: usize = encoded.iter().map(Vec::len).sum();
        let memory: usize = deliveries.iter().map(Delivery::bytes).sum();
        let each = |total: usize| total / deliveries.len();
        eprintln!(
            "{name}: a delivery has {} records, {} panes, {} cells, {} users; {} bytes in memory, {} encoded; {:.1} bytes a record",
            each(records as usize),
            each(panes().count()),
            each(cells),
            each(users),
            each(memory),
            each(bytes),
            bytes as f64 / records as f64,
        );
        let mut group = c.benchmark_group(format!("wire/{name}"));
        group.throughput(Throughput::Elements(cells as u64));
        group.bench_function("encode", |b| {
            b.iter(|| {
                deliveries.iter().for_each(|delivery| drop(black_box(wire::encode(delivery))))
            });
        });
        group.bench_function("decode", |b| {
            b.iter(|| encoded.iter().for_each(|bytes| drop(black_box(wire::decode(bytes)))));
        });
        group.finish();
    }
}

criterion_group!(benches, wire);
criterion_main!(benches);
