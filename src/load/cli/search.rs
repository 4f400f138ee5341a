//! The arguments of `nazar-load search`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::measure::MeasureArgs;
use super::schedule::ScheduleArgs;
use super::traffic::TrafficArgs;
use super::{CreateArgs, KafkaArgs, duration, positive};
use crate::load::pacer::Pace;
use crate::load::run::RunOptions;
use crate::load::schedule::Arrivals;
use crate::load::schedule::profile::rate;
use crate::load::search::SearchOptions;
use crate::load::threshold::Threshold;

/// A generator that is so far behind will not catch up within a probe.
const GIVE_UP_BEHIND: Duration = Duration::from_secs(3);

#[derive(Clone, Debug, Args)]
pub struct SearchArgs {
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// What has to hold, may be repeated; thresholds as of `run`: visible.p99<2s
    #[arg(long = "slo", value_name = "METRIC<VALUE", required = true)]
    pub slos: Vec<Threshold>,
    /// The least rate to try, in records a second
    #[arg(long, value_name = "RATE", default_value = "1k", value_parser = positive_rate)]
    pub min: f64,
    /// The highest rate to try
    #[arg(long, value_name = "RATE", default_value = "1M", value_parser = positive_rate)]
    pub max: f64,
    /// How close the ends of the interval have to be
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = percent)]
    pub within: f64,
    /// How long each probe is measured, after its warm-up
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = positive)]
    pub probe: Duration,
    /// How long each probe runs before it is measured
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub warmup: Duration,
    /// At equal distances, or at random as independent people come: even, poisson
    #[arg(long, value_name = "HOW", default_value_t = Arrivals::Even)]
    pub arrivals: Arrivals,
    #[command(flatten)]
    pub traffic: TrafficArgs,
    #[command(flatten)]
    pub measure: MeasureArgs,
    #[command(flatten)]
    pub topics: CreateArgs,
    /// Where to write search.json, and a directory for each probe
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// search.json also to this file, or to stdout in place of the text: -
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// No progress bar
    #[arg(long)]
    pub no_progress: bool,
}

fn positive_rate(text: &str) -> Result<f64, String> {
    match rate(text)? {
        rate if rate > 0.0 => Ok(rate),
        _ => Err("must be above 0".into()),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    let share = number.map(|number| number / 100.0).filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a percentage from 0% to 100%".into())
}

impl SearchArgs {
    /// The options of the search, or what is wrong with the arguments.
    pub fn options(self) -> Result<SearchOptions, String> {
        if self.min >= self.max {
            return Err("--min must be below --max".into());
        }
        if let Some(slo) = self.slos.iter().find(|slo| slo.needs_verification()) {
            return Err(format!("`{slo}` cannot be an SLO: probes are not verified"));
        }
        let least = (self.min * self.probe.as_secs_f64()) as u64;
        if let Some(slo) = self.slos.iter().find(|slo| slo.samples_needed() > least) {
            let needed = slo.samples_needed();
            return Err(format!(
                "`{slo}` needs {needed} records, a probe at --min has {least}: raise --min or --probe"
            ));
        }
        let schedule = ScheduleArgs::of_probe(self.arrivals);
        let traffic = self.traffic.traffic(&schedule)?;
        let mut measure = self.measure.measure(Pace::Scheduled, self.warmup, &self.slos)?;
        measure.give_up_behind = Some(GIVE_UP_BEHIND);
        let probe = RunOptions {
            cluster: self.kafka.cluster(),
            traffic,
            measure,
            thresholds: self.slos,
            abort_on_fail: true,
            create: self.topics.create(self.traffic.partitions),
            verify: None,
            metrics_listen: None,
            daemon_metrics: None,
            out: PathBuf::new(),
            progress: !self.no_progress,
            expects_clean_topics: false,
        };
        Ok(SearchOptions {
            probe,
            arrivals: self.arrivals,
            min: self.min,
            max: self.max,
            within: self.within,
            measured: self.probe,
            out: self.out,
        })
    }
}
