//! `nazar-load search`: the highest rate that can be sustained, as an interval.
//!
//! Each probe is a run of its own with a constant rate and a warm-up. It holds if the run is valid, every SLO
//! is kept, and the backlog (what was sent and is not visible) does not grow beyond doubt: a latency that is
//! good enough for the length of a probe but rises all the time is not sustained.

mod bisection;
pub mod report;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;

pub use bisection::{Bisection, Interval};
use report::{FORMAT, Probe, SearchReport};

use crate::load::artefacts::timeline::{self, Second};
use crate::load::plot::short;
use crate::load::run::{RunOptions, run};
use crate::load::run_file::RunFile;
use crate::load::schedule::profile::Profile;
use crate::load::schedule::{Arrivals, Schedule};
use crate::load::verdict::Verdict;

/// A backlog that grows by less than this share of the rate is not held against it: a probe is too
/// short to tell.
const GROWTH_MAX: f64 = 0.02;
/// Nor is one that grows by less than so many times the error of that figure: views are flushed now and
/// then, so backlogs go up and down by themselves.
const ERRORS_MIN: f64 = 4.0;
/// Fewer seconds have no trend.
const TREND_SECONDS_MIN: usize = 4;

#[derive(Clone, Debug)]
pub struct SearchOptions {
    /// Of a probe; its schedule is filled in, its directory is one of the search's.
    pub probe: RunOptions,
    pub arrivals: Arrivals,
    pub min: f64,
    pub max: f64,
    /// The interval is narrow enough when its ends are closer than this share.
    pub within: f64,
    /// How long each probe is measured, after its warm-up.
    pub measured: Duration,
    pub out: PathBuf,
}

/// Probes until the interval is known, `stop` is set, or a probe cannot be run.
pub fn search(options: &SearchOptions, stop: &AtomicBool) -> anyhow::Result<SearchReport> {
    let mut bisection = Bisection::new(options.min, options.max, options.within);
    let mut probes = Vec::new();
    while let Some(rate) = bisection.next().filter(|_| !stop.load(Ordering::Relaxed)) {
        let number = probes.len() as u64 + 1;
        let probe = probe(options, rate, number, stop)
            .with_context(|| format!("probe {number}, {rate} records a second"))?;
        let Some(probe) = probe else { break };
        eprintln!("{}", probe.line());
        bisection.note(rate, probe.holds);
        probes.push(probe);
    }
    let Interval { low, high, confirmed } = bisection.interval();
    let report = SearchReport {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        slos: options.probe.thresholds.iter().map(ToString::to_string).collect(),
        min: options.min,
        max: options.max,
        within: options.within,
        interrupted: stop.load(Ordering::Relaxed),
        low,
        high,
        confirmed,
        probes,
    };
    report.save(&options.out)?;
    Ok(report)
}

/// One probe; `None` if it was interrupted.
fn probe(
    options: &SearchOptions,
    rate: f64,
    number: u64,
    stop: &AtomicBool,
) -> anyhow::Result<Option<Probe>> {
    let mut probe = options.probe.clone();
    let warmup = probe.measure.warmup;
    let profile = Profile::constant(warmup + options.measured, rate);
    let workload = &mut probe.traffic.workload;
    workload.schedule = Schedule::of_profile(0, &profile).with_arrivals(options.arrivals);
    // The names of events must not come again: a daemon that drops duplicates would drop them.
    workload.seed = workload.seed.wrapping_add(number);
    probe.traffic.starts_now = true;
    probe.traffic.parameters.insert("profile".to_owned(), profile.to_string());
    let directory = format!("probe-{number:02}");
    probe.out = options.out.join(&directory);
    eprintln!("probe {number}: {}/s", short(rate));
    let run = run(&probe, stop)?;
    if Verdict::of(&run) == Verdict::Interrupted {
        return Ok(None);
    }
    let growth = backlog_growth(&timeline::load(&probe.out)?, warmup, options.measured);
    Ok(Some(judge(rate, directory, &run, growth)))
}

fn judge(rate: f64, directory: String, run: &RunFile, growth: Option<Growth>) -> Probe {
    let mut reasons: Vec<String> = Vec::new();
    let validity = run.validity.as_ref();
    reasons.extend(validity.into_iter().flat_map(|validity| validity.reasons.clone()));
    let missed = run.thresholds.iter().filter(|judged| !judged.holds);
    reasons.extend(missed.map(|judged| format!("{}: {}", judged.threshold, judged.shown)));
    if let Some(growth) = growth.filter(|growth| growth.is_certain(rate)) {
        let per_second = short(growth.per_second);
        reasons.push(format!("the backlog grew by {per_second} records a second"));
    }
    Probe {
        rate,
        holds: reasons.is_empty(),
        valid: validity.is_none_or(|validity| validity.valid),
        records: run.records,
        thresholds: run.thresholds.clone(),
        backlog_growth: growth.map(|growth| growth.per_second),
        reasons,
        directory,
    }
}

/// By how many records a second a backlog grew: the slope of the straight line that fits best, and its
/// standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Growth {
    per_second: f64,
    error: f64,
}

impl Growth {
    fn is_certain(&self, rate: f64) -> bool {
        self.per_second > (GROWTH_MAX * rate).max(ERRORS_MIN * self.error)
    }
}

/// While the probe was measured. `None` where visibility was not watched, or too short.
fn backlog_growth(seconds: &[Second], warmup: Duration, measured: Duration) -> Option<Growth> {
    let mut backlog = 0.0;
    let mut points = Vec::new();
    for second in seconds {
        backlog += second.sent as f64 - second.visible? as f64;
        let at = second.at_seconds;
        if at >= warmup.as_secs_f64() && at <= (warmup + measured).as_secs_f64() {
            points.push((at, backlog));
        }
    }
    if points.len() < TREND_SECONDS_MIN {
        return None;
    }
    let count = points.len() as f64;
    let mean_at = points.iter().map(|(at, _)| at).sum::<f64>() / count;
    let mean = points.iter().map(|(_, backlog)| backlog).sum::<f64>() / count;
    let covariance: f64 =
        points.iter().map(|(at, backlog)| (at - mean_at) * (backlog - mean)).sum();
    let variance: f64 = points.iter().map(|(at, _)| (at - mean_at).powi(2)).sum();
    let per_second = covariance / variance;
    let off = |(at, backlog): &(f64, f64)| backlog - mean - per_second * (at - mean_at);
    let squares: f64 = points.iter().map(|point| off(point).powi(2)).sum();
    let error = (squares / (count - 2.0) / variance).sqrt();
    Some(Growth { per_second, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(sent_and_visible: &[(u64, u64)]) -> Vec<Second> {
        let second = |(at, &(sent, visible)): (usize, &(u64, u64))| Second {
            at_seconds: at as f64 + 1.0,
            sent,
            visible: Some(visible),
            ..Second::default()
        };
        sent_and_visible.iter().enumerate().map(second).collect()
    }

    #[test]
    fn a_backlog_that_grows_is_seen_and_one_that_stays_is_not() {
        let growth = |of: &[(u64, u64)]| {
            backlog_growth(&seconds(of), Duration::from_secs(1), Duration::from_secs(4)).unwrap()
        };
        // A second of warm-up; what comes after the sending does not count.
        let grows = growth(&[(100, 0), (100, 80), (100, 80), (100, 80), (100, 80), (0, 180)]);
        assert!((grows.per_second - 20.0).abs() < 1e-9 && grows.is_certain(100.0), "{grows:?}");
        assert!(!grows.is_certain(1100.0), "less than two in a hundred");
        let stays = growth(&[(100, 0), (100, 100), (100, 100), (100, 100), (100, 100), (0, 100)]);
        assert!(stays.per_second.abs() < 1e-9 && !stays.is_certain(100.0), "{stays:?}");
        // Flushed every other second: it ends higher than it began, and means nothing.
        let swings = growth(&[(100, 0), (100, 170), (100, 0), (100, 160), (100, 0), (0, 170)]);
        assert!(swings.per_second > 2.0 && !swings.is_certain(100.0), "{swings:?}");
        let watched = Second { visible: None, ..Second::default() };
        assert_eq!(backlog_growth(&[watched], Duration::ZERO, Duration::from_secs(4)), None);
    }
}
