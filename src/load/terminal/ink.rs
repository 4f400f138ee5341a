//! Colour, or none.

use console::Style;

/// How text is set off. Without colour it is left as it is, so no meaning may be in it alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ink {
    pub is_coloured: bool,
}

impl Ink {
    pub fn emphasis(self, text: &str) -> String {
        self.styled(text, Style::bold)
    }

    pub fn aside(self, text: &str) -> String {
        self.styled(text, Style::dim)
    }

    /// Something that somebody should look after.
    pub fn alarm(self, text: &str) -> String {
        self.styled(text, |style| style.red().bold())
    }

    fn styled(self, text: &str, how: fn(Style) -> Style) -> String {
        if self.is_coloured && !text.is_empty() {
            how(Style::new()).force_styling(true).apply_to(text).to_string()
        } else {
            text.to_owned()
        }
    }
}
