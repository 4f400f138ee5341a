//! Figures of one stage by itself: time from criterion, instructions from callgrind; and of memory. Each
//! replaces the earlier figures of its name.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::row::{read_lines, write_lines};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub name: String,
    /// Of what one counts: `element` as the bench says, or `event`, `cell`, ….
    pub per: String,
    /// The median.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nanoseconds: Option<f64>,
    /// Its confidence interval, 95 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nanoseconds_between: Option<(f64, f64)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<f64>,
    /// Of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<f64>,
    pub date: String,
    pub commit: String,
}

pub fn path(docs: &Path) -> PathBuf {
    docs.join("performance/stages.jsonl")
}

pub fn replace(docs: &Path, new: Vec<Stage>) -> anyhow::Result<()> {
    let path = path(docs);
    let mut all: Vec<Stage> = read_lines(&path)?;
    for stage in new {
        match all.iter_mut().find(|known| known.name == stage.name) {
            Some(known) => *known = stage,
            None => all.push(stage),
        }
    }
    write_lines(&path, &all)
}
