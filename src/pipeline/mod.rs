//! From records to views. See ARCHITECTURE.md for the picture.

pub mod decode;
pub mod definitions;
pub mod delivery;
pub mod view;
pub mod watermark;
