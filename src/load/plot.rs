//! A curve in a terminal, from block characters.

use std::fmt::Write as _;
use std::time::Duration;

const COLUMNS_MAX: usize = 64;
const ROWS: usize = 6;
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const LEVELS: usize = BLOCKS.len() - 1;

/// The values from left to right over `duration`, the largest at the top, 0 at the bottom.
pub fn plot(values: &[f64], duration: Duration) -> String {
    let columns = columns(values);
    let top = columns.iter().copied().fold(0.0, f64::max);
    let mut text = String::new();
    for row in (0..ROWS).rev() {
        let label = if row == ROWS - 1 { short(top) } else { String::new() };
        let bar = |&value: &f64| {
            let level = (value / top.max(f64::MIN_POSITIVE) * (ROWS * LEVELS) as f64).round();
            BLOCKS[(level as usize).saturating_sub(row * LEVELS).min(LEVELS)]
        };
        let line: String = columns.iter().map(bar).collect();
        let _ = writeln!(text, "{label:>8} ┤{}", line.trim_end());
    }
    let end = humantime::format_duration(duration).to_string();
    let _ = writeln!(text, "{:>8} └{}", 0, "─".repeat(columns.len()));
    let _ = writeln!(text, "{:>8}  0{end:>width$}", "", width = columns.len().saturating_sub(1));
    text
}

/// Neighbours are averaged until they fit; few values get several columns each.
fn columns(values: &[f64]) -> Vec<f64> {
    if values.is_empty() {
        return Vec::new();
    }
    let wide = COLUMNS_MAX / values.len();
    if wide > 1 {
        return values.iter().flat_map(|&value| std::iter::repeat_n(value, wide)).collect();
    }
    let count = values.len().min(COLUMNS_MAX);
    let edge = |column: usize| column * values.len() / count;
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    (0..count).map(|column| mean(&values[edge(column)..edge(column + 1)])).collect()
}

/// `1.5M`, `20k`, `7.5`
pub fn short(value: f64) -> String {
    let (value, unit) = match value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let digits = usize::from(value < 100.0 && value.fract() > 0.05);
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_rises_and_falls() {
        let values = [0.0, 250.0, 500.0, 1000.0, 1000.0, 500.0, 0.0, 12.0];
        let plotted = plot(&values, Duration::from_secs(8));
        let lines: Vec<&str> = plotted.lines().collect();
        assert_eq!(lines.len(), ROWS + 2);
        assert_eq!(lines[0], format!("      1k ┤{}{}", " ".repeat(24), "█".repeat(16)));
        assert_eq!(lines[5].chars().filter(|&c| c == '█').count(), 5 * 8);
        assert!(lines[5].ends_with("▁▁▁▁▁▁▁▁"), "what is small is still seen: {}", lines[5]);
        assert!(lines[7].trim_start().starts_with('0') && lines[7].ends_with("8s"));
        assert_eq!(columns(&[1.0; 1000]), [1.0; 64]);
        assert!(plot(&[], Duration::ZERO).contains('0'));
    }

    #[test]
    fn figures_are_short() {
        let shown = [1_500_000.0, 20_000.0, 7.5, 123.4, 0.0].map(short);
        assert_eq!(shown, ["1.5M", "20k", "7.5", "123", "0"]);
    }
}
