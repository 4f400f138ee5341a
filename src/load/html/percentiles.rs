//! The percentile curve of HdrHistogram: how large the worst one in ten, a hundred, a thousand … is.
//!
//! The x axis is 1 / (1 − quantile) on a logarithmic scale, so each nine is as wide as the one before it. A
//! curve ends where fewer than ten measurements lie beyond it, like the percentiles in the tables.

use super::axis::{self, Axis};
use super::chart::{Chart, Column, Line, Width};
use super::limits::Limit;
use crate::load::artefacts::hlog::Histograms;
use crate::load::latency::meter::Stage;
use crate::load::latency::recorder::Micros;

const POINTS_PER_DECADE: i32 = 32;
/// Beyond p99.9999 there is nothing to see.
const DECADES: i32 = 6;
const BEYOND_MIN: f64 = 10.0;

/// `None` if nothing was measured.
pub fn chart(histograms: &Histograms, limits: Vec<Limit>) -> Option<Chart> {
    let mut lines = Vec::new();
    for (stage, corrected, uncorrected) in [
        (Stage::Visible, ("visible", "visible"), ("visible, from sending", "visible dashed")),
        (Stage::Ack, ("ack", "acked"), ("ack, from sending", "acked dashed")),
        (Stage::Schedule, ("schedule", "sent"), ("", "")),
    ] {
        let pair = histograms.of(stage);
        let both = [(corrected, &pair.corrected), (uncorrected, &pair.uncorrected)];
        for ((name, class), histogram) in both.into_iter().filter(|((name, _), _)| !name.is_empty())
        {
            let points = curve(histogram);
            if !points.is_empty() {
                lines.push(Line { name, class, points });
            }
        }
    }
    let values = lines.iter().flat_map(|line| &line.points).filter_map(|point| point.1);
    let y = Axis::logarithmic(values.chain(limits.iter().map(|limit| limit.value)));
    let furthest = lines.iter().filter_map(|line| line.points.last()).map(|point| point.0);
    let x_end = furthest.fold(1.0, f64::max);
    if lines.is_empty() {
        return None;
    }
    let ticks = (0..=DECADES).map(|decade| 10f64.powi(decade)).chain([2.0]).collect();
    Some(Chart {
        id: "percentiles",
        title: "Latency by percentile, both scales logarithmic",
        description: "For each clock the latency that a share of the records stays below; dashed: counted \
                      from sending instead of from the intended time. The table of latencies has the figures."
            .to_owned(),
        width: Width::Whole,
        x: Axis::between(1.0, x_end, ticks),
        x_figure: percentile,
        y,
        y_figure: axis::millis,
        columns: columns(&lines, x_end),
        lines,
        limits,
        warmup: None,
    })
}

/// Places on the x axis, and milliseconds.
fn curve(histogram: &Micros) -> Vec<(f64, Option<f64>)> {
    let count = histogram.len() as f64;
    (0..=DECADES * POINTS_PER_DECADE)
        .map(|step| 10f64.powf(f64::from(step) / f64::from(POINTS_PER_DECADE)))
        .take_while(|place| count / place >= BEYOND_MIN)
        .map(|place| {
            let micros = histogram.value_at_quantile(1.0 - 1.0 / place);
            (place, Some(micros as f64 / 1000.0))
        })
        .collect()
}

fn columns(lines: &[Line], x_end: f64) -> Vec<Column> {
    let Some(longest) = lines.iter().max_by_key(|line| line.points.len()) else {
        return Vec::new();
    };
    let half = 10f64.powf(0.5 / f64::from(POINTS_PER_DECADE));
    let column = |(at, &(place, _)): (usize, &(f64, Option<f64>))| {
        let mut says = percentile(place);
        for line in lines {
            if let Some(&(_, Some(ms))) = line.points.get(at) {
                says += &format!("\n{}: {}", line.name, axis::millis(ms));
            }
        }
        Column { from: place / half, to: (place * half).min(x_end), says }
    };
    longest.points.iter().enumerate().map(column).collect()
}

/// `50%`, `99.9%`
fn percentile(place: f64) -> String {
    let percent = 100.0 - 100.0 / place;
    let digits = (place.log10().ceil() as usize).saturating_sub(1).min(6);
    let shown = format!("{percent:.digits$}");
    match shown.contains('.') {
        true => format!("{}%", shown.trim_end_matches('0').trim_end_matches('.')),
        false => format!("{shown}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::latency::recorder::empty;

    #[test]
    fn a_curve_ends_ten_measurements_before_the_last() {
        let mut histogram = empty();
        (1..=10_000).for_each(|ms| histogram.saturating_record(ms * 100));
        let points = curve(&histogram);
        let (last, ms) = *points.last().unwrap();
        assert!((999.0..1001.0).contains(&last), "{last}");
        assert!((ms.unwrap() - 999.0).abs() < 1.0, "{ms:?}");
        let median = points
            .iter()
            .min_by(|one, other| (one.0 - 2.0).abs().total_cmp(&(other.0 - 2.0).abs()));
        assert!((median.unwrap().1.unwrap() - 500.0).abs() < 20.0, "{median:?}");
        assert_eq!(curve(&empty()), []);
        assert!(chart(&Histograms::default(), Vec::new()).is_none());
    }

    #[test]
    fn each_nine_is_a_tick() {
        let shown = [1.0, 2.0, 10.0, 100.0, 1e3, 1e4, 1e5].map(percentile);
        assert_eq!(shown, ["0%", "50%", "90%", "99%", "99.9%", "99.99%", "99.999%"]);
    }
}
