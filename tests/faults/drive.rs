//! One scenario from its start to its outcome.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use nazar::load::rng::mix;

use crate::catalogue::{Plan, Scenario};
use crate::options::Options;
use crate::outcome::Outcome;
use crate::world::World;
use crate::{same_log, soak, verdict};

/// The oracle recounts a window for each.
const SAMPLES_MAX: usize = 400;

/// Runs a scenario; whatever goes wrong in it, panics included, is in the outcome.
pub fn run(scenario: &Scenario, options: &Options) -> Outcome {
    // Scenarios of one seed differ in their traffic.
    let name = scenario.name.bytes().fold(0, |sum, byte| mix(sum ^ u64::from(byte)));
    let seed = mix(options.seed ^ name) >> 16;
    let mut outcome = Outcome {
        fault: scenario.name.into(),
        what: scenario.what.into(),
        seed: options.seed,
        instances: scenario.stage.instances,
        known: scenario.known.map(str::to_owned),
        ..Outcome::default()
    };
    let played = catch_unwind(AssertUnwindSafe(|| play(scenario, options, seed, &mut outcome)));
    match played {
        Ok(Ok(())) => {}
        Ok(Err(error)) => outcome.fail(format!("{error:#}")),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
            outcome.fail(text.lines().next().unwrap_or_default());
        }
    }
    outcome
}

fn play(
    scenario: &Scenario,
    options: &Options,
    seed: u64,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    if let Plan::SameLog(records) = scenario.plan {
        return same_log::play(records, seed, outcome);
    }
    let mut world = World::start(scenario.name, scenario.stage, seed);
    let result = play_in(&mut world, scenario, options, outcome);
    if result.is_err() || !outcome.failures.is_empty() {
        let place = logs(scenario.name);
        world.keep_logs(&place).with_context(|| format!("keep logs in {}", place.display()))?;
        eprintln!("the daemons' logs of {} are in {}", scenario.name, place.display());
    }
    result
}

fn play_in(
    world: &mut World,
    scenario: &Scenario,
    options: &Options,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    world.steady()?;
    world.watch.load_begins();
    let faults = match &scenario.plan {
        Plan::Faults(faults) => faults.clone(),
        Plan::Soak => soak::sequence(options.seed),
        Plan::SameLog(_) => return Ok(()),
        Plan::Judge => return verdict::prove_judge(world, outcome),
    };
    let is_readable = faults.iter().all(|fault| fault.leaves_redis_readable());
    let samples = SAMPLES_MAX.min(faults.iter().map(|fault| fault.samples()).sum());
    let sampling = is_readable.then(|| world.sample_views(samples));
    let deadline = (scenario.plan == Plan::Soak).then(|| Instant::now() + options.duration);
    for (number, fault) in faults.iter().enumerate() {
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break;
        }
        if faults.len() > 1 {
            println!("  {} {}: {fault:?}", scenario.name, number + 1);
        }
        let pause = world.between(Duration::from_millis(200), Duration::from_millis(1500));
        world.linger(pause);
        let strike =
            fault.strike(world).with_context(|| format!("strike {}: {fault:?}", number + 1))?;
        let context = || format!("strike {}: {fault:?}, {}", number + 1, strike.proof);
        let mut recovery = world.recovered(&strike.mark).with_context(context)?;
        let mut proof = strike.proof.clone();
        if fault.loses_data() {
            let (exact, saved, windows) = world.made_good(&strike.mark).with_context(context)?;
            recovery = recovery.max(exact);
            proof += &format!(
                "; {windows} closed windows in memory, all standing {:.1} s later, a checkpoint after {:.1} s",
                exact.as_secs_f64(),
                saved.as_secs_f64()
            );
        }
        outcome.struck(proof, recovery);
        world.whole()?;
    }
    verdict::finish(world, &faults, sampling, outcome)
}

fn logs(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults").join(name)
}
