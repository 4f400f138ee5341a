//! The values of one series (a dimension and a metric) for every entity, at every edge.
//!
//! An entity's values at all edges lie side by side: with four windows and two edges they
//! fill one cache line, so a cell that counts in all of them touches memory once.

use crate::pipeline::rank::Rank;

/// Running sums of one series, with the boards that show it.
#[derive(Debug)]
pub struct Column {
    /// `entity × edges + edge`.
    values: Vec<u64>,
    edges: usize,
    /// By edge; empty when no board shows the series.
    ranks: Vec<Rank>,
}

impl Column {
    /// `top`: how many entities its board shows, if there is one.
    pub fn new(edges: usize, top: Option<usize>) -> Self {
        let ranks = top.map_or_else(Vec::new, |top| (0..edges).map(|_| Rank::new(top)).collect());
        Self { values: Vec::new(), edges, ranks }
    }

    pub fn value(&self, entity: u32, edge: usize) -> u64 {
        self.values.get(entity as usize * self.edges + edge).copied().unwrap_or(0)
    }

    /// Adds to an entity's sums at some edges.
    #[inline]
    pub fn add(&mut self, entity: u32, amount: u64, edges: &[usize]) {
        self.change(entity, edges, |old| old + amount);
    }

    /// Takes back what was added.
    #[inline]
    pub fn subtract(&mut self, entity: u32, amount: u64, edges: &[usize]) {
        self.change(entity, edges, |old| old - amount);
    }

    #[inline]
    fn change(&mut self, entity: u32, edges: &[usize], new_value: impl Fn(u64) -> u64) {
        let start = entity as usize * self.edges;
        if self.values.len() < start + self.edges {
            self.grow(start + self.edges);
        }
        let row = &mut self.values[start..start + self.edges];
        for &edge in edges {
            let old = row[edge];
            let new = new_value(old);
            row[edge] = new;
            if let Some(rank) = self.ranks.get_mut(edge) {
                rank.update(entity, old, new);
            }
        }
    }

    #[cold]
    fn grow(&mut self, len: usize) {
        self.values.resize(len.next_power_of_two().min(len + (1 << 20)), 0);
    }

    /// The board at one edge: (entity, value), best first. Empty when no board shows the series.
    pub fn board<N: Ord>(&mut self, edge: usize, name: impl Fn(u32) -> N) -> Vec<(u32, u64)> {
        let (values, edges) = (&self.values, self.edges);
        let entities = (values.len() / edges) as u32;
        let value = |entity: u32| values.get(entity as usize * edges + edge).copied().unwrap_or(0);
        self.ranks.get_mut(edge).map_or_else(Vec::new, |rank| rank.read(entities, value, name))
    }

    /// How many entities are not zero at an edge; 0 when no board shows the series.
    pub fn nonzero(&self, edge: usize) -> usize {
        self.ranks.get(edge).map_or(0, Rank::nonzero)
    }

    /// Keeps the candidate lists short between reads.
    pub fn tidy(&mut self) {
        let (values, edges) = (&self.values, self.edges);
        for (edge, rank) in self.ranks.iter_mut().enumerate() {
            if rank.is_untidy() {
                rank.tidy(|entity| values[entity as usize * edges + edge]);
            }
        }
    }

    pub fn bytes(&self) -> usize {
        self.values.capacity() * 8 + self.ranks.iter().map(Rank::bytes).sum::<usize>()
    }
}
