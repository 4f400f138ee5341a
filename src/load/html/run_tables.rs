//! The tables of a run.

use std::collections::BTreeMap;

use super::axis::{clock, count, millis, rate};
use super::rows::Row;
use super::table::{Cell, Table, grouped};
use crate::load::artefacts::latency::Distribution;
use crate::load::kind::Reason;
use crate::load::latency::meter::Stage;
use crate::load::ledger::Counts;
use crate::load::report::VerifyReport;
use crate::load::run_file::{RunFile, RunTopic};

const GIB: f64 = (1u64 << 30) as f64;

fn head(names: &[&str]) -> Vec<String> {
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

/// What was meant to be written, and what the log holds.
pub fn ledger(run: &RunFile) -> Table {
    let is_verified = run.verify.is_some();
    let mut head = vec!["Records".to_owned()];
    for topic in &run.topics {
        head.push(format!("{} expected", topic.topic));
        if is_verified {
            head.push("counted".to_owned());
        }
    }
    let mut rows = Vec::new();
    for reason in Reason::ALL {
        let mut row = vec![Cell::text(reason.name())];
        for topic in &run.topics {
            row.push(Cell::count(topic.expected.counts[reason]));
            if is_verified {
                let counted = counted(run, topic).map(|counts| counts[reason]);
                let wanted = wanted(run, topic)[reason];
                row.push(compared(counted, wanted));
            }
        }
        rows.push(row);
    }
    rows.push(sums(run, is_verified));
    Table { caption: "What became of the records, by reason and topic", head, rows }
}

fn sums(run: &RunFile, is_verified: bool) -> Vec<Cell> {
    let mut row = vec![Cell::text("total")];
    for topic in &run.topics {
        let total = saturating_total(&topic.expected.counts);
        row.push(Cell::count(total));
        if is_verified {
            let counted = counted(run, topic).map(|counts| saturating_total(&counts));
            row.push(compared(counted, total));
        }
    }
    row
}

/// Figures of a file may be anything.
fn saturating_total(counts: &Counts) -> u64 {
    Reason::ALL.iter().map(|&reason| counts[reason]).fold(0, u64::saturating_add)
}

fn compared(counted: Option<u64>, wanted: u64) -> Cell {
    match counted {
        None => Cell::Wrong("not consumed".to_owned()),
        Some(counted) if counted == wanted => Cell::count(counted),
        Some(counted) => Cell::Wrong(grouped(counted)),
    }
}

fn counted(run: &RunFile, topic: &RunTopic) -> Option<Counts> {
    let topics = &run.verify.as_ref()?.topics;
    topics.iter().find(|read| read.topic == topic.topic).map(|read| read.counts)
}

/// What should have been counted: a daemon that does not look for duplicates applies them.
fn wanted(run: &RunFile, topic: &RunTopic) -> Counts {
    let expected = topic.expected.counts;
    match counted(run, topic) {
        Some(counted) if is_applied(&counted, &expected) => Counts {
            applied: expected.applied.saturating_add(expected.duplicate),
            duplicate: 0,
            ..expected
        },
        _ => expected,
    }
}

fn is_applied(counted: &Counts, expected: &Counts) -> bool {
    counted.duplicate == 0 && counted.applied == expected.applied.saturating_add(expected.duplicate)
}

pub fn ledger_notes(run: &RunFile) -> Vec<String> {
    let mut notes = Vec::new();
    let are_applied = run.topics.iter().any(|topic| {
        let expected = topic.expected.counts;
        expected.duplicate > 0
            && counted(run, topic).is_some_and(|counted| is_applied(&counted, &expected))
    });
    if are_applied {
        notes.push(
            "Duplicates are counted as applied: the daemon was not asked to look for them."
                .to_owned(),
        );
    }
    for topic in run.topics.iter().filter(|topic| !topic.end_offsets.is_empty()) {
        let sum = |offsets: &[i64]| offsets.iter().fold(0i64, |sum, &one| sum.saturating_add(one));
        let grown = sum(&topic.end_offsets).saturating_sub(sum(&topic.start_offsets));
        let written = saturating_total(&topic.expected.counts);
        if u64::try_from(grown) != Ok(written) {
            notes.push(format!(
                "✗ {} has grown by {grown} records by the broker's offsets, but {written} were sent.",
                topic.topic
            ));
        }
    }
    let reordered = run.topics.iter().map(|topic| topic.expected.reordered);
    let reordered = reordered.fold(0, u64::saturating_add);
    if reordered > 0 {
        notes.push(format!("Of applied, {} were written out of order.", grouped(reordered)));
    }
    let mut ways: BTreeMap<&str, u64> = BTreeMap::new();
    for (way, &count) in run.topics.iter().flat_map(|topic| &topic.expected.malformed_by) {
        let sum = ways.entry(way).or_default();
        *sum = sum.saturating_add(count);
    }
    if !ways.is_empty() {
        let ways = ways.iter().map(|(way, &count)| format!("{way} {}", grouped(count)));
        let ways: Vec<String> = ways.collect();
        notes.push(format!("Malformed by: {}.", ways.join(", ")));
    }
    if run.verify.is_none() {
        notes.push(
            "Expected is what the generator wrote under each label; nothing has counted it again."
                .to_owned(),
        );
    }
    notes
}

pub fn views(report: &VerifyReport) -> Table {
    let head = head(&["Views", "", "windows", "boards", "members", "distinct counts"]);
    let mut rows = Vec::new();
    let mut pair = |name: &str,
                    demanded: &crate::load::compare::Tally,
                    found: &crate::load::compare::Tally| {
        let of = |one: &crate::load::compare::Tally| {
            [one.windows, one.boards, one.members, one.sketches]
        };
        let mut row = vec![Cell::text(name), Cell::text("demanded by the log")];
        row.extend(of(demanded).map(Cell::count));
        rows.push(row);
        let mut row = vec![Cell::text(""), Cell::text("found in Redis")];
        row.extend(
            of(found)
                .into_iter()
                .zip(of(demanded))
                .map(|(found, demanded)| compared(Some(found), demanded)),
        );
        rows.push(row);
    };
    pair("closed", &report.closed.demanded, &report.closed.found);
    if let Some(latest) = &report.latest {
        pair("latest", &latest.demanded, &latest.found);
    }
    Table { caption: "What was compared", head, rows }
}

pub fn differences(report: &VerifyReport) -> Option<Table> {
    let row = |difference: &crate::load::compare::Difference| {
        vec![
            Cell::text(&difference.key),
            Cell::text(&difference.member),
            Cell::text(&difference.expected),
            Cell::text(&difference.found),
        ]
    };
    let rows: Vec<_> = report.differences.first.iter().map(row).collect();
    let head = head(&["Key", "Member or field", "Expected", "Found"]);
    (!rows.is_empty()).then_some(Table { caption: "Differences", head, rows })
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
