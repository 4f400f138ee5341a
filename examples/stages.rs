//! One stage of the engine at a time, for tools that count what runs: `stages <stage> [events]`.
//!
//! ```text
//!  records ─► decode ─► gather ─► hand-over ─► encode, restore ─► merge, close ─► views
//!             bytes to  cells and  open delta   deliveries as      merged state    latest boards
//!             event     user marks to delivery  bytes and back                     of all windows
//! ```
//!
//! Everything runs whatever the stage is; [`counted`] is around the one that is asked for. So
//!
//! ```sh
//! valgrind --tool=callgrind --toggle-collect='stages::counted*' target/release/examples/stages gather
//! ```
//!
//! counts the instructions of that stage alone, with inputs as they are in a backlog: traffic of
//! `nazar-load`, ten million events in two hours, three topics of four partitions, the default
//! views, deliveries of 256 KiB. `bench/run instructions` does so for all. Limits: one thread, no
//! waiting, no cache misses in the figure.
//!
//! The line on stdout says how often the stage was run: `{"stage":"gather","per":"event","count":300000}`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use anyhow::Context;
use nazar::config::Config;
use nazar::event::Kind;
use nazar::load::catalogue::Popularity;
use nazar::load::clock::Rules;
use nazar::load::kind::Kind as LoadKind;
use nazar::load::schedule::Schedule;
use nazar::load::workload::{Key, Record, Workload, WorkloadConfig};
use nazar::pipeline::clock::Coverage;
use nazar::pipeline::decode::{DecodeLimits, Decoder};
use nazar::pipeline::definitions::Definitions;
use nazar::pipeline::delivery::{Delivery, Partition};
use nazar::pipeline::hll::Registers;
use nazar::pipeline::merge::{Merger, Position};
use nazar::pipeline::owned::OwnedPartition;
use nazar::pipeline::protocol::Way;
use nazar::pipeline::wire;
use nazar::sinks::redis::keys::Keys;
use nazar::time::EventTime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Stages, and what one of them is counted by.
const STAGES: [(&str, &str); 10] = [
    ("decode", "event"),
    ("gather", "event"),
    ("hand-over", "event"),
    ("encode", "event"),
    ("restore", "event"),
    ("merge", "event"),
    ("close", "window"),
    ("views", "window"),
    ("distinct", "count"),
    ("keys", "key"),
];
/// More than three minutes of event time, so that windows close.
const EVENTS: u64 = 300_000;
const EVENTS_PER_SECOND: u64 = 10_000_000 / 7200;
/// The owner's size limit.
const DELTA_BYTES_MAX: usize = 256 << 10;
/// Latest views are made once in so much event time.
const VIEWS_EVERY_MILLIS: i64 = 10_000;
const PARTITIONS: u32 = 4;
const END_MILLIS: i64 = 1_785_000_000_000;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let stages = || STAGES.map(|(stage, _)| stage).join(", ");
    let wanted = arguments.next().with_context(|| format!("say which stage: {}", stages()))?;
    let known = STAGES.into_iter().find(|(stage, _)| *stage == wanted);
    let (stage, per) =
        known.with_context(|| format!("there is no stage {wanted}, only {}", stages()))?;
    let events = arguments.next().map_or(Ok(EVENTS), |text| text.parse())?;
    let mut engine = Engine::new(stage);
    workload(events).for_each(|record| engine.record(&record));
    engine.finish()?;
    let count = engine.count;
    println!("{}", serde_json::json!({ "stage": stage, "per": per, "count": count }));
    Ok(())
}

/// What is counted is what happens in here.
#[inline(never)]
fn counted<T>(work: impl FnOnce() -> T) -> T {
    black_box(work())
}

fn workload(events: u64) -> Workload {
    let span_ms = (events * 1000 / EVENTS_PER_SECOND).max(1) as i64;
    Workload::new(WorkloadConfig {
        seed: 1,
        schedule: Schedule::over_span(END_MILLIS, span_ms, events),
        partitions: [PARTITIONS; 4],
        products: 100_000,
        categories: 48,
        sellers: 2_000,
        users: 100_000,
        popularity: Popularity::Storefront,
        key: Key::Product,
        order_status: false,
        inject: "".parse().unwrap_or_default(),
        rules: Rules::default(),
        currency: "USD".into(),
        play: None,
    })
}

struct Engine {
    stage: &'static str,
    count: u64,
    definitions: Arc<Definitions>,
    decoder: Decoder,
    owned: BTreeMap<Partition, (OwnedPartition, i64)>,
    merger: Merger,
    next_views_millis: i64,
}

impl Engine {
    fn new(stage: &'static str) -> Self {
        let config = Config::default();
        let definitions = Arc::new(config.definitions());
        let limits = DecodeLimits { record_bytes_max: 1 << 20, id_bytes_max: 256 };
        let mut merger = Merger::new(definitions.clone());
        let mut owned = BTreeMap::new();
        for kind in Kind::WITH_UNIQUES {
            for index in 0..PARTITIONS as i32 {
                let partition = Partition { kind, index };
                merger.add_partition(partition, 0, Coverage::Everything, 0);
                let start = Position::start(0);
                let one = OwnedPartition::start(partition, start, definitions.clone());
                owned.insert(partition, (one, 0));
            }
        }
        merger.clock_mut().topology_known();
        Self {
            stage,
            count: 0,
            decoder: Decoder::new(&config.fields, &definitions, limits),
            definitions,
            owned,
            merger,
            next_views_millis: 0,
        }
    }

    /// Runs a part of the engine, counted if it is of the stage that was asked for.
    fn part<T>(&mut self, stage: &str, times: u64, work: impl FnOnce(&mut Self) -> T) -> T {
        if self.stage != stage {
            return work(self);
        }
        self.count += times;
        counted(|| work(self))
    }

    fn record(&mut self, record: &Record) {
        let kind = match record.kind {
            LoadKind::Click => Kind::Click,
            LoadKind::Wishlist => Kind::Wishlist,
            LoadKind::Purchase => Kind::Purchase,
            LoadKind::OrderStatus => return,
        };
        let partition = Partition { kind, index: record.partition as i32 };
        let time = EventTime::from_millis(record.create_time_ms);
        let payload = record.payload.as_deref();
        if self.stage == "decode" {
            self.part("decode", 1, |engine| {
                engine.decoder.decode(kind, payload, Some(time), |decoded| {
                    black_box(decoded);
                });
            });
        }
        let Some((owned, next)) = self.owned.get_mut(&partition) else { return };
        let is_counted = self.stage == "gather";
        self.decoder.decode(kind, payload, Some(time), |decoded| {
            let mut gather = || owned.record(*next, &decoded, Some(record.create_time_ms));
            if is_counted {
                self.count += 1;
                counted(&mut gather);
            } else {
                gather();
            }
        });
        *next += 1;
        if owned.open_bytes() >= DELTA_BYTES_MAX {
            self.hand_over(partition);
        }
        if record.intended_ms >= self.next_views_millis {
            self.next_views_millis = record.intended_ms + VIEWS_EVERY_MILLIS;
            self.publish();
        }
    }

    fn hand_over(&mut self, partition: Partition) {
        let Some((mut owned, next)) = self.owned.remove(&partition) else { return };
        let delivery = self.part("hand-over", 0, |_| owned.take(Way::Outbox));
        self.owned.insert(partition, (owned, next));
        if let Some(delivery) = delivery {
            if self.stage == "hand-over" {
                self.count += (delivery.to - delivery.from) as u64;
            }
            self.merge(&delivery);
        }
    }

    fn merge(&mut self, delivery: &Delivery) {
        let events = (delivery.to - delivery.from) as u64;
        let bytes = self.part("encode", events, |_| wire::encode(delivery));
        let restored = self.part("restore", events, |_| wire::decode(&bytes));
        drop(black_box(restored));
        self.part("merge", events, |engine| black_box(engine.merger.merge(delivery, 0)));
    }

    fn publish(&mut self) {
        let closed = self.part("close", 0, |engine| {
            let mut closed = 0;
            while let Some(view) = engine.merger.close_next(EventTime::MAX) {
                black_box(view);
                closed += 1;
            }
            engine.merger.roll_up();
            closed
        });
        self.count += if self.stage == "close" { closed } else { 0 };
        let windows = self.definitions.windows.len();
        let offsets = self.merger.offsets();
        self.part("views", windows as u64, |engine| {
            for window in 0..windows {
                drop(black_box(engine.merger.latest(window, &offsets)));
            }
        });
    }

    /// What is left, and what needs no records.
    fn finish(&mut self) -> anyhow::Result<()> {
        let partitions: Vec<Partition> = self.owned.keys().copied().collect();
        partitions.into_iter().for_each(|partition| self.hand_over(partition));
        self.publish();
        let mut registers = Registers::new();
        for user in 0..20_000u32 {
            let (register, rank) = nazar::pipeline::hll::mark(user.to_string().as_bytes());
            registers.raise(register, rank);
        }
        self.part("distinct", 1, |_| {
            let count = registers.count();
            black_box(registers.encode_with(count))
        });
        let keys = Keys::new("nazar").context("it is a prefix")?;
        for number in 0..1000 {
            let id = format!("product {number}");
            self.part("keys", 1, |_| black_box(keys.entity("product", &id)));
        }
        Ok(())
    }
}
