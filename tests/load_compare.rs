//! The comparison: a faithful picture of Redis has no difference, and each way in which it
//! can be wrong is found and named.

use std::collections::{BTreeMap, HashMap};

use nazar::load::closed::{Closing, compare_closed_windows, due};
use nazar::load::compare::Differences;
use nazar::load::kafka::LogRecord;
use nazar::load::kind::Kind;
use nazar::load::latest::{Judged, compare_latest};
use nazar::load::ledger::Counts;
use nazar::load::observed::{Fields, Keys, LatestSnapshot, Observed, Rows, Views};
use nazar::load::oracle::definitions::Definitions;
use nazar::load::oracle::facts::Facts;
use nazar::load::oracle::judge::{Judge, Verdict};
use nazar::load::oracle::registers::{Registers, mark};
use nazar::load::oracle::window::{Counter, SketchOf, Truth, demanded_ends};
use nazar::load::reconcile::{TopicRead, with_broker, with_daemon};
use nazar::load::report::WindowsReport;

const T0_MS: i64 = 1_785_000_000_000;

fn definitions() -> Definitions {
    Definitions::parse(
        r#"{"topics": {"click": "click"},
            "windows": [{"label": "1m", "size_ms": 60000, "slide_ms": 10000, "closed_step_ms": 60000}],
            "dimensions": [{"name": "product", "field": "product_id"},
                           {"name": "category", "field": "category", "uniques": true}],
            "boards": [{"dimension": "product", "metric": "clicks", "top": 2},
                       {"dimension": "category", "metric": "clicks", "top": 9}],
            "lateness_ms": 10000, "max_future_ms": 600000, "base_pane_ms": 10000,
            "currency": "EUR", "deduplicate": false}"#,
    )
    .unwrap()
}

/// Clicks (second, product, user) in one partition.
fn facts(definitions: &Definitions) -> Facts {
    let clicks = [
        (1, "a", "u"),
        (2, "a", "v"),
        (3, "b", "u"),
        (4, "c", "w"),
        (70, "d", "u"),
        (400, "a", "u"),
    ];
    let mut facts = Facts::new(definitions);
    facts.add_partition("click", 0);
    let mut judge = Judge::new(definitions, Kind::Click);
    for (offset, (second, product, user)) in (0..).zip(clicks) {
        let time = T0_MS + second * 1000;
        let json = format!(
            r#"{{"timestamp":{time},"product_id":"{product}","category":"R&D","user_id":"{user}"}}"#
        );
        let payload = Some(json.as_bytes());
        let verdict = judge.judge(&LogRecord { offset, kafka_time_ms: Some(time), payload });
        let Verdict::Applied(valid) = verdict else { panic!("{verdict:?}") };
        facts.note_newest(0, offset, judge.newest());
        facts.push(0, offset, &valid);
    }
    facts.sort();
    facts
}

/// Redis as it should be, written down in memory.
#[derive(Clone, Default)]
struct Picture {
    histories: HashMap<String, BTreeMap<i64, Fields>>,
    hashes: HashMap<String, Fields>,
    boards: HashMap<String, Rows>,
    values: HashMap<String, Vec<u8>>,
}

impl Observed for Picture {
    fn history(&mut self, key: &str) -> anyhow::Result<BTreeMap<i64, Fields>> {
        Ok(self.histories.get(key).cloned().unwrap_or_default())
    }

    fn hash(&mut self, key: &str) -> anyhow::Result<Fields> {
        Ok(self.hashes.get(key).cloned().unwrap_or_default())
    }

    fn views(&mut self, boards: &[String], values: &[String]) -> anyhow::Result<Views> {
        let rows = boards.iter().map(|key| self.boards.get(key).cloned().unwrap_or_default());
        let bytes = values.iter().map(|key| self.values.get(key).cloned());
        Ok((rows.collect(), bytes.collect()))
    }

    fn keys(&mut self, beginning: &str) -> anyhow::Result<Vec<String>> {
        let all = self.boards.keys().chain(self.values.keys());
        Ok(all.filter(|key| key.starts_with(beginning)).cloned().collect())
    }
}

fn keys() -> Keys {
    Keys { prefix: "nazar".into() }
}

fn rows(board: &[(String, u64)]) -> Rows {
    board.iter().map(|(member, score)| (member.clone(), *score as f64)).collect()
}

/// Dense registers of these users, written bit by bit.
fn hll(users: &[&str]) -> Vec<u8> {
    let mut value = b"HYLL\0\0\0\0".to_vec();
    let mut registers = Registers::default();
    let mut ranks = [0u8; 16384];
    for user in users {
        let mark = mark(user.as_bytes());
        registers.add(mark);
        ranks[mark.register as usize] = ranks[mark.register as usize].max(mark.rank);
    }
    value.extend(registers.estimate().to_le_bytes());
    value.resize(16 + 12288, 0);
    for (at, rank) in ranks.iter().enumerate() {
        for bit in 0..6 {
            let place = at * 6 + bit;
            value[16 + place / 8] |= (rank >> bit & 1) << (place % 8);
        }
    }
    value
}

fn fields(truth: &Truth) -> Fields {
    let mut fields: Fields =
        truth.fields().into_iter().map(|(name, value)| (name, value.to_string())).collect();
    fields.insert("window_start".into(), truth.start_ms.to_string());
    fields.insert("window_end".into(), truth.end_ms.to_string());
    fields
}

fn users_until(end_ms: i64) -> &'static [&'static str] {
    if end_ms == T0_MS + 60_000 { &["u", "v", "w"] } else { &["u"] }
}

fn picture(definitions: &Definitions, facts: &Facts) -> Picture {
    let mut picture = Picture::default();
    let window = &definitions.windows[0];
    let mut counter = Counter::new(definitions, facts);
    for end in demanded_ends(window, facts) {
        let truth = counter.count(window, end, |_| true);
        let mut entry = fields(&truth);
        for (name, value) in [("proven", "1"), ("quiet", "0"), ("complete", "1")] {
            entry.insert(name.into(), value.into());
        }
        picture.histories.entry(keys().history("1m")).or_default().insert(end, entry);
        for (board, definition) in truth.boards.iter().zip(&definitions.boards) {
            let key = keys().top(&definition.dimension, definition.metric, "1m", Some(end));
            picture.boards.insert(key, rows(board));
        }
        for of in truth.sketches.keys() {
            let key = keys().uniques(definitions, of, "1m", Some(end));
            picture.values.insert(key, hll(users_until(end)));
        }
    }
    picture.hashes.insert(keys().meta(), Fields::from([("ended".into(), "1".into())]));
    picture
}

fn compare(picture: &Picture) -> (WindowsReport, Differences, Vec<String>) {
    let definitions = definitions();
    let facts = facts(&definitions);
    let (mut differences, mut notes) = (Differences::default(), Vec::new());
    let report = compare_closed_windows(
        &definitions,
        &keys(),
        &facts,
        &mut picture.clone(),
        &mut differences,
        &mut notes,
    );
    (report.unwrap(), differences, notes)
}

#[test]
fn a_faithful_picture_has_no_difference() {
    let definitions = definitions();
    let picture = picture(&definitions, &facts(&definitions));
    let (report, differences, notes) = compare(&picture);
    assert_eq!(differences, Differences::default());
    assert_eq!(report.demanded, report.found);
    // Three windows with a board of products and one of categories each; 2 + 1 + 1 products
    // (cut at two) and a category each; per window a sketch of all clicks and of one category.
    let tally = report.demanded;
    assert_eq!((tally.windows, tally.boards, tally.members, tally.sketches), (3, 6, 7, 6));
    assert!(notes.is_empty(), "{notes:?}");
}

/// Changes the picture and expects exactly one difference, which names what was changed.
fn caught(change: impl FnOnce(&mut Picture), expected: &str) {
    let definitions = definitions();
    let mut picture = picture(&definitions, &facts(&definitions));
    change(&mut picture);
    let (_, differences, _) = compare(&picture);
    let found: Vec<String> = differences.first.iter().map(ToString::to_string).collect();
    assert_eq!(found, [expected]);
}

const FIRST: &str = "{nazar}:closed:top:product:clicks:1m:1785000060000";
const USERS: &str = "{nazar}:closed:uniques:click:category:R%26D:1m:1785000060000";

fn entry(picture: &mut Picture, minute: i64) -> &mut Fields {
    let history = picture.histories.get_mut("{nazar}:history:1m").unwrap();
    history.get_mut(&(T0_MS + minute * 60_000)).unwrap()
}

#[test]
fn a_wrong_score_is_named() {
    caught(
        |picture| picture.boards.get_mut(FIRST).unwrap()[0].1 += 1.0,
        &format!("{FIRST} a: expected 2, found 3"),
    );
}

#[test]
fn a_missing_member_is_named() {
    caught(
        |picture| _ = picture.boards.get_mut(FIRST).unwrap().pop(),
        &format!("{FIRST} c: expected 1, found nothing"),
    );
}

#[test]
fn a_member_beyond_the_cut_is_named() {
    caught(
        |picture| picture.boards.get_mut(FIRST).unwrap().push(("b".into(), 1.0)),
        &format!("{FIRST} b: expected nothing, found 1"),
    );
}

#[test]
fn a_missing_board_is_named() {
    caught(
        |picture| _ = picture.boards.remove(FIRST),
        &format!("{FIRST}: expected a board of 2 members, found no such key"),
    );
}

#[test]
fn a_surplus_board_is_named() {
    let key = "{nazar}:closed:top:product:clicks:1m:1785000240000";
    caught(
        |picture| _ = picture.boards.insert(key.into(), vec![("a".into(), 1.0)]),
        &format!("{key}: expected no such key, for its window has no such content, found a key"),
    );
}

#[test]
fn a_wrong_register_is_named() {
    let mark = mark(b"x");
    caught(
        |picture| _ = picture.values.insert(USERS.into(), hll(&["u", "v", "w", "x"])),
        &format!("{USERS} register {}: expected 0, found {}", mark.register, mark.rank),
    );
}

#[test]
fn a_wrong_cached_cardinality_is_named() {
    caught(
        |picture| picture.values.get_mut(USERS).unwrap()[8] = 7,
        &format!("{USERS} cached cardinality: expected 3, found 7"),
    );
}

#[test]
fn a_broken_sketch_is_named() {
    caught(
        |picture| picture.values.get_mut(USERS).unwrap().truncate(99),
        &format!("{USERS}: expected a HyperLogLog, found a dense value of the wrong length"),
    );
}

#[test]
fn a_missing_sketch_is_named() {
    caught(
        |picture| _ = picture.values.remove(USERS),
        &format!("{USERS}: expected 3 registers set, about 3 users, found no such key"),
    );
}

#[test]
fn a_missing_window_is_named() {
    caught(
        |picture| _ = picture.histories.values_mut().next().unwrap().remove(&(T0_MS + 60_000)),
        "{nazar}:history:1m 1785000060000-0: expected an entry with 4 events, found no such entry",
    );
}

#[test]
fn a_wrong_or_missing_total_is_named() {
    caught(
        |picture| _ = entry(picture, 1).insert("clicks".into(), "5".into()),
        "{nazar}:history:1m 1785000060000-0 clicks: expected 4, found 5",
    );
    caught(
        |picture| _ = entry(picture, 1).remove("uniques"),
        "{nazar}:history:1m 1785000060000-0 uniques: expected 3, found nothing",
    );
    caught(
        |picture| _ = entry(picture, 1).remove("conversion"),
        "{nazar}:history:1m 1785000060000-0 conversion: expected 0, found nothing",
    );
    caught(
        |picture| _ = entry(picture, 1).insert("revenue_minor.USD".into(), "5".into()),
        "{nazar}:history:1m 1785000060000-0 revenue_minor.USD: expected nothing, found 5",
    );
    caught(
        |picture| _ = entry(picture, 1).insert("window_start".into(), "5".into()),
        "{nazar}:history:1m 1785000060000-0 window_start: expected 1785000000000, found 5",
    );
}

#[test]
fn a_total_of_zero_may_be_left_out() {
    let definitions = definitions();
    let mut picture = picture(&definitions, &facts(&definitions));
    entry(&mut picture, 1).remove("orders");
    assert_eq!(compare(&picture).1.count, 0);
}

fn empty_entry(picture: &mut Picture, minute: i64, events: &str) {
    let entry = Fields::from([("events".into(), events.into())]);
    let history = picture.histories.values_mut().next().unwrap();
    history.insert(T0_MS + minute * 60_000, entry);
}

#[test]
fn one_empty_window_may_follow_a_full_one_and_no_other() {
    // Windows end with content at minutes 1, 2 and 7.
    let definitions = definitions();
    let mut picture = picture(&definitions, &facts(&definitions));
    empty_entry(&mut picture, 3, "0");
    empty_entry(&mut picture, 8, "0");
    assert_eq!(compare(&picture).1.count, 0);
    caught(
        |picture| empty_entry(picture, 4, "0"),
        "{nazar}:history:1m 1785000240000-0: expected no entry, for the window before it is empty as well, found an entry",
    );
    caught(
        |picture| empty_entry(picture, 3, "2"),
        "{nazar}:history:1m 1785000180000-0 events: expected no entry, for the window is empty, found 2",
    );
}

#[test]
fn without_a_bounded_run_only_what_must_be_closed_is_demanded() {
    let definitions = definitions();
    let mut picture = picture(&definitions, &facts(&definitions));
    // The watermark stands at 390 s, so the last window, which ends at 420 s, may be open.
    picture.hashes.clear();
    picture.histories.values_mut().next().unwrap().remove(&(T0_MS + 420_000));
    picture.boards.retain(|key, _| !key.ends_with(":1785000420000"));
    picture.values.retain(|key, _| !key.ends_with(":1785000420000"));
    let (report, differences, notes) = compare(&picture);
    assert_eq!((report.demanded.windows, differences.count), (2, 0));
    assert!(notes[0].contains("no bounded run"));
    // Views of a window that closes while we look: they come before its entry, and after meta was read.
    let mut meanwhile = picture.clone();
    let last = FIRST.replace(":1785000060000", ":1785000420000");
    meanwhile.boards.insert(last, vec![("a".into(), 1.0)]);
    assert_eq!(compare(&meanwhile).1, Differences::default());
    // But closing nothing is no excuse.
    picture.histories.clear();
    assert_eq!(compare(&picture).1.count, 2);
    // And if it says that it has closed the last, it is held to it.
    let stated = Fields::from([("closed_through:1m".into(), (T0_MS + 420_000).to_string())]);
    picture.hashes.insert(keys().meta(), stated);
    assert_eq!(compare(&picture).0.demanded.windows, 3);
}

#[test]
fn a_window_is_waited_for_once_it_is_due() {
    let definitions = definitions();
    let due = due(&definitions, &facts(&definitions));
    // At 390 s the windows that end at 60 s and 120 s are due; up to 360 s nothing follows.
    assert_eq!(due, BTreeMap::from([("1m".to_owned(), T0_MS + 120_000)]));
    let is_behind = |field: &str, value: i64| {
        let meta = Fields::from([(field.to_owned(), value.to_string())]);
        Closing::from_meta(&meta).behind(&due) == ["1m"]
    };
    assert!(is_behind("group_watermark", T0_MS + 390_000), "nothing is closed yet");
    assert!(is_behind("closed_through:1m", T0_MS + 60_000));
    assert!(!is_behind("closed_through:1m", T0_MS + 120_000));
    assert!(!is_behind("ended", 1));
}

#[test]
fn after_close_only_proven_windows_are_judged() {
    let definitions = definitions();
    let mut picture = picture(&definitions, &facts(&definitions));
    entry(&mut picture, 1).extend(
        [("clicks", "9"), ("quiet", "1"), ("proven", "0")].map(|(a, b)| (a.into(), b.into())),
    );
    // Without events after close, a quiet closing is no excuse.
    assert_eq!(compare(&picture).1.count, 1);
    let meta = picture.hashes.get_mut("{nazar}:meta").unwrap();
    meta.insert("events_after_close".into(), "5".into());
    let (report, differences, notes) = compare(&picture);
    assert_eq!((report.not_judged, differences.count), (1, 0));
    assert!(notes.iter().any(|note| note.contains("5 events arrived after")), "{notes:?}");
}

#[test]
fn after_close_a_window_may_be_missing_behind_an_empty_one_that_was_quiet() {
    // The window at minute 7 came when minutes 3 and later had been closed, empty, one by one.
    let definitions = definitions();
    let mut picture = picture(&definitions, &facts(&definitions));
    let end = T0_MS + 420_000;
    picture.histories.values_mut().next().unwrap().remove(&end);
    picture.boards.retain(|key, _| !key.ends_with(&end.to_string()));
    picture.values.retain(|key, _| !key.ends_with(&end.to_string()));
    let meta = picture.hashes.get_mut("{nazar}:meta").unwrap();
    meta.insert("events_after_close".into(), "1".into());
    assert_eq!(compare(&picture).1.first[0].found, "no such entry", "minute 2 was not empty");
    empty_entry(&mut picture, 3, "0");
    assert_eq!(compare(&picture).1.first[0].found, "no such entry", "minute 3 was proven");
    entry(&mut picture, 3).insert("quiet".into(), "1".into());
    let (report, differences, _) = compare(&picture);
    assert_eq!((report.not_judged, differences), (1, Differences::default()));
}

#[test]
fn trimmed_boards_are_not_demanded() {
    let mut definitions = definitions();
    let facts = facts(&definitions);
    let mut picture = picture(&definitions, &facts);
    definitions.limits.closed_keep = 1;
    picture.boards.retain(|key, _| key.ends_with(":1785000420000"));
    picture.values.retain(|key, _| key.ends_with(":1785000420000"));
    let mut differences = Differences::default();
    let report = compare_closed_windows(
        &definitions,
        &keys(),
        &facts,
        &mut picture,
        &mut differences,
        &mut Vec::new(),
    );
    let demanded = report.unwrap().demanded;
    assert_eq!((differences.count, demanded.windows, demanded.boards), (0, 3, 2));
}

/// The latest window after the first three records, as it should be.
fn snapshot(definitions: &Definitions, facts: &Facts) -> LatestSnapshot {
    let end = T0_MS + 10_000;
    let window = &definitions.windows[0];
    let truth = Counter::new(definitions, facts).count(window, end, |fact| fact.offset < 3);
    let meta = [
        ("offsets:1m", "click/0=3".to_owned()),
        ("stream_time:1m", (T0_MS + 3_000).to_string()),
        ("window_end:1m", end.to_string()),
    ];
    let boards = definitions.boards.iter().zip(&truth.boards);
    let wishlist = SketchOf { kind: Kind::Wishlist, entity: None };
    LatestSnapshot {
        window: "1m".into(),
        meta: meta.map(|(name, value)| (name.into(), value)).into(),
        totals: fields(&truth),
        boards: boards
            .map(|(board, truth)| {
                (keys().top(&board.dimension, board.metric, "1m", None), rows(truth))
            })
            .collect(),
        values: truth
            .sketches
            .keys()
            .map(|of| (keys().uniques(definitions, of, "1m", None), Some(hll(&["u", "v"]))))
            .chain([(keys().uniques(definitions, &wishlist, "1m", None), None)])
            .collect(),
    }
}

fn latest(change: impl FnOnce(&mut LatestSnapshot)) -> (Judged, Vec<String>) {
    let definitions = definitions();
    let facts = facts(&definitions);
    let mut snapshot = snapshot(&definitions, &facts);
    change(&mut snapshot);
    let mut differences = Differences::default();
    let mut counter = Counter::new(&definitions, &facts);
    let judged =
        compare_latest(&definitions, &keys(), &facts, &mut counter, &snapshot, &mut differences);
    (judged, differences.first.iter().map(ToString::to_string).collect())
}

#[test]
fn a_sample_is_held_to_its_own_offsets() {
    let (judged, differences) = latest(|_| {});
    assert!(differences.is_empty(), "{differences:?}");
    assert!(
        matches!(judged, Judged::Compared { demanded, found } if demanded == found && demanded.members == 3)
    );

    let (_, differences) =
        latest(|sample| _ = sample.meta.insert("offsets:1m".into(), "click/0=2".into()));
    assert!(
        differences.iter().any(|d| d.contains("{nazar}:totals:1m clicks: expected 2, found 3"))
    );

    let (_, differences) = latest(|sample| {
        sample.meta.insert("window_end:1m".into(), (T0_MS + 20_000).to_string());
    });
    let expected = "{nazar}:meta window_end:1m: expected 1785000010000, found 1785000020000";
    assert!(differences.iter().any(|difference| difference == expected), "{differences:?}");

    let (_, differences) =
        latest(|sample| _ = sample.meta.insert("stream_time:1m".into(), T0_MS.to_string()));
    assert!(differences[0].contains("stream_time:1m: expected 1785000003000"), "{differences:?}");

    let (_, differences) = latest(|sample| {
        sample.values.insert("{nazar}:uniques:wishlist:1m".into(), Some(hll(&["u"])));
    });
    assert_eq!(differences.len(), 1);
    assert!(differences[0].starts_with("{nazar}:uniques:wishlist:1m: expected no such key"));

    let (judged, differences) = latest(|sample| sample.meta.clear());
    assert_eq!((judged, differences.len()), (Judged::NotPublished, 0));
}

#[test]
fn the_ledger_has_to_close() {
    let counts = Counts { applied: 5, late: 2, ..Counts::default() };
    let read = |offsets| [TopicRead { kind: Kind::Click, topic: "click".into(), offsets, counts }];
    let mut differences = Differences::default();
    with_broker(&read(7), &mut differences);
    assert_eq!(differences.count, 0);
    with_broker(&read(8), &mut differences);
    assert_eq!(
        differences.first[0].to_string(),
        "topic click records: expected 8 by the broker's offsets, found 7"
    );

    let ledger = r#""applied":5,"late":2,"duplicate":0,"malformed":0,"future":0,"tombstone":0"#;
    let daemon = |events: u64| {
        format!(r#"{{"events":{events},{ledger},"topics":{{"click":{{"events":7,{ledger}}}}}}}"#)
    };
    let mut differences = Differences::default();
    with_daemon(&daemon(7), &read(7), &mut differences).unwrap();
    assert_eq!(differences.count, 0);
    with_daemon(&daemon(6), &read(7), &mut differences).unwrap();
    assert_eq!(differences.first[0].to_string(), "daemon events: expected 7, found 6");
    let mut differences = Differences::default();
    with_daemon("{}", &read(7), &mut differences).unwrap();
    assert_eq!(differences.count, 7, "every missing figure is a difference");
}
