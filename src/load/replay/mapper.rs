//! A row and a mapping: the events that it becomes, or why it does not.

use std::ops::ControlFlow;

use super::account::{Account, At, LeftOut};
use super::event::{Event, put_name, put_number, put_text};
use super::mapping::{EventMap, FieldMap, KindOf, Mapping, Source, What};
use super::path::Path;
use super::place::{Array, Element, Place, Row};
use super::table::Table;
use super::value::{
    Result, check_action, check_currency, check_id, check_status, quantity, unmapped,
};
use crate::load::kind::Kind;
use crate::load::workload::Key;

const ITEMS_MAX: usize = 1000;
const REVENUE_MINOR_MAX: u128 = 1_000_000_000_000_000;
/// The daemon's `limits.record_bytes` by default, with room for the time.
const BODY_BYTES_MAX: usize = (1 << 20) - 64;

/// A mapping whose names are places in the rows of one file.
pub struct Mapper {
    key: Key,
    array: Option<Array>,
    events: Vec<EventMap<Place>>,
    event: Event,
}

/// What becomes of a row under one `[[event]]`.
enum Fate {
    Made,
    LeftOut(LeftOut),
}

/// The money of a line, as far as it is named.
#[derive(Default)]
struct Line {
    quantity: Option<u64>,
    price_minor: Option<u64>,
}

impl Line {
    fn revenue_minor(&self) -> u128 {
        u128::from(self.quantity.unwrap_or(1)) * u128::from(self.price_minor.unwrap_or(0))
    }
}

impl Mapper {
    /// For rows of cells.
    pub fn for_table(
        mapping: &Mapping,
        table: &Table,
        key: Key,
    ) -> std::result::Result<Self, String> {
        Self::new(mapping, key, &mut |path| table.find(path), |array| table.find_array(array))
    }

    /// For rows of JSON.
    pub fn for_json(mapping: &Mapping, key: Key) -> std::result::Result<Self, String> {
        if let Some(join) = mapping.joins.first() {
            return Err(format!("join `{}`: files are joined to CSV and TSV only", join.name));
        }
        Self::new(mapping, key, &mut |path| Ok(Place::in_json(path)), |array| {
            Ok(Array::Member(array.to_vec()))
        })
    }

    fn new(
        mapping: &Mapping,
        key: Key,
        find: &mut impl FnMut(&Path) -> std::result::Result<Place, String>,
        find_array: impl Fn(&[String]) -> std::result::Result<Array, String>,
    ) -> std::result::Result<Self, String> {
        let mut array = None;
        let mut find = |path: &Path| {
            let place = find(path)?;
            if let (true, Some(names)) = (place.is_each(), &path.array) {
                array = Some(find_array(names)?);
            }
            Ok(place)
        };
        let mut events = Vec::new();
        for (at, event) in mapping.events.iter().enumerate() {
            let resolved = event.resolve(&mut find);
            events.push(resolved.map_err(|why| format!("event[{}]: {why}", at + 1))?);
        }
        Ok(Self { key, array, events, event: Event::default() })
    }

    /// Visits every event that the row becomes, and notes why it does not become others.
    pub fn map(
        &mut self,
        row: Row<'_>,
        at: At<'_>,
        account: &mut Account,
        visit: &mut dyn FnMut(&Event, &mut Account) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        account.rows += 1;
        for number in 0..self.events.len() {
            let expands = self.events[number].places().any(Place::is_each);
            let elements = match &self.array {
                Some(array) if expands => match row.elements(array) {
                    Ok(elements) => elements.iter().map(Some).collect(),
                    Err(why) => {
                        account.refuse(why, at);
                        continue;
                    }
                },
                _ => vec![None],
            };
            for element in elements {
                match self.make(number, row, element) {
                    Ok(Fate::Made) => visit(&self.event, account)?,
                    Ok(Fate::LeftOut(why)) => account.leave_out(why),
                    Err(why) => account.refuse(why, at),
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Writes the event, if the row becomes one.
    fn make(&mut self, number: usize, row: Row<'_>, element: Option<Element<'_>>) -> Result<Fate> {
        let map = &self.events[number];
        if let Some(when) = &map.when {
            let value = row.get(&when.place, element)?;
            if !when.is.iter().any(|is| value.as_deref() == Some(is)) {
                return Ok(Fate::LeftOut(LeftOut::When));
            }
        }
        let kind = match &map.kind {
            KindOf::Always(kind) => *kind,
            KindOf::By { place, values } => {
                let value = row.get(place, element)?.unwrap_or_default();
                match values.iter().find(|(known, _)| *known == value) {
                    Some((_, Some(kind))) => *kind,
                    Some((_, None)) => return Ok(Fate::LeftOut(LeftOut::Kind)),
                    None => return unmapped("unknown_kind", format!("the kind is {value:?}")),
                }
            }
        };
        let time_ms = match row.get(&map.time.place, element)? {
            Some(text) => map.time.format.millis(&text)?,
            None if map.time.optional => return Ok(Fate::LeftOut(LeftOut::NoTime)),
            None => return unmapped("no_time", "it has no time"),
        };
        if time_ms < map.time.from_ms || time_ms >= map.time.until_ms {
            return Ok(Fate::LeftOut(LeftOut::Time));
        }
        let event = &mut self.event;
        event.clear();
        (event.kind, event.time_ms) = (kind, time_ms);
        let writer = Writer { row, kind, key: self.key };
        let has_items = kind == Kind::Purchase && !map.items.is_empty();
        let mut revenue_minor = writer.fields(&map.fields, element, event, true)?.revenue_minor();
        if has_items {
            let Some(array) = &self.array else { return unmapped("no_items", "it has no items") };
            revenue_minor = writer.items(&map.items, array, event)?;
        }
        if event.key.is_empty() {
            writer.key_instead(&map.fields, element, event)?;
        }
        let is_named = |name: &str| map.fields.iter().any(|field| field.name == name);
        if kind == Kind::OrderStatus && !is_named("status") {
            return unmapped("bad_status", "the mapping names no status");
        }
        if revenue_minor > REVENUE_MINOR_MAX {
            return unmapped("revenue_too_large", format!("it adds up to {revenue_minor}"));
        }
        if event.body.len() > BODY_BYTES_MAX {
            return unmapped("too_large", format!("it would take {} bytes", event.body.len()));
        }
        Ok(Fate::Made)
    }
}

struct Writer<'a> {
    row: Row<'a>,
    kind: Kind,
    key: Key,
}

impl<'a> Writer<'a> {
    /// Appends the fields, each with a comma before it if `is_event`, else between them.
    fn fields(
        &self,
        fields: &[FieldMap<Place>],
        element: Option<Element<'a>>,
        event: &mut Event,
        is_event: bool,
    ) -> Result<Line> {
        let mut line = Line::default();
        let start = event.body.len();
        for field in fields.iter().filter(|field| field.what.is_of(self.kind)) {
            let Some(text) = self.value(field, element)? else {
                if field.what == What::Status {
                    return unmapped("bad_status", "it has no status");
                }
                continue;
            };
            let (name, out) = (field.name.as_str(), &mut event.body);
            if is_event || out.len() > start {
                out.push(b',');
            }
            match &field.what {
                What::Id | What::Dimension | What::OrderId => {
                    check_id(name, &text)?;
                    put_text(out, name, &text);
                }
                What::Action => {
                    check_action(&text)?;
                    put_text(out, name, &text);
                }
                What::Status => {
                    check_status(&text)?;
                    put_text(out, name, &text);
                }
                What::Currency => {
                    check_currency(&text)?;
                    put_text(out, name, &text);
                }
                What::Quantity => {
                    let quantity = *line.quantity.insert(quantity(&text)?);
                    put_number(out, name, quantity);
                }
                What::Price(money) => {
                    let price_minor = *line.price_minor.insert(money.minor(&text)?);
                    put_number(out, name, price_minor);
                }
            }
            if name == self.key_field() && event.key.is_empty() {
                event.key.extend_from_slice(text.as_bytes());
            }
        }
        Ok(line)
    }

    fn key_field(&self) -> &'static str {
        match self.key {
            Key::Product => "product_id",
            Key::User => "user_id",
        }
    }

    /// Without what the key is made of, what names the product or the user keeps events together.
    fn key_instead(
        &self,
        fields: &[FieldMap<Place>],
        element: Option<Element<'a>>,
        event: &mut Event,
    ) -> Result<()> {
        for field in fields.iter().filter(|field| matches!(&*field.name, "product_id" | "user_id"))
        {
            if let Some(text) = self.value(field, element)?.filter(|_| event.key.is_empty()) {
                event.key.extend_from_slice(text.as_bytes());
            }
        }
        Ok(())
    }

    fn value(
        &self,
        field: &FieldMap<Place>,
        element: Option<Element<'a>>,
    ) -> Result<Option<std::borrow::Cow<'a, str>>> {
        match &field.source {
            Source::Constant(text) => Ok(Some(text.clone().into())),
            Source::FirstOf(places) => {
                for place in places {
                    if let Some(text) = self.row.get(place, element)? {
                        return Ok(Some(text));
                    }
                }
                Ok(None)
            }
            Source::Table { place, values, default } => {
                let Some(text) = self.row.get(place, element)? else {
                    return Ok(default.clone().map(Into::into));
                };
                let known = values.iter().find(|(known, _)| *known == text);
                match known.map(|(_, value)| value).or(default.as_ref()) {
                    Some(value) => Ok(Some(value.clone().into())),
                    None => {
                        unmapped("unknown_value", format!("{} is made of {text:?}", field.name))
                    }
                }
            }
        }
    }

    /// Appends the lines of a purchase; their revenue.
    fn items(&self, items: &[FieldMap<Place>], array: &Array, event: &mut Event) -> Result<u128> {
        let elements: Vec<Element<'a>> = self.row.elements(array)?.iter().collect();
        if elements.is_empty() {
            return unmapped("no_items", "it has no items");
        }
        if elements.len() > ITEMS_MAX {
            return unmapped("too_many_items", format!("it has {} items", elements.len()));
        }
        event.body.push(b',');
        put_name(&mut event.body, "items");
        let mut revenue_minor = 0;
        for (at, element) in elements.into_iter().enumerate() {
            event.body.push(if at == 0 { b'[' } else { b',' });
            event.body.push(b'{');
            revenue_minor += self.fields(items, Some(element), event, false)?.revenue_minor();
            event.body.push(b'}');
        }
        event.body.push(b']');
        Ok(revenue_minor)
    }
}
