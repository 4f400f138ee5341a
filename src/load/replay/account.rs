//! What the first reading of the files has found: what will be sent, and what will not, and why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::value::Unmapped;
use crate::load::kind::Kind;

/// Where a row stands.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    pub file: &'a Path,
    pub line: u64,
}

/// Left out because the mapping says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Its kind is `skip`.
    Kind,
    /// Before `from`, or not before `until`.
    Time,
    /// An optional time is not there.
    NoTime,
    /// It does not fulfil `when`.
    When,
}

impl LeftOut {
    fn name(self) -> &'static str {
        match self {
            LeftOut::Kind => "kind",
            LeftOut::Time => "time",
            LeftOut::NoTime => "no_time",
            LeftOut::When => "when",
        }
    }
}

/// Rows that could not be mapped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmappable {
    pub count: u64,
    /// The first of them: `FILE:LINE: why`.
    pub example: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub rows: u64,
    /// That will be sent.
    pub events: u64,
    pub by_kind: BTreeMap<String, u64>,
    /// Rows, or elements of them, that cannot be mapped, by reason.
    pub unmapped: BTreeMap<String, Unmappable>,
    /// Rows, or elements of them, that the mapping leaves out, by the key that does.
    pub left_out: BTreeMap<String, u64>,
    /// Event times, as the files have them.
    pub first_ms: Option<i64>,
    pub last_ms: Option<i64>,
    /// Events behind the newest one before them.
    pub behind: u64,
    /// By how much at most.
    pub behind_max_ms: i64,
    /// Added to every event time.
    #[serde(default)]
    pub shift_ms: i64,
    /// Event times at most so far ahead of when they are due, after the start.
    #[serde(skip)]
    pub lead_ms: i64,
    #[serde(skip)]
    pub(super) newest_ms: Option<i64>,
}

impl Account {
    pub fn refuse(&mut self, Unmapped { reason, why }: Unmapped, at: At<'_>) {
        if let Some(known) = self.unmapped.get_mut(reason) {
            known.count += 1;
            return;
        }
        let example = format!("{}:{}: {why}", at.file.display(), at.line);
        self.unmapped.insert(reason.to_owned(), Unmappable { count: 1, example });
    }

    pub fn leave_out(&mut self, why: LeftOut) {
        *self.left_out.entry(why.name().to_owned()).or_default() += 1;
    }

    /// Notes an event that will be sent after those before.
    pub fn note(&mut self, kind: Kind, time_ms: i64) {
        self.events += 1;
        *self.by_kind.entry(kind.name().to_owned()).or_default() += 1;
        self.first_ms = Some(self.first_ms.map_or(time_ms, |first| first.min(time_ms)));
        self.last_ms = Some(self.last_ms.map_or(time_ms, |last| last.max(time_ms)));
        let newest = self.newest_ms.map_or(time_ms, |newest| newest.max(time_ms));
        if time_ms < newest {
            self.behind += 1;
            self.behind_max_ms = self.behind_max_ms.max(newest - time_ms);
        }
        self.newest_ms = Some(newest);
    }

    pub fn unmapped_rows(&self) -> u64 {
        self.unmapped.values().map(|unmappable| unmappable.count).sum()
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!("{} rows, {} events", self.rows, self.events);
        let kinds: Vec<String> =
            self.by_kind.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        if !kinds.is_empty() {
            let _ = write!(text, ": {}", kinds.join(", "));
        }
        text.push('\n');
        if let (Some(first), Some(last)) = (self.first_ms, self.last_ms) {
            let _ = writeln!(text, "event time {} to {}", shown(first), shown(last));
        }
        if self.behind > 0 {
            let behind = std::time::Duration::from_millis(self.behind_max_ms as u64);
            let _ = writeln!(
                text,
                "{} events lie behind one before them, by {} at most",
                self.behind,
                humantime::format_duration(behind)
            );
        }
        for (key, count) in &self.left_out {
            let _ = writeln!(text, "left out by `{key}`: {count}");
        }
        for (reason, Unmappable { count, example }) in &self.unmapped {
            let _ = writeln!(text, "not mapped, {reason}: {count}, for example {example}");
        }
        text
    }
}

fn shown(time_ms: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(time_ms);
    time.map_or_else(|| time_ms.to_string(), |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}
