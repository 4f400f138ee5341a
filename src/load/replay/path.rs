//! How a mapping names a value: `price`, `customer.city`, `events[].ts`.
//!
//! A dot goes into an object, or into the row that was joined under that name. `[]` stands for
//! each element of an array, or each of the joined rows, and occurs at most once.

use std::fmt;

/// The parts of a name, apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    text: String,
    /// Before `[]`, if it goes through an array.
    pub array: Option<Vec<String>>,
    /// The rest, or everything.
    pub rest: Vec<String>,
}

impl Path {
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}`: expected a name such as price, customer.city or events[].ts");
        let split = |part: &str| -> Result<Vec<String>, String> {
            let names: Vec<String> = part.split('.').map(str::to_owned).collect();
            if names.iter().any(String::is_empty) { Err(wrong()) } else { Ok(names) }
        };
        let (array, rest) = match text.split_once("[]") {
            None => (None, text),
            Some((array, rest)) => (Some(split(array)?), rest.strip_prefix('.').ok_or_else(wrong)?),
        };
        if rest.contains("[]") {
            return Err(format!("`{text}`: [] may occur once"));
        }
        Ok(Self { text: text.to_owned(), array, rest: split(rest)? })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_parts() {
        let parts = |text: &str| {
            let Path { array, rest, .. } = Path::parse(text).unwrap();
            (array.map(|array| array.join("/")), rest.join("/"))
        };
        assert_eq!(parts("price"), (None, "price".into()));
        assert_eq!(parts("a.b"), (None, "a/b".into()));
        assert_eq!(parts("a.events[].t.s"), (Some("a/events".into()), "t/s".into()));
        for wrong in ["", "a..b", ".a", "[].a", "a[]", "a[]b", "a[].", "a[].b[].c"] {
            assert!(Path::parse(wrong).is_err(), "{wrong}");
        }
    }
}
