//! What a scenario states against the oracle's recount of the log.
//!
//! The statements were gathered while the records were made; the recount knows the log alone. The views
//! in turn are compared with the recount, window by window, so a statement that holds here is
//! visible in Redis.

use std::collections::BTreeMap;

use super::cast::MINUTE_MS;
use super::statement::{Account, Claim, Silent, Statement};
use crate::load::compare::Differences;
use crate::load::kind::Kind;
use crate::load::oracle::definitions::{Board, Definitions, Metric, Window};
use crate::load::oracle::facts::Facts;
use crate::load::oracle::window::{Counter, SketchOf, Truth};
use crate::load::run_file::RunFile;

/// Places of a board that are looked at: more than any cast has.
const TOP: usize = 100;

/// A distinct count may be off by this share of the truth, and by one: six times the standard error of the
/// estimate.
const ESTIMATE_ERROR: f64 = 0.05;

/// Adds what contradicts the statements; returns how many of them were judged. Those about a
/// dimension that is not defined cannot be.
pub fn judge(
    account: &Account,
    definitions: &Definitions,
    facts: &Facts,
    differences: &mut Differences,
) -> u64 {
    let mut definitions = definitions.clone();
    let statements: Vec<&Statement> = account.statements.iter().flatten().collect();
    let judged: Vec<&Statement> =
        statements.into_iter().filter(|one| prepare(&one.claim, &mut definitions)).collect();
    let (Some(first), Some(last)) = (facts.facts.first(), facts.facts.last()) else {
        return 0;
    };
    let end_of = |time_ms: i64| (time_ms.div_euclid(MINUTE_MS) + 1) * MINUTE_MS;
    let ends = end_of(first.time_ms)..=end_of(last.time_ms);
    let mut by_end: BTreeMap<i64, Vec<&Statement>> = BTreeMap::new();
    for &statement in &judged {
        let Statement { first_end_ms, last_end_ms, claim } = statement;
        let is_beyond = !ends.contains(first_end_ms) || !ends.contains(last_end_ms);
        if is_beyond && *claim != Claim::Empty {
            differ(statement, *first_end_ms, "windows before or after the log", differences);
            continue;
        }
        // No further than the log goes, whatever the file says.
        let clamped = Statement {
            first_end_ms: (*first_end_ms).max(*ends.start()),
            last_end_ms: (*last_end_ms).min(*ends.end()),
            claim: Claim::Empty,
        };
        clamped.ends().for_each(|end| by_end.entry(end).or_default().push(statement));
    }
    let window = Window {
        label: "1m".to_owned(),
        size_ms: MINUTE_MS,
        slide_ms: MINUTE_MS,
        closed_step_ms: MINUTE_MS,
    };
    let mut counter = Counter::new(&definitions, facts);
    for (end, statements) in by_end {
        let truth = counter.count(&window, end, |_| true);
        for statement in statements {
            if let Err(found) = check(&statement.claim, &definitions, &truth) {
                differ(statement, end, &found, differences);
            }
        }
    }
    judged.len() as u64
}

/// Partitions that should have been left alone, by the broker's offsets.
pub fn judge_silence(account: &Account, run: &RunFile, differences: &mut Differences) {
    for Silent { topic, partitions } in &account.silent {
        let Some(written) = run.topics.iter().find(|one| one.topic == *topic) else { continue };
        for &partition in partitions {
            let at = |offsets: &[i64]| offsets.get(partition as usize).copied().unwrap_or(0);
            let records = at(&written.end_offsets) - at(&written.start_offsets);
            if records != 0 {
                let place = format!("scenario {}", account.name);
                differences.add(&place, &format!("{topic}/{partition}"), "no record", records);
            }
        }
    }
}

fn differ(statement: &Statement, end_ms: i64, found: &str, differences: &mut Differences) {
    let place = format!("scenario: 1m window that ends at {end_ms}");
    differences.add(&place, "", &statement.claim, found);
}

/// Has what a claim is about counted; `false` if it cannot be.
fn prepare(claim: &Claim, definitions: &mut Definitions) -> bool {
    match claim {
        Claim::Leads { dimension, metric, .. } | Claim::Score { dimension, metric, .. } => {
            let Some(metric) = metric_of(metric) else { return false };
            if definitions.dimension(dimension).is_none() {
                return false;
            }
            // Found by its place among the last ones: those of the definitions may be cut too soon.
            let board = Board { dimension: dimension.clone(), metric, top: TOP };
            definitions.boards.push(board);
            true
        }
        Claim::Users { product: Some(_), .. } => match definitions.dimension("product") {
            Some(at) => {
                definitions.dimensions[at].uniques = true;
                true
            }
            None => false,
        },
        Claim::Users { product: None, .. } | Claim::Total { .. } | Claim::Empty => true,
    }
}

fn metric_of(name: &str) -> Option<Metric> {
    let all =
        [Metric::Clicks, Metric::Wishlists, Metric::Orders, Metric::Units, Metric::RevenueMinor];
    all.into_iter().find(|metric| metric.name() == name)
}

/// What was found instead.
fn check(claim: &Claim, definitions: &Definitions, truth: &Truth) -> Result<(), String> {
    match claim {
        Claim::Leads { dimension, metric, entities } => {
            let rows = board(dimension, metric, definitions, truth);
            let (first, others) = rows.split_at(entities.len().min(rows.len()));
            let are_theirs = !entities.is_empty()
                && first.len() == entities.len()
                && first.iter().all(|(name, _)| entities.contains(name));
            let are_apart = match (first.last(), others.first()) {
                (Some((_, last)), Some((_, next))) => last > next,
                _ => true,
            };
            if are_theirs && are_apart {
                return Ok(());
            }
            let rows = rows.iter().take(entities.len() + 1);
            let rows: Vec<String> = rows.map(|(name, score)| format!("{name} {score}")).collect();
            Err(if rows.is_empty() { "nobody".to_owned() } else { rows.join(", ") })
        }
        Claim::Score { dimension, metric, entity, least, most } => {
            let rows = board(dimension, metric, definitions, truth);
            let found = rows.iter().find(|(name, _)| name == entity);
            between(found.map_or(0, |(_, score)| *score), *least, *most)
        }
        Claim::Total { field, least, most } => {
            let fields = truth.fields();
            match fields.get(field) {
                Some(&found) => between(found, *least, *most),
                None => Err("no such field".to_owned()),
            }
        }
        Claim::Users { product, least, most } => {
            let entity = match product {
                Some(product) => definitions.dimension("product").map(|at| (at, product.clone())),
                None => None,
            };
            let sketch = truth.sketches.get(&SketchOf { kind: Kind::Click, entity });
            let found = sketch.map_or(0, |registers| registers.estimate());
            let error = |users: u64| (users as f64 * ESTIMATE_ERROR) as u64 + 1;
            between(found, least.saturating_sub(error(*least)), most.saturating_add(error(*most)))
        }
        Claim::Empty => between(truth.totals.events, 0, 0),
    }
}

fn between(found: u64, least: u64, most: u64) -> Result<(), String> {
    if (least..=most).contains(&found) { Ok(()) } else { Err(found.to_string()) }
}

fn board<'a>(
    dimension: &str,
    metric: &str,
    definitions: &Definitions,
    truth: &'a Truth,
) -> &'a [(String, u64)] {
    let is_it = |board: &Board| board.dimension == dimension && board.metric.name() == metric;
    let place = definitions.boards.iter().rposition(is_it);
    place.and_then(|at| truth.boards.get(at)).map_or(&[], Vec::as_slice)
}
