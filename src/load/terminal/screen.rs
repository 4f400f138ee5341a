//! A terminal on stdout that is drawn again and again.

use std::io::{self, IsTerminal, Write};

use console::Term;

/// The other screen of the terminal, without a cursor; and back to what was there before.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[0m\x1b[?25h\x1b[?1049l";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Below what was printed before, where the last picture stays.
    Below,
    /// A screen of its own, gone afterwards.
    Whole { is_entered: bool },
}

pub struct Screen {
    terminal: Term,
    place: Place,
    /// Lines of the last picture, which the next one replaces.
    drawn: usize,
}

fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Whether `NO_COLOR` leaves colours to us.
pub fn may_colour() -> bool {
    variable("NO_COLOR").is_none()
}

impl Screen {
    /// `None` where nothing can be redrawn: a file, a pipe, or a terminal that cannot.
    pub fn below() -> Option<Screen> {
        Screen::at(Place::Below)
    }

    /// The same with the whole terminal, which is left as it was when this is dropped.
    pub fn whole() -> Option<Screen> {
        Screen::at(Place::Whole { is_entered: false })
    }

    fn at(place: Place) -> Option<Screen> {
        let is_dumb = variable("TERM").is_none_or(|term| term == "dumb");
        let can_redraw = io::stdout().is_terminal() && !is_dumb;
        can_redraw.then(|| Screen { terminal: Term::stdout(), place, drawn: 0 })
    }

    /// Lines and columns that a picture may have. One line is left to the cursor.
    pub fn room(&self) -> (usize, usize) {
        let (height, width) = self.terminal.size();
        (usize::from(height).saturating_sub(1).max(1), usize::from(width).max(1))
    }

    /// Replaces the picture. An error means that nobody looks any more.
    pub fn show(&mut self, mut lines: Vec<String>) -> io::Result<()> {
        // A picture that scrolls could not be overwritten.
        lines.truncate(self.room().0);
        let text = self.place.over(self.drawn, &lines);
        self.drawn = lines.len();
        if let Place::Whole { is_entered } = &mut self.place {
            *is_entered = true;
        }
        print(&text)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.place == (Place::Whole { is_entered: true }) {
            let _ = print(LEAVE);
        }
    }
}

impl Place {
    /// Control sequences that replace `drawn` lines by `lines`, in one write so that nothing
    /// flickers.
    fn over(self, drawn: usize, lines: &[String]) -> String {
        let mut text = match self {
            Place::Below if drawn == 0 => "\r".to_owned(),
            Place::Below => format!("\r\x1b[{drawn}A"),
            Place::Whole { is_entered } => format!("{}\x1b[H", if is_entered { "" } else { ENTER }),
        };
        for line in lines {
            text.push_str(line);
            text.push_str("\x1b[0m\x1b[K\n");
        }
        text.push_str("\x1b[J");
        text
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_replaces_the_one_before() {
        let lines = ["a".to_owned(), "b".to_owned()];
        let drawn = "a\x1b[0m\x1b[K\nb\x1b[0m\x1b[K\n\x1b[J";
        assert_eq!(Place::Below.over(0, &lines), format!("\r{drawn}"));
        assert!(Place::Below.over(5, &lines).starts_with("\r\x1b[5A"));
        let whole = |is_entered| Place::Whole { is_entered }.over(2, &lines);
        assert_eq!(whole(false), format!("{ENTER}\x1b[H{drawn}"));
        assert_eq!(whole(true), format!("\x1b[H{drawn}"));
    }
}
