//! The command line of `nazar-load`: what may be said, and what follows from it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::clock::Rules;
use super::compare::KEPT;
use super::inject::Inject;
use super::kafka::Cluster;
use super::kind::Kind;
use super::pacer::{Pace, Schedule};
use super::run::RunOptions;
use super::verify::VerifyOptions;
use super::workload::{Key, WorkloadConfig};

const DEFAULT_RATE: u64 = 10_000;

/// Publish seeded storefront traffic to Kafka, and verify what nazar made of it.
///
/// Exit codes: 0 good, 1 error, 2 usage, 3 verify found differences, 130 interrupted.
/// Results go to stdout, everything else to stderr.
#[derive(Debug, Parser)]
#[command(name = "nazar-load", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write deterministic traffic, and an account of what it should lead to
    Run(Box<RunArgs>),
    /// Recount the log and compare with what Redis holds
    Verify(Box<VerifyArgs>),
}

#[derive(Clone, Debug, Args)]
pub struct KafkaArgs {
    /// Kafka bootstrap servers, host:port,host:port
    #[arg(
        short,
        long,
        env = "NAZAR_LOAD_BROKERS",
        hide_env_values = true,
        default_value = "localhost:9092"
    )]
    pub brokers: String,
    /// Any librdkafka property, may be repeated
    #[arg(short = 'X', value_name = "PROPERTY=VALUE", value_parser = property)]
    pub properties: Vec<(String, String)>,
}

fn property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected PROPERTY=VALUE, for example linger.ms=5".into()),
    }
}

impl KafkaArgs {
    fn cluster(self) -> Cluster {
        Cluster { brokers: self.brokers, properties: self.properties }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum KeyArg {
    Product,
    User,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// The same seed and options give the same bytes (with --base-time)
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many records to write, faults included
    #[arg(long, value_name = "N", required_unless_present = "duration")]
    pub events: Option<u64>,
    /// How long to write, at --rate
    #[arg(long = "for", id = "duration", value_name = "DURATION", value_parser = duration, conflicts_with = "events")]
    pub duration: Option<Duration>,
    /// Records a second, on an even schedule; event times are the scheduled ones [default with --for: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub rate: Option<u64>,
    /// Without --rate: the event time that the records are spread over; they are written as fast as possible
    #[arg(long, value_name = "DURATION", default_value = "2h", value_parser = duration, conflicts_with = "rate")]
    pub event_time_span: Duration,
    /// Where event time ends (--event-time-span) or begins (--rate), in milliseconds since 1970 [default: now]
    #[arg(long, value_name = "MILLIS", value_parser = clap::value_parser!(i64).range(946_684_800_000..4_102_444_800_000))]
    pub base_time: Option<i64>,
    /// Create the topics that do not exist, keeping records for ever
    #[arg(long)]
    pub create_topics: bool,
    /// Partitions of each created topic
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub partitions: u32,
    /// Replicas of each created topic
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=100))]
    pub replication: i32,
    /// Put before the topic names click, wishlist, purchase and order-events
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub topic_prefix: String,
    /// Write order status events as well
    #[arg(long)]
    pub order_events: bool,
    /// Where to write run.json and ledger.txt
    #[arg(long, value_name = "DIR", required_unless_present = "dry_run")]
    pub out: Option<PathBuf>,
    /// Faults: late, dup, malformed, reorder, future, tombstone as RATIO[:BOUND|:MIN..MAX]; `usual` for reorder=2%:5s,late=1%,dup=0.5%,malformed=0.1%,future=0.05%
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
    /// What decides the partition of a record
    #[arg(long, value_enum, default_value_t = KeyArg::Product)]
    pub key: KeyArg,
    /// The currency that revenue counts in, as in the daemon's configuration
    #[arg(long, default_value = "USD")]
    pub currency: String,
    /// The daemon's lateness: decides what is late
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub lateness: Duration,
    /// The daemon's max_future: decides what is future
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    pub max_future: Duration,
    /// The daemon's base pane (greatest common divisor of its slides): decides what is late
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = positive)]
    pub base_pane: Duration,
    /// Count and print without a broker; nothing is written
    #[arg(long)]
    pub dry_run: bool,
    /// No progress bar
    #[arg(long)]
    pub no_progress: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        duration if duration.as_millis() > 0 => Ok(duration),
        _ => Err("must be at least a millisecond".into()),
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

impl RunArgs {
    /// The options of the run, or what is wrong with the arguments.
    pub fn options(self) -> Result<RunOptions, String> {
        let (schedule, pace) = self.schedule();
        if self.lateness < Duration::from_millis(1) && self.inject.reorder.ratio > 0.0 {
            return Err("reorder needs a lateness above zero".into());
        }
        if self.categories > self.products {
            return Err(format!(
                "{} categories need at least as many products, not {}",
                self.categories, self.products
            ));
        }
        let topics = Kind::ALL.map(|kind| format!("{}{}", self.topic_prefix, kind.default_topic()));
        let parameters = self.parameters(&schedule, pace);
        let workload = WorkloadConfig {
            seed: self.seed,
            schedule,
            partitions: [self.partitions; 4],
            products: self.products,
            categories: self.categories,
            sellers: self.sellers,
            users: self.users,
            key: match self.key {
                KeyArg::Product => Key::Product,
                KeyArg::User => Key::User,
            },
            order_status: self.order_events,
            inject: self.inject,
            rules: Rules {
                lateness_ms: millis(self.lateness),
                max_future_ms: millis(self.max_future),
                base_pane_ms: millis(self.base_pane),
            },
            currency: self.currency,
        };
        Ok(RunOptions {
            cluster: self.kafka.cluster(),
            topics,
            dead_letter_topic: format!("{}nazar-dead-letters", self.topic_prefix),
            create: self.create_topics.then_some((self.partitions, self.replication)),
            workload,
            pace,
            out: self.out.unwrap_or_default(),
            parameters,
            progress: !self.no_progress,
        })
    }

    fn schedule(&self) -> (Schedule, Pace) {
        let records_in = |duration: Duration, rate: u64| {
            u64::try_from(duration.as_nanos() * u128::from(rate) / 1_000_000_000)
                .unwrap_or(u64::MAX)
        };
        let base = self.base_time;
        match (self.events, self.duration, self.rate) {
            (Some(events), _, None) => {
                let end = base.unwrap_or_else(|| now_ms() / 60_000 * 60_000);
                (Schedule::over_span(end, millis(self.event_time_span), events), Pace::Unbounded)
            }
            (events, duration, rate) => {
                let rate = rate.unwrap_or(DEFAULT_RATE);
                let records =
                    events.unwrap_or_else(|| records_in(duration.unwrap_or_default(), rate));
                let start = base.unwrap_or_else(now_ms);
                (Schedule::at_rate(start, rate, records), Pace::Scheduled)
            }
        }
    }

    fn parameters(&self, schedule: &Schedule, pace: Pace) -> BTreeMap<String, String> {
        let key = match self.key {
            KeyArg::Product => "product",
            KeyArg::User => "user",
        };
        let pace = match pace {
            Pace::Unbounded => "unbounded",
            Pace::Scheduled => "scheduled",
        };
        [
            ("records", schedule.records.to_string()),
            ("start_ms", schedule.start_ms.to_string()),
            ("end_ms", schedule.time_ms(schedule.records).to_string()),
            ("pace", pace.to_owned()),
            ("inject", self.inject.to_string()),
            ("products", self.products.to_string()),
            ("categories", self.categories.to_string()),
            ("sellers", self.sellers.to_string()),
            ("users", self.users.to_string()),
            ("key", key.to_owned()),
            ("currency", self.currency.clone()),
            ("order_events", self.order_events.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The --out directory of a run
    pub directory: PathBuf,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Redis: redis://, rediss:// or redis+unix://
    #[arg(
        long,
        value_name = "URL",
        env = "NAZAR_LOAD_REDIS",
        hide_env_values = true,
        default_value = "redis://127.0.0.1:6379"
    )]
    pub redis: String,
    /// The daemon's key prefix
    #[arg(long, default_value = "nazar")]
    pub prefix: String,
    /// Read the definitions from a JSON file instead of {prefix}:schema
    #[arg(long, value_name = "FILE")]
    pub definitions: Option<PathBuf>,
    /// Read each partition from the beginning of its log, not from where the run began
    #[arg(long)]
    pub from_start: bool,
    /// The daemon's JSON result line; its ledger is compared as well
    #[arg(long, value_name = "FILE")]
    pub daemon_json: Option<PathBuf>,
    /// First take N samples of the latest views while the daemon runs, and judge them afterwards
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub latest_samples: u64,
    /// Time between two samples
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration)]
    pub every: Duration,
    /// Wait so long at most until the daemon has published the whole log
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    pub wait: Duration,
    /// Closed boards kept per window, 0 for all [default: as the definitions say, else all]
    #[arg(long, value_name = "N")]
    pub closed_keep: Option<usize>,
    /// Name so many differences; all are counted
    #[arg(long, value_name = "N", default_value_t = KEPT)]
    pub differences: usize,
    /// The report as JSON on stdout (text otherwise)
    #[arg(long)]
    pub json: bool,
}

impl VerifyArgs {
    pub fn options(self) -> VerifyOptions {
        VerifyOptions {
            directory: self.directory,
            cluster: self.kafka.cluster(),
            redis_url: self.redis,
            prefix: self.prefix,
            definitions: self.definitions,
            from_start: self.from_start,
            daemon_json: self.daemon_json,
            latest_samples: self.latest_samples,
            every: self.every,
            wait: self.wait,
            closed_keep: self.closed_keep,
            differences: self.differences,
        }
    }
}
