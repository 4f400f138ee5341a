//! What a verification found, for people and for programs.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::compare::{Differences, Tally};
use super::ledger::Counts;

/// Exit codes of `nazar-load`; clap exits with `USAGE` by itself.
pub mod exit {
    pub const GOOD: u8 = 0;
    pub const ERROR: u8 = 1;
    pub const USAGE: u8 = 2;
    /// Redis, the ledger or the labels say something else than the log.
    pub const DIFFERENT: u8 = 3;
    /// A threshold was missed.
    pub const THRESHOLD: u8 = 4;
    /// The generator did not hold its schedule: its figures are not those of the load that was asked for.
    pub const INVALID: u8 = 5;
    pub const INTERRUPTED: u8 = 130;
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// No difference at all.
    pub equal: bool,
    pub records: u64,
    pub topics: Vec<TopicReport>,
    pub closed: WindowsReport,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<LatestReport>,
    pub differences: Differences,
    /// What a reader should know: quiet closings, records after close, caps.
    pub notes: Vec<String>,
    pub seconds: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TopicReport {
    pub topic: String,
    /// Σ (end − start), asked of the broker.
    pub offsets: u64,
    pub counts: Counts,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowsReport {
    pub demanded: Tally,
    pub found: Tally,
    /// Windows that a pure function of the log cannot decide.
    pub not_judged: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatestReport {
    /// Samples of one window each.
    pub samples: u64,
    pub compared: u64,
    /// Different flushes among the samples that were compared.
    pub flushes: u64,
    /// Taken before anything had been published of that window.
    pub not_published: u64,
    pub demanded: Tally,
    pub found: Tally,
}

impl VerifyReport {
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |parts: std::fmt::Arguments<'_>| {
            let _ = writeln!(text, "{parts}");
        };
        line(format_args!(
            "{:<16}{:>12}{:>12}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "topic",
            "end-start",
            "applied",
            "late",
            "duplicate",
            "malformed",
            "future",
            "tombstone"
        ));
        for TopicReport { topic, offsets, counts } in &self.topics {
            let Counts { applied, late, duplicate, malformed, future, tombstone } = counts;
            line(format_args!(
                "{topic:<16}{offsets:>12}{applied:>12}{late:>10}{duplicate:>10}{malformed:>10}{future:>10}{tombstone:>10}"
            ));
        }
        let WindowsReport { demanded, found, not_judged } = &self.closed;
        line(format_args!(""));
        line(format_args!(
            "{:<16}{:>12}{:>12}{:>12}{:>12}",
            "closed", "windows", "boards", "members", "uniques"
        ));
        for (name, tally) in [("demanded", demanded), ("found", found)] {
            line(format_args!(
                "{name:<16}{:>12}{:>12}{:>12}{:>12}",
                tally.windows, tally.boards, tally.members, tally.sketches
            ));
        }
        if *not_judged > 0 {
            line(format_args!("not judged: {not_judged} windows"));
        }
        if let Some(latest) = &self.latest {
            line(format_args!(
                "latest: {} samples, {} compared, of {} flushes, {} before anything was published; {} boards, {} members",
                latest.samples,
                latest.compared,
                latest.flushes,
                latest.not_published,
                latest.demanded.boards,
                latest.demanded.members
            ));
        }
        for note in &self.notes {
            line(format_args!("note: {note}"));
        }
        line(format_args!(""));
        for difference in &self.differences.first {
            line(format_args!("DIFFERENT  {difference}"));
        }
        let kept = self.differences.first.len() as u64;
        if self.differences.count > kept {
            line(format_args!("… and {} more", self.differences.count - kept));
        }
        line(format_args!(
            "{} differences; {} records in {:.1} s",
            self.differences.count, self.records, self.seconds
        ));
        text
    }
}
