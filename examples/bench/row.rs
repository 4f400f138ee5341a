//! One run, as a line of JSON; and the file of all runs, where a case replaces its own rows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::circumstances::Circumstances;
use crate::measured::Spent;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub case: String,
    /// On which curve it is a point, if any, and where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<f64>,
    pub round: u32,
    /// `ceiling` or `nazar`.
    pub program: String,
    pub events: u64,
    /// Event time that the log spans.
    pub span_seconds: u64,
    /// From the start of the process until its work was done: everything read, or readable.
    pub seconds: f64,
    /// The sum over all instances; memory is that of the largest.
    pub spent: Spent,
    /// Of several instances each; the first one leads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instances: Vec<Spent>,
    /// Of the broker and of Redis, during the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker_processor_seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis_processor_seconds: Option<f64>,
    /// Of the last minute, when the run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_average: Option<f64>,
    /// What `nazar-load verify` said of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// What only some cases measure.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<String, f64>,
    pub circumstances: Circumstances,
}

/// How much was compared, and that nothing differed: else there would be no row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    pub differences: u64,
    /// Closed ones, and pictures of latest ones.
    pub windows: u64,
    pub members: u64,
    pub distinct_counts: u64,
}

impl Row {
    pub fn of(case: &Case, program: &str, round: u32) -> Self {
        Self {
            case: case.name.clone(),
            curve: case.point.as_ref().map(|point| point.curve.to_owned()),
            x: case.point.as_ref().map(|point| point.x),
            round,
            program: program.to_owned(),
            events: case.log.events,
            span_seconds: case.log.span_secs,
            load_average: load_average(),
            ..Self::default()
        }
    }

    pub fn events_per_second(&self) -> f64 {
        self.events as f64 / self.seconds
    }

    pub fn processor_seconds_per_million(&self) -> f64 {
        self.spent.processor_seconds() / self.events as f64 * 1e6
    }

    /// A line for whoever watches.
    pub fn text(&self) -> String {
        format!(
            "  {:<8}{:>10.0} events/s, {:.3} processor seconds per million events, {} MiB",
            self.program,
            self.events_per_second(),
            self.processor_seconds_per_million(),
            self.spent.peak_rss_bytes >> 20,
        )
    }
}

fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

pub fn path(docs: &Path) -> PathBuf {
    docs.join("performance/runs.jsonl")
}

/// Puts the rows of a case in the place of its earlier ones; other cases stay as they are.
pub fn replace(docs: &Path, case: &str, rows: Vec<Row>) -> anyhow::Result<()> {
    let path = path(docs);
    let mut all: Vec<Row> = read_lines(&path)?;
    let place = all.iter().position(|row| row.case == case).unwrap_or(all.len());
    all.retain(|row| row.case != case);
    let place = place.min(all.len());
    all.splice(place..place, rows);
    write_lines(&path, &all)
}

/// The lines of a file; none, if there is no such file yet.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let line = |(number, line)| {
        serde_json::from_str(line)
            .with_context(|| format!("parse line {} of {}", number + 1, path.display()))
    };
    text.lines().enumerate().map(line).collect()
}

/// The file is replaced as a whole: whoever interrupts finds the old one.
pub fn write_lines<T: Serialize>(path: &Path, rows: &[T]) -> anyhow::Result<()> {
    let mut text = String::new();
    for row in rows {
        text += &serde_json::to_string(row)?;
        text.push('\n');
    }
    write_whole(path, &text)
}

pub fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, path))
        .with_context(|| format!("write {}", path.display()))
}
