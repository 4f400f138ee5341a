//! The rules on fields, over a tree, with the default names spelled out.

use nazar::event::{Kind, OrderStatus};
use nazar::pipeline::decode::Malformed::{self, *};
use nazar::time::EventTime;

use super::tree::Tree;
use super::{LIMITS, OwnedEffect, OwnedLine, Verdict};

const DIMENSIONS: [[&str; 2]; 4] = [
    ["product_id", "productId"],
    ["category", "category"],
    ["seller_id", "sellerId"],
    ["brand_name", "brandName"],
];
const MAX_FUTURE_MILLIS: i64 = 300_000;

type Members = [(String, Tree)];

pub fn decode(kind: Kind, payload: Option<&[u8]>, kafka_time: Option<EventTime>) -> Verdict {
    let Some(payload) = payload else {
        return Verdict::Tombstone;
    };
    let kafka_millis = kafka_time.map(EventTime::millis);
    match event(kind, payload, kafka_millis) {
        Err(reason) => Verdict::Malformed(reason),
        Ok(Verdict::Event { time, .. })
            if kafka_millis.is_some_and(|kafka| time > kafka + MAX_FUTURE_MILLIS) =>
        {
            Verdict::Future { time }
        }
        Ok(event) => event,
    }
}

fn event(kind: Kind, payload: &[u8], kafka_millis: Option<i64>) -> Result<Verdict, Malformed> {
    if payload.len() > LIMITS.record_bytes_max {
        return Err(RecordTooLarge);
    }
    let has_prefix = payload.len() >= 5 && payload[0] == 0;
    let json = if has_prefix { &payload[5..] } else { payload };
    if json.is_empty() {
        return Err(EmptyPayload);
    }
    let text = std::str::from_utf8(json).map_err(|_| InvalidUtf8)?;
    let parsed = serde_json::from_str(text);
    assert_eq!(parsed.is_ok(), serde_json::from_str::<serde_json::Value>(text).is_ok());
    let members = match parsed {
        Ok(Tree::Object(members)) => members,
        Ok(_) => return Err(NotAnObject),
        Err(error) if error.to_string().starts_with("recursion limit") => return Err(TooDeep),
        Err(_) => return Err(InvalidJson),
    };
    let top = &members[..];
    let time = time(top, kafka_millis)?;
    let event_id = id(top, ["event_id", "eventId"])?;
    let user_id = id(top, ["user_id", "userId"])?;
    id(top, ["session_id", "sessionId"])?;
    let effect = match kind {
        Kind::Click => OwnedEffect::Click(line(top)?),
        Kind::Wishlist => match get(top, ["action", "action"]) {
            None => OwnedEffect::WishlistAdd(line(top)?),
            Some(Tree::Text(action)) if action == "add" => OwnedEffect::WishlistAdd(line(top)?),
            Some(Tree::Text(action)) if action == "remove" => {
                line(top)?;
                OwnedEffect::WishlistRemove
            }
            _ => return Err(UnknownAction),
        },
        Kind::Purchase => purchase(top)?,
        Kind::OrderStatus => {
            id(top, ["order_id", "orderId"])?;
            OwnedEffect::OrderStatus(match get(top, ["status", "status"]) {
                None => return Err(MissingStatus),
                Some(Tree::Text(status)) => match &**status {
                    "PENDING" => OrderStatus::Pending,
                    "PROCESSING" => OrderStatus::Processing,
                    "SHIPPED" => OrderStatus::Shipped,
                    "DELIVERED" => OrderStatus::Delivered,
                    "CANCELLED" => OrderStatus::Cancelled,
                    "RETURNED" => OrderStatus::Returned,
                    _ => return Err(UnknownStatus),
                },
                _ => return Err(UnknownStatus),
            })
        }
    };
    Ok(Verdict::Event { time, event_id, user_id, effect })
}

fn purchase(top: &Members) -> Result<OwnedEffect, Malformed> {
    id(top, ["order_id", "orderId"])?;
    let foreign_currency = match get(top, ["currency", "currency"]) {
        None => None,
        Some(Tree::Text(currency)) => {
            let is_plain = currency.chars().all(|char| char.is_ascii_alphanumeric());
            if !is_plain || currency.is_empty() || currency.len() > 8 {
                return Err(InvalidCurrency);
            }
            Some(currency.to_uppercase()).filter(|currency| currency != "EUR")
        }
        Some(_) => return Err(InvalidCurrency),
    };
    let lines = match get(top, ["items", "items"]) {
        None => vec![bought(top)?],
        Some(Tree::Array(elements)) => items(top, elements)?,
        Some(_) => return Err(InvalidItems),
    };
    if lines.iter().map(|line| u128::from(line.revenue_minor)).sum::<u128>() > 10u128.pow(15) {
        return Err(RevenueTooLarge);
    }
    Ok(OwnedEffect::Purchase { lines, foreign_currency })
}

fn items(top: &Members, elements: &[Tree]) -> Result<Vec<OwnedLine>, Malformed> {
    if elements.len() > 1000 {
        return Err(TooManyItems);
    }
    if elements.is_empty() || !elements.iter().all(|element| matches!(element, Tree::Object(_))) {
        return Err(InvalidItems);
    }
    let mut inherited = vec![None];
    for dimension in &DIMENSIONS[1..] {
        inherited.push(id(top, *dimension)?);
    }
    let mut lines = vec![];
    for element in elements {
        let Tree::Object(members) = element else { continue };
        let mut line = bought(members)?;
        for (entity, inherited) in line.entities.iter_mut().zip(&inherited) {
            if entity.is_none() {
                entity.clone_from(inherited);
            }
        }
        lines.push(line);
    }
    Ok(lines)
}

fn line(members: &Members) -> Result<OwnedLine, Malformed> {
    let entities: Result<_, _> = DIMENSIONS.iter().map(|names| id(members, *names)).collect();
    Ok(OwnedLine { entities: entities?, ..OwnedLine::default() })
}

fn bought(members: &Members) -> Result<OwnedLine, Malformed> {
    let mut line = line(members)?;
    let quantity = match get(members, ["quantity", "quantity"]) {
        None => 1,
        Some(Tree::Integer(quantity @ 1..=1_000_000)) => *quantity,
        Some(_) => return Err(InvalidQuantity),
    };
    let price = match get(members, ["price_minor", "priceMinor"]) {
        None => 0,
        Some(Tree::Integer(price @ 0..=1_000_000_000_000)) => *price,
        Some(_) => return Err(InvalidPrice),
    };
    line.units = quantity as u64;
    line.revenue_minor = (quantity * price) as u64;
    Ok(line)
}

/// The last member of either name; null is absent.
fn get<'t>(members: &'t Members, names: [&str; 2]) -> Option<&'t Tree> {
    let last = members.iter().rev().find(|(name, _)| names.contains(&&**name))?;
    (last.1 != Tree::Null).then_some(&last.1)
}

fn id(members: &Members, names: [&str; 2]) -> Result<Option<String>, Malformed> {
    let id = match get(members, names) {
        None => return Ok(None),
        Some(Tree::Text(id)) => id.clone(),
        Some(Tree::Integer(id)) => id.to_string(),
        Some(_) => return Err(InvalidId),
    };
    match () {
        () if id.is_empty() => Err(EmptyId),
        () if id.len() > LIMITS.id_bytes_max => Err(IdTooLong),
        () if id.chars().any(char::is_control) => Err(IdControlCharacter),
        () if id == "__other__" => Err(ReservedId),
        () => Ok(Some(id)),
    }
}

fn time(top: &Members, kafka_millis: Option<i64>) -> Result<i64, Malformed> {
    let millis = match get(top, ["timestamp", "timestamp"]) {
        None => i128::from(kafka_millis.ok_or(MissingTimestamp)?),
        Some(Tree::Integer(millis)) => *millis,
        Some(Tree::Float(millis)) if millis.fract() == 0.0 => *millis as i128,
        Some(Tree::Text(text)) if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) => {
            text.parse().unwrap_or(i128::MAX)
        }
        Some(Tree::Text(text)) => rfc3339(text).ok_or(InvalidTimestamp)?.into(),
        Some(_) => return Err(InvalidTimestamp),
    };
    let years_2000_to_2099 = 946_684_800_000..4_102_444_800_000;
    if years_2000_to_2099.contains(&millis) { Ok(millis as i64) } else { Err(TimeOutOfRange) }
}

/// Splits the text at its separators and counts days one month at a time.
fn rfc3339(text: &str) -> Option<i64> {
    let is_decimal =
        |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
    let number =
        |text: &str, length| is_decimal(text, length).then(|| text.parse::<i64>().unwrap());
    let (date, clock) = text.split_once(['T', 't', ' '])?;
    let [year, month, day] = date.split('-').collect::<Vec<_>>().try_into().ok()?;
    let (year, month, day) = (number(year, 4)?, number(month, 2)?, number(day, 2)?);
    let zone_at = clock.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = clock.split_at(zone_at);
    let [hour, minute, second] = clock.split(':').collect::<Vec<_>>().try_into().ok()?;
    let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
    if !is_decimal(fraction, fraction.len()) || fraction.is_empty() {
        return None;
    }
    let millis: i64 = format!("{fraction}000")[..3].parse().ok()?;
    let (hour, minute, second) = (number(hour, 2)?, number(minute, 2)?, number(second, 2)?);
    let east = if zone.eq_ignore_ascii_case("z") {
        0
    } else {
        let (hours, minutes) = zone.strip_prefix(['+', '-'])?.split_once(':')?;
        let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
        if hours > 23 || minutes > 59 {
            return None;
        }
        (hours * 60 + minutes) * if zone.starts_with('-') { -1 } else { 1 }
    };
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let year_days = |year| if leap(year) { 366 } else { 365 };
    let february = if leap(year) { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month_days = *months.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    if day < 1 || day > month_days || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let since_1970: i64 = (1970..year).map(year_days).sum();
    let before_1970: i64 = (year..1970).map(year_days).sum();
    let in_year: i64 = months[..month as usize - 1].iter().sum();
    let days = since_1970 - before_1970 + in_year + day - 1;
    Some((((days * 24 + hour) * 60 + minute - east) * 60 + second) * 1000 + millis)
}
