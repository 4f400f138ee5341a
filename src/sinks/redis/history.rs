//! How much of a history stream is gone: what stood before data was lost, against what stands.
//!
//! ```text
//!  entries ever added   1 ………………… 4000 │ 4001 ……………… 4980 │ 4981 … 5000
//!  before the loss         trimmed      │        stood (1000 entries)
//!  rolled back to 4970                  │ stand ………… 4970 │ gone: 30
//!  of these, in memory                                        ……… 10: written again, 20 are lost
//! ```
//! Redis counts what was ever added to a stream, and rolls that count back with the stream.

use crate::time::EventTime;

/// A history stream, as it stood when it was looked at or written to last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// The end of the newest entry: nothing at or below it is written.
    pub last: Option<EventTime>,
    pub entries: u64,
    /// How many were ever added, trimmed ones included.
    pub added: u64,
}

impl Stream {
    /// An entry was added, and the stream now holds so many.
    pub fn add(&mut self, end: EventTime, entries: u64) {
        self.last = self.last.max(Some(end));
        self.entries = entries;
        self.added += 1;
    }

    /// How many entries that stood here are gone for good, if only `found` was left of them and
    /// `rewritten` came back.
    pub fn lost(&self, found: &Stream, rewritten: u64) -> u64 {
        let gone = self.added.saturating_sub(found.added).min(self.entries);
        gone.saturating_sub(rewritten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(entries: u64, added: u64) -> Stream {
        Stream { last: None, entries, added }
    }

    #[test]
    fn what_nobody_can_remake_is_counted() {
        let before = stream(1000, 5000);
        for (found, rewritten, lost) in [
            (stream(0, 0), 10, 990),
            (stream(0, 0), 0, 1000),
            // Rolled back: entries that had been trimmed stand again, and do not count.
            (stream(1000, 4970), 10, 20),
            (stream(1000, 4995), 5, 0),
            (stream(1000, 3500), 10, 990),
            (before, 0, 0),
        ] {
            assert_eq!(before.lost(&found, rewritten), lost, "{found:?}");
        }
        assert_eq!(stream(7, 7).lost(&stream(0, 0), 10), 0);
    }

    #[test]
    fn entries_are_added() {
        let mut stream = stream(3, 8);
        stream.add(EventTime::from_millis(60), 3);
        let last = Some(EventTime::from_millis(60));
        assert_eq!(stream, Stream { last, entries: 3, added: 9 });
    }
}
