//! A chart of lines as SVG.
//!
//! ```text
//!  y ┤ ░░░░░
//!    ┤ ░░░░░────────── acked      each line bears its name at its end: no legend to look up,
//!    ┤ ░░░░░╌╌╌╌╌╌╌╌╌╌ intended   and dashes tell lines apart without colour as well
//!    └─┬───┬───┬───┬──
//!      shaded: what does not count
//! ```
//!
//! A limit is a level line that says what it is and whether it was kept.
//!
//! Pointing at a column shows its figures, as a browser shows titles: no script is needed. Whatever is not
//! a number leaves a gap.

use std::fmt::{self, Write as _};

use super::axis::Axis;
use super::limits::Limit;
use super::markup::{Attribute, Html};

const HEIGHT: f64 = 270.0;
pub(super) const LEFT: f64 = 64.0;
pub(super) const TOP: f64 = 14.0;
const BOTTOM: f64 = 34.0;
/// Names of lines stand at least so far apart.
pub(super) const LABEL_HEIGHT: f64 = 16.0;
pub(super) const LETTER_WIDTH: f64 = 7.8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    Half,
    Whole,
}

#[derive(Clone, Debug)]
pub struct Line {
    pub name: &'static str,
    /// Colour and dashes, see the style sheet.
    pub class: &'static str,
    pub points: Vec<(f64, Option<f64>)>,
}

/// What is said of a stretch of the x axis when it is pointed at.
#[derive(Clone, Debug)]
pub struct Column {
    pub from: f64,
    pub to: f64,
    pub says: String,
}

#[derive(Clone, Debug)]
pub struct Chart {
    /// Of this chart alone on its page.
    pub id: &'static str,
    pub title: &'static str,
    /// What it shows, for whoever does not see it.
    pub description: String,
    pub width: Width,
    pub x: Axis,
    pub x_figure: fn(f64) -> String,
    pub y: Axis,
    pub y_figure: fn(f64) -> String,
    pub lines: Vec<Line>,
    pub limits: Vec<Limit>,
    /// From the left edge to here nothing counts.
    pub warmup: Option<f64>,
    pub columns: Vec<Column>,
}

/// A coordinate, to a tenth of a pixel.
pub struct Px(pub f64);

impl fmt::Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10.0).round();
        let tenths = if tenths.is_finite() { tenths } else { 0.0 };
        write!(f, "{}", tenths / 10.0)
    }
}

impl Chart {
    pub fn figure(&self) -> Html {
        let mut html = Html::default();
        let class = if self.width == Width::Whole { "whole" } else { "half" };
        html.open("figure", &[("class", &class)]);
        html.element("figcaption", &[], self.title);
        html.raw("<div class=\"scroll\">");
        self.svg(&mut html);
        html.raw("</div></figure>\n");
        html
    }

    /// The chart as an SVG file, which brings its own colours for light and dark, marks every point,
    /// and says at the right end of the x axis what that counts.
    pub fn file(&self, x_name: &str) -> String {
        let mut html = Html::default();
        self.open_svg(&mut html, &[("xmlns", &"http://www.w3.org/2000/svg")]);
        html.raw("<style>\n");
        html.raw(include_str!("file.css"));
        html.raw("</style>\n");
        self.grid(&mut html);
        self.draw_lines(&mut html);
        self.mark_points(&mut html);
        self.name_lines(&mut html);
        let place = [("x", &Px(self.right() + 8.0) as _), ("y", &Px(HEIGHT - BOTTOM + 20.0) as _)];
        html.element("text", &place, x_name);
        html.close("svg");
        html.into_string() + "\n"
    }

    fn open_svg(&self, html: &mut Html, attributes: &[Attribute<'_>]) {
        let (title, description) = (format!("{}-title", self.id), format!("{}-desc", self.id));
        let view = format!("0 0 {} {}", Px(self.outer_width()), Px(HEIGHT));
        let labels = format!("{title} {description}");
        let mut all: Vec<Attribute<'_>> = attributes.to_vec();
        all.extend([
            ("viewBox", &view as _),
            ("role", &"img" as _),
            ("aria-labelledby", &labels as _),
        ]);
        html.open("svg", &all);
        html.element("title", &[("id", &title)], self.title);
        html.element("desc", &[("id", &description)], &self.description);
    }

    fn svg(&self, html: &mut Html) {
        self.open_svg(html, &[]);
        self.shade(html);
        self.grid(html);
        self.draw_limits(html);
        self.draw_lines(html);
        self.name_lines(html);
        self.name_limits(html);
        self.point_at(html);
        html.close("svg");
    }

    fn outer_width(&self) -> f64 {
        if self.width == Width::Whole { 1120.0 } else { 550.0 }
    }

    /// The right edge of the plot; beyond it stand the names of the lines.
    pub(super) fn right(&self) -> f64 {
        let letters = self.lines.iter().map(|line| line.name.chars().count()).max().unwrap_or(0);
        self.outer_width() - 20.0 - letters as f64 * LETTER_WIDTH
    }

    pub(super) fn x_at(&self, value: f64) -> Option<f64> {
        Some(LEFT + self.x.place(value)? * (self.right() - LEFT))
    }

    pub(super) fn y_at(&self, value: f64) -> Option<f64> {
        Some(HEIGHT - BOTTOM - self.y.place(value)? * (HEIGHT - BOTTOM - TOP))
    }

    fn shade(&self, html: &mut Html) {
        let Some(end) = self.warmup.and_then(|end| self.x_at(end)) else { return };
        let (width, height) = (Px(end - LEFT), Px(HEIGHT - BOTTOM - TOP));
        html.open(
            "rect",
            &[
                ("class", &"warmup"),
                ("x", &Px(LEFT)),
                ("y", &Px(TOP)),
                ("width", &width),
                ("height", &height),
            ],
        );
        html.close("rect");
        html.element(
            "text",
            &[("class", &"note"), ("x", &Px(LEFT + 5.0)), ("y", &Px(TOP + 13.0))],
            "warm-up",
        );
    }

    fn grid(&self, html: &mut Html) {
        let (right, bottom) = (self.right(), HEIGHT - BOTTOM);
        for &tick in &self.y.ticks {
            let Some(y) = self.y_at(tick) else { continue };
            line(html, "grid", (LEFT, y), (right, y));
            let place =
                [("class", &"y" as _), ("x", &Px(LEFT - 8.0) as _), ("y", &Px(y + 4.0) as _)];
            html.element("text", &place, &(self.y_figure)(tick));
        }
        line(html, "axis", (LEFT, bottom), (right, bottom));
        for &tick in &self.x.ticks {
            let Some(x) = self.x_at(tick) else { continue };
            line(html, "axis", (x, bottom), (x, bottom + 5.0));
            let place = [("class", &"x" as _), ("x", &Px(x) as _), ("y", &Px(bottom + 20.0) as _)];
            html.element("text", &place, &(self.x_figure)(tick));
        }
    }

    fn draw_lines(&self, html: &mut Html) {
        for Line { class, points, .. } in &self.lines {
            let mut path = String::new();
            let mut is_drawing = false;
            for &(x, y) in points {
                let place = y.and_then(|y| Some((self.x_at(x)?, self.y_at(y)?)));
                let Some((x, y)) = place else {
                    is_drawing = false;
                    continue;
                };
                // A point between two gaps is a line of no length, drawn as a dot.
                let command = if is_drawing { "L" } else { "M" };
                let _ = write!(path, "{command}{} {}", Px(x), Px(y));
                if !is_drawing {
                    path.push_str("h0");
                }
                is_drawing = true;
            }
            if !path.is_empty() {
                html.open("path", &[("class", &format_args!("line {class}")), ("d", &path)]);
                html.close("path");
            }
        }
    }

    fn mark_points(&self, html: &mut Html) {
        for Line { class, points, .. } in &self.lines {
            for &(x, y) in points {
                let place = y.and_then(|y| Some((self.x_at(x)?, self.y_at(y)?)));
                let Some((x, y)) = place else { continue };
                let class = format!("dot {class}");
                let attributes = [
                    ("class", &class as _),
                    ("cx", &Px(x) as _),
                    ("cy", &Px(y) as _),
                    ("r", &3 as _),
                ];
                html.open("circle", &attributes);
                html.close("circle");
            }
        }
    }

    /// At the end of each line its name, moved away from other names.
    fn name_lines(&self, html: &mut Html) {
        let mut names: Vec<(f64, &Line)> = Vec::new();
        for line in &self.lines {
            let last = line.points.iter().rev().find_map(|&(_, y)| self.y_at(y?));
            names.extend(last.map(|y| (y, line)));
        }
        names.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let mut wanted: Vec<f64> = names.iter().map(|(y, _)| *y).collect();
        spread(&mut wanted, TOP + LABEL_HEIGHT / 2.0, HEIGHT - BOTTOM);
        for (y, (_, line)) in wanted.into_iter().zip(names) {
            let class = format!("name {}", line.class);
            let place = [
                ("class", &class as _),
                ("x", &Px(self.right() + 8.0) as _),
                ("y", &Px(y + 4.0) as _),
            ];
            html.element("text", &place, line.name);
        }
    }

    fn point_at(&self, html: &mut Html) {
        for Column { from, to, says } in &self.columns {
            let (Some(from), Some(to)) = (self.x_at(*from), self.x_at(*to)) else { continue };
            html.open(
                "rect",
                &[
                    ("class", &"column"),
                    ("x", &Px(from)),
                    ("y", &Px(TOP)),
                    ("width", &Px((to - from).max(0.0))),
                    ("height", &Px(HEIGHT - BOTTOM - TOP)),
                ],
            );
            html.element("title", &[], says);
            html.close("rect");
        }
    }
}

pub fn line(html: &mut Html, class: &'static str, from: (f64, f64), to: (f64, f64)) {
    html.open(
        "line",
        &[
            ("class", &class),
            ("x1", &Px(from.0)),
            ("y1", &Px(from.1)),
            ("x2", &Px(to.0)),
            ("y2", &Px(to.1)),
        ],
    );
    html.close("line");
}

/// Moves places, which are in order, apart: down first, and up again where they left the bottom.
fn spread(places: &mut [f64], top: f64, bottom: f64) {
    let mut least = top;
    for place in places.iter_mut() {
        *place = place.max(least);
        least = *place + LABEL_HEIGHT;
    }
    let mut most = bottom;
    for place in places.iter_mut().rev() {
        *place = place.min(most);
        most = *place - LABEL_HEIGHT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::html::axis;

    fn chart(points: Vec<(f64, Option<f64>)>) -> String {
        let chart = Chart {
            id: "one",
            title: "One",
            description: "a line".into(),
            width: Width::Half,
            x: Axis::seconds(10.0),
            x_figure: axis::clock,
            y: Axis::linear(points.iter().filter_map(|point| point.1)),
            y_figure: axis::rate,
            lines: vec![Line { name: "sent", class: "sent", points }],
            limits: Vec::new(),
            warmup: Some(2.0),
            columns: vec![Column { from: 0.0, to: 1.0, says: "0 s".into() }],
        };
        chart.figure().into_string()
    }

    #[test]
    fn what_is_no_number_is_a_gap() {
        let gaps = [Some(1.0), None, Some(f64::NAN), Some(2.0), Some(1.0)];
        let points = gaps.iter().enumerate().map(|(at, &value)| (at as f64, value)).collect();
        let svg = chart(points);
        let path = svg.split(" d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert_eq!(path.matches('L').count(), 1, "{path}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn an_empty_chart_is_a_chart() {
        let svg = chart(Vec::new());
        assert!(svg.contains("<title id=\"one-title\">One</title>") && !svg.contains("<path"));
    }

    #[test]
    fn a_file_brings_its_own_colours() {
        let points = vec![(1.0, Some(2.0)), (3.0, None), (5.0, Some(4.0))];
        let line = Line { name: "sent", class: "sent", points };
        let chart = Chart {
            limits: Vec::new(),
            id: "one",
            title: "One",
            description: "a line".into(),
            width: Width::Half,
            x: Axis::seconds(10.0),
            x_figure: axis::clock,
            y: Axis::linear([4.0]),
            y_figure: axis::rate,
            lines: vec![line],
            warmup: None,
            columns: Vec::new(),
        };
        let svg = chart.file("<seconds>");
        assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""), "{svg}");
        assert!(svg.contains("prefers-color-scheme: dark") && svg.contains("&lt;seconds&gt;"));
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        assert!(!chart.figure().into_string().contains("<style>"), "a page has its own");
    }

    #[test]
    fn names_do_not_cover_each_other() {
        let mut places = [100.0, 101.0, 102.0, 236.0];
        spread(&mut places, 20.0, 236.0);
        assert_eq!(places, [100.0, 116.0, 132.0, 236.0]);
        let mut low = [230.0, 235.0, 236.0];
        spread(&mut low, 20.0, 236.0);
        assert_eq!(low, [204.0, 220.0, 236.0]);
    }
}
