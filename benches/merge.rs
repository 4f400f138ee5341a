//! What merging costs, and what publishing costs, with a million live products.
//!
//! Measured on one thread, with the allocator of the daemon: `Merger` fed with deliveries as
//! owners make them, under the default windows (1m/1s, 5m/5s, 1h/1m, 24h/15m) and boards. Not
//! measured: Kafka, decoding, the hand-over between threads, Redis. Deliveries are made before
//! the clock starts.
//!
//! Traffic, from a fixed seed: 1,400 events per second of event time (ten million in two hours)
//! over three topics of four partitions; 93 % clicks, 5 % wishlists, 2 % orders of one line; half
//! of them of a thousand products and half of all products alike; 64 categories, 2,000 sellers,
//! 100,000 users. Before measuring, every product has occurred within the day. A delivery holds
//! ten seconds of event time of its partition.
//!
//! - `merge/minute`: merge the deliveries of a minute of event time (84,000 events), and close the
//!   windows that end in it; then each of the two alone. The throughput is in cells: (pane, series,
//!   entity) increments as delivered, 2.25 per event here, because a delivery combines what
//!   falls on one entity in one second.
//! - `publish/<window>`: make the latest views of a window, all boards and distinct counts, ten
//!   seconds of event time after the last time; moving the window's edge is part of it.
//! - `publish/all`: those of all four.
//!
//! One run on two shared cores of a virtual machine; compare the lines, not the figures:
//!
//! | what | ms | million cells/s |
//! |---|---|---|
//! | `merge/minute` | 95 | 2.0 |
//! | … deliveries | 19 | 10 |
//! | … closing | 88 | |
//! | `publish/1m`, `5m`, `1h`, `24h` | 5, 16, 30, 20 | |
//! | `publish/all` | 92 | |
//!
//! The parts were measured one after the other, so they do not add up exactly. Closing does not
//! grow with the rate but with event time: each minute closes one window of every size up to an
//! hour, with the distinct counts of every category. In a backlog of little traffic over much time
//! it is most of the work.
//!
//! Run with `cargo bench --bench merge`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nazar::config::Config;
use nazar::event::{DIMENSIONS_MAX, Effect, Event, Kind, Line};
use nazar::pipeline::clock::Coverage;
use nazar::pipeline::decode::Decoded;
use nazar::pipeline::definitions::Definitions;
use nazar::pipeline::delivery::{Delivery, Partition};
use nazar::pipeline::merge::{Merger, Position};
use nazar::pipeline::owned::OwnedPartition;
use nazar::pipeline::protocol::{Admission, Token, Way};
use nazar::time::EventTime;

const WAY: Way = Way::Memory(Token::new(1));

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PRODUCTS: u64 = 1_000_000;
const EVENTS_PER_SECOND: u64 = 1_400;
/// A round covers ten seconds of event time.
const EVENTS_PER_ROUND: u64 = EVENTS_PER_SECOND * 10;
const ROUNDS_PER_MINUTE: usize = 6;
const PARTITIONS_PER_TOPIC: i32 = 4;
/// A Monday at midnight.
const BEGIN_MILLIS: i64 = 1_704_067_200_000;

/// Traffic and the owners that turn it into deliveries.
struct Storefront {
    owners: BTreeMap<Partition, (OwnedPartition, i64)>,
    random: u64,
    events: u64,
    names: Names,
}

/// Every name there is, so that making one costs no memory.
struct Names {
    products: Vec<String>,
    categories: Vec<String>,
    sellers: Vec<String>,
    users: Vec<String>,
}

impl Names {
    fn new() -> Self {
        let names = |what: &str, count: u64| (0..count).map(|n| format!("{what}-{n}")).collect();
        Self {
            products: names("product", PRODUCTS),
            categories: names("category", 64),
            sellers: names("seller", 2_000),
            users: names("user", 100_000),
        }
    }
}

impl Storefront {
    fn new(definitions: &Arc<Definitions>) -> Self {
        let owner = |partition| {
            let definitions = definitions.clone();
            OwnedPartition::start(partition, Position::start(0), definitions)
        };
        let owners = partitions().map(|partition| (partition, (owner(partition), 0))).collect();
        Self { owners, random: 42, events: 0, names: Names::new() }
    }

    /// SplitMix64.
    fn draw(&mut self, below: u64) -> usize {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % below) as usize
    }

    /// The deliveries of all partitions for the next [`ROUND`] of event time.
    fn round(&mut self) -> Vec<Delivery> {
        (0..EVENTS_PER_ROUND).for_each(|_| self.event());
        self.owners.values_mut().filter_map(|(owner, _)| owner.take(WAY)).collect()
    }

    fn event(&mut self) {
        let number = self.events;
        self.events += 1;
        // Every other event goes through all products in turn: so all are live once as many
        // events have passed twice.
        let product = if number.is_multiple_of(2) {
            (number / 2 % PRODUCTS) as usize
        } else {
            self.draw(PRODUCTS / 1000)
        };
        let (user, dice) = (self.draw(100_000), self.draw(100));
        let index = self.draw(PARTITIONS_PER_TOPIC as u64) as i32;
        let mut entities = [None; DIMENSIONS_MAX];
        entities[0] = Some(self.names.products[product].as_str());
        entities[1] = Some(self.names.categories[product % 64].as_str());
        entities[2] = Some(self.names.sellers[product % 2_000].as_str());
        let mut line = Line { entities, units: 0, revenue_minor: 0 };
        let kind = match dice {
            0..93 => Kind::Click,
            93..98 => Kind::Wishlist,
            _ => Kind::Purchase,
        };
        if kind == Kind::Purchase {
            (line.units, line.revenue_minor) = (1, 1_999);
        }
        let lines = [line];
        let effect = match kind {
            Kind::Click => Effect::Click(&lines[0]),
            Kind::Wishlist => Effect::WishlistAdd(&lines[0]),
            _ => Effect::Purchase { lines: &lines, foreign_currency: None },
        };
        let millis = BEGIN_MILLIS + (number * 1000 / EVENTS_PER_SECOND) as i64;
        let time = EventTime::from_millis(millis);
        let user_id = Some(self.names.users[user].as_str());
        let event = Decoded::Event(Event { time, event_id: None, user_id, effect });
        let owner = self.owners.get_mut(&Partition { kind, index });
        let (owner, next) = owner.expect("every partition has an owner");
        owner.record(*next, &event, Some(millis));
        *next += 1;
    }
}

fn partitions() -> impl Iterator<Item = Partition> {
    Kind::WITH_UNIQUES
        .into_iter()
        .flat_map(|kind| (0..PARTITIONS_PER_TOPIC).map(move |index| Partition { kind, index }))
}

/// A merger in which every product is live, and the traffic that goes on from there.
fn filled() -> (Merger, Storefront) {
    let config = Config::default();
    let definitions = Arc::new(config.definitions());
    let mut storefront = Storefront::new(&definitions);
    let mut merger = Merger::new(definitions);
    for partition in partitions() {
        merger.add_partition(partition, 0, Coverage::Everything, 0);
    }
    merger.clock_mut().topology_known();
    while storefront.events < 2 * PRODUCTS {
        merge(&mut merger, &storefront.round());
    }
    (merger, storefront)
}

/// How long each half of the merger's work took.
#[derive(Clone, Copy, Default)]
struct Took {
    merging: Duration,
    closing: Duration,
}

/// Merges and closes, as the merger's thread does.
fn merge(merger: &mut Merger, deliveries: &[Delivery]) -> Took {
    let started = Instant::now();
    for delivery in deliveries {
        let merged = merger.merge(delivery, 0);
        assert_eq!(merged.admission, Admission::Apply);
    }
    let merging = started.elapsed();
    let mut closed = 0;
    while let Some(view) = merger.close_next(EventTime::MAX) {
        black_box(view);
        closed += 1;
    }
    if closed > 0 {
        merger.roll_up();
    }
    Took { merging, closing: started.elapsed() - merging }
}

fn minute(storefront: &mut Storefront) -> Vec<Vec<Delivery>> {
    (0..ROUNDS_PER_MINUTE).map(|_| storefront.round()).collect()
}

fn cells(rounds: &[Vec<Delivery>]) -> u64 {
    let panes = rounds.iter().flatten().flat_map(|delivery| &delivery.cells.panes);
    panes.map(|pane| pane.cells.len() as u64).sum()
}

fn merging(c: &mut Criterion) {
    let (mut merger, mut storefront) = filled();
    let rounds = minute(&mut storefront);
    let cells = cells(&rounds);
    for round in &rounds {
        merge(&mut merger, round);
    }
    let mut group = c.benchmark_group("merge");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.throughput(Throughput::Elements(cells));
    eprintln!("a minute: {} events, {cells} cells", EVENTS_PER_SECOND * 60);
    let mut measure = |name: &str, part: fn(Took) -> Duration| {
        group.bench_function(name, |b| {
            b.iter_custom(|minutes| {
                let mut took = Duration::ZERO;
                for _ in 0..minutes {
                    for round in minute(&mut storefront) {
                        took += part(merge(&mut merger, &round));
                    }
                }
                took
            });
        });
    };
    measure("minute", |took| took.merging + took.closing);
    measure("minute, deliveries", |took| took.merging);
    measure("minute, closing", |took| took.closing);
    group.finish();
}

fn publishing(c: &mut Criterion) {
    let (mut merger, mut storefront) = filled();
    let labels: Vec<String> =
        Config::default().definitions().windows.iter().map(|w| w.label.clone()).collect();
    let mut group = c.benchmark_group("publish");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    let mut measure = |name: &str, windows: std::ops::Range<usize>| {
        group.bench_function(name, |b| {
            b.iter_custom(|times| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    merge(&mut merger, &storefront.round());
                    let started = Instant::now();
                    let offsets = merger.offsets();
                    for window in windows.clone() {
                        black_box(merger.latest(window, &offsets));
                    }
                    took += started.elapsed();
                    merger.roll_up();
                }
                took
            });
        });
    };
    for (window, label) in labels.iter().enumerate() {
        measure(label, window..window + 1);
    }
    measure("all", 0..labels.len());
    group.finish();
}

criterion_group!(benches, merging, publishing);
criterion_main!(benches);
