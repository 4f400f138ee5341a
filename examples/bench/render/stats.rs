//! Medians with what lies around them, and figures as they are shown.

/// Of some runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub runs: usize,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let runs = values.len();
        let (min, max) = (*values.first()?, *values.last()?);
        let median = (values[(runs - 1) / 2] + values[runs / 2]) / 2.0;
        Some(Self { median, min, max, runs })
    }

    /// `2.41 (2.30–2.52)`; of one run the figure alone.
    pub fn shown(&self, figure: impl Fn(f64) -> String) -> String {
        match self.runs {
            1 => figure(self.median),
            _ => format!("{} ({}–{})", figure(self.median), figure(self.min), figure(self.max)),
        }
    }
}

/// Millions, with three digits that count.
pub fn millions(value: f64) -> String {
    significant(value / 1e6)
}

/// Three digits that count, and none after the point where there are enough before it.
pub fn significant(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

pub fn percent(value: f64) -> String {
    format!("{:.0} %", value * 100.0)
}

/// Without the unit: a column has it in its head.
pub fn mebibytes(bytes: f64) -> String {
    format!("{:.0}", bytes / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread::of([4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max, spread.runs), (2.5, 1.0, 4.0, 4));
        assert_eq!(Spread::of([3.0, 9.0, 4.0]).unwrap().median, 4.0);
        assert_eq!(Spread::of([f64::NAN]), None);
        assert_eq!(spread.shown(significant), "2.50 (1.00–4.00)");
        assert_eq!(Spread::of([12.34]).unwrap().shown(significant), "12.3");
    }

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(
            [0.0333, 1.064, 24.0, 1234.5].map(significant),
            ["0.033", "1.06", "24.0", "1234"]
        );
        assert_eq!(millions(2_412_000.0), "2.41");
        assert_eq!(percent(0.6149), "61 %");
        assert_eq!(mebibytes(1.5 * 1024.0 * 1024.0 * 1024.0), "1536");
    }
}
