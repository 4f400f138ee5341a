//! When each record is due, fixed before the run: an open model.
//!
//! ```text
//!  '30s@5k,2m@50k'  ─►  profile  ─►  pieces: constant or linear rates
//!                                       │
//!          arrivals: even 0 1 2 3 …     ▼
//!                    or Poisson  ─►  the time by which the rates have added up to that many
//! ```
//!
//! A record's intended time depends on the schedule and the seed alone, never on how the run
//! goes: a generator that has fallen behind stays behind its schedule, and latency counts from it.
//! There is no table of records. The times come one after another, and each costs a division or a
//! square root, so a schedule of a week is as cheap to begin as one of a second.

mod piece;
pub mod profile;
mod times;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use piece::{Piece, pieces_of};
use profile::Profile;
pub use times::Times;

const SECOND_NS: f64 = 1e9;

/// How the records of a stretch are spread over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// At equal distances: the least burst that a rate can have.
    #[default]
    Even,
    /// As many independent people would come: distances are exponential, the count of a second
    /// varies by its root.
    Poisson,
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Arrivals::Even => "even",
            Arrivals::Poisson => "poisson",
        })
    }
}

impl FromStr for Arrivals {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "even" => Ok(Arrivals::Even),
            "poisson" => Ok(Arrivals::Poisson),
            _ => Err(format!("`{text}`: expected even or poisson")),
        }
    }
}

/// When records are due, in nanoseconds after a start in event time.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    pub start_ms: i64,
    pieces: Arc<[Piece]>,
    arrivals: Arrivals,
    /// It ends after so many records at the latest; may be endless (`u64::MAX`).
    records_max: u64,
}

impl Schedule {
    /// `per_second` records each second from `start_ms` on.
    pub fn at_rate(start_ms: i64, per_second: u64, records: u64) -> Self {
        let pieces = Arc::new([Piece::endless(per_second.max(1) as f64 / SECOND_NS)]);
        Self { start_ms, pieces, arrivals: Arrivals::Even, records_max: records }
    }

    /// `records` spread over the span that ends at `end_ms`.
    pub fn over_span(end_ms: i64, span_ms: i64, records: u64) -> Self {
        let span_ms = span_ms.max(0);
        let span_ns = span_ms as f64 * 1e6;
        let pieces = Arc::new([Piece::of_count(span_ns, records as f64)]);
        let start_ms = end_ms - span_ms;
        Self { start_ms, pieces, arrivals: Arrivals::Even, records_max: records }
    }

    pub fn of_profile(start_ms: i64, profile: &Profile) -> Self {
        let pieces = pieces_of(profile).into();
        Self { start_ms, pieces, arrivals: Arrivals::Even, records_max: u64::MAX }
    }

    pub fn with_arrivals(self, arrivals: Arrivals) -> Self {
        Self { arrivals, ..self }
    }

    /// The same, ending after so many records at the latest.
    pub fn with_records_max(self, records_max: u64) -> Self {
        Self { records_max, ..self }
    }

    pub fn starting_at(self, start_ms: i64) -> Self {
        Self { start_ms, ..self }
    }

    /// The times of all records, in order. The seed decides where arrivals are random.
    pub fn times(&self, seed: u64) -> Times {
        Times::new(Arc::clone(&self.pieces), self.arrivals, self.records_max, seed)
    }

    /// How many records to expect: exact for even arrivals, the mean for random ones.
    pub fn records(&self) -> u64 {
        let total: f64 = self.pieces.last().map_or(0.0, Piece::events_through);
        let due = if total.is_finite() { times::whole(total) } else { u64::MAX };
        due.min(self.records_max)
    }

    /// Nanoseconds from the start to the end of the last stretch, or where an endless rate
    /// reaches the last record.
    pub fn duration_ns(&self) -> u64 {
        let Some(last) = self.pieces.last() else { return 0 };
        let end = last.end_ns();
        if end.is_finite() { end as u64 } else { last.time_of(self.records_max as f64) }
    }

    pub fn event_time_ms(&self, due_ns: u64) -> i64 {
        self.start_ms.saturating_add((due_ns / 1_000_000) as i64)
    }

    pub fn end_ms(&self) -> i64 {
        self.event_time_ms(self.duration_ns())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(schedule: &Schedule) -> Vec<i64> {
        schedule.times(1).map(|due_ns| schedule.event_time_ms(due_ns)).collect()
    }

    #[test]
    fn an_even_schedule_is_exact() {
        let schedule = Schedule::over_span(7_200_000, 7_200_000, 3);
        assert_eq!(millis(&schedule), [0, 2_400_000, 4_800_000]);
        assert_eq!((schedule.end_ms(), schedule.records()), (7_200_000, 3));
        let at = millis(&Schedule::at_rate(5, 300, 301));
        assert_eq!([at[0], at[1], at[3], at[300]], [5, 8, 15, 1005]);
        let endless = Schedule::at_rate(0, 7, u64::MAX);
        assert_eq!(endless.records(), u64::MAX);
        assert_eq!(endless.times(1).nth(7_000_000), Some(1_000_000_000_000_000));
        // Far out it saturates instead of wrapping.
        assert!(endless.end_ms() > 0);
        assert_eq!(Schedule::over_span(10, 0, 2).times(1).collect::<Vec<_>>(), [0, 0]);
        assert_eq!(Schedule::over_span(10, 5, 0).times(1).count(), 0);
    }

    #[test]
    fn a_profile_plays_its_stretches_one_after_another() {
        // 2 s at 2/s, a second of silence, 1 s at 4/s
        let profile = "2s@2,1s@0,1s@4".parse().unwrap();
        let schedule = Schedule::of_profile(1000, &profile);
        assert_eq!(millis(&schedule), [1000, 1500, 2000, 2500, 4000, 4250, 4500, 4750]);
        assert_eq!((schedule.records(), schedule.end_ms()), (8, 5000));
    }

    #[test]
    fn a_ramp_adds_up_to_its_area() {
        // ▁▂▃▄▅▆▇█ 0 to 100/s in 10 s: 500 records, half of them after 10 s × √½
        let profile = "10s@0..100".parse().unwrap();
        let times: Vec<u64> = Schedule::of_profile(0, &profile).times(1).collect();
        assert_eq!(times.len(), 500);
        let half_ns = 10e9 * 0.5f64.sqrt();
        assert!((times[250] as f64 - half_ns).abs() < 1000.0, "{}", times[250]);
        // Down again: the same, seen from the other end.
        let profile = "10s@100..0".parse().unwrap();
        let down: Vec<u64> = Schedule::of_profile(0, &profile).times(1).collect();
        let mirrored = 10_000_000_000 - times[250];
        assert!(down[250].abs_diff(mirrored) < 10_000, "{} {mirrored}", down[250]);
    }

    #[test]
    fn random_arrivals_keep_the_rate_and_vary_as_independent_people_do() {
        let profile: Profile = "500s@200".parse().unwrap();
        let schedule = Schedule::of_profile(0, &profile).with_arrivals(Arrivals::Poisson);
        let mut per_second = [0f64; 500];
        let times: Vec<u64> = schedule.times(9).collect();
        times.iter().for_each(|&due_ns| per_second[(due_ns / 1_000_000_000) as usize] += 1.0);
        let mean = times.len() as f64 / 500.0;
        let variance = per_second.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 500.0;
        // Five standard deviations of each.
        assert!((mean - 200.0).abs() < 5.0 * (200.0f64 / 500.0).sqrt(), "{mean}");
        assert!((variance / mean - 1.0).abs() < 5.0 * (2.0f64 / 500.0).sqrt(), "{variance}");
        assert!(times.is_sorted());

        assert_eq!(times, schedule.times(9).collect::<Vec<_>>());
        assert_ne!(times, schedule.times(10).collect::<Vec<_>>());
    }

    #[test]
    fn a_limit_of_records_ends_random_arrivals_too() {
        let schedule = Schedule::at_rate(0, 1000, 50).with_arrivals(Arrivals::Poisson);
        assert_eq!(schedule.times(3).count(), 50);
    }
}
