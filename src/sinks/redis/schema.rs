//! What `{prefix}:schema` says: every key described at run time, and the definitions that an
//! independent program needs to recompute the views from the log.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::config::{FieldsConfig, LimitsConfig, TopicsConfig};
use crate::event::{Kind, Metric, OrderStatus};
use crate::pipeline::definitions::Definitions;

/// The version of the JSON under `definitions`; a reader refuses one it does not know.
pub const FORMAT: u32 = 1;

/// The definitions as canonical JSON: sorted keys, times in milliseconds. It holds what decides
/// the content of the views and nothing else.
pub fn definitions_json(
    definitions: &Definitions,
    topics: &TopicsConfig,
    fields: &FieldsConfig,
    limits: &LimitsConfig,
) -> Value {
    let windows: Vec<Value> = definitions
        .windows
        .iter()
        .map(|window| {
            json!({
                "label": window.label,
                "size_ms": window.size.millis(),
                "slide_ms": window.slide.millis(),
                "closed_step_ms": window.closed_step.millis(),
            })
        })
        .collect();
    let dimensions: Vec<Value> = definitions
        .dimensions
        .iter()
        .map(|dimension| {
            json!({
                "name": dimension.name,
                "field": dimension.field,
                "entities_max": dimension.entities_max,
                "uniques": dimension.uniques,
            })
        })
        .collect();
    let boards: Vec<Value> = definitions
        .boards
        .iter()
        .map(|board| {
            let dimension = &definitions.dimensions[board.dimension];
            json!({
                "dimension": dimension.name,
                "field": dimension.field,
                "metric": board.metric.name(),
                "top": board.top,
            })
        })
        .collect();
    let uniques: Vec<&str> = definitions
        .dimensions
        .iter()
        .filter(|dimension| dimension.uniques)
        .map(|dimension| dimension.name.as_str())
        .collect();
    json!({
        "format": FORMAT,
        "topics": {
            "click": topics.click,
            "wishlist": topics.wishlist,
            "purchase": topics.purchase,
            "order_status": topics.order_status,
        },
        "fields": {
            "event_id": fields.event_id,
            "timestamp": fields.timestamp,
            "user_id": fields.user_id,
            "session_id": fields.session_id,
            "product_id": fields.product_id,
            "category": fields.category,
            "seller_id": fields.seller_id,
            "action": fields.action,
            "order_id": fields.order_id,
            "quantity": fields.quantity,
            "price_minor": fields.price_minor,
            "currency": fields.currency,
            "items": fields.items,
            "status": fields.status,
        },
        "windows": windows,
        "dimensions": dimensions,
        "boards": boards,
        "uniques_kinds": Definitions::UNIQUE_KINDS.map(Kind::name),
        "uniques_dimensions": uniques,
        "lateness_ms": definitions.lateness.millis(),
        "max_future_ms": definitions.max_future.millis(),
        "base_pane_ms": definitions.base_pane().millis(),
        "currency": definitions.currency,
        "deduplicate": definitions.deduplicate,
        "limits": {
            "entities": limits.entities,
            "sketch_bytes": limits.sketch_bytes,
            "record_bytes": limits.record_bytes,
            "id_bytes": limits.id_bytes,
        },
    })
}

/// The fields of the schema hash besides `definitions`: a key pattern, or `<key pattern>#<field>`,
/// to a JSON object with `type`, `unit` and `meaning`.
pub fn describe(prefix: &str, currency: &str) -> Vec<(String, String)> {
    let money = format!("minor units of {currency}");
    let tag = format!("{{{prefix}}}");
    let mut entries = Vec::new();
    let mut add = |name: String, kind: &str, unit: &str, meaning: &str| {
        let entry = json!({"type": kind, "unit": unit, "meaning": meaning});
        entries.push((name, entry.to_string()));
    };
    for metric in Metric::ALL {
        let unit = if metric == Metric::RevenueMinor { &money } else { metric.name() };
        let name = metric.name();
        add(
            format!("{tag}:top:<dimension>:{name}:<window>"),
            "zset",
            unit,
            "latest board: the top entities; ties by id, read with ZRANGE … REV",
        );
        add(
            format!("{tag}:closed:top:<dimension>:{name}:<window>:<window_end>"),
            "zset",
            unit,
            "the board of a closed window; never changes",
        );
        add(
            format!("{prefix}:<dimension>:<id>#{name}.<window>"),
            "hash field",
            unit,
            "the metric of an entity that stands on a latest board of that window",
        );
    }
    for (name, unit, meaning) in [
        ("seq", "number", "the last swap before this hash was written"),
        ("as_of", "ms since epoch", "stream time when this hash was written"),
    ] {
        add(format!("{prefix}:<dimension>:<id>#{name}"), "hash field", unit, meaning);
    }
    let users = "users (HyperLogLog, standard error 0.81 %)";
    add(format!("{tag}:uniques:<kind>:<window>"), "string", users, "distinct users: PFCOUNT it");
    add(
        format!("{tag}:uniques:<kind>:<dimension>:<id>:<window>"),
        "string",
        users,
        "distinct users of one entity; follows the other views of its window within moments",
    );
    add(
        format!("{tag}:closed:uniques:<kind>:<window>:<window_end>"),
        "string",
        users,
        "distinct users of a closed window",
    );
    add(
        format!("{tag}:closed:uniques:<kind>:<dimension>:<id>:<window>:<window_end>"),
        "string",
        users,
        "distinct users of one entity in a closed window",
    );
    add(
        format!("{tag}:closed:ends:<window>"),
        "zset",
        "ms since epoch",
        "ends of the windows whose closed boards and distinct counts are kept",
    );
    let totals = format!("{tag}:totals:<window>");
    let history = format!("{tag}:history:<window>");
    add(totals.clone(), "hash", "", "sums over all entities of the latest window");
    add(
        history.clone(),
        "stream",
        "",
        "one entry per closed window, id <window_end>-0, with the fields of the totals",
    );
    for (name, unit, meaning) in totals_fields_described(&money) {
        add(format!("{totals}#{name}"), "hash field", &unit, meaning);
    }
    for (name, meaning) in [
        ("proven", "1: every partition's own log had passed the end; 0: see quiet"),
        ("quiet", "partitions closed because the broker confirmed the end of their log"),
        ("complete", "1: every partition is covered from the start of the window"),
    ] {
        add(format!("{history}#{name}"), "stream field", "number", meaning);
    }
    let meta = format!("{tag}:meta");
    add(meta.clone(), "hash", "", "what the views rest on; read it in one MULTI with them");
    for (name, unit, meaning) in META_FIELDS {
        add(format!("{meta}#{name}"), "hash field", unit, meaning);
    }
    add(
        format!("{tag}:flushes"),
        "channel",
        "JSON",
        "a notice {window, seq, window_end} after each swap; may be lost, so re-read on connect",
    );
    for (name, kind) in
        [("lease", "string"), ("tmp:*", "any"), ("index:*", "set"), ("closed:members:*", "set")]
    {
        add(format!("{tag}:{name}"), kind, "", "private");
    }
    for (name, kind) in [("outbox", "stream"), ("owner", "hash")] {
        add(format!("{{{prefix}:<topic>:<partition>}}:{name}"), kind, "", "private");
    }
    entries
}

fn totals_fields_described(money: &str) -> Vec<(String, String, &'static str)> {
    let mut fields: Vec<(String, String, &'static str)> = [
        ("events", "records", "applied records of any kind"),
        ("clicks", "clicks", "product clicks"),
        ("wishlists", "wishlists", "additions to a wishlist"),
        ("wishlist_removes", "removals", "removals from a wishlist"),
        ("orders", "orders", "purchases; one record is one order"),
        ("units", "units", "product units bought"),
        ("revenue_minor", money, "gross revenue"),
        ("revenue_minor.<CUR>", "minor units of <CUR>", "revenue in another currency"),
        ("uniques", "users", "distinct users of any kind"),
        ("uniques.click", "users", "distinct users who clicked"),
        ("uniques.wishlist", "users", "distinct users who added to a wishlist"),
        ("uniques.purchase", "users", "distinct users who bought"),
        (
            "conversion",
            "basis points",
            "10000 × orders / clicks, rounded down; absent without clicks",
        ),
        ("window_start", "ms since epoch", "inclusive"),
        ("window_end", "ms since epoch", "exclusive"),
    ]
    .map(|(name, unit, meaning)| (name.to_owned(), unit.to_owned(), meaning))
    .into();
    for status in OrderStatus::ALL {
        let name = format!("orders.{}", status.name());
        fields.push((name, "events".to_owned(), "orders that entered this state"));
    }
    fields
}

const META_FIELDS: [(&str, &str, &str); 21] = [
    ("leader", "token", "the only writer whose swaps are accepted"),
    ("seq", "number", "grows with every swap"),
    ("config_hash", "hash", "of the configuration that gives the views their meaning"),
    ("stream_time", "ms since epoch", "newest event time that moved a watermark"),
    ("group_watermark", "ms since epoch", "windows ending at or before it are closed"),
    (
        "slowest_progressing",
        "ms since epoch",
        "newest event time of the slowest partition that progresses",
    ),
    ("complete", "0 or 1", "every partition is covered for the longest latest window"),
    ("missing", "topic/partition, …", "partitions left out because they stalled"),
    ("held_back_by", "topic/partition", "the partition whose watermark is least"),
    ("events_after_close", "events", "counted in open windows only: they came after a close"),
    ("over_cap", "counts", "increments that went to __other__ because a cap was reached"),
    ("flushed_at", "ms since epoch", "wall clock of the last write"),
    ("ended", "0 or 1", "a bounded run has ended: nothing follows"),
    ("closed_through:<window>", "ms since epoch", "end of the newest closed window"),
    (
        "closed_offsets",
        "topic/partition=offset, …",
        "what was merged when the newest window closed: a successor judges these no more",
    ),
    ("seq:<window>", "number", "the swap that wrote the latest views of this window"),
    ("window_start:<window>", "ms since epoch", "inclusive start of the latest window"),
    ("window_end:<window>", "ms since epoch", "exclusive end of the latest window"),
    ("stream_time:<window>", "ms since epoch", "stream time at the offsets of this window"),
    (
        "offsets:<window>",
        "topic/partition=offset, …",
        "the views are exact for the log before these offsets",
    ),
    ("flushed_at:<window>", "ms since epoch", "wall clock of this window's last swap"),
];

/// One difference between the stored definitions and ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Dotted path in the definitions, array elements by their label or name.
    pub path: String,
    /// As JSON; `None` where it is absent.
    pub stored: Option<String>,
    pub ours: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |value: &Option<String>| value.clone().unwrap_or("absent".to_owned());
        write!(f, "{}: stored {}, now {}", self.path, side(&self.stored), side(&self.ours))
    }
}

/// What differs between two definitions, path by path.
pub fn diff(stored: &Value, ours: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    diff_at("", Some(stored), Some(ours), &mut changes);
    changes
}

fn diff_at(path: &str, stored: Option<&Value>, ours: Option<&Value>, out: &mut Vec<Change>) {
    let children = |value: Option<&Value>| value.and_then(by_name);
    match (children(stored), children(ours)) {
        (Some(a), Some(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in names {
                let dot = if path.is_empty() || name.starts_with('[') { "" } else { "." };
                diff_at(&format!("{path}{dot}{name}"), a.get(name), b.get(name), out);
            }
        }
        _ if stored == ours => {}
        _ => out.push(Change {
            path: path.to_owned(),
            stored: stored.map(Value::to_string),
            ours: ours.map(Value::to_string),
        }),
    }
}

/// The children of an object, or of an array of objects by what identifies them.
fn by_name(value: &Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(object) => Some(object.clone()),
        Value::Array(items) => items
            .iter()
            .map(|item| Some((format!("[{}]", identity(item)?), item.clone())))
            .collect(),
        _ => None,
    }
}

fn identity(item: &Value) -> Option<String> {
    let text = |name: &str| item.get(name).and_then(Value::as_str);
    match (text("label"), text("name"), text("dimension"), text("metric")) {
        (Some(label), ..) => Some(label.to_owned()),
        (_, Some(name), ..) => Some(name.to_owned()),
        (_, _, Some(dimension), Some(metric)) => Some(format!("{dimension}.{metric}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(stored: Value, ours: Value, expected: &[&str]) {
        let changes: Vec<String> = diff(&stored, &ours).iter().map(Change::to_string).collect();
        assert_eq!(changes, expected);
    }

    #[test]
    fn a_difference_is_named_by_its_path() {
        let windows = |slide| json!({"windows": [{"label": "1m", "slide_ms": slide}]});
        check(windows(1000), windows(1000), &[]);
        check(windows(1000), windows(5000), &["windows[1m].slide_ms: stored 1000, now 5000"]);
        check(
            json!({"lateness_ms": 1, "currency": "EUR"}),
            json!({"lateness_ms": 2, "deduplicate": true}),
            &[
                "currency: stored \"EUR\", now absent",
                "deduplicate: stored absent, now true",
                "lateness_ms: stored 1, now 2",
            ],
        );
        check(
            json!({"boards": [{"dimension": "product", "metric": "clicks", "top": 10}]}),
            json!({"boards": [{"dimension": "product", "metric": "orders", "top": 10}]}),
            &[
                "boards[product.clicks]: stored {\"dimension\":\"product\",\"metric\":\"clicks\",\"top\":10}, now absent",
                "boards[product.orders]: stored absent, now {\"dimension\":\"product\",\"metric\":\"orders\",\"top\":10}",
            ],
        );
        check(
            json!({"uniques_dimensions": ["a"]}),
            json!({"uniques_dimensions": ["a", "b"]}),
            &["uniques_dimensions: stored [\"a\"], now [\"a\",\"b\"]"],
        );
    }

    #[test]
    fn descriptions_are_json_and_distinct() {
        let entries = describe("nazar", "EUR");
        let names: std::collections::BTreeSet<&String> =
            entries.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), entries.len());
        for (name, entry) in &entries {
            let entry: Value = serde_json::from_str(entry).unwrap();
            assert!(entry["type"].is_string() && entry["meaning"].is_string(), "{name}");
        }
    }
}
