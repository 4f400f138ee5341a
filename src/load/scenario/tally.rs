//! What a scenario leads to, counted minute by minute while its records are made.
//!
//! Of each minute that a 1m window covers, the few figures are kept that statements are made of; what
//! they come from (a score for every product, a set of users) is forgotten once no more record of
//! that minute can come. Memory therefore goes with the traffic of a few minutes, not with the run.
//!
//! Where the daemon's configuration decides whether a record counts (a duplicate), or a field may be
//! missing (a drifted record), a figure is a span: the least that it can be, and the most.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::cast::MINUTE_MS;
use super::{Scenario, Script};
use crate::load::catalogue::Catalogue;
use crate::load::shopper::{Action, Deed};
use crate::load::workload::WorkloadConfig;

/// What a tally has to know of a record that may be applied.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    pub event_time_ms: i64,
    /// It is applied whatever the daemon is asked for, and says all that it should.
    pub is_sure: bool,
    pub deed: Deed,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub least: u64,
    pub most: u64,
}

impl Span {
    fn add(&mut self, count: u64, is_sure: bool) {
        self.most += count;
        self.least += if is_sure { count } else { 0 };
    }

    /// From the least of both to the most of both.
    pub fn around(self, other: Span) -> Span {
        Span { least: self.least.min(other.least), most: self.most.max(other.most) }
    }
}

/// What entities are ranked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    ProductClicks,
    ProductOrders,
    SellerClicks,
    SellerOrders,
}

impl Board {
    /// Those on which the scenario shows.
    fn of(scenario: Scenario) -> &'static [Board] {
        match scenario {
            Scenario::FlashSale => &[Board::ProductClicks, Board::ProductOrders],
            Scenario::HotSeller => &[Board::SellerClicks, Board::SellerOrders],
            Scenario::BotAttack => &[Board::ProductClicks],
            Scenario::BlackFriday | Scenario::Night => &[],
        }
    }

    fn is_of_products(self) -> bool {
        matches!(self, Board::ProductClicks | Board::ProductOrders)
    }

    fn counts_orders(self) -> bool {
        matches!(self, Board::ProductOrders | Board::SellerOrders)
    }
}

/// Sums over the records of a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub events: Span,
    pub clicks: Span,
    pub orders: Span,
    pub units: Span,
}

/// A minute that has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minute {
    pub end_ms: i64,
    pub sums: Sums,
    /// Distinct users who clicked.
    pub users: Span,
    /// By board of the scenario.
    pub standings: Vec<Standing>,
    /// By product of the cast: distinct users who clicked on it. Only of an attack.
    pub fans: Vec<Span>,
}

/// Where the cast stands on a board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub board: Board,
    /// By product of the cast, or of its seller.
    pub cast: Vec<Span>,
    /// The most that anybody else may have.
    pub others_most: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Users {
    sure: HashSet<u32>,
    /// Of records that may not count.
    unsure: HashSet<u32>,
}

impl Users {
    fn add(&mut self, user: u32, is_sure: bool) {
        if is_sure {
            self.sure.insert(user);
        } else {
            self.unsure.insert(user);
        }
    }

    fn count(&self) -> Span {
        let others = self.unsure.difference(&self.sure).count();
        Span { least: self.sure.len() as u64, most: (self.sure.len() + others) as u64 }
    }
}

/// A minute that records may still come of.
#[derive(Clone, Debug, Default, PartialEq)]
struct Open {
    sums: Sums,
    users: Users,
    scores: Vec<HashMap<u32, Span>>,
    fans: Vec<Users>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tally {
    pub script: Script,
    catalogue: Catalogue,
    /// The start of the schedule.
    pub(super) start_ms: i64,
    boards: &'static [Board],
    /// By their ends.
    open: BTreeMap<i64, Open>,
    passed: Vec<Minute>,
    /// No record's event time lies further behind one that has been made before it.
    behind_max_ms: i64,
    newest_ms: i64,
}

impl Tally {
    /// Of a workload with a scenario.
    pub fn of(config: &WorkloadConfig) -> Option<Self> {
        let catalogue = Catalogue::new(config.products, config.categories, config.sellers);
        let script = Script::of(config, &catalogue)?;
        let reorder_ms = config.inject.reorder.max_ms;
        let copies_ms = config.rules.lateness_ms.saturating_add(config.rules.base_pane_ms);
        Some(Self {
            boards: Board::of(script.play.scenario),
            script,
            catalogue,
            start_ms: config.schedule.start_ms,
            open: BTreeMap::new(),
            passed: Vec::new(),
            behind_max_ms: reorder_ms.max(copies_ms),
            newest_ms: i64::MIN,
        })
    }

    pub fn note(&mut self, trace: &Trace) {
        let &Trace { event_time_ms, is_sure, deed: Deed { user, action, .. } } = trace;
        let end_ms = (event_time_ms.div_euclid(MINUTE_MS) + 1) * MINUTE_MS;
        if event_time_ms > self.newest_ms {
            self.newest_ms = event_time_ms;
            self.pass();
        }
        let (boards, fans) = (self.boards.len(), self.script.cast.bots.len().min(1));
        let minute = self.open.entry(end_ms).or_insert_with(|| Open {
            scores: vec![HashMap::new(); boards],
            fans: vec![Users::default(); fans * self.script.cast.products.len()],
            ..Open::default()
        });
        minute.sums.events.add(1, is_sure);
        match action {
            Action::Click { product } => {
                minute.sums.clicks.add(1, is_sure);
                minute.users.add(user, is_sure);
                let wanted = self.script.cast.products.iter().position(|&one| one == product);
                if let Some(fans) = wanted.and_then(|at| minute.fans.get_mut(at)) {
                    fans.add(user, is_sure);
                }
                for (board, scores) in self.boards.iter().zip(&mut minute.scores) {
                    if !board.counts_orders() {
                        let entity = entity(*board, &self.catalogue, product);
                        scores.entry(entity).or_default().add(1, is_sure);
                    }
                }
            }
            Action::Purchase { lines, .. } => {
                minute.sums.orders.add(1, is_sure);
                let units = lines.iter().map(|line| u64::from(line.quantity)).sum();
                minute.sums.units.add(units, is_sure);
                for (board, scores) in self.boards.iter().zip(&mut minute.scores) {
                    let of = |at: usize| entity(*board, &self.catalogue, lines[at].product);
                    // However many of its lines touch an entity, it is one order.
                    let is_first = |at: usize| !(0..at).any(|before| of(before) == of(at));
                    for at in (0..lines.len()).filter(|&at| board.counts_orders() && is_first(at)) {
                        // A line may say nothing of its seller, and so have that of the first one.
                        let is_sure = is_sure && (at == 0 || board.is_of_products());
                        scores.entry(of(at)).or_default().add(1, is_sure);
                    }
                }
            }
            Action::Wishlist { .. } | Action::Status { .. } => {}
        }
    }

    /// All minutes with a record, by their ends.
    pub fn minutes(&self) -> Vec<Minute> {
        let open = self.open.iter().map(|(&end_ms, open)| self.passed(end_ms, open));
        self.passed.iter().cloned().chain(open).collect()
    }

    /// Forgets what minutes are made of that no record can come of any more.
    fn pass(&mut self) {
        while let Some(entry) = self.open.first_entry()
            && entry.key().saturating_add(self.behind_max_ms) < self.newest_ms
        {
            let (end_ms, open) = entry.remove_entry();
            let minute = self.passed(end_ms, &open);
            self.passed.push(minute);
        }
    }

    fn passed(&self, end_ms: i64, open: &Open) -> Minute {
        let standing = |(&board, scores): (&Board, &HashMap<u32, Span>)| {
            let cast: Vec<u32> = match board.is_of_products() {
                true => self.script.cast.products.clone(),
                false => self.script.cast.seller.into_iter().collect(),
            };
            let others = scores.iter().filter(|(entity, _)| !cast.contains(entity));
            let others_most = others.map(|(_, score)| score.most).max().unwrap_or(0);
            let score = |entity| scores.get(entity).copied().unwrap_or_default();
            Standing { board, cast: cast.iter().map(score).collect(), others_most }
        };
        Minute {
            end_ms,
            sums: open.sums,
            users: open.users.count(),
            standings: self.boards.iter().zip(&open.scores).map(standing).collect(),
            fans: open.fans.iter().map(Users::count).collect(),
        }
    }
}

fn entity(board: Board, catalogue: &Catalogue, product: u32) -> u32 {
    if board.is_of_products() { product } else { catalogue.seller_of(product) }
}
