//! Why a record cannot be used.

/// The reasons for which a record is malformed. A closed set: each is a metric label and the
/// class name in a dead letter's headers, so names never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Malformed {
    EmptyPayload,
    RecordTooLarge,
    InvalidUtf8,
    InvalidJson,
    TooDeep,
    NotAnObject,
    MissingTimestamp,
    InvalidTimestamp,
    TimeOutOfRange,
    InvalidId,
    EmptyId,
    IdTooLong,
    IdControlCharacter,
    ReservedId,
    UnknownAction,
    MissingStatus,
    UnknownStatus,
    InvalidCurrency,
    InvalidQuantity,
    InvalidPrice,
    InvalidItems,
    TooManyItems,
    RevenueTooLarge,
}

impl Malformed {
    pub const COUNT: usize = 23;
    pub const ALL: [Malformed; Malformed::COUNT] = [
        Malformed::EmptyPayload,
        Malformed::RecordTooLarge,
        Malformed::InvalidUtf8,
        Malformed::InvalidJson,
        Malformed::TooDeep,
        Malformed::NotAnObject,
        Malformed::MissingTimestamp,
        Malformed::InvalidTimestamp,
        Malformed::TimeOutOfRange,
        Malformed::InvalidId,
        Malformed::EmptyId,
        Malformed::IdTooLong,
        Malformed::IdControlCharacter,
        Malformed::ReservedId,
        Malformed::UnknownAction,
        Malformed::MissingStatus,
        Malformed::UnknownStatus,
        Malformed::InvalidCurrency,
        Malformed::InvalidQuantity,
        Malformed::InvalidPrice,
        Malformed::InvalidItems,
        Malformed::TooManyItems,
        Malformed::RevenueTooLarge,
    ];

    /// The name in metric labels and dead-letter headers.
    pub const fn name(self) -> &'static str {
        match self {
            Malformed::EmptyPayload => "empty_payload",
            Malformed::RecordTooLarge => "record_too_large",
            Malformed::InvalidUtf8 => "invalid_utf8",
            Malformed::InvalidJson => "invalid_json",
            Malformed::TooDeep => "too_deep",
            Malformed::NotAnObject => "not_an_object",
            Malformed::MissingTimestamp => "missing_timestamp",
            Malformed::InvalidTimestamp => "invalid_timestamp",
            Malformed::TimeOutOfRange => "time_out_of_range",
            Malformed::InvalidId => "invalid_id",
            Malformed::EmptyId => "empty_id",
            Malformed::IdTooLong => "id_too_long",
            Malformed::IdControlCharacter => "id_control_character",
            Malformed::ReservedId => "reserved_id",
            Malformed::UnknownAction => "unknown_action",
            Malformed::MissingStatus => "missing_status",
            Malformed::UnknownStatus => "unknown_status",
            Malformed::InvalidCurrency => "invalid_currency",
            Malformed::InvalidQuantity => "invalid_quantity",
            Malformed::InvalidPrice => "invalid_price",
            Malformed::InvalidItems => "invalid_items",
            Malformed::TooManyItems => "too_many_items",
            Malformed::RevenueTooLarge => "revenue_too_large",
        }
    }

    /// What is wrong and what would be right, for the person who reads the dead letter.
    /// [`Decoder::explain`](super::Decoder::explain) adds the field or the position.
    pub const fn message(self) -> &'static str {
        match self {
            Malformed::EmptyPayload => "the value has no bytes; a tombstone has a null value",
            Malformed::RecordTooLarge => "the value is longer than limits.record_bytes",
            Malformed::InvalidUtf8 => "the value is not valid UTF-8",
            Malformed::InvalidJson => "the value is not one valid JSON text",
            Malformed::TooDeep => "the JSON is nested more than 127 levels deep",
            Malformed::NotAnObject => "the JSON value is not an object",
            Malformed::MissingTimestamp => "neither the event nor the record has a time",
            Malformed::InvalidTimestamp => {
                "the time is neither whole milliseconds since 1970 nor an RFC 3339 time with offset"
            }
            Malformed::TimeOutOfRange => {
                "the time is outside the years 2000 to 2099; it counts milliseconds, not seconds"
            }
            Malformed::InvalidId => "an id must be a string or an integer of at most 64 bits",
            Malformed::EmptyId => "an id must not be the empty string; leave the field out instead",
            Malformed::IdTooLong => "the id is longer than limits.id_bytes",
            Malformed::IdControlCharacter => "an id must not contain control characters",
            Malformed::ReservedId => "the id __other__ is reserved for names beyond a cap",
            Malformed::UnknownAction => "the action must be \"add\" or \"remove\"",
            Malformed::MissingStatus => "an order event must have a status",
            Malformed::UnknownStatus => {
                "the status must be PENDING, PROCESSING, SHIPPED, DELIVERED, CANCELLED or RETURNED"
            }
            Malformed::InvalidCurrency => {
                "a currency is a string of 1 to 8 ASCII letters or digits"
            }
            Malformed::InvalidQuantity => "a quantity must be an integer from 1 to 1000000",
            Malformed::InvalidPrice => {
                "a price must be an integer from 0 to 1000000000000, in minor units"
            }
            Malformed::InvalidItems => {
                "items must be an array of objects with at least one element"
            }
            Malformed::TooManyItems => "a purchase has at most 1000 items",
            Malformed::RevenueTooLarge => {
                "the record's revenue exceeds 1000000000000000 minor units"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_distinct_and_numbers_follow_the_list() {
        let names: BTreeSet<_> = Malformed::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Malformed::COUNT);
        for (index, reason) in Malformed::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.name());
        }
    }

    #[test]
    fn every_reason_is_documented() {
        let page = include_str!("../../../docs/EVENTS.md");
        for reason in Malformed::ALL {
            assert!(page.contains(&format!("| `{}` |", reason.name())), "{}", reason.name());
        }
    }
}
