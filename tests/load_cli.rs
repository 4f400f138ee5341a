//! The command line of nazar-load: its help is a contract.

use clap::{CommandFactory, Parser};
use nazar::load::cli::{Cli, Command};
use nazar::load::pacer::Pace;

fn help(subcommand: Option<&str>) -> String {
    let mut command = Cli::command().term_width(100);
    command.build();
    match subcommand {
        Some(name) => command.find_subcommand_mut(name).unwrap().render_help().to_string(),
        None => command.render_help().to_string(),
    }
}

#[test]
fn help_says_what_there_is() {
    insta::assert_snapshot!("help", help(None));
    insta::assert_snapshot!("help_run", help(Some("run")));
    insta::assert_snapshot!("help_verify", help(Some("verify")));
}

fn run(arguments: &str) -> Result<nazar::load::run::RunOptions, String> {
    let cli = Cli::try_parse_from(format!("nazar-load run {arguments}").split_whitespace())
        .map_err(|error| error.to_string())?;
    match cli.command {
        Command::Run(args) => args.options(),
        Command::Verify(_) => unreachable!(),
    }
}

#[test]
fn a_preloaded_log_ends_at_its_base_time() {
    let options =
        run("--events 7200 --event-time-span 2h --base-time 1785000000000 --out d").unwrap();
    assert_eq!(options.pace, Pace::Unbounded);
    let schedule = options.workload.schedule;
    assert_eq!(schedule.time_ms(0), 1_785_000_000_000 - 7_200_000);
    assert_eq!(schedule.time_ms(7199), 1_785_000_000_000 - 1_000);
}

#[test]
fn live_traffic_begins_at_its_base_time() {
    let options = run("--for 30s --rate 100 --base-time 1785000000000 --out d").unwrap();
    assert_eq!(options.pace, Pace::Scheduled);
    let schedule = options.workload.schedule;
    assert_eq!((schedule.records, schedule.time_ms(100)), (3_000, 1_785_000_001_000));
    // Without a rate, --for has one.
    assert_eq!(run("--for 2s --out d").unwrap().workload.schedule.records, 20_000);
}

#[test]
fn mistakes_are_refused_before_anything_is_touched() {
    let refused = |arguments: &str, why: &str| {
        let error = run(arguments).unwrap_err();
        assert!(error.contains(why), "{arguments}: {error}");
    };
    refused("--out d", "--events");
    refused("--events 5 --for 3s --out d", "cannot be used with");
    refused("--events 5", "--out");
    refused("--events 5 --out d --inject lat=1%", "unknown fault `lat`");
    refused("--events 5 --out d -X linger", "PROPERTY=VALUE");
    refused("--events 5 --out d --products 10 --categories 20", "at least as many products");
    refused("--events 5 --out d --base-pane 0s", "at least a millisecond");
    assert!(run("--events 5 --dry-run").is_ok());
}
