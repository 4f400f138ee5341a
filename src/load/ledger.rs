//! Where every record went: counted by reason, per topic.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::{AddAssign, Index, IndexMut};

use serde::{Deserialize, Serialize};

use super::block::{Block, Digest, sha256};
use super::kind::{Kind, Reason};
use super::scenario::tally::Tally;
use super::workload::{Injected, WorkloadConfig};

/// Records by reason. Their sum is what was consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub applied: u64,
    pub late: u64,
    pub duplicate: u64,
    pub malformed: u64,
    pub future: u64,
    pub tombstone: u64,
}

impl Counts {
    pub fn total(&self) -> u64 {
        Reason::ALL.iter().map(|&reason| self[reason]).sum()
    }

    /// What a daemon counts that does not look for duplicates.
    pub fn without_deduplication(mut self) -> Self {
        self.applied += std::mem::take(&mut self.duplicate);
        self
    }
}

impl Index<Reason> for Counts {
    type Output = u64;

    fn index(&self, reason: Reason) -> &u64 {
        match reason {
            Reason::Applied => &self.applied,
            Reason::Late => &self.late,
            Reason::Duplicate => &self.duplicate,
            Reason::Malformed => &self.malformed,
            Reason::Future => &self.future,
            Reason::Tombstone => &self.tombstone,
        }
    }
}

impl IndexMut<Reason> for Counts {
    fn index_mut(&mut self, reason: Reason) -> &mut u64 {
        match reason {
            Reason::Applied => &mut self.applied,
            Reason::Late => &mut self.late,
            Reason::Duplicate => &mut self.duplicate,
            Reason::Malformed => &mut self.malformed,
            Reason::Future => &mut self.future,
            Reason::Tombstone => &mut self.tombstone,
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        Reason::ALL.into_iter().for_each(|reason| self[reason] += other[reason]);
    }
}

/// What the generator has written to one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicLedger {
    pub counts: Counts,
    /// Of malformed: by the way in which they were spoiled.
    pub malformed_by: BTreeMap<String, u64>,
    /// Of applied: written behind the newest event time of their partition, but in time.
    pub reordered: u64,
    /// Of applied and malformed: by the way in which their schema has drifted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drifted_by: BTreeMap<String, Drifted>,
}

/// Records that have drifted in one way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drifted {
    pub records: u64,
    /// The reason of docs/EVENTS.md for which they are malformed; absent when they are applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub malformed: Option<String>,
}

/// What the generator has written, with a digest of every byte of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ledger {
    topics: [TopicLedger; 4],
    digest: Digest,
    records: u64,
    tally: Option<Tally>,
}

impl Ledger {
    /// Counts what the scenario of a workload leads to as well, if it has one.
    pub fn follow(&mut self, config: &WorkloadConfig) {
        self.tally = Tally::of(config);
    }

    pub fn tally(&self) -> Option<&Tally> {
        self.tally.as_ref()
    }

    /// Notes the first `records` of a block. All blocks but the last one are to be noted whole.
    pub fn note(&mut self, block: &Block, records: usize) {
        for meta in block.metas().take(records) {
            let topic = &mut self.topics[meta.kind as usize];
            topic.counts[meta.label] += 1;
            match meta.injected {
                Injected::Nothing => {}
                Injected::Reordered => topic.reordered += 1,
                Injected::Spoiled(spoil) => {
                    *topic.malformed_by.entry(spoil.name().to_owned()).or_default() += 1;
                }
                Injected::Drifted(drift) => {
                    let drifted = topic.drifted_by.entry(drift.name.to_owned()).or_default();
                    drifted.records += 1;
                    drifted.malformed = drift.expected.reason().map(str::to_owned);
                }
            }
        }
        if let Some(tally) = &mut self.tally {
            block.traces(records).for_each(|trace| tally.note(trace));
        }
        if records > 0 {
            let chained = [self.digest, block.digest_of(records)].concat();
            self.digest = sha256(&chained);
        }
        self.records += records as u64;
    }

    pub fn topic(&self, kind: Kind) -> &TopicLedger {
        &self.topics[kind as usize]
    }

    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.topics.iter().for_each(|topic| sum += topic.counts);
        sum
    }

    pub fn records(&self) -> u64 {
        self.records
    }

    /// Equal for equal streams: topics, partitions, keys, payloads, times and their order.
    /// A SHA-256 over blocks, each chained to those before: `d := SHA-256(d ‖ SHA-256(block))`,
    /// from 32 zeros on.
    pub fn digest(&self) -> String {
        self.digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The ledger of some topics, by name, for people.
pub fn ledger_table(
    seed: u64,
    records: u64,
    digest: &str,
    topics: &[(&str, &TopicLedger)],
) -> String {
    let mut text = format!("seed {seed}  records {records}  digest {digest}\n\n");
    let mut row = |name: &str, cell: &dyn Fn(&str, &TopicLedger) -> String, sum: String| {
        let cells: Vec<String> =
            topics.iter().map(|(topic, ledger)| format!("{:>14}", cell(topic, ledger))).collect();
        let line = format!("{name:<12}{}{sum:>14}", cells.concat());
        let _ = writeln!(text, "{}", line.trim_end());
    };
    row("", &|topic, _| topic.to_owned(), "all".into());
    let mut all = Counts::default();
    topics.iter().for_each(|(_, ledger)| all += ledger.counts);
    for reason in Reason::ALL {
        row(reason.name(), &|_, ledger| ledger.counts[reason].to_string(), all[reason].to_string());
    }
    row("total", &|_, ledger| ledger.counts.total().to_string(), all.total().to_string());
    let reordered: u64 = topics.iter().map(|(_, ledger)| ledger.reordered).sum();
    let _ = writeln!(text, "\nof applied, out of order: {reordered}");
    let mut ways: BTreeMap<&str, u64> = BTreeMap::new();
    for (way, count) in topics.iter().flat_map(|(_, ledger)| &ledger.malformed_by) {
        *ways.entry(way).or_default() += count;
    }
    for (way, count) in ways {
        let _ = writeln!(text, "of malformed, {way}: {count}");
    }
    for (way, (count, fate)) in drifts(topics.iter().map(|&(_, ledger)| ledger)) {
        let _ = writeln!(text, "drifted, {way}: {count} {fate}");
    }
    text
}

/// The drifted records of some topics by way: how many, and what is to become of them, for people.
pub fn drifts<'a>(
    topics: impl Iterator<Item = &'a TopicLedger>,
) -> BTreeMap<&'a str, (u64, String)> {
    let mut ways: BTreeMap<&str, (u64, String)> = BTreeMap::new();
    for (way, drifted) in topics.flat_map(|ledger| &ledger.drifted_by) {
        let fate = match &drifted.malformed {
            Some(reason) => format!("malformed ({reason})"),
            None => "applied".to_owned(),
        };
        let (records, fates) = ways.entry(way).or_default();
        *records = records.saturating_add(drifted.records);
        // The same change of another kind of event may have another fate.
        if !fates.contains(&fate) {
            let separator = if fates.is_empty() { "" } else { " or " };
            fates.push_str(separator);
            fates.push_str(&fate);
        }
    }
    ways
}
