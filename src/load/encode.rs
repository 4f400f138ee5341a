//! The bytes of an event: what a storefront's producers would write, in the default field names.
//!
//! Variety that a decoder has to cope with is part of it: some times are RFC 3339 text, some
//! user ids are integers (and the same user's id is text elsewhere), some lines of an order
//! inherit category and seller, some orders name no currency.

use super::catalogue::Catalogue;
use super::kind::Kind;
use super::rng::mix;
use super::shopper::{Action, Deed, Line};
use super::spoil::Spoil;
use super::workload::Key;

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

/// Where bytes are appended.
pub trait Out {
    fn put(&mut self, bytes: &[u8]);

    fn put_number(&mut self, number: impl itoa::Integer) {
        self.put(itoa::Buffer::new().format(number).as_bytes());
    }

    /// The last `DIGITS` hexadecimal digits.
    fn put_hex<const DIGITS: usize>(&mut self, number: u64) {
        let digit =
            |at: usize| b"0123456789abcdef"[(number >> (4 * (DIGITS - 1 - at))) as usize & 15];
        self.put(&std::array::from_fn::<u8, DIGITS, _>(digit));
    }

    /// `number` in `DIGITS` decimal digits.
    fn put_padded<const DIGITS: usize>(&mut self, mut number: u64) {
        let mut digits = [b'0'; DIGITS];
        for digit in digits.iter_mut().rev() {
            *digit += (number % 10) as u8;
            number /= 10;
        }
        self.put(&digits);
    }

    /// One user in eight has a number for a name.
    fn put_user(&mut self, user: u32) {
        if !user.is_multiple_of(8) {
            self.put(b"u");
        }
        self.put_number(user);
    }

    fn put_product(&mut self, product: u32) {
        self.put(b"p");
        self.put_number(product);
    }

    fn put_order(&mut self, order: u64) {
        self.put(b"o");
        self.put_hex::<16>(order);
    }
}

impl Out for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The key of a deed's record.
pub fn write_key(out: &mut impl Out, key: Key, deed: &Deed) {
    match (key, &deed.action) {
        (Key::User, _) => out.put_user(deed.user),
        (Key::Product, Action::Click { product } | Action::Wishlist { product, .. }) => {
            out.put_product(*product);
        }
        (Key::Product, Action::Purchase { lines, .. }) => out.put_product(lines[0].product),
        (Key::Product, Action::Status { order, .. }) => out.put_order(*order),
    }
}

pub struct Encoder<'a> {
    pub catalogue: &'a Catalogue,
    /// The currency that revenue counts in.
    pub currency: &'a str,
    pub spoil: Option<Spoil>,
}

/// A field's name, and how it stands in JSON after other fields.
struct Name {
    plain: &'static str,
    quoted: &'static str,
}

macro_rules! name {
    ($plain:literal) => {
        Name { plain: $plain, quoted: concat!(",\"", $plain, "\":") }
    };
}

const EVENT_ID: Name = name!("event_id");
const TIMESTAMP: Name = name!("timestamp");
const USER_ID: Name = name!("user_id");
const SESSION_ID: Name = name!("session_id");
const PRODUCT_ID: Name = name!("product_id");
const CATEGORY: Name = name!("category");
const SELLER_ID: Name = name!("seller_id");
const ACTION: Name = name!("action");
const ORDER_ID: Name = name!("order_id");
const CURRENCY: Name = name!("currency");
const QUANTITY: Name = name!("quantity");
const PRICE_MINOR: Name = name!("price_minor");
const ITEMS: Name = name!("items");
const STATUS: Name = name!("status");

impl Encoder<'_> {
    /// Appends the payload; returns whether the spoiled field occurs in it (always, without one).
    pub fn encode(&self, out: &mut Vec<u8>, event: u64, time_ms: i64, deed: &Deed) -> bool {
        let mut object = Object::new(out, self.spoil);
        // Few bits of the event's number decide the variety of its shape.
        let variety = mix(event);
        object.put(&EVENT_ID, |out| {
            out.put(b"\"");
            out.put_hex::<16>(event);
            out.put(b"\"");
        });
        object.put(&TIMESTAMP, |out| match variety % 16 {
            0 => write_rfc3339(out, time_ms),
            _ => out.put_number(time_ms),
        });
        object.put(&USER_ID, |out| {
            let is_text = !deed.user.is_multiple_of(8) || (variety >> 4) & 1 == 0;
            let quote: &[u8] = if is_text { b"\"" } else { b"" };
            out.put(quote);
            out.put_user(deed.user);
            out.put(quote);
        });
        object.put(&SESSION_ID, |out| {
            out.put(b"\"s");
            out.put_hex::<12>(deed.session >> 16);
            out.put(b"\"");
        });
        match &deed.action {
            Action::Click { product } => self.product(&mut object, *product, true),
            Action::Wishlist { product, remove } => {
                self.product(&mut object, *product, true);
                match (remove, variety >> 5 & 1) {
                    (true, _) => object.text(&ACTION, "remove"),
                    (false, 0) => object.text(&ACTION, "add"),
                    _ if self.spoils(&ACTION) => object.text(&ACTION, "add"),
                    _ => {}
                }
            }
            Action::Purchase { order, lines, foreign } => {
                self.purchase(&mut object, variety, *order, lines, *foreign);
            }
            Action::Status { order, seller, status } => {
                object.order(*order);
                object.seller(*seller);
                object.text(&STATUS, status);
            }
        }
        object.finish()
    }

    fn spoils(&self, name: &Name) -> bool {
        matches!(self.spoil, Some(Spoil::Field { field, .. }) if field == name.plain)
    }

    fn product(&self, object: &mut Object<'_>, product: u32, whole: bool) {
        object.put(&PRODUCT_ID, |out| {
            out.put(b"\"");
            out.put_product(product);
            out.put(b"\"");
        });
        if whole {
            self.shelf(object, product);
        }
    }

    fn shelf(&self, object: &mut Object<'_>, product: u32) {
        let category = self.catalogue.category_of(product);
        object.put(&CATEGORY, |out| {
            out.put(b"\"");
            match Catalogue::named_category(category) {
                Some(name) => out.put(name.as_bytes()),
                None => {
                    out.put(b"category-");
                    out.put_number(category);
                }
            }
            out.put(b"\"");
        });
        object.seller(self.catalogue.seller_of(product));
    }

    fn purchase(
        &self,
        object: &mut Object<'_>,
        variety: u64,
        order: u64,
        lines: &[Line],
        foreign: bool,
    ) {
        object.order(order);
        if foreign {
            let others = FOREIGN.into_iter().filter(|&other| other != self.currency);
            let other = others.cycle().nth((order % 3) as usize).unwrap_or(FOREIGN[0]);
            object.text(&CURRENCY, other);
        } else if variety >> 6 & 3 != 0 {
            object.text(&CURRENCY, self.currency);
        }
        if let ([line], false) = (lines, self.spoils(&ITEMS)) {
            self.product(object, line.product, true);
            self.amount(object, variety, line);
            return;
        }
        // What the order states at the top is inherited by the lines that say nothing.
        self.shelf(object, lines[0].product);
        if self.spoils(&ITEMS) {
            object.put(&ITEMS, |_| {});
            return;
        }
        object.begin_list(&ITEMS);
        for (at, line) in lines.iter().enumerate() {
            object.begin_item(at == 0);
            let inherits = variety >> (8 + at) & 1 == 0;
            self.product(object, line.product, !inherits);
            self.amount(object, variety >> at, line);
            object.end_item();
        }
        object.end_list();
    }

    fn amount(&self, object: &mut Object<'_>, variety: u64, line: &Line) {
        // A quantity of one may be left out.
        if line.quantity != 1 || variety >> 16 & 1 == 0 || self.spoils(&QUANTITY) {
            object.put(&QUANTITY, |out| out.put_number(line.quantity));
        }
        object.put(&PRICE_MINOR, |out| out.put_number(self.catalogue.price_minor(line.product)));
    }
}

/// A JSON object in the making, at the end of other bytes.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    spoil: Option<Spoil>,
    spoiled: bool,
    first: bool,
}

impl<'a> Object<'a> {
    fn new(out: &'a mut Vec<u8>, spoil: Option<Spoil>) -> Self {
        let start = out.len();
        out.push(b'{');
        Self { out, start, spoil, spoiled: false, first: true }
    }

    fn name(&mut self, name: &Name) {
        let quoted = name.quoted.as_bytes();
        self.out.put(&quoted[usize::from(self.first)..]);
        self.first = false;
    }

    fn put(&mut self, name: &Name, value: impl FnOnce(&mut Vec<u8>)) {
        self.name(name);
        match self.spoil {
            Some(Spoil::Field { field, raw, .. }) if field == name.plain => {
                raw.write(self.out);
                self.spoiled = true;
            }
            _ => value(self.out),
        }
    }

    /// Text without characters that JSON would escape; all our names are such.
    fn text(&mut self, name: &Name, value: &str) {
        debug_assert!(!value.contains(['"', '\\']) && !value.contains(char::is_control));
        self.put(name, |out| {
            out.put(b"\"");
            out.put(value.as_bytes());
            out.put(b"\"");
        });
    }

    fn order(&mut self, order: u64) {
        self.put(&ORDER_ID, |out| {
            out.put(b"\"");
            out.put_order(order);
            out.put(b"\"");
        });
    }

    fn seller(&mut self, seller: u32) {
        self.put(&SELLER_ID, |out| {
            out.put(b"\"s");
            out.put_number(seller);
            out.put(b"\"");
        });
    }

    fn begin_list(&mut self, name: &Name) {
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

    fn finish(self) -> bool {
        self.out.push(b'}');
        match self.spoil {
            Some(Spoil::Field { .. }) => self.spoiled,
            Some(whole) => {
                whole.finish(self.out, self.start);
                true
            }
            None => true,
        }
    }
}

/// `"2026-11-21T09:15:00.250Z"`, by the usual conversion of days to a civil date.
fn write_rfc3339(out: &mut Vec<u8>, time_ms: i64) {
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
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    out.put(b"\"");
    out.put_padded::<4>(unsigned(year));
    for (sign, number) in [
        ("-", month),
        ("-", day),
        ("T", seconds / 3600),
        (":", seconds / 60 % 60),
        (":", seconds % 60),
    ] {
        out.put(sign.as_bytes());
        out.put_padded::<2>(unsigned(number));
    }
    out.put(b".");
    out.put_padded::<3>(unsigned(millis));
    out.put(b"Z\"");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::shopper::Lines;

    fn text(deed: &Deed, event: u64, spoil: Option<Spoil>) -> String {
        let catalogue = Catalogue::new(1000, 64, 50);
        let encoder = Encoder { catalogue: &catalogue, currency: "EUR", spoil };
        let mut bytes = b"before".to_vec();
        assert!(encoder.encode(&mut bytes, event, 1_785_000_000_123, deed));
        let bytes = bytes.split_off(6);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn purchase(lines: usize) -> Deed {
        let lines = (0..lines as u32).map(|at| Line { product: 70 + at, quantity: 1 + at });
        let action = Action::Purchase { order: 7, lines: Lines::of(lines), foreign: false };
        Deed { user: 16, session: 1 << 40, action }
    }

    #[test]
    fn events_look_like_a_storefronts() {
        let click =
            Deed { user: 9, session: 0xABCD_0000_0000, action: Action::Click { product: 66 } };
        insta::assert_snapshot!(text(&click, 1, None), @r#"{"event_id":"0000000000000001","timestamp":1785000000123,"user_id":"u9","session_id":"s0000abcd0000","product_id":"p66","category":"Home & Garden","seller_id":"s22"}"#);
        let wishlist = Action::Wishlist { product: 66, remove: true };
        insta::assert_snapshot!(text(&Deed { action: wishlist, ..click }, 2, None), @r#"{"event_id":"0000000000000002","timestamp":1785000000123,"user_id":"u9","session_id":"s0000abcd0000","product_id":"p66","category":"Home & Garden","seller_id":"s22","action":"remove"}"#);
        insta::assert_snapshot!(text(&purchase(1), 3, None), @r#"{"event_id":"0000000000000003","timestamp":1785000000123,"user_id":"16","session_id":"s000001000000","order_id":"o0000000000000007","currency":"EUR","product_id":"p70","category":"Books","seller_id":"s6","price_minor":10499}"#);
        insta::assert_snapshot!(text(&purchase(2), 6, None), @r#"{"event_id":"0000000000000006","timestamp":"2026-07-25T17:20:00.123Z","user_id":"16","session_id":"s000001000000","order_id":"o0000000000000007","category":"Books","seller_id":"s6","items":[{"product_id":"p70","price_minor":10499},{"product_id":"p71","quantity":2,"price_minor":1699}]}"#);
        let status = Action::Status { order: 7, seller: 3, status: "SHIPPED" };
        insta::assert_snapshot!(text(&Deed { action: status, ..click }, 5, None), @r#"{"event_id":"0000000000000005","timestamp":1785000000123,"user_id":"u9","session_id":"s0000abcd0000","order_id":"o0000000000000007","seller_id":"s3","status":"SHIPPED"}"#);
    }

    #[test]
    fn every_unspoiled_event_is_json() {
        for event in 0..500 {
            for lines in 1..6 {
                let text = text(&purchase(lines), event, None);
                serde_json::from_str::<serde_json::Value>(&text).expect(&text);
            }
        }
    }

    #[test]
    fn times_in_words_are_right() {
        let word = |ms| {
            let mut out = Vec::new();
            write_rfc3339(&mut out, ms);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(word(0), "\"1970-01-01T00:00:00.000Z\"");
        assert_eq!(word(951_782_400_000), "\"2000-02-29T00:00:00.000Z\"");
        assert_eq!(word(1_735_689_599_999), "\"2024-12-31T23:59:59.999Z\"");
    }
}
