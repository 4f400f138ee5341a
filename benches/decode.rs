//! What one record costs to decode, beside what other ways of reading the same JSON cost.
//!
//! `decode/*` is the whole decoder: UTF-8, JSON grammar, names from configuration, limits, and
//! the event. `peers/*` read the click of `decode/click` and judge nothing: the structs have
//! compile-time names and would still have to be checked. Payloads are warm in the cache.
//! Records come in one fixed order of fields, which the decoder expects and profits from;
//! `shuffled click` is the other extreme, an order of its own for every record.
//!
//! Release profile, a virtual machine of two busy cores (AMD EPYC), the best of 1500 passes
//! over the 1024 records (a mean over passes mostly measures the neighbours). The ratios
//! count, not the figures.
//!
//! | what | bytes | ns per record | million per second and core |
//! |---|---|---|---|
//! | click | 188 | 131 | 7.6 |
//! | purchase | 256 | 195 | 5.1 |
//! | purchase with three items | 289 | 294 | 3.4 |
//! | click with spaces and foreign fields | 316 | 234 | 4.3 |
//! | click, fields shuffled | 188 | 225 | 4.4 |
//! | click with accents and escapes | 201 | 184 | 5.4 |
//! | sonic-rs, borrowed struct | 188 | 172 | 5.8 |
//! | sonic-rs, lazy members | 188 | 200 | 5.0 |
//! | serde_json, borrowed struct | 188 | 255 | 3.9 |
//! | serde_json, `Value` | 188 | 482 | 2.1 |
//! | `str::from_utf8` alone | 188 | 11 | 90 |
//!
//! What the click cost on the way, in ns: 226 with a hash look-up per name; 204 with names
//! expected in their usual order and control characters judged by the scan; 180 with lines
//! filled in place; 153 with a noted value in one word, not three (partial stores read as a
//! whole stall); 137 with the judging of ids inlined.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nazar::event::Kind;
use nazar::pipeline::decode::Decoded;
use nazar::time::EventTime;
use serde::Deserialize;

#[path = "../tests/decode_reference/mod.rs"]
mod decode_reference;

/// Enough records that branch predictors and caches see variety, few enough to stay in L2.
const RECORDS: u64 = 1024;
const NOW_MILLIS: u64 = 1_700_000_000_000;

/// What a storefront publishes: compact, fields in one order, ids of plausible length.
fn click(n: u64) -> String {
    let mix = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!(
        r#"{{"event_id":"{:016x}","timestamp":{},"user_id":"user-{}","session_id":"s-{:x}","product_id":"product-{}","category":"category-{}","seller_id":"seller-{}"}}"#,
        mix,
        NOW_MILLIS + n,
        mix % 1_000_000,
        mix >> 24,
        mix % 100_000,
        mix % 40,
        mix % 3000,
    )
}

fn purchase(n: u64) -> String {
    let head = click(n);
    let head = &head[..head.len() - 1];
    format!(
        r#"{head},"order_id":"o-{n}","quantity":{},"price_minor":{},"currency":"EUR"}}"#,
        n % 5 + 1,
        n * 17
    )
}

fn basket(n: u64) -> String {
    let item = |i: u64| {
        let product = n * 7 + i;
        format!(
            r#"{{"product_id":"product-{product}","quantity":{},"price_minor":{}}}"#,
            i + 1,
            n * 13
        )
    };
    format!(
        r#"{{"event_id":"e-{n}","timestamp":{},"user_id":{n},"order_id":"o-{n}","category":"c","items":[{},{},{}]}}"#,
        NOW_MILLIS + n,
        item(0),
        item(1),
        item(2),
    )
}

/// A click as scripting languages print it, with fields that nobody reads.
fn spaced(n: u64) -> String {
    let head = click(n).replace(':', ": ").replace(',', ", ");
    let head = &head[..head.len() - 1];
    format!(
        r#"{head}, "page": {{"url": "https://shop.example/p/{n}", "tags": ["a", "b"], "depth": 3.5}}, "referrer": null, "mobile": true}}"#
    )
}

/// Fields in an order of its own for every record.
fn shuffled(n: u64) -> String {
    let click = click(n);
    let mut members: Vec<&str> = click[1..click.len() - 1].split(',').collect();
    let mut state = n;
    for last in (1..members.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        members.swap(last, (state >> 33) as usize % (last + 1));
    }
    format!("{{{}}}", members.join(","))
}

/// An accented category and an escaped name.
fn accented(n: u64) -> String {
    click(n)
        .replace("category-", "d\u{e9}cor \\u00e9t\\u00e9 \\\"")
        .replace("seller-", "caf\u{e9} ")
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Borrowed<'a> {
    event_id: Option<&'a str>,
    timestamp: Option<i64>,
    user_id: Option<&'a str>,
    session_id: Option<&'a str>,
    product_id: Option<&'a str>,
    category: Option<&'a str>,
    seller_id: Option<&'a str>,
}

fn run(c: &mut Criterion, group: &str, name: &str, records: &[String], mut one: impl FnMut(&[u8])) {
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function(name, |b| {
        b.iter(|| records.iter().for_each(|record| one(black_box(record.as_bytes()))))
    });
    group.finish();
}

fn decode(c: &mut Criterion) {
    type Make = fn(u64) -> String;
    let cases: [(&str, Kind, Make); 6] = [
        ("click", Kind::Click, click),
        ("purchase", Kind::Purchase, purchase),
        ("basket of 3", Kind::Purchase, basket),
        ("spaced click", Kind::Click, spaced),
        ("shuffled click", Kind::Click, shuffled),
        ("accented click", Kind::Click, accented),
    ];
    let mut decoder = decode_reference::decoder();
    let kafka_time = Some(EventTime::from_millis(NOW_MILLIS as i64));
    for (name, kind, make) in cases {
        let records: Vec<String> = (0..RECORDS).map(make).collect();
        let bytes: usize = records.iter().map(String::len).sum();
        run(c, "decode", &format!("{name}, {} bytes", bytes / records.len()), &records, |record| {
            decoder.decode(kind, Some(record), kafka_time, |decoded| {
                assert!(matches!(black_box(decoded), Decoded::Event(_)));
            });
        });
    }
}

/// Peers read a click into a struct with compile-time names and judge nothing.
fn peers(c: &mut Criterion) {
    let records: Vec<String> = (0..RECORDS).map(click).collect();
    run(c, "peers", "std from_utf8 alone", &records, |record| {
        black_box(std::str::from_utf8(record).is_ok());
    });
    run(c, "peers", "serde_json borrowed struct", &records, |record| {
        black_box(serde_json::from_slice::<Borrowed<'_>>(record).unwrap());
    });
    run(c, "peers", "sonic-rs borrowed struct", &records, |record| {
        black_box(sonic_rs::from_slice::<Borrowed<'_>>(record).unwrap());
    });
    run(c, "peers", "sonic-rs lazy members, names and values unused", &records, |record| {
        for member in sonic_rs::to_object_iter(record) {
            black_box(member.unwrap());
        }
    });
    run(c, "peers", "serde_json Value", &records, |record| {
        black_box(serde_json::from_slice::<serde_json::Value>(record).unwrap());
    });
}

criterion_group!(benches, decode, peers);
criterion_main!(benches);
