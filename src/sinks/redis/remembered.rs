//! The closed windows that were published last, kept in memory in case Redis loses them.
//!
//! Pure: what is kept and what goes is decided by what was added. Views are shared with the
//! flush that brought them, names with the merger's table, so nothing is copied to be kept.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::pipeline::view::ClosedView;
use crate::time::EventTime;

/// Windows remembered of each size where Redis keeps all (`closed_keep` = 0).
const KEEP_DEFAULT: usize = 10;

/// One closed window as it was published.
#[derive(Clone, Debug)]
pub struct Published {
    pub closed: Arc<ClosedView>,
    /// With its boards, not only in the history.
    pub has_boards: bool,
    /// The TTL of its boards runs from here on.
    pub at: Instant,
}

/// The last windows of each size, within a bound in bytes.
#[derive(Debug)]
pub struct Remembered {
    windows: Vec<VecDeque<Published>>,
    keep: usize,
    bytes: usize,
    bytes_max: usize,
}

impl Remembered {
    pub fn new(windows: usize, closed_keep: usize, bytes_max: usize) -> Self {
        let keep = if closed_keep == 0 { KEEP_DEFAULT } else { closed_keep };
        Remembered { windows: vec![VecDeque::new(); windows], keep, bytes: 0, bytes_max }
    }

    /// Takes note of a window. One that is not newer than the last of its size is known already.
    pub fn add(&mut self, closed: &Arc<ClosedView>, has_boards: bool, at: Instant) {
        let window = &mut self.windows[closed.view.window];
        if window.back().is_some_and(|last| last.closed.view.end >= closed.view.end) {
            return;
        }
        self.bytes += closed.bytes();
        window.push_back(Published { closed: closed.clone(), has_boards, at });
        if window.len() > self.keep
            && let Some(oldest) = window.pop_front()
        {
            self.bytes -= oldest.closed.bytes();
        }
        while self.bytes > self.bytes_max && self.drop_oldest() {}
    }

    /// Removes the window with the least end of all sizes.
    fn drop_oldest(&mut self) -> bool {
        let end = |window: &VecDeque<Published>| window.front().map(|one| one.closed.view.end);
        let holding = self.windows.iter_mut().filter(|window| !window.is_empty());
        let oldest = holding.min_by_key(|window| end(window)).and_then(VecDeque::pop_front);
        self.bytes -= oldest.as_ref().map_or(0, |oldest| oldest.closed.bytes());
        oldest.is_some()
    }

    /// A window that Redis does not take back.
    pub fn forget(&mut self, window: usize, end: EventTime) {
        let bytes = &mut self.bytes;
        self.windows[window].retain(|one| {
            let stays = one.closed.view.end != end;
            *bytes -= if stays { 0 } else { one.closed.bytes() };
            stays
        });
    }

    /// All of them, in order of their ends.
    pub fn all(&self) -> Vec<Published> {
        let mut all: Vec<Published> = self.windows.iter().flatten().cloned().collect();
        all.sort_by_key(|one| (one.closed.view.end, one.closed.view.window));
        all
    }

    /// How many windows of a size end after `end`.
    pub fn count_after(&self, window: usize, end: Option<EventTime>) -> u64 {
        let is_after = |one: &&Published| Some(one.closed.view.end) > end;
        self.windows[window].iter().filter(is_after).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::delivery::Totals;
    use crate::pipeline::view::WindowView;

    fn closed(window: usize, end: i64) -> Arc<ClosedView> {
        let view = WindowView {
            window,
            start: EventTime::from_millis(0),
            end: EventTime::from_millis(end),
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
    }

    fn ends(remembered: &Remembered) -> Vec<(usize, i64)> {
        let place = |one: &Published| (one.closed.view.window, one.closed.view.end.millis());
        remembered.all().iter().map(place).collect()
    }

    #[test]
    fn the_last_of_each_size_stay_in_order_of_their_ends() {
        let mut remembered = Remembered::new(2, 2, usize::MAX);
        let now = Instant::now();
        for (window, end) in [(0, 1), (0, 2), (1, 2), (0, 3), (0, 2), (1, 3), (0, 4)] {
            remembered.add(&closed(window, end), true, now);
        }
        assert_eq!(ends(&remembered), [(1, 2), (0, 3), (1, 3), (0, 4)]);
        let at = |end| Some(EventTime::from_millis(end));
        assert_eq!(remembered.count_after(0, at(3)), 1);
        assert_eq!(remembered.count_after(0, None), 2);
        remembered.forget(0, EventTime::from_millis(3));
        assert_eq!(ends(&remembered), [(1, 2), (1, 3), (0, 4)]);
        assert_eq!(remembered.bytes, 3 * closed(0, 0).bytes());
    }

    #[test]
    fn where_redis_keeps_all_ten_are_remembered() {
        let mut remembered = Remembered::new(1, 0, usize::MAX);
        (0..50).for_each(|end| remembered.add(&closed(0, end), true, Instant::now()));
        assert_eq!(ends(&remembered), (40..50).map(|end| (0, end)).collect::<Vec<_>>());
    }

    #[test]
    fn beyond_the_bound_the_oldest_of_all_go_first() {
        let room_for_three = 3 * closed(0, 0).bytes();
        let mut remembered = Remembered::new(2, 10, room_for_three);
        for (window, end) in [(0, 5), (1, 4), (0, 6), (0, 7)] {
            remembered.add(&closed(window, end), true, Instant::now());
        }
        assert_eq!(ends(&remembered), [(0, 5), (0, 6), (0, 7)]);
        let mut none = Remembered::new(1, 10, 1);
        none.add(&closed(0, 1), true, Instant::now());
        assert_eq!((ends(&none).len(), none.bytes), (0, 0));
    }
}
