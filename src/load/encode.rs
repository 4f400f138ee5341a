//! The bytes of an event: what a storefront's producers would write, in the default field names.
//!
//! Variety that a decoder has to cope with is part of it: some times are RFC 3339 text, some
//! user ids are integers (and the same user's id is text elsewhere), some lines of an order
//! inherit category and seller, some orders name no currency.

use std::io::Write;

use super::catalogue::Catalogue;
use super::kind::Kind;
use super::rng::mix;
use super::shopper::{Action, Deed, Line};
use super::spoil::Spoil;

const FOREIGN: [&str; 4] = ["USD", "GBP", "TRY", "JPY"];

impl Action {
    pub fn kind(&self) -> Kind {
        match self {
            Action::Click { .. } => Kind::Click,
            Action::Wishlist { .. } => Kind::Wishlist,
            Action::Purchase { .. } => Kind::Purchase,
            Action::Status { .. } => Kind::OrderStatus,
        }
    }
}

/// One user in eight has a number for a name.
pub fn user_name(user: u32) -> String {
    if user.is_multiple_of(8) { user.to_string() } else { format!("u{user}") }
}

pub fn product_name(product: u32) -> String {
    format!("p{product}")
}

pub fn order_name(order: u64) -> String {
    format!("o{order:016x}")
}

pub struct Encoder<'a> {
    pub catalogue: &'a Catalogue,
    /// The currency that revenue counts in.
    pub currency: &'a str,
    pub spoil: Option<Spoil>,
}

impl Encoder<'_> {
    /// The payload, and whether the spoiled field occurs in it (always, without one).
    pub fn encode(&self, event: u64, time_ms: i64, deed: &Deed) -> (Vec<u8>, bool) {
        let mut object = Object::new(self.spoil);
        // Few bits of the event's number decide the variety of its shape.
        let variety = mix(event);
        object.put("event_id", |out| write!(out, "\"{event:016x}\""));
        object.put("timestamp", |out| match variety % 16 {
            0 => write_rfc3339(out, time_ms),
            _ => write!(out, "{time_ms}"),
        });
        object.put("user_id", |out| {
            let name = user_name(deed.user);
            if name.starts_with('u') || (variety >> 4) & 1 == 0 {
                write!(out, "\"{name}\"")
            } else {
                write!(out, "{name}")
            }
        });
        object.put("session_id", |out| write!(out, "\"s{:012x}\"", deed.session >> 16));
        match &deed.action {
            Action::Click { product } => self.product(&mut object, *product, true),
            Action::Wishlist { product, remove } => {
                self.product(&mut object, *product, true);
                match (remove, variety >> 5 & 1) {
                    (true, _) => object.text("action", "remove"),
                    (false, 0) => object.text("action", "add"),
                    _ if self.spoils("action") => object.text("action", "add"),
                    _ => {}
                }
            }
            Action::Purchase { order, lines, foreign } => {
                self.purchase(&mut object, variety, *order, lines, *foreign);
            }
            Action::Status { order, seller, status } => {
                object.text("order_id", &order_name(*order));
                object.put("seller_id", |out| write!(out, "\"s{seller}\""));
                object.text("status", status);
            }
        }
        object.finish()
    }

    fn spoils(&self, field: &str) -> bool {
        matches!(self.spoil, Some(Spoil::Field { field: spoiled, .. }) if spoiled == field)
    }

    fn product(&self, object: &mut Object, product: u32, whole: bool) {
        object.put("product_id", |out| write!(out, "\"p{product}\""));
        if whole {
            self.shelf(object, product);
        }
    }

    fn shelf(&self, object: &mut Object, product: u32) {
        object.text("category", &self.catalogue.category_name(self.catalogue.category_of(product)));
        object.put("seller_id", |out| write!(out, "\"s{}\"", self.catalogue.seller_of(product)));
    }

    fn purchase(
        &self,
        object: &mut Object,
        variety: u64,
        order: u64,
        lines: &[Line],
        foreign: bool,
    ) {
        object.text("order_id", &order_name(order));
        if foreign {
            let others = FOREIGN.into_iter().filter(|&other| other != self.currency);
            let other = others.cycle().nth((order % 3) as usize).unwrap_or(FOREIGN[0]);
            object.text("currency", other);
        } else if variety >> 6 & 3 != 0 {
            object.text("currency", self.currency);
        }
        if let ([line], false) = (lines, self.spoils("items")) {
            self.product(object, line.product, true);
            self.amount(object, variety, line);
            return;
        }
        // What the order states at the top is inherited by the lines that say nothing.
        self.shelf(object, lines[0].product);
        if self.spoils("items") {
            object.put("items", |_| Ok(()));
            return;
        }
        object.begin_list("items");
        for (at, line) in lines.iter().enumerate() {
            object.begin_item(at == 0);
            let inherits = variety >> (8 + at) & 1 == 0;
            self.product(object, line.product, !inherits);
            self.amount(object, variety >> at, line);
            object.end_item();
        }
        object.end_list();
    }

    fn amount(&self, object: &mut Object, variety: u64, line: &Line) {
        // A quantity of one may be left out.
        if line.quantity != 1 || variety >> 16 & 1 == 0 || self.spoils("quantity") {
            object.put("quantity", |out| write!(out, "{}", line.quantity));
        }
        let price = self.catalogue.price_minor(line.product);
        object.put("price_minor", |out| write!(out, "{price}"));
    }
}

/// A JSON object in the making.
struct Object {
    out: Vec<u8>,
    spoil: Option<Spoil>,
    spoiled: bool,
    first: bool,
}

impl Object {
    fn new(spoil: Option<Spoil>) -> Self {
        let mut out = Vec::with_capacity(256);
        out.push(b'{');
        Self { out, spoil, spoiled: false, first: true }
    }

    fn name(&mut self, name: &str) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn put(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) {
        self.name(name);
        match self.spoil {
            Some(Spoil::Field { field, raw, .. }) if field == name => {
                raw.write(&mut self.out);
                self.spoiled = true;
            }
            _ => value(&mut self.out).expect("writing to memory cannot fail"),
        }
    }

    /// Text without characters that JSON would escape; all our names are such.
    fn text(&mut self, name: &str, value: &str) {
        debug_assert!(!value.contains(['"', '\\']) && !value.contains(char::is_control));
        self.put(name, |out| write!(out, "\"{value}\""));
    }

    fn begin_list(&mut self, name: &str) {
        self.name(name);
        self.out.push(b'[');
    }

    fn begin_item(&mut self, first: bool) {
        if !first {
            self.out.push(b',');
        }
        self.out.push(b'{');
        self.first = true;
    }

    fn end_item(&mut self) {
        self.out.push(b'}');
        self.first = false;
    }

    fn end_list(&mut self) {
        self.out.push(b']');
    }

    fn finish(mut self) -> (Vec<u8>, bool) {
        self.out.push(b'}');
        match self.spoil {
            Some(Spoil::Field { .. }) => (self.out, self.spoiled),
            Some(whole) => {
                whole.finish(&mut self.out);
                (self.out, true)
            }
            None => (self.out, true),
        }
    }
}

/// `"2026-11-21T09:15:00.250Z"`, by the usual conversion of days to a civil date.
fn write_rfc3339(out: &mut Vec<u8>, time_ms: i64) -> std::io::Result<()> {
    let (days, in_day) = (time_ms.div_euclid(86_400_000), time_ms.rem_euclid(86_400_000));
    // Years begin in March here, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, millis) = (in_day / 1000, in_day % 1000);
    write!(
        out,
        "\"{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z\"",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(deed: &Deed, event: u64, spoil: Option<Spoil>) -> String {
        let catalogue = Catalogue::new(1000, 64, 50);
        let encoder = Encoder { catalogue: &catalogue, currency: "EUR", spoil };
        let (bytes, spoiled) = encoder.encode(event, 1_785_000_000_123, deed);
        assert!(spoiled);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn purchase(lines: usize) -> Deed {
        let lines = (0..lines as u32).map(|at| Line { product: 70 + at, quantity: 1 + at });
        let action = Action::Purchase { order: 7, lines: lines.collect(), foreign: false };
        Deed { user: 16, session: 1 << 40, action }
    }

    #[test]
    fn events_look_like_a_storefronts() {
        let click =
            Deed { user: 9, session: 0xABCD_0000_0000, action: Action::Click { product: 66 } };
        insta::assert_snapshot!(text(&click, 1, None), @r#"{"event_id":"0000000000000001","timestamp":1785000000123,"user_id":"u9","session_id":"s0000abcd0000","product_id":"p66","category":"Home & Garden","seller_id":"s22"}"#);
        let wishlist = Action::Wishlist { product: 66, remove: true };
        insta::assert_snapshot!(text(&Deed { action: wishlist, ..click.clone() }, 2, None), @r#"{"event_id":"0000000000000002","timestamp":1785000000123,"user_id":"u9","session_id":"s0000abcd0000","product_id":"p66","category":"Home & Garden","seller_id":"s22","action":"remove"}"#);
        insta::assert_snapshot!(text(&purchase(1), 3, None), @r#"{"event_id":"0000000000000003","timestamp":1785000000123,"user_id":"16","session_id":"s000001000000","order_id":"o0000000000000007","currency":"EUR","product_id":"p70","category":"Books","seller_id":"s6","price_minor":10499}"#);
        insta::assert_snapshot!(text(&purchase(2), 6, None), @r#"{"event_id":"0000000000000006","timestamp":"2026-07-25T17:20:00.123Z","user_id":"16","session_id":"s000001000000","order_id":"o0000000000000007","category":"Books","seller_id":"s6","items":[{"product_id":"p70","price_minor":10499},{"product_id":"p71","quantity":2,"price_minor":1699}]}"#);
        let status = Action::Status { order: 7, seller: 3, status: "SHIPPED" };
        insta::assert_snapshot!(text(&Deed { action: status, ..click }, 5, None), @r#"{"event_id":"0000000000000005","timestamp":1785000000123,"user_id":"u9","session_id":"s0000abcd0000","order_id":"o0000000000000007","seller_id":"s3","status":"SHIPPED"}"#);
    }

    #[test]
    fn every_unspoiled_event_is_json() {
        for event in 0..500 {
            for lines in 1..4 {
                let text = text(&purchase(lines), event, None);
                serde_json::from_str::<serde_json::Value>(&text).expect(&text);
            }
        }
    }

    #[test]
    fn times_in_words_are_right() {
        let word = |ms| {
            let mut out = Vec::new();
            write_rfc3339(&mut out, ms).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(word(0), "\"1970-01-01T00:00:00.000Z\"");
        assert_eq!(word(951_782_400_000), "\"2000-02-29T00:00:00.000Z\"");
        assert_eq!(word(1_735_689_599_999), "\"2024-12-31T23:59:59.999Z\"");
    }
}
