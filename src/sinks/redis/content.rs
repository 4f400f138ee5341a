//! From views to keys and values: pure, so that what is published can be read off a test.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use super::keys::{Keys, Place};
use crate::config::TopicsConfig;
use crate::event::{Kind, OrderStatus};
use crate::pipeline::definitions::Definitions;
use crate::pipeline::delivery::Partition;
use crate::pipeline::view::{ClosedView, LatestView, Meta, Name, WindowView};
use crate::time::EventTime;

/// Names and values of a hash or a stream entry.
pub type Fields = Vec<(Cow<'static, str>, String)>;

/// The value of one key. Empty content means that the key must not exist.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Content<'a> {
    Board(&'a [(Name, u64)]),
    Fields(Fields),
    Value(&'a [u8]),
}

impl Content<'_> {
    pub fn is_empty(&self) -> bool {
        match self {
            Content::Board(rows) => rows.is_empty(),
            Content::Fields(fields) => fields.is_empty(),
            Content::Value(value) => value.is_empty(),
        }
    }

    /// A hash that tells changed content from unchanged; different in every process.
    pub fn digest(&self, state: &std::hash::RandomState) -> u64 {
        let mut hasher = std::hash::BuildHasher::build_hasher(state);
        self.hash(&mut hasher);
        hasher.finish()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    pub key: String,
    pub content: Content<'a>,
}

/// The views of a window that change together: boards, distinct users by kind and, for the
/// latest window, its totals (a closed window has them in its history entry).
pub fn main_views<'a>(
    keys: &Keys,
    definitions: &Definitions,
    place: Place,
    view: &'a WindowView,
) -> Vec<View<'a>> {
    let label = &definitions.windows[view.window].label;
    let mut views: Vec<View<'a>> = Vec::with_capacity(view.boards.len() + 4);
    for board in &view.boards {
        let dimension = &definitions.dimensions[board.dimension].name;
        let key = keys.board(place, dimension, board.metric, label);
        views.push(View { key, content: Content::Board(&board.rows) });
    }
    for kind in Definitions::UNIQUE_KINDS {
        let key = keys.uniques(place, kind, label);
        let found = view.distinct.iter().find(|one| one.kind == kind && one.entity.is_none());
        let value = found.map_or(&[][..], |one| &one.value);
        views.push(View { key, content: Content::Value(value) });
    }
    if place == Place::Latest {
        let content = Content::Fields(totals(view));
        views.push(View { key: keys.totals(label), content });
    }
    views
}

/// Distinct users by kind and entity.
pub fn entity_views<'a>(
    keys: &Keys,
    definitions: &Definitions,
    place: Place,
    view: &'a WindowView,
) -> impl Iterator<Item = View<'a>> {
    let label = definitions.windows[view.window].label.clone();
    view.distinct.iter().filter_map(move |one| {
        let (dimension, name) = one.entity.as_ref()?;
        let dimension = &definitions.dimensions[*dimension].name;
        let key = keys.entity_uniques(place, one.kind, dimension, name, &label);
        Some(View { key, content: Content::Value(&one.value) })
    })
}

/// The fields of `totals:<window>`, in the order people read them.
pub fn totals(view: &WindowView) -> Fields {
    let totals = &view.totals;
    let users = |kind: Kind| {
        let found = view.distinct.iter().find(|one| one.kind == kind && one.entity.is_none());
        found.map_or(0, |one| one.estimate)
    };
    let mut fields: Fields = Vec::with_capacity(24);
    let mut add = |name: &'static str, value: u64| fields.push((name.into(), value.to_string()));
    add("events", totals.events);
    add("clicks", totals.clicks);
    add("wishlists", totals.wishlists);
    add("wishlist_removes", totals.wishlist_removes);
    add("orders", totals.orders);
    add("units", totals.units);
    add("revenue_minor", totals.revenue_minor);
    add("uniques", view.uniques);
    add("uniques.click", users(Kind::Click));
    add("uniques.wishlist", users(Kind::Wishlist));
    add("uniques.purchase", users(Kind::Purchase));
    if let Some(conversion) = conversion(totals.orders, totals.clicks) {
        add("conversion", conversion);
    }
    for (currency, revenue) in &totals.foreign_revenue {
        fields.push((format!("revenue_minor.{currency}").into(), revenue.to_string()));
    }
    for status in OrderStatus::ALL {
        let count = totals.order_status[status as usize];
        fields.push((format!("orders.{}", status.name()).into(), count.to_string()));
    }
    fields.push(("window_start".into(), view.start.to_string()));
    fields.push(("window_end".into(), view.end.to_string()));
    fields
}

/// Orders per click in basis points, rounded down; nothing to say without clicks.
fn conversion(orders: u64, clicks: u64) -> Option<u64> {
    let basis_points = (u128::from(orders) * 10_000).checked_div(u128::from(clicks))?;
    Some(u64::try_from(basis_points).unwrap_or(u64::MAX))
}

/// The fields of a history entry: the totals, and how far they can be trusted.
pub fn history(closed: &ClosedView) -> Fields {
    let mut fields = totals(&closed.view);
    fields.push(("proven".into(), flag(closed.quiet == 0)));
    fields.push(("quiet".into(), closed.quiet.to_string()));
    fields.push(("complete".into(), flag(closed.complete)));
    fields
}

/// The fields of meta that concern all windows, and those that must be absent.
pub fn meta(
    meta: &Meta,
    definitions: &Definitions,
    topics: &TopicsConfig,
    closed_through: &[Option<EventTime>],
) -> (Fields, Vec<String>) {
    let mut fields: Fields = vec![
        ("complete".into(), flag(meta.complete)),
        ("missing".into(), partitions(&meta.missing, topics)),
        ("held_back_by".into(), partitions(meta.held_back_by.as_slice(), topics)),
        ("events_after_close".into(), meta.events_after_close.to_string()),
        ("over_cap".into(), meta.over_cap.to_string()),
    ];
    let mut absent = Vec::new();
    let mut time = |name: Cow<'static, str>, time: Option<EventTime>| match time {
        Some(time) => fields.push((name, time.to_string())),
        None => absent.push(name.into_owned()),
    };
    time("stream_time".into(), meta.stream_time);
    time("group_watermark".into(), meta.group_watermark);
    time("slowest_progressing".into(), meta.slowest_progressing);
    for (window, end) in definitions.windows.iter().zip(closed_through) {
        time(format!("closed_through:{}", window.label).into(), *end);
    }
    (fields, absent)
}

/// The field of meta with what was merged when the newest window closed.
pub const CLOSED_OFFSETS: &str = "closed_offsets";

/// The fields of meta that a swap of one window's views sets.
pub fn window_meta(
    latest: &LatestView,
    label: &str,
    seq: u64,
    flushed_at_millis: u64,
    topics: &TopicsConfig,
) -> Fields {
    [
        ("seq", seq.to_string()),
        ("window_start", latest.view.start.to_string()),
        ("window_end", latest.view.end.to_string()),
        ("stream_time", latest.stream_time.to_string()),
        ("offsets", offsets(&latest.offsets, topics)),
        ("flushed_at", flushed_at_millis.to_string()),
    ]
    .map(|(name, value)| (Cow::Owned(format!("{name}:{label}")), value))
    .into()
}

fn flag(claim: bool) -> String {
    u8::from(claim).to_string()
}

fn topic(topics: &TopicsConfig, kind: Kind) -> &str {
    match kind {
        Kind::Click => &topics.click,
        Kind::Wishlist => &topics.wishlist,
        Kind::Purchase => &topics.purchase,
        Kind::OrderStatus => &topics.order_status,
    }
}

/// `topic/partition=offset,…`, sorted by topic and partition number.
pub fn offsets(offsets: &[(Partition, i64)], topics: &TopicsConfig) -> String {
    let mut parts: Vec<(&str, i32, i64)> = offsets
        .iter()
        .map(|(partition, offset)| (topic(topics, partition.kind), partition.index, *offset))
        .collect();
    parts.sort_unstable();
    let parts: Vec<String> =
        parts.iter().map(|(topic, index, offset)| format!("{topic}/{index}={offset}")).collect();
    parts.join(",")
}

/// The newest offset of each partition in several vectors.
pub fn newest_offsets<'v>(
    vectors: impl Iterator<Item = &'v str>,
    topics: &TopicsConfig,
) -> BTreeMap<Partition, i64> {
    let mut newest = BTreeMap::new();
    for (partition, offset) in vectors.flat_map(|vector| parse_offsets(vector, topics)) {
        let known = newest.entry(partition).or_insert(offset);
        *known = offset.max(*known);
    }
    newest
}

/// The inverse of [`offsets`]; what is of no topic of ours is left out.
pub fn parse_offsets(text: &str, topics: &TopicsConfig) -> Vec<(Partition, i64)> {
    let parse = |part: &str| {
        let (partition, offset) = part.split_once('=')?;
        let (name, index) = partition.rsplit_once('/')?;
        let kind = Kind::ALL.into_iter().find(|&kind| topic(topics, kind) == name)?;
        Some((Partition { kind, index: index.parse().ok()? }, offset.parse().ok()?))
    };
    text.split(',').filter_map(parse).collect()
}

fn partitions(partitions: &[Partition], topics: &TopicsConfig) -> String {
    let mut parts: Vec<(&str, i32)> =
        partitions.iter().map(|one| (topic(topics, one.kind), one.index)).collect();
    parts.sort_unstable();
    let parts: Vec<String> =
        parts.iter().map(|(topic, index)| format!("{topic}/{index}")).collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pipeline::delivery::Totals;
    use crate::pipeline::view::UniquesView;

    fn topics() -> TopicsConfig {
        TopicsConfig {
            click: "shop.click".into(),
            wishlist: "wishlist".into(),
            purchase: "purchase".into(),
            order_status: String::new(),
        }
    }

    fn window() -> WindowView {
        WindowView {
            window: 0,
            start: EventTime::from_millis(60_000),
            end: EventTime::from_millis(120_000),
            totals: Totals {
                events: 12,
                clicks: 7,
                orders: 2,
                units: 3,
                revenue_minor: 1999,
                order_status: [1, 0, 0, 0, 0, 2],
                foreign_revenue: vec![("USD".into(), 500)],
                ..Totals::default()
            },
            uniques: 5,
            boards: vec![],
            distinct: vec![UniquesView {
                kind: Kind::Click,
                entity: None,
                value: vec![1],
                estimate: 4,
            }],
        }
    }

    fn text(fields: &Fields) -> String {
        let lines: Vec<String> = fields.iter().map(|(k, v)| format!("{k} {v}")).collect();
        lines.join("\n")
    }

    #[test]
    fn history_entry() {
        let closed = ClosedView {
            view: window(),
            quiet: 2,
            complete: true,
            offsets: Arc::default(),
            events_after_close: 0,
        };
        insta::assert_snapshot!(text(&history(&closed)), @r"
        events 12
        clicks 7
        wishlists 0
        wishlist_removes 0
        orders 2
        units 3
        revenue_minor 1999
        uniques 5
        uniques.click 4
        uniques.wishlist 0
        uniques.purchase 0
        conversion 2857
        revenue_minor.USD 500
        orders.PENDING 1
        orders.PROCESSING 0
        orders.SHIPPED 0
        orders.DELIVERED 0
        orders.CANCELLED 0
        orders.RETURNED 2
        window_start 60000
        window_end 120000
        proven 0
        quiet 2
        complete 1
        ");
    }

    #[test]
    fn conversion_is_rounded_down_and_absent_without_clicks() {
        assert_eq!(conversion(2, 7), Some(2857));
        assert_eq!(conversion(5, 0), None);
        assert_eq!(conversion(u64::MAX, 1), Some(u64::MAX));
    }

    #[test]
    fn offsets_are_sorted_by_topic_and_number() {
        let at = |kind, index| Partition { kind, index };
        let vector =
            [(at(Kind::Click, 10), 5), (at(Kind::Purchase, 0), 1), (at(Kind::Click, 9), 123)];
        let text = offsets(&vector, &topics());
        assert_eq!(text, "purchase/0=1,shop.click/9=123,shop.click/10=5");
        let parsed = parse_offsets(&format!("{text},gone/3=7,nonsense"), &topics());
        assert_eq!(parsed, [vector[1], vector[2], vector[0]]);
        assert_eq!(
            partitions(&[at(Kind::Click, 10), at(Kind::Click, 9)], &topics()),
            "shop.click/9,shop.click/10"
        );
    }

    #[test]
    fn digests_follow_content() {
        let state = std::hash::RandomState::new();
        let name: Name = Arc::from("a");
        let digest = |score| Content::Board(&[(name.clone(), score)]).digest(&state);
        assert_eq!(digest(1), digest(1));
        assert_ne!(digest(1), digest(2));
    }
}
