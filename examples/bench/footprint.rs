//! What the state takes of memory, thing by thing: resident memory before and after a million of each,
//! in this process, with the daemon's allocator. Room that growing left behind is in the figures.

use anyhow::Context;
use nazar::pipeline::column::Column;
use nazar::pipeline::entity::Entities;
use nazar::pipeline::frontier::Frontier;
use nazar::pipeline::hll::mark;
use nazar::pipeline::pane::{Pane, PaneCell};

use crate::circumstances::Circumstances;
use crate::stage::Stage;

const MILLION: u32 = 1_000_000;
/// As in the default configuration.
const WINDOWS: usize = 4;
const BOARD_ROWS: usize = 1000;
const DAY_SECS: i64 = 24 * 3600;
const PAGE_BYTES: u64 = 4096;

pub fn measure() -> anyhow::Result<Vec<Stage>> {
    let here = Circumstances::of_machine();
    // All three stay: what is freed is resident still, and the next would seem to cost nothing.
    let (_names, of_names) = per_million(names)?;
    let (_sums, of_sums) = per_million(sums)?;
    let (_cells, of_cells) = per_million(cells)?;
    let figures = [
        ("a live entity: name and number", "entity", of_names),
        ("its sums of one metric in four windows, latest and closed", "entity", of_sums),
        ("a cell: one metric of one entity in one pane", "cell", of_cells),
        ("distinct users of a sketch: a hundred in a day", "sketch", sketch(100)),
        ("distinct users of a sketch: ten thousand in a day", "sketch", sketch(10_000)),
        ("distinct users of a sketch: a million in a day", "sketch", sketch(1_000_000)),
    ];
    let stage = |(name, per, bytes): (&str, &str, f64)| {
        eprintln!("{bytes:>10.0} bytes  {name}");
        Stage {
            name: name.to_owned(),
            per: per.to_owned(),
            bytes: Some(bytes),
            date: here.date.clone(),
            commit: here.commit.clone(),
            ..Stage::default()
        }
    };
    Ok(figures.into_iter().map(stage).collect())
}

/// What was made, and the bytes for each of a million.
fn per_million<T>(make: fn() -> T) -> anyhow::Result<(T, f64)> {
    let before = resident_bytes()?;
    let made = std::hint::black_box(make());
    let after = resident_bytes()?;
    Ok((made, after.saturating_sub(before) as f64 / f64::from(MILLION)))
}

fn names() -> Entities {
    let mut entities = Entities::new(MILLION as usize);
    for number in 0..MILLION {
        let id = entities.resolve(&format!("product-{number}")).id();
        entities.retain(id);
    }
    entities
}

fn sums() -> Column {
    let mut column = Column::new(WINDOWS, Some(BOARD_ROWS));
    for entity in 0..MILLION {
        (0..2 * WINDOWS).for_each(|edge| column.add(entity, 1, edge));
    }
    column
}

fn cells() -> Pane {
    let mut pane = Pane::default();
    for entity in 0..MILLION {
        pane.push(PaneCell { amount: 1, entity, series: 0 });
        pane.combine_if_doubled(|_| ());
    }
    pane.combine(|_| ());
    pane
}

/// By its own account: too small for the system's.
fn sketch(users: u32) -> f64 {
    let mut frontier = Frontier::new(0);
    for user in 0..users {
        let (register, rank) = mark(user.to_string().as_bytes());
        frontier.insert(register, DAY_SECS * i64::from(user) / i64::from(users), rank);
    }
    frontier.bytes() as f64
}

fn resident_bytes() -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").context("read resident memory")?;
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    Ok(pages.context("read resident memory")? * PAGE_BYTES)
}
