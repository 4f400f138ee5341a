//! Where each partition stood at the last checkpoint, and what keeps it there: pure.
//!
//! The manifest holds what the leader knew: cursors, newest event times, quiet marks. So how far a
//! partition lets windows close, D = max(C, q − lateness), can be told without asking a daemon.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::{seconds, time};
use crate::pipeline::checkpoint::Cut;
use crate::pipeline::clock::SavedPartitionClock;
use crate::pipeline::delivery::Partition;
use crate::time::Span;

/// Rows that are shown to people; all are in the JSON.
const ROWS: usize = 12;

/// Times in milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PartitionStatus {
    /// `topic/partition`
    pub partition: String,
    /// The next offset to be merged.
    pub cursor: i64,
    /// Records from the cursor to the end of the log; `None`: the log was not found.
    pub records_behind: Option<u64>,
    /// C: a record before this is late. `None` before the first record.
    pub watermark: Option<i64>,
    /// D: windows up to here may close, as far as this partition is concerned.
    pub lets_close: Option<i64>,
    /// The broker has said that nothing is left, when stream time was this.
    pub quiet_at: Option<i64>,
}

/// The partitions of a cut, those first that hold back the most.
pub fn partitions(
    cut: &Cut,
    lateness: Span,
    name: impl Fn(Partition) -> String,
    ends: &BTreeMap<String, i64>,
) -> Vec<PartitionStatus> {
    let clocks: BTreeMap<Partition, &SavedPartitionClock> =
        cut.clock.partitions.iter().map(|(id, clock)| (*id, clock)).collect();
    let mut rows: Vec<PartitionStatus> = cut
        .positions
        .iter()
        .map(|(id, position)| {
            let partition = name(*id);
            let clock = clocks.get(id);
            let (newest, quiet) = clock.map_or((None, None), |clock| (clock.newest, clock.quiet));
            let end = ends.get(&partition);
            PartitionStatus {
                cursor: position.cursor,
                records_behind: end.map(|end| (end - position.cursor).max(0) as u64),
                watermark: newest.map(|newest| (newest - lateness).millis()),
                lets_close: newest.max(quiet).map(|time| (time - lateness).millis()),
                quiet_at: quiet.map(|quiet| quiet.millis()),
                partition,
            }
        })
        .collect();
    rows.sort_by(|a, b| (a.lets_close, &a.partition).cmp(&(b.lets_close, &b.partition)));
    rows
}

impl PartitionStatus {
    /// Why windows close no further.
    pub fn reason(&self) -> String {
        match (self.records_behind, self.lets_close) {
            (None, _) => "its log was not found".to_owned(),
            (Some(records), _) if records > 0 => format!("{records} records of it are not merged"),
            (_, None) => "nothing has come from it yet, nor has its end been confirmed".to_owned(),
            (_, lets_close) if lets_close > self.watermark => {
                format!("nothing has come from it since stream time {}", time(self.quiet_at))
            }
            _ => "all of it is merged; its next record, or its silence, moves it".to_owned(),
        }
    }
}

/// The first rows as a table.
pub struct Table<'a> {
    pub rows: &'a [PartitionStatus],
    pub checkpoint_ago_millis: Option<i64>,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, checkpoint_ago_millis: Some(ago) } = self else {
            return writeln!(f, "\nno checkpoint tells of the partitions");
        };
        let wide = rows.iter().map(|row| row.partition.len()).max().unwrap_or(0).max(9);
        writeln!(
            f,
            "\n{:wide$}  {:>12}  {:>8}  {:22}lets close until",
            "partition", "cursor", "behind", "watermark"
        )?;
        for row in rows.iter().take(ROWS) {
            let PartitionStatus { partition, cursor, watermark, lets_close, .. } = row;
            let behind = row.records_behind.map_or_else(|| "-".into(), |n| n.to_string());
            let (watermark, lets_close) = (time(*watermark), time(*lets_close));
            writeln!(
                f,
                "{partition:wide$}  {cursor:>12}  {behind:>8}  {watermark:22}{lets_close}"
            )?;
        }
        let more = rows.len().saturating_sub(ROWS);
        let rest = if more == 0 { String::new() } else { format!("{more} more, further on; ") };
        writeln!(f, "({rest}as of the checkpoint, {} ago)", seconds(*ago))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;
    use crate::pipeline::checkpoint::SavedWindows;
    use crate::pipeline::clock::SavedClock;
    use crate::pipeline::distinct::SavedEdges;
    use crate::pipeline::merge::Position;
    use crate::time::EventTime;

    const T0: i64 = 1_700_000_000_000;

    fn cut(partitions: &[(i64, Option<i64>, Option<i64>)]) -> Cut {
        let id = |index: usize| Partition { kind: Kind::Click, index: index as i32 };
        let at = |secs: Option<i64>| secs.map(|secs| EventTime::from_millis(T0 + secs * 1000));
        let clock = |(index, &(_, newest, quiet)): (usize, &(i64, Option<i64>, Option<i64>))| {
            let (newest, quiet) = (at(newest), at(quiet));
            let clock = SavedPartitionClock {
                newest,
                quiet,
                covered_from: None,
                coverage_is_provisional: false,
            };
            (id(index), clock)
        };
        Cut {
            positions: partitions
                .iter()
                .enumerate()
                .map(|(index, one)| (id(index), Position::start(one.0)))
                .collect(),
            clock: SavedClock {
                partitions: partitions.iter().enumerate().map(clock).collect(),
                ..SavedClock::default()
            },
            windows: SavedWindows { rolled_to: vec![], edges: vec![], after_content: vec![] },
            sketch_edges: SavedEdges { folded: 0, ahead_from: 0, oldest: 0, ahead_refused: 0 },
            sketches: vec![],
            closed_through: vec![],
            events_after_close: 0,
            over_cap: 0,
        }
    }

    #[test]
    fn who_holds_back_the_most_comes_first_and_says_why() {
        let cut = cut(&[
            (100, Some(70), Some(10)),
            (40, Some(20), None),
            (7, Some(5), Some(65)),
            (0, None, None),
            (9, Some(66), None),
        ]);
        let ends = [("click/0", 100), ("click/1", 60), ("click/2", 7), ("click/3", 0)];
        let ends = ends.map(|(name, end)| (name.to_owned(), end)).into();
        let name = |id: Partition| format!("click/{}", id.index);
        let rows = partitions(&cut, Span::from_secs(60), name, &ends);
        let reasons: Vec<String> =
            rows.iter().map(|row| format!("{}: {}", row.partition, row.reason())).collect();
        insta::assert_snapshot!(reasons.join("\n"), @r"
        click/3: nothing has come from it yet, nor has its end been confirmed
        click/1: 20 records of it are not merged
        click/2: nothing has come from it since stream time 2023-11-14T22:14:25Z
        click/4: its log was not found
        click/0: all of it is merged; its next record, or its silence, moves it
        ");
        let table = Table { rows: &rows, checkpoint_ago_millis: Some(3100) };
        insta::assert_snapshot!(table, @r"

        partition        cursor    behind  watermark             lets close until
        click/3               0         0  -                     -
        click/1              40        20  2023-11-14T22:12:40Z  2023-11-14T22:12:40Z
        click/2               7         0  2023-11-14T22:12:25Z  2023-11-14T22:13:25Z
        click/4               9         -  2023-11-14T22:13:26Z  2023-11-14T22:13:26Z
        click/0             100         0  2023-11-14T22:13:30Z  2023-11-14T22:13:30Z
        (as of the checkpoint, 3.1s ago)
        ");
        let many = vec![PartitionStatus::default(); ROWS + 3];
        let table = Table { rows: &many, checkpoint_ago_millis: Some(0) }.to_string();
        assert!(table.contains("(3 more, further on; as of"), "{table}");
        assert_eq!(table.lines().count(), ROWS + 3, "{table}");
    }
}
