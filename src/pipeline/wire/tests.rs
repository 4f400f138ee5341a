use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::event::OrderStatus;
use crate::pipeline::delivery::{
    Cell, Ledger, PaneCells, PartitionState, Prints, Totals, UserMark,
};
use crate::pipeline::hll;
use crate::pipeline::identity::Fingerprint;
use crate::pipeline::testing;
use crate::pipeline::watermark::Watermark;

fn time() -> impl Strategy<Value = EventTime> {
    let near = 1_700_000_000_000..1_700_000_100_000i64;
    let any = EventTime::MIN.millis()..=EventTime::MAX.millis();
    prop_oneof![9 => near, 1 => any].prop_map(EventTime::from_millis)
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0u64..3, 2 => 0u64..100_000, 1 => any::<u64>()]
}

fn names() -> impl Strategy<Value = Names> {
    let name = prop_oneof![
        (0u32..10_000).prop_map(|n| format!("product-{n}")),
        "[aé]{0,40}",
        any::<String>(),
    ];
    vec(name, 1..8).prop_map(|all| {
        let mut names = Names::default();
        all.iter().for_each(|name| {
            names.push(name);
        });
        names
    })
}

prop_compose! {
    fn state()(
        times in vec(time(), 0..100), quiet in option::of(time()), ledger: [u64; 8], warm_from: i64,
        newest in option::of((any::<i64>(), any::<Option<i64>>(), any::<u64>())),
    ) -> PartitionState {
        let mut watermark = Watermark::default();
        for time in times {
            watermark.observe(time, &testing::definitions());
        }
        let [consumed, applied, late, duplicate, malformed, future, tombstone, foreign_currency] = ledger;
        let ledger = Ledger { consumed, applied, late, duplicate, malformed, future, tombstone, foreign_currency };
        let print = |(offset, kafka_millis, hash)| Fingerprint { offset, kafka_millis, hash };
        let prints = Prints { newest: newest.map(print), older: None };
        PartitionState { watermark, quiet, ledger, warm_from, prints }
    }
}

prop_compose! {
    fn totals()(
        sums in prop::array::uniform7(count()), order_status in prop::array::uniform6(count()),
        foreign in prop::collection::btree_map("[A-Z]{1,8}", count(), 0..3),
    ) -> Totals {
        let [events, clicks, wishlists, wishlist_removes, orders, units, revenue_minor] = sums;
        let foreign_revenue = foreign.into_iter().map(|(name, sum)| (name.into(), sum)).collect();
        Totals { events, clicks, wishlists, wishlist_removes, orders, units, revenue_minor, order_status, foreign_revenue }
    }
}

/// Any of the entities of any dimension; there is one of each at least.
fn entity(names: &[Names]) -> impl Strategy<Value = (usize, u32)> + use<> {
    let lens: Vec<u32> = names.iter().map(|names| names.len() as u32).collect();
    (0..lens.len()).prop_flat_map(move |dimension| (Just(dimension), 0..lens[dimension]))
}

fn pane(names: &[Names], sketches: u32) -> impl Strategy<Value = PaneCells> + use<> {
    let cell = (entity(names), prop::sample::select(&Metric::ALL[..]), count()).prop_map(
        |((dimension, entity), metric, amount)| Cell {
            series: crate::pipeline::delivery::series(dimension, metric),
            entity,
            amount,
        },
    );
    let user = (0..sketches, 0..hll::REGISTERS as u16, prop_oneof![1u8..6, 1..=hll::RANK_MAX])
        .prop_map(|(sketch, register, rank)| UserMark { sketch, register, rank });
    (totals(), vec(cell, 0..30), vec(user, 0..30)).prop_map(|(totals, cells, users)| PaneCells {
        start_millis: 0,
        totals,
        cells,
        users,
    })
}

fn cells() -> impl Strategy<Value = Cells> {
    let kind = || prop::sample::select(&Kind::ALL[..]);
    vec(names(), 1..=DIMENSIONS_MAX)
        .prop_flat_map(move |names| {
            let entity = entity(&names).prop_map(|(dimension, entity)| (dimension as u16, entity));
            let sketch =
                (kind(), option::of(entity)).prop_map(|(kind, entity)| SketchKey { kind, entity });
            (Just(names), vec(sketch, 1..5))
        })
        .prop_flat_map(|(names, sketches)| {
            let pane = pane(&names, sketches.len() as u32);
            let panes = prop::collection::btree_map(time(), pane, 0..5);
            (Just(names), Just(sketches), panes)
        })
        .prop_map(|(names, sketches, panes)| {
            let dated = |(start, pane): (EventTime, PaneCells)| PaneCells {
                start_millis: start.millis(),
                ..pane
            };
            Cells { names, sketches, panes: panes.into_iter().map(dated).collect() }
        })
}

prop_compose! {
    fn delivery()(
        kind in prop::sample::select(&Kind::ALL[..]), index: i32, ends: [i64; 2],
        state_to in state(), cells in cells(), oldest_record_millis: Option<i64>, has_gap: bool,
    ) -> Delivery {
        let (from, to) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
        Delivery { partition: Partition { kind, index }, from, to, state_to, cells, oldest_record_millis, has_gap }
    }
}

/// The order that cells and users come back in.
fn sorted(mut delivery: Delivery) -> Delivery {
    for pane in &mut delivery.cells.panes {
        pane.cells.sort_by_key(|cell| (cell.series, cell.entity, cell.amount));
        pane.users.sort_by_key(|user| (user.sketch, user.register, user.rank));
    }
    delivery
}

fn small() -> Delivery {
    let mut names = Names::default();
    for name in ["product-7", "product-12", "prodigé"] {
        names.push(name);
    }
    let mut watermark = Watermark::default();
    watermark.observe(EventTime::from_millis(1_000), &testing::definitions());
    let mut order_status = [0; OrderStatus::COUNT];
    order_status[OrderStatus::Shipped as usize] = 4;
    let click = |entity, amount| Cell { series: 0, entity, amount };
    Delivery {
        partition: Partition { kind: Kind::Purchase, index: 3 },
        from: 100,
        to: 130,
        state_to: PartitionState { watermark, warm_from: 100, ..PartitionState::default() },
        cells: Cells {
            names: vec![names],
            sketches: vec![SketchKey { kind: Kind::Click, entity: Some((0, 2)) }],
            panes: vec![PaneCells {
                start_millis: 1_000,
                totals: Totals { clicks: 6, order_status, ..Totals::default() },
                cells: vec![click(2, 1), click(0, 5)],
                users: vec![
                    UserMark { sketch: 0, register: 9, rank: 1 },
                    UserMark { sketch: 0, register: 2, rank: 9 },
                ],
            }],
        },
        oldest_record_millis: Some(-1),
        has_gap: false,
    }
}

/// The form, byte by byte: whoever changes it changes the version.
#[test]
fn the_bytes_of_version_1() {
    let expected: Vec<u8> = [
        &[1][..],                     // version
        &[2, 6, 0xc8, 1, 30],         // purchase/3, from 100, 30 records
        &[1, 1],                      // oldest record at −1
        &[0],                         // no gap
        &[1, 0xd0, 0x0f, 0],          // one record seen, at 1000
        &[0, 0, 0, 0, 0, 0, 0, 0, 0], // not quiet, nothing counted
        &[0],                         // warm from 100, too
        &[0, 0],                      // no fingerprints
        &[1, 3],                      // one dimension, three names
        b"\x09product-7\x8212\x44ig\xc3\xa9",
        &[1, 0, 1, 2],         // one sketch: clicks of entity 2 of dimension 0
        &[1, 0xd0, 0x0f],      // one pane, at 1000
        &[0x82, 0x04, 6, 4],   // bits 1 and 9: 6 clicks, 4 shipped
        &[1, 0, 2, 1, 5, 4],   // clicks of two entities: 0: 5, 0 + 2: 1
        &[1, 0, 2, 11, 9, 28], // users of sketch 0: (2, 9), (2 + 7, 1)
    ]
    .concat();
    assert_eq!(encode(&small()), expected);
    assert_eq!(decode(&expected), Ok(sorted(small())));
}

#[test]
fn what_is_wrong_is_said() {
    let bytes = encode(&small());
    let with = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        decode(&bytes).unwrap_err()
    };
    assert_eq!(with(0, 2), WireError::Version { found: 2 });
    let malformed = |at, problem| WireError::Malformed(CodecError { at, problem });
    assert_eq!(with(1, 4), malformed(1, Problem::OutOfRange), "a fifth kind");
    assert_eq!(
        decode(&[&bytes[..], &[0]].concat()),
        Err(malformed(bytes.len(), Problem::Trailing))
    );
    let place = |part: &[u8]| {
        bytes.windows(part.len()).position(|window| window == part).expect("it is there")
    };
    let sketch = place(&[1, 0, 1, 2]);
    assert_eq!(with(sketch + 2, 2), malformed(sketch + 2, Problem::OutOfRange), "dimension 1");
    assert_eq!(with(sketch + 3, 3), malformed(sketch + 3, Problem::OutOfRange), "name 3");
    let cells = place(&[1, 0, 2, 1, 5, 4]);
    assert_eq!(with(cells + 1, 5), malformed(cells + 1, Problem::OutOfRange), "a sixth metric");
    assert_eq!(with(cells + 1, 16), malformed(cells + 1, Problem::OutOfRange), "dimension 1");
    assert_eq!(with(cells + 2, 99), malformed(cells + 2, Problem::TooMany));
    assert_eq!(with(cells + 5, 6), malformed(cells + 5, Problem::OutOfRange), "name 3");
    let users = place(&[1, 0, 2, 11, 9, 28]);
    assert_eq!(with(users + 1, 1), malformed(users + 1, Problem::OutOfRange), "sketch 1");
    assert_eq!(with(users + 4, 52), malformed(users + 3, Problem::OutOfRange), "rank 52");
    assert_eq!(with(users + 4, 0), malformed(users + 3, Problem::OutOfRange), "rank 0");
    let name = place(b"\x8212");
    assert_eq!(with(name, 0xa2), malformed(name, Problem::Malformed), "shares 10 of 9 bytes");
}

#[test]
fn contradictions_are_refused() {
    let mut delivery = small();
    delivery.cells.panes.push(delivery.cells.panes[0].clone());
    let refused = |delivery: &Delivery| match decode(&encode(delivery)) {
        Err(WireError::Contradiction { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(&delivery), "its panes do not ascend");
    let mut delivery = small();
    let twice = ("CHF".into(), 1);
    delivery.cells.panes[0].totals.foreign_revenue = vec![twice; 2];
    assert_eq!(refused(&delivery), "its currencies do not ascend");
    let backwards = Delivery { to: 99, ..small() };
    assert_eq!(refused(&backwards), "its range of offsets does not end");
    // 2⁶³ records seen, more than there are offsets.
    let mut bytes = encode(&Delivery { oldest_record_millis: None, ..small() });
    let seen = [&[0x80; 9][..], &[1]].concat();
    assert_eq!(bytes[8], 1);
    let times = vec![0; 63];
    bytes.splice(8..9, seen);
    bytes.splice(20..20, times);
    assert!(matches!(
        decode(&bytes),
        Err(WireError::Contradiction { what: "its watermark is none that a log can have", .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_encoded_comes_back(delivery in delivery()) {
        let bytes = encode(&delivery);
        let decoded = decode(&bytes);
        prop_assert_eq!(decoded, Ok(sorted(delivery)));
    }

    #[test]
    fn the_order_of_gathering_does_not_show(delivery in delivery()) {
        let mut reversed = delivery.clone();
        for pane in &mut reversed.cells.panes {
            pane.cells.reverse();
            pane.users.reverse();
        }
        prop_assert_eq!(encode(&delivery), encode(&reversed));
    }

    #[test]
    fn a_part_is_not_taken_for_the_whole(delivery in delivery(), cut: prop::sample::Index) {
        let bytes = encode(&delivery);
        prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
    }

    /// Whatever bytes come: no panic, and no more memory than promised. Changes to a true
    /// delivery reach deeper than noise does.
    #[test]
    fn other_bytes_are_refused_or_read_within_bounds(
        delivery in delivery(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
        noise in vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = encode(&delivery);
        for (at, byte, change) in changes {
            let at = at.index(bytes.len());
            match change {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.splice(at..(at + usize::from(byte) % 8).min(bytes.len()), [])),
            }
            if bytes.is_empty() {
                bytes.push(VERSION);
            }
        }
        for input in [bytes, [&[VERSION], &noise[..]].concat()] {
            if let Ok(read) = decode(&input) {
                prop_assert!(read.bytes() < size_of::<Delivery>() + GROWTH_MAX * input.len());
                // What is read can be written, and is the same again.
                prop_assert_eq!(decode(&encode(&read)), Ok(sorted(read)));
            }
        }
    }
}
