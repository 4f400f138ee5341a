//! The arguments of `nazar-load replay`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::anyhow;
use bytesize::ByteSize;
use clap::{Args, ValueEnum};

use super::measure::MeasureArgs;
use super::traffic::KeyArg;
use super::{CreateArgs, HoldArgs, KafkaArgs, RulesArgs};
use crate::load::catalogue::Popularity;
use crate::load::inject::Inject;
use crate::load::kind::Kind;
use crate::load::pacer::Pace;
use crate::load::replay::account::Account;
use crate::load::replay::mapping::{Mapping, builtin};
use crate::load::replay::pacing::{Pacing, first_reading};
use crate::load::replay::source::Source;
use crate::load::replay::{Replay, Shift};
use crate::load::run::RunOptions;
use crate::load::schedule::Schedule;
use crate::load::traffic::Traffic;
use crate::load::workload::WorkloadConfig;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Rebase {
    Now,
}

/// Faster is a typing error, and slower would never end.
const SPEEDS: std::ops::RangeInclusive<f64> = 0.001..=1e9;

fn speed(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('x').unwrap_or(text).parse().ok();
    number
        .filter(|speed| SPEEDS.contains(speed))
        .ok_or_else(|| "expected how many times as fast, for example 10x or 0.5x".to_owned())
}

#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// CSV, TSV or JSONL, plain or gzip, replayed one after another
    #[arg(value_name = "FILE", required_unless_present = "print_map")]
    pub files: Vec<PathBuf>,
    /// How rows become events: a mapping file, or taobao, retailrocket, rees46, olist, otto
    #[arg(long, value_name = "MAPPING", required_unless_present = "print_map")]
    pub map: Option<String>,
    /// Print a ready-made mapping, to be adapted, and do nothing else
    #[arg(long, value_name = "NAME", exclusive = true)]
    pub print_map: Option<String>,
    /// Send so many times as fast as the files' own times go: 10x, 0.5x [default: as fast as possible]
    #[arg(long, value_name = "FACTOR", value_parser = speed, conflicts_with = "rate")]
    pub speed: Option<f64>,
    /// Send so many records a second, whatever the files' times
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub rate: Option<u64>,
    /// Shift event times as far towards now as it goes without one lying ahead of its sending: the
    /// last event then happens when it is sent
    #[arg(long, value_name = "TO")]
    pub rebase: Option<Rebase>,
    /// End after so many events
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Send in the order of event time, not of the files
    #[arg(long)]
    pub sort: bool,
    /// Memory that events to be sorted may take
    #[arg(long, value_name = "SIZE", default_value = "1GiB", requires = "sort")]
    pub sort_memory: ByteSize,
    /// Send nothing if there are rows that cannot be mapped
    #[arg(long)]
    pub strict: bool,
    /// Read and count, and send nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub kafka: KafkaArgs,
    /// Partitions of each topic that is created
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub partitions: u32,
    /// Put before the topic names click, wishlist, purchase and order-events
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub topic_prefix: String,
    /// What decides the partition of a record
    #[arg(long, value_enum, default_value_t = KeyArg::Product)]
    pub key: KeyArg,
    #[command(flatten)]
    pub rules: RulesArgs,
    #[command(flatten)]
    pub measure: MeasureArgs,
    #[command(flatten)]
    pub hold: HoldArgs,
    #[command(flatten)]
    pub topics: CreateArgs,
    /// Where to write run.json, ledger.txt, timeline.jsonl and latency.hlog
    #[arg(long, value_name = "DIR", required_unless_present_any = ["print_map", "dry_run"])]
    pub out: Option<PathBuf>,
    /// run.json also to this file, or to stdout in place of the text: -
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// No progress bar
    #[arg(long)]
    pub no_progress: bool,
}

/// Why nothing is sent.
#[derive(Debug)]
pub enum Refusal {
    Usage(String),
    Error(anyhow::Error),
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Refusal::Error(error)
    }
}

impl ReplayArgs {
    fn pacing(&self) -> Pacing {
        match (self.speed, self.rate) {
            (Some(speed), _) => Pacing::Speed(speed),
            (None, Some(rate)) => Pacing::Rate(rate),
            (None, None) => Pacing::Unbounded,
        }
    }

    fn source(&self) -> Result<Source, Refusal> {
        let mapping = mapping(self.map.as_deref().unwrap_or_default())?;
        Ok(Source {
            files: self.files.clone(),
            mapping,
            key: self.key.key(),
            limit: self.limit,
            sort_bytes: self.sort.then_some(self.sort_memory.as_u64()),
        })
    }

    /// Reads the files for the first time: what would be sent.
    pub fn read(&self) -> Result<(Source, Account, Schedule), Refusal> {
        let source = self.source()?;
        let (account, schedule) = first_reading(&source, self.pacing())?;
        let unmapped = account.unmapped_rows();
        if self.strict && unmapped > 0 {
            let why = anyhow!("{unmapped} rows cannot be mapped\n{}", account.text().trim_end());
            return Err(Refusal::Error(why));
        }
        if account.events == 0 {
            return Err(Refusal::Error(anyhow!("no event\n{}", account.text().trim_end())));
        }
        Ok((source, account, schedule))
    }

    /// The options of the run that sends what was read, or what is wrong with the arguments.
    pub fn options(
        self,
        (source, account, schedule): (Source, Account, Schedule),
    ) -> Result<RunOptions, Refusal> {
        if let Some(threshold) = self.hold.thresholds.iter().find(|one| one.needs_verification()) {
            let why =
                format!("`{threshold}`: verify the replay afterwards, with nazar-load verify");
            return Err(Refusal::Usage(why));
        }
        let pacing = self.pacing();
        let pace = if pacing == Pacing::Unbounded { Pace::Unbounded } else { Pace::Scheduled };
        let traffic = self.traffic(source, account, schedule, pacing, pace);
        let out = self.out.ok_or_else(|| Refusal::Usage("--out is missing".to_owned()))?;
        Ok(RunOptions {
            cluster: self.kafka.cluster(),
            measure: self
                .measure
                .measure(pace, self.hold.warmup, &self.hold.thresholds)
                .map_err(Refusal::Usage)?,
            traffic,
            thresholds: self.hold.thresholds,
            abort_on_fail: self.hold.abort_on_fail,
            create: self.topics.create(self.partitions),
            verify: None,
            metrics_listen: None,
            daemon_metrics: None,
            out,
            progress: !self.no_progress,
            expects_clean_topics: true,
        })
    }

    fn traffic(
        &self,
        source: Source,
        account: Account,
        schedule: Schedule,
        pacing: Pacing,
        pace: Pace,
    ) -> Traffic {
        let parameters = self.parameters(&source, pacing, pace);
        let workload = WorkloadConfig {
            seed: 0,
            schedule,
            partitions: [self.partitions; 4],
            products: 0,
            categories: 0,
            sellers: 0,
            users: 0,
            popularity: Popularity::Storefront,
            key: source.key,
            order_status: source.mapping.makes(Kind::OrderStatus),
            inject: Inject::default(),
            play: None,
            rules: self.rules.rules(),
            currency: String::new(),
        };
        let topic = |kind: Kind| format!("{}{}", self.topic_prefix, kind.default_topic());
        let shift = if self.rebase.is_some() { Shift::ToNow } else { Shift::None };
        Traffic {
            topics: Kind::ALL.map(topic),
            dead_letter_topic: format!("{}nazar-dead-letters", self.topic_prefix),
            workload,
            pace,
            starts_now: false,
            threads: 1,
            parameters,
            replay: Some(Replay::new(source, pacing, account, shift)),
        }
    }

    fn parameters(&self, source: &Source, pacing: Pacing, pace: Pace) -> BTreeMap<String, String> {
        let files: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        let mut parameters = BTreeMap::from([
            ("files", files.join(" ")),
            ("map", source.mapping.name.clone()),
            ("pace", pace.name().to_owned()),
            ("key", self.key.name().to_owned()),
            ("sort", self.sort.to_string()),
            ("rebase", self.rebase.is_some().to_string()),
        ]);
        match pacing {
            Pacing::Unbounded => None,
            Pacing::Speed(speed) => parameters.insert("speed", format!("{speed}x")),
            Pacing::Rate(rate) => parameters.insert("rate", rate.to_string()),
        };
        if let Some(limit) = self.limit {
            parameters.insert("limit", limit.to_string());
        }
        parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// A ready-made mapping by its name, or a file.
fn mapping(name: &str) -> Result<Mapping, Refusal> {
    if let Some(text) = builtin::text(name) {
        return Mapping::parse(name, text).map_err(Refusal::Usage);
    }
    let text = std::fs::read_to_string(name).map_err(|error| {
        let names = builtin::NAMES.join(", ");
        Refusal::Usage(format!("--map {name}: {error}; ready-made ones are {names}"))
    })?;
    Mapping::parse(name, &text).map_err(Refusal::Usage)
}
