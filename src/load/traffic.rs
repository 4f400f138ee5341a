//! What is to be written: the records, their topics, and the parameters they follow from.

use std::collections::BTreeMap;

use super::kind::Kind;
use super::pacer::Pace;
use super::workload::WorkloadConfig;

#[derive(Clone, Debug)]
pub struct Traffic {
    /// Topics by kind, in the order of [`Kind::ALL`].
    pub topics: [String; 4],
    /// Created with the others: where the daemon writes what it rejects.
    pub dead_letter_topic: String,
    /// For a run the partitions are filled in from the broker.
    pub workload: WorkloadConfig,
    pub pace: Pace,
    /// Event time begins when the run does, not when it was said.
    pub starts_now: bool,
    /// That make the records; their number changes nothing but the speed.
    pub threads: usize,
    /// Written down in `run.json`.
    pub parameters: BTreeMap<String, String>,
}

impl Traffic {
    /// The same, with event time beginning at `now_ms` if it is to begin with the run.
    pub fn started(mut self, now_ms: i64) -> Self {
        if self.starts_now {
            let schedule = self.workload.schedule.starting_at(now_ms);
            self.parameters.insert("start_ms".to_owned(), schedule.start_ms.to_string());
            self.parameters.insert("records".to_owned(), schedule.records().to_string());
            self.parameters.insert("end_ms".to_owned(), schedule.end_ms().to_string());
            self.workload.schedule = schedule;
        }
        self
    }

    /// The kinds that are written.
    pub fn kinds(&self) -> Vec<Kind> {
        let wanted = |kind: &Kind| *kind != Kind::OrderStatus || self.workload.order_status;
        Kind::ALL.into_iter().filter(wanted).collect()
    }

    pub fn topic(&self, kind: Kind) -> &str {
        &self.topics[kind as usize]
    }
}
