//! `nazar check`: whether this configuration can work here, before it is run.
//!
//! Kafka and Redis are asked what a start would ask them, and a little more. Nothing is written
//! anywhere: no topic is created, no group joined, no key touched, no message published. Every
//! question has a deadline, so a report comes within half a minute even if nobody answers.
//!
//! A finding is *ok*, a *warn*ing (it will run, but sooner or later somebody will wish it had been
//! set otherwise) or a *fail*ure (a start would be refused, wait, or be killed). Judging is apart
//! from asking: what a topic's settings or a Redis's answers mean is pure, in `topic` and `redis`.
//!
//! What it cannot know: whether the dead-letter topic may be written to (Kafka tells only by
//! writing), and whether tomorrow's traffic fits.

mod report;

mod configuration;
mod memory;

mod topic;
mod kafka;

mod redis;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use report::{CheckReport, Finding, Section, Verdict};

use crate::config::Config;
use crate::time::EventTime;

/// All questions to Kafka, or to Redis, together. Each has a shorter deadline of its own.
const ANSWERS_MAX: Duration = Duration::from_secs(25);

/// Looks at everything. Kafka and Redis are asked at the same time.
pub async fn run(config: &Config) -> CheckReport {
    let (kafka, redis) = tokio::join!(kafka::section(config, now()), redis::section(config));
    CheckReport::new(vec![configuration::section(config), kafka, redis])
}

/// The wall clock picks where a first start would begin to read; that is also what it does here.
fn now() -> EventTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    EventTime::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX / 4))
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (position, digit) in digits.char_indices() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 broker`, `3 brokers`.
fn counted(number: usize, noun: &str) -> String {
    let number = number as u64;
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let all = [0, 999, 1000, 12_345_678].map(grouped).join(" ");
        assert_eq!(all, "0 999 1,000 12,345,678");
        assert_eq!([counted(1, "broker"), counted(2, "broker")], ["1 broker", "2 brokers"]);
    }
}
