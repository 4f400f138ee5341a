//! Where a value stands in a row, once names have been resolved, and taking it from there.

use std::borrow::Cow;

use csv::StringRecord;
use serde_json::Value;

use super::path::Path;
use super::table::Table;
use super::value::{Result, unmapped};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Column(usize),
    /// Of the first row that was joined.
    Joined {
        join: usize,
        column: usize,
    },
    /// Of each of the rows that were joined.
    Each(usize),
    /// Of the row that was joined to each of those.
    EachJoined {
        join: usize,
        column: usize,
    },
    Member(Vec<String>),
    /// Of each element of the array.
    EachMember(Vec<String>),
}

/// What a row is expanded by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Array {
    Joined { join: usize },
    Member(Vec<String>),
}

impl Place {
    /// In JSON any name is a place: whether it is there, every object decides for itself.
    pub fn in_json(path: &Path) -> Place {
        match path.array {
            None => Place::Member(path.rest.clone()),
            Some(_) => Place::EachMember(path.rest.clone()),
        }
    }

    pub fn is_each(&self) -> bool {
        matches!(self, Place::Each(_) | Place::EachJoined { .. } | Place::EachMember(_))
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Row<'a> {
    Cells { table: &'a Table, cells: &'a StringRecord },
    Object(&'a Value),
}

/// One of those that a row expands to.
#[derive(Clone, Copy, Debug)]
pub enum Element<'a> {
    Cells(&'a StringRecord),
    Value(&'a Value),
}

/// All of them.
#[derive(Clone, Copy, Debug)]
pub enum Elements<'a> {
    Cells(&'a [StringRecord]),
    Values(&'a [Value]),
}

impl<'a> Elements<'a> {
    pub fn iter(self) -> impl Iterator<Item = Element<'a>> {
        let (cells, values) = match self {
            Elements::Cells(cells) => (cells, [].as_slice()),
            Elements::Values(values) => ([].as_slice(), values),
        };
        cells.iter().map(Element::Cells).chain(values.iter().map(Element::Value))
    }
}

impl<'a> Row<'a> {
    pub fn elements(self, array: &Array) -> Result<Elements<'a>> {
        match (self, array) {
            (Row::Cells { table, cells }, Array::Joined { join }) => {
                Ok(Elements::Cells(table.joined(*join, self.get_cell(table, cells, *join))))
            }
            (Row::Object(object), Array::Member(names)) => match member(object, names) {
                None | Some(Value::Null) => Ok(Elements::Values(&[])),
                Some(Value::Array(values)) => Ok(Elements::Values(values)),
                Some(_) => unmapped("not_an_array", format!("{} is no array", names.join("."))),
            },
            _ => Ok(Elements::Values(&[])),
        }
    }

    /// What a join's key has to be equal to.
    fn get_cell(self, table: &'a Table, cells: &'a StringRecord, join: usize) -> &'a str {
        match table.join_on(join) {
            Place::Column(column) => cells.get(*column).unwrap_or_default(),
            Place::Joined { join: other, column } => {
                let key = self.get_cell(table, cells, *other);
                let row = table.joined(*other, key).first();
                row.and_then(|row| row.get(*column)).unwrap_or_default()
            }
            _ => "",
        }
    }

    /// The value as text. An empty cell and a null are absent.
    pub fn get(self, place: &Place, element: Option<Element<'a>>) -> Result<Option<Cow<'a, str>>> {
        let cell = match (self, place, element) {
            (Row::Cells { cells, .. }, Place::Column(column), _) => cells.get(*column),
            (Row::Cells { table, cells }, Place::Joined { join, column }, _) => {
                let key = self.get_cell(table, cells, *join);
                table.joined(*join, key).first().and_then(|row| row.get(*column))
            }
            (_, Place::Each(column), Some(Element::Cells(cells))) => cells.get(*column),
            (
                Row::Cells { table, .. },
                Place::EachJoined { join, column },
                Some(Element::Cells(cells)),
            ) => {
                let key = match table.join_on(*join) {
                    Place::Each(on) => cells.get(*on).unwrap_or_default(),
                    _ => "",
                };
                table.joined(*join, key).first().and_then(|row| row.get(*column))
            }
            (Row::Object(object), Place::Member(names), _) => return scalar(object, names),
            (_, Place::EachMember(names), Some(Element::Value(value))) => {
                return scalar(value, names);
            }
            _ => None,
        };
        Ok(cell.filter(|text| !text.is_empty()).map(Cow::Borrowed))
    }
}

fn member<'a>(value: &'a Value, names: &[String]) -> Option<&'a Value> {
    names.iter().try_fold(value, |value, name| value.get(name))
}

fn scalar<'a>(value: &'a Value, names: &[String]) -> Result<Option<Cow<'a, str>>> {
    match member(value, names) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(Cow::Borrowed(text))),
        Some(Value::Number(number)) => Ok(Some(Cow::Owned(number.to_string()))),
        Some(Value::Bool(flag)) => Ok(Some(Cow::Borrowed(if *flag { "true" } else { "false" }))),
        Some(_) => unmapped("not_a_value", format!("{} is an array or an object", names.join("."))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_of_json_become_text() {
        let object = json!({"a": {"b": "x"}, "n": 12, "f": 489.07, "z": null, "e": "", "t": true,
                            "l": [{"s": 1}, {"s": "two"}, 3]});
        let row = Row::Object(&object);
        let get = |path: &str| {
            let place = Place::in_json(&Path::parse(path).unwrap());
            row.get(&place, None).map(|text| text.map(Cow::into_owned))
        };
        assert_eq!(get("a.b"), Ok(Some("x".into())));
        assert_eq!(
            [get("n"), get("f"), get("t")],
            [Ok(Some("12".into())), Ok(Some("489.07".into())), Ok(Some("true".into()))]
        );
        assert_eq!(
            [get("z"), get("e"), get("none.at.all"), get("n.b")],
            [Ok(None), Ok(None), Ok(None), Ok(None)]
        );
        assert_eq!(get("a").unwrap_err().reason, "not_a_value");

        let elements = |name: &str| row.elements(&Array::Member(vec![name.to_owned()]));
        let place = Place::in_json(&Path::parse("l[].s").unwrap());
        let texts: Vec<_> =
            elements("l").unwrap().iter().map(|one| row.get(&place, Some(one)).unwrap()).collect();
        assert_eq!(texts, [Some("1".into()), Some("two".into()), None]);
        assert_eq!(elements("z").unwrap().iter().count(), 0);
        assert_eq!(elements("n").unwrap_err().reason, "not_an_array");
    }
}
