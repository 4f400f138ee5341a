//! What is measured and what it is held to, as the commands that write take it.

use std::time::Duration;

use clap::Args;

use super::{duration, positive};
use crate::load::pacer::Pace;
use crate::load::run::Measure;
use crate::load::threshold::Threshold;
use crate::load::watch::WatchOptions;

#[derive(Clone, Debug, Args)]
pub struct MeasureArgs {
    /// Watch in this Redis when records become visible: an address as in `redis.url` of the daemon
    #[arg(long, value_name = "URL", env = "NAZAR_LOAD_REDIS", hide_env_values = true)]
    pub redis: Option<String>,
    /// The daemon's key prefix
    #[arg(long, default_value = "nazar")]
    pub prefix: String,
    /// How often to look: the resolution of `visible`
    #[arg(long, value_name = "DURATION", default_value = "50ms", value_parser = positive)]
    pub visible_poll: Duration,
    /// Visible means covered by the views of this window, for example 1h [default: of any]
    #[arg(long, value_name = "LABEL")]
    pub visible_window: Option<String>,
    /// After the last record, wait so long until everything is visible
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub visible_wait: Duration,
    /// A run is invalid if more than 1 % of its records are handed over later than this
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = positive)]
    pub max_behind: Duration,
}

impl MeasureArgs {
    /// The measurements of a run, or what is wrong with the arguments.
    pub fn measure(
        self,
        pace: Pace,
        warmup: Duration,
        thresholds: &[Threshold],
    ) -> Result<Measure, String> {
        for threshold in thresholds {
            if threshold.needs_schedule() && pace == Pace::Unbounded {
                return Err(format!("`{threshold}` needs a schedule: --profile or --rate"));
            }
            if threshold.needs_visibility() && self.redis.is_none() {
                return Err(format!("`{threshold}` needs --redis"));
            }
        }
        let watch = |redis_url| WatchOptions {
            redis_url,
            prefix: self.prefix,
            poll: self.visible_poll,
            window: self.visible_window,
            wait: self.visible_wait,
        };
        let watch = self.redis.filter(|_| pace == Pace::Scheduled).map(watch);
        Ok(Measure { watch, warmup, max_behind: self.max_behind, give_up_behind: None })
    }
}
