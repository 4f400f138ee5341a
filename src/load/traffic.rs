//! What is to be written: the records, their topics, and the parameters they follow from.

use std::collections::BTreeMap;

use super::feed::Feed;
use super::kind::Kind;
use super::pacer::Pace;
use super::replay::{Replay, blocks};
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
    /// Records of files in place of the workload's own. Of the workload, schedule, partitions and
    /// rules still hold.
    pub replay: Option<Replay>,
}

impl Traffic {
    /// The same, with event time beginning at `now_ms` if it is to begin with the run.
    pub fn started(mut self, now_ms: i64) -> Self {
        if let Some(replay) = self.replay.take() {
            let replay = replay.starting_at(now_ms);
            for (name, time) in
                [("start_ms", replay.account.first_ms), ("end_ms", replay.account.last_ms)]
            {
                let time_ms = time.unwrap_or_default() + replay.shift_ms();
                self.parameters.insert(name.to_owned(), time_ms.to_string());
            }
            self.replay = Some(replay);
        } else if self.starts_now {
            let schedule = self.workload.schedule.starting_at(now_ms);
            self.parameters.insert("start_ms".to_owned(), schedule.start_ms.to_string());
            self.parameters.insert("records".to_owned(), schedule.records().to_string());
            self.parameters.insert("end_ms".to_owned(), schedule.end_ms().to_string());
            self.workload.schedule = schedule;
        }
        self
    }

    /// Begins to make the records.
    pub fn feed(&self) -> Feed {
        let Some(replay) = self.replay.clone() else {
            return Feed::start(self.workload.clone(), self.threads);
        };
        let target =
            blocks::Target { partitions: self.workload.partitions, rules: self.workload.rules };
        Feed::of(1, blocks::filler(replay, target))
    }

    /// Whether the records ended because there are no more, to be asked once there are none.
    pub fn ended(&self) -> anyhow::Result<()> {
        self.replay.as_ref().map_or(Ok(()), Replay::ended)
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
