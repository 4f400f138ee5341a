//! From records to views. See ARCHITECTURE.md for the picture.

pub mod definitions;
pub mod delivery;
pub mod distinct;
pub mod frontier;
pub mod hll;
pub mod view;
pub mod watermark;
