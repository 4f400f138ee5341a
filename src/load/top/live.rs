//! The view that is drawn again and again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use anyhow::anyhow;

use super::draw::{Facts, Room, frame, waiting};
use super::picture::Picture;
use super::reader::Failure;
use super::{TopOptions, now_ms};
use crate::load::artefacts::timeline::DaemonSecond;
use crate::load::scrape::{self, Latest};
use crate::load::terminal::ink::Ink;
use crate::load::terminal::screen::{self, Screen};
use crate::load::terminal::words::age;

/// How soon Ctrl-C is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Ages are drawn anew at least so often, whether or not there is a new picture.
const DRAW_EVERY: Duration = Duration::from_secs(1);
/// Without an answer for so long, and an interval, Redis is said to be silent.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// The rate is that of the last moments.
const RATE_OVER: Duration = Duration::from_secs(5);

/// Draws until `stop`, or until nobody looks any more.
pub fn live(options: &TopOptions, mut screen: Screen, stop: &AtomicBool) -> Result<(), Failure> {
    let pictures = options.pictures();
    let metrics = options.daemon_metrics.clone().map(|url| {
        let latest = Arc::new(Latest::default());
        let watched = Arc::clone(&latest);
        std::thread::spawn(move || scrape::watch(&url, &watched, &AtomicBool::new(false)));
        latest
    });
    let mut view = View::new(Instant::now());
    while !stop.load(Relaxed) {
        let is_due = match pictures.recv_timeout(LOOK_EVERY) {
            Ok(Err(Failure::Usage(why))) => return Err(Failure::Usage(why)),
            Ok(answer) => {
                view.note(Instant::now(), answer);
                true
            }
            Err(RecvTimeoutError::Timeout) => view.is_due(Instant::now()),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Failure::Away(anyhow!("the thread that reads has ended")));
            }
        };
        if is_due {
            let daemon = metrics
                .as_ref()
                .map(|latest| *latest.lock().unwrap_or_else(PoisonError::into_inner));
            let (height, width) = screen.room();
            let room = Room { height, width, rows: options.asked.rows };
            if screen.show(view.lines(options, daemon, room)).is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// What is known from one answer to the next.
struct View {
    picture: Option<Picture>,
    /// Of the last answer that was a picture; at first of the start.
    answered: Instant,
    /// Why the last answer was none.
    failure: Option<String>,
    rate: Rate,
    drawn: Option<Instant>,
}

impl View {
    fn new(now: Instant) -> Self {
        Self { picture: None, answered: now, failure: None, rate: Rate::default(), drawn: None }
    }

    fn note(&mut self, now: Instant, answer: Result<Picture, Failure>) {
        match answer {
            Ok(picture) => {
                self.rate.note(now, picture.next_offsets);
                self.answered = now;
                self.failure = None;
                self.picture = Some(picture);
            }
            Err(Failure::Away(error)) => self.failure = Some(format!("{error:#}")),
            Err(Failure::Usage(why)) => self.failure = Some(why),
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        self.drawn.is_none_or(|drawn| now.duration_since(drawn) >= DRAW_EVERY)
    }

    /// Why the picture is not a new one.
    fn trouble(&self, now: Instant, every: Duration) -> Option<String> {
        let silent = now.duration_since(self.answered);
        let since = age(i64::try_from(silent.as_millis()).unwrap_or(i64::MAX));
        match &self.failure {
            Some(why) => Some(format!("no answer for {since}, trying again: {why}")),
            None if silent > every + SILENT_AFTER => Some(format!("no answer for {since}")),
            None => None,
        }
    }

    fn lines(
        &mut self,
        options: &TopOptions,
        daemon: Option<Option<DaemonSecond>>,
        room: Room,
    ) -> Vec<String> {
        let now = Instant::now();
        self.drawn = Some(now);
        let facts = Facts {
            now_ms: now_ms(),
            records_per_second: self.rate.records_per_second(),
            daemon,
            trouble: self.trouble(now, options.every),
            hint: format!("every {}, Ctrl-C ends", humantime::format_duration(options.every)),
            ink: Ink { is_coloured: screen::may_colour() },
        };
        match &self.picture {
            Some(picture) => frame(picture, &facts, room),
            None => waiting(&options.prefix, &facts, room.width),
        }
    }
}

/// A rate over the last moments.
#[derive(Debug, Default)]
struct Rate {
    noted: VecDeque<(Instant, u64)>,
}

impl Rate {
    fn note(&mut self, now: Instant, count: u64) {
        // Offsets that went back are those of another log.
        if self.noted.back().is_some_and(|(_, before)| count < *before) {
            self.noted.clear();
        }
        self.noted.push_back((now, count));
        while self.noted.len() > 2 && now.duration_since(self.noted[0].0) > RATE_OVER {
            self.noted.pop_front();
        }
    }

    fn records_per_second(&self) -> Option<u64> {
        let ((since, first), (until, last)) = (self.noted.front()?, self.noted.back()?);
        let seconds = until.duration_since(*since).as_secs_f64();
        (seconds > 0.0).then(|| ((last - first) as f64 / seconds).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_moments() {
        let begin = Instant::now();
        let mut rate = Rate::default();
        let mut at = |seconds: u64, count| {
            rate.note(begin + Duration::from_secs(seconds), count);
            rate.records_per_second()
        };
        assert_eq!(at(0, 1000), None);
        assert_eq!(at(1, 1100), Some(100));
        assert_eq!(at(3, 1600), Some(200));
        // The first second has passed out of sight.
        assert_eq!(at(6, 2100), Some(200));
        // Another log.
        assert_eq!(at(7, 50), None);
        assert_eq!(at(8, 60), Some(10));
    }

    #[test]
    fn silence_is_said_and_then_over() {
        let begin = Instant::now();
        let after = |seconds: u64| begin + Duration::from_secs(seconds);
        let every = Duration::from_secs(1);
        let mut view = View::new(begin);
        view.note(begin, Ok(Picture::default()));
        assert_eq!(view.trouble(after(3), every), None);
        assert_eq!(view.trouble(after(4), every).unwrap(), "no answer for 4.0 s");
        view.note(after(5), Err(Failure::Away(anyhow!("refused").context("connect to Redis"))));
        assert_eq!(
            view.trouble(after(6), every).unwrap(),
            "no answer for 6.0 s, trying again: connect to Redis: refused"
        );
        assert!(view.picture.is_some(), "the last picture stays");
        view.note(after(7), Ok(Picture::default()));
        assert_eq!(view.trouble(after(7), every), None);
    }
}
