//! From which event time on the records of a partition are known.

use crate::time::{EventTime, Span};

/// Where reading began decides what a window can have missed.
///
/// The log is in order of offsets, not of times: what lies before the first record that was
/// read can be newer than it by as much as `lateness`, for if it were newer by more, that record
/// would have been late. So coverage begins one `lateness` after the first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coverage {
    from_beginning: bool,
    /// The time whose offset was asked for, which holds until a record is seen.
    asked: Option<EventTime>,
    first: Option<EventTime>,
}

impl Coverage {
    /// Nothing is known to be covered before a record is read: the start was the end of the log
    /// or a committed offset, or records were lost.
    pub const UNKNOWN: Coverage = Coverage { from_beginning: false, asked: None, first: None };

    /// Read from log offset 0: nothing can be missing, whatever the times.
    pub const BEGINNING: Coverage = Coverage { from_beginning: true, asked: None, first: None };

    /// Read from the offset that the broker named for this time.
    pub const fn asked_for(time: EventTime) -> Self {
        Self { asked: Some(time), ..Self::UNKNOWN }
    }

    /// Takes over the time of the first record, once there is one.
    pub(super) fn first_record(&mut self, first: Option<EventTime>) {
        self.first = self.first.or(first);
    }

    /// All records from this time on are covered; `None` while that is not known.
    pub fn from(&self, lateness: Span) -> Option<EventTime> {
        if self.from_beginning {
            return Some(EventTime::MIN);
        }
        self.first.map(|first| first + lateness).or(self.asked)
    }
}

impl Default for Coverage {
    fn default() -> Self {
        Self::UNKNOWN
    }
}
