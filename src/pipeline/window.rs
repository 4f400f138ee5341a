//! Sliding windows over panes: two running sums each, at the latest and at the closed edge.
//!
//! ```text
//!                 closed edge              latest edge
//!                      ▼                        ▼
//!  ──┬──┬──┬──┬──┬──┬──┬──┬──┬──┬──┬──┬──┬──┬──┬──┬──▶ event time
//!    └── [E − size, E) ┘                     N ─┘
//!          next to close              └ [end − size, end) ┘
//! ```
//! A cell is added once and subtracted once per edge, whatever size ÷ slide is; sums are of
//! integers, so subtracting is exact. The latest edge moves when a view of it is wanted, the
//! closed edge from one closed window to the next. Totals move with their edge. The sums of
//! entities follow when boards are read, in one leap over all windows whose boards are not
//! wanted: that is what makes a backlog cheap.

use std::ops::Range;
use std::sync::Arc;

use crate::event::Metric;
use crate::pipeline::checkpoint::{CapturedPane, SavedWindows};
use crate::pipeline::column::Column;
use crate::pipeline::definitions::{Board, Definitions, Window};
use crate::pipeline::delivery::{Cells, Totals, series};
use crate::pipeline::entity::{Entities, OTHER_ID};
use crate::pipeline::pane::{Level, Pane, PaneCell};
use crate::pipeline::view::{BoardView, EntityView};
use crate::time::{EventTime, Span};

/// The merged counts of all partitions. One writer: the merger.
pub struct Windows {
    definitions: Arc<Definitions>,
    levels: Vec<Level>,
    /// By dimension.
    entities: Vec<Entities>,
    /// By series.
    columns: Vec<Column>,
    /// The latest edges of all windows, then their closed edges.
    edges: Vec<Edge>,
    /// By closed edge: whether the window emitted last held a record.
    after_content: Vec<bool>,
    /// Counts changes of panes.
    changes: u64,
    /// Changes at the last capture.
    captured: u64,
}

/// One end of one window size, with the sums of `[end − size, end)`.
struct Edge {
    size: Span,
    level: usize,
    /// `None` until there is something to cover.
    end: Option<EventTime>,
    totals: Totals,
    /// Where the columns stand: here, or still at an earlier end.
    columns_end: Option<EventTime>,
}

impl Edge {
    /// The oldest event time that totals or columns cover.
    fn start(&self) -> Option<EventTime> {
        let end = self.columns_end.map_or(self.end, |at| self.end.map(|end| end.min(at)));
        end.map(|end| end - self.size)
    }

    fn totals_cover(&self, time: EventTime) -> bool {
        covers(self.end, self.size, time)
    }

    fn columns_cover(&self, time: EventTime) -> bool {
        covers(self.columns_end, self.size, time)
    }
}

fn covers(end: Option<EventTime>, size: Span, time: EventTime) -> bool {
    end.is_some_and(|end| time < end && time >= end - size)
}

/// What moves when an edge does.
struct Move {
    leaving: Range<EventTime>,
    entering: Range<EventTime>,
}

impl Move {
    /// An edge without a place covers nothing, as if it had stood at its new start.
    fn new(size: Span, from: Option<EventTime>, to: EventTime) -> Self {
        let start = to - size;
        let (old_start, old_end) = from.map_or((start, start), |end| (end - size, end));
        let range = |from: EventTime, to: EventTime| from..to.max(from);
        Self {
            leaving: range(old_start, old_end.min(start)),
            entering: range(old_end.max(start), to),
        }
    }
}

/// A delivery's names, resolved to the merger's numbers: `[dimension][index]`.
pub type Resolution = Vec<Vec<u32>>;

/// A window that can be closed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    pub window: usize,
    pub end: EventTime,
}

impl Windows {
    pub fn new(definitions: Arc<Definitions>) -> Self {
        let windows = &definitions.windows;
        let edge = |window: &Window| Edge {
            size: window.size,
            level: window.level,
            end: None,
            totals: Totals::default(),
            columns_end: None,
        };
        let edges: Vec<Edge> = windows.iter().chain(windows).map(edge).collect();
        let columns = (0..definitions.dimensions.len() * Metric::COUNT)
            .map(|number| {
                let board = definitions
                    .boards
                    .iter()
                    .find(|board| usize::from(series(board.dimension, board.metric)) == number);
                Column::new(windows.len(), board.map(|board| board.top))
            })
            .collect();
        Self {
            levels: definitions.levels.iter().map(|&width| Level::new(width)).collect(),
            entities: definitions
                .dimensions
                .iter()
                .map(|d| Entities::new(d.entities_max))
                .collect(),
            columns,
            after_content: vec![false; windows.len()],
            changes: 0,
            captured: 0,
            edges,
            definitions,
        }
    }

    /// Windows as they were saved: the panes of a cut, and edges that stand where they stood.
    pub fn restore(
        definitions: Arc<Definitions>,
        entities: Vec<Entities>,
        panes: Vec<(usize, EventTime, Pane)>,
        saved: &SavedWindows,
    ) -> Self {
        let mut windows = Self::new(definitions);
        windows.entities = entities;
        for (level, &rolled_to) in windows.levels.iter_mut().zip(&saved.rolled_to) {
            level.rolled_to = rolled_to;
        }
        for (level, start, pane) in panes {
            windows.levels[level].panes.insert(start, Arc::new(pane));
        }
        for (edge, end) in saved.edges.iter().enumerate() {
            if let Some(end) = *end {
                windows.move_edge(edge, end);
            }
        }
        windows.after_content.clone_from(&saved.after_content);
        windows
    }

    /// The panes, those that changed since the last capture with their content, or all.
    pub fn capture(&mut self, everything: bool) -> Vec<CapturedPane> {
        let since = std::mem::replace(&mut self.captured, self.changes);
        let capture = |level: usize, start: EventTime, pane: &Arc<Pane>| {
            let is_news = everything || pane.changed > since;
            CapturedPane {
                level,
                start,
                changed: pane.changed,
                content: is_news.then(|| pane.clone()),
            }
        };
        let levels = self.levels.iter().enumerate();
        levels
            .flat_map(|(level, panes)| panes.panes.iter().map(move |pane| (level, pane)))
            .map(|(level, (&start, pane))| capture(level, start, pane))
            .collect()
    }

    /// Where edges and levels stand.
    pub fn save(&self) -> SavedWindows {
        SavedWindows {
            rolled_to: self.levels.iter().map(|level| level.rolled_to).collect(),
            edges: self.edges.iter().map(|edge| edge.end).collect(),
            after_content: self.after_content.clone(),
        }
    }

    /// Resolves a delivery's names and holds on to them until [`Windows::release`].
    pub fn resolve(&mut self, cells: &Cells) -> Resolution {
        let resolve = |(entities, names): (&mut Entities, &crate::pipeline::delivery::Names)| {
            names
                .iter()
                .map(|name| {
                    let id = entities.resolve(name).id();
                    entities.retain(id);
                    id
                })
                .collect()
        };
        self.entities.iter_mut().zip(&cells.names).map(resolve).collect()
    }

    pub fn release(&mut self, resolution: &Resolution) {
        for (entities, ids) in self.entities.iter_mut().zip(resolution) {
            ids.iter().for_each(|&id| entities.release(id));
        }
    }

    /// Adds a delivery's cells. Returns how many (record, entity) pairs went to `__other__`.
    pub fn add(&mut self, cells: &Cells, resolution: &Resolution) -> u64 {
        let mut over_cap = 0;
        for pane in &cells.panes {
            let time = EventTime::from_millis(pane.start_millis);
            let Some(level) = self.levels.iter_mut().find(|level| time >= level.rolled_to) else {
                continue; // No window can need it any more.
            };
            for edge in self.edges.iter_mut().filter(|edge| edge.totals_cover(time)) {
                edge.totals.add(&pane.totals);
            }
            let covering: Vec<usize> = (0..self.edges.len())
                .filter(|&edge| self.edges[edge].columns_cover(time))
                .collect();
            let stored = level.pane_mut(time);
            self.changes += 1;
            stored.changed = self.changes;
            stored.totals.add(&pane.totals);
            for cell in &pane.cells {
                let dimension = usize::from(cell.series) / Metric::COUNT;
                let entity = resolution[dimension][cell.entity as usize];
                if entity == OTHER_ID && counts_records(cell.series) {
                    over_cap += cell.amount;
                }
                self.entities[dimension].retain(entity);
                stored.push(PaneCell { amount: cell.amount, entity, series: cell.series });
                let column = &mut self.columns[usize::from(cell.series)];
                for &edge in &covering {
                    column.add(entity, cell.amount, edge);
                }
            }
            let entities = &mut self.entities;
            stored.combine_if_doubled(|cell| release_cell(entities, cell));
        }
        self.columns.iter_mut().for_each(Column::tidy);
        over_cap
    }

    /// Moves a window's latest edge to the first slide end after the stream time.
    pub fn advance_latest(&mut self, window: usize, stream_time: EventTime) -> EventTime {
        let end = stream_time.next_multiple(self.definitions.windows[window].slide);
        let end = self.edges[window].end.map_or(end, |current| current.max(end));
        self.move_edge(window, end);
        end
    }

    /// The next window to close at the group watermark, in order of ends. Its sums are at the
    /// closed edge until [`Windows::closed`] is called for it.
    ///
    /// Windows without a record are passed over, but for the first after one that had some.
    pub fn next_closing(&mut self, group_watermark: EventTime) -> Option<Closing> {
        self.start_closed_edges(group_watermark);
        loop {
            let count = self.definitions.windows.len();
            let (end, window) = (0..count)
                .filter_map(|window| Some((self.edges[count + window].end?, window)))
                .min()?;
            if end > group_watermark {
                return None;
            }
            let has_content = self.edges[count + window].totals.events > 0;
            let finishing = group_watermark == EventTime::MAX;
            if has_content || (self.after_content[window] && !finishing) {
                self.after_content[window] = has_content;
                return Some(Closing { window, end });
            }
            match self.end_of_next_content(window, end, group_watermark) {
                Some(next) => self.move_edge(count + window, next),
                None => self.edges[count + window].end = None, // Finished.
            }
        }
    }

    /// Whether at least `count` more windows of this size are certain to close, with ends
    /// up to `until`: the boards of this one would be pushed out as soon as they were written.
    pub fn is_superseded(&self, closing: Closing, count: usize, until: EventTime) -> bool {
        let Window { size, closed_step: step, .. } = self.definitions.windows[closing.window];
        let mut end = closing.end;
        for _ in 0..count {
            end += step;
            if self.first_pane_from(end - size).is_none_or(|start| start >= end) {
                let Some(next) = self.first_pane_from(end) else { return false };
                end = next.next_multiple(step);
            }
            if end > until {
                return false;
            }
        }
        true
    }

    fn first_pane_from(&self, time: EventTime) -> Option<EventTime> {
        let first = |level: &Level| level.panes.range(time..).next().map(|(&start, _)| start);
        self.levels.iter().filter_map(first).min()
    }

    /// Moves the closed edge past a window that was emitted.
    pub fn closed(&mut self, closing: Closing) {
        let step = self.definitions.windows[closing.window].closed_step;
        self.move_edge(self.definitions.windows.len() + closing.window, closing.end + step);
    }

    /// Puts closed edges that have no place yet at the first window with a record, or the
    /// first that can still gain one.
    fn start_closed_edges(&mut self, group_watermark: EventTime) {
        let count = self.definitions.windows.len();
        let unplaced = |edges: &[Edge]| edges[count..].iter().all(|edge| edge.end.is_none());
        if !unplaced(&self.edges) {
            return;
        }
        let Some(first) = self.levels.iter().filter_map(|level| level.panes.keys().next()).min()
        else {
            return;
        };
        let first = *first;
        for window in 0..count {
            let step = self.definitions.windows[window].closed_step;
            let end = first.next_multiple(step).min(group_watermark.next_multiple(step));
            self.move_edge(count + window, end);
        }
    }

    /// Where the closed edge goes from an empty window: to the next that holds a record, but
    /// not beyond the first that the group watermark has not reached. `None`: there is none.
    fn end_of_next_content(
        &self,
        window: usize,
        end: EventTime,
        group_watermark: EventTime,
    ) -> Option<EventTime> {
        let step = self.definitions.windows[window].closed_step;
        let next_content = self.first_pane_from(end).map(|start| start.next_multiple(step));
        if group_watermark == EventTime::MAX {
            return next_content;
        }
        let first_open = group_watermark.next_multiple(step);
        Some(next_content.map_or(first_open, |next| next.min(first_open)))
    }

    /// Moves an edge forward; its columns stay.
    fn move_edge(&mut self, edge: usize, end: EventTime) {
        let Self { levels, edges, .. } = self;
        let Edge { size, level, end: old_end, totals, .. } = &mut edges[edge];
        let Move { leaving, entering } = Move::new(*size, *old_end, end);
        *old_end = Some(end);
        for level in &levels[..=*level] {
            for (_, pane) in level.panes.range(leaving.clone()) {
                totals.subtract(&pane.totals);
            }
            for (_, pane) in level.panes.range(entering.clone()) {
                totals.add(&pane.totals);
            }
        }
    }

    /// Lets the columns follow their edge: panes that it left are subtracted, panes that it
    /// reached added.
    fn move_columns(&mut self, edge: usize) {
        let Self { levels, columns, edges, entities, .. } = self;
        let Edge { size, level, end, columns_end, .. } = &mut edges[edge];
        let Some(end) = *end else { return };
        let Move { leaving, entering } = Move::new(*size, *columns_end, end);
        *columns_end = Some(end);
        for level in &mut levels[..=*level] {
            for cell in level.panes.range(leaving.clone()).flat_map(|(_, pane)| pane.cells()) {
                columns[usize::from(cell.series)].subtract(cell.entity, cell.amount, edge);
            }
            for (_, pane) in level.panes.range_mut(entering.clone()) {
                if !pane.is_combined() {
                    Arc::make_mut(pane).combine(|cell| release_cell(entities, cell));
                }
                for cell in pane.cells() {
                    columns[usize::from(cell.series)].add(cell.entity, cell.amount, edge);
                }
            }
        }
    }

    /// Rolls fine panes up into coarse ones and drops what no window can need. Returns the
    /// oldest event time still needed.
    pub fn roll_up(&mut self) -> Option<EventTime> {
        let last = self.levels.len() - 1;
        for number in 0..=last {
            let needed_from = self
                .edges
                .iter()
                .filter(|edge| edge.level <= number)
                .map(Edge::start)
                .min()
                .flatten()?;
            let Self { levels, entities, changes, .. } = self;
            let mut release = |cell: PaneCell| release_cell(entities, cell);
            if number == last {
                let width = levels[last].width;
                for pane in levels[last].take_before(needed_from.floor(width)).into_values() {
                    pane.cells().iter().copied().for_each(&mut release);
                }
                return Some(needed_from);
            }
            let coarse_width = levels[number + 1].width;
            let rolled = levels[number].take_before(needed_from.floor(coarse_width));
            let coarse = &mut levels[number + 1];
            let mut touched: Option<EventTime> = None;
            for (start, pane) in rolled {
                if start < coarse.rolled_to {
                    pane.cells().iter().copied().for_each(&mut release);
                    continue;
                }
                let target = start.floor(coarse_width);
                if let Some(done) = touched.filter(|&done| done != target) {
                    coarse.pane_mut(done).combine(&mut release);
                }
                touched = Some(target);
                let target = coarse.pane_mut(target);
                *changes += 1;
                target.changed = *changes;
                target.absorb(pane);
            }
            if let Some(done) = touched {
                coarse.pane_mut(done).combine(&mut release);
            }
        }
        None
    }

    pub fn latest_totals(&self, window: usize) -> &Totals {
        &self.edges[window].totals
    }

    pub fn closed_totals(&self, window: usize) -> &Totals {
        &self.edges[self.definitions.windows.len() + window].totals
    }

    /// The boards at a window's latest edge, and all metrics of every entity on one of them.
    pub fn latest(&mut self, window: usize) -> (Vec<BoardView>, Vec<EntityView>) {
        let rows = self.read_boards(window);
        (self.board_views(&rows), self.entity_views(&rows, window))
    }

    /// The boards at a window's closed edge.
    pub fn closed_boards(&mut self, window: usize) -> Vec<BoardView> {
        let rows = self.read_boards(self.definitions.windows.len() + window);
        self.board_views(&rows)
    }

    /// By board: (entity, value), best first.
    fn read_boards(&mut self, edge: usize) -> Vec<Vec<(u32, u64)>> {
        self.move_columns(edge);
        let Self { definitions, columns, entities, .. } = self;
        let read = |board: &Board| {
            let names = &entities[board.dimension];
            columns[usize::from(series(board.dimension, board.metric))]
                .board(edge, |entity| names.name(entity).as_bytes())
        };
        definitions.boards.iter().map(read).collect()
    }

    fn board_views(&self, boards: &[Vec<(u32, u64)>]) -> Vec<BoardView> {
        let view = |(board, rows): (&Board, &Vec<(u32, u64)>)| {
            let names = &self.entities[board.dimension];
            BoardView {
                dimension: board.dimension,
                metric: board.metric,
                rows: rows.iter().map(|&(e, value)| (names.name(e).clone(), value)).collect(),
            }
        };
        self.definitions.boards.iter().zip(boards).map(view).collect()
    }

    fn entity_views(&self, boards: &[Vec<(u32, u64)>], edge: usize) -> Vec<EntityView> {
        let mut on_boards: Vec<(usize, u32)> = self
            .definitions
            .boards
            .iter()
            .zip(boards)
            .flat_map(|(board, rows)| rows.iter().map(|&(entity, _)| (board.dimension, entity)))
            .collect();
        on_boards.sort_unstable();
        on_boards.dedup();
        let view = |(dimension, entity): (usize, u32)| EntityView {
            dimension,
            name: self.entities[dimension].name(entity).clone(),
            metrics: Metric::ALL.map(|metric| {
                self.columns[usize::from(series(dimension, metric))].value(entity, edge)
            }),
        };
        on_boards.into_iter().map(view).collect()
    }

    pub fn entities(&self, dimension: usize) -> &Entities {
        &self.entities[dimension]
    }

    pub fn entities_mut(&mut self, dimension: usize) -> &mut Entities {
        &mut self.entities[dimension]
    }

    /// Panes kept, by level.
    pub fn panes(&self) -> impl Iterator<Item = usize> {
        self.levels.iter().map(|level| level.panes.len())
    }

    /// Heap bytes of panes, columns and names.
    pub fn bytes(&self) -> usize {
        self.levels.iter().map(Level::bytes).sum::<usize>()
            + self.columns.iter().map(Column::bytes).sum::<usize>()
            + self.entities.iter().map(Entities::bytes).sum::<usize>()
    }
}

/// Whether a cell of this series stands for records (and not for units or money).
fn counts_records(series: u16) -> bool {
    let metric = usize::from(series) % Metric::COUNT;
    metric <= Metric::Orders as usize
}

fn release_cell(entities: &mut [Entities], cell: PaneCell) {
    entities[usize::from(cell.series) / Metric::COUNT].release(cell.entity);
}
