//! Reads what criterion leaves: `<group>/<function>/new/{benchmark,estimates}.json`.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::circumstances::Circumstances;
use crate::stage::Stage;

#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
    throughput: Option<Value>,
}

#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: Interval,
}

#[derive(Deserialize)]
struct Interval {
    lower_bound: f64,
    upper_bound: f64,
}

pub fn read(directory: &Path) -> anyhow::Result<Vec<Stage>> {
    let here = Circumstances::of_machine();
    let mut stages = Vec::new();
    for found in newest(directory)? {
        let read = |name: &str| std::fs::read_to_string(found.join(name));
        let reading = || format!("read {}", found.display());
        let benchmark: Benchmark =
            serde_json::from_str(&read("benchmark.json")?).with_context(reading)?;
        let estimates: Estimates =
            serde_json::from_str(&read("estimates.json")?).with_context(reading)?;
        // Time is that of one iteration, which may be of many elements.
        let elements = benchmark.throughput.as_ref().and_then(|each| each["Elements"].as_f64());
        let each = elements.unwrap_or(1.0);
        let Estimate { point_estimate, confidence_interval } = estimates.median;
        let Interval { lower_bound, upper_bound } = confidence_interval;
        stages.push(Stage {
            name: benchmark.full_id,
            per: if elements.is_some() { "element" } else { "call" }.to_owned(),
            nanoseconds: Some(point_estimate / each),
            nanoseconds_between: Some((lower_bound / each, upper_bound / each)),
            date: here.date.clone(),
            commit: here.commit.clone(),
            ..Stage::default()
        });
    }
    ensure!(!stages.is_empty(), "{} holds no result of a bench", directory.display());
    stages.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(stages)
}

/// The directories `new`, at any depth.
fn newest(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(directory)
        .with_context(|| format!("look into {}: run cargo bench first", directory.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path.join("estimates.json").is_file() && path.ends_with("new") {
            found.push(path);
        } else if path.is_dir() {
            found.extend(newest(&path)?);
        }
    }
    Ok(found)
}
