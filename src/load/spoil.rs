//! The ways in which a record can be malformed, as real producers break it.

use super::kind::Kind;
use super::rng::Dice;

/// One way to break a record. A spoiled field is written with `raw` in place of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoil {
    Field {
        name: &'static str,
        field: &'static str,
        raw: Raw,
    },
    /// Cut in the middle, as by a broken connection.
    Truncated,
    /// Valid JSON, but not an object.
    NotAnObject,
    /// A byte that no UTF-8 text contains.
    NotUtf8,
}

/// What is written in place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raw {
    Json(&'static str),
    /// A string longer than any id may be.
    LongText,
}

/// Longer than the 256 bytes an id may have.
const LONG_TEXT_BYTES: usize = 300;

impl Raw {
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Raw::Json(text) => out.extend_from_slice(text.as_bytes()),
            Raw::LongText => {
                out.push(b'"');
                out.resize(out.len() + LONG_TEXT_BYTES, b'x');
                out.push(b'"');
            }
        }
    }
}

const fn field(name: &'static str, field: &'static str, raw: &'static str) -> Spoil {
    Spoil::Field { name, field, raw: Raw::Json(raw) }
}

/// Fits every kind of event.
const ANY: [Spoil; 9] = [
    Spoil::Truncated,
    Spoil::NotAnObject,
    Spoil::NotUtf8,
    field("bad_time", "timestamp", "\"yesterday\""),
    // Seconds instead of milliseconds: January 1970.
    field("time_out_of_range", "timestamp", "1785000000"),
    Spoil::Field { name: "long_id", field: "user_id", raw: Raw::LongText },
    field("control_character", "user_id", "\"u\\u0007\""),
    field("wrong_type", "user_id", "{\"id\":7}"),
    field("empty_id", "user_id", "\"\""),
];

/// Fits the kinds that concern a product.
const PRODUCT: [Spoil; 2] = [
    field("reserved_id", "product_id", "\"__other__\""),
    field("wrong_type", "product_id", "[\"p1\"]"),
];

const WISHLIST: [Spoil; 1] = [field("unknown_action", "action", "\"toggle\"")];

const PURCHASE: [Spoil; 4] = [
    field("negative_quantity", "quantity", "-1"),
    field("absurd_price", "price_minor", "1000000000001"),
    field("wrong_type", "price_minor", "\"twelve\""),
    field("empty_items", "items", "[]"),
];

const STATUS: [Spoil; 1] = [field("unknown_status", "status", "\"TELEPORTED\"")];

impl Spoil {
    pub fn draw(kind: Kind, dice: &mut Dice) -> Spoil {
        let (product, special): (&[Spoil], &[Spoil]) = match kind {
            Kind::Click => (&PRODUCT, &[]),
            Kind::Wishlist => (&PRODUCT, &WISHLIST),
            Kind::Purchase => (&PRODUCT, &PURCHASE),
            Kind::OrderStatus => (&[], &STATUS),
        };
        let at = dice.below((ANY.len() + product.len() + special.len()) as u64) as usize;
        match at.checked_sub(ANY.len()) {
            None => ANY[at],
            Some(at) => *product.get(at).unwrap_or_else(|| &special[at - product.len()]),
        }
    }

    /// What the ledger calls it.
    pub fn name(self) -> &'static str {
        match self {
            Spoil::Field { name, .. } => name,
            Spoil::Truncated => "truncated",
            Spoil::NotAnObject => "not_an_object",
            Spoil::NotUtf8 => "not_utf8",
        }
    }

    /// What is done to the finished bytes, those from `start` on, for the ways that concern the whole.
    pub fn finish(self, bytes: &mut Vec<u8>, start: usize) {
        match self {
            Spoil::Field { .. } => {}
            Spoil::Truncated => bytes.truncate(start + (bytes.len() - start) / 2),
            Spoil::NotAnObject => {
                bytes.insert(start, b'[');
                bytes.push(b']');
            }
            Spoil::NotUtf8 => {
                // Within the first string value, whose opening quote follows the first colon.
                let colon = bytes[start..].iter().position(|&byte| byte == b':').unwrap_or(0);
                bytes.insert((start + colon + 2).min(bytes.len()), 0xFF);
            }
        }
    }
}
