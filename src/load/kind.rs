//! The words that the generator and the oracle share: kinds of event, and where a record ended up.

use serde::{Deserialize, Serialize};

/// The kinds of event, one topic each, in the order in which they are reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Click,
    Wishlist,
    Purchase,
    OrderStatus,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Click, Kind::Wishlist, Kind::Purchase, Kind::OrderStatus];
    /// Kinds whose users are counted.
    pub const WITH_USERS: [Kind; 3] = [Kind::Click, Kind::Wishlist, Kind::Purchase];

    /// The name in definitions and Redis keys.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Click => "click",
            Kind::Wishlist => "wishlist",
            Kind::Purchase => "purchase",
            Kind::OrderStatus => "order_status",
        }
    }

    /// The topic written to unless a prefix is asked for.
    pub const fn default_topic(self) -> &'static str {
        match self {
            Kind::OrderStatus => "order-events",
            kind => kind.name(),
        }
    }

    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Where a consumed record ends up: in exactly one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    Applied,
    Late,
    Duplicate,
    Malformed,
    Future,
    Tombstone,
}

impl Reason {
    pub const ALL: [Reason; 6] = [
        Reason::Applied,
        Reason::Late,
        Reason::Duplicate,
        Reason::Malformed,
        Reason::Future,
        Reason::Tombstone,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Reason::Applied => "applied",
            Reason::Late => "late",
            Reason::Duplicate => "duplicate",
            Reason::Malformed => "malformed",
            Reason::Future => "future",
            Reason::Tombstone => "tombstone",
        }
    }
}
