//! Optional de-duplication by event id, within one partition.
//!
//! A record is a *duplicate* if its id was seen before in a valid record of its partition that
//! was not late, and the greatest pane of such a record has not passed the watermark: the end
//! of that pane is after C_p. So an id is remembered for as long as another record of it could
//! be counted in the same panes, and longer if its records come with later times.
//!
//! ```text
//!  lateness 10 s, panes of 1 s          C_p
//!  "a" at 100.0  new           remembered until C_p ≥ 101
//!  "a" at 100.0  duplicate       98
//!  "a" at 103.5  duplicate       99     remembered until C_p ≥ 104
//!  "a" at 103.9  new            104     forgotten, and remembered again, if it is not late
//! ```
//!
//! The set is never stored. [`Dedup::warm_from`] is kept with the partition's state: after a
//! seek, the records in `[warm_from, cursor)` are read again and only refill the set
//! ([`Dedup::warm`]); the watermark at the cursor then tells which are past.
//!
//! Past the byte budget the ids of the oldest panes are forgotten first, and counted: a
//! duplicate of theirs would be applied. What stays is decided by (pane, hash) alone, not by
//! the order of arrival, so that a refilled set equals the one that was lost even then.
//!
//! Ids are remembered as 128-bit hashes. Among 10 million live ids the odds that any two
//! different ones collide are about 10⁻²⁵.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::pipeline::murmur3::murmur3_128;
use crate::time::EventTime;

type IdHash = [u64; 2];

/// Whether the id of a record counts now or has counted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    New,
    Duplicate,
}

/// The ids of one pane's end.
#[derive(Debug)]
struct Bucket {
    /// The smallest first. Some may have moved to a later pane since; `pane_ends` knows.
    ids: BinaryHeap<Reverse<IdHash>>,
    /// No record that remembers one of `ids` here lies before this.
    oldest_offset: i64,
}

/// The ids remembered in one partition.
#[derive(Debug)]
pub struct Dedup {
    ids_max: usize,
    /// The greatest pane end of each id.
    pane_ends: HashMap<IdHash, EventTime>,
    buckets: BTreeMap<EventTime, Bucket>,
    /// How many ids in `buckets` have moved to a later one.
    moved: usize,
    evicted: u64,
}

impl Dedup {
    /// What one id takes at worst: an entry of a hash table that has just grown, twice a place
    /// in a heap that has just grown (twice, as it may have moved to a later pane). While a table grows, its old half
    /// comes on top for a moment.
    pub const BYTES_PER_ID: usize = 25 * 16 / 7 + 2 * 2 * 16;

    pub fn new(bytes_max: usize) -> Self {
        Self {
            ids_max: (bytes_max / Self::BYTES_PER_ID).max(1),
            pane_ends: HashMap::new(),
            buckets: BTreeMap::new(),
            moved: 0,
            evicted: 0,
        }
    }

    /// Judges and remembers the id of a valid record that is not late. `watermark` is the
    /// partition's, before this record.
    pub fn observe(
        &mut self,
        id: &str,
        offset: i64,
        pane_end: EventTime,
        watermark: Option<EventTime>,
    ) -> Seen {
        if let Some(watermark) = watermark {
            self.expire(watermark);
        }
        let seen = self.remember(id, offset, pane_end);
        self.evicted += self.evict() as u64;
        seen
    }

    /// Remembers the id of a valid record before the cursor without judging it. Late records
    /// may be among them: the watermark at the cursor has passed their panes as well.
    pub fn warm(&mut self, id: &str, offset: i64, pane_end: EventTime) {
        self.remember(id, offset, pane_end);
        self.evict();
    }

    /// Forgets the ids whose greatest pane the watermark has passed.
    pub fn expire(&mut self, watermark: EventTime) {
        while let Some(bucket) = self.buckets.first_entry()
            && *bucket.key() <= watermark
        {
            let (pane_end, bucket) = bucket.remove_entry();
            for Reverse(id) in bucket.ids {
                match self.pane_ends.entry(id) {
                    Entry::Occupied(entry) if *entry.get() == pane_end => drop(entry.remove()),
                    _ => self.moved -= 1,
                }
            }
        }
    }

    /// From where records have to be read again to refill the set at `cursor`: no later than
    /// the oldest record that is remembered.
    pub fn warm_from(&self, cursor: i64) -> i64 {
        self.buckets.values().map(|bucket| bucket.oldest_offset).min().unwrap_or(cursor)
    }

    /// Ids that were forgotten before their time, because the budget was full.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    pub fn len(&self) -> usize {
        self.pane_ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pane_ends.is_empty()
    }

    /// Changes the budget, as when partitions come and go and share a process's anew.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.ids_max = (bytes_max / Self::BYTES_PER_ID).max(1);
        self.evicted += self.evict() as u64;
        self.pane_ends.shrink_to(self.ids_max);
    }

    fn remember(&mut self, id: &str, offset: i64, pane_end: EventTime) -> Seen {
        let id = murmur3_128(id.as_bytes());
        let seen = match self.pane_ends.entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(pane_end);
                Seen::New
            }
            Entry::Occupied(entry) if *entry.get() >= pane_end => return Seen::Duplicate,
            Entry::Occupied(mut entry) => {
                entry.insert(pane_end);
                self.moved += 1;
                Seen::Duplicate
            }
        };
        let bucket = self
            .buckets
            .entry(pane_end)
            .or_insert_with(|| Bucket { ids: BinaryHeap::new(), oldest_offset: offset });
        bucket.ids.push(Reverse(id));
        bucket.oldest_offset = bucket.oldest_offset.min(offset);
        if self.moved > self.pane_ends.len() {
            self.sweep();
        }
        seen
    }

    /// Drops from the buckets the ids that have moved to later ones. Run when they are more
    /// than half, so that its cost is spread over the moves, and places never exceed ids twice.
    fn sweep(&mut self) {
        self.buckets.retain(|pane_end, bucket| {
            bucket.ids.retain(|Reverse(id)| self.pane_ends.get(id) == Some(pane_end));
            bucket.ids.shrink_to_fit();
            !bucket.ids.is_empty()
        });
        self.moved = 0;
    }

    /// Forgets the smallest (pane end, hash) until the budget holds; returns how many.
    fn evict(&mut self) -> usize {
        let mut evicted = 0;
        while self.pane_ends.len() > self.ids_max
            && let Some(mut bucket) = self.buckets.first_entry()
        {
            match bucket.get_mut().ids.pop() {
                None => drop(bucket.remove()),
                Some(Reverse(id)) if self.pane_ends.get(&id) == Some(bucket.key()) => {
                    self.pane_ends.remove(&id);
                    evicted += 1;
                }
                Some(_) => self.moved -= 1,
            }
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> EventTime {
        EventTime::from_millis(seconds * 1000)
    }

    fn roomy() -> Dedup {
        Dedup::new(1 << 20)
    }

    #[test]
    fn an_id_is_a_duplicate_until_its_greatest_pane_has_passed() {
        let mut dedup = roomy();
        for (pane_end, watermark, expected) in [
            (101, None, Seen::New),
            (101, Some(98), Seen::Duplicate),
            (104, Some(99), Seen::Duplicate), // a repetition with a later time lasts longer
            (102, Some(101), Seen::Duplicate),
            (104, Some(103), Seen::Duplicate),
            (105, Some(104), Seen::New), // its greatest pane, 104, has passed
            (105, Some(104), Seen::Duplicate),
        ] {
            let seen = dedup.observe("a", 0, at(pane_end), watermark.map(at));
            assert_eq!(seen, expected, "pane end {pane_end}, watermark {watermark:?}");
        }
    }

    #[test]
    fn the_set_refills_from_the_oldest_record_that_is_remembered() {
        let mut dedup = roomy();
        assert_eq!(dedup.warm_from(7), 7);
        dedup.observe("a", 10, at(101), None);
        dedup.observe("b", 11, at(103), None);
        dedup.observe("c", 12, at(102), None);
        assert_eq!(dedup.warm_from(13), 10);
        dedup.expire(at(101));
        assert_eq!((dedup.warm_from(13), dedup.len()), (11, 2));
        dedup.expire(at(103));
        assert_eq!((dedup.warm_from(13), dedup.is_empty()), (13, true));
    }

    #[test]
    fn the_budget_forgets_the_oldest_panes_and_counts() {
        let mut dedup = Dedup::new(2 * Dedup::BYTES_PER_ID);
        for (offset, id, pane_end) in [(0, "a", 103), (1, "b", 101), (2, "c", 102)] {
            assert_eq!(dedup.observe(id, offset, at(pane_end), None), Seen::New);
        }
        assert_eq!((dedup.len(), dedup.evicted()), (2, 1));
        assert_eq!(dedup.observe("a", 3, at(103), None), Seen::Duplicate);
        assert_eq!(dedup.observe("c", 4, at(102), None), Seen::Duplicate);
        assert_eq!(dedup.observe("b", 5, at(101), None), Seen::New, "forgotten too early");
        assert_eq!((dedup.len(), dedup.evicted()), (2, 2));
        dedup.set_bytes_max(Dedup::BYTES_PER_ID);
        assert_eq!((dedup.len(), dedup.evicted()), (1, 3));
        assert_eq!(dedup.observe("a", 6, at(103), None), Seen::Duplicate);
    }

    #[test]
    fn an_id_that_wanders_through_panes_takes_no_more_room() {
        let mut dedup = roomy();
        for second in 0..10_000 {
            dedup.observe("a", second, at(second), None);
            dedup.observe("b", second, at(second), None);
        }
        let places: usize = dedup.buckets.values().map(|bucket| bucket.ids.len()).sum();
        assert_eq!(dedup.len(), 2);
        assert!(places <= 4 && dedup.warm_from(10_000) >= 9_996, "{places} places");
    }

    fn allocated_bytes(dedup: &Dedup) -> usize {
        let places = dedup.buckets.values().map(|bucket| bucket.ids.capacity()).sum::<usize>();
        dedup.pane_ends.allocation_size() + places * size_of::<Reverse<IdHash>>()
    }

    #[test]
    fn the_budget_is_kept() {
        const BUDGET: usize = 1 << 20;
        // All in one pane; spread over panes; each id again in the next pane.
        let streams: [fn(i64) -> (i64, i64); 3] =
            [|i| (i, 1), |i| (i, i / 500), |i| (i / 2, i % 2 + i / 1000)];
        for (which, stream) in streams.into_iter().enumerate() {
            let mut dedup = Dedup::new(BUDGET);
            for i in 0..60_000 {
                let (id, pane_end) = stream(i);
                dedup.observe(&id.to_string(), i, at(pane_end), None);
                let allocated = allocated_bytes(&dedup);
                assert!(allocated <= BUDGET, "{allocated} bytes in stream {which}");
            }
            assert!(dedup.evicted() > 0, "the budget was never full");
        }
    }

    /// (id, pane end or nothing to expire, advance of the watermark)
    type Step = (u8, i64, i64);

    /// Remembers everything that was observed and was not late.
    #[derive(Default)]
    struct Naive(Vec<(String, i64)>);

    impl Naive {
        fn observe(&mut self, id: &str, pane_end: i64, watermark: Option<i64>) -> Seen {
            let greatest = self.0.iter().filter(|(seen, _)| seen == id).map(|&(_, end)| end).max();
            self.0.push((id.to_owned(), pane_end));
            match greatest {
                Some(greatest) if watermark.is_none_or(|watermark| greatest > watermark) => {
                    Seen::Duplicate
                }
                _ => Seen::New,
            }
        }
    }

    fn remembered(dedup: &Dedup) -> Vec<(IdHash, EventTime)> {
        let mut ids: Vec<_> = dedup.pane_ends.iter().map(|(&id, &end)| (id, end)).collect();
        ids.sort_unstable();
        ids
    }

    proptest! {
        /// Judges as the naive model does, and whatever the budget, a set refilled at any
        /// offset from its `warm_from` is the set that was lost.
        #[test]
        fn judges_as_the_definition_and_refills(
            steps in prop::collection::vec((0..30u8, 0..12i64, 0..3i64), 0..120),
            ids_max in 1..40usize,
        ) {
            let steps: Vec<Step> = steps;
            let mut dedup = Dedup::new(ids_max * Dedup::BYTES_PER_ID);
            let mut unbounded = roomy();
            let mut naive = Naive::default();
            let mut log = vec![];
            let mut watermark = None;
            for (offset, (id, ahead, advance)) in steps.into_iter().enumerate() {
                let (offset, id) = (offset as i64, id.to_string());
                let pane_end = watermark.unwrap_or(0) - 2 + ahead;
                log.push((id.clone(), pane_end));
                if watermark.is_none_or(|watermark| pane_end > watermark) {
                    let expected = naive.observe(&id, pane_end, watermark);
                    let watermark = watermark.map(at);
                    prop_assert_eq!(unbounded.observe(&id, offset, at(pane_end), watermark), expected);
                    dedup.observe(&id, offset, at(pane_end), watermark);
                    prop_assert!(dedup.len() <= ids_max);
                }
                if advance > 0 {
                    watermark = Some(watermark.unwrap_or(0) + advance - 1);
                }
                if let Some(watermark) = watermark {
                    dedup.expire(at(watermark));
                }
                let cursor = offset + 1;
                let from = dedup.warm_from(cursor);
                let mut refilled = Dedup::new(ids_max * Dedup::BYTES_PER_ID);
                for offset in from..cursor {
                    let (id, pane_end) = &log[offset as usize];
                    refilled.warm(id, offset, at(*pane_end));
                }
                if let Some(watermark) = watermark {
                    refilled.expire(at(watermark));
                }
                prop_assert_eq!(remembered(&refilled), remembered(&dedup));
            }
        }
    }
}
