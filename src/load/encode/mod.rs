//! The bytes of an event: what a storefront's producers would write, in the default field names.
//!
//! Variety that a decoder has to cope with is part of it: some times are RFC 3339 text, some
//! user ids are integers (and the same user's id is text elsewhere), some lines of an order
//! inherit category and seller, some orders name no currency.

mod object;
mod out;

use super::catalogue::Catalogue;
use super::drift::Drift;
use super::kind::Kind;
use super::rng::mix;
use super::shopper::{Action, Deed, Line};
use super::spoil::Spoil;
use object::{
    ACTION, CATEGORY, CURRENCY, EVENT_ID, ITEMS, Name, Object, PRICE_MINOR, PRODUCT_ID, QUANTITY,
    SESSION_ID, STATUS, TIMESTAMP, USER_ID,
};
pub use out::{Out, write_key};

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

pub struct Encoder<'a> {
    pub catalogue: &'a Catalogue,
    /// The currency that revenue counts in.
    pub currency: &'a str,
    pub spoil: Option<Spoil>,
    pub drift: Option<&'static Drift>,
}

impl Encoder<'_> {
    /// Appends the payload; returns whether the field that is to be spoiled, or to drift, occurs in it
    /// (always, without one).
    pub fn encode(&self, out: &mut Vec<u8>, event: u64, time_ms: i64, deed: &Deed) -> bool {
        let mut object = Object::new(out, self.spoil, self.drift);
        // Few bits of the event's number decide the variety of its shape.
        let variety = mix(event);
        object.put(&EVENT_ID, |out| {
            out.put(b"\"");
            out.put_hex::<16>(event);
            out.put(b"\"");
        });
        object.put(&TIMESTAMP, |out| match variety % 16 {
            0 if !self.alters(&TIMESTAMP) => out::write_rfc3339(out, time_ms),
            _ => out.put_number(time_ms),
        });
        object.wrap();
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
                    _ if self.alters(&ACTION) => object.text(&ACTION, "add"),
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

    /// Whether the value of this field must occur, because something is done to it.
    fn alters(&self, name: &Name) -> bool {
        self.spoils(name) || self.drift.is_some_and(|drift| drift.field() == Some(name.plain))
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
        } else if variety >> 6 & 3 != 0 || self.alters(&CURRENCY) {
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
        if line.quantity != 1 || variety >> 16 & 1 == 0 || self.alters(&QUANTITY) {
            object.put(&QUANTITY, |out| out.put_number(line.quantity));
        }
        object.put(&PRICE_MINOR, |out| out.put_number(self.catalogue.price_minor(line.product)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::shopper::Lines;

    fn text(deed: &Deed, event: u64, drift: Option<&'static Drift>) -> String {
        let catalogue = Catalogue::new(1000, 64, 50);
        let encoder = Encoder { catalogue: &catalogue, currency: "EUR", spoil: None, drift };
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
    fn drifted_events_look_like_those_of_a_newer_producer() {
        let click =
            Deed { user: 9, session: 0xABCD_0000_0000, action: Action::Click { product: 66 } };
        let drifted = |name: &str, deed: &Deed, event: u64| {
            let drift = Drift::of_kind(deed.action.kind()).find(|drift| drift.name == name);
            text(deed, event, Some(drift.unwrap()))
        };
        insta::assert_snapshot!(drifted("camel_case", &click, 1), @r#"{"eventId":"0000000000000001","timestamp":1785000000123,"userId":"u9","sessionId":"s0000abcd0000","productId":"p66","category":"Home & Garden","sellerId":"s22"}"#);
        insta::assert_snapshot!(drifted("extra_field", &click, 1), @r#"{"event_id":"0000000000000001","timestamp":1785000000123,"user_id":"u9","session_id":"s0000abcd0000","product_id":"p66","category":"Home & Garden","seller_id":"s22","device":{"os":"ios","app":[5,2]}}"#);
        insta::assert_snapshot!(drifted("product_renamed", &click, 1), @r#"{"event_id":"0000000000000001","timestamp":1785000000123,"user_id":"u9","session_id":"s0000abcd0000","sku":"p66","category":"Home & Garden","seller_id":"s22"}"#);
        insta::assert_snapshot!(drifted("wrapped", &click, 1), @r#"{"event_id":"0000000000000001","timestamp":1785000000123,"version":2,"data":{"user_id":"u9","session_id":"s0000abcd0000","product_id":"p66","category":"Home & Garden","seller_id":"s22"}}"#);
        insta::assert_snapshot!(drifted("listed", &click, 1), @r#"[{"event_id":"0000000000000001","timestamp":1785000000123,"user_id":"u9","session_id":"s0000abcd0000","product_id":"p66","category":"Home & Garden","seller_id":"s22"}]"#);
        // Whatever shape it would have had.
        insta::assert_snapshot!(drifted("time_as_text", &purchase(1), 6), @r#"{"event_id":"0000000000000006","timestamp":"1785000000123","user_id":"16","session_id":"s000001000000","order_id":"o0000000000000007","product_id":"p70","category":"Books","seller_id":"s6","price_minor":10499}"#);
        insta::assert_snapshot!(drifted("quantity_as_text", &purchase(2), 6), @r#"{"event_id":"0000000000000006","timestamp":"2026-07-25T17:20:00.123Z","user_id":"16","session_id":"s000001000000","order_id":"o0000000000000007","category":"Books","seller_id":"s6","items":[{"product_id":"p70","quantity":"1","price_minor":10499},{"product_id":"p71","quantity":"2","price_minor":1699}]}"#);
    }

    #[test]
    fn every_event_can_drift_in_every_way_of_its_kind() {
        let click = Deed { action: Action::Click { product: 66 }, ..purchase(1) };
        let wish = |remove| Action::Wishlist { product: 66, remove };
        let status = Action::Status { order: 7, seller: 3, status: "SHIPPED" };
        let mut deeds = vec![click];
        deeds.extend([wish(true), wish(false), status].map(|action| Deed { action, ..click }));
        deeds.extend((1..6).map(purchase));
        for deed in &deeds {
            for drift in Drift::of_kind(deed.action.kind()) {
                for event in 0..200 {
                    // It asserts that the change was made.
                    let text = text(deed, event, Some(drift));
                    serde_json::from_str::<serde_json::Value>(&text).expect(&text);
                }
            }
        }
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
}
