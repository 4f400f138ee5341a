//! What a run came to: the oracle, the ledger, the watch and the ends of processes together.

use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use crate::ending::report_of;
use crate::fault::Fault;
use crate::judge::{self, Excuses, judge};
use crate::load::Background;
use crate::outcome::Outcome;
use crate::world::World;

/// Ends the load, has everything read and closed, and lets the judges speak.
pub fn finish(
    world: &mut World,
    faults: &[Fault],
    sampling: Option<Background>,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let account = world.finish()?;
    outcome.staleness_max_seconds = world.watch.staleness_max().as_secs_f64();
    outcome.produced = account["records"].as_u64().context("records in run.json")?;
    ledger(world, outcome)?;
    if let Some(sampling) = sampling {
        let excuses = Excuses { writers_died: true, ..world.excuses.clone() };
        take(&report_of(sampling)?, &excuses, outcome);
    }
    let report = world.verify()?;
    take(&report, &world.excuses, outcome);
    outcome.windows = report["closed"]["found"]["windows"].as_u64().unwrap_or(0);
    outcome.counted = report["records"].as_u64().unwrap_or(0);
    let topics = report["topics"].as_array().context("topics of the report")?;
    let sum =
        |name: &str| topics.iter().filter_map(|topic| topic["counts"][name].as_u64()).sum::<u64>();
    let oracle_applied = sum("applied");
    if outcome.counted != outcome.produced {
        outcome.fail(format!("{} records of {} are on the log", outcome.counted, outcome.produced));
    }
    if outcome.applied != oracle_applied {
        outcome
            .fail(format!("the views hold {} events, the log {oracle_applied}", outcome.applied));
    }
    if outcome.windows == 0 || outcome.samples == 0 {
        outcome.fail("nothing was compared");
    }
    let went_back = world.watch.went_back();
    if went_back > 0 && !faults.iter().any(|fault| fault.loses_data()) {
        outcome.fail(format!("readers saw older views again, {went_back} times"));
    }
    let after_close = outcome.events_after_close;
    if after_close > 0 && !faults.iter().any(|fault| fault.delays_producer()) {
        outcome.fail(format!("{after_close} records came after close, but no producer was late"));
    }
    outcome.ends = world.instances.iter().flat_map(|instance| instance.ends.clone()).collect();
    // 1 is an error that was said; anything else is a crash.
    if outcome.ends.iter().any(|code| *code != 1) {
        outcome.fail(format!("daemons ended by themselves with {:?}", outcome.ends));
    }
    let codes = world.end();
    if codes.iter().any(|code| *code != 0) {
        outcome.fail(format!("at SIGTERM the daemons ended with {codes:?}"));
    }
    outcome.rss_peak_bytes = world.rss_peak_bytes;
    Ok(())
}

/// What the views and the daemons' own counters say.
fn ledger(world: &mut World, outcome: &mut Outcome) -> anyhow::Result<()> {
    let totals = format!("HGET {{{}}}:totals:1h events", world.name);
    outcome.applied = world.redis.ask::<Option<u64>>(&totals).context("totals:1h")?;
    let count = |world: &World, field: &str| world.meta(field).and_then(|value| value.parse().ok());
    outcome.events_after_close = count(world, "events_after_close").unwrap_or(0);
    let [consumed, applied, dropped] =
        ["consumed", "applied", "dropped"].map(|name| format!("nazar_events_{name}_total"));
    for (number, instance) in world.instances.iter().enumerate() {
        let Some(running) = &instance.running else { continue };
        let sum = |name: &str| running.metric(name, "").unwrap_or(0.0);
        let open = sum(&consumed) - sum(&applied) - sum(&dropped);
        if open != 0.0 {
            outcome.fail(format!("the ledger of instance {number} is open by {open} records"));
        }
    }
    Ok(())
}

fn take(report: &Value, excuses: &Excuses, outcome: &mut Outcome) {
    let judgement = judge(report, excuses);
    outcome.over += judgement.over;
    outcome.under += judgement.under;
    outcome.lost = outcome.lost.max(judgement.lost);
    outcome.torn += judgement.torn;
    let latest = |name: &str| report["latest"][name].as_u64().unwrap_or(0);
    outcome.samples += latest("compared");
    outcome.flushes += latest("flushes");
    judgement.named.into_iter().for_each(|difference| outcome.fail(difference));
}

/// A judge that cannot condemn is none: one member too high, one gone, one window gone.
pub fn prove_judge(world: &mut World, outcome: &mut Outcome) -> anyhow::Result<()> {
    judge::check_rules();
    world.linger(Duration::from_secs(3));
    finish(world, &[], None, outcome)?;
    let name = world.name.clone();
    let end =
        world.redis.ask::<Vec<String>>(&format!("ZRANGE {{{name}}}:closed:ends:2s 0 0")).remove(0);
    let board = format!("{{{name}}}:closed:top:product:clicks:2s:{end}");
    let members: Vec<String> = world.redis.ask(&format!("ZRANGE {board} 0 1"));
    let edits = [
        (format!("ZINCRBY {board} 1 {}", members[0]), (1, 0)),
        (format!("ZREM {board} {}", members[1]), (1, 1)),
        (format!("XDEL {{{name}}}:history:8s {}", first_entry(world)), (1, 2)),
    ];
    for (edit, expected) in edits {
        world.redis.ask::<redis::Value>(&edit);
        let judgement = judge(&world.verify()?, &world.excuses);
        let found = (judgement.over, judgement.under);
        if found != expected {
            outcome
                .fail(format!("after {edit}: (over, under) is {found:?} instead of {expected:?}"));
        }
        outcome.proofs.push(format!("{edit}: over {}, under {}", found.0, found.1));
    }
    Ok(())
}

fn first_entry(world: &World) -> String {
    let rows: Vec<(String, Vec<String>)> =
        world.redis.ask(&format!("XRANGE {{{}}}:history:8s - + COUNT 1", world.name));
    rows[0].0.clone()
}
