//! The arguments of `nazar-load plan`.

use std::path::PathBuf;

use clap::Args;

use super::schedule::ScheduleArgs;
use super::traffic::TrafficArgs;
use crate::load::traffic::Traffic;

#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub schedule: ScheduleArgs,
    #[command(flatten)]
    pub traffic: TrafficArgs,
    /// The plan as JSON to this file, or to stdout in place of the text: -
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl PlanArgs {
    /// What is planned, or what is wrong with the arguments.
    pub fn traffic(&self) -> Result<Traffic, String> {
        self.traffic.traffic(&self.schedule)
    }
}
