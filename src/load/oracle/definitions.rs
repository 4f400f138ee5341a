//! What was asked for, as the daemon states it in the field `definitions` of `{nazar}:schema`.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::load::clock::Rules;
use crate::load::kind::Kind;

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Definitions {
    /// Topic by kind (`click`, `wishlist`, `purchase`, `order_status`); empty: not consumed.
    pub topics: BTreeMap<String, String>,
    #[serde(default)]
    pub fields: Fields,
    pub windows: Vec<Window>,
    pub dimensions: Vec<Dimension>,
    pub boards: Vec<Board>,
    pub lateness_ms: i64,
    pub max_future_ms: i64,
    pub base_pane_ms: i64,
    pub currency: String,
    pub deduplicate: bool,
    #[serde(default)]
    pub limits: Limits,
}

/// The JSON field that holds each value. Its camelCase form is read as well.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Fields {
    pub event_id: String,
    pub timestamp: String,
    pub user_id: String,
    pub session_id: String,
    pub product_id: String,
    pub order_id: String,
    pub action: String,
    pub quantity: String,
    pub price_minor: String,
    pub currency: String,
    pub items: String,
    pub status: String,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            event_id: "event_id".into(),
            timestamp: "timestamp".into(),
            user_id: "user_id".into(),
            session_id: "session_id".into(),
            product_id: "product_id".into(),
            order_id: "order_id".into(),
            action: "action".into(),
            quantity: "quantity".into(),
            price_minor: "price_minor".into(),
            currency: "currency".into(),
            items: "items".into(),
            status: "status".into(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Window {
    /// Part of the keys.
    pub label: String,
    pub size_ms: i64,
    pub slide_ms: i64,
    /// A closed window is due at each multiple of this that ends a window with content.
    pub closed_step_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Dimension {
    /// Part of the keys.
    pub name: String,
    pub field: String,
    /// Whether distinct users are kept per entity.
    #[serde(default)]
    pub uniques: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Board {
    /// The dimension's name.
    pub dimension: String,
    pub metric: Metric,
    pub top: usize,
}

/// What boards are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    Clicks,
    Wishlists,
    Orders,
    Units,
    RevenueMinor,
}

impl Metric {
    pub const ALL: [Metric; 5] =
        [Metric::Clicks, Metric::Wishlists, Metric::Orders, Metric::Units, Metric::RevenueMinor];
    pub const COUNT: usize = Metric::ALL.len();

    pub const fn name(self) -> &'static str {
        match self {
            Metric::Clicks => "clicks",
            Metric::Wishlists => "wishlists",
            Metric::Orders => "orders",
            Metric::Units => "units",
            Metric::RevenueMinor => "revenue_minor",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Limits {
    pub id_bytes: usize,
    pub record_bytes: usize,
    /// Closed boards and HLLs kept per window; 0: all.
    pub closed_keep: usize,
    /// Entries kept in each history stream; 0: all.
    pub history_keep: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { id_bytes: 256, record_bytes: 1 << 20, closed_keep: 0, history_keep: 0 }
    }
}

impl Definitions {
    pub fn parse(json: &str) -> anyhow::Result<Self> {
        let definitions: Definitions =
            serde_json::from_str(json).context("parse the definitions")?;
        definitions.check()?;
        Ok(definitions)
    }

    pub fn rules(&self) -> Rules {
        Rules {
            lateness_ms: self.lateness_ms,
            max_future_ms: self.max_future_ms,
            base_pane_ms: self.base_pane_ms,
        }
    }

    /// The consumed topics, by kind.
    pub fn topics(&self) -> Vec<(Kind, &str)> {
        Kind::ALL
            .into_iter()
            .filter_map(|kind| Some((kind, self.topics.get(kind.name())?.as_str())))
            .filter(|(_, topic)| !topic.is_empty())
            .collect()
    }

    pub fn dimension(&self, name: &str) -> Option<usize> {
        self.dimensions.iter().position(|dimension| dimension.name == name)
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.windows.is_empty(), "the definitions have no window");
        ensure!(!self.topics().is_empty(), "the definitions have no topic");
        for name in self.topics.keys() {
            ensure!(
                Kind::from_name(name).is_some(),
                "the definitions have an unknown kind `{name}`"
            );
        }
        for board in &self.boards {
            ensure!(
                self.dimension(&board.dimension).is_some(),
                "a board has the unknown dimension `{}`",
                board.dimension
            );
        }
        let mut common = 0;
        for window in &self.windows {
            let Window { label, size_ms, slide_ms, closed_step_ms } = window;
            ensure!(
                *slide_ms > 0 && size_ms % slide_ms == 0 && closed_step_ms % slide_ms == 0,
                "window {label}: size {size_ms} and closed step {closed_step_ms} must be multiples of slide {slide_ms}"
            );
            ensure!(*size_ms > 0 && *closed_step_ms > 0, "window {label} is empty");
            common = gcd(common, *slide_ms);
        }
        ensure!(
            self.base_pane_ms == common,
            "the base pane is {} ms, but the greatest common divisor of the slides is {common} ms",
            self.base_pane_ms
        );
        Ok(())
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl fmt::Display for Definitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = |ms: i64| {
            let ms = u64::try_from(ms).unwrap_or(0);
            humantime::format_duration(std::time::Duration::from_millis(ms)).to_string()
        };
        let topics: Vec<String> =
            self.topics().iter().map(|(kind, topic)| format!("{}={topic}", kind.name())).collect();
        writeln!(f, "topics      {}", topics.join(" "))?;
        for window in &self.windows {
            writeln!(
                f,
                "window      {}: size {}, slide {}, closed every {}",
                window.label,
                duration(window.size_ms),
                duration(window.slide_ms),
                duration(window.closed_step_ms)
            )?;
        }
        for dimension in &self.dimensions {
            let uniques = if dimension.uniques { ", distinct users each" } else { "" };
            let boards: Vec<String> = self
                .boards
                .iter()
                .filter(|board| board.dimension == dimension.name)
                .map(|board| format!("{} top {}", board.metric.name(), board.top))
                .collect();
            writeln!(
                f,
                "dimension   {} (field {}{uniques}): {}",
                dimension.name,
                dimension.field,
                boards.join(", ")
            )?;
        }
        writeln!(
            f,
            "time        lateness {}, future beyond {}, base pane {}",
            duration(self.lateness_ms),
            duration(self.max_future_ms),
            duration(self.base_pane_ms)
        )?;
        let deduplicate = if self.deduplicate { "dropped" } else { "counted" };
        write!(f, "otherwise   revenue in {}, duplicates {deduplicate}", self.currency)
    }
}
