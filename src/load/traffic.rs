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
    /// That make the records; their number changes nothing but the speed.
    pub threads: usize,
    /// Written down in `run.json`.
    pub parameters: BTreeMap<String, String>,
}

impl Traffic {
    /// The kinds that are written.
    pub fn kinds(&self) -> Vec<Kind> {
        let wanted = |kind: &Kind| *kind != Kind::OrderStatus || self.workload.order_status;
        Kind::ALL.into_iter().filter(wanted).collect()
    }

    pub fn topic(&self, kind: Kind) -> &str {
        &self.topics[kind as usize]
    }
}
