//! Seeded randomness whose sequence is part of the product: the same seed must give the
//! same bytes in every later version, so the generator is written here and not taken from
//! a crate whose streams may change.
//!
//! Limit: the logarithm and exponential of the platform's math library go into sessions and
//! prices, so equal bytes are promised for equal targets, not across libraries.

use std::f64::consts::TAU;

/// xoshiro256++, seeded through SplitMix64.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

/// A bijective mixer of 64 bits (the finisher of SplitMix64): distinct inputs give distinct outputs.
pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A number in `[0, 1)` that belongs to `x` for good (a product's price, its seller).
pub fn fraction(x: u64) -> f64 {
    unit(mix(x))
}

impl Rng {
    /// `stream` keeps the draws of different concerns apart: more faults must not change
    /// which products are looked at.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut at = mix(seed) ^ mix(stream.wrapping_mul(0xD134_2543_DE82_EF95));
        let state = std::array::from_fn(|_| {
            at = at.wrapping_add(0x9E37_79B9_7F4A_7C15);
            mix(at)
        });
        Self { state }
    }

    pub fn draw(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        unit(self.draw())
    }

    /// Uniform in `[0, bound)`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        below(self.draw(), bound)
    }

    /// Uniform in `[low, high]`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low).max(0) as u64 + 1) as i64
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Log-normal with this median; `sigma` is the deviation of the logarithm.
    pub fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        median * (sigma * radius * (TAU * self.unit()).cos()).exp()
    }
}

/// The draws that belong to one record of a stream: whoever makes it finds the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64, number: u64) -> Self {
        Self(mix(mix(seed ^ 0xD1CE) ^ number))
    }

    /// The name of the record's event: distinct within a seed, and almost surely between seeds.
    pub fn event(seed: u64, number: u64) -> u64 {
        mix(mix(seed) ^ number)
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        unit(self.draw())
    }

    /// Uniform in `[0, bound)`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        below(self.draw(), bound)
    }

    /// Uniform in `[low, high]`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low).max(0) as u64 + 1) as i64
    }
}

fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1u64 << 53) as f64
}

fn below(draw: u64, bound: u64) -> u64 {
    ((u128::from(draw) * u128::from(bound)) >> 64) as u64
}

/// Ranks `0..n` with weights `1 / (rank + 1)^exponent`, drawn by binary search.
#[derive(Clone, Debug, PartialEq)]
pub struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    pub fn new(n: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let cumulative = (1..=n.max(1))
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        Self { cumulative }
    }

    pub fn draw(&self, rng: &mut Rng) -> usize {
        let total = self.cumulative.last().copied().unwrap_or(1.0);
        let at = rng.unit() * total;
        self.cumulative.partition_point(|&edge| edge <= at).min(self.cumulative.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_fixed() {
        let mut rng = Rng::new(42, 0);
        let first: Vec<u64> = (0..3).map(|_| rng.draw()).collect();
        let mut again = Rng::new(42, 0);
        assert_eq!(first, (0..3).map(|_| again.draw()).collect::<Vec<_>>());
        assert_ne!(first[0], Rng::new(42, 1).draw());
        assert_ne!(first[0], Rng::new(43, 0).draw());
    }

    #[test]
    fn distributions_have_the_medians_they_say() {
        let mut rng = Rng::new(7, 0);
        let mut gaps: Vec<f64> = (0..20_001).map(|_| rng.lognormal(54.0, 1.3)).collect();
        gaps.sort_by(f64::total_cmp);
        assert!((gaps[10_000] - 54.0).abs() < 3.0, "median {}", gaps[10_000]);

        let zipf = Zipf::new(64, 1.0);
        let mut hits = [0u32; 64];
        (0..100_000).for_each(|_| hits[zipf.draw(&mut rng)] += 1);
        let ratio = f64::from(hits[0]) / f64::from(hits[9]);
        assert!((8.5..11.5).contains(&ratio), "rank 1 to rank 10: {ratio}");
    }

    #[test]
    fn bounds_are_kept() {
        let mut rng = Rng::new(1, 1);
        assert_eq!(rng.below(0), 0);
        for _ in 0..1000 {
            assert!((-3..=3).contains(&rng.between(-3, 3)));
        }
    }
}
