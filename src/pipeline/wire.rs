//! A delivery as bytes: how it crosses Redis from the owner of a partition to the leader.
//!
//! ```text
//!   version   1 byte
//!   head      kind, index, from, to − from, time of the oldest record
//!   state     watermark, quiet, ledger, warm_from                        see `state`
//!   names     by dimension: front-coded against the name before          see `names`
//!   sketches  kind, and (dimension, entity) where it is an entity's
//!   panes     start after the one before, totals, cells, users           see `panes`
//! ```
//!
//! The values are those of [`super::codec`]. The topic is not in it: its reader knows from
//! where it has the bytes, and both sides number topics by the kind they carry. Numbers on the
//! wire are the format's own (`Code`), so that reordering an enum changes no bytes.
//!
//! Names keep their order, because cells refer to them by index. Cells and users are sorted
//! within their pane, for the sake of small differences: their order has no meaning, and what
//! was encoded comes back otherwise unchanged. Equal deliveries give equal bytes, in
//! whatever order their cells were gathered.
//!
//! [`decode`] reads outside data. Every number is checked against what it counts or points to;
//! memory is reserved only for what the bytes left can hold, so that an input of `n` bytes makes
//! it reserve less than [`GROWTH_MAX`] × `n`. What it does not check is meaning: whether a ledger
//! adds up, or whether names are distinct. There is no checksum, since Redis hands over a value
//! whole or not at all; a bit that its memory or disk has turned may go unnoticed.
//!
//! A delivery takes about 12 bytes a record and is not compressed. On those of `benches/wire.rs`,
//! zstd (level 1) saved 23 % of a backlog's and 31 % of a second's, at 1.4 ns a byte to pack and
//! 1 ns to unpack; level 3 one point more at twice the time; lz4 9 to 10 %. That is worth having
//! where bytes stay, but these live for one checkpoint; and what an input can grow to would
//! rest on a length that it states itself.
//!
//! The version changes with any change of the form. An instance that meets another version
//! refuses it, the leader merges nothing of that partition, and the owner's records stay in Kafka:
//! that is how a rolling upgrade waits instead of going wrong.

mod names;
mod panes;
pub(in crate::pipeline) mod state;

#[cfg(test)]
mod tests;

use super::codec::{CodecError, Problem, Reader, Writer};
use super::delivery::{Cells, Delivery, Names, Partition, SketchKey};
use crate::event::{DIMENSIONS_MAX, Kind, Metric};
use crate::time::EventTime;

/// The form described here.
pub const VERSION: u8 = 1;

/// The longest input that is read. Deliveries are cut far below (an owner hands over at
/// a size limit); the bound keeps offsets into names within 32 bits.
pub const BYTES_MAX: usize = 128 << 20;

/// Bytes reserved per encoded byte, at worst: where empty panes are announced (46) and a list of
/// cells (16, and twice that while it grows) and neither is there. A real delivery takes 5 to 6.
pub const GROWTH_MAX: usize = 128;

/// Why bytes are not a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the delivery has the format version {found}, this program reads version {VERSION}")]
    Version { found: u8 },
    #[error("the delivery is longer than {BYTES_MAX} bytes")]
    TooLong,
    #[error("the delivery is malformed: {0}")]
    Malformed(#[from] CodecError),
    #[error("the delivery contradicts itself before byte {at}: {what}")]
    Contradiction { at: usize, what: &'static str },
}

pub fn encode(delivery: &Delivery) -> Vec<u8> {
    let Delivery { partition, from, to, state_to, cells, oldest_record_millis, has_gap } = delivery;
    // About a third of what it occupies in memory, by measurement; too little costs a copy.
    let mut writer = Writer::with_capacity(delivery.bytes() / 3);
    writer.u8(VERSION);
    writer.u8(partition.kind.code());
    writer.i64(partition.index.into());
    writer.i64(*from);
    writer.u64(to.wrapping_sub(*from) as u64);
    writer.option(*oldest_record_millis);
    writer.bool(*has_gap);
    state::write(&mut writer, state_to, *from);
    writer.usize(cells.names.len());
    for names in &cells.names {
        names::write(&mut writer, names);
    }
    writer.usize(cells.sketches.len());
    for sketch in &cells.sketches {
        write_sketch(&mut writer, sketch);
    }
    panes::write(&mut writer, &cells.panes);
    writer.into_bytes()
}

pub fn decode(bytes: &[u8]) -> Result<Delivery, WireError> {
    if bytes.len() > BYTES_MAX {
        return Err(WireError::TooLong);
    }
    let mut reader = Reader::new(bytes);
    let version = reader.u8()?;
    if version != VERSION {
        return Err(WireError::Version { found: version });
    }
    let kind = code(&mut reader)?;
    let out_of_range = reader.error(Problem::OutOfRange);
    let index = i32::try_from(reader.i64()?).map_err(|_| out_of_range)?;
    let from = reader.i64()?;
    let records = reader.u64()?;
    let to = from
        .checked_add_unsigned(records)
        .ok_or_else(|| contradiction(&reader, "its range of offsets does not end"))?;
    let oldest_record_millis = reader.option()?;
    let has_gap = reader.bool()?;
    let state_to = state::read(&mut reader, from)?;
    let cells = read_cells(&mut reader)?;
    reader.finish()?;
    let partition = Partition { kind, index };
    Ok(Delivery { partition, from, to, state_to, cells, oldest_record_millis, has_gap })
}

fn read_cells(reader: &mut Reader<'_>) -> Result<Cells, WireError> {
    let dimensions = reader.index(DIMENSIONS_MAX + 1)?;
    let names = (0..dimensions).map(|_| names::read(reader)).collect::<Result<Vec<_>, _>>()?;
    let count = reader.count(SKETCH_BYTES_MIN)?;
    let mut sketches = Vec::with_capacity(count);
    for _ in 0..count {
        sketches.push(read_sketch(reader, &names)?);
    }
    let panes = panes::read(reader, &names, sketches.len())?;
    Ok(Cells { names, sketches, panes })
}

/// A kind, and a dimension or none.
const SKETCH_BYTES_MIN: usize = 2;

fn write_sketch(writer: &mut Writer, sketch: &SketchKey) {
    writer.u8(sketch.kind.code());
    match sketch.entity {
        None => writer.u64(0),
        Some((dimension, entity)) => {
            writer.u64(u64::from(dimension) + 1);
            writer.u64(entity.into());
        }
    }
}

fn read_sketch(reader: &mut Reader<'_>, names: &[Names]) -> Result<SketchKey, CodecError> {
    let kind = code(reader)?;
    let entity = match reader.index(names.len() + 1)?.checked_sub(1) {
        None => None,
        Some(dimension) => {
            let entity = reader.index(names[dimension].len())?;
            Some((dimension as u16, entity as u32))
        }
    };
    Ok(SketchKey { kind, entity })
}

/// The number of a thing in this format, for good.
trait Code: Copy + 'static {
    const ALL: &'static [Self];
    fn code(self) -> u8;
}

impl Code for Kind {
    const ALL: &'static [Self] = &Kind::ALL;
    fn code(self) -> u8 {
        match self {
            Kind::Click => 0,
            Kind::Wishlist => 1,
            Kind::Purchase => 2,
            Kind::OrderStatus => 3,
        }
    }
}

impl Code for Metric {
    const ALL: &'static [Self] = &Metric::ALL;
    fn code(self) -> u8 {
        match self {
            Metric::Clicks => 0,
            Metric::Wishlists => 1,
            Metric::Orders => 2,
            Metric::Units => 3,
            Metric::RevenueMinor => 4,
        }
    }
}

fn code<T: Code>(reader: &mut Reader<'_>) -> Result<T, CodecError> {
    let out_of_range = reader.error(Problem::OutOfRange);
    let code = reader.u8()?;
    T::ALL.iter().copied().find(|thing| thing.code() == code).ok_or(out_of_range)
}

/// An event time as the difference from another one; out of range where its arithmetic would be.
fn read_time(reader: &mut Reader<'_>, base: EventTime) -> Result<EventTime, CodecError> {
    let out_of_range = reader.error(Problem::OutOfRange);
    let time = EventTime::from_millis(base.millis().wrapping_add(reader.i64()?));
    let possible = EventTime::MIN <= time && time <= EventTime::MAX;
    if possible { Ok(time) } else { Err(out_of_range) }
}

fn write_time(writer: &mut Writer, time: EventTime, base: EventTime) {
    writer.i64(time.millis().wrapping_sub(base.millis()));
}

const EPOCH: EventTime = EventTime::from_millis(0);

fn contradiction(reader: &Reader<'_>, what: &'static str) -> WireError {
    WireError::Contradiction { at: reader.position(), what }
}
