//! When records are due, as the commands that write or plan take it.

use std::time::Duration;

use clap::{ArgGroup, Args};

use super::{duration, millis, now_ms};
use crate::load::pacer::Pace;
use crate::load::scenario::{Asked, Play};
use crate::load::schedule::profile::Profile;
use crate::load::schedule::{Arrivals, Schedule};

const DEFAULT_RATE: u64 = 10_000;

#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("length").required(true).args(["profile", "events", "duration"]))]
pub struct ScheduleArgs {
    /// Rates over time: DURATION@RATE, DURATION@FROM..TO, DURATION@sine:LOW..HIGH/PERIOD,
    /// DURATION@diurnal:MEAN[/DAY], one after another: 30s@5k,2m@50k,30s@50k..100k
    #[arg(long, value_name = "PROFILE", conflicts_with = "rate")]
    pub profile: Option<Profile>,
    /// How many records to write, faults included
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,
    /// How long to write, at --rate
    #[arg(long = "for", id = "duration", value_name = "DURATION", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Records a second; event times are the scheduled ones [default with --for: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub rate: Option<u64>,
    /// At equal distances, or at random as independent people come: even, poisson
    #[arg(long, value_name = "HOW", default_value_t = Arrivals::Even)]
    pub arrivals: Arrivals,
    /// Without --rate and --profile: the event time that the records are spread over; they are
    /// written as fast as possible
    #[arg(long, value_name = "DURATION", default_value = "2h", value_parser = duration, conflicts_with_all = ["rate", "profile"])]
    pub event_time_span: Duration,
    /// Where event time ends (--event-time-span) or begins (otherwise), in milliseconds since
    /// 1970 [default: now]
    #[arg(long, value_name = "MILLIS", value_parser = clap::value_parser!(i64).range(946_684_800_000..4_102_444_800_000))]
    pub base_time: Option<i64>,
    /// What is the matter with the shop: flash-sale, hot-seller, bot-attack, black-friday or night, with
    /// rates of its own unless --profile says them. The first three can be told when: flash-sale@3m,
    /// bot-attack@1m..4m
    #[arg(long, value_name = "NAME[@WHEN]")]
    pub scenario: Option<Asked>,
}

/// When records are due, and what is the matter meanwhile.
pub struct Scheduled {
    pub schedule: Schedule,
    pub pace: Pace,
    pub play: Option<Play>,
    /// How it was said, in one form.
    pub described: String,
}

impl ScheduleArgs {
    /// What each probe of a search replaces by a schedule of its own.
    pub fn of_probe(arrivals: Arrivals) -> Self {
        Self {
            profile: None,
            events: None,
            duration: Some(Duration::from_secs(1)),
            rate: None,
            arrivals,
            event_time_span: Duration::ZERO,
            base_time: None,
            scenario: None,
        }
    }

    /// The schedule, or what is wrong with the arguments.
    pub fn schedule(&self) -> Result<Scheduled, String> {
        let start_ms = || self.base_time.unwrap_or_else(now_ms);
        let (schedule, pace, play, described) = match (&self.profile, self.events, self.duration) {
            (Some(profile), ..) => {
                let schedule = Schedule::of_profile(start_ms(), profile);
                let play = self.play(Duration::from_nanos(schedule.duration_ns()))?;
                (schedule, Pace::Scheduled, play, profile.to_string())
            }
            (None, Some(events), _) => match self.rate {
                Some(rate) => {
                    let schedule = Schedule::at_rate(start_ms(), rate, events);
                    let play = self.play(Duration::from_nanos(schedule.duration_ns()))?;
                    (schedule, Pace::Scheduled, play, format!("{rate}/s"))
                }
                None => {
                    let play = self.play(self.event_time_span)?;
                    let schedule = self.over_span(events, play.as_ref());
                    (schedule, Pace::Unbounded, play, "unpaced".to_owned())
                }
            },
            (None, None, duration) => {
                let duration = duration.unwrap_or_default();
                let rate = self.rate.unwrap_or(DEFAULT_RATE) as f64;
                let play = self.play(duration)?;
                let profile = match &play {
                    Some(play) => play.profile(rate),
                    None => Profile::constant(duration, rate),
                };
                let schedule = Schedule::of_profile(start_ms(), &profile);
                (schedule, Pace::Scheduled, play, profile.to_string())
            }
        };
        let schedule = schedule.with_arrivals(self.arrivals);
        Ok(Scheduled { schedule, pace, play, described })
    }

    /// So many records, unpaced.
    fn over_span(&self, events: u64, play: Option<&Play>) -> Schedule {
        let end_ms = self.base_time.unwrap_or_else(|| now_ms() / 60_000 * 60_000);
        let span_ms = millis(self.event_time_span);
        match play {
            Some(play) if span_ms > 0 => {
                let profile = play.profile_of(events);
                Schedule::of_profile(end_ms - span_ms, &profile).with_records_max(events)
            }
            _ => Schedule::over_span(end_ms, span_ms, events),
        }
    }

    /// The scenario in a run of this length.
    fn play(&self, whole: Duration) -> Result<Option<Play>, String> {
        let play = self.scenario.map(|asked| Play::new(asked, whole));
        play.transpose().map_err(|why| format!("--scenario: {why}"))
    }
}
