//! A sink that keeps what was published in memory, readable at any time without a lock.
//!
//! Readers hold [`MemoryViews`] and load whole snapshots: a snapshot is one flush, so its
//! views and its meta belong together however long the reader looks at it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{FlushReport, Sink};
use crate::pipeline::view::{ClosedView, Flush, LatestView, Meta};
use crate::time::EventTime;

/// What one flush left behind.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// Counts flushes; 0 before the first.
    pub seq: u64,
    /// By window, `None` until it was first due.
    pub latest: Vec<Option<Arc<LatestView>>>,
    /// By window, ends ascending.
    pub closed: Vec<BTreeMap<EventTime, Arc<ClosedView>>>,
    pub meta: Option<Meta>,
}

/// The readers' side; cheap to clone.
#[derive(Clone, Debug)]
pub struct MemoryViews(Arc<ArcSwap<Published>>);

impl MemoryViews {
    /// The state after the last flush.
    pub fn load(&self) -> Arc<Published> {
        self.0.load_full()
    }
}

/// The writer's side.
#[derive(Debug)]
pub struct MemorySink {
    published: Arc<ArcSwap<Published>>,
    /// Closed windows kept per size; 0 keeps all.
    closed_keep: usize,
}

impl MemorySink {
    pub fn new(windows: usize, closed_keep: usize) -> Self {
        let empty = Published {
            latest: vec![None; windows],
            closed: vec![BTreeMap::new(); windows],
            ..Published::default()
        };
        MemorySink { published: Arc::new(ArcSwap::from_pointee(empty)), closed_keep }
    }

    pub fn views(&self) -> MemoryViews {
        MemoryViews(Arc::clone(&self.published))
    }

    fn publish(&self, flush: &Flush) -> FlushReport {
        let mut report = FlushReport::default();
        let mut next = Published::clone(&self.published.load());
        for closed in &flush.closed {
            let kept = &mut next.closed[closed.view.window];
            if kept.contains_key(&closed.view.end) {
                report.history_skipped += 1;
                continue;
            }
            kept.insert(closed.view.end, Arc::clone(closed));
            report.keys_written += 1;
            while self.closed_keep > 0 && kept.len() > self.closed_keep {
                kept.pop_first();
                report.keys_deleted += 1;
            }
        }
        for latest in &flush.latest {
            let slot = &mut next.latest[latest.view.window];
            if slot.as_deref() == Some(latest) {
                report.keys_unchanged += 1;
            } else {
                *slot = Some(Arc::new(latest.clone()));
                report.keys_written += 1;
            }
        }
        next.meta = Some(flush.meta.clone());
        next.seq += 1;
        self.published.store(Arc::new(next));
        report
    }
}

impl Sink for MemorySink {
    async fn flush(&mut self, flush: &Flush) -> anyhow::Result<FlushReport> {
        Ok(self.publish(flush))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::delivery::Totals;
    use crate::pipeline::view::WindowView;

    fn window(end: i64) -> WindowView {
        WindowView {
            window: 0,
            start: EventTime::from_millis(end - 60_000),
            end: EventTime::from_millis(end),
            totals: Totals { events: end as u64, ..Totals::default() },
            uniques: 0,
            boards: vec![],
            distinct: vec![],
        }
    }

    fn flush(closed: &[i64], latest: i64) -> Flush {
        let closed = closed
            .iter()
            .map(|&end| {
                Arc::new(ClosedView {
                    view: window(end),
                    quiet: 0,
                    complete: true,
                    offsets: Arc::default(),
                    events_after_close: 0,
                })
            })
            .collect();
        let latest = LatestView {
            view: window(latest),
            offsets: Arc::new(vec![]),
            stream_time: EventTime::from_millis(latest - 1),
            entities: vec![],
        };
        let meta = Meta {
            stream_time: None,
            group_watermark: None,
            slowest_progressing: None,
            closed_through: vec![None],
            complete: true,
            held_back_by: None,
            missing: vec![],
            events_after_close: 0,
            over_cap: 0,
            ended: false,
        };
        Flush { closed, latest: vec![latest], meta, keeps_latest: false }
    }

    #[test]
    fn a_snapshot_is_one_flush_and_stays_it() {
        let sink = MemorySink::new(1, 2);
        let views = sink.views();
        let report = sink.publish(&flush(&[60_000, 120_000, 180_000], 200_000));
        assert_eq!((report.keys_written, report.keys_deleted), (4, 1));
        let before = views.load();
        let report = sink.publish(&flush(&[180_000], 260_000));
        assert_eq!((report.history_skipped, report.keys_written), (1, 1));
        let end = |published: &Published| published.latest[0].as_ref().unwrap().view.end.millis();
        assert_eq!((before.seq, end(&before)), (1, 200_000));
        let after = views.load();
        assert_eq!((after.seq, end(&after)), (2, 260_000));
        let ends: Vec<i64> = after.closed[0].keys().map(|end| end.millis()).collect();
        assert_eq!(ends, [120_000, 180_000]);
        assert_eq!(sink.publish(&flush(&[], 260_000)).keys_unchanged, 1);
    }
}
