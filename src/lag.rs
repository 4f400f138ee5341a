//! How far a partition is behind, in records and in seconds, without the ways lag usually lies.
//!
//! 1. A partition that was revoked has no lag here: its series goes ([`crate::metrics::LagSeries`]).
//! 2. Unknown is `None`, never −1: a sentinel would leak into sums.
//! 3. Transaction markers and compacted records are offsets without a record. When all that can
//!    be read has been read and applied, lag is 0, whatever the offsets say.
//! 4. Records that retention deleted cannot be read any more: lag begins at the log's start.
//! 5. Seconds are the age of the next record to apply, as the broker stamped it, and 0 when there
//!    is none. An idle topic is not behind, and a replay of old *events* does not inflate it.

/// What is known of an assigned partition. Offsets are those of the next record; negative
/// values (librdkafka's "invalid", "end", …) count as unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LagInput {
    /// End of the readable log: the high watermark, or the last stable offset if transactions
    /// are respected.
    pub end: Option<i64>,
    /// Start of the log, after retention.
    pub log_start: Option<i64>,
    /// The cursor: all records before it are in the merged state.
    pub position: Option<i64>,
    /// Up to where the broker's log has been read, records or not.
    pub fetch_position: Option<i64>,
    /// Whether records have been fetched that are not applied yet.
    pub pending: bool,
    /// The broker's time of the record at `position`, if it has been fetched.
    pub next_record_millis: Option<i64>,
    /// When the record lag was last seen to be 0, by the local clock.
    pub drained_millis: Option<i64>,
    pub now_millis: i64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lag {
    pub records: u64,
    /// `None` while a lagging partition's next record is unknown and it was never drained.
    pub seconds: Option<f64>,
}

impl Lag {
    pub const ZERO: Lag = Lag { records: 0, seconds: Some(0.0) };

    /// `None` until both the end of the log and our own position are known.
    pub fn of(input: &LagInput) -> Option<Lag> {
        let known = |offset: Option<i64>| offset.filter(|&offset| offset >= 0);
        let end = known(input.end)?;
        let position = known(input.position)?.max(known(input.log_start).unwrap_or(0));
        let drained = !input.pending && known(input.fetch_position).is_some_and(|at| at >= end);
        if drained || position >= end {
            return Some(Lag::ZERO);
        }
        // A record that has not arrived yet was written after the partition was last drained,
        // so its age is at most the time since then: still a figure that grows in an outage.
        let since_millis = input.next_record_millis.filter(|&at| at >= 0).or(input.drained_millis);
        let seconds = since_millis.map(|at| (input.now_millis - at).max(0) as f64 / 1000.0);
        Some(Lag { records: end.abs_diff(position), seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 to 160 in the log, 120 applied, all else fetched; now is 50 s.
    const BEHIND: LagInput = LagInput {
        end: Some(160),
        log_start: Some(100),
        position: Some(120),
        fetch_position: Some(160),
        pending: true,
        next_record_millis: Some(47_500),
        drained_millis: Some(10_000),
        now_millis: 50_000,
    };

    fn lag(change: impl FnOnce(&mut LagInput)) -> Option<Lag> {
        let mut input = BEHIND;
        change(&mut input);
        Lag::of(&input)
    }

    #[test]
    fn what_is_not_applied_counts_and_its_oldest_record_tells_the_seconds() {
        assert_eq!(lag(|_| ()), Some(Lag { records: 40, seconds: Some(2.5) }));
    }

    #[test]
    fn rule_2_unknown_is_none_and_never_a_sentinel() {
        for unknown in [None, Some(-1), Some(-1001)] {
            assert_eq!(lag(|input| input.end = unknown), None);
            assert_eq!(lag(|input| input.position = unknown), None);
            let no_start = lag(|input| input.log_start = unknown);
            assert_eq!(no_start.map(|lag| lag.records), Some(40), "the rest is known");
            let never_fetched = lag(|input| {
                input.fetch_position = unknown;
                input.pending = false;
            });
            assert_eq!(never_fetched.map(|lag| lag.records), Some(40), "not taken for drained");
        }
    }

    #[test]
    fn rule_3_offsets_without_records_are_not_lag_once_all_is_read_and_applied() {
        // 159 is a commit marker: the cursor stays behind it.
        let at_marker = |fetched, pending| {
            lag(|input| {
                input.position = Some(159);
                input.fetch_position = Some(fetched);
                input.pending = pending;
            })
            .map(|lag| lag.records)
        };
        assert_eq!(at_marker(160, false), Some(0));
        assert_eq!(at_marker(160, true), Some(1), "fetched is not applied");
        assert_eq!(at_marker(159, false), Some(1), "not read to the end");
    }

    #[test]
    fn rule_4_deleted_records_are_not_lag() {
        assert_eq!(lag(|input| input.position = Some(20)).map(|lag| lag.records), Some(60));
        assert_eq!(lag(|input| input.log_start = Some(160)), Some(Lag::ZERO));
    }

    #[test]
    fn rule_5_no_records_no_seconds_and_no_interpolation() {
        let idle_for_hours = lag(|input| {
            input.position = Some(160);
            input.pending = false;
            input.now_millis = 50_000_000;
        });
        assert_eq!(idle_for_hours, Some(Lag::ZERO));

        let seconds = |change: fn(&mut LagInput)| lag(change).and_then(|lag| lag.seconds);
        let unfetched = seconds(|input| input.next_record_millis = None);
        assert_eq!(unfetched, Some(40.0), "at most the time since it was drained");
        let unknown = seconds(|input| {
            input.next_record_millis = Some(-1);
            input.drained_millis = None;
        });
        assert_eq!(unknown, None);
        let broker_clock_ahead = seconds(|input| input.next_record_millis = Some(50_001));
        assert_eq!(broker_clock_ahead, Some(0.0));
    }

    #[test]
    fn a_log_that_became_shorter_is_not_negative_lag() {
        assert_eq!(lag(|input| input.end = Some(5)), Some(Lag::ZERO));
    }
}
