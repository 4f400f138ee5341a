//! How the demo sets up the daemon and the traffic, so that both mean the same.

use std::time::Duration;

use crate::config::{
    Config, DeduplicateConfig, HttpConfig, KafkaConfig, RedisConfig, Secret, Start, TimeConfig,
};
use crate::load::catalogue::Popularity;
use crate::load::clock::Rules;
use crate::load::inject::Inject;
use crate::load::kind::Kind;
use crate::load::schedule::Schedule;
use crate::load::workload::{Key, WorkloadConfig};

/// As many as a mid-sized shop has; the mock keeps each partition's log apart, so many
/// partitions also make much room.
pub const PARTITIONS: u32 = 32;
/// What a large shop sees at its peak, and what a laptop can make, carry, compute and show at
/// the same time.
pub const EVENTS_PER_SECOND: u64 = 40_000;
/// The mock forgets the oldest records of a partition beyond 5 MiB or 100,000 batches. So many
/// records, over the partitions, are a fifth of that: producing pauses while more are unread.
pub const UNREAD_MAX: u64 = 200_000;
/// Shorter than the default, so that windows close while one is watching.
const LATENESS: Duration = Duration::from_secs(10);
/// Closed windows of the shortest size are shown this often instead of once a minute.
const CLOSED_STEP: Duration = Duration::from_secs(10);
const FLUSH: Duration = Duration::from_millis(250);
const FETCH_WAIT_MAX_MILLIS: &str = "20";
/// The slowest a window is refreshed: the defaults are made for days, not for minutes.
const REFRESH_MAX: Duration = Duration::from_secs(2);
const DEDUPLICATE_BYTES: u64 = 128 << 20;

/// The daemon's configuration: the defaults, except where the demo would be dull or in the way.
pub fn config(brokers: String, redis_url: String, listen: String) -> Config {
    let mut config = Config::default();
    config.kafka = KafkaConfig {
        brokers,
        group: "nazar-demo".to_owned(),
        start: Start::Earliest,
        // The generator's malformed records are counted; nobody would read them here.
        dead_letter_topic: String::new(),
        // A broker answers a waiting fetch when records come; the mock only when the time is up.
        properties: [("fetch.wait.max.ms", FETCH_WAIT_MAX_MILLIS)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        ..config.kafka
    };
    config.time = TimeConfig { lateness: LATENESS, ..config.time };
    config.deduplicate = DeduplicateConfig { enabled: true, bytes_max: DEDUPLICATE_BYTES };
    config.redis = RedisConfig { url: Secret::new(redis_url), flush: FLUSH, ..config.redis };
    config.http = HttpConfig { listen };
    for window in &mut config.window {
        window.refresh = Some(window.refresh_or_default(FLUSH).min(REFRESH_MAX));
    }
    if let Some(shortest) = config.window.iter_mut().min_by_key(|window| window.size) {
        shortest.closed_step = Some(CLOSED_STEP);
    }
    config
}

/// The traffic: event time is now, with the faults that real traffic has, under the rules and
/// in the currency of `config`.
pub fn workload(config: &Config, seed: u64, start_ms: i64) -> WorkloadConfig {
    let definitions = config.definitions();
    WorkloadConfig {
        seed,
        schedule: Schedule::at_rate(start_ms, EVENTS_PER_SECOND, u64::MAX),
        partitions: [PARTITIONS; 4],
        products: 100_000,
        categories: 48,
        sellers: 2_000,
        users: 100_000,
        popularity: Popularity::Storefront,
        key: Key::Product,
        order_status: false,
        inject: usual(),
        play: None,
        rules: Rules {
            lateness_ms: definitions.lateness.millis(),
            max_future_ms: definitions.max_future.millis(),
            base_pane_ms: definitions.base_pane().millis(),
        },
        currency: definitions.currency,
    }
}

/// Topics of the generator, by kind.
pub fn topics(config: &Config) -> [String; 4] {
    let topics = &config.topics;
    Kind::ALL.map(|kind| match kind {
        Kind::Click => topics.click.clone(),
        Kind::Wishlist => topics.wishlist.clone(),
        Kind::Purchase => topics.purchase.clone(),
        Kind::OrderStatus => topics.order_status.clone(),
    })
}

fn usual() -> Inject {
    "usual".parse().expect("the generator knows its own word")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_takes_it() {
        let config = config("b:1".into(), "redis://127.0.0.1:1/".into(), "127.0.0.1:1".into());
        config.validate().unwrap();
        let standard = Config::default().definitions();
        let shown = config.definitions();
        assert_eq!(shown.boards, standard.boards);
        assert_eq!(shown.dimensions, standard.dimensions);
        let sizes = |definitions: &crate::pipeline::definitions::Definitions| {
            definitions.windows.iter().map(|w| (w.size, w.slide)).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&shown), sizes(&standard));
        // The shortest window is what is shown, and what the generator waits for.
        assert_eq!(config.refresh_by_window()[0], FLUSH);
        assert!(config.refresh_by_window().iter().all(|refresh| *refresh <= REFRESH_MAX));
        assert_eq!(topics(&config)[..3], ["click", "wishlist", "purchase"].map(String::from));
    }

    #[test]
    fn both_sides_judge_alike() {
        let config = config("b:1".into(), "redis://127.0.0.1:1/".into(), "127.0.0.1:1".into());
        let workload = workload(&config, 1, 0);
        assert_eq!(workload.rules.lateness_ms, 10_000);
        assert_eq!(workload.rules.base_pane_ms, 1000);
        assert_eq!(workload.currency, config.money.currency);
        assert!(workload.inject.late.ratio > 0.0 && workload.inject.dup.ratio > 0.0);
    }
}
