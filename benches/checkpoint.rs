//! What checkpoints cost with a large state: a million live products, 20 million (product, pane)
//! cells in 96 panes of a quarter of an hour, 300 categories with distinct users from a million
//! users, under the default windows.
//!
//! Measured on one thread each, with the allocator of the daemon, without Redis and Kafka: blobs
//! lie in memory. Every product comes as often as any other, spread evenly over the panes, so
//! cells compress worse than in a shop.
//!
//! - *capture*: what the merger's thread is held up for.
//! - *encode*: the blobs and the manifest, on another thread.
//! - *first*: everything; *next*: after ten more seconds of event time.
//! - *restore*: from blobs in memory to a merger; *boards*: then the latest views of all windows.
//!
//! Run with `cargo bench --bench checkpoint`. One run on two shared cores of a virtual machine:
//!
//! | what | time | size |
//! |---|---|---|
//! | state in memory | | 556 MiB |
//! | first: capture, encode | 0.3 ms, 0.5 s | 1,448 blobs, 34 MiB |
//! | next: capture, encode | 0.2 ms, 0.01 s | 12 blobs, 0.2 MiB |
//! | restore | 1.0 s | |
//! | boards, before and after | 0.3 s, 0.4 s | |

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use nazar::config::Config;
use nazar::event::{Kind, Metric};
use nazar::pipeline::checkpoint::{Assembly, BlobName, Draft, Manifest, Stored};
use nazar::pipeline::clock::Coverage;
use nazar::pipeline::definitions::Definitions;
use nazar::pipeline::delivery::{
    Cell, Cells, Delivery, Names, PaneCells, Partition, PartitionState, SketchKey, Totals,
    UserMark, series,
};
use nazar::pipeline::hll;
use nazar::pipeline::merge::Merger;
use nazar::pipeline::watermark::Watermark;
use nazar::time::EventTime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PRODUCTS: u32 = 1_000_000;
const PANES: i64 = 96;
const CELLS_PER_PANE: u32 = 20_000_000 / PANES as u32;
const PANE_MILLIS: i64 = 900_000;
const CATEGORIES: u32 = 300;
const USERS: u64 = 1_000_000;
/// A Monday at midnight.
const BEGIN_MILLIS: i64 = 1_704_067_200_000;
const PARTITION: Partition = Partition { kind: Kind::Click, index: 0 };

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Clicks of `products` products at one second, every one once.
fn delivery(
    definitions: &Definitions,
    watermark: &mut Watermark,
    from: i64,
    millis: i64,
    products: impl Iterator<Item = u32>,
    seed: &mut u64,
) -> Delivery {
    watermark.observe(EventTime::from_millis(millis), definitions);
    let mut names = vec![Names::default(); definitions.dimensions.len()];
    for category in 0..CATEGORIES {
        names[1].push(&format!("category-{category}"));
    }
    let kind = Kind::Click;
    let mut sketches = vec![SketchKey { kind, entity: None }];
    sketches.extend((0..CATEGORIES).map(|index| SketchKey { kind, entity: Some((1, index)) }));
    let (mut cells, mut users) = (Vec::new(), Vec::new());
    let mut categories = vec![0; CATEGORIES as usize];
    for (number, product) in products.enumerate() {
        names[0].push(&format!("product-{product}"));
        let amount = random(seed) % 4 + 1;
        cells.push(Cell { series: series(0, Metric::Clicks), entity: number as u32, amount });
        let category = product % CATEGORIES;
        categories[category as usize] += amount;
        let (register, rank) = hll::mark(&(random(seed) % USERS).to_le_bytes());
        users.extend([0, category + 1].map(|sketch| UserMark { sketch, register, rank }));
    }
    let events: u64 = categories.iter().sum();
    for (category, &amount) in categories.iter().enumerate().filter(|(_, amount)| **amount > 0) {
        let series = series(1, Metric::Clicks);
        cells.push(Cell { series, entity: category as u32, amount });
    }
    let totals = Totals { events, clicks: events, ..Totals::default() };
    Delivery {
        partition: PARTITION,
        from,
        to: from + 1,
        state_to: PartitionState { watermark: watermark.clone(), ..PartitionState::default() },
        cells: Cells {
            names,
            sketches,
            panes: vec![PaneCells { start_millis: millis, totals, cells, users }],
        },
        oldest_record_millis: None,
        has_gap: false,
    }
}

/// Where blobs lie.
#[derive(Default)]
struct Store {
    blobs: HashMap<BlobName, Vec<u8>>,
    stored: Stored,
    manifest: Vec<u8>,
}

impl Store {
    fn checkpoint(&mut self, name: &str, merger: &mut Merger) {
        let started = Instant::now();
        let capture = merger.capture(false);
        let captured = started.elapsed();
        let started = Instant::now();
        let mut draft = Draft::new(&self.stored, capture, name.to_owned()).expect("it continues");
        let (mut count, mut bytes) = (0, 0);
        while let Some((name, blob)) = draft.next_blob() {
            count += 1;
            bytes += blob.len();
            self.blobs.insert(name, blob);
        }
        let (manifest, dropped) = draft.finish();
        self.manifest = manifest.encode();
        self.stored = manifest.stored;
        let encoded = started.elapsed();
        dropped.iter().for_each(|blob| drop(self.blobs.remove(blob)));
        println!(
            "{name}: capture {:.1} ms, encode {:.2} s, {count} blobs of {:.1} MiB, manifest {} KiB",
            captured.as_secs_f64() * 1000.0,
            encoded.as_secs_f64(),
            bytes as f64 / f64::from(1 << 20),
            self.manifest.len() >> 10,
        );
    }
}

fn views(merger: &mut Merger) {
    let offsets = merger.offsets();
    let started = Instant::now();
    for window in 0..4 {
        let view = merger.latest(window, &offsets).expect("records have come");
        std::hint::black_box(view);
    }
    println!("boards of all windows: {:.2} s", started.elapsed().as_secs_f64());
}

fn main() {
    let mut config = Config::default();
    // As many sketches as there are categories.
    config.limits.sketch_bytes = 512 << 20;
    let definitions = Arc::new(config.definitions());
    let mut merger = Merger::new(definitions.clone());
    merger.keep_journal();
    merger.add_partition(PARTITION, 0, Coverage::Everything, 0);
    merger.clock_mut().topology_known();
    let (mut watermark, mut seed, mut offset) = (Watermark::default(), 1, 0);
    let mut closed = 0;
    for pane in 0..PANES {
        // Every product in a fifth of the panes, spread over the quarter of an hour.
        for part in 0..15 {
            let millis = BEGIN_MILLIS + pane * PANE_MILLIS + part * 60_000;
            let first = (pane * 15 + part) as u32 * (CELLS_PER_PANE / 15);
            // No two that follow one another in number, so that numbers in a pane lie apart.
            let scatter = |n: u32| (u64::from(first + n) * 7_919 % u64::from(PRODUCTS)) as u32;
            let products = (0..CELLS_PER_PANE / 15).map(scatter);
            let next = delivery(&definitions, &mut watermark, offset, millis, products, &mut seed);
            merger.merge(&next, 0);
            offset += 1;
            while merger.close_next(EventTime::MAX).is_some() {
                closed += 1;
            }
            merger.advance_latest();
            merger.roll_up();
        }
    }
    let live = merger.windows().entities(0).live();
    println!("{live} products are live, {closed} windows closed, {} MiB", merger.bytes() >> 20);
    views(&mut merger);

    let mut store = Store::default();
    store.checkpoint("first", &mut merger);
    let millis = BEGIN_MILLIS + PANES * PANE_MILLIS;
    for second in 0..10 {
        let products = (0..2_000).map(|n| (n * 499 + second) % PRODUCTS);
        let at = millis + i64::from(second) * 1000;
        let next = delivery(&definitions, &mut watermark, offset, at, products, &mut seed);
        merger.merge(&next, 0);
        offset += 1;
    }
    store.checkpoint("next", &mut merger);
    drop(merger);

    let started = Instant::now();
    let manifest = Manifest::decode(&store.manifest).expect("whole");
    let mut assembly = Assembly::new(definitions, manifest).expect("ours");
    let mut bytes = 0;
    for blob in assembly.blobs() {
        bytes += store.blobs[&blob].len();
        assembly.add(&blob, &store.blobs[&blob]).expect("whole");
    }
    let (mut merger, _) = assembly.finish().expect("complete");
    println!(
        "restore: {:.2} s from {:.1} MiB; {} products are live",
        started.elapsed().as_secs_f64(),
        bytes as f64 / f64::from(1 << 20),
        merger.windows().entities(0).live(),
    );
    views(&mut merger);
}
