//! The arguments of `nazar-load run`.

use std::path::PathBuf;

use clap::Args;

use super::KafkaArgs;
use super::schedule::ScheduleArgs;
use super::traffic::TrafficArgs;
use crate::load::run::RunOptions;

#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub schedule: ScheduleArgs,
    #[command(flatten)]
    pub traffic: TrafficArgs,
    /// Create the topics that do not exist, keeping records for ever
    #[arg(long)]
    pub create_topics: bool,
    /// Replicas of each created topic
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=100))]
    pub replication: i32,
    /// Where to write run.json and ledger.txt
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// No progress bar
    #[arg(long)]
    pub no_progress: bool,
}

impl RunArgs {
    /// The options of the run, or what is wrong with the arguments.
    pub fn options(self) -> Result<RunOptions, String> {
        Ok(RunOptions {
            cluster: self.kafka.cluster(),
            traffic: self.traffic.traffic(&self.schedule)?,
            create: self.create_topics.then_some((self.traffic.partitions, self.replication)),
            out: self.out,
            progress: !self.no_progress,
        })
    }
}
