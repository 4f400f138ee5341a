//! Once a second, or less often in a long run: what the meter has, onto disk, onto the screen, and against the thresholds.

use std::iter::Peekable;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use indicatif::ProgressBar;

use super::artefacts::hlog::HistogramLog;
use super::artefacts::latency::{Distribution, Latency};
use super::artefacts::timeline::{Second, SecondLatency, Timeline};
use super::latency::meter::{Meter, Progress, Stage};
use super::plot::short;
use super::schedule::Times;
use super::scrape::Latest;
use super::threshold::{Figures, Threshold};

const INTERVAL: Duration = Duration::from_secs(1);
/// A run that is longer than so many intervals has longer ones: what it leaves stays at some megabytes.
const INTERVALS_MAX: u64 = 7200;
/// How soon the end is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A threshold that is missed so many times in a row is missed for good: one bad second is not yet a
/// result.
const MISSED_MAX: u32 = 3;

/// What a ticker goes by.
pub struct Rules {
    /// How long the run is meant to last.
    pub length: Duration,
    pub warmup: Duration,
    /// Those that end the run when they are missed.
    pub thresholds: Vec<Threshold>,
    /// A generator that is further behind than this ends the run as well.
    pub give_up_behind: Option<Duration>,
}

pub struct Ticker<'a> {
    meter: &'a Meter,
    rules: Rules,
    /// The times of the schedule that have not come yet.
    due: Peekable<Times>,
    timeline: Timeline,
    log: HistogramLog,
    bar: &'a ProgressBar,
    daemon: &'a Latest,
    missed: u32,
    intended: u64,
    before: Progress,
    from: Duration,
}

impl<'a> Ticker<'a> {
    pub fn new(
        meter: &'a Meter,
        rules: Rules,
        times: Times,
        directory: &Path,
        bar: &'a ProgressBar,
        daemon: &'a Latest,
    ) -> anyhow::Result<Self> {
        let started = SystemTime::now().checked_sub(meter.elapsed()).unwrap_or(SystemTime::now());
        Ok(Self {
            meter,
            rules,
            due: times.peekable(),
            timeline: Timeline::create(directory)?,
            log: HistogramLog::create(directory, started)?,
            bar,
            daemon,
            missed: 0,
            intended: 0,
            before: Progress::default(),
            from: Duration::ZERO,
        })
    }

    /// After the start. Ticks until `done`, and once more then. Sets `abort` when a threshold is missed for good.
    pub fn run(mut self, done: &AtomicBool, abort: &AtomicBool) -> anyhow::Result<()> {
        let interval = interval(self.rules.length);
        loop {
            // On whole intervals: what a tick took does not add up.
            let next = interval * (self.from.div_duration_f64(interval) as u32 + 1);
            while !done.load(Relaxed) && self.meter.elapsed() < next {
                std::thread::sleep(LOOK_EVERY);
            }
            let is_done = done.load(Relaxed);
            self.tick()?;
            if is_done {
                return Ok(());
            }
            if self.is_hopeless() {
                abort.store(true, Relaxed);
            }
        }
    }

    fn tick(&mut self) -> anyhow::Result<()> {
        let now = self.meter.elapsed();
        let now_ns = now.as_nanos() as u64;
        let mut intended = 0;
        while self.due.next_if(|&due_ns| due_ns <= now_ns).is_some() {
            intended += 1;
        }
        let behind = self.meter.take_behind();
        self.intended += intended;
        self.meter.publish(self.intended, behind);
        let progress = self.meter.progress();
        let is_watched = self.meter.pending().is_some();
        let mut distributions = [Distribution::default(); 3];
        for stage in Stage::ALL {
            let length = now - self.from;
            let mut written = Ok(());
            self.meter.recorder(stage).end_interval(|counts, all| {
                distributions[stage as usize] =
                    Distribution::of(&all.corrected, all.corrected.len());
                written = self.log.write(stage, self.from, length, counts);
            });
            written?;
        }
        let [schedule, ack, visible] = distributions;
        let second = Second {
            at_seconds: (now.as_secs_f64() * 1000.0).round() / 1000.0,
            warmup: self.from < self.rules.warmup,
            intended,
            sent: progress.sent - self.before.sent,
            acked: progress.acked - self.before.acked,
            visible: is_watched.then(|| progress.visible.saturating_sub(self.before.visible)),
            behind_ms: behind.as_secs_f64() * 1000.0,
            latency: SecondLatency { schedule, ack, visible: is_watched.then_some(visible) },
            daemon: self.daemon.lock().unwrap_or_else(PoisonError::into_inner).take(),
        };
        self.timeline.write(&second)?;
        self.show(&second, progress);
        self.before = progress;
        self.from = now;
        Ok(())
    }

    fn show(&self, second: &Second, progress: Progress) {
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
        let mut message = format!(
            "{}/s  behind {:.1} ms  ack p99 {} ms",
            short(second.sent as f64),
            second.behind_ms,
            ms(second.latency.ack.p99_ms)
        );
        if let Some(visible) = &second.latency.visible {
            message += &format!("  visible p99 {} ms", ms(visible.p99_ms));
        }
        self.bar.set_position(progress.sent);
        self.bar.set_message(message);
    }

    fn is_hopeless(&mut self) -> bool {
        if self.rules.give_up_behind.is_some_and(|limit| self.meter.behind_last() > limit) {
            return true;
        }
        if self.rules.thresholds.is_empty() {
            return false;
        }
        let latency = Latency::of(self.meter, self.rules.warmup);
        let figures = Figures { latency: Some(&latency), ..Figures::default() };
        // What is not known yet is not missed.
        let is_missed = |judged: super::threshold::Judged| judged.value.is_some() && !judged.holds;
        let missed = self.rules.thresholds.iter().any(|one| is_missed(one.judge(&figures)));
        self.missed = if missed { self.missed + 1 } else { 0 };
        self.missed >= MISSED_MAX
    }
}

/// Whole seconds.
fn interval(length: Duration) -> Duration {
    INTERVAL * u32::try_from(length.as_secs().div_ceil(INTERVALS_MAX).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_have_longer_intervals() {
        let hours = |hours: u64| interval(Duration::from_secs(hours * 3600)).as_secs();
        assert_eq!([0, 1, 2, 3, 24].map(hours), [1, 1, 1, 2, 12]);
    }
}
