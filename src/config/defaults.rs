//! The defaults. `config/nazar.toml` shows the same values; a test compares them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::event::Metric;

/// The dimensions that the default views are kept for.
pub(super) const DIMENSIONS: [&str; 3] = ["product", "category", "seller"];
/// Where Redis is, unless said otherwise.
pub(super) const REDIS_URL: &str = "redis://127.0.0.1:6379";

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// How many entities of a dimension may be live unless `[limits.entities]` says otherwise.
/// More costs memory at once (see [`MemoryEstimate`]); fewer sends names to `__other__` sooner.
pub(super) fn entities_max(dimension: &str) -> usize {
    match dimension {
        "product" => 2_000_000,
        "category" => 10_000,
        _ => 200_000,
    }
}

/// Length of a board unless the view says otherwise.
pub(super) fn top(dimension: &str) -> usize {
    if dimension == "product" { 1000 } else { 100 }
}

pub(super) fn all_metrics() -> Vec<String> {
    Metric::ALL.map(|metric| metric.name().to_owned()).to_vec()
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kafka: KafkaConfig::default(),
            topics: TopicsConfig::default(),
            fields: FieldsConfig::default(),
            money: MoneyConfig { currency: "USD".to_owned() },
            time: TimeConfig::default(),
            window: windows(),
            view: DIMENSIONS.map(ViewConfig::of).to_vec(),
            uniques: UniquesConfig { dimensions: vec!["category".to_owned()] },
            deduplicate: DeduplicateConfig { enabled: false, bytes_max: 256 * MIB },
            redis: RedisConfig::default(),
            checkpoint: CheckpointConfig {
                every: Duration::from_secs(10),
                blobs: BLOBS_IN_REDIS.to_owned(),
            },
            limits: LimitsConfig::default(),
            http: HttpConfig { listen: "127.0.0.1:9464".to_owned() },
            log: LogConfig { format: LogFormat::Text, level: "info".to_owned() },
            files: SecretFiles::default(),
        }
    }
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "localhost:9092".to_owned(),
            group: "nazar".to_owned(),
            client_id: "nazar".to_owned(),
            start: Start::Window,
            handles: 1,
            dead_letter_topic: "nazar-dead-letters".to_owned(),
            properties: BTreeMap::new(),
        }
    }
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self {
            click: "click".to_owned(),
            wishlist: "wishlist".to_owned(),
            purchase: "purchase".to_owned(),
            // Most shops start without it; a configured topic that is missing holds the watermark.
            order_status: String::new(),
        }
    }
}

impl Default for FieldsConfig {
    fn default() -> Self {
        Self {
            event_id: "event_id".to_owned(),
            timestamp: "timestamp".to_owned(),
            user_id: "user_id".to_owned(),
            session_id: "session_id".to_owned(),
            product_id: "product_id".to_owned(),
            category: "category".to_owned(),
            seller_id: "seller_id".to_owned(),
            action: "action".to_owned(),
            order_id: "order_id".to_owned(),
            quantity: "quantity".to_owned(),
            price_minor: "price_minor".to_owned(),
            currency: "currency".to_owned(),
            items: "items".to_owned(),
            status: "status".to_owned(),
        }
    }
}

impl Default for TimeConfig {
    fn default() -> Self {
        Self {
            lateness: minutes(1),
            max_future: minutes(5),
            max_skew: minutes(5),
            stall_limit: minutes(10),
        }
    }
}

/// 1m/1s, 5m/5s, 1h/1m, 24h/15m.
fn windows() -> Vec<WindowConfig> {
    [(minutes(1), 1), (minutes(5), 5), (minutes(60), 60), (minutes(24 * 60), 15 * 60)]
        .map(|(size, slide_secs)| WindowConfig {
            size,
            slide: Duration::from_secs(slide_secs),
            closed_step: None,
            refresh: None,
        })
        .to_vec()
}

impl ViewConfig {
    /// All boards of a dimension, with the defaults for the rest.
    pub fn of(dimension: &str) -> Self {
        Self { dimension: dimension.to_owned(), field: None, metrics: all_metrics(), top: None }
    }
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: Secret::new(REDIS_URL),
            username: String::new(),
            password: Secret::default(),
            prefix: "nazar".to_owned(),
            flush: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(10),
            lease: Duration::from_secs(10),
            closed_keep: 10,
            history_keep: 10_000,
            ttl_slack: minutes(60),
            entity_hashes: EntityHashes::Boards,
            tls_ca_file: None,
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            entities: DIMENSIONS.map(|name| (name.to_owned(), entities_max(name))).into(),
            sketch_bytes: 64 * MIB,
            state_bytes: 4 * GIB,
            in_flight_bytes: 64 * MIB,
            prefetch_bytes: 64 * MIB,
            record_bytes: MIB,
            id_bytes: 256,
            max_consecutive_rejects: 10_000,
        }
    }
}
