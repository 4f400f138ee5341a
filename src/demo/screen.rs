//! Where the picture goes: a terminal is redrawn in place, anything else gets a line at times.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use super::picture::{self, Facts};
use super::snapshot::Snapshot;
use crate::load::terminal::ink::Ink;
use crate::load::terminal::screen;

/// Between two lines where nothing can be redrawn.
const LINE_EVERY: Duration = Duration::from_secs(2);

pub struct Screen {
    /// Below the commands to look with, which stay.
    screen: Option<screen::Screen>,
    last_line: Option<Instant>,
}

impl Screen {
    pub fn new() -> Screen {
        Screen { screen: screen::Screen::below(), last_line: None }
    }

    /// Shows what there is now. An error means that nobody looks any more.
    pub fn show(&mut self, snapshot: &Snapshot, facts: Facts) -> io::Result<()> {
        let Some(screen) = &mut self.screen else {
            if self.last_line.is_some_and(|last| last.elapsed() < LINE_EVERY) {
                return Ok(());
            }
            self.last_line = Some(Instant::now());
            return say(&picture::line(snapshot, &facts));
        };
        let facts = Facts { ink: Ink { is_coloured: screen::may_colour() }, ..facts };
        let (_, width) = screen.room();
        screen.show(picture::frame(snapshot, &facts, width))
    }
}

/// A line on stdout.
pub fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()
}
