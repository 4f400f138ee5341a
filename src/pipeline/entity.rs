//! The entities of one dimension: names interned to small numbers while anything counts them.
//!
//! An entity lives as long as a cell or a sketch refers to it; then its number is used again.
//! Number 0 is `__other__`, under which names are counted once the cap is reached.

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
    slots: Vec<Slot>,
    free: Vec<u32>,
    live_max: usize,
    /// No new names for now, whatever the cap.
    full: bool,
}

struct Slot {
    name: Name,
    /// Cells and sketches that refer to the entity; 0 only between resolving and retaining.
    references: u32,
}

impl Entities {
    pub fn new(live_max: usize) -> Self {
        let other = Slot { name: Arc::from(OTHER), references: 1 };
        Self { ids: HashMap::new(), slots: vec![other], free: Vec::new(), live_max, full: false }
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
        let slot = Slot { name: name.clone(), references: 0 };
        let id = match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = slot;
                id
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.ids.insert(name, id);
        Resolved::Own(id)
    }

    pub fn set_full(&mut self, full: bool) {
        self.full = full;
    }

    pub fn name(&self, id: u32) -> &Name {
        &self.slots[id as usize].name
    }

    pub fn retain(&mut self, id: u32) {
        self.slots[id as usize].references += 1;
    }

    /// Gives one reference back; the last one frees the number.
    pub fn release(&mut self, id: u32) {
        let slot = &mut self.slots[id as usize];
        debug_assert!(slot.references > 0, "released more often than retained");
        slot.references -= 1;
        if slot.references == 0 && id != OTHER_ID {
            self.ids.remove(&slot.name);
            self.free.push(id);
        }
    }

    /// Live entities, without `__other__`.
    pub fn live(&self) -> usize {
        self.ids.len()
    }

    /// One more than the largest number in use.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Heap bytes, by estimate: a slot, a map entry, and the shared name.
    pub fn bytes(&self) -> usize {
        const NAME_BYTES: usize = 16 + 24;
        self.slots.capacity() * size_of::<Slot>()
            + self.ids.capacity() * 25
            + self.live() * NAME_BYTES
    }
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
}
