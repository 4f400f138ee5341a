//! Redis: slots that can each lose their latest writes, on their own.

use std::collections::BTreeMap;
use std::rc::Rc;

use nazar::pipeline::protocol::{Cursors, Held, Lease, Token};
use nazar::time::EventTime;

use crate::log::Panes;

/// A slot with the states it may fall back to.
pub struct Slot<T> {
    pub now: T,
    past: Vec<T>,
}

impl<T: Clone> Slot<T> {
    const REMEMBERED: usize = 12;

    pub fn new(now: T) -> Self {
        Self { now, past: vec![] }
    }

    /// Runs a script that writes.
    pub fn write(&mut self, script: impl FnOnce(&mut T)) {
        if self.past.len() == Self::REMEMBERED {
            self.past.remove(0);
        }
        self.past.push(self.now.clone());
        script(&mut self.now);
    }

    /// Loses the latest acknowledged writes.
    pub fn fall_back(&mut self, writes: usize) {
        for _ in 0..writes {
            if let Some(earlier) = self.past.pop() {
                self.now = earlier;
            }
        }
    }
}

/// The slot `{nazar}`.
#[derive(Clone)]
pub struct Main {
    pub lease: Option<Lease>,
    pub manifest: Rc<Manifest>,
    pub meta: Rc<Meta>,
    pub history: Rc<BTreeMap<i64, Closed>>,
}

/// What the partition knows at its cursor.
#[derive(Clone, Copy, Default)]
pub struct State {
    pub moved: Option<i64>,
    pub quiet: Option<i64>,
}

pub struct Manifest {
    pub cursors: Cursors,
    pub states: Vec<State>,
    pub digests: Vec<u64>,
    pub panes: Panes,
    pub group_watermark: Option<EventTime>,
    pub after_close: u64,
}

#[derive(Default)]
pub struct Meta {
    pub seq: Option<u64>,
    pub vector: Cursors,
    pub views: Panes,
    pub group_watermark: Option<EventTime>,
    pub closed_through: Option<EventTime>,
    pub stream_time: Option<i64>,
    pub after_close: u64,
}

#[derive(Clone, Copy)]
pub struct Closed {
    pub content: u64,
}

/// What the records in `[from, to)` contribute.
pub struct Delivery {
    pub p: usize,
    pub from: i64,
    pub to: i64,
    pub state_to: State,
    pub cells: Panes,
}

/// A slot `{nazar:<topic>:<p>}`.
#[derive(Clone, Default)]
pub struct Outbox {
    pub token: Option<Token>,
    /// Survives trimming, as the last id of a stream does.
    pub last_to: i64,
    pub entries: Vec<Rc<Delivery>>,
}

impl Outbox {
    pub fn open(token: Token, at: i64) -> Self {
        Self { token: Some(token), last_to: at, entries: vec![] }
    }

    pub fn append(&mut self, delivery: Rc<Delivery>) {
        self.last_to = delivery.to;
        self.entries.push(delivery);
    }

    /// What an owner that holds `token` sees.
    pub fn held(&self, token: Token) -> Option<Held> {
        let from = self.entries.first().map_or(self.last_to, |first| first.from);
        (self.token == Some(token)).then_some(Held { from, to: self.last_to })
    }
}
