//! One attempt at a flush, from its closed windows to the last hash.

use std::time::{Duration, Instant};

use super::closed::kept;
use super::commands::Batch;
use super::content::{self, Fields, View};
use super::keys::Place;
use super::link::Link;
use super::scripts::{self, Answer};
use super::shadow::Effects;
use super::{Failure, KEYS_MAX, RedisSink, ttl_millis, unix_millis};
use crate::pipeline::view::{Flush, LatestView, Meta};
use crate::sinks::FlushReport;
use crate::time::EventTime;

impl RedisSink {
    pub(super) async fn try_publish(
        &mut self,
        flush: &Flush,
        history_before: &mut Option<Vec<Option<EventTime>>>,
        report: &mut FlushReport,
    ) -> Result<(), Failure> {
        let mut connection = self.connector.get().await?.clone();
        if !self.synced {
            self.sync(&mut connection, report).await?;
        }
        self.synced = false;
        report.keys_unchanged = 0;
        report.history_skipped = 0;
        let before = history_before
            .get_or_insert_with(|| self.windows.iter().map(|one| one.history.last).collect());

        let kept = kept(&flush.closed, self.settings.closed_keep, self.windows.len());
        for (closed, kept) in flush.closed.iter().zip(kept) {
            let window = closed.view.window;
            let end = Some(closed.view.end);
            if end <= self.windows[window].history.last {
                report.history_skipped += u64::from(end <= before[window]);
                // What stands may be more whole than what was read again.
                if closed.complete {
                    self.remembered.add(closed, kept, Instant::now());
                }
            } else {
                let part = self.whole(window, kept);
                self.close(&mut connection, closed, &part, report).await?;
            }
        }
        for (state, &end) in self.windows.iter_mut().zip(&flush.meta.closed_through) {
            state.closed_through = state.closed_through.max(end);
        }
        if flush.keeps_latest {
            self.synced = true;
            return Ok(());
        }
        if !flush.latest.is_empty() {
            self.check_witnesses(&mut connection).await?;
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
            self.swap(&mut connection, &swap, &flush.meta).await?;
        }
        self.synced = true;
        Ok(())
    }

    async fn publish_latest(
        &mut self,
        connection: &mut Link,
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
        let fields =
            content::window_meta(latest, &spec.label, seq, unix_millis(), &self.settings.topics);
        let notice = serde_json::json!({
            "window": spec.label, "seq": seq, "window_end": latest.view.end.millis(),
        });
        let effects = plan.effects();
        self.windows[window].main.doubt(&effects);
        let swap = Swap { seq, effects, fields, notice: Some(notice.to_string()) };
        self.swap(connection, &swap, meta).await?;
        self.windows[window].main.apply(swap.effects, now);
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
        connection: &mut Link,
        swap: &Swap,
        meta: &Meta,
    ) -> Result<(), Failure> {
        let settings = &self.settings;
        let through: Vec<_> = self.windows.iter().map(|state| state.closed_through).collect();
        let (mut fields, absent) =
            content::meta(meta, &settings.definitions, &settings.topics, &through);
        fields.push(("flushed_at".into(), unix_millis().to_string()));
        fields.extend_from_slice(&swap.fields);
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
        match &swap.notice {
            Some(notice) => invocation.arg(settings.keys.flushes()).arg(notice),
            None => invocation.arg("").arg(""),
        };
        invocation.arg(fields.len());
        for (name, value) in fields {
            invocation.arg(name.as_ref()).arg(value);
        }
        invocation.arg(absent);
        self.pending.push(swap.seq);
        let answer = scripts::run(&invocation, connection).await?;
        self.written(answer, swap.seq)?;
        self.staged.clear();
        Ok(())
    }

    /// Writes views under temporary names, with the TTL that they keep when they go live.
    pub(super) async fn stage(
        &mut self,
        connection: &mut Link,
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

    /// Renews the TTL of unchanged keys. One that is gone is written again when next due.
    pub(super) async fn refresh(
        &mut self,
        connection: &mut Link,
        keys: &[String],
        ttl: Duration,
        shadow: impl Fn(&mut RedisSink) -> &mut super::shadow::Shadow,
    ) -> Result<(), Failure> {
        for keys in keys.chunks(KEYS_MAX) {
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
    pub(super) fn written(&mut self, answer: Answer, seq: u64) -> Result<Vec<String>, Failure> {
        match self.done(answer) {
            Ok(words) => {
                self.settle(seq);
                Ok(words)
            }
            Err(failure) => {
                self.pending.retain(|&pending| pending != seq);
                Err(failure)
            }
        }
    }

    /// The words of a script that did its work; anything else ends the attempt.
    pub(super) fn done(&self, answer: Answer) -> Result<Vec<String>, Failure> {
        match answer {
            Answer::Done(words) => Ok(words),
            Answer::Fenced(holder) => Err(Failure::Fatal(self.fenced(holder))),
            Answer::WrongType(key) => Err(Failure::Fatal(scripts::wrong_type(key))),
            Answer::Stale(cause) => Err(Failure::Stale(cause)),
            Answer::Old | Answer::Changed(_) | Answer::Ended | Answer::Held(_) | Answer::Gone => {
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
