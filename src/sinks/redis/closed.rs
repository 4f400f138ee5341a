//! Closed windows: written once, listed, and trimmed by number.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::content::{self, CLOSED_OFFSETS, Fields, View};
use super::keys::Place;
use super::link::Link;
use super::scripts::{self, Answer};
use super::{Failure, KEYS_MAX, RedisSink, ttl_millis};
use crate::event::Kind;
use crate::pipeline::view::ClosedView;
use crate::sinks::FlushReport;
use crate::time::EventTime;

/// What of a closed window is written.
pub(super) struct Part {
    /// With its boards, which live for so long; `None`: in the history only.
    pub boards: Option<Duration>,
    /// Keys that stand already and are left alone.
    pub standing: HashSet<String>,
    /// So does the history entry.
    pub entry_stands: bool,
}

impl RedisSink {
    /// All of a window, as it closes. `kept`: with its boards.
    pub(super) fn whole(&self, window: usize, kept: bool) -> Part {
        let ttl = || self.settings.closed_ttl(&self.settings.definitions.windows[window]);
        Part { boards: kept.then(ttl), standing: HashSet::new(), entry_stands: false }
    }

    /// Publishes a window that has closed. False: its history entry was deleted by hand, and
    /// nothing of it is written.
    pub(super) async fn close(
        &mut self,
        connection: &mut Link,
        closed: &Arc<ClosedView>,
        part: &Part,
        report: &mut FlushReport,
    ) -> Result<bool, Failure> {
        let begun = Instant::now();
        let definitions = self.settings.definitions.clone();
        let keys = self.settings.keys.clone();
        let (window, end) = (closed.view.window, closed.view.end);
        let spec = &definitions.windows[window];
        let place = Place::Closed(end);
        let seq = self.lineage.issue();
        let mut views = Vec::new();
        if part.boards.is_some() && self.settings.closed_keep > 0 {
            self.windows[window].with_views.insert(end);
        }
        // None is staged where it would expire at once.
        if let Some(ttl) = part.boards.filter(|ttl| !ttl.is_zero()) {
            let ttl = ttl_millis(ttl).max(1);
            let is_wanted = |view: &View| !part.standing.contains(&view.key);
            let members: Vec<View> =
                content::entity_views(&keys, &definitions, place, &closed.view)
                    .filter(is_wanted)
                    .collect();
            let index = keys.closed_members(&spec.label, end);
            self.put(connection, &index, &members, &[], ttl, report).await?;
            views = content::main_views(&keys, &definitions, place, &closed.view);
            views.retain(|view| !view.content.is_empty() && is_wanted(view));
            let staged: Vec<&View> = views.iter().collect();
            report.bytes += self.stage(connection, seq, &staged, ttl).await?;
        }
        let closed_keep = self.settings.closed_keep;
        // Kept until their TTL, boards are not counted; the list of ends still needs a bound.
        let ends_keep = if closed_keep == 0 { self.settings.history_keep } else { closed_keep };
        let fields = self.close_meta(closed);
        let mut invocation = self.scripts.close.prepare_invoke();
        invocation.key(keys.meta()).key(keys.history(&spec.label));
        invocation.key(keys.closed_ends(&spec.label));
        for (number, view) in views.iter().enumerate() {
            invocation.key(keys.staged(&self.lineage.token, seq, number)).key(&view.key);
        }
        invocation.arg(&self.lineage.token).arg(self.lineage.expected()).arg(seq);
        let history_keep = self.settings.history_keep.to_string();
        let history_keep = if part.entry_stands { "" } else { history_keep.as_str() };
        invocation.arg(end.millis()).arg(history_keep).arg(ends_keep);
        invocation.arg(u8::from(part.boards.is_some()));
        invocation.arg(fields.len());
        for (name, value) in fields {
            invocation.arg(name.as_ref()).arg(value);
        }
        for (name, value) in content::history(closed) {
            invocation.arg(name.as_ref()).arg(value);
        }
        self.pending.push(seq);
        let answer = scripts::run(&invocation, connection).await?;
        if answer == Answer::Old {
            // Entries above this one stood there once and were deleted by hand: the stream
            // remembers. The staged views stay invisible and are removed.
            self.pending.retain(|&pending| pending != seq);
            self.discard_staged(connection).await?;
            self.windows[window].skipped(end);
            report.history_skipped += 1;
            return Ok(false);
        }
        let words = self.written(answer, seq)?;
        let mut words = words.into_iter().skip(1);
        let entries = words.next().and_then(|entries| entries.parse().ok()).unwrap_or(0);
        if part.entry_stands {
            self.windows[window].skipped(end);
        } else {
            self.windows[window].closed(end, entries);
        }
        // Before anything else can fail: from here on it stands, and may be lost.
        self.remembered.add(closed, part.boards.is_some(), begun);
        self.staged.clear();
        report.keys_written += 1 + views.len() as u64;
        if closed_keep > 0 {
            let fallen = words.filter_map(|end| end.parse().ok()).map(EventTime::from_millis);
            let fallen: Vec<EventTime> = fallen.collect();
            self.windows[window].with_views.extend(&fallen);
            for end in fallen {
                report.keys_deleted += self.unlink_closed(connection, window, end).await?;
            }
        }
        Ok(true)
    }

    /// What meta says from now on of the windows that have closed. One that is written again tells
    /// nothing of what is merged now.
    fn close_meta(&mut self, closed: &Arc<ClosedView>) -> Fields {
        let (window, end) = (closed.view.window, closed.view.end);
        let label = self.settings.label(window);
        let through = self.windows[window].closed_through.unwrap_or(end).max(end);
        let mut fields: Fields =
            vec![(format!("closed_through:{label}").into(), through.to_string())];
        if self.newest_closed <= Some(end) {
            self.newest_closed = Some(end);
            fields.push((
                CLOSED_OFFSETS.into(),
                content::offsets(&closed.offsets, &self.settings.topics),
            ));
            fields.push(("events_after_close".into(), closed.events_after_close.to_string()));
        }
        fields
    }

    /// Removes what an attempt that failed has left: views of closed windows that the list of
    /// ends does not name, or no more.
    pub(super) async fn remove_fallen(
        &mut self,
        connection: &mut Link,
        report: &mut FlushReport,
    ) -> Result<(), Failure> {
        for window in 0..self.windows.len() {
            if self.windows[window].with_views.is_empty() {
                continue;
            }
            let mut command = redis::cmd("ZRANGE");
            command.arg(self.settings.keys.closed_ends(self.settings.label(window)));
            let listed: Vec<i64> = command.arg(&[0, -1]).query_async(connection).await?;
            let mut fallen = self.windows[window].with_views.clone();
            fallen.retain(|end| !listed.contains(&end.millis()));
            for end in fallen {
                report.keys_deleted += self.unlink_closed(connection, window, end).await?;
            }
        }
        Ok(())
    }

    /// Removes the views of a closed window that is no longer in the list of ends.
    async fn unlink_closed(
        &mut self,
        connection: &mut Link,
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
        for kind in Kind::WITH_UNIQUES {
            doomed.push(keys.uniques(place, kind, label));
        }
        let mut deleted = 0;
        for keys in doomed.chunks(KEYS_MAX) {
            let removed: u64 = redis::cmd("UNLINK").arg(keys).query_async(connection).await?;
            deleted += removed;
        }
        self.windows[window].with_views.remove(&end);
        Ok(deleted)
    }
}

/// Which closed windows of a flush get boards: the last `keep` of each size, or all.
pub fn kept(closed: &[Arc<ClosedView>], keep: usize, windows: usize) -> Vec<bool> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::delivery::Totals;
    use crate::pipeline::view::WindowView;

    #[test]
    fn the_last_of_each_size_are_kept() {
        let windows = [0, 1, 0, 0, 1, 0];
        let closed: Vec<Arc<ClosedView>> = windows
            .iter()
            .map(|&window| {
                let view = WindowView {
                    window,
                    start: EventTime::from_millis(0),
                    end: EventTime::from_millis(1),
                    totals: Totals::default(),
                    uniques: 0,
                    boards: vec![],
                    distinct: vec![],
                };
                Arc::new(ClosedView {
                    view,
                    quiet: 0,
                    complete: true,
                    offsets: Arc::default(),
                    events_after_close: 0,
                })
            })
            .collect();
        assert_eq!(kept(&closed, 2, 2), [false, true, false, true, true, true]);
        assert_eq!(kept(&closed, 0, 2), [true; 6]);
    }
}
