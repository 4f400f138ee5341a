//! Who may hand over what, and who may believe it: the rules that make views exact.
//!
//! ```text
//!  owner of p ──[from,to)──► outbox of p (slot {nazar:<topic>:<p>}) ──► leader ──► manifest, meta
//!      ▲    └───────────────── or through memory ────────────────────►    │       (slot {nazar})
//!      └──────────────────────────── cursor of p ◄────────────────────────┘
//! ```
//!
//! The *owner* of a partition reads it and hands over what each range of offsets contributes.
//! The one *leader* merges these deliveries and publishes. Either may be paused at any moment and
//! wake as a zombie that acts on what it knew; Redis may lose its latest writes, each slot on
//! its own. One promise survives all of that:
//!
//! > merged state = f(every partition's log before its cursor)
//!
//! | rule | module | in one sentence |
//! |---|---|---|
//! | admission | [`cursors`] | a delivery is applied only where the previous one ended |
//! | owner's rule | [`sent`] | go on only while the cursor, and all sent after it, is still there |
//! | fencing | [`fence`] | every write compares a whole token; it prevents quarrels, no more |
//! | gate | [`gate`] | a new leader shows nothing older than what readers have already seen |
//!
//! Exactness is the admission rule alone. The owner's rule is what makes progress: whatever is
//! refused or lost is read again from Kafka. The gate and the whole-token fence are what keep
//! readers from seeing time run backwards. `tests/protocol_model` runs these very functions
//! through crashes, zombies, lost writes and leader changes, and shows what goes wrong without
//! each of them.
//!
//! Nothing in here does I/O or reads a clock. A cursor is the offset of the *next* record to be
//! merged, so ranges are half open and neighbours share a boundary.

pub mod cursors;
pub mod fence;
pub mod gate;
pub mod sent;

pub use cursors::{Admission, Cursors, admit};
pub use fence::{Landing, Lease, Token, append_admitted, landing, lease_is_free, write_admitted};
pub use gate::{ClosedThrough, Gate, Passage};
pub use sent::{Held, Reach, Sent, Verdict, Way};
