//! The arguments of `nazar-load top`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use url::Url;

use super::{ServerArgs, positive};
use crate::load::scrape::address;
use crate::load::top::TopOptions;
use crate::load::top::what::{Asked, BoardName};

#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// Which window, for example 1h [default: the first that the daemon keeps]
    #[arg(long, value_name = "LABEL")]
    pub window: Option<String>,
    /// A board, for example product:clicks, may be repeated [default: the first of each dimension]
    #[arg(long = "board", value_name = "DIMENSION:METRIC")]
    pub boards: Vec<BoardName>,
    /// Rows of each board; a terminal that is not high enough has fewer
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub rows: u16,
    /// How often to look
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive)]
    pub every: Duration,
    /// Show the daemon's own lag as well: http://host:9464/metrics
    #[arg(long, value_name = "URL", value_parser = address)]
    pub daemon_metrics: Option<Url>,
    /// Print one picture and end, as is done anyway where stdout is not a terminal
    #[arg(long)]
    pub once: bool,
    /// One picture as JSON to this file, or to stdout in place of the text: -
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl TopArgs {
    pub fn options(self) -> TopOptions {
        TopOptions {
            redis_url: self.server.redis,
            prefix: self.server.prefix,
            asked: Asked { window: self.window, boards: self.boards, rows: usize::from(self.rows) },
            every: self.every,
            daemon_metrics: self.daemon_metrics,
        }
    }
}
