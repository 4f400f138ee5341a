//! `nazar-load top`: the views of one window as they change, in a terminal.
//!
//! ```text
//!  Redis ──one MULTI per picture──► reader ──► picture ──► draw ──► terminal
//!            (own thread)             ▲                     ▲
//!                 what the daemon keeps, by its schema      └── the daemon's metrics, the clock
//! ```
//!
//! A reader of the views like any other: it needs no right that docs/REDIS.md does not give to
//! readers, and shows what they would read. While Redis does not answer, the last picture stays, ages
//! go on, and a line says so; the thread that waits for an answer is never waited for.

mod draw;
mod live;
pub mod picture;
pub mod reader;
pub mod what;

use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use url::Url;

use super::scrape;
use super::terminal::ink::Ink;
use draw::{Facts, Room};
pub use live::live;
use picture::Picture;
use reader::{Failure, Reader};
use what::Asked;

/// A single picture is waited for so long.
const ANSWER_MAX: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub struct TopOptions {
    /// As in `redis.url` of the daemon.
    pub redis_url: String,
    pub prefix: String,
    pub asked: Asked,
    pub every: Duration,
    pub daemon_metrics: Option<Url>,
}

impl TopOptions {
    /// Pictures from now on, one each `every`. The thread ends with the receiver, as soon as Redis has
    /// answered.
    fn pictures(&self) -> Receiver<Result<Picture, Failure>> {
        let mut reader = Reader::new(&self.redis_url, &self.prefix, self.asked.clone());
        let every = self.every;
        // Without a place to wait in: what is shown was read just now.
        let (sender, receiver) = sync_channel(0);
        std::thread::spawn(move || {
            loop {
                let asked = Instant::now();
                if sender.send(reader.picture(now_ms)).is_err() {
                    return;
                }
                std::thread::sleep(every.saturating_sub(asked.elapsed()));
            }
        });
        receiver
    }
}

/// A single picture.
pub fn once(options: &TopOptions) -> Result<Picture, Failure> {
    let answer = options.pictures().recv_timeout(ANSWER_MAX);
    let silent = || Failure::Away(anyhow!("Redis has not answered for {ANSWER_MAX:?}"));
    let mut picture = answer.map_err(|_| silent())??;
    if let Some(url) = &options.daemon_metrics {
        picture.daemon = Some(scrape::ask(url).map_err(Failure::Away)?);
    }
    Ok(picture)
}

/// A single picture as text, `width` columns wide.
pub fn text(picture: &Picture, width: usize, ink: Ink) -> String {
    let facts = Facts {
        now_ms: picture.read_at_ms,
        daemon: picture.daemon.map(Some),
        ink,
        ..Facts::default()
    };
    let longest = picture.boards.iter().map(|board| board.rows.len()).max().unwrap_or(0);
    let room = Room { height: usize::MAX, width, rows: longest.max(1) };
    let mut lines = draw::frame(picture, &facts, room);
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.join("\n") + "\n"
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
