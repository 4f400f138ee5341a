//! The entities of one dimension: names interned to small numbers while anything counts them.
//!
//! An entity lives as long as a cell or a sketch refers to it; then its number is used again.
//! Number 0 is `__other__`, under which names are counted once the cap is reached.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::event::OTHER;
use crate::pipeline::view::Name;

/// The number of `__other__` in every dimension.
pub const OTHER_ID: u32 = 0;

/// What a name resolved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    Own(u32),
    /// The cap is reached: counted under `__other__`.
    OverCap,
}

impl Resolved {
    pub fn id(self) -> u32 {
        match self {
            Resolved::Own(id) => id,
            Resolved::OverCap => OTHER_ID,
        }
    }
}

/// Names and numbers of one dimension's live entities. One writer: the merger.
pub struct Entities {
    ids: HashMap<Name, u32>,
    /// By number. In segments that a checkpoint can hold on to while names come and go: one that
    /// is written to meanwhile is copied.
    segments: Vec<Arc<Segment>>,
    /// By number: cells and sketches that refer to the entity; 0 for a free number, and between
    /// resolving and retaining.
    references: Vec<u32>,
    /// The lowest first, so that new names fall into few segments.
    free: BinaryHeap<Reverse<u32>>,
    live_max: usize,
    /// No new names for now, whatever the cap.
    full: bool,
    /// Counts changes of segments.
    changes: u64,
}

/// Names of numbers that follow one another. A free number keeps the name that it had.
#[derive(Clone, Debug, Default)]
pub struct Segment {
    names: Vec<Name>,
    /// When it changed last, in changes of its table.
    changed: u64,
}

/// Fewer: more pointers for a checkpoint to copy. More: more names written again for a new one.
pub const SEGMENT_NAMES: usize = 1024;

impl Segment {
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// Two of the same table with equal marks hold the same names.
    pub fn changed(&self) -> u64 {
        self.changed
    }
}

impl Entities {
    pub fn new(live_max: usize) -> Self {
        let mut entities = Self {
            ids: HashMap::new(),
            segments: Vec::new(),
            references: Vec::new(),
            free: BinaryHeap::new(),
            live_max,
            full: false,
            changes: 0,
        };
        entities.references.push(1);
        entities.set_name(OTHER_ID, Arc::from(OTHER));
        entities
    }

    /// The table that a checkpoint tells of: names by number, and how often each number is
    /// referred to. Numbers without a reference are free, whatever their name.
    ///
    /// # Errors
    /// A number that is referred to has no name, or the name of another one.
    pub fn restore(
        live_max: usize,
        segments: Vec<Vec<Name>>,
        mut references: Vec<u32>,
    ) -> Result<Self, NamesDamaged> {
        let mut entities = Self::new(live_max);
        let names = segments.iter().map(Vec::len).sum::<usize>().max(1);
        if references[names.min(references.len())..].iter().any(|&count| count > 0) {
            return Err(NamesDamaged::Missing);
        }
        references.resize(names, 0);
        // Numbers are places in full segments.
        let full = segments.len().saturating_sub(1);
        if segments.iter().take(full).any(|names| names.len() != SEGMENT_NAMES)
            || segments.last().is_some_and(|names| names.len() > SEGMENT_NAMES)
        {
            return Err(NamesDamaged::Missing);
        }
        for (id, name) in segments.iter().flatten().enumerate().skip(1) {
            if references[id] == 0 {
                entities.free.push(Reverse(id as u32));
            } else if &**name == OTHER || entities.ids.insert(name.clone(), id as u32).is_some() {
                return Err(NamesDamaged::Twice(name.clone()));
            }
        }
        // `__other__` is referred to for ever.
        references[OTHER_ID as usize] += 1;
        if !segments.is_empty() {
            entities.segments =
                segments.into_iter().map(|names| Arc::new(Segment { names, changed: 0 })).collect();
        }
        entities.references = references;
        Ok(entities)
    }

    /// The number of a name, a new one if the cap allows. The caller retains it at once.
    pub fn resolve(&mut self, name: &str) -> Resolved {
        if let Some(&id) = self.ids.get(name) {
            return Resolved::Own(id);
        }
        if self.full || self.ids.len() >= self.live_max {
            return Resolved::OverCap;
        }
        let name: Name = Arc::from(name);
        let id = match self.free.pop() {
            Some(Reverse(id)) => id,
            None => {
                self.references.push(0);
                (self.references.len() - 1) as u32
            }
        };
        self.set_name(id, name.clone());
        self.ids.insert(name, id);
        Resolved::Own(id)
    }

    fn set_name(&mut self, id: u32, name: Name) {
        let (segment, at) = place(id);
        if segment == self.segments.len() {
            self.segments.push(Arc::default());
        }
        self.changes += 1;
        let segment = Arc::make_mut(&mut self.segments[segment]);
        segment.changed = self.changes;
        match segment.names.get_mut(at) {
            Some(known) => *known = name,
            None => segment.names.push(name),
        }
    }

    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    pub fn name(&self, id: u32) -> &Name {
        let (segment, at) = place(id);
        &self.segments[segment].names[at]
    }

    pub fn retain(&mut self, id: u32) {
        self.references[id as usize] += 1;
    }

    /// Gives one reference back; the last one frees the number.
    pub fn release(&mut self, id: u32) {
        let references = &mut self.references[id as usize];
        debug_assert!(*references > 0, "released more often than retained");
        *references -= 1;
        if *references == 0 && id != OTHER_ID {
            let (segment, at) = place(id);
            self.ids.remove(&self.segments[segment].names[at]);
            self.free.push(Reverse(id));
        }
    }

    /// The names by number, as they are now; later changes do not touch what was returned.
    pub fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.clone()
    }

    /// Live entities, without `__other__`.
    pub fn live(&self) -> usize {
        self.ids.len()
    }

    /// One more than the largest number in use.
    pub fn capacity(&self) -> usize {
        self.references.len()
    }

    /// Heap bytes, by estimate: a place in a segment, a map entry, and the shared name.
    pub fn bytes(&self) -> usize {
        const NAME_BYTES: usize = 16 + 24;
        self.references.capacity() * (size_of::<u32>() + size_of::<Name>())
            + self.free.capacity() * size_of::<u32>()
            + self.ids.capacity() * 25
            + self.live() * NAME_BYTES
    }
}

fn place(id: u32) -> (usize, usize) {
    (id as usize / SEGMENT_NAMES, id as usize % SEGMENT_NAMES)
}

/// Names and references of a checkpoint contradict each other.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamesDamaged {
    #[error("an entity has no name")]
    Missing,
    #[error("two entities have the name {0:?}")]
    Twice(Name),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_lives_while_referred_to_and_its_number_is_used_again() {
        let mut entities = Entities::new(2);
        let a = entities.resolve("a").id();
        entities.retain(a);
        entities.retain(a);
        let b = entities.resolve("b").id();
        entities.retain(b);
        assert_eq!(entities.resolve("c"), Resolved::OverCap);
        entities.release(a);
        assert_eq!(entities.resolve("a"), Resolved::Own(a), "one reference is left");
        entities.release(a);
        assert_eq!(entities.resolve("c"), Resolved::Own(a), "its number is free");
        assert_eq!(&**entities.name(a), "c");
        assert_eq!(entities.live(), 2);
    }

    #[test]
    fn other_is_never_freed_and_counts_against_no_cap() {
        let mut entities = Entities::new(1);
        entities.retain(OTHER_ID);
        entities.release(OTHER_ID);
        assert_eq!(&**entities.name(OTHER_ID), OTHER);
        assert_eq!(entities.live(), 0);
    }

    fn live(entities: &mut Entities, name: &str) -> u32 {
        let id = entities.resolve(name).id();
        entities.retain(id);
        id
    }

    #[test]
    fn segments_that_were_taken_do_not_change() {
        let mut entities = Entities::new(10);
        let a = live(&mut entities, "a");
        let before = entities.segments();
        entities.release(a);
        assert_eq!(live(&mut entities, "b"), a, "the number is used again");
        let after = entities.segments();
        let name = |segments: &[Arc<Segment>]| segments[0].names()[a as usize].clone();
        assert_eq!([&*name(&before), &*name(&after)], ["a", "b"]);
        assert_ne!(before[0].changed(), after[0].changed());
        entities.release(a);
        assert_eq!(entities.segments()[0].changed(), after[0].changed(), "no name has changed");
    }

    #[test]
    fn a_restored_table_goes_on_as_the_one_that_was_saved() {
        let mut saved = Entities::new(2000);
        for number in 1..=1500 {
            assert_eq!(live(&mut saved, &format!("n{number}")), number);
        }
        // A name that moved: its old number keeps it, and must not be taken for it.
        saved.release(7);
        saved.release(3);
        assert_eq!(live(&mut saved, "n7"), 3);
        let names: Vec<Vec<Name>> =
            saved.segments().iter().map(|segment| segment.names().to_vec()).collect();
        let mut references = vec![1; 1501];
        (references[0], references[7]) = (0, 0);
        let mut restored = Entities::restore(2000, names.clone(), references.clone()).unwrap();
        assert_eq!(restored.resolve("n7"), Resolved::Own(3));
        assert_eq!((restored.live(), restored.capacity()), (saved.live(), saved.capacity()));
        assert_eq!(live(&mut restored, "new"), 7, "the free number");
        assert_eq!(live(&mut restored, "newer"), 1501);

        references[7] = 1;
        let twice = Entities::restore(2000, names.clone(), references.clone()).err();
        assert_eq!(twice, Some(NamesDamaged::Twice("n7".into())));
        references.push(1);
        assert_eq!(Entities::restore(2000, names, references).err(), Some(NamesDamaged::Missing));
    }
}
