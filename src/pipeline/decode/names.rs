//! Which JSON names are read, and what for: one look-up per name found in a record.
//!
//! Names come from the configuration, so the table is built at start: open addressing over
//! the first and last eight bytes and the length. Two names of up to sixteen bytes that
//! agree in these are equal, so the usual look-up compares three words and never a string.
//!
//! And most names are not even looked up. Serializers write fields in the same order every
//! time, so [`Names::expected`] first compares the text with the name that followed the
//! previous one last time, which also spares the search for the closing quote. It is a guess
//! that is checked: it changes how fast a name is found, never which.

use crate::config::FieldsConfig;
use crate::event::DIMENSIONS_MAX;
use crate::pipeline::definitions::Definitions;

use super::slots::FIELDS_MAX;

/// The number of a name that no record can contain: its field is never seen.
const OFF: u8 = (FIELDS_MAX - 1) as u8;

/// A fifth full at worst, so that a foreign name usually meets an empty place.
const PLACES: usize = 256;
const PLACE_BITS: u32 = PLACES.trailing_zeros();

/// The number of the field that plays each role. Roles that share a name share the number.
#[derive(Clone, Debug)]
pub(super) struct Roles {
    pub event_id: u8,
    pub timestamp: u8,
    pub user_id: u8,
    pub session_id: u8,
    pub action: u8,
    pub order_id: u8,
    pub quantity: u8,
    pub price_minor: u8,
    pub currency: u8,
    pub items: u8,
    pub status: u8,
    /// By dimension: its field, and whether a line of `items` inherits it from the top level.
    pub dimensions: Vec<(u8, bool)>,
}

/// A name that is read; by number in the order of insertion.
#[derive(Debug)]
struct Entry {
    name: Box<[u8]>,
    words: Words,
    field: u8,
    /// The name is written as it is, whatever the serializer: it needs no escapes.
    is_plain: bool,
}

/// First and last eight bytes of a name, overlapping where it is shorter than sixteen; up to
/// eight bytes both are the whole name, zero-padded. With the length they decide whether
/// names of up to sixteen bytes are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Words {
    head: u64,
    tail: u64,
    length: usize,
}

/// A name that was found: which field it is, and which entry to expect the next one after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub field: u8,
    entry: u8,
}

/// Where in a record we are, as far as the order of names tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct After(u8);

impl After {
    /// At the first name of a record.
    pub const RECORD: After = After(ENTRIES_MAX as u8);
    /// At the first name of an element of items.
    pub const ITEM: After = After(ENTRIES_MAX as u8 + 1);

    pub fn found(found: Found) -> After {
        After(found.entry)
    }
}

/// A name and its camelCase form by field.
const ENTRIES_MAX: usize = 2 * FIELDS_MAX;
/// The number of no entry.
const NONE: u8 = u8::MAX;

/// From JSON names to field numbers.
#[derive(Debug)]
pub(super) struct Names {
    /// Index into `entries` or [`NONE`].
    places: Box<[u8; PLACES]>,
    entries: Vec<Entry>,
    /// By [`After`]: the entry that came next the last time.
    successors: [u8; ENTRIES_MAX + 2],
    /// The configured name by field number, for messages.
    fields: Vec<Box<str>>,
}

impl Names {
    pub fn new(fields: &FieldsConfig, definitions: &Definitions) -> (Names, Roles) {
        let mut names = Names {
            places: Box::new([NONE; PLACES]),
            entries: vec![],
            successors: [NONE; ENTRIES_MAX + 2],
            fields: vec![],
        };
        let roles = Roles {
            event_id: names.field(&fields.event_id),
            timestamp: names.field(&fields.timestamp),
            user_id: names.field(&fields.user_id),
            session_id: names.field(&fields.session_id),
            action: names.field(&fields.action),
            order_id: names.field(&fields.order_id),
            quantity: names.field(&fields.quantity),
            price_minor: names.field(&fields.price_minor),
            currency: names.field(&fields.currency),
            items: names.field(&fields.items),
            status: names.field(&fields.status),
            dimensions: definitions
                .dimensions
                .iter()
                .take(DIMENSIONS_MAX)
                .map(|dimension| {
                    (names.field(&dimension.field), dimension.field != fields.product_id)
                })
                .collect(),
        };
        // Second, so that a configured name always wins over another name's camelCase form.
        for field in 0..names.fields.len() {
            let alias = camel_case(&names.fields[field]);
            names.insert(alias.as_bytes(), field as u8);
        }
        (names, roles)
    }

    /// The number of a configured name; an empty name turns the field off.
    fn field(&mut self, name: &str) -> u8 {
        if name.is_empty() {
            return OFF;
        }
        if let Some(field) = self.fields.iter().position(|known| &**known == name) {
            return field as u8;
        }
        let field = self.fields.len() as u8;
        self.fields.push(name.into());
        self.insert(name.as_bytes(), field);
        field
    }

    /// Keeps the first field of a name.
    fn insert(&mut self, name: &[u8], field: u8) {
        if self.find(name, 0, name.len()).is_some() {
            return;
        }
        let words = Words::of(name, 0, name.len());
        let mut place = words.place();
        while self.places[place] != NONE {
            place = (place + 1) % PLACES;
        }
        self.places[place] = self.entries.len() as u8;
        let is_plain = !name.iter().any(|&byte| byte < b' ' || byte == b'"' || byte == b'\\');
        self.entries.push(Entry { name: name.into(), words, field, is_plain });
    }

    /// The name `bytes[start..end]`. The bytes around it are read but do not matter.
    #[inline]
    pub fn find(&self, bytes: &[u8], start: usize, end: usize) -> Option<Found> {
        let words = Words::of(bytes, start, end);
        let mut place = words.place();
        loop {
            let index = self.places[place];
            let entry = self.entries.get(index as usize)?;
            if entry.words == words && (words.length <= 16 || *entry.name == bytes[start..end]) {
                return Some(Found { field: entry.field, entry: index });
            }
            place = (place + 1) % PLACES;
        }
    }

    /// The expected name, if it and its closing quote stand at `start`, and the quote's position.
    #[inline]
    pub fn expected(&self, after: After, bytes: &[u8], start: usize) -> Option<(Found, usize)> {
        let index = self.successors[after.0 as usize];
        let entry = self.entries.get(index as usize)?;
        let end = start + entry.words.length;
        let is_it = bytes.get(end) == Some(&b'"')
            && Words::of(bytes, start, end) == entry.words
            && (entry.words.length <= 16 || *entry.name == bytes[start..end]);
        is_it.then_some((Found { field: entry.field, entry: index }, end))
    }

    /// Remembers what came next. Not what may be written with escapes: the comparison in
    /// [`Self::expected`] is with the text as it stands.
    pub fn expect(&mut self, after: After, found: Found) {
        if self.entries[found.entry as usize].is_plain {
            self.successors[after.0 as usize] = found.entry;
        }
    }

    /// The configured name of a field.
    pub fn name(&self, field: u8) -> Option<&str> {
        self.fields.get(field as usize).map(|name| &**name)
    }
}

impl Words {
    #[inline(always)]
    fn of(bytes: &[u8], start: usize, end: usize) -> Words {
        let length = end - start;
        if length > 8 {
            return Words { head: word(bytes, start), tail: word(bytes, end - 8), length };
        }
        // One load and a mask; byte by byte only where the payload ends too early for it.
        let head = if length == 0 {
            0
        } else if start + 8 <= bytes.len() {
            word(bytes, start) & (u64::MAX >> (64 - 8 * length))
        } else {
            bytes[start..end].iter().rev().fold(0, |head, &byte| head << 8 | u64::from(byte))
        };
        Words { head, tail: head, length }
    }

    #[inline]
    fn place(self) -> usize {
        let mixed = (self.head ^ self.tail.rotate_left(29) ^ self.length as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (64 - PLACE_BITS)) as usize
    }
}

/// Eight bytes from `at` on, the first one lowest; the caller has checked that they are there.
#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

/// `order_id` becomes `orderId`. An underscore in front stays.
fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut chars = name.chars().peekable();
    while let Some(char) = chars.next() {
        match chars.peek() {
            Some(next) if char == '_' && !camel.is_empty() && next.is_ascii_alphanumeric() => {
                camel.push(next.to_ascii_uppercase());
                chars.next();
            }
            _ => camel.push(char),
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::super::tests::{definitions, fields};
    use super::*;

    fn find(names: &Names, name: &str) -> Option<u8> {
        let alone = names.find(name.as_bytes(), 0, name.len());
        let inside = format!("\"{name}\":\"some more text\"");
        assert_eq!(alone, names.find(inside.as_bytes(), 1, 1 + name.len()), "{name}");
        alone.map(|found| found.field)
    }

    #[test]
    fn camel_case_forms() {
        let camel =
            ["order_id", "status", "_id", "a__b", "price_minor_2", "orderId", "x_"].map(camel_case);
        assert_eq!(camel, ["orderId", "status", "_id", "a_B", "priceMinor2", "orderId", "x_"]);
    }

    #[test]
    fn configured_and_camel_case_names_are_found_and_no_others() {
        let (names, roles) = Names::new(&fields(), &definitions());
        for (name, field) in [
            ("event_id", roles.event_id),
            ("eventId", roles.event_id),
            ("timestamp", roles.timestamp),
            ("priceMinor", roles.price_minor),
            ("product_id", roles.dimensions[0].0),
            ("productId", roles.dimensions[0].0),
            ("seller_id", roles.dimensions[2].0),
        ] {
            assert_eq!(find(&names, name), Some(field), "{name}");
            assert_eq!(find(&names, &name[1..]), None);
            assert_eq!(find(&names, &format!("{name}_")), None);
        }
        assert_eq!(find(&names, ""), None);
        assert_eq!(find(&names, "EVENT_ID"), None);
    }

    #[test]
    fn names_that_differ_only_in_the_middle_are_told_apart() {
        let mut definitions = definitions();
        definitions.dimensions[1].field = "attributes_of_colour_in_english".into();
        definitions.dimensions[2].field = "attributes_of_fabric_in_english".into();
        let (names, roles) = Names::new(&fields(), &definitions);
        let find = |name| find(&names, name);
        assert_eq!(find("attributes_of_colour_in_english"), Some(roles.dimensions[1].0));
        assert_eq!(find("attributes_of_fabric_in_english"), Some(roles.dimensions[2].0));
        assert_eq!(find("attributes_of_weight_in_english"), None);
    }

    #[test]
    fn a_name_is_expected_where_it_last_was_and_only_if_it_stands_there() {
        let (mut names, roles) = Names::new(&fields(), &definitions());
        let text = br#""user_id":1,"userId":1,"user_id2":1,"user_i"#;
        let field = |names: &Names, start| {
            let (found, end) = names.expected(After::RECORD, text, start)?;
            Some((found.field, end))
        };
        assert_eq!(field(&names, 1), None);
        let found = names.find(b"user_id", 0, 7).unwrap();
        names.expect(After::RECORD, found);
        assert_eq!(field(&names, 1), Some((roles.user_id, 8)));
        assert_eq!([13, 24, 37].map(|start| field(&names, start)), [None, None, None]);
        assert_eq!(names.expected(After::ITEM, text, 1), None);
        assert_eq!(names.expected(After::found(found), text, 1), None);
    }

    #[test]
    fn a_name_that_needs_escapes_is_never_expected() {
        let mut fields = fields();
        fields.user_id = "user\\u0069d".into();
        let (mut names, roles) = Names::new(&fields, &definitions());
        let text = br#""user\u0069d":1"#;
        let found = names.find(text, 1, 12).unwrap();
        assert_eq!(found.field, roles.user_id);
        names.expect(After::RECORD, found);
        assert_eq!(names.expected(After::RECORD, text, 1), None);
    }

    #[test]
    fn a_configured_name_wins_over_an_alias_and_shared_names_share_a_field() {
        let mut definitions = definitions();
        definitions.dimensions[1].field = "userId".into();
        definitions.dimensions[2].field = "currency".into();
        let mut fields = fields();
        fields.session_id = String::new();
        let (names, roles) = Names::new(&fields, &definitions);
        assert_eq!(find(&names, "userId"), Some(roles.dimensions[1].0));
        assert_eq!(find(&names, "user_id"), Some(roles.user_id));
        assert_eq!(roles.dimensions[2].0, roles.currency);
        assert_eq!(find(&names, "session_id"), None);
        assert_eq!(names.name(roles.session_id), None);
        assert_eq!(roles.dimensions.iter().map(|d| d.1).collect::<Vec<_>>(), [false, true, true]);
    }
}
