//! Axes: from a value to a place between 0 and 1, and where to write which figure.
//!
//! Whatever the values are, an axis has a few ticks and a finite place for every value: figures come from
//! files, and a file may hold any number.

use crate::load::plot::short;

/// About so many figures stand along an axis.
const TICKS: f64 = 6.0;
/// A logarithmic axis that spans more decades leaves the smallest values at its lower end.
const DECADES_MAX: i32 = 9;
/// What seconds are counted in.
const TIME_STEPS: [f64; 15] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0,
    14400.0,
];
/// Larger values are drawn at the end of their axis.
const VALUE_MAX: f64 = 1e15;

#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    lower: f64,
    upper: f64,
    is_log: bool,
    pub ticks: Vec<f64>,
}

impl Axis {
    /// From 0 to a round figure at or above the largest of the values.
    pub fn linear(values: impl IntoIterator<Item = f64>) -> Self {
        let max = largest(values).max(1e-3);
        let step = round_step(max / TICKS);
        let upper = (max / step).ceil() * step;
        Self { lower: 0.0, upper, is_log: false, ticks: multiples(step, upper) }
    }

    /// From 0 to the end of a run, in seconds.
    pub fn seconds(end: f64) -> Self {
        let end = largest([end]).max(1.0);
        let fits = |step: &&f64| end / **step <= TICKS * 2.0;
        let step = TIME_STEPS.iter().find(fits).copied();
        let step = step.unwrap_or_else(|| round_step(end / TICKS));
        Self { lower: 0.0, upper: end, is_log: false, ticks: multiples(step, end) }
    }

    /// Over all values above 0, with figures at powers of ten, or at 1, 2 and 5 where there are few of those.
    pub fn logarithmic(values: impl IntoIterator<Item = f64>) -> Self {
        let (mut min, mut max) = (f64::INFINITY, 0.0f64);
        for value in values.into_iter().filter(|value| (1e-9..=VALUE_MAX).contains(value)) {
            (min, max) = (min.min(value), max.max(value));
        }
        if max == 0.0 {
            (min, max) = (1.0, 10.0);
        }
        min = min.max(max / 10f64.powi(DECADES_MAX));
        let exponent = |value: f64| value.log10().floor() as i32;
        let (first, last) = (exponent(min) - 1, exponent(max) + 1);
        let steps = |power: i32| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power));
        let round: Vec<f64> = (first..=last).flat_map(steps).collect();
        // Not on the very edge, so that a line at the top or the bottom is whole.
        let lower = round.iter().copied().rfind(|&figure| figure < min).unwrap_or(min / 2.0);
        let upper = round.iter().copied().find(|&figure| figure > max).unwrap_or(max * 2.0);
        let is_short = upper / lower < 300.0;
        let is_tick = |figure: &f64| {
            let is_power = (figure.log10() - figure.log10().round()).abs() < 1e-9;
            (lower * 0.999..=upper * 1.001).contains(figure) && (is_short || is_power)
        };
        let ticks = round.iter().copied().filter(is_tick).collect();
        Self { lower, upper, is_log: true, ticks }
    }

    /// A logarithmic axis between two values, with figures where it is told.
    pub fn between(lower: f64, upper: f64, ticks: Vec<f64>) -> Self {
        let lower = if lower.is_finite() && lower > 0.0 { lower } else { 1.0 };
        let upper = if upper.is_finite() && upper > lower { upper } else { lower * 10.0 };
        let ticks = ticks.into_iter().filter(|tick| (lower..=upper).contains(tick)).collect();
        Self { lower, upper, is_log: true, ticks }
    }

    /// Between 0 and 1; `None` for what is not a number.
    pub fn place(&self, value: f64) -> Option<f64> {
        if !value.is_finite() {
            return None;
        }
        let value = value.clamp(self.lower, self.upper);
        let (from, to, value) = match self.is_log {
            true => (self.lower.log10(), self.upper.log10(), value.log10()),
            false => (self.lower, self.upper, value),
        };
        let place = (value - from) / (to - from);
        // Two ends that are all but equal are no distance apart.
        Some(if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 })
    }
}

fn largest(values: impl IntoIterator<Item = f64>) -> f64 {
    let finite = values.into_iter().filter(|value| value.is_finite());
    finite.fold(0.0, f64::max).min(VALUE_MAX)
}

/// 1, 2 or 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    steps.into_iter().find(|&step| step >= least * 0.999).unwrap_or(power * 10.0)
}

fn multiples(step: f64, upper: f64) -> Vec<f64> {
    (0..=20).map(|count| f64::from(count) * step).filter(|&tick| tick <= upper * 1.0001).collect()
}

/// `20k`
pub fn count(value: f64) -> String {
    short(value)
}

/// `20k/s`
pub fn rate(value: f64) -> String {
    match short(value).as_str() {
        "0" => "0".to_owned(),
        shown => format!("{shown}/s"),
    }
}

/// `850 µs`, `1.2 ms`, `2.43 s`
pub fn millis(ms: f64) -> String {
    let (value, unit) = match ms {
        ms if ms <= 0.0 => return "0".to_owned(),
        ms if ms < 1.0 => (ms * 1e3, "µs"),
        ms if ms < 1e3 => (ms, "ms"),
        ms if ms < 120e3 => (ms / 1e3, "s"),
        ms => (ms / 60e3, "min"),
    };
    // Three figures that count.
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    let shown = format!("{value:.digits$}");
    let shown = match shown.contains('.') {
        true => shown.trim_end_matches('0').trim_end_matches('.'),
        false => &shown,
    };
    format!("{shown} {unit}")
}

/// Since the start of a run: `45 s`, `3:20`, `2:05:00`
pub fn clock(seconds: f64) -> String {
    let whole = seconds.clamp(0.0, VALUE_MAX).round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    match whole {
        0..=120 => format!("{whole} s"),
        121..=3599 => format!("{minutes}:{rest:02}"),
        _ => format!("{hours}:{minutes:02}:{rest:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn figures_are_round_and_have_units() {
        assert_eq!(Axis::linear([47_300.0]).ticks, [0.0, 10e3, 20e3, 30e3, 40e3, 50e3]);
        assert_eq!(Axis::seconds(62.0).ticks, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]);
        assert_eq!(Axis::logarithmic([0.0, 30.0, 240.0]).ticks, [20.0, 50.0, 100.0, 200.0, 500.0]);
        assert_eq!(Axis::logarithmic([0.3, 4_000.0]).ticks, [1.0, 10.0, 100.0, 1000.0]);
        let shown = [0.0, 0.04, 0.85, 1.234, 12.0, 812.4, 2431.0, 600e3].map(millis);
        assert_eq!(
            shown,
            ["0", "40 µs", "850 µs", "1.23 ms", "12 ms", "812 ms", "2.43 s", "10 min"]
        );
        assert_eq!([45.0, 200.0, 7500.0].map(clock), ["45 s", "3:20", "2:05:00"]);
    }

    #[test]
    fn decades_are_equally_long() {
        let axis = Axis::between(1.0, 1000.0, Vec::new());
        let third = axis.place(10.0).unwrap();
        assert!((third - 1.0 / 3.0).abs() < 1e-9, "{third}");
        assert_eq!(axis.place(0.0), Some(0.0));
        assert_eq!(axis.place(f64::NAN), None);
    }

    proptest! {
        #[test]
        fn any_number_has_a_place(
            values in prop::collection::vec(any::<f64>(), 0..5),
            value: f64,
        ) {
            let axes = [
                Axis::linear(values.clone()),
                Axis::logarithmic(values.clone()),
                Axis::seconds(value),
                Axis::between(value, values.first().copied().unwrap_or(1.0), values.clone()),
            ];
            for axis in axes {
                prop_assert!(axis.ticks.len() <= 21, "{:?}", axis);
                for place in values.iter().chain([&value]).filter_map(|&value| axis.place(value)) {
                    prop_assert!((0.0..=1.0).contains(&place), "{:?} {}", axis, place);
                }
            }
            let _ = (rate(value), millis(value), clock(value));
        }
    }
}
