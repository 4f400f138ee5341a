//! The rules of `docs/EVENTS.md`, one record each: what goes in, and what comes out.

mod decode_reference;

use decode_reference::{LIMITS, OwnedEffect, OwnedLine, Verdict, decode, decoder, verdict};
use nazar::event::Kind;
use nazar::pipeline::decode::{DecodeLimits, Decoded, Decoder, ITEMS_MAX, Malformed};
use nazar::time::EventTime;

const CLICK: Kind = Kind::Click;
const WISH: Kind = Kind::Wishlist;
const BUY: Kind = Kind::Purchase;
const ORDER: Kind = Kind::OrderStatus;

const KAFKA_MILLIS: i64 = 1_700_000_000_000;

/// One line of text for a verdict. Time is told relative to the record's Kafka time, and
/// left out where it is equal.
fn render(verdict: &Verdict) -> String {
    let (time, event_id, user_id, effect) = match verdict {
        Verdict::Tombstone => return "tombstone".into(),
        Verdict::Malformed(reason) => return reason.name().into(),
        Verdict::Future { time } => return format!("future +{}", time - KAFKA_MILLIS),
        Verdict::Event { time, event_id, user_id, effect } => (time, event_id, user_id, effect),
    };
    let mut text = match effect {
        OwnedEffect::Click(line) => format!("click{}", entities(line)),
        OwnedEffect::WishlistAdd(line) => format!("add{}", entities(line)),
        OwnedEffect::WishlistRemove => "remove".into(),
        OwnedEffect::OrderStatus(status) => format!("order {}", status.name()),
        OwnedEffect::Purchase { lines, foreign_currency } => {
            let line = |line: &OwnedLine| {
                format!("{}x{}{}", line.units, line.revenue_minor, entities(line))
            };
            let lines: Vec<_> = lines.iter().map(line).collect();
            let currency = foreign_currency.iter().map(|currency| format!(" in {currency}"));
            format!("buy {}{}", lines.join(" + "), currency.collect::<String>())
        }
    };
    for (name, id) in [("event", event_id), ("user", user_id)] {
        if let Some(id) = id {
            text += &format!(" {name}={id}");
        }
    }
    if *time != KAFKA_MILLIS {
        text += &format!(" @{:+}", time - KAFKA_MILLIS);
    }
    text
}

fn entities(line: &OwnedLine) -> String {
    let names = ["product", "category", "seller", "brand"].iter().zip(&line.entities);
    names.filter_map(|(name, id)| Some(format!(" {name}={}", id.as_ref()?))).collect()
}

/// Both decoders say `expected`.
fn check(kind: Kind, payload: impl AsRef<[u8]>, expected: &str) {
    check_at(kind, payload, Some(KAFKA_MILLIS), expected);
}

fn check_at(kind: Kind, payload: impl AsRef<[u8]>, kafka: Option<i64>, expected: &str) {
    let payload = payload.as_ref();
    let kafka_time = kafka.map(EventTime::from_millis);
    let shown = String::from_utf8_lossy(&payload[..payload.len().min(200)]);
    let actual = render(&verdict(&mut decoder(), kind, Some(payload), kafka_time));
    assert_eq!(actual, expected, "{shown}");
    let reference = render(&decode(kind, Some(payload), kafka_time));
    assert_eq!(reference, expected, "the reference, of {shown}");
}

#[test]
fn events_of_every_kind() {
    check(CLICK, "{}", "click");
    check(
        CLICK,
        r#"{"event_id":"e1","timestamp":1700000001000,"user_id":"u","session_id":"s","product_id":"p","category":"c","seller_id":"s1","brand_name":"b"}"#,
        "click product=p category=c seller=s1 brand=b event=e1 user=u @+1000",
    );
    check(
        CLICK,
        r#" {"eventId" : "e1" ,"userId":7,	"productId":-42,"sellerId":"s","brandName":"b" } "#,
        "click product=-42 seller=s brand=b event=e1 user=7",
    );
    check(WISH, r#"{"product_id":"p"}"#, "add product=p");
    check(WISH, r#"{"product_id":"p","action":"add"}"#, "add product=p");
    check(WISH, r#"{"product_id":"p","action":null}"#, "add product=p");
    check(WISH, r#"{"product_id":"p","action":"remove","user_id":"u"}"#, "remove user=u");
    check(WISH, r#"{"action":"ADD"}"#, "unknown_action");
    check(WISH, r#"{"action":1}"#, "unknown_action");
    check(CLICK, r#"{"action":1,"quantity":-1,"order_id":[],"currency":7}"#, "click");
    check(BUY, "{}", "buy 1x0");
    check(
        BUY,
        r#"{"order_id":"o","product_id":"p","quantity":3,"price_minor":250}"#,
        "buy 3x750 product=p",
    );
    check(BUY, r#"{"orderId":9,"priceMinor":5,"quantity":null}"#, "buy 1x5");
    for status in ["PENDING", "PROCESSING", "SHIPPED", "DELIVERED", "CANCELLED", "RETURNED"] {
        check(ORDER, format!(r#"{{"status":"{status}"}}"#), &format!("order {status}"));
    }
    check(ORDER, r#"{"status":"SHIPPED","order_id":1,"userId":"u"}"#, "order SHIPPED user=u");
    check(ORDER, "{}", "missing_status");
    check(ORDER, r#"{"status":null}"#, "missing_status");
    check(ORDER, r#"{"status":"LOST"}"#, "unknown_status");
    check(ORDER, r#"{"status":"shipped"}"#, "unknown_status");
    check(ORDER, r#"{"status":3}"#, "unknown_status");
    check(ORDER, r#"{"order_id":true,"status":"SHIPPED"}"#, "invalid_id");
}

#[test]
fn payloads_that_are_no_event() {
    assert_eq!(verdict(&mut decoder(), CLICK, None, None), Verdict::Tombstone);
    check(CLICK, "", "empty_payload");
    check(CLICK, b"\0\0\0\0\x07", "empty_payload");
    check(CLICK, b"\0\0\0\0\x07{\"product_id\":1}", "click product=1");
    check(CLICK, b"\0\0\0\0", "invalid_json");
    check(CLICK, b"\0\0\0\0\x07\0\0\0\0\x07{}", "invalid_json");
    check(CLICK, " ", "invalid_json");
    check(CLICK, "\u{feff}{}", "invalid_json");
    check(CLICK, b"{\"x\":\"\xff\"}", "invalid_utf8");
    check(CLICK, b"{\"x\":\"\xed\xa0\x80\"}", "invalid_utf8");
    check(CLICK, b"\xff", "invalid_utf8");
    for other in ["[]", "1", "\"a\"", "null", "true", "[{}]"] {
        check(CLICK, other, "not_an_object");
    }
    for broken in [
        "{",
        "}",
        "{}{}",
        "{} x",
        "{},",
        "{\"a\":1,}",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":01}",
        "{\"a\":1.}",
        "{\"a\":.1}",
        "{\"a\":+1}",
        "{\"a\":1e}",
        "{\"a\":-}",
        "{\"a\":1e400}",
        "{\"a\":NaN}",
        "{\"a\":nul}",
        "{\"a\":True}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\udc00\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"\0\"}",
        "{\"a\":[1 2]}",
        "{\"a\":[1,]}",
        "{\"a\":[}",
        "{\"a\":1\u{a0}}",
        "// c\n{}",
        "{\"a\":\"\u{e9}\n\"}",
        "{\"a\":\"open}",
        "{\"a\":\"open\\",
        "{\"a\":\"open\\u00",
        "{\"a\":1 \"b\":2}",
        "[",
        "{\"\u{1}\":1}",
    ] {
        check(CLICK, broken, "invalid_json");
    }
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    check(CLICK, nested(126), "click");
    check(CLICK, nested(127), "too_deep");
    check(CLICK, nested(100_000), "too_deep");
    check(CLICK, "[".repeat(100_000), "too_deep");
    let items = |depth: usize| format!("{{\"items\":[{}]}}", nested(depth));
    check(BUY, items(124), "buy 1x0");
    check(BUY, items(125), "too_deep");
    let long = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
    check(CLICK, long(LIMITS.record_bytes_max), "click");
    check(CLICK, long(LIMITS.record_bytes_max + 1), "record_too_large");
}

#[test]
fn times() {
    let at = |timestamp: &str, expected| {
        check(CLICK, format!("{{\"timestamp\":{timestamp}}}"), expected)
    };
    at("1700000000000", "click");
    at("\"1700000000000\"", "click");
    at("1.7e12", "click");
    at("1700000000000.0", "click");
    at("\"2023-11-14T22:13:20Z\"", "click");
    at("\"2023-11-14T23:13:20.007+01:00\"", "click @+7");
    at("\"2023-11-14T22\\u003a13:20Z\"", "click");
    at("null", "click");
    at("946684800000", "click @-753315200000");
    for beyond in [
        "946684799999",
        "4102444800000",
        "1700000000",
        "1700000000000000",
        "-1",
        "0",
        "-0",
        "1e300",
        "99999999999999999999",
        "\"1999-12-31T23:59:59Z\"",
        "\"99999999999999999999\"",
    ] {
        at(beyond, "time_out_of_range");
    }
    for invalid in [
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"now\"",
        "1700000000000.5",
        "\"1700000000000.0\"",
        "\"-1700000000000\"",
        "\" 1700000000000\"",
        "\"2023-11-14\"",
        "\"2023-11-14T22:13:20\"",
        "\"2023-11-31T22:13:20Z\"",
        "\"2023-11-14T22:13:20é\"",
    ] {
        at(invalid, "invalid_timestamp");
    }
    check_at(CLICK, "{}", None, "missing_timestamp");
    check_at(CLICK, "{\"timestamp\":null}", None, "missing_timestamp");
    check_at(CLICK, "{\"timestamp\":1700000000001}", None, "click @+1");
    check_at(CLICK, "{}", Some(-1), "time_out_of_range");
    // Exactly max_future ahead is not beyond it, and without a Kafka time there is no future.
    at("1700000300000", "click @+300000");
    at("1700000300001", "future +300001");
    check_at(CLICK, "{\"timestamp\":4000000000000}", None, "click @+2300000000000");
    check(CLICK, r#"{"timestamp":1700009000000,"user_id":""}"#, "empty_id");
}

#[test]
fn ids() {
    let id = |id: &str, expected: &str| {
        check(CLICK, format!("{{\"product_id\":{id}}}"), expected);
    };
    id("\"a b/c\"", "click product=a b/c");
    id("42", "click product=42");
    id("\"42\"", "click product=42");
    id("18446744073709551615", "click product=18446744073709551615");
    id("-9223372036854775808", "click product=-9223372036854775808");
    id("null", "click");
    id("\"\\u0070\\/\\\"\\\\ \\ud83d\\ude00\"", "click product=p/\"\\ \u{1f600}");
    id("\"caf\u{e9} \u{1f600}\"", "click product=caf\u{e9} \u{1f600}");
    id("\"caf\u{e9}\\u0021\"", "click product=caf\u{e9}!");
    for invalid in
        ["1.0", "1e3", "true", "[]", "{}", "-0", "18446744073709551616", "-9223372036854775809"]
    {
        id(invalid, "invalid_id");
    }
    id("\"\"", "empty_id");
    id("\"01234567890123456789012345678901\"", "click product=01234567890123456789012345678901");
    id("\"012345678901234567890123456789012\"", "id_too_long");
    id("\"0123456789012345678901234567890\u{e9}\"", "id_too_long");
    id("\"tab\\there\"", "id_control_character");
    id("\"\\u0000\"", "id_control_character");
    id("\"\u{7f}\"", "id_control_character");
    id("\"\u{85}\"", "id_control_character");
    id("\"__other__\"", "reserved_id");
    id("\"__\\u006fther__\"", "reserved_id");
    id("\"__other__2\"", "click product=__other__2");
    for field in ["event_id", "user_id", "session_id", "category", "seller_id", "brand_name"] {
        check(CLICK, format!("{{\"{field}\":false}}"), "invalid_id");
    }
}

#[test]
fn names() {
    check(CLICK, r#"{"product_id":"first","product_id":"last"}"#, "click product=last");
    check(CLICK, r#"{"product_id":"a","productId":"b"}"#, "click product=b");
    check(CLICK, r#"{"productId":"b","product_id":"a"}"#, "click product=a");
    check(CLICK, r#"{"product_id":"a","productId":null}"#, "click");
    check(CLICK, r#"{"product_id":{},"product_id":"a"}"#, "click product=a");
    check(CLICK, r#"{"product\u005fid":"a"}"#, "click product=a");
    check(
        CLICK,
        r#"{"PRODUCT_ID":"a","product-id":"b","productid":"c","product_id ":"d"}"#,
        "click",
    );
    check(CLICK, r#"{"a":{"product_id":"inner"},"b":[{"product_id":"x"}]}"#, "click");
    check(BUY, r#"{"items":[{}],"items":null,"product_id":"p"}"#, "buy 1x0 product=p");
    check(BUY, r#"{"items":[{},{}],"\u0069tems":[{"productId":1}]}"#, "buy 1x0 product=1");
    check(BUY, r#"{"items":[{},{}],"items":7}"#, "invalid_items");
}

#[test]
fn purchases() {
    let quantity =
        |quantity: &str, expected| check(BUY, format!("{{\"quantity\":{quantity}}}"), expected);
    quantity("1000000", "buy 1000000x0");
    for invalid in ["0", "-1", "1000001", "1.0", "\"2\"", "true", "99999999999999999999", "-0"] {
        quantity(invalid, "invalid_quantity");
    }
    let price =
        |price: &str, expected| check(BUY, format!("{{\"price_minor\":{price}}}"), expected);
    price("0", "buy 1x0");
    price("1000000000000", "buy 1x1000000000000");
    for invalid in ["-1", "-0", "1000000000001", "9.99", "1e2", "\"999\"", "[]"] {
        price(invalid, "invalid_price");
    }
    check(BUY, r#"{"quantity":1000,"price_minor":1000000000000}"#, "buy 1000x1000000000000000");
    check(BUY, r#"{"quantity":1001,"price_minor":1000000000000}"#, "revenue_too_large");
    let currency =
        |currency: &str, expected| check(BUY, format!("{{\"currency\":{currency}}}"), expected);
    currency("\"EUR\"", "buy 1x0");
    currency("\"eur\"", "buy 1x0");
    currency("null", "buy 1x0");
    currency("\"usd\"", "buy 1x0 in USD");
    currency("\"Points99\"", "buy 1x0 in POINTS99");
    for invalid in ["\"\"", "\"TOOLONGCU\"", "\"€\"", "\"U D\"", "978", "true"] {
        currency(invalid, "invalid_currency");
    }
}

#[test]
fn baskets() {
    check(
        BUY,
        r#"{"product_id":"top","category":"c","seller_id":"s","quantity":9,"price_minor":9,"items":[
            {"product_id":"a","quantity":2,"price_minor":10},
            {"productId":"b","category":"d","sellerId":null,"brand_name":"x"},
            {"priceMinor":7}]}"#,
        "buy 2x20 product=a category=c seller=s + 1x0 product=b category=d seller=s brand=x + 1x7 category=c seller=s",
    );
    // The product at the top is replaced, so it is not judged; what is inherited is.
    check(BUY, r#"{"product_id":[],"quantity":-1,"items":[{}]}"#, "buy 1x0");
    check(BUY, r#"{"category":[],"items":[{"category":"c"}]}"#, "invalid_id");
    check(BUY, r#"{"items":[{"product_id":1.5}]}"#, "invalid_id");
    check(BUY, r#"{"items":[{"quantity":1},{"quantity":0}]}"#, "invalid_quantity");
    check(BUY, r#"{"items":[{"items":[{"product_id":"inner"}]}]}"#, "buy 1x0");
    for invalid in ["[]", "{}", "1", "\"a\"", "true", "[1]", "[{},null]", "[[{}]]"] {
        check(BUY, format!("{{\"items\":{invalid}}}"), "invalid_items");
        check(CLICK, format!("{{\"items\":{invalid}}}"), "click");
    }
    let lines = |count: usize, price: u64| {
        format!("{{\"items\":[{}]}}", vec![format!("{{\"price_minor\":{price}}}"); count].join(","))
    };
    let all = vec!["1x2"; ITEMS_MAX].join(" + ");
    check(BUY, lines(ITEMS_MAX, 2), &format!("buy {all}"));
    check(BUY, lines(ITEMS_MAX + 1, 2), "too_many_items");
    let most = vec!["1x1000000000000"; 1000].join(" + ");
    check(BUY, lines(1000, 1_000_000_000_000), &format!("buy {most}"));
    check(
        BUY,
        r#"{"items":[{"quantity":1000,"price_minor":1000000000000},{"price_minor":1}]}"#,
        "revenue_too_large",
    );
}

#[test]
fn configured_names_replace_the_defaults() {
    let mut fields = decode_reference::fields();
    fields.user_id = "customer".into();
    fields.timestamp = "occurred_at".into();
    fields.session_id = String::new();
    fields.product_id = "sku".into();
    let mut definitions = decode_reference::definitions();
    definitions.dimensions[0].field = "sku".into();
    definitions.currency = "usd".into();
    let mut decoder = Decoder::new(&fields, &definitions, LIMITS);
    let mut check = |kind, payload: &str, expected| {
        assert_eq!(render(&verdict(&mut decoder, kind, Some(payload.as_bytes()), None)), expected);
    };
    check(
        CLICK,
        r#"{"customer":1,"occurredAt":1700000000000,"sku":"p","product_id":2,"user_id":3,"session_id":[]}"#,
        "click product=p user=1",
    );
    check(CLICK, r#"{"timestamp":1700000000000}"#, "missing_timestamp");
    check(BUY, r#"{"occurred_at":1700000000000,"currency":"USD"}"#, "buy 1x0");
    check(
        BUY,
        r#"{"occurred_at":1700000000000,"sku":"top","items":[{"sku":"a"},{}]}"#,
        "buy 1x0 product=a + 1x0",
    );
}

#[test]
fn a_dead_letter_says_where_to_look() {
    let mut decoder = decoder();
    let mut explain = |kind, payload: &[u8]| {
        let reason = decoder.decode(kind, Some(payload), None, |decoded| match decoded {
            Decoded::Malformed(reason) => reason,
            other => panic!("{other:?}"),
        });
        decoder.explain(reason)
    };
    let time = r#""timestamp":1700000000000"#;
    assert_eq!(
        explain(CLICK, format!("{{{time},\"sellerId\":1.5}}").as_bytes()),
        "an id must be a string or an integer of at most 64 bits (field seller_id)"
    );
    assert_eq!(explain(CLICK, b"{\"a\" 1}"), "the value is not one valid JSON text (at byte 5)");
    assert_eq!(explain(CLICK, b"{\"\xff\"}"), "the value is not valid UTF-8 (at byte 2)");
    assert_eq!(explain(CLICK, b"[]"), Malformed::NotAnObject.message());
}

/// What one record leaves behind must not show in the next.
#[test]
fn records_do_not_mix() {
    let mut decoder = decoder();
    let records: [(Kind, &str); 6] = [
        (CLICK, r#"{"product_id":"\u0061","user_id":"u","category":"c"}"#),
        (
            BUY,
            r#"{"items":[{"product_id":"\u0061","quantity":2},{"seller_id":"s"}],"currency":"usd"}"#,
        ),
        (CLICK, r#"{"category":"c"}"#),
        (BUY, r#"{"items":[{}]}"#),
        (BUY, r#"{"product_id":{"#),
        (BUY, "{}"),
    ];
    let kafka_time = Some(EventTime::from_millis(KAFKA_MILLIS));
    for first in records {
        for (kind, payload) in [first].into_iter().chain(records) {
            let payload = Some(payload.as_bytes());
            let actual = verdict(&mut decoder, kind, payload, kafka_time);
            assert_eq!(actual, decode(kind, payload, kafka_time));
        }
    }
}

#[test]
fn limits_are_the_configured_ones() {
    let limits = DecodeLimits { record_bytes_max: 20, id_bytes_max: 3 };
    let mut decoder =
        Decoder::new(&decode_reference::fields(), &decode_reference::definitions(), limits);
    let kafka_time = Some(EventTime::from_millis(KAFKA_MILLIS));
    let mut name =
        |payload: &str| render(&verdict(&mut decoder, CLICK, Some(payload.as_bytes()), kafka_time));
    assert_eq!(name(r#"{"user_id":"abc"}   "#), "click user=abc");
    assert_eq!(name(r#"{"user_id":"abcd"}"#), "id_too_long");
    assert_eq!(name(r#"{"user_id":1234}"#), "id_too_long");
    assert_eq!(name(r#"{"user_id":"abc"}    "#), "record_too_large");
}
