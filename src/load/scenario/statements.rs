//! From what was counted to what must become visible.
//!
//! Each scenario is stated by what a reader of the views would look for: who leads which board and for
//! how long, and the figures beside it that tell the scenario from an ordinary day. All are those of
//! this stream; a scenario that is too weak to show is one that states little.

use super::Scenario;
use super::cast::{MINUTE_MS, product_name, seller_name};
use super::statement::{Claim, Statement};
use super::tally::{Board, Minute, Span, Standing, Tally};

/// Pauses are stated up to so many.
const PAUSES_MAX: usize = 50;

impl Tally {
    /// What must become visible of the records noted so far.
    pub fn statements(&self) -> Vec<Statement> {
        let minutes = self.minutes();
        let play = self.script.play;
        let at_ms = |after: std::time::Duration| {
            let after_ms = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
            self.start_ms.saturating_add(after_ms)
        };
        let (from_ms, to_ms) = (at_ms(play.from), at_ms(play.to));
        let before: Vec<&Minute> = minutes.iter().filter(|one| one.end_ms <= from_ms).collect();
        let inside = inside(&minutes, from_ms, to_ms);
        let all: Vec<&Minute> = minutes.iter().collect();
        let statements = match play.scenario {
            Scenario::FlashSale => {
                let peak = busiest(&minutes, |minute| score(minute, Board::ProductClicks, 0));
                let mut statements = vec![
                    self.leads(&minutes, Board::ProductClicks, 1),
                    self.leads(&minutes, Board::ProductOrders, 1),
                    total(&before, "clicks", |minute| minute.sums.clicks),
                    total(&peak, "clicks", |minute| minute.sums.clicks),
                    self.score(&peak, Board::ProductClicks),
                    self.score(&peak, Board::ProductOrders),
                ];
                statements.extend([&before, &peak].map(|minutes| conversion(minutes)));
                statements
            }
            Scenario::HotSeller => {
                let ends = [inside.first(), inside.last()].map(|one| Vec::from_iter(one.copied()));
                let mut statements = vec![
                    self.leads(&minutes, Board::SellerClicks, 1),
                    self.leads(&minutes, Board::SellerOrders, 1),
                ];
                statements.extend(ends.iter().map(|end| self.score(end, Board::SellerClicks)));
                statements.extend(ends.last().map(|end| self.score(end, Board::SellerOrders)));
                statements
            }
            Scenario::BotAttack => {
                let targets = self.script.cast.products.len();
                let mut statements = vec![self.leads(&minutes, Board::ProductClicks, targets)];
                for minutes in [&before, &inside] {
                    statements.push(total(minutes, "clicks", |minute| minute.sums.clicks));
                    statements.push(users(minutes, None, |minute| Some(minute.users)));
                    statements.push(conversion(minutes));
                }
                statements.push(self.score(&inside, Board::ProductClicks));
                let target = self.script.cast.products.first().map(|&one| product_name(one));
                statements.push(users(&inside, target, |minute| minute.fans.first().copied()));
                statements
            }
            Scenario::BlackFriday => {
                let peak = busiest(&minutes, |minute| Some(minute.sums.orders));
                vec![
                    conversion(&all),
                    total(&peak, "clicks", |minute| minute.sums.clicks),
                    total(&peak, "orders", |minute| minute.sums.orders),
                    total(&peak, "units", |minute| minute.sums.units),
                ]
            }
            Scenario::Night => {
                let pauses = minutes.windows(2).filter_map(|two| pause(&two[0], &two[1]));
                let mut statements = vec![total(&all, "events", |minute| minute.sums.events)];
                statements.extend(pauses.take(PAUSES_MAX).map(Some));
                statements
            }
        };
        statements.into_iter().flatten().collect()
    }

    /// The longest time during which the first `count` of the cast have the first places.
    fn leads(&self, minutes: &[Minute], board: Board, count: usize) -> Option<Statement> {
        let mut longest: &[Minute] = &[];
        let mut rest = minutes;
        while !rest.is_empty() {
            let is_next = |at: usize| at == 0 || rest[at].end_ms == rest[at - 1].end_ms + MINUTE_MS;
            let led =
                (0..rest.len()).take_while(|&at| is_led(&rest[at], board, count) && is_next(at));
            let length = led.count();
            if length >= longest.len().max(1) {
                longest = &rest[..length];
            }
            rest = &rest[length.max(1)..];
        }
        let (dimension, metric) = board.names();
        let entities = (0..count).filter_map(|at| self.name(board, at)).collect();
        over(&longest.iter().collect::<Vec<_>>(), Claim::Leads { dimension, metric, entities })
    }

    /// The score of the first of the cast.
    fn score(&self, minutes: &[&Minute], board: Board) -> Option<Statement> {
        let Span { least, most } = around(minutes, |minute| score(minute, board, 0))?;
        let (dimension, metric) = board.names();
        let entity = self.name(board, 0)?;
        over(minutes, Claim::Score { dimension, metric, entity, least, most })
    }

    fn name(&self, board: Board, at: usize) -> Option<String> {
        let cast = &self.script.cast;
        match board {
            Board::ProductClicks | Board::ProductOrders => {
                cast.products.get(at).map(|&product| product_name(product))
            }
            Board::SellerClicks | Board::SellerOrders => cast.seller.map(seller_name),
        }
    }
}

/// Those that lie within; else the one in the middle of it.
fn inside(minutes: &[Minute], from_ms: i64, to_ms: i64) -> Vec<&Minute> {
    let whole = |one: &&Minute| one.end_ms - MINUTE_MS >= from_ms && one.end_ms <= to_ms;
    let found: Vec<&Minute> = minutes.iter().filter(whole).collect();
    if !found.is_empty() {
        return found;
    }
    let middle_ms = from_ms + (to_ms - from_ms) / 2;
    let holds = |one: &&Minute| (one.end_ms - MINUTE_MS..one.end_ms).contains(&middle_ms);
    minutes.iter().filter(holds).collect()
}

fn busiest(minutes: &[Minute], of: impl Fn(&Minute) -> Option<Span>) -> Vec<&Minute> {
    let found = minutes.iter().max_by_key(|minute| of(minute).map_or(0, |span| span.least));
    found.into_iter().collect()
}

fn standing(minute: &Minute, board: Board) -> Option<&Standing> {
    minute.standings.iter().find(|standing| standing.board == board)
}

fn score(minute: &Minute, board: Board, at: usize) -> Option<Span> {
    standing(minute, board)?.cast.get(at).copied()
}

fn is_led(minute: &Minute, board: Board, count: usize) -> bool {
    let Some(standing) = standing(minute, board) else { return false };
    let (leaders, others) = standing.cast.split_at(count.min(standing.cast.len()));
    let least = leaders.iter().map(|score| score.least).min().unwrap_or(0);
    let others = others.iter().map(|score| score.most).max().unwrap_or(0);
    least > others.max(standing.others_most)
}

/// From the least to the most of these minutes, and of those between them that hold no record.
fn around(minutes: &[&Minute], of: impl Fn(&Minute) -> Option<Span>) -> Option<Span> {
    let mut spans = minutes.iter().map(|minute| of(minute));
    let first = spans.next()??;
    let span = spans.try_fold(first, |sum, span| Some(sum.around(span?)))?;
    let has_pause = minutes.windows(2).any(|two| two[1].end_ms - two[0].end_ms > MINUTE_MS);
    Some(if has_pause { Span { least: 0, ..span } } else { span })
}

fn over(minutes: &[&Minute], claim: Claim) -> Option<Statement> {
    let (first, last) = (minutes.first()?, minutes.last()?);
    Some(Statement { first_end_ms: first.end_ms, last_end_ms: last.end_ms, claim })
}

fn total(minutes: &[&Minute], field: &str, of: fn(&Minute) -> Span) -> Option<Statement> {
    let Span { least, most } = around(minutes, |minute| Some(of(minute)))?;
    over(minutes, Claim::Total { field: field.to_owned(), least, most })
}

/// Orders to clicks in basis points, rounded down as it is published; not stated over a time without
/// clicks, which has none.
fn conversion(minutes: &[&Minute]) -> Option<Statement> {
    let of = |minute: &Minute| {
        let (orders, clicks) = (minute.sums.orders, minute.sums.clicks);
        let points = |orders: u64, clicks: u64| (10_000 * orders).checked_div(clicks);
        let (least, most) =
            (points(orders.least, clicks.most)?, points(orders.most, clicks.least)?);
        Some(Span { least, most })
    };
    let has_pause = minutes.windows(2).any(|two| two[1].end_ms - two[0].end_ms > MINUTE_MS);
    let Span { least, most } = around(minutes, of).filter(|_| !has_pause)?;
    over(minutes, Claim::Total { field: "conversion".to_owned(), least, most })
}

fn users(
    minutes: &[&Minute],
    product: Option<String>,
    of: fn(&Minute) -> Option<Span>,
) -> Option<Statement> {
    let Span { least, most } = around(minutes, of)?;
    over(minutes, Claim::Users { product, least, most })
}

/// What lies between two minutes with records.
fn pause(before: &Minute, after: &Minute) -> Option<Statement> {
    let (first_end_ms, last_end_ms) = (before.end_ms + MINUTE_MS, after.end_ms - MINUTE_MS);
    let claim = Claim::Empty;
    (first_end_ms <= last_end_ms).then_some(Statement { first_end_ms, last_end_ms, claim })
}
