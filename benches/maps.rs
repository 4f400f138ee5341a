//! Which map for what: the structures behind windows and panes beside the usual ones.
//!
//! Measures one thread, one million entities, keys drawn with a skew (half of the draws fall on
//! a thousandth of the entities) from a fixed seed. It does not measure contention: nothing in
//! the engine shares these maps between writers. Run with `cargo bench --bench maps`.
//!
//! - `latest/*`: add to an entity's sums at the latest edges of four windows.
//! - `closed/*`: add to an entity's sum at one closed edge.
//! - `pane/*`: gather 100,000 increments and end with one cell per entity.
//! - `names/*`: find the number of a name that is known.
//!
//! One run on two shared, busy cores (only ratios within it count), ns per element:
//!
//! | | ours | hashbrown | dashmap |
//! |---|---|---|---|
//! | window, eight edges | 22; 91 with boards kept up to date | 11, no boards | 242 |
//! | pane | 89 | 126 | 406 |
//! | names | 847 | – | 1,690 |
//!
//! So dashmap is out for all three; for bare sums a hash map with a row per entity is as good as
//! the column, which is chosen for what it does besides: boards, and scans in memory order.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use dashmap::DashMap;
use hashbrown::HashMap;
use nazar::pipeline::column::Column;
use nazar::pipeline::entity::Entities;
use nazar::pipeline::pane::{Pane, PaneCell};

const ENTITIES: u32 = 1_000_000;
const DRAWS: usize = 100_000;
const WINDOWS: usize = 4;

/// SplitMix64, skewed.
fn draws() -> Vec<u32> {
    let mut state = 42u64;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    (0..DRAWS)
        .map(|_| {
            let range = if next() % 2 == 0 { ENTITIES / 1000 } else { ENTITIES };
            (next() % u64::from(range)) as u32
        })
        .collect()
}

/// Sums at `EDGES` edges, the first of which is `first`.
fn windows<const EDGES: usize>(c: &mut Criterion, name: &str, first: usize) {
    let draws = draws();
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(DRAWS as u64));
    for (name, top) in [("column", None), ("column with boards", Some(1000))] {
        let mut column = Column::new(WINDOWS, top);
        let mut add = |entity| {
            for edge in first..first + EDGES {
                column.add(entity, 1, edge);
            }
        };
        (0..ENTITIES).for_each(&mut add);
        group.bench_function(name, |b| b.iter(|| draws.iter().copied().for_each(&mut add)));
    }
    let mut map: HashMap<u32, [u64; EDGES]> = (0..ENTITIES).map(|e| (e, [1; EDGES])).collect();
    group.bench_function("hashbrown", |b| {
        b.iter(|| {
            for entity in &draws {
                map.entry(*entity).or_insert([0; EDGES]).iter_mut().for_each(|sum| *sum += 1);
            }
        });
    });
    let map: DashMap<u32, [u64; EDGES]> = (0..ENTITIES).map(|e| (e, [1; EDGES])).collect();
    group.bench_function("dashmap", |b| {
        b.iter(|| {
            for entity in &draws {
                map.entry(*entity).or_insert([0; EDGES]).iter_mut().for_each(|sum| *sum += 1);
            }
        });
    });
}

fn latest(c: &mut Criterion) {
    windows::<WINDOWS>(c, "latest", 0);
}

fn closed(c: &mut Criterion) {
    windows::<1>(c, "closed", WINDOWS);
}

fn panes(c: &mut Criterion) {
    let draws = draws();
    let mut group = c.benchmark_group("pane");
    group.throughput(Throughput::Elements(DRAWS as u64));
    group.bench_function("log, combined when doubled", |b| {
        b.iter_batched(
            Pane::default,
            |mut pane| {
                for chunk in draws.chunks(1000) {
                    for &entity in chunk {
                        pane.push(PaneCell { amount: 1, entity, series: 0 });
                    }
                    pane.combine_if_doubled(|_| ());
                }
                pane.combine(|_| ());
                pane
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("hashbrown", |b| {
        b.iter_batched(
            HashMap::<(u16, u32), u64>::new,
            |mut map| {
                draws.iter().for_each(|&entity| *map.entry((0, entity)).or_default() += 1);
                map
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("dashmap", |b| {
        b.iter_batched(
            DashMap::<(u16, u32), u64>::new,
            |map| {
                draws.iter().for_each(|&entity| *map.entry((0, entity)).or_default() += 1);
                map
            },
            BatchSize::LargeInput,
        );
    });
}

fn names(c: &mut Criterion) {
    let draws: Vec<String> = draws().iter().map(|entity| format!("product-{entity}")).collect();
    let mut group = c.benchmark_group("names");
    group.throughput(Throughput::Elements(DRAWS as u64));
    let mut entities = Entities::new(ENTITIES as usize);
    for entity in 0..ENTITIES {
        let id = entities.resolve(&format!("product-{entity}")).id();
        entities.retain(id);
    }
    group.bench_function("entities", |b| {
        b.iter(|| {
            draws.iter().for_each(|name| {
                black_box(entities.resolve(name));
            })
        });
    });
    let map: DashMap<String, u32> =
        (0..ENTITIES).map(|entity| (format!("product-{entity}"), entity)).collect();
    group.bench_function("dashmap", |b| {
        b.iter(|| draws.iter().for_each(|name| drop(black_box(map.get(name.as_str())))));
    });
}

criterion_group!(benches, latest, closed, panes, names);
criterion_main!(benches);
