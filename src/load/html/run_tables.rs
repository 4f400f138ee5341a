//! The tables of a run: what it was held to, what it measured, and what it was.

use super::axis::{clock, count, millis, rate};
use super::rows::Row;
use super::table::{Cell, Table};
use crate::load::artefacts::latency::Distribution;
use crate::load::latency::meter::Stage;
use crate::load::run_file::{RunFile, RunTopic};
use crate::load::terminal::words::grouped;

const GIB: f64 = (1u64 << 30) as f64;

pub fn head(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

pub fn thresholds(run: &RunFile) -> Option<Table> {
    let row = |judged: &crate::load::threshold::Judged| {
        let value = judged.value.map(|_| judged.shown.clone());
        vec![
            Cell::text(&judged.threshold),
            Cell::Sign(judged.holds),
            value.map_or_else(|| Cell::text(&judged.shown), Cell::number),
        ]
    };
    let rows: Vec<_> = run.thresholds.iter().map(row).collect();
    let head = head(&["Threshold", "Kept", "Value"]);
    (!rows.is_empty()).then_some(Table { caption: "What the run was held to", head, rows })
}

pub fn latency(run: &RunFile) -> Option<Table> {
    let latency = run.latency.as_ref()?;
    let names = Distribution::default().percentiles().map(|(name, _)| name);
    let head =
        head(&[&["Clock", "Counted from"], &names[..], &["max", "mean", "samples"]].concat());
    let row = |name: &str, from: &str, distribution: &Distribution| {
        let shown = |value: Option<f64>| Cell::number(value.map_or("–".to_owned(), millis));
        let has_any = distribution.samples > 0;
        let mut row = vec![Cell::text(name), Cell::text(from)];
        row.extend(distribution.percentiles().map(|(_, value)| shown(value)));
        row.push(shown(has_any.then_some(distribution.max_ms)));
        row.push(shown(has_any.then_some(distribution.mean_ms)));
        row.push(Cell::count(distribution.samples));
        row
    };
    let mut rows = Vec::new();
    for stage in [Stage::Visible, Stage::Ack, Stage::Schedule] {
        let Some(clock) = latency.clock(stage) else { continue };
        rows.push(row(stage.name(), "intended time", &clock.corrected));
        rows.extend(clock.uncorrected.as_ref().map(|one| row("", "sending", one)));
    }
    Some(Table { caption: "Latency, without the warm-up", head, rows })
}

pub fn latency_notes(run: &RunFile) -> Vec<String> {
    let Some(latency) = &run.latency else { return Vec::new() };
    let mut notes = vec![
        "From the intended time is what a user would have waited; from sending leaves out what the \
         generator itself was held up. A percentile with fewer than ten measurements beyond it is –."
            .to_owned(),
    ];
    if latency.warmup_seconds > 0.0 {
        notes.push(format!("Records of the first {} s do not count.", latency.warmup_seconds));
    }
    match &latency.visible {
        None => notes.push(
            "When records became visible was not watched: the run had no --redis.".to_owned(),
        ),
        Some(visible) => {
            let mut said = Vec::new();
            if visible.poll_ms > 0.0 {
                said.push(format!("looked at every {}", millis(visible.poll_ms)));
            }
            said.extend(visible.window.as_ref().map(|window| format!("in the views of {window}")));
            if visible.one_in > 1 {
                said.push(format!("one record in {} measured", visible.one_in));
            }
            said.push(format!("{} records not seen by the end", grouped(visible.missing)));
            notes.push(format!("Visible: {}.", said.join("; ")));
        }
    }
    notes
}

pub fn timeline(rows: &[Row]) -> Table {
    let names = [
        "Until",
        "intended",
        "sent",
        "acked",
        "visible",
        "backlog",
        "behind",
        "visible p50",
        "visible p99",
        "visible max",
        "ack p99",
        "ack max",
    ];
    let row = |row: &Row| {
        let known = |value: Option<f64>, figure: fn(f64) -> String| {
            Cell::number(value.map_or("–".to_owned(), figure))
        };
        let [_, ack, visible] = &row.latency;
        let until = clock(row.to) + if row.warmup { ", warm-up" } else { "" };
        vec![
            Cell::text(until),
            known(Some(row.intended), rate),
            known(Some(row.sent), rate),
            known(Some(row.acked), rate),
            known(row.visible, rate),
            known(row.backlog, count),
            known(Some(row.behind_ms), millis),
            known(visible.p50_ms, millis),
            known(visible.p99_ms, millis),
            known(visible.max_ms, millis),
            known(ack.p99_ms, millis),
            known(ack.max_ms, millis),
        ]
    };
    Table { caption: "Over time", head: head(&names), rows: rows.iter().map(row).collect() }
}

pub fn parameters(run: &RunFile) -> Table {
    let row = |(name, value): (&String, &String)| vec![Cell::text(name), Cell::text(value)];
    let rows = run.parameters.iter().map(row).collect();
    Table { caption: "Parameters", head: head(&["Name", "Value"]), rows }
}

/// `None` where `run.json` does not say.
pub fn environment(run: &RunFile) -> Option<Table> {
    let environment = run.environment.as_ref()?;
    let memory = environment.memory_bytes.map(|bytes| format!("{:.1} GiB", bytes as f64 / GIB));
    let said = [
        ("system", Some(format!("{} {}", environment.os, environment.arch))),
        ("kernel", environment.kernel.clone()),
        ("processor", environment.cpu.clone()),
        ("processors to use", Some(environment.cpus.to_string())),
        ("memory", memory),
    ];
    let row =
        |(name, value): (&str, Option<String>)| Some(vec![Cell::text(name), Cell::text(value?)]);
    let rows = said.into_iter().filter_map(row).collect();
    Some(Table { caption: "The generator's machine", head: head(&["What", ""]), rows })
}

pub fn versions(run: &RunFile) -> Table {
    let mut rows = vec![
        vec![Cell::text("nazar-load"), Cell::text(&run.version)],
        vec![Cell::text("librdkafka"), Cell::text(&run.librdkafka)],
        vec![Cell::text("seed"), Cell::text(run.seed.to_string())],
        vec![Cell::text("digest of the stream"), Cell::text(&run.digest)],
        vec![Cell::text("lateness"), Cell::text(millis(run.rules.lateness_ms as f64))],
        vec![Cell::text("future at most"), Cell::text(millis(run.rules.max_future_ms as f64))],
        vec![Cell::text("base pane"), Cell::text(millis(run.rules.base_pane_ms as f64))],
    ];
    let topic = |topic: &RunTopic| {
        let partitions = format!("{} partitions", topic.start_offsets.len());
        vec![Cell::text(&topic.topic), Cell::text(partitions)]
    };
    rows.extend(run.topics.iter().map(topic));
    Table { caption: "Versions and rules", head: head(&["What", ""]), rows }
}
