//! Thresholds as lines in the charts of what they are about.

use super::chart::{Chart, LABEL_HEIGHT, LEFT, LETTER_WIDTH, Px, TOP, line};
use super::markup::Html;
use crate::load::latency::meter::Stage;
use crate::load::run_file::RunFile;
use crate::load::threshold::{Bound, Threshold};

/// A level that a line was held to.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    pub name: String,
    pub value: f64,
    pub holds: bool,
    /// Where on the x axis it ends; `None`: it goes through.
    pub until: Option<f64>,
}

/// The thresholds of a run that are about latencies. One that this version cannot read is left to the
/// table, where its words stand.
pub fn bounds(run: &RunFile) -> Vec<(Bound, Limit)> {
    let bound = |judged: &crate::load::threshold::Judged| {
        let bound = judged.threshold.parse::<Threshold>().ok()?.bound()?;
        let (name, holds) = (judged.threshold.clone(), judged.holds);
        Some((bound, Limit { name, value: bound.ms, holds, until: None }))
    };
    run.thresholds.iter().filter_map(bound).collect()
}

/// Those of a chart of one clock over time, which has lines for these statistics.
pub fn over_time(bounds: &[(Bound, Limit)], stage: Stage) -> Vec<Limit> {
    let is_shown = |bound: &Bound| {
        bound.stage == stage && bound.corrected && ["p50", "p99", "max"].contains(&bound.stat)
    };
    let shown = bounds.iter().filter(|(bound, _)| is_shown(bound));
    shown.map(|(_, limit)| limit.clone()).collect()
}

/// Those of the percentile curve: each goes up to its percentile, where the curve has to be on the
/// right side of it.
pub fn by_percentile(bounds: &[(Bound, Limit)]) -> Vec<Limit> {
    let limit = |(bound, limit): &(Bound, Limit)| {
        let percent: f64 = bound.stat.strip_prefix('p')?.parse().ok()?;
        let until = Some(1.0 / (1.0 - percent / 100.0));
        Some(Limit { until, ..limit.clone() })
    };
    bounds.iter().filter_map(limit).collect()
}

impl Chart {
    pub(super) fn draw_limits(&self, html: &mut Html) {
        for limit in &self.limits {
            let end = limit.until.and_then(|until| self.x_at(until)).unwrap_or(self.right());
            let Some(y) = self.y_at(limit.value) else { continue };
            let class = if limit.holds { "limit holds" } else { "limit fails" };
            line(html, class, (LEFT, y), (end, y));
        }
    }

    /// Above the end of each limit its name, below the names that it would cover.
    pub(super) fn name_limits(&self, html: &mut Html) {
        let placed = self.limits.iter().filter_map(|limit| Some((self.y_at(limit.value)?, limit)));
        let mut limits: Vec<(f64, &Limit)> = placed.collect();
        limits.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let mut taken: Vec<(f64, f64, f64)> = Vec::new();
        for (line_y, limit) in limits {
            let name_width = (limit.name.chars().count() + 2) as f64 * LETTER_WIDTH;
            let end = limit.until.and_then(|until| self.x_at(until)).unwrap_or(self.right());
            // One that ends far left is named to the right of its end.
            let is_left = end - LEFT < name_width;
            let (side, x, from) = match is_left {
                true => ("begins", end + 6.0, end + 6.0),
                false => ("ends", end - 4.0, end - 4.0 - name_width),
            };
            let to = from + name_width;
            let mut y = (line_y - 5.0).max(TOP + LABEL_HEIGHT / 2.0);
            for &(other_from, other_to, other_y) in &taken {
                if from < other_to && other_from < to {
                    y = y.max(other_y + LABEL_HEIGHT);
                }
            }
            taken.push((from, to, y));
            let (class, sign) = if limit.holds { ("holds", "✓") } else { ("fails", "✗") };
            let place = [
                ("class", &format_args!("limit-name {side} {class}") as _),
                ("x", &Px(x) as _),
                ("y", &Px(y) as _),
            ];
            html.element("text", &place, &format!("{sign} {}", limit.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::html::axis::{self, Axis};
    use crate::load::html::chart::{Line, Width};

    fn chart(limits: Vec<Limit>) -> String {
        let points = vec![(0.0, Some(1.0)), (10.0, Some(4.0))];
        let chart = Chart {
            id: "one",
            title: "One",
            description: "a line".into(),
            width: Width::Half,
            x: Axis::seconds(10.0),
            x_figure: axis::clock,
            y: Axis::linear([4.0]),
            y_figure: axis::rate,
            lines: vec![Line { name: "sent", class: "sent", points }],
            limits,
            warmup: None,
            columns: Vec::new(),
        };
        chart.figure().into_string()
    }

    #[test]
    fn a_limit_is_a_level_line_with_its_name() {
        let limit = |value: f64, holds: bool, until: Option<f64>| Limit {
            name: format!("sent<{value}"),
            value,
            holds,
            until,
        };
        let svg = chart(vec![
            limit(2.0, true, None),
            limit(2.1, false, Some(0.5)),
            // Its name would cover that of the first, the one before does not.
            limit(2.05, true, Some(9.9)),
            limit(f64::NAN, true, None),
        ]);
        let elements = svg.split('<').filter(|element| element.contains("class=\"limit"));
        insta::assert_snapshot!(elements.collect::<Vec<_>>().join("\n"), @r#"
        line class="limit holds" x1="64" y1="125" x2="498.8" y2="125">
        line class="limit fails" x1="64" y1="119.5" x2="85.7" y2="119.5">
        line class="limit holds" x1="64" y1="122.2" x2="494.5" y2="122.2">
        text class="limit-name begins fails" x="91.7" y="114.5">✗ sent&lt;2.1
        text class="limit-name ends holds" x="490.5" y="117.2">✓ sent&lt;2.05
        text class="limit-name ends holds" x="494.8" y="133.2">✓ sent&lt;2
        "#);
    }
}
