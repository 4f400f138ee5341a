//! From the merged layers to a [`Config`], collecting every error on the way.

use std::collections::{BTreeMap, BTreeSet};

use config::{Map, Value, ValueKind};

use super::error::nearest;
use super::format::Format;
use super::keys::{Place, Walk, is_secret_key, places, walk};
use super::secret::REDACTED;
use super::{Config, ConfigError};

/// By path of a key: the layer that set it.
pub(super) type Origins = BTreeMap<String, String>;

pub(super) struct Read {
    pub config: Config,
    pub origins: Origins,
    pub errors: Vec<ConfigError>,
}

/// Keys that could not be read keep their defaults.
pub(super) fn read(merged: &Value) -> Read {
    let nothing = Map::new();
    let table = match &merged.kind {
        ValueKind::Table(table) => table,
        _ => &nothing,
    };
    let mut config = Config::default();
    let mut reader = Reader::new(table);
    walk(&mut reader, &mut config);
    reader.refuse_unknown();
    Read { config, origins: reader.origins, errors: reader.errors }
}

/// Walks the description of all keys with one table of the merged tree in hand.
struct Reader<'v> {
    table: &'v Map<String, Value>,
    /// The origin of the table, for what is missing from it.
    origin: String,
    /// The path of the table, with a dot at its end.
    prefix: String,
    /// Names of the table's keys that exist.
    known: BTreeSet<String>,
    origins: Origins,
    errors: Vec<ConfigError>,
}

impl<'v> Reader<'v> {
    fn new(table: &'v Map<String, Value>) -> Self {
        Self {
            table,
            origin: "default".to_owned(),
            prefix: String::new(),
            known: BTreeSet::new(),
            origins: Origins::new(),
            errors: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The value of a key, if any layer gave one; from now on the key is known.
    fn take(&mut self, name: &str) -> Option<&'v Value> {
        self.known.insert(name.to_owned());
        let value = self.table.get(name).filter(|value| value.kind != ValueKind::Nil)?;
        self.origins.insert(self.path(name), origin(value));
        Some(value)
    }

    fn refuse(&mut self, path: String, value: &Value, hidden: bool, problem: String) {
        let shown = if hidden { format!("{REDACTED:?}") } else { show(value) };
        self.errors.push(ConfigError {
            origin: origin(value),
            key: path,
            value: Some(shown),
            problem,
        });
    }

    fn parse<T>(&mut self, name: &str, value: &'v Value, format: &impl Format<T>) -> Option<T> {
        match format.read(&value.kind) {
            Ok(parsed) => Some(parsed),
            Err(problem) => {
                self.refuse(self.path(name), value, format.is_secret(name), problem);
                None
            }
        }
    }

    /// Continues inside a table, then comes back.
    fn inside(&mut self, prefix: String, value: &'v Value, body: impl FnOnce(&mut Self)) {
        let ValueKind::Table(table) = &value.kind else { return };
        let outer_table = std::mem::replace(&mut self.table, table);
        let outer_origin = std::mem::replace(&mut self.origin, origin(value));
        let outer_prefix = std::mem::replace(&mut self.prefix, prefix);
        let outer_known = std::mem::take(&mut self.known);
        body(self);
        self.refuse_unknown();
        self.table = outer_table;
        self.origin = outer_origin;
        self.prefix = outer_prefix;
        self.known = outer_known;
    }

    fn refuse_unknown(&mut self) {
        let mut unknown: Vec<_> =
            self.table.iter().filter(|(name, _)| !self.known.contains(*name)).collect();
        unknown.sort_by_key(|(name, _)| *name);
        for (name, value) in unknown {
            let mut found = Vec::new();
            leaves(self.path(name), value, &mut found);
            for (path, value) in found {
                let rest = path[self.prefix.len() + name.len()..].to_owned();
                self.refuse_leaf(path, name, &rest, value);
            }
        }
    }

    /// `name` is what the table does not know, `rest` what follows it in the path.
    fn refuse_leaf(&mut self, path: String, name: &str, rest: &str, value: &Value) {
        let right = self.nearest_key(name, rest);
        let hint = match &right {
            Some(right) => format!("did you mean {right}?"),
            None => {
                let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
                format!("there are {}", known.join(", "))
            }
        };
        // Nobody knows what an unknown key holds. It is shown if the key that was meant is no
        // secret, and where no secrets are.
        let is_secret = right.as_deref().and_then(is_secret_key);
        let may_be_secret = ["", "redis.", "kafka."].contains(&self.prefix.as_str());
        let is_hidden = is_secret.unwrap_or(may_be_secret);
        self.refuse(path, value, is_hidden, format!("no such key; {hint}"));
    }

    /// The key that was probably meant: one here that is written nearly so, or one elsewhere
    /// that has this name or nearly so. `rest` is what follows the name in the path.
    fn nearest_key(&self, name: &str, rest: &str) -> Option<String> {
        if let Some(near) = nearest(name, self.known.iter().map(String::as_str)) {
            return Some(format!("{}{rest}", self.path(near)));
        }
        let places = places();
        let keys: Vec<&str> = places
            .iter()
            .filter(|(path, place)| *place == Place::Key && !path.contains('['))
            .map(|(path, _)| path.as_str())
            .collect();
        let names = keys.iter().map(|path| path.rsplit('.').next().unwrap_or(path));
        let near = nearest(name, names)?;
        keys.iter().find(|path| path.rsplit('.').next() == Some(near)).map(|path| path.to_string())
    }
}

/// The values inside, whose origins are more exact than those of the tables around them.
fn leaves<'v>(path: String, value: &'v Value, found: &mut Vec<(String, &'v Value)>) {
    match &value.kind {
        ValueKind::Table(table) if !table.is_empty() => {
            let mut inner: Vec<_> = table.iter().collect();
            inner.sort_by_key(|(name, _)| *name);
            for (name, value) in inner {
                leaves(format!("{path}.{name}"), value, found);
            }
        }
        _ => found.push((path, value)),
    }
}

/// Where a value comes from. A table that several layers filled has no origin of its own.
fn origin(value: &Value) -> String {
    let mut found = Vec::new();
    leaves(String::new(), value, &mut found);
    let of_first_leaf = || found.first().and_then(|(_, leaf)| leaf.origin());
    value.origin().or_else(of_first_leaf).unwrap_or("default").to_owned()
}

/// A value as TOML would have it, cut to a readable length.
fn show(value: &Value) -> String {
    const LENGTH_MAX: usize = 60;
    let text = match &value.kind {
        ValueKind::String(text) => super::format::quoted(text),
        ValueKind::Table(_) => "{…}".to_owned(),
        ValueKind::Array(_) => "[…]".to_owned(),
        kind => kind.to_string(),
    };
    match text.char_indices().nth(LENGTH_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl Walk for Reader<'_> {
    fn table(&mut self, name: &str, body: impl FnOnce(&mut Self)) {
        let Some(value) = self.take(name) else { return };
        let path = self.path(name);
        match &value.kind {
            ValueKind::Table(_) => self.inside(format!("{path}."), value, body),
            _ => {
                self.refuse(path, value, true, format!("expected a table, [{}{name}]", self.prefix))
            }
        }
    }

    fn key<T>(&mut self, name: &str, format: impl Format<T>, slot: &mut T) {
        let parsed = self.take(name).and_then(|value| self.parse(name, value, &format));
        if let Some(parsed) = parsed {
            *slot = parsed;
        }
    }

    fn required<T>(&mut self, name: &str, format: impl Format<T>, slot: &mut T) {
        if !self.table.contains_key(name) {
            self.errors.push(ConfigError {
                origin: self.origin.clone(),
                key: self.path(name),
                value: None,
                problem: "missing, and it has no default".to_owned(),
            });
        }
        self.key(name, format, slot);
    }

    fn optional<T>(&mut self, name: &str, format: impl Format<T>, slot: &mut Option<T>) {
        let Some(value) = self.take(name) else { return };
        // An empty string takes back what a lower layer said.
        *slot = match &value.kind {
            ValueKind::String(text) if text.is_empty() => None,
            _ => self.parse(name, value, &format),
        };
    }

    fn map<T>(&mut self, name: &str, format: impl Format<T>, slot: &mut BTreeMap<String, T>) {
        self.table(name, |reader| {
            let mut names: Vec<&String> = reader.table.keys().collect();
            names.sort();
            for name in names {
                let parsed = reader.take(name).and_then(|value| reader.parse(name, value, &format));
                slot.extend(parsed.map(|parsed| (name.clone(), parsed)));
            }
        });
    }

    fn list<T: Clone>(
        &mut self,
        name: &str,
        blank: T,
        slot: &mut Vec<T>,
        body: impl Fn(&mut Self, &mut T),
    ) {
        let Some(value) = self.take(name) else { return };
        let path = self.path(name);
        let ValueKind::Array(items) = &value.kind else {
            return self.refuse(path, value, false, format!("expected a list, [[{name}]]"));
        };
        slot.clear();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let mut filled = blank.clone();
            match &item.kind {
                ValueKind::Table(_) => {
                    self.inside(format!("{path}."), item, |reader| body(reader, &mut filled));
                }
                ValueKind::Nil => self.errors.push(ConfigError::of_layer(
                    &origin(value),
                    &path,
                    "missing: a later element was set by its index",
                )),
                _ => self.refuse(path, item, false, format!("expected a table, [[{name}]]")),
            }
            slot.push(filled);
        }
    }
}
