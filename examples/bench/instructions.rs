//! Instructions per event of each stage, as callgrind counts them: the same on a busy machine.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::circumstances::Circumstances;
use crate::stage::Stage;

/// Of `examples/stages.rs`.
const STAGES: [&str; 10] = [
    "decode",
    "gather",
    "hand-over",
    "encode",
    "restore",
    "merge",
    "close",
    "views",
    "distinct",
    "keys",
];

#[derive(Deserialize)]
struct Line {
    per: String,
    count: u64,
}

pub fn count(programs: &Path, events: u64) -> anyhow::Result<Vec<Stage>> {
    let here = Circumstances::of_machine();
    let program = programs.join("examples/stages");
    ensure!(program.is_file(), "{} is not there: build it first", program.display());
    STAGES
        .into_iter()
        .map(|stage| {
            let (line, instructions) = count_stage(&program, stage, events)?;
            ensure!(line.count > 0, "the stage {stage} was not run");
            let each = instructions as f64 / line.count as f64;
            eprintln!("{stage:<12}{each:>12.0} instructions per {}", line.per);
            Ok(Stage {
                name: format!("instructions/{stage}"),
                per: line.per,
                instructions: Some(each),
                date: here.date.clone(),
                commit: here.commit.clone(),
                ..Stage::default()
            })
        })
        .collect()
}

fn count_stage(program: &Path, stage: &str, events: u64) -> anyhow::Result<(Line, u64)> {
    let directory = tempfile::tempdir()?;
    let out = directory.path().join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=stages::counted*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args([stage, &events.to_string()])
        .stdin(Stdio::null())
        .output()
        .context("start valgrind; is it installed?")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "valgrind could not run {stage}: {stderr}");
    let line = serde_json::from_slice(&output.stdout).context("read what the stage has printed")?;
    let text = std::fs::read_to_string(&out).context("read what callgrind has written")?;
    let total = text.lines().find_map(|line| line.strip_prefix("summary: "));
    let total = total.and_then(|total| total.trim().parse().ok());
    Ok((line, total.context("callgrind has written no summary")?))
}
