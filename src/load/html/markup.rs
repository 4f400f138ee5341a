//! A page in the making, which text cannot break out of.
//!
//! Markup is `&'static str`: it is in this program's source. Whatever has been read from a file is a
//! `String`, which does not fit there; it goes through [`Html::text`] or an attribute's value, and both
//! escape it. So a name that looks like markup is shown and never obeyed, and the compiler sees to it.

use std::fmt::{self, Display, Write as _};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Html(String);

/// An attribute and its value, which is escaped.
pub type Attribute<'a> = (&'static str, &'a dyn Display);

impl Html {
    pub fn raw(&mut self, markup: &'static str) {
        self.0.push_str(markup);
    }

    pub fn text(&mut self, text: &str) {
        let _ = Escaping(&mut self.0).write_str(text);
    }

    pub fn open(&mut self, tag: &'static str, attributes: &[Attribute<'_>]) {
        self.0.push('<');
        self.0.push_str(tag);
        for (name, value) in attributes {
            self.0.push(' ');
            self.0.push_str(name);
            self.0.push_str("=\"");
            let _ = write!(Escaping(&mut self.0), "{value}");
            self.0.push('"');
        }
        self.0.push('>');
    }

    pub fn close(&mut self, tag: &'static str) {
        self.0.push_str("</");
        self.0.push_str(tag);
        self.0.push('>');
    }

    /// An element that holds nothing but text.
    pub fn element(&mut self, tag: &'static str, attributes: &[Attribute<'_>], text: &str) {
        self.open(tag, attributes);
        self.text(text);
        self.close(tag);
    }

    pub fn append(&mut self, other: &Html) {
        self.0.push_str(&other.0);
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

/// Writes text so that it is read as text, between tags and between quotes.
struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // HTML has no way to write them.
                letter if letter.is_control() && !matches!(letter, '\n' | '\t') => {
                    self.0.push(char::REPLACEMENT_CHARACTER);
                }
                letter => self.0.push(letter),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_stays_text() {
        let mut html = Html::default();
        html.raw("<p>");
        html.text("</p><script>alert('1' & \"2\")</script>\u{0}");
        html.element("i", &[("title", &"\" onload=\"x")], "a");
        let expected = "<p>&lt;/p&gt;&lt;script&gt;alert(&#39;1&#39; &amp; &quot;2&quot;)\
                        &lt;/script&gt;\u{fffd}<i title=\"&quot; onload=&quot;x\">a</i>";
        assert_eq!(html.into_string(), expected);
    }

    proptest! {
        #[test]
        fn no_text_ends_a_tag_or_a_value(text: String) {
            let mut html = Html::default();
            html.open("a", &[("b", &text)]);
            html.text(&text);
            let html = html.into_string();
            let is_special = |letter: char| matches!(letter, '<' | '>' | '"' | '\'');
            prop_assert_eq!(html.chars().filter(|&letter| is_special(letter)).count(), 4, "{}", html);
        }
    }
}
