//! The values of one series (a dimension and a metric) for every entity, at every edge.
//!
//! A new cell counts at most latest edges at once, so an entity's values there lie side by side:
//! with four windows they fill half a cache line, and memory is touched once. Closed edges move
//! one by one over many cells, so each has its values close together: eight entities a line.

use crate::pipeline::rank::Rank;

/// Running sums of one series, with the boards that show it. Edges are numbered: the latest
/// edges of all windows, then their closed edges.
#[derive(Debug)]
pub struct Column {
    values: Values,
    /// By edge; empty when no board shows the series.
    ranks: Vec<Rank>,
}

#[derive(Debug)]
struct Values {
    windows: usize,
    /// `entity × windows + window`.
    latest: Vec<u64>,
    /// By window: by entity.
    closed: Vec<Vec<u64>>,
}

impl Values {
    /// The values that an edge is among, where it begins, and how far apart they are.
    fn at(&self, edge: usize) -> (&[u64], usize, usize) {
        match edge.checked_sub(self.windows) {
            None => (&self.latest, edge, self.windows),
            Some(window) => (&self.closed[window], 0, 1),
        }
    }

    fn get(&self, entity: u32, edge: usize) -> u64 {
        let (values, first, stride) = self.at(edge);
        values.get(first + entity as usize * stride).copied().unwrap_or(0)
    }

    fn get_mut(&mut self, entity: u32, edge: usize) -> &mut u64 {
        let (values, at) = match edge.checked_sub(self.windows) {
            None => (&mut self.latest, entity as usize * self.windows + edge),
            Some(window) => (&mut self.closed[window], entity as usize),
        };
        if values.len() <= at {
            grow(values, at + 1);
        }
        &mut values[at]
    }

    /// One more than the largest entity that may have a value.
    fn entities(&self, edge: usize) -> u32 {
        let (values, _, stride) = self.at(edge);
        values.len().div_ceil(stride) as u32
    }
}

impl Column {
    /// `top`: how many entities its board shows, if there is one.
    pub fn new(windows: usize, top: Option<usize>) -> Self {
        let rank = |top| (0..2 * windows).map(|_| Rank::new(top)).collect();
        let closed = vec![Vec::new(); windows];
        Self {
            values: Values { windows, latest: Vec::new(), closed },
            ranks: top.map_or_else(Vec::new, rank),
        }
    }

    pub fn value(&self, entity: u32, edge: usize) -> u64 {
        self.values.get(entity, edge)
    }

    /// Adds to an entity's sum at an edge.
    #[inline]
    pub fn add(&mut self, entity: u32, amount: u64, edge: usize) {
        self.change(entity, edge, |old| old + amount);
    }

    /// Takes back what was added.
    #[inline]
    pub fn subtract(&mut self, entity: u32, amount: u64, edge: usize) {
        self.change(entity, edge, |old| old - amount);
    }

    #[inline]
    fn change(&mut self, entity: u32, edge: usize, new_value: impl Fn(u64) -> u64) {
        let value = self.values.get_mut(entity, edge);
        let old = *value;
        let new = new_value(old);
        *value = new;
        if let Some(rank) = self.ranks.get_mut(edge) {
            rank.update(entity, old, new);
        }
    }

    /// The board at one edge: (entity, value), best first. Empty when no board shows the series.
    pub fn board<'a>(&mut self, edge: usize, name: impl Fn(u32) -> &'a [u8]) -> Vec<(u32, u64)> {
        let Self { values, ranks } = self;
        let value = |entity: u32| values.get(entity, edge);
        let read = |rank: &mut Rank| rank.read(values.entities(edge), value, name);
        ranks.get_mut(edge).map_or_else(Vec::new, read)
    }

    /// How many entities are not zero at an edge; 0 when no board shows the series.
    pub fn nonzero(&self, edge: usize) -> usize {
        self.ranks.get(edge).map_or(0, Rank::nonzero)
    }

    /// Keeps the candidate lists short between reads.
    pub fn tidy(&mut self) {
        let Self { values, ranks } = self;
        for (edge, rank) in ranks.iter_mut().enumerate().filter(|(_, rank)| rank.is_untidy()) {
            rank.tidy(|entity| values.get(entity, edge));
        }
    }

    pub fn bytes(&self) -> usize {
        let Values { latest, closed, .. } = &self.values;
        let values = latest.capacity() + closed.iter().map(Vec::capacity).sum::<usize>();
        values * size_of::<u64>() + self.ranks.iter().map(Rank::bytes).sum::<usize>()
    }
}

/// Doubling, but not by more than 8 MiB at once.
#[cold]
fn grow(values: &mut Vec<u64>, len: usize) {
    values.resize(len.next_power_of_two().min(len + (1 << 20)), 0);
}
