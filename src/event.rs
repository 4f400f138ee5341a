//! What a record says, once decoded: the words every other module shares.
//!
//! `docs/EVENTS.md` states the same for producers.

use crate::time::EventTime;

/// The kinds of event, one configured topic each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    Click = 0,
    Wishlist = 1,
    Purchase = 2,
    OrderStatus = 3,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Click, Kind::Wishlist, Kind::Purchase, Kind::OrderStatus];
    /// The kinds whose users are counted; order status never changes a distinct count.
    pub const WITH_UNIQUES: [Kind; 3] = [Kind::Click, Kind::Wishlist, Kind::Purchase];

    /// The name in configuration (`[topics]`), Redis keys and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Click => "click",
            Kind::Wishlist => "wishlist",
            Kind::Purchase => "purchase",
            Kind::OrderStatus => "order_status",
        }
    }
}

/// What a board can be sorted by. Every metric is a sum of non-negative integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Metric {
    Clicks = 0,
    Wishlists = 1,
    Orders = 2,
    Units = 3,
    RevenueMinor = 4,
}

impl Metric {
    pub const COUNT: usize = 5;
    pub const ALL: [Metric; Metric::COUNT] =
        [Metric::Clicks, Metric::Wishlists, Metric::Orders, Metric::Units, Metric::RevenueMinor];

    /// The name in configuration, Redis keys and hash fields.
    pub const fn name(self) -> &'static str {
        match self {
            Metric::Clicks => "clicks",
            Metric::Wishlists => "wishlists",
            Metric::Orders => "orders",
            Metric::Units => "units",
            Metric::RevenueMinor => "revenue_minor",
        }
    }

    pub fn from_name(name: &str) -> Option<Metric> {
        Metric::ALL.into_iter().find(|metric| metric.name() == name)
    }
}

/// The states an order passes through. An unknown one is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum OrderStatus {
    Pending = 0,
    Processing = 1,
    Shipped = 2,
    Delivered = 3,
    Cancelled = 4,
    Returned = 5,
}

impl OrderStatus {
    pub const COUNT: usize = 6;
    pub const ALL: [OrderStatus; OrderStatus::COUNT] = [
        OrderStatus::Pending,
        OrderStatus::Processing,
        OrderStatus::Shipped,
        OrderStatus::Delivered,
        OrderStatus::Cancelled,
        OrderStatus::Returned,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            OrderStatus::Pending => "PENDING",
            OrderStatus::Processing => "PROCESSING",
            OrderStatus::Shipped => "SHIPPED",
            OrderStatus::Delivered => "DELIVERED",
            OrderStatus::Cancelled => "CANCELLED",
            OrderStatus::Returned => "RETURNED",
        }
    }
}

/// How many dimensions a configuration may declare. A line keeps its entity names inline,
/// so a larger bound makes every decoded line larger.
pub const DIMENSIONS_MAX: usize = 8;

/// The entity under which names beyond a cap are counted. No event may carry it as an id.
pub const OTHER: &str = "__other__";

/// One product line of an event: the entity it touches in each dimension, and what was bought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line<'a> {
    /// Entity name by dimension, in the order of `Definitions::dimensions`.
    pub entities: [Option<&'a str>; DIMENSIONS_MAX],
    pub units: u64,
    /// Units × unit price in integer minor units of the event's currency.
    pub revenue_minor: u64,
}

/// What an event does to the views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    Click(&'a Line<'a>),
    WishlistAdd(&'a Line<'a>),
    /// Counted in the totals only: on no board, in no distinct count.
    WishlistRemove,
    /// One order with at least one line. It counts once for each entity that its lines touch.
    Purchase {
        lines: &'a [Line<'a>],
        /// `None` when it is the currency that revenue counts in (or none was stated);
        /// otherwise the foreign currency, upper case, 1 to 8 letters or digits.
        foreign_currency: Option<&'a str>,
    },
    OrderStatus(OrderStatus),
}

/// A valid record. It borrows from the payload and from the decoder's scratch memory, so it
/// lives until the next call of the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    pub time: EventTime,
    pub event_id: Option<&'a str>,
    /// The user to count, if the event names one; an integer id is its decimal string.
    pub user_id: Option<&'a str>,
    pub effect: Effect<'a>,
}
