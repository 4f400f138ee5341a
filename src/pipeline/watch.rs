//! Watches the log from the side: which partitions exist, and where each starts and ends.
//!
//! One thread per process asks the broker once a second, over connections of its own, so that
//! reading never waits for an answer. What it learns feeds three things:
//!
//! - **Quiet.** The stream time is read *before* the broker is asked, and published together
//!   with the answer. A reader whose position equals the answered end thus knows: everything
//!   that was in this partition when the stream time was read has been read. No answer, no
//!   such claim: a dead broker or a slow consumer never makes a partition quiet.
//! - **Lag**, as end of log − cursor, never below the start of the log.
//! - **Gaps.** Where to go on when records were deleted before they were read.
//! - **Identity.** A log only grows at its end and only shrinks at its start. Where the
//!   answers say otherwise, or where a topic was gone and is back, it is another log, or one
//!   that lost its tail: its generation goes up. librdkafka itself would read on in the new log
//!   at the old offset. What this cannot see is a topic that was re-created *and* filled beyond
//!   its old end between two questions; a start finds that out by fingerprints
//!   ([`crate::pipeline::identity`]).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tracing::{info, warn};

use crate::pipeline::delivery::Partition;
use crate::pipeline::identity::continuity::Continuity;
use crate::pipeline::offset::{At, Discovered, Lookup, OffsetMap, by_leader};
use crate::time::EventTime;

/// How often the ends are asked for: the resolution of quiet partitions and of lag.
const ROUND: Duration = Duration::from_secs(1);

/// Where a partition's log starts and ended, when, and what was known before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// Offset of the first record that has not been deleted.
    pub start: i64,
    /// The high watermark: the offset after the last record.
    pub end: i64,
    /// Before the question was sent.
    pub asked: Instant,
    /// The stream time read before the question was sent.
    pub stream_time: Option<EventTime>,
    /// How often this process has seen the log being replaced.
    pub generation: u32,
}

impl LogBounds {
    /// Records that are still to be read by one whose next offset is `cursor`.
    pub fn lag_records(&self, cursor: i64) -> i64 {
        (self.end - cursor.max(self.start)).max(0)
    }
}

/// What is known of the log now.
#[derive(Clone, Debug, Default)]
pub struct LogState {
    /// Every partition in the metadata of the configured topics; `None` until its leader has
    /// answered. An old answer stays, with the time of its question.
    pub partitions: BTreeMap<Partition, Option<LogBounds>>,
    /// Configured topics that do not exist, with the broker's reason.
    pub missing: Vec<(String, String)>,
}

/// The shared view of the watcher. Cheap to clone and to read.
#[derive(Clone)]
pub struct LogView {
    state: Arc<ArcSwap<LogState>>,
    rounds: Arc<AtomicU64>,
    /// The generations that owners have accepted as what they read now.
    accepted: Arc<Mutex<BTreeMap<Partition, u32>>>,
}

impl LogView {
    pub fn load(&self) -> Arc<LogState> {
        self.state.load_full()
    }

    /// Grows with every answer, so that a reader can tell cheaply whether to look.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Acquire)
    }

    /// The generation of a partition's log if it is not the one that is being read.
    pub fn replaced_by(&self, partition: Partition) -> Option<u32> {
        let generation = self.generation(partition);
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        (generation > accepted.get(&partition).copied().unwrap_or(0)).then_some(generation)
    }

    /// The log as it is now is the one to be read.
    pub fn accept(&self, partition: Partition) {
        let generation = self.generation(partition);
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.insert(partition, generation);
    }

    fn generation(&self, partition: Partition) -> u32 {
        let state = self.state.load();
        state.partitions.get(&partition).copied().flatten().map_or(0, |known| known.generation)
    }
}

/// The thread that asks; it ends when this is dropped.
pub struct LogWatch {
    view: LogView,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LogWatch {
    /// `stream_time` is called before each question.
    pub fn start(
        lookup: Lookup,
        discovered: Discovered,
        stream_time: impl Fn() -> Option<EventTime> + Send + 'static,
    ) -> std::io::Result<Self> {
        let view =
            LogView { state: Arc::default(), rounds: Arc::default(), accepted: Arc::default() };
        let stop = Arc::new(AtomicBool::new(false));
        let asker = Asker {
            lookup,
            discovered,
            view: view.clone(),
            continuity: Continuity::default(),
            complaint: String::new(),
        };
        asker.publish(|_| ());
        let stopped = stop.clone();
        let run = move || asker.run(&stopped, stream_time);
        let thread = thread::Builder::new().name("log-watch".into()).spawn(run)?;
        Ok(Self { view, stop, thread: Some(thread) })
    }

    pub fn view(&self) -> LogView {
        self.view.clone()
    }
}

impl Drop for LogWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It ends after the question it waits for, within seconds.
            let _ = thread.join();
        }
    }
}

struct Asker {
    lookup: Lookup,
    discovered: Discovered,
    view: LogView,
    continuity: Continuity,
    /// The last error, to log each change once.
    complaint: String,
}

impl Asker {
    fn run(mut self, stop: &AtomicBool, stream_time: impl Fn() -> Option<EventTime>) {
        let metadata_interval = self.lookup.metadata_interval();
        let mut metadata_due = Instant::now() + metadata_interval;
        while !stop.load(Ordering::Relaxed) {
            let started = Instant::now();
            let mut errors = Vec::new();
            if started >= metadata_due {
                match self.lookup.discover() {
                    Ok(discovered) => self.refresh(discovered),
                    Err(error) => errors.push(error.to_string()),
                }
                metadata_due = Instant::now() + metadata_interval;
            }
            // One leader that does not answer must not hide what the others say.
            for partitions in by_leader(&self.discovered.leaders).values() {
                if let Err(error) = self.ask(partitions, &stream_time) {
                    errors.push(error);
                }
            }
            self.complain(errors.join("; "));
            if !self.complaint.is_empty() || !self.discovered.missing.is_empty() {
                metadata_due = metadata_due.min(Instant::now() + ROUND);
            }
            let resume = started + ROUND;
            while let Some(rest) = resume.checked_duration_since(Instant::now())
                && !stop.load(Ordering::Relaxed)
            {
                thread::park_timeout(rest.max(Duration::from_millis(1)));
            }
        }
    }

    fn ask(
        &mut self,
        partitions: &[Partition],
        stream_time: &impl Fn() -> Option<EventTime>,
    ) -> Result<(), String> {
        let (asked, stream_time) = (Instant::now(), stream_time());
        let answer = |at| self.lookup.offsets_of_leader(partitions, at).map_err(|e| e.to_string());
        let (starts, ends): (OffsetMap, OffsetMap) = (answer(At::Start)?, answer(At::End)?);
        let mut news = Vec::new();
        let log = self.view.load();
        for (&partition, &end) in &ends {
            let start = starts.get(&partition).copied().unwrap_or(end);
            let answer = LogBounds { start, end, asked, stream_time, generation: 0 };
            let known = log.partitions.get(&partition).copied().flatten();
            if let Some(bounds) = self.continuity.judge(partition, known, answer) {
                if known.is_some_and(|known| known.generation < bounds.generation) {
                    let topic = self.lookup.topics().name(partition.kind);
                    warn!(topic, partition = partition.index, start, end, "the log was replaced");
                }
                news.push((partition, Some(bounds)));
            }
        }
        self.publish(|known| known.extend(news));
        Ok(())
    }

    fn refresh(&mut self, discovered: Discovered) {
        let added: Vec<_> = discovered
            .leaders
            .keys()
            .filter(|id| !self.discovered.leaders.contains_key(id))
            .map(|id| format!("{}/{}", self.lookup.topics().name(id.kind), id.index))
            .collect();
        if !added.is_empty() {
            info!(partitions = added.join(", "), "partitions were added");
        }
        if discovered.missing != self.discovered.missing && !discovered.missing.is_empty() {
            warn!(topics = ?discovered.missing, "topics are missing");
        }
        let unknown =
            |id: &Partition| discovered.unknown.contains(self.lookup.topics().name(id.kind));
        let gone = self.discovered.leaders.keys().copied().filter(unknown).collect();
        self.continuity.note_missing(gone);
        // A partition that metadata does not show for a moment is still a partition: it
        // stays, without a leader to ask, until the process ends.
        let mut leaders: BTreeMap<Partition, i32> =
            self.discovered.leaders.keys().map(|&id| (id, -1)).collect();
        leaders.extend(discovered.leaders);
        self.discovered = Discovered { leaders, ..discovered };
        self.publish(|_| ());
    }

    fn publish(&self, update: impl FnOnce(&mut BTreeMap<Partition, Option<LogBounds>>)) {
        let mut partitions = self.view.load().partitions.clone();
        for &partition in self.discovered.leaders.keys() {
            partitions.entry(partition).or_insert(None);
        }
        update(&mut partitions);
        let missing = self.discovered.missing.clone();
        self.view.state.store(Arc::new(LogState { partitions, missing }));
        self.view.rounds.fetch_add(1, Ordering::Release);
    }

    fn complain(&mut self, errors: String) {
        if errors != self.complaint {
            if errors.is_empty() {
                info!("the broker answers for the ends of the log again");
            } else {
                warn!(errors, "the broker does not answer for the ends of the log");
            }
            self.complaint = errors;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_counts_what_can_still_be_read() {
        let asked = Instant::now();
        let bounds = LogBounds { start: 100, end: 150, asked, stream_time: None, generation: 0 };
        let lags = [0, 100, 120, 150, 160].map(|cursor| bounds.lag_records(cursor));
        assert_eq!(lags, [50, 50, 30, 0, 0]);
    }
}
