//! What a record says, by the rules of docs/EVENTS.md, read through a generic JSON value.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::definitions::{Definitions, Dimension};
use super::rfc3339;
use crate::load::kind::Kind;

const QUANTITY_MAX: u64 = 1_000_000;
const PRICE_MINOR_MAX: u64 = 1_000_000_000_000;
const REVENUE_MINOR_MAX: u64 = 1_000_000_000_000_000;
const ITEMS_MAX: usize = 1000;
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
        what: {
            reader.id(&event, &fields.session_id)?;
            reader.what(kind)?
        },
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
            Some(Value::Number(number)) => number.as_i64().or_else(|| whole(number.as_f64()?)),
            Some(Value::String(text)) if is_all_digits(text) => text.parse().ok(),
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
            Kind::Click => Ok(What::Click(self.line(self.event)?)),
            Kind::Wishlist => {
                let line = self.line(self.event)?;
                match self.text(&fields.action)? {
                    None | Some("add") => Ok(What::WishlistAdd(line)),
                    Some("remove") => Ok(What::WishlistRemove),
                    Some(other) => malformed(format!("unknown action {other}")),
                }
            }
            Kind::Purchase => {
                self.id(self.event, &fields.order_id)?;
                let (lines, foreign) = (self.lines()?, self.foreign()?);
                // At most 1000 lines of 10^18 each, so the sum needs more than 64 bits.
                let revenue: u128 = lines.iter().map(|line| u128::from(line.revenue_minor)).sum();
                if revenue > u128::from(REVENUE_MINOR_MAX) {
                    return malformed(format!("revenue {revenue}"));
                }
                Ok(What::Purchase { lines, foreign })
            }
            Kind::OrderStatus => {
                self.id(self.event, &fields.order_id)?;
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
            None => Ok(vec![self.bought(self.event)?]),
            Some(Value::Array(items)) if (1..=ITEMS_MAX).contains(&items.len()) => {
                // `items` replaces the product at the top; all else is inherited from there.
                let top = self.entities(self.event, |dimension| !self.is_product(dimension))?;
                items.iter().map(|item| self.item(item, &top)).collect()
            }
            Some(_) => malformed("items is not a list of 1 to 1000"),
        }
    }

    fn item(&self, item: &Value, top: &[Option<String>]) -> Result<Line> {
        let Value::Object(item) = item else { return malformed("an item is not an object") };
        let mut line = self.bought(item)?;
        for (entity, inherited) in line.entities.iter_mut().zip(top) {
            if entity.is_none() {
                entity.clone_from(inherited);
            }
        }
        Ok(line)
    }

    fn bought(&self, object: &Map<String, Value>) -> Result<Line> {
        let fields = &self.definitions.fields;
        let units = self.integer(object, &fields.quantity, 1..=QUANTITY_MAX, 1)?;
        let price = self.integer(object, &fields.price_minor, 0..=PRICE_MINOR_MAX, 0)?;
        let line = self.line(object)?;
        Ok(Line { units, revenue_minor: units * price, ..line })
    }

    fn line(&self, object: &Map<String, Value>) -> Result<Line> {
        Ok(Line { entities: self.entities(object, |_| true)?, ..Line::default() })
    }

    fn entities(
        &self,
        object: &Map<String, Value>,
        wanted: impl Fn(&Dimension) -> bool,
    ) -> Result<Vec<Option<String>>> {
        let of = |dimension: &Dimension| {
            if wanted(dimension) { self.id(object, &dimension.field) } else { Ok(None) }
        };
        self.definitions.dimensions.iter().map(of).collect()
    }

    fn is_product(&self, dimension: &Dimension) -> bool {
        dimension.field == self.definitions.fields.product_id
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
        Ok((currency != self.definitions.currency.to_ascii_uppercase()).then_some(currency))
    }
}

/// `1785000000123.0` is as good as without the fraction.
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0).then_some(number as i64)
}

fn is_all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
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
