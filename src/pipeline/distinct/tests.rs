//! Against the plainest model: remember every mark, read a window by looking at all of them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::pipeline::definitions::Dimension;
use crate::pipeline::hll::REGISTERS;
use crate::time::Span;

const CATEGORY: u16 = 1;
type Key = (Kind, Option<Entity>);

/// Windows as (size, slide, closed step) in seconds.
fn definitions(windows: &[(i64, i64, i64)], sketches_max: usize) -> Definitions {
    let specs = windows.iter().map(|&(size, slide, step)| {
        let label = format!("{size}/{slide}/{step}");
        (label, Span::from_secs(size), Span::from_secs(slide), Span::from_secs(step))
    });
    let (windows, levels) = Definitions::resolve_windows(specs.collect());
    let dimension = |name: &str, uniques| Dimension {
        name: name.into(),
        field: name.into(),
        entities_max: 100,
        uniques,
    };
    Definitions {
        windows,
        dimensions: vec![dimension("product", false), dimension("category", true)],
        boards: Vec::new(),
        levels,
        lateness: Span::from_secs(10),
        max_future: Span::from_secs(300),
        max_skew: Span::from_secs(300),
        stall_limit: Span::from_secs(600),
        currency: "EUR".into(),
        sketch_bytes_max: sketches_max * SKETCH_BYTES_WORST,
        deduplicate: false,
        deduplicate_bytes_max: 0,
    }
}

/// The shapes of real configurations, scaled down.
const SHAPES: [&[(i64, i64, i64)]; 7] = [
    // The default, with 1 s, 2 s, 4 s, 12 s for 1 s, 5 s, 1 m, 15 m.
    &[(6, 1, 6), (12, 2, 6), (36, 4, 12), (144, 12, 12)],
    // Tumbling only.
    &[(5, 5, 5)],
    &[(3, 3, 3), (60, 60, 60)],
    // 24h/1m: many slides a window, closed at each.
    &[(144, 1, 1), (10, 1, 1)],
    // Slides that do not divide each other; cells wider than the shortest window.
    &[(4, 2, 12), (9, 3, 12), (40, 10, 20)],
    &[(60, 6, 30)],
    // Closed less often than a window lasts: part of each cell is never asked for.
    &[(4, 1, 12)],
];

fn secs(secs: i64) -> EventTime {
    EventTime::from_millis(secs * 1000)
}

/// The structure beside everything it was told.
struct Pair {
    definitions: Definitions,
    distinct: Distinct,
    applied: Vec<(Key, EventTime, u16, u8)>,
    n: EventTime,
    folded: EventTime,
}

impl Pair {
    fn new(definitions: Definitions) -> Self {
        let distinct = Distinct::new(&definitions);
        let (n, folded) = (EventTime::MIN, EventTime::MIN);
        Self { definitions, distinct, applied: Vec::new(), n, folded }
    }

    fn advance(&mut self, n: EventTime) {
        self.n = self.n.max(n);
        self.distinct.advance_stream_time(n);
    }

    fn add(&mut self, key: Key, at: EventTime, register: u16, rank: u8) {
        let pane = at.floor(self.definitions.base_pane());
        let reserved = self.distinct.sketch(key.0, key.1);
        let key = match reserved {
            Reserved::Own(_) => key,
            Reserved::Other(_) => (key.0, key.1.map(|(dimension, _)| (dimension, OTHER_ENTITY))),
        };
        self.distinct.add(reserved.id(), pane, register, rank);
        self.applied.push((key, pane, register, rank));
    }

    fn naive(&self, key: Key, start: EventTime, end: EventTime) -> Registers {
        let mut out = Registers::new();
        for &(of, pane, register, rank) in &self.applied {
            if of == key && start <= pane && pane < end {
                out.raise(register, rank);
            }
        }
        out
    }

    /// Compares one window of every sketch, including those that do not exist.
    fn check(&self, start: EventTime, end: EventTime, read: impl Fn(SketchId, &mut Registers)) {
        let sketches: HashMap<Key, SketchId> =
            self.distinct.sketches().map(|(id, kind, entity)| ((kind, entity), id)).collect();
        let mut keys: Vec<Key> = self.applied.iter().map(|&(key, ..)| key).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let mut out = Registers::new();
            if let Some(&id) = sketches.get(&key) {
                read(id, &mut out);
            }
            let truth = self.naive(key, start, end);
            assert_eq!(out, truth, "{key:?} [{start}, {end}) at N {} F {}", self.n, self.folded);
        }
    }

    fn check_latest(&self) {
        for window in &self.definitions.windows {
            let end = self.n.next_multiple(window.slide);
            let start = end - window.size;
            self.check(start, end, |id, out| self.distinct.latest(id, start, end, out));
        }
    }

    /// Folds and reads at every closed edge up to `group_watermark`, as the merger does.
    fn close_to(&mut self, group_watermark: EventTime) {
        let step =
            self.definitions.windows.iter().fold(Span::ZERO, |gcd, w| gcd.gcd(w.closed_step));
        let first = self.applied.iter().map(|&(_, pane, ..)| pane).min().unwrap_or(group_watermark);
        let mut end = self.folded.max(first.floor(step)) + step;
        while end <= group_watermark {
            self.folded = end;
            self.distinct.fold_to(end);
            for window in &self.definitions.windows {
                if end.ceil(window.closed_step) == end {
                    let start = end - window.size;
                    self.check(start, end, |id, out| self.distinct.closed(id, start, out));
                }
            }
            end += step;
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// Stream time moves on by so many seconds; most deliveries move it by little.
    Advance(i64),
    /// Marks so many seconds before stream time (negative: ahead of it).
    Add {
        key: Key,
        ago: i64,
        marks: Vec<(u16, u8)>,
    },
    /// The group watermark is so many seconds behind stream time.
    Close(i64),
    Latest,
    Prune,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = prop::sample::select(vec![
        (Kind::Click, None),
        (Kind::Purchase, None),
        (Kind::Click, Some((CATEGORY, 5))),
        (Kind::Click, Some((CATEGORY, 6))),
        (Kind::Click, Some((CATEGORY, 7))),
    ]);
    let ago = prop_oneof![
        12 => 0..20i64,   // in order and out of order
        2 => 20..400i64,  // of a closed pane, or of one that no window needs
        2 => -40..0i64,   // ahead of stream time
    ];
    let register = prop_oneof![0..8u16, 16_380..16_384u16];
    let marks = prop::collection::vec((register, 1..=9u8), 1..30);
    let op = prop_oneof![
        4 => prop_oneof![8 => 1..6i64, 1 => 6..200i64].prop_map(Op::Advance),
        10 => (key, ago, marks).prop_map(|(key, ago, marks)| Op::Add { key, ago, marks }),
        2 => prop_oneof![8 => 10..25i64, 1 => -30..10i64].prop_map(Op::Close),
        3 => Just(Op::Latest),
        1 => Just(Op::Prune),
    ];
    prop::collection::vec(op, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Every closed and every latest window reads as if only its own marks existed.
    #[test]
    fn every_window_is_exact(
        shape in prop::sample::select(SHAPES.to_vec()), sketches_max in 6..10usize, ops in ops(),
    ) {
        let mut pair = Pair::new(definitions(shape, sketches_max));
        let longest = pair.definitions.windows.iter().map(|w| w.size).max().unwrap();
        pair.advance(secs(1_000_003));
        for op in ops {
            let n = pair.n;
            match op {
                Op::Advance(by) => pair.advance(n + Span::from_secs(by)),
                Op::Add { key, ago, marks } => {
                    for (register, rank) in marks {
                        pair.add(key, n - Span::from_secs(ago), register, rank);
                    }
                }
                // A negative lag is the end of a bounded run: closing goes beyond stream time.
                Op::Close(lag) => pair.close_to(n - Span::from_secs(lag)),
                Op::Latest => pair.check_latest(),
                Op::Prune => {
                    let freed = pair.distinct.prune(pair.folded.min(n) - longest);
                    let live: Vec<Key> = pair.distinct.sketches().map(|s| (s.1, s.2)).collect();
                    for (kind, entity) in freed {
                        prop_assert!(!live.contains(&(kind, Some(entity))));
                    }
                    pair.check_latest();
                }
            }
        }
        pair.check_latest();
        pair.close_to(pair.n + Span::from_secs(60));
        pair.check_latest();
    }
}

#[test]
fn a_window_that_ended_is_not_disturbed_by_what_came_after() {
    // Window 10 s, closed every 10 s. The mark at 12 s is higher and newer than the one at
    // 9 s, which the window [0, 10) still needs.
    let mut pair = Pair::new(definitions(&[(10, 5, 10)], 100));
    pair.advance(secs(20));
    pair.add((Kind::Click, None), secs(9), 1, 2);
    pair.add((Kind::Click, None), secs(12), 1, 8);
    pair.close_to(secs(10));
    let mut out = Registers::new();
    let id = pair.distinct.sketch(Kind::Click, None).id();
    pair.distinct.closed(id, secs(0), &mut out);
    assert_eq!(out.ranks()[1], 2);
    pair.close_to(secs(20));
    pair.check_latest();
}

#[test]
fn past_the_budget_users_are_counted_under_other() {
    // Three kinds, and __other__ of one dimension for each, are there from the start.
    let definitions = definitions(&[(10, 5, 10)], 7);
    let mut distinct = Distinct::new(&definitions);
    assert_eq!(distinct.sketches().count(), 6);
    assert_eq!(Distinct::bytes_min(&definitions), 6 * SKETCH_BYTES_WORST);
    let own = distinct.sketch(Kind::Click, Some((CATEGORY, 1)));
    assert!(matches!(own, Reserved::Own(_)));
    let over = distinct.sketch(Kind::Click, Some((CATEGORY, 2)));
    let other = distinct.sketch(Kind::Click, Some((CATEGORY, OTHER_ENTITY)));
    assert_eq!((over, other), (Reserved::Other(other.id()), Reserved::Own(other.id())));
    assert_eq!(distinct.sketch(Kind::Click, Some((CATEGORY, 1))), own);
    assert_eq!(distinct.bytes_charged(), 7 * SKETCH_BYTES_WORST);

    // Left without a mark, the entity gives its place to the next.
    assert_eq!(distinct.prune(EventTime::MIN), [(Kind::Click, (CATEGORY, 1))]);
    assert_eq!(distinct.bytes_charged(), 6 * SKETCH_BYTES_WORST);
    let next = distinct.sketch(Kind::Wishlist, Some((CATEGORY, 2)));
    assert_eq!(next, Reserved::Own(own.id()));
}

#[test]
fn an_entity_is_freed_when_its_last_mark_is_older_than_every_window() {
    let mut pair = Pair::new(definitions(&[(10, 5, 10)], 100));
    let key = (Kind::Click, Some((CATEGORY, 9)));
    pair.advance(secs(20));
    pair.add(key, secs(20), 1, 1);
    // Ahead of stream time counts as a mark, too.
    pair.add((Kind::Click, Some((CATEGORY, 8))), secs(90), 1, 1);
    pair.advance(secs(35));
    pair.close_to(secs(30));
    assert_eq!(pair.distinct.prune(EventTime::MIN), []);
    pair.advance(secs(45));
    pair.close_to(secs(40));
    assert_eq!(pair.distinct.prune(EventTime::MIN), [(Kind::Click, (CATEGORY, 9))]);
    pair.add(key, secs(44), 1, 1);
    pair.check_latest();
}

#[test]
fn a_sketch_that_outgrows_its_reservation_is_charged_its_size() {
    let mut distinct = Distinct::new(&definitions(&[(100, 1, 100)], 100));
    let id = distinct.sketch(Kind::Click, None).id();
    distinct.advance_stream_time(secs(99));
    for pane in 0..16 {
        for register in 0..REGISTERS as u16 {
            distinct.add(id, secs(pane), register, 20 - pane as u8);
        }
    }
    let before = distinct.bytes_charged();
    distinct.prune(EventTime::MIN);
    let grown = distinct.bytes_charged() - before;
    assert!(grown > 3 * SKETCH_BYTES_WORST, "16 marks of 4 bytes in 16,384 registers: {grown}");
    assert!(distinct.bytes() > grown + SKETCH_BYTES_WORST);
}

#[test]
fn marks_ahead_of_stream_time_are_bounded() {
    let mut distinct = Distinct::new(&definitions(&[(10, 5, 10)], 100));
    let id = distinct.sketch(Kind::Click, None).id();
    distinct.advance_stream_time(secs(0));
    for mark in 0..AHEAD_MARKS_MAX as i64 + 5 {
        distinct.add(id, secs(1000 + 5 * (mark / 16_384)), (mark % 16_384) as u16, 1);
    }
    assert_eq!(distinct.ahead_refused(), 5);
    // Again the same mark, or one in the pane of stream time itself: no room needed.
    distinct.add(id, secs(1000), 0, 1);
    distinct.add(id, secs(0), 0, 1);
    assert_eq!(distinct.ahead_refused(), 5);
    distinct.advance_stream_time(secs(2000));
    distinct.add(id, secs(3000), 0, 1);
    assert_eq!(distinct.ahead_refused(), 5);
}

/// The folded marks that a checkpoint needs beside the bases never outweigh these, whatever the
/// backlog: they are read back one by one.
#[test]
fn folded_marks_do_not_outweigh_the_bases() {
    const SKETCHES: u32 = 90;
    let mut distinct = Distinct::new(&definitions(&[(10, 1, 1)], 100));
    distinct.keep_journal();
    let sketches: Vec<SketchId> =
        (0..SKETCHES).map(|id| distinct.sketch(Kind::Click, Some((CATEGORY, id))).id()).collect();
    // By the number of the checkpoint: bytes of folded marks that still count.
    let mut beside: Vec<(u64, usize)> = Vec::new();
    let mut cells: BTreeMap<i64, usize> = BTreeMap::new();
    let bytes_of = |runs: &[MarkRun]| runs.iter().map(|run| size_of_val(&*run.marks)).sum();
    let (mut most, mut early) = (0, 0);
    for second in 0..300 {
        let time = EventTime::from_millis(second * 1000);
        distinct.advance_stream_time(time);
        for (number, &sketch) in sketches.iter().enumerate() {
            for user in 0..8 {
                let register = (second * 8 + user + number as i64) % REGISTERS as i64;
                distinct.add(sketch, time, register as u16, 1 + (user % 5) as u8);
            }
        }
        distinct.fold_to(time);
        distinct.prune(time - Span::from_secs(11));
        let captured = distinct.capture(false);
        beside.push((captured.number, bytes_of(&captured.folded)));
        let open: Vec<i64> = captured.cells.iter().map(|cell| cell.start).collect();
        let folded = cells.iter().filter(|(start, _)| !open.contains(start));
        beside.extend(folded.map(|(_, &bytes)| (captured.number, bytes)));
        cells.retain(|start, _| open.contains(start));
        for cell in captured.cells {
            let runs = cell.runs.map(|runs| (cell.start, bytes_of(&runs)));
            cells.extend(runs);
        }
        if let Some(through) = captured.superseded {
            early += usize::from(captured.bases.len() >= sketches.len());
            beside.retain(|&(number, _)| number > through);
        }
        most = most.max(beside.iter().map(|(_, bytes)| bytes).sum());
    }
    let standing: usize = distinct.slots.iter().flatten().map(|sketch| sketch.main.len()).sum();
    let standing = standing * size_of::<Mark>();
    assert!(early > 0, "never were all bases taken at once");
    assert!(most > 0 && most <= standing, "{most} bytes stood beside {standing}");
}
