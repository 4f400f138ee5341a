//! Boards side by side, each row with a bar.

use console::{Alignment, measure_text_width, pad_str};

use super::words::{grouped, major, printable};

/// Panels stand side by side where they have at least so many columns each.
const PANEL_MIN: usize = 32;
const PANEL_MAX: usize = 48;
const BAR_MAX: usize = 14;

/// Ids with scores, best first.
pub type Rows = Vec<(String, u64)>;

/// A board as it is drawn.
pub struct Panel<'a> {
    pub title: String,
    pub rows: &'a [(String, u64)],
    /// Scores are minor units of this.
    pub currency: Option<&'a str>,
}

/// How many of `count` panels stand in one line of them.
pub fn side_by_side(count: usize, width: usize) -> usize {
    (width / PANEL_MIN).clamp(1, count.max(1))
}

/// Each panel with a title and `rows` lines, empty ones where the board is shorter: the picture
/// stands still.
pub fn panels(panels: &[Panel<'_>], rows: usize, width: usize) -> Vec<String> {
    let side_by_side = side_by_side(panels.len(), width);
    let panel_width = (width / side_by_side).min(PANEL_MAX);
    let drawn: Vec<Vec<String>> =
        panels.iter().map(|panel| panel.lines(rows, panel_width.saturating_sub(2))).collect();
    let mut lines = Vec::new();
    for group in drawn.chunks(side_by_side) {
        for row in 0..=rows {
            let cells = group.iter().map(|panel| &panel[row]);
            let padded = cells.map(|cell| pad_str(cell, panel_width, Alignment::Left, None));
            lines.push(padded.collect::<String>().trim_end().to_owned());
        }
    }
    lines
}

impl Panel<'_> {
    fn lines(&self, rows: usize, width: usize) -> Vec<String> {
        let most = self.rows.first().map_or(1, |(_, score)| *score).max(1) as f64;
        let bar_width = BAR_MAX.min(width / 3);
        let mut lines = vec![self.title.clone()];
        for row in 0..rows {
            lines.push(self.rows.get(row).map_or_else(String::new, |(name, score)| {
                let shown = self
                    .currency
                    .map_or_else(|| grouped(*score), |currency| major(*score, currency));
                let name_width = width.saturating_sub(bar_width + measure_text_width(&shown) + 4);
                let name = printable(name);
                let name = pad_str(&name, name_width, Alignment::Left, Some("…"));
                let filled = ((*score as f64 / most) * bar_width as f64).round() as usize;
                let bar = "█".repeat(filled.clamp(1, bar_width.max(1)));
                format!("  {name} {shown} {bar}")
            }));
        }
        lines
    }
}
