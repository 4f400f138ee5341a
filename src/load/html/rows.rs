//! What is drawn over time: the lines of the timeline as rates, as few as a picture can show.

use crate::load::artefacts::latency::Distribution;
use crate::load::artefacts::timeline::Second;

/// More do not fit side by side; neighbours are joined until they do.
const ROWS_MAX: usize = 300;
/// The last line of a run is as long as the run had left. One that is shorter than this share of the
/// others is joined with the one before it: a rate needs a time to be measured over.
const SHORT: f64 = 0.5;

/// A stretch of a run. Rates are in records per second; latencies of joined lines are the worst of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub from: f64,
    pub to: f64,
    pub warmup: bool,
    pub intended: f64,
    pub sent: f64,
    pub acked: f64,
    pub visible: Option<f64>,
    /// Records sent and not visible at the end of it.
    pub backlog: Option<f64>,
    pub behind_ms: f64,
    /// By clock: schedule, ack, visible.
    pub latency: [Quantiles; 3],
    pub lag_records: Option<f64>,
    pub lag_seconds: Option<f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantiles {
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub max_ms: Option<f64>,
}

pub fn rows(seconds: &[Second]) -> Vec<Row> {
    let mut counted = counts(seconds);
    if let [.., before, last] = counted.as_slice()
        && last.to - last.from < SHORT * (before.to - before.from)
        && let Some(last) = counted.pop()
        && let Some(before) = counted.last_mut()
    {
        let at_the_end = last.backlog;
        before.join(last);
        before.backlog = at_the_end;
    }
    let at_once = counted.len().div_ceil(ROWS_MAX).max(1);
    counted.chunks(at_once).filter_map(joined).collect()
}

/// The most records that were sent and not visible at the end of a line; `None`: not watched.
pub fn backlog_max(seconds: &[Second]) -> Option<f64> {
    counts(seconds).iter().filter_map(|row| row.backlog).reduce(f64::max)
}

fn joined(rows: &[Row]) -> Option<Row> {
    let (first, others) = rows.split_first()?;
    let mut joined = first.clone();
    others.iter().for_each(|row| joined.join(row.clone()));
    let seconds = joined.to - joined.from;
    for count in [&mut joined.intended, &mut joined.sent, &mut joined.acked] {
        *count /= seconds;
    }
    joined.visible = joined.visible.map(|count| count / seconds);
    Some(joined)
}

/// With counts in place of rates. A line that does not come after the one before it is left out.
fn counts(seconds: &[Second]) -> Vec<Row> {
    let (mut from, mut backlog) = (0.0, 0.0);
    let mut rows = Vec::new();
    for second in seconds {
        backlog += second.sent as f64 - second.visible.unwrap_or(0) as f64;
        if !second.at_seconds.is_finite() || second.at_seconds <= from {
            continue;
        }
        let daemon = second.daemon.unwrap_or_default();
        let latency = &second.latency;
        rows.push(Row {
            from,
            to: second.at_seconds,
            warmup: second.warmup,
            intended: second.intended as f64,
            sent: second.sent as f64,
            acked: second.acked as f64,
            visible: second.visible.map(|count| count as f64),
            backlog: second.visible.map(|_| backlog.max(0.0)),
            behind_ms: second.behind_ms,
            latency: [
                Quantiles::of(Some(&latency.schedule)),
                Quantiles::of(Some(&latency.ack)),
                Quantiles::of(latency.visible.as_ref()),
            ],
            lag_records: daemon.lag_records,
            lag_seconds: daemon.lag_seconds,
        });
        from = second.at_seconds;
    }
    rows
}

impl Row {
    /// Takes in what came after it.
    fn join(&mut self, later: Row) {
        self.to = later.to;
        self.intended += later.intended;
        self.sent += later.sent;
        self.acked += later.acked;
        let sum = |one: f64, other: f64| one + other;
        self.visible = either(self.visible, later.visible, sum);
        self.backlog = either(self.backlog, later.backlog, f64::max);
        self.behind_ms = self.behind_ms.max(later.behind_ms);
        self.lag_records = either(self.lag_records, later.lag_records, f64::max);
        self.lag_seconds = either(self.lag_seconds, later.lag_seconds, f64::max);
        for (here, there) in self.latency.iter_mut().zip(later.latency) {
            here.p50_ms = either(here.p50_ms, there.p50_ms, f64::max);
            here.p99_ms = either(here.p99_ms, there.p99_ms, f64::max);
            here.max_ms = either(here.max_ms, there.max_ms, f64::max);
        }
    }
}

impl Quantiles {
    fn of(distribution: Option<&Distribution>) -> Self {
        let Some(distribution) = distribution.filter(|one| one.samples > 0) else {
            return Self::default();
        };
        Self {
            p50_ms: distribution.p50_ms,
            p99_ms: distribution.p99_ms,
            max_ms: Some(distribution.max_ms),
        }
    }
}

fn either(one: Option<f64>, other: Option<f64>, both: impl Fn(f64, f64) -> f64) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(both(one, other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at_seconds: f64, sent: u64) -> Second {
        Second {
            at_seconds,
            sent,
            visible: Some(sent / 2),
            behind_ms: at_seconds,
            ..Second::default()
        }
    }

    #[test]
    fn counts_become_rates_over_the_time_they_took() {
        let rows = rows(&[second(1.0, 100), second(3.0, 100), second(3.1, 20)]);
        let rates: Vec<f64> = rows.iter().map(|row| row.sent).collect();
        // The last tenth of a second is no stretch of its own.
        assert_eq!((rates[0], rates.len()), (100.0, 2));
        assert!((rates[1] - 120.0 / 2.1).abs() < 1e-9);
        assert_eq!(rows[1].backlog, Some(110.0));
        let caught_up = Second { visible: Some(150), ..second(3.1, 20) };
        let lines = [second(1.0, 100), second(3.0, 100), caught_up];
        assert_eq!(super::rows(&lines)[1].backlog, Some(0.0), "what is left at the end");
        assert_eq!(backlog_max(&lines), Some(100.0));
    }

    #[test]
    fn a_long_run_is_thinned_and_keeps_its_worst_moments() {
        let mut lines: Vec<Second> = (1..=1000).map(|at| second(f64::from(at), 50)).collect();
        lines[500].behind_ms = 1e6;
        let rows = rows(&lines);
        assert!(rows.len() <= ROWS_MAX, "{}", rows.len());
        assert!(rows.iter().all(|row| (row.sent - 50.0).abs() < 1e-9));
        assert_eq!(rows.iter().filter(|row| row.behind_ms == 1e6).count(), 1);
        assert_eq!(rows.last().unwrap().to, 1000.0);
    }

    #[test]
    fn lines_that_go_back_are_left_out() {
        let lines = [second(1.0, 9), second(1.0, 9), second(f64::NAN, 9), second(-4.0, 9)];
        assert_eq!(rows(&lines).len(), 1);
        assert_eq!(rows(&[]), []);
    }
}
