//! Which partition to read next.
//!
//! Catching up in event time keeps few panes open: the partition whose watermark is furthest
//! behind is read first, and one that is more than `max_skew` ahead of the slowest waits. A
//! partition whose watermark stands still (its records are late, or its producer's clock is)
//! would keep all others waiting for ever, so every [`FAIR_TURN`]th turn goes to the partition
//! that has waited longest.

use crate::time::{EventTime, Span};

/// Smaller: fairer between partitions. Larger: closer to event-time order.
const FAIR_TURN: u64 = 8;

/// A partition that may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<T> {
    pub id: T,
    /// `None` before its first record: it may be anywhere in time, so it is read first.
    pub watermark: Option<EventTime>,
    /// The last turn in which it yielded records.
    pub last_read_turn: u64,
}

/// Reading ahead by this part of `max_skew` calls for a hand-over: one has to be merged by the time
/// the whole of it is read, or reading would wait for the next that is due.
const HAND_OVER_PART: i64 = 4;

/// Whether even the candidate that is furthest behind has been read a good part of `max_skew` beyond
/// `slowest`, which moves with what is merged: then records that were read wait to be handed over.
pub fn is_ahead<T>(
    candidates: &[Candidate<T>],
    slowest: Option<EventTime>,
    max_skew: Span,
) -> bool {
    let least = candidates.iter().map(|candidate| candidate.watermark).min().flatten();
    let part = Span::from_millis(max_skew.millis() / HAND_OVER_PART);
    least.zip(slowest).is_some_and(|(least, slowest)| least - slowest >= part)
}

/// Sorts candidates into the order in which they are to be tried on this turn, and drops
/// those too far ahead of `slowest`, the least watermark of a partition that progresses.
pub fn plan<T: Copy + Ord>(
    candidates: &mut Vec<Candidate<T>>,
    turn: u64,
    slowest: Option<EventTime>,
    max_skew: Span,
) {
    if let Some(slowest) = slowest {
        candidates.retain(|candidate| candidate.watermark.is_none_or(|w| w - slowest <= max_skew));
    }
    if turn.is_multiple_of(FAIR_TURN) {
        candidates.sort_unstable_by_key(|c| (c.last_read_turn, c.id));
    } else {
        candidates.sort_unstable_by_key(|c| (c.watermark, c.last_read_turn, c.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_ahead_when_all_that_may_be_read_is() {
        let is_ahead = |watermarks: &[Option<i64>], slowest: Option<i64>| {
            let time = |secs| EventTime::from_millis(secs * 1000);
            let candidate = |watermark: &Option<i64>| Candidate {
                id: (),
                watermark: watermark.map(time),
                last_read_turn: 0,
            };
            let candidates: Vec<_> = watermarks.iter().map(candidate).collect();
            super::is_ahead(&candidates, slowest.map(time), Span::from_secs(300))
        };
        assert!(is_ahead(&[Some(1_075), Some(5_000)], Some(1_000)));
        assert!(!is_ahead(&[Some(1_074), Some(5_000)], Some(1_000)), "one is not a quarter ahead");
        assert!(!is_ahead(&[Some(5_000), None], Some(1_000)), "one has not been read at all");
        assert!(!is_ahead(&[Some(5_000)], None), "nothing is merged yet");
        assert!(!is_ahead(&[], Some(1_000)), "nothing may be read");
    }

    /// Partitions by (watermark in seconds, last turn) to the order in which they are tried.
    fn order(partitions: &[(Option<i64>, u64)], turn: u64, slowest: Option<i64>) -> Vec<usize> {
        let time = |secs| EventTime::from_millis(secs * 1000);
        let mut candidates: Vec<_> = partitions
            .iter()
            .enumerate()
            .map(|(id, &(watermark, last_read_turn))| Candidate {
                id,
                watermark: watermark.map(time),
                last_read_turn,
            })
            .collect();
        plan(&mut candidates, turn, slowest.map(time), Span::from_secs(300));
        candidates.into_iter().map(|candidate| candidate.id).collect()
    }

    #[test]
    fn the_furthest_behind_is_read_first() {
        let partitions = [(Some(50), 1), (Some(10), 9), (None, 3), (Some(20), 2)];
        assert_eq!(order(&partitions, 1, None), [2, 1, 3, 0]);
    }

    #[test]
    fn who_is_too_far_ahead_waits() {
        let partitions = [(Some(310), 0), (Some(311), 0), (Some(10), 0), (None, 0)];
        assert_eq!(order(&partitions, 1, Some(10)), [3, 2, 0]);
        assert_eq!(order(&partitions, 1, None), [3, 2, 0, 1], "nobody progresses: nobody waits");
    }

    #[test]
    fn a_stuck_watermark_does_not_starve_the_others() {
        // Partition 0 always has records, and its watermark never moves.
        let mut partitions = [(Some(0), 0), (Some(5), 0), (Some(5), 0)];
        let mut reads = [0; 3];
        for turn in 1..=160 {
            let first = order(&partitions, turn, Some(0))[0];
            partitions[first].1 = turn;
            reads[first] += 1;
        }
        assert!(reads[1] >= 9 && reads[2] >= 9, "{reads:?}");
    }
}
