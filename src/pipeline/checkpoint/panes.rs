//! A pane: its totals, and its cells as runs of one series, entities ascending.
//!
//! A large pane is cut into parts, each a blob of its own, so that no single write holds Redis
//! for long. The totals stand in every part; the cells of all parts follow one another.

use crate::event::OrderStatus;
use crate::pipeline::codec::{CodecError, Problem, Reader, Writer};
use crate::pipeline::delivery::Totals;
use crate::pipeline::pane::{Pane, PaneCell};

/// Cells of a part: about half a megabyte when packed.
const PART_CELLS: usize = 256 << 10;

/// The parts of a pane; at least one.
pub fn encode(pane: &Pane) -> Vec<Vec<u8>> {
    let mut copy;
    let cells = if pane.is_combined() {
        pane.cells()
    } else {
        copy = pane.clone();
        copy.combine(|_| ());
        copy.cells()
    };
    let parts = cells.len().div_ceil(PART_CELLS).max(1);
    (0..parts)
        .map(|part| {
            let end = cells.len().min((part + 1) * PART_CELLS);
            encode_part(&pane.totals, &cells[part * PART_CELLS..end])
        })
        .collect()
}

fn encode_part(totals: &Totals, cells: &[PaneCell]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(64 + cells.len() * 3);
    write_totals(&mut writer, totals);
    let runs = || cells.chunk_by(|a, b| a.series == b.series);
    writer.usize(runs().count());
    for run in runs() {
        writer.u64(run[0].series.into());
        writer.usize(run.len());
        let mut last = 0;
        for cell in run {
            writer.u64((cell.entity - last).into());
            writer.u64(cell.amount);
            last = cell.entity;
        }
    }
    writer.into_bytes()
}

/// The totals, and one part's cells.
pub fn decode(content: &[u8]) -> Result<(Totals, Vec<PaneCell>), CodecError> {
    let mut reader = Reader::new(content);
    let totals = read_totals(&mut reader)?;
    let mut cells = Vec::new();
    for _ in 0..reader.count(2)? {
        let series = reader.narrow()?;
        let count = reader.count(2)?;
        cells.reserve(count);
        let mut entity = 0u32;
        for _ in 0..count {
            let out_of_range = reader.error(Problem::OutOfRange);
            entity = entity.checked_add(reader.narrow()?).ok_or(out_of_range)?;
            cells.push(PaneCell { amount: reader.u64()?, entity, series });
        }
    }
    reader.finish()?;
    Ok((totals, cells))
}

fn write_totals(writer: &mut Writer, totals: &Totals) {
    let Totals {
        events, clicks, wishlists, wishlist_removes, orders, units, revenue_minor, ..
    } = totals;
    for value in [events, clicks, wishlists, wishlist_removes, orders, units, revenue_minor] {
        writer.u64(*value);
    }
    totals.order_status.iter().for_each(|&count| writer.u64(count));
    writer.usize(totals.foreign_revenue.len());
    for (currency, amount) in &totals.foreign_revenue {
        writer.str(currency);
        writer.u64(*amount);
    }
}

fn read_totals(reader: &mut Reader) -> Result<Totals, CodecError> {
    let mut totals = Totals {
        events: reader.u64()?,
        clicks: reader.u64()?,
        wishlists: reader.u64()?,
        wishlist_removes: reader.u64()?,
        orders: reader.u64()?,
        units: reader.u64()?,
        revenue_minor: reader.u64()?,
        order_status: [0; OrderStatus::COUNT],
        foreign_revenue: Vec::new(),
    };
    for count in &mut totals.order_status {
        *count = reader.u64()?;
    }
    for _ in 0..reader.count(2)? {
        let currency = reader.str()?;
        totals.add_foreign_revenue(currency, reader.u64()?);
    }
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_pane_comes_back_combined(
            cells in prop::collection::vec((0u16..15, any::<u32>(), 1u64..1 << 40), 0..200),
            events: u64, revenue in 0u64..1 << 40,
        ) {
            let mut pane = Pane::default();
            pane.totals = Totals { events, order_status: [1, 2, 3, 4, 5, 6], ..Totals::default() };
            pane.totals.add_foreign_revenue("CHF", revenue);
            for &(series, entity, amount) in &cells {
                pane.push(PaneCell { amount, entity, series });
            }
            let parts = encode(&pane);
            let (totals, cells) = decode(&parts[0]).unwrap();
            pane.combine(|_| ());
            prop_assert_eq!((parts.len(), totals, &*cells), (1, pane.totals.clone(), pane.cells()));
            for cut in 0..parts[0].len() {
                prop_assert!(decode(&parts[0][..cut]).is_err());
            }
        }
    }

    #[test]
    fn a_large_pane_comes_in_parts() {
        let mut pane = Pane::default();
        let last = PART_CELLS as u32 + 9;
        (0..=last).for_each(|entity| pane.push(PaneCell { amount: 1, entity, series: 3 }));
        let parts: Vec<Vec<PaneCell>> =
            encode(&pane).iter().map(|part| decode(part).unwrap().1).collect();
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [PART_CELLS, 10]);
        pane.combine(|_| ());
        assert_eq!(parts.concat(), pane.cells());
    }
}
