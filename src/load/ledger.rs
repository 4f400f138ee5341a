//! Where every record went: counted by reason, per topic.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::{AddAssign, Index, IndexMut};

use serde::{Deserialize, Serialize};

use super::kind::{Kind, Reason};
use super::rng::mix;
use super::workload::{Injected, Record};

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
}

/// What the generator has written, with a digest of every byte of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    topics: [TopicLedger; 4],
    digest: u64,
    records: u64,
}

impl Ledger {
    pub fn note(&mut self, record: &Record) {
        let topic = &mut self.topics[record.kind as usize];
        topic.counts[record.label] += 1;
        match record.injected {
            Injected::Nothing => {}
            Injected::Reordered => topic.reordered += 1,
            Injected::Spoiled(spoil) => {
                *topic.malformed_by.entry(spoil.name().to_owned()).or_default() += 1;
            }
        }
        self.digest = mix(self.digest ^ digest(record));
        self.records += 1;
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
    pub fn digest(&self) -> String {
        format!("{:016x}", self.digest)
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
    text
}

/// FNV-1a over eight bytes at a time: enough to tell streams apart, not against forgers.
fn digest(record: &Record) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01B3;
    let mut hash = 0xCBF2_9CE4_8422_2325u64;
    let mut add = |word: u64| hash = (hash ^ word).wrapping_mul(PRIME);
    add(record.kind as u64);
    add(u64::from(record.partition));
    add(record.create_time_ms as u64);
    for bytes in [Some(&record.key), record.payload.as_ref()] {
        add(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64));
        for chunk in bytes.into_iter().flat_map(|bytes| bytes.chunks(8)) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            add(mix(u64::from_le_bytes(word)));
        }
    }
    hash
}
