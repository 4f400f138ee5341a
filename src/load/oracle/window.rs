//! The truth about one window, recounted from the facts that lie in it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::definitions::{Board, Definitions, Metric, Window};
use super::facts::{Effect, Fact, Facts, NONE};
use super::registers::Registers;
use crate::load::kind::Kind;

/// Sums over the applied records of a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub events: u64,
    pub clicks: u64,
    pub wishlists: u64,
    pub wishlist_removes: u64,
    pub orders: u64,
    pub units: u64,
    pub revenue_minor: u64,
    pub foreign_revenue_minor: BTreeMap<String, u64>,
    pub order_status: BTreeMap<&'static str, u64>,
}

/// Whose users a sketch counts: those of a kind, or of a kind within an entity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SketchOf {
    pub kind: Kind,
    /// (dimension, name)
    pub entity: Option<(usize, String)>,
}

/// What the views of one window `[start, end)` must say.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    pub start_ms: i64,
    pub end_ms: i64,
    pub totals: Totals,
    /// By board of the definitions: score descending, then name bytes descending, cut at its top.
    pub boards: Vec<Vec<(String, u64)>>,
    /// Sketches with at least one user.
    pub sketches: BTreeMap<SketchOf, Registers>,
}

impl Truth {
    /// Users of any kind.
    pub fn users(&self) -> Registers {
        let mut union = Registers::default();
        for kind in Kind::WITH_USERS {
            if let Some(registers) = self.sketches.get(&SketchOf { kind, entity: None }) {
                union.merge(registers);
            }
        }
        union
    }

    /// The numbers of the history entry and of the latest totals by field name. Fields that
    /// are 0 may be missing from what is published, `conversion` only without clicks.
    pub fn fields(&self) -> BTreeMap<String, u64> {
        let totals = &self.totals;
        let mut fields: BTreeMap<String, u64> = [
            ("events", totals.events),
            ("clicks", totals.clicks),
            ("wishlists", totals.wishlists),
            ("wishlist_removes", totals.wishlist_removes),
            ("orders", totals.orders),
            ("units", totals.units),
            ("revenue_minor", totals.revenue_minor),
            ("uniques", self.users().estimate()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        for kind in Kind::WITH_USERS {
            let sketch = self.sketches.get(&SketchOf { kind, entity: None });
            let users = sketch.map_or(0, Registers::estimate);
            fields.insert(format!("uniques.{}", kind.name()), users);
        }
        for (currency, revenue) in &totals.foreign_revenue_minor {
            fields.insert(format!("revenue_minor.{currency}"), *revenue);
        }
        for (status, count) in &totals.order_status {
            fields.insert(format!("orders.{status}"), *count);
        }
        // Basis points, rounded down; nothing to say without clicks.
        if let Some(conversion) = (10_000 * totals.orders).checked_div(totals.clicks) {
            fields.insert("conversion".into(), conversion);
        }
        fields
    }
}

/// The ends of the closed windows that the log demands: every multiple of the closed step
/// whose window holds at least one applied record. Ascending.
pub fn demanded_ends(window: &Window, facts: &Facts) -> Vec<i64> {
    let (Some(first), Some(last)) = (facts.facts.first(), facts.facts.last()) else {
        return Vec::new();
    };
    let step = window.closed_step_ms;
    let mut ends = Vec::new();
    let mut end = (first.time_ms.div_euclid(step) + 1) * step;
    while end - window.size_ms <= last.time_ms {
        if !facts.between(end - window.size_ms, end).is_empty() {
            ends.push(end);
        }
        end += step;
    }
    ends
}

/// Counts one window after the other; keeps its tables between them, emptied.
pub struct Counter<'a> {
    definitions: &'a Definitions,
    facts: &'a Facts,
    /// By dimension and entity: sums by metric.
    sums: Vec<Vec<[u64; Metric::COUNT]>>,
    /// By dimension: entities with a sum.
    touched: Vec<Vec<u32>>,
    by_kind: [Registers; 3],
    /// By kind × dimension × entity, for the dimensions with distinct users.
    by_entity: [Vec<Vec<Option<Registers>>>; 3],
}

impl<'a> Counter<'a> {
    pub fn new(definitions: &'a Definitions, facts: &'a Facts) -> Self {
        let sums = facts.names.iter().map(|names| vec![[0; Metric::COUNT]; names.len()]).collect();
        Self {
            definitions,
            facts,
            sums,
            touched: vec![Vec::new(); facts.names.len()],
            by_kind: Default::default(),
            by_entity: Default::default(),
        }
    }

    /// The window of this size that ends at `end_ms`, over the facts that `counts` lets in.
    pub fn count(&mut self, window: &Window, end_ms: i64, counts: impl Fn(&Fact) -> bool) -> Truth {
        self.clear();
        let start_ms = end_ms - window.size_ms;
        let mut totals = Totals::default();
        for fact in self.facts.between(start_ms, end_ms).iter().filter(|fact| counts(fact)) {
            self.add(fact, &mut totals);
        }
        Truth {
            start_ms,
            end_ms,
            totals,
            boards: self.definitions.boards.iter().map(|board| self.board(board)).collect(),
            sketches: self.sketches(),
        }
    }

    fn clear(&mut self) {
        for (sums, touched) in self.sums.iter_mut().zip(&mut self.touched) {
            touched.drain(..).for_each(|entity| sums[entity as usize] = [0; Metric::COUNT]);
        }
        self.by_kind = Default::default();
        let by_entity = || {
            let dimensions = self.definitions.dimensions.iter().zip(&self.facts.names);
            dimensions
                .map(|(dimension, names)| {
                    vec![None; if dimension.uniques { names.len() } else { 0 }]
                })
                .collect()
        };
        self.by_entity = [by_entity(), by_entity(), by_entity()];
    }

    fn add(&mut self, fact: &Fact, totals: &mut Totals) {
        totals.events += 1;
        let (total, metric) = match fact.what {
            Effect::Click => (&mut totals.clicks, Some(Metric::Clicks)),
            Effect::WishlistAdd => (&mut totals.wishlists, Some(Metric::Wishlists)),
            Effect::WishlistRemove => (&mut totals.wishlist_removes, None),
            Effect::Purchase | Effect::ForeignPurchase(_) => {
                (&mut totals.orders, Some(Metric::Orders))
            }
            Effect::Status(status) => (totals.order_status.entry(status).or_default(), None),
        };
        *total += 1;
        let Some(metric) = metric else { return };
        for line in 0..fact.lines {
            let (entities, units, revenue) = self.facts.line(fact, line);
            totals.units += units;
            let mut board_revenue = revenue;
            if let Effect::ForeignPurchase(currency) = fact.what {
                let currency = self.facts.currencies[currency as usize].clone();
                *totals.foreign_revenue_minor.entry(currency).or_default() += revenue;
                board_revenue = 0;
            }
            totals.revenue_minor += board_revenue;
            for (dimension, &entity) in entities.iter().enumerate() {
                if entity == NONE {
                    continue;
                }
                let sums = &mut self.sums[dimension][entity as usize];
                if sums.iter().all(|&sum| sum == 0) {
                    self.touched[dimension].push(entity);
                }
                // A record is one click, one wish or one order for each entity that it
                // touches, however many of its lines touch it.
                let is_again =
                    (0..line).any(|line| self.facts.line(fact, line).0[dimension] == entity);
                sums[metric as usize] += u64::from(!is_again);
                sums[Metric::Units as usize] += units;
                sums[Metric::RevenueMinor as usize] += board_revenue;
                self.add_user(fact, dimension, entity);
            }
        }
        if let (Some(user), Some(kind)) = (fact.user, fact.what.kind_of_user()) {
            self.by_kind[kind as usize].add(user);
        }
    }

    fn add_user(&mut self, fact: &Fact, dimension: usize, entity: u32) {
        if self.definitions.dimensions[dimension].uniques
            && let (Some(user), Some(kind)) = (fact.user, fact.what.kind_of_user())
        {
            let sketch = &mut self.by_entity[kind as usize][dimension][entity as usize];
            sketch.get_or_insert_default().add(user);
        }
    }

    fn board(&self, board: &Board) -> Vec<(String, u64)> {
        let Some(dimension) = self.definitions.dimension(&board.dimension) else {
            return Vec::new();
        };
        let (sums, names) = (&self.sums[dimension], &self.facts.names[dimension]);
        let score = |entity: u32| sums[entity as usize][board.metric as usize];
        let mut entities: Vec<u32> = self.touched[dimension].clone();
        entities.retain(|&entity| score(entity) > 0);
        // Whoever scores less than the last place cannot be on the board; those who tie with
        // it may be, by their names.
        if (1..entities.len()).contains(&board.top) {
            let (_, &mut last, _) = entities
                .select_nth_unstable_by_key(board.top - 1, |&entity| Reverse(score(entity)));
            let least = score(last);
            entities.retain(|&entity| score(entity) >= least);
        }
        // `str` compares by bytes, as Redis does.
        let mut rows: Vec<(u64, &str)> =
            entities.into_iter().map(|entity| (score(entity), names.get(entity))).collect();
        rows.sort_unstable_by_key(|&row| Reverse(row));
        rows.truncate(board.top);
        rows.into_iter().map(|(score, name)| (name.to_owned(), score)).collect()
    }

    fn sketches(&self) -> BTreeMap<SketchOf, Registers> {
        let mut sketches = BTreeMap::new();
        for kind in Kind::WITH_USERS {
            let all = &self.by_kind[kind as usize];
            if *all != Registers::default() {
                sketches.insert(SketchOf { kind, entity: None }, all.clone());
            }
            for (dimension, entities) in self.by_entity[kind as usize].iter().enumerate() {
                for (entity, registers) in entities.iter().enumerate() {
                    if let Some(registers) = registers {
                        let name = self.facts.names[dimension].get(entity as u32).to_owned();
                        let of = SketchOf { kind, entity: Some((dimension, name)) };
                        sketches.insert(of, registers.clone());
                    }
                }
            }
        }
        sketches
    }
}
