//! Who does what, when: sessions of shoppers and the orders they leave behind.
//!
//! Anchors (published storefront traces): gaps within a session have a median of 54 s and
//! look log-normal; sessions have a median of 3 events, p75 7, p90 15; the mix is about
//! 90 clicks to 4.5 wishlist events to 2.3 purchases. The funnel leaks: only half of the
//! purchases concern something that was looked at before, so click → wishlist → purchase
//! must not be the only path.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::catalogue::Catalogue;
use super::rng::{Rng, mix};
use super::scenario::{Cast, Mood};

const GAP_MEDIAN_MS: f64 = 54_000.0;
const GAP_SIGMA: f64 = 1.32;
/// A longer silence ends a session by the usual definition, so none is drawn.
const GAP_MAX_MS: f64 = 30.0 * 60_000.0;
const EVENTS_MEDIAN: f64 = 3.0;
const EVENTS_SIGMA: f64 = 1.18;
const EVENTS_MAX: f64 = 500.0;

const SHARE_WISHLIST_REMOVE: f64 = 0.15;
const SHARE_WISHED_AFTER_LOOKING: f64 = 0.75;
const SHARE_STAYS_IN_CATEGORY: f64 = 0.7;
/// An order has at most so many lines.
const LINES_MAX: usize = 5;
const SHARE_FOREIGN: f64 = 0.03;
const SHARE_SHIPPED_EARLY: f64 = 0.015;

/// Sessions open at once, over all strands. At high rates more would be due than memory should
/// hold: then a session goes on early, and gaps are shorter than the law says. Lower makes gaps
/// too short at lower rates, higher costs 64 bytes each.
const ACTORS_MAX: u64 = 1 << 19;

/// Steps of an order, in minutes rather than the days of real life: median of each step.
const STATUS_STEP_MEDIAN_MS: f64 = 45_000.0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub product: u32,
    pub quantity: u32,
}

/// The lines of an order, in place: an order is made, copied and forgotten without being allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lines {
    len: u8,
    lines: [Line; LINES_MAX],
}

impl Lines {
    /// Of more than [`LINES_MAX`] the first ones.
    pub fn of(lines: impl Iterator<Item = Line>) -> Self {
        let mut all = Self::default();
        for (at, line) in lines.take(LINES_MAX).enumerate() {
            all.lines[at] = line;
            all.len += 1;
        }
        all
    }
}

impl std::ops::Deref for Lines {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        &self.lines[..usize::from(self.len)]
    }
}

/// What a shopper does, before it has a time and a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Click { product: u32 },
    Wishlist { product: u32, remove: bool },
    Purchase { order: u64, lines: Lines, foreign: bool },
    Status { order: u64, seller: u32, status: &'static str },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deed {
    pub user: u32,
    pub session: u64,
    pub action: Action,
}

/// What is the matter in the shop right now.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    pub mood: Mood,
    pub cast: &'a Cast,
}

/// Someone whose turn will come.
#[derive(Clone, Copy, Debug)]
enum Actor {
    Shopper(Visit),
    Order(Order),
}

/// A session that goes on.
#[derive(Clone, Copy, Debug)]
struct Visit {
    user: u32,
    session: u64,
    /// Events still to come.
    left: u32,
    category: u32,
    /// The product looked at last.
    seen: Option<u32>,
}

/// An order on its way.
#[derive(Clone, Copy, Debug)]
struct Order {
    user: u32,
    session: u64,
    order: u64,
    seller: u32,
    step: u8,
    /// Shipped before anyone noted that it was processed.
    early: bool,
}

/// When whose turn comes: of equal times, whoever has waited longer. Small, because the heap moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    at_ms: i64,
    number: u32,
    /// Index into [`Shoppers::actors`].
    actor: u32,
}

/// An endless stream of deeds, asked for one at a time with the time it is. Of several strands each
/// has its own shoppers.
#[derive(Debug)]
pub struct Shoppers {
    rng: Rng,
    users: u32,
    order_status: bool,
    waiting: BinaryHeap<Reverse<Turn>>,
    actors: Vec<Actor>,
    /// Places in `actors` whose turn has passed.
    vacant: Vec<u32>,
    actors_max: usize,
    turns: u32,
    /// Numbers of sessions and orders: strands take every so many, so that all are distinct.
    sessions: u64,
    orders: u64,
    step: u64,
    salt: u64,
    /// For what only a scenario draws.
    scenes: Rng,
    /// Deeds of bots so far: every strand has all of them, and begins with another one.
    bot_turns: u64,
}

impl Shoppers {
    /// Those of one strand of several, counted from 0.
    pub fn new(seed: u64, (strand, strands): (u64, u64), users: u32, order_status: bool) -> Self {
        Self {
            rng: Rng::new(seed, 16 + strand),
            users: users.max(1),
            order_status,
            waiting: BinaryHeap::new(),
            actors: Vec::new(),
            vacant: Vec::new(),
            actors_max: (ACTORS_MAX / strands).max(1) as usize,
            turns: 0,
            sessions: strand,
            orders: strand,
            step: strands,
            salt: mix(seed),
            scenes: Cast::strand(seed, strand),
            bot_turns: strand,
        }
    }

    /// The next deed at `now_ms`: by someone whose turn has come, else by somebody new.
    pub fn next(&mut self, now_ms: i64, catalogue: &Catalogue, scene: Option<&Scene<'_>>) -> Deed {
        if let Some(scene) = scene
            && scene.mood.bots > 0.0
            && self.scenes.chance(scene.mood.bots)
            && let Some(deed) = self.crawl(scene.cast)
        {
            return deed;
        }
        match self.whose_turn(now_ms, catalogue) {
            Actor::Shopper(visit) => self.shop(now_ms, visit, catalogue, scene),
            Actor::Order(order) => self.ship(now_ms, order),
        }
    }

    /// A bot's click: they take turns, and each goes through its targets in order, in one session.
    fn crawl(&mut self, cast: &Cast) -> Option<Deed> {
        let count = cast.bots.len() as u64;
        let bot = self.bot_turns.checked_rem(count)?;
        let round = self.bot_turns / count;
        let target = round.checked_rem(cast.products.len() as u64)?;
        self.bot_turns += 1;
        let product = cast.products[target as usize];
        let session = mix(self.salt ^ u64::MAX ^ bot);
        Some(Deed { user: cast.bots[bot as usize], session, action: Action::Click { product } })
    }

    fn whose_turn(&mut self, now_ms: i64, catalogue: &Catalogue) -> Actor {
        let due = self.waiting.peek().is_some_and(|Reverse(turn)| turn.at_ms <= now_ms);
        if (due || self.waiting.len() >= self.actors_max)
            && let Some(Reverse(turn)) = self.waiting.pop()
        {
            self.vacant.push(turn.actor);
            return self.actors[turn.actor as usize];
        }
        self.sessions += self.step;
        // Some users come far more often than others.
        let at = self.rng.unit();
        let user = (f64::from(self.users) * at * at.sqrt()) as u32;
        let events = self.rng.lognormal(EVENTS_MEDIAN, EVENTS_SIGMA).round();
        Actor::Shopper(Visit {
            user: user.min(self.users - 1),
            session: mix(self.salt ^ self.sessions),
            left: events.clamp(1.0, EVENTS_MAX) as u32,
            category: catalogue.draw_category(&mut self.rng),
            seen: None,
        })
    }

    fn wait(&mut self, until_ms: i64, actor: Actor) {
        self.turns = self.turns.wrapping_add(1);
        let place = match self.vacant.pop() {
            Some(place) => {
                self.actors[place as usize] = actor;
                place
            }
            None => {
                self.actors.push(actor);
                self.actors.len() as u32 - 1
            }
        };
        self.waiting.push(Reverse(Turn { at_ms: until_ms, number: self.turns, actor: place }));
    }

    fn shop(
        &mut self,
        now_ms: i64,
        mut visit: Visit,
        catalogue: &Catalogue,
        scene: Option<&Scene<'_>>,
    ) -> Deed {
        let Visit { user, session, left, .. } = visit;
        let mood = scene.map_or(&Mood::ORDINARY, |scene| &scene.mood);
        let draw = self.rng.unit();
        let action = if draw < mood.purchase {
            self.buy(now_ms, &visit, catalogue, mood)
        } else if draw < mood.purchase + mood.wishlist {
            let product = self.known_or_new(&visit, SHARE_WISHED_AFTER_LOOKING, catalogue);
            Action::Wishlist { product, remove: self.rng.chance(SHARE_WISHLIST_REMOVE) }
        } else if let Some(product) = scene.and_then(|scene| self.pulled(scene)) {
            visit.category = catalogue.category_of(product);
            visit.seen = Some(product);
            Action::Click { product }
        } else {
            if !self.rng.chance(SHARE_STAYS_IN_CATEGORY) {
                visit.category = catalogue.draw_category(&mut self.rng);
            }
            let product = catalogue.draw_product(visit.category, &mut self.rng);
            visit.seen = Some(product);
            Action::Click { product }
        };
        if left > 1 {
            let gap = self.rng.lognormal(GAP_MEDIAN_MS, GAP_SIGMA).min(GAP_MAX_MS);
            self.wait(now_ms + gap as i64, Actor::Shopper(Visit { left: left - 1, ..visit }));
        }
        Deed { user, session, action }
    }

    /// What everybody looks at, if this one does too.
    fn pulled(&mut self, scene: &Scene<'_>) -> Option<u32> {
        let goes = scene.mood.pull > 0.0 && self.scenes.chance(scene.mood.pull);
        if goes { scene.cast.draw_product(&mut self.scenes) } else { None }
    }

    fn known_or_new(&mut self, visit: &Visit, share_known: f64, catalogue: &Catalogue) -> u32 {
        match visit.seen {
            Some(product) if self.rng.chance(share_known) => product,
            _ => {
                let category = if self.rng.chance(0.5) {
                    visit.category
                } else {
                    catalogue.draw_category(&mut self.rng)
                };
                catalogue.draw_product(category, &mut self.rng)
            }
        }
    }

    fn buy(&mut self, now_ms: i64, visit: &Visit, catalogue: &Catalogue, mood: &Mood) -> Action {
        self.orders += self.step;
        let order = mix(self.salt ^ self.orders.rotate_left(32));
        let count = if self.rng.chance(mood.many_lines) {
            self.rng.between(2, LINES_MAX as i64)
        } else {
            1
        };
        let lines = Lines::of((0..count).map(|_| Line {
            product: self.known_or_new(visit, mood.bought_after_looking, catalogue),
            quantity: if self.rng.chance(1.0 - mood.many_pieces) {
                1
            } else {
                self.rng.between(2, 6) as u32
            },
        }));
        if self.order_status {
            let seller = catalogue.seller_of(lines[0].product);
            let early = self.rng.chance(SHARE_SHIPPED_EARLY);
            let Visit { user, session, .. } = *visit;
            let first = Order { user, session, order, seller, step: 0, early };
            self.wait(now_ms + 200, Actor::Order(first));
        }
        Action::Purchase { order, lines, foreign: self.rng.chance(SHARE_FOREIGN) }
    }

    /// An order passes PENDING, PROCESSING, SHIPPED, DELIVERED; some are cancelled or come
    /// back, and some are shipped before anyone has noted that they were processed.
    fn ship(&mut self, now_ms: i64, on_its_way: Order) -> Deed {
        let Order { user, session, order, seller, step, early } = on_its_way;
        let status = match (step, early) {
            (0, _) => "PENDING",
            (1, _) if self.rng.chance(0.01) => "CANCELLED",
            (1, false) | (2, true) => "PROCESSING",
            (2, false) | (1, true) => "SHIPPED",
            (3, _) => "DELIVERED",
            _ => "RETURNED",
        };
        let ends = match status {
            "CANCELLED" | "RETURNED" => true,
            "DELIVERED" => !self.rng.chance(0.05),
            _ => false,
        };
        if !ends {
            let gap = self.rng.lognormal(STATUS_STEP_MEDIAN_MS, 1.0).min(GAP_MAX_MS);
            let next = Order { step: step + 1, ..on_its_way };
            self.wait(now_ms + gap as i64, Actor::Order(next));
        }
        Deed { user, session, action: Action::Status { order, seller, status } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// 200 events a second for half an hour.
    fn deeds(order_status: bool) -> Vec<(i64, Deed)> {
        let catalogue = Catalogue::new(10_000, 64, 500);
        let mut shoppers = Shoppers::new(11, (0, 1), 20_000, order_status);
        (0..360_000).map(|n| (n * 5, shoppers.next(n * 5, &catalogue, None))).collect()
    }

    #[test]
    fn the_mix_is_a_storefronts() {
        let deeds = deeds(false);
        let share = |test: fn(&Action) -> bool| {
            deeds.iter().filter(|(_, deed)| test(&deed.action)).count() as f64 / deeds.len() as f64
        };
        let wishlist = share(|action| matches!(action, Action::Wishlist { .. }));
        let purchase = share(|action| matches!(action, Action::Purchase { .. }));
        let removes = share(|action| matches!(action, Action::Wishlist { remove: true, .. }));
        let many =
            share(|action| matches!(action, Action::Purchase { lines, .. } if lines.len() > 1));
        assert!((0.044..0.049).contains(&wishlist), "{wishlist}");
        assert!((0.022..0.0255).contains(&purchase), "{purchase}");
        assert!((0.12..0.18).contains(&(removes / wishlist)), "{removes}");
        assert!((0.12..0.18).contains(&(many / purchase)), "{many}");
    }

    #[test]
    fn sessions_have_the_lengths_and_gaps_of_the_anchors() {
        let mut by_session: HashMap<u64, Vec<i64>> = HashMap::new();
        for (at, deed) in deeds(false) {
            by_session.entry(deed.session).or_default().push(at);
        }
        // Sessions that began in the first minutes have had the time to end.
        let whole: Vec<&Vec<i64>> = by_session.values().filter(|at| at[0] < 300_000).collect();
        let mut lengths: Vec<usize> = whole.iter().map(|at| at.len()).collect();
        lengths.sort_unstable();
        let mut gaps: Vec<i64> =
            whole.iter().flat_map(|at| at.windows(2).map(|two| two[1] - two[0])).collect();
        gaps.sort_unstable();
        assert!((2..=4).contains(&lengths[lengths.len() / 2]), "{}", lengths[lengths.len() / 2]);
        let median = gaps[gaps.len() / 2];
        assert!((40_000..65_000).contains(&median), "{median}");
    }

    #[test]
    fn an_order_walks_through_its_states() {
        let mut chains: HashMap<u64, Vec<&str>> = HashMap::new();
        let deeds = deeds(true);
        for (_, deed) in &deeds {
            if let Action::Status { order, status, .. } = &deed.action {
                chains.entry(*order).or_default().push(status);
            }
        }
        assert!(chains.values().all(|chain| chain[0] == "PENDING"));
        assert!(chains.values().any(|c| c.starts_with(&[
            "PENDING",
            "PROCESSING",
            "SHIPPED",
            "DELIVERED"
        ])));
        assert!(chains.values().any(|c| c.starts_with(&["PENDING", "SHIPPED", "PROCESSING"])));
        assert!(chains.values().any(|c| c.last() == Some(&"CANCELLED")));
    }
}
