//! From records to views. See ARCHITECTURE.md for the picture.

pub mod definitions;

pub mod client;
pub mod batch;
pub mod offset;
pub mod identity;
pub mod watch;
pub mod rebalance;
pub mod read_order;
pub mod source;
pub mod reading;
pub mod dead_letter;

pub mod decode;
pub mod hll;
pub mod watermark;
pub mod murmur3;
pub mod dedup;
pub mod delta;
pub mod delivery;
pub mod codec;
pub mod wire;
pub mod owned;
pub mod owner;

pub mod protocol;
pub mod role;
pub mod handover;

pub mod clock;
pub mod entity;
pub mod pane;
pub mod rank;
pub mod column;
pub mod window;
pub mod frontier;
pub mod distinct;
pub mod merge;
pub mod checkpoint;
pub mod capture_line;

pub mod view;
pub mod rounds;
pub mod period;
pub mod flush;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod window_model;
#[cfg(test)]
mod merge_model;
