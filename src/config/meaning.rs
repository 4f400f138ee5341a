//! What the published numbers mean, as far as the configuration decides it.
//!
//! State that was built under one meaning must not be continued under another: half a day of
//! one window size and half a day of the next is neither. A start compares [`Config::meaning`]
//! with what the state was built under, refuses when they differ, and names the key.

use std::collections::BTreeMap;

use super::Config;
use super::format::duration;
use crate::event::Kind;

/// Raised when the same configuration comes to mean something else, or state changes its form.
const FORMAT_VERSION: u32 = 1;

impl Config {
    /// Every key that decides what is counted where, with its effective value. Defaults are
    /// resolved first, so writing a default down changes nothing. Windows are named by their
    /// size and views by their dimension, so that their order in the file does not matter.
    pub fn meaning(&self) -> BTreeMap<String, String> {
        let definitions = self.definitions();
        let mut meaning = BTreeMap::from([
            ("format".to_owned(), FORMAT_VERSION.to_string()),
            ("time.lateness".to_owned(), duration(self.time.lateness)),
            ("time.max_future".to_owned(), duration(self.time.max_future)),
            ("money.currency".to_owned(), definitions.currency),
            ("deduplicate.enabled".to_owned(), self.deduplicate.enabled.to_string()),
            ("limits.sketch_bytes".to_owned(), self.limits.sketch_bytes.to_string()),
            ("limits.record_bytes".to_owned(), self.limits.record_bytes.to_string()),
            ("limits.id_bytes".to_owned(), self.limits.id_bytes.to_string()),
        ]);
        let mut put = |key: String, value: String| meaning.insert(key, value);
        for window in &definitions.windows {
            let label = &window.label;
            put(format!("window.{label}.slide"), window.slide.label());
            put(format!("window.{label}.closed_step"), window.closed_step.label());
        }
        for kind in Kind::ALL {
            put(format!("topics.{}", kind.name()), self.topics.of(kind).to_owned());
        }
        for (key, field) in self.field_names() {
            put(format!("fields.{key}"), field.to_owned());
        }
        for dimension in &definitions.dimensions {
            let name = &dimension.name;
            put(format!("view.{name}.field"), dimension.field.clone());
            put(format!("limits.entities.{name}"), dimension.entities_max.to_string());
            put(format!("uniques.{name}"), dimension.uniques.to_string());
        }
        for board in &definitions.boards {
            let dimension = &definitions.dimensions[board.dimension].name;
            put(format!("view.{dimension}.{}.top", board.metric.name()), board.top.to_string());
        }
        if self.deduplicate.enabled {
            put("deduplicate.bytes_max".to_owned(), self.deduplicate.bytes_max.to_string());
        }
        meaning
    }

    /// A short name for [`Config::meaning`]: equal meanings have equal hashes, on every machine
    /// and in every version that has the same keys. It guards against mistakes, not attackers.
    pub fn meaning_hash(&self) -> String {
        let mut hash = FNV_OFFSET;
        for (key, value) in self.meaning() {
            // The lengths keep `a` = `bc` apart from `ab` = `c`.
            for byte in format!("{}:{key}{}:{value}", key.len(), value.len()).bytes() {
                hash = (hash ^ u128::from(byte)).wrapping_mul(FNV_PRIME);
            }
        }
        format!("{hash:032x}")
    }
}

/// FNV-1a with 128 bits: a few lines that any language can repeat.
const FNV_OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const FNV_PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
