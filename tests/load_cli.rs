//! The command line of nazar-load: its help is a contract.

use clap::{CommandFactory, Parser};
use nazar::load::cli::{Cli, Command};
use nazar::load::pacer::Pace;
use nazar::load::replay::mapping::{Mapping, builtin};

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
    insta::assert_snapshot!("help_plan", help(Some("plan")));
    insta::assert_snapshot!("help_search", help(Some("search")));
    insta::assert_snapshot!("help_replay", help(Some("replay")));
    insta::assert_snapshot!("help_verify", help(Some("verify")));
    insta::assert_snapshot!("help_report", help(Some("report")));
    insta::assert_snapshot!("help_top", help(Some("top")));
}

fn run(arguments: &str) -> Result<nazar::load::run::RunOptions, String> {
    let cli = Cli::try_parse_from(format!("nazar-load run {arguments}").split_whitespace())
        .map_err(|error| error.to_string())?;
    match cli.command {
        Command::Run(args) => args.options(),
        _ => unreachable!(),
    }
}

/// The event times of the records.
fn times(options: &nazar::load::run::RunOptions) -> Vec<i64> {
    let schedule = &options.traffic.workload.schedule;
    schedule.times(1).map(|due_ns| schedule.event_time_ms(due_ns)).collect()
}

#[test]
fn a_preloaded_log_ends_at_its_base_time() {
    let options =
        run("--events 7200 --event-time-span 2h --base-time 1785000000000 --out d").unwrap();
    assert_eq!(options.traffic.pace, Pace::Unbounded);
    let times = times(&options);
    assert_eq!(times[0], 1_785_000_000_000 - 7_200_000);
    assert_eq!(times[7199], 1_785_000_000_000 - 1_000);
}

#[test]
fn live_traffic_begins_at_its_base_time() {
    let options = run("--for 30s --rate 100 --base-time 1785000000000 --out d").unwrap();
    assert_eq!(options.traffic.pace, Pace::Scheduled);
    let times = times(&options);
    assert_eq!((times.len(), times[100]), (3_000, 1_785_000_001_000));
    // Without a rate, --for has one; with one, a number of records has a length.
    assert_eq!(run("--for 2s --out d").unwrap().traffic.workload.schedule.records(), 20_000);
    let options = run("--events 50 --rate 100 --base-time 1785000000000 --out d").unwrap();
    assert_eq!(options.traffic.workload.schedule.end_ms(), 1_785_000_000_500);
}

#[test]
fn a_profile_says_rate_and_length() {
    let options = run("--profile 10s@100,10s@100..300 --arrivals poisson --out d").unwrap();
    assert_eq!(options.traffic.pace, Pace::Scheduled);
    assert_eq!(options.traffic.workload.schedule.records(), 3_000);
    assert_eq!(options.traffic.parameters["profile"], "10s@100,10s@100..300");
    assert_eq!(options.traffic.parameters["arrivals"], "poisson");
    // The shorthands are written down as what they stand for.
    let options = run("--for 90s --rate 5000 --out d").unwrap();
    assert_eq!(options.traffic.parameters["profile"], "1m30s@5k");
}

#[test]
fn a_plan_says_what_a_run_would_write() {
    let words = "nazar-load plan --profile 2s@500,4s@500..1500 --base-time 1785000000000 \
                 --inject usual,late=5% --products 300 --sellers 20 --users 400 --partitions 3";
    let Command::Plan(args) = Cli::try_parse_from(words.split_whitespace()).unwrap().command else {
        unreachable!()
    };
    let plan = nazar::load::plan::plan(&args.traffic().unwrap());
    assert_eq!((plan.records, plan.rates.records.len()), (5_000, 6));
    assert_eq!(plan.rates.records[0], 500);
    insta::assert_snapshot!("plan", plan.text());
}

#[test]
fn mistakes_are_refused_before_anything_is_touched() {
    let refused = |arguments: &str, why: &str| {
        let error = run(arguments).unwrap_err();
        assert!(error.contains(why), "{arguments}: {error}");
    };
    refused("--out d", "--events");
    refused("--events 5 --for 3s --out d", "cannot be used with");
    refused("--profile 3s@5 --for 3s --out d", "cannot be used with");
    refused("--profile 3s@5 --rate 3 --out d", "cannot be used with");
    refused("--profile 3@5 --out d", "`3` is not a time");
    refused("--for 3s --arrivals odd --out d", "expected even or poisson");
    refused("--events 5", "--out");
    refused("--events 5 --out d --inject lat=1%", "unknown fault `lat`");
    refused("--events 5 --out d -X linger", "PROPERTY=VALUE");
    refused("--events 5 --out d --products 10 --categories 20", "at least as many products");
    refused("--events 5 --out d --base-pane 0s", "at least a millisecond");
    refused("--for 5s --out d --warmup 5s", "nothing would be left");
    refused("--for 5s --out d --threshold p99<2s", "unknown metric `p99`");
    refused("--for 5s --out d --threshold visible.p99<2s", "needs --redis");
    refused("--for 5s --out d --threshold verify.mismatch==0", "needs --verify");
    refused("--for 5s --out d --verify", "--redis");
    refused("--events 5 --out d --threshold ack.p99<2s", "needs a schedule");
    refused("--for 5s --out d --daemon-metrics localhost", "relative URL without a base");
}

#[test]
fn a_search_is_refused_that_could_not_find_anything() {
    let search = |arguments: &str| -> Result<nazar::load::search::SearchOptions, String> {
        let cli = Cli::try_parse_from(
            format!("nazar-load search --out d {arguments}").split_whitespace(),
        )
        .map_err(|error| error.to_string())?;
        match cli.command {
            Command::Search(args) => args.options(),
            _ => unreachable!(),
        }
    };
    let refused = |arguments: &str, why: &str| {
        let error = search(arguments).unwrap_err();
        assert!(error.contains(why), "{arguments}: {error}");
    };
    refused("", "--slo");
    refused("--slo visible.p99<2s", "needs --redis");
    refused("--slo verify.mismatch==0", "probes are not verified");
    refused("--slo ack.p99<2s --min 5k --max 5k", "--min must be below --max");
    refused("--slo ack.p99<2s --min 0", "must be above 0");
    refused("--slo ack.p99<2s --within 10", "percentage");
    refused("--slo ack.p99.9<2s --min 100 --probe 20s", "needs 10000 records");
    let options = search("--slo ack.p99<2s --min 2k --max 80k --within 5% --warmup 3s").unwrap();
    assert_eq!((options.min, options.max, options.within), (2e3, 80e3, 0.05));
    assert!(options.probe.abort_on_fail && options.probe.measure.give_up_behind.is_some());
}

#[test]
fn boards_of_a_view_are_named_as_in_redis() {
    let top = |arguments: &str| {
        let words = format!("nazar-load top {arguments}");
        Cli::try_parse_from(words.split_whitespace()).map_err(|error| error.to_string())
    };
    let Command::Top(args) = top("--board product:clicks --board seller:units").unwrap().command
    else {
        unreachable!()
    };
    assert_eq!(args.options().asked.boards[1].to_string(), "seller:units");
    assert!(top("--board product").unwrap_err().contains("for example product:clicks"));
    assert!(top("--every 0s").unwrap_err().contains("at least a millisecond"));
    assert!(top("--rows 0").unwrap_err().contains("0 is not in 1..=1000"));
}

#[test]
fn the_mappings_of_the_documentation_are_mappings() {
    let page = include_str!("../docs/REPLAY.md");
    let blocks: Vec<&str> = page.split("```toml\n").skip(1).collect();
    assert_eq!(blocks.len(), builtin::NAMES.len());
    for (name, block) in builtin::NAMES.iter().zip(blocks) {
        let block = block.split("```").next().unwrap();
        Mapping::parse(name, block).unwrap();
        // Every line of it stands in the ready-made one, which has comments besides.
        let ready_made: Vec<&str> = builtin::text(name).unwrap().lines().collect();
        for line in block.lines() {
            assert!(ready_made.contains(&line), "{name}: {line}");
        }
    }
}
