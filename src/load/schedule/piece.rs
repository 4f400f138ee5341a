//! A stretch of a schedule whose rate is constant or changes evenly.

use std::f64::consts::TAU;

use super::SECOND_NS;
use super::profile::{Profile, Segment, Shape};

/// Straight pieces that one swing of a sine is drawn with: it is missed by at most half a percent of
/// its height. More cost memory, fewer show corners.
const PIECES_PER_SWING: u32 = 32;

/// Storefront traffic by hour of the day, as multiples of the mean (published counts of nine days
/// of a large shop): quiet at four, highest at nine in the evening.
const HOURS: [f64; 24] = [
    0.82, 0.38, 0.21, 0.14, 0.12, 0.15, 0.33, 0.60, 0.82, 1.00, 1.17, 1.14, 1.14, 1.25, 1.24, 1.29,
    1.24, 1.13, 1.15, 1.44, 1.75, 2.01, 1.99, 1.51,
];

/// Rates are in records per nanosecond; `start_ns` and `before` are what lies before the piece.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Piece {
    start_ns: f64,
    duration_ns: f64,
    before: f64,
    events: f64,
    from: f64,
    to: f64,
}

impl Piece {
    /// The same rate for ever.
    pub fn endless(rate: f64) -> Self {
        let (duration_ns, events) = (f64::INFINITY, f64::INFINITY);
        Self { start_ns: 0.0, duration_ns, before: 0.0, events, from: rate, to: rate }
    }

    /// So many records, evenly.
    pub fn of_count(duration_ns: f64, events: f64) -> Self {
        let rate = events / duration_ns;
        Self { start_ns: 0.0, duration_ns, before: 0.0, events, from: rate, to: rate }
    }

    pub fn events_through(&self) -> f64 {
        self.before + self.events
    }

    pub fn end_ns(&self) -> f64 {
        self.start_ns + self.duration_ns
    }

    /// When the rates since the start of the schedule have added up to `events`, which lie in
    /// this piece.
    pub fn time_of(&self, events: f64) -> u64 {
        let events = (events - self.before).max(0.0);
        let within = if self.from == self.to {
            // A span of no length has no rate, and all its records at once.
            if self.duration_ns == 0.0 { 0.0 } else { events / self.from }
        } else {
            // ½·s·t² + from·t = events, in the form that loses no digits where s is small.
            let slope = (self.to - self.from) / self.duration_ns;
            let root = (self.from * self.from + 2.0 * slope * events).max(0.0).sqrt();
            2.0 * events / (self.from + root).max(f64::MIN_POSITIVE)
        };
        (self.start_ns + within.min(self.duration_ns)).round() as u64
    }
}

/// The pieces of a profile, end to end.
pub fn pieces_of(profile: &Profile) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut start_ns, mut before) = (0.0, 0.0);
    for segment in profile.segments() {
        each_line(segment, |duration_ns, from, to| {
            let (from, to) = (from / SECOND_NS, to / SECOND_NS);
            let events = duration_ns * (from + to) / 2.0;
            pieces.push(Piece { start_ns, duration_ns, before, events, from, to });
            start_ns += duration_ns;
            before += events;
        });
    }
    pieces
}

/// How many pieces a segment takes.
pub fn piece_count(segment: &Segment) -> f64 {
    let swings = |period: std::time::Duration| segment.duration.div_duration_f64(period);
    match segment.shape {
        Shape::Linear { .. } => 1.0,
        Shape::Sine { period, .. } => swings(period) * f64::from(PIECES_PER_SWING),
        Shape::Diurnal { day, .. } => swings(day) * HOURS.len() as f64,
    }
}

/// The straight lines of a segment: duration in nanoseconds, rate per second from and to.
fn each_line(segment: &Segment, mut each: impl FnMut(f64, f64, f64)) {
    let duration_ns = segment.duration.as_nanos() as f64;
    match segment.shape {
        Shape::Linear { from, to } => each(duration_ns, from, to),
        Shape::Sine { low, high, period } => {
            let step_ns = period.as_nanos() as f64 / f64::from(PIECES_PER_SWING);
            let rate = |at: f64| {
                let turn = TAU * at / f64::from(PIECES_PER_SWING);
                low + (high - low) * (1.0 - turn.cos()) / 2.0
            };
            each_step(duration_ns, step_ns, rate, each);
        }
        Shape::Diurnal { mean, day } => {
            let step_ns = day.as_nanos() as f64 / HOURS.len() as f64;
            let sum: f64 = HOURS.iter().sum();
            let rate = |at: f64| mean * HOURS[at as usize % HOURS.len()] * HOURS.len() as f64 / sum;
            each_step(duration_ns, step_ns, rate, each);
        }
    }
}

/// Steps between whole numbers; the last one is cut where the segment ends.
fn each_step(
    duration_ns: f64,
    step_ns: f64,
    rate: impl Fn(f64) -> f64,
    mut each: impl FnMut(f64, f64, f64),
) {
    let mut step = 0.0;
    while step * step_ns < duration_ns {
        let (from, to) = (rate(step), rate(step + 1.0));
        let share = ((duration_ns - step * step_ns) / step_ns).min(1.0);
        each(share * step_ns, from, from + (to - from) * share);
        step += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(profile: &str) -> f64 {
        pieces_of(&profile.parse().unwrap()).last().unwrap().events_through()
    }

    #[test]
    fn shapes_add_up_to_their_means() {
        let near = |profile: &str, expected: f64| {
            let found = events(profile);
            assert!((found - expected).abs() < 0.01, "{profile}: {found}");
        };
        near("10s@5..15", 100.0);
        // Whole swings have the mean of low and high; half of one, from the low on, has it too.
        near("60s@sine:10..30/20s", 1200.0);
        near("10s@sine:10..30/20s", 200.0);
        near("1h@diurnal:7/1h", 25_200.0);
        near("10m@diurnal:3", 1800.0);
    }

    #[test]
    fn a_cut_swing_ends_where_it_is_cut() {
        let pieces = pieces_of(&"5s@sine:0..100/20s".parse().unwrap());
        let last = pieces.last().unwrap();
        assert!((last.to * SECOND_NS - 50.0).abs() < 1e-6, "a quarter of the way is the mean");
        assert!((last.end_ns() - 5e9).abs() < 1.0);
    }

    #[test]
    fn the_evening_is_busier_than_the_night() {
        let pieces = pieces_of(&"24h@diurnal:100".parse().unwrap());
        assert_eq!(pieces.len(), 24);
        assert!(pieces[21].events > 10.0 * pieces[4].events);
    }
}
