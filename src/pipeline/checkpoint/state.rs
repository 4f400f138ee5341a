//! The small things: kinds, partitions, sketch owners, times.

use crate::event::Kind;
use crate::pipeline::codec::{CodecError, Reader, Writer};
use crate::pipeline::delivery::Partition;
use crate::pipeline::distinct::SketchOwner;
use crate::time::EventTime;

pub fn write_kind(writer: &mut Writer, kind: Kind) {
    let number = Kind::ALL.iter().position(|&other| other == kind);
    writer.usize(number.expect("ALL holds every kind"));
}

pub fn read_kind(reader: &mut Reader) -> Result<Kind, CodecError> {
    Ok(Kind::ALL[reader.index(Kind::ALL.len())?])
}

pub fn write_time(writer: &mut Writer, time: Option<EventTime>) {
    writer.option(time.map(EventTime::millis));
}

pub fn read_time(reader: &mut Reader) -> Result<Option<EventTime>, CodecError> {
    Ok(reader.option()?.map(EventTime::from_millis))
}

pub fn write_partition(writer: &mut Writer, partition: Partition) {
    write_kind(writer, partition.kind);
    writer.i64(partition.index.into());
}

pub fn read_partition(reader: &mut Reader) -> Result<Partition, CodecError> {
    let kind = read_kind(reader)?;
    let out_of_range = reader.error(crate::pipeline::codec::Problem::OutOfRange);
    let index = i32::try_from(reader.i64()?).map_err(|_| out_of_range)?;
    Ok(Partition { kind, index })
}

/// Entities by their number in the merger.
pub fn write_owner(writer: &mut Writer, (kind, entity): SketchOwner) {
    write_kind(writer, kind);
    writer.bool(entity.is_some());
    if let Some((dimension, id)) = entity {
        writer.u64(dimension.into());
        writer.u64(id.into());
    }
}

pub fn read_owner(reader: &mut Reader) -> Result<SketchOwner, CodecError> {
    let kind = read_kind(reader)?;
    let entity = if reader.bool()? { Some((reader.narrow()?, reader.narrow()?)) } else { None };
    Ok((kind, entity))
}
