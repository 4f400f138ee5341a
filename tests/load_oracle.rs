//! The oracle against logs small enough to recount by hand.

use nazar::load::kafka::LogRecord;
use nazar::load::kind::{Kind, Reason};
use nazar::load::oracle::definitions::Definitions;
use nazar::load::oracle::facts::Facts;
use nazar::load::oracle::judge::{Judge, Verdict};
use nazar::load::oracle::registers::{Registers, mark};
use nazar::load::oracle::window::{Counter, SketchOf, Truth, demanded_ends};
use serde_json::json;

/// Times in these tests are seconds after this; it is a multiple of every step used.
const T0_MS: i64 = 1_785_000_000_000;

/// One window of 20 s that slides by 5 s and closes every 10 s; lateness 10 s, max_future 60 s.
fn definitions(deduplicate: bool) -> Definitions {
    let json = json!({
        "topics": {"click": "click", "wishlist": "wishlist", "purchase": "purchase", "order_status": "orders"},
        "windows": [{"label": "20s", "size_ms": 20_000, "slide_ms": 5_000, "closed_step_ms": 10_000}],
        "dimensions": [
            {"name": "product", "field": "product_id", "uniques": false},
            {"name": "category", "field": "category", "uniques": true},
        ],
        "boards": [
            {"dimension": "product", "metric": "clicks", "top": 2},
            {"dimension": "product", "metric": "orders", "top": 9},
            {"dimension": "product", "metric": "units", "top": 9},
            {"dimension": "category", "metric": "revenue_minor", "top": 9},
        ],
        "lateness_ms": 10_000, "max_future_ms": 60_000, "base_pane_ms": 5_000,
        "currency": "EUR", "deduplicate": deduplicate,
    });
    Definitions::parse(&json.to_string()).unwrap()
}

/// A partition's log in the making.
struct Log<'a> {
    judge: Judge<'a>,
    facts: Facts,
    reasons: Vec<Reason>,
}

impl<'a> Log<'a> {
    fn new(definitions: &'a Definitions, kind: Kind) -> Self {
        let mut facts = Facts::new(definitions);
        facts.add_partition("click", 0);
        Self { judge: Judge::new(definitions, kind), facts, reasons: Vec::new() }
    }

    fn read(&mut self, payload: Option<&[u8]>, kafka_time_ms: i64) {
        let offset = self.reasons.len() as i64;
        let record = LogRecord { offset, kafka_time_ms: Some(kafka_time_ms), payload };
        let verdict = self.judge.judge(&record);
        self.reasons.push(verdict.reason());
        self.facts.note_newest(0, offset, self.judge.newest());
        if let Verdict::Applied(valid) = verdict {
            self.facts.push(0, offset, &valid);
        }
    }

    /// An event at `second`, whose Kafka time is the same.
    fn event(&mut self, second: i64, mut event: serde_json::Value) {
        let time = T0_MS + second * 1000;
        event["timestamp"] = time.into();
        self.read(Some(event.to_string().as_bytes()), time);
    }

    fn click(&mut self, second: i64, product: &str, user: &str) {
        let event = json!({"product_id": product, "category": "toys", "user_id": user});
        self.event(second, event);
    }

    fn truth(mut self, definitions: &Definitions, end: i64) -> Truth {
        self.facts.sort();
        let window = &definitions.windows[0];
        Counter::new(definitions, &self.facts).count(window, T0_MS + end * 1000, |_| true)
    }
}

fn rows(board: &[(String, u64)]) -> Vec<(&str, u64)> {
    board.iter().map(|(member, score)| (member.as_str(), *score)).collect()
}

#[test]
fn every_record_has_one_fate_by_precedence() {
    let definitions = definitions(true);
    let mut log = Log::new(&definitions, Kind::Click);
    let event = |second: i64, id: &str| {
        json!({"timestamp": T0_MS + second * 1000, "event_id": id}).to_string()
    };
    let mut read = |text: &str| log.read(Some(text.as_bytes()), T0_MS + 40_000);

    //  panes of 5 s     C = 30 (newest 40 − 10)
    //  ┼────┼────┼────┼────┼────┼────┼────┼
    //  0    5    10   15   20   25   30   35   40
    //                       late ┘└ in time
    read(&event(40, "a"));
    read(&event(29, "b")); // its pane ended at 30 = C: late
    read(&event(30, "b")); // only seen in a late record: not a duplicate
    read(&event(40, "a")); // duplicate
    read(&event(29, "a")); // late goes before duplicate
    read(&event(101, "a")); // more than 60 s ahead of the Kafka time 40: future
    read("{\"event_id\":\"a\"");
    log.read(None, T0_MS);
    use Reason::*;
    assert_eq!(
        log.reasons,
        [Applied, Late, Applied, Duplicate, Late, Future, Malformed, Tombstone]
    );
}

#[test]
fn an_event_id_is_remembered_until_the_watermark_has_passed_its_last_pane() {
    let definitions = definitions(true);
    let mut log = Log::new(&definitions, Kind::Click);
    // Seen at 0 and 22 (in time): remembered until C reaches 25.
    for (second, id) in [(0, "x"), (22, "x"), (34, "y"), (26, "x"), (40, "z"), (41, "x")] {
        log.event(second, json!({"event_id": id}));
    }
    use Reason::*;
    // The second is a duplicate as well: C was −10 when it came, and its first pane ended at 5.
    // At the last, C = 30 has just reached the end of the pane of 26.
    assert_eq!(log.reasons, [Applied, Duplicate, Applied, Duplicate, Applied, Applied]);
}

#[test]
fn a_window_is_half_open_and_demanded_while_it_holds_a_record() {
    let definitions = definitions(false);
    let mut log = Log::new(&definitions, Kind::Click);
    //  click at 3          clicks at 30 and 59
    //  ┼─────────┼─────────┼─────────┼─────────┼─────────┼─────────┼─────────┤
    //  0    ●    10        20        30●       40        50      ● 60        70
    //  ends 10 20                      40 50            60 70
    for (second, product) in [(3, "a"), (30, "b"), (59, "c")] {
        log.click(second, product, "u");
    }
    log.facts.sort();
    let window = &definitions.windows[0];
    let ends: Vec<i64> =
        demanded_ends(window, &log.facts).iter().map(|end| (end - T0_MS) / 1000).collect();
    assert_eq!(ends, [10, 20, 40, 50, 60, 70]);
    let truth = log.truth(&definitions, 50);
    assert_eq!((truth.totals.clicks, rows(&truth.boards[0])), (1, vec![("b", 1)]));
}

#[test]
fn boards_are_cut_by_score_and_then_by_name_descending() {
    let definitions = definitions(false);
    let mut log = Log::new(&definitions, Kind::Click);
    for product in ["b", "a", "c", "c", "ä", "10", "9"] {
        log.click(1, product, "u");
    }
    // ä is 0xC3A4, above every ASCII letter.
    assert_eq!(rows(&log.truth(&definitions, 10).boards[0]), [("c", 2), ("ä", 1)]);
}

#[test]
fn an_order_counts_once_for_each_entity_it_touches() {
    let definitions = definitions(false);
    let mut log = Log::new(&definitions, Kind::Purchase);
    // Two lines of the same product; one line states its category, two inherit it.
    log.event(
        1,
        json!({"order_id": 1, "user_id": "u", "category": "toys", "product_id": "replaced", "items": [
            {"product_id": "p", "quantity": 2, "price_minor": 100},
            {"product_id": "p", "price_minor": 100},
            {"product_id": "q", "category": "books", "quantity": 3, "price_minor": 7},
        ]}),
    );
    // Another currency: an order with units, but no revenue on boards.
    log.event(
        2,
        json!({"product_id": "q", "category": "toys", "price_minor": 50, "currency": "usd"}),
    );
    assert_eq!(log.reasons, [Reason::Applied; 2]);
    let truth = log.truth(&definitions, 10);
    assert_eq!(rows(&truth.boards[1]), [("q", 2), ("p", 1)]);
    assert_eq!(rows(&truth.boards[2]), [("q", 4), ("p", 3)]);
    assert_eq!(rows(&truth.boards[3]), [("toys", 300), ("books", 21)]);
    let totals = &truth.totals;
    assert_eq!((totals.events, totals.orders, totals.units), (2, 2, 7));
    assert_eq!((totals.revenue_minor, totals.foreign_revenue_minor["USD"]), (321, 50));
    assert_eq!(truth.fields().get("conversion"), None, "no clicks, no conversion");
}

#[test]
fn removes_and_states_are_totals_only() {
    let definitions = definitions(false);
    let mut log = Log::new(&definitions, Kind::Wishlist);
    let wish = |action: &str| json!({"product_id": "p", "category": "toys", "user_id": "u", "action": action});
    log.event(1, wish("remove"));
    log.event(1, wish("toggle"));
    let truth = log.truth(&definitions, 10);
    assert_eq!(
        (truth.totals.events, truth.totals.wishlist_removes, truth.totals.wishlists),
        (1, 1, 0)
    );
    assert!(truth.sketches.is_empty() && truth.boards.iter().all(Vec::is_empty));

    let mut log = Log::new(&definitions, Kind::OrderStatus);
    log.event(1, json!({"order_id": "o", "user_id": "u", "status": "SHIPPED"}));
    log.event(1, json!({"order_id": "o", "status": "shipped"}));
    log.event(1, json!({"order_id": "o"}));
    use Reason::*;
    assert_eq!(log.reasons, [Applied, Malformed, Malformed]);
    let truth = log.truth(&definitions, 10);
    assert_eq!((truth.totals.order_status["SHIPPED"], truth.fields()["orders.SHIPPED"]), (1, 1));
    assert!(truth.sketches.is_empty());
}

#[test]
fn users_are_counted_by_kind_and_by_category() {
    let definitions = definitions(false);
    let mut log = Log::new(&definitions, Kind::Click);
    log.event(1, json!({"userId": 17, "category": "toys"}));
    log.event(2, json!({"user_id": "17", "category": "books"}));
    log.event(3, json!({"category": "books"}));
    let truth = log.truth(&definitions, 10);
    let mut one = Registers::default();
    one.add(mark(b"17"));
    let of = |entity: Option<&str>| {
        let entity = entity.map(|name| (1, name.to_owned()));
        truth.sketches.get(&SketchOf { kind: Kind::Click, entity })
    };
    // An integer is the same user as its decimal string; no user is nobody.
    assert_eq!([of(None), of(Some("toys")), of(Some("books"))], [Some(&one); 3]);
    assert_eq!(truth.sketches.len(), 3);
    assert_eq!(truth.fields()["uniques"], 1);
}

#[test]
fn a_sample_is_recounted_up_to_its_offsets() {
    let definitions = definitions(false);
    let mut log = Log::new(&definitions, Kind::Click);
    for (second, product) in [(1, "a"), (4, "b"), (2, "c"), (19, "d")] {
        log.click(second, product, "u");
    }
    let newest = |offset| log.facts.partitions[0].newest_before(offset);
    let times = [0, 1, 2, 3, 4].map(|at| newest(at).map(|time| (time - T0_MS) / 1000));
    assert_eq!(times, [None, Some(1), Some(4), Some(4), Some(19)]);
    log.facts.sort();
    let window = &definitions.windows[0];
    let truth =
        Counter::new(&definitions, &log.facts).count(window, T0_MS + 5_000, |f| f.offset < 2);
    assert_eq!(rows(&truth.boards[0]), [("b", 1), ("a", 1)]);
}

#[test]
fn a_counter_forgets_one_window_before_the_next() {
    let definitions = definitions(false);
    let mut log = Log::new(&definitions, Kind::Click);
    for second in [1, 2, 50] {
        log.click(second, if second < 10 { "early" } else { "late" }, "u");
    }
    log.facts.sort();
    let window = &definitions.windows[0];
    let mut counter = Counter::new(&definitions, &log.facts);
    let first = counter.count(window, T0_MS + 10_000, |_| true);
    let other = counter.count(window, T0_MS + 60_000, |_| true);
    assert_eq!(rows(&other.boards[0]), [("late", 1)]);
    assert_eq!(counter.count(window, T0_MS + 10_000, |_| true), first);
}

#[test]
fn values_are_read_by_the_rules_for_producers() {
    let definitions = definitions(false);
    let reason = |kind: Kind, event: serde_json::Value| {
        let mut log = Log::new(&definitions, kind);
        log.read(Some(event.to_string().as_bytes()), T0_MS);
        log.reasons[0]
    };
    let long = "x".repeat(257);
    use Kind::*;
    use Reason::*;
    for (kind, event, expected) in [
        (Click, json!({}), Applied),
        (Click, json!([]), Malformed),
        (Click, json!({"user_id": null, "product_id": -5}), Applied),
        (Click, json!({"user_id": 1.5}), Malformed),
        (Click, json!({"user_id": true}), Malformed),
        (Click, json!({"user_id": ""}), Malformed),
        (Click, json!({"user_id": long}), Malformed),
        (Click, json!({"user_id": &long[1..]}), Applied),
        (Click, json!({"user_id": "a\u{85}b"}), Malformed),
        (Click, json!({"product_id": "__other__"}), Malformed),
        (Click, json!({"session_id": []}), Malformed),
        (Click, json!({"timestamp": "2026-07-25T17:20:00Z"}), Applied),
        (Click, json!({"timestamp": "1785000000123"}), Applied),
        (Click, json!({"timestamp": 1_785_000_000}), Malformed),
        (Click, json!({"timestamp": "yesterday"}), Malformed),
        (Click, json!({"timestamp": T0_MS + 60_001}), Future),
        (Click, json!({"quantity": -1}), Applied),
        (Purchase, json!({"quantity": 0}), Malformed),
        (Purchase, json!({"quantity": 1_000_000, "price_minor": 0}), Applied),
        (Purchase, json!({"quantity": 1_000_001}), Malformed),
        (Purchase, json!({"quantity": 1.0}), Malformed),
        (Purchase, json!({"price_minor": -1}), Malformed),
        (Purchase, json!({"price_minor": 1_000_000_000_001u64}), Malformed),
        (Purchase, json!({"quantity": 1_000_000, "price_minor": 1_000_000_001u64}), Malformed),
        (Purchase, json!({"items": []}), Malformed),
        (Purchase, json!({"items": {}}), Malformed),
        (Purchase, json!({"items": [1]}), Malformed),
        (Purchase, json!({"items": [{"quantity": "2"}]}), Malformed),
        (Purchase, json!({"currency": "EURO€"}), Malformed),
    ] {
        assert_eq!(reason(kind, event.clone()), expected, "{event}");
    }
    let mut log = Log::new(&definitions, Click);
    log.read(Some(b"\0\0\0\0\x01{}"), T0_MS);
    assert_eq!(log.reasons, [Applied], "a schema registry's prefix is stripped");
}
