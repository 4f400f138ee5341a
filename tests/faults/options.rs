//! The command line of the harness, and what Cargo's own test runner would understand of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Faults under load, each judged by the oracle, the ledger and the time to recover.
#[derive(Debug, Parser)]
#[command(name = "faults")]
pub struct Options {
    /// Only scenarios whose name contains one of these
    pub filter: Vec<String>,
    /// The long set as well
    #[arg(long, visible_aliases = ["ignored", "include-ignored"])]
    pub all: bool,
    /// One long run with random faults instead
    #[arg(long)]
    pub soak: bool,
    /// How long to soak
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = humantime::parse_duration)]
    pub duration: Duration,
    /// Decides traffic, victims, times, and the order of a soak
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How often `kill-random` kills
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub kills: usize,
    /// How many records the log of `same-log` has
    #[arg(long, value_name = "N", default_value_t = 2_000_000)]
    pub events: u64,
    /// Scenarios at a time; by default one for --all and --soak, as they measure, else four
    #[arg(long, visible_alias = "test-threads", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Write the table there as Markdown, and beside it as JSON lines; with a filter, replace those
    /// rows of it
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Name the scenarios and end
    #[arg(long)]
    pub list: bool,
    // What people give to all test programs at once: understood, and without meaning here.
    #[arg(long, hide = true)]
    nocapture: bool,
    #[arg(long, hide = true)]
    show_output: bool,
    #[arg(long, hide = true)]
    exact: bool,
    #[arg(long, hide = true, value_name = "NAME")]
    skip: Vec<String>,
    #[arg(long, short, hide = true)]
    quiet: bool,
    #[arg(long, hide = true, value_name = "WHEN")]
    color: Option<String>,
    #[arg(long, hide = true, value_name = "FORMAT")]
    format: Option<String>,
}

impl Options {
    pub fn jobs(&self) -> usize {
        let usual = if self.all || self.soak { 1 } else { 4 };
        self.jobs.map_or(usual, usize::from)
    }
}
