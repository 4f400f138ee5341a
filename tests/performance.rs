//! The measuring program itself, with real parts and a log too short to mean anything: that it measures,
//! verifies, keeps and renders. Its figures are not looked at.

use std::path::Path;
use std::process::Command;

/// Where cargo has put the daemon; the examples are beside it. `cargo test` has built them; a run of
/// this test alone has not.
fn build() -> &'static Path {
    let programs = Path::new(env!("CARGO_BIN_EXE_nazar")).parent().unwrap();
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or("cargo".into()));
    cargo.args(["build", "--locked", "--quiet", "--example", "bench", "--example", "ceiling"]);
    cargo.arg("--target-dir").arg(programs.parent().unwrap());
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    // What cargo says to a test would make build scripts of dependencies run again.
    let said = |name: &str| name.starts_with("CARGO_") && name != "CARGO_HOME";
    for (name, _) in std::env::vars().filter(|(name, _)| said(name)) {
        cargo.env_remove(name);
    }
    assert!(cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
    programs
}

#[test]
fn a_case_is_measured_verified_and_rendered() {
    let programs = build();
    let docs = tempfile::tempdir().unwrap();
    let page = docs.path().join("PERFORMANCE.md");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/PERFORMANCE.md"), &page)
        .unwrap();
    let output = Command::new(programs.join("examples/bench"))
        .args(["run", "sb1", "instances-by-user-2", "--events", "20000", "--runs", "1"])
        .arg("--programs")
        .arg(programs)
        .arg("--docs")
        .arg(docs.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr.matches("verified: 0 differences in").count(), 2, "{stderr}");

    let rows = std::fs::read_to_string(docs.path().join("performance/runs.jsonl")).unwrap();
    let rows: Vec<serde_json::Value> =
        rows.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let programs: Vec<_> = rows.iter().map(|row| row["program"].as_str().unwrap()).collect();
    assert_eq!(programs, ["ceiling", "nazar", "nazar"]);
    for row in &rows {
        assert!(row["seconds"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["spent"]["user_seconds"].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["spent"]["peak_rss_bytes"].as_u64().unwrap() > 1 << 20, "{row}");
        assert_eq!(
            row["circumstances"]["commit"].as_str().map(str::is_empty),
            Some(false),
            "{row}"
        );
    }
    let text = std::fs::read_to_string(page).unwrap();
    assert!(text.contains("| SB1 | 0.020 million over 3m |"), "{text}");
    assert!(docs.path().join("performance/instances.svg").is_file());
}
