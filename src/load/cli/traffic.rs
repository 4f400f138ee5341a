//! What is written, as the commands that write or plan take it.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::RulesArgs;
use super::schedule::{ScheduleArgs, Scheduled};
use crate::load::catalogue::Popularity;
use crate::load::inject::Inject;
use crate::load::kind::Kind;
use crate::load::lane::LANES;
use crate::load::pacer::Pace;
use crate::load::traffic::Traffic;
use crate::load::workload::{Key, WorkloadConfig};

fn threads(text: &str) -> Result<usize, String> {
    let threads = text.parse().ok().filter(|threads| (1..=LANES).contains(threads));
    threads.ok_or_else(|| format!("expected 1 to {LANES}"))
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum KeyArg {
    Product,
    User,
}

impl KeyArg {
    pub(super) fn key(self) -> Key {
        match self {
            KeyArg::Product => Key::Product,
            KeyArg::User => Key::User,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            KeyArg::Product => "product",
            KeyArg::User => "user",
        }
    }
}

#[derive(Clone, Debug, Args)]
pub struct TrafficArgs {
    /// The same seed and options give the same bytes (with --base-time)
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Partitions of each topic that is created or, for a plan, imagined
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub partitions: u32,
    /// Put before the topic names click, wishlist, purchase and order-events
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub topic_prefix: String,
    /// Write order status events as well
    #[arg(long)]
    pub order_events: bool,
    /// Faults: late, dup, malformed, reorder, future, tombstone, drift as RATIO[:BOUND|:MIN..MAX];
    /// `usual` for reorder=2%:5s,late=1%,dup=0.5%,malformed=0.1%,future=0.05%
    #[arg(long, value_name = "FAULT=RATIO,…", default_value = "")]
    pub inject: Inject,
    /// Products in the catalogue
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub products: u32,
    /// Categories, by Zipf's law
    #[arg(long, value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..))]
    pub categories: u32,
    /// Sellers
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub sellers: u32,
    /// Users
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub users: u32,
    /// Which products: storefront (popular categories, flatter within them), or all of them by Zipf's
    /// law, zipf:0.99; zipf:0 means all alike
    #[arg(long, value_name = "LAW", default_value_t = Popularity::Storefront)]
    pub popularity: Popularity,
    /// Threads that make the records; the stream is the same whatever their number
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = threads)]
    pub threads: usize,
    /// What decides the partition of a record
    #[arg(long, value_enum, default_value_t = KeyArg::Product)]
    pub key: KeyArg,
    /// The currency that revenue counts in, as in the daemon's configuration
    #[arg(long, default_value = "USD")]
    pub currency: String,
    #[command(flatten)]
    pub rules: RulesArgs,
}

impl TrafficArgs {
    /// The traffic, or what is wrong with the arguments.
    pub fn traffic(&self, schedule_args: &ScheduleArgs) -> Result<Traffic, String> {
        if self.rules.lateness < Duration::from_millis(1) && self.inject.reorder.ratio > 0.0 {
            return Err("reorder needs a lateness above zero".into());
        }
        if self.categories > self.products {
            return Err(format!(
                "{} categories need at least as many products, not {}",
                self.categories, self.products
            ));
        }
        let Scheduled { schedule, pace, play, described } = schedule_args.schedule()?;
        let topic = |kind: Kind| format!("{}{}", self.topic_prefix, kind.default_topic());
        let mut parameters = self.parameters();
        for (name, value) in [
            ("profile", described),
            ("arrivals", schedule_args.arrivals.to_string()),
            ("records", schedule.records().to_string()),
            ("start_ms", schedule.start_ms.to_string()),
            ("end_ms", schedule.end_ms().to_string()),
            ("pace", pace.name().to_owned()),
        ] {
            parameters.insert(name.to_owned(), value);
        }
        if let Some(play) = &play {
            parameters.insert("scenario".to_owned(), play.to_string());
        }
        let workload = WorkloadConfig {
            seed: self.seed,
            schedule,
            partitions: [self.partitions; 4],
            products: self.products,
            categories: self.categories,
            sellers: self.sellers,
            users: self.users,
            popularity: self.popularity,
            key: self.key.key(),
            order_status: self.order_events,
            inject: self.inject,
            play,
            rules: self.rules.rules(),
            currency: self.currency.clone(),
        };
        let dead_letter_topic = format!("{}nazar-dead-letters", self.topic_prefix);
        Ok(Traffic {
            topics: Kind::ALL.map(topic),
            dead_letter_topic,
            workload,
            pace,
            starts_now: pace == Pace::Scheduled && schedule_args.base_time.is_none(),
            threads: self.threads,
            parameters,
            replay: None,
        })
    }

    fn parameters(&self) -> BTreeMap<String, String> {
        [
            ("inject", self.inject.to_string()),
            ("products", self.products.to_string()),
            ("categories", self.categories.to_string()),
            ("sellers", self.sellers.to_string()),
            ("users", self.users.to_string()),
            ("popularity", self.popularity.to_string()),
            ("key", self.key.name().to_owned()),
            ("currency", self.currency.clone()),
            ("order_events", self.order_events.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

impl Pace {
    pub(super) fn name(self) -> &'static str {
        match self {
            Pace::Unbounded => "unbounded",
            Pace::Scheduled => "scheduled",
        }
    }
}
