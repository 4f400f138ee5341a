//! What a run measures while it goes on, shared by those who send, acknowledge, see and report.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::pending::Pending;
use super::recorder::Recorder;
use super::stamp::Stamp;
use crate::load::block::Meta;
use crate::load::kind::Kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Schedule,
    Ack,
    Visible,
}

impl Stage {
    pub const ALL: [Stage; 3] = [Stage::Schedule, Stage::Ack, Stage::Visible];

    pub const fn name(self) -> &'static str {
        match self {
            Stage::Schedule => "schedule",
            Stage::Ack => "ack",
            Stage::Visible => "visible",
        }
    }
}

/// Records so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub sent: u64,
    pub acked: u64,
    pub visible: u64,
}

#[derive(Debug)]
pub struct Meter {
    /// Not set before the start: until then no time passes.
    origin: OnceLock<Instant>,
    warmup_us: u64,
    max_behind_us: u64,
    recorders: [Mutex<Recorder>; 3],
    sent: AtomicU64,
    acked: AtomicU64,
    /// Records that count, and those of them that were handed over too late.
    measured: AtomicU64,
    late: AtomicU64,
    /// The worst lateness since it was asked for last.
    behind_us: AtomicU64,
    /// What the last tick has found, for others to look at.
    intended: AtomicU64,
    behind_last_us: AtomicU64,
    pending: Option<Mutex<Pending>>,
    /// Where the partitions of each kind begin in `pending`.
    first_partition: [usize; 4],
}

/// The lock of something that is whole at every moment, even if a thread has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Meter {
    /// `next_offsets` by kind and partition, if visibility is to be watched.
    pub fn new(
        warmup: Duration,
        max_behind: Duration,
        next_offsets: Option<&[Vec<i64>; 4]>,
    ) -> Self {
        let warmup_us = warmup.as_micros() as u64;
        let mut first_partition = [0; 4];
        let pending = next_offsets.map(|offsets| {
            let mut partitions = 0;
            for kind in Kind::ALL {
                first_partition[kind as usize] = partitions;
                partitions += offsets[kind as usize].len();
            }
            Mutex::new(Pending::new(offsets.iter().flatten().copied()))
        });
        Self {
            origin: OnceLock::new(),
            warmup_us,
            max_behind_us: max_behind.as_micros() as u64,
            recorders: [(); 3].map(|()| Mutex::new(Recorder::new(warmup_us))),
            sent: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            measured: AtomicU64::new(0),
            late: AtomicU64::new(0),
            behind_us: AtomicU64::new(0),
            intended: AtomicU64::new(0),
            behind_last_us: AtomicU64::new(0),
            pending,
            first_partition,
        }
    }

    /// From now on time passes.
    pub fn start(&self) {
        self.origin.get_or_init(Instant::now);
    }

    pub fn elapsed(&self) -> Duration {
        self.origin.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    fn now_us(&self) -> u64 {
        self.elapsed().as_micros() as u64
    }

    pub fn recorder(&self, stage: Stage) -> MutexGuard<'_, Recorder> {
        lock(&self.recorders[stage as usize])
    }

    pub fn pending(&self) -> Option<MutexGuard<'_, Pending>> {
        self.pending.as_ref().map(lock)
    }

    /// The stamp of a record that is about to be handed over, `elapsed` after the start.
    pub fn stamp(&self, meta: &Meta, elapsed: Duration) -> Stamp {
        Stamp::new(meta.due_ns / 1000, elapsed.as_micros() as u64)
    }

    /// The producer has taken a record. It was stamped when that began.
    pub fn handed_over(&self, meta: &Meta, stamp: Stamp) {
        let (intended_us, sent_us) = (stamp.intended_us(), stamp.sent_us());
        let behind_us = sent_us - intended_us;
        self.sent.fetch_add(1, Relaxed);
        self.behind_us.fetch_max(behind_us, Relaxed);
        if intended_us >= self.warmup_us {
            self.measured.fetch_add(1, Relaxed);
            self.late.fetch_add(u64::from(behind_us > self.max_behind_us), Relaxed);
        }
        self.recorder(Stage::Schedule).record(intended_us, sent_us, sent_us, 1);
        if let Some(mut pending) = self.pending() {
            let partition = self.first_partition[meta.kind as usize] + meta.partition as usize;
            pending.push(partition, intended_us, sent_us);
        }
    }

    pub fn acknowledged(&self, stamp: Stamp) {
        self.acked.fetch_add(1, Relaxed);
        let now_us = self.now_us();
        self.recorder(Stage::Ack).record(stamp.intended_us(), stamp.sent_us(), now_us, 1);
    }

    /// An offset vector was read: by kind and partition, the next offset that is not covered.
    pub fn covered(&self, vector: impl IntoIterator<Item = ((Kind, u32), i64)>) {
        let now_us = self.now_us();
        let Some(mut pending) = self.pending() else { return };
        let mut recorder = self.recorder(Stage::Visible);
        for ((kind, partition), next) in vector {
            let partition = self.first_partition[kind as usize] + partition as usize;
            pending.cover(partition, next, |seen| {
                recorder.record(seen.intended_us, seen.sent_us, now_us, seen.records);
            });
        }
    }

    /// Waiting is over: what is not visible enters with the time that it has waited. Without this the
    /// slowest records would be those that are not counted.
    pub fn give_up(&self) {
        let now_us = self.now_us();
        let Some(mut pending) = self.pending() else { return };
        let mut recorder = self.recorder(Stage::Visible);
        pending.give_up(|seen| {
            recorder.record(seen.intended_us, seen.sent_us, now_us, seen.records);
        });
    }

    pub fn progress(&self) -> Progress {
        Progress {
            sent: self.sent.load(Relaxed),
            acked: self.acked.load(Relaxed),
            visible: self.pending().map_or(0, |pending| pending.visible()),
        }
    }

    /// Records that count, and those of them that were handed over too late.
    pub fn held(&self) -> (u64, u64) {
        (self.measured.load(Relaxed), self.late.load(Relaxed))
    }

    /// What the last tick has found: records due so far, and the worst lateness in its interval.
    pub fn publish(&self, intended: u64, behind: Duration) {
        self.intended.store(intended, Relaxed);
        self.behind_last_us.store(behind.as_micros() as u64, Relaxed);
    }

    pub fn intended(&self) -> u64 {
        self.intended.load(Relaxed)
    }

    pub fn behind_last(&self) -> Duration {
        Duration::from_micros(self.behind_last_us.load(Relaxed))
    }

    /// The worst lateness since the last call.
    pub fn take_behind(&self) -> Duration {
        Duration::from_micros(self.behind_us.swap(0, Relaxed))
    }
}
