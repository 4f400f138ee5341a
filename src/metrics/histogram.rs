//! Histograms that take many observations at once.
//!
//! The records of a pane share one age, so a flush observes `(age, records)` pairs: one atomic
//! addition per pane, where the crate's own histogram wants one call per record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use prometheus::core::{Collector, Desc};
use prometheus::proto;

/// One series: a fixed set of buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// Observations per bucket, not cumulative; one more than `bounds` for what exceeds them.
    counts: Vec<AtomicU64>,
    /// An `f64` by its bits.
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0f64.to_bits()) }
    }

    /// Counts `count` observations of the same value; a negative one (clocks differ) as 0.
    pub fn observe(&self, value: f64, count: u64) {
        if count == 0 || value.is_nan() {
            return;
        }
        let value = value.max(0.0);
        let bucket = self.bounds.partition_point(|&bound| bound < value);
        self.counts[bucket].fetch_add(count, Relaxed);
        let add = |sum: u64| Some((f64::from_bits(sum) + value * count as f64).to_bits());
        // The closure never answers `None`, so this cannot fail.
        let _ = self.sum.fetch_update(Relaxed, Relaxed, add);
    }

    fn snapshot(&self) -> proto::Histogram {
        let mut cumulative = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (&bound, count) in self.bounds.iter().zip(&self.counts) {
            cumulative += count.load(Relaxed);
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(cumulative);
            buckets.push(bucket);
        }
        let over = self.counts.last().map_or(0, |count| count.load(Relaxed));
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(cumulative + over);
        histogram.set_sample_sum(f64::from_bits(self.sum.load(Relaxed)));
        histogram
    }
}

/// A family with one label of a closed set of values.
#[derive(Clone)]
pub struct HistogramFamily {
    desc: Desc,
    label: &'static str,
    series: Vec<(String, Arc<Histogram>)>,
}

impl HistogramFamily {
    pub fn new(
        desc: Desc,
        label: &'static str,
        values: impl IntoIterator<Item = String>,
        bounds: &'static [f64],
    ) -> Self {
        let series = values.into_iter().map(|value| (value, Arc::new(Histogram::new(bounds))));
        Self { desc, label, series: series.collect() }
    }

    /// The series in the order of the values given at the start.
    pub fn series(&self) -> impl Iterator<Item = Arc<Histogram>> {
        self.series.iter().map(|(_, histogram)| histogram.clone())
    }
}

impl Collector for HistogramFamily {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let metrics = self.series.iter().map(|(value, histogram)| {
            let mut label = proto::LabelPair::default();
            label.set_name(self.label.to_owned());
            label.set_value(value.clone());
            let mut metric = proto::Metric::from_label(vec![label]);
            metric.set_histogram(histogram.snapshot());
            metric
        });
        let mut family = proto::MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(proto::MetricType::HISTOGRAM);
        family.set_metric(metrics.collect());
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_buckets_are_cumulative() {
        let histogram = Histogram::new(&[1.0, 5.0]);
        for (value, count) in [(1.0, 2), (1.5, 3), (5.0, 1), (6.0, 4), (-2.0, 1), (f64::NAN, 9)] {
            histogram.observe(value, count);
        }
        let snapshot = histogram.snapshot();
        let buckets: Vec<u64> =
            snapshot.get_bucket().iter().map(|bucket| bucket.cumulative_count()).collect();
        assert_eq!((buckets, snapshot.get_sample_count()), (vec![3, 7], 11));
        assert_eq!(snapshot.get_sample_sum(), 2.0 + 4.5 + 5.0 + 24.0);
    }

    #[test]
    fn observations_of_several_threads_add_up() {
        let histogram = Histogram::new(&[1.0]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| histogram.observe(0.5, 2)));
            }
        });
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.get_sample_count(), snapshot.get_sample_sum()), (8000, 4000.0));
    }
}
