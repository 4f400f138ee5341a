//! What a run came to: one line of the table.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Held,
    Failed,
    /// Fails, as is known and said.
    Known,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario's name.
    pub fault: String,
    /// Date, versions, machine and options.
    pub circumstances: String,
    pub what: String,
    pub seed: u64,
    pub instances: usize,
    /// How often the fault struck.
    pub runs: usize,
    /// Records that the broker has acknowledged to the generator.
    pub produced: u64,
    /// Of these, all that the views explain: applied, or in one counter of the ledger.
    pub counted: u64,
    pub applied: u64,
    /// Members, fields, registers and windows that state more than the oracle, or exist without reason.
    pub over: u64,
    /// The same that state less, or are missing.
    pub under: u64,
    /// Closed views and history entries gone with Redis' data, of windows older than those that the
    /// writer had in memory.
    pub lost: u64,
    /// In samples taken while writers died: distinct counts of single entities that had not followed
    /// the swap of their window. Judged at the end like everything else.
    pub torn: u64,
    /// Closed windows compared, number by number.
    pub windows: u64,
    /// Samples of latest views compared while the faults struck, and after.
    pub samples: u64,
    /// Different flushes among them.
    pub flushes: u64,
    pub events_after_close: u64,
    /// Times until the views went on, one per strike.
    pub rto_seconds: Vec<f64>,
    pub rto_p50_seconds: f64,
    pub rto_max_seconds: f64,
    pub staleness_max_seconds: f64,
    /// Of the largest daemon; 0 where there is no /proc.
    pub rss_peak_bytes: u64,
    /// Exit codes of daemons that ended by themselves; each was started again.
    pub ends: Vec<i32>,
    /// How each strike was seen to have happened.
    pub proofs: Vec<String>,
    /// Everything that should not be.
    pub failures: Vec<String>,
    /// Why failing is expected for now.
    pub known: Option<String>,
}

impl Outcome {
    pub fn struck(&mut self, proof: String, recovery: Duration) {
        self.runs += 1;
        self.proofs.push(proof);
        self.rto_seconds.push((recovery.as_secs_f64() * 1000.0).round() / 1000.0);
        let mut sorted = self.rto_seconds.clone();
        sorted.sort_by(f64::total_cmp);
        self.rto_p50_seconds = sorted[(sorted.len() - 1) / 2];
        self.rto_max_seconds = sorted[sorted.len() - 1];
    }

    pub fn fail(&mut self, why: impl Into<String>) {
        self.failures.push(why.into());
    }

    pub fn verdict(&self) -> Verdict {
        match (self.failures.is_empty(), &self.known) {
            (true, _) => Verdict::Held,
            (false, None) => Verdict::Failed,
            (false, Some(_)) => Verdict::Known,
        }
    }
}
