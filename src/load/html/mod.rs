//! `nazar-load report`: a run or a search as one page that needs nothing else.
//!
//! ```text
//!  artefacts::left ─► rows ─► run_charts ──┐
//!  (what the files say)   percentiles ─────┼─► chart ─► SVG ┐
//!          limits (of thresholds) ─────────┤                │
//!          run_tables, run_truth ──────────┴─► table ───────┴─► run_page, search_page ─► page
//! ```
//!
//! - Pure: from what was read to a `String`. The same files give the same page.
//! - The page loads nothing, from the network or elsewhere, and has no scripts; a policy in its head
//!   forbids both, should a browser be talked into it.
//! - Text from files is escaped by construction ([`markup`]).
//! - What was not measured is said in words in the place of an empty chart.

pub mod axis;
pub mod chart;
pub mod limits;
pub mod markup;
pub mod percentiles;
mod rows;
mod run_charts;
mod run_page;
mod run_tables;
mod run_truth;
mod search_page;
mod standing;
pub mod table;

use super::artefacts::left::Left;
use markup::Html;
use standing::Standing;

/// The page of what is left in a directory.
pub fn page(left: &Left) -> String {
    match left {
        Left::Run(run) => around("nazar-load run", &run_page::body(run)),
        Left::Search(search) => around("nazar-load search", &search_page::body(search)),
    }
}

fn around(title: &'static str, body: &Html) -> String {
    let mut html = Html::default();
    html.raw("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    html.raw(
        "<meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n",
    );
    html.element("title", &[], title);
    html.raw("\n<style>\n");
    html.raw(include_str!("style.css"));
    html.raw("</style>\n</head>\n<body>\n");
    html.append(body);
    html.raw("</body>\n</html>\n");
    html.into_string()
}

fn banner(html: &mut Html, standing: &Standing) {
    let Standing { class, sign, word, why } = standing;
    html.open("div", &[("class", &format_args!("banner {class}")), ("role", &"status")]);
    html.element("span", &[("class", &"sign"), ("aria-hidden", &"true")], sign);
    html.raw("<div>");
    html.element("strong", &[], word);
    html.element("p", &[], why);
    html.raw("</div></div>\n");
}

/// A figure that is read first, with what it has to be seen beside.
struct Tile {
    name: &'static str,
    figure: String,
    beside: String,
}

fn tiles(html: &mut Html, tiles: &[Tile]) {
    html.raw("<dl class=\"tiles\">\n");
    for Tile { name, figure, beside } in tiles {
        html.raw("<div>");
        html.element("dt", &[], name);
        html.element("dd", &[("class", &"figure")], figure);
        html.element("dd", &[("class", &"beside")], beside);
        html.raw("</div>\n");
    }
    html.raw("</dl>\n");
}

fn heading(html: &mut Html, text: &'static str) {
    html.element("h2", &[], text);
    html.raw("\n");
}

/// What is not there, and why.
fn absent(html: &mut Html, why: &str) {
    html.element("p", &[("class", &"absent")], why);
    html.raw("\n");
}

fn note(html: &mut Html, text: &str) {
    html.element("p", &[("class", &"soft")], text);
    html.raw("\n");
}
