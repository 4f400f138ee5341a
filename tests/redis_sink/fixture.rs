//! Configuration and views to publish.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nazar::config::{EntityHashes, FieldsConfig, LimitsConfig, RedisConfig, Secret, TopicsConfig};
use nazar::event::{Kind, Metric};
use nazar::pipeline::definitions::{Board, Definitions, Dimension};
use nazar::pipeline::delivery::{Partition, Totals};
use nazar::pipeline::view::{
    BoardView, ClosedView, EntityView, Flush, LatestView, Meta, Name, UniquesView, WindowView,
};
use nazar::sinks::redis::RedisSink;
use nazar::sinks::redis::error::RedisSinkError;
use nazar::time::{EventTime, Span};

use crate::server::Server;

/// A minute that windows of any size here can end at.
pub const T0: i64 = 1_700_000_100_000;

pub const PRODUCT: usize = 0;
pub const CATEGORY: usize = 1;

pub fn config(server: &Server) -> RedisConfig {
    RedisConfig {
        url: Secret::new(server.url()),
        username: String::new(),
        password: Secret::default(),
        prefix: "nazar".to_owned(),
        flush: Duration::from_millis(250),
        connect_timeout: Duration::from_secs(2),
        response_timeout: Duration::from_secs(5),
        lease: Duration::from_secs(10),
        closed_keep: 2,
        history_keep: 1000,
        ttl_slack: Duration::from_secs(3600),
        entity_hashes: EntityHashes::Boards,
        tls_ca_file: None,
    }
}

/// Windows `sizes` (seconds) with a slide of one second; boards by clicks for product (top 3)
/// and category, by revenue for product; distinct users per category.
pub fn definitions(sizes: &[i64]) -> Definitions {
    let dimension = |name: &str, field: &str, uniques| Dimension {
        name: name.to_owned(),
        field: field.to_owned(),
        entities_max: 100,
        uniques,
    };
    let specs = sizes
        .iter()
        .map(|&seconds| {
            let size = Span::from_secs(seconds);
            (size.label(), size, Span::from_secs(1), Span::from_secs(60))
        })
        .collect();
    let (windows, levels) = Definitions::resolve_windows(specs);
    Definitions {
        windows,
        dimensions: vec![
            dimension("product", "product_id", false),
            dimension("category", "category", true),
        ],
        boards: vec![
            Board { dimension: PRODUCT, metric: Metric::Clicks, top: 3 },
            Board { dimension: PRODUCT, metric: Metric::RevenueMinor, top: 3 },
            Board { dimension: CATEGORY, metric: Metric::Clicks, top: 3 },
        ],
        levels,
        lateness: Span::from_secs(10),
        max_future: Span::from_secs(300),
        max_skew: Span::from_secs(300),
        stall_limit: Span::from_secs(600),
        currency: "EUR".to_owned(),
        sketch_bytes_max: 1 << 20,
        deduplicate: false,
        deduplicate_bytes_max: 0,
    }
}

pub fn topics() -> TopicsConfig {
    TopicsConfig {
        click: "click".into(),
        wishlist: "wishlist".into(),
        purchase: "purchase".into(),
        order_status: String::new(),
    }
}

fn fields() -> FieldsConfig {
    FieldsConfig {
        event_id: "event_id".into(),
        timestamp: "timestamp".into(),
        user_id: "user_id".into(),
        session_id: "session_id".into(),
        product_id: "product_id".into(),
        category: "category".into(),
        seller_id: "seller_id".into(),
        action: "action".into(),
        order_id: "order_id".into(),
        quantity: "quantity".into(),
        price_minor: "price_minor".into(),
        currency: "currency".into(),
        items: "items".into(),
        status: "status".into(),
    }
}

fn limits() -> LimitsConfig {
    LimitsConfig {
        entities: BTreeMap::from([("product".to_owned(), 100)]),
        sketch_bytes: 1 << 20,
        state_bytes: 1 << 30,
        in_flight_bytes: 1 << 26,
        prefetch_bytes: 1 << 26,
        record_bytes: 1 << 20,
        id_bytes: 256,
        max_consecutive_rejects: 10_000,
    }
}

/// A sink that has not claimed the prefix yet.
pub fn unclaimed(config: &RedisConfig, token: &str) -> RedisSink {
    let definitions = Arc::new(definitions(&[60, 300]));
    RedisSink::new(config, definitions, &topics(), &fields(), &limits(), "hash-1", token).unwrap()
}

pub async fn open_as(
    config: &RedisConfig,
    definitions: Definitions,
    hash: &str,
    token: &str,
) -> Result<RedisSink, RedisSinkError> {
    let definitions = Arc::new(definitions);
    RedisSink::open(config, definitions, &topics(), &fields(), &limits(), hash, token).await
}

pub async fn open(config: &RedisConfig) -> RedisSink {
    open_as(config, definitions(&[60, 300]), "hash-1", "token-1").await.unwrap()
}

pub fn name(name: &str) -> Name {
    Arc::from(name)
}

/// A window of the given index that ends at `T0 + seconds`.
pub fn window(window: usize, size: i64, seconds: i64, clicks: &[(&str, u64)]) -> WindowView {
    let end = T0 + seconds * 1000;
    let rows: Vec<(Name, u64)> = clicks.iter().map(|&(id, score)| (name(id), score)).collect();
    let revenue = rows.iter().map(|(id, score)| (id.clone(), score * 100)).collect();
    let sum: u64 = clicks.iter().map(|(_, score)| score).sum();
    let category = if sum > 0 { vec![(name("tv & hifi"), sum)] } else { vec![] };
    let board = |dimension, metric, rows| BoardView { dimension, metric, rows };
    let mut distinct = Vec::new();
    if sum > 0 {
        let sketch =
            |entity| UniquesView { kind: Kind::Click, entity, value: hll(sum), estimate: sum };
        distinct.push(sketch(None));
        distinct.push(sketch(Some((CATEGORY, name("tv & hifi")))));
    }
    WindowView {
        window,
        start: EventTime::from_millis(end - size * 1000),
        end: EventTime::from_millis(end),
        totals: Totals {
            events: sum + 1,
            clicks: sum,
            orders: 1,
            units: 2,
            revenue_minor: sum * 100,
            ..Totals::default()
        },
        uniques: sum,
        boards: vec![
            board(PRODUCT, Metric::Clicks, rows),
            board(PRODUCT, Metric::RevenueMinor, revenue),
            board(CATEGORY, Metric::Clicks, category),
        ],
        distinct,
    }
}

/// An HLL that answers `estimate`: empty registers under a cached cardinality.
pub fn hll(estimate: u64) -> Vec<u8> {
    let mut value = b"HYLL\x01\0\0\0".to_vec();
    value.extend(estimate.to_le_bytes());
    value.extend([0x7f, 0xff]);
    value
}

fn partition(index: i32) -> Partition {
    Partition { kind: Kind::Click, index }
}

pub fn latest(view: WindowView) -> LatestView {
    let sum = view.totals.clicks as i64;
    let entities = view.boards[0]
        .rows
        .iter()
        .map(|(name, score)| EntityView {
            dimension: PRODUCT,
            name: name.clone(),
            metrics: [*score, 0, 0, 0, score * 100],
        })
        .collect();
    LatestView {
        stream_time: EventTime::from_millis(view.end.millis() - 1),
        offsets: Arc::new(vec![(partition(1), sum), (partition(0), 2 * sum)]),
        view,
        entities,
    }
}

pub fn closed(view: WindowView) -> Arc<ClosedView> {
    Arc::new(ClosedView {
        view,
        quiet: 0,
        complete: true,
        offsets: Arc::new(vec![(partition(1), 11), (partition(0), 22)]),
        events_after_close: 0,
    })
}

pub fn meta(windows: usize) -> Meta {
    Meta {
        stream_time: Some(EventTime::from_millis(T0 - 1)),
        group_watermark: Some(EventTime::from_millis(T0 - 10_001)),
        slowest_progressing: None,
        closed_through: vec![None; windows],
        complete: true,
        missing: vec![],
        held_back_by: None,
        events_after_close: 0,
        over_cap: 0,
        ended: false,
    }
}

/// The one-minute window only.
pub fn minute(seconds: i64, clicks: &[(&str, u64)]) -> Flush {
    let latest = vec![latest(window(0, 60, seconds, clicks))];
    Flush { closed: vec![], latest, meta: meta(2), keeps_latest: false }
}

/// One-minute windows that closed at `T0 + 60 × minute`, and no latest view.
pub fn closes(minutes: &[i64]) -> Flush {
    let closed = minutes.iter().map(|&minute| closed(window(0, 60, minute * 60, &[("a", 5)])));
    Flush { closed: closed.collect(), latest: vec![], meta: meta(2), keeps_latest: false }
}
