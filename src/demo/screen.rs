//! Where the picture goes: a terminal is redrawn in place, anything else gets a line at times.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use console::Term;

use super::picture::{self, Facts};
use super::snapshot::Snapshot;

/// Between two lines where nothing can be redrawn.
const LINE_EVERY: Duration = Duration::from_secs(2);

pub struct Screen {
    terminal: Option<Term>,
    is_coloured: bool,
    /// Lines of the last picture, which the next one replaces.
    drawn: usize,
    last_line: Option<Instant>,
}

impl Screen {
    pub fn new() -> Screen {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let is_dumb = variable("TERM").is_none_or(|term| term == "dumb");
        let can_redraw = io::stdout().is_terminal() && !is_dumb;
        Screen {
            terminal: can_redraw.then(Term::stdout),
            is_coloured: variable("NO_COLOR").is_none(),
            drawn: 0,
            last_line: None,
        }
    }

    /// Shows what there is now. An error means that nobody looks any more.
    pub fn show(&mut self, snapshot: &Snapshot, facts: Facts) -> io::Result<()> {
        let facts = Facts { is_coloured: self.is_coloured, ..facts };
        let Some(terminal) = &self.terminal else {
            if self.last_line.is_some_and(|last| last.elapsed() < LINE_EVERY) {
                return Ok(());
            }
            self.last_line = Some(Instant::now());
            return say(&picture::line(snapshot, &facts));
        };
        let (height, width) = terminal.size();
        let mut lines = picture::frame(snapshot, &facts, usize::from(width).max(1));
        // A picture that scrolls could not be overwritten.
        lines.truncate(usize::from(height).saturating_sub(1).max(1));
        let text = over(self.drawn, &lines);
        self.drawn = lines.len();
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }
}

/// Control sequences that replace `drawn` lines by `lines`, in one write so that nothing flickers.
fn over(drawn: usize, lines: &[String]) -> String {
    let mut text = String::from("\r");
    if drawn > 0 {
        text.push_str(&format!("\x1b[{drawn}A"));
    }
    for line in lines {
        text.push_str(line);
        text.push_str("\x1b[0m\x1b[K\n");
    }
    text.push_str("\x1b[J");
    text
}

/// A line on stdout.
pub fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_replaces_the_one_before() {
        let lines = ["a".to_owned(), "b".to_owned()];
        assert_eq!(over(0, &lines), "\ra\x1b[0m\x1b[K\nb\x1b[0m\x1b[K\n\x1b[J");
        assert!(over(5, &lines).starts_with("\r\x1b[5A"));
    }
}
