//! Checkpoints: merged state as blobs that are written once, and a manifest that names them.
//!
//! ```text
//!  merger ── capture ──► Capture ── Draft ──► blobs (zstd)   names │ panes │ marks of users
//!  (shares, copies       (an exact cut)           ▲
//!   nothing large)                                │ by name
//!                                              manifest      cursors, watermarks, edges, blobs
//!  merger ◄── Assembly ◄── blobs ◄────────────────┘
//! ```
//!
//! A capture is a cut between two deliveries: its cursors explain its panes, names and sketches
//! exactly. It is taken in the merger's thread and costs pointers, not copies, because panes,
//! segments of names and sketches are copied on write. Everything slow happens elsewhere.
//!
//! Blobs never change. What did not change since the last checkpoint keeps its blob, so the work
//! of a checkpoint follows what changed: the panes that gained records, the segments with a new
//! name, the open minutes of the sketches and a few of their bases in turns. A blob that no
//! manifest names any more is deleted after the manifest that dropped it stands.
//!
//! Blobs hold the merger's numbers of entities, not names. That is safe because a manifest lists
//! the segments of names of the very cut that its panes are of: a number that a pane refers to
//! was not free then, so no other name stood in its place. Marks of users may be older than the
//! cut; a number that has changed hands since belonged to a sketch without a mark that anybody
//! can still ask for, and such marks are passed over.
//!
//! Everything here is pure; [`Blobs`](crate::sinks::blobs::Blobs) is where bytes go.

mod assembly;
pub mod cadence;
mod draft;
mod manifest;
mod marks;
mod names;
mod pack;
mod panes;
mod state;

use std::sync::Arc;

pub use assembly::Assembly;
pub use draft::{Draft, NeedsEverything};
pub use manifest::{Manifest, Stored};

use crate::pipeline::clock::SavedClock;
use crate::pipeline::codec::CodecError;
use crate::pipeline::delivery::Partition;
use crate::pipeline::distinct::{Captured, SavedEdges, SketchOwner};
use crate::pipeline::entity::{NamesDamaged, Segment};
use crate::pipeline::merge::Position;
use crate::pipeline::pane::Pane;
use crate::time::EventTime;

/// The name of a blob: unique for ever, so that a late write of a paused process cannot replace
/// what another has written.
pub type BlobName = Arc<str>;

/// The numbers of a cut: all of merged state that is small.
#[derive(Clone, Debug)]
pub struct Cut {
    pub positions: Vec<(Partition, Position)>,
    pub clock: SavedClock,
    pub windows: SavedWindows,
    pub sketch_edges: SavedEdges,
    pub sketches: Vec<SketchOwner>,
    pub closed_through: Vec<Option<EventTime>>,
    pub events_after_close: u64,
    pub over_cap: u64,
}

/// Where the edges of windows stand, and how far panes were rolled up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedWindows {
    /// By level.
    pub rolled_to: Vec<EventTime>,
    /// The latest edges of all windows, then their closed edges.
    pub edges: Vec<Option<EventTime>>,
    /// By window: whether the one emitted last held a record.
    pub after_content: Vec<bool>,
}

/// One pane of a cut.
#[derive(Clone, Debug)]
pub struct CapturedPane {
    pub level: usize,
    pub start: EventTime,
    /// Differs whenever the content does.
    pub changed: u64,
    /// `None`: as the last capture held it.
    pub content: Option<Arc<Pane>>,
}

/// An exact cut of merged state.
pub struct Capture {
    pub cut: Cut,
    /// By dimension, in order of the numbers.
    pub names: Vec<Vec<Arc<Segment>>>,
    pub panes: Vec<CapturedPane>,
    pub users: Captured,
    /// Every content is here, whatever earlier captures held.
    pub is_everything: bool,
}

/// A checkpoint that cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum Damaged {
    #[error("blob {blob}: {source}")]
    Blob { blob: BlobName, source: CodecError },
    #[error("blob {0} cannot be unpacked")]
    Packing(BlobName),
    #[error("the manifest: {0}")]
    Manifest(CodecError),
    #[error("the manifest cannot be unpacked")]
    ManifestPacking,
    #[error("blob {0} is missing")]
    Missing(BlobName),
    #[error("names: {0}")]
    Names(#[from] NamesDamaged),
    #[error("it was made for other windows or dimensions")]
    OtherDefinitions,
}
