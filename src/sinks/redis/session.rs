//! Agreeing with Redis about what it holds: at the start, after trouble, after data loss.

use std::collections::BTreeMap;
use std::time::Instant;

use redis::{RedisError, Value};
use tracing::{info, warn};

use super::admin::{self, Probe};
use super::commands::Batch;
use super::content;
use super::error::{RedisSinkError, Refusal};
use super::history::Stream;
use super::lineage::{Stored, Verdict};
use super::link::Link;
use super::schema;
use super::scripts::{self, Answer};
use super::witness::Witnesses;
use super::{Failure, Keeper, RedisSink, WindowState, ttl_millis};
use crate::pipeline::merge::Predecessor;
use crate::sinks::FlushReport;
use crate::time::EventTime;

/// XREVRANGE's answer: entries of id and fields.
type Entries = Vec<(String, Vec<String>)>;

impl RedisSink {
    pub(super) async fn try_claim(&mut self) -> Result<(), Failure> {
        let mut connection = self.connector.get().await?.clone();
        let servers = Probe::ask_all(&connection).await?;
        if !connection.is_cluster() && servers.iter().any(|server| server.cluster) {
            return Err(Failure::Fatal(RedisSinkError::Cluster));
        }
        if !std::mem::replace(&mut self.has_warned, true) {
            servers.iter().flat_map(Probe::warnings).for_each(|warning| warn!("{warning}"));
        }
        self.take(&mut connection, true).await?;
        self.read_closed(&mut connection).await?;
        self.read_predecessor(&mut connection).await?;
        self.synced = true;
        let (keys, token) = (&self.settings.keys, self.lineage.token.as_str().into());
        self.keeper =
            Some(Keeper::start(self.connector.another(), keys, token, self.settings.lease));
        let first = servers.first();
        info!(
            address = self.connector.address(),
            server = first.map(|server| server.server.as_str()),
            version = first.map(|server| server.version.as_str()),
            masters = servers.len(),
            prefix = self.settings.prefix,
            "redis is ready"
        );
        self.say_what_stands();
        Ok(())
    }

    /// A restart reads the log again, and closes again what stands in the history already.
    fn say_what_stands(&self) {
        for (state, window) in self.windows.iter().zip(&self.settings.definitions.windows) {
            if let Some(end) = state.history.last {
                info!(
                    window = window.label,
                    through_millis = end.millis(),
                    "history stands: windows up to its end are skipped when they close again"
                );
            }
        }
    }

    /// Finds out what became of the last attempt, and whether Redis still holds what we wrote.
    pub(super) async fn sync(
        &mut self,
        connection: &mut Link,
        report: &mut FlushReport,
    ) -> Result<(), Failure> {
        let stored = self.read_stored(connection).await?;
        match self.lineage.judge(&stored, &self.pending) {
            Verdict::Current => {}
            // Its keys are in doubt and will be written once more: the values may have changed.
            Verdict::Landed(seq) => self.settle(seq),
            Verdict::Fenced(holder) => return Err(Failure::Fatal(self.fenced(holder))),
            Verdict::Lost => {
                self.health.count_republish();
                warn!(stored_seq = stored.seq, "redis lost views, all are written again");
                self.pending.clear();
                self.note_loss();
            }
        }
        self.read_closed(connection).await?;
        self.discard_staged(connection).await?;
        self.recover(connection, report).await?;
        self.remove_fallen(connection, report).await
    }

    /// Removes temporary keys that nothing will rename any more. If a script of a lost
    /// connection still needs them, it finds them gone and writes nothing.
    pub(super) async fn discard_staged(&mut self, connection: &mut Link) -> Result<(), Failure> {
        let mut batch = Batch::new(connection);
        for key in &self.staged {
            batch.command("UNLINK", key, &[]);
            batch.send_if_full().await?;
        }
        batch.finish().await?;
        self.staged.clear();
        Ok(())
    }

    /// A write has landed. None that is still pending can: it expects an older number.
    pub(super) fn settle(&mut self, seq: u64) {
        self.lineage.landed(seq);
        self.pending.clear();
    }

    pub(super) fn fenced(&self, holder: String) -> RedisSinkError {
        RedisSinkError::Fenced { prefix: self.settings.prefix.clone(), holder }
    }

    /// Takes the prefix, describes it, and learns which keys of single entities stand there.
    /// `strict`: refuse another configuration or an ended run, as a start must.
    pub(super) async fn take(
        &mut self,
        connection: &mut Link,
        strict: bool,
    ) -> Result<(), Failure> {
        let settings = &self.settings;
        let mut invocation = self.scripts.claim.prepare_invoke();
        invocation.key(settings.keys.meta()).key(settings.keys.lease()).arg(&self.lineage.token);
        invocation.arg(&settings.config_hash).arg(ttl_millis(settings.lease));
        // Redis lost its data while another writer held the lease: that one has all of it in
        // memory, and gets the time of a lease to come back.
        let has_waited =
            self.meta_gone_since.is_some_and(|since| since.elapsed() >= settings.lease);
        let yields = strict && self.health.is_standby() && !has_waited;
        invocation.arg(u8::from(strict)).arg(u8::from(yields));
        let prefix = settings.prefix.clone();
        match scripts::run(&invocation, connection).await? {
            Answer::Done(words) => {
                self.lineage.adopt(words.first().and_then(|seq| seq.parse().ok()));
            }
            Answer::Changed(_) => {
                let changes = self.changes(connection).await?;
                return Err(Failure::Fatal(RedisSinkError::ConfigChanged { prefix, changes }));
            }
            Answer::Ended => return Err(Failure::Fatal(RedisSinkError::Ended { prefix })),
            Answer::Fenced(holder) => return Err(Failure::Fatal(self.fenced(holder))),
            Answer::Held(holder) => {
                self.meta_gone_since = None;
                return Err(Failure::Held(holder));
            }
            Answer::Gone => {
                self.meta_gone_since.get_or_insert_with(Instant::now);
                return Err(Failure::Held(String::new()));
            }
            Answer::WrongType(key) => return Err(Failure::Fatal(scripts::wrong_type(key))),
            Answer::Old => return Err(Failure::Stale("a claim was answered out of place")),
            Answer::Stale(cause) => return Err(Failure::Stale(cause)),
        }
        let mut batch = Batch::new(connection);
        let key = settings.keys.schema();
        batch.command("UNLINK", &key, &[]);
        batch.set_fields(&key, &settings.schema);
        batch.finish().await?;
        self.load_indexes(connection).await
    }

    async fn load_indexes(&mut self, connection: &mut Link) -> Result<(), Failure> {
        for (state, window) in self.windows.iter_mut().zip(&self.settings.definitions.windows) {
            let index = self.settings.keys.uniques_index(&window.label);
            let keys: Vec<String> = admin::members(connection, &index).await?;
            *state = WindowState::default();
            state.uniques.load(keys);
        }
        let index = self.settings.keys.entities_index();
        let keys: Vec<String> = admin::members(connection, &index).await?;
        self.entities.load(keys, Instant::now());
        self.witnesses = Witnesses::default();
        Ok(())
    }

    async fn read_stored(&self, connection: &mut Link) -> Result<Stored, Failure> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.settings.keys.meta()).arg(&["leader", "seq"]);
        let (leader, seq): (Option<String>, Option<String>) =
            command.query_async(connection).await?;
        Ok(Stored { leader, seq: seq.and_then(|seq| seq.parse().ok()) })
    }

    async fn read_predecessor(&mut self, connection: &mut Link) -> Result<(), Failure> {
        let windows = &self.settings.definitions.windows;
        let mut command = redis::cmd("HMGET");
        command.arg(self.settings.keys.meta()).arg(&["group_watermark", "events_after_close"]);
        command.arg(content::CLOSED_OFFSETS);
        for window in windows {
            command.arg(format!("offsets:{}", window.label));
        }
        let fields: Vec<Option<String>> = command.query_async(connection).await?;
        let number = |at: usize| fields.get(at)?.as_ref()?.parse::<i64>().ok();
        let closed = self.windows.iter().filter_map(|state| state.closed_through).max();
        let group_watermark = number(0).map(EventTime::from_millis).max(closed);
        let events_after_close = number(1).and_then(|count| u64::try_from(count).ok());
        let vectors = &fields[2.min(fields.len())..];
        let vectors = vectors.iter().flatten().map(String::as_str);
        let newest = content::newest_offsets(vectors, &self.settings.topics);
        // An end without offsets does not say which records were known. All of them come again,
        // also for windows of another size up to the same end: what has closed, the history tells.
        let has_shown = !newest.is_empty();
        self.predecessor = Predecessor {
            offsets: newest.into_iter().collect(),
            group_watermark: group_watermark.filter(|_| has_shown),
            events_after_close: events_after_close.unwrap_or(0),
        };
        Ok(())
    }

    /// How far windows were closed: by the history, which decides what is skipped, and by meta.
    pub(super) async fn read_closed(&mut self, connection: &mut Link) -> Result<(), Failure> {
        let keys = &self.settings.keys;
        for (state, window) in self.windows.iter_mut().zip(&self.settings.definitions.windows) {
            let history = keys.history(&window.label);
            let mut command = redis::cmd("XREVRANGE");
            command.arg(&history).arg(&["+", "-", "COUNT", "1"]);
            let entries: Entries = command
                .query_async(connection)
                .await
                .map_err(|source| Refusal { key: Some(history), source })?;
            let mut command = redis::cmd("HGET");
            command.arg(keys.meta()).arg(format!("closed_through:{}", window.label));
            let through: Option<String> = command.query_async(connection).await?;
            let last = entries.first().and_then(|(id, _)| id.split('-').next()?.parse().ok());
            state.history = read_stream(connection, &keys.history(&window.label)).await?;
            state.history.last = last.map(EventTime::from_millis);
            let through = through.and_then(|end| end.parse().ok()).map(EventTime::from_millis);
            state.closed_through = through;
        }
        Ok(())
    }

    /// What the stored definitions and ours differ in; empty if those stored cannot be read.
    async fn changes(&self, connection: &mut Link) -> Result<Vec<schema::Change>, Failure> {
        let mut command = redis::cmd("HGET");
        command.arg(self.settings.keys.schema()).arg("definitions");
        let stored: Option<String> = command.query_async(connection).await?;
        let stored = stored.and_then(|text| serde_json::from_str(&text).ok());
        Ok(stored.map_or(vec![], |stored| schema::diff(&stored, &self.settings.definitions_json)))
    }
}

/// How long a history is and has ever been.
async fn read_stream(connection: &mut Link, key: &str) -> Result<Stream, RedisError> {
    let entries: u64 = redis::cmd("XLEN").arg(key).query_async(connection).await?;
    if entries == 0 {
        // XINFO would call it an error. What was removed by hand is not lost.
        return Ok(Stream::default());
    }
    let info: Result<BTreeMap<String, Value>, _> =
        redis::cmd("XINFO").arg("STREAM").arg(key).query_async(connection).await;
    // A server that refuses to tell: then nothing was ever trimmed, as far as we know.
    let added = match info.as_ref().map(|info| info.get("entries-added")) {
        Ok(Some(Value::Int(added))) => u64::try_from(*added).unwrap_or(entries),
        _ => entries,
    };
    Ok(Stream { last: None, entries, added })
}

impl WindowState {
    pub(super) fn closed(&mut self, end: EventTime, entries: u64) {
        self.history.add(end, entries);
        self.skipped(end);
    }

    /// Its history entry stood already.
    pub(super) fn skipped(&mut self, end: EventTime) {
        self.history.last = self.history.last.max(Some(end));
        self.closed_through = self.closed_through.max(Some(end));
    }
}
