//! From what people write to what the pure core computes with.

use std::time::Duration;

use super::{Config, TopicsConfig, ViewConfig, WindowConfig, defaults};
use crate::event::{Kind, Metric};
use crate::pipeline::definitions::{Board, Definitions, Dimension, WindowSpec};
use crate::time::Span;

impl TopicsConfig {
    /// The topic of a kind; `""`: the kind is off.
    pub fn of(&self, kind: Kind) -> &str {
        match kind {
            Kind::Click => &self.click,
            Kind::Wishlist => &self.wishlist,
            Kind::Purchase => &self.purchase,
            Kind::OrderStatus => &self.order_status,
        }
    }
}

impl WindowConfig {
    /// How often closed windows are emitted, given or by default: each minute, or less often
    /// if the window slides less often. A minute that is no multiple of the slide is rounded up
    /// to one.
    pub fn closed_step_or_default(&self) -> Duration {
        self.closed_step.unwrap_or_else(|| {
            let (slide, minute) = (self.slide.as_millis().max(1), 60_000);
            let step = minute.max(slide).div_ceil(slide) * slide;
            Duration::from_millis(u64::try_from(step).unwrap_or(u64::MAX))
        })
    }

    /// How often latest views are written at most, given or by the size of the window.
    pub fn refresh_or_default(&self, flush: Duration) -> Duration {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let by_size = match self.size {
            size if size <= minutes(1) => flush,
            size if size <= minutes(5) => Duration::from_secs(5),
            size if size <= minutes(60) => Duration::from_secs(15),
            _ => Duration::from_secs(60),
        };
        self.refresh.unwrap_or(by_size).max(flush)
    }
}

impl Config {
    /// What is computed. Call it on a validated configuration: names of unknown metrics are left
    /// out.
    pub fn definitions(&self) -> Definitions {
        let specs = self.window.iter().map(window_spec).collect();
        let (windows, levels) = Definitions::resolve_windows(specs);
        let dimensions = self.dimensions();
        let boards = self.boards(&dimensions);
        Definitions {
            windows,
            dimensions,
            boards,
            levels,
            lateness: self.time.lateness.into(),
            max_future: self.time.max_future.into(),
            max_skew: self.time.max_skew.into(),
            stall_limit: self.time.stall_limit.into(),
            currency: self.money.currency.clone(),
            sketch_bytes_max: to_usize(self.limits.sketch_bytes),
            deduplicate: self.deduplicate.enabled,
            deduplicate_bytes_max: to_usize(self.deduplicate.bytes_max),
        }
    }

    /// How often each window's latest views are written, in the order of [`Definitions::windows`].
    pub fn refresh_by_window(&self) -> Vec<Duration> {
        let mut windows: Vec<&WindowConfig> = self.window.iter().collect();
        windows.sort_by_key(|window| window.size);
        windows.iter().map(|window| window.refresh_or_default(self.redis.flush)).collect()
    }

    /// In the order in which views first name them.
    fn dimensions(&self) -> Vec<Dimension> {
        let mut dimensions: Vec<Dimension> = Vec::new();
        for view in &self.view {
            if dimensions.iter().all(|dimension| dimension.name != view.dimension) {
                let given = self.limits.entities.get(&view.dimension).copied();
                dimensions.push(Dimension {
                    name: view.dimension.clone(),
                    field: self.field_of(view).to_owned(),
                    entities_max: given.unwrap_or_else(|| defaults::entities_max(&view.dimension)),
                    uniques: self.uniques.dimensions.contains(&view.dimension),
                });
            }
        }
        dimensions
    }

    fn boards(&self, dimensions: &[Dimension]) -> Vec<Board> {
        let mut boards = Vec::new();
        for view in &self.view {
            let index = dimensions.iter().position(|dimension| dimension.name == view.dimension);
            let dimension = index.expect("every view's dimension was collected just before");
            let top = view.top.unwrap_or_else(|| defaults::top(&view.dimension));
            let metrics = view.metrics.iter().filter_map(|name| Metric::from_name(name));
            boards.extend(metrics.map(|metric| Board { dimension, metric, top }));
        }
        boards
    }

    /// The event field that carries a view's entities.
    pub(super) fn field_of<'a>(&'a self, view: &'a ViewConfig) -> &'a str {
        match (&view.field, view.dimension.as_str()) {
            (Some(field), _) => field,
            (None, "product") => &self.fields.product_id,
            (None, "category") => &self.fields.category,
            (None, "seller") => &self.fields.seller_id,
            (None, name) => name,
        }
    }

    /// `[fields]` as pairs of key and field.
    pub(super) fn field_names(&self) -> [(&'static str, &str); 14] {
        let fields = &self.fields;
        [
            ("event_id", &fields.event_id),
            ("timestamp", &fields.timestamp),
            ("user_id", &fields.user_id),
            ("session_id", &fields.session_id),
            ("product_id", &fields.product_id),
            ("category", &fields.category),
            ("seller_id", &fields.seller_id),
            ("action", &fields.action),
            ("order_id", &fields.order_id),
            ("quantity", &fields.quantity),
            ("price_minor", &fields.price_minor),
            ("currency", &fields.currency),
            ("items", &fields.items),
            ("status", &fields.status),
        ]
        .map(|(key, field)| (key, field.as_str()))
    }
}

fn window_spec(window: &WindowConfig) -> WindowSpec {
    let size = Span::from(window.size);
    (size.label(), size, window.slide.into(), window.closed_step_or_default().into())
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
