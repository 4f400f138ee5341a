//! When each event is due, and what the first reading has to find out for that.

use std::time::Duration;

use super::account::Account;
use super::event::Event;
use super::source::Source;
use crate::load::schedule::profile::Profile;
use crate::load::schedule::{Schedule, Times};

const MS_NS: f64 = 1e6;
/// Steps that the rates of a replay are kept in: twice as long ones whenever there are more.
const STEPS_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pacing {
    /// As fast as the broker takes it.
    Unbounded,
    /// So many times as fast as the files' own times go.
    Speed(f64),
    /// Records per second, whatever the files' times.
    Rate(u64),
}

/// Says when one event after another is due. Never descending: an event that lies behind others in
/// event time is due with the newest of those.
pub struct Due {
    pacing: Pacing,
    times: Option<Times>,
    first_ms: Option<i64>,
    newest_ms: i64,
}

impl Due {
    pub fn new(pacing: Pacing) -> Self {
        let times = match pacing {
            Pacing::Rate(rate) => Some(Schedule::at_rate(0, rate, u64::MAX).times(0)),
            Pacing::Unbounded | Pacing::Speed(_) => None,
        };
        Self { pacing, times, first_ms: None, newest_ms: i64::MIN }
    }

    /// In nanoseconds after the start.
    pub fn of(&mut self, time_ms: i64) -> u64 {
        let first_ms = *self.first_ms.get_or_insert(time_ms);
        self.newest_ms = self.newest_ms.max(time_ms);
        match self.pacing {
            Pacing::Unbounded => 0,
            Pacing::Speed(speed) => ((self.newest_ms - first_ms) as f64 * MS_NS / speed) as u64,
            Pacing::Rate(_) => self.times.as_mut().and_then(Iterator::next).unwrap_or(u64::MAX),
        }
    }
}

/// Reads everything once: what will be sent, and by which schedule.
pub fn first_reading(source: &Source, pacing: Pacing) -> anyhow::Result<(Account, Schedule)> {
    let mut account = Account { lead_ms: i64::MIN, ..Account::default() };
    let (mut due, mut rates) = (Due::new(pacing), Rates::default());
    source.each(&mut account, &mut |Event { kind, time_ms, .. }, account| {
        account.note(*kind, *time_ms);
        let due_ns = due.of(*time_ms);
        account.lead_ms = account.lead_ms.max(time_ms - (due_ns / 1_000_000) as i64);
        rates.note(due_ns);
        std::ops::ControlFlow::Continue(())
    })?;
    let first_ms = account.first_ms.unwrap_or_default();
    let last_ms = account.last_ms.unwrap_or_default();
    let schedule = match pacing {
        Pacing::Unbounded => Schedule::over_span(last_ms, last_ms - first_ms, account.events),
        Pacing::Rate(rate) => Schedule::at_rate(first_ms, rate, account.events),
        Pacing::Speed(_) => Schedule::of_profile(first_ms, &rates.profile()),
    };
    Ok((account, schedule))
}

/// Events that are due, by steps of seconds.
struct Rates {
    step_s: u64,
    counts: Vec<u64>,
}

impl Default for Rates {
    fn default() -> Self {
        Self { step_s: 1, counts: Vec::new() }
    }
}

impl Rates {
    fn note(&mut self, due_ns: u64) {
        let second = due_ns / 1_000_000_000;
        while second / self.step_s >= STEPS_MAX as u64 {
            self.step_s *= 2;
            self.counts = self.counts.chunks(2).map(|pair| pair.iter().sum()).collect();
        }
        let step = (second / self.step_s) as usize;
        if self.counts.len() <= step {
            self.counts.resize(step + 1, 0);
        }
        self.counts[step] += 1;
    }

    fn profile(&self) -> Profile {
        let step = Duration::from_secs(self.step_s);
        Profile::of_steps(step, self.counts.iter().map(|&count| count as f64 / self.step_s as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(pacing: Pacing, times_ms: &[i64]) -> Vec<u64> {
        let mut due = Due::new(pacing);
        times_ms.iter().map(|&time_ms| due.of(time_ms) / 1_000_000).collect()
    }

    #[test]
    fn the_files_times_pace_it_and_what_lies_behind_waits_for_nobody() {
        //  file   5.0 s   5.1 s   4.0 s   6.0 s
        //  at 2×  0       50 ms   50 ms   500 ms
        let times = [5000, 5100, 4000, 6000];
        assert_eq!(due(Pacing::Speed(2.0), &times), [0, 50, 50, 500]);
        assert_eq!(due(Pacing::Speed(0.5), &times), [0, 200, 200, 2000]);
        assert_eq!(due(Pacing::Rate(10), &times), [0, 100, 200, 300]);
        assert_eq!(due(Pacing::Unbounded, &times), [0; 4]);
    }

    #[test]
    fn long_replays_are_summed_up_in_longer_steps() {
        let mut rates = Rates::default();
        let events = 3 * STEPS_MAX as u64;
        (0..events).for_each(|second| rates.note(second * 1_000_000_000));
        assert_eq!((rates.step_s, rates.counts.iter().sum::<u64>()), (4, events));
        assert!(rates.counts.iter().all(|&count| count == 4));
        let schedule = Schedule::of_profile(0, &rates.profile());
        assert_eq!((schedule.records(), schedule.duration_ns()), (events, events * 1_000_000_000));
    }
}
