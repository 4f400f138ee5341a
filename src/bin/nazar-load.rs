//! `nazar-load`: see `nazar-load --help` and docs/CLI.md.
#![deny(unsafe_code)]

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use nazar::load::artefacts::left::Left;
use nazar::load::cli::{
    Cli, Command, Format, PlanArgs, Refusal, ReplayArgs, ReportArgs, RunArgs, SearchArgs, TopArgs,
    VerifyArgs,
};
use nazar::load::replay::mapping::builtin;
use nazar::load::report::exit;
use nazar::load::terminal::ink::Ink;
use nazar::load::terminal::screen::{Screen, may_colour};
use nazar::load::top::reader::Failure;
use nazar::load::verdict::Verdict;
use nazar::load::{html, plan, run, search, summary, top, verify};
use nazar::shell;

/// librdkafka's buffers go through it too: without it a sixth of the time is the kernel
/// clearing pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Of text that goes into a file: three boards side by side.
const PAGE_WIDTH: usize = 110;

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    nazar::allocator::keep_freed_memory();
    let result = match Cli::parse().command {
        Command::Run(args) => write(*args),
        Command::Plan(args) => foresee(&args),
        Command::Search(args) => find(*args),
        Command::Replay(args) => replay(*args),
        Command::Verify(args) => compare(*args),
        Command::Top(args) => watch(args),
        Command::Completions { shell } => complete(shell),
        Command::Man { directory } => man(&directory),
        Command::Report(args) => render(&args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("nazar-load: {error:#}");
            ExitCode::from(exit::ERROR)
        }
    }
}

fn usage(why: &str) -> u8 {
    eprintln!("nazar-load: {why}");
    exit::USAGE
}

fn write(args: RunArgs) -> anyhow::Result<u8> {
    let json = args.json.clone();
    let options = match args.options() {
        Ok(options) => options,
        Err(why) => return Ok(usage(&why)),
    };
    run::stop_on_signal(&STOP)?;
    let account = run::run(&options, &STOP)?;
    show(json.as_deref(), &account, || summary::text(&account))?;
    Ok(Verdict::of(&account).exit_code())
}

fn find(args: SearchArgs) -> anyhow::Result<u8> {
    let json = args.json.clone();
    let options = match args.options() {
        Ok(options) => options,
        Err(why) => return Ok(usage(&why)),
    };
    run::stop_on_signal(&STOP)?;
    let found = search::search(&options, &STOP)?;
    show(json.as_deref(), &found, || found.text())?;
    Ok(found.exit_code())
}

/// A result: text on stdout, or JSON in its place; or JSON in a file as well.
fn show(
    json: Option<&Path>,
    result: &impl serde::Serialize,
    text: impl FnOnce() -> String,
) -> anyhow::Result<()> {
    match json {
        Some(path) if path == Path::new("-") => {
            println!("{}", encoded(result)?);
            return Ok(());
        }
        Some(path) => std::fs::write(path, encoded(result)? + "\n")
            .with_context(|| format!("write {}", path.display()))?,
        None => {}
    }
    print!("{}", text());
    Ok(())
}

fn encoded(account: &impl serde::Serialize) -> anyhow::Result<String> {
    serde_json::to_string(account).context("encode the result")
}

fn replay(args: ReplayArgs) -> anyhow::Result<u8> {
    if let Some(name) = &args.print_map {
        let names = || format!("--print-map {name}: there are {}", builtin::NAMES.join(", "));
        return Ok(match builtin::text(name) {
            Some(text) => {
                print!("{text}");
                exit::GOOD
            }
            None => usage(&names()),
        });
    }
    let read = match args.read() {
        Ok(read) => read,
        Err(Refusal::Usage(why)) => return Ok(usage(&why)),
        Err(Refusal::Error(error)) => return Err(error),
    };
    if args.dry_run {
        print!("{}", read.1.text());
        return Ok(exit::GOOD);
    }
    eprint!("{}", read.1.text());
    let json = args.json.clone();
    let options = match args.options(read) {
        Ok(options) => options,
        Err(Refusal::Usage(why)) => return Ok(usage(&why)),
        Err(Refusal::Error(error)) => return Err(error),
    };
    run::stop_on_signal(&STOP)?;
    let account = run::run(&options, &STOP)?;
    show(json.as_deref(), &account, || summary::text(&account))?;
    Ok(Verdict::of(&account).exit_code())
}

fn complete(shell: Shell) -> anyhow::Result<u8> {
    let script = shell::completions(Cli::command(), shell);
    std::io::stdout().write_all(&script).context("print the script")?;
    Ok(exit::GOOD)
}

fn man(directory: &Path) -> anyhow::Result<u8> {
    let writing = || format!("write man pages into {}", directory.display());
    shell::man_pages(Cli::command(), directory).with_context(writing)?;
    Ok(exit::GOOD)
}

fn foresee(args: &PlanArgs) -> anyhow::Result<u8> {
    let traffic = match args.traffic() {
        Ok(traffic) => traffic,
        Err(why) => return Ok(usage(&why)),
    };
    let plan = plan::plan(&traffic);
    show(args.json.as_deref(), &plan, || plan.text())?;
    Ok(exit::GOOD)
}

fn compare(args: VerifyArgs) -> anyhow::Result<u8> {
    let as_json = args.json;
    let options = args.options();
    if let Err(error) = verify::check_directory(&options.directory) {
        return Ok(usage(&format!("{error:#}")));
    }
    let report = verify::verify(&options)?;
    if as_json {
        println!("{}", encoded(&report)?);
    } else {
        print!("{}", report.text());
    }
    Ok(if report.equal { exit::GOOD } else { exit::DIFFERENT })
}

/// Where nothing can be drawn again and again, one picture is all there is.
fn watch(args: TopArgs) -> anyhow::Result<u8> {
    let (once, json) = (args.once || args.json.is_some(), args.json.clone());
    let options = args.options();
    let shown = match Screen::whole().filter(|_| !once) {
        Some(screen) => {
            run::stop_silently_on_signal(&STOP)?;
            top::live(&options, screen, &STOP)
        }
        None => match top::once(&options) {
            Ok(picture) => {
                let (width, ink) = page();
                show(json.as_deref(), &picture, || top::text(&picture, width, ink))?;
                Ok(())
            }
            Err(failure) => Err(failure),
        },
    };
    match shown {
        Ok(()) => Ok(exit::GOOD),
        Err(Failure::Usage(why)) => Ok(usage(&why)),
        Err(Failure::Away(error)) => Err(error),
    }
}

/// How wide text may be, and whether it may be coloured.
fn page() -> (usize, Ink) {
    match Screen::below() {
        Some(screen) => (screen.room().1, Ink { is_coloured: may_colour() }),
        None => (PAGE_WIDTH, Ink::default()),
    }
}

/// Good once it is written, whatever it says.
fn render(args: &ReportArgs) -> anyhow::Result<u8> {
    let left = Left::read(&args.directory)?;
    let rendered = match (args.format, &left) {
        (Format::Html, left) => html::page(left),
        (Format::Text, Left::Run(left)) => summary::text(&left.run),
        (Format::Text, Left::Search(found)) => found.text(),
        (Format::Json, Left::Run(left)) => encoded(&left.run)? + "\n",
        (Format::Json, Left::Search(found)) => encoded(found)? + "\n",
    };
    match args.file() {
        Some(path) => {
            std::fs::write(&path, rendered).with_context(|| format!("write {}", path.display()))?;
            eprintln!("{}", path.display());
        }
        None => print!("{rendered}"),
    }
    Ok(exit::GOOD)
}
