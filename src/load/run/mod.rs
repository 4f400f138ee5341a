//! `nazar-load run`: writes a workload, measures how it fares, and leaves the account of it.
//!
//! ```text
//!             ┌─ generator ─► blocks ─► producer (this thread) ─► Kafka
//!  schedule ──┤                             │ handed over, acknowledged
//!             └─ ticker, 1 s ◄─── meter ◄───┴─── watch: what the views in Redis cover
//! ```

mod prepare;
mod signal;
mod write;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::ensure;
use url::Url;

use super::kafka::Cluster;
use super::ledger::Ledger;
use super::run_file::{RunFile, State};
use super::threshold::{Figures, Threshold};
use super::traffic::Traffic;
use super::verdict::Verdict;
use super::verify::{Verification, VerifyOptions};
use super::watch::WatchOptions;
use prepare::{end_offsets, prepare};
pub use signal::{stop_on_signal, stop_silently_on_signal};
use write::write;

#[derive(Clone, Debug)]
pub struct RunOptions {
    pub cluster: Cluster,
    pub traffic: Traffic,
    pub measure: Measure,
    pub thresholds: Vec<Threshold>,
    /// A latency threshold that is missed for good ends the run.
    pub abort_on_fail: bool,
    /// Partitions and replicas of topics to be created; `None`: they must exist.
    pub create: Option<(u32, i32)>,
    /// Samples are taken as the run goes on, and everything is judged afterwards.
    pub verify: Option<VerifyOptions>,
    /// Where to answer Prometheus.
    pub metrics_listen: Option<String>,
    /// The daemon's metrics, for the timeline.
    pub daemon_metrics: Option<Url>,
    pub out: PathBuf,
    pub progress: bool,
    /// Say so when the topics hold other records already.
    pub expects_clean_topics: bool,
}

/// What is measured of a run with a schedule.
#[derive(Clone, Debug)]
pub struct Measure {
    /// Where records become visible, if that is to be watched.
    pub watch: Option<WatchOptions>,
    /// What is due in the first so long does not count.
    pub warmup: Duration,
    /// A record that is handed over later than this is late.
    pub max_behind: Duration,
    /// A generator that is further behind than this ends the run: it will not catch up.
    pub give_up_behind: Option<Duration>,
}

/// Writes the workload. `stop` ends it early, with an exact account of what was written.
pub fn run(options: &RunOptions, stop: &AtomicBool) -> anyhow::Result<RunFile> {
    let (mut run, traffic) = prepare(options)?;
    run.save(&options.out)?;
    if let earlier @ 1.. = run.earlier_records()
        && options.expects_clean_topics
    {
        eprintln!(
            "note: the topics hold {earlier} records already; a daemon that reads them from the \
             beginning counts those too, and `verify` expects this run alone"
        );
    }
    let mut ledger = Ledger::default();
    let written = write(options, traffic, &run.topics, stop, &mut ledger)?;
    let consumer = options.cluster.consumer()?;
    for topic in &mut run.topics {
        let count = topic.start_offsets.len() as u32;
        topic.end_offsets = end_offsets(&consumer, &topic.topic, count)?;
    }
    run.take_ledger(&ledger);
    run.parameters = written.parameters;
    run.scenario = written.scenario;
    run.state = written.state;
    run.seconds = written.elapsed.as_secs_f64();
    run.events_per_second = (ledger.records() as f64 / run.seconds.max(1e-9)).round();
    run.behind_max_ms = u64::try_from(written.behind_max.as_millis()).unwrap_or(u64::MAX);
    if let Some((latency, validity)) = written.measured {
        run.latency = Some(latency);
        run.validity = Some(validity);
    }
    conclude(&mut run, options);
    run.save(&options.out)?;
    check_offsets(&run)?;
    if let Some(verify) = &options.verify
        && run.state != State::Interrupted
    {
        let verification = match written.verification {
            Some(begun) => begun,
            None => Verification::begin(verify)?,
        };
        run.verify = Some(verification.finish(&run)?);
        conclude(&mut run, options);
        run.save(&options.out)?;
    }
    Ok(run)
}

/// Judges the thresholds and the run.
fn conclude(run: &mut RunFile, options: &RunOptions) {
    let figures = Figures {
        latency: run.latency.as_ref(),
        records_per_second: Some(run.events_per_second),
        differences: run.verify.as_ref().map(|report| report.differences.count),
    };
    run.thresholds = options.thresholds.iter().map(|one| one.judge(&figures)).collect();
    run.verdict = Some(Verdict::of(run));
}

/// The broker has as many records more as we have sent; else somebody else has written too.
fn check_offsets(run: &RunFile) -> anyhow::Result<()> {
    for topic in &run.topics {
        let grown: i64 =
            topic.end_offsets.iter().sum::<i64>() - topic.start_offsets.iter().sum::<i64>();
        let sent = topic.expected.counts.total();
        ensure!(
            u64::try_from(grown) == Ok(sent),
            "{} has grown by {grown} records, but {sent} were sent: does another producer write to it?",
            topic.topic
        );
    }
    Ok(())
}
