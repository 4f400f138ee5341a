//! When records are due, as the commands that write or plan take it.

use std::time::Duration;

use clap::{ArgGroup, Args};

use super::{duration, millis, now_ms};
use crate::load::pacer::Pace;
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
        }
    }

    pub fn schedule(&self) -> (Schedule, Pace) {
        let (schedule, pace) = match (&self.profile, self.events, self.duration, self.rate) {
            (None, Some(events), None, None) => {
                let end = self.base_time.unwrap_or_else(|| now_ms() / 60_000 * 60_000);
                let schedule = Schedule::over_span(end, millis(self.event_time_span), events);
                (schedule, Pace::Unbounded)
            }
            (profile, events, duration, rate) => {
                let start_ms = self.base_time.unwrap_or_else(now_ms);
                let rate = rate.unwrap_or(DEFAULT_RATE);
                let schedule = match (profile, events) {
                    (Some(profile), _) => Schedule::of_profile(start_ms, profile),
                    (None, Some(events)) => Schedule::at_rate(start_ms, rate, events),
                    (None, None) => {
                        let profile = Profile::constant(duration.unwrap_or_default(), rate as f64);
                        Schedule::of_profile(start_ms, &profile)
                    }
                };
                (schedule, Pace::Scheduled)
            }
        };
        (schedule.with_arrivals(self.arrivals), pace)
    }

    /// How it was said, in one form.
    pub fn describe(&self, pace: Pace) -> String {
        match (pace, &self.profile, self.duration, self.events) {
            (Pace::Unbounded, ..) => "unpaced".to_owned(),
            (_, Some(profile), ..) => profile.to_string(),
            (_, None, Some(duration), _) => {
                let rate = self.rate.unwrap_or(DEFAULT_RATE) as f64;
                Profile::constant(duration, rate).to_string()
            }
            _ => format!("{}/s", self.rate.unwrap_or(DEFAULT_RATE)),
        }
    }
}
