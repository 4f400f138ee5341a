//! One attempt at a flush, from its closed windows to the last hash.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;

use super::commands::Batch;
use super::content::{self, Content, Fields, View};
use super::entities::Change;
use super::keys::Place;
use super::scripts::{self, Answer};
use super::session::{Pending, Write};
use super::shadow::Effects;
use super::{Failure, RedisSink, ttl_millis, unix_millis};
use crate::event::Metric;
use crate::pipeline::view::{ClosedView, Flush, LatestView, Meta};
use crate::sinks::FlushReport;
use crate::time::EventTime;

/// One script writes at most this much of single entities' values: a larger one would hold
/// Redis for longer than a reader likes to wait.
const PUT_BYTES: usize = 256 << 10;
/// And at most this many keys: Lua unpacks fewer than 8,000 values.
const PUT_KEYS: usize = 500;

impl RedisSink {
    pub(super) async fn try_publish(
        &mut self,
        flush: &Flush,
        history_before: &mut Option<Vec<Option<EventTime>>>,
        report: &mut FlushReport,
    ) -> Result<(), Failure> {
        let mut connection = self.connector.get().await?.clone();
        if !self.synced {
            self.sync(&mut connection).await?;
        }
        self.synced = false;
        report.keys_unchanged = 0;
        report.history_skipped = 0;
        let before = history_before
            .get_or_insert_with(|| self.windows.iter().map(|one| one.history_last).collect());

        let kept = kept(&flush.closed, self.settings.closed_keep, self.windows.len());
        for (closed, kept) in flush.closed.iter().zip(kept) {
            let window = closed.view.window;
            let end = Some(closed.view.end);
            if end <= self.windows[window].history_last {
                report.history_skipped += u64::from(end <= before[window]);
            } else {
                self.close(&mut connection, closed, kept, report).await?;
            }
        }
        for (state, &end) in self.windows.iter_mut().zip(&flush.meta.closed_through) {
            state.closed_through = state.closed_through.max(end);
        }
        for latest in &flush.latest {
            self.publish_latest(&mut connection, latest, &flush.meta, report).await?;
        }
        // The end is said last: whoever reads it finds everything else in place.
        if flush.latest.is_empty() || flush.meta.ended {
            let ended = flush.meta.ended.then(|| ("ended".into(), "1".to_owned()));
            let seq = self.lineage.issue();
            let fields = ended.into_iter().collect();
            let swap = Swap { seq, fields, ..Swap::default() };
            self.swap(&mut connection, swap, Write::Meta, &flush.meta).await?;
        }
        self.synced = true;
        Ok(())
    }

    async fn close(
        &mut self,
        connection: &mut MultiplexedConnection,
        closed: &ClosedView,
        kept: bool,
        report: &mut FlushReport,
    ) -> Result<(), Failure> {
        let definitions = self.settings.definitions.clone();
        let keys = self.settings.keys.clone();
        let (window, end) = (closed.view.window, closed.view.end);
        let spec = &definitions.windows[window];
        let place = Place::Closed(end);
        let seq = self.lineage.issue();
        let mut views = Vec::new();
        if kept {
            let ttl = ttl_millis(self.settings.closed_ttl(spec));
            let members: Vec<View> =
                content::entity_views(&keys, &definitions, place, &closed.view).collect();
            let index = keys.closed_members(&spec.label, end);
            self.put(connection, &index, &members, &[], ttl, report).await?;
            views = content::main_views(&keys, &definitions, place, &closed.view);
            views.retain(|view| !view.content.is_empty());
            let staged: Vec<&View> = views.iter().collect();
            report.bytes += self.stage(connection, seq, &staged, ttl).await?;
        }
        let closed_keep = self.settings.closed_keep;
        // Kept until their TTL, boards are not counted; the list of ends still needs a bound.
        let ends_keep = if closed_keep == 0 { self.settings.history_keep } else { closed_keep };
        let mut invocation = self.scripts.close.prepare_invoke();
        invocation.key(keys.meta()).key(keys.history(&spec.label));
        invocation.key(keys.closed_ends(&spec.label));
        for (number, view) in views.iter().enumerate() {
            invocation.key(keys.staged(&self.lineage.token, seq, number)).key(&view.key);
        }
        invocation.arg(&self.lineage.token).arg(self.lineage.expected()).arg(seq);
        invocation.arg(end.millis()).arg(self.settings.history_keep).arg(ends_keep);
        invocation.arg(u8::from(kept)).arg(format!("closed_through:{}", spec.label));
        for (name, value) in content::history(closed) {
            invocation.arg(name.as_ref()).arg(value);
        }
        self.pending.push(Pending { seq, write: Write::Close { window, end } });
        let answer = scripts::run(&invocation, connection).await?;
        if answer == Answer::Old {
            // Entries above this one stood there once and were deleted by hand: the stream
            // remembers. The staged views stay invisible and are removed.
            self.pending.retain(|pending| pending.seq != seq);
            self.discard_staged(connection).await?;
            self.windows[window].closed(end);
            report.history_skipped += 1;
            return Ok(());
        }
        let words = self.written(answer, seq)?;
        self.staged.clear();
        report.keys_written += 1 + views.len() as u64;
        if closed_keep > 0 {
            for fallen in words.iter().skip(1).filter_map(|end| end.parse().ok()) {
                let fallen = EventTime::from_millis(fallen);
                report.keys_deleted += self.unlink_closed(connection, window, fallen).await?;
            }
        }
        Ok(())
    }

    /// Removes the views of a closed window that is no longer in the list of ends.
    async fn unlink_closed(
        &self,
        connection: &mut MultiplexedConnection,
        window: usize,
        end: EventTime,
    ) -> Result<u64, Failure> {
        let (keys, definitions) = (&self.settings.keys, &self.settings.definitions);
        let (label, place) = (self.settings.label(window), Place::Closed(end));
        let members = keys.closed_members(label, end);
        let mut doomed: Vec<String> = super::admin::members(connection, &members).await?;
        doomed.push(members);
        for board in &definitions.boards {
            let dimension = &definitions.dimensions[board.dimension].name;
            doomed.push(keys.board(place, dimension, board.metric, label));
        }
        for kind in crate::event::Kind::WITH_UNIQUES {
            doomed.push(keys.uniques(place, kind, label));
        }
        let mut deleted = 0;
        for keys in doomed.chunks(PUT_KEYS) {
            let removed: u64 = redis::cmd("UNLINK").arg(keys).query_async(connection).await?;
            deleted += removed;
        }
        Ok(deleted)
    }

    async fn publish_latest(
        &mut self,
        connection: &mut MultiplexedConnection,
        latest: &LatestView,
        meta: &Meta,
        report: &mut FlushReport,
    ) -> Result<(), Failure> {
        let definitions = self.settings.definitions.clone();
        let keys = self.settings.keys.clone();
        let window = latest.view.window;
        let spec = &definitions.windows[window];
        let ttl = self.settings.latest_ttl(spec);
        let half_life = ttl / 2;
        let now = Instant::now();

        let views = content::main_views(&keys, &definitions, Place::Latest, &latest.view);
        let plan = self.windows[window].main.plan(views, now, half_life);
        let seq = self.lineage.issue();
        let staged: Vec<&View> = plan.write.iter().map(|(view, _)| view).collect();
        report.bytes += self.stage(connection, seq, &staged, ttl_millis(ttl)).await?;
        let effects = plan.effects();
        let fields =
            content::window_meta(latest, &spec.label, seq, unix_millis(), &self.settings.topics);
        let notice = serde_json::json!({
            "window": spec.label, "seq": seq, "window_end": latest.view.end.millis(),
        });
        let swap = Swap { seq, effects: effects.clone(), fields, notice: Some(notice.to_string()) };
        self.swap(connection, swap, Write::Swap { window, effects }, meta).await?;
        report.keys_written += plan.write.len() as u64;
        report.keys_deleted += plan.remove.len() as u64;
        report.keys_unchanged += plan.unchanged;
        self.refresh(connection, &plan.refresh, ttl, |sink| &mut sink.windows[window].main).await?;

        self.publish_entity_uniques(connection, latest, ttl, report).await?;
        if self.settings.entity_hashes {
            self.publish_entity_hashes(connection, latest, seq, report).await?;
        }
        Ok(())
    }

    /// Runs the swap script. Views that are written stand under their staged names.
    async fn swap(
        &mut self,
        connection: &mut MultiplexedConnection,
        swap: Swap,
        write: Write,
        meta: &Meta,
    ) -> Result<(), Failure> {
        let settings = &self.settings;
        let through: Vec<_> = self.windows.iter().map(|state| state.closed_through).collect();
        let (mut fields, absent) =
            content::meta(meta, &settings.definitions, &settings.topics, &through);
        fields.push(("flushed_at".into(), unix_millis().to_string()));
        fields.extend(swap.fields);
        let mut invocation = self.scripts.swap.prepare_invoke();
        invocation.key(settings.keys.meta());
        for (number, (key, _)) in swap.effects.written.iter().enumerate() {
            invocation.key(settings.keys.staged(&self.lineage.token, swap.seq, number)).key(key);
        }
        for key in &swap.effects.removed {
            invocation.key(key);
        }
        invocation.arg(&self.lineage.token).arg(self.lineage.expected()).arg(swap.seq);
        invocation.arg(swap.effects.written.len());
        match swap.notice {
            Some(notice) => invocation.arg(settings.keys.flushes()).arg(notice),
            None => invocation.arg("").arg(""),
        };
        invocation.arg(fields.len());
        for (name, value) in fields {
            invocation.arg(name.as_ref()).arg(value);
        }
        invocation.arg(absent);
        self.pending.push(Pending { seq: swap.seq, write });
        let answer = scripts::run(&invocation, connection).await?;
        self.written(answer, swap.seq)?;
        self.staged.clear();
        Ok(())
    }

    /// Writes views under temporary names, with the TTL that they keep when they go live.
    async fn stage(
        &mut self,
        connection: &mut MultiplexedConnection,
        seq: u64,
        views: &[&View<'_>],
        ttl_millis: u64,
    ) -> Result<u64, Failure> {
        let names: Vec<String> = (0..views.len())
            .map(|number| self.settings.keys.staged(&self.lineage.token, seq, number))
            .collect();
        self.staged.extend(names.iter().cloned());
        let mut batch = Batch::new(connection);
        for (view, name) in views.iter().zip(&names) {
            batch.stage(name, view, ttl_millis).await?;
        }
        Ok(batch.finish().await?)
    }

    async fn publish_entity_uniques(
        &mut self,
        connection: &mut MultiplexedConnection,
        latest: &LatestView,
        ttl: Duration,
        report: &mut FlushReport,
    ) -> Result<(), Failure> {
        let definitions = self.settings.definitions.clone();
        let keys = self.settings.keys.clone();
        let window = latest.view.window;
        let index = keys.uniques_index(&definitions.windows[window].label);
        let now = Instant::now();
        let views = content::entity_views(&keys, &definitions, Place::Latest, &latest.view);
        let plan = self.windows[window].uniques.plan_all(views, now, ttl / 2);
        let effects = plan.effects();
        let (unchanged, mut refresh) = (plan.unchanged, plan.refresh);
        let write: Vec<View> = plan.write.into_iter().map(|(view, _)| view).collect();
        self.put(connection, &index, &write, &plan.remove, ttl_millis(ttl), report).await?;
        self.windows[window].uniques.apply(effects, now);
        self.windows[window].uniques.compact();
        report.keys_unchanged += unchanged;
        if !refresh.is_empty() {
            refresh.push(index);
        }
        self.refresh(connection, &refresh, ttl, |sink| &mut sink.windows[window].uniques).await
    }

    /// Writes and removes values of single entities, in fenced chunks.
    async fn put(
        &mut self,
        connection: &mut MultiplexedConnection,
        index: &str,
        write: &[View<'_>],
        remove: &[String],
        ttl_millis: u64,
        report: &mut FlushReport,
    ) -> Result<(), Failure> {
        let values: Vec<(&str, &[u8])> = write
            .iter()
            .filter_map(|view| match view.content {
                Content::Value(value) => Some((view.key.as_str(), value)),
                _ => None,
            })
            .collect();
        for values in chunks(&values) {
            self.put_chunk(connection, index, values, &[], ttl_millis).await?;
            report.keys_written += values.len() as u64;
            report.bytes +=
                values.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
        }
        for keys in remove.chunks(PUT_KEYS) {
            self.put_chunk(connection, index, &[], keys, ttl_millis).await?;
            report.keys_deleted += keys.len() as u64;
        }
        Ok(())
    }

    async fn put_chunk(
        &mut self,
        connection: &mut MultiplexedConnection,
        index: &str,
        values: &[(&str, &[u8])],
        remove: &[String],
        ttl_millis: u64,
    ) -> Result<(), Failure> {
        let mut invocation = self.scripts.put.prepare_invoke();
        invocation.key(self.settings.keys.meta()).key(index);
        for (key, _) in values {
            invocation.key(*key);
        }
        invocation.key(remove);
        invocation.arg(&self.lineage.token).arg(self.lineage.expected()).arg(ttl_millis);
        for (_, value) in values {
            invocation.arg(*value);
        }
        let answer = scripts::run(&invocation, connection).await?;
        self.done(answer)?;
        Ok(())
    }

    async fn publish_entity_hashes(
        &mut self,
        connection: &mut MultiplexedConnection,
        latest: &LatestView,
        seq: u64,
        report: &mut FlushReport,
    ) -> Result<(), Failure> {
        let settings = &self.settings;
        let window = latest.view.window;
        let label = settings.label(window);
        let ttl = settings.entity_ttl();
        let now = Instant::now();
        let plan = self.entities.plan(
            &settings.keys,
            &settings.definitions,
            window,
            &latest.entities,
            now,
            ttl / 2,
        );
        let names: Vec<String> =
            Metric::ALL.iter().map(|metric| format!("{}.{label}", metric.name())).collect();
        let index = settings.keys.entities_index();
        let mut batch = Batch::new(connection);
        for (key, change) in &plan.changes {
            match change {
                Change::Delete => {
                    batch.command("UNLINK", key, &[]);
                    batch.command("SREM", &index, &[key]);
                    report.keys_deleted += 1;
                }
                Change::Write { afresh, index: new, metrics } => {
                    if *afresh {
                        batch.command("UNLINK", key, &[]);
                    }
                    if *new {
                        batch.command("SADD", &index, &[key]);
                    }
                    let mut fields = vec![
                        ("seq".to_owned(), seq.to_string()),
                        ("as_of".to_owned(), latest.stream_time.to_string()),
                    ];
                    match metrics {
                        Some(metrics) => fields
                            .extend(names.iter().cloned().zip(metrics.iter().map(u64::to_string))),
                        None => {
                            let names: Vec<&str> = names.iter().map(String::as_str).collect();
                            batch.command("HDEL", key, &names);
                        }
                    }
                    batch.set_fields(key, &fields);
                    batch.expire(key, ttl_millis(ttl));
                    report.keys_written += 1;
                }
            }
            batch.send_if_full().await?;
        }
        report.keys_unchanged += plan.unchanged;
        report.bytes += batch.finish().await?;
        self.entities.apply(plan, window, now);
        Ok(())
    }

    /// Renews the TTL of unchanged keys. One that is gone is written again when next due.
    async fn refresh(
        &mut self,
        connection: &mut MultiplexedConnection,
        keys: &[String],
        ttl: Duration,
        shadow: impl Fn(&mut RedisSink) -> &mut super::shadow::Shadow,
    ) -> Result<(), Failure> {
        for keys in keys.chunks(PUT_KEYS) {
            let mut pipeline = redis::pipe();
            for key in keys {
                pipeline.cmd("PEXPIRE").arg(key).arg(ttl_millis(ttl));
            }
            let found: Vec<u8> = pipeline.query_async(connection).await?;
            let shadow = shadow(self);
            for (key, found) in keys.iter().zip(found) {
                match found {
                    0 => shadow.forget(key),
                    _ => shadow.refreshed(key, Instant::now()),
                }
            }
        }
        Ok(())
    }

    /// As `done`, for the scripts that move the sequence number. An answer settles the outcome
    /// either way, so the number is no longer pending.
    fn written(&mut self, answer: Answer, seq: u64) -> Result<Vec<String>, Failure> {
        match self.done(answer) {
            Ok(words) => {
                self.settle(seq);
                Ok(words)
            }
            Err(failure) => {
                self.pending.retain(|pending| pending.seq != seq);
                Err(failure)
            }
        }
    }

    /// The words of a script that did its work; anything else ends the attempt.
    fn done(&self, answer: Answer) -> Result<Vec<String>, Failure> {
        match answer {
            Answer::Done(words) => Ok(words),
            Answer::Fenced(holder) => Err(Failure::Fatal(self.fenced(holder))),
            Answer::WrongType(key) => Err(Failure::Fatal(scripts::wrong_type(key))),
            Answer::Stale(cause) => Err(Failure::Stale(cause)),
            Answer::Old | Answer::Changed(_) | Answer::Ended => {
                Err(Failure::Stale("a script was answered out of place"))
            }
        }
    }
}

/// What the swap script is told.
#[derive(Default)]
struct Swap {
    seq: u64,
    effects: Effects,
    /// Fields of meta besides those of every flush.
    fields: Fields,
    notice: Option<String>,
}

/// Which closed windows of a flush get boards: the last `keep` of each size, or all.
fn kept(closed: &[ClosedView], keep: usize, windows: usize) -> Vec<bool> {
    let mut left = vec![if keep == 0 { usize::MAX } else { keep }; windows];
    let mut kept: Vec<bool> = closed
        .iter()
        .rev()
        .map(|closed| {
            let left = &mut left[closed.view.window];
            let keeps = *left > 0;
            *left -= usize::from(keeps);
            keeps
        })
        .collect();
    kept.reverse();
    kept
}

/// Splits values so that no part exceeds the bounds of one script.
fn chunks<'a, 'b>(values: &'a [(&'b str, &'b [u8])]) -> Vec<&'a [(&'b str, &'b [u8])]> {
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, (_, value)) in values.iter().enumerate() {
        if index > start && (bytes + value.len() > PUT_BYTES || index - start >= PUT_KEYS) {
            parts.push(&values[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += value.len();
    }
    if start < values.len() {
        parts.push(&values[start..]);
    }
    parts
}
