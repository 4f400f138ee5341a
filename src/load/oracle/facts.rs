//! What the applied records say, kept small enough for tens of millions of them.

use std::collections::HashMap;

use super::definitions::Definitions;
use super::record::{Line, Valid, What};
use super::registers::{Mark, mark};
use crate::load::kind::Kind;

/// No entity in this dimension.
pub const NONE: u32 = u32::MAX;

/// One applied record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fact {
    pub time_ms: i64,
    pub offset: i64,
    /// Index into [`Facts::partitions`].
    pub partition: u32,
    /// Index of the first line; lines are numbered through all facts.
    pub first_line: u32,
    pub lines: u32,
    pub what: Effect,
    /// Where the user stands in every sketch that the record touches.
    pub user: Option<Mark>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Click,
    WishlistAdd,
    WishlistRemove,
    Purchase,
    /// Index into [`Facts::currencies`].
    ForeignPurchase(u16),
    Status(&'static str),
}

impl Effect {
    /// The kind whose users it counts.
    pub fn kind_of_user(self) -> Option<Kind> {
        match self {
            Effect::Click => Some(Kind::Click),
            Effect::WishlistAdd => Some(Kind::Wishlist),
            Effect::Purchase | Effect::ForeignPurchase(_) => Some(Kind::Purchase),
            Effect::WishlistRemove | Effect::Status(_) => None,
        }
    }
}

/// Names of entities by number, one table for each dimension.
#[derive(Clone, Debug, Default)]
pub struct Names {
    numbers: HashMap<Box<str>, u32>,
    names: Vec<Box<str>>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.into());
        self.numbers.insert(name.into(), number);
        number
    }

    pub fn get(&self, number: u32) -> &str {
        &self.names[number as usize]
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// A partition, and how its newest time moved: (offset of the record that moved it, newest time).
#[derive(Clone, Debug, Default)]
pub struct PartitionTrace {
    pub topic: String,
    pub partition: u32,
    pub newest: Vec<(i64, i64)>,
}

impl PartitionTrace {
    /// The newest time after the records before `offset`.
    pub fn newest_before(&self, offset: i64) -> Option<i64> {
        let moves = self.newest.partition_point(|&(at, _)| at < offset);
        moves.checked_sub(1).map(|last| self.newest[last].1)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub facts: Vec<Fact>,
    pub partitions: Vec<PartitionTrace>,
    /// By dimension.
    pub names: Vec<Names>,
    pub currencies: Vec<String>,
    /// The entities of all lines, a row of one number per dimension for each.
    entities: Vec<u32>,
    /// Units and revenue of the lines.
    amounts: Vec<(u64, u64)>,
}

impl Facts {
    pub fn new(definitions: &Definitions) -> Self {
        Self { names: vec![Names::default(); definitions.dimensions.len()], ..Self::default() }
    }

    /// Adds a partition and returns its index.
    pub fn add_partition(&mut self, topic: &str, partition: u32) -> u32 {
        let trace = PartitionTrace { topic: topic.to_owned(), partition, newest: Vec::new() };
        self.partitions.push(trace);
        self.partitions.len() as u32 - 1
    }

    /// Notes the newest time of a partition after the record at `offset`.
    pub fn note_newest(&mut self, partition: u32, offset: i64, newest: Option<i64>) {
        let moves = &mut self.partitions[partition as usize].newest;
        if let Some(newest) = newest
            && moves.last().is_none_or(|&(_, before)| before != newest)
        {
            moves.push((offset, newest));
        }
    }

    /// Adds an applied record.
    pub fn push(&mut self, partition: u32, offset: i64, valid: &Valid) {
        let first_line = self.amounts.len() as u32;
        let what = match &valid.what {
            What::Click(line) => {
                self.push_line(line);
                Effect::Click
            }
            What::WishlistAdd(line) => {
                self.push_line(line);
                Effect::WishlistAdd
            }
            What::WishlistRemove => Effect::WishlistRemove,
            What::Purchase { lines, foreign } => {
                lines.iter().for_each(|line| self.push_line(line));
                match foreign {
                    None => Effect::Purchase,
                    Some(currency) => Effect::ForeignPurchase(self.currency(currency)),
                }
            }
            What::Status(status) => Effect::Status(status),
        };
        self.facts.push(Fact {
            time_ms: valid.time_ms,
            offset,
            partition,
            first_line,
            lines: self.amounts.len() as u32 - first_line,
            what,
            user: valid.user_id.as_ref().map(|user| mark(user.as_bytes())),
        });
    }

    /// Adds the facts of other partitions, with their own numbering of names.
    pub fn append(&mut self, other: Facts) {
        let partitions_before = self.partitions.len() as u32;
        let lines_before = self.amounts.len() as u32;
        let currencies: Vec<u16> = other.currencies.iter().map(|c| self.currency(c)).collect();
        let numbers: Vec<Vec<u32>> = self
            .names
            .iter_mut()
            .zip(&other.names)
            .map(|(mine, theirs)| theirs.names.iter().map(|name| mine.number(name)).collect())
            .collect();
        let width = self.names.len();
        self.entities.extend(other.entities.iter().enumerate().map(|(at, &number)| {
            if number == NONE { NONE } else { numbers[at % width][number as usize] }
        }));
        self.amounts.extend(other.amounts);
        self.partitions.extend(other.partitions);
        self.facts.extend(other.facts.into_iter().map(|fact| Fact {
            partition: fact.partition + partitions_before,
            first_line: fact.first_line + lines_before,
            what: match fact.what {
                Effect::ForeignPurchase(at) => Effect::ForeignPurchase(currencies[at as usize]),
                what => what,
            },
            ..fact
        }));
    }

    /// Orders the facts by time, so that those of a window stand together, and so do their lines.
    pub fn sort(&mut self) {
        self.facts.sort_by_key(|fact| fact.time_ms);
        let width = self.names.len();
        let mut entities = Vec::with_capacity(self.entities.len());
        let mut amounts = Vec::with_capacity(self.amounts.len());
        for fact in &mut self.facts {
            let lines = fact.first_line as usize..(fact.first_line + fact.lines) as usize;
            fact.first_line = amounts.len() as u32;
            entities.extend_from_slice(&self.entities[lines.start * width..lines.end * width]);
            amounts.extend_from_slice(&self.amounts[lines]);
        }
        (self.entities, self.amounts) = (entities, amounts);
    }

    /// The facts with a time in `[start, end)`.
    pub fn between(&self, start_ms: i64, end_ms: i64) -> &[Fact] {
        let first = self.facts.partition_point(|fact| fact.time_ms < start_ms);
        let end = self.facts.partition_point(|fact| fact.time_ms < end_ms);
        &self.facts[first..end]
    }

    /// A line of a fact: entities by dimension ([`NONE`] where it has none), units, revenue.
    pub fn line(&self, fact: &Fact, line: u32) -> (&[u32], u64, u64) {
        let width = self.names.len();
        let at = (fact.first_line + line) as usize;
        let (units, revenue) = self.amounts[at];
        (&self.entities[at * width..][..width], units, revenue)
    }

    fn push_line(&mut self, line: &Line) {
        for (names, entity) in self.names.iter_mut().zip(&line.entities) {
            let number = entity.as_ref().map_or(NONE, |entity| names.number(entity));
            self.entities.push(number);
        }
        self.amounts.push((line.units, line.revenue_minor));
    }

    fn currency(&mut self, currency: &str) -> u16 {
        let known = self.currencies.iter().position(|known| known == currency);
        known.unwrap_or_else(|| {
            self.currencies.push(currency.to_owned());
            self.currencies.len() - 1
        }) as u16
    }
}
