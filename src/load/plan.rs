//! `nazar-load plan`: what a run would write, without a broker.
//!
//! The records are really made, one by one, so that ledger and digest are those of the run with
//! the same options and as many partitions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::clock::Rules;
use super::feed::Feed;
use super::kind::Kind;
use super::ledger::{Ledger, TopicLedger, ledger_table};
use super::pacer::Pace;
use super::plot::plot;
use super::scenario::statement::Account;
use super::traffic::Traffic;

/// Changes when a reader of the old form would misread the new one.
const FORMAT: u32 = 1;
/// A longer schedule is shown in coarser steps than seconds.
const STEPS_MAX: u64 = 3600;
const SECOND_NS: u64 = 1_000_000_000;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    pub format: u32,
    pub version: String,
    pub seed: u64,
    /// The rules that the labels were made for; the daemon must have the same.
    pub rules: Rules,
    pub parameters: BTreeMap<String, String>,
    pub records: u64,
    /// Equal for equal streams.
    pub digest: String,
    pub topics: Vec<PlanTopic>,
    pub duration_seconds: f64,
    pub rates: Rates,
    /// Who takes part in the scenario, and what must become visible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scenario: Option<Account>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanTopic {
    pub kind: Kind,
    pub topic: String,
    pub expected: TopicLedger,
}

/// Records that are due, by the steps of the schedule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rates {
    pub step_seconds: u64,
    pub records: Vec<u64>,
}

impl Rates {
    fn new(duration_ns: u64) -> Self {
        let seconds = duration_ns.div_ceil(SECOND_NS).max(1);
        let step_seconds = seconds.div_ceil(STEPS_MAX);
        let steps = seconds.div_ceil(step_seconds) as usize;
        Self { step_seconds, records: vec![0; steps] }
    }

    fn note(&mut self, due_ns: u64) {
        let step = (due_ns / (self.step_seconds * SECOND_NS)) as usize;
        // Rounding may put the last record at the very end.
        let last = self.records.len() - 1;
        self.records[step.min(last)] += 1;
    }

    /// Records per second of each step.
    pub fn per_second(&self) -> Vec<f64> {
        self.records.iter().map(|&count| count as f64 / self.step_seconds as f64).collect()
    }
}

/// Makes the traffic and counts it.
pub fn plan(traffic: &Traffic) -> Plan {
    let config = &traffic.workload;
    let duration_ns = config.schedule.duration_ns();
    let mut rates = Rates::new(duration_ns);
    let mut ledger = Ledger::default();
    ledger.follow(config);
    let feed = Feed::start(config.clone(), traffic.threads);
    while let Some(block) = feed.next() {
        block.metas().for_each(|meta| rates.note(meta.due_ns));
        ledger.note(&block, block.len());
        feed.used(block);
    }
    if traffic.pace == Pace::Unbounded {
        // The schedule of an unpaced run is one of event times: it has no rates.
        rates = Rates::default();
    }
    let topic = |kind: Kind| PlanTopic {
        kind,
        topic: traffic.topic(kind).to_owned(),
        expected: ledger.topic(kind).clone(),
    };
    Plan {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        seed: config.seed,
        rules: config.rules,
        parameters: traffic.parameters.clone(),
        records: ledger.records(),
        digest: ledger.digest(),
        topics: traffic.kinds().into_iter().map(topic).collect(),
        duration_seconds: duration_ns as f64 / 1e9,
        rates,
        scenario: ledger.tally().map(|tally| Account::after(tally, traffic)),
    }
}

impl Plan {
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.parameters {
            let _ = writeln!(text, "{name:<14}{value}");
        }
        text.push('\n');
        let duration = Duration::from_secs_f64(self.duration_seconds.ceil());
        if !self.rates.records.is_empty() {
            let _ =
                writeln!(text, "records per second\n{}", plot(&self.rates.per_second(), duration));
        }
        let topics = self.topics.iter().map(|topic| (topic.topic.as_str(), &topic.expected));
        text += &ledger_table(self.seed, self.records, &self.digest, &topics.collect::<Vec<_>>());
        if let Some(scenario) = &self.scenario {
            text.push('\n');
            text += &scenario.text();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_schedules_are_shown_in_coarser_steps() {
        let seconds = |seconds: u64| Rates::new(seconds * SECOND_NS);
        assert_eq!((seconds(10).step_seconds, seconds(10).records.len()), (1, 10));
        assert_eq!((seconds(3601).step_seconds, seconds(3601).records.len()), (2, 1801));
        let mut rates = seconds(7200);
        (0..7200).for_each(|second| rates.note(second * SECOND_NS));
        rates.note(7200 * SECOND_NS);
        assert_eq!(rates.records.iter().sum::<u64>(), 7201);
        assert_eq!(rates.per_second()[..3599], [1.0; 3599]);
    }
}
