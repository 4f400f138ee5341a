//! A JSON object in the making, whose fields may be spoiled on purpose.

use super::out::Out;
use crate::load::spoil::Spoil;

/// A field's name, and how it stands in JSON after other fields.
pub struct Name {
    pub plain: &'static str,
    quoted: &'static str,
}

macro_rules! name {
    ($plain:literal) => {
        Name { plain: $plain, quoted: concat!(",\"", $plain, "\":") }
    };
}

pub const EVENT_ID: Name = name!("event_id");
pub const TIMESTAMP: Name = name!("timestamp");
pub const USER_ID: Name = name!("user_id");
pub const SESSION_ID: Name = name!("session_id");
pub const PRODUCT_ID: Name = name!("product_id");
pub const CATEGORY: Name = name!("category");
pub const SELLER_ID: Name = name!("seller_id");
pub const ACTION: Name = name!("action");
pub const ORDER_ID: Name = name!("order_id");
pub const CURRENCY: Name = name!("currency");
pub const QUANTITY: Name = name!("quantity");
pub const PRICE_MINOR: Name = name!("price_minor");
pub const ITEMS: Name = name!("items");
pub const STATUS: Name = name!("status");

/// A JSON object in the making, at the end of other bytes.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    spoil: Option<Spoil>,
    spoiled: bool,
    first: bool,
}

impl<'a> Object<'a> {
    pub fn new(out: &'a mut Vec<u8>, spoil: Option<Spoil>) -> Self {
        let start = out.len();
        out.push(b'{');
        Self { out, start, spoil, spoiled: false, first: true }
    }

    fn name(&mut self, name: &Name) {
        let quoted = name.quoted.as_bytes();
        self.out.put(&quoted[usize::from(self.first)..]);
        self.first = false;
    }

    pub fn put(&mut self, name: &Name, value: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        match self.spoil {
            Some(Spoil::Field { field, raw, .. }) if field == name.plain => {
                raw.write(self.out);
                self.spoiled = true;
            }
            _ => value(self.out),
        }
    }

    /// Text without characters that JSON would escape; all our names are such.
    pub fn text(&mut self, name: &Name, value: &str) {
        debug_assert!(!value.contains(['"', '\\']) && !value.contains(char::is_control));
        self.put(name, |out| {
            out.put(b"\"");
            out.put(value.as_bytes());
            out.put(b"\"");
        });
    }

    pub fn order(&mut self, order: u64) {
        self.put(&ORDER_ID, |out| {
            out.put(b"\"");
            out.put_order(order);
            out.put(b"\"");
        });
    }

    pub fn seller(&mut self, seller: u32) {
        self.put(&SELLER_ID, |out| {
            out.put(b"\"s");
            out.put_number(seller);
            out.put(b"\"");
        });
    }

    pub fn begin_list(&mut self, name: &Name) {
        self.name(name);
        self.out.push(b'[');
    }

    pub fn begin_item(&mut self, first: bool) {
        if !first {
            self.out.push(b',');
        }
        self.out.push(b'{');
        self.first = true;
    }

    pub fn end_item(&mut self) {
        self.out.push(b'}');
        self.first = false;
    }

    pub fn end_list(&mut self) {
        self.out.push(b']');
    }

    pub fn finish(self) -> bool {
        self.out.push(b'}');
        match self.spoil {
            Some(Spoil::Field { .. }) => self.spoiled,
            Some(whole) => {
                whole.finish(self.out, self.start);
                true
            }
            None => true,
        }
    }
}
