//! The merger of one member that holds, or believes to hold, the lease.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use nazar::pipeline::protocol::{
    Admission, ClosedThrough, Cursors, Gate, Passage, Token, append_admitted,
};
use nazar::time::EventTime;

use crate::Rule;
use crate::log::{LATENESS, Panes, add, partition, window};
use crate::store::{Closed, Delivery, Main, Manifest, Meta, State};

pub struct Leader {
    pub token: Token,
    /// `None` until manifest and meta are read.
    pub merged: Option<Merged>,
    /// Read from outboxes, or handed over in memory under the given lease.
    pub inbox: Vec<(Option<Token>, Rc<Delivery>)>,
    pub staged: Option<Staged>,
    /// Cursors that a checkpoint has made durable: outboxes may be trimmed to them.
    pub trim_to: Option<Rc<Manifest>>,
}

pub struct Merged {
    pub cursors: Cursors,
    pub states: Vec<State>,
    pub digests: Vec<u64>,
    pub panes: Panes,
    group_watermark: Option<EventTime>,
    /// Broken: what is read again is judged anew, by the group watermark of the manifest.
    judge_again_by: Option<EventTime>,
    closed_through: ClosedThrough,
    gate: Gate,
    after_close: u64,
    seq: u64,
}

/// Views under temporary keys, waiting for the script that swaps them in.
pub struct Staged {
    pub meta: Rc<Meta>,
    pub closed: BTreeMap<i64, Closed>,
    /// Windows of `closed` that every partition's own watermark has passed.
    pub proven: Vec<i64>,
    pub forced: bool,
}

impl Leader {
    pub fn new(token: Token) -> Self {
        Self { token, merged: None, inbox: vec![], staged: None, trim_to: None }
    }
}

impl Merged {
    pub fn load(main: &Main, broken: Option<Rule>) -> Self {
        let (manifest, meta) = (&main.manifest, &main.meta);
        let closed_through = match broken {
            Some(Rule::ClosedThroughHolds) => ClosedThrough::default(),
            _ => ClosedThrough::new(vec![meta.closed_through]),
        };
        let after_close = match broken {
            Some(Rule::AfterCloseIsKept) => manifest.after_close,
            _ => manifest.after_close.max(meta.after_close),
        };
        let shown = meta.group_watermark.filter(|_| broken != Some(Rule::WatermarkIsKept));
        Self {
            cursors: manifest.cursors.clone(),
            states: manifest.states.clone(),
            digests: manifest.digests.clone(),
            panes: manifest.panes.clone(),
            group_watermark: closed_through.group_watermark(manifest.group_watermark, shown),
            judge_again_by: manifest
                .group_watermark
                .filter(|_| broken == Some(Rule::AfterCloseIsKept)),
            closed_through,
            gate: Gate::new(meta.vector.iter()),
            after_close,
            seq: meta.seq.unwrap_or(0),
        }
    }

    pub fn apply(&mut self, delivery: &Delivery, broken: Option<Rule>) -> Admission {
        let partition = partition(delivery.p);
        let mut admission = self.cursors.admit(partition, delivery.from, delivery.to);
        if broken == Some(Rule::FromEqualsCursor) && admission == Admission::Refuse {
            self.cursors.start(partition, delivery.to);
            admission = Admission::Apply;
        }
        if admission != Admission::Apply {
            return admission;
        }
        let passed = match self.gate.judges(partition, delivery.to) {
            true => self.group_watermark,
            false => self.judge_again_by,
        };
        for (&pane, &cell) in &delivery.cells {
            add(&mut self.panes, pane, cell);
            let digest = &mut self.digests[delivery.p];
            *digest = digest.wrapping_add(cell.weight);
            if passed.is_some_and(|passed| passed.millis() >= pane) {
                self.after_close += cell.records;
            }
        }
        let state = &mut self.states[delivery.p];
        state.moved = delivery.state_to.moved;
        state.quiet = state.quiet.max(delivery.state_to.quiet);
        admission
    }

    pub fn checkpoint(&self) -> Manifest {
        Manifest {
            cursors: self.cursors.clone(),
            states: self.states.clone(),
            digests: self.digests.clone(),
            panes: self.panes.clone(),
            group_watermark: self.group_watermark,
            after_close: self.after_close,
        }
    }

    /// Moves the group watermark, closes what it has passed, and stages all views; `None` while
    /// the gate is shut.
    pub fn stage(&mut self, waited: Duration, broken: Option<Rule>) -> Option<Staged> {
        let mut passage = self.gate.pass(&self.cursors, waited);
        if broken == Some(Rule::GateHolds) {
            passage = Passage::Open;
        }
        if passage == Passage::Shut {
            return None;
        }
        let watermark = |state: &State| state.moved.map(|moved| moved - LATENESS);
        let with_quiet =
            |state: &State| watermark(state).max(state.quiet.map(|quiet| quiet - LATENESS));
        let least = self.states.iter().map(with_quiet).min().flatten();
        self.group_watermark = self.group_watermark.max(least.map(EventTime::from_millis));
        let mut closed = BTreeMap::new();
        let mut proven = vec![];
        if let (Some(g), Some((&first, _))) = (self.group_watermark, self.panes.first_key_value()) {
            let next = self.closed_through.get(0).map_or(first, |closed| closed.millis() + 1);
            for end in next..=g.millis() {
                if self.closed_through.claim(0, EventTime::from_millis(end)) {
                    closed.insert(end, Closed { content: window(&self.panes, end) });
                    if self.states.iter().all(|state| watermark(state) >= Some(end)) {
                        proven.push(end);
                    }
                }
            }
        }
        self.seq += 1;
        let meta = Meta {
            seq: Some(self.seq),
            vector: self.cursors.clone(),
            views: self.panes.clone(),
            group_watermark: self.group_watermark,
            closed_through: self.closed_through.get(0),
            stream_time: self.states.iter().filter_map(|state| state.moved).max(),
            after_close: self.after_close,
        };
        let forced = passage == Passage::Forced;
        Some(Staged { meta: Rc::new(meta), closed, proven, forced })
    }
}

/// The append script.
pub fn append_is_admitted(
    outbox: &crate::store::Outbox,
    mine: Token,
    from: i64,
    broken: Option<Rule>,
) -> bool {
    match broken {
        Some(Rule::AppendContinues) => outbox.token == Some(mine),
        Some(Rule::AppendComparesToken) => outbox.last_to == from,
        _ => append_admitted(outbox.token, mine, outbox.last_to, from),
    }
}
