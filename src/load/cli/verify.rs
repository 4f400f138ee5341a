//! The arguments of `nazar-load verify`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{KafkaArgs, ServerArgs, duration};
use crate::load::compare::KEPT;
use crate::load::verify::VerifyOptions;

#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// The --out directory of a run
    pub directory: PathBuf,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    #[command(flatten)]
    pub server: ServerArgs,
    /// Read the definitions from a JSON file instead of {prefix}:schema
    #[arg(long, value_name = "FILE")]
    pub definitions: Option<PathBuf>,
    /// Read each partition from the beginning of its log, not from where the run began
    #[arg(long)]
    pub from_start: bool,
    /// The daemon's JSON result line; its ledger is compared as well
    #[arg(long, value_name = "FILE")]
    pub daemon_json: Option<PathBuf>,
    /// First take N samples of the latest views while the daemon runs, and judge them afterwards
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub latest_samples: u64,
    /// Time between two samples
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub every: Duration,
    /// Wait so long at most until the daemon has published the whole log, and as long until it has closed what is due
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub wait: Duration,
    /// Closed boards kept per window, 0 for all [default: as the definitions say, else all]
    #[arg(long, value_name = "N")]
    pub closed_keep: Option<usize>,
    /// Name so many differences; all are counted
    #[arg(long, value_name = "N", default_value_t = KEPT)]
    pub differences: usize,
    /// The report as JSON on stdout (text otherwise)
    #[arg(long)]
    pub json: bool,
}

impl VerifyArgs {
    pub fn options(self) -> VerifyOptions {
        VerifyOptions {
            directory: self.directory,
            cluster: self.kafka.cluster(),
            redis_url: self.server.redis,
            prefix: self.server.prefix,
            definitions: self.definitions,
            from_start: self.from_start,
            daemon_json: self.daemon_json,
            latest_samples: self.latest_samples,
            every: self.every,
            wait: self.wait,
            closed_keep: self.closed_keep,
            differences: self.differences,
        }
    }
}
