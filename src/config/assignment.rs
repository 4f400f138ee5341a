//! One value at one path: an environment variable, a `--set`.

use config::{Map, Value, ValueKind};
use toml::de::DeValue;

use super::ConfigError;
use super::document::{DOTTED, flatten_properties, inline};
use super::keys::{Place, places};

/// The lists that `name[index]` may be said of.
const LISTS: [&str; 2] = ["window", "view"];
/// No configuration has as many windows or views; a larger index is a typing error.
const INDEX_MAX: usize = 63;

/// `TIME__LATENESS` and its text; the prefix is off already.
pub(super) fn from_env(
    name: &str,
    text: &str,
    origin: &str,
) -> Result<Map<String, Value>, ConfigError> {
    assign(env_path(name), text, origin)
}

/// `time.lateness=1m`
pub(super) fn from_set(set: &str, origin: &str) -> Result<Map<String, Value>, ConfigError> {
    match set.split_once('=') {
        Some((path, text)) => assign(set_path(path.trim()), &unquoted(text.trim()), origin),
        None => {
            // What follows the key may be a secret, written with a colon.
            let is_key = |c: char| c.is_ascii_alphanumeric() || "._[]".contains(c);
            let key = set.split(|c| !is_key(c)).next().unwrap_or_default();
            Err(ConfigError::of_layer(origin, key, "write it as section.key=value"))
        }
    }
}

/// One value at one path, as a layer of its own.
fn assign(path: Vec<String>, text: &str, origin: &str) -> Result<Map<String, Value>, ConfigError> {
    let shown = path.join(".");
    let refuse = |problem: &str| ConfigError::of_layer(origin, &shown, problem);
    let Some((root, inner)) = path.split_first().filter(|(root, _)| is_root(root)) else {
        return Err(refuse("no such key; write section.key, or window[0].size"));
    };
    if inner.iter().any(String::is_empty) {
        return Err(refuse("a part of the key is empty; write section.key"));
    }
    let from = origin.to_owned();
    let mut value = match place(&shown) {
        Place::Key => Value::new(Some(&from), text),
        place => inline(text, place == Place::List, origin).map_err(|problem| refuse(&problem))?,
    };
    for key in inner.iter().rev() {
        let table = Map::from([(key.clone(), value)]);
        value = Value::new(Some(&from), ValueKind::Table(table));
    }
    let mut layer = Map::from([(root.clone(), value)]);
    flatten_properties(&mut layer);
    Ok(layer)
}

/// Whether the config crate reads a first step as a section or as an element of a list. It
/// would take anything else for a longer path, and make room for any index.
fn is_root(root: &str) -> bool {
    match root.strip_suffix(']').and_then(|root| root.split_once('[')) {
        Some((list, index)) => {
            let is_small = index.parse::<usize>().is_ok_and(|index| index <= INDEX_MAX);
            LISTS.contains(&list) && is_small
        }
        None => is_bare(root),
    }
}

/// Whether TOML takes a name for a key without quotes.
pub(super) fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// What stands at a path: tables and lists are written as inline TOML, keys as they are.
fn place(path: &str) -> Place {
    if path.ends_with(']') {
        return Place::Table;
    }
    let known = places().into_iter().find(|(known, _)| known == path);
    known.map_or(Place::Key, |(_, place)| place)
}

/// `window[0].size`, `kafka.properties.sasl.mechanism`
fn set_path(path: &str) -> Vec<String> {
    let mut parts = path.split('.').map(str::to_owned);
    let mut steps: Vec<String> = parts.by_ref().take(2).collect();
    let rest: Vec<String> = parts.collect();
    match holds_properties(&steps) && !rest.is_empty() {
        true => steps.push(rest.join(".")),
        false => steps.extend(rest),
    }
    steps
}

/// `WINDOW__0__SIZE`, `KAFKA__PROPERTIES__SASL_MECHANISM`: no librdkafka property that can be
/// set has an underscore, and few shells let a variable's name have a dot.
fn env_path(name: &str) -> Vec<String> {
    let name = name.to_ascii_lowercase();
    let mut steps: Vec<String> = Vec::new();
    for part in name.split("__") {
        let is_index = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if is_index && steps.len() == 1 {
            steps[0].push_str(&format!("[{part}]"));
        } else if steps.len() == 2 && holds_properties(&steps) {
            steps.push(part.replace('_', "."));
        } else {
            steps.push(part.to_owned());
        }
    }
    steps
}

fn holds_properties(steps: &[String]) -> bool {
    matches!(steps, [kafka, table] if kafka == "kafka" && DOTTED.contains(&table.as_str()))
}

/// A TOML string loses its quotes, so that `--set 'log.level="debug"'` means what it looks like.
fn unquoted(text: &str) -> String {
    match DeValue::parse(text) {
        Ok(value) if text.starts_with(['"', '\'']) => {
            value.get_ref().as_str().unwrap_or(text).to_owned()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_variables_become_paths() {
        let path = |name| env_path(name).join(" / ");
        assert_eq!(path("TIME__LATENESS"), "time / lateness");
        assert_eq!(path("WINDOW__0__SIZE"), "window[0] / size");
        assert_eq!(
            path("KAFKA__PROPERTIES__SASL_MECHANISM"),
            "kafka / properties / sasl.mechanism"
        );
        assert_eq!(
            path("KAFKA__PROPERTIES__sasl.mechanism"),
            "kafka / properties / sasl.mechanism"
        );
        assert_eq!(path("LIMITS__ENTITIES__BRAND_NAME"), "limits / entities / brand_name");
    }

    #[test]
    fn an_index_is_small_and_of_a_list() {
        assert!(is_root("window[3]") && is_root("redis"));
        for root in ["window[99999999999]", "window[-1]", "redis[0]", "win dow", ""] {
            assert!(!is_root(root), "{root}");
        }
    }

    #[test]
    fn quotes_are_those_of_toml() {
        assert_eq!(unquoted(r#""a \"b\"""#), r#"a "b""#);
        assert_eq!(unquoted("[1, 2]"), "[1, 2]");
        assert_eq!(unquoted(r#"pa"ss"#), r#"pa"ss"#);
    }
}
