//! One consistent cut of the views of a window, as values.

use serde::Serialize;

use super::what::BoardName;
use crate::load::artefacts::timeline::DaemonSecond;
use crate::load::observed::Fields;
use crate::load::terminal::board::Rows;
use crate::load::terminal::totals::Numbers;

/// Of the JSON: docs/schema/top-1.json describes it.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Picture {
    pub format: u32,
    pub prefix: String,
    pub window: String,
    /// This machine's clock when it was read: what ages are counted to.
    pub read_at_ms: i64,
    pub window_start_ms: Option<i64>,
    pub window_end_ms: Option<i64>,
    /// Milliseconds since the epoch.
    pub times_ms: Moments,
    /// The same as milliseconds before `read_at_ms`; negative if the clocks of two machines differ.
    pub ages_ms: Moments,
    /// How far the slowest partition that progresses is behind the newest event.
    pub slowest_behind_ms: Option<i64>,
    pub leader: Leader,
    /// A bounded run has ended here.
    pub ended: bool,
    pub complete: bool,
    /// Partitions that are left out.
    pub missing: Vec<String>,
    /// The partition that windows wait for.
    pub held_back_by: Option<String>,
    pub events_after_close: u64,
    pub over_cap: u64,
    /// Records of all partitions up to the offsets of the views, counted from offset 0: of use for
    /// differences only, as a log may begin later.
    #[serde(skip)]
    pub next_offsets: u64,
    pub currency: String,
    pub totals: Numbers,
    pub boards: Vec<Board>,
    /// The last closed windows, newest first.
    pub closed: Vec<Numbers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daemon: Option<DaemonSecond>,
}

/// What freshness is read from. `None`: not known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Moments {
    /// The newest event that these views count.
    pub stream_time: Option<i64>,
    /// When they were written.
    pub flushed_at: Option<i64>,
    pub group_watermark: Option<i64>,
    /// The end of the newest closed window.
    pub closed_through: Option<i64>,
}

impl Moments {
    pub fn ages(self, now_ms: i64) -> Moments {
        let age = |time: Option<i64>| time.map(|ms| now_ms.saturating_sub(ms));
        Moments {
            stream_time: age(self.stream_time),
            flushed_at: age(self.flushed_at),
            group_watermark: age(self.group_watermark),
            closed_through: age(self.closed_through),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Leader {
    /// The token of the one that wrote last.
    pub token: Option<String>,
    /// `None`: nobody holds the lease.
    pub lease_left_ms: Option<i64>,
    /// A number that grows with every write.
    pub seq: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Board {
    pub dimension: String,
    pub metric: &'static str,
    #[serde(serialize_with = "rows")]
    pub rows: Rows,
}

/// `[{"id": "p1", "score": 3}]`
fn rows<S: serde::Serializer>(rows: &Rows, serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Row<'a> {
        id: &'a str,
        score: u64,
    }
    serializer.collect_seq(rows.iter().map(|(id, score)| Row { id, score: *score }))
}

impl Picture {
    /// What meta says of a window.
    pub fn of_meta(prefix: &str, window: &str, meta: &Fields, read_at_ms: i64) -> Self {
        let text = |name: &str| meta.get(name).filter(|text| !text.is_empty());
        let number = |name: &str| text(name)?.parse::<i64>().ok();
        let count = |name: &str| text(name)?.parse::<u64>().ok();
        let of_window = |name: &str| number(&format!("{name}:{window}"));
        let offsets = text(&format!("offsets:{window}")).map_or("", String::as_str);
        let times_ms = Moments {
            stream_time: of_window("stream_time"),
            flushed_at: of_window("flushed_at"),
            group_watermark: number("group_watermark"),
            closed_through: of_window("closed_through"),
        };
        let slowest = number("slowest_progressing");
        let newest = number("stream_time");
        Picture {
            format: FORMAT,
            prefix: prefix.to_owned(),
            window: window.to_owned(),
            read_at_ms,
            window_start_ms: of_window("window_start"),
            window_end_ms: of_window("window_end"),
            times_ms,
            ages_ms: times_ms.ages(read_at_ms),
            slowest_behind_ms: newest
                .zip(slowest)
                .map(|(newest, slowest)| newest.saturating_sub(slowest).max(0)),
            leader: Leader {
                token: text("leader").cloned(),
                lease_left_ms: None,
                seq: count("seq"),
            },
            ended: number("ended") == Some(1),
            complete: number("complete") == Some(1),
            missing: text("missing")
                .map(|names| names.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
            held_back_by: text("held_back_by").cloned(),
            events_after_close: count("events_after_close").unwrap_or(0),
            over_cap: count("over_cap").unwrap_or(0),
            next_offsets: sum_offsets(offsets),
            ..Picture::default()
        }
    }

    /// Whether the latest views of the window have been written.
    pub fn is_published(&self) -> bool {
        self.window_end_ms.is_some()
    }
}

impl Board {
    /// Scores are whole numbers that Redis keeps as doubles.
    pub fn new(name: &BoardName, rows: Vec<(String, f64)>) -> Self {
        Board {
            dimension: name.dimension.clone(),
            metric: name.metric.name(),
            rows: rows.into_iter().map(|(id, score)| (id, score as u64)).collect(),
        }
    }

    pub fn is_money(&self) -> bool {
        self.metric == "revenue_minor"
    }
}

/// `<topic>/<partition>=<next offset>,…`
fn sum_offsets(text: &str) -> u64 {
    let offsets = text.split(',').filter_map(|part| part.rsplit_once('='));
    offsets.filter_map(|(_, offset)| offset.parse::<u64>().ok()).fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_is_read_for_one_window() {
        let meta: Fields = [
            ("stream_time", "1000900"),
            ("stream_time:1m", "1000500"),
            ("stream_time:5m", "990000"),
            ("slowest_progressing", "1000200"),
            ("group_watermark", "940000"),
            ("offsets:1m", "a=b/0=7,click/1=3"),
            ("window_end:1m", "1001000"),
            ("missing", "click/3,click/4"),
            ("held_back_by", ""),
            ("seq", "12"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let picture = Picture::of_meta("shop", "1m", &meta, 1_001_000);
        assert_eq!(picture.times_ms.stream_time, Some(1_000_500));
        assert_eq!(picture.ages_ms.stream_time, Some(500));
        assert_eq!(picture.ages_ms.group_watermark, Some(61_000));
        assert_eq!(picture.ages_ms.flushed_at, None);
        assert_eq!(picture.slowest_behind_ms, Some(700));
        assert_eq!(picture.next_offsets, 10);
        assert_eq!(picture.missing, ["click/3", "click/4"]);
        assert_eq!((picture.held_back_by.as_deref(), picture.leader.seq), (None, Some(12)));
        assert!(picture.is_published() && !picture.complete);
        assert!(!Picture::of_meta("shop", "5m", &meta, 0).is_published());
    }
}
