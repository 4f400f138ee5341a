//! When to send: records are due by the schedule, whether or not the ones before them went out in
//! time; a generator that has fallen behind catches up and says by how much it was behind.

use std::time::Duration;

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
    behind_max: Duration,
}

impl Pacer {
    pub fn new(pace: Pace) -> Self {
        Self { pace, behind_max: Duration::ZERO }
    }

    /// How long to wait for a record that is due so long after the start, `elapsed` after it.
    /// Zero: it is due.
    pub fn wait(&mut self, due_ns: u64, elapsed: Duration) -> Duration {
        if self.pace == Pace::Unbounded {
            return Duration::ZERO;
        }
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
        let due_ns = |n: u64| n * 10_000_000;
        let mut pacer = Pacer::new(Pace::Scheduled);
        assert_eq!(pacer.wait(due_ns(0), ms(0)), ms(0));
        assert_eq!(pacer.wait(due_ns(5), ms(20)), ms(30));
        assert_eq!(pacer.behind_max(), ms(0));
        assert_eq!(pacer.wait(due_ns(5), ms(80)), ms(0));
        // Behind once is remembered; the schedule does not move.
        assert_eq!(pacer.wait(due_ns(9), ms(85)), ms(5));
        assert_eq!(pacer.behind_max(), ms(30));
    }

    #[test]
    fn unbounded_never_waits() {
        assert_eq!(Pacer::new(Pace::Unbounded).wait(9, Duration::ZERO), Duration::ZERO);
    }
}
