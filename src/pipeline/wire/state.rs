//! What the partition knows at the end of the delivery.
//!
//! The last 64 event times are most of it. They are written oldest first, each as the difference
//! from the one before: a byte or two where a log is nearly in order.

use super::{EPOCH, WireError, contradiction, read_time, write_time};
use crate::pipeline::codec::{CodecError, Reader, Writer};
use crate::pipeline::delivery::{Ledger, PartitionState, Prints};
use crate::pipeline::identity::Fingerprint;
use crate::pipeline::watermark::Watermark;
use crate::time::EventTime;

pub fn write(writer: &mut Writer, state: &PartitionState, from: i64) {
    let PartitionState { watermark, quiet, ledger, warm_from, prints } = state;
    writer.u64(watermark.seen());
    if let Some(newest) = watermark.newest() {
        write_time(writer, newest, EPOCH);
        let mut before = newest;
        for time in watermark.recent() {
            write_time(writer, time, before);
            before = time;
        }
    }
    writer.option(quiet.map(EventTime::millis));
    for count in ledger_fields(&mut ledger.clone()) {
        writer.u64(*count);
    }
    writer.i64(warm_from.wrapping_sub(from));
    for print in [prints.newest, prints.older] {
        writer.bool(print.is_some());
        if let Some(Fingerprint { offset, kafka_millis, hash }) = print {
            writer.i64(from.wrapping_sub(offset));
            writer.option(kafka_millis);
            writer.u64(hash);
        }
    }
}

fn read_print(reader: &mut Reader<'_>, from: i64) -> Result<Option<Fingerprint>, CodecError> {
    if !reader.bool()? {
        return Ok(None);
    }
    let offset = from.wrapping_sub(reader.i64()?);
    Ok(Some(Fingerprint { offset, kafka_millis: reader.option()?, hash: reader.u64()? }))
}

pub fn read(reader: &mut Reader<'_>, from: i64) -> Result<PartitionState, WireError> {
    let watermark = read_watermark(reader)?;
    let quiet = if reader.bool()? { Some(read_time(reader, EPOCH)?) } else { None };
    let mut ledger = Ledger::default();
    for count in ledger_fields(&mut ledger) {
        *count = reader.u64()?;
    }
    let warm_from = from.wrapping_add(reader.i64()?);
    let prints = Prints { newest: read_print(reader, from)?, older: read_print(reader, from)? };
    Ok(PartitionState { watermark, quiet, ledger, warm_from, prints })
}

fn read_watermark(reader: &mut Reader<'_>) -> Result<Watermark, WireError> {
    let seen = reader.u64()?;
    if seen == 0 {
        return Ok(Watermark::default());
    }
    let newest = read_time(reader, EPOCH)?;
    let mut before = newest;
    let mut next = || -> Result<EventTime, CodecError> {
        before = read_time(reader, before)?;
        Ok(before)
    };
    let recent = (0..Watermark::recent_len(seen)).map(|_| next()).collect::<Result<Vec<_>, _>>()?;
    Watermark::from_parts(Some(newest), seen, &recent)
        .ok_or_else(|| contradiction(reader, "its watermark is none that a log can have"))
}

/// In the order of the format. A new count needs a new version.
fn ledger_fields(ledger: &mut Ledger) -> [&mut u64; 8] {
    let Ledger {
        consumed,
        applied,
        late,
        duplicate,
        malformed,
        future,
        tombstone,
        foreign_currency,
    } = ledger;
    [consumed, applied, late, duplicate, malformed, future, tombstone, foreign_currency]
}
