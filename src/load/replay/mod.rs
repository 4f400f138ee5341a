//! `nazar-load replay`: files of real shops as a stream of events whose truth is known.
//!
//! ```text
//!  FILE, FILE.gz ─► rows ─► mapping ─► events ─┬─► first reading: count, span, what cannot be mapped
//!                                              └─► second reading: shifted, labelled ─► blocks ─► run
//! ```
//!
//! Files are read twice. The first reading sends nothing: it finds the rows that cannot be mapped, so
//! that `--strict` can refuse before anything is touched, and the times that pace and shift follow
//! from. The second one fills blocks, as the generator does, and from there on a replay is a run: paced,
//! measured, accounted for in `run.json`, and verified by the same oracle.
//!
//! Memory is bounded: a row has a largest size, files that are joined and events that are to be sorted
//! have a stated one. What is sent is valid by the rules of docs/EVENTS.md, since whatever could break
//! one is refused as a row. Whether it is late, the clocks of the partitions decide, as in a run.

// In the order in which a row travels.
pub mod input;
pub mod lines;

pub mod mapping;
pub mod path;
pub mod place;
pub mod table;

pub mod value;

pub mod event;
pub mod mapper;

pub mod account;
pub mod source;

pub mod blocks;
pub mod pacing;

use std::sync::{Arc, OnceLock};

use anyhow::bail;

use account::Account;
use pacing::Pacing;
use source::Source;

/// A replay whose files have been read once.
#[derive(Clone, Debug)]
pub struct Replay {
    pub source: Arc<Source>,
    pub pacing: Pacing,
    pub account: Account,
    /// Added to every event time.
    pub shift: Shift,
    /// Why the second reading has ended early.
    failure: Arc<OnceLock<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// The file's own times.
    None,
    /// As far as it goes without an event lying ahead of the moment at which it is sent.
    ToNow,
    /// Known once the replay begins.
    Millis(i64),
}

impl Replay {
    pub fn new(source: Source, pacing: Pacing, account: Account, shift: Shift) -> Self {
        Self { source: Arc::new(source), pacing, account, shift, failure: Arc::default() }
    }

    /// Whether the records ended because the files did.
    pub fn ended(&self) -> anyhow::Result<()> {
        match self.failure.get() {
            Some(why) => bail!("{why}"),
            None => Ok(()),
        }
    }

    /// The same, beginning at `now_ms`.
    pub fn starting_at(mut self, now_ms: i64) -> Self {
        if self.shift == Shift::ToNow {
            self.shift = Shift::Millis(now_ms - self.account.lead_ms);
        }
        self
    }

    /// The account of one that has been started.
    pub fn started_account(&self) -> Account {
        Account { shift_ms: self.shift_ms(), ..self.account.clone() }
    }

    pub fn shift_ms(&self) -> i64 {
        match self.shift {
            Shift::Millis(shift_ms) => shift_ms,
            Shift::None | Shift::ToNow => 0,
        }
    }
}
