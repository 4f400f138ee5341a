//! From records to views. See ARCHITECTURE.md for the picture.

pub mod clock;
pub mod dedup;
pub mod definitions;
pub mod delivery;
pub mod murmur3;
pub mod protocol;
pub mod view;
pub mod watermark;
