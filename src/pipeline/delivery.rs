//! A delivery: what one range of one partition's offsets contributes, handed over once.

use crate::event::{Kind, Metric, OrderStatus};
use crate::pipeline::identity::Fingerprint;
use crate::time::EventTime;

/// A partition of a topic. Topics are numbered by the kind they carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    pub kind: Kind,
    pub index: i32,
}

/// Where every consumed record of a partition went, cumulative since its start offset.
/// `consumed = applied + late + duplicate + malformed + future + tombstone`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    pub consumed: u64,
    pub applied: u64,
    pub late: u64,
    pub duplicate: u64,
    pub malformed: u64,
    pub future: u64,
    pub tombstone: u64,
    /// Of applied: purchases whose revenue is in another currency.
    pub foreign_currency: u64,
}

/// What one entity gained in one pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// `dimension × Metric::COUNT + metric`, see [`series`].
    pub series: u16,
    /// Index into the delivery's names of that dimension.
    pub entity: u32,
    pub amount: u64,
}

/// The number of a (dimension, metric) pair.
pub fn series(dimension: usize, metric: Metric) -> u16 {
    (dimension * Metric::COUNT + metric as usize) as u16
}

/// One user seen by one sketch: the register and rank of the user's hash ([`crate::pipeline::hll`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserMark {
    /// Index into [`Cells::sketches`].
    pub sketch: u32,
    pub register: u16,
    pub rank: u8,
}

/// Whose users a sketch counts: those of a kind, or of a kind within one entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SketchKey {
    pub kind: Kind,
    /// (dimension, index into the delivery's names of that dimension).
    pub entity: Option<(u16, u32)>,
}

/// Sums over all entities of one pane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Applied records, of any kind.
    pub events: u64,
    pub clicks: u64,
    pub wishlists: u64,
    pub wishlist_removes: u64,
    pub orders: u64,
    pub units: u64,
    pub revenue_minor: u64,
    pub order_status: [u64; OrderStatus::COUNT],
    /// Revenue in other currencies, by currency; sorted, seldom more than a few.
    pub foreign_revenue: Vec<(Box<str>, u64)>,
}

impl Totals {
    pub fn add(&mut self, other: &Totals) {
        self.combine(other, |a, b| a + b);
    }

    /// Takes back what was added before.
    pub fn subtract(&mut self, other: &Totals) {
        self.combine(other, |a, b| a - b);
        self.foreign_revenue.retain(|(_, amount)| *amount > 0);
    }

    pub fn add_foreign_revenue(&mut self, currency: &str, amount: u64) {
        *self.foreign_revenue_mut(currency) += amount;
    }

    fn foreign_revenue_mut(&mut self, currency: &str) -> &mut u64 {
        let at = match self.foreign_revenue.binary_search_by(|(name, _)| (**name).cmp(currency)) {
            Ok(at) => at,
            Err(at) => {
                self.foreign_revenue.insert(at, (currency.into(), 0));
                at
            }
        };
        &mut self.foreign_revenue[at].1
    }

    fn combine(&mut self, other: &Totals, op: impl Fn(u64, u64) -> u64) {
        let pairs = [
            (&mut self.events, other.events),
            (&mut self.clicks, other.clicks),
            (&mut self.wishlists, other.wishlists),
            (&mut self.wishlist_removes, other.wishlist_removes),
            (&mut self.orders, other.orders),
            (&mut self.units, other.units),
            (&mut self.revenue_minor, other.revenue_minor),
        ];
        for (mine, theirs) in pairs {
            *mine = op(*mine, theirs);
        }
        for (mine, theirs) in self.order_status.iter_mut().zip(other.order_status) {
            *mine = op(*mine, theirs);
        }
        for (currency, amount) in &other.foreign_revenue {
            let mine = self.foreign_revenue_mut(currency);
            *mine = op(*mine, *amount);
        }
    }
}

/// The contribution to one base pane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PaneCells {
    /// Start of the pane in milliseconds.
    pub start_millis: i64,
    pub totals: Totals,
    pub cells: Vec<Cell>,
    pub users: Vec<UserMark>,
}

/// The names of the entities a delivery touches in one dimension, stored end to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    text: String,
    ends: Vec<u32>,
}

impl Names {
    /// Adds a name and returns its index. The caller keeps names distinct.
    pub fn push(&mut self, name: &str) -> u32 {
        self.text.push_str(name);
        self.ends.push(self.text.len() as u32);
        (self.ends.len() - 1) as u32
    }

    pub fn get(&self, index: u32) -> &str {
        let index = index as usize;
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.text[start..self.ends[index] as usize]
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len() as u32).map(|index| self.get(index))
    }

    pub fn bytes(&self) -> usize {
        self.text.len() + self.ends.len() * 4
    }
}

/// The contribution of a range of offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cells {
    /// Names by dimension.
    pub names: Vec<Names>,
    pub sketches: Vec<SketchKey>,
    /// Ascending by start.
    pub panes: Vec<PaneCells>,
}

/// What a partition knows at an offset; a pure function of its log before that offset
/// (but for `quiet`, which the broker told).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    pub watermark: crate::pipeline::watermark::Watermark,
    /// The stream time known before the broker said that the log ends here.
    pub quiet: Option<EventTime>,
    pub ledger: Ledger,
    /// Records from here on refill the ids remembered against duplicates after a seek.
    pub warm_from: i64,
    /// By which a start finds out whether the log is still the one that was read.
    pub prints: Prints,
}

/// Fingerprints of records that were read: one near the end, and one well before it, which tells
/// a log that lost its tail from another log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prints {
    pub newest: Option<Fingerprint>,
    pub older: Option<Fingerprint>,
}

/// The older fingerprint follows at least so far behind: further than a log that loses its tail
/// usually loses, and near enough to read little again.
const OLDER_BEHIND: i64 = 10_000;

impl Prints {
    /// The last record read, seldom enough that it costs nothing.
    pub fn note(&mut self, print: Fingerprint) {
        let behind = |older: Fingerprint| print.offset - older.offset;
        if self.older.is_none_or(|older| behind(older) >= 2 * OLDER_BEHIND) {
            self.older = self.newest.filter(|&newest| behind(newest) > 0).or(self.older);
        }
        self.newest = Some(print);
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = Fingerprint> {
        self.newest.into_iter().chain(self.older)
    }
}

/// One hand-over from the owner of a partition to the merger: the records in `[from, to)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub partition: Partition,
    pub from: i64,
    pub to: i64,
    pub state_to: PartitionState,
    pub cells: Cells,
    /// Kafka's timestamp of the oldest record in the range: what freshness is measured from.
    pub oldest_record_millis: Option<i64>,
    /// Some records of the range were deleted before they could be read.
    pub has_gap: bool,
}

impl Delivery {
    /// Bytes it occupies while it waits, by estimate.
    pub fn bytes(&self) -> usize {
        let names: usize = self.cells.names.iter().map(Names::bytes).sum();
        let pane = |pane: &PaneCells| {
            size_of::<PaneCells>()
                + pane.cells.len() * size_of::<Cell>()
                + pane.users.len() * size_of::<UserMark>()
        };
        let panes: usize = self.cells.panes.iter().map(pane).sum();
        size_of::<Self>() + names + panes + self.cells.sketches.len() * size_of::<SketchKey>()
    }
}
