//! The tables of what became of the records: meant, counted, published.

use std::collections::BTreeMap;

use super::run_tables::head;
use super::table::{Cell, Table};
use crate::load::compare::{Difference, Tally};
use crate::load::kind::Reason;
use crate::load::ledger::{Counts, drifts};
use crate::load::report::VerifyReport;
use crate::load::run_file::{RunFile, RunTopic};
use crate::load::terminal::words::grouped;

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
    let drifts = drifts(run.topics.iter().map(|topic| &topic.expected));
    if !drifts.is_empty() {
        let ways = drifts.into_iter();
        let ways = ways.map(|(way, (count, fate))| format!("{way} {}, {fate}", grouped(count)));
        notes.push(format!("Drifted: {}.", ways.collect::<Vec<_>>().join("; ")));
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
    let mut pair = |name: &str, demanded: &Tally, found: &Tally| {
        let of = |one: &Tally| [one.windows, one.boards, one.members, one.sketches];
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
    let row = |difference: &Difference| {
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
