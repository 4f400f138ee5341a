//! The page of a search: its probes on the axis of rates, and the interval between them.

use super::axis::{Axis, rate};
use super::chart::{Px, line};
use super::markup::Html;
use super::standing::Standing;
use super::table::{Cell, Table};
use super::{Tile, absent, banner, heading, note, tiles};
use crate::load::search::report::{Probe, SearchReport};
use crate::load::terminal::words::grouped;

const WIDTH: f64 = 1120.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 40.0;
const TOP: f64 = 26.0;
const ROW_HEIGHT: f64 = 24.0;
/// More are in the table only.
const PROBES_MAX: usize = 200;
const SIGN: f64 = 5.0;

pub fn body(search: &SearchReport) -> Html {
    let mut html = Html::default();
    html.raw("<h1>nazar-load search</h1>\n");
    let slos = search.slos.join(", ");
    note(&mut html, &format!("The highest rate at which {slos} holds"));
    banner(&mut html, &standing(search));
    tiles(&mut html, &key_figures(search));
    if search.is_limited_by_the_generator() {
        note(
            &mut html,
            "The limit was the generator or the broker: it did not hold its schedule there.",
        );
    }
    heading(&mut html, "Probes");
    if search.probes.is_empty() {
        absent(&mut html, "No probe was finished.");
        return html;
    }
    picture(&mut html, search);
    html.append(&table(search).html());
    heading(&mut html, "Search");
    let parameter = |name: &str, value: String| vec![Cell::text(name), Cell::text(value)];
    let rows = vec![
        parameter("SLO", slos),
        parameter("from", rate(search.min)),
        parameter("to", rate(search.max)),
        parameter("ends closer than", format!("{:.1}%", search.within * 100.0)),
        parameter("nazar-load", search.version.clone()),
    ];
    let head = vec!["Name".to_owned(), "Value".to_owned()];
    html.append(&Table { caption: "Parameters", head, rows }.html());
    html
}

fn standing(search: &SearchReport) -> Standing {
    let (class, sign, word) = match (search.interrupted, search.low) {
        (true, _) => ("unsure", "■", "Interrupted"),
        (false, Some(_)) if !search.confirmed => ("unsure", "!", "Not confirmed"),
        (false, Some(_)) => ("good", "✓", "Found"),
        (false, None) => ("bad", "✗", "Nothing holds"),
    };
    Standing { class, sign, word, why: search.answer() }
}

fn key_figures(search: &SearchReport) -> Vec<Tile> {
    let shown = |rate_: Option<f64>| rate_.map_or("–".to_owned(), rate);
    let ended = if search.confirmed { "confirmed" } else { "not confirmed" };
    let records = search.probes.iter().map(|probe| probe.records).fold(0, u64::saturating_add);
    vec![
        Tile { name: "Holds", figure: shown(search.low), beside: ended.to_owned() },
        Tile { name: "Does not hold", figure: shown(search.high), beside: ended.to_owned() },
        Tile {
            name: "Probes",
            figure: search.probes.len().to_string(),
            beside: format!("{} records", grouped(records)),
        },
    ]
}

fn picture(html: &mut Html, search: &SearchReport) {
    let probes = &search.probes[..search.probes.len().min(PROBES_MAX)];
    let rates = probes
        .iter()
        .map(|probe| probe.rate)
        .chain([search.low, search.high].into_iter().flatten());
    let rates: Vec<f64> = rates.filter(|rate| rate.is_finite() && *rate > 0.0).collect();
    let lowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = rates.iter().copied().fold(0.0, f64::max);
    let x = Axis::between(lowest / 1.15, highest * 1.15, round_rates());
    let bottom = TOP + probes.len() as f64 * ROW_HEIGHT;
    let at = |value: f64| x.place(value).map(|place| LEFT + place * (RIGHT - LEFT));
    html.raw("<figure class=\"whole\"><figcaption>Probes from first to last, by rate; ✓ holds, ✗ does not; \
              shaded: between them lies the answer</figcaption><div class=\"scroll\">");
    html.open(
        "svg",
        &[
            ("viewBox", &format_args!("0 0 {} {}", Px(WIDTH), Px(bottom + 40.0))),
            ("role", &"img"),
            ("aria-labelledby", &"probes-title probes-desc"),
        ],
    );
    html.element("title", &[("id", &"probes-title")], "Probes by rate");
    html.element("desc", &[("id", &"probes-desc")], &search.answer());
    if let (Some(low), Some(high)) = (search.low.and_then(at), search.high.and_then(at)) {
        let (width, height) = (Px((high - low).max(0.0)), Px(bottom - TOP));
        html.open(
            "rect",
            &[
                ("class", &"found"),
                ("x", &Px(low)),
                ("y", &Px(TOP)),
                ("width", &width),
                ("height", &height),
            ],
        );
        html.close("rect");
    }
    for &tick in &x.ticks {
        let Some(place) = at(tick) else { continue };
        line(html, "grid", (place, TOP), (place, bottom));
        let place = [("class", &"x" as _), ("x", &Px(place) as _), ("y", &Px(bottom + 22.0) as _)];
        html.element("text", &place, &rate(tick));
    }
    line(html, "axis", (LEFT, bottom), (RIGHT, bottom));
    for (number, probe) in probes.iter().enumerate() {
        let y = TOP + (number as f64 + 0.5) * ROW_HEIGHT;
        let place = [("class", &"y" as _), ("x", &Px(LEFT - 8.0) as _), ("y", &Px(y + 4.0) as _)];
        html.element("text", &place, &(number + 1).to_string());
        if let Some(x) = at(probe.rate) {
            mark(html, probe, x, y);
        }
    }
    html.raw("</svg></div></figure>\n");
}

/// A disc holds and a cross does not, whatever the colours.
fn mark(html: &mut Html, probe: &Probe, x: f64, y: f64) {
    html.raw("<g>");
    html.element("title", &[], &probe.line());
    if probe.holds {
        html.open(
            "circle",
            &[("class", &"probe holds"), ("cx", &Px(x)), ("cy", &Px(y)), ("r", &Px(SIGN))],
        );
        html.close("circle");
    } else {
        line(html, "probe fails", (x - SIGN, y - SIGN), (x + SIGN, y + SIGN));
        line(html, "probe fails", (x - SIGN, y + SIGN), (x + SIGN, y - SIGN));
    }
    let text = [("class", &"note" as _), ("x", &Px(x + 12.0) as _), ("y", &Px(y + 4.0) as _)];
    html.element("text", &text, &rate(probe.rate));
    html.raw("</g>");
}

fn round_rates() -> Vec<f64> {
    let decade = |power: i32| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power));
    (-3..10).flat_map(decade).collect()
}

fn table(search: &SearchReport) -> Table {
    let row = |(number, probe): (usize, &Probe)| {
        let values = probe.thresholds.iter().map(|judged| judged.shown.clone());
        let growth = probe.backlog_growth.map_or("–".to_owned(), |growth| {
            let sign = if growth < 0.0 { "−" } else { "+" };
            format!("{sign}{}", rate(growth.abs()))
        });
        vec![
            Cell::text((number + 1).to_string()),
            Cell::number(rate(probe.rate)),
            Cell::Sign(probe.holds),
            Cell::text(values.collect::<Vec<_>>().join("; ")),
            Cell::number(growth),
            Cell::count(probe.records),
            Cell::text(probe.reasons.join("; ")),
            Cell::text(&probe.directory),
        ]
    };
    let names = ["#", "Rate", "Holds", "SLO", "Backlog grew", "Records", "Why not", "Artefacts"];
    Table {
        caption: "Each probe",
        head: names.map(str::to_owned).to_vec(),
        rows: search.probes.iter().enumerate().map(row).collect(),
    }
}
