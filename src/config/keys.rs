//! Every key, once: its name, how it is written, and the field that it fills.

use std::collections::BTreeMap;
use std::time::Duration;

use super::defaults::all_metrics;
use super::format::{
    Bytes, Choice, Count, File, Flag, Format, Hidden, Property, Text, Texts, Time,
};
use super::secret::is_secret_property;
use super::*;

/// What can be done along all keys: read them, show them, name them.
pub(super) trait Walk: Sized {
    /// `[name]`
    fn table(&mut self, name: &str, body: impl FnOnce(&mut Self));
    /// A key that has a default.
    fn key<T>(&mut self, name: &str, format: impl Format<T>, slot: &mut T);
    /// A key without one, of a list's element.
    fn required<T>(&mut self, name: &str, format: impl Format<T>, slot: &mut T);
    /// A key that may be absent.
    fn optional<T>(&mut self, name: &str, format: impl Format<T>, slot: &mut Option<T>);
    /// A table whose keys the user chooses.
    fn map<T>(&mut self, name: &str, format: impl Format<T>, slot: &mut BTreeMap<String, T>);
    /// `[[name]]`; what a layer gives replaces the list.
    fn list<T>(
        &mut self,
        name: &str,
        blank: T,
        slot: &mut Vec<T>,
        body: impl Fn(&mut Self, &mut T),
    ) where
        T: Clone;
}

const START: Choice<Start> = Choice(&[
    ("window", Start::Window),
    ("earliest", Start::Earliest),
    ("committed", Start::Committed),
    ("latest", Start::Latest),
]);
const ENTITY_HASHES: Choice<EntityHashes> =
    Choice(&[("boards", EntityHashes::Boards), ("off", EntityHashes::Off)]);
const LOG_FORMAT: Choice<LogFormat> =
    Choice(&[("text", LogFormat::Text), ("json", LogFormat::Json)]);

pub(super) fn walk(walk: &mut impl Walk, config: &mut Config) {
    let files = &mut config.files;
    walk.table("kafka", |walk| kafka(walk, &mut config.kafka, &mut files.kafka_properties));
    walk.table("topics", |walk| topics(walk, &mut config.topics));
    walk.table("fields", |walk| fields(walk, &mut config.fields));
    walk.table("money", |walk| walk.key("currency", Text, &mut config.money.currency));
    walk.table("time", |walk| time(walk, &mut config.time));
    walk.list("window", blank_window(), &mut config.window, window);
    walk.list("view", blank_view(), &mut config.view, view);
    walk.table("uniques", |walk| walk.key("dimensions", Texts, &mut config.uniques.dimensions));
    walk.table("deduplicate", |walk| {
        walk.key("enabled", Flag, &mut config.deduplicate.enabled);
        walk.key("bytes_max", Bytes, &mut config.deduplicate.bytes_max);
    });
    walk.table("redis", |walk| redis(walk, &mut config.redis, files));
    walk.table("checkpoint", |walk| {
        walk.key("every", Time, &mut config.checkpoint.every);
        walk.key("blobs", Text, &mut config.checkpoint.blobs);
    });
    walk.table("limits", |walk| limits(walk, &mut config.limits));
    walk.table("http", |walk| walk.key("listen", Text, &mut config.http.listen));
    walk.table("log", |walk| {
        walk.key("format", LOG_FORMAT, &mut config.log.format);
        walk.key("level", Text, &mut config.log.level);
    });
}

fn kafka(
    walk: &mut impl Walk,
    kafka: &mut KafkaConfig,
    properties_files: &mut BTreeMap<String, PathBuf>,
) {
    walk.key("brokers", Text, &mut kafka.brokers);
    walk.key("group", Text, &mut kafka.group);
    walk.key("client_id", Text, &mut kafka.client_id);
    walk.key("start", START, &mut kafka.start);
    walk.key("handles", Count, &mut kafka.handles);
    walk.key("dead_letter_topic", Text, &mut kafka.dead_letter_topic);
    walk.map("properties", Property, &mut kafka.properties);
    walk.map("properties_files", File, properties_files);
}

fn topics(walk: &mut impl Walk, topics: &mut TopicsConfig) {
    walk.key("click", Text, &mut topics.click);
    walk.key("wishlist", Text, &mut topics.wishlist);
    walk.key("purchase", Text, &mut topics.purchase);
    walk.key("order_status", Text, &mut topics.order_status);
}

fn fields(walk: &mut impl Walk, fields: &mut FieldsConfig) {
    walk.key("event_id", Text, &mut fields.event_id);
    walk.key("timestamp", Text, &mut fields.timestamp);
    walk.key("user_id", Text, &mut fields.user_id);
    walk.key("session_id", Text, &mut fields.session_id);
    walk.key("product_id", Text, &mut fields.product_id);
    walk.key("category", Text, &mut fields.category);
    walk.key("seller_id", Text, &mut fields.seller_id);
    walk.key("action", Text, &mut fields.action);
    walk.key("order_id", Text, &mut fields.order_id);
    walk.key("quantity", Text, &mut fields.quantity);
    walk.key("price_minor", Text, &mut fields.price_minor);
    walk.key("currency", Text, &mut fields.currency);
    walk.key("items", Text, &mut fields.items);
    walk.key("status", Text, &mut fields.status);
}

fn time(walk: &mut impl Walk, time: &mut TimeConfig) {
    walk.key("lateness", Time, &mut time.lateness);
    walk.key("max_future", Time, &mut time.max_future);
    walk.key("max_skew", Time, &mut time.max_skew);
    walk.key("stall_limit", Time, &mut time.stall_limit);
}

fn blank_window() -> WindowConfig {
    WindowConfig { size: Duration::ZERO, slide: Duration::ZERO, closed_step: None, refresh: None }
}

fn window(walk: &mut impl Walk, window: &mut WindowConfig) {
    walk.required("size", Time, &mut window.size);
    walk.required("slide", Time, &mut window.slide);
    walk.optional("closed_step", Time, &mut window.closed_step);
    walk.optional("refresh", Time, &mut window.refresh);
}

fn blank_view() -> ViewConfig {
    ViewConfig { dimension: String::new(), field: None, metrics: all_metrics(), top: None }
}

fn view(walk: &mut impl Walk, view: &mut ViewConfig) {
    walk.required("dimension", Text, &mut view.dimension);
    walk.optional("field", Text, &mut view.field);
    walk.key("metrics", Texts, &mut view.metrics);
    walk.optional("top", Count, &mut view.top);
}

fn redis(walk: &mut impl Walk, redis: &mut RedisConfig, files: &mut SecretFiles) {
    walk.key("url", Hidden::Credentials, &mut redis.url);
    walk.optional("url_file", File, &mut files.redis_url);
    walk.key("username", Text, &mut redis.username);
    walk.key("password", Hidden::Wholly, &mut redis.password);
    walk.optional("password_file", File, &mut files.redis_password);
    walk.key("prefix", Text, &mut redis.prefix);
    walk.key("flush", Time, &mut redis.flush);
    walk.key("connect_timeout", Time, &mut redis.connect_timeout);
    walk.key("response_timeout", Time, &mut redis.response_timeout);
    walk.key("lease", Time, &mut redis.lease);
    walk.key("closed_keep", Count, &mut redis.closed_keep);
    walk.key("history_keep", Count, &mut redis.history_keep);
    walk.key("ttl_slack", Time, &mut redis.ttl_slack);
    walk.key("entity_hashes", ENTITY_HASHES, &mut redis.entity_hashes);
    walk.optional("tls_ca_file", File, &mut redis.tls_ca_file);
}

fn limits(walk: &mut impl Walk, limits: &mut LimitsConfig) {
    walk.key("sketch_bytes", Bytes, &mut limits.sketch_bytes);
    walk.key("state_bytes", Bytes, &mut limits.state_bytes);
    walk.key("in_flight_bytes", Bytes, &mut limits.in_flight_bytes);
    walk.key("prefetch_bytes", Bytes, &mut limits.prefetch_bytes);
    walk.key("record_bytes", Bytes, &mut limits.record_bytes);
    walk.key("id_bytes", Count, &mut limits.id_bytes);
    walk.key("max_consecutive_rejects", Count, &mut limits.max_consecutive_rejects);
    walk.map("entities", Count, &mut limits.entities);
}

/// What kind of place a known path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Key,
    Table,
    /// A table with free names.
    Map,
    List,
}

/// All known paths; those inside a list are written `window[].size`.
pub(super) fn places() -> Vec<(String, Place)> {
    let mut names = Names { prefix: String::new(), places: Vec::new() };
    walk(&mut names, &mut Config::default());
    names.places
}

/// Every key that can be set, by its full path, in the order of `config/nazar.toml`; keys of
/// list elements are written `window[].size`, tables with free names `limits.entities.*`.
pub fn known_keys() -> Vec<String> {
    let keys = places().into_iter().filter_map(|(path, place)| match place {
        Place::Key => Some(path),
        Place::Map => Some(format!("{path}.*")),
        Place::Table | Place::List => None,
    });
    keys.collect()
}

/// What is known of a path as errors write it: whether its value is a secret.
pub(super) fn is_secret_key(path: &str) -> Option<bool> {
    if let Some(property) = path.strip_prefix("kafka.properties.") {
        return Some(is_secret_property(property));
    }
    let is_known = places().iter().any(|(known, place)| match place {
        Place::Key => *known == without_indexes(path),
        Place::Map => path.strip_prefix(known.as_str()).is_some_and(|rest| rest.starts_with('.')),
        Place::Table | Place::List => false,
    });
    is_known.then_some(["redis.url", "redis.password"].contains(&path))
}

/// `window[3].size` as [`places`] writes it: `window[].size`.
fn without_indexes(path: &str) -> String {
    path.chars().filter(|c| !c.is_ascii_digit()).collect()
}

struct Names {
    prefix: String,
    places: Vec<(String, Place)>,
}

impl Names {
    fn add(&mut self, name: &str, place: Place) {
        self.places.push((format!("{}{name}", self.prefix), place));
    }

    fn inside(&mut self, prefix: String, body: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.prefix, prefix);
        body(self);
        self.prefix = outer;
    }
}

impl Walk for Names {
    fn table(&mut self, name: &str, body: impl FnOnce(&mut Self)) {
        self.add(name, Place::Table);
        self.inside(format!("{}{name}.", self.prefix), body);
    }

    fn key<T>(&mut self, name: &str, _format: impl Format<T>, _slot: &mut T) {
        self.add(name, Place::Key);
    }

    fn required<T>(&mut self, name: &str, _format: impl Format<T>, _slot: &mut T) {
        self.add(name, Place::Key);
    }

    fn optional<T>(&mut self, name: &str, _format: impl Format<T>, _slot: &mut Option<T>) {
        self.add(name, Place::Key);
    }

    fn map<T>(&mut self, name: &str, _format: impl Format<T>, _slot: &mut BTreeMap<String, T>) {
        self.add(name, Place::Map);
    }

    fn list<T: Clone>(
        &mut self,
        name: &str,
        mut blank: T,
        _slot: &mut Vec<T>,
        body: impl Fn(&mut Self, &mut T),
    ) {
        self.add(name, Place::List);
        self.inside(format!("{}{name}[].", self.prefix), |names| body(names, &mut blank));
    }
}
