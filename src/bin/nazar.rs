//! The daemon: command line → configuration → command → exit code.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::{CommandFactory, Parser};
use nazar::check;
use nazar::cli::{Cli, Command, Exit, ProbeArgs, effective};
use nazar::config::{Config, ConfigErrors};
use nazar::probe::probe;
use nazar::service::{self, Options};
use nazar::{backfill, demo, letters, promote, reset, shell, status};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

// librdkafka's C code allocates a buffer per fetch and a message per record; with glibc a
// sixth of the time went into clearing fresh pages for them. `override` covers C, too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    nazar::allocator::keep_freed_memory();
    match run(Cli::parse().command) {
        Ok(exit) => exit.into(),
        Err(error) if service::is_refusal(&error) => {
            eprintln!("nazar: {error:#}");
            Exit::Refused.into()
        }
        Err(error) if error.is::<ConfigErrors>() => {
            eprintln!("nazar: the configuration is refused\n{error}");
            Exit::Refused.into()
        }
        Err(error) => {
            eprintln!("nazar: {error:#}");
            Exit::Error.into()
        }
    }
}

fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Config(args) => {
            print(&effective(&args.load()?))?;
            Ok(Exit::Done)
        }
        Command::Probe(args) => health(&args),
        Command::Completions { shell } => {
            let script = shell::completions(Cli::command(), shell);
            std::io::stdout().write_all(&script).context("print the script")?;
            Ok(Exit::Done)
        }
        Command::Man { directory } => {
            let writing = || format!("write man pages into {}", directory.display());
            shell::man_pages(Cli::command(), &directory).with_context(writing)?;
            Ok(Exit::Done)
        }
        Command::Run(args) => {
            let config = args.config.load()?;
            nazar::log::init(&config.log)?;
            let summary =
                block_on(|stop| service::run(config, Options::bounded(args.bounded), stop))?;
            if args.bounded {
                print(&format!("{}\n", serde_json::to_string(&summary)?))?;
            }
            Ok(Exit::Done)
        }
        Command::Backfill(args) => {
            let config = args.config.load()?;
            nazar::log::init(&config.log)?;
            let line = block_on(|stop| backfill::run(config, args.request(), stop))?;
            print(&format!("{}\n", serde_json::to_string(&line)?))?;
            Ok(Exit::Done)
        }
        Command::Promote(args) => {
            let config = args.config.load()?;
            let report = block_on(|_| async move { promote::run(&config, &args.prefix).await })?;
            print(&if args.json {
                format!("{}\n", serde_json::to_string(&report)?)
            } else {
                report.to_string()
            })?;
            Ok(Exit::Done)
        }
        Command::Demo(args) => block_on(|stop| demo::run(args.duration, stop)),
        Command::Reset(args) => {
            let config = args.config.load()?;
            if !reset::may_delete(&config, args.yes)? {
                return Ok(Exit::Refused);
            }
            block_on(|_| async move { reset::delete(&config).await })?;
            Ok(Exit::Done)
        }
        Command::Status(args) => {
            let config = args.config.load()?;
            let prefix = config.redis.prefix.clone();
            let status = block_on(|_| async move { status::ask(&config).await })?;
            let Some(status) = status else {
                anyhow::bail!("nothing has been written under the prefix {prefix}");
            };
            print(&if args.json {
                format!("{}\n", serde_json::to_string(&status)?)
            } else {
                status.to_string()
            })?;
            Ok(Exit::Done)
        }
        Command::DeadLetters(args) => {
            let config = args.config.load()?;
            let report = block_on(|stop| read_letters(config, stop))?;
            print(&if args.json {
                format!("{}\n", serde_json::to_string(&report)?)
            } else {
                report.to_string()
            })?;
            Ok(Exit::Done)
        }
        Command::Check(args) => {
            let config = args.load()?;
            let report = block_on(|_| async move { Ok(check::run(&config).await) })?;
            print(&report.to_string())?;
            Ok(if report.exit_code() != 0 { Exit::Error } else { Exit::Done })
        }
    }
}

/// Runs a command that ends at SIGINT or SIGTERM; a second signal ends the process at once.
fn block_on<F, T>(command: impl FnOnce(watch::Receiver<bool>) -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let (stop, stopped) = watch::channel(false);
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        tokio::spawn(async move {
            for first in [true, false] {
                let number = tokio::select! {
                    _ = terminate.recv() => 15,
                    _ = interrupt.recv() => 2,
                };
                if first {
                    tracing::info!("a signal asks to end; a second one ends at once");
                    let _ = stop.send(true);
                } else {
                    std::process::exit(128 + number);
                }
            }
        });
        command(stopped).await
    });
    // Threads that wait for Kafka or Redis in vain must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result
}

/// Reads on a thread of its own until the end, or until a signal.
async fn read_letters(
    config: Config,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<letters::Report> {
    let stopping = Arc::new(AtomicBool::new(false));
    let seen = stopping.clone();
    let mut reading = tokio::task::spawn_blocking(move || letters::read(&config, &seen));
    tokio::select! {
        report = &mut reading => return report.context("reading panicked")?,
        _ = stop.wait_for(|stop| *stop) => stopping.store(true, Ordering::Relaxed),
    }
    reading.await.context("reading panicked")?
}

/// Prints what the page says; healthy or not is the exit code.
fn health(args: &ProbeArgs) -> anyhow::Result<Exit> {
    let config = args.config.load()?;
    let answer = probe(&config.http.listen, &args.page, args.timeout)?;
    print(&format!("{}\n", answer.body))?;
    Ok(if answer.is_healthy() { Exit::Done } else { Exit::Error })
}

/// Writes to stdout; a reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> std::io::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
