//! Records that are on their way to Redis, until an offset vector says that they have arrived.
//!
//! ```text
//! partition 0   17 18 19 20 ──► next 21        vector: 0=19   ⇒ 17 and 18 are visible now
//! partition 1   40 41 ──► next 42                      1=42   ⇒ 40 and 41
//! ```
//!
//! The topics are nobody else's and the producer keeps order, so the offset of a record is known when it is
//! handed over. Memory is bounded: when too many records wait, every other one is
//! forgotten, the ones that stay stand for two, and from then on only every second record is kept; and so on.

use std::collections::VecDeque;

/// Records kept while they wait; 24 bytes each.
const ENTRIES_MAX: usize = 1 << 20;

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: i64,
    intended_us: u64,
    sent_us: u64,
    records: u64,
}

#[derive(Clone, Debug)]
struct Queue {
    start: i64,
    /// The offset of the next record.
    next: i64,
    /// Records before this are visible.
    seen: i64,
    entries: VecDeque<Entry>,
}

#[derive(Clone, Debug)]
pub struct Pending {
    queues: Vec<Queue>,
    len: usize,
    entries_max: usize,
    /// One record in so many is kept.
    one_in: u64,
    pushed: u64,
}

/// A record that has become visible, or `records` of which it is a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub intended_us: u64,
    pub sent_us: u64,
    pub records: u64,
}

impl Pending {
    /// By partition: the offset of its next record.
    pub fn new(next_offsets: impl IntoIterator<Item = i64>) -> Self {
        let queue = |next| Queue { start: next, next, seen: next, entries: VecDeque::new() };
        let queues = next_offsets.into_iter().map(queue).collect();
        Self { queues, len: 0, entries_max: ENTRIES_MAX, one_in: 1, pushed: 0 }
    }

    /// A record was handed over.
    pub fn push(&mut self, partition: usize, intended_us: u64, sent_us: u64) {
        let queue = &mut self.queues[partition];
        let offset = queue.next;
        queue.next += 1;
        self.pushed += 1;
        if !self.pushed.is_multiple_of(self.one_in) {
            return;
        }
        queue.entries.push_back(Entry { offset, intended_us, sent_us, records: self.one_in });
        self.len += 1;
        if self.len > self.entries_max {
            self.thin();
        }
    }

    fn thin(&mut self) {
        self.len = 0;
        self.one_in *= 2;
        let mut keeps = false;
        for queue in &mut self.queues {
            queue.entries.retain(|_| {
                keeps = !keeps;
                keeps
            });
            queue.entries.iter_mut().for_each(|entry| entry.records *= 2);
            self.len += queue.entries.len();
        }
    }

    /// The views count the log of a partition before `next`.
    pub fn cover(&mut self, partition: usize, next: i64, mut each: impl FnMut(Seen)) {
        let queue = &mut self.queues[partition];
        queue.seen = queue.seen.max(next.min(queue.next));
        while let Some(&entry) = queue.entries.front().filter(|entry| entry.offset < next) {
            queue.entries.pop_front();
            self.len -= 1;
            let Entry { intended_us, sent_us, records, .. } = entry;
            each(Seen { intended_us, sent_us, records });
        }
    }

    /// What is not visible yet, to give it up.
    pub fn give_up(&mut self, mut each: impl FnMut(Seen)) {
        for partition in 0..self.queues.len() {
            // Only what is kept: `seen` stays where it is.
            let seen = self.queues[partition].seen;
            self.cover(partition, i64::MAX, &mut each);
            self.queues[partition].seen = seen;
        }
    }

    /// Records that are visible.
    pub fn visible(&self) -> u64 {
        self.queues.iter().map(|queue| (queue.seen - queue.start) as u64).sum()
    }

    /// Records that were handed over and are not visible.
    pub fn missing(&self) -> u64 {
        self.queues.iter().map(|queue| (queue.next - queue.seen) as u64).sum()
    }

    pub fn one_in(&self) -> u64 {
        self.one_in
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pending: &mut Pending, partition: usize, next: i64) -> Vec<(u64, u64)> {
        let mut seen = Vec::new();
        pending.cover(partition, next, |record| seen.push((record.intended_us, record.records)));
        seen
    }

    #[test]
    fn a_record_is_seen_when_the_vector_passes_it() {
        let mut pending = Pending::new([17, 40]);
        for at in 0..3 {
            pending.push(0, at, at);
        }
        pending.push(1, 9, 9);
        assert_eq!(seen(&mut pending, 0, 17), []);
        assert_eq!(seen(&mut pending, 0, 19), [(0, 1), (1, 1)]);
        // A vector that goes back, as after a loss, shows nothing new and takes nothing away.
        assert_eq!(seen(&mut pending, 0, 5), []);
        assert_eq!((pending.visible(), pending.missing()), (2, 2));
        // One that is ahead of us means another run's records.
        assert_eq!(seen(&mut pending, 1, 1000), [(9, 1)]);
        assert_eq!((pending.visible(), pending.missing()), (3, 1));
        let mut given_up = 0;
        pending.give_up(|record| given_up += record.records);
        assert_eq!((given_up, pending.missing()), (1, 1));
    }

    #[test]
    fn memory_is_bounded_and_what_stays_stands_for_what_goes() {
        let mut pending = Pending { entries_max: 1000, ..Pending::new([0, 0, 0]) };
        for at in 0..100_000 {
            pending.push(at % 3, at as u64, at as u64);
            assert!(pending.len <= 1001);
        }
        assert!(pending.one_in() >= 64);
        let mut stands_for = 0;
        let mut youngest = 0;
        for partition in 0..3 {
            for (intended, records) in seen(&mut pending, partition, i64::MAX) {
                stands_for += records;
                youngest = youngest.max(intended);
            }
        }
        assert!((99_000..101_000).contains(&stands_for), "{stands_for}");
        assert!(youngest > 99_000);
        assert_eq!((pending.visible(), pending.missing(), pending.len), (100_000, 0, 0));
    }
}
