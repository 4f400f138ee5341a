//! A second decoder, slow and obvious: the rules of `docs/EVENTS.md` over a parsed JSON tree.
//!
//! It shares no code with the first but the list of reasons. The differential test and the
//! fuzz target demand that both say the same of any bytes.
#![allow(dead_code, unused_imports, reason = "each user of this module needs a different part")]

mod rules;
mod tree;

use nazar::config::FieldsConfig;
use nazar::event::{Effect, Kind, Line, OrderStatus};
use nazar::pipeline::decode::{DecodeLimits, Decoded, Decoder, Malformed};
use nazar::pipeline::definitions::{Definitions, Dimension};
use nazar::time::{EventTime, Span};

pub use rules::decode;

pub const LIMITS: DecodeLimits = DecodeLimits { record_bytes_max: 1 << 20, id_bytes_max: 32 };

/// What a decoder said, without borrowed parts.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Event { time: i64, event_id: Option<String>, user_id: Option<String>, effect: OwnedEffect },
    Tombstone,
    Malformed(Malformed),
    Future { time: i64 },
}

#[derive(Clone, Debug, PartialEq)]
pub enum OwnedEffect {
    Click(OwnedLine),
    WishlistAdd(OwnedLine),
    WishlistRemove,
    Purchase { lines: Vec<OwnedLine>, foreign_currency: Option<String> },
    OrderStatus(OrderStatus),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnedLine {
    /// As many as there are dimensions.
    pub entities: Vec<Option<String>>,
    pub units: u64,
    pub revenue_minor: u64,
}

impl Verdict {
    pub fn of(decoded: Decoded<'_>, dimensions: usize) -> Verdict {
        let event = match decoded {
            Decoded::Event(event) => event,
            Decoded::Tombstone => return Verdict::Tombstone,
            Decoded::Malformed(reason) => return Verdict::Malformed(reason),
            Decoded::Future(future) => return Verdict::Future { time: future.time.millis() },
        };
        let line = |line: &Line<'_>| {
            assert!(line.entities[dimensions..].iter().all(Option::is_none));
            OwnedLine {
                entities: line.entities[..dimensions].iter().map(|e| e.map(String::from)).collect(),
                units: line.units,
                revenue_minor: line.revenue_minor,
            }
        };
        Verdict::Event {
            time: event.time.millis(),
            event_id: event.event_id.map(String::from),
            user_id: event.user_id.map(String::from),
            effect: match event.effect {
                Effect::Click(one) => OwnedEffect::Click(line(one)),
                Effect::WishlistAdd(one) => OwnedEffect::WishlistAdd(line(one)),
                Effect::WishlistRemove => OwnedEffect::WishlistRemove,
                Effect::Purchase { lines, foreign_currency } => OwnedEffect::Purchase {
                    lines: lines.iter().map(line).collect(),
                    foreign_currency: foreign_currency.map(String::from),
                },
                Effect::OrderStatus(status) => OwnedEffect::OrderStatus(status),
            },
        }
    }
}

pub fn decoder() -> Decoder {
    Decoder::new(&fields(), &definitions(), LIMITS)
}

/// The verdict of the decoder under test.
pub fn verdict(
    decoder: &mut Decoder,
    kind: Kind,
    payload: Option<&[u8]>,
    kafka_time: Option<EventTime>,
) -> Verdict {
    let dimensions = definitions().dimensions.len();
    decoder.decode(kind, payload, kafka_time, |decoded| Verdict::of(decoded, dimensions))
}

pub fn fields() -> FieldsConfig {
    let name = |name: &str| name.to_owned();
    FieldsConfig {
        event_id: name("event_id"),
        timestamp: name("timestamp"),
        user_id: name("user_id"),
        session_id: name("session_id"),
        product_id: name("product_id"),
        category: name("category"),
        seller_id: name("seller_id"),
        action: name("action"),
        order_id: name("order_id"),
        quantity: name("quantity"),
        price_minor: name("price_minor"),
        currency: name("currency"),
        items: name("items"),
        status: name("status"),
    }
}

/// Product, category, seller, and `brand_name` as a dimension of one's own.
pub fn definitions() -> Definitions {
    let dimension = |(name, field): (&str, &str)| Dimension {
        name: name.to_owned(),
        field: field.to_owned(),
        entities_max: 1000,
        uniques: false,
    };
    let dimensions = [
        ("product", "product_id"),
        ("category", "category"),
        ("seller", "seller_id"),
        ("brand", "brand_name"),
    ];
    Definitions {
        windows: vec![],
        dimensions: dimensions.map(dimension).to_vec(),
        boards: vec![],
        levels: vec![Span::from_secs(1)],
        lateness: Span::from_secs(60),
        max_future: Span::from_secs(300),
        max_skew: Span::from_secs(300),
        stall_limit: Span::from_secs(600),
        currency: "EUR".to_owned(),
        sketch_bytes_max: 0,
        deduplicate: false,
        deduplicate_bytes_max: 0,
    }
}
