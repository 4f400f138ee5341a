//! The configuration: what may be set, with its defaults.
//!
//! Layers, later ones winning: defaults, the TOML file, the environment
//! (`NAZAR__SECTION__KEY`), `--set section.key=value`. See `docs/CONFIG.md`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A value that is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub kafka: KafkaConfig,
    pub topics: TopicsConfig,
    pub fields: FieldsConfig,
    pub money: MoneyConfig,
    pub time: TimeConfig,
    /// `[[window]]`
    pub window: Vec<WindowConfig>,
    /// `[[view]]`
    pub view: Vec<ViewConfig>,
    pub uniques: UniquesConfig,
    pub deduplicate: DeduplicateConfig,
    pub redis: RedisConfig,
    pub limits: LimitsConfig,
    pub http: HttpConfig,
    pub log: LogConfig,
}

#[derive(Clone, Debug, PartialEq)]
pub struct KafkaConfig {
    /// `host:port,host:port`
    pub brokers: String,
    pub group: String,
    pub client_id: String,
    pub start: Start,
    /// Consumer handles in this process, each with its own thread.
    pub handles: usize,
    /// Records that could not be used go here; `""` counts them only.
    pub dead_letter_topic: String,
    /// Any librdkafka property; ours are defaults under it.
    pub properties: BTreeMap<String, String>,
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
    pub click: String,
    pub wishlist: String,
    pub purchase: String,
    pub order_status: String,
}

/// The JSON field that holds each value. The camelCase form of each is accepted as well.
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
    pub currency: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TimeConfig {
    pub lateness: Duration,
    pub max_future: Duration,
    pub max_skew: Duration,
    pub stall_limit: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct WindowConfig {
    pub size: Duration,
    pub slide: Duration,
    /// Default: the larger of slide and one minute.
    pub closed_step: Option<Duration>,
    /// How often the latest views of this window are written at most. Default by size:
    /// up to 1 m each flush, up to 5 m 5 s, up to 1 h 15 s, longer 60 s.
    pub refresh: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ViewConfig {
    pub dimension: String,
    /// The event field; default: `fields.<dimension>` for product, category and seller, else the dimension's name.
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
    pub enabled: bool,
    pub bytes_max: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RedisConfig {
    /// `redis://`, `rediss://` or `redis+unix://`; may carry user and password.
    pub url: Secret,
    pub username: String,
    pub password: Secret,
    pub prefix: String,
    pub flush: Duration,
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
    /// Closed boards and HLLs kept per window; 0 keeps all until their TTL.
    pub closed_keep: usize,
    /// Entries kept in each history stream; 0 keeps all.
    pub history_keep: usize,
    /// Views expire this long after their window's size has passed without a refresh.
    pub ttl_slack: Duration,
    /// Which entities get a hash of their own: those on boards, or none.
    pub entity_hashes: EntityHashes,
    pub tls_ca_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntityHashes {
    Boards,
    Off,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LimitsConfig {
    /// Live entities by dimension; `[limits.entities]`.
    pub entities: BTreeMap<String, usize>,
    pub sketch_bytes: u64,
    pub state_bytes: u64,
    /// Decoded deliveries and unpublished closed windows waiting in memory.
    pub in_flight_bytes: u64,
    /// Fetched, undecoded records waiting in librdkafka.
    pub prefetch_bytes: u64,
    pub record_bytes: u64,
    pub id_bytes: usize,
    pub max_consecutive_rejects: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpConfig {
    /// Address of /metrics and the health pages; `""` turns them off.
    pub listen: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a tracing filter.
    pub level: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}
