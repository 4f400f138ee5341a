//! The alert rules: that they ask for metrics which exist, that each has a runbook, and that
//! Prometheus' own tool finds them firing when, and only when, they should.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{board, feed, prometheus};

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(file(path)).unwrap()
}

fn alerts(rules: &str) -> Vec<&str> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
}

#[test]
fn every_alert_asks_for_metrics_that_exist() {
    let defined: BTreeSet<&str> =
        feed::metrics().definitions().iter().map(|definition| definition.name).collect();
    for family in board::families(&read("deploy/prometheus/alerts.yml")) {
        let is_ours = defined.iter().any(|name| board::is_series_of(&family, name));
        assert!(is_ours || family.starts_with("process_"), "there is no {family}");
    }
}

#[test]
fn every_alert_has_a_runbook_and_a_test() {
    let rules = read("deploy/prometheus/alerts.yml");
    let (guide, tests) = (read("docs/METRICS.md"), read("deploy/prometheus/alerts_test.yml"));
    assert!(alerts(&rules).len() >= 12);
    for alert in alerts(&rules) {
        assert!(guide.contains(&format!("### {alert}\n")), "no runbook of {alert}");
        let link = format!("runbook: docs/METRICS.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&link), "{alert} does not link its runbook");
        assert!(tests.contains(alert), "{alert} is not tested");
    }
    let described = guide.lines().filter_map(|line| line.strip_prefix("### Nazar")).count();
    assert_eq!(described, alerts(&rules).len(), "runbooks without an alert");
}

#[test]
fn prometheus_own_tool_finds_them_firing_when_they_should() {
    let Some(promtool) = prometheus::find_tool("promtool") else {
        let word = "promtool is not installed (scripts/bootstrap --tests)";
        assert!(std::env::var_os("NAZAR_REQUIRE_REAL").is_none_or(|real| real != "1"), "{word}");
        return eprintln!("SKIPPED the alert rules: {word}");
    };
    let output = Command::new(promtool)
        .args(["test", "rules", "alerts_test.yml"])
        .current_dir(file("deploy/prometheus"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}
