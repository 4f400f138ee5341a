//! Whatever bytes come: the decoder says what the obvious decoder over a JSON tree says,
//! down to the reason. The same property without end: `fuzz/fuzz_targets/decode.rs`.

mod decode_reference;

use std::cell::RefCell;

use decode_reference::{Verdict, decode, decoder, verdict};
use nazar::event::Kind;
use nazar::pipeline::decode::Decoder;
use nazar::time::EventTime;
use proptest::prelude::*;
use proptest::sample::select;

thread_local! {
    /// One for all cases, so that what one record leaves behind would show in another.
    static DECODER: RefCell<Decoder> = RefCell::new(decoder());
}

fn agree(kind: Kind, payload: &[u8], kafka_time: Option<EventTime>) -> Verdict {
    let expected = decode(kind, Some(payload), kafka_time);
    let actual =
        DECODER.with_borrow_mut(|decoder| verdict(decoder, kind, Some(payload), kafka_time));
    assert_eq!(actual, expected, "{kind:?} {kafka_time:?} {}", String::from_utf8_lossy(payload));
    expected
}

const NAMES: &[&str] = &[
    "event_id",
    "eventId",
    "timestamp",
    "user_id",
    "userId",
    "session_id",
    "product_id",
    "productId",
    "category",
    "seller_id",
    "sellerId",
    "brand_name",
    "brandName",
    "action",
    "order_id",
    "orderId",
    "quantity",
    "price_minor",
    "priceMinor",
    "currency",
    "items",
    "status",
    // Escaped, foreign, near misses.
    "product\\u005fid",
    "\\u0069tems",
    "x",
    "",
    "brand_names",
    "brand_namf",
    "userid",
    "é",
    "a_rather_long_name_that_nobody_reads",
    "q\\\"uote",
    "\\ud83d\\ude00",
];

const SCALARS: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-1",
    "2",
    "7",
    "1000000",
    "1000001",
    "1000000000000",
    "1000000000001",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "-9223372036854775809",
    "1.0",
    "1.5",
    "1e3",
    "1.7e12",
    "1e400",
    "-1e-400",
    "1700000000000",
    "1700000000000.0",
    "1700000400000",
    "1700000299999",
    "946684799999",
    "\"\"",
    "\"a\"",
    "\"42\"",
    "\"add\"",
    "\"remove\"",
    "\"ADD\"",
    "\"SHIPPED\"",
    "\"RETURNED\"",
    "\"shipped\"",
    "\"EUR\"",
    "\"eur\"",
    "\"usd\"",
    "\"USD\"",
    "\"Us1\"",
    "\"TOOLONGCU\"",
    "\"€\"",
    "\"__other__\"",
    "\"__\\u006fther__\"",
    "\"tab\\there\"",
    "\"del\\u007f\"",
    "\"del\u{7f}\"",
    "\"c1\u{85}\"",
    "\"na\u{ef}ve caf\u{e9}\"",
    "\"\\ud83d\\ude00 and \u{1f600}\"",
    "\"\\ud83d\"",
    "\"\\ude00\"",
    "\"\\ud83d\\u0041\"",
    "\"a/b\\/c\\\\d\\\"e\"",
    "\"thirty-two bytes are just allowed\"",
    "\"0123456789abcdef0123456789abcdef\"",
    "\"1700000000000\"",
    "\"2023-11-14T22:13:20Z\"",
    "\"2023-11-14T22:13:20.5+01:00\"",
    "\"2023-02-29T00:00:00Z\"",
    "\"yesterday\"",
    // Not JSON.
    "01",
    "1.",
    ".5",
    "+1",
    "-",
    "nul",
    "NaN",
    "'a'",
    "\"\\x\"",
    "\"\\u12\"",
    "\"open",
    "\"tab\there\"",
];

const NESTED: &[&str] = &[
    "[]",
    "{}",
    "[1,\"a\",null,[{}]]",
    "{\"product_id\":\"inner\",\"b\":[true,{\"c\":-1.5e3}]}",
    "[1,]",
    "{\"a\"}",
    "[}",
    "{\"a\":1,}",
    "[1 2]",
];

/// Whitespace as JSON allows it, mostly none.
fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![9 => Just(""), 1 => select(&[" ", "\n", "\t\r ", "  "][..])]
}

/// A value; `wild` ones need not suit any field or even be JSON.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => select(SCALARS).prop_map(String::from),
        1 => select(NESTED).prop_map(String::from),
        2 => any::<i64>().prop_map(|number| number.to_string()),
        1 => any::<f64>().prop_map(|number| format!("{number:e}")),
        3 => "[ -~]{0,40}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        1 => any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
    ]
}

/// A value that suits the field, so that most records get past the first judgements.
fn suitable(name: &'static str) -> BoxedStrategy<String> {
    let among = |values: &'static [&'static str]| select(values).prop_map(String::from).boxed();
    match name {
        "timestamp" => prop_oneof![
            (1_699_999_900_000u64..1_700_000_400_000).prop_map(|millis| millis.to_string()),
            among(&["\"1700000000000\"", "\"2023-11-14T22:13:20.123Z\"", "1.7e12", "null"]),
        ]
        .boxed(),
        "quantity" => (1u32..2_000_000).prop_map(|n| n.to_string()).boxed(),
        "price_minor" | "priceMinor" => {
            (0u64..2_000_000_000_000).prop_map(|n| n.to_string()).boxed()
        }
        "currency" => among(&["\"EUR\"", "\"eur\"", "\"usd\"", "\"GBP\"", "\"x9\""]),
        "action" => among(&["\"add\"", "\"remove\"", "null"]),
        "status" => among(&["\"PENDING\"", "\"CANCELLED\"", "\"DELIVER\\u0045D\""]),
        _ => prop_oneof![
            "[a-z0-9-]{1,34}".prop_map(|id| format!("\"{id}\"")),
            "[a-z]{1,9}\\\\u00[4-6][1-9a-f][a-z]{0,9}".prop_map(|id| format!("\"{id}\"")),
            any::<u32>().prop_map(|id| id.to_string()),
        ]
        .boxed(),
    }
}

fn object(depth: u32, wild: bool) -> BoxedStrategy<String> {
    let member = select(NAMES).prop_flat_map(move |name| {
        let value = match (name, depth, wild) {
            ("items" | "\\u0069tems", 0, _) => prop_oneof![
                5 => items(wild),
                1 => value(),
            ]
            .boxed(),
            (_, _, true) => prop_oneof![3 => suitable(name), 2 => value()].boxed(),
            _ => suitable(name),
        };
        (space(), space(), value, space())
            .prop_map(move |(a, b, value, c)| format!("{a}\"{name}\"{b}:{c}{value}{c}"))
    });
    (space(), prop::collection::vec(member, 0..12))
        .prop_map(|(space, members)| format!("{{{space}{}}}", members.join(",")))
        .boxed()
}

fn items(wild: bool) -> BoxedStrategy<String> {
    let element = if wild {
        prop_oneof![8 => object(1, wild), 1 => value()].boxed()
    } else {
        object(1, wild)
    };
    prop::collection::vec(element, 0..5).prop_map(|items| format!("[{}]", items.join(" ,"))).boxed()
}

/// Damage at the level of bytes.
#[derive(Clone, Debug)]
enum Damage {
    None,
    Cut(prop::sample::Index),
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Prefix,
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    let byte = || prop_oneof![select(&b"\"\\{}[]:,0-.eE \x00\x1f\xff\xc2\x80"[..]), any::<u8>()];
    prop_oneof![
        6 => Just(Damage::None),
        1 => at().prop_map(Damage::Cut),
        1 => (at(), byte()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        1 => (at(), byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        1 => at().prop_map(Damage::Remove),
        1 => Just(Damage::Prefix),
    ]
}

fn damaged(text: String, damage: &Damage) -> Vec<u8> {
    let mut bytes = text.into_bytes();
    match damage {
        Damage::None => {}
        Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Damage::Replace(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Damage::Insert(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
        Damage::Remove(at) => {
            bytes.remove(at.index(bytes.len()));
        }
        Damage::Prefix => bytes.splice(0..0, [0, 1, 2, 3, 4]).for_each(drop),
    }
    bytes
}

fn kafka_time() -> impl Strategy<Value = Option<EventTime>> {
    prop_oneof![2 => Just(None), 6 => Just(Some(1_700_000_000_000)), 1 => Just(Some(-1))]
        .prop_map(|millis| millis.map(EventTime::from_millis))
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 256, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn of_events_that_are_mostly_valid(
        kind in select(&Kind::ALL[..]),
        text in object(0, false),
        kafka_time in kafka_time(),
    ) {
        agree(kind, text.as_bytes(), kafka_time);
    }

    #[test]
    fn of_wild_and_damaged_events(
        kind in select(&Kind::ALL[..]),
        text in object(0, true),
        damage in damage(),
        kafka_time in kafka_time(),
    ) {
        agree(kind, &damaged(text, &damage), kafka_time);
    }

    #[test]
    fn of_any_single_value(text in prop_oneof![value(), items(true)], damage in damage()) {
        agree(Kind::Click, &damaged(text.clone() + " ", &damage), None);
        agree(Kind::Click, format!("{{\"x\":{text}}}").as_bytes(), None);
    }

    #[test]
    fn of_any_bytes(bytes in any::<Vec<u8>>()) {
        agree(Kind::Purchase, &bytes, None);
    }
}

/// Every string of a few characters that matter to the grammar.
#[test]
fn of_all_short_texts() {
    let alphabet = b"{}[]\",:\\ 01-.eu";
    let mut texts: Vec<Vec<u8>> = vec![vec![]];
    for _ in 0..4 {
        texts = texts
            .iter()
            .flat_map(|text| alphabet.iter().map(|byte| [text, &[*byte][..]].concat()))
            .collect();
        for text in &texts {
            agree(Kind::Click, text, None);
            agree(Kind::Click, &[b"{\"user_id\":", &text[..], b"}"].concat(), None);
        }
    }
}

/// The generators are worth something only if they reach all verdicts.
#[test]
fn the_generators_reach_events_of_every_kind_and_most_reasons() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    for wild in [false, true] {
        let strategy = (select(&Kind::ALL[..]), object(0, wild), damage(), kafka_time());
        for _ in 0..3000 {
            let (kind, text, damage, kafka_time) =
                strategy.new_tree(&mut runner).unwrap().current();
            let name = match agree(kind, &damaged(text, &damage), kafka_time) {
                Verdict::Event { .. } => kind.name(),
                Verdict::Malformed(reason) => reason.name(),
                Verdict::Future { .. } => "future",
                Verdict::Tombstone => "tombstone",
            };
            *seen.entry(name.to_owned()).or_default() += 1;
        }
    }
    let missing: Vec<_> = nazar::pipeline::decode::Malformed::ALL
        .map(|reason| reason.name())
        .into_iter()
        .chain(Kind::ALL.map(Kind::name))
        .chain(["future"])
        .filter(|name| !seen.contains_key(*name))
        .collect();
    // Sizes are the corpus test's task; what is no object comes from the other properties.
    let elsewhere = ["record_too_large", "too_deep", "not_an_object", "too_many_items"];
    assert_eq!(missing, elsewhere, "{seen:#?}");
}
