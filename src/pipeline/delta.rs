//! The open delta of one partition: what its records contributed since the last delivery.
//!
//! The owner's thread appends; nothing is shared, and in the steady state nothing is
//! allocated per record. A record's amounts go into the cells that were opened last for its
//! entities, if those are of its pane. So an entity has one cell in a pane as long as records
//! come in order, seldom a few when they do not; the same range of offsets gives the same
//! cells however it was cut into batches.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::event::{Effect, Event, Kind, Line, Metric};
use crate::pipeline::definitions::Definitions;
use crate::pipeline::delivery::{Cell, Cells, Names, PaneCells, SketchKey, UserMark, series};
use crate::pipeline::hll;
use crate::time::EventTime;

/// Collects the cells of one partition until they are handed over.
pub struct Delta {
    dimensions: Vec<DimensionNames>,
    hasher: DefaultHashBuilder,
    sketch_numbers: HashMap<SketchKey, u32>,
    sketches: Vec<SketchKey>,
    panes: Vec<PaneCells>,
    pane_numbers: HashMap<i64, usize>,
    /// The pane of the last record, where the next one most often belongs.
    recent_pane: usize,
    cells: usize,
}

/// The names of one dimension seen since the last delivery.
struct DimensionNames {
    names: Names,
    numbers: HashTable<u32>,
    /// By metric and entity: the cell opened last.
    open: [Vec<OpenCell>; Metric::COUNT],
    /// Whether users are counted per entity.
    uniques: bool,
}

/// Where a cell is: its pane, and its place there.
#[derive(Clone, Copy)]
struct OpenCell {
    pane: u32,
    cell: u32,
}

impl OpenCell {
    const NONE: Self = Self { pane: u32::MAX, cell: 0 };
}

impl Delta {
    pub fn new(definitions: &Definitions) -> Self {
        Self {
            dimensions: definitions
                .dimensions
                .iter()
                .map(|dimension| DimensionNames {
                    names: Names::default(),
                    numbers: HashTable::new(),
                    open: Default::default(),
                    uniques: dimension.uniques,
                })
                .collect(),
            hasher: DefaultHashBuilder::default(),
            sketch_numbers: HashMap::new(),
            sketches: Vec::new(),
            panes: Vec::new(),
            pane_numbers: HashMap::new(),
            recent_pane: 0,
            cells: 0,
        }
    }

    /// Adds an applied record to the base pane that starts at `pane_start`.
    pub fn apply(&mut self, event: &Event<'_>, pane_start: EventTime) {
        let pane = self.pane(pane_start);
        self.panes[pane].totals.events += 1;
        match event.effect {
            Effect::Click(line) => {
                self.panes[pane].totals.clicks += 1;
                self.touch(pane, event, Kind::Click, std::slice::from_ref(line), Metric::Clicks);
            }
            Effect::WishlistAdd(line) => {
                self.panes[pane].totals.wishlists += 1;
                let lines = std::slice::from_ref(line);
                self.touch(pane, event, Kind::Wishlist, lines, Metric::Wishlists);
            }
            Effect::WishlistRemove => self.panes[pane].totals.wishlist_removes += 1,
            Effect::Purchase { lines, foreign_currency } => {
                self.purchase(pane, event, lines, foreign_currency);
            }
            Effect::OrderStatus(status) => {
                self.panes[pane].totals.order_status[status as usize] += 1;
            }
        }
    }

    fn purchase(
        &mut self,
        pane: usize,
        event: &Event<'_>,
        lines: &[Line<'_>],
        foreign_currency: Option<&str>,
    ) {
        let units: u64 = lines.iter().map(|line| line.units).sum();
        let revenue: u64 = lines.iter().map(|line| line.revenue_minor).sum();
        let totals = &mut self.panes[pane].totals;
        totals.orders += 1;
        totals.units += units;
        match foreign_currency {
            None => totals.revenue_minor += revenue,
            Some(currency) => totals.add_foreign_revenue(currency, revenue),
        }
        self.touch(pane, event, Kind::Purchase, lines, Metric::Orders);
        for line in lines {
            for dimension in 0..self.dimensions.len() {
                let Some(name) = line.entities[dimension] else { continue };
                let entity = self.entity(dimension, name);
                self.push(pane, dimension, Metric::Units, entity, line.units);
                if foreign_currency.is_none() && line.revenue_minor > 0 {
                    self.push(pane, dimension, Metric::RevenueMinor, entity, line.revenue_minor);
                }
            }
        }
    }

    /// Counts the record once for each entity that its lines touch, and its user for the kind
    /// and for each entity with distinct counts.
    fn touch(
        &mut self,
        pane: usize,
        event: &Event<'_>,
        kind: Kind,
        lines: &[Line<'_>],
        metric: Metric,
    ) {
        let mark = event.user_id.map(|user| hll::mark(user.as_bytes()));
        if let Some((register, rank)) = mark {
            let sketch = self.sketch(SketchKey { kind, entity: None });
            self.panes[pane].users.push(UserMark { sketch, register, rank });
        }
        for dimension in 0..self.dimensions.len() {
            for (number, line) in lines.iter().enumerate() {
                let Some(name) = line.entities[dimension] else { continue };
                // Orders have few lines: looking back costs less than a set of what was seen.
                if lines[..number].iter().any(|earlier| earlier.entities[dimension] == Some(name)) {
                    continue;
                }
                let entity = self.entity(dimension, name);
                self.push(pane, dimension, metric, entity, 1);
                if let Some((register, rank)) = mark
                    && self.dimensions[dimension].uniques
                {
                    let key = SketchKey { kind, entity: Some((dimension as u16, entity)) };
                    let sketch = self.sketch(key);
                    self.panes[pane].users.push(UserMark { sketch, register, rank });
                }
            }
        }
    }

    fn push(&mut self, pane: usize, dimension: usize, metric: Metric, entity: u32, amount: u64) {
        let open = &mut self.dimensions[dimension].open[metric as usize];
        if open.len() <= entity as usize {
            open.resize(entity as usize + 1, OpenCell::NONE);
        }
        let open = &mut open[entity as usize];
        let cells = &mut self.panes[pane].cells;
        if open.pane as usize == pane
            && let Some(cell) = cells.get_mut(open.cell as usize)
        {
            cell.amount += amount;
            return;
        }
        self.cells += 1;
        *open = OpenCell { pane: pane as u32, cell: cells.len() as u32 };
        cells.push(Cell { series: series(dimension, metric), entity, amount });
    }

    fn pane(&mut self, start: EventTime) -> usize {
        let start_millis = start.millis();
        if self.panes.get(self.recent_pane).is_some_and(|pane| pane.start_millis == start_millis) {
            return self.recent_pane;
        }
        let panes = &mut self.panes;
        self.recent_pane = *self.pane_numbers.entry(start_millis).or_insert_with(|| {
            panes.push(PaneCells { start_millis, ..PaneCells::default() });
            panes.len() - 1
        });
        self.recent_pane
    }

    fn entity(&mut self, dimension: usize, name: &str) -> u32 {
        let hasher = &self.hasher;
        let DimensionNames { names, numbers, .. } = &mut self.dimensions[dimension];
        let hash = hasher.hash_one(name);
        if let Some(&number) = numbers.find(hash, |&number| names.get(number) == name) {
            return number;
        }
        let number = names.push(name);
        numbers.insert_unique(hash, number, |&number| hasher.hash_one(names.get(number)));
        number
    }

    fn sketch(&mut self, key: SketchKey) -> u32 {
        let sketches = &mut self.sketches;
        *self.sketch_numbers.entry(key).or_insert_with(|| {
            sketches.push(key);
            (sketches.len() - 1) as u32
        })
    }

    /// Bytes the delta occupies, by estimate: what bounds it between deliveries.
    pub fn bytes(&self) -> usize {
        let names: usize = self.dimensions.iter().map(|dimension| dimension.names.bytes()).sum();
        self.cells * (size_of::<Cell>() + size_of::<UserMark>())
            + self.panes.len() * size_of::<PaneCells>()
            + names
    }

    /// Hands over what was collected, pane by pane, and starts afresh.
    pub fn take(&mut self) -> Cells {
        let mut panes = std::mem::take(&mut self.panes);
        panes.sort_unstable_by_key(|pane| pane.start_millis);
        self.pane_numbers.clear();
        self.sketch_numbers.clear();
        self.cells = 0;
        let take_names = |dimension: &mut DimensionNames| {
            dimension.numbers.clear();
            dimension.open.iter_mut().for_each(Vec::clear);
            std::mem::take(&mut dimension.names)
        };
        Cells {
            names: self.dimensions.iter_mut().map(take_names).collect(),
            sketches: std::mem::take(&mut self.sketches),
            panes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::DIMENSIONS_MAX;
    use crate::pipeline::testing;

    fn line<'a>(product: &'a str, category: &'a str, units: u64, revenue_minor: u64) -> Line<'a> {
        let mut entities = [None; DIMENSIONS_MAX];
        entities[0] = Some(product);
        entities[1] = Some(category);
        Line { entities, units, revenue_minor }
    }

    fn event<'a>(user: &'a str, effect: Effect<'a>) -> Event<'a> {
        Event { time: EventTime::from_millis(0), event_id: None, user_id: Some(user), effect }
    }

    fn amounts(cells: &Cells, dimension: usize, metric: Metric) -> Vec<(&str, u64)> {
        let number = series(dimension, metric);
        cells.panes[0]
            .cells
            .iter()
            .filter(|cell| cell.series == number)
            .map(|cell| (cells.names[dimension].get(cell.entity), cell.amount))
            .collect()
    }

    #[test]
    fn an_order_counts_once_for_each_entity_it_touches() {
        let mut delta = Delta::new(&testing::definitions());
        let lines =
            [line("p1", "shoes", 2, 300), line("p2", "shoes", 1, 50), line("p1", "shoes", 1, 100)];
        let purchase = Effect::Purchase { lines: &lines, foreign_currency: None };
        delta.apply(&event("u", purchase), EventTime::from_millis(0));
        let cells = delta.take();
        assert_eq!(amounts(&cells, 0, Metric::Orders), [("p1", 1), ("p2", 1)]);
        assert_eq!(amounts(&cells, 0, Metric::Units), [("p1", 3), ("p2", 1)]);
        assert_eq!(amounts(&cells, 0, Metric::RevenueMinor), [("p1", 400), ("p2", 50)]);
        assert_eq!(amounts(&cells, 1, Metric::Orders), [("shoes", 1)]);
        let totals = &cells.panes[0].totals;
        assert_eq!(
            (totals.events, totals.orders, totals.units, totals.revenue_minor),
            (1, 1, 4, 450)
        );
    }

    #[test]
    fn foreign_revenue_is_on_no_board() {
        let mut delta = Delta::new(&testing::definitions());
        let lines = [line("p1", "shoes", 1, 700)];
        let purchase = Effect::Purchase { lines: &lines, foreign_currency: Some("EUR") };
        delta.apply(&event("u", purchase), EventTime::from_millis(0));
        let cells = delta.take();
        assert_eq!(amounts(&cells, 0, Metric::RevenueMinor), []);
        assert_eq!(amounts(&cells, 0, Metric::Units), [("p1", 1)]);
        assert_eq!(cells.panes[0].totals.foreign_revenue, [("EUR".into(), 700)]);
    }

    #[test]
    fn a_taken_delta_starts_afresh_and_combines() {
        let mut delta = Delta::new(&testing::definitions());
        let shoes = line("p1", "shoes", 0, 0);
        for start in [1000, 1000, 0] {
            delta.apply(&event("u", Effect::Click(&shoes)), EventTime::from_millis(start));
        }
        let cells = delta.take();
        assert_eq!(cells.panes.iter().map(|pane| pane.start_millis).collect::<Vec<_>>(), [0, 1000]);
        assert_eq!(cells.panes[1].cells.len(), 2, "one cell for the product, one for the category");
        assert_eq!(cells.panes[1].cells[0].amount, 2);
        assert_eq!(cells.panes[0].users.len(), 2, "the kind's sketch and the category's");
        assert_eq!(delta.take(), Cells { names: vec![Names::default(); 3], ..Cells::default() });
        assert_eq!(delta.bytes(), 0);
    }
}
