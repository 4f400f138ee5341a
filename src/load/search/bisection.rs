//! Where the highest rate lies that holds: asked one rate at a time, answered by yes and no.
//!
//! ```text
//!  min ●━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━○ max        a logarithmic scale
//!  1        holds? ✓  ⇒ bisect       ●━━━━━━○               the interval halves
//!  n        narrow enough ⇒ both ends once more, and an end that answers otherwise is
//!           asked until it has said one thing twice more often than the other
//! ```
//!
//! A single answer may be wrong: a machine has bad seconds. So each end of the final interval has to have
//! answered alike twice more often than not, and an end that changes its mind moves the interval.

/// Rates are asked to so many digits: a figure like 48,731.4906 claims what nobody knows.
const DIGITS: i32 = 3;
/// With so many answers about one rate that contradict each other, nothing is certain any more.
const ASKED_MAX: u32 = 5;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Asked {
    rate: f64,
    held: u32,
    failed: u32,
}

impl Asked {
    fn balance(&self) -> i32 {
        self.held as i32 - self.failed as i32
    }

    fn is_settled(&self) -> bool {
        self.balance().abs() >= 2 || self.held + self.failed >= ASKED_MAX
    }
}

#[derive(Clone, Debug)]
pub struct Bisection {
    min: f64,
    max: f64,
    /// The interval is narrow enough when its upper end is at most so much times the lower one.
    ratio: f64,
    /// By rate, ascending.
    asked: Vec<Asked>,
}

/// What is known: the highest rate that holds is at least `low` and below `high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// `None`: not even the least rate holds.
    pub low: Option<f64>,
    /// `None`: even the highest one holds.
    pub high: Option<f64>,
    /// Each end has said the same twice more often than the other thing.
    pub confirmed: bool,
}

impl Bisection {
    /// Between `min` and `max`, until the upper end is at most `1 + within` times the lower one.
    pub fn new(min: f64, max: f64, within: f64) -> Self {
        // Finer than the digits of a rate there is nothing between two of them.
        let finest = 2.0 * 10f64.powi(1 - DIGITS);
        Self { min, max, ratio: 1.0 + within.max(finest), asked: Vec::new() }
    }

    /// The rate to ask about; `None`: the interval is known.
    pub fn next(&self) -> Option<f64> {
        // One that has said yes as often as no.
        if let Some(torn) = self.asked.iter().find(|one| one.balance() == 0 && !one.is_settled()) {
            return Some(torn.rate);
        }
        let (low, high) = self.ends();
        match (low, high) {
            (None, Some(high)) if high.rate <= self.min => unsettled(&[high]),
            (None, _) => Some(self.min),
            (Some(low), _) if low.rate >= self.max => unsettled(&[low]),
            (Some(low), None) if self.max / low.rate <= self.ratio => Some(self.max),
            (Some(low), Some(high)) if high.rate / low.rate <= self.ratio => {
                unsettled(&[low, high])
            }
            (Some(low), high) => {
                let high = high.map_or(self.max, |high| high.rate);
                Some(rounded((low.rate * high).sqrt()))
            }
        }
    }

    pub fn note(&mut self, rate: f64, holds: bool) {
        let at = self.asked.partition_point(|one| one.rate < rate);
        if self.asked.get(at).is_none_or(|one| one.rate > rate) {
            self.asked.insert(at, Asked { rate, held: 0, failed: 0 });
        }
        let one = &mut self.asked[at];
        one.held += u32::from(holds);
        one.failed += u32::from(!holds);
    }

    /// The least rate that fails, and the highest below it that holds. One that is torn for good fails.
    fn ends(&self) -> (Option<Asked>, Option<Asked>) {
        let fails = |one: &&Asked| one.balance() < 0 || one.balance() == 0 && one.is_settled();
        let high = self.asked.iter().find(fails).copied();
        let is_below = |one: &&Asked| high.is_none_or(|high| one.rate < high.rate);
        let mut holding = self.asked.iter().filter(is_below).filter(|one| one.balance() > 0);
        (holding.next_back().copied(), high)
    }

    pub fn interval(&self) -> Interval {
        let (low, high) = self.ends();
        let is_confirmed = |end: Option<Asked>| end.is_none_or(|end| end.balance().abs() >= 2);
        let confirmed = self.next().is_none() && is_confirmed(low) && is_confirmed(high);
        Interval { low: low.map(|one| one.rate), high: high.map(|one| one.rate), confirmed }
    }
}

fn unsettled(ends: &[Asked]) -> Option<f64> {
    ends.iter().find(|end| !end.is_settled()).map(|end| end.rate)
}

fn rounded(rate: f64) -> f64 {
    let unit = 10f64.powi(rate.log10().floor() as i32 + 1 - DIGITS);
    (rate / unit).round() * unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Asks until the end; the answers, and the interval.
    fn search(mut bisection: Bisection, mut holds: impl FnMut(f64) -> bool) -> (usize, Interval) {
        let mut probes = 0;
        while let Some(rate) = bisection.next() {
            probes += 1;
            assert!(probes < 200, "{bisection:?}");
            bisection.note(rate, holds(rate));
        }
        (probes, bisection.interval())
    }

    #[test]
    fn it_narrows_down_and_confirms_both_ends() {
        let (probes, found) = search(Bisection::new(1e3, 1e6, 0.1), |rate| rate < 47_500.0);
        let (low, high) = (found.low.unwrap(), found.high.unwrap());
        assert!(low < 47_500.0 && 47_500.0 <= high && high / low <= 1.1 && found.confirmed);
        // log2(ln 1000 / ln 1.1) is 6.2.
        assert!(probes <= 1 + 7 + 2, "{probes}");
    }

    #[test]
    fn the_ends_of_the_range_are_answers_too() {
        let (probes, found) = search(Bisection::new(1e3, 1e6, 0.1), |_| false);
        assert_eq!((found.low, found.high, found.confirmed), (None, Some(1e3), true));
        assert_eq!(probes, 2);
        let (_, found) = search(Bisection::new(1e3, 1e4, 0.1), |_| true);
        assert_eq!((found.low, found.high, found.confirmed), (Some(1e4), None, true));
    }

    #[test]
    fn one_bad_answer_is_overruled() {
        // The first answer about 31,600 is wrong.
        let mut lies = 1;
        let (_, found) = search(Bisection::new(1e3, 1e6, 0.1), |rate| {
            let lie = lies > 0 && (31_000.0..32_000.0).contains(&rate);
            lies -= i32::from(lie);
            (rate < 200_000.0) != lie
        });
        // It was taken for an end, which the confirmation has moved.
        let (low, high) = (found.low.unwrap(), found.high.unwrap());
        assert!(low < 200_000.0 && 200_000.0 <= high && found.confirmed, "{found:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn the_truth_lies_between_the_ends(
            min in 1.0f64..1e4, span in 1.5f64..1e4, at in 0.0f64..1.0, within in 0.0f64..0.5,
        ) {
            let max = min * span;
            let truth = min * span.powf(at);
            let (_, found) = search(Bisection::new(min, max, within), |rate| rate < truth);
            prop_assert!(found.confirmed);
            prop_assert!(found.low.is_none_or(|low| low < truth));
            prop_assert!(found.high.is_none_or(|high| high >= truth));
            prop_assert!(found.low.is_some() || found.high == Some(min));
        }

        /// However the answers go, it comes to an end.
        #[test]
        fn it_always_ends(answers in prop::collection::vec(any::<bool>(), 200)) {
            let mut answers = answers.into_iter();
            let mut bisection = Bisection::new(1e3, 1e6, 0.05);
            let mut probes = 0;
            while let Some(rate) = bisection.next() {
                bisection.note(rate, answers.next().expect("it has ended long before"));
                probes += 1;
            }
            prop_assert!(probes <= 200);
        }
    }
}
