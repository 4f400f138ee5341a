//! The load generator and the oracle: traffic whose truth is known twice.
//!
//! ```text
//!  seed ─► schedule ─► generator ─► blocks ─► produce ─► Kafka ─────────► the daemon ─► Redis
//!                          │                     │                                      │
//!                          ▼                     ▼                                      ▼
//!                       run.json       kafka (read back) ─► oracle ─► compare ◄────── observed
//!                (a label for every record)              (recount)
//! ```
//!
//! - The **workload** knows the truth by construction: it decides that a record is late,
//!   a duplicate or malformed, writes it so, and counts it under that label.
//! - The **oracle** knows the truth by recount: it reads the log back and computes every
//!   window from the definitions alone, as naively as memory and patience allow.
//! - **compare** holds both against what Redis serves.
//!
//! Architecture invariant: nothing in here uses the daemon's modules (`pipeline`, `event`,
//! `time`, `config`, `sinks`). A rule that both need is written twice, because an error in
//! shared code would agree with itself. `tests/load_independence.rs` holds the line.
//!
//! Pure: everything but [`environment`], [`exporter`], [`feed`], [`kafka`], [`live`], [`produce`], [`read_back`], [`observed`],
//! [`replay::input`], [`run`], [`scrape`], [`mod@search`], [`terminal::screen`], [`ticker`], [`mod@top`], [`verify`] and [`watch`], which are
//! the edges, and the clock in
//! [`latency::meter`].

// In the order in which a record travels.
pub mod rng;

pub mod kind;

pub mod catalogue;
pub mod shopper;

pub mod scenario;

pub mod schedule;

pub mod clock;
pub mod drift;
pub mod encode;
pub mod inject;
pub mod pacer;
pub mod partitioner;
pub mod spoil;

pub mod lane;

pub mod gate;

pub mod block;
pub mod generator;
pub mod workload;

pub mod latency;

pub mod artefacts;
pub mod environment;
pub mod ledger;
pub mod run_file;
pub mod threshold;
pub mod verdict;

pub mod plot;
pub mod replay;
pub mod traffic;

pub mod feed;
pub mod kafka;
pub mod produce;

pub mod oracle;

pub mod read_back;

mod server;

pub mod observed;

pub mod closed;
pub mod compare;
pub mod latest;
pub mod reconcile;
pub mod report;

pub mod exporter;
pub mod live;
pub mod scrape;
pub mod summary;
pub mod ticker;
pub mod watch;

pub mod html;
pub mod terminal;

pub mod cli;
pub mod plan;
pub mod run;
pub mod search;
pub mod top;
pub mod verify;
