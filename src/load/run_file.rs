//! `run.json`: what a run was, and what it expects of whoever reads its log.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::artefacts::latency::Latency;
use super::clock::Rules;
use super::environment::Environment;
use super::kind::Kind;
use super::ledger::{Counts, Ledger, TopicLedger, ledger_table};
use super::replay::account::Account;
use super::report::VerifyReport;
use super::scenario::statement::Account as ScenarioAccount;
use super::threshold::Judged;
use super::verdict::{Validity, Verdict};

/// Changes when a reader of the old form would misread the new one.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    pub format: u32,
    pub version: String,
    pub librdkafka: String,
    /// Of the generator's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<Environment>,
    /// `running` until the last record is acknowledged; then `complete`, `interrupted` by a signal, or
    /// `aborted` for a threshold. The counts are exact in the last three.
    pub state: State,
    pub seed: u64,
    /// The rules that the labels were made for; the daemon must have the same.
    pub rules: Rules,
    pub parameters: BTreeMap<String, String>,
    pub records: u64,
    /// Equal for equal streams.
    pub digest: String,
    pub topics: Vec<RunTopic>,
    pub seconds: f64,
    pub events_per_second: f64,
    /// How far behind its schedule the generator has been at worst; 0 without a schedule.
    pub behind_max_ms: u64,
    /// Of a replay: what the files hold, and what of it could not be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Account>,
    /// Of a run with a scenario: who takes part in it, and what must become visible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<ScenarioAccount>,
    /// Of a run with a schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validity: Option<Validity>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub thresholds: Vec<Judged>,
    /// Of a run that was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifyReport>,
    /// Absent while it is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Running,
    Complete,
    Interrupted,
    Aborted,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTopic {
    pub kind: Kind,
    pub topic: String,
    /// The end of each partition's log before the run.
    pub start_offsets: Vec<i64>,
    /// The end of each partition's log after the run; empty while it is running.
    pub end_offsets: Vec<i64>,
    pub expected: TopicLedger,
}

impl RunFile {
    /// Offsets that the topics had reached before this run, added up.
    pub fn earlier_records(&self) -> i64 {
        self.topics.iter().flat_map(|topic| &topic.start_offsets).sum()
    }

    pub fn take_ledger(&mut self, ledger: &Ledger) {
        self.records = ledger.records();
        self.digest = ledger.digest();
        for topic in &mut self.topics {
            topic.expected = ledger.topic(topic.kind).clone();
        }
    }

    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.topics.iter().for_each(|topic| sum += topic.expected.counts);
        sum
    }

    pub fn load(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join("run.json");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let run: RunFile =
            serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
        ensure!(
            run.format == FORMAT,
            "{} has format {}, this version reads {FORMAT}",
            path.display(),
            run.format
        );
        Ok(run)
    }

    /// Writes `run.json` and, for people, `ledger.txt`. Each is replaced as a whole.
    pub fn save(&self, directory: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("create {}", directory.display()))?;
        let json = serde_json::to_string_pretty(self).context("encode run.json")? + "\n";
        for (name, text) in [("run.json", json), ("ledger.txt", self.table())] {
            let (path, temporary) = (directory.join(name), directory.join(format!(".{name}.new")));
            std::fs::write(&temporary, text)
                .and_then(|()| std::fs::rename(&temporary, &path))
                .with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }

    /// The ledger as a table.
    pub fn table(&self) -> String {
        let topics = self.topics.iter().map(|topic| (topic.topic.as_str(), &topic.expected));
        let topics = topics.collect::<Vec<_>>();
        let mut text = ledger_table(self.seed, self.records, &self.digest, &topics);
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

    fn run() -> RunFile {
        let expected = TopicLedger {
            counts: Counts { applied: 7, late: 2, malformed: 1, ..Counts::default() },
            malformed_by: BTreeMap::from([("bad_time".to_owned(), 1)]),
            reordered: 3,
            drifted_by: BTreeMap::new(),
        };
        RunFile {
            format: FORMAT,
            version: "0.1.0".into(),
            librdkafka: "2".into(),
            environment: None,
            state: State::Complete,
            seed: 5,
            rules: Rules::default(),
            parameters: BTreeMap::new(),
            records: 10,
            digest: "0123".into(),
            topics: vec![RunTopic {
                kind: Kind::Click,
                topic: "click".into(),
                start_offsets: vec![0],
                end_offsets: vec![10],
                expected,
            }],
            seconds: 1.0,
            events_per_second: 10.0,
            behind_max_ms: 0,
            replay: None,
            scenario: None,
            latency: None,
            validity: None,
            thresholds: Vec::new(),
            verify: None,
            verdict: None,
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let run = run();
        run.save(directory.path()).unwrap();
        assert_eq!(RunFile::load(directory.path()).unwrap(), run);
        RunFile { format: 2, ..run }.save(directory.path()).unwrap();
        let error = RunFile::load(directory.path()).unwrap_err().to_string();
        assert!(error.contains("has format 2, this version reads 1"), "{error}");
    }

    #[test]
    fn the_ledger_is_a_table() {
        insta::assert_snapshot!(run().table(), @r#"
        seed 5  records 10  digest 0123

                             click           all
        applied                  7             7
        late                     2             2
        duplicate                0             0
        malformed                1             1
        future                   0             0
        tombstone                0             0
        total                   10            10

        of applied, out of order: 3
        of malformed, bad_time: 1
        "#);
    }
}
