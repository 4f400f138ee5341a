//! HyperLogLog registers, and the exact bytes in which Redis stores them.
//!
//! A user's name is hashed ([`mark`]) to one of 16,384 registers and a rank; a register
//! keeps the greatest rank it was shown. Adding is therefore idempotent, and the union of
//! two sets of users is the register-wise maximum. Everything here follows Redis: the same
//! hash and seed, the same rank, the same estimator, the same string value. So PFCOUNT,
//! PFMERGE and PFADD work on what we SET, and a data team may union our keys with its own.
//!
//! ```text
//! header, 16 bytes   "HYLL" | encoding: 0 dense, 1 sparse | 0 0 0 | cardinality, u64 LE
//! dense, 12,288      register i occupies bits [6i, 6i + 6), least significant bit first
//! sparse, a run-length code that covers exactly 16,384 registers
//!   00nnnnnn           n + 1 registers are 0          (1..=64)
//!   01nnnnnn nnnnnnnn  n + 1 registers are 0          (1..=16,384)
//!   1vvvvvnn           n + 1 registers are v + 1      (1..=4 registers of rank 1..=32)
//! ```
//!
//! The top bit of the cardinality says "stale". PFADD sets it; we write it clear with our
//! own estimate, so PFCOUNT answers without reading the registers and without a write
//! (on a stale value PFCOUNT is a write: it dirties the key and goes to the replicas).
//! The hash is not keyed: whoever chooses user names can inflate a count, as in Redis itself.

/// How many registers a sketch has: the low 14 bits of the hash choose one.
pub const REGISTERS: usize = 1 << REGISTER_BITS;
/// The greatest rank: the 50 other bits of the hash are all zero.
pub const RANK_MAX: u8 = HASH_BITS as u8 + 1;

const REGISTER_BITS: u32 = 14;
const HASH_BITS: u32 = u64::BITS - REGISTER_BITS;
const SEED: u64 = 0xadc8_3b19;

const HEADER_BYTES: usize = 16;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const DENSE_BYTES: usize = HEADER_BYTES + REGISTERS * 6 / 8;
/// Redis' default `hll-sparse-max-bytes`, header included. A longer sparse value would be
/// accepted, but the first PFADD by someone else would rewrite it as dense.
const SPARSE_BYTES_MAX: usize = 3000;
/// A sparse opcode has five bits for a rank.
const SPARSE_RANK_MAX: u8 = 32;

/// The register that a user falls into, and the rank (`1..=51`) that it is raised to.
pub fn mark(user: &[u8]) -> (u16, u8) {
    let hash = murmur_hash_64a(user);
    let register = (hash & (REGISTERS as u64 - 1)) as u16;
    // The sentinel bit bounds the rank when all other bits are zero.
    let rest = (hash >> REGISTER_BITS) | (1 << HASH_BITS);
    (register, rest.trailing_zeros() as u8 + 1)
}

/// MurmurHash64A by Austin Appleby, read little-endian on every machine.
fn murmur_hash_64a(bytes: &[u8]) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, tail) = bytes.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> R)).wrapping_mul(M);
        hash = (hash ^ k).wrapping_mul(M);
    }
    if !tail.is_empty() {
        let mut word = [0; 8];
        word[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> R)).wrapping_mul(M);
    hash ^ (hash >> R)
}

/// The registers of one set of users. Meant to be kept as scratch memory: [`clear`] it,
/// raise it, encode it.
///
/// [`clear`]: Registers::clear
#[derive(Clone, PartialEq, Eq)]
pub struct Registers {
    ranks: Box<[u8; REGISTERS]>,
}

impl Registers {
    pub fn new() -> Self {
        Self { ranks: Box::new([0; REGISTERS]) }
    }

    pub fn clear(&mut self) {
        self.ranks.fill(0);
    }

    pub fn is_empty(&self) -> bool {
        self.ranks.iter().all(|&rank| rank == 0)
    }

    /// Shows `rank` to a register. Register numbers wrap at 16,384, ranks are at most 51:
    /// both hold for whatever [`mark`] returns.
    #[inline]
    pub fn raise(&mut self, register: u16, rank: u8) {
        debug_assert!(rank <= RANK_MAX);
        let slot = &mut self.ranks[register as usize % REGISTERS];
        *slot = rank.max(*slot);
    }

    /// Shows a rank to each register in turn; rank 0 changes nothing.
    pub fn raise_all(&mut self, ranks: impl IntoIterator<Item = u8>) {
        for (mine, theirs) in self.ranks.iter_mut().zip(ranks) {
            *mine = theirs.max(*mine);
        }
    }

    /// Adds the users of `other`.
    pub fn merge(&mut self, other: &Registers) {
        self.raise_all(other.ranks.iter().copied());
    }

    /// The rank of every register.
    pub fn ranks(&self) -> &[u8; REGISTERS] {
        &self.ranks
    }

    /// The estimated number of users, the same integer that PFCOUNT computes.
    ///
    /// Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017),
    /// algorithm 6. Only the histogram of ranks matters.
    pub fn count(&self) -> u64 {
        const ALPHA_INFINITY: f64 = 0.721_347_520_444_481_7;
        let registers = REGISTERS as f64;
        let histogram = self.histogram();
        let saturated = f64::from(histogram[RANK_MAX as usize]);
        let mut z = registers * tau((registers - saturated) / registers);
        for rank in (1..RANK_MAX as usize).rev() {
            z = 0.5 * (z + f64::from(histogram[rank]));
        }
        z += registers * sigma(f64::from(histogram[0]) / registers);
        // Through i64, so that the absurd (all registers full) stays below the "stale" bit.
        (ALPHA_INFINITY * registers * registers / z).round() as i64 as u64
    }

    /// How many registers hold each rank. Four partial histograms, since neighbouring
    /// registers often hold the same rank and would wait for each other's increment.
    fn histogram(&self) -> [u32; 64] {
        let mut lanes = [[0u32; 64]; 4];
        for four in self.ranks.as_chunks::<4>().0 {
            for (lane, &rank) in lanes.iter_mut().zip(four) {
                lane[rank as usize & 63] += 1;
            }
        }
        std::array::from_fn(|rank| lanes.iter().map(|lane| lane[rank]).sum())
    }

    /// The Redis string value, with [`count`](Self::count) as its cached cardinality.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_with(self.count())
    }

    /// As [`encode`](Self::encode), for a caller that knows the estimate already.
    ///
    /// Sparse where Redis would keep it sparse, else dense. Dense bodies are the bytes that
    /// PFADD builds. Sparse ones say the same registers, but PFADD cuts runs of five and
    /// more equal ranks by order of arrival, so its bytes may differ from these.
    pub fn encode_with(&self, estimate: u64) -> Vec<u8> {
        let mut value = self.sparse().unwrap_or_else(|| self.dense());
        value[8..HEADER_BYTES].copy_from_slice(&(estimate & i64::MAX as u64).to_le_bytes());
        value
    }

    fn sparse(&self) -> Option<Vec<u8>> {
        let mut value = header(SPARSE, 512);
        let mut rest = &self.ranks[..];
        while let Some(&rank) = rest.first() {
            let run_max = if rank == 0 { rest.len() } else { 4.min(rest.len()) };
            let run = rest[..run_max].iter().position(|&other| other != rank).unwrap_or(run_max);
            let length = (run - 1) as u16;
            match rank {
                0 if run <= 64 => value.push(length as u8),
                0 => value.extend(((0b01 << 14) | length).to_be_bytes()),
                1..=SPARSE_RANK_MAX => value.push(0b1000_0000 | (rank - 1) << 2 | length as u8),
                _ => return None,
            }
            if value.len() > SPARSE_BYTES_MAX {
                return None;
            }
            rest = &rest[run..];
        }
        Some(value)
    }

    fn dense(&self) -> Vec<u8> {
        let mut value = header(DENSE, DENSE_BYTES);
        value.resize(DENSE_BYTES, 0);
        let packed = value[HEADER_BYTES..].as_chunks_mut::<3>().0;
        for (packed, four) in packed.iter_mut().zip(self.ranks.as_chunks::<4>().0) {
            let [a, b, c, d] = four.map(u32::from);
            let [x, y, z, _] = (a | b << 6 | c << 12 | d << 18).to_le_bytes();
            *packed = [x, y, z];
        }
        value
    }
}

impl Default for Registers {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Registers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let raised = self.ranks.iter().enumerate().filter(|&(_, &rank)| rank > 0);
        f.debug_map().entries(raised).finish()
    }
}

fn header(encoding: u8, capacity: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(capacity.max(HEADER_BYTES));
    value.extend_from_slice(b"HYLL");
    value.push(encoding);
    value.resize(HEADER_BYTES, 0);
    value
}

/// The share of the estimate that comes from registers still at 0: x + Σ x^(2^k) · 2^(k−1).
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut weight, mut sum) = (1.0, x);
    loop {
        x *= x;
        let before = sum;
        sum += x * weight;
        weight += weight;
        if sum == before {
            return sum;
        }
    }
}

/// The share that comes from registers at the greatest rank: (1 − x − Σ (1 − x^(2^−k))² · 2^−k) / 3.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut weight, mut sum) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - x) * (1.0 - x) * weight;
        if sum == before {
            return sum / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(numbers: std::ops::Range<u32>) -> Registers {
        let mut registers = Registers::new();
        for number in numbers {
            let (register, rank) = mark(format!("user-{number}").as_bytes());
            registers.raise(register, rank);
        }
        registers
    }

    /// The inverse of `encode`, written from the layout above.
    fn decode(value: &[u8]) -> (u64, Registers) {
        let mut ranks = Vec::with_capacity(REGISTERS);
        let mut body = value[16..].iter().map(|&byte| byte as usize);
        match value[4] {
            0 => {
                let bit = |at: usize| (value[16 + at / 8] >> (at % 8)) & 1;
                let rank = |i: usize| (0..6).map(|b| bit(6 * i + b) << b).sum::<u8>();
                ranks.extend((0..REGISTERS).map(rank));
            }
            1 => {
                while let Some(byte) = body.next() {
                    let (rank, run) = match byte >> 6 {
                        0 => (0, byte + 1),
                        1 => (0, ((byte & 63) << 8 | body.next().unwrap()) + 1),
                        _ => ((byte >> 2 & 31) + 1, (byte & 3) + 1),
                    };
                    ranks.extend(std::iter::repeat_n(rank as u8, run));
                }
            }
            other => panic!("encoding {other}"),
        }
        assert_eq!(&value[..4], b"HYLL");
        assert_eq!(&value[5..8], [0; 3]);
        let ranks = ranks.into_boxed_slice().try_into().expect("covers every register");
        (u64::from_le_bytes(value[8..16].try_into().unwrap()), Registers { ranks })
    }

    #[test]
    fn names_of_every_length_hash_as_the_reference_does() {
        // From an independent implementation that was compared with a real Redis.
        assert_eq!(
            ["", "x", "user-1", "12345678", "123456789", "a longer user name"]
                .map(|name| mark(name.as_bytes())),
            [(5938, 2), (16374, 2), (90, 5), (10579, 3), (9293, 2), (13239, 9)]
        );
    }

    #[test]
    fn what_is_encoded_can_be_read_back() {
        for (n, encoding) in [(0, 1), (1, 1), (50, 1), (1500, 1), (2500, 0), (100_000, 0)] {
            let registers = users(0..n);
            let value = registers.encode();
            assert_eq!(value[4], encoding, "{n} users");
            assert_eq!(decode(&value), (registers.count(), registers), "{n} users");
        }
    }

    #[test]
    fn runs_of_zeros_and_ranks_of_every_length_survive() {
        for gap in [1, 63, 64, 65, 4000, 16_000] {
            for run in [1, 2, 3, 4, 5, 9] {
                let mut registers = Registers::new();
                for register in gap..(gap + run).min(REGISTERS as u16) {
                    registers.raise(register, 32);
                }
                let value = registers.encode();
                assert_eq!(value[4], SPARSE);
                assert_eq!(decode(&value).1, registers, "gap {gap} run {run}");
            }
        }
    }

    #[test]
    fn a_rank_beyond_32_needs_the_dense_form() {
        for (rank, encoding) in [(32, SPARSE), (33, DENSE), (RANK_MAX, DENSE)] {
            let mut registers = Registers::new();
            registers.raise(16_383, rank);
            let value = registers.encode();
            assert_eq!(value[4], encoding, "rank {rank}");
            assert_eq!(value.len() == DENSE_BYTES, encoding == DENSE);
            assert_eq!(decode(&value), (registers.count(), registers), "rank {rank}");
        }
    }

    #[test]
    fn the_sparse_form_ends_where_redis_ends_it() {
        // One opcode for the rank and one for the zero between: two bytes a register.
        let every_other = |n: u16| {
            let mut registers = Registers::new();
            (0..n).for_each(|i| registers.raise(2 * i, 1));
            registers.encode()
        };
        // 16 + 2n bytes and one more for the long run of zeros at the end.
        assert_eq!(every_other(1491).len(), 16 + 2 * 1491 + 1);
        assert_eq!(every_other(1492).len(), DENSE_BYTES);
    }

    #[test]
    fn a_union_counts_everyone_once() {
        let mut union = users(0..6000);
        union.merge(&users(4000..10_000));
        assert_eq!(union, users(0..10_000));
        let error = union.count().abs_diff(10_000);
        assert!(error < 250, "standard error is 0.81 %, got {error}");
    }

    #[test]
    fn the_estimate_is_defined_at_both_ends() {
        assert_eq!(Registers::new().count(), 0);
        let mut full = Registers::new();
        (0..REGISTERS as u16).for_each(|register| full.raise(register, RANK_MAX));
        assert!(full.count() > 1 << 60);
        assert_eq!(decode(&full.encode()).1, full);
    }
}
