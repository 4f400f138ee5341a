//! What must become visible, for people and for programs.

use std::fmt::{self, Write as _};
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::Names;
use super::cast::MINUTE_MS;
use super::tally::{Board, Span, Tally};
use crate::load::kind::Kind;
use crate::load::traffic::Traffic;

/// A scenario as it is written down: who takes part when, and once the records have been made, what
/// must become visible of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub name: String,
    /// When it begins and ends, after the start of the schedule.
    pub from_ms: u64,
    pub to_ms: u64,
    pub cast: Names,
    /// Partitions that nothing is written to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silent: Vec<Silent>,
    /// Absent while the records are still being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statements: Option<Vec<Statement>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Silent {
    pub topic: String,
    pub partitions: Vec<u32>,
}

/// Something that is true of every 1m window which ends at a whole minute from `first_end_ms` to
/// `last_end_ms`, both included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    pub first_end_ms: i64,
    pub last_end_ms: i64,
    pub claim: Claim,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// The first places of a board are theirs, in any order.
    Leads { dimension: String, metric: String, entities: Vec<String> },
    /// A score lies within these bounds.
    Score { dimension: String, metric: String, entity: String, least: u64, most: u64 },
    /// A field of the totals lies within these bounds.
    Total { field: String, least: u64, most: u64 },
    /// So many distinct users clicked on an entity, or on anything: what is published is an
    /// estimate of that.
    Users {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        product: Option<String>,
        least: u64,
        most: u64,
    },
    /// No record is applied, so there is no entry in the history.
    Empty,
}

impl Board {
    pub(super) fn names(self) -> (String, String) {
        let (dimension, metric) = match self {
            Board::ProductClicks => ("product", "clicks"),
            Board::ProductOrders => ("product", "orders"),
            Board::SellerClicks => ("seller", "clicks"),
            Board::SellerOrders => ("seller", "orders"),
        };
        (dimension.to_owned(), metric.to_owned())
    }
}

impl Account {
    /// What is known before the first record.
    pub fn before(traffic: &Traffic) -> Option<Self> {
        Tally::of(&traffic.workload).map(|tally| Self::new(&tally, traffic))
    }

    /// The same with what must become visible of the records that have been made.
    pub fn after(tally: &Tally, traffic: &Traffic) -> Self {
        Self { statements: Some(tally.statements()), ..Self::new(tally, traffic) }
    }

    fn new(tally: &Tally, traffic: &Traffic) -> Self {
        let (play, cast) = (tally.script.play, &tally.script.cast);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let kinds = traffic.kinds();
        let silent = |(kind, partitions): (Kind, &[u32])| Silent {
            topic: traffic.topic(kind).to_owned(),
            partitions: partitions.to_vec(),
        };
        Self {
            name: play.scenario.name().to_owned(),
            from_ms: millis(play.from),
            to_ms: millis(play.to),
            cast: cast.names(),
            silent: cast.silent().filter(|(kind, _)| kinds.contains(kind)).map(silent).collect(),
            statements: None,
        }
    }

    pub fn text(&self) -> String {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let (from, to) = (seconds(self.from_ms), seconds(self.to_ms));
        let mut text = format!("scenario {}, from {from} s to {to} s", self.name);
        let Names { products, sellers, users } = &self.cast;
        for (what, names) in [("products", products), ("seller", sellers), ("bots", users)] {
            if !names.is_empty() {
                let _ = write!(text, "; {what} {}", names.join(" "));
            }
        }
        text.push('\n');
        for line in self.lines() {
            let _ = writeln!(text, "  {line}");
        }
        text
    }

    /// What must become visible, a line each.
    pub fn lines(&self) -> Vec<String> {
        let silent = self.silent.iter().map(|Silent { topic, partitions }| {
            let partitions: Vec<String> = partitions.iter().map(u32::to_string).collect();
            format!("nothing is written to {topic}/{}", partitions.join(","))
        });
        let statements = self.statements.iter().flatten();
        silent.chain(statements.map(Statement::to_string)).collect()
    }
}

impl Statement {
    /// The ends of the windows that it is about.
    pub fn ends(&self) -> impl Iterator<Item = i64> {
        let (first, last) = (self.first_end_ms, self.last_end_ms);
        std::iter::successors(Some(first), |end| end.checked_add(MINUTE_MS))
            .take_while(move |&end| end <= last)
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (time(self.first_end_ms), time(self.last_end_ms));
        if first == last {
            write!(f, "1m window that ends at {first}: {}", self.claim)
        } else {
            write!(f, "1m windows that end from {first} to {last}: {}", self.claim)
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Claim::Leads { dimension, metric, entities } => {
                let verb = if entities.len() == 1 { "leads" } else { "lead" };
                write!(f, "{} {verb} top:{dimension}:{metric}", entities.join(" "))
            }
            Claim::Score { dimension, metric, entity, least, most } => {
                let span = Span { least: *least, most: *most };
                write!(f, "{entity} has {span} in top:{dimension}:{metric}")
            }
            Claim::Total { field, least, most } => {
                let unit = if field == "conversion" { " basis points" } else { "" };
                write!(f, "{field} {}{unit}", Span { least: *least, most: *most })
            }
            Claim::Users { product, least, most } => {
                let span = Span { least: *least, most: *most };
                match product {
                    Some(product) => write!(f, "{span} users clicked on {product}"),
                    None => write!(f, "{span} users clicked"),
                }
            }
            Claim::Empty => f.write_str("no record, so no entry in the history"),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Span { least, most } if least == most => write!(f, "{least}"),
            Span { least, most } => write!(f, "{least} to {most}"),
        }
    }
}

/// As people read it; event times are whole minutes here.
fn time(ms: i64) -> String {
    let time = u64::try_from(ms).ok().and_then(|ms| {
        UNIX_EPOCH.checked_add(Duration::from_millis(ms)).filter(|_| ms < 253_402_300_800_000)
    });
    time.map_or_else(
        || format!("{ms} ms"),
        |time| humantime::format_rfc3339_seconds(time).to_string(),
    )
}
