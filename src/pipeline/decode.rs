//! From bytes to events: what a record says, or why it cannot be used.
//!
//! One [`Decoder`] per thread. It holds scratch memory that grows to the largest record seen
//! and is used again, so decoding allocates nothing once warm. It knows nothing of Kafka:
//! payload and record time come in, and exactly one [`Decoded`] goes out, in this order of
//! precedence: tombstone, malformed, future, event. Whether an event is late or a duplicate
//! is judged afterwards, by those who remember earlier records.
//!
//! ```text
//! payload ─► framing ─► scan ─► interpret ─► Event
//!            prefix,     JSON     fields,       borrows from payload
//!            UTF-8       grammar  limits        and scratch memory
//! ```
//!
//! The scan ([`scan`]) checks the grammar of the whole text but only notes where the known
//! fields lie ([`slots`], [`names`]); what they say is then judged field by field
//! ([`interpret`]). `docs/EVENTS.md` states the same rules for producers.
//!
//! An event is handed to a continuation and not returned: the lines of a purchase are
//! gathered in memory that the decoder owns and lends anew, with another lifetime, to each
//! record. Rust expresses that for the length of a call, and beyond it only with unsafe code.

mod interpret;
mod names;
mod reject;
mod scan;
mod slots;
mod strings;
mod timestamp;

use crate::config::FieldsConfig;
use crate::event::{Event, Kind, Line};
use crate::pipeline::definitions::Definitions;
use crate::time::{EventTime, Span};

use interpret::{CURRENCY_BYTES_MAX, Found, Room, Values};
use names::{Names, Roles};
use scan::{Fault, Scanner};
use slots::{Items, Slots, TEXT_BYTES_MAX};

pub use interpret::{PRICE_MINOR_MAX, QUANTITY_MAX, REVENUE_MINOR_MAX};
pub use reject::Malformed;
pub use slots::ITEMS_MAX;

/// What a record may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Longer payloads are refused unread.
    pub record_bytes_max: usize,
    /// The longest id or entity name, in bytes of UTF-8.
    pub id_bytes_max: usize,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decoded<'a> {
    Event(Event<'a>),
    /// A null value: it deletes a key of a compacted topic and says nothing here.
    Tombstone,
    Malformed(Malformed),
    Future(Future),
}

/// A valid event whose time lies further beyond its record's Kafka time than `max_future`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Future {
    pub time: EventTime,
    pub kafka_time: EventTime,
}

impl Future {
    /// The reason's name beside those of [`Malformed::name`].
    pub const NAME: &'static str = "future";

    pub fn ahead(self) -> Span {
        self.time - self.kafka_time
    }
}

pub struct Decoder {
    names: Names,
    roles: Roles,
    limits: DecodeLimits,
    max_future: Span,
    /// Upper case.
    currency: String,
    /// What the scan of one record fills: texts that had escapes, and where values lie.
    scratch: String,
    top: Slots,
    items: Items,
    /// Memory for the lines of a purchase. Always empty between two records.
    spare_lines: Vec<Line<'static>>,
    /// Where the last malformed record went wrong.
    fault: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Whole,
    Byte(usize),
    Field(u8),
}

impl Decoder {
    pub fn new(fields: &FieldsConfig, definitions: &Definitions, limits: DecodeLimits) -> Decoder {
        let (names, roles) = Names::new(fields, definitions);
        let record_bytes_max = limits.record_bytes_max.min(TEXT_BYTES_MAX);
        Decoder {
            names,
            roles,
            limits: DecodeLimits { record_bytes_max, ..limits },
            max_future: definitions.max_future,
            currency: definitions.currency.to_ascii_uppercase(),
            scratch: String::new(),
            top: Slots::new(),
            items: Items::default(),
            spare_lines: Vec::new(),
            fault: Place::Whole,
        }
    }

    /// Decodes one record and hands the outcome to `then`, whose result it returns.
    ///
    /// `kafka_time` is the record's own timestamp, if it has one: the event's time when the
    /// payload states none, and the measure of what is too far in the future.
    pub fn decode<R>(
        &mut self,
        kind: Kind,
        payload: Option<&[u8]>,
        kafka_time: Option<EventTime>,
        then: impl FnOnce(Decoded<'_>) -> R,
    ) -> R {
        let Some(payload) = payload else {
            return then(Decoded::Tombstone);
        };
        let text = match self.scan(kind, payload) {
            Ok(text) => text,
            Err((reason, place)) => {
                self.fault = place;
                return then(Decoded::Malformed(reason));
            }
        };
        let mut line = Line::default();
        let mut lines = lend(std::mem::take(&mut self.spare_lines));
        let mut upper_case = [0; CURRENCY_BYTES_MAX];
        let values = Values {
            text,
            scratch: &self.scratch,
            roles: &self.roles,
            id_bytes_max: self.limits.id_bytes_max,
        };
        let judgement = values.event(
            kind,
            Found { top: &self.top, items: &self.items },
            kafka_time,
            Room { line: &mut line, lines: &mut lines, currency: &mut upper_case },
            &self.currency,
        );
        let result = match judgement {
            Ok(event) => then(self.in_time(event, kafka_time)),
            Err((reason, field)) => {
                self.fault = field.map_or(Place::Whole, Place::Field);
                then(Decoded::Malformed(reason))
            }
        };
        self.spare_lines = lend(lines);
        result
    }

    /// The message of a reason, with the field or position where the last malformed record went wrong.
    pub fn explain(&self, reason: Malformed) -> String {
        let message = reason.message();
        match self.fault {
            Place::Whole => message.to_owned(),
            Place::Byte(byte) => format!("{message} (at byte {byte})"),
            Place::Field(field) => match self.names.name(field) {
                Some(name) => format!("{message} (field {name})"),
                None => message.to_owned(),
            },
        }
    }

    /// Finds the JSON text in the payload and notes its known fields.
    fn scan<'p>(&mut self, kind: Kind, payload: &'p [u8]) -> Result<&'p str, (Malformed, Place)> {
        if payload.len() > self.limits.record_bytes_max {
            return Err((Malformed::RecordTooLarge, Place::Whole));
        }
        let json = without_schema_prefix(payload);
        if json.is_empty() {
            return Err((Malformed::EmptyPayload, Place::Whole));
        }
        let text = std::str::from_utf8(json)
            .map_err(|error| (Malformed::InvalidUtf8, Place::Byte(error.valid_up_to())))?;
        self.top.clear();
        self.items.clear();
        self.scratch.clear();
        let items_field = (kind == Kind::Purchase).then_some(self.roles.items);
        let mut scanner = Scanner::new(text, &mut self.names, items_field, &mut self.scratch);
        match scanner.record(&mut self.top, &mut self.items) {
            Ok(true) => Ok(text),
            Ok(false) => Err((Malformed::NotAnObject, Place::Whole)),
            Err(Fault) => {
                let reason =
                    if scanner.is_too_deep() { Malformed::TooDeep } else { Malformed::InvalidJson };
                Err((reason, Place::Byte(scanner.position())))
            }
        }
    }

    fn in_time<'a>(&self, event: Event<'a>, kafka_time: Option<EventTime>) -> Decoded<'a> {
        match kafka_time {
            Some(kafka_time) if event.time > kafka_time + self.max_future => {
                Decoded::Future(Future { time: event.time, kafka_time })
            }
            _ => Decoded::Event(event),
        }
    }
}

/// A schema registry's serializers put a zero byte and a four-byte schema id before the JSON.
/// No JSON text begins with a zero byte, so what is shorter than that fails as JSON.
fn without_schema_prefix(payload: &[u8]) -> &[u8] {
    match payload {
        [0, _, _, _, _, json @ ..] => json,
        _ => payload,
    }
}

/// The same memory for lines of another lifetime. Collecting an emptied vector into one of
/// the same layout keeps its allocation; a test holds the standard library to that.
fn lend<'b>(mut lines: Vec<Line<'_>>) -> Vec<Line<'b>> {
    lines.clear();
    lines.into_iter().map(|_| Line::default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::definitions::Dimension;

    pub(super) fn fields() -> FieldsConfig {
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

    pub(super) fn definitions() -> Definitions {
        let dimension = |name: &str, field: &str| Dimension {
            name: name.to_owned(),
            field: field.to_owned(),
            entities_max: 1000,
            uniques: false,
        };
        Definitions {
            windows: vec![],
            dimensions: vec![
                dimension("product", "product_id"),
                dimension("category", "category"),
                dimension("seller", "seller_id"),
            ],
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

    fn decoder() -> Decoder {
        let limits = DecodeLimits { record_bytes_max: 1 << 20, id_bytes_max: 256 };
        Decoder::new(&fields(), &definitions(), limits)
    }

    #[test]
    fn lent_memory_is_the_same_memory() {
        let text = String::from("a");
        let mut lines = Vec::with_capacity(7);
        lines.push(Line { entities: [Some(&*text); 8], units: 1, revenue_minor: 2 });
        let place = lines.as_ptr().addr();
        let lent: Vec<Line<'static>> = lend(lines);
        assert_eq!((lent.len(), lent.capacity(), lent.as_ptr().addr()), (0, 7, place));
    }

    /// All memory that a decoder can grow keeps its place and size over records no larger
    /// than those it has seen.
    #[test]
    fn a_warm_decoder_allocates_nothing() {
        let payloads = [
            r#"{"product_id":"\u0061bc","user_id":"\u0061bc","timestamp":1700000000000}"#,
            r#"{"items":[{"product_id":"\u0061"},{"category":"b"},{}],"currency":"usd"}"#,
            r#"{"items":[{"product_id":1}],"quantity":"#,
            r#"{"items":[{"product_id":1.5}]}"#,
        ];
        let mut decoder = decoder();
        let mut pass = || {
            for (payload, kind) in payloads.iter().flat_map(|p| Kind::ALL.map(|kind| (p, kind))) {
                let time = Some(EventTime::from_millis(1_700_000_000_000));
                decoder.decode(kind, Some(payload.as_bytes()), time, |_| ());
            }

            [
                (decoder.scratch.as_ptr().addr(), decoder.scratch.capacity()),
                (decoder.spare_lines.as_ptr().addr(), decoder.spare_lines.capacity()),
                decoder.items.memory(),
            ]
        };
        let warm = pass();
        assert!(warm.iter().all(|&(_, capacity)| capacity > 0), "{warm:?}");
        for _ in 0..3 {
            assert_eq!(pass(), warm);
        }
    }
}
