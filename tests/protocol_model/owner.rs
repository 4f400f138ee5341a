//! One member's reading of one partition.

use std::rc::Rc;

use nazar::pipeline::protocol::{Gate, Held, Sent, Token};

use crate::log::{Cell, Log, Panes, add, is_late, pane_end, partition};
use crate::store::{Delivery, Main, Manifest, Meta, Outbox, State};

/// What an owner has read from Redis. By the time it acts on it, it may be stale.
#[derive(Clone)]
pub struct Seen {
    pub manifest: Rc<Manifest>,
    pub meta: Rc<Meta>,
    pub outbox: Option<Held>,
}

impl Seen {
    pub fn cursor(&self, p: usize) -> i64 {
        self.manifest.cursors.get(partition(p)).unwrap()
    }
}

pub struct Owner {
    pub p: usize,
    pub token: Token,
    pub sent: Sent,
    pub seen: Option<Seen>,
    /// The open delta: what was read since `sent.end()`.
    position: i64,
    moved: Option<i64>,
    cells: Panes,
    /// Offset of the published views when this owner started.
    published: Option<i64>,
}

impl Owner {
    /// Starts at the cursor of a manifest, with the state that stands beside it.
    pub fn start(p: usize, token: Token, seen: &Seen) -> Self {
        let cursor = seen.cursor(p);
        Self {
            p,
            token,
            sent: Sent::start(cursor),
            seen: None,
            position: cursor,
            moved: seen.manifest.states[p].moved,
            cells: Panes::new(),
            published: seen.meta.vector.get(partition(p)),
        }
    }

    pub fn observe(&mut self, main: &Main, outbox: &Outbox) {
        self.seen = Some(Seen {
            manifest: main.manifest.clone(),
            meta: main.meta.clone(),
            outbox: outbox.held(self.token),
        });
    }

    /// Reads up to `records` more into the open delta.
    pub fn consume(&mut self, log: &Log, records: i64) {
        let to = (self.position + records).min(log.end());
        let to = Gate::cut(self.sent.end(), to, self.published).max(self.position);
        for offset in self.position..to {
            let record = log.read(offset);
            if !is_late(self.moved, record.time) {
                let cell = Cell { weight: record.weight, records: 1 };
                add(&mut self.cells, pane_end(record.time), cell);
            }
            self.moved = self.moved.max(Some(record.time));
        }
        self.position = to;
    }

    /// The open delta as a delivery. `seen` was read before the broker is asked for the end
    /// of the log here, which is what makes its stream time a quiet mark.
    pub fn delivery(&self, log: &Log, seen: &Seen) -> Delivery {
        let quiet = seen.meta.stream_time.filter(|_| self.position == log.end());
        Delivery {
            p: self.p,
            from: self.sent.end(),
            to: self.position,
            state_to: State { moved: self.moved, quiet },
            cells: self.cells.clone(),
        }
    }

    /// The delivery is on its way: the next delta is empty.
    pub fn handed_over(&mut self) {
        self.cells.clear();
    }
}
