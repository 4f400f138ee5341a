//! What a terminal shows of the views, for `nazar-load top` and `nazar demo` alike.
//!
//! Everything but [`screen`] is text made from values, and pure.

pub mod ink;
pub mod words;

pub mod board;
pub mod totals;

pub mod screen;
