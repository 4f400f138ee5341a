//! The command line of `nazar-load`: what may be said, and what follows from it.
//!
//! A file for each command; what several of them take is in [`traffic`] (what is written),
//! [`schedule`] (when), [`measure`] (what is looked at) and here (where to).

mod measure;
mod plan;
mod replay;
mod report;
mod run;
mod schedule;
mod search;
mod top;
mod traffic;
mod verify;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};

pub use plan::PlanArgs;
pub use replay::{Refusal, ReplayArgs};
pub use report::{Format, ReportArgs};
pub use run::RunArgs;
pub use search::SearchArgs;
pub use top::TopArgs;
pub use verify::VerifyArgs;

use super::clock::Rules;
use super::kafka::Cluster;
use super::threshold::Threshold;

/// Publish seeded storefront traffic to Kafka, and verify what nazar made of it.
///
/// Exit codes: 0 good, 1 error, 2 usage, 3 verify found differences, 4 a threshold was missed, 5 the
/// schedule was not held, 130 interrupted.
/// Results go to stdout, everything else to stderr.
#[derive(Debug, Parser)]
#[command(name = "nazar-load", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write deterministic traffic, and an account of what it should lead to
    Run(Box<RunArgs>),
    /// Say what a run would write, without a broker
    Plan(Box<PlanArgs>),
    /// Find the highest rate that can be sustained
    Search(Box<SearchArgs>),
    /// Send files of a real shop, and leave an account as `run` does
    Replay(Box<ReplayArgs>),
    /// Recount the log and compare with what Redis holds
    Verify(Box<VerifyArgs>),
    /// Show the views of a window as they change
    Top(TopArgs),
    /// Print the script that completes this program in a shell
    Completions {
        /// Which shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Write man pages into a directory
    Man {
        /// Made if it does not exist
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Render what a run or a search has left as a page, as text or as JSON
    Report(ReportArgs),
}

#[derive(Clone, Debug, Args)]
pub struct KafkaArgs {
    /// Kafka bootstrap servers, host:port,host:port
    #[arg(
        short,
        long,
        env = "NAZAR_LOAD_BROKERS",
        hide_env_values = true,
        default_value = "localhost:9092"
    )]
    pub brokers: String,
    /// Any librdkafka property, may be repeated
    #[arg(short = 'X', value_name = "PROPERTY=VALUE", value_parser = property)]
    pub properties: Vec<(String, String)>,
}

/// Where to read views.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// Redis, any node of a Cluster, or Sentinels, as in `redis.url` of the daemon
    #[arg(
        long,
        value_name = "URL",
        env = "NAZAR_LOAD_REDIS",
        hide_env_values = true,
        default_value = "redis://127.0.0.1:6379"
    )]
    pub redis: String,
    /// The daemon's key prefix
    #[arg(long, default_value = "nazar")]
    pub prefix: String,
}

/// What a run is held to.
#[derive(Clone, Debug, Args)]
pub struct HoldArgs {
    /// Leave what is due in the first so long out of the figures
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub warmup: Duration,
    /// Hold the run to this, may be repeated: visible.p99<2s, ack.p99.9<50ms, rate>=49k
    #[arg(long = "threshold", value_name = "METRIC<VALUE")]
    pub thresholds: Vec<Threshold>,
    /// End the run once a latency threshold has been missed for three seconds
    #[arg(long)]
    pub abort_on_fail: bool,
}

/// Topics that do not exist yet.
#[derive(Clone, Debug, Args)]
pub struct CreateArgs {
    /// Create the topics that do not exist, keeping records for ever
    #[arg(long)]
    pub create_topics: bool,
    /// Replicas of each created topic
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=100))]
    pub replication: i32,
}

impl CreateArgs {
    /// Partitions and replicas of the topics that are created, if any are.
    fn create(&self, partitions: u32) -> Option<(u32, i32)> {
        self.create_topics.then_some((partitions, self.replication))
    }
}

/// The daemon's configuration that labels follow.
#[derive(Clone, Debug, Args)]
pub struct RulesArgs {
    /// The daemon's lateness: decides what is late
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub lateness: Duration,
    /// The daemon's max_future: decides what is future, and when a gap in event time is passed
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub max_future: Duration,
    /// The daemon's base pane (greatest common divisor of its slides): decides what is late
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive)]
    pub base_pane: Duration,
}

impl RulesArgs {
    fn rules(&self) -> Rules {
        Rules {
            lateness_ms: millis(self.lateness),
            max_future_ms: millis(self.max_future),
            base_pane_ms: millis(self.base_pane),
        }
    }
}

fn property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected PROPERTY=VALUE, for example linger.ms=5".into()),
    }
}

impl KafkaArgs {
    fn cluster(self) -> Cluster {
        Cluster { brokers: self.brokers, properties: self.properties }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        duration if duration.as_millis() > 0 => Ok(duration),
        _ => Err("must be at least a millisecond".into()),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}
