//! Where the values of the known fields lie in a record, before anyone has judged them.
//!
//! Reading a record takes two passes over little data: the scan checks the JSON grammar and
//! notes the place of each known field; only then are the noted values interpreted. So a
//! repeated field simply overwrites its note (the last one wins), and bad grammar is found
//! before bad values, wherever they stand.

/// What kind of JSON value was found, and where its text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    /// `null`, which means the same as leaving the field out.
    Null,
    /// A string of printable ASCII without escapes.
    Plain,
    /// Any other string without escapes: its text is a part of the payload, too.
    Text,
    /// A string with escapes: its text has been written to the scratch memory.
    Unescaped,
    /// A number without fraction or exponent; the text is the token in the payload.
    Integer,
    /// Any other number.
    Float,
    /// `true`, `false`, an array or an object.
    Other,
}

/// A value's tag and where its text lies (nowhere for `Null` and `Other`), in one machine
/// word: 30 bits of start, 30 of length, 4 of tag. As a struct of three it was written in
/// parts and read as a whole, which stalls the processor; that took a third of the scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raw(u64);

const PLACE_BITS: u32 = 30;
const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;

/// Positions up to here can be noted. Kafka's largest record is not much larger.
pub(super) const TEXT_BYTES_MAX: usize = PLACE_MASK as usize;

impl Raw {
    pub const NULL: Raw = Raw::new(Tag::Null, 0, 0);
    pub const OTHER: Raw = Raw::new(Tag::Other, 0, 0);

    /// The text `[start, end)`, which ends at [`TEXT_BYTES_MAX`] at the latest.
    pub const fn new(tag: Tag, start: usize, end: usize) -> Raw {
        Raw((start as u64) << (PLACE_BITS + 4) | ((end - start) as u64) << 4 | tag as u64)
    }

    #[inline]
    pub fn tag(self) -> Tag {
        match self.0 & 0xf {
            0 => Tag::Null,
            1 => Tag::Plain,
            2 => Tag::Text,
            3 => Tag::Unescaped,
            4 => Tag::Integer,
            5 => Tag::Float,
            _ => Tag::Other,
        }
    }

    #[inline]
    pub fn range(self) -> std::ops::Range<usize> {
        let start = (self.0 >> (PLACE_BITS + 4)) as usize;
        start..start + (self.0 >> 4 & PLACE_MASK) as usize
    }
}

/// The largest number of distinct field names, with room for every role and dimension.
pub(super) const FIELDS_MAX: usize = 24;

/// The values found in one object, by field number. `seen` tells which entries mean
/// something, so that a new record costs one store and not a wipe of the table.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    seen: u32,
    raw: [Raw; FIELDS_MAX],
}

impl Slots {
    pub fn new() -> Slots {
        Slots { seen: 0, raw: [Raw::NULL; FIELDS_MAX] }
    }

    pub fn clear(&mut self) {
        self.seen = 0;
    }

    pub fn put(&mut self, field: u8, raw: Raw) {
        self.seen |= 1 << field;
        self.raw[field as usize] = raw;
    }

    /// The last value of the field, unless it is absent or null.
    pub fn get(&self, field: u8) -> Option<Raw> {
        if self.seen >> field & 1 == 0 {
            return None;
        }
        let raw = self.raw[field as usize];
        (raw.tag() != Tag::Null).then_some(raw)
    }
}

/// The element objects of an `items` array. Entries beyond `count` are spare memory.
#[derive(Debug, Default)]
pub(super) struct Items {
    slots: Vec<Slots>,
    count: usize,
    /// Some element is not an object.
    pub has_other: bool,
}

/// The most elements of `items` in one record: it bounds what a single record can cost.
pub const ITEMS_MAX: usize = 1000;

impl Items {
    pub fn clear(&mut self) {
        self.count = 0;
        self.has_other = false;
    }

    /// Counts an element and gives the place for its fields; beyond [`ITEMS_MAX`] the last
    /// place is used again, because the record will be refused anyway.
    pub fn next(&mut self) -> &mut Slots {
        let index = self.count.min(ITEMS_MAX - 1);
        self.count += 1;
        if index == self.slots.len() {
            self.slots.push(Slots::new());
        }
        let slots = &mut self.slots[index];
        slots.clear();
        slots
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn iter(&self) -> impl Iterator<Item = &Slots> {
        self.slots.iter().take(self.count)
    }

    #[cfg(test)]
    pub fn memory(&self) -> (usize, usize) {
        (self.slots.as_ptr().addr(), self.slots.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_tag_and_place() {
        let tags = [
            Tag::Null,
            Tag::Plain,
            Tag::Text,
            Tag::Unescaped,
            Tag::Integer,
            Tag::Float,
            Tag::Other,
        ];
        for tag in tags {
            for range in [0..0, 7..12, 0..TEXT_BYTES_MAX, TEXT_BYTES_MAX..TEXT_BYTES_MAX] {
                let raw = Raw::new(tag, range.start, range.end);
                assert_eq!((raw.tag(), raw.range()), (tag, range));
            }
        }
    }

    #[test]
    fn endless_items_take_bounded_memory() {
        let mut items = Items::default();
        for _ in 0..10 * ITEMS_MAX {
            items.next();
        }
        assert_eq!((items.count(), items.slots.len()), (10 * ITEMS_MAX, ITEMS_MAX));
    }
}
