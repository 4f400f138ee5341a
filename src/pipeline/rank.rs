//! The top entities of one series at one edge, kept up to date as values change.
//!
//! Scanning a million values for every board and flush would cost more than all the counting.
//! So each board keeps a *threshold* and the candidates at or above it. A change costs two
//! comparisons; only a value that crosses the threshold upwards is written down. The whole
//! column is scanned only when too few candidates are left, and then the threshold is put
//! where about twice as many stand as are asked for.
//!
//! Exact: every entity at or above the threshold is a candidate, and a read makes sure that at
//! least as many stand there as the board shows (or all that are not zero).

use std::cmp::Reverse;

/// The candidates of one board.
#[derive(Debug)]
pub struct Rank {
    /// How many the board shows.
    top: usize,
    /// At least 1. A candidate's value is at or above it.
    threshold: u64,
    /// How many entities are at or above the threshold, exactly.
    above: usize,
    /// How many entities are not zero, exactly.
    nonzero: usize,
    /// Every entity at or above the threshold; may name others too, and some twice.
    candidates: Vec<u32>,
}

/// The threshold is raised when this many times `top` stand above it: larger means fewer,
/// longer selections.
const CROWD: usize = 8;

impl Rank {
    pub fn new(top: usize) -> Self {
        Self { top, threshold: 1, above: 0, nonzero: 0, candidates: Vec::new() }
    }

    /// Takes note of an entity's change.
    #[inline]
    pub fn update(&mut self, entity: u32, old: u64, new: u64) {
        match (old < self.threshold, new < self.threshold) {
            (true, false) => {
                self.above += 1;
                self.candidates.push(entity);
            }
            (false, true) => self.above -= 1,
            _ => {}
        }
        if old == 0 {
            self.nonzero += 1;
        }
        if new == 0 {
            self.nonzero -= 1;
        }
    }

    pub fn nonzero(&self) -> usize {
        self.nonzero
    }

    /// Whether the list has grown far beyond what it stands for; then [`Rank::tidy`] it.
    pub fn is_untidy(&self) -> bool {
        self.candidates.len() > 2 * self.above + 4096
    }

    /// Drops stale and double entries. As many as stand above are all that do, each once.
    pub fn tidy(&mut self, value: impl Fn(u32) -> u64) {
        if self.candidates.len() == self.above {
            return;
        }
        let threshold = self.threshold;
        self.candidates.retain(|&entity| value(entity) >= threshold);
        if self.candidates.len() > self.above {
            self.candidates.sort_unstable();
            self.candidates.dedup();
        }
        debug_assert_eq!(self.candidates.len(), self.above);
    }

    /// The board: (entity, value), value descending, then `name` descending.
    ///
    /// `value` answers for every entity below `entities`; `name` orders ties, as bytes.
    pub fn read<'a>(
        &mut self,
        entities: u32,
        value: impl Fn(u32) -> u64,
        name: impl Fn(u32) -> &'a [u8],
    ) -> Vec<(u32, u64)> {
        if self.above < self.top.min(self.nonzero) {
            self.candidates = (0..entities).filter(|&entity| value(entity) > 0).collect();
            self.threshold = 1;
            self.above = self.candidates.len();
            self.raise_threshold(&value);
        } else {
            self.tidy(&value);
            if self.above > CROWD * self.top {
                self.raise_threshold(&value);
            }
        }
        let mut rows: Vec<(u32, u64)> =
            self.candidates.iter().map(|&entity| (entity, value(entity))).collect();
        // Names are compared only where the cut goes through a tie, and among the survivors.
        if rows.len() > self.top {
            let (_, &mut (_, cut), _) =
                rows.select_nth_unstable_by_key(self.top - 1, |&(_, value)| Reverse(value));
            let ties = rows.iter().filter(|&&(_, value)| value == cut).map(|&(entity, _)| entity);
            let ties: Vec<u32> = ties.collect();
            rows.retain(|&(_, value)| value > cut);
            let last = last_by_name(ties, self.top - rows.len(), &name);
            rows.extend(last.into_iter().map(|entity| (entity, cut)));
        }
        rows.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| name(b.0).cmp(name(a.0))));
        rows
    }

    /// Puts the threshold at the value of rank `2 × top`, if that is higher.
    fn raise_threshold(&mut self, value: &impl Fn(u32) -> u64) {
        let place = 2 * self.top;
        if self.candidates.len() <= place {
            return;
        }
        let mut values: Vec<u64> = self.candidates.iter().map(|&entity| value(entity)).collect();
        let (_, &mut threshold, _) = values.select_nth_unstable_by_key(place - 1, |&v| Reverse(v));
        self.threshold = threshold.max(1);
        self.candidates.retain(|&entity| value(entity) >= threshold);
        self.above = self.candidates.len();
    }

    pub fn bytes(&self) -> usize {
        self.candidates.capacity() * 4
    }
}

/// The `count` entities whose names come last. A tie may have tens of thousands: each name is
/// fetched once for its first bytes, and seldom again.
fn last_by_name<'a>(entities: Vec<u32>, count: usize, name: &impl Fn(u32) -> &'a [u8]) -> Vec<u32> {
    if entities.len() <= count {
        return entities;
    }
    let mut named: Vec<(u64, u32)> =
        entities.into_iter().map(|entity| (first_bytes(name(entity)), entity)).collect();
    named.select_nth_unstable_by(count - 1, |a, b| {
        b.0.cmp(&a.0).then_with(|| name(b.1).cmp(name(a.1)))
    });
    named.truncate(count);
    named.into_iter().map(|(_, entity)| entity).collect()
}

/// The first eight bytes, as a number that orders as they do. Zeros stand for what is not there:
/// names that differ in them alone are equal here.
fn first_bytes(name: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let len = name.len().min(8);
    bytes[..len].copy_from_slice(&name[..len]);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use proptest::prelude::*;

    /// The definition: sort everything, cut.
    fn naive(values: &[u64], top: usize) -> Vec<(u32, u64)> {
        let mut rows: Vec<(u32, u64)> = values
            .iter()
            .enumerate()
            .filter(|(_, v)| **v > 0)
            .map(|(e, &v)| (e as u32, v))
            .collect();
        rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| name(b.0).cmp(name(a.0))));
        rows.truncate(top);
        rows
    }

    /// Names in another order than the numbers, as in life: of any length, many with the same
    /// first eight bytes, some with a zero where others end.
    fn name(entity: u32) -> &'static [u8] {
        static NAMES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
            let hash = |entity: u32| entity.wrapping_mul(2_654_435_761) >> 20;
            let name = |entity| match entity % 4 {
                0 => format!("{}-{entity}", hash(entity)),
                1 => format!("same-beginning-{}-{entity}", hash(entity)),
                2 => format!("p{entity}"),
                _ => format!("p{}\0", entity - 1),
            };
            (0..10_000).map(|entity| name(entity).into_bytes()).collect()
        });
        &NAMES[entity as usize]
    }

    proptest! {
        #[test]
        fn the_board_is_the_sorted_column_cut_at_the_top(
            top in 1usize..6,
            steps in prop::collection::vec((0u32..80, 0u64..12, prop::bool::weighted(0.05)), 1..600),
        ) {
            let mut values = vec![0u64; 80];
            let mut rank = Rank::new(top);
            for (entity, new, read) in steps {
                let old = std::mem::replace(&mut values[entity as usize], new);
                rank.update(entity, old, new);
                if read {
                    let rows = rank.read(80, |e| values[e as usize], name);
                    prop_assert_eq!(rows, naive(&values, top));
                }
            }
            let rows = rank.read(80, |e| values[e as usize], name);
            prop_assert_eq!(rows, naive(&values, top));
            prop_assert_eq!(rank.nonzero(), values.iter().filter(|v| **v > 0).count());
        }
    }

    #[test]
    fn a_raised_threshold_keeps_few_candidates() {
        let values: Vec<u64> = (0..10_000).collect();
        let mut rank = Rank::new(10);
        for (entity, &value) in values.iter().enumerate() {
            rank.update(entity as u32, 0, value);
        }
        rank.read(10_000, |e| values[e as usize], name);
        assert_eq!(rank.candidates.len(), 20);
    }
}
