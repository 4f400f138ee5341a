//! From noted values to an event: every rule of `docs/EVENTS.md` on a field's value.
//!
//! Fields are judged in a fixed order, and the first fault is the record's reason. A field
//! is judged only where its kind of event uses it; elsewhere it is an unknown field.

use crate::event::{DIMENSIONS_MAX, Effect, Event, Kind, Line, OTHER, OrderStatus};
use crate::time::EventTime;

use super::names::Roles;
use super::reject::Malformed;
use super::slots::{ITEMS_MAX, Items, Raw, Slots, Tag};
use super::timestamp;

pub const QUANTITY_MAX: u64 = 1_000_000;
pub const PRICE_MINOR_MAX: u64 = 1_000_000_000_000;
/// Of one record. Small enough that a sorted set, whose scores are doubles, adds up
/// thousands of the largest records exactly, and a 64-bit sum never meets its end in practice.
pub const REVENUE_MINOR_MAX: u64 = 1_000_000_000_000_000;
pub(super) const CURRENCY_BYTES_MAX: usize = 8;

/// A fault and the field it was found in, if it was one field's.
pub(super) type Judged<T> = Result<T, (Malformed, Option<u8>)>;

/// What is needed to read a noted value.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    pub text: &'a str,
    pub scratch: &'a str,
    pub roles: &'a Roles,
    pub id_bytes_max: usize,
}

/// What the scan has noted.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub top: &'a Slots,
    pub items: &'a Items,
}

/// Memory for what an event refers to and no payload contains.
pub(super) struct Room<'l, 'a> {
    pub line: &'l mut Line<'a>,
    /// Empty.
    pub lines: &'l mut Vec<Line<'a>>,
    pub currency: &'l mut [u8; CURRENCY_BYTES_MAX],
}

impl<'a> Values<'a> {
    /// Judges a record: time, ids, and then what its kind of event uses.
    pub fn event<'l>(
        &self,
        kind: Kind,
        found: Found<'_>,
        kafka_time: Option<EventTime>,
        room: Room<'l, 'a>,
        home_currency: &str,
    ) -> Judged<Event<'l>> {
        let top = found.top;
        let time = self.time(top, kafka_time)?;
        let event_id = self.id(top, self.roles.event_id)?;
        let user_id = self.id(top, self.roles.user_id)?;
        self.id(top, self.roles.session_id)?;
        let effect = match kind {
            Kind::Click => {
                self.entities(top, room.line)?;
                Effect::Click(room.line)
            }
            Kind::Wishlist => {
                let is_remove = self.is_remove(top)?;
                self.entities(top, room.line)?;
                if is_remove { Effect::WishlistRemove } else { Effect::WishlistAdd(room.line) }
            }
            Kind::Purchase => self.purchase(found, room, home_currency)?,
            Kind::OrderStatus => {
                self.id(top, self.roles.order_id)?;
                Effect::OrderStatus(self.status(top)?)
            }
        };
        Ok(Event { time, event_id, user_id, effect })
    }

    fn purchase<'l>(
        &self,
        found: Found<'_>,
        room: Room<'l, 'a>,
        home_currency: &str,
    ) -> Judged<Effect<'l>> {
        let top = found.top;
        self.id(top, self.roles.order_id)?;
        let foreign_currency = match self.currency(top)? {
            Some(currency) if !currency.eq_ignore_ascii_case(home_currency) => {
                Some(upper_case(currency, room.currency))
            }
            _ => None,
        };
        let lines = match top.get(self.roles.items) {
            Some(raw) => self.items(raw, found, room.lines)?,
            None => {
                self.bought(top, room.line)?;
                std::slice::from_ref(room.line)
            }
        };
        let revenue =
            lines.iter().try_fold(0, |sum: u64, line| sum.checked_add(line.revenue_minor));
        if revenue.is_none_or(|revenue| revenue > REVENUE_MINOR_MAX) {
            return Err((Malformed::RevenueTooLarge, None));
        }
        Ok(Effect::Purchase { lines, foreign_currency })
    }

    /// The lines of `items`: the product is the line's own, every other entity is taken from
    /// the top level where the line does not name one.
    fn items<'l>(
        &self,
        raw: Raw,
        found: Found<'_>,
        lines: &'l mut Vec<Line<'a>>,
    ) -> Judged<&'l [Line<'a>]> {
        let field = Some(self.roles.items);
        if found.items.count() > ITEMS_MAX {
            return Err((Malformed::TooManyItems, field));
        }
        if raw.tag() != Tag::Other || found.items.count() == 0 || found.items.has_other {
            return Err((Malformed::InvalidItems, field));
        }
        let inherited = self.inherited(found.top)?;
        for slots in found.items.iter() {
            let mut line = Line::default();
            self.bought(slots, &mut line)?;
            for (entity, inherited) in line.entities.iter_mut().zip(inherited) {
                *entity = entity.or(inherited);
            }
            lines.push(line);
        }
        Ok(lines)
    }

    fn time(&self, top: &Slots, kafka_time: Option<EventTime>) -> Judged<EventTime> {
        let field = self.roles.timestamp;
        let time = match (top.get(field), kafka_time) {
            (None, None) => return Err((Malformed::MissingTimestamp, Some(field))),
            (None, Some(kafka_time)) => timestamp::in_range(kafka_time.millis()),
            (Some(raw), _) => match raw.tag() {
                Tag::Integer => timestamp::from_integer(self.text_of(raw)),
                Tag::Float => timestamp::from_float(self.text_of(raw)),
                Tag::Plain | Tag::Text | Tag::Unescaped => timestamp::from_text(self.text_of(raw)),
                Tag::Null | Tag::Other => Err(Malformed::InvalidTimestamp),
            },
        };
        time.map_err(|reason| (reason, Some(field)))
    }

    /// An id as text: of a user, an event, a session, an order, or an entity's name.
    #[inline(always)]
    fn id(&self, slots: &Slots, field: u8) -> Judged<Option<&'a str>> {
        let Some(raw) = slots.get(field) else {
            return Ok(None);
        };
        match self.check_id(raw) {
            Ok(id) => Ok(Some(id)),
            Err(reason) => Err((reason, Some(field))),
        }
    }

    #[inline(always)]
    fn check_id(&self, raw: Raw) -> Result<&'a str, Malformed> {
        let id = self.text_of(raw);
        match raw.tag() {
            Tag::Plain | Tag::Text | Tag::Unescaped => {}
            // Longer integers are not the same number to every JSON library, and "-0" is
            // no number's decimal form.
            Tag::Integer if id != "-0" && fits_64_bits(id) => {}
            _ => return Err(Malformed::InvalidId),
        }
        if id.is_empty() {
            return Err(Malformed::EmptyId);
        }
        if id.len() > self.id_bytes_max {
            return Err(Malformed::IdTooLong);
        }
        if raw.tag() != Tag::Plain && id.chars().any(char::is_control) {
            return Err(Malformed::IdControlCharacter);
        }
        if id == OTHER {
            return Err(Malformed::ReservedId);
        }
        Ok(id)
    }

    /// A string among a few, or `None` if the field is absent. Case matters.
    fn word(&self, top: &Slots, field: u8) -> Result<Option<&'a str>, ()> {
        match top.get(field) {
            None => Ok(None),
            Some(raw) if matches!(raw.tag(), Tag::Plain | Tag::Text | Tag::Unescaped) => {
                Ok(Some(self.text_of(raw)))
            }
            Some(_) => Err(()),
        }
    }

    /// True: the wish is taken back.
    fn is_remove(&self, top: &Slots) -> Judged<bool> {
        let field = self.roles.action;
        match self.word(top, field) {
            Ok(None | Some("add")) => Ok(false),
            Ok(Some("remove")) => Ok(true),
            _ => Err((Malformed::UnknownAction, Some(field))),
        }
    }

    fn status(&self, top: &Slots) -> Judged<OrderStatus> {
        let field = self.roles.status;
        let reason = match self.word(top, field) {
            Ok(None) => Malformed::MissingStatus,
            Ok(Some(name)) => match OrderStatus::ALL.into_iter().find(|s| s.name() == name) {
                Some(status) => return Ok(status),
                None => Malformed::UnknownStatus,
            },
            Err(()) => Malformed::UnknownStatus,
        };
        Err((reason, Some(field)))
    }

    /// The stated currency, in whatever case it came.
    fn currency(&self, top: &Slots) -> Judged<Option<&'a str>> {
        let field = self.roles.currency;
        match self.word(top, field) {
            Ok(None) => Ok(None),
            Ok(Some(currency))
                if (1..=CURRENCY_BYTES_MAX).contains(&currency.len())
                    && currency.bytes().all(|byte| byte.is_ascii_alphanumeric()) =>
            {
                Ok(Some(currency))
            }
            _ => Err((Malformed::InvalidCurrency, Some(field))),
        }
    }

    /// Fills in the entities of an empty line.
    #[inline]
    fn entities(&self, slots: &Slots, line: &mut Line<'a>) -> Judged<()> {
        for (entity, &(field, _)) in line.entities.iter_mut().zip(&self.roles.dimensions) {
            *entity = self.id(slots, field)?;
        }
        Ok(())
    }

    /// What the lines of `items` take from the top level where they say nothing themselves.
    fn inherited(&self, top: &Slots) -> Judged<[Option<&'a str>; DIMENSIONS_MAX]> {
        let mut entities = [None; DIMENSIONS_MAX];
        for (entity, &(field, is_inherited)) in entities.iter_mut().zip(&self.roles.dimensions) {
            if is_inherited {
                *entity = self.id(top, field)?;
            }
        }
        Ok(entities)
    }

    /// Fills in an empty line that was bought: its entities, units and revenue.
    fn bought(&self, slots: &Slots, line: &mut Line<'a>) -> Judged<()> {
        self.entities(slots, line)?;
        line.units = self.amount(
            slots,
            self.roles.quantity,
            1,
            1..=QUANTITY_MAX,
            Malformed::InvalidQuantity,
        )?;
        let price_minor = self.amount(
            slots,
            self.roles.price_minor,
            0,
            0..=PRICE_MINOR_MAX,
            Malformed::InvalidPrice,
        )?;
        // At most 10^18, which fits.
        line.revenue_minor = line.units * price_minor;
        Ok(())
    }

    fn amount(
        &self,
        slots: &Slots,
        field: u8,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
        reason: Malformed,
    ) -> Judged<u64> {
        let Some(raw) = slots.get(field) else {
            return Ok(default);
        };
        let token = self.text_of(raw);
        let amount = match raw.tag() {
            Tag::Integer if token != "-0" => token.parse().ok(),
            _ => None,
        };
        amount.filter(|amount| range.contains(amount)).ok_or((reason, Some(field)))
    }

    #[inline]
    fn text_of(&self, raw: Raw) -> &'a str {
        let source = if raw.tag() == Tag::Unescaped { self.scratch } else { self.text };
        &source[raw.range()]
    }
}

/// `currency` in upper case: itself, or a copy in `room`.
fn upper_case<'l>(currency: &'l str, room: &'l mut [u8; CURRENCY_BYTES_MAX]) -> &'l str {
    if !currency.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return currency;
    }
    let copy = &mut room[..currency.len()];
    copy.copy_from_slice(currency.as_bytes());
    copy.make_ascii_uppercase();
    std::str::from_utf8(copy).expect("the currency has been checked to be ASCII")
}

/// Whether a JSON integer is in the range of `i64` or `u64`.
#[inline]
fn fits_64_bits(integer: &str) -> bool {
    integer.len() <= 18 || integer.parse::<i64>().is_ok() || integer.parse::<u64>().is_ok()
}
