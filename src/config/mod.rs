//! The configuration: what may be set, with its defaults.
//!
//! Four layers, later ones winning key by key: the defaults, a TOML file, the environment
//! (`NAZAR__SECTION__KEY`), `--set section.key=value`. Lists (`[[window]]`, `[[view]]`)
//! are replaced whole.
//!
//! ```text
//! defaults ─┐
//! file ─────┤ layers: values      read: a Config,    secrets: the     validate: what no
//! env ──────┤ with their origin ─► or every error ─► files they   ─► single key shows
//! --set ────┘                      found             stand in
//! ```
//!
//! Every key stands once, in `keys.rs`, with the way it is written (`format.rs`). Reading,
//! rendering and the list of known keys are three walks over that one description, so they
//! cannot drift apart. Nothing here connects anywhere; `docs/CONFIG.md` is the reference.

mod format;
mod keys;

mod layers;

mod assignment;
mod document;

mod read;
mod secret_files;
mod validate;

mod definitions;
mod meaning;
mod memory;
mod render;
mod warnings;

mod defaults;
mod error;
mod secret;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

pub use error::{ConfigError, ConfigErrors};
pub use keys::known_keys;
pub use memory::{MemoryEstimate, REMEMBERED_BYTES_MAX};
pub use secret::Secret;

/// Where a configuration comes from. The environment is handed in, so that a test can.
pub struct LoadOptions<E> {
    /// The TOML file, if any. No file is looked for by itself.
    pub file: Option<PathBuf>,
    /// Variables; those that do not begin with `NAZAR__` are ignored.
    pub env: E,
    /// `section.key=value`, in order.
    pub sets: Vec<String>,
}

impl Config {
    /// Reads and validates the layers; reports everything that is wrong with them at once.
    pub fn load<E>(options: LoadOptions<E>) -> Result<Config, ConfigErrors>
    where
        E: IntoIterator<Item = (String, String)>,
    {
        let (layers, mut errors) = layers::collect(options);
        let is_whole = layers.is_whole();
        let mut read = read::read(&layers.merge());
        errors.append(&mut read.errors);
        secret_files::read(&mut read.config, &read.origins, &mut errors);
        if is_whole {
            let broken = errors.iter().map(|error| error.key.clone()).collect();
            errors.extend(validate::validate(&read.config, &read.origins, broken));
        }
        if errors.is_empty() { Ok(read.config) } else { Err(ConfigErrors::new(errors)) }
    }

    /// Checks a configuration made by hand, as [`Config::load`] does with one it has read.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let errors = validate::validate(self, &BTreeMap::new(), Vec::new());
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors::new(errors)) }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub kafka: KafkaConfig,
    pub topics: TopicsConfig,
    pub fields: FieldsConfig,
    pub money: MoneyConfig,
    pub time: TimeConfig,
    /// `[[window]]`; default 1m/1s, 5m/5s, 1h/1m, 24h/15m.
    pub window: Vec<WindowConfig>,
    /// `[[view]]`; default all boards of product, category and seller.
    pub view: Vec<ViewConfig>,
    pub uniques: UniquesConfig,
    pub deduplicate: DeduplicateConfig,
    pub redis: RedisConfig,
    pub checkpoint: CheckpointConfig,
    pub limits: LimitsConfig,
    pub http: HttpConfig,
    pub log: LogConfig,
    /// Where secrets were read from.
    pub files: SecretFiles,
}

#[derive(Clone, PartialEq)]
pub struct KafkaConfig {
    /// `host:port,host:port`; default `localhost:9092`. Enough of them to find the cluster.
    pub brokers: String,
    /// The consumer group, default `nazar`. One prefix belongs to one group.
    pub group: String,
    /// How this client appears in the broker's logs and quotas; default `nazar`.
    pub client_id: String,
    /// Where reading begins when nothing is known yet; default `window`.
    pub start: Start,
    /// Consumer handles in this process, each with its own thread; default 1. More help only
    /// when one core cannot fetch and decode fast enough.
    pub handles: usize,
    /// Records that could not be used go here; `""` counts them only. Default `nazar-dead-letters`.
    pub dead_letter_topic: String,
    /// Any librdkafka property, from `[kafka.properties]` and `[kafka.properties_files]`; ours
    /// are defaults under it.
    pub properties: BTreeMap<String, String>,
}

/// Properties may be secrets: only the names of those are printed.
impl std::fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let properties: Vec<&String> = self.properties.keys().collect();
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("group", &self.group)
            .field("client_id", &self.client_id)
            .field("start", &self.start)
            .field("handles", &self.handles)
            .field("dead_letter_topic", &self.dead_letter_topic)
            .field("properties", &properties)
            .finish()
    }
}

/// Where reading begins when nothing is known of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Far enough back to fill the longest window.
    Window,
    Earliest,
    Committed,
    Latest,
}

/// Topic names by kind; an empty name turns a kind off.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicsConfig {
    /// Default `click`.
    pub click: String,
    /// Default `wishlist`.
    pub wishlist: String,
    /// Default `purchase`.
    pub purchase: String,
    /// Default `""`: off. The customary name is `order-events`.
    pub order_status: String,
}

/// The JSON field that holds each value, by default of the same name. The camelCase form of
/// each is accepted as well.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldsConfig {
    pub event_id: String,
    pub timestamp: String,
    pub user_id: String,
    pub session_id: String,
    pub product_id: String,
    pub category: String,
    pub seller_id: String,
    pub action: String,
    pub order_id: String,
    pub quantity: String,
    pub price_minor: String,
    pub currency: String,
    pub items: String,
    pub status: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MoneyConfig {
    /// The one currency that revenue on boards counts in, upper case; default `USD`. Others are
    /// summed beside it.
    pub currency: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TimeConfig {
    /// How far a record may be behind the newest of its partition; default 1m. Larger loses
    /// fewer records as late and closes every window that much later.
    pub lateness: Duration,
    /// How far event time may be ahead of the record's Kafka time; default 5m. Beyond it, a
    /// record is rejected as future.
    pub max_future: Duration,
    /// A partition further ahead of the slowest than this is paused; default 5m. Larger keeps
    /// more panes in memory while catching up.
    pub max_skew: Duration,
    /// After this long without progress or word from the broker a partition is left out, and
    /// windows close as incomplete; default 10m.
    pub stall_limit: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct WindowConfig {
    /// A multiple of `slide`; at most one window of each size.
    pub size: Duration,
    /// How often a window ends. `slide` = `size` is a tumbling window.
    pub slide: Duration,
    /// How often a closed window is emitted, a multiple of `slide`. Default: the larger of slide
    /// and one minute.
    pub closed_step: Option<Duration>,
    /// How often the latest views of this window are written at most. Default by size:
    /// up to 1 m each flush, up to 5 m 5 s, up to 1 h 15 s, longer 60 s.
    pub refresh: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ViewConfig {
    /// Its name in Redis keys: `product`, `category`, `seller`, or one of your own.
    pub dimension: String,
    /// The event field; default: `fields.<dimension>` for product, category and seller, else the
    /// dimension's name.
    pub field: Option<String>,
    /// Default: all metrics.
    pub metrics: Vec<String>,
    /// Default: 1000 for product, 100 for others.
    pub top: Option<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct UniquesConfig {
    /// Dimensions with distinct users per entity, besides those per kind. Default: category.
    pub dimensions: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DeduplicateConfig {
    /// Drop a record whose `event_id` was seen in its partition within lateness; default off.
    pub enabled: bool,
    /// Memory for remembered ids, per process; default 256 MiB.
    pub bytes_max: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RedisConfig {
    /// `redis://`, `rediss://` or `redis+unix://`; may carry user and password.
    /// Default `redis://127.0.0.1:6379`.
    pub url: Secret,
    /// ACL user; default `""`: the default user.
    pub username: String,
    pub password: Secret,
    /// First part of every key; default `nazar`. One prefix belongs to one group.
    pub prefix: String,
    /// How often the sink writes; default 1s. Shorter is fresher and costs Redis more.
    pub flush: Duration,
    /// Default 5s.
    pub connect_timeout: Duration,
    /// Default 10s. Shorter than a slow Redis command means writing it again.
    pub response_timeout: Duration,
    /// How long a writer that has fallen silent keeps the prefix; default 10 s.
    pub lease: Duration,
    /// Closed boards and HLLs kept per window; 0 keeps all until their TTL. Default 10.
    pub closed_keep: usize,
    /// Entries kept in each history stream; 0 keeps all. Default 10,000.
    pub history_keep: usize,
    /// Views expire this long after their window's size has passed without a refresh; default 1h.
    pub ttl_slack: Duration,
    /// Which entities get a hash of their own: those on boards (default), or none.
    pub entity_hashes: EntityHashes,
    /// Certificates to trust for `rediss://` instead of the built-in ones.
    pub tls_ca_file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointConfig {
    /// Time between checkpoints; default 10s. Longer reads more of the log again after a crash,
    /// shorter writes the open panes more often.
    pub every: Duration,
    /// Where the state goes: `redis` (default), or the address of a directory or object store.
    /// The manifest stays in Redis.
    pub blobs: String,
}

/// The value of `checkpoint.blobs` that keeps blobs beside the manifest.
pub const BLOBS_IN_REDIS: &str = "redis";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntityHashes {
    Boards,
    Off,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LimitsConfig {
    /// Live entities by dimension; `[limits.entities]`. Default product 2,000,000, category
    /// 10,000, any other 200,000. Names beyond count under `__other__`.
    pub entities: BTreeMap<String, usize>,
    /// Distinct-user sketches, each reserved at its largest; default 64 MiB.
    pub sketch_bytes: u64,
    /// Panes of all windows; default 4 GiB.
    pub state_bytes: u64,
    /// Decoded deliveries and unpublished closed windows waiting in memory; default 64 MiB.
    /// When full, reading pauses.
    pub in_flight_bytes: u64,
    /// Fetched, undecoded records waiting in librdkafka, over all handles; default 64 MiB.
    pub prefetch_bytes: u64,
    /// A longer record is malformed; default 1 MiB.
    pub record_bytes: u64,
    /// An event with a longer id is malformed; default 256.
    pub id_bytes: usize,
    /// As many rejects in a row end the process: wrong topic or format. Default 10,000.
    pub max_consecutive_rejects: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpConfig {
    /// Address of /metrics and the health pages; `""` turns them off. Default `127.0.0.1:9464`.
    pub listen: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// Default `text`.
    pub format: LogFormat,
    /// `error`, `warn`, `info` (default), `debug`, `trace`, or a tracing filter.
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// Files that hold secrets, read once at load: the values stand in the fields they fill.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecretFiles {
    /// `redis.url_file`
    pub redis_url: Option<PathBuf>,
    /// `redis.password_file`
    pub redis_password: Option<PathBuf>,
    /// `[kafka.properties_files]`
    pub kafka_properties: BTreeMap<String, PathBuf>,
}
