//! Which map for what: the structures behind windows and panes beside the usual ones.
//!
//! Measures one thread, one million entities, keys drawn with a skew (half of the draws fall on
//! a thousandth of the entities) from a fixed seed. It does not measure contention: nothing in
//! the engine shares these maps between writers. Run with `cargo bench --bench maps`.
//!
//! - `window/*`: add to an entity's sums at eight edges (four windows, latest and closed).
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
const EDGES: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

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

fn windows(c: &mut Criterion) {
    let draws = draws();
    let mut group = c.benchmark_group("window");
    group.throughput(Throughput::Elements(DRAWS as u64));
    let mut column = Column::new(EDGES.len(), None);
    (0..ENTITIES).for_each(|entity| column.add(entity, 1, &EDGES));
    group.bench_function("column", |b| {
        b.iter(|| draws.iter().for_each(|&entity| column.add(entity, 1, &EDGES)));
    });
    let mut ranked = Column::new(EDGES.len(), Some(1000));
    (0..ENTITIES).for_each(|entity| ranked.add(entity, 1, &EDGES));
    group.bench_function("column with boards", |b| {
        b.iter(|| draws.iter().for_each(|&entity| ranked.add(entity, 1, &EDGES)));
    });
    let mut map: HashMap<u32, [u64; 8]> = (0..ENTITIES).map(|entity| (entity, [1; 8])).collect();
    group.bench_function("hashbrown", |b| {
        b.iter(|| {
            for entity in &draws {
                map.entry(*entity).or_default().iter_mut().for_each(|sum| *sum += 1);
            }
        });
    });
    let map: DashMap<u32, [u64; 8]> = (0..ENTITIES).map(|entity| (entity, [1; 8])).collect();
    group.bench_function("dashmap", |b| {
        b.iter(|| {
            for entity in &draws {
                map.entry(*entity).or_default().iter_mut().for_each(|sum| *sum += 1);
            }
        });
    });
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

criterion_group!(benches, windows, panes, names);
criterion_main!(benches);
