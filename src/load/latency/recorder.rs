//! One clock's measurements: of the last second, and of the whole run.

use hdrhistogram::Histogram;

/// A longer time counts as this.
const MAX_US: u64 = 3_600_000_000;
const DIGITS: u8 = 3;

/// Microseconds.
pub type Micros = Histogram<u64>;

pub fn empty() -> Micros {
    Micros::new_with_bounds(1, MAX_US, DIGITS).expect("the bounds are constants that fit")
}

/// From the intended time, and from the time of sending.
#[derive(Clone, Debug)]
pub struct Pair {
    pub corrected: Micros,
    pub uncorrected: Micros,
}

impl Default for Pair {
    fn default() -> Self {
        Self { corrected: empty(), uncorrected: empty() }
    }
}

impl Pair {
    fn clear(&mut self) {
        self.corrected.reset();
        self.uncorrected.reset();
    }

    fn add(&mut self, other: &Pair) {
        let fits = "all histograms have the same bounds";
        self.corrected.add(&other.corrected).expect(fits);
        self.uncorrected.add(&other.uncorrected).expect(fits);
    }
}

#[derive(Clone, Debug, Default)]
pub struct Recorder {
    warmup_us: u64,
    /// Of the current second: what counts, and what belongs to the warm-up.
    interval: Pair,
    warm: Pair,
    total: Pair,
    /// Measurements that count; those that stand for several records are one each.
    samples: u64,
    /// Measurements that said that the effect came before the cause.
    negative: u64,
}

impl Recorder {
    /// Records that were intended before the end of the warm-up do not count.
    pub fn new(warmup_us: u64) -> Self {
        Self { warmup_us, ..Self::default() }
    }

    /// Something has happened to a record, or to `records` of which it is a sample.
    pub fn record(&mut self, intended_us: u64, sent_us: u64, now_us: u64, records: u64) {
        let counts = intended_us >= self.warmup_us;
        let pair = if counts { &mut self.interval } else { &mut self.warm };
        pair.corrected.saturating_record_n(now_us.saturating_sub(intended_us), records);
        pair.uncorrected.saturating_record_n(now_us.saturating_sub(sent_us), records);
        self.samples += u64::from(counts);
        self.negative += u64::from(counts && now_us < intended_us);
    }

    /// Ends an interval and shows it: what counts, and all.
    pub fn end_interval(&mut self, show: impl FnOnce(&Pair, &Pair)) {
        self.total.add(&self.interval);
        self.warm.add(&self.interval);
        show(&self.interval, &self.warm);
        self.interval.clear();
        self.warm.clear();
    }

    /// Everything that counts, up to the end of the last interval.
    pub fn total(&self) -> &Pair {
        &self.total
    }

    pub fn samples(&self) -> u64 {
        self.samples
    }

    pub fn negative(&self) -> u64 {
        self.negative
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_the_intervals_is_the_total_without_the_warm_up() {
        let mut recorder = Recorder::new(1_000);
        recorder.record(999, 999, 50_000, 1);
        recorder.record(1_000, 3_000, 4_000, 1);
        let mut sums = (0, 0);
        recorder.end_interval(|counts, all| sums = (counts.corrected.len(), all.corrected.len()));
        assert_eq!(sums, (1, 2));
        // One that stands for four.
        recorder.record(2_000, 2_000, 7_000, 4);
        recorder.end_interval(|counts, _| assert_eq!(counts.corrected.len(), 4));
        let total = recorder.total();
        assert_eq!((total.corrected.len(), recorder.samples()), (5, 2));
        assert_eq!((total.corrected.min(), total.uncorrected.min()), (3_000, 1_000));
        assert!(total.corrected.max() >= 5_000 && total.corrected.max() < 5_010);
    }

    #[test]
    fn an_effect_before_its_cause_is_counted_not_hidden() {
        let mut recorder = Recorder::new(0);
        recorder.record(5_000, 5_000, 4_000, 1);
        recorder.end_interval(|_, _| {});
        assert_eq!((recorder.negative(), recorder.total().corrected.len()), (1, 1));
    }
}
