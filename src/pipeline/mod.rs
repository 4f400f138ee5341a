//! From records to views. See ARCHITECTURE.md for the picture.

pub mod definitions;

pub mod watermark;

pub mod delta;

pub mod clock;
pub mod hll;

pub mod delivery;

pub mod column;
pub mod entity;
pub mod pane;
pub mod rank;
pub mod window;

pub mod view;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod window_model;
