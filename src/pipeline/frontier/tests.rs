//! Against the plainest model: remember every mark, read a suffix by looking at all of them.

use super::*;
use proptest::prelude::*;

type Naive = Vec<(u16, i64, u8)>;

fn suffix_of(marks: &Naive, start: i64) -> Registers {
    let mut out = Registers::new();
    for &(register, pane, rank) in marks {
        if pane >= start {
            out.raise(register, rank);
        }
    }
    out
}

fn suffix(frontier: &Frontier, start: i64) -> Registers {
    let mut out = Registers::new();
    frontier.suffix(start, &mut out);
    out
}

/// No mark is implied by another, and the count is right.
fn check_minimal(frontier: &Frontier) {
    let mut kept = Vec::new();
    frontier.for_each(|register, pane, rank| kept.push((register, pane, rank)));
    assert_eq!(kept.len(), frontier.len());
    for two in kept.windows(2).filter(|two| two[0].0 == two[1].0) {
        assert!(two[0].1 < two[1].1 && two[0].2 > two[1].2, "{two:?}");
    }
    assert!(kept.is_sorted());
}

/// A few registers, at both ends of a block and of the whole, so that marks meet.
fn marks(panes: std::ops::Range<i64>) -> impl Strategy<Value = Naive> {
    let register = prop_oneof![0..6u16, 60..68u16, 16_380..16_384u16];
    prop::collection::vec((register, panes, 1..=12u8), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_suffix_is_exact_in_any_order(marks in marks(100..140)) {
        let mut frontier = Frontier::new(90);
        for &(register, pane, rank) in &marks {
            frontier.insert(register, pane, rank);
        }
        check_minimal(&frontier);
        for start in 95..145 {
            prop_assert_eq!(suffix(&frontier, start), suffix_of(&marks, start));
        }
    }

    #[test]
    fn pruning_and_rebasing_keep_what_is_needed(
        old in marks(100..140), oldest in 80..150i64, new in marks(150..PANES_MAX + 80),
    ) {
        let mut frontier = Frontier::new(90);
        old.iter().for_each(|&(register, pane, rank)| frontier.insert(register, pane, rank));
        frontier.prune(oldest);
        new.iter().for_each(|&(register, pane, rank)| frontier.insert(register, pane, rank));
        check_minimal(&frontier);
        let all = [old, new].concat();
        for start in [oldest, 120, 139, 150, 1000, PANES_MAX + 79, PANES_MAX + 500] {
            if start >= oldest {
                prop_assert_eq!(suffix(&frontier, start), suffix_of(&all, start));
            }
        }
    }

    #[test]
    fn appending_equals_inserting(old in marks(100..140), new in marks(140..180)) {
        let mut appended = Frontier::new(90);
        old.iter().for_each(|&(register, pane, rank)| appended.insert(register, pane, rank));
        let newer = |&(register, pane, rank): &_| Mark::new(register, (pane - 137) as u64, rank);
        let mut newer: Vec<Mark> = new.iter().map(newer).collect();
        minimize(&mut newer);
        appended.append(&newer, 137, &mut Vec::new());
        check_minimal(&appended);
        let all = [old, new].concat();
        for start in 95..185 {
            prop_assert_eq!(suffix(&appended, start), suffix_of(&all, start));
        }
    }
}

#[test]
fn a_mark_deletes_what_it_makes_superfluous_and_nothing_else() {
    let kept_after = |marks: &[(i64, u8)]| {
        let mut frontier = Frontier::new(0);
        marks.iter().for_each(|&(pane, rank)| frontier.insert(7, pane, rank));
        let mut kept = Vec::new();
        frontier.for_each(|_, pane, rank| kept.push((pane, rank)));
        kept
    };
    let picture = [(1, 7), (4, 4), (6, 2), (8, 1)];
    assert_eq!(kept_after(&picture), picture);
    assert_eq!(kept_after(&[&picture[..], &[(9, 4)]].concat()), [(1, 7), (9, 4)]);
    assert_eq!(kept_after(&[&picture[..], &[(4, 4), (3, 4), (5, 2)]].concat()), picture);
    assert_eq!(kept_after(&[&picture[..], &[(4, 7)]].concat()), [(4, 7), (6, 2), (8, 1)]);
}

#[test]
fn memory_is_given_back_when_traffic_ends() {
    let mut frontier = Frontier::new(0);
    for register in 0..4000 {
        frontier.insert(register, i64::from(register % 10), 3);
    }
    let full = frontier.bytes();
    assert!(full > 4000 * 4);
    frontier.prune(9);
    assert_eq!(frontier.len(), 400);
    assert!(frontier.bytes() < full / 2);
    frontier.prune(PANES_MAX * 2);
    assert_eq!((frontier.len(), frontier.bytes()), (0, 0));
    assert!(frontier.covers(PANES_MAX * 2));
}
