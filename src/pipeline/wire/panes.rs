//! What the panes gained: totals, cells, users.
//!
//! ```text
//!   totals   a bit for each sum that is not 0, then those sums; foreign revenue by currency
//!   cells    by series: entity after the one before × 2 (+ 1: an amount follows; else it is 1)
//!   users    by sketch: register after the one before × 4 + rank − 1 (3: a rank follows)
//! ```
//!
//! Most cells are one click, most ranks are 1 to 3, and neighbours in order are near: so a cell
//! or a user takes one or two bytes.

use super::{Code, EPOCH, WireError, contradiction, read_time, write_time};
use crate::event::Metric;
use crate::pipeline::codec::{CodecError, Problem, Reader, Writer};
use crate::pipeline::delivery::{Cell, Names, PaneCells, Totals, UserMark, series};
use crate::pipeline::hll;
use crate::time::EventTime;

/// Start, sums, groups of cells, groups of users.
const PANE_BYTES_MIN: usize = 4;
/// Its number, its count, one member.
const GROUP_BYTES_MIN: usize = 3;
/// A metric's code takes four bits beside the dimension.
const METRIC_BITS: u32 = 4;
/// A rank that does not fit beside the register.
const LONG_RANK: u8 = 3;

pub fn write(writer: &mut Writer, panes: &[PaneCells]) {
    let (mut cells, mut users) = (Vec::new(), Vec::new());
    writer.usize(panes.len());
    let mut before = EPOCH;
    for pane in panes {
        let start = EventTime::from_millis(pane.start_millis);
        write_time(writer, start, before);
        before = start;
        write_totals(writer, &pane.totals);
        cells.clear();
        cells.extend(pane.cells.iter().map(pack_cell));
        cells.sort_unstable();
        write_cells(writer, &cells);
        users.clear();
        users.extend(pane.users.iter().map(pack_user));
        users.sort_unstable();
        write_users(writer, &users);
    }
}

/// A cell as one number that sorts as it is written: comparing its parts one by one made up
/// most of the cost of a delivery.
fn pack_cell(cell: &Cell) -> u128 {
    u128::from(cell.series) << 96 | u128::from(cell.entity) << 64 | u128::from(cell.amount)
}

fn unpack_cell(packed: u128) -> Cell {
    Cell { series: (packed >> 96) as u16, entity: (packed >> 64) as u32, amount: packed as u64 }
}

fn pack_user(user: &UserMark) -> u64 {
    u64::from(user.sketch) << 32 | u64::from(user.register) << 8 | u64::from(user.rank)
}

fn unpack_user(packed: u64) -> UserMark {
    let (sketch, register) = ((packed >> 32) as u32, (packed >> 8) as u16);
    UserMark { sketch, register, rank: packed as u8 }
}

pub fn read(
    reader: &mut Reader<'_>,
    names: &[Names],
    sketches: usize,
) -> Result<Vec<PaneCells>, WireError> {
    let count = reader.count(PANE_BYTES_MIN)?;
    let mut panes: Vec<PaneCells> = Vec::with_capacity(count);
    let mut before = EPOCH;
    for number in 0..count {
        let start = read_time(reader, before)?;
        if number > 0 && start <= before {
            return Err(contradiction(reader, "its panes do not ascend"));
        }
        before = start;
        panes.push(PaneCells {
            start_millis: start.millis(),
            totals: read_totals(reader)?,
            cells: read_cells(reader, names)?,
            users: read_users(reader, sketches)?,
        });
    }
    Ok(panes)
}

fn write_cells(writer: &mut Writer, sorted: &[u128]) {
    let groups = || sorted.chunk_by(|a, b| a >> 96 == b >> 96);
    writer.usize(groups().count());
    for group in groups() {
        writer.u64(series_code(unpack_cell(group[0]).series));
        writer.usize(group.len());
        let mut before = 0;
        for &packed in group {
            let cell = unpack_cell(packed);
            let after = u64::from(cell.entity - before);
            before = cell.entity;
            writer.u64(after << 1 | u64::from(cell.amount != 1));
            if cell.amount != 1 {
                writer.u64(cell.amount);
            }
        }
    }
}

fn read_cells(reader: &mut Reader<'_>, names: &[Names]) -> Result<Vec<Cell>, CodecError> {
    let groups = reader.count(GROUP_BYTES_MIN)?;
    let mut cells = Vec::new();
    for _ in 0..groups {
        let (series, entities) = read_series(reader, names)?;
        let count = reader.count(1)?;
        cells.reserve(count);
        let mut entity = 0;
        for _ in 0..count {
            let out_of_range = reader.error(Problem::OutOfRange);
            let value = reader.u64()?;
            // Below 2³² + 2⁶³, so it cannot overflow.
            entity += value >> 1;
            if entity >= entities as u64 {
                return Err(out_of_range);
            }
            let amount = if value & 1 == 0 { 1 } else { reader.u64()? };
            cells.push(Cell { series, entity: entity as u32, amount });
        }
    }
    Ok(cells)
}

fn series_code(series: u16) -> u64 {
    let (dimension, metric) =
        (usize::from(series) / Metric::COUNT, usize::from(series) % Metric::COUNT);
    (dimension << METRIC_BITS) as u64 | u64::from(Metric::ALL[metric].code())
}

/// The series, and how many entities its dimension has.
fn read_series(reader: &mut Reader<'_>, names: &[Names]) -> Result<(u16, usize), CodecError> {
    let out_of_range = reader.error(Problem::OutOfRange);
    let code = reader.index(names.len() << METRIC_BITS)?;
    let (dimension, metric) = (code >> METRIC_BITS, (code & ((1 << METRIC_BITS) - 1)) as u8);
    let metric = Metric::ALL.into_iter().find(|known| known.code() == metric);
    let metric = metric.ok_or(out_of_range)?;
    Ok((series(dimension, metric), names[dimension].len()))
}

fn write_users(writer: &mut Writer, sorted: &[u64]) {
    let groups = || sorted.chunk_by(|a, b| a >> 32 == b >> 32);
    writer.usize(groups().count());
    for group in groups() {
        writer.u64(unpack_user(group[0]).sketch.into());
        writer.usize(group.len());
        let mut before = 0;
        for &packed in group {
            let user = unpack_user(packed);
            let after = u64::from(user.register - before);
            before = user.register;
            let short = user.rank.wrapping_sub(1).min(LONG_RANK);
            writer.u64(after << 2 | u64::from(short));
            if short == LONG_RANK {
                writer.u8(user.rank);
            }
        }
    }
}

fn read_users(reader: &mut Reader<'_>, sketches: usize) -> Result<Vec<UserMark>, CodecError> {
    let groups = reader.count(GROUP_BYTES_MIN)?;
    let mut users = Vec::new();
    for _ in 0..groups {
        let sketch = reader.index(sketches)? as u32;
        let count = reader.count(1)?;
        users.reserve(count);
        let mut register = 0;
        for _ in 0..count {
            let out_of_range = reader.error(Problem::OutOfRange);
            let value = reader.u64()?;
            // Below 2¹⁴ + 2⁶², so it cannot overflow.
            register += value >> 2;
            let short = (value & 3) as u8;
            let rank = if short == LONG_RANK { reader.u8()? } else { short + 1 };
            if register >= hll::REGISTERS as u64 || !(1..=hll::RANK_MAX).contains(&rank) {
                return Err(out_of_range);
            }
            users.push(UserMark { sketch, register: register as u16, rank });
        }
    }
    Ok(users)
}

const SUMS: usize = 13;
/// Stands for foreign revenue among the bits.
const FOREIGN: u64 = 1 << SUMS;

fn write_totals(writer: &mut Writer, totals: &Totals) {
    let sums = sums(&mut totals.clone()).map(|sum| *sum);
    let bits = (0..SUMS).filter(|&bit| sums[bit] > 0).map(|bit| 1 << bit).sum::<u64>();
    let foreign = &totals.foreign_revenue;
    writer.u64(bits | if foreign.is_empty() { 0 } else { FOREIGN });
    for sum in sums.into_iter().filter(|&sum| sum > 0) {
        writer.u64(sum);
    }
    if !foreign.is_empty() {
        writer.usize(foreign.len());
        for (currency, amount) in foreign {
            writer.str(currency);
            writer.u64(*amount);
        }
    }
}

fn read_totals(reader: &mut Reader<'_>) -> Result<Totals, WireError> {
    let bits = reader.index(2 * FOREIGN as usize)? as u64;
    let mut totals = Totals::default();
    for (bit, sum) in sums(&mut totals).into_iter().enumerate() {
        if bits & 1 << bit != 0 {
            *sum = reader.u64()?;
        }
    }
    if bits & FOREIGN != 0 {
        // A length and an amount, at least.
        let count = reader.count(2)?;
        totals.foreign_revenue.reserve(count);
        for _ in 0..count {
            let (currency, amount) = (reader.str()?, reader.u64()?);
            let last = totals.foreign_revenue.last();
            if last.is_some_and(|(last, _)| **last >= *currency) {
                return Err(contradiction(reader, "its currencies do not ascend"));
            }
            totals.foreign_revenue.push((currency.into(), amount));
        }
    }
    Ok(totals)
}

/// In the order of the format. A new sum needs a new version.
fn sums(totals: &mut Totals) -> [&mut u64; SUMS] {
    let Totals {
        events,
        clicks,
        wishlists,
        wishlist_removes,
        orders,
        units,
        revenue_minor,
        order_status: [pending, processing, shipped, delivered, cancelled, returned],
        foreign_revenue: _,
    } = totals;
    [
        events,
        clicks,
        wishlists,
        wishlist_removes,
        orders,
        units,
        revenue_minor,
        pending,
        processing,
        shipped,
        delivered,
        cancelled,
        returned,
    ]
}
