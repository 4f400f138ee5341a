//! From a manifest and its blobs back to merged state.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{BlobName, Damaged, Manifest, Stored, marks, names, pack, panes};
use crate::event::Metric;
use crate::pipeline::codec::CodecError;
use crate::pipeline::definitions::Definitions;
use crate::pipeline::delivery::Totals;
use crate::pipeline::distinct::Distinct;
use crate::pipeline::entity::{Entities, OTHER_ID};
use crate::pipeline::merge::Merger;
use crate::pipeline::pane::{Pane, PaneCell};
use crate::pipeline::view::Name;
use crate::pipeline::window::Windows;
use crate::time::EventTime;

/// Collects blobs, in any order.
pub struct Assembly {
    definitions: Arc<Definitions>,
    manifest: Manifest,
    places: HashMap<BlobName, Place>,
    names: Vec<Vec<Option<Vec<Name>>>>,
    panes: BTreeMap<PaneKey, Vec<Option<PanePart>>>,
    users: Distinct,
}

type PaneKey = (usize, EventTime);
type PanePart = (Totals, Vec<PaneCell>);

/// What a blob holds.
#[derive(Clone, Copy)]
enum Place {
    Names(usize, usize),
    Pane(PaneKey, usize),
    Users,
}

impl Assembly {
    /// # Errors
    /// The manifest was made for other definitions.
    pub fn new(definitions: Arc<Definitions>, manifest: Manifest) -> Result<Self, Damaged> {
        let Manifest { cut, stored } = &manifest;
        let windows = definitions.windows.len();
        let dimensions = definitions.dimensions.len();
        let fits = cut.windows.rolled_to.len() == definitions.levels.len()
            && cut.windows.edges.len() == 2 * windows
            && cut.windows.after_content.len() == windows
            && cut.closed_through.len() == windows
            && stored.names.len() == dimensions
            && stored.panes.keys().all(|&(level, _)| level < definitions.levels.len())
            && cut.sketches.iter().flat_map(|(_, entity)| entity).all(|&(dimension, _)| {
                definitions.dimensions.get(usize::from(dimension)).is_some_and(|d| d.uniques)
            });
        if !fits {
            return Err(Damaged::OtherDefinitions);
        }
        let mut places = HashMap::new();
        for (dimension, segments) in stored.names.iter().enumerate() {
            for (number, (_, blob)) in segments.iter().enumerate() {
                places.insert(blob.clone(), Place::Names(dimension, number));
            }
        }
        for (&key, (_, parts)) in &stored.panes {
            for (part, blob) in parts.iter().enumerate() {
                places.insert(blob.clone(), Place::Pane(key, part));
            }
        }
        for blob in stored.marks() {
            places.insert(blob.clone(), Place::Users);
        }
        let nothing = |segments: &Vec<_>| vec![None; segments.len()];
        Ok(Self {
            names: stored.names.iter().map(nothing).collect(),
            panes: stored
                .panes
                .iter()
                .map(|(&key, (_, parts))| (key, vec![None; parts.len()]))
                .collect(),
            users: Distinct::restore(&definitions, cut.sketch_edges, &cut.sketches),
            places,
            manifest,
            definitions,
        })
    }

    /// The blobs that are wanted.
    pub fn blobs(&self) -> Vec<BlobName> {
        self.manifest.stored.blobs().cloned().collect()
    }

    /// Takes in a blob.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn add(&mut self, blob: &BlobName, packed: &[u8]) -> Result<(), Damaged> {
        let Some(&place) = self.places.get(blob) else { return Ok(()) };
        let content = pack::unpack(packed).ok_or_else(|| Damaged::Packing(blob.clone()))?;
        self.place(place, &content)
            .map_err(|source| Damaged::Blob { blob: blob.clone(), source })?;
        self.places.remove(blob);
        Ok(())
    }

    fn place(&mut self, place: Place, content: &[u8]) -> Result<(), CodecError> {
        match place {
            Place::Names(dimension, number) => {
                self.names[dimension][number] = Some(names::decode(content)?);
            }
            Place::Pane(key, part) => {
                if let Some(parts) = self.panes.get_mut(&key) {
                    parts[part] = Some(panes::decode(content)?);
                }
            }
            Place::Users => {
                for run in marks::decode(content)? {
                    self.users.restore_run(&run);
                }
            }
        }
        Ok(())
    }

    /// The merger as it was at the cut, and which blobs hold its state.
    ///
    /// # Errors
    /// A blob is missing, or they contradict each other.
    pub fn finish(self) -> Result<(Merger, Stored), Damaged> {
        if let Some(blob) = self.places.into_keys().next() {
            return Err(Damaged::Missing(blob));
        }
        let Manifest { cut, stored } = self.manifest;
        let mut references: Vec<Vec<u32>> = vec![Vec::new(); self.definitions.dimensions.len()];
        let mut panes = Vec::with_capacity(self.panes.len());
        for ((level, start), parts) in self.panes {
            let mut parts = parts.into_iter().flatten();
            let Some((totals, mut cells)) = parts.next() else { continue };
            parts.for_each(|(_, more)| cells.extend(more));
            count_references(&cells, &mut references)?;
            panes.push((level, start, Pane::restore(cells, totals)));
        }
        for &(dimension, id) in cut.sketches.iter().filter_map(|(_, entity)| entity.as_ref()) {
            // The sketches of `__other__` hold no reference.
            if id != OTHER_ID {
                count_reference(&mut references[usize::from(dimension)], id);
            }
        }
        let tables = self.definitions.dimensions.iter().zip(self.names).zip(references);
        let entities = tables
            .map(|((dimension, segments), references)| {
                let segments = segments.into_iter().flatten().collect();
                Entities::restore(dimension.entities_max, segments, references)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let windows = Windows::restore(self.definitions.clone(), entities, panes, &cut.windows);
        Ok((Merger::restore(self.definitions, windows, self.users, cut), stored))
    }
}

fn count_references(cells: &[PaneCell], references: &mut [Vec<u32>]) -> Result<(), Damaged> {
    for cell in cells {
        let dimension = usize::from(cell.series) / Metric::COUNT;
        let references = references.get_mut(dimension).ok_or(Damaged::OtherDefinitions)?;
        count_reference(references, cell.entity);
    }
    Ok(())
}

fn count_reference(references: &mut Vec<u32>, id: u32) {
    let id = id as usize;
    if references.len() <= id {
        references.resize(id + 1, 0);
    }
    references[id] += 1;
}
