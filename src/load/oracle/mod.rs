//! The oracle: what the views must say, recounted from the log.
//!
//! It is written from the definitions and for reading, not for speed: every record is judged
//! in the order of its partition's log ([`judge`]), the applied ones are kept as facts
//! ([`facts`]), and each window is computed by itself by walking over the facts that lie in
//! it ([`window`]). Nothing is shared between two windows, nothing is subtracted, nothing is
//! rolled up; so it can be compared with an engine that does all of that.
//!
//! Cost: about 100 bytes per applied record, and one visit of each fact for every closed
//! window that holds it (size / closed_step visits per window size).

pub mod definitions;

pub mod record;
pub mod rfc3339;

pub mod judge;

pub mod facts;

pub mod registers;
pub mod window;

/// Threads that recount windows and read partitions. More hold more windows in memory at once.
const THREADS_MAX: usize = 8;

pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).min(THREADS_MAX)
}

/// The thread's result; an error if it has panicked.
pub fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> anyhow::Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("a thread of the oracle has panicked"))
}
