//! A stretch of history that is computed anew: which closed windows it wants, and how much of the
//! log that takes.
//!
//! ```text
//!   reading begins             from                         to         C_p of every partition
//!        │◄──── reach back ─────►│                           │               passes `to`
//!  ──────┴───────────────────────┼──●──●──●──●──●──●──●──●──●┼──────────────────┴──► event time
//!         windows that end here are not wanted    wanted      not wanted
//! ```
//! An end belongs to one of two periods that meet, never to both.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use crate::pipeline::definitions::Definitions;
use crate::pipeline::watermark::RECENT;
use crate::time::EventTime;

/// The closed windows with an end in `(from, to]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    pub from: EventTime,
    pub to: EventTime,
}

impl Period {
    /// Reading begins so many records before the first that is needed. A watermark is judged by
    /// as many, and a partition that is covered from the first record read is then covered from
    /// before the first window, however sparse its log is.
    pub const RECORDS_BEFORE: i64 = RECENT as i64;

    pub fn holds(&self, end: EventTime) -> bool {
        self.from < end && end <= self.to
    }

    /// The hash under which the state of a run for this period is kept, given what its
    /// configuration means: only a run for the same period may go on with it.
    pub fn mark(&self, meaning: &str) -> String {
        format!("{meaning}@{}..{}", self.from, self.to)
    }

    /// The inverse of [`Period::mark`]; `None` for the state of any other run.
    pub fn read_mark(hash: &str) -> Option<(&str, Self)> {
        let (meaning, period) = hash.split_once('@')?;
        let (from, to) = period.split_once("..")?;
        let time = |text: &str| text.parse().ok().map(EventTime::from_millis);
        Some((meaning, Self { from: time(from)?, to: time(to)? }))
    }

    /// Kafka's time of the first record that the first window needs. An event is at most
    /// `max_future` ahead of it.
    pub fn read_from(&self, definitions: &Definitions) -> EventTime {
        self.from - definitions.reach_back()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", rfc3339(self.from), rfc3339(self.to))
    }
}

/// A time as people read and write it.
pub fn rfc3339(time: EventTime) -> impl fmt::Display {
    let since = Duration::from_millis(u64::try_from(time.millis()).unwrap_or(0));
    humantime::format_rfc3339(UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_belongs_to_one_of_two_periods_that_meet() {
        let at = EventTime::from_millis;
        let (a, b) = (Period { from: at(0), to: at(60) }, Period { from: at(60), to: at(120) });
        let of = |end| [a.holds(at(end)), b.holds(at(end))];
        assert_eq!(
            [0, 1, 60, 61, 120, 121].map(of),
            [
                [false, false],
                [true, false],
                [true, false],
                [false, true],
                [false, true],
                [false, false],
            ]
        );
    }

    #[test]
    fn a_hash_tells_the_period_again() {
        let at = EventTime::from_millis;
        let period = Period { from: at(1_700_000_000_000), to: at(1_700_000_060_000) };
        assert_eq!(period.mark("af3"), "af3@1700000000000..1700000060000");
        assert_eq!(Period::read_mark(&period.mark("af3")), Some(("af3", period)));
        assert_eq!(["af3", "af3@1", "af3@x..1"].map(Period::read_mark), [None; 3]);
        assert_eq!(period.to_string(), "2023-11-14T22:13:20Z to 2023-11-14T22:14:20Z");
    }
}
