//! How far a run for a period has come, for who waits for it: a line in the log now and then.

use std::time::{Duration, Instant};

use tracing::info;

use crate::pipeline::definitions::Definitions;
use crate::pipeline::handover::MergedState;
use crate::pipeline::period::Period;
use crate::time::EventTime;

const EVERY: Duration = Duration::from_secs(2);

pub struct Progress {
    /// The event times that reading begins and may end at.
    from: EventTime,
    to: EventTime,
    /// When it was said last, and the records merged by then.
    said: (Instant, u64),
}

impl Progress {
    pub fn new(period: Period, definitions: &Definitions) -> Self {
        let (from, to) = (period.read_from(definitions), period.to + definitions.lateness);
        info!(%period, "computing history");
        Self { from, to, said: (Instant::now(), 0) }
    }

    pub fn look(&mut self, merged: &MergedState) {
        let (since, before) = self.said;
        let Some(stream_time) = merged.stream_time().filter(|_| since.elapsed() >= EVERY) else {
            return;
        };
        let records = merged.records();
        let per_second = (records - before) as f64 / since.elapsed().as_secs_f64();
        self.said = (Instant::now(), records);
        let percent = percent(self.from, self.to, stream_time);
        info!(percent, records, records_per_second = per_second as u64, "computing history");
    }
}

/// How much of the way from `from` to `to` is covered at `at`.
fn percent(from: EventTime, to: EventTime, at: EventTime) -> i64 {
    let (way, covered) = ((to - from).millis().max(1), (at - from).millis());
    (i128::from(covered) * 100 / i128::from(way)).clamp(0, 100) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_by_event_time() {
        let at = EventTime::from_millis;
        let share = |millis| percent(at(1000), at(3000), at(millis));
        assert_eq!([0, 1000, 1500, 2999, 3000, 9000].map(share), [0, 0, 25, 99, 100, 100]);
        assert_eq!(percent(at(1000), at(1000), at(1000)), 0);
    }
}
