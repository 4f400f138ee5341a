//! The charts of a run over time.

use super::axis::{self, Axis};
use super::chart::{Chart, Column, Line, Width};
use super::limits::{self, Limit};
use super::rows::{Quantiles, Row};
use crate::load::latency::meter::Stage;
use crate::load::threshold::Bound;

/// What several charts have in common: the time.
pub struct Over<'a> {
    pub rows: &'a [Row],
    /// What latencies were held to.
    pub bounds: &'a [(Bound, Limit)],
}

type Figure = fn(f64) -> String;

/// What a line shows of a row.
struct Shown<'a> {
    name: &'static str,
    class: &'static str,
    value: &'a dyn Fn(&Row) -> Option<f64>,
}

/// The words of a chart.
struct Words {
    id: &'static str,
    title: &'static str,
    description: &'static str,
}

impl Over<'_> {
    pub fn rates(&self) -> Chart {
        let words = Words {
            id: "rates",
            title: "Records per second",
            description: "Records that the schedule wanted, that were sent, acknowledged by the broker and \
                          visible in Redis, per second, over the run",
        };
        let shown = [
            Shown { name: "intended", class: "intended broad", value: &|row| Some(row.intended) },
            Shown { name: "sent", class: "sent", value: &|row| Some(row.sent) },
            Shown { name: "acked", class: "acked dashed", value: &|row| Some(row.acked) },
            Shown { name: "visible", class: "visible", value: &|row| row.visible },
        ];
        self.chart(words, Width::Whole, Axis::linear, axis::rate, &shown)
    }

    pub fn latency(&self, stage: Stage, width: Width) -> Chart {
        let of = |row: &Row| row.latency[stage as usize];
        let (words, class, faint) = match stage {
            Stage::Visible => (
                Words {
                    id: "latency-visible",
                    title: "Until visible in Redis, logarithmic",
                    description: "Latency from the intended time until visible, over the run: median, 99th \
                                  percentile and maximum",
                },
                "visible",
                "visible faint",
            ),
            Stage::Ack => (
                Words {
                    id: "latency-ack",
                    title: "Until acknowledged by the broker, logarithmic",
                    description: "Latency from the intended time until acknowledged, over the run: median, \
                                  99th percentile and maximum",
                },
                "acked",
                "acked faint",
            ),
            Stage::Schedule => (
                Words {
                    id: "latency-schedule",
                    title: "Until handed over by the generator, logarithmic",
                    description: "Latency from the intended time until the producer took the record, over \
                                  the run: median, 99th percentile and maximum",
                },
                "sent",
                "sent faint",
            ),
        };
        let value = |pick: fn(Quantiles) -> Option<f64>| move |row: &Row| pick(of(row));
        let (max, p99, p50) =
            (value(|one| one.max_ms), value(|one| one.p99_ms), value(|one| one.p50_ms));
        let dotted = match stage {
            Stage::Visible => "visible dotted",
            Stage::Ack => "acked dotted",
            Stage::Schedule => "sent dotted",
        };
        let shown = [
            Shown { name: "max", class: dotted, value: &max },
            Shown { name: "p99", class, value: &p99 },
            Shown { name: "p50", class: faint, value: &p50 },
        ];
        let limits = limits::over_time(self.bounds, stage);
        let axis = |values: Vec<f64>| {
            Axis::logarithmic(values.into_iter().chain(limits.iter().map(|limit| limit.value)))
        };
        let chart = self.chart(words, width, axis, axis::millis, &shown);
        Chart { limits, ..chart }
    }

    pub fn behind(&self) -> Chart {
        let words = Words {
            id: "behind",
            title: "Generator behind its schedule",
            description: "How late the latest record of each stretch was handed over",
        };
        let shown = [Shown { name: "behind", class: "sent", value: &|row| Some(row.behind_ms) }];
        self.chart(words, Width::Half, Axis::linear, axis::millis, &shown)
    }

    pub fn backlog(&self) -> Chart {
        let words = Words {
            id: "backlog",
            title: "Backlog: records sent and not yet visible",
            description: "Records that were sent and were not visible in Redis yet, over the run",
        };
        let shown = [Shown { name: "backlog", class: "visible", value: &|row| row.backlog }];
        self.chart(words, Width::Half, Axis::linear, axis::count, &shown)
    }

    pub fn daemon_lag(&self) -> [Chart; 2] {
        let records = Words {
            id: "lag-records",
            title: "The daemon's own lag, records",
            description: "Records that the daemon could read and had not applied, by its own metrics",
        };
        let seconds = Words {
            id: "lag-seconds",
            title: "The daemon's own lag, time",
            description: "How old the oldest record was that the daemon had not applied, by its own metrics",
        };
        let of_records = [Shown { name: "lag", class: "acked", value: &|row| row.lag_records }];
        let millis = |row: &Row| row.lag_seconds.map(|seconds| seconds * 1000.0);
        let of_seconds = [Shown { name: "lag", class: "acked", value: &millis }];
        [
            self.chart(records, Width::Half, Axis::linear, axis::count, &of_records),
            self.chart(seconds, Width::Half, Axis::linear, axis::millis, &of_seconds),
        ]
    }

    fn chart(
        &self,
        words: Words,
        width: Width,
        y_axis: impl FnOnce(Vec<f64>) -> Axis,
        y_figure: Figure,
        shown: &[Shown<'_>],
    ) -> Chart {
        // A value stands in the middle of the stretch that it is of.
        let line = |shown: &Shown<'_>| Line {
            name: shown.name,
            class: shown.class,
            points: self
                .rows
                .iter()
                .map(|row| ((row.from + row.to) / 2.0, (shown.value)(row)))
                .collect(),
        };
        let mut lines: Vec<Line> = shown.iter().map(line).collect();
        lines.retain(|line| line.points.iter().any(|(_, value)| value.is_some()));
        let values = lines.iter().flat_map(|line| &line.points).filter_map(|point| point.1);
        let y = y_axis(values.collect());
        let says = |row: &Row| {
            let mut says = format!("{} to {}", axis::clock(row.from), axis::clock(row.to));
            for Shown { name, value, .. } in shown {
                if let Some(value) = value(row) {
                    says += &format!("\n{name}: {}", y_figure(value));
                }
            }
            Column { from: row.from, to: row.to, says }
        };
        Chart {
            id: words.id,
            title: words.title,
            description: words.description.to_owned(),
            width,
            x: Axis::seconds(self.rows.last().map_or(1.0, |row| row.to)),
            x_figure: axis::clock,
            y,
            y_figure,
            lines,
            limits: Vec::new(),
            warmup: self.warmup(),
            columns: self.rows.iter().map(says).collect(),
        }
    }

    fn warmup(&self) -> Option<f64> {
        self.rows.iter().take_while(|row| row.warmup).last().map(|row| row.to)
    }
}
