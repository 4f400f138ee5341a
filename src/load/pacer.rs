//! When to send what: an open model. Records are due by the schedule, whether or not the
//! ones before them went out in time; a generator that has fallen behind catches up and says
//! by how much it was behind.

use std::time::Duration;

/// When records are due: the `n`-th at `start + n × span / per`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub start_ms: i64,
    pub span_ns: u64,
    /// Records in one span; at least 1.
    pub per: u64,
    /// Where it ends; may be endless (`u64::MAX`).
    pub records: u64,
}

impl Schedule {
    /// `per_second` records each second from `start_ms` on.
    pub fn at_rate(start_ms: i64, per_second: u64, records: u64) -> Self {
        Self { start_ms, span_ns: 1_000_000_000, per: per_second.max(1), records }
    }

    /// `records` spread evenly over the span that ends at `end_ms`.
    pub fn over_span(end_ms: i64, span_ms: i64, records: u64) -> Self {
        let span_ns = u64::try_from(span_ms).unwrap_or(0).saturating_mul(1_000_000);
        Self { start_ms: end_ms - span_ms, span_ns, per: records.max(1), records }
    }

    /// Nanoseconds from the start to the `n`-th record.
    pub fn offset_ns(&self, n: u64) -> u128 {
        u128::from(n) * u128::from(self.span_ns) / u128::from(self.per)
    }

    pub fn time_ms(&self, n: u64) -> i64 {
        let offset_ms = self.offset_ns(n) / 1_000_000;
        self.start_ms.saturating_add(i64::try_from(offset_ms).unwrap_or(i64::MAX / 4))
    }
}

/// How a run is paced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as the broker takes it: the schedule gives event times only.
    Unbounded,
    /// By the schedule.
    Scheduled,
}

#[derive(Clone, Copy, Debug)]
pub struct Pacer {
    pace: Pace,
    schedule: Schedule,
    behind_max: Duration,
}

impl Pacer {
    pub fn new(pace: Pace, schedule: Schedule) -> Self {
        Self { pace, schedule, behind_max: Duration::ZERO }
    }

    /// How long to wait before record `n`, `elapsed` after the start. Zero: it is due.
    pub fn wait(&mut self, n: u64, elapsed: Duration) -> Duration {
        if self.pace == Pace::Unbounded {
            return Duration::ZERO;
        }
        let due_ns = u64::try_from(self.schedule.offset_ns(n)).unwrap_or(u64::MAX);
        let due = Duration::from_nanos(due_ns);
        self.behind_max = self.behind_max.max(elapsed.saturating_sub(due));
        due.saturating_sub(elapsed)
    }

    /// How far behind its schedule the run has been at worst.
    pub fn behind_max(&self) -> Duration {
        self.behind_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_for_the_schedule_and_never_for_the_past() {
        let ms = Duration::from_millis;
        let mut pacer = Pacer::new(Pace::Scheduled, Schedule::at_rate(0, 100, u64::MAX));
        assert_eq!(pacer.wait(0, ms(0)), ms(0));
        assert_eq!(pacer.wait(5, ms(20)), ms(30));
        assert_eq!(pacer.behind_max(), ms(0));
        assert_eq!(pacer.wait(5, ms(80)), ms(0));
        // Behind once is remembered; the schedule does not move.
        assert_eq!(pacer.wait(9, ms(85)), ms(5));
        assert_eq!(pacer.behind_max(), ms(30));
    }

    #[test]
    fn unbounded_never_waits() {
        let mut pacer = Pacer::new(Pace::Unbounded, Schedule::at_rate(0, 1, 10));
        assert_eq!(pacer.wait(9, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn the_schedule_is_even_and_exact() {
        let schedule = Schedule::over_span(7_200_000, 7_200_000, 3);
        assert_eq!([0, 1, 2].map(|n| schedule.time_ms(n)), [0, 2_400_000, 4_800_000]);
        let schedule = Schedule::at_rate(5, 300, u64::MAX);
        assert_eq!([0, 1, 3, 300].map(|n| schedule.time_ms(n)), [5, 8, 15, 1005]);
        // Far out it saturates instead of wrapping.
        assert!(schedule.time_ms(u64::MAX) > 0);
    }
}
