//! Curves: rate over one thing that varies, as a plot and as a table.

use nazar::load::html::axis::{self, Axis};
use nazar::load::html::chart::{Chart, Line, Width};

use super::stats::{Spread, millions, percent, significant};
use super::{Measured, NOT_MEASURED, table};
use crate::row::Row;

struct Curve {
    name: &'static str,
    title: &'static str,
    x_name: &'static str,
    is_log: bool,
    lines: &'static [Drawn],
}

/// A line of a plot: which rows it consists of, and how it looks.
struct Drawn {
    curve: &'static str,
    program: &'static str,
    name: &'static str,
    class: &'static str,
}

const fn pair(curve: &'static str) -> [Drawn; 2] {
    [
        Drawn { curve, program: "ceiling", name: "ceiling", class: "intended dashed" },
        Drawn { curve, program: "nazar", name: "nazar", class: "visible" },
    ]
}

const CURVES: [Curve; 4] = [
    Curve {
        name: "windows",
        title: "Events per second by window / slide",
        x_name: "window / slide",
        is_log: true,
        lines: &pair("windows"),
    },
    Curve {
        name: "products",
        title: "Events per second by distinct products",
        x_name: "products",
        is_log: true,
        lines: &pair("products"),
    },
    Curve {
        name: "partitions",
        title: "Events per second by partitions of each topic",
        x_name: "partitions",
        is_log: true,
        lines: &pair("partitions"),
    },
    Curve {
        name: "instances",
        title: "Events per second by instances",
        x_name: "instances",
        is_log: false,
        lines: &[
            Drawn {
                curve: "instances-by-product",
                program: "nazar",
                name: "by product",
                class: "visible",
            },
            Drawn { curve: "instances-by-user", program: "nazar", name: "by user", class: "acked" },
        ],
    },
];

/// Points from left to right, each with the rows of its runs.
fn points<'a>(measured: &'a Measured, curve: &str, program: &str) -> Vec<(f64, Vec<&'a Row>)> {
    let mut points: Vec<(f64, Vec<&Row>)> = Vec::new();
    let of_curve = measured
        .rows
        .iter()
        .filter(|row| row.curve.as_deref() == Some(curve) && row.program == program);
    for (x, row) in of_curve.filter_map(|row| Some((row.x?, row))) {
        match points.iter_mut().find(|(known, _)| *known == x) {
            Some((_, rows)) => rows.push(row),
            None => points.push((x, vec![row])),
        }
    }
    points.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    points
}

fn rate(rows: &[&Row]) -> Option<Spread> {
    Spread::of(rows.iter().map(|row| row.events_per_second()))
}

/// The plots of those curves that have points.
pub fn plots(measured: &Measured) -> Vec<(&'static str, String)> {
    CURVES.iter().filter_map(|curve| Some((curve.name, plot(measured, curve)?))).collect()
}

fn plot(measured: &Measured, curve: &Curve) -> Option<String> {
    let lines: Vec<Line> = curve
        .lines
        .iter()
        .map(|Drawn { curve, program, name, class }| {
            let points = points(measured, curve, program).into_iter();
            let points = points.map(|(x, rows)| (x, rate(&rows).map(|rate| rate.median))).collect();
            Line { name, class, points }
        })
        .collect();
    let mut ticks: Vec<f64> =
        lines.iter().flat_map(|line| line.points.iter().map(|(x, _)| *x)).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    let (&first, &last) = (ticks.first()?, ticks.last()?);
    let x = if curve.is_log {
        Axis::between(first * 0.8, last * 1.25, ticks)
    } else {
        Axis::linear([last])
    };
    let values = lines.iter().flat_map(|line| line.points.iter().filter_map(|(_, y)| *y));
    let y = Axis::linear(values);
    let chart = Chart {
        limits: Vec::new(),
        id: curve.name,
        title: curve.title,
        description: format!("{}; the figures are in the table beside it", curve.title),
        width: Width::Half,
        x,
        x_figure: axis::count,
        y,
        y_figure: axis::rate,
        lines,
        warmup: None,
        columns: Vec::new(),
    };
    Some(chart.file(curve.x_name))
}

/// What is written of each curve.
pub fn sections(measured: &Measured) -> impl Iterator<Item = (&'static str, String)> {
    CURVES.iter().map(|curve| {
        let is_measured =
            curve.lines.iter().any(|line| !points(measured, line.curve, line.program).is_empty());
        let text = match (is_measured, curve.name) {
            (false, _) => NOT_MEASURED.to_owned(),
            (true, "instances") => picture(curve) + &instances(measured, curve),
            (true, _) => picture(curve) + &beside_ceiling(measured, curve),
        };
        (curve.name, text)
    })
}

fn picture(curve: &Curve) -> String {
    format!("![{}](performance/{}.svg)\n\n", curve.title, curve.name)
}

fn beside_ceiling(measured: &Measured, curve: &Curve) -> String {
    let ceilings = points(measured, curve.name, "ceiling");
    let lines = points(measured, curve.name, "nazar").into_iter().filter_map(|(x, nazar)| {
        let (_, ceiling) = ceilings.iter().find(|(known, _)| *known == x)?;
        let (ours, theirs) = (rate(&nazar)?, rate(ceiling)?);
        let processor = |rows: &[&Row]| {
            let seconds = rows.iter().map(|row| row.processor_seconds_per_million());
            Some(Spread::of(seconds)?.shown(significant))
        };
        let windows = nazar.iter().find_map(|row| Some(row.verified?.windows));
        Some(vec![
            axis::count(x),
            ours.shown(millions),
            theirs.shown(millions),
            percent(ours.median / theirs.median),
            processor(&nazar)?,
            processor(ceiling)?,
            Spread::of(nazar.iter().map(|row| row.spent.peak_rss_bytes as f64))?
                .shown(super::stats::mebibytes),
            windows.map_or("-".to_owned(), |windows| windows.to_string()),
            ours.runs.to_string(),
        ])
    });
    let head = [
        curve.x_name,
        "nazar, M/s",
        "ceiling, M/s",
        "nazar / ceiling",
        "nazar, processor s per M events",
        "ceiling, processor s per M events",
        "nazar, peak memory in MiB",
        "windows verified",
        "runs",
    ];
    table(&head, lines)
}

fn instances(measured: &Measured, curve: &Curve) -> String {
    let mut lines = Vec::new();
    for Drawn { curve, program, name, .. } in curve.lines {
        for (x, rows) in points(measured, curve, program) {
            let Some(rate) = rate(&rows) else { continue };
            let per_million = |figure: &dyn Fn(&Row) -> Option<f64>| {
                let values =
                    rows.iter().filter_map(|row| Some(figure(row)? / row.events as f64 * 1e6));
                Spread::of(values).map_or("-".to_owned(), |spread| spread.shown(significant))
            };
            let followers = |row: &Row| -> f64 {
                row.instances.iter().skip(1).map(|spent| spent.processor_seconds()).sum()
            };
            lines.push(vec![
                format!("{name}, {x}"),
                rate.shown(millions),
                per_million(&|row| Some(row.instances.first()?.processor_seconds())),
                per_million(&|row| Some(followers(row))),
                per_million(&|row| row.redis_processor_seconds),
                per_million(&|row| row.broker_processor_seconds),
                rate.runs.to_string(),
            ]);
        }
    }
    let head = [
        "keyed by, instances",
        "M/s",
        "leader, processor s per M events",
        "followers together",
        "Redis",
        "broker",
        "runs",
    ];
    table(&head, lines)
}
