//! The picture: text made from a snapshot and a few facts, pure.

use console::truncate_str;

use super::snapshot::{HISTORY, ROWS, SHOWN, Snapshot, WINDOW};
use crate::event::Metric;
use crate::load::terminal::board::{self, Panel, side_by_side};
use crate::load::terminal::ink::Ink;
use crate::load::terminal::totals::{activity, closed, results};
use crate::load::terminal::words::{grouped, printable};

/// What the demo's storefront sells in.
const CURRENCY: &str = "USD";

/// What stands beside the views.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub elapsed_seconds: u64,
    /// `None`: until Ctrl-C.
    pub ends_after_seconds: Option<u64>,
    /// Over the last moments.
    pub events_per_second: u64,
    pub produced: u64,
    pub now_ms: i64,
    /// Lines that tell how to look oneself.
    pub hints: Vec<String>,
    pub ink: Ink,
}

impl Facts {
    fn clock(&self) -> String {
        let shown = |seconds: u64| format!("{:02}:{:02}", seconds / 60, seconds % 60);
        match self.ends_after_seconds {
            Some(end) => format!("{} of {}", shown(self.elapsed_seconds), shown(end)),
            None => format!("{}, Ctrl-C ends", shown(self.elapsed_seconds)),
        }
    }

    fn lag(&self, snapshot: &Snapshot) -> u64 {
        self.produced.saturating_sub(snapshot.readable)
    }

    fn freshness(&self, snapshot: &Snapshot) -> String {
        match snapshot.flushed_at_ms {
            Some(at) => format!("{:.1} s", (self.now_ms - at).max(0) as f64 / 1000.0),
            None => "-".to_owned(),
        }
    }
}

/// The whole picture for a terminal, at most `width` columns wide.
pub fn frame(snapshot: &Snapshot, facts: &Facts, width: usize) -> Vec<String> {
    let mut lines = vec![
        format!(
            "{}  {}  {}",
            facts.ink.emphasis("nazar demo"),
            facts.clock(),
            facts.ink.aside("broker: librdkafka's mock, in process")
        ),
        format!(
            "{} events/s readable   {} records   lag {}   freshness {}",
            facts.ink.emphasis(&grouped(facts.events_per_second)),
            grouped(snapshot.readable),
            grouped(facts.lag(snapshot)),
            facts.freshness(snapshot)
        ),
        String::new(),
        format!(
            "{}  {}",
            facts.ink.emphasis(&format!("last {WINDOW}")),
            activity(&snapshot.totals)
        ),
        format!("         {}", results(&snapshot.totals, CURRENCY)),
        String::new(),
    ];
    lines.extend(panels(snapshot, facts.ink, width));
    lines.push(String::new());
    lines.push(facts.ink.emphasis(&format!("closed {WINDOW} windows, newest first (UTC)")));
    lines.extend(history(snapshot));
    lines.push(String::new());
    lines.extend(facts.hints.iter().map(|hint| facts.ink.aside(hint)));
    lines.iter().map(|line| truncate_str(line, width, "…").into_owned()).collect()
}

/// The same in one line, for a log.
pub fn line(snapshot: &Snapshot, facts: &Facts) -> String {
    let leader = |at: usize| {
        let first = snapshot.boards.get(at).and_then(|board| board.first());
        first.map_or("-", |(name, _)| name.as_str())
    };
    format!(
        "{:>4}s  {} events/s  lag {}  freshness {}  {WINDOW}: {}  {}  boards: {}, {}, {}",
        facts.elapsed_seconds,
        grouped(facts.events_per_second),
        grouped(facts.lag(snapshot)),
        facts.freshness(snapshot),
        activity(&snapshot.totals),
        results(&snapshot.totals, CURRENCY),
        printable(leader(0)),
        printable(leader(1)),
        printable(leader(2))
    )
}

fn panels(snapshot: &Snapshot, ink: Ink, width: usize) -> Vec<String> {
    let panels: Vec<Panel<'_>> = SHOWN
        .iter()
        .enumerate()
        .map(|(at, (title, _, metric))| Panel {
            title: ink.emphasis(title),
            rows: snapshot.boards.get(at).map_or(&[][..], Vec::as_slice),
            currency: (*metric == Metric::RevenueMinor).then_some(CURRENCY),
        })
        .collect();
    // Where they have to stand above one another, fewer rows keep the picture on the screen.
    let rows = if side_by_side(SHOWN.len(), width) == SHOWN.len() { ROWS } else { ROWS / 2 };
    board::panels(&panels, rows, width)
}

fn history(snapshot: &Snapshot) -> Vec<String> {
    let mut lines = closed(&snapshot.history, CURRENCY);
    lines.resize(HISTORY, String::new());
    lines
}

#[cfg(test)]
mod tests {
    use console::measure_text_width;

    use super::*;
    use crate::load::terminal::totals::Numbers;

    fn numbers(pairs: &[(&str, u64)]) -> Numbers {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    fn snapshot() -> Snapshot {
        let board = |names: &[(&str, u64)]| {
            names.iter().map(|(name, score)| ((*name).to_owned(), *score)).collect()
        };
        Snapshot {
            readable: 1_234_567,
            flushed_at_ms: Some(1_700_000_000_000),
            totals: numbers(&[
                ("clicks", 90000),
                ("orders", 812),
                ("revenue_minor", 1234567),
                ("conversion", 90),
            ]),
            boards: vec![
                board(&[("p-1", 300), ("p-2", 150)]),
                board(&[("文具", 99900), ("Küche & Bad", 50)]),
                board(&[("evil\u{1b}[2J", 7)]),
            ],
            history: vec![numbers(&[("window_end", 1700000000000), ("events", 1000)])],
        }
    }

    fn facts() -> Facts {
        Facts {
            elapsed_seconds: 75,
            ends_after_seconds: Some(120),
            events_per_second: 39_812,
            produced: 1_240_000,
            now_ms: 1_700_000_000_250,
            hints: vec!["look".to_owned()],
            ink: Ink::default(),
        }
    }

    #[test]
    fn the_picture() {
        insta::assert_snapshot!(frame(&snapshot(), &facts(), 110).join("\n"), @r"
        nazar demo  01:15 of 02:00  broker: librdkafka's mock, in process
        39,812 events/s readable   1,234,567 records   lag 5,433   freshness 0.2 s

        last 1m  90,000 clicks  0 wishlists  812 orders
                 12,345.67 USD  ≈0 users  0.90 % conversion

        top products by clicks              top categories by revenue           top sellers by units
          p-1              300 ███████████    文具          999.00 ███████████    evil·[2J           7 ███████████
          p-2              150 ██████         Küche & Bad     0.50 █





        closed 1m windows, newest first (UTC)
          ending 22:13:20  1,000 events  0 clicks  0 orders  0.00 USD  ≈0 users




        look
        ");
    }

    #[test]
    fn every_width_holds_and_the_height_stands_still() {
        for width in [1, 20, 40, 64, 80, 96, 200] {
            for is_coloured in [false, true] {
                let facts = Facts { ink: Ink { is_coloured }, ..facts() };
                let full = frame(&snapshot(), &facts, width);
                let empty = frame(&Snapshot::default(), &facts, width);
                assert_eq!(full.len(), empty.len(), "{width}");
                for line in full.iter().chain(&empty) {
                    assert!(measure_text_width(line) <= width, "{width}: {line}");
                }
            }
        }
    }

    #[test]
    fn nothing_from_a_record_controls_the_terminal() {
        let text = frame(&snapshot(), &facts(), 120).join("\n");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn one_line_says_the_same() {
        let text = line(&snapshot(), &facts());
        assert_eq!(text.lines().count(), 1);
        for word in ["39,812 events/s", "lag 5,433", "812 orders", "12,345.67 USD", "p-1", "文具"]
        {
            assert!(text.contains(word), "{word}: {text}");
        }
    }
}
