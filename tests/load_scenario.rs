//! Scenarios: each changes the traffic as it says, from the seed alone, and what it states is what the
//! oracle finds when it reads the log.

use std::collections::BTreeSet;

use clap::Parser;
use nazar::load::block::Block;
use nazar::load::cli::{Cli, Command};
use nazar::load::compare::Differences;
use nazar::load::generator::Generator;
use nazar::load::kafka::LogRecord;
use nazar::load::kind::{Kind, Reason};
use nazar::load::ledger::Ledger;
use nazar::load::oracle::definitions::Definitions;
use nazar::load::oracle::facts::Facts;
use nazar::load::oracle::judge::{Judge, Verdict};
use nazar::load::plan::{Plan, plan};
use nazar::load::scenario::Scenario;
use nazar::load::scenario::judge::judge;
use nazar::load::scenario::statement::{Account, Claim, Statement};
use nazar::load::traffic::Traffic;
use nazar::load::workload::{Record, Workload};

const SHOP: &str = "--products 2000 --categories 16 --sellers 60 --users 20000 --partitions 6 \
                    --base-time 1785000000000 --seed 11";

fn traffic(options: &str) -> Traffic {
    let words = format!("nazar-load plan {SHOP} {options}");
    match Cli::try_parse_from(words.split_whitespace()).unwrap().command {
        Command::Plan(args) => args.traffic().unwrap(),
        _ => unreachable!(),
    }
}

fn records(traffic: &Traffic) -> Vec<Record> {
    Workload::new(traffic.workload.clone()).collect()
}

fn definitions(traffic: &Traffic, deduplicate: bool) -> Definitions {
    let topics: Vec<String> =
        Kind::ALL.map(|kind| format!(r#""{}": "{}""#, kind.name(), traffic.topic(kind))).into();
    Definitions::parse(&format!(
        r#"{{"topics": {{{}}},
            "windows": [{{"label": "1m", "size_ms": 60000, "slide_ms": 1000, "closed_step_ms": 60000}}],
            "dimensions": [{{"name": "product", "field": "product_id"}}, {{"name": "seller", "field": "seller_id"}}],
            "boards": [], "lateness_ms": 60000, "max_future_ms": 300000, "base_pane_ms": 1000,
            "currency": "USD", "deduplicate": {deduplicate}}}"#,
        topics.join(", ")
    ))
    .unwrap()
}

/// The log of these records as the oracle reads it.
fn facts(definitions: &Definitions, records: &[Record]) -> Facts {
    let mut facts = Facts::new(definitions);
    for kind in Kind::ALL {
        for partition in 0..6 {
            let place = facts.add_partition(kind.name(), partition);
            let mut judge = Judge::new(definitions, kind);
            let is_here = |record: &&Record| record.kind == kind && record.partition == partition;
            for (offset, record) in (0..).zip(records.iter().filter(is_here)) {
                let read = LogRecord {
                    offset,
                    kafka_time_ms: Some(record.create_time_ms),
                    payload: record.payload.as_deref(),
                };
                if let Verdict::Applied(valid) = judge.judge(&read) {
                    facts.push(place, offset, &valid);
                }
            }
        }
    }
    facts.sort();
    facts
}

/// What contradicts the account in these records.
fn contradictions(
    account: &Account,
    traffic: &Traffic,
    records: &[Record],
    deduplicate: bool,
) -> Differences {
    let definitions = definitions(traffic, deduplicate);
    let mut differences = Differences::default();
    let judged = judge(account, &definitions, &facts(&definitions, records), &mut differences);
    assert_eq!(judged as usize, account.statements.as_ref().unwrap().len());
    differences
}

/// Six minutes at 300 records a second, ordinarily.
fn asked(scenario: Scenario) -> String {
    format!("--for 6m --rate 300 --scenario {}", scenario.name())
}

fn planned(options: &str) -> (Traffic, Plan, Account) {
    let traffic = traffic(options);
    let plan = plan(&traffic);
    let account = plan.scenario.clone().unwrap();
    (traffic, plan, account)
}

#[test]
fn the_statements_of_each_scenario_are_what_the_oracle_finds() {
    for scenario in Scenario::ALL {
        for faults in ["", " --inject usual,dup=3%,drift=2% --arrivals poisson --order-events"] {
            let (traffic, plan, account) = planned(&(asked(scenario) + faults));
            let records = records(&traffic);
            assert_eq!(plan.records, records.len() as u64);
            for deduplicate in [false, true] {
                let found = contradictions(&account, &traffic, &records, deduplicate);
                assert_eq!(found.first, [], "{}{faults}", scenario.name());
            }
            assert!(account.lines().len() >= 3, "{}", account.text());
        }
    }
}

#[test]
fn a_stream_that_was_tampered_with_contradicts_them() {
    for scenario in Scenario::ALL {
        let (traffic, _, account) = planned(&asked(scenario));
        let mut records = records(&traffic);
        // Of what the scenario is about one record in five is lost, or somebody is there at night.
        match scenario {
            Scenario::Night => {
                let pause =
                    account.statements.iter().flatten().find(|one| one.claim == Claim::Empty);
                let time_ms = pause.expect("a night has pauses").first_end_ms - 1;
                let payload = format!(r#"{{"timestamp":{time_ms}}}"#).into_bytes();
                let place = records.partition_point(|record| record.intended_ms < time_ms);
                let mut extra = records[place].clone();
                (extra.payload, extra.meta.create_time_ms) = (Some(payload), time_ms);
                records.insert(place, extra);
            }
            scenario => {
                let kind = match scenario {
                    Scenario::BlackFriday => Kind::Purchase,
                    _ => Kind::Click,
                };
                let mut at = 0;
                records.retain(|record| {
                    at += u32::from(record.kind == kind);
                    record.kind != kind || !at.is_multiple_of(5)
                });
            }
        }
        let found = contradictions(&account, &traffic, &records, false);
        assert!(found.count > 0, "{}", scenario.name());
    }
}

/// The digest of the stream, made on so many threads.
fn digest(traffic: &Traffic, threads: usize) -> String {
    let mut generator = Generator::new(traffic.workload.clone());
    let mut blocks = vec![Block::default(); threads];
    let mut ledger = Ledger::default();
    loop {
        generator.fill(&mut blocks);
        blocks.iter().for_each(|block| ledger.note(block, block.len()));
        if blocks.iter().any(Block::is_empty) {
            return ledger.digest();
        }
    }
}

#[test]
fn the_seed_decides_and_the_number_of_threads_does_not() {
    let mut digests = BTreeSet::from([digest(&traffic("--for 6m --rate 300"), 1)]);
    for scenario in Scenario::ALL {
        let traffic = traffic(&(asked(scenario) + " --inject usual"));
        let alone = digest(&traffic, 1);
        assert_eq!(digest(&traffic, 3), alone, "{}", scenario.name());
        assert_eq!(digest(&traffic, 8), alone, "{}", scenario.name());
        digests.insert(alone);
        let mut other = traffic;
        other.workload.seed += 1;
        digests.insert(digest(&other, 1));
    }
    assert_eq!(digests.len(), 1 + 2 * Scenario::ALL.len());
}

#[test]
fn an_account_of_what_was_sent_is_that_of_the_beginning() {
    let traffic = traffic(&asked(Scenario::FlashSale));
    let mut generator = Generator::new(traffic.workload.clone());
    let (mut block, mut ledger) = (Block::default(), Ledger::default());
    ledger.follow(&traffic.workload);
    generator.fill(std::slice::from_mut(&mut block));
    ledger.note(&block, 700);
    let minutes = ledger.tally().unwrap().minutes();
    assert_eq!(minutes.iter().map(|minute| minute.sums.events.most).sum::<u64>(), 700);
}

fn claims(account: &Account) -> Vec<&Statement> {
    account.statements.iter().flatten().collect()
}

/// The bounds of a field of the totals, in the order in which they are stated.
fn totals(account: &Account, wanted: &str) -> Vec<(u64, u64)> {
    let of = |one: &Statement| match &one.claim {
        Claim::Total { field, least, most } if field == wanted => Some((*least, *most)),
        _ => None,
    };
    claims(account).into_iter().filter_map(of).collect()
}

/// How many windows in a row somebody leads a board.
fn led(account: &Account, wanted: &str) -> usize {
    let of = |one: &&Statement| match &one.claim {
        Claim::Leads { dimension, metric, .. } => format!("{dimension}:{metric}") == wanted,
        _ => false,
    };
    claims(account).into_iter().find(of).map_or(0, |one| one.ends().count())
}

#[test]
fn a_flash_sale_shows() {
    let (_, _, account) = planned(&asked(Scenario::FlashSale));
    assert!(led(&account, "product:clicks") >= 2, "{}", account.text());
    assert!(led(&account, "product:orders") >= 1, "{}", account.text());
    let [(_, before), (peak, _)] = totals(&account, "clicks")[..] else { unreachable!() };
    assert!(peak > 4 * before, "{}", account.text());
    let [(_, before), (peak, _)] = totals(&account, "conversion")[..] else { unreachable!() };
    assert!(peak > before, "{}", account.text());
}

#[test]
fn a_hot_seller_comes_up() {
    let (_, _, account) = planned(&asked(Scenario::HotSeller));
    assert!(led(&account, "seller:clicks") >= 3, "{}", account.text());
    let scores: Vec<u64> = claims(&account)
        .into_iter()
        .filter_map(|one| match one.claim {
            Claim::Score { ref metric, least, .. } if metric == "clicks" => Some(least),
            _ => None,
        })
        .collect();
    assert!(scores.len() == 2 && scores[1] > 3 * scores[0], "{}", account.text());
}

#[test]
fn of_bots_there_are_many_clicks_and_few_users() {
    let (_, _, account) = planned(&asked(Scenario::BotAttack));
    assert!(led(&account, "product:clicks") >= 2, "{}", account.text());
    let [(_, clicks_before), (clicks, _)] = totals(&account, "clicks")[..] else { unreachable!() };
    assert!(2 * clicks > 4 * clicks_before, "{}", account.text());
    let users: Vec<(Option<&str>, u64, u64)> = claims(&account)
        .into_iter()
        .filter_map(|one| match &one.claim {
            Claim::Users { product, least, most } => Some((product.as_deref(), *least, *most)),
            _ => None,
        })
        .collect();
    let [(None, _, before), (None, _, during), (Some(_), _, of_target)] = users[..] else {
        panic!("{}", account.text())
    };
    assert!(during < 2 * before && of_target < 60, "{}", account.text());
    let [(before, _), (_, during)] = totals(&account, "conversion")[..] else { unreachable!() };
    assert!(during < before, "{}", account.text());
}

#[test]
fn black_friday_sells_more_to_the_same_clicks() {
    let ordinary = traffic("--for 6m --rate 300");
    let friday = traffic(&asked(Scenario::BlackFriday));
    let share = |traffic: &Traffic| {
        let records = records(traffic);
        let of = |kind: Kind| records.iter().filter(|record| record.kind == kind).count() as f64;
        (of(Kind::Purchase) / of(Kind::Click), records.len() as f64)
    };
    let ((ordinarily, records), (conversion, more)) = (share(&ordinary), share(&friday));
    assert!(conversion > 2.0 * ordinarily, "{conversion} {ordinarily}");
    assert!((2.4..2.8).contains(&(more / records)), "{more} {records}");
}

#[test]
fn at_night_some_partitions_and_minutes_are_silent() {
    let (traffic, plan, account) = planned("--for 20m --rate 300 --scenario night");
    assert!(plan.records < 300 * 1200 / 15, "{}", plan.records);
    let pauses = claims(&account).into_iter().filter(|one| one.claim == Claim::Empty).count();
    assert!(pauses >= 3, "{}", account.text());
    // Of six partitions two are silent, in each topic; the others are not.
    let records = records(&traffic);
    for silent in &account.silent {
        let kind = Kind::ALL.into_iter().find(|&kind| traffic.topic(kind) == silent.topic).unwrap();
        let used: BTreeSet<u32> =
            records.iter().filter(|one| one.kind == kind).map(|one| one.partition).collect();
        assert_eq!(silent.partitions.len(), 2);
        assert!(silent.partitions.iter().all(|partition| !used.contains(partition)));
        assert_eq!(used.len(), 4, "{used:?}");
    }
    assert_eq!(account.silent.len(), 3);
}

#[test]
fn a_scenario_takes_the_rates_and_the_length_it_is_given() {
    let profile = "2m@100,2m@200";
    let given = traffic(&format!("--profile {profile} --scenario flash-sale@3m"));
    assert_eq!(given.parameters["profile"], profile);
    assert_eq!(given.parameters["scenario"], "flash-sale@180s..240s");
    assert_eq!(records(&given).len(), 36_000);
    let span = traffic("--events 50000 --event-time-span 1h --scenario black-friday");
    assert_eq!(records(&span).len(), 50_000);
    assert_eq!(span.parameters["end_ms"], "1785000000000");
    let rate = traffic("--events 6000 --rate 100 --scenario bot-attack");
    assert_eq!(rate.parameters["scenario"], "bot-attack@24s..48s");
    let clean = records(&traffic("--for 6m --rate 300 --scenario night"));
    assert!(clean.iter().all(|record| record.label == Reason::Applied));
}

#[test]
fn a_plan_says_what_must_become_visible() {
    let (_, plan, _) = planned(&asked(Scenario::BotAttack));
    insta::assert_snapshot!("plan_of_a_bot_attack", plan.text());
}
