//! From records to views. See ARCHITECTURE.md for the picture.

pub mod client;

pub mod offset;

pub mod watch;

pub mod batch;

mod rebalance;

mod read_order;

mod reading;

pub mod source;

pub mod dead_letter;

pub mod definitions;
pub mod delivery;
pub mod view;
pub mod watermark;
