//! The generator on a thread of its own, held back while too much is unread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;

use super::settings::UNREAD_MAX;
use crate::load::feed::Feed;
use crate::load::kafka::Cluster;
use crate::load::ledger::{Counts, Ledger};
use crate::load::pacer::{Pace, Pacer};
use crate::load::produce::{Control, Producer, produce};
use crate::load::workload::WorkloadConfig;

/// How long to hold before asking again.
const HOLD: Duration = Duration::from_millis(10);

/// What the generator and its watcher tell each other.
#[derive(Debug, Default)]
pub struct Progress {
    /// Records handed to the producer.
    pub produced: AtomicU64,
    /// Records whose effect is readable in Redis.
    pub readable: AtomicU64,
    stop: AtomicBool,
}

impl Progress {
    fn control(&self, produced: u64) -> Control {
        self.produced.store(produced, Relaxed);
        if self.stop.load(Relaxed) {
            Control::Stop
        } else if produced.saturating_sub(self.readable.load(Relaxed)) > UNREAD_MAX {
            Control::Hold(HOLD)
        } else {
            Control::Go
        }
    }
}

pub struct Traffic {
    progress: Arc<Progress>,
    thread: Option<JoinHandle<anyhow::Result<Counts>>>,
}

impl Traffic {
    pub fn start(
        brokers: String,
        topics: [String; 4],
        workload: WorkloadConfig,
    ) -> anyhow::Result<Traffic> {
        let progress = Arc::new(Progress::default());
        let shared = progress.clone();
        let cluster = Cluster { brokers, properties: Vec::new() };
        let generate = move || {
            let producer = Producer::new(&cluster, topics, None)?;
            let mut pacer = Pacer::new(Pace::Scheduled);
            let mut ledger = Ledger::default();
            let feed = Feed::start(workload, 1);
            produce(&feed, &producer, &mut pacer, &mut ledger, |handed_over| {
                shared.control(handed_over)
            })?;
            shared.produced.store(ledger.records(), Relaxed);
            Ok(ledger.counts())
        };
        let thread = std::thread::Builder::new()
            .name("generator".to_owned())
            .spawn(generate)
            .context("start the generator")?;
        Ok(Traffic { progress, thread: Some(thread) })
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// It never ends by itself, except by an error, which [`Traffic::finish`] returns.
    pub fn has_failed(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Returns, once everything sent is on the log, what was sent, by its label.
    pub async fn finish(mut self) -> anyhow::Result<Counts> {
        self.progress.stop.store(true, Relaxed);
        let thread = self.thread.take();
        let joined = tokio::task::spawn_blocking(move || thread.map(JoinHandle::join)).await;
        match joined.context("wait for the generator")? {
            Some(Ok(counts)) => counts.context("generate traffic"),
            _ => anyhow::bail!("the generator panicked"),
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.progress.stop.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_while_too_much_is_unread() {
        let progress = Progress::default();
        assert_eq!(progress.control(UNREAD_MAX), Control::Go);
        assert_eq!(progress.control(UNREAD_MAX + 1), Control::Hold(HOLD));
        progress.readable.store(1, Relaxed);
        assert_eq!(progress.control(UNREAD_MAX + 1), Control::Go);
        progress.stop.store(true, Relaxed);
        assert_eq!(progress.control(u64::MAX), Control::Stop);
    }
}
