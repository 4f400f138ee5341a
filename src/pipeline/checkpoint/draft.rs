//! From a capture to blobs and a manifest: what changed is encoded, one blob at a time, and what
//! did not keeps the blob that it has.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::{BlobName, Capture, Cut, Manifest, Stored, marks, names, pack, panes};
use crate::pipeline::distinct::{MarkRun, SketchOwner};
use crate::pipeline::entity::Segment;
use crate::pipeline::frontier::Frontier;
use crate::pipeline::pane::Pane;
use crate::time::EventTime;

/// A capture leaves out what an earlier one held, but that one was never stored: take a capture
/// of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the capture builds on one that was not stored")]
pub struct NeedsEverything;

/// A checkpoint on its way to the store.
pub struct Draft {
    cut: Cut,
    /// What the manifest will say; blobs are filled in as they are encoded.
    stored: Stored,
    todo: VecDeque<Item>,
    ready: VecDeque<(BlobName, Vec<u8>)>,
    /// Blobs of the last manifest.
    before: Vec<BlobName>,
    /// First part of every blob's name.
    prefix: String,
    named: usize,
}

enum Item {
    Names(usize, usize, Arc<Segment>),
    Pane((usize, EventTime), Arc<Pane>),
    Base(SketchOwner, Arc<Frontier>),
    Cell(i64, Vec<MarkRun>),
    Folded(u64, Vec<MarkRun>),
    Ahead(Vec<MarkRun>),
}

impl Draft {
    /// `last`: what the last manifest refers to. `prefix` begins the names of all blobs and has
    /// never been used before.
    ///
    /// # Errors
    /// See [`NeedsEverything`].
    pub fn new(last: &Stored, capture: Capture, prefix: String) -> Result<Self, NeedsEverything> {
        let nothing = Stored::default();
        let before = last.blobs().cloned().collect();
        let last = if capture.is_everything { &nothing } else { last };
        let mut draft = Self {
            cut: capture.cut,
            stored: Stored::default(),
            todo: VecDeque::new(),
            ready: VecDeque::new(),
            before,
            prefix,
            named: 0,
        };
        for (dimension, segments) in capture.names.into_iter().enumerate() {
            draft.names(dimension, segments, last);
        }
        for pane in capture.panes {
            let key = (pane.level, pane.start);
            match (last.panes.get(&key), pane.content) {
                (Some((changed, blobs)), _) if *changed == pane.changed => {
                    draft.stored.panes.insert(key, (*changed, blobs.clone()));
                }
                (_, Some(content)) => draft.todo.push_back(Item::Pane(key, content)),
                (_, None) => return Err(NeedsEverything),
            }
        }
        draft.users(capture.users, last)?;
        Ok(draft)
    }

    fn names(&mut self, dimension: usize, segments: Vec<Arc<Segment>>, last: &Stored) {
        let known = last.names.get(dimension).map_or(&[][..], Vec::as_slice);
        let mut stored = Vec::with_capacity(segments.len());
        for (number, segment) in segments.into_iter().enumerate() {
            let changed = segment.changed();
            match known.get(number).filter(|&&(before, _)| before == changed) {
                Some(same) => stored.push(same.clone()),
                None => {
                    // Its place; the blob's name follows.
                    stored.push((changed, BlobName::from("")));
                    self.todo.push_back(Item::Names(dimension, number, segment));
                }
            }
        }
        self.stored.names.push(stored);
    }

    fn users(
        &mut self,
        users: crate::pipeline::distinct::Captured,
        last: &Stored,
    ) -> Result<(), NeedsEverything> {
        let owners: BTreeSet<SketchOwner> = self.cut.sketches.iter().copied().collect();
        let taken: BTreeSet<SketchOwner> = users.bases.iter().map(|&(owner, _)| owner).collect();
        for (owner, base) in users.bases {
            if !base.is_empty() {
                self.todo.push_back(Item::Base(owner, base));
            }
        }
        let stays = |owner: &SketchOwner| owners.contains(owner) && !taken.contains(owner);
        self.stored.bases = last
            .bases
            .iter()
            .filter(|(owner, _)| stays(owner))
            .map(|(&owner, blob)| (owner, blob.clone()))
            .collect();
        let mut open = BTreeSet::new();
        for cell in users.cells {
            open.insert(cell.start);
            match (cell.runs, last.cells.get(&cell.start)) {
                (Some(runs), _) => self.todo.push_back(Item::Cell(cell.start, runs)),
                (None, Some(blob)) => {
                    self.stored.cells.insert(cell.start, blob.clone());
                }
                (None, None) => return Err(NeedsEverything),
            }
        }
        let closed = last.cells.iter().filter(|(start, _)| !open.contains(start));
        let closed = closed.map(|(_, blob)| (users.number, blob.clone()));
        let is_needed = |number: u64| users.superseded.is_none_or(|through| number > through);
        self.stored.folded =
            last.folded.iter().cloned().chain(closed).filter(|&(n, _)| is_needed(n)).collect();
        if !users.folded.is_empty() && is_needed(users.number) {
            self.todo.push_back(Item::Folded(users.number, users.folded));
        }
        if !users.ahead.is_empty() {
            self.todo.push_back(Item::Ahead(users.ahead));
        }
        Ok(())
    }

    /// The next blob to be written, encoded and packed; `None` when there is no more.
    pub fn next_blob(&mut self) -> Option<(BlobName, Vec<u8>)> {
        loop {
            if let Some(blob) = self.ready.pop_front() {
                return Some(blob);
            }
            match self.todo.pop_front()? {
                Item::Names(dimension, number, segment) => {
                    let name = self.add("n", &names::encode(segment.names()));
                    self.stored.names[dimension][number].1 = name;
                }
                Item::Pane(key, pane) => {
                    let parts = panes::encode(&pane);
                    let names = parts.iter().map(|part| self.add("p", part)).collect();
                    self.stored.panes.insert(key, (pane.changed, names));
                }
                Item::Base(owner, frontier) => {
                    let name =
                        self.add("u", &marks::encode(vec![marks::of_frontier(owner, &frontier)]));
                    self.stored.bases.insert(owner, name);
                }
                Item::Cell(start, runs) => {
                    let name = self.add("u", &marks::encode(runs));
                    self.stored.cells.insert(start, name);
                }
                Item::Folded(number, runs) => {
                    let name = self.add("u", &marks::encode(runs));
                    self.stored.folded.push((number, name));
                }
                Item::Ahead(runs) => {
                    let name = self.add("u", &marks::encode(runs));
                    self.stored.ahead = Some(name);
                }
            }
        }
    }

    fn add(&mut self, kind: &str, content: &[u8]) -> BlobName {
        let name = BlobName::from(format!("{}-{kind}{}", self.prefix, self.named));
        self.named += 1;
        self.ready.push_back((name.clone(), pack::pack(content)));
        name
    }

    /// The manifest, once every blob is stored, and the blobs that it does not name any more.
    pub fn finish(self) -> (Manifest, Vec<BlobName>) {
        debug_assert!(self.todo.is_empty() && self.ready.is_empty(), "blobs are missing");
        let kept: BTreeSet<&BlobName> = self.stored.blobs().collect();
        let dropped = self.before.iter().filter(|blob| !kept.contains(blob)).cloned().collect();
        (Manifest { cut: self.cut, stored: self.stored }, dropped)
    }
}
