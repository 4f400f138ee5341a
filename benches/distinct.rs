//! What distinct users cost: per user added, per sketch in memory, per window read.
//!
//! `cargo bench --bench distinct` first prints a report: whole days of clicks from a million
//! users (each comes again after the 999,999 others), windows 1m/1s, 5m/5s, 1h/1m and 24h/15m,
//! 1/16 of the clicks 1 to 3 s late, cells folded each minute and old marks pruned each
//! quarter of an hour. A click is one mark for all clicks and, where there are 100
//! categories, one for its category. Folding and pruning are included, hashing is not (3 to
//! 17 ns, see `mark`). Times of the report are processor time, so they hold on a busy
//! machine; those of criterion, further down, are time passed and serve to compare two runs.
//!
//! Report of a release build (thin LTO), 2 shared cores of a cloud machine:
//!
//! | clicks a second of event time | sketches | ns a click | all sketches | latest 1m, 24h |
//! |---|---|---|---|---|
//! | 116: each user 10 times a day | 1 | 49 | 347 KiB | 10, 70 us |
//! | 1,160: 100 times | 1 | 23 | 492 KiB | 21, 81 us |
//! | 10,000 | 1 | 22 | 755 KiB | 57, 115 us |
//! | 1,160 | 1 + 100 | 92 (2 marks) | 5.3 MiB | |
//! | 20,000 | 1 + 100 | 74 (2 marks) | 16.7 MiB | |
//!
//! Few clicks a second cost more each, because folding passes over all of main for them.
//! PFCOUNT's estimate takes 3 to 4 us and a dense value 8 to 10 us. Users who never come twice, in every
//! register and every second, leave 3.8 marks a register after a minute and 9.1 after a day.

use std::hint::black_box;
use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nazar::event::Kind;
use nazar::pipeline::definitions::{Definitions, Dimension};
use nazar::pipeline::distinct::{Distinct, SketchId};
use nazar::pipeline::frontier::Frontier;
use nazar::pipeline::hll::{REGISTERS, Registers, mark};
use nazar::time::{EventTime, Span};

const DAY_SECS: i64 = 24 * 3600;
const USERS: u64 = 1_000_000;
const LATENESS_SECS: i64 = 60;
const CATEGORIES: u32 = 100;

/// A merger's day: stream time advances second by second, users are marked up to 3 s late,
/// cells are folded a lateness behind at each minute and old marks pruned at each quarter.
struct Day {
    distinct: Distinct,
    all: SketchId,
    categories: Vec<SketchId>,
    /// Clicks to come, over and over: register, rank, category.
    clicks: Vec<(u16, u8, u16)>,
    next: usize,
    now_secs: i64,
}

impl Day {
    fn new(categories: u32) -> Self {
        let mut distinct = Distinct::new(&definitions());
        let all = distinct.sketch(Kind::Click, None).id();
        let categories: Vec<SketchId> =
            (1..=categories).map(|id| distinct.sketch(Kind::Click, Some((0, id))).id()).collect();
        let mut random = 1u64;
        let clicks = (0..USERS).map(|user| {
            let (register, rank) = mark(user.wrapping_mul(0x9e37_79b9).to_string().as_bytes());
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            // The square of a uniform number: the first categories are the popular ones.
            let x = (random >> 33) as f64 / (1u64 << 31) as f64;
            (register, rank, (x * x * categories.len() as f64) as u16)
        });
        let clicks = clicks.collect();
        Self { distinct, all, categories, clicks, next: 0, now_secs: 20_000 * DAY_SECS }
    }

    fn after(categories: u32, clicks_per_second: usize) -> Self {
        let mut day = Self::new(categories);
        for _ in 0..DAY_SECS + 2 * LATENESS_SECS {
            day.second(clicks_per_second);
        }
        day
    }

    fn second(&mut self, clicks: usize) {
        self.now_secs += 1;
        let now = EventTime::from_millis(self.now_secs * 1000);
        self.distinct.advance_stream_time(now);
        // Pane by pane, as a delivery lists them: 1/16 is late by up to 3 s.
        for (late, share) in [(3, 64), (2, 64), (1, 32), (0, 1)] {
            let pane = now - Span::from_secs(late);
            let clicks = if late == 0 { clicks - clicks / 64 * 4 } else { clicks / share };
            for _ in 0..clicks {
                let (register, rank, category) = self.clicks[self.next];
                self.next = (self.next + 1) % self.clicks.len();
                self.distinct.add(self.all, pane, register, rank);
                if let Some(&category) = self.categories.get(category as usize) {
                    self.distinct.add(category, pane, register, rank);
                }
            }
        }
        if self.now_secs % 60 == 0 {
            self.distinct.fold_to(now - Span::from_secs(LATENESS_SECS));
        }
        if self.now_secs % 900 == 0 {
            self.distinct.prune(EventTime::MIN);
        }
    }

    fn latest(&self, window_secs: i64, out: &mut Registers) {
        let end = EventTime::from_millis((self.now_secs + 1) * 1000);
        self.distinct.latest(self.all, end - Span::from_secs(window_secs), end, out);
    }
}

fn definitions() -> Definitions {
    let (second, minute) = (Span::from_secs(1), Span::from_secs(60));
    let (windows, levels) = Definitions::resolve_windows(vec![
        ("1m".into(), minute, second, minute),
        ("5m".into(), Span::from_secs(300), Span::from_secs(5), minute),
        ("1h".into(), Span::from_secs(3600), minute, minute),
        ("24h".into(), Span::from_secs(DAY_SECS), Span::from_secs(900), Span::from_secs(900)),
    ]);
    let category = Dimension {
        name: "category".into(),
        field: "category".into(),
        entities_max: 1000,
        uniques: true,
    };
    Definitions {
        windows,
        levels,
        dimensions: vec![category],
        boards: Vec::new(),
        lateness: Span::from_secs(LATENESS_SECS),
        max_future: Span::from_secs(300),
        max_skew: Span::from_secs(300),
        stall_limit: Span::from_secs(600),
        currency: "EUR".into(),
        sketch_bytes_max: 1 << 30,
        deduplicate: false,
        deduplicate_bytes_max: 0,
    }
}

/// Processor time of this thread, so that a busy machine does not count (Linux; else time passed).
fn spent_nanos(started: Instant) -> f64 {
    let cpu = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let cpu = cpu.and_then(|text| text.split(' ').next()?.parse().ok());
    cpu.unwrap_or(started.elapsed().as_nanos() as f64)
}

fn nanos_per(times: f64, work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    let before = spent_nanos(started);
    work();
    (spent_nanos(started) - before) / times
}

/// Bytes are the same in every run; times are of a whole day, or of thousands of reads.
fn report() {
    for (categories, clicks, secs) in [
        (0, 116, DAY_SECS),
        (0, 1_160, DAY_SECS),
        (0, 10_000, 6000),
        (CATEGORIES, 1_160, DAY_SECS / 2),
        (CATEGORIES, 20_000, 2000),
    ] {
        let mut day = Day::new(categories);
        let sketches = day.distinct.sketches().count() - 5;
        let nanos = nanos_per(secs as f64 * clicks as f64, || {
            (0..secs).for_each(|_| day.second(clicks));
        });
        println!(
            "{sketches} sketches, {clicks} clicks/s for {secs} s: {nanos:.1} ns a click, {} KiB",
            day.distinct.bytes() >> 10
        );
        let mut out = Registers::new();
        for (window, secs) in [("1m", 60), ("5m", 300), ("1h", 3600), ("24h", DAY_SECS)] {
            let nanos = nanos_per(2000.0, || {
                for _ in 0..2000 {
                    out.clear();
                    day.latest(secs, &mut out);
                }
            });
            print!("  latest {window} {:.1} us ({} users)", nanos / 1000.0, out.count());
        }
        let count = nanos_per(2000.0, || {
            (0..2000).for_each(|_| {
                black_box(out.count());
            })
        });
        let encode = nanos_per(2000.0, || {
            (0..2000).for_each(|_| {
                black_box(out.encode_with(1));
            })
        });
        println!("  count {:.1} us  encode {:.1} us", count / 1000.0, encode / 1000.0);
    }
    // No sketch can need more of honest users: every register is hit in every pane. Simulated
    // for a sixteenth of the registers.
    for (panes, what) in [(60, "a minute"), (DAY_SECS, "a day")] {
        let mut frontier = Frontier::new(0);
        let mut random = 7u64;
        for pane in 0..panes {
            for register in 0..REGISTERS / 16 {
                let mut rank = 0;
                for _ in 0..8 {
                    random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                    rank = rank.max((random >> 13).trailing_zeros() as u8 + 1);
                }
                frontier.insert(register as u16, pane, rank);
            }
        }
        println!(
            "131,000 users a second, never twice the same, {what} of 1 s panes: {:.2} marks a register, {} KiB",
            frontier.len() as f64 / (REGISTERS / 16) as f64,
            (frontier.bytes() * 16) >> 10,
        );
    }
}

fn adds(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("add");
    group.sample_size(20);
    let mut bench = |name: &str, categories: u32, clicks: usize, marks_per_click: usize| {
        let mut day = Day::after(categories, 116);
        (0..180).for_each(|_| day.second(clicks));
        group.throughput(Throughput::Elements((clicks * marks_per_click) as u64));
        group.bench_function(name, |bencher| bencher.iter(|| day.second(clicks)));
        println!("{name}: {} KiB", day.distinct.bytes() >> 10);
    };
    bench("one sketch, 116 a second", 0, 116, 1);
    bench("one sketch, 10,000 a second", 0, 10_000, 1);
    bench("one sketch, 100,000 a second", 0, 100_000, 1);
    bench("100 categories, 20,000 clicks a second", CATEGORIES, 20_000, 2);
    group.finish();

    criterion.bench_function("mark (hash of a 12-byte name)", |bencher| {
        bencher.iter(|| mark(black_box(b"user-1234567")))
    });
}

fn folds(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fold");
    group.sample_size(10);
    for clicks in [116, 10_000] {
        let mut day = Day::after(0, 116);
        group.bench_function(format!("a minute of {clicks} a second"), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut spent = std::time::Duration::ZERO;
                for _ in 0..iterations {
                    let end = day.now_secs / 60 * 60 + 59 - day.now_secs;
                    (0..end).for_each(|_| day.second(clicks));
                    let edge = EventTime::from_millis((day.now_secs + 1 - LATENESS_SECS) * 1000);
                    let started = Instant::now();
                    day.distinct.fold_to(edge);
                    spent += started.elapsed();
                    day.second(clicks);
                }
                spent
            })
        });
    }
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("read");
    let day = Day::after(0, 116);
    let mut out = Registers::new();
    for (window, secs) in [("1m", 60), ("5m", 300), ("1h", 3600), ("24h", DAY_SECS)] {
        group.bench_function(format!("latest {window}, 116 a second"), |bencher| {
            bencher.iter(|| {
                out.clear();
                day.latest(secs, &mut out);
            })
        });
    }
    for (window, secs) in [("1m", 60), ("24h", DAY_SECS)] {
        out.clear();
        day.latest(secs, &mut out);
        println!("{window}: {} users, value of {} bytes", out.count(), out.encode().len());
        group.bench_function(format!("count {window}"), |bencher| bencher.iter(|| out.count()));
        let estimate = out.count();
        group.bench_function(format!("encode {window}"), |bencher| {
            bencher.iter(|| out.encode_with(estimate))
        });
    }
    group.finish();
}

fn all(criterion: &mut Criterion) {
    report();
    adds(criterion);
    folds(criterion);
    reads(criterion);
}

criterion_group!(benches, all);
criterion_main!(benches);
