use std::collections::BTreeSet;

use super::*;
use crate::lag::Lag;
use crate::pipeline::delivery::Partition;
use crate::time::EventTime;

const DOCS: &str = include_str!("../../docs/METRICS.md");
const PROCESS: &str = "process_";

fn metrics() -> Metrics {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    Metrics::new(&Labels {
        topics: &[(Kind::Click, "click".into()), (Kind::Purchase, "purchase".into())],
        dimensions: &owned(&["product"]),
        windows: &owned(&["1m", "24h"]),
        malformed: &["invalid_json", "empty_id"],
        redis_errors: &["oom", "io"],
    })
}

/// The value of a series, written as in the exposition: `name{label="value"}`.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

fn series_count(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn a_fresh_instance_shows_every_closed_series_at_zero_and_no_sentinel() {
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    let text = metrics()
        .render()
        .replace(env!("CARGO_PKG_VERSION"), "[version]")
        .replace(&librdkafka, "[librdkafka]")
        .replace(option_env!("NAZAR_REVISION").unwrap_or("unknown"), "[revision]");
    insta::assert_snapshot!("fresh_instance", text);
}

#[test]
fn the_documentation_names_every_family_with_its_labels_and_no_other() {
    // Rows are `| `name{label,label}` | type | …`.
    let documented: BTreeSet<String> = DOCS
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .filter(|name| name.starts_with("nazar_") || name.starts_with(PROCESS))
        .map(str::to_owned)
        .collect();
    let metrics = metrics().with_process();
    let mut defined: BTreeSet<String> = metrics
        .definitions()
        .iter()
        .map(|definition| match definition.labels.as_slice() {
            [] => definition.name.to_owned(),
            labels => format!("{}{{{}}}", definition.name, labels.join(",")),
        })
        .collect();
    let text = metrics.render();
    let process = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    defined.extend(process.filter(|name| name.starts_with(PROCESS)).map(str::to_owned));
    assert_eq!(documented, defined);
}

#[test]
fn names_follow_the_conventions() {
    let text = metrics().render();
    for Definition { name, help, .. } in metrics().definitions() {
        assert!(name.starts_with("nazar_"), "{name}");
        assert!(help.ends_with('.'), "{name}");
        if let Some(kind) = text.lines().find_map(|l| l.strip_prefix(&format!("# TYPE {name} "))) {
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        }
    }
}

#[test]
fn the_ledger_closes_in_every_scrape_while_others_write() {
    let metrics = metrics();
    let topic = metrics.topic(Kind::Click).unwrap();
    let gain = |n: u64| Ledger {
        consumed: 6 * n,
        applied: n,
        late: n,
        duplicate: n,
        malformed: n,
        future: n,
        tombstone: n,
        foreign_currency: 0,
    };
    let difference = |text: &str| {
        let sum = |prefix: &str| -> f64 {
            let lines = text.lines().filter(|line| line.starts_with(prefix));
            lines.map(|line| line.split(' ').nth(1).unwrap().parse::<f64>().unwrap()).sum()
        };
        sum("nazar_events_consumed_total{topic=\"click\"}")
            - sum("nazar_events_applied_total{topic=\"click\"}")
            - sum("nazar_events_dropped_total{reason=")
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..2000).for_each(|n| topic.record(&gain(n), &gain(n + 1))));
        }
        for _ in 0..50 {
            assert_eq!(difference(&metrics.render()), 0.0);
        }
    });
    let text = metrics.render();
    assert_eq!(value(&text, "nazar_events_consumed_total{topic=\"click\"}"), Some(24_000.0));
    // A seek back lowers a partition's ledger; what is read again counts again, nothing is undone.
    topic.record(&gain(2000), &gain(10));
    topic.record(&gain(10), &gain(11));
    let text = metrics.render();
    assert_eq!(value(&text, "nazar_events_applied_total{topic=\"click\"}"), Some(4_001.0));
}

#[test]
fn rule_1_a_revoked_partition_has_no_lag() {
    let metrics = metrics();
    let lag = &metrics.kafka.lag;
    let [mine, other] = [0, 1].map(|index| Partition { kind: Kind::Click, index });
    let before = metrics.render();
    for partition in [mine, other] {
        lag.set(partition, 7, 12, Some(Lag { records: 5, seconds: Some(0.5) }));
    }
    let series =
        |name: &str, index| format!("nazar_kafka_{name}{{partition=\"{index}\",topic=\"click\"}}");
    let text = metrics.render();
    assert_eq!(value(&text, &series("lag_records", 0)), Some(5.0));
    assert_eq!(value(&text, &series("lag_seconds", 1)), Some(0.5));
    assert_eq!(value(&text, &series("applied_offset", 1)), Some(7.0));
    assert_eq!(value(&text, &series("end_offset", 1)), Some(12.0));

    lag.set(other, 7, 12, Some(Lag { records: 5, seconds: None }));
    let text = metrics.render();
    assert_eq!(value(&text, &series("lag_seconds", 1)), None, "unknown seconds have no series");
    assert_eq!(value(&text, &series("lag_records", 1)), Some(5.0));

    lag.retain(|partition| partition == mine);
    assert_eq!(series_count(&metrics.render()), series_count(&before) + 4);
    lag.set(mine, 0, 0, None);
    assert_eq!(metrics.render(), before, "no lag is known: nothing of it is shown");
}

#[test]
fn the_watermark_names_the_one_partition_it_waits_for() {
    let metrics = metrics();
    let time = &metrics.time;
    time.group_watermark.set(EventTime::MIN);
    assert!(!metrics.render().contains("nazar_group_watermark_timestamp_seconds"));
    time.group_watermark.set(EventTime::from_millis(1_500));
    time.held_back_by.set(Some(Partition { kind: Kind::Click, index: 3 }));
    time.held_back_by.set(Some(Partition { kind: Kind::Purchase, index: 4 }));
    let text = metrics.render();
    assert_eq!(value(&text, "nazar_group_watermark_timestamp_seconds"), Some(1.5));
    let held: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("nazar_group_watermark_held_back_by{"))
        .collect();
    assert_eq!(held, ["nazar_group_watermark_held_back_by{partition=\"4\",topic=\"purchase\"} 1"]);
    time.held_back_by.set(None);
    assert!(!metrics.render().contains("nazar_group_watermark_held_back_by{"));
}

#[test]
fn two_hundred_partitions_stay_within_the_budget_of_series() {
    let metrics = metrics();
    for index in 0..200 {
        let partition = Partition { kind: Kind::Click, index };
        metrics.kafka.lag.set(partition, 1, 2, Some(Lag::ZERO));
    }
    let count = series_count(&metrics.render());
    assert!(count <= 3000, "{count} series");
}

#[test]
fn a_total_kept_elsewhere_only_lifts_its_counter() {
    let metrics = metrics();
    let retries = &metrics.redis.retries;
    raise_to(retries, 5);
    raise_to(retries, 3);
    raise_to(retries, 7);
    assert_eq!(retries.get(), 7);
}
