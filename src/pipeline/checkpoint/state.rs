//! The small things: kinds, partitions and their state, sketch owners, times.

use crate::event::Kind;
use crate::pipeline::codec::{CodecError, Reader, Writer};
use crate::pipeline::delivery::{Ledger, Partition, PartitionState, Prints};
use crate::pipeline::distinct::SketchOwner;
use crate::pipeline::identity::Fingerprint;
use crate::pipeline::watermark::Watermark;
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

pub fn write_state(writer: &mut Writer, state: &PartitionState) {
    let (newest, seen, recent) = state.watermark.parts();
    write_time(writer, newest);
    writer.u64(seen);
    let mut last = 0;
    for time in recent {
        // Of neighbours, so mostly one or two bytes each.
        writer.i64(time.millis().wrapping_sub(last));
        last = time.millis();
    }
    write_time(writer, state.quiet);
    let ledger = &state.ledger;
    for count in ledger_fields(ledger) {
        writer.u64(count);
    }
    writer.i64(state.warm_from);
    for print in [state.prints.newest, state.prints.older] {
        writer.bool(print.is_some());
        if let Some(Fingerprint { offset, kafka_millis, hash }) = print {
            writer.i64(offset);
            writer.option(kafka_millis);
            writer.u64(hash);
        }
    }
}

fn read_print(reader: &mut Reader) -> Result<Option<Fingerprint>, CodecError> {
    if !reader.bool()? {
        return Ok(None);
    }
    let (offset, kafka_millis, hash) = (reader.i64()?, reader.option()?, reader.u64()?);
    Ok(Some(Fingerprint { offset, kafka_millis, hash }))
}

pub fn read_state(reader: &mut Reader) -> Result<PartitionState, CodecError> {
    let newest = read_time(reader)?;
    let seen = reader.u64()?;
    let mut last = 0i64;
    let mut recent = Vec::new();
    for _ in 0..Watermark::recent_len(seen) {
        last = last.wrapping_add(reader.i64()?);
        recent.push(EventTime::from_millis(last));
    }
    let watermark = Watermark::from_parts(newest, seen, &recent);
    let quiet = read_time(reader)?;
    let mut fields = [0; 8];
    for field in &mut fields {
        *field = reader.u64()?;
    }
    let [consumed, applied, late, duplicate, malformed, future, tombstone, foreign_currency] =
        fields;
    let ledger = Ledger {
        consumed,
        applied,
        late,
        duplicate,
        malformed,
        future,
        tombstone,
        foreign_currency,
    };
    let warm_from = reader.i64()?;
    let prints = Prints { newest: read_print(reader)?, older: read_print(reader)? };
    Ok(PartitionState { watermark, quiet, ledger, warm_from, prints })
}

fn ledger_fields(ledger: &Ledger) -> [u64; 8] {
    let Ledger {
        consumed,
        applied,
        late,
        duplicate,
        malformed,
        future,
        tombstone,
        foreign_currency,
    } = *ledger;
    [consumed, applied, late, duplicate, malformed, future, tombstone, foreign_currency]
}
