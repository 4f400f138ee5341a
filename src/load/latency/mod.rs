//! How long things took: three clocks, each from the time that the schedule intended.
//!
//! ```text
//!  intended ──────► handed over ──────► acknowledged ──────► visible in Redis
//!     ├── schedule ──┤                       │                     │
//!     ├── ack ───────────────────────────────┤                     │
//!     ├── visible ─────────────────────────────────────────────────┤
//!                    ├── ack, uncorrected ───┤
//!                    ├── visible, uncorrected ─────────────────────┤
//! ```
//!
//! What counts is *corrected*: from the intended time. A generator that is held up sends late, and what
//! it sends late would look fast if its latency began with the sending; then the worst moments of
//! a run would be missing from its percentiles. *Uncorrected* stands beside it, to compare with tools
//! that measure so, and to see which part of a delay was the generator's own.
//!
//! All times are of one monotonic clock in one process, in microseconds from the start of the run.

pub mod meter;
pub mod pending;
pub mod recorder;
pub mod stamp;
