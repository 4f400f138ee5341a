//! Measures nazar as a whole, against a real broker and Redis, and renders what was measured.
//!
//! ```text
//!  cases ─► log (nazar-load run, once) ─► ceiling, nazar, ceiling, nazar … ─► rows ─► PERFORMANCE.md
//!                                          each in a process of its own         │      and its plots
//!                                          └► nazar-load verify: 0 differences  └► docs/performance/runs.jsonl
//! ```
//!
//! *Ceiling* is `examples/ceiling.rs`: nazar's own source, decoder, allocator and settings, without
//! windows. What else runs on a machine disturbs both alike, so their ratio is what to believe;
//! processor time is stated beside it.
//!
//! Not shipped: an example, because only the sources need it. `bench/run` builds and starts it.

mod case;
mod cases;
mod circumstances;
mod criterion;
mod footprint;
mod instructions;
mod live;
mod log;
mod measured;
mod programs;
mod render;
mod row;
mod rounds;
mod servers;
mod stage;
mod team;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use case::{Case, Work};
use circumstances::Circumstances;
use programs::Programs;
use row::Row;
use servers::Servers;

// As in the daemon, for what is measured in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure nazar against a real broker and Redis, and render what was measured.
#[derive(Parser)]
#[command(name = "bench/run")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Where PERFORMANCE.md is, and what is measured is kept beside it
    #[arg(long, value_name = "DIR", default_value = "docs", global = true)]
    docs: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Name the cases
    List,
    /// Measure cases, all of them by default; each replaces its earlier rows once it is complete
    Run(RunArgs),
    /// Take the figures of `cargo bench` from where criterion leaves them
    Criterion {
        /// Criterion's directory
        #[arg(long, value_name = "DIR", default_value = "target/criterion")]
        from: PathBuf,
    },
    /// Count instructions per event and stage under callgrind
    Instructions {
        /// Where the programs are
        #[arg(long, value_name = "DIR", default_value = "target/release")]
        programs: PathBuf,
        /// Events that pass the stages; with less than 300,000 no window closes
        #[arg(long, value_name = "N", default_value_t = 300_000)]
        events: u64,
    },
    /// Measure what entities, cells and sketches take of memory
    Footprint,
    /// Write the measurements into PERFORMANCE.md, between its markers, and draw the plots
    Render,
}

#[derive(Args)]
struct RunArgs {
    /// Cases whose names begin so
    names: Vec<String>,
    /// Events of the large logs (SB1, default views); curves take a fifth of it
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    events: u64,
    /// How often ceiling and nazar are run, each
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: u32,
    /// Verify every run of nazar, not only the first of each case
    #[arg(long)]
    verify_all: bool,
    /// Keep broker data and logs here, and use them again; else all is temporary
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where the programs are
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    programs: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    match cli.command {
        Command::List => {
            for case in cases::all(10_000_000, 5) {
                println!("{:<24} {}", case.name, case.what);
            }
            Ok(())
        }
        Command::Run(args) => run(&cli.docs, &args),
        Command::Criterion { from } => {
            stage::replace(&cli.docs, criterion::read(&from)?)?;
            render::write(&cli.docs)
        }
        Command::Instructions { programs, events } => {
            stage::replace(&cli.docs, instructions::count(&programs, events)?)?;
            render::write(&cli.docs)
        }
        Command::Footprint => {
            stage::replace(&cli.docs, footprint::measure()?)?;
            render::write(&cli.docs)
        }
        Command::Render => render::write(&cli.docs),
    }
}

fn run(docs: &Path, args: &RunArgs) -> anyhow::Result<()> {
    let programs = Programs::find(&args.programs)?;
    let wanted = |case: &Case| {
        args.names.is_empty() || args.names.iter().any(|name| case.name.starts_with(name))
    };
    let cases: Vec<Case> = cases::all(args.events, args.runs).into_iter().filter(wanted).collect();
    anyhow::ensure!(!cases.is_empty(), "no case has such a name, see bench/run list");
    let temporary = tempfile::Builder::new().prefix("nazar-bench-").tempdir()?;
    let directory = args.dir.as_deref().unwrap_or(temporary.path());
    std::fs::create_dir_all(directory).context("create the directory of the data")?;
    let directory = directory.canonicalize()?;
    let servers = Servers::start(&directory, args.dir.is_some())?;
    let circumstances = Circumstances::here(&programs)?;
    let bench = Bench { programs, servers, directory, verify_all: args.verify_all };
    for case in &cases {
        eprintln!("{}: {}", case.name, case.what);
        let mut rows =
            bench.measure(case).with_context(|| format!("measure the case {}", case.name))?;
        rows.iter_mut().for_each(|row| row.circumstances = circumstances.clone());
        row::replace(docs, &case.name, rows)?;
        render::write(docs)?;
    }
    Ok(())
}

/// What every measurement needs.
struct Bench {
    programs: Programs,
    servers: Servers,
    directory: PathBuf,
    verify_all: bool,
}

impl Bench {
    fn measure(&self, case: &Case) -> anyhow::Result<Vec<Row>> {
        match &case.work {
            Work::Backlog { runs } => self.rounds(case, *runs),
            Work::Team { instances, runs } => self.team(case, *instances, *runs),
            Work::Live { rate, seconds } => self.live(case, *rate, *seconds),
        }
    }
}
