//! The page of a run, from what matters most to what is looked up.

use super::axis::{millis, rate};
use super::chart::{Chart, Width};
use super::limits::Limit;
use super::markup::Html;
use super::rows::{self, Row};
use super::run_charts::Over;
use super::{
    Tile, absent, banner, heading, limits, note, percentiles, run_tables, run_truth, standing,
    tiles,
};
use crate::load::artefacts::latency::Distribution;
use crate::load::artefacts::left::RunLeft;
use crate::load::latency::meter::Stage;
use crate::load::terminal::words::grouped;

pub fn body(left: &RunLeft) -> Html {
    let rows = left.timeline.as_deref().map(rows::rows).unwrap_or_default();
    let bounds = limits::bounds(&left.run);
    let over = Over { rows: &rows, bounds: &bounds };
    let mut html = Html::default();
    head(&mut html, left);
    banner(&mut html, &standing::of(&left.run));
    left.notes.iter().for_each(|text| note(&mut html, text));
    tiles(&mut html, &key_figures(left, &rows));
    heading(&mut html, "Thresholds");
    match run_tables::thresholds(&left.run) {
        Some(table) => html.append(&table.html()),
        None => absent(&mut html, "None were asked for (--threshold)."),
    }
    over_time(&mut html, left, &over);
    distribution(&mut html, left, limits::by_percentile(&bounds));
    behind(&mut html, left, &over);
    truth(&mut html, left);
    heading(&mut html, "Run");
    html.raw("<div class=\"side-by-side\">\n");
    html.append(&run_tables::parameters(&left.run).html());
    html.append(&run_tables::versions(&left.run).html());
    match run_tables::environment(&left.run) {
        Some(table) => html.append(&table.html()),
        None => absent(&mut html, "run.json does not say on which machine it was made."),
    }
    html.raw("</div>\n");
    html
}

fn head(html: &mut Html, left: &RunLeft) {
    html.raw("<h1>nazar-load run</h1>\n");
    let run = &left.run;
    let what = run.parameters.get("profile").cloned();
    let what = what.unwrap_or_else(|| "as fast as the broker takes it".to_owned());
    note(html, &format!("{what} · seed {} · {:.1} s", run.seed, run.seconds));
}

fn key_figures(left: &RunLeft, rows: &[Row]) -> Vec<Tile> {
    let run = &left.run;
    let tile = |name, figure: String, beside: String| Tile { name, figure, beside };
    let topics = run.topics.len();
    let mut tiles = vec![tile("Records", grouped(run.records), format!("to {topics} topics"))];
    tiles.push(match achieved(rows) {
        Some((intended, sent)) => {
            let share = 100.0 * sent / intended;
            let intended = grouped(intended.round() as u64);
            let beside = format!("of {intended}/s intended: {share:.1}%");
            tile("Rate achieved", format!("{}/s", grouped(sent.round() as u64)), beside)
        }
        None => tile("Rate achieved", rate(run.events_per_second), "without a schedule".to_owned()),
    });
    let latency = run.latency.as_ref();
    let p99 = |distribution: &Distribution| match distribution.p99_ms {
        Some(ms) => millis(ms),
        None => "too few".to_owned(),
    };
    for (name, stage) in [("Visible p99", Stage::Visible), ("Ack p99", Stage::Ack)] {
        let clock = latency.and_then(|latency| latency.clock(stage));
        tiles.push(match clock {
            Some(clock) => {
                let uncorrected = clock.uncorrected.as_ref().map_or("-".to_owned(), p99);
                tile(name, p99(&clock.corrected), format!("from sending {uncorrected}"))
            }
            None => tile(name, "–".to_owned(), "not measured".to_owned()),
        });
    }
    let backlog = left.timeline.as_deref().and_then(rows::backlog_max);
    let behind = format!("generator behind {}", millis(run.behind_max_ms as f64));
    tiles.push(match backlog {
        Some(records) => tile("Backlog at most", grouped(records as u64), behind),
        None => tile("Backlog at most", "–".to_owned(), behind),
    });
    tiles.push(match &run.verify {
        Some(report) => {
            let beside = format!("{} records recounted", grouped(report.records));
            tile("Differences", grouped(report.differences.count), beside)
        }
        None => tile("Differences", "–".to_owned(), "not verified".to_owned()),
    });
    tiles
}

/// The rates intended and sent while there was something to send, after the warm-up.
fn achieved(rows: &[Row]) -> Option<(f64, f64)> {
    // The schedule ends somewhere within the last stretch, which says nothing of its rate.
    let last = rows.iter().rposition(|row| row.intended > 0.0)?;
    let rows = if last > 0 && !rows[last - 1].warmup { &rows[..last] } else { rows };
    let counted = || rows.iter().filter(|row| !row.warmup && row.intended > 0.0);
    let seconds: f64 = counted().map(|row| row.to - row.from).sum();
    let mean = |of: fn(&Row) -> f64| {
        counted().map(|row| of(row) * (row.to - row.from)).sum::<f64>() / seconds
    };
    (seconds > 0.0).then(|| (mean(|row| row.intended), mean(|row| row.sent)))
}

fn charts(html: &mut Html, charts: &[Chart]) {
    html.raw("<div class=\"charts\">\n");
    charts.iter().for_each(|chart| html.append(&chart.figure()));
    html.raw("</div>\n");
}

const NO_TIMELINE: &str = "The directory holds no timeline.jsonl: a run as fast as possible, \
                           without --profile or --rate, has none.";
const NOT_WATCHED: &str = "When records became visible was not watched: the run had no --redis.";

fn over_time(html: &mut Html, left: &RunLeft, over: &Over<'_>) {
    let rows = over.rows;
    heading(html, "Rates");
    if rows.is_empty() {
        absent(html, NO_TIMELINE);
        return;
    }
    charts(html, &[over.rates()]);
    let is_watched = rows.iter().any(|row| row.visible.is_some());
    if !is_watched {
        absent(html, NOT_WATCHED);
    }
    heading(html, "Latency over time");
    note(
        html,
        "From the intended time of each record. Of what happened in each stretch, the warm-up included.",
    );
    let mut shown = Vec::new();
    if is_watched {
        shown.push(over.latency(Stage::Visible, Width::Whole));
    }
    shown.push(over.latency(Stage::Ack, Width::Half));
    shown.push(over.latency(Stage::Schedule, Width::Half));
    charts(html, &shown);
    if left.timeline.as_ref().is_some_and(|lines| lines.len() > rows.len() + 1) {
        note(
            html,
            "Neighbouring lines of the timeline are joined: rates are their means, latencies the worst of them.",
        );
    }
    html.raw("<details><summary>The same as a table</summary>\n");
    html.append(&run_tables::timeline(rows).html());
    html.raw("</details>\n");
}

fn distribution(html: &mut Html, left: &RunLeft, limits: Vec<Limit>) {
    heading(html, "Latency by percentile");
    let Some(table) = run_tables::latency(&left.run) else {
        absent(html, "Not measured: without a schedule there is no intended time to count from.");
        return;
    };
    match left.histograms.as_ref().map(|all| percentiles::chart(all, limits)) {
        Some(Some(chart)) => charts(html, &[chart]),
        Some(None) => absent(html, "latency.hlog holds too few measurements for a curve."),
        None => absent(html, "The directory holds no latency.hlog, so there is no curve."),
    }
    html.append(&table.html());
    run_tables::latency_notes(&left.run).iter().for_each(|text| note(html, text));
}

fn behind(html: &mut Html, left: &RunLeft, over: &Over<'_>) {
    let rows = over.rows;
    heading(html, "Lag");
    if rows.is_empty() {
        absent(html, NO_TIMELINE);
        return;
    }
    let mut shown = Vec::new();
    if rows.iter().any(|row| row.backlog.is_some()) {
        shown.push(over.backlog());
    }
    shown.push(over.behind());
    let has_daemon = rows.iter().any(|row| row.lag_records.is_some() || row.lag_seconds.is_some());
    if has_daemon {
        shown.extend(over.daemon_lag());
    }
    charts(html, &shown);
    if let Some(validity) = &left.run.validity {
        let share = 100.0 * validity.late as f64 / validity.records.max(1) as f64;
        note(
            html,
            &format!(
                "{share:.2}% of {} records were handed over more than {} after their time; up to 1% may be.",
                grouped(validity.records),
                millis(validity.max_behind_ms)
            ),
        );
    }
    if !has_daemon {
        absent(
            html,
            "The daemon's own metrics were not watched (--daemon-metrics), or said nothing.",
        );
    }
}

fn truth(html: &mut Html, left: &RunLeft) {
    heading(html, "Ledger");
    html.append(&run_truth::ledger(&left.run).html());
    run_truth::ledger_notes(&left.run).iter().for_each(|text| note(html, text));
    if let Some(scenario) = &left.run.scenario {
        heading(html, "Scenario");
        note(html, scenario.text().lines().next().unwrap_or_default());
        scenario.lines().iter().for_each(|text| note(html, text));
    }
    heading(html, "Verification");
    let Some(report) = &left.run.verify else {
        absent(
            html,
            "Nothing was verified: the run had no --verify, and no result of a later \
                      `nazar-load verify DIR --json` is in verify.json.",
        );
        return;
    };
    note(
        html,
        &format!(
            "{} records were recounted in {:.1} s and compared with Redis: {}.",
            grouped(report.records),
            report.seconds,
            match report.differences.count {
                0 => "no difference".to_owned(),
                count => format!("{} differences", grouped(count)),
            }
        ),
    );
    html.append(&run_truth::views(report).html());
    report.notes.iter().for_each(|text| note(html, text));
    if let Some(table) = run_truth::differences(report) {
        html.append(&table.html());
    }
    let more = report.differences.count.saturating_sub(report.differences.first.len() as u64);
    if more > 0 {
        note(html, &format!("And {} more.", grouped(more)));
    }
}
