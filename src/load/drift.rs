//! The ways in which a producer's schema drifts away from docs/EVENTS.md.
//!
//! A malformed record ([`super::spoil`]) is broken; a drifted one is whole, and was written by
//! somebody who has changed their mind: a field has another name, a number became text, there is
//! a new status, an envelope around it all. What the page for producers says of each decides its
//! fate beforehand. Some of them are applied as if nothing had happened, some are applied without
//! what they no longer say in the agreed words, and some are rejected for a stated reason.

use super::kind::Kind;
use super::rng::Dice;

/// What docs/EVENTS.md makes of a drifted record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Applied,
    /// For this reason of docs/EVENTS.md.
    Malformed(&'static str),
}

impl Expected {
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Expected::Applied => None,
            Expected::Malformed(reason) => Some(reason),
        }
    }
}

/// What is written otherwise than agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// This JSON in place of a field's value.
    Value { field: &'static str, json: &'static str },
    /// A number between quotes.
    Quoted { field: &'static str },
    /// Another name, as it stands after other fields.
    Renamed { field: &'static str, to: &'static str },
    /// All names in camel case.
    CamelCase,
    /// One more field at the end.
    Added(&'static str),
    /// All but the event's id and time one level deeper.
    Wrapped,
    /// A list of one event.
    Listed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drift {
    /// What the ledger calls it.
    pub name: &'static str,
    pub expected: Expected,
    pub change: Change,
}

const fn applied(name: &'static str, change: Change) -> Drift {
    Drift { name, expected: Expected::Applied, change }
}

const fn rejected(name: &'static str, reason: &'static str, change: Change) -> Drift {
    Drift { name, expected: Expected::Malformed(reason), change }
}

const fn value(field: &'static str, json: &'static str) -> Change {
    Change::Value { field, json }
}

const fn renamed(field: &'static str, to: &'static str) -> Change {
    Change::Renamed { field, to }
}

/// Fits every kind of event.
const ANY: [Drift; 9] = [
    applied("camel_case", Change::CamelCase),
    applied("extra_field", Change::Added(r#","device":{"os":"ios","app":[5,2]}"#)),
    // The topic decides the kind, not the record.
    applied("new_event_type", Change::Added(r#","event_type":"impression","schema_version":2"#)),
    applied("time_as_text", Change::Quoted { field: "timestamp" }),
    // The record's Kafka time stands in.
    applied("time_renamed", renamed("timestamp", r#","ts":"#)),
    // Counts in everything but distinct users.
    applied("user_renamed", renamed("user_id", r#","customer_id":"#)),
    rejected(
        "time_without_offset",
        "invalid_timestamp",
        value("timestamp", r#""2026-07-25 17:20:00""#),
    ),
    rejected("user_as_object", "invalid_id", value("user_id", r#"{"id":7,"guest":true}"#)),
    rejected("listed", "not_an_object", Change::Listed),
];

/// Fits the kinds that concern a product.
const PRODUCT: [Drift; 3] = [
    // On no product board.
    applied("product_renamed", renamed("product_id", r#","sku":"#)),
    rejected("product_as_object", "invalid_id", value("product_id", r#"{"id":"p7","variant":2}"#)),
    // An event of nobody, about nothing.
    applied("wrapped", Change::Wrapped),
];

const WISHLIST: [Drift; 1] =
    [rejected("new_action", "unknown_action", value("action", r#""save_for_later""#))];

const PURCHASE: [Drift; 4] = [
    rejected("quantity_as_text", "invalid_quantity", Change::Quoted { field: "quantity" }),
    rejected("price_as_decimal", "invalid_price", value("price_minor", "19.99")),
    // Sold for nothing.
    applied("price_renamed", renamed("price_minor", r#","unit_price":"#)),
    rejected("currency_as_object", "invalid_currency", value("currency", r#"{"code":"EUR"}"#)),
];

const STATUS: [Drift; 4] = [
    rejected("new_status", "unknown_status", value("status", r#""OUT_FOR_DELIVERY""#)),
    rejected("status_in_lower_case", "unknown_status", value("status", r#""shipped""#)),
    rejected("status_renamed", "missing_status", renamed("status", r#","state":"#)),
    rejected("wrapped", "missing_status", Change::Wrapped),
];

impl Drift {
    /// All that can happen to an event of this kind.
    pub fn of_kind(kind: Kind) -> impl Iterator<Item = &'static Drift> {
        let (product, special): (&'static [Drift], &'static [Drift]) = match kind {
            Kind::Click => (&PRODUCT, &[]),
            Kind::Wishlist => (&PRODUCT, &WISHLIST),
            Kind::Purchase => (&PRODUCT, &PURCHASE),
            Kind::OrderStatus => (&[], &STATUS),
        };
        const { &ANY }.iter().chain(product).chain(special)
    }

    pub fn draw(kind: Kind, dice: &mut Dice) -> &'static Drift {
        let at = dice.below(Self::of_kind(kind).count() as u64) as usize;
        Self::of_kind(kind).nth(at).expect("it was drawn below their number")
    }

    /// Whether the event no longer says when it happened.
    pub fn hides_time(&self) -> bool {
        matches!(self.change, Change::Renamed { field: "timestamp", .. })
    }

    /// The field whose value is another one: it must occur, and in its plain form.
    pub fn field(&self) -> Option<&'static str> {
        match self.change {
            Change::Value { field, .. } | Change::Quoted { field } => Some(field),
            _ => None,
        }
    }
}
