//! What a record says, by the rules of docs/EVENTS.md, read through a generic JSON value.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::definitions::Definitions;
use super::rfc3339;
use crate::load::kind::Kind;

const QUANTITY_MAX: u64 = 1_000_000;
const PRICE_MINOR_MAX: u64 = 1_000_000_000_000;
/// 2000-01-01 up to 2100-01-01.
const TIMES_MS: std::ops::Range<i64> = 946_684_800_000..4_102_444_800_000;
/// Where entities beyond a cap are counted; nobody may be called so.
const RESERVED_ID: &str = "__other__";
const STATUSES: [&str; 6] =
    ["PENDING", "PROCESSING", "SHIPPED", "DELIVERED", "CANCELLED", "RETURNED"];

/// A valid record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Valid {
    pub time_ms: i64,
    pub event_id: Option<String>,
    pub user_id: Option<String>,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Click(Line),
    WishlistAdd(Line),
    WishlistRemove,
    /// The currency is named when revenue does not count in it.
    Purchase {
        lines: Vec<Line>,
        foreign: Option<String>,
    },
    Status(&'static str),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// By dimension, in the order of the definitions.
    pub entities: Vec<Option<String>>,
    pub units: u64,
    pub revenue_minor: u64,
}

/// Why a record is malformed; for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

type Result<T> = std::result::Result<T, Malformed>;

fn malformed<T>(why: impl Into<String>) -> Result<T> {
    Err(Malformed(why.into()))
}

/// Reads one record. `kafka_time_ms` stands in for a time that the event does not state.
pub fn read(
    definitions: &Definitions,
    kind: Kind,
    payload: &[u8],
    kafka_time_ms: Option<i64>,
) -> Result<Valid> {
    if payload.len() > definitions.limits.record_bytes {
        return malformed("record too large");
    }
    // Confluent's framing: a zero byte and four bytes of schema id.
    let payload = match payload {
        [0, _, _, _, _, json @ ..] => json,
        json => json,
    };
    let event: Value =
        serde_json::from_slice(payload).map_err(|error| Malformed(error.to_string()))?;
    let Value::Object(event) = event else { return malformed("not an object") };
    let reader = Reader { definitions, event: &event };
    let fields = &definitions.fields;
    Ok(Valid {
        time_ms: reader.time(kafka_time_ms)?,
        event_id: reader.id(&event, &fields.event_id)?,
        user_id: reader.id(&event, &fields.user_id)?,
        what: reader.what(kind)?,
    })
}

struct Reader<'a> {
    definitions: &'a Definitions,
    event: &'a Map<String, Value>,
}

impl Reader<'_> {
    /// A field by its name or by the camelCase form of it; null is absent.
    fn field<'v>(&self, object: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
        object
            .get(name)
            .or_else(|| object.get(camel_case(name).as_ref()))
            .filter(|value| !value.is_null())
    }

    fn time(&self, kafka_time_ms: Option<i64>) -> Result<i64> {
        let time = match self.field(self.event, &self.definitions.fields.timestamp) {
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => rfc3339::parse(text),
            Some(_) => None,
            None => kafka_time_ms,
        };
        match time {
            Some(time) if TIMES_MS.contains(&time) => Ok(time),
            Some(time) => malformed(format!("time {time} out of range")),
            None => malformed("no readable time"),
        }
    }

    fn id(&self, object: &Map<String, Value>, name: &str) -> Result<Option<String>> {
        let id = match self.field(object, name) {
            None => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) if !number.is_f64() => number.to_string(),
            Some(_) => return malformed(format!("{name} is neither text nor an integer")),
        };
        if id.is_empty() || id.len() > self.definitions.limits.id_bytes {
            return malformed(format!("{name} has {} bytes", id.len()));
        }
        if id.chars().any(char::is_control) {
            return malformed(format!("{name} has a control character"));
        }
        if id == RESERVED_ID {
            return malformed(format!("{name} is reserved"));
        }
        Ok(Some(id))
    }

    fn integer(
        &self,
        object: &Map<String, Value>,
        name: &str,
        allowed: std::ops::RangeInclusive<u64>,
        absent: u64,
    ) -> Result<u64> {
        match self.field(object, name) {
            None => Ok(absent),
            Some(value) => match value.as_u64().filter(|value| allowed.contains(value)) {
                Some(value) => Ok(value),
                None => malformed(format!("{name} is {value}")),
            },
        }
    }

    fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.field(self.event, name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => malformed(format!("{name} is not text")),
        }
    }

    fn what(&self, kind: Kind) -> Result<What> {
        let fields = &self.definitions.fields;
        match kind {
            Kind::Click => Ok(What::Click(self.line(self.event, None)?)),
            Kind::Wishlist => {
                let line = self.line(self.event, None)?;
                match self.text(&fields.action)? {
                    None | Some("add") => Ok(What::WishlistAdd(line)),
                    Some("remove") => Ok(What::WishlistRemove),
                    Some(other) => malformed(format!("unknown action {other}")),
                }
            }
            Kind::Purchase => Ok(What::Purchase { lines: self.lines()?, foreign: self.foreign()? }),
            Kind::OrderStatus => {
                let status = self.text(&fields.status)?;
                match STATUSES.into_iter().find(|&known| Some(known) == status) {
                    Some(status) => Ok(What::Status(status)),
                    None => malformed("unknown status"),
                }
            }
        }
    }

    fn lines(&self) -> Result<Vec<Line>> {
        match self.field(self.event, &self.definitions.fields.items) {
            None => Ok(vec![self.bought(self.event, None)?]),
            Some(Value::Array(items)) if items.is_empty() => malformed("no items"),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| match item {
                    Value::Object(item) => self.bought(item, Some(self.event)),
                    _ => malformed("an item is not an object"),
                })
                .collect(),
            Some(_) => malformed("items is not a list"),
        }
    }

    fn bought(
        &self,
        object: &Map<String, Value>,
        order: Option<&Map<String, Value>>,
    ) -> Result<Line> {
        let fields = &self.definitions.fields;
        let units = self.integer(object, &fields.quantity, 1..=QUANTITY_MAX, 1)?;
        let price = self.integer(object, &fields.price_minor, 0..=PRICE_MINOR_MAX, 0)?;
        let line = self.line(object, order)?;
        Ok(Line { units, revenue_minor: units * price, ..line })
    }

    /// The entities a line touches. A line of an order inherits what it does not state from
    /// the order, except the product: `items` replaces the product at the top.
    fn line(
        &self,
        object: &Map<String, Value>,
        order: Option<&Map<String, Value>>,
    ) -> Result<Line> {
        let entity = |dimension: &super::definitions::Dimension| {
            let own = self.id(object, &dimension.field)?;
            match order {
                Some(order) if own.is_none() && dimension.name != "product" => {
                    self.id(order, &dimension.field)
                }
                _ => Ok(own),
            }
        };
        let entities = self.definitions.dimensions.iter().map(entity).collect::<Result<_>>()?;
        Ok(Line { entities, ..Line::default() })
    }

    fn foreign(&self) -> Result<Option<String>> {
        let Some(currency) = self.text(&self.definitions.fields.currency)? else {
            return Ok(None);
        };
        let currency = currency.to_ascii_uppercase();
        if !(1..=8).contains(&currency.len())
            || !currency.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            return malformed(format!("currency {currency}"));
        }
        Ok((currency != self.definitions.currency).then_some(currency))
    }
}

fn camel_case(name: &str) -> Cow<'_, str> {
    if !name.contains('_') {
        return Cow::Borrowed(name);
    }
    let mut parts = name.split('_');
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        result.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        result.push_str(letters.as_str());
    }
    Cow::Owned(result)
}
