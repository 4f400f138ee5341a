//! The names of all keys: a pure function of the prefix, the definitions and the ids.
//!
//! Keys of the atomic views carry the hash tag `{prefix}`, so that one Redis Cluster slot
//! holds them and one script may swap them. The hashes of single entities carry none: they
//! are read one by one and may spread. What belongs to one partition carries its own,
//! `{prefix:topic:partition}`.
//!
//! Ids are percent-encoded outside `[A-Za-z0-9._-]`, so an id can never end a key part, open
//! a hash tag, or act as a pattern. An encoded id longer than [`ID_BYTES_MAX`] is cut and
//! ends in `~` and 16 hex digits of the FNV-1a hash of the whole id; `~` appears in no other
//! encoded id, so a cut id never equals one that was not cut.

use std::fmt::Write;

use crate::event::{Kind, Metric};
use crate::time::EventTime;

/// Longest encoded id in a key. Longer keys cost memory per key and make listings unreadable;
/// a shorter bound would hash ids that people still want to read.
pub const ID_BYTES_MAX: usize = 200;

/// `~` and 16 hex digits.
const HASH_BYTES: usize = 17;

/// Where a view stands: the latest one is overwritten, a closed one is written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Latest,
    Closed(EventTime),
}

/// The key schema under one prefix.
#[derive(Clone, Debug)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// `None` unless the prefix is 1 to 64 of `[A-Za-z0-9._-]`. A colon is refused because the
    /// prefix `shop` would then own the keys of the prefix `shop:eu`, and a reset would take them.
    pub fn new(prefix: &str) -> Option<Keys> {
        let valid = (1..=64).contains(&prefix.len()) && prefix.bytes().all(is_plain);
        valid.then(|| Keys { prefix: prefix.to_owned() })
    }

    pub fn meta(&self) -> String {
        self.tagged("meta")
    }

    /// Private: the token of the one writer, with a TTL.
    pub fn lease(&self) -> String {
        self.tagged("lease")
    }

    pub fn schema(&self) -> String {
        self.tagged("schema")
    }

    /// The Pub/Sub channel of flush notices; not a key.
    pub fn flushes(&self) -> String {
        self.tagged("flushes")
    }

    pub fn board(&self, place: Place, dimension: &str, metric: Metric, window: &str) -> String {
        let dimension = encode(dimension);
        self.placed(place, &format!("top:{dimension}:{}:{window}", metric.name()))
    }

    pub fn totals(&self, window: &str) -> String {
        self.tagged(&format!("totals:{window}"))
    }

    pub fn uniques(&self, place: Place, kind: Kind, window: &str) -> String {
        self.placed(place, &format!("uniques:{}:{window}", kind.name()))
    }

    pub fn entity_uniques(
        &self,
        place: Place,
        kind: Kind,
        dimension: &str,
        id: &str,
        window: &str,
    ) -> String {
        let (dimension, id) = (encode(dimension), encode(id));
        self.placed(place, &format!("uniques:{}:{dimension}:{id}:{window}", kind.name()))
    }

    pub fn history(&self, window: &str) -> String {
        self.tagged(&format!("history:{window}"))
    }

    /// Sorted set of the window ends whose closed boards are readable.
    pub fn closed_ends(&self, window: &str) -> String {
        self.tagged(&format!("closed:ends:{window}"))
    }

    /// Private: the set of per-entity HLL keys of one closed window, for trimming.
    pub fn closed_members(&self, window: &str, end: EventTime) -> String {
        self.tagged(&format!("closed:members:{window}:{end}"))
    }

    /// Private: the set of per-entity HLL keys of the latest window, for a restart.
    pub fn uniques_index(&self, window: &str) -> String {
        self.tagged(&format!("index:uniques:{window}"))
    }

    /// Private: the set of entity hashes that exist, for a restart.
    pub fn entities_index(&self) -> String {
        self.tagged("index:entities")
    }

    /// Private: the group's checkpoint, in which its blobs are named.
    pub fn manifest(&self) -> String {
        self.tagged("manifest")
    }

    /// Private: one blob of a checkpoint.
    pub fn blob(&self, name: &str) -> String {
        self.tagged(&format!("pane:{name}"))
    }

    /// Private: the set of blobs that were begun, for removing those that nobody names.
    pub fn blobs_index(&self) -> String {
        self.tagged("index:blobs")
    }

    pub fn entity(&self, dimension: &str, id: &str) -> String {
        format!("{}:{}:{}", self.prefix, encode(dimension), encode(id))
    }

    /// Private: the stream of deliveries of one partition that wait for the leader.
    pub fn outbox(&self, topic: &str, partition: i32) -> String {
        self.of_partition(topic, partition, "outbox")
    }

    /// Private: whose the outbox is, and what it holds.
    pub fn owner(&self, topic: &str, partition: i32) -> String {
        self.of_partition(topic, partition, "owner")
    }

    /// A view on its way: its name carries the writer's token and the sequence number of the
    /// attempt, so no two attempts ever share a key.
    pub fn staged(&self, token: &str, seq: u64, number: usize) -> String {
        self.tagged(&format!("tmp:{}:{seq}:{number}", encode(token)))
    }

    /// The key under this prefix that is what `key` is under `other`; `None` unless it carries the
    /// hash tag of that.
    pub fn moved(&self, key: &str, other: &Keys) -> Option<String> {
        key.strip_prefix(&other.tagged("")).map(|name| self.tagged(name))
    }

    /// Patterns for SCAN that cover every key under this prefix and none of another.
    pub fn patterns(&self) -> [String; 3] {
        let prefix = &self.prefix;
        [format!("{{{prefix}}}:*"), format!("{{{prefix}:*"), format!("{prefix}:*")]
    }

    fn placed(&self, place: Place, name: &str) -> String {
        match place {
            Place::Latest => self.tagged(name),
            Place::Closed(end) => self.tagged(&format!("closed:{name}:{end}")),
        }
    }

    /// Each partition has a slot of its own: outboxes spread over a Cluster, and one script may
    /// touch all keys of a partition.
    fn of_partition(&self, topic: &str, partition: i32, name: &str) -> String {
        format!("{{{}:{}:{partition}}}:{name}", self.prefix, encode(topic))
    }

    fn tagged(&self, name: &str) -> String {
        format!("{{{}}}:{name}", self.prefix)
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

/// An id as a part of a key.
pub fn encode(id: &str) -> String {
    let mut encoded = String::with_capacity(id.len());
    // Where to cut if the whole turns out too long: never inside a `%XX`.
    let mut cut = 0;
    for byte in id.bytes() {
        if is_plain(byte) {
            encoded.push(byte as char);
        } else {
            write!(encoded, "%{byte:02X}").expect("a String takes every write");
        }
        if encoded.len() <= ID_BYTES_MAX - HASH_BYTES {
            cut = encoded.len();
        }
    }
    if encoded.len() > ID_BYTES_MAX {
        encoded.truncate(cut);
        write!(encoded, "~{:016x}", fnv1a(id.as_bytes())).expect("a String takes every write");
    }
    encoded
}

/// The 64-bit FNV-1a hash: readers in any language can rebuild the key of a long id.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema() {
        let keys = Keys::new("nazar").unwrap();
        let closed = Place::Closed(EventTime::from_millis(1_700_000_000_000));
        let both = |name: fn(&Keys, Place) -> String| {
            [Place::Latest, closed].map(|place| name(&keys, place)).join("\n")
        };
        let listing = [
            both(|keys, place| keys.board(place, "product", Metric::RevenueMinor, "5m")),
            both(|keys, place| keys.uniques(place, Kind::Purchase, "24h")),
            both(|keys, place| keys.entity_uniques(place, Kind::Click, "category", "tv", "1m")),
            keys.totals("1m"),
            keys.history("1h"),
            keys.closed_ends("1h"),
            keys.closed_members("1h", EventTime::from_millis(3_600_000)),
            keys.uniques_index("1m"),
            keys.entities_index(),
            keys.entity("seller", "s-1"),
            keys.meta(),
            keys.lease(),
            keys.manifest(),
            keys.blob("t0-7-p1"),
            keys.blobs_index(),
            keys.schema(),
            keys.flushes(),
            keys.staged("t0", 7, 3),
            keys.outbox("shop.click_v2", 11),
            keys.owner("a:b", 0),
            keys.patterns().join("\n"),
        ];
        insta::assert_snapshot!(listing.join("\n"), @r"
        {nazar}:top:product:revenue_minor:5m
        {nazar}:closed:top:product:revenue_minor:5m:1700000000000
        {nazar}:uniques:purchase:24h
        {nazar}:closed:uniques:purchase:24h:1700000000000
        {nazar}:uniques:click:category:tv:1m
        {nazar}:closed:uniques:click:category:tv:1m:1700000000000
        {nazar}:totals:1m
        {nazar}:history:1h
        {nazar}:closed:ends:1h
        {nazar}:closed:members:1h:3600000
        {nazar}:index:uniques:1m
        {nazar}:index:entities
        nazar:seller:s-1
        {nazar}:meta
        {nazar}:lease
        {nazar}:manifest
        {nazar}:pane:t0-7-p1
        {nazar}:index:blobs
        {nazar}:schema
        {nazar}:flushes
        {nazar}:tmp:t0:7:3
        {nazar:shop.click_v2:11}:outbox
        {nazar:a%3Ab:0}:owner
        {nazar}:*
        {nazar:*
        nazar:*
        ");
    }

    #[test]
    fn a_key_can_be_moved_to_another_prefix() {
        let [live, next] = ["nazar", "next"].map(|prefix| Keys::new(prefix).unwrap());
        let moved = |key: &str| live.moved(key, &next);
        assert_eq!(moved("{next}:meta"), Some(live.meta()));
        assert_eq!(["{nazar}:meta", "next:product:1"].map(moved), [None, None]);
    }

    #[test]
    fn ids_cannot_break_out_of_their_part() {
        let encoded = ["tv.4k_a-b", "a:b", "{x}", "50%", "a b\n", "é", "*?[", "a~b"].map(encode);
        insta::assert_snapshot!(encoded.join(" "), @"tv.4k_a-b a%3Ab %7Bx%7D 50%25 a%20b%0A %C3%A9 %2A%3F%5B a%7Eb");
    }

    #[test]
    fn long_ids_are_cut_and_told_apart() {
        let fits = "x".repeat(ID_BYTES_MAX);
        assert_eq!(encode(&fits), fits);
        let (a, b) = (encode(&format!("{fits}a")), encode(&format!("{fits}b")));
        assert_eq!([a.len(), b.len()], [ID_BYTES_MAX; 2]);
        assert_ne!(a, b);
        // Two bytes of three letters each per character: the cut falls between escapes.
        let wide = encode(&"é".repeat(100));
        let (text, hash) = wide.split_once('~').unwrap();
        assert!(wide.len() <= ID_BYTES_MAX && text.len() % 3 == 0 && hash.len() == 16, "{wide}");
    }

    #[test]
    fn fnv_is_the_published_one() {
        assert_eq!([fnv1a(b""), fnv1a(b"foobar")], [0xcbf2_9ce4_8422_2325, 0x8594_4171_f739_67e8]);
    }

    #[test]
    fn prefixes_that_would_reach_into_others_are_refused() {
        for bad in ["", "a:b", "a{b", "a*", "a b", &"x".repeat(65)] {
            assert!(Keys::new(bad).is_none(), "{bad}");
        }
        assert!(Keys::new("shop-eu.v2_x").is_some());
    }
}
