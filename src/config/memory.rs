//! How much memory a configuration may take: an estimate from its caps alone.
//!
//! ```text
//! part        worst                                                    expected
//! process     64 MiB: code, threads, HTTP, producer, allocator         all of it
//! prefetch    2 × prefetch_bytes + 50 MiB per handle                   2 × prefetch_bytes
//! in_flight   in_flight_bytes                                          all of it
//! entities    Σ caps × (row + 96 + id_bytes)                           a tenth
//!               row = 5 metrics × 2 edges × windows × 8 B
//! panes       state_bytes (16 B per cell)                              a tenth
//! sketches    sketch_bytes                                             a tenth
//! boards      Σ top × windows × 2 edges × (64 + id_bytes)              a tenth
//! closed      64 MiB: closed windows that Redis may lose               a tenth
//! ids         deduplicate.bytes_max, if enabled                        all of it
//! ```
//! `prefetch` is doubled because librdkafka counts payloads, and the head of a message is
//! about as large as a small event; a fetch under way when the bound is reached still arrives.
//! "Expected" takes buffers as full and what grows with the data at a tenth of its cap.

use bytesize::ByteSize;

use super::Config;
use crate::event::Metric;

const MIB: u64 = 1 << 20;
const PROCESS_BYTES: u64 = 64 * MIB;
/// The default of librdkafka's `fetch.max.bytes`.
const FETCH_BYTES_MAX: u64 = 50 * MIB;
/// Per entity: entry of the name table, shared string head, id lists.
const NAME_BYTES: u64 = 96;
/// Per row of a board: shared string, amount, what stood there before.
const BOARD_ROW_BYTES: u64 = 64;
/// The latest and the closed edge of a window each keep a total.
const EDGES: u64 = 2;
/// The last closed windows stay in memory, to be written again when Redis loses them. With less,
/// fewer of them survive where they hold many distinct counts: with the default boards and twenty
/// busy categories a window takes 1 MiB, and forty are kept.
pub const REMEMBERED_BYTES_MAX: usize = 64 << 20;
/// How full what grows with the data is expected to be.
const EXPECTED_SHARE: u64 = 10;

/// Memory by part, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryEstimate {
    pub expected_bytes: u64,
    pub worst_bytes: u64,
    /// (name, worst case); they add up to `worst_bytes`.
    pub parts: Vec<(&'static str, u64)>,
}

impl Config {
    pub fn memory_estimate(&self) -> MemoryEstimate {
        let definitions = self.definitions();
        let limits = &self.limits;
        let windows = definitions.windows.len() as u64;
        let id_bytes = limits.id_bytes as u64;

        let row_bytes = Metric::COUNT as u64 * EDGES * windows * 8;
        let entities: u64 = definitions.dimensions.iter().map(|d| d.entities_max as u64).sum();
        let entity_bytes = entities.saturating_mul(row_bytes + NAME_BYTES + id_bytes);
        let rows: u64 = definitions.boards.iter().map(|board| board.top as u64).sum();
        let board_bytes = rows.saturating_mul(windows * EDGES * (BOARD_ROW_BYTES + id_bytes));
        let prefetch_bytes = limits.prefetch_bytes.saturating_mul(2);
        let fetch_bytes = (self.kafka.handles as u64).saturating_mul(FETCH_BYTES_MAX);
        let seen_ids = if self.deduplicate.enabled { self.deduplicate.bytes_max } else { 0 };

        // (name, expected, worst)
        let grown = |name, worst: u64| (name, worst / EXPECTED_SHARE, worst);
        let parts = [
            ("process", PROCESS_BYTES, PROCESS_BYTES),
            ("prefetch", prefetch_bytes, prefetch_bytes.saturating_add(fetch_bytes)),
            ("in_flight", limits.in_flight_bytes, limits.in_flight_bytes),
            grown("entities", entity_bytes),
            grown("panes", limits.state_bytes),
            grown("sketches", limits.sketch_bytes),
            grown("boards", board_bytes),
            grown("closed", REMEMBERED_BYTES_MAX as u64),
            ("seen_ids", seen_ids, seen_ids),
        ];
        let sum = |bytes: fn(&(&'static str, u64, u64)) -> u64| {
            parts.iter().map(bytes).fold(0, u64::saturating_add)
        };
        MemoryEstimate {
            expected_bytes: sum(|part| part.1),
            worst_bytes: sum(|part| part.2),
            parts: parts.iter().map(|&(name, _, worst)| (name, worst)).collect(),
        }
    }
}

/// `memory expected 0.9 GiB, at most 7.1 GiB (panes 4.0 GiB, …)`, largest first.
impl std::fmt::Display for MemoryEstimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = |bytes| ByteSize(bytes).display().iec();
        let mut parts = self.parts.clone();
        parts.retain(|(_, bytes)| *bytes > 0);
        parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        let parts: Vec<String> =
            parts.iter().map(|(name, bytes)| format!("{name} {}", size(*bytes))).collect();
        write!(
            f,
            "memory expected {}, at most {} ({})",
            size(self.expected_bytes),
            size(self.worst_bytes),
            parts.join(", ")
        )
    }
}
