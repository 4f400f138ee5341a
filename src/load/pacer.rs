//! When to send what: an open model. Records are due by the schedule, whether or not the
//! ones before them went out in time; a generator that has fallen behind catches up and says
//! by how much it was behind.

use std::time::Duration;

use super::workload::Schedule;

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
}
