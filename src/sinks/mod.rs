//! Where views go. A sink writes absolute values and answers once they are readable.

pub mod blobs;
pub mod memory;
pub mod redis;

use std::future::Future;

use crate::pipeline::view::Flush;

/// What a flush cost and changed, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlushReport {
    pub keys_written: u64,
    pub keys_unchanged: u64,
    pub keys_deleted: u64,
    pub bytes: u64,
    /// History entries that stood already (a restart closes windows again that were closed before).
    pub history_skipped: u64,
}

/// A place that views are published to.
pub trait Sink: Send {
    /// Publishes a flush. Returns once it is readable; transient trouble is waited out inside,
    /// with backoff, so that an error means: a person is needed.
    fn flush(&mut self, flush: &Flush) -> impl Future<Output = anyhow::Result<FlushReport>> + Send;

    /// The last flush is done: a successor may take over.
    fn close(&mut self) -> impl Future<Output = ()> + Send {
        async {}
    }
}
