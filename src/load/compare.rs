//! Truth against what was published, window by window.
//!
//! Everything that the log demands must be there and equal; everything that is there must be
//! demanded. The one freedom: after a window with content one empty window may be closed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::observed::{Fields, Keys, Observed, Rows};
use super::oracle::definitions::Definitions;
use super::oracle::registers::Registers;
use super::oracle::window::{SketchOf, Truth};

/// Two things that should be equal and are not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub key: String,
    /// The member, field or register; empty when the whole key is meant.
    pub member: String,
    pub expected: String,
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, member, expected, found } = self;
        let member = if member.is_empty() { String::new() } else { format!(" {member}") };
        write!(f, "{key}{member}: expected {expected}, found {found}")
    }
}

/// Differences: all are counted, the first are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Differences {
    pub count: u64,
    pub first: Vec<Difference>,
    /// How many are kept.
    #[serde(skip, default = "kept")]
    pub kept_max: usize,
}

/// As many as somebody reads.
pub const KEPT: usize = 50;

fn kept() -> usize {
    KEPT
}

impl Default for Differences {
    fn default() -> Self {
        Self { count: 0, first: Vec::new(), kept_max: KEPT }
    }
}

impl Differences {
    pub fn add(
        &mut self,
        key: &str,
        member: &str,
        expected: impl fmt::Display,
        found: impl fmt::Display,
    ) {
        self.count += 1;
        if self.first.len() < self.kept_max {
            self.first.push(Difference {
                key: key.to_owned(),
                member: member.to_owned(),
                expected: expected.to_string(),
                found: found.to_string(),
            });
        }
    }
}

/// How much was demanded, and how much of it was there (equal or not).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub windows: u64,
    /// Boards with at least one member.
    pub boards: u64,
    pub members: u64,
    /// Distinct counts with at least one user.
    pub sketches: u64,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.windows += other.windows;
        self.boards += other.boards;
        self.members += other.members;
        self.sketches += other.sketches;
    }
}

const NOTHING: &str = "nothing";

/// What was published of one window, read in one go.
pub struct Published<'a> {
    pub boards: Vec<(String, &'a Rows)>,
    pub sketches: Vec<(String, &'a SketchOf, Option<&'a [u8]>)>,
}

/// Compares the boards and distinct counts of one window; returns (demanded, found).
pub fn compare_views(
    truth: &Truth,
    published: &Published<'_>,
    differences: &mut Differences,
) -> (Tally, Tally) {
    let (mut demanded, mut found) = (Tally::default(), Tally::default());
    for (rows, (key, published)) in truth.boards.iter().zip(&published.boards) {
        demanded.boards += u64::from(!rows.is_empty());
        demanded.members += rows.len() as u64;
        let expected: HashSet<&str> = rows.iter().map(|(member, _)| member.as_str()).collect();
        let there = published.iter().filter(|(member, _)| expected.contains(member.as_str()));
        let there = there.count() as u64;
        found.members += there;
        found.boards += u64::from(!rows.is_empty() && !published.is_empty());
        compare_board(key, rows, published, differences);
    }
    for (key, of, value) in &published.sketches {
        let expected = truth.sketches.get(*of);
        demanded.sketches += u64::from(expected.is_some());
        found.sketches += u64::from(expected.is_some() && value.is_some());
        compare_sketch(key, expected, *value, differences);
    }
    (demanded, found)
}

fn compare_board(
    key: &str,
    expected: &[(String, u64)],
    found: &Rows,
    differences: &mut Differences,
) {
    if found.is_empty() && !expected.is_empty() {
        let expected = format!("a board of {} members", expected.len());
        differences.add(key, "", expected, "no such key");
        return;
    }
    let scores: BTreeMap<&str, f64> = found.iter().map(|(m, score)| (m.as_str(), *score)).collect();
    let before = differences.count;
    for (member, score) in expected {
        match scores.get(member.as_str()) {
            None => differences.add(key, member, score, NOTHING),
            // Redis keeps scores as doubles: exact up to 2^53, and we compare what it can keep.
            Some(found) if *found != *score as f64 => differences.add(key, member, score, found),
            Some(_) => {}
        }
    }
    let members: BTreeSet<&str> = expected.iter().map(|(member, _)| member.as_str()).collect();
    for (member, score) in found.iter().filter(|(member, _)| !members.contains(member.as_str())) {
        differences.add(key, member, NOTHING, score);
    }
    // With equal members and scores the order is Redis's own; it must be the documented one.
    if differences.count == before {
        for (rank, ((expected, _), (found, _))) in expected.iter().zip(found).enumerate() {
            if expected != found {
                differences.add(key, &format!("rank {}", rank + 1), expected, found);
                return;
            }
        }
    }
}

fn compare_sketch(
    key: &str,
    expected: Option<&Registers>,
    found: Option<&[u8]>,
    differences: &mut Differences,
) {
    let empty = Registers::default();
    match (expected, found) {
        (None, None) => {}
        (Some(expected), None) => differences.add(key, "", format!("{expected:?}"), "no such key"),
        (expected, Some(value)) => match Registers::decode(value) {
            Err(why) => differences.add(key, "", "a HyperLogLog", why),
            Ok((registers, cached)) => {
                let expected = expected.unwrap_or(&empty);
                if let Some((at, rank, found)) = expected.first_difference(&registers) {
                    differences.add(key, &format!("register {at}"), rank, found);
                } else if let Some(cached) = cached.filter(|&c| c != expected.estimate()) {
                    differences.add(key, "cached cardinality", expected.estimate(), cached);
                }
            }
        },
    }
}

/// Compares the numbers of a history entry or a totals hash.
pub fn compare_fields(key: &str, truth: &Truth, found: &Fields, differences: &mut Differences) {
    let expected = truth.fields();
    for (field, value) in &expected {
        match found.get(field).map(String::as_str) {
            // A field that is 0 may be left out; but conversion without a figure means: no clicks.
            None if *value == 0 && field != "conversion" => {}
            None => differences.add(key, field, value, NOTHING),
            Some(found) if found.parse() != Ok(*value) => differences.add(key, field, value, found),
            Some(_) => {}
        }
    }
    let is_number_of_ours = |field: &str| {
        field == "conversion"
            || ["revenue_minor.", "orders.", "uniques."].iter().any(|p| field.starts_with(p))
    };
    for (field, found) in found {
        // Conversion must be absent without clicks, even as 0.
        let harmless = found == "0" && field != "conversion";
        if is_number_of_ours(field) && !expected.contains_key(field) && !harmless {
            differences.add(key, field, NOTHING, found);
        }
    }
    for (field, value) in [("window_start", truth.start_ms), ("window_end", truth.end_ms)] {
        match found.get(field) {
            Some(found) if found.parse() == Ok(value) => {}
            Some(found) => differences.add(key, field, value, found),
            None => differences.add(key, field, value, NOTHING),
        }
    }
}

/// What there should be of a closed window.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    pub entry: Option<&'a Fields>,
    /// Whether boards and distinct counts have not been trimmed yet.
    pub has_views: bool,
}

/// Compares one closed window; returns (demanded, found).
pub fn compare_closed(
    definitions: &Definitions,
    keys: &Keys,
    window: &str,
    truth: &Truth,
    Kept { entry, has_views }: Kept<'_>,
    observed: &mut dyn Observed,
    differences: &mut Differences,
) -> anyhow::Result<(Tally, Tally)> {
    let history = format!("{} {}-0", keys.history(window), truth.end_ms);
    match entry {
        Some(fields) => compare_fields(&history, truth, fields, differences),
        None => differences.add(
            &history,
            "",
            format!("an entry with {} events", truth.totals.events),
            "no such entry",
        ),
    }
    let (mut demanded, mut found) = (Tally::default(), Tally::default());
    if has_views {
        let names = closed_keys(definitions, keys, window, truth);
        let sketch_keys: Vec<String> = names.sketches.iter().map(|(key, _)| key.clone()).collect();
        let (rows, values) = observed.views(&names.boards, &sketch_keys)?;
        let published = Published {
            boards: names.boards.into_iter().zip(&rows).collect(),
            sketches: names
                .sketches
                .into_iter()
                .zip(&values)
                .map(|((key, of), value)| (key, of, value.as_deref()))
                .collect(),
        };
        (demanded, found) = compare_views(truth, &published, differences);
    }
    demanded.windows = 1;
    found.windows = u64::from(entry.is_some());
    Ok((demanded, found))
}

/// The keys of a closed window: all boards, and the sketches that have users.
pub struct ClosedKeys<'a> {
    pub boards: Vec<String>,
    pub sketches: Vec<(String, &'a SketchOf)>,
}

pub fn closed_keys<'a>(
    definitions: &Definitions,
    keys: &Keys,
    window: &str,
    truth: &'a Truth,
) -> ClosedKeys<'a> {
    let end = Some(truth.end_ms);
    ClosedKeys {
        boards: definitions
            .boards
            .iter()
            .map(|board| keys.top(&board.dimension, board.metric, window, end))
            .collect(),
        sketches: truth
            .sketches
            .keys()
            .map(|of| (keys.uniques(definitions, of, window, end), of))
            .collect(),
    }
}

/// History entries that no record demands. One empty window may follow a window with content.
pub fn compare_surplus(
    key: &str,
    demanded: &BTreeSet<i64>,
    closed_step_ms: i64,
    entries: &BTreeMap<i64, Fields>,
    differences: &mut Differences,
) {
    for (end, fields) in entries.iter().filter(|(end, _)| !demanded.contains(end)) {
        let place = format!("{key} {end}-0");
        let events = fields.get("events").map_or("0", String::as_str);
        if events != "0" {
            differences.add(&place, "events", "no entry, for the window is empty", events);
        } else if !demanded.contains(&(end - closed_step_ms)) {
            let expected = "no entry, for the window before it is empty as well";
            differences.add(&place, "", expected, "an entry");
        }
    }
}
