//! The picture: text made from a snapshot and a few facts, pure.

use console::{measure_text_width, pad_str, style, truncate_str};

use super::snapshot::{HISTORY, ROWS, SHOWN, Snapshot, WINDOW, number};

/// Panels stand side by side where they have at least so many columns each.
const PANEL_MIN: usize = 32;
const PANEL_MAX: usize = 48;
const BAR_MAX: usize = 14;

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
    pub is_coloured: bool,
}

impl Facts {
    fn emphasis(&self, text: &str) -> String {
        if self.is_coloured {
            style(text).bold().force_styling(true).to_string()
        } else {
            text.to_owned()
        }
    }

    fn aside(&self, text: &str) -> String {
        if self.is_coloured {
            style(text).dim().force_styling(true).to_string()
        } else {
            text.to_owned()
        }
    }

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
            facts.emphasis("nazar demo"),
            facts.clock(),
            facts.aside("broker: librdkafka's mock, in process")
        ),
        format!(
            "{} events/s readable   {} records   lag {}   freshness {}",
            facts.emphasis(&grouped(facts.events_per_second)),
            grouped(snapshot.readable),
            grouped(facts.lag(snapshot)),
            facts.freshness(snapshot)
        ),
        String::new(),
        format!("{}  {}", facts.emphasis(&format!("last {WINDOW}")), activity(snapshot)),
        format!("         {}", results(snapshot)),
        String::new(),
    ];
    lines.extend(panels(snapshot, facts, width));
    lines.push(String::new());
    lines.push(facts.emphasis(&format!("closed {WINDOW} windows, newest first (UTC)")));
    lines.extend(history(snapshot));
    lines.push(String::new());
    lines.extend(facts.hints.iter().map(|hint| facts.aside(hint)));
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
        activity(snapshot),
        results(snapshot),
        printable(leader(0)),
        printable(leader(1)),
        printable(leader(2))
    )
}

/// What visitors did.
fn activity(snapshot: &Snapshot) -> String {
    let of = |name: &str| grouped(number(&snapshot.totals, name));
    format!("{} clicks  {} wishlists  {} orders", of("clicks"), of("wishlists"), of("orders"))
}

/// What the shop had of it.
fn results(snapshot: &Snapshot) -> String {
    let of = |name: &str| number(&snapshot.totals, name);
    format!(
        "{} USD  ≈{} users  {:.2} % conversion",
        major(of("revenue_minor")),
        grouped(of("uniques")),
        of("conversion") as f64 / 100.0
    )
}

fn panels(snapshot: &Snapshot, facts: &Facts, width: usize) -> Vec<String> {
    let side_by_side = (width / PANEL_MIN).clamp(1, SHOWN.len());
    let panel_width = (width / side_by_side).min(PANEL_MAX);
    // Where they have to stand above one another, fewer rows keep the picture on the screen.
    let rows = if side_by_side == SHOWN.len() { ROWS } else { ROWS / 2 };
    let panels: Vec<Vec<String>> = SHOWN
        .iter()
        .enumerate()
        .map(|(at, (title, _, metric))| {
            let board = snapshot.boards.get(at).map_or(&[][..], Vec::as_slice);
            let is_money = *metric == crate::event::Metric::RevenueMinor;
            panel(&facts.emphasis(title), board, is_money, rows, panel_width.saturating_sub(2))
        })
        .collect();
    let mut lines = Vec::new();
    for group in panels.chunks(side_by_side) {
        for row in 0..=rows {
            let cells = group.iter().map(|panel| &panel[row]);
            let padded =
                cells.map(|cell| pad_str(cell, panel_width, console::Alignment::Left, None));
            lines.push(padded.collect::<String>().trim_end().to_owned());
        }
    }
    lines
}

/// A title and `rows` lines, empty ones where the board is shorter: the picture stands still.
fn panel(
    title: &str,
    board: &[(String, f64)],
    is_money: bool,
    rows: usize,
    width: usize,
) -> Vec<String> {
    let most = board.first().map_or(1.0, |(_, score)| score.max(1.0));
    let bar_width = BAR_MAX.min(width / 3);
    let mut lines = vec![title.to_owned()];
    for row in 0..rows {
        lines.push(board.get(row).map_or_else(String::new, |(name, score)| {
            let score_text = if is_money { major(*score as u64) } else { grouped(*score as u64) };
            let name_width = width.saturating_sub(bar_width + measure_text_width(&score_text) + 4);
            let name = printable(name);
            let name = pad_str(&name, name_width, console::Alignment::Left, Some("…"));
            let filled = ((score / most) * bar_width as f64).round() as usize;
            let bar = "█".repeat(filled.clamp(1, bar_width.max(1)));
            format!("  {name} {score_text} {bar}")
        }));
    }
    lines
}

fn history(snapshot: &Snapshot) -> Vec<String> {
    let mut lines: Vec<String> = snapshot
        .history
        .iter()
        .map(|entry| {
            let of = |name: &str| number(entry, name);
            format!(
                "  ending {}  {} events  {} clicks  {} orders  {} USD  ≈{} users",
                time_of_day(of("window_end") / 1000),
                grouped(of("events")),
                grouped(of("clicks")),
                grouped(of("orders")),
                major(of("revenue_minor")),
                grouped(of("uniques"))
            )
        })
        .collect();
    if lines.is_empty() {
        lines.push("  none yet: a window closes when no record can enter it any more".to_owned());
    }
    lines.resize(HISTORY, String::new());
    lines
}

fn time_of_day(seconds: u64) -> String {
    let of_day = seconds % 86_400;
    format!("{:02}:{:02}:{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// A name from a record must not be able to paint the terminal.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

/// `1234567` → `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Minor units as the currency is written.
fn major(minor: u64) -> String {
    format!("{}.{:02}", grouped(minor / 100), minor % 100)
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::Fields;
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn snapshot() -> Snapshot {
        let board = |names: &[(&str, f64)]| {
            names.iter().map(|(name, score)| ((*name).to_owned(), *score)).collect()
        };
        Snapshot {
            readable: 1_234_567,
            flushed_at_ms: Some(1_700_000_000_000),
            totals: fields(&[
                ("clicks", "90000"),
                ("orders", "812"),
                ("revenue_minor", "1234567"),
                ("conversion", "90"),
            ]),
            boards: vec![
                board(&[("p-1", 300.0), ("p-2", 150.0)]),
                board(&[("文具", 99900.0), ("Küche & Bad", 50.0)]),
                board(&[("evil\u{1b}[2J", 7.0)]),
            ],
            history: vec![fields(&[("window_end", "1700000000000"), ("events", "1000")])],
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
            is_coloured: false,
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
                let facts = Facts { is_coloured, ..facts() };
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

    #[test]
    fn digits_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped).join(" "), "0 999 1,000 1,234,567");
        assert_eq!(major(5), "0.05");
        assert_eq!(time_of_day(1_700_000_000), "22:13:20");
    }
}
