//! The daemon: command line → configuration → command → exit code.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use nazar::cli::{Cli, Command, Exit, ProbeArgs, effective};
use nazar::config::ConfigErrors;
use nazar::probe::probe;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(exit) => exit.into(),
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
        Command::Run(_) | Command::Check(_) | Command::Demo(_) | Command::Reset(_) => {
            anyhow::bail!("this build has no such command yet")
        }
    }
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
