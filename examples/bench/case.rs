//! What is measured: a log, a configuration, and what is done with them.

use std::time::Duration;

use crate::log::Log;

#[derive(Clone, Debug)]
pub struct Case {
    /// Rows are kept and replaced by it.
    pub name: String,
    pub what: String,
    /// Where it stands on a curve.
    pub point: Option<Point>,
    pub log: Log,
    pub settings: Settings,
    pub work: Work,
}

/// A curve and a place on its x axis.
#[derive(Clone, Debug)]
pub struct Point {
    pub curve: &'static str,
    pub x: f64,
}

#[derive(Clone, Debug)]
pub enum Work {
    /// Ceiling and nazar in turn, each from the beginning of the log to its end.
    Backlog { runs: u32 },
    /// So many instances that share a log; until the views cover it.
    Team { instances: u32, runs: u32 },
    /// Traffic at a rate, and how soon it is visible.
    Live { rate: u64, seconds: u64 },
}

/// The daemon's configuration: a file, and what it is overridden with.
#[derive(Clone, Debug)]
pub struct Settings {
    pub file: File,
    pub sets: Vec<(&'static str, String)>,
    /// `redis.closed_keep`, which `verify` has to be told; 0 keeps all boards.
    pub closed_keep: u32,
}

#[derive(Clone, Debug)]
pub enum File {
    /// Of the repository.
    Path(&'static str),
    /// Written for the case.
    Text(String),
}

impl Case {
    /// Nothing here waits for ever: a thousandth of what any machine so far has done.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(300 + self.log.events / 10_000)
    }
}
