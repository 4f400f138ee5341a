//! What is wrong with a configuration, in words that say where and what would be right.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The layer that said so: `nazar.toml:12`, `environment NAZAR__KAFKA__GROUP`, `--set`,
    /// `default`.
    pub origin: String,
    /// The key by its full path; empty where the layer as a whole is at fault.
    pub key: String,
    /// The value as written, redacted where it may be a secret.
    pub value: Option<String>,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

impl ConfigError {
    /// Something wrong with a layer before its values are looked at.
    pub(super) fn of_layer(origin: &str, key: &str, problem: &str) -> Self {
        let (origin, key, problem) = (origin.to_owned(), key.to_owned(), problem.to_owned());
        Self { origin, key, value: None, problem }
    }

    /// Files first, by line, then the environment, then the command line.
    fn order(&self) -> (u8, Option<usize>) {
        let layer = match self.origin.as_str() {
            "default" => 3,
            "--set" => 2,
            origin if origin.starts_with("environment ") => 1,
            _ => 0,
        };
        let line = self.origin.rsplit_once(':').and_then(|(_, line)| line.parse().ok());
        (layer, line)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        match (self.key.as_str(), &self.value) {
            ("", None) => {}
            ("", Some(value)) => write!(f, "{value}: ")?,
            (key, None) => write!(f, "{key}: ")?,
            (key, Some(value)) => write!(f, "{key} = {value}: ")?,
        }
        f.write_str(&self.problem)
    }
}

/// Everything that is wrong, one line each, in the order of layers and lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    pub(super) fn new(mut errors: Vec<ConfigError>) -> Self {
        errors.sort_by_cached_key(ConfigError::order);
        Self(errors)
    }

    pub fn iter(&self) -> impl Iterator<Item = &ConfigError> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ConfigError::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// The candidate that was probably meant: at most a third of its letters differ.
pub(super) fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(written, candidate), candidate))
        .filter(|(distance, candidate)| *distance * 3 <= candidate.chars().count().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `"a", "b" or "c"`, for messages that list what may be written.
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_close_or_none() {
        let words = ["clicks", "wishlists", "orders", "units", "revenue_minor"];
        assert_eq!(nearest("click", words), Some("clicks"));
        assert_eq!(nearest("ordesr", words), Some("orders"));
        assert_eq!(nearest("revenue", words), None);
        assert_eq!(nearest("zebra", words), None);
    }

    #[test]
    fn words_are_listed_as_people_say_them() {
        assert_eq!(listed(["a"]), r#""a""#);
        assert_eq!(listed(["a", "b", "c"]), r#""a", "b" or "c""#);
    }
}
