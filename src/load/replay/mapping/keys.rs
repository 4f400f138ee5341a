//! Taking a TOML table apart with refusals that say where, what, and what would be right.

use toml::{Table, Value};

/// A table whose keys are taken one after another. What is left at the end is a mistake.
pub struct Keys {
    /// Such as `event[2].timestamp`; empty at the top.
    place: String,
    table: Table,
    known: Vec<&'static str>,
}

pub type Result<T> = std::result::Result<T, String>;

impl Keys {
    pub fn new(place: impl Into<String>, table: Table) -> Self {
        Self { place: place.into(), table, known: Vec::new() }
    }

    pub fn of(place: &str, value: Value, expected: &str) -> Result<Self> {
        match value {
            Value::Table(table) => Ok(Self::new(place, table)),
            other => Err(wrong(place, &other, expected)),
        }
    }

    /// The full name of a key.
    pub fn at(&self, key: &str) -> String {
        if self.place.is_empty() { key.to_owned() } else { format!("{}.{key}", self.place) }
    }

    pub fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.table.remove(key)
    }

    pub fn text(&mut self, key: &'static str) -> Result<Option<String>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(&self.at(key), &other, "text")),
        }
    }

    pub fn required(&mut self, key: &'static str, expected: &str) -> Result<Value> {
        self.take(key).ok_or_else(|| format!("{} is missing: {expected}", self.at(key)))
    }

    pub fn required_text(&mut self, key: &'static str, expected: &str) -> Result<String> {
        match self.required(key, expected)? {
            Value::String(text) => Ok(text),
            other => Err(wrong(&self.at(key), &other, expected)),
        }
    }

    pub fn flag(&mut self, key: &'static str) -> Result<Option<bool>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Boolean(flag)) => Ok(Some(flag)),
            Some(other) => Err(wrong(&self.at(key), &other, "true or false")),
        }
    }

    pub fn whole(&mut self, key: &'static str, to: i64) -> Result<Option<i64>> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Integer(number)) if (0..=to).contains(&number) => Ok(Some(number)),
            Some(other) => Err(wrong(&self.at(key), &other, &format!("0 to {to}"))),
        }
    }

    pub fn texts(&mut self, key: &'static str) -> Result<Option<Vec<String>>> {
        self.take(key).map(|value| texts(&self.at(key), value)).transpose()
    }

    /// The tables of `[[key]]`, with their places.
    pub fn tables(&mut self, key: &'static str) -> Result<Vec<Keys>> {
        let place = self.at(key);
        let expected = format!("one or more [[{key}]]");
        let values = match self.take(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values,
            Some(other) => return Err(wrong(&place, &other, &expected)),
        };
        let numbered = values.into_iter().enumerate();
        numbered
            .map(|(at, value)| Keys::of(&format!("{place}[{}]", at + 1), value, &expected))
            .collect()
    }

    /// Everything that has not been taken.
    pub fn rest(self) -> impl Iterator<Item = (String, Value)> {
        self.table.into_iter()
    }

    /// Refuses what has not been taken.
    pub fn finish(self) -> Result<()> {
        let Some(key) = self.table.keys().next() else { return Ok(()) };
        let nearest = nearest(key, self.known.iter().copied());
        let hint = match nearest {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("there are {}", self.known.join(", ")),
        };
        Err(format!("{} is not a key: {hint}", self.at(key)))
    }
}

pub fn wrong(place: &str, value: &Value, expected: &str) -> String {
    format!("{place} is {value}: expected {expected}")
}

pub fn texts(place: &str, value: Value) -> Result<Vec<String>> {
    const EXPECTED: &str = "a list of texts";
    let Value::Array(values) = value else { return Err(wrong(place, &value, EXPECTED)) };
    let text = |value| match value {
        Value::String(text) => Ok(text),
        other => Err(wrong(place, &other, EXPECTED)),
    };
    values.into_iter().map(text).collect()
}

/// The one that was probably meant.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let close = |known: &'a str| (strsim::jaro_winkler(&name.to_lowercase(), known), known);
    let best = known.into_iter().map(close).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness > 0.8).map(|(_, known)| known)
}
