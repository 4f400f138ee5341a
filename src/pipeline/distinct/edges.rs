//! Where a pane belongs, by the closed edge and stream time.

use crate::pipeline::definitions::Definitions;
use crate::pipeline::frontier::PANES_MAX;
use crate::time::{EventTime, Span};

/// What is done with a mark, by its pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// No window can ask for it.
    Forgotten,
    Main,
    /// The open cell that starts at this pane.
    Open(i64),
    Ahead,
}

/// The panes where one place ends and the next begins. Panes are numbered from the epoch.
pub struct Edges {
    base_pane: Span,
    cell_panes: i64,
    longest_panes: i64,
    /// Panes before this one are in main; a cell's start.
    pub folded: i64,
    /// The first pane that starts after stream time.
    pub ahead_from: i64,
    /// The oldest pane that the caller needs.
    pub oldest: i64,
}

impl Edges {
    pub fn new(definitions: &Definitions) -> Self {
        let base_pane = definitions.base_pane();
        let panes = |span: Span| span.millis() / base_pane.millis();
        let cell = definitions.windows.iter().fold(Span::ZERO, |gcd, w| gcd.gcd(w.closed_step));
        let longest = definitions.windows.iter().map(|w| w.size).max().unwrap_or(base_pane);
        let (cell_panes, longest_panes) = (panes(cell).max(1), panes(longest));
        assert!(
            cell_panes.max(longest_panes) <= PANES_MAX / 2,
            "configuration refuses windows of more than {} panes of {base_pane:?}",
            PANES_MAX / 2
        );
        let before_all = EventTime::MIN.millis() / base_pane.millis();
        let (folded, ahead_from, oldest) = (before_all, before_all, before_all);
        Self { base_pane, cell_panes, longest_panes, folded, ahead_from, oldest }
    }

    /// The pane that holds, or starts at, an instant.
    pub fn pane(&self, at: EventTime) -> i64 {
        at.millis().div_euclid(self.base_pane.millis())
    }

    pub fn place(&self, pane: i64) -> Place {
        match pane {
            _ if pane >= self.ahead_from => Place::Ahead,
            _ if pane >= self.folded => Place::Open(pane - pane.rem_euclid(self.cell_panes)),
            _ if pane >= self.needed() => Place::Main,
            _ => Place::Forgotten,
        }
    }

    /// The oldest pane that a window read from now on can hold. Closed windows end at the
    /// folded edge or later, latest ones after stream time.
    pub fn needed(&self) -> i64 {
        self.oldest.max(self.folded.min(self.ahead_from) - self.longest_panes)
    }

    pub fn cell_end(&self, start: i64) -> i64 {
        start + self.cell_panes
    }

    pub fn is_cell_start(&self, pane: i64) -> bool {
        pane.rem_euclid(self.cell_panes) == 0
    }
}
