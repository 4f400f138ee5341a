//! The command line of `nazar`: what may be said, and what is answered with which exit code.
//!
//! `docs/CLI.md` shows the help texts; a test compares them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rdkafka::ClientConfig;

use crate::backfill::{self, When};
use crate::config::{Config, ConfigErrors, LoadOptions};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 an error, 2 refused before anything was touched (command line, configuration,
or state in Redis that another configuration has built).

Configuration: defaults < --config FILE < NAZAR__SECTION__KEY < --set section.key=value";

/// Event-time sliding windows from Kafka to Redis.
#[derive(Debug, Parser)]
#[command(
    name = "nazar",
    version,
    long_version = LONG_VERSION.as_str(),
    after_help = EXIT_CODES,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read events, compute windows, publish views
    Run(RunArgs),
    /// Print the effective configuration, without secrets
    Config(ConfigArgs),
    /// Validate the configuration and ask Kafka and Redis whether it works
    Check(ConfigArgs),
    /// Say who writes, how far the views are, and what holds them back
    Status(StatusArgs),
    /// Compute a period of history anew, under a prefix of its own
    Backfill(BackfillArgs),
    /// Put what a backfill has computed in the place of the live closed windows
    Promote(PromoteArgs),
    /// Show everything at once, with an embedded broker, a Redis and a generator
    Demo(DemoArgs),
    /// Count the records in the dead-letter topic, by reason and topic
    DeadLetters(DeadLettersArgs),
    /// Delete everything nazar keeps in Redis under the configured prefix
    Reset(ResetArgs),
    /// Ask a running nazar on this machine for its health, for container health checks
    Probe(ProbeArgs),
    /// Print the script that completes this program in a shell
    Completions {
        /// Which shell
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
    /// Write man pages into a directory
    Man {
        /// Made if it does not exist
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, Args)]
pub struct ConfigArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "NAZAR_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Set one key, over file and environment: time.lateness=30s (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Stop at the end of the log as it is now, close every window, print one line of JSON
    #[arg(long)]
    pub bounded: bool,
}

#[derive(Debug, Args)]
pub struct BackfillArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Windows that end after this: a time (2026-11-21T08:00:00Z) or so long ago (36h)
    #[arg(long, value_name = "T", value_parser = backfill::parse_when)]
    pub from: When,
    /// Windows that end at or before this; without it, all that have closed by now
    #[arg(long, value_name = "T", value_parser = backfill::parse_when)]
    pub to: Option<When>,
    /// Where they are written: any but redis.prefix
    #[arg(long, value_name = "PREFIX")]
    pub prefix: String,
    /// Keep all boards and history of the period, whatever redis.closed_keep and history_keep say
    #[arg(long)]
    pub keep_all: bool,
}

impl BackfillArgs {
    pub fn request(self) -> backfill::Request {
        let Self { from, to, prefix, keep_all, .. } = self;
        backfill::Request { from, to, prefix, keep_all }
    }
}

#[derive(Debug, Args)]
pub struct PromoteArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where the backfill has written
    #[arg(long, value_name = "PREFIX")]
    pub prefix: String,
    /// Print one object of JSON instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End by itself after this long; without it, at Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub duration: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print one object of JSON instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct DeadLettersArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Print one object of JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct ResetArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct ProbeArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The page to ask for: /livez or /readyz
    #[arg(long, value_name = "PATH", default_value = "/livez")]
    pub page: String,
    /// How long an answer may take
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    pub timeout: Duration,
}

impl ConfigArgs {
    /// Loads the configuration with the environment of this process.
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        // What is not Unicode cannot be a name of ours; a value that is not shows up as such.
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .map(|(name, value)| (name, value.to_string_lossy().into_owned()));
        Config::load(LoadOptions { file: self.config.clone(), env, sets: self.sets.clone() })
    }
}

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Error = 1,
    /// Refused before anything was touched. clap ends with the same code at a wrong command line.
    Refused = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// What `nazar config` prints: the configuration as TOML, and below, as comments, what follows from it.
pub fn effective(config: &Config) -> String {
    let mut text = config.render();
    text.push_str(&format!("\n# {}\n", config.memory_estimate()));
    text.push_str(&format!("# meaning {}\n", config.meaning_hash()));
    for warning in config.warnings() {
        text.push_str(&format!("# warning: {warning}\n"));
    }
    text
}

/// Version, and what was built in: an answer to "does this binary speak TLS to Kafka?".
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    let native = ClientConfig::new().create_native_config();
    let built_in = native.and_then(|native| native.get("builtin.features")).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    format!("{version}\nlibrdkafka {librdkafka}: {built_in}")
});
