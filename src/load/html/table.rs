//! Tables: the same figures for whoever does not look at pictures.

use super::markup::Html;
use crate::load::terminal::words::grouped;

/// One cell.
#[derive(Clone, Debug)]
pub enum Cell {
    Text(String),
    Number(String),
    /// It holds or it does not: a sign, and a colour.
    Sign(bool),
    /// A number that is not what it should be.
    Wrong(String),
}

impl Cell {
    pub fn text(text: impl Into<String>) -> Self {
        Cell::Text(text.into())
    }

    pub fn number(text: impl Into<String>) -> Self {
        Cell::Number(text.into())
    }

    /// `1,234,567`
    pub fn count(count: u64) -> Self {
        Cell::Number(grouped(count))
    }
}

pub struct Table {
    pub caption: &'static str,
    pub head: Vec<String>,
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn html(&self) -> Html {
        let mut html = Html::default();
        html.raw("<div class=\"scroll\"><table>");
        html.element("caption", &[], self.caption);
        html.raw("<thead><tr>");
        for (at, name) in self.head.iter().enumerate() {
            // A column is named where its figures stand.
            let is_number =
                |row: &Vec<Cell>| matches!(row.get(at), Some(Cell::Number(_) | Cell::Wrong(_)));
            let class = if self.rows.iter().any(is_number) { "number" } else { "words" };
            html.element("th", &[("scope", &"col"), ("class", &class)], name);
        }
        html.raw("</tr></thead><tbody>\n");
        for row in &self.rows {
            html.raw("<tr>");
            row.iter().enumerate().for_each(|(at, cell)| write_cell(&mut html, at, cell));
            html.raw("</tr>\n");
        }
        html.raw("</tbody></table></div>\n");
        html
    }
}

fn write_cell(html: &mut Html, at: usize, cell: &Cell) {
    match cell {
        Cell::Text(text) if at == 0 => html.element("th", &[("scope", &"row")], text),
        Cell::Text(text) => html.element("td", &[], text),
        Cell::Number(text) => html.element("td", &[("class", &"number")], text),
        Cell::Sign(true) => html.element("td", &[("class", &"holds")], "✓"),
        Cell::Sign(false) => html.element("td", &[("class", &"fails")], "✗"),
        Cell::Wrong(text) => {
            html.element("td", &[("class", &"number fails")], &format!("✗ {text}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_is_more_than_a_colour() {
        let rows = vec![vec![Cell::text("a<b"), Cell::Sign(false), Cell::count(1200)]];
        let table = Table { caption: "c", head: vec!["x".into()], rows };
        let html = table.html().into_string();
        assert!(html.contains("<th scope=\"row\">a&lt;b</th><td class=\"fails\">✗</td>"), "{html}");
        assert!(html.contains("<td class=\"number\">1,200</td>"), "{html}");
    }
}
