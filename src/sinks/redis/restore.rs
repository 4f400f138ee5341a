//! After data loss: what of the closed windows in memory Redis does not hold is written again.
//!
//! ```text
//!  seq gone or lower ─► claim anew ─► history, ends, keys: what stands? ─► the rest, in order of ends ─► count
//!        ▲                                                                     │ trouble again
//!        └──────────────────────── the next attempt goes on ◄──────────────────┘
//! ```
//! What stands is left alone, also where only a part of a window is gone: views that are written
//! once stay as they were read. What comes back has the rest of its TTL, no more.

use std::collections::HashSet;
use std::time::Duration;

use tracing::warn;

use super::closed::Part;
use super::content::{self, View};
use super::history::Stream;
use super::keys::Place;
use super::link::Link;
use super::remembered::Published;
use super::{Failure, KEYS_MAX, RedisSink};
use crate::sinks::FlushReport;

/// A loss that is being made good.
pub(super) struct Recovery {
    /// The histories before it, by window.
    before: Vec<Stream>,
    /// What was left of them; `None` before the prefix was claimed anew.
    found: Option<Vec<Stream>>,
}

impl RedisSink {
    /// Redis has lost data, perhaps once more while the last loss was being made good.
    pub(super) fn note_loss(&mut self) {
        let before = match self.recovery.take() {
            Some(recovery) => recovery.before,
            None => self.histories(),
        };
        self.recovery = Some(Recovery { before, found: None });
    }

    fn histories(&self) -> Vec<Stream> {
        self.windows.iter().map(|state| state.history).collect()
    }

    /// Makes a loss good, if there is one. Trouble leaves it to the next attempt, which skips
    /// what this one has written.
    pub(super) async fn recover(
        &mut self,
        connection: &mut Link,
        report: &mut FlushReport,
    ) -> Result<(), Failure> {
        let Some(recovery) = &self.recovery else { return Ok(()) };
        if recovery.found.is_none() {
            self.take(connection, false).await?;
            self.read_closed(connection).await?;
            let found = self.histories();
            if let Some(recovery) = &mut self.recovery {
                recovery.found = Some(found);
            }
        }
        for one in self.remembered.all() {
            self.restore(connection, &one, report).await?;
        }
        if let Some(Recovery { before, found: Some(found) }) = self.recovery.take() {
            self.count_lost(&before, &found);
        }
        Ok(())
    }

    fn count_lost(&self, before: &[Stream], found: &[Stream]) {
        for (window, (before, found)) in before.iter().zip(found).enumerate() {
            let rewritten = self.remembered.count_after(window, found.last);
            let lost = before.lost(found, rewritten);
            self.health.count_history_lost(lost);
            if lost > 0 || rewritten > 0 {
                warn!(
                    window = self.settings.label(window),
                    rewritten, lost, "redis lost closed windows; those in memory stand again"
                );
            }
        }
    }

    async fn restore(
        &mut self,
        connection: &mut Link,
        one: &Published,
        report: &mut FlushReport,
    ) -> Result<(), Failure> {
        let (window, end) = (one.closed.view.window, one.closed.view.end);
        let entry_stands = Some(end) <= self.windows[window].history.last;
        let ttl = self.settings.closed_ttl(&self.settings.definitions.windows[window]);
        let boards = one.has_boards.then(|| ttl.saturating_sub(one.at.elapsed()));
        let (standing, is_whole) = match boards {
            Some(ttl) => self.look_at(connection, one, ttl).await?,
            None => (HashSet::new(), true),
        };
        if entry_stands && is_whole {
            return Ok(());
        }
        let part = Part { boards, standing, entry_stands };
        if !self.close(connection, &one.closed, &part, report).await? {
            self.remembered.forget(window, end);
        }
        Ok(())
    }

    /// Which keys of a closed window stand, and whether that is all: its end is listed, and no
    /// key is missing that would live on.
    async fn look_at(
        &self,
        connection: &mut Link,
        one: &Published,
        ttl: Duration,
    ) -> Result<(HashSet<String>, bool), Failure> {
        let (keys, definitions) = (&self.settings.keys, &self.settings.definitions);
        let view = &one.closed.view;
        let (label, place) = (self.settings.label(view.window), Place::Closed(view.end));
        let mut command = redis::cmd("ZSCORE");
        command.arg(keys.closed_ends(label)).arg(view.end.millis());
        let listed: Option<f64> = command.query_async(connection).await?;
        if ttl.is_zero() {
            return Ok((HashSet::new(), listed.is_some()));
        }
        let views = content::main_views(keys, definitions, place, view);
        let members = content::entity_views(keys, definitions, place, view);
        let is_there = |view: &View| !view.content.is_empty();
        let views = views.into_iter().filter(is_there).map(|view| view.key);
        let members: Vec<String> = members.map(|view| view.key).collect();
        let index = (!members.is_empty()).then(|| keys.closed_members(label, view.end));
        let expected: Vec<String> = views.chain(index.clone()).collect();
        let mut standing = self.existing(connection, &expected).await?;
        // Members that no index names would never be removed.
        if index.is_none_or(|index| standing.contains(&index)) {
            standing.extend(self.existing(connection, &members).await?);
        }
        let is_whole = listed.is_some() && standing.len() == expected.len() + members.len();
        Ok((standing, is_whole))
    }

    async fn existing(
        &self,
        connection: &mut Link,
        keys: &[String],
    ) -> Result<HashSet<String>, Failure> {
        let mut existing = HashSet::new();
        for keys in keys.chunks(KEYS_MAX) {
            let mut pipeline = redis::pipe();
            for key in keys {
                pipeline.cmd("EXISTS").arg(key);
            }
            let found: Vec<bool> = pipeline.query_async(connection).await?;
            existing.extend(
                keys.iter().zip(found).filter(|(_, found)| *found).map(|(key, _)| key.clone()),
            );
        }
        Ok(existing)
    }
}
