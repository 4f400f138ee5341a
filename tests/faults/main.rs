//! What becomes of the views when something breaks: real daemons, a real broker, a real Redis,
//! and faults that strike under load.
//!
//! ```text
//!   catalogue ──► drive ──► World: broker, redis, N daemons, generator     ──► judge ──► report
//!   which fault,    │         ▲                        ▲                      oracle,     a line each:
//!   on which stage  └─ Fault: strikes, and proves      └─ Watch: samples      ledger      JSON, Markdown
//!                      that it really struck              meta all along
//! ```
//!
//! A run fails if one number of one closed or latest view differs from the oracle's, if a record
//! is not accounted for, if views went back, or if they did not come back in time. The harness knows the
//! daemon by its command line, its pages and its Redis contract only (docs/CLI.md,
//! docs/REDIS.md, docs/METRICS.md), so it holds for any number of instances that write or wait.
//!
//! `cargo test --test faults` runs the short set. `make faults` runs all and writes
//! docs/RELIABILITY.md, `make soak` mixes faults at random; `-- --help` has the options.

#[path = "../common/daemon.rs"]
mod daemon;
#[path = "../common/kafka.rs"]
mod kafka;
#[path = "../common/load.rs"]
mod load;
#[path = "../common/redis.rs"]
mod redis_server;

mod relay;
mod stage;
mod watch;
mod world;

mod fault;
mod kafka_faults;
mod process_faults;
mod redis_faults;
mod redis_losses;
mod same_log;

mod ending;
mod judge;
mod outcome;
mod verdict;

mod catalogue;
mod drive;
mod options;
mod report;
mod soak;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use clap::Parser;

use crate::catalogue::Scenario;
use crate::options::Options;
use crate::outcome::{Outcome, Verdict};

fn main() -> ExitCode {
    let options = Options::parse();
    let scenarios = catalogue::chosen(&options);
    if options.list {
        scenarios.iter().for_each(|scenario| println!("{}: test", scenario.name));
        return ExitCode::SUCCESS;
    }
    if scenarios.is_empty() {
        // A filter that was meant for other test programs.
        return ExitCode::SUCCESS;
    }
    if let Some(program) = ["redis-server", "java"].into_iter().find(|name| !exists(name)) {
        let is_required = std::env::var_os("NAZAR_REQUIRE_REAL").is_some_and(|real| real == "1");
        eprintln!("SKIPPED the faults: {program} is not installed");
        return if is_required { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    println!("\nrunning {} scenarios, seed {}", scenarios.len(), options.seed);
    let outcomes = run_all(scenarios, &options);
    let saved = report::save(&outcomes, &options);
    let failed: Vec<&str> = outcomes
        .iter()
        .filter(|outcome| outcome.verdict() == Verdict::Failed)
        .map(|outcome| outcome.fault.as_str())
        .collect();
    match saved {
        Ok(place) => println!("\nthe table is in {}", place.display()),
        Err(error) => {
            eprintln!("the table could not be written: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    println!("fault result: {} failed of {} {failed:?}", failed.len(), outcomes.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs `options.jobs` at a time: most of a run is waiting. The order of the table is that of the
/// catalogue.
fn run_all(scenarios: Vec<Scenario>, options: &Options) -> Vec<Outcome> {
    let todo: Mutex<VecDeque<(usize, Scenario)>> =
        Mutex::new(scenarios.into_iter().enumerate().collect());
    let done: Mutex<Vec<(usize, Outcome)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs() {
            scope.spawn(|| {
                loop {
                    let next = todo.lock().unwrap().pop_front();
                    let Some((number, scenario)) = next else { return };
                    let started = Instant::now();
                    let outcome = drive::run(&scenario, options);
                    let seconds = started.elapsed().as_secs_f64();
                    println!("{}", report::line(&outcome, seconds));
                    done.lock().unwrap().push((number, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
