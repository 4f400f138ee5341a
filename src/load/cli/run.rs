//! The arguments of `nazar-load run`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use url::Url;

use super::measure::MeasureArgs;
use super::schedule::ScheduleArgs;
use super::traffic::TrafficArgs;
use super::{CreateArgs, HoldArgs, KafkaArgs, duration, positive};
use crate::load::compare::KEPT;
use crate::load::run::RunOptions;
use crate::load::scrape::address;
use crate::load::verify::VerifyOptions;

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
    #[command(flatten)]
    pub hold: HoldArgs,
    /// Verify afterwards, as `verify` does, and let the result decide as well; needs --redis
    #[arg(long, requires = "redis")]
    pub verify: bool,
    /// Samples of the latest views that are kept of the run, to be verified with the rest
    #[arg(long, value_name = "N", default_value_t = 20, requires = "verify")]
    pub verify_samples: u64,
    /// Time between two samples, at first
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = positive, requires = "verify")]
    pub verify_every: Duration,
    /// Wait so long at most until the daemon has published everything
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration, requires = "verify")]
    pub verify_wait: Duration,
    /// Answer Prometheus here while the run goes on; port 0 takes a free one and says which
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics_listen: Option<String>,
    /// Note the daemon's own lag and progress in the timeline: http://host:9464/metrics
    #[arg(long, value_name = "URL", value_parser = address)]
    pub daemon_metrics: Option<Url>,
    #[command(flatten)]
    pub topics: CreateArgs,
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
        if self.hold.warmup >= duration {
            return Err("the warm-up lasts as long as the run: nothing would be left".into());
        }
        if !self.verify
            && let Some(threshold) =
                self.hold.thresholds.iter().find(|one| one.needs_verification())
        {
            return Err(format!("`{threshold}` needs --verify"));
        }
        let cluster = self.kafka.cluster();
        let redis_url = self.measure.redis.clone().filter(|_| self.verify);
        let verify = redis_url.map(|redis_url| VerifyOptions {
            directory: self.out.clone(),
            cluster: cluster.clone(),
            redis_url,
            prefix: self.measure.prefix.clone(),
            definitions: None,
            from_start: false,
            daemon_json: None,
            latest_samples: self.verify_samples,
            every: self.verify_every,
            wait: self.verify_wait,
            closed_keep: None,
            differences: KEPT,
        });
        Ok(RunOptions {
            cluster,
            measure: self.measure.measure(traffic.pace, self.hold.warmup, &self.hold.thresholds)?,
            traffic,
            thresholds: self.hold.thresholds,
            abort_on_fail: self.hold.abort_on_fail,
            create: self.topics.create(self.traffic.partitions),
            verify,
            metrics_listen: self.metrics_listen,
            daemon_metrics: self.daemon_metrics,
            out: self.out,
            progress: !self.no_progress,
            expects_clean_topics: true,
        })
    }
}
