//! The rules that no single value shows: what must hold between keys, and why.
//!
//! A rule refuses a key by its path; where it was set and what it says is looked up here, so
//! that rules are nothing but conditions and reasons.

mod checkpoint;
mod kafka;
mod redis;
mod resources;
mod views;
mod windows;

use std::collections::BTreeMap;

use super::error::nearest;
use super::format::quoted;
use super::read::Origins;
use super::render::shown;
use super::secret::REDACTED;
use super::{Config, ConfigError};

/// `broken`: keys with an error already. They hold a default now, which nobody wrote: rules
/// about them and about their list stay silent.
pub(super) fn validate(
    config: &Config,
    origins: &Origins,
    broken: Vec<String>,
) -> Vec<ConfigError> {
    let values = shown(config).into_iter().map(|key| (key.path, key.value)).collect();
    let mut rules = Rules { values, origins, broken, errors: Vec::new() };
    kafka::check(config, &mut rules);
    windows::check(config, &mut rules);
    views::check(config, &mut rules);
    redis::check(config, &mut rules);
    checkpoint::check(config, &mut rules);
    resources::check(config, &mut rules);
    rules.errors
}

struct Rules<'a> {
    /// By path, as TOML and redacted.
    values: BTreeMap<String, String>,
    origins: &'a Origins,
    broken: Vec<String>,
    errors: Vec<ConfigError>,
}

impl Rules<'_> {
    /// `problem` says what is wrong and what would be right.
    fn refuse(&mut self, path: &str, problem: impl Into<String>) {
        if self.is_broken(path) {
            return;
        }
        self.errors.push(ConfigError {
            origin: self.origin(path).to_owned(),
            key: path.to_owned(),
            value: self.values.get(path).cloned(),
            problem: problem.into(),
        });
    }

    fn refuse_if(&mut self, wrong: bool, path: &str, problem: impl Into<String>) {
        if wrong {
            self.refuse(path, problem);
        }
    }

    /// Keeps the value at `path` out of errors.
    fn hide(&mut self, path: &str) {
        if let Some(value) = self.values.get_mut(path) {
            *value = quoted(REDACTED);
        }
    }

    /// Whether an error at `path`, or anywhere in the same list, is known.
    fn is_broken(&self, path: &str) -> bool {
        let list = path.split_once('[').map(|(list, _)| list);
        self.broken.iter().any(|key| match list {
            Some(list) => key == list || key.starts_with(&format!("{list}[")),
            None => key == path,
        })
    }

    /// The layer that set a key, or the list around it.
    fn origin(&self, path: &str) -> &str {
        let list = path.split_once('[').and_then(|(list, _)| self.origins.get(list));
        self.origins.get(path).or(list).map_or("default", String::as_str)
    }

    /// Of two keys that cannot both be right: the one that somebody set, then the other.
    fn culprit<'p>(&self, later: &'p str, earlier: &'p str) -> (&'p str, &'p str) {
        match self.is_default(later) && !self.is_default(earlier) {
            true => (earlier, later),
            false => (later, earlier),
        }
    }

    fn is_default(&self, path: &str) -> bool {
        self.origin(path) == "default"
    }
}

/// `; did you mean "seller"?`, or nothing.
fn hint<'a>(written: &str, words: impl IntoIterator<Item = &'a str>) -> String {
    nearest(written, words).map(|word| format!("; did you mean {word:?}?")).unwrap_or_default()
}
