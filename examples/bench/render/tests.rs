//! From rows to the page.

use super::*;
use crate::measured::Spent;
use crate::row::Verified;

fn row(case: &str, program: &str, round: u32, seconds: f64) -> Row {
    Row {
        case: case.into(),
        round,
        program: program.into(),
        events: 10_000_000,
        span_seconds: 1000,
        seconds,
        spent: Spent {
            user_seconds: seconds,
            system_seconds: seconds / 2.0,
            peak_rss_bytes: 64 << 20,
        },
        ..Row::default()
    }
}

fn measured(rows: Vec<Row>) -> Measured {
    Measured { rows, stages: Vec::new(), peers: Peers::here().unwrap() }
}

/// The page of the repository has a place for everything, measured or not.
#[test]
fn the_page_has_all_places() {
    let page = include_str!("../../../docs/PERFORMANCE.md");
    let nothing = places::filled(page, &parts(&measured(Vec::new()))).unwrap();
    assert_eq!(nothing.matches(NOT_MEASURED.trim()).count(), 12, "{nothing}");
}

#[test]
fn ratios_are_of_rounds() {
    // Rates in M/s: ceiling 4, 2, 1; nazar 2, 1, 0.8.
    let seconds = [(2.5, 5.0), (5.0, 10.0), (10.0, 12.5)];
    let rows = (1..).zip(seconds).flat_map(|(round, (ceiling, nazar))| {
        let mut last = row("sb1", "nazar", round, nazar);
        last.spent.peak_rss_bytes = 96 << 20;
        last.verified = (round == 1).then_some(Verified { windows: 7, ..Verified::default() });
        [row("sb1", "ceiling", round, ceiling), last]
    });
    let parts = parts(&measured(rows.collect()));
    let ratios = &parts["ratios"];
    let line = ratios.lines().find(|line| line.starts_with("| SB1 |")).unwrap();
    let expected = "| SB1 | 10.0 million over 16m 40s | 2.00 (1.00–4.00) | 1.00 (0.800–2.00) \
                    | **50 % (50 %–80 %)** | 3 | 0 differences in 7 windows, 0 members of boards |";
    assert_eq!(line, expected);
    assert!(ratios.contains("**1.50 (1.50–1.50)**"), "memory by that of the ceiling: {ratios}");
    // 0.5 x 3.6 / 1.06, and 0.5 x 2.1 / 0.43.
    let flink = parts["peers"].lines().find(|line| line.contains("by hand, chained")).unwrap();
    assert!(flink.ends_with("| **1.70** | **2.44** |"), "{flink}");
}

#[test]
fn a_curve_is_a_table_and_a_plot() {
    let point = |x: f64, program: &str, seconds: f64| Row {
        curve: Some("windows".into()),
        x: Some(x),
        ..row(&format!("windows-{x}"), program, 1, seconds)
    };
    // Not in order: a case that was measured again stands where it stood.
    let rows = [(1440.0, 10.0), (1.0, 8.0), (60.0, 9.0)]
        .into_iter()
        .flat_map(|(x, seconds)| [point(x, "ceiling", 5.0), point(x, "nazar", seconds)]);
    let measured = measured(rows.collect());
    let section = &parts(&measured)["windows"];
    let lines: Vec<&str> = section.lines().filter(|line| line.contains(" % |")).collect();
    assert_eq!(lines.len(), 3, "{section}");
    assert!(lines[0].starts_with("| 1 | 1.25 | 2.00 | 62 % |"), "{section}");
    assert!(lines[2].starts_with("| 1.4k | 1.00 | 2.00 | 50 % |"), "{section}");
    assert!(section.contains("(performance/windows.svg)"));
    let plots = curves::plots(&measured);
    let [(name, svg)] = &plots[..] else { panic!("one curve has points: {plots:?}") };
    assert_eq!(*name, "windows");
    assert_eq!(svg.matches("<circle").count(), 6, "{svg}");
    assert!(svg.contains("prefers-color-scheme: dark"));
}

#[test]
fn rows_are_replaced_by_case() {
    let docs = tempfile::tempdir().unwrap();
    let rows = |case: &str, seconds| vec![row(case, "nazar", 1, seconds)];
    for (case, seconds) in [("one", 1.0), ("two", 2.0), ("one", 3.0)] {
        row::replace(docs.path(), case, rows(case, seconds)).unwrap();
    }
    let left: Vec<Row> = row::read_lines(&row::path(docs.path())).unwrap();
    let left: Vec<_> = left.iter().map(|row| (row.case.as_str(), row.seconds)).collect();
    assert_eq!(left, [("one", 3.0), ("two", 2.0)]);
}
