//! The Redis sink: absolute values, staged under temporary keys and swapped in by one fenced
//! script per window.
//!
//! ```text
//!  flush ─► closed windows, in order ─► latest views, window by window ─► meta
//!             │                           │
//!             │ stage boards, put HLLs    │ stage what changed (pipelines, temporary keys)
//!             ▼                           ▼
//!           close.lua                   swap.lua: token? seq? staged keys? ─► RENAME, UNLINK, HSET meta, PUBLISH
//!           (history, list of ends)       │
//!                                         ▼
//!                                       put.lua: HLLs of single entities ─► hashes of entities
//! ```
//!
//! What a reader may rely on: views and meta of one window change in one step; nothing is
//! visible half-written; a closed window is written once. What the writer relies on: every
//! value is absolute, so writing it twice changes nothing, and a write whose answer was lost is
//! decided by reading `seq` back. Redis data loss shows as a missing or lower `seq`: then all
//! latest views are written again, and of the last closed windows, which stay in memory for
//! this, all that Redis does not hold. `docs/REDIS.md` is the readers' contract.
//!
//! Modules in the order of a flush: [`keys`] and `content` say what is written, `shadow` and
//! `entities` what of it changed, `commands` and `scripts` how, `lineage` whether it landed,
//! `connection` and [`error`] what to do if not; `remembered` and `history` what can be made good
//! after a loss; `publish`, `closed`, `single`, `session` and `restore` are the steps that use them. [`schema`] describes all of it to readers;
//! [`admin`] probes and resets; [`holdings`] tells what stands under a prefix;
//! [`promote`] takes over what a backfill has computed under another. [`outbox`] is apart
//! from all that: it carries deliveries between instances.

pub mod keys;

mod content;

mod shadow;

mod entities;

mod witness;

mod commands;

mod scripts;

mod lineage;

pub mod lease;

pub mod checkpoint;

pub mod address;

mod dial;

mod cluster;

mod sentinel;

mod link;

mod connection;

pub mod error;

pub mod outbox;

pub mod health;

pub mod schema;

pub mod admin;

pub mod holdings;

pub mod promote;

mod publish;

mod closed;

mod remembered;

mod history;

mod restore;

mod single;

mod session;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::{debug, info, warn};

use self::connection::{Backoff, Connector};
use self::entities::Entities;
use self::error::{ErrorClass, RedisSinkError, Refusal};
use self::health::RedisHealth;
use self::history::Stream;
use self::keys::Keys;
use self::lease::Keeper;
use self::lineage::Lineage;
use self::remembered::Remembered;
use self::restore::Recovery;
use self::scripts::Scripts;
use self::shadow::Shadow;
use self::witness::Witnesses;
use super::{FlushReport, Sink};
use crate::config::{
    EntityHashes, FieldsConfig, LimitsConfig, REMEMBERED_BYTES_MAX, RedisConfig, TopicsConfig,
};
use crate::pipeline::definitions::{Definitions, Window};
use crate::pipeline::merge::Predecessor;
use crate::pipeline::view::Flush;
use crate::time::EventTime;

/// Publishes views to one Redis. See the module's head for what it promises.
pub struct RedisSink {
    settings: Settings,
    connector: Connector,
    scripts: Scripts,
    health: Arc<RedisHealth>,
    outage: Option<Outage>,
    lineage: Lineage,
    /// Sequence numbers of writes whose outcome is not known yet.
    pending: Vec<u64>,
    /// Temporary keys that may have been left behind by a failed attempt.
    staged: Vec<String>,
    /// Whether the fields below agree with Redis. False from the start of a flush to its
    /// success, so that a flush that failed or was cancelled is looked into by the next one.
    synced: bool,
    windows: Vec<WindowState>,
    entities: Entities,
    /// Of a Cluster's masters; without one, nobody.
    witnesses: Witnesses,
    /// What is written again when Redis loses it.
    remembered: Remembered,
    /// While a loss is being made good.
    recovery: Option<Recovery>,
    /// From the claim on.
    keeper: Option<Keeper>,
    /// See [`RedisSink::predecessor`].
    predecessor: Predecessor,
    /// The newest end among the windows closed here.
    newest_closed: Option<EventTime>,
    /// Whether what the server's settings cost was said.
    has_warned: bool,
    /// While standing by: since when nobody is named as the writer.
    meta_gone_since: Option<Instant>,
}

/// What does not change while the sink lives.
struct Settings {
    keys: Keys,
    prefix: String,
    lease: Duration,
    definitions: Arc<Definitions>,
    topics: TopicsConfig,
    config_hash: String,
    /// The fields of the schema hash.
    schema: Vec<(String, String)>,
    definitions_json: serde_json::Value,
    ttl_slack: Duration,
    closed_keep: usize,
    history_keep: usize,
    entity_hashes: bool,
}

/// What Redis holds of one window size, as far as we know.
#[derive(Debug, Default)]
struct WindowState {
    main: Shadow,
    uniques: Shadow,
    history: Stream,
    closed_through: Option<EventTime>,
    /// Closed windows of this size that may have views of their own, by their ends.
    with_views: BTreeSet<EventTime>,
}

/// A time without a successful exchange.
struct Outage {
    since: Instant,
    backoff: Backoff,
    class: Option<ErrorClass>,
}

/// Why an attempt ended early.
enum Failure {
    Refused(Refusal),
    /// Redis is not as we left it; look again.
    Stale(&'static str),
    /// Another writer holds the lease.
    Held(String),
    Fatal(RedisSinkError),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Failure::Refused(refusal)
    }
}

impl From<redis::RedisError> for Failure {
    fn from(error: redis::RedisError) -> Self {
        Failure::Refused(error.into())
    }
}

impl RedisSink {
    /// Connects, waiting for Redis and for another writer's lease to end as long as it takes,
    /// checks that the prefix is ours to write, and takes it. Fails where waiting cannot help:
    /// another configuration, an ended run, credentials, Cluster mode.
    pub async fn open(
        config: &RedisConfig,
        definitions: Arc<Definitions>,
        topics: &TopicsConfig,
        fields: &FieldsConfig,
        limits: &LimitsConfig,
        config_hash: &str,
        token: &str,
    ) -> Result<RedisSink, RedisSinkError> {
        let sink = RedisSink::new(config, definitions, topics, fields, limits, config_hash, token)?;
        sink.claim().await
    }

    /// The sink before it has spoken to Redis: [`RedisSink::claim`] completes it. Apart from
    /// `open` so that [`RedisSink::health`] can be served while Redis is still away.
    pub fn new(
        config: &RedisConfig,
        definitions: Arc<Definitions>,
        topics: &TopicsConfig,
        fields: &FieldsConfig,
        limits: &LimitsConfig,
        config_hash: &str,
        token: &str,
    ) -> Result<RedisSink, RedisSinkError> {
        let keys = Keys::new(&config.prefix).ok_or_else(|| invalid_prefix(&config.prefix))?;
        let definitions_json = schema::definitions_json(&definitions, topics, fields, limits);
        let mut schema = schema::describe(&config.prefix, &definitions.currency);
        schema.push(("definitions".into(), definitions_json.to_string()));
        schema.push(("config_hash".into(), config_hash.to_owned()));
        schema.push(("nazar_version".into(), env!("CARGO_PKG_VERSION").to_owned()));
        let windows = definitions.windows.len();
        Ok(RedisSink {
            connector: Connector::new(config)?,
            scripts: Scripts::default(),
            health: Arc::default(),
            outage: None,
            lineage: Lineage::new(token),
            pending: Vec::new(),
            staged: Vec::new(),
            synced: false,
            windows: (0..windows).map(|_| WindowState::default()).collect(),
            entities: Entities::new(windows),
            witnesses: Witnesses::default(),
            remembered: Remembered::new(windows, config.closed_keep, REMEMBERED_BYTES_MAX),
            recovery: None,
            keeper: None,
            predecessor: Predecessor::default(),
            newest_closed: None,
            has_warned: false,
            meta_gone_since: None,
            settings: Settings {
                keys,
                prefix: config.prefix.clone(),
                lease: config.lease,
                definitions,
                topics: topics.clone(),
                config_hash: config_hash.to_owned(),
                schema,
                definitions_json,
                ttl_slack: config.ttl_slack,
                closed_keep: config.closed_keep,
                history_keep: config.history_keep,
                entity_hashes: config.entity_hashes == EntityHashes::Boards,
            },
        })
    }

    /// The second half of [`RedisSink::open`]. May be dropped at any await.
    pub async fn claim(mut self) -> Result<RedisSink, RedisSinkError> {
        loop {
            match self.try_claim().await {
                Ok(()) => {
                    self.health.set_standby(false);
                    self.succeeded();
                    return Ok(self);
                }
                Err(Failure::Held(holder)) => self.stand_by(&holder).await,
                Err(failure) => self.wait_out(failure).await?,
            }
        }
    }

    /// Another writer is at work: waits a moment before looking again.
    async fn stand_by(&mut self, holder: &str) {
        self.succeeded();
        if !self.health.is_standby() {
            self.health.set_standby(true);
            info!(
                prefix = self.settings.prefix,
                holder, "another instance holds the lease; this one leads when it ends"
            );
        }
        tokio::time::sleep(STANDBY_LOOK).await;
    }

    /// What an earlier run has published, as it stood at the claim.
    pub fn predecessor(&self) -> &Predecessor {
        &self.predecessor
    }

    /// Gives up the lease, so that a successor can begin at once. What fails here costs the
    /// successor the rest of the lease, no more.
    pub async fn release(&mut self) {
        self.keeper = None;
        let release = async {
            let mut connection = self.connector.get().await?.clone();
            let mut invocation = self.scripts.release.prepare_invoke();
            invocation.key(self.settings.keys.lease()).arg(&self.lineage.token);
            scripts::run(&invocation, &mut connection).await
        };
        if let Err(error) = release.await {
            debug!(%error, "release the lease");
        }
    }

    /// Readable while the sink is busy.
    pub fn health(&self) -> Arc<RedisHealth> {
        Arc::clone(&self.health)
    }

    /// As [`Sink::flush`], with the typed error.
    pub async fn publish(&mut self, flush: &Flush) -> Result<FlushReport, RedisSinkError> {
        let mut report = FlushReport::default();
        // Entries that this very flush has written must not count as skipped by a retry.
        let mut history_before: Option<Vec<Option<EventTime>>> = None;
        loop {
            match self.try_publish(flush, &mut history_before, &mut report).await {
                Ok(()) => {
                    self.succeeded();
                    self.health.flushed(unix_millis());
                    return Ok(report);
                }
                Err(failure) => self.wait_out(failure).await?,
            }
        }
    }

    fn succeeded(&mut self) {
        self.health.set_connected(true);
        if let Some(outage) = self.outage.take() {
            info!(
                address = self.connector.address(),
                attempts = outage.backoff.failures(),
                seconds = outage.since.elapsed().as_secs_f64(),
                "redis is back"
            );
        }
    }

    /// Counts a failure, says it once per cause, and waits before the next attempt. An error
    /// means that waiting cannot help.
    async fn wait_out(&mut self, failure: Failure) -> Result<(), RedisSinkError> {
        self.synced = false;
        let (class, cause) = match failure {
            Failure::Fatal(error) => return Err(self.give_up(error)),
            Failure::Held(holder) => {
                let prefix = self.settings.prefix.clone();
                return Err(self.give_up(RedisSinkError::Fenced { prefix, holder }));
            }
            Failure::Stale(cause) => (None, cause.to_owned()),
            Failure::Refused(refusal) => {
                let class = refusal.class();
                if class == ErrorClass::Moved && !self.connector.is_cluster() {
                    return Err(self.give_up(RedisSinkError::Cluster));
                }
                if !class.is_transient() {
                    let Refusal { source, key } = refusal;
                    return Err(self.give_up(RedisSinkError::Refused { class, key, source }));
                }
                self.health.count_error(class);
                if class.needs_reconnect() {
                    self.connector.disconnect();
                }
                (Some(class), refusal.source.to_string())
            }
        };
        if class.is_some() {
            self.health.set_connected(false);
        }
        self.health.count_retry();
        let news = self.outage.as_ref().is_none_or(|outage| outage.class != class);
        let outage = self.outage.get_or_insert_with(|| Outage {
            since: Instant::now(),
            backoff: Backoff::default(),
            class,
        });
        outage.class = class;
        if news {
            let class = class.map_or("stale", ErrorClass::name);
            warn!(address = self.connector.address(), class, cause, "redis write is retried");
        }
        tokio::time::sleep(outage.backoff.next_delay()).await;
        Ok(())
    }

    fn give_up(&mut self, error: RedisSinkError) -> RedisSinkError {
        if let Some(class) = error.class() {
            self.health.count_error(class);
        }
        self.health.set_connected(false);
        self.connector.disconnect();
        error
    }
}

impl Sink for RedisSink {
    async fn flush(&mut self, flush: &Flush) -> anyhow::Result<FlushReport> {
        Ok(self.publish(flush).await?)
    }

    async fn close(&mut self) {
        self.release().await;
    }
}

impl Settings {
    fn label(&self, window: usize) -> &str {
        &self.definitions.windows[window].label
    }

    /// How long the latest views of a window outlive their last refresh.
    fn latest_ttl(&self, window: &Window) -> Duration {
        millis(window.size.millis()) + self.ttl_slack
    }

    /// How long closed views outlive their window's close: long enough to be trimmed by number
    /// while windows keep closing.
    fn closed_ttl(&self, window: &Window) -> Duration {
        let kept = i64::try_from(self.closed_keep).unwrap_or(i64::MAX);
        let span = window.closed_step.millis().saturating_mul(kept);
        millis(window.size.millis().saturating_add(span)) + self.ttl_slack
    }

    /// Entity hashes hold fields of every window.
    fn entity_ttl(&self) -> Duration {
        let longest = self.definitions.windows.iter().max_by_key(|window| window.size);
        longest.map_or(self.ttl_slack, |window| self.latest_ttl(window))
    }
}

/// How often a lease that another writer holds is looked at.
const STANDBY_LOOK: Duration = Duration::from_millis(250);

/// Keys in one script or command: Lua unpacks fewer than 8,000 values, and a longer list holds
/// Redis for longer than a reader likes to wait.
const KEYS_MAX: usize = 500;

/// A century: Redis refuses a TTL that overflows its clock.
const TTL_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(TTL_MAX)
}

fn ttl_millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.min(TTL_MAX).as_millis()).unwrap_or(u64::MAX)
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn invalid_prefix(prefix: &str) -> RedisSinkError {
    RedisSinkError::Config(format!(
        "redis.prefix = {prefix:?}: use 1 to 64 of A-Z a-z 0-9 . _ - (a colon would let one prefix own the keys of another)"
    ))
}
