//! The watermark of one partition, written from its definition.
//!
//! A partition's newest time `M` is the largest event time that was allowed to move it; its
//! watermark is `M − lateness`. A record is late when its base pane had ended at or before
//! the watermark that stood before the record was read.
//!
//! `M` follows the events, except over a gap larger than `max_future`. A single broken clock
//! must not make everybody else late, so the gap is passed only when most of the last 64
//! records, or the last 8 without exception, lie beyond it.
//!
//! The generator uses the clock to know what it has injected, the oracle to judge what it reads.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

const RECENT: usize = 64;
const MAJORITY: usize = RECENT / 2;
const UNANIMOUS: usize = 8;

/// What decides between in time, late and future. All in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    pub lateness_ms: i64,
    pub max_future_ms: i64,
    pub base_pane_ms: i64,
}

impl Default for Rules {
    fn default() -> Self {
        Self { lateness_ms: 60_000, max_future_ms: 300_000, base_pane_ms: 1000 }
    }
}

impl Rules {
    /// The end of the base pane that holds `time`: the next multiple strictly after it.
    pub fn pane_end(&self, time: i64) -> i64 {
        (time.div_euclid(self.base_pane_ms) + 1) * self.base_pane_ms
    }

    /// A record stamped further ahead of its Kafka time than this is rejected.
    pub fn is_future(&self, time: i64, kafka_time: i64) -> bool {
        time > kafka_time + self.max_future_ms
    }

    /// The oldest time that a watermark still lets in.
    pub fn oldest_in_time(&self, watermark: i64) -> i64 {
        watermark.div_euclid(self.base_pane_ms) * self.base_pane_ms
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    newest: Option<i64>,
    /// Times of the last records that were neither malformed nor future, late ones included.
    recent: VecDeque<i64>,
}

impl Clock {
    /// The newest time that moved this clock.
    pub fn newest(&self) -> Option<i64> {
        self.newest
    }

    pub fn watermark(&self, rules: &Rules) -> Option<i64> {
        self.newest.map(|newest| newest - rules.lateness_ms)
    }

    /// Whether a record of this time, read now, is late.
    pub fn is_late(&self, time: i64, rules: &Rules) -> bool {
        self.watermark(rules).is_some_and(|watermark| rules.pane_end(time) <= watermark)
    }

    /// Takes note of a record that is neither a tombstone, malformed nor future.
    pub fn observe(&mut self, time: i64, rules: &Rules) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(time);
        self.newest = Some(match self.newest {
            None => time,
            Some(newest) if time <= newest => newest,
            Some(newest) if time - newest <= rules.max_future_ms => time,
            Some(newest) => self.beyond_gap(newest, rules.max_future_ms),
        });
    }

    /// Where `M` goes when a record lies beyond a gap: nowhere, unless enough others agree;
    /// then to the first of them, and on from there as far as no second gap lies between.
    fn beyond_gap(&self, newest: i64, max_future_ms: i64) -> i64 {
        let lies_beyond = |time: i64| time > newest + max_future_ms;
        let mut beyond: Vec<i64> =
            self.recent.iter().copied().filter(|&time| lies_beyond(time)).collect();
        let unanimous = self.recent.len() >= UNANIMOUS
            && self.recent.iter().rev().take(UNANIMOUS).all(|&time| lies_beyond(time));
        if beyond.len() <= MAJORITY && !unanimous {
            return newest;
        }
        beyond.sort_unstable();
        let mut reached = beyond[0];
        for &time in &beyond[1..] {
            if time - reached > max_future_ms {
                break;
            }
            reached = time;
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Times in seconds, lateness 60 s, max_future 300 s, base pane 1 s.
    fn after(times_s: &[i64]) -> Clock {
        let mut clock = Clock::default();
        times_s.iter().for_each(|&time| clock.observe(time * 1000, &Rules::default()));
        clock
    }

    fn newest(times_s: &[i64]) -> i64 {
        after(times_s).newest().map_or(-1, |newest| newest / 1000)
    }

    #[test]
    fn it_follows_the_newest_and_never_goes_back() {
        assert_eq!(Clock::default().newest(), None);
        assert_eq!(newest(&[1000]), 1000);
        assert_eq!(newest(&[1000, 1300, 900]), 1300);
        // The first record sets it, however far off.
        assert_eq!(newest(&[99_000, 1000, 1001]), 99_000);
    }

    #[test]
    fn late_is_when_the_whole_pane_lies_at_or_before_the_watermark() {
        //  watermark 1000        pane [999, 1000) ended at it: late
        //        │               pane [1000, 1001) has not: in time
        // ──[999)┼[1000)──── … ────● newest 1060
        let (clock, rules) = (after(&[1060]), Rules::default());
        assert!(clock.is_late(999_999, &rules));
        assert!(!clock.is_late(1_000_000, &rules));
        assert_eq!(rules.oldest_in_time(1_000_000), 1_000_000);

        //  watermark 1000.5 lies within a pane, which therefore is still open
        let mut clock = Clock::default();
        clock.observe(1_060_500, &rules);
        assert!(!clock.is_late(1_000_000, &rules));
        assert!(clock.is_late(999_999, &rules));
        assert_eq!(rules.oldest_in_time(1_000_500), 1_000_000);

        assert!(!Clock::default().is_late(0, &rules), "without a watermark nothing is late");
    }

    #[test]
    fn a_lone_broken_clock_moves_nothing() {
        // ●1000 … gap of more than 300 … ●9000
        assert_eq!(newest(&[1000, 9000]), 1000);
        assert_eq!(newest(&[1000, 9000, 9000, 9000, 9000, 9000, 9000, 9000]), 1000);
        // Exactly max_future is not a gap.
        assert_eq!(newest(&[1000, 1300]), 1300);
        assert_eq!(newest(&[1000, 1301]), 1000);
    }

    #[test]
    fn eight_in_a_row_pass_a_gap() {
        let mut times = vec![1000];
        times.extend([9005, 9001, 9002, 9003, 9004, 9000, 9006, 9007]);
        assert_eq!(newest(&times[..8]), 1000);
        assert_eq!(newest(&times), 9007);
        // One that disagrees starts the row again.
        times.insert(5, 1001);
        assert_eq!(newest(&times), 1001);
    }

    #[test]
    fn most_of_the_last_64_pass_a_gap() {
        // Two sources interleaved: 9000 and 1000, so never eight in a row.
        let mut times = vec![1000];
        (0..32).for_each(|_| times.extend([9000, 1000]));
        assert_eq!(newest(&times), 1000, "32 of 64 are not most");
        times.extend([9000, 9000]);
        assert_eq!(newest(&times), 9000);
    }

    #[test]
    fn it_stops_at_a_second_gap() {
        //  1000 ─gap─ 5000 5100 5400 ─gap─ 5701 9000
        assert_eq!(newest(&[1000, 9000, 5701, 5400, 5100, 5000, 5000, 5000, 5000]), 5400);
    }
}
