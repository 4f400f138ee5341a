//! The Grafana board: that it is well made, that it asks for metrics which exist, and that a
//! live Prometheus answers every one of its queries.
//!
//! Prometheus scrapes our own HTTP server, which renders the daemon's registry while plausible
//! traffic is fed into it through the same methods that the daemon uses. What a whole daemon
//! feeds is the business of the system tests.

mod alerts;
mod board;
mod feed;
mod prometheus;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nazar::health::Health;
use nazar::http::{Pages, Server};

use board::{Board, Query};
use prometheus::Prometheus;

/// Families that no panel needs: shown by others, or of use only in a query of one's own.
const NOT_ON_THE_BOARD: [&str; 4] = [
    "nazar_consumed_bytes_total",
    "nazar_kafka_applied_offset",
    "nazar_kafka_end_offset",
    "nazar_kafka_ends_learnt_timestamp_seconds",
];

#[test]
fn every_metric_asked_for_exists_and_every_metric_is_asked_for() {
    let defined: BTreeSet<&str> =
        feed::metrics().definitions().iter().map(|definition| definition.name).collect();
    let mut asked = BTreeSet::new();
    for Query { place, expression } in Board::read().queries() {
        let families = board::families(&expression);
        assert!(!families.is_empty(), "{place} asks for nothing: {expression}");
        for family in families {
            let ours = defined.iter().find(|&&name| board::is_series_of(&family, name));
            match ours {
                Some(&name) => drop(asked.insert(name)),
                None => assert!(family.starts_with("process_"), "{place}: no {family}"),
            }
        }
    }
    let unasked: Vec<&str> = defined.difference(&asked).copied().collect();
    let mut allowed = NOT_ON_THE_BOARD.to_vec();
    allowed.sort_unstable();
    assert_eq!(unasked, allowed);
}

#[test]
fn the_board_is_well_made() {
    Board::read().check();
}

#[test]
fn a_live_prometheus_answers_every_query() {
    let Some(binary) = prometheus::find() else {
        let word = "prometheus is not installed (scripts/bootstrap --tests)";
        assert!(std::env::var_os("NAZAR_REQUIRE_REAL").is_none_or(|real| real != "1"), "{word}");
        return eprintln!("SKIPPED a_live_prometheus_answers_every_query: {word}");
    };
    let metrics = Arc::new(feed::metrics().with_process());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Server::bind("127.0.0.1:0")).unwrap();
    let target = server.address();
    let pages = Pages {
        metrics: Arc::new({
            let metrics = metrics.clone();
            move || metrics.render()
        }),
        health: Arc::new(Health::default()),
    };
    runtime.spawn(server.run(pages, std::future::pending()));
    runtime.spawn(async move {
        for step in 0.. {
            feed::step(&metrics, step);
            tokio::time::sleep(feed::STEP).await;
        }
    });

    let prometheus = Prometheus::start(&binary, target);
    prometheus.wait_for_scrapes(6, Duration::from_secs(60));
    let queries = Board::read().queries();
    assert!(queries.len() > 50, "only {} queries found", queries.len());
    // Some things are seldom, such as a rebalance: a query has a while to see one.
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut unanswered = queries;
    while !unanswered.is_empty() && Instant::now() < deadline {
        unanswered.retain(|query| !answers(&prometheus, query));
        std::thread::sleep(Duration::from_millis(500));
    }
    let unanswered: Vec<String> =
        unanswered.iter().map(|query| format!("{}: {}", query.place, query.expression)).collect();
    assert_eq!(unanswered, Vec::<String>::new());

    // The proof can fail: a query that asks for nothing that exists has no answer.
    assert_eq!(prometheus.query("nazar_no_such_metric").unwrap(), Vec::<f64>::new());
}

/// Whether at least one series with a number comes back. An error of Prometheus is ours at once.
fn answers(prometheus: &Prometheus, query: &Query) -> bool {
    let answer = prometheus.query(&board::interpolate(&query.expression));
    let values = answer.unwrap_or_else(|error| panic!("{}: {error}", query.place));
    values.iter().any(|value| !value.is_nan())
}
