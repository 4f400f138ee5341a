//! `timeline.jsonl`: what happened in each second of a run, the warm-up included.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::cut_off;
use super::latency::Distribution;

pub const FILE: &str = "timeline.jsonl";

/// One line. Counts are those since the line before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Seconds since the start, at the end of the interval.
    pub at_seconds: f64,
    /// It began in the warm-up.
    pub warmup: bool,
    /// Records that the schedule wanted, that the producer took, that the broker acknowledged, and that
    /// the views covered.
    pub intended: u64,
    pub sent: u64,
    pub acked: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visible: Option<u64>,
    /// How late the latest record was handed over.
    pub behind_ms: f64,
    /// Corrected latencies of what arrived in this interval.
    pub latency: SecondLatency,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daemon: Option<DaemonSecond>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecondLatency {
    pub schedule: Distribution,
    pub ack: Distribution,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visible: Option<Distribution>,
}

/// What the daemon's own metrics said, `null` where they did not say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DaemonSecond {
    /// Records that it could read and has not applied.
    pub lag_records: Option<f64>,
    pub lag_seconds: Option<f64>,
    /// Records applied since it was started.
    pub applied: Option<f64>,
}

pub struct Timeline {
    file: BufWriter<File>,
}

impl Timeline {
    pub fn create(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(FILE);
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { file: BufWriter::new(file) })
    }

    /// Each line is written out, so that a run that is killed leaves what it has seen.
    pub fn write(&mut self, second: &Second) -> anyhow::Result<()> {
        let line = serde_json::to_string(second).context("encode a line of the timeline")?;
        writeln!(self.file, "{line}")
            .and_then(|()| self.file.flush())
            .with_context(|| format!("write {FILE}"))
    }
}

/// The lines of a run's directory.
pub fn load(directory: &Path) -> anyhow::Result<Vec<Second>> {
    Ok(load_cut_off(directory)?.0)
}

/// The same, and whether the last line was cut off.
pub fn load_cut_off(directory: &Path) -> anyhow::Result<(Vec<Second>, bool)> {
    let path = directory.join(FILE);
    let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let (whole, is_cut_off) = cut_off(&bytes);
    let seconds = whole
        .split_inclusive(|&byte| byte == b'\n')
        .enumerate()
        .map(|(at, line)| {
            serde_json::from_slice(line)
                .with_context(|| format!("parse line {} of {}", at + 1, path.display()))
        })
        .collect::<anyhow::Result<_>>()?;
    Ok((seconds, is_cut_off))
}
