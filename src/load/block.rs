//! Records side by side: how they travel from whoever makes them to the producer.
//!
//! ```text
//! rows   │ kind partition due label … │ kind partition due label … │
//! bytes  │ head │ key │ payload       │ head │ key │ payload       │
//! ```
//!
//! A block holds the next records of a stream in their order, in one stretch of memory that is used
//! again: no record is allocated by itself. The bytes are at the same time what the digest is made of,
//! so streams are equal exactly when their bytes are.
//!
//! This is the seam for other sources of records: whatever fills blocks can be planned, sent, measured and
//! accounted for ([`super::feed::Feed::of`]).

use ring::digest::{SHA256, digest};

use super::kind::{Kind, Reason};
use super::scenario::tally::Trace;
use super::workload::Injected;

/// Records in a block, but for the last one of a stream. Part of the digest's definition. More make the
/// work of threads coarser, fewer make it costlier to hand over.
pub const BLOCK_RECORDS: usize = 2048;
/// kind, partition, create time, lengths of key and payload; integers in little endian.
const HEAD_BYTES: usize = 1 + 4 + 8 + 4 + 4;
/// The length of a payload that is not there.
const NO_PAYLOAD: u32 = u32::MAX;

pub type Digest = [u8; 32];

pub fn sha256(bytes: &[u8]) -> Digest {
    let mut value = [0; 32];
    value.copy_from_slice(digest(&SHA256, bytes).as_ref());
    value
}

/// What is known of a record beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub kind: Kind,
    pub partition: u32,
    pub create_time_ms: i64,
    /// When it is due, after the start of the schedule.
    pub due_ns: u64,
    /// The same as an event time.
    pub intended_ms: i64,
    /// Its fate, provided that duplicates are dropped; a daemon that does not drop them
    /// applies what is labelled duplicate.
    pub label: Reason,
    pub injected: Injected,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    meta: Meta,
    /// Where its bytes end.
    end: usize,
}

/// A record as it is written.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    pub meta: &'a Meta,
    pub key: &'a [u8],
    /// `None` is a tombstone.
    pub payload: Option<&'a [u8]>,
}

#[derive(Clone, Debug, Default)]
pub struct Block {
    rows: Vec<Row>,
    bytes: Vec<u8>,
    digest: Digest,
    /// Of a scenario: what has been traced, and after how many records.
    traces: Vec<(usize, Trace)>,
}

impl Block {
    pub fn clear(&mut self) {
        self.rows.clear();
        self.bytes.clear();
        self.traces.clear();
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a record. `write_key` and `write_payload` append to the bytes they are given; the latter
    /// returns whether there is a payload, and what it turned out to be on purpose.
    pub fn push(
        &mut self,
        meta: Meta,
        write_key: impl FnOnce(&mut Vec<u8>),
        write_payload: impl FnOnce(&mut Vec<u8>) -> (bool, Injected),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEAD_BYTES]);
        write_key(&mut self.bytes);
        let key_end = self.bytes.len();
        let (has_payload, injected) = write_payload(&mut self.bytes);
        let end = self.bytes.len();
        let key_bytes = (key_end - start - HEAD_BYTES) as u32;
        let payload_bytes = if has_payload { (end - key_end) as u32 } else { NO_PAYLOAD };
        let head = &mut self.bytes[start..start + HEAD_BYTES];
        head[0] = meta.kind as u8;
        head[1..5].copy_from_slice(&meta.partition.to_le_bytes());
        head[5..13].copy_from_slice(&meta.create_time_ms.to_le_bytes());
        head[13..17].copy_from_slice(&key_bytes.to_le_bytes());
        head[17..21].copy_from_slice(&payload_bytes.to_le_bytes());
        self.rows.push(Row { meta: Meta { injected, ..meta }, end });
    }

    /// Notes what a scenario has to know of the record that was pushed last.
    pub fn trace(&mut self, trace: Trace) {
        self.traces.push((self.rows.len(), trace));
    }

    /// What was noted of the first `records`.
    pub fn traces(&self, records: usize) -> impl Iterator<Item = &Trace> {
        let of_first = self.traces.iter().take_while(move |(record, _)| *record <= records);
        of_first.map(|(_, trace)| trace)
    }

    /// To be called once the block is full.
    pub fn seal(&mut self) {
        self.digest = sha256(&self.bytes);
    }

    pub fn get(&self, at: usize) -> Option<RecordRef<'_>> {
        let Row { meta, end } = self.rows.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.rows[before].end);
        let length = |at: usize| {
            let bytes = self.bytes[at..at + 4].try_into().expect("four bytes are four bytes");
            u32::from_le_bytes(bytes)
        };
        let key_start = start + HEAD_BYTES;
        let key_end = key_start + length(start + 13) as usize;
        let has_payload = length(start + 17) != NO_PAYLOAD;
        Some(RecordRef {
            meta,
            key: &self.bytes[key_start..key_end],
            payload: has_payload.then(|| &self.bytes[key_end..*end]),
        })
    }

    pub fn metas(&self) -> impl Iterator<Item = &Meta> {
        self.rows.iter().map(|row| &row.meta)
    }

    /// The digest of the first `records`.
    pub fn digest_of(&self, records: usize) -> Digest {
        match records.checked_sub(1) {
            Some(last) if records < self.rows.len() => sha256(&self.bytes[..self.rows[last].end]),
            _ => self.digest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(partition: u32, create_time_ms: i64) -> Meta {
        Meta {
            kind: Kind::Wishlist,
            partition,
            create_time_ms,
            due_ns: 7,
            intended_ms: 5,
            label: Reason::Applied,
            injected: Injected::Nothing,
        }
    }

    fn block(records: &[(&str, Option<&str>)]) -> Block {
        let mut block = Block::default();
        for (key, payload) in records {
            block.push(
                meta(3, -9),
                |out| out.extend_from_slice(key.as_bytes()),
                |out| {
                    out.extend_from_slice(payload.unwrap_or_default().as_bytes());
                    (payload.is_some(), Injected::Nothing)
                },
            );
        }
        block.seal();
        block
    }

    #[test]
    fn what_goes_in_comes_out() {
        let records = [("k", Some("value")), ("", Some("")), ("other", None)];
        let block = block(&records);
        for (at, (key, payload)) in records.iter().enumerate() {
            let record = block.get(at).unwrap();
            assert_eq!(record.key, key.as_bytes());
            assert_eq!(record.payload, payload.map(str::as_bytes));
            assert_eq!(*record.meta, meta(3, -9));
        }
        assert!(block.get(3).is_none());
    }

    #[test]
    fn the_digest_is_the_documented_one() {
        let mut bytes = vec![1, 3, 0, 0, 0];
        bytes.extend((-9i64).to_le_bytes());
        bytes.extend([1, 0, 0, 0, 5, 0, 0, 0]);
        bytes.extend(b"kvalue");
        assert_eq!(block(&[("k", Some("value"))]).digest_of(1), sha256(&bytes));
        // The first records of a longer block have the digest of a block of their own.
        let two = block(&[("k", Some("value")), ("x", None)]);
        assert_eq!(two.digest_of(1), sha256(&bytes));
        assert_ne!(two.digest_of(2), sha256(&bytes));
        // No payload is not an empty one, and bytes do not move between key and payload.
        assert_ne!(block(&[("k", None)]).digest_of(1), block(&[("k", Some(""))]).digest_of(1));
        assert_ne!(
            block(&[("ab", Some("c"))]).digest_of(1),
            block(&[("a", Some("bc"))]).digest_of(1)
        );
    }
}
