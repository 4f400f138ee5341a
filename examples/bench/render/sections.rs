//! What is no table of ratios and no curve.

use std::collections::BTreeMap;

use super::ratios::verified;
use super::stats::{mebibytes, significant};
use super::{Measured, NOT_MEASURED, table};
use crate::circumstances::Circumstances;
use crate::row::Row;

/// Which rows were measured where, and with what; the most first.
pub fn circumstances(measured: &Measured) -> String {
    let mut by: BTreeMap<&Circumstances, Vec<&str>> = BTreeMap::new();
    for row in &measured.rows {
        let cases = by.entry(&row.circumstances).or_default();
        if cases.last() != Some(&row.case.as_str()) {
            cases.push(&row.case);
        }
    }
    if by.is_empty() {
        return NOT_MEASURED.to_owned();
    }
    let mut all: Vec<_> = by.into_iter().collect();
    all.sort_by_key(|(_, cases)| std::cmp::Reverse(cases.len()));
    let mut text = String::new();
    for (number, (one, cases)) in all.into_iter().enumerate() {
        let which = if number == 0 { String::new() } else { format!("{}: ", cases.join(", ")) };
        let Circumstances { date, commit, cpu, cores, memory_bytes, kernel, nazar, kafka, redis } =
            one;
        text += &format!(
            "- {which}{date}, commit {commit}; {cpu}, {cores} cores, {} MiB, Linux {kernel}; \
             {nazar}; Kafka {kafka}, Redis {redis}\n",
            mebibytes(*memory_bytes as f64),
        );
    }
    let loads: Vec<f64> = measured.rows.iter().filter_map(|row| row.load_average).collect();
    let least = loads.iter().copied().fold(f64::INFINITY, f64::min);
    let most = loads.iter().copied().fold(0.0, f64::max);
    if least.is_finite() {
        text += &format!(
            "- load average of the last minute when a run began: {} to {}, with broker, Redis and the \
             run before in it\n",
            significant(least),
            significant(most)
        );
    }
    text
}

pub fn freshness(measured: &Measured) -> String {
    let Some(row) = measured.of("freshness", "nazar").next() else {
        return NOT_MEASURED.to_owned();
    };
    let figure = |name: &str| row.figures.get(name).copied();
    let millis =
        |name: &str| figure(name).map_or("-".to_owned(), |ms| format!("{} ms", significant(ms)));
    let percentiles = |clock: &str| {
        ["p50", "p99", "p999", "max"].map(|name| millis(&format!("{clock}_{name}_ms")))
    };
    let line = |name: &str, clock: &str| {
        let mut cells = vec![name.to_owned()];
        cells.extend(percentiles(clock));
        cells
    };
    let lines = [
        line("from its scheduled time until it is visible in Redis", "visible"),
        line("from its sending until it is visible in Redis", "visible_from_sending"),
        line("from its scheduled time until Kafka has acknowledged it", "ack"),
    ];
    let mut text = table(&["an event", "p50", "p99", "p99.9", "max"], lines);
    let swaps = figure("swaps").unwrap_or(0.0).max(1.0);
    let redis = row.redis_processor_seconds.unwrap_or(0.0);
    text += &format!(
        "\n- {} events/s, {} processor seconds of nazar per million events, peak memory {} MiB\n\
         - Redis: {} processor seconds a second, {} ms for each of {swaps} swaps of views\n\
         - from the start of a process to its first board in Redis: {}; with state from a checkpoint: {}\n\
         - verified: {}\n",
        row.figures.get("rate").copied().unwrap_or_default(),
        significant(row.processor_seconds_per_million()),
        mebibytes(row.spent.peak_rss_bytes as f64),
        significant(redis / row.seconds),
        significant(redis * 1000.0 / swaps),
        millis("first_start_ms"),
        millis("next_start_ms"),
        verified(std::iter::once(row)),
    );
    text
}

/// The whole process; what a part of it takes is in the table of stages.
pub fn memory(measured: &Measured) -> String {
    let peak = |program| {
        let bytes = |row: &Row| row.spent.peak_rss_bytes as f64;
        measured.of("memory", program).map(bytes).reduce(f64::max)
    };
    let (Some(nazar), Some(ceiling)) = (peak("nazar"), peak("ceiling")) else {
        return NOT_MEASURED.to_owned();
    };
    let rows: Vec<&Row> = measured.of("memory", "nazar").collect();
    let events = rows.first().map_or(0, |row| row.events);
    // As in the case's own reckoning: draws of a million products that are all alike.
    let draws = events as f64 * 0.93 / 96.0;
    let cells = 96.0 * 1e6 * (1.0 - (-draws / 1e6).exp());
    format!(
        "Peak {} MiB; the ceiling, which reads the same log, {} MiB: {} million events over 24 h, about {} \
         million (product, pane) cells of clicks. Verified: {}.\n",
        mebibytes(nazar),
        mebibytes(ceiling),
        significant(events as f64 / 1e6),
        significant(cells / 1e6),
        verified(rows.into_iter()),
    )
}
