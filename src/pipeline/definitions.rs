//! What is computed: windows, dimensions, boards and distinct counts, resolved from the
//! configuration into the numbers that the pure core works with. Nothing here changes
//! while the daemon runs.

use crate::event::{Kind, Metric};
use crate::time::Span;

/// A sliding window `[end − size, end)` whose ends are the multiples of `slide`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The size as people write it (`1m`, `24h`): part of Redis keys and metric labels, unique.
    pub label: String,
    pub size: Span,
    pub slide: Span,
    /// Closed windows are emitted at multiples of this; a multiple of `slide`.
    pub closed_step: Span,
    /// Index into [`Definitions::levels`]: the coarsest panes this window can be cut from.
    pub level: usize,
}

/// A property of a product line that boards are kept for: product, category, seller, ….
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimension {
    /// The name in configuration and Redis keys.
    pub name: String,
    /// The event field that carries the entity's name.
    pub field: String,
    /// How many entities may be live at once; names beyond count under `__other__`.
    pub entities_max: usize,
    /// Whether distinct users are kept per entity of this dimension (besides per kind).
    pub uniques: bool,
}

/// The top entities of one dimension by one metric, for every window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// Index into [`Definitions::dimensions`].
    pub dimension: usize,
    pub metric: Metric,
    /// How many entities are published.
    pub top: usize,
}

/// Everything that decides what the views say, given the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definitions {
    /// Ascending by size.
    pub windows: Vec<Window>,
    pub dimensions: Vec<Dimension>,
    pub boards: Vec<Board>,
    /// Widths of the panes kept, finest first; each divides the next. `levels[0]` is the base
    /// pane, the greatest common divisor of all slides.
    pub levels: Vec<Span>,
    pub lateness: Span,
    pub max_future: Span,
    pub max_skew: Span,
    /// How long a partition may neither progress nor be confirmed quiet before closing goes on without it.
    pub stall_limit: Span,
    /// The currency that revenue counts in, upper case.
    pub currency: String,
    /// Budget for distinct-user sketches, each reserved at its dense worst case.
    pub sketch_bytes_max: usize,
    /// Remember event ids and drop duplicates.
    pub deduplicate: bool,
    /// Budget for remembered event ids, per process.
    pub deduplicate_bytes_max: usize,
}

/// A window before its level is known: label, size, slide, closed step.
pub type WindowSpec = (String, Span, Span, Span);

impl Definitions {
    pub fn base_pane(&self) -> Span {
        self.levels[0]
    }

    /// How far back reading has to begin, so that the longest window is whole: what was late
    /// at its start belongs to it too.
    pub fn reach_back(&self) -> Span {
        let longest = self.windows.last();
        let window = longest.map_or(Span::ZERO, |window| window.size + window.slide);
        window + self.max_future + self.lateness + self.lateness
    }

    /// The kinds with a distinct count of users.
    pub const UNIQUE_KINDS: [Kind; 3] = Kind::WITH_UNIQUES;

    /// Orders windows by size and finds the pane widths they share.
    ///
    /// A level's width is the greatest common divisor of the slides from some window on, so
    /// each width divides the next, and every window's size, slide and closed step are
    /// multiples of the width of its own level. Example: slides 1 s, 5 s, 1 m, 15 m give
    /// the levels 1 s, 5 s, 1 m, 15 m; slides 2 s and 3 s give one level of 1 s for the
    /// first and 3 s for the second.
    pub fn resolve_windows(mut specs: Vec<WindowSpec>) -> (Vec<Window>, Vec<Span>) {
        specs.sort_by_key(|&(_, size, slide, _)| (slide, size));
        let mut widths = vec![Span::ZERO; specs.len()];
        let mut divisor = Span::ZERO;
        for (width, &(_, _, slide, _)) in widths.iter_mut().zip(&specs).rev() {
            divisor = divisor.gcd(slide);
            *width = divisor;
        }
        let mut levels = widths.clone();
        levels.dedup();
        let mut windows: Vec<Window> = specs
            .into_iter()
            .zip(widths)
            .map(|((label, size, slide, closed_step), width)| Window {
                label,
                size,
                slide,
                closed_step,
                level: levels.iter().position(|&level| level == width).unwrap_or(0),
            })
            .collect();
        windows.sort_by_key(|window| window.size);
        (windows, levels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(slides_and_sizes: &[(i64, i64)]) -> (Vec<usize>, Vec<i64>) {
        let specs = slides_and_sizes
            .iter()
            .map(|&(slide, size)| {
                let (slide, size) = (Span::from_secs(slide), Span::from_secs(size));
                (size.label(), size, slide, slide)
            })
            .collect();
        let (windows, levels) = Definitions::resolve_windows(specs);
        (
            windows.iter().map(|window| window.level).collect(),
            levels.iter().map(|level| level.millis() / 1000).collect(),
        )
    }

    #[test]
    fn each_level_divides_the_next() {
        assert_eq!(
            levels(&[(1, 60), (5, 300), (60, 3600), (900, 86400)]),
            (vec![0, 1, 2, 3], vec![1, 5, 60, 900])
        );
        assert_eq!(levels(&[(2, 60), (3, 300)]), (vec![0, 1], vec![1, 3]));
        assert_eq!(levels(&[(10, 60), (10, 300)]), (vec![0, 0], vec![10]));
        assert_eq!(levels(&[(60, 60)]), (vec![0], vec![60]));
    }

    #[test]
    fn a_first_start_reaches_back_past_the_longest_window() {
        // 24 h + 15 m slide + 2 × 1 m lateness + 5 m max_future
        let reach = crate::config::Config::default().definitions().reach_back();
        assert_eq!(reach, Span::from_secs(24 * 3600 + (15 + 2 + 5) * 60));
    }
}
