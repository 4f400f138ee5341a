//! Event time: milliseconds since the Unix epoch, and spans of it.
//!
//! Windows and panes are half open, `[start, end)`, and aligned to the epoch: with a slide
//! of 5 s there are panes `[0, 5000)`, `[5000, 10000)`, … and never `[1000, 6000)`.
//! Nothing in here reads a clock.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// An instant of event time, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(i64);

/// A length of event time in milliseconds. Never negative where it comes from configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(i64);

impl EventTime {
    /// Before every event: the watermark of a partition that has not seen a record.
    pub const MIN: EventTime = EventTime(i64::MIN / 4);
    /// After every event: what closes the last windows of a bounded run.
    pub const MAX: EventTime = EventTime(i64::MAX / 4);

    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The start of the pane of width `step` that holds this instant.
    pub fn floor(self, step: Span) -> Self {
        Self(self.0 - self.0.rem_euclid(step.0))
    }

    /// The first multiple of `step` strictly after this instant: the end of its pane.
    pub fn next_multiple(self, step: Span) -> Self {
        self.floor(step) + step
    }

    /// The first multiple of `step` at or after this instant.
    pub fn ceil(self, step: Span) -> Self {
        let floor = self.floor(step);
        if floor == self { self } else { floor + step }
    }
}

impl Span {
    pub const ZERO: Span = Span(0);

    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    pub const fn from_secs(secs: i64) -> Self {
        Self(secs * 1000)
    }

    pub const fn millis(self) -> i64 {
        self.0
    }

    pub fn is_multiple_of(self, step: Span) -> bool {
        step.0 > 0 && self.0 % step.0 == 0
    }

    /// Greatest common divisor; `gcd(0, x) = x`.
    pub fn gcd(self, other: Span) -> Span {
        let (mut a, mut b) = (self.0, other.0);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Span(a)
    }

    /// The shortest name with a whole number: `90s`, `1m`, `24h`, `250ms`. Days stay hours,
    /// so that the label of a window is what people write in its configuration.
    pub fn label(self) -> String {
        match self.0 {
            ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
            ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
            ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
            ms => format!("{ms}ms"),
        }
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4))
    }
}

impl Add<Span> for EventTime {
    type Output = EventTime;
    fn add(self, span: Span) -> EventTime {
        EventTime(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Span> for EventTime {
    fn add_assign(&mut self, span: Span) {
        *self = *self + span;
    }
}

impl Sub<Span> for EventTime {
    type Output = EventTime;
    fn sub(self, span: Span) -> EventTime {
        EventTime(self.0.saturating_sub(span.0))
    }
}

impl Sub for EventTime {
    type Output = Span;
    fn sub(self, other: EventTime) -> Span {
        Span(self.0.saturating_sub(other.0))
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl fmt::Debug for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panes_are_half_open_and_aligned_to_the_epoch() {
        let step = Span::from_secs(5);
        let floor = |ms| EventTime::from_millis(ms).floor(step).millis();
        assert_eq!([floor(0), floor(4999), floor(5000), floor(-1)], [0, 0, 5000, -5000]);
        let next = |ms| EventTime::from_millis(ms).next_multiple(step).millis();
        assert_eq!([next(0), next(4999), next(5000)], [5000, 5000, 10000]);
        let ceil = |ms| EventTime::from_millis(ms).ceil(step).millis();
        assert_eq!([ceil(0), ceil(1), ceil(5000)], [0, 5000, 5000]);
    }

    #[test]
    fn labels_are_what_people_write() {
        let labels = [250, 1000, 90_000, 60_000, 3_600_000, 86_400_000]
            .map(|ms| Span::from_millis(ms).label());
        assert_eq!(labels, ["250ms", "1s", "90s", "1m", "1h", "24h"]);
    }
}
