//! What a mapping file says: how rows become events.
//!
//! A mapping has an `[input]`, files that are joined (`[[join]]`), and one `[[event]]` for each event
//! that a row may become: a row of orders becomes a purchase, and a change of status for each of its
//! times. docs/REPLAY.md has every key, and the ready-made ones are examples.

pub mod builtin;
mod keys;
mod parse;

use crate::load::kind::Kind;

use super::input::Format;
use super::path::Path;
use super::value::money::Money;
use super::value::time::TimeFormat;

#[derive(Clone, Debug)]
pub struct Mapping {
    /// A file, or the name of a ready-made one.
    pub name: String,
    pub input: Input,
    pub joins: Vec<Join>,
    pub events: Vec<EventMap<Path>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Otherwise by the name of the file.
    pub format: Option<Format>,
    /// Names of the columns of a file without a header.
    pub columns: Option<Vec<String>>,
}

/// Rows of another file beside the one that is replayed, found by a key.
#[derive(Clone, Debug)]
pub struct Join {
    /// Beside the file that is replayed.
    pub file: String,
    /// Its column.
    pub key: String,
    /// What that has to be equal to.
    pub on: Path,
    pub name: String,
    /// All rows of the key, not the first one.
    pub many: bool,
}

/// One kind of event that a row becomes. `P` is a name, or the place that it was resolved to.
#[derive(Clone, Debug)]
pub struct EventMap<P> {
    pub kind: KindOf<P>,
    pub when: Option<When<P>>,
    pub time: TimeOf<P>,
    pub fields: Vec<FieldMap<P>>,
    /// The lines of a purchase.
    pub items: Vec<FieldMap<P>>,
}

#[derive(Clone, Debug)]
pub enum KindOf<P> {
    Always(Kind),
    /// By the value; `None` leaves the row out.
    By {
        place: P,
        values: Vec<(String, Option<Kind>)>,
    },
}

/// The row becomes this event if the value is one of these.
#[derive(Clone, Debug)]
pub struct When<P> {
    pub place: P,
    pub is: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct TimeOf<P> {
    pub place: P,
    pub format: TimeFormat,
    /// Rows before and from these on are left out.
    pub from_ms: i64,
    pub until_ms: i64,
    /// A row without a time does not become this event; otherwise it cannot be mapped.
    pub optional: bool,
}

#[derive(Clone, Debug)]
pub struct FieldMap<P> {
    /// As in docs/EVENTS.md.
    pub name: String,
    pub what: What,
    pub source: Source<P>,
}

#[derive(Clone, Debug)]
pub enum Source<P> {
    Constant(String),
    /// The first that is there.
    FirstOf(Vec<P>),
    /// The value that stands for it; without a default others cannot be mapped.
    Table {
        place: P,
        values: Vec<(String, String)>,
        default: Option<String>,
    },
}

/// What a field has to be, and which kinds of event have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Id,
    Dimension,
    OrderId,
    Action,
    Status,
    Quantity,
    Price(Money),
    Currency,
}

impl What {
    /// A field is judged, and written, only where its kind uses it.
    pub fn is_of(&self, kind: Kind) -> bool {
        match self {
            What::Id => true,
            What::Dimension => kind != Kind::OrderStatus,
            What::OrderId => matches!(kind, Kind::Purchase | Kind::OrderStatus),
            What::Action => kind == Kind::Wishlist,
            What::Status => kind == Kind::OrderStatus,
            What::Quantity | What::Price(_) | What::Currency => kind == Kind::Purchase,
        }
    }
}

impl Mapping {
    /// Whether rows may become events of this kind.
    pub fn makes(&self, kind: Kind) -> bool {
        self.events.iter().any(|event| match &event.kind {
            KindOf::Always(always) => *always == kind,
            KindOf::By { values, .. } => values.iter().any(|(_, of)| *of == Some(kind)),
        })
    }
}

impl<P> EventMap<P> {
    /// The same with places in place of names.
    pub fn resolve<Q>(
        &self,
        find: &mut impl FnMut(&P) -> Result<Q, String>,
    ) -> Result<EventMap<Q>, String> {
        let kind = match &self.kind {
            KindOf::Always(kind) => KindOf::Always(*kind),
            KindOf::By { place, values } => {
                KindOf::By { place: find(place)?, values: values.clone() }
            }
        };
        let when = match &self.when {
            Some(When { place, is }) => Some(When { place: find(place)?, is: is.clone() }),
            None => None,
        };
        let TimeOf { place, format, from_ms, until_ms, optional } = &self.time;
        let time = TimeOf {
            place: find(place)?,
            format: format.clone(),
            from_ms: *from_ms,
            until_ms: *until_ms,
            optional: *optional,
        };
        let mut all = |fields: &[FieldMap<P>]| -> Result<Vec<FieldMap<Q>>, String> {
            fields.iter().map(|field| field.resolve(find)).collect()
        };
        Ok(EventMap { kind, when, time, fields: all(&self.fields)?, items: all(&self.items)? })
    }

    /// Every name or place outside of `items`.
    pub fn places(&self) -> impl Iterator<Item = &P> {
        let kind = match &self.kind {
            KindOf::Always(_) => None,
            KindOf::By { place, .. } => Some(place),
        };
        let when = self.when.as_ref().map(|when| &when.place);
        let fields = self.fields.iter().flat_map(FieldMap::places);
        kind.into_iter().chain(when).chain([&self.time.place]).chain(fields)
    }
}

impl<P> FieldMap<P> {
    fn resolve<Q>(
        &self,
        find: &mut impl FnMut(&P) -> Result<Q, String>,
    ) -> Result<FieldMap<Q>, String> {
        let source = match &self.source {
            Source::Constant(text) => Source::Constant(text.clone()),
            Source::FirstOf(places) => {
                Source::FirstOf(places.iter().map(find).collect::<Result<_, _>>()?)
            }
            Source::Table { place, values, default } => Source::Table {
                place: find(place)?,
                values: values.clone(),
                default: default.clone(),
            },
        };
        Ok(FieldMap { name: self.name.clone(), what: self.what.clone(), source })
    }

    pub fn places(&self) -> impl Iterator<Item = &P> {
        match &self.source {
            Source::Constant(_) => [].iter(),
            Source::FirstOf(places) => places.iter(),
            Source::Table { place, .. } => std::slice::from_ref(place).iter(),
        }
    }
}
