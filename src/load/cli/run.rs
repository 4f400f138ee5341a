//! The arguments of `nazar-load run`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::measure::MeasureArgs;
use super::schedule::ScheduleArgs;
use super::traffic::TrafficArgs;
use super::{KafkaArgs, duration};
use crate::load::run::RunOptions;
use crate::load::threshold::Threshold;

#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub schedule: ScheduleArgs,
    #[command(flatten)]
    pub traffic: TrafficArgs,
    #[command(flatten)]
    pub measure: MeasureArgs,
    /// Leave what is due in the first so long out of the figures
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub warmup: Duration,
    /// Hold the run to this, may be repeated: visible.p99<2s, ack.p99.9<50ms, rate>=49k
    #[arg(long = "threshold", value_name = "METRIC<VALUE")]
    pub thresholds: Vec<Threshold>,
    /// End the run once a latency threshold has been missed for three seconds
    #[arg(long)]
    pub abort_on_fail: bool,
    /// Create the topics that do not exist, keeping records for ever
    #[arg(long)]
    pub create_topics: bool,
    /// Replicas of each created topic
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=100))]
    pub replication: i32,
    /// Where to write run.json, ledger.txt, timeline.jsonl and latency.hlog
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// run.json also to this file, or to stdout in place of the text: -
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// No progress bar
    #[arg(long)]
    pub no_progress: bool,
}

impl RunArgs {
    /// The options of the run, or what is wrong with the arguments.
    pub fn options(self) -> Result<RunOptions, String> {
        let traffic = self.traffic.traffic(&self.schedule)?;
        let mut duration = Duration::from_nanos(traffic.workload.schedule.duration_ns());
        if traffic.pace == crate::load::pacer::Pace::Unbounded {
            duration = Duration::MAX;
        }
        if self.warmup >= duration {
            return Err("the warm-up lasts as long as the run: nothing would be left".into());
        }
        Ok(RunOptions {
            cluster: self.kafka.cluster(),
            measure: self.measure.measure(traffic.pace, self.warmup, &self.thresholds)?,
            traffic,
            thresholds: self.thresholds,
            abort_on_fail: self.abort_on_fail,
            create: self.create_topics.then_some((self.traffic.partitions, self.replication)),
            out: self.out,
            progress: !self.no_progress,
        })
    }
}
