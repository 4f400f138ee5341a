//! The ledger: what the broker holds, what the oracle counted, what the generator meant, and
//! what the daemon says must be the same numbers.

use anyhow::Context;
use serde_json::Value;

use super::compare::Differences;
use super::kind::{Kind, Reason};
use super::ledger::Counts;
use super::oracle::definitions::Definitions;
use super::run_file::{RunFile, State};

/// One topic as the oracle read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRead {
    pub kind: Kind,
    pub topic: String,
    /// Σ (end − start), asked of the broker.
    pub offsets: u64,
    pub counts: Counts,
}

/// Offsets against records: nothing may be missing between start and end.
pub fn with_broker(topics: &[TopicRead], differences: &mut Differences) {
    for topic in topics {
        if topic.offsets != topic.counts.total() {
            differences.add(
                &format!("topic {}", topic.topic),
                "records",
                format!("{} by the broker's offsets", topic.offsets),
                topic.counts.total(),
            );
        }
    }
}

/// The generator's labels against the oracle's count of the log.
pub fn with_run(
    run: &RunFile,
    definitions: &Definitions,
    topics: &[TopicRead],
    differences: &mut Differences,
) {
    if run.state == State::Running {
        differences.add("run.json", "state", "complete or interrupted", "running");
        return;
    }
    let (ours, theirs) = (run.rules, definitions.rules());
    for (name, labels, daemon) in [
        ("lateness_ms", ours.lateness_ms, theirs.lateness_ms),
        ("max_future_ms", ours.max_future_ms, theirs.max_future_ms),
        ("base_pane_ms", ours.base_pane_ms, theirs.base_pane_ms),
    ] {
        if labels != daemon {
            differences.add("run.json", name, format!("{daemon} as in the definitions"), labels);
        }
    }
    for labelled in &run.topics {
        let place = format!("run.json topic {}", labelled.topic);
        let Some(read) = topics.iter().find(|read| read.topic == labelled.topic) else {
            differences.add(&place, "", "a topic of the definitions", "one that is not consumed");
            continue;
        };
        let mut expected = labelled.expected.counts;
        if !definitions.deduplicate {
            expected = expected.without_deduplication();
        }
        compare_counts(&place, &expected, &read.counts, differences);
    }
}

/// The daemon's own ledger, as its result line states it, against the oracle's.
pub fn with_daemon(
    json: &str,
    topics: &[TopicRead],
    differences: &mut Differences,
) -> anyhow::Result<()> {
    let daemon: Value = serde_json::from_str(json).context("parse the daemon's result")?;
    let mut all = Counts::default();
    topics.iter().for_each(|topic| all += topic.counts);
    compare_daemon("daemon", &daemon, &all, differences);
    if let Some(by_topic) = daemon.get("topics") {
        for topic in topics {
            let place = format!("daemon topic {}", topic.topic);
            match by_topic.get(&topic.topic).or_else(|| by_topic.get(topic.kind.name())) {
                Some(object) => compare_daemon(&place, object, &topic.counts, differences),
                None => differences.add(&place, "", "a ledger", "nothing"),
            }
        }
    }
    Ok(())
}

fn compare_daemon(place: &str, object: &Value, expected: &Counts, differences: &mut Differences) {
    let figures = Reason::ALL.map(|reason| (reason.name(), expected[reason]));
    for (name, expected) in [("events", expected.total())].into_iter().chain(figures) {
        match object.get(name).and_then(Value::as_u64) {
            Some(found) if found == expected => {}
            Some(found) => differences.add(place, name, expected, found),
            None => differences.add(place, name, expected, "nothing"),
        }
    }
}

fn compare_counts(place: &str, expected: &Counts, found: &Counts, differences: &mut Differences) {
    for reason in Reason::ALL {
        if expected[reason] != found[reason] {
            differences.add(place, reason.name(), expected[reason], found[reason]);
        }
    }
}
