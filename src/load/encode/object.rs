//! A JSON object in the making, whose fields may be spoiled, or drift, on purpose.

use super::out::Out;
use crate::load::drift::{Change, Drift};
use crate::load::spoil::Spoil;

/// A field's name, and how it stands in JSON after other fields.
pub struct Name {
    pub plain: &'static str,
    quoted: &'static str,
    camel: &'static str,
}

macro_rules! name {
    ($plain:literal) => {
        name!($plain, $plain)
    };
    ($plain:literal, $camel:literal) => {
        Name {
            plain: $plain,
            quoted: concat!(",\"", $plain, "\":"),
            camel: concat!(",\"", $camel, "\":"),
        }
    };
}

pub const EVENT_ID: Name = name!("event_id", "eventId");
pub const TIMESTAMP: Name = name!("timestamp");
pub const USER_ID: Name = name!("user_id", "userId");
pub const SESSION_ID: Name = name!("session_id", "sessionId");
pub const PRODUCT_ID: Name = name!("product_id", "productId");
pub const CATEGORY: Name = name!("category");
pub const SELLER_ID: Name = name!("seller_id", "sellerId");
pub const ACTION: Name = name!("action");
pub const ORDER_ID: Name = name!("order_id", "orderId");
pub const CURRENCY: Name = name!("currency");
pub const QUANTITY: Name = name!("quantity");
pub const PRICE_MINOR: Name = name!("price_minor", "priceMinor");
pub const ITEMS: Name = name!("items");
pub const STATUS: Name = name!("status");

/// A JSON object in the making, at the end of other bytes.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    spoil: Option<Spoil>,
    drift: Option<&'static Drift>,
    /// What was to be done has been done.
    altered: bool,
    first: bool,
}

impl<'a> Object<'a> {
    pub fn new(out: &'a mut Vec<u8>, spoil: Option<Spoil>, drift: Option<&'static Drift>) -> Self {
        let start = out.len();
        out.push(b'{');
        Self { out, start, spoil, drift, altered: false, first: true }
    }

    fn name(&mut self, name: &Name) {
        let quoted = match self.drift.map(|drift| drift.change) {
            Some(Change::CamelCase) => name.camel,
            Some(Change::Renamed { field, to }) if field == name.plain => {
                self.altered = true;
                to
            }
            _ => name.quoted,
        };
        self.out.put(&quoted.as_bytes()[usize::from(self.first)..]);
        self.first = false;
    }

    pub fn put(&mut self, name: &Name, value: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        match (self.spoil, self.drift) {
            (None, None) => value(self.out),
            (Some(Spoil::Field { field, raw, .. }), _) if field == name.plain => {
                raw.write(self.out);
                self.altered = true;
            }
            (_, Some(drift)) if drift.field() == Some(name.plain) => {
                match drift.change {
                    Change::Value { json, .. } => self.out.put(json.as_bytes()),
                    _ => {
                        self.out.put(b"\"");
                        value(self.out);
                        self.out.put(b"\"");
                    }
                }
                self.altered = true;
            }
            _ => value(self.out),
        }
    }

    /// From here on one level deeper, if that is how the event drifts.
    pub fn wrap(&mut self) {
        if self.drift.is_some_and(|drift| drift.change == Change::Wrapped) {
            self.out.put(b",\"version\":2,\"data\":{");
            self.first = true;
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
        if let Some(Change::Added(field)) = self.drift.map(|drift| drift.change) {
            self.out.put(field.as_bytes());
        }
        self.out.push(b'}');
        match (self.spoil, self.drift.map(|drift| drift.change)) {
            (Some(Spoil::Field { .. }), _) => return self.altered,
            (Some(whole), _) => whole.finish(self.out, self.start),
            (None, Some(Change::Wrapped)) => self.out.push(b'}'),
            (None, Some(Change::Listed)) => {
                self.out.insert(self.start, b'[');
                self.out.push(b']');
            }
            (None, Some(Change::Added(_) | Change::CamelCase) | None) => {}
            (None, Some(_)) => return self.altered,
        }
        true
    }
}
