//! The list of what is measured.
//!
//! Every curve varies one thing and leaves the rest as it is in SB1, so its points can be compared
//! with each other and, where they share their log, with SB1 itself.

use crate::case::{Case, File, Point, Settings, Work};
use crate::log::Log;

/// The windows of the curve, in minutes, each with a slide of one.
const WINDOW_MINUTES: [u64; 5] = [1, 6, 60, 360, 1440];
const PRODUCTS: [u32; 5] = [1_000, 10_000, 100_000, 1_000_000, 10_000_000];
const PARTITIONS: [u32; 5] = [1, 4, 12, 32, 96];
const INSTANCES: [u32; 4] = [1, 2, 3, 4];
/// The logs of curves are so much shorter than the two large ones.
const CURVE_SHARE: u64 = 5;
/// Event time of SB1 goes so fast, and at least for so long.
const SB1_EVENTS_PER_SECOND: u64 = 10_000;
const SB1_SPAN_SECS_MIN: u64 = 180;

/// Every case, for large logs of so many events and so many rounds.
pub fn all(events: u64, runs: u32) -> Vec<Case> {
    let curve_events = (events / CURVE_SHARE).max(1);
    let curve_runs = runs.min(3);
    let mut cases = vec![sb1_case(events, runs), default_views(events, runs)];
    cases.extend(WINDOW_MINUTES.map(|minutes| window(minutes, curve_events, curve_runs)));
    cases.extend(PRODUCTS.map(|count| products(count, curve_events, curve_runs)));
    cases.extend(PARTITIONS.map(|count| partitions(count, curve_events, curve_runs)));
    for key in ["product", "user"] {
        cases.extend(INSTANCES.map(|count| instances(count, key, curve_events, curve_runs)));
    }
    cases.push(freshness());
    cases.push(memory(events));
    cases
}

fn sb1_case(events: u64, runs: u32) -> Case {
    Case {
        name: "sb1".into(),
        what: "one window of 60 s every 10 s; top 100 products, distinct users, counters".into(),
        point: None,
        log: sb1_log("sb1", events),
        settings: sb1_settings(),
        work: Work::Backlog { runs },
    }
}

fn sb1_log(name: &str, events: u64) -> Log {
    Log {
        name: name.into(),
        events,
        span_secs: (events / SB1_EVENTS_PER_SECOND).max(SB1_SPAN_SECS_MIN),
        partitions: 4,
        products: 200_000,
        categories: 48,
        users: 1_000_000,
        popularity: "zipf:0.99",
        key: "product",
        lateness: "5s",
        base_pane: "10s",
    }
}

fn sb1_settings() -> Settings {
    Settings { file: File::Path("bench/sb1.toml"), sets: Vec::new(), closed_keep: 0 }
}

fn default_settings(sets: Vec<(&'static str, String)>) -> Settings {
    Settings { file: File::Path("config/nazar.toml"), sets, closed_keep: 10 }
}

/// As config/nazar.toml has it: four windows, fifteen boards each, checkpoints.
fn default_views(events: u64, runs: u32) -> Case {
    Case {
        name: "default".into(),
        what: "the default views: four windows, boards of three dimensions, checkpoints".into(),
        point: None,
        log: Log {
            name: "default".into(),
            span_secs: 2 * 3600,
            partitions: 12,
            popularity: "storefront",
            lateness: "60s",
            base_pane: "1s",
            ..sb1_log("default", events)
        },
        settings: default_settings(Vec::new()),
        work: Work::Backlog { runs },
    }
}

/// The same log for all: two of the longest windows, every minute closed.
fn window(minutes: u64, events: u64, runs: u32) -> Case {
    let text = format!(
        "[time]\nlateness = \"5s\"\n\
         [[window]]\nsize = \"{minutes}m\"\nslide = \"1m\"\nclosed_step = \"1m\"\n\
         [[view]]\ndimension = \"product\"\nmetrics = [\"clicks\", \"wishlists\", \"orders\"]\ntop = 100\n\
         [uniques]\ndimensions = []\n\
         [redis]\nclosed_keep = 0\nhistory_keep = 0\n"
    );
    Case {
        name: format!("windows-{minutes:04}"),
        what: format!("a window of {minutes} slides, each a minute; two days of event time"),
        point: Some(Point { curve: "windows", x: minutes as f64 }),
        log: Log { span_secs: 49 * 3600, base_pane: "1m", ..sb1_log("windows", events) },
        settings: Settings { file: File::Text(text), sets: Vec::new(), closed_keep: 0 },
        work: Work::Backlog { runs },
    }
}

fn products(products: u32, events: u64, runs: u32) -> Case {
    let name = format!("products-{products:08}");
    let cap = u64::from(products) + 1;
    Case {
        what: format!("{products} products, all equally popular"),
        point: Some(Point { curve: "products", x: f64::from(products) }),
        log: Log { products, popularity: "zipf:0", ..sb1_log(&name, events) },
        settings: Settings {
            sets: vec![("limits.entities.product", cap.max(2_000_000).to_string())],
            ..sb1_settings()
        },
        work: Work::Backlog { runs },
        name,
    }
}

fn partitions(partitions: u32, events: u64, runs: u32) -> Case {
    let name = format!("partitions-{partitions:02}");
    Case {
        what: format!("three topics of {partitions} partitions"),
        point: Some(Point { curve: "partitions", x: f64::from(partitions) }),
        log: Log { partitions, ..sb1_log(&name, events) },
        settings: sb1_settings(),
        work: Work::Backlog { runs },
        name,
    }
}

fn instances(instances: u32, key: &'static str, events: u64, runs: u32) -> Case {
    let curve = if key == "user" { "instances-by-user" } else { "instances-by-product" };
    Case {
        name: format!("{curve}-{instances}"),
        what: format!("{instances} instances share a log keyed by {key}"),
        point: Some(Point { curve, x: f64::from(instances) }),
        log: Log { key, partitions: 12, ..sb1_log(&format!("by-{key}"), events) },
        settings: sb1_settings(),
        work: Work::Team { instances, runs },
    }
}

fn freshness() -> Case {
    Case {
        name: "freshness".into(),
        what: "100,000 events a second, default views, flushed every 250 ms".into(),
        point: None,
        log: Log {
            lateness: "60s",
            base_pane: "1s",
            partitions: 12,
            products: 100_000,
            users: 100_000,
            ..sb1_log("freshness", 0)
        },
        settings: default_settings(vec![("redis.flush", "250ms".into())]),
        work: Work::Live { rate: 100_000, seconds: 30 },
    }
}

/// Enough events that a million products, all equally popular, are 20 million cells in the 96 panes
/// of a day: n draws of N reach N (1 - e^(-n/N)) of them, and 20 M / 96 is 0.208 N.
fn memory(events: u64) -> Case {
    // 96 panes of 0.2336 N clicks, and 93 % of events are clicks.
    let events = (24_100_000.min(events * 241 / 100)).max(1);
    Case {
        name: "memory".into(),
        what: "a million live products in 96 panes, 300 categories, a million users".into(),
        point: None,
        log: Log {
            span_secs: 24 * 3600,
            partitions: 12,
            products: 1_000_000,
            categories: 300,
            popularity: "zipf:0",
            lateness: "60s",
            base_pane: "1s",
            ..sb1_log("memory", events)
        },
        // As many sketches as there are categories and kinds.
        settings: default_settings(vec![("limits.sketch_bytes", "512 MiB".into())]),
        work: Work::Backlog { runs: 1 },
    }
}
