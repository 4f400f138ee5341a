//! `PERFORMANCE.md` and its plots, from what was measured.
//!
//! The page is written by hand but for what stands between a pair of markers,
//!
//! ```text
//! <!-- measured: ratios -->
//! …
//! <!-- end of ratios -->
//! ```
//!
//! which is replaced. So what was tried and where the time goes is kept, beside figures that nobody
//! copies. What was not measured yet is said to be so.

mod curves;
mod peers;
mod places;
mod ratios;
mod sections;
mod stages;
mod stats;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;

use crate::row::{self, Row};
use crate::stage::{self, Stage};
use peers::Peers;

/// Everything that is rendered.
pub struct Measured {
    pub rows: Vec<Row>,
    pub stages: Vec<Stage>,
    pub peers: Peers,
}

impl Measured {
    fn of<'a>(&'a self, case: &'a str, program: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.case == case && row.program == program)
    }
}

pub fn write(docs: &Path) -> anyhow::Result<()> {
    let page = docs.join("PERFORMANCE.md");
    let text = std::fs::read_to_string(&page)
        .with_context(|| format!("read {}, whose figures are renewed", page.display()))?;
    let measured = Measured {
        rows: row::read_lines(&row::path(docs))?,
        stages: row::read_lines(&stage::path(docs))?,
        peers: Peers::here()?,
    };
    for (name, svg) in curves::plots(&measured) {
        row::write_whole(&docs.join(format!("performance/{name}.svg")), &svg)?;
    }
    row::write_whole(&page, &places::filled(&text, &parts(&measured))?)
}

/// What goes between which markers.
fn parts(measured: &Measured) -> BTreeMap<&'static str, String> {
    let mut parts = BTreeMap::from([
        ("circumstances", sections::circumstances(measured)),
        ("ratios", ratios::table(measured)),
        ("peers", peers::table(measured)),
        ("freshness", sections::freshness(measured)),
        ("memory", sections::memory(measured)),
        ("stages", stages::table(measured)),
        ("footprint", stages::footprint(measured)),
    ]);
    parts.extend(curves::sections(measured));
    parts
}

/// A table of Markdown.
fn table(head: &[&str], lines: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>());
    text += &format!("|{}\n", "---|".repeat(head.len()));
    for cells in lines {
        text += &line(&cells);
    }
    text
}

const NOT_MEASURED: &str = "Not measured yet.\n";

#[cfg(test)]
mod tests;
