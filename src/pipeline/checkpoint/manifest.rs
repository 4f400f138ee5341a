//! The manifest: the numbers of a cut, and the names of the blobs that hold the rest.

use std::collections::BTreeMap;

use super::state::{
    read_owner, read_partition, read_time, write_owner, write_partition, write_time,
};
use super::{BlobName, Cut, Damaged, SavedWindows, pack};
use crate::pipeline::clock::{SavedClock, SavedPartitionClock};
use crate::pipeline::codec::{CodecError, Problem, Reader, Writer};
use crate::pipeline::distinct::{SavedEdges, SketchOwner};
use crate::pipeline::merge::Position;
use crate::pipeline::wire::{self, WireError};
use crate::time::EventTime;

/// A checkpoint, complete with [the blobs](Stored::blobs) that it names.
#[derive(Clone, Debug)]
pub struct Manifest {
    pub cut: Cut,
    pub stored: Stored,
}

/// Which blob holds what. The marks of change are those of the process that wrote them; after a
/// restart all are 0, as are those of the restored state.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// By dimension and segment.
    pub names: Vec<Vec<(u64, BlobName)>>,
    /// By level and start.
    pub panes: BTreeMap<(usize, EventTime), (u64, Vec<BlobName>)>,
    pub bases: BTreeMap<SketchOwner, BlobName>,
    /// Open cells by their first pane.
    pub cells: BTreeMap<i64, BlobName>,
    /// What went into main frontiers, by the checkpoint that saved it.
    pub folded: Vec<(u64, BlobName)>,
    pub ahead: Option<BlobName>,
}

impl Stored {
    /// Every blob, once.
    pub fn blobs(&self) -> impl Iterator<Item = &BlobName> {
        let names = self.names.iter().flatten().map(|(_, blob)| blob);
        let panes = self.panes.values().flat_map(|(_, blobs)| blobs);
        let folded = self.folded.iter().map(|(_, blob)| blob);
        let marks = self.bases.values().chain(self.cells.values()).chain(folded);
        names.chain(panes).chain(marks).chain(&self.ahead)
    }

    /// The blobs that hold marks of users.
    pub fn marks(&self) -> impl Iterator<Item = &BlobName> {
        let folded = self.folded.iter().map(|(_, blob)| blob);
        self.bases.values().chain(self.cells.values()).chain(folded).chain(&self.ahead)
    }
}

impl Manifest {
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        write_cut(&mut writer, &self.cut);
        write_stored(&mut writer, &self.stored);
        pack::pack(&writer.into_bytes())
    }

    /// # Errors
    /// It is damaged, or of another version.
    pub fn decode(packed: &[u8]) -> Result<Self, Damaged> {
        let content = pack::unpack(packed).ok_or(Damaged::ManifestPacking)?;
        let mut reader = Reader::new(&content);
        let mut read = || {
            let (cut, stored) = (read_cut(&mut reader)?, read_stored(&mut reader)?);
            reader.clone().finish()?;
            Ok(Self { cut, stored })
        };
        read().map_err(Damaged::Manifest)
    }
}

fn write_all<T>(
    writer: &mut Writer,
    items: impl ExactSizeIterator<Item = T>,
    mut write: impl FnMut(&mut Writer, T),
) {
    writer.usize(items.len());
    items.for_each(|item| write(writer, item));
}

fn read_all<T, C: FromIterator<T>>(
    reader: &mut Reader,
    mut read: impl FnMut(&mut Reader) -> Result<T, CodecError>,
) -> Result<C, CodecError> {
    let count = reader.count(1)?;
    (0..count).map(|_| read(reader)).collect()
}

fn write_time_at(writer: &mut Writer, time: EventTime) {
    writer.i64(time.millis());
}

fn read_time_at(reader: &mut Reader) -> Result<EventTime, CodecError> {
    reader.i64().map(EventTime::from_millis)
}

fn write_cut(writer: &mut Writer, cut: &Cut) {
    write_all(writer, cut.positions.iter(), |writer, (partition, position)| {
        write_partition(writer, *partition);
        writer.i64(position.cursor);
        wire::state::write(writer, &position.state, position.cursor);
    });
    write_time(writer, cut.clock.stream_time);
    write_time(writer, cut.clock.group_watermark);
    write_all(writer, cut.clock.partitions.iter(), |writer, (partition, clock)| {
        write_partition(writer, *partition);
        write_time(writer, clock.newest);
        write_time(writer, clock.quiet);
        write_time(writer, clock.covered_from);
        writer.bool(clock.coverage_is_provisional);
    });
    let SavedWindows { rolled_to, edges, after_content } = &cut.windows;
    write_all(writer, rolled_to.iter(), |writer, &time| write_time_at(writer, time));
    write_all(writer, edges.iter(), |writer, &edge| write_time(writer, edge));
    write_all(writer, after_content.iter(), |writer, &had| writer.bool(had));
    let SavedEdges { folded, ahead_from, oldest, ahead_refused } = cut.sketch_edges;
    [folded, ahead_from, oldest].into_iter().for_each(|pane| writer.i64(pane));
    writer.u64(ahead_refused);
    write_all(writer, cut.sketches.iter(), |writer, &owner| write_owner(writer, owner));
    write_all(writer, cut.closed_through.iter(), |writer, &end| write_time(writer, end));
    writer.u64(cut.events_after_close);
    writer.u64(cut.over_cap);
}

fn read_cut(reader: &mut Reader) -> Result<Cut, CodecError> {
    let positions = read_all(reader, |reader| {
        let partition = read_partition(reader)?;
        let cursor = reader.i64()?;
        let state = wire::state::read(reader, cursor).map_err(|error| match error {
            WireError::Malformed(error) => error,
            _ => reader.error(Problem::OutOfRange),
        })?;
        Ok((partition, Position { cursor, state, refusals: 0 }))
    })?;
    let (stream_time, group_watermark) = (read_time(reader)?, read_time(reader)?);
    let partitions = read_all(reader, |reader| {
        let partition = read_partition(reader)?;
        let clock = SavedPartitionClock {
            newest: read_time(reader)?,
            quiet: read_time(reader)?,
            covered_from: read_time(reader)?,
            coverage_is_provisional: reader.bool()?,
        };
        Ok((partition, clock))
    })?;
    Ok(Cut {
        positions,
        clock: SavedClock { stream_time, group_watermark, partitions },
        windows: SavedWindows {
            rolled_to: read_all(reader, read_time_at)?,
            edges: read_all(reader, read_time)?,
            after_content: read_all(reader, |reader| reader.bool())?,
        },
        sketch_edges: SavedEdges {
            folded: reader.i64()?,
            ahead_from: reader.i64()?,
            oldest: reader.i64()?,
            ahead_refused: reader.u64()?,
        },
        sketches: read_all(reader, read_owner)?,
        closed_through: read_all(reader, read_time)?,
        events_after_close: reader.u64()?,
        over_cap: reader.u64()?,
    })
}

fn write_stored(writer: &mut Writer, stored: &Stored) {
    let blob = |writer: &mut Writer, blob: &BlobName| writer.str(blob);
    write_all(writer, stored.names.iter(), |writer, segments| {
        write_all(writer, segments.iter(), |writer, (_, name)| blob(writer, name));
    });
    write_all(writer, stored.panes.iter(), |writer, (&(level, start), (_, parts))| {
        writer.usize(level);
        write_time_at(writer, start);
        write_all(writer, parts.iter(), blob);
    });
    write_all(writer, stored.bases.iter(), |writer, (&owner, name)| {
        write_owner(writer, owner);
        blob(writer, name);
    });
    write_all(writer, stored.cells.iter(), |writer, (&start, name)| {
        writer.i64(start);
        blob(writer, name);
    });
    write_all(writer, stored.folded.iter(), |writer, (_, name)| blob(writer, name));
    write_all(writer, stored.ahead.as_slice().iter(), blob);
}

fn read_stored(reader: &mut Reader) -> Result<Stored, CodecError> {
    let blob = |reader: &mut Reader| reader.str().map(BlobName::from);
    let unchanged = |reader: &mut Reader| Ok((0, blob(reader)?));
    Ok(Stored {
        names: read_all(reader, |reader| read_all(reader, unchanged))?,
        panes: read_all(reader, |reader| {
            let (level, start) = (reader.narrow()?, read_time_at(reader)?);
            Ok(((level, start), (0, read_all(reader, blob)?)))
        })?,
        bases: read_all(reader, |reader| Ok((read_owner(reader)?, blob(reader)?)))?,
        cells: read_all(reader, |reader| Ok((reader.i64()?, blob(reader)?)))?,
        folded: read_all(reader, unchanged)?,
        ahead: read_all::<_, Vec<_>>(reader, blob)?.pop(),
    })
}
