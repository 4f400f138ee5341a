//! The latest views, checked after the fact: a sample says at which offsets it was taken, so
//! the log up to there says what it had to be.

use std::collections::HashMap;

use super::compare::{Differences, Published, Tally, compare_fields, compare_views};
use super::observed::{Keys, LatestSnapshot, Rows};
use super::oracle::definitions::{Definitions, Window};
use super::oracle::facts::Facts;
use super::oracle::window::{Counter, SketchOf};

/// A sample that was compared, or the reason why it could not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    Compared {
        demanded: Tally,
        found: Tally,
    },
    /// Nothing had been published of this window yet.
    NotPublished,
}

/// `"click/0=17,click/1=4"` as (topic, partition) → next offset. `None` if it reads otherwise.
fn parse_offsets(text: &str) -> Option<HashMap<(&str, u32), i64>> {
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (place, next) = part.split_once('=')?;
            let (topic, partition) = place.rsplit_once('/')?;
            Some(((topic, partition.parse().ok()?), next.parse().ok()?))
        })
        .collect()
}

pub fn compare_latest(
    definitions: &Definitions,
    keys: &Keys,
    facts: &Facts,
    counter: &mut Counter<'_>,
    snapshot: &LatestSnapshot,
    differences: &mut Differences,
) -> Judged {
    let label = snapshot.window.as_str();
    let Some(window) = definitions.windows.iter().find(|window| window.label == label) else {
        return Judged::NotPublished;
    };
    let field = |name: &str| snapshot.meta.get(&format!("{name}:{label}")).map(String::as_str);
    let Some(offsets) = field("offsets") else { return Judged::NotPublished };
    let meta = keys.meta();
    let Some(next_by_partition) = parse_offsets(offsets) else {
        differences.add(&meta, &format!("offsets:{label}"), "topic/partition=next,…", offsets);
        return Judged::NotPublished;
    };
    // By the numbers of the facts' partitions: a partition that is not named has not been read.
    let next: Vec<i64> = facts
        .partitions
        .iter()
        .map(|trace| {
            let place = (trace.topic.as_str(), trace.partition);
            next_by_partition.get(&place).copied().unwrap_or(0)
        })
        .collect();
    let newest = facts.partitions.iter().zip(&next);
    let newest = newest.filter_map(|(trace, &next)| trace.newest_before(next)).max();
    let number = |name: &str| field(name).and_then(|text| text.parse::<i64>().ok());
    let (Some(newest), Some(stream_time), Some(end)) =
        (newest, number("stream_time"), number("window_end"))
    else {
        return Judged::NotPublished;
    };
    // Stream time may run ahead of the log while every partition is quiet, never behind it.
    if stream_time < newest {
        differences.add(&meta, &format!("stream_time:{label}"), newest, stream_time);
    }
    let Window { slide_ms, .. } = *window;
    let expected_end = (stream_time.div_euclid(slide_ms) + 1) * slide_ms;
    if end != expected_end {
        differences.add(&meta, &format!("window_end:{label}"), expected_end, end);
    }
    let truth = counter.count(window, end, |fact| fact.offset < next[fact.partition as usize]);
    compare_fields(&keys.totals(label), &truth, &snapshot.totals, differences);

    let empty = Rows::new();
    let boards: Vec<(String, &Rows)> = definitions
        .boards
        .iter()
        .map(|board| {
            let key = keys.top(&board.dimension, board.metric, label, None);
            let rows = snapshot.boards.get(&key).unwrap_or(&empty);
            (key, rows)
        })
        .collect();
    // Sketches that were asked for; and every one that exists was asked for.
    let expected: Vec<(String, &SketchOf)> = truth
        .sketches
        .keys()
        .map(|of| (keys.uniques(definitions, of, label, None), of))
        .filter(|(key, _)| snapshot.values.contains_key(key))
        .collect();
    for (key, value) in &snapshot.values {
        if value.is_some() && !expected.iter().any(|(expected, _)| expected == key) {
            differences.add(key, "", "no such key, for it has no user", "a value");
        }
    }
    let sketches = expected
        .into_iter()
        .map(|(key, of)| {
            let value = snapshot.values.get(&key).and_then(Option::as_deref);
            (key, of, value)
        })
        .collect();
    let published = Published { boards, sketches };
    let (demanded, found) = compare_views(&truth, &published, differences);
    Judged::Compared { demanded, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_vectors_are_read() {
        let offsets = parse_offsets("shop/clicks/0=17,wishlist/11=4").unwrap();
        assert_eq!(offsets[&("shop/clicks", 0)], 17);
        assert_eq!(offsets[&("wishlist", 11)], 4);
        assert!(parse_offsets("").unwrap().is_empty());
        assert_eq!(parse_offsets("click=4"), None);
    }
}
