//! Windows against a naive model: keep every record, add up what a window contains.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use crate::event::{DIMENSIONS_MAX, Effect, Event, Line, Metric};
use crate::pipeline::definitions::Definitions;
use crate::pipeline::delta::Delta;
use crate::pipeline::testing;
use crate::pipeline::view::BoardView;
use crate::pipeline::window::Windows;
use crate::time::{EventTime, Span};

#[derive(Clone, Debug)]
struct Record {
    time: EventTime,
    product: u8,
    category: u8,
    /// 0: a click, else a purchase of so many units.
    units: u64,
}

#[derive(Clone, Debug)]
enum Step {
    /// Hands over records, cut into deliveries of at most so many.
    Deliver(Vec<Record>, usize),
    /// Lets the group watermark rise by so many milliseconds, and reads the boards of each
    /// n-th window that closes.
    Close(i64, usize),
    /// Reads the latest views; the stream time is the newest record's.
    Latest,
}

/// Boards as (dimension, metric, rows); what both sides are reduced to.
type Boards = Vec<(usize, Metric, Vec<(String, u64)>)>;

#[derive(Clone, Debug, PartialEq)]
struct Published {
    window: usize,
    end: i64,
    events: u64,
    revenue: u64,
    /// `None`: not read.
    boards: Option<Boards>,
}

struct Model {
    definitions: Arc<Definitions>,
    records: Vec<Record>,
    closed_through: Vec<i64>,
    after_content: Vec<bool>,
}

impl Model {
    fn window(&self, window: usize, end: i64) -> Published {
        let size = self.definitions.windows[window].size.millis();
        let inside = |record: &&Record| (end - size..end).contains(&record.time.millis());
        let records: Vec<&Record> = self.records.iter().filter(inside).collect();
        let boards = self.definitions.boards.iter().map(|board| {
            let mut sums: BTreeMap<String, u64> = BTreeMap::new();
            for record in &records {
                let names = names(record);
                let Some(name) = [Some(&names.0), Some(&names.1), None][board.dimension] else {
                    continue;
                };
                let amount = match (board.metric, record.units) {
                    (Metric::Clicks, 0) => 1,
                    (Metric::Orders, 1..) => 1,
                    (Metric::Units, units) => units,
                    (Metric::RevenueMinor, units) => units * 10,
                    _ => 0,
                };
                *sums.entry(name.clone()).or_default() += amount;
            }
            let mut rows: Vec<(String, u64)> = sums.into_iter().filter(|row| row.1 > 0).collect();
            rows.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| b.0.cmp(&a.0)));
            rows.truncate(board.top);
            (board.dimension, board.metric, rows)
        });
        Published {
            window,
            end,
            events: records.len() as u64,
            revenue: records.iter().map(|record| record.units * 10).sum(),
            boards: Some(boards.collect()),
        }
    }

    /// Every window that ends at or before the watermark and was not closed before, in order.
    fn close(&mut self, watermark: i64) -> Vec<Published> {
        let mut closed = Vec::new();
        for window in 0..self.definitions.windows.len() {
            let step = self.definitions.windows[window].closed_step.millis();
            let mut end = self.closed_through[window];
            while end + step <= watermark {
                end += step;
                let content = self.window(window, end);
                let has_content = content.events > 0;
                if has_content || self.after_content[window] {
                    closed.push(content);
                }
                self.after_content[window] = has_content;
            }
            self.closed_through[window] = end;
        }
        closed.sort_by_key(|published| (published.end, published.window));
        closed
    }
}

fn names(record: &Record) -> (String, String) {
    (format!("p{}", record.product), format!("c{}", record.category))
}

fn boards(views: Vec<BoardView>) -> Boards {
    let rows = |view: &BoardView| view.rows.iter().map(|(n, v)| (n.to_string(), *v)).collect();
    views.iter().map(|view| (view.dimension, view.metric, rows(view))).collect()
}

fn deliver(
    windows: &mut Windows,
    delta: &mut Delta,
    definitions: &Definitions,
    records: &[Record],
) {
    for record in records {
        let (product, category) = names(record);
        let mut entities = [None; DIMENSIONS_MAX];
        entities[0] = Some(product.as_str());
        entities[1] = Some(category.as_str());
        let line = Line { entities, units: record.units, revenue_minor: record.units * 10 };
        let effect = if record.units == 0 {
            Effect::Click(&line)
        } else {
            Effect::Purchase { lines: std::slice::from_ref(&line), foreign_currency: None }
        };
        let event = Event { time: record.time, event_id: None, user_id: None, effect };
        delta.apply(&event, record.time.floor(definitions.base_pane()));
    }
    let cells = delta.take();
    let resolution = windows.resolve(&cells);
    windows.add(&cells, &resolution);
    windows.release(&resolution);
}

fn run(definitions: Definitions, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let definitions = Arc::new(definitions);
    let count = definitions.windows.len();
    let mut windows = Windows::new(definitions.clone());
    let mut delta = Delta::new(&definitions);
    let mut model = Model {
        definitions: definitions.clone(),
        records: Vec::new(),
        closed_through: vec![0; count],
        after_content: vec![false; count],
    };
    // A little behind the front of the records, so that some of them come after close.
    let mut watermark = 95_000;
    for step in steps {
        match step {
            Step::Deliver(records, cut) => {
                for records in records.chunks(cut) {
                    deliver(&mut windows, &mut delta, &definitions, records);
                }
                model.records.extend(records);
            }
            Step::Close(..) | Step::Latest if model.records.is_empty() => {}
            Step::Close(rise, read_each) => {
                watermark += rise;
                let mut expected = model.close(watermark);
                let mut closed = Vec::new();
                while let Some(closing) = windows.next_closing(EventTime::from_millis(watermark)) {
                    let totals = windows.closed_totals(closing.window).clone();
                    let is_read = closed.len() % read_each == 0;
                    if let Some(expected) = expected.get_mut(closed.len()).filter(|_| !is_read) {
                        expected.boards = None;
                    }
                    closed.push(Published {
                        window: closing.window,
                        end: closing.end.millis(),
                        events: totals.events,
                        revenue: totals.revenue_minor,
                        boards: is_read.then(|| boards(windows.closed_boards(closing.window))),
                    });
                    windows.closed(closing);
                }
                prop_assert_eq!(closed, expected);
                windows.roll_up();
            }
            Step::Latest => {
                let newest = model.records.iter().map(|record| record.time).max().expect("some");
                for window in 0..count {
                    let end = windows.advance_latest(window, newest);
                    let totals = windows.latest_totals(window).clone();
                    let latest = Published {
                        window,
                        end: end.millis(),
                        events: totals.events,
                        revenue: totals.revenue_minor,
                        boards: Some(boards(windows.latest(window).0)),
                    };
                    prop_assert_eq!(latest, model.window(window, end.millis()));
                }
                windows.roll_up();
            }
        }
    }
    // What is left lies in panes that some window still needs; a name lives only through them.
    let live: usize = (0..3).map(|dimension| windows.entities(dimension).live()).sum();
    prop_assert!(live <= 2 * 12);
    Ok(())
}

/// Records around a moving front, some far behind it: out of order, and after close.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let record = (prop_oneof![9 => 0i64..9_000, 1 => -60_000i64..0], 0u8..6, 0u8..3, 0u64..3);
    // Records lie at offsets from the front, until that is known.
    let record = record.prop_map(|(offset, product, category, units)| Record {
        time: EventTime::from_millis(offset),
        product,
        category,
        units,
    });
    let read_each = 1usize..6;
    let rise = prop_oneof![2 => 0i64..9_000, 1 => 30_000i64..200_000];
    prop::collection::vec(
        prop_oneof![
            4 => (prop::collection::vec(record, 1..25), 1usize..8)
                .prop_map(|(records, cut)| Step::Deliver(records, cut)),
            3 => (rise, read_each).prop_map(|(rise, each)| Step::Close(rise, each)),
            2 => Just(Step::Latest),
        ],
        1..40,
    )
    .prop_map(|mut steps| {
        let mut front = 100_000;
        for step in &mut steps {
            match step {
                Step::Deliver(records, _) => {
                    for record in records {
                        let time = (front + record.time.millis()).max(0);
                        record.time = EventTime::from_millis(time);
                    }
                }
                Step::Close(rise, _) => front += *rise,
                Step::Latest => {}
            }
        }
        steps
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn every_closed_and_latest_view_equals_the_sum_of_its_records(
        steps in steps(),
        shape in prop::sample::select(vec![
            vec![(4, 1), (12, 3), (24, 24)],
            vec![(1, 1)],
            vec![(60, 1), (60 * 24, 60)],
            vec![(6, 2), (9, 3)],
            vec![(10, 5), (20, 5), (30, 15)],
        ]),
    ) {
        run(testing::definitions_with(&shape), steps)?;
    }

    #[test]
    fn closed_steps_may_be_longer_than_slides(steps in steps(), factor in 1i64..5) {
        let mut definitions = testing::definitions();
        for window in &mut definitions.windows {
            window.closed_step = Span::from_millis(window.slide.millis() * factor);
        }
        run(definitions, steps)?;
    }
}
