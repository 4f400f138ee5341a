//! Named scenarios: days and attacks that a storefront has to stand, with what must become visible.
//!
//! ```text
//!                  ┌─ shape: rates over time, where the user gave none
//! NAME[@START] ─► play ─┬─ cast: which products, seller, bots, silent partitions
//!                  └─ mood: what shoppers do now ─► records ─► tally ─► statements
//! ```
//!
//! A scenario changes the traffic; the schedule, the faults and the seed stay what they were. Everything
//! follows from the configuration: the cast is drawn from the seed, the mood is a function of the
//! time that is scheduled, and no thread sees more than its own lane. Draws that only a scenario
//! needs come from streams of their own, so without one nothing changes.
//!
//! What must become visible is not known beforehand: it is counted while the records are made
//! ([`tally`]), put into words and figures ([`statements`]), and held against the oracle's recount
//! of the log ([`judge`]).

mod cast;
pub mod judge;
mod mood;
mod shape;
pub mod statement;
mod statements;
pub mod tally;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use cast::{Cast, MINUTE_MS, Names};
pub use mood::Mood;

use super::catalogue::Catalogue;
use super::kind::Kind;
use super::workload::WorkloadConfig;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// A few products are all that people want, for a while.
    FlashSale,
    /// One seller's products are wanted more and more.
    HotSeller,
    /// A few accounts click on a few products, and buy nothing.
    BotAttack,
    /// A day on which people come to buy.
    BlackFriday,
    /// Hardly anybody, with long pauses; no key of some partitions occurs.
    Night,
}

impl Scenario {
    pub const ALL: [Scenario; 5] = [
        Scenario::FlashSale,
        Scenario::HotSeller,
        Scenario::BotAttack,
        Scenario::BlackFriday,
        Scenario::Night,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Scenario::FlashSale => "flash-sale",
            Scenario::HotSeller => "hot-seller",
            Scenario::BotAttack => "bot-attack",
            Scenario::BlackFriday => "black-friday",
            Scenario::Night => "night",
        }
    }

    /// Where it begins and how long it lasts unless that is said, as shares of the run; `None`: it
    /// is the whole run.
    const fn stretch(self) -> Option<(f64, f64)> {
        match self {
            Scenario::FlashSale => Some((0.4, 0.3)),
            Scenario::HotSeller => Some((0.0, 1.0)),
            Scenario::BotAttack => Some((0.4, 0.4)),
            Scenario::BlackFriday | Scenario::Night => None,
        }
    }
}

/// A scenario as people ask for it: `flash-sale`, `flash-sale@3m`, `bot-attack@1m..4m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub scenario: Scenario,
    start: Option<Duration>,
    end: Option<Duration>,
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, stretch) = match text.split_once('@') {
            Some((name, stretch)) => (name, Some(stretch)),
            None => (text, None),
        };
        let scenario = Scenario::ALL.into_iter().find(|one| one.name() == name);
        let scenario = scenario.ok_or_else(|| {
            let names = Scenario::ALL.map(Scenario::name).join(", ");
            format!("unknown scenario `{name}`: expected one of {names}")
        })?;
        let Some(stretch) = stretch else { return Ok(Self { scenario, start: None, end: None }) };
        if scenario.stretch().is_none() {
            return Err(format!("{name} is the whole run: it takes no @START"));
        }
        let time = |text: &str| {
            humantime::parse_duration(text)
                .map_err(|error| format!("`{text}` is not a time: {error}"))
        };
        let (start, end) = match stretch.split_once("..") {
            Some((start, end)) => (time(start)?, Some(time(end)?)),
            None => (time(stretch)?, None),
        };
        if end.is_some_and(|end| end <= start) {
            return Err(format!("`{stretch}`: it ends before it begins"));
        }
        Ok(Self { scenario, start: Some(start), end })
    }
}

/// A scenario in a run of a certain length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Play {
    pub scenario: Scenario,
    /// When it begins and ends, after the start of the schedule.
    pub from: Duration,
    pub to: Duration,
    /// How long the run is.
    pub whole: Duration,
}

impl Play {
    /// Where it lies in a run of this length, or why it cannot.
    pub fn new(asked: Asked, whole: Duration) -> Result<Self, String> {
        let Asked { scenario, start, end } = asked;
        let (begins, lasts) = scenario.stretch().unwrap_or((0.0, 1.0));
        // Whole milliseconds: they can be written down.
        let share = |share: f64| Duration::from_millis((whole.as_secs_f64() * share * 1e3) as u64);
        let from = start.unwrap_or_else(|| share(begins));
        if start.is_some() && from >= whole || end.is_some_and(|end| end > whole) {
            let name = scenario.name();
            return Err(format!("{name} would not be over when the run is, after {whole:?}"));
        }
        let to =
            end.unwrap_or_else(|| if begins + lasts < 1.0 { from + share(lasts) } else { whole });
        Ok(Self { scenario, from, to: to.min(whole), whole })
    }

    /// How far the scenario has come at this time of the schedule, 0 to 1; `None` outside of it.
    fn progress(&self, due_ns: u64) -> Option<f64> {
        let since_ns = due_ns.checked_sub(self.from.as_nanos() as u64)?;
        let length_ns = (self.to - self.from).as_nanos() as u64;
        let has_ended = since_ns >= length_ns && self.to < self.whole;
        (!has_ended).then(|| (since_ns as f64 / length_ns.max(1) as f64).min(1.0))
    }
}

impl fmt::Display for Play {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Duration| time.as_secs_f64();
        let (from, to) = (seconds(self.from), seconds(self.to));
        write!(f, "{}@{from}s..{to}s", self.scenario.name())
    }
}

/// A play and who takes part in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    pub play: Play,
    pub cast: Cast,
}

impl Script {
    /// Of a workload with a scenario.
    pub fn of(config: &WorkloadConfig, catalogue: &Catalogue) -> Option<Self> {
        let play = config.play?;
        Some(Self { play, cast: Cast::draw(play.scenario, config, catalogue) })
    }

    /// What shoppers are like at this time of the schedule.
    pub fn mood(&self, due_ns: u64) -> Mood {
        let progress = self.play.progress(due_ns);
        progress.map_or(Mood::ORDINARY, |progress| Mood::of(self.play.scenario, progress))
    }

    pub fn is_silent(&self, kind: Kind, partition: u32) -> bool {
        self.cast.silent[kind as usize].binary_search(&partition).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(text: &str, whole_s: u64) -> Result<String, String> {
        let play = Play::new(text.parse()?, Duration::from_secs(whole_s))?;
        Ok(play.to_string())
    }

    #[test]
    fn it_lies_where_it_was_asked_for() {
        for (text, expected) in [
            ("flash-sale", "flash-sale@40s..70s"),
            ("flash-sale@10s", "flash-sale@10s..40s"),
            ("flash-sale@90s", "flash-sale@90s..100s"),
            ("bot-attack@10s..1m", "bot-attack@10s..60s"),
            ("hot-seller@20s", "hot-seller@20s..100s"),
            ("black-friday", "black-friday@0s..100s"),
            ("night", "night@0s..100s"),
        ] {
            assert_eq!(play(text, 100).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| play(text, 100).unwrap_err();
        assert!(error("cyber-monday").contains("expected one of flash-sale, hot-seller"));
        assert!(error("night@3s").contains("is the whole run"));
        assert!(error("flash-sale@3").contains("`3` is not a time"));
        assert!(error("flash-sale@5s..4s").contains("ends before it begins"));
        assert!(error("flash-sale@100s").contains("would not be over"));
        assert!(error("bot-attack@5s..101s").contains("would not be over"));
    }

    #[test]
    fn progress_goes_from_0_to_1_and_is_nowhere_else() {
        let play = Play::new("bot-attack@10s..30s".parse().unwrap(), Duration::from_secs(60));
        let at = |seconds: u64| play.as_ref().unwrap().progress(seconds * 1_000_000_000);
        assert_eq!([at(9), at(10), at(20), at(30)], [None, Some(0.0), Some(0.5), None]);
        // Rounding may put the last record at the very end of the run.
        let play = Play::new("hot-seller".parse().unwrap(), Duration::from_secs(60)).unwrap();
        assert_eq!(play.progress(60_000_000_001), Some(1.0));
    }
}
