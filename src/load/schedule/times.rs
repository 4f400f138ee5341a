//! The intended times, one after another.

use std::sync::Arc;

use super::Arrivals;
use super::piece::Piece;
use crate::load::rng::Rng;

/// Rates are added up in floating point: a whole number of records may come out as a little less.
const ROUNDING: f64 = 1e-6;

/// The number of records at 0, 1, 2, … that lie before `total`.
pub fn whole(total: f64) -> u64 {
    (total - ROUNDING).ceil().max(0.0) as u64
}

/// An iterator over the nanoseconds, from the start, at which records are due; never descending.
#[derive(Clone, Debug)]
pub struct Times {
    pieces: Arc<[Piece]>,
    /// The piece that the next record lies in, or one before it.
    piece: usize,
    arrivals: Arrivals,
    rng: Rng,
    /// Where the next record lies, on the axis on which the rates add up.
    at: f64,
    made: u64,
    records_max: u64,
    last_ns: u64,
}

impl Times {
    pub(super) fn new(
        pieces: Arc<[Piece]>,
        arrivals: Arrivals,
        records_max: u64,
        seed: u64,
    ) -> Self {
        let rng = Rng::new(seed, 3);
        let mut times =
            Self { pieces, piece: 0, arrivals, rng, at: 0.0, made: 0, records_max, last_ns: 0 };
        if arrivals == Arrivals::Poisson {
            times.at = times.distance();
        }
        times
    }

    /// An exponential distance of mean 1.
    fn distance(&mut self) -> f64 {
        -(1.0 - self.rng.unit()).ln()
    }
}

impl Iterator for Times {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if self.made >= self.records_max {
            return None;
        }
        while self.at >= self.pieces.get(self.piece)?.events_through() - ROUNDING {
            self.piece += 1;
        }
        let due_ns = self.pieces[self.piece].time_of(self.at).max(self.last_ns);
        self.last_ns = due_ns;
        self.made += 1;
        self.at = match self.arrivals {
            Arrivals::Even => self.made as f64,
            Arrivals::Poisson => self.at + self.distance(),
        };
        Some(due_ns)
    }
}
