//! Looks at the views all along, as a reader would: how old they are, whether they ever go
//! back, and when they go on after a fault.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use redis::Connection;

const EVERY: Duration = Duration::from_millis(50);
/// A Redis that is frozen must not freeze the watch.
const ANSWER_MAX: Duration = Duration::from_millis(300);

pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// One look at `{prefix}:meta` that showed something new.
#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    flushed_at_ms: i64,
    /// Records that the latest views of the watched window explain.
    records: i64,
}

#[derive(Default)]
struct Seen {
    looks: Vec<Look>,
    /// Staleness counts from here on, and up to there.
    under_load: Option<(i64, Option<i64>)>,
    staleness_max_ms: i64,
    /// When the views last came to hold more than ever before.
    grown_at_ms: i64,
    records_max: i64,
    went_back: u64,
}

pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// From when on recovery counts, and what has to be surpassed.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub at: Instant,
    pub at_ms: i64,
}

impl Mark {
    pub fn now() -> Mark {
        Mark { at: Instant::now(), at_ms: now_ms() }
    }
}

impl Watch {
    /// Watches the latest views of `window` under `prefix`.
    pub fn start(url: String, prefix: &str, window: &str) -> Watch {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let ended = Arc::new(AtomicBool::new(false));
        let (into, until) = (seen.clone(), ended.clone());
        let command = {
            let mut command = redis::cmd("HMGET");
            let key = format!("{{{prefix}}}:meta");
            command.arg(key).arg("flushed_at").arg(format!("offsets:{window}"));
            command
        };
        let thread = std::thread::spawn(move || {
            let mut connection = None;
            while !until.load(Ordering::Relaxed) {
                let look = look(&mut connection, &url, &command);
                into.lock().unwrap().take(look);
                std::thread::sleep(EVERY);
            }
        });
        Watch { seen, ended, thread: Some(thread) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub fn load_begins(&self) {
        self.seen().under_load = Some((now_ms(), None));
    }

    pub fn load_ends(&self) {
        if let Some((_, end)) = &mut self.seen().under_load {
            *end = Some(now_ms());
        }
    }

    /// How often views were written so far, with something new in them.
    pub fn steps(&self) -> usize {
        self.seen().looks.len()
    }

    /// How long after `mark` the views were written anew, with more in them than ever before it.
    pub fn recovered_after(&self, mark: &Mark) -> Option<Duration> {
        let seen = self.seen();
        let split = seen.looks.partition_point(|look| look.at <= mark.at);
        let (before, after) = seen.looks.split_at(split);
        let most = before.iter().map(|look| look.records).max().unwrap_or(0);
        let is_progress = |look: &&Look| look.flushed_at_ms > mark.at_ms && look.records > most;
        after.iter().find(is_progress).map(|look| look.at - mark.at)
    }

    /// The longest time under load in which the views did not come to hold more.
    pub fn staleness_max(&self) -> Duration {
        Duration::from_millis(self.seen().staleness_max_ms.max(0) as u64)
    }

    /// How often views were replaced by older ones.
    pub fn went_back(&self) -> u64 {
        self.seen().went_back
    }
}

impl Seen {
    fn take(&mut self, look: Option<Look>) {
        if let Some((begin, end)) = self.under_load {
            let age = end.unwrap_or_else(now_ms) - self.grown_at_ms.max(begin);
            self.staleness_max_ms = self.staleness_max_ms.max(age);
        }
        let Some(look) = look else { return };
        if look.records > self.records_max {
            (self.records_max, self.grown_at_ms) = (look.records, look.flushed_at_ms);
        }
        let last = self.looks.last().copied();
        if last.is_some_and(|last| look.records < last.records) {
            self.went_back += 1;
        }
        let is_new =
            |last: Look| (last.flushed_at_ms, last.records) != (look.flushed_at_ms, look.records);
        if last.is_none_or(is_new) {
            self.looks.push(look);
        }
    }
}

/// `None` while there is no answer, or nothing under the prefix.
fn look(connection: &mut Option<Connection>, url: &str, command: &redis::Cmd) -> Option<Look> {
    if connection.is_none() {
        let client = redis::Client::open(url).unwrap();
        let fresh = client.get_connection_with_timeout(ANSWER_MAX).ok()?;
        fresh.set_read_timeout(Some(ANSWER_MAX)).ok()?;
        *connection = Some(fresh);
    }
    let answer: redis::RedisResult<(Option<i64>, Option<String>)> =
        command.query(connection.as_mut()?);
    match answer {
        Ok((Some(flushed_at_ms), Some(offsets))) => {
            Some(Look { at: Instant::now(), flushed_at_ms, records: sum_of_offsets(&offsets) })
        }
        Ok(_) => None,
        Err(_) => {
            *connection = None;
            None
        }
    }
}

/// Of `topic/partition=offset,…`.
pub fn sum_of_offsets(offsets: &str) -> i64 {
    let offset = |item: &str| item.rsplit_once('=')?.1.parse::<i64>().ok();
    offsets.split(',').filter_map(offset).sum()
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
