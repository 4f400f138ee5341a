//! The rates of a scenario, for runs that were given none: in multiples of the ordinary rate.
//!
//! ```text
//! flash-sale    ▁▁▁▁▁▁▁▁█████▇▆▅▄▃▂▁▁▁▁▁▁▁      bot-attack   ▃▃▃▃▃▃▃▃▇▇▇▇▇▇▇▇▃▃▃▃
//! black-friday  ▇▆▄▃▂▁▁▂▃▄▄▄▄▄▄▄▅▆▇▇▆▆▅▄      night        ▂▂   ▁    ▁▁   ▁   ▂
//! ```

use std::time::Duration;

use super::mood::{RUSH_HOLDS, RUSH_RISES};
use super::{Play, Scenario};
use crate::load::schedule::profile::{Profile, Segment, Shape};

/// Until when, as a share of the whole, and the multiples at its beginning and end.
type Stretch = (f64, f64, f64);

/// A day from midnight on: shoppers who waited for the doors to open, a short night, an evening.
const BLACK_FRIDAY: [Stretch; 6] = [
    (1.0 / 24.0, 6.0, 4.0),
    (6.0 / 24.0, 4.0, 0.8),
    (10.0 / 24.0, 0.8, 2.4),
    (18.0 / 24.0, 2.4, 2.0),
    (21.0 / 24.0, 2.0, 4.4),
    (1.0, 4.4, 3.0),
];

/// A twentieth of the ordinary traffic, and nobody at all for thirteen twentieths of the time.
const NIGHT: [Stretch; 9] = [
    (0.1, 0.2, 0.2),
    (0.25, 0.0, 0.0),
    (0.3, 0.1, 0.1),
    (0.5, 0.0, 0.0),
    (0.6, 0.1, 0.1),
    (0.75, 0.0, 0.0),
    (0.8, 0.05, 0.05),
    (0.95, 0.0, 0.0),
    (1.0, 0.2, 0.2),
];

impl Play {
    /// Rates for a shop that ordinarily has so many records a second.
    pub fn profile(&self, ordinary_rate: f64) -> Profile {
        let whole_s = self.whole.as_secs_f64();
        let (from, to) = (self.from.as_secs_f64() / whole_s, self.to.as_secs_f64() / whole_s);
        let within = |share: f64| from + (to - from) * share;
        match self.scenario {
            Scenario::FlashSale => self.stretched(
                ordinary_rate,
                &[
                    (from, 1.0, 1.0),
                    (within(RUSH_RISES), 1.0, 8.0),
                    (within(RUSH_HOLDS), 8.0, 8.0),
                    (to, 8.0, 1.0),
                    (1.0, 1.0, 1.0),
                ],
            ),
            Scenario::HotSeller => self.stretched(ordinary_rate, &[(1.0, 1.0, 1.0)]),
            // The bots come on top of the shoppers: three records of theirs to two.
            Scenario::BotAttack => {
                self.stretched(ordinary_rate, &[(from, 1.0, 1.0), (to, 2.5, 2.5), (1.0, 1.0, 1.0)])
            }
            Scenario::BlackFriday => self.stretched(ordinary_rate, &BLACK_FRIDAY),
            Scenario::Night => self.stretched(ordinary_rate, &NIGHT),
        }
    }

    /// Rates that add up to so many records, or a little more than one above.
    pub fn profile_of(&self, records: u64) -> Profile {
        let ordinary: f64 = self.profile(1.0).segments().iter().map(area).sum();
        let records = records as f64 + 0.5;
        if ordinary > 0.0 {
            self.profile(records / ordinary)
        } else {
            // So short that nothing is left of its shape.
            Profile::constant(self.whole, records / self.whole.as_secs_f64())
        }
    }

    /// Borders lie at whole milliseconds, so that the profile can be written down; the last one is
    /// where the run ends.
    fn stretched(&self, ordinary_rate: f64, stretches: &[Stretch]) -> Profile {
        let mut at = Duration::ZERO;
        let mut segments = Vec::new();
        for &(until, from, to) in stretches {
            let border = (self.whole.as_secs_f64() * until * 1e3).round() as u64;
            let border = Duration::from_millis(border);
            let until = if until == 1.0 { self.whole } else { border.min(self.whole) };
            let duration = until.saturating_sub(at);
            if !duration.is_zero() {
                let rate = |multiple: f64| ordinary_rate * multiple;
                let shape = Shape::Linear { from: rate(from), to: rate(to) };
                segments.push(Segment { duration, shape });
                at = until;
            }
        }
        Profile::of_segments(segments)
    }
}

/// Records of a straight stretch.
fn area(segment: &Segment) -> f64 {
    match segment.shape {
        Shape::Linear { from, to } => segment.duration.as_secs_f64() * (from + to) / 2.0,
        Shape::Sine { .. } | Shape::Diurnal { .. } => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::schedule::Schedule;

    fn play(text: &str, whole: &str) -> Play {
        let whole = humantime::parse_duration(whole).unwrap();
        Play::new(text.parse().unwrap(), whole).unwrap()
    }

    #[test]
    fn profiles_can_be_written_down() {
        let profile = |text: &str, whole: &str| play(text, whole).profile(1000.0).to_string();
        insta::assert_snapshot!(profile("flash-sale", "10m"), @"4m@1k,12s600ms@1k..8k,46s800ms@8k,2m600ms@8k..1k,3m@1k");
        insta::assert_snapshot!(profile("hot-seller@3m", "10m"), @"10m@1k");
        insta::assert_snapshot!(profile("bot-attack", "100ms"), @"40ms@1k,40ms@2.5k,20ms@1k");
        insta::assert_snapshot!(profile("black-friday", "24m"), @"1m@6k..4k,5m@4k..800,4m@800..2.4k,8m@2.4k..2k,3m@2k..4.4k,3m@4.4k..3k");
        insta::assert_snapshot!(profile("night", "10m"), @"1m@200,1m30s@0,30s@100,2m@0,1m@100,1m30s@0,30s@50,1m30s@0,30s@200");
        for scenario in Scenario::ALL {
            for whole in ["0s", "1ms", "7ms", "61s", "8h"] {
                let profile = play(scenario.name(), whole).profile(500.0);
                let length: Duration = profile.segments().iter().map(|one| one.duration).sum();
                assert_eq!(length, humantime::parse_duration(whole).unwrap(), "{profile}");
                if !length.is_zero() {
                    assert_eq!(profile.to_string().parse(), Ok(profile));
                }
            }
        }
    }

    #[test]
    fn a_number_of_records_is_kept() {
        for scenario in Scenario::ALL {
            for (records, whole) in [(1, "2h"), (997, "61s"), (2_000_000, "2h"), (1 << 40, "1s")] {
                let profile = play(scenario.name(), whole).profile_of(records);
                let schedule = Schedule::of_profile(0, &profile);
                let found = schedule.records();
                assert!((records..records + 3).contains(&found), "{records} {found} {profile}");
            }
        }
    }
}
