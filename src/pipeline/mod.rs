//! From records to views. See ARCHITECTURE.md for the picture.

pub mod definitions;
pub mod delivery;
pub mod protocol;
pub mod view;
pub mod watermark;
