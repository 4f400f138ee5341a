//! The four layers as trees of values, each value with its origin.
//!
//! The file is parsed with positions, so that an error can name the line. The `config` crate
//! merges the layers; it keeps the origin of the value that won.

use std::path::Path;

use config::{Map, Source, Value};

use super::assignment::{from_env, from_set, is_bare};
use super::document::document;
use super::{Config, ConfigError, LoadOptions};

const ENV_PREFIX: &str = "NAZAR__";

/// Layers in the order in which they win, least first.
pub(super) struct Layers {
    layers: Vec<Layer>,
    is_whole: bool,
}

#[derive(Clone, Debug)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layers {
    /// Whether the file could be read, if there is one. Without it, rules that span several
    /// keys would judge a configuration that nobody wrote.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub(super) fn merge(self) -> Value {
        let builder =
            self.layers.into_iter().fold(config::Config::builder(), |b, layer| b.add_source(layer));
        builder.build().expect("layers in memory are collected without failing").cache
    }
}

/// Reads every layer. What cannot be read is reported and left out.
pub(super) fn collect<E>(options: LoadOptions<E>) -> (Layers, Vec<ConfigError>)
where
    E: IntoIterator<Item = (String, String)>,
{
    let mut errors = Vec::new();
    let mut layers = vec![defaults()];
    let file = options.file.map(|path| file(&path, &mut errors));
    let is_whole = !matches!(file, Some(None));
    layers.extend(file.flatten());
    let mut assigned = Vec::new();
    let mut variables: Vec<_> = options.env.into_iter().collect();
    // Two variables may touch the same list; their order must not depend on the process.
    variables.sort();
    for (name, text) in variables {
        let path = name.strip_prefix(ENV_PREFIX);
        assigned.extend(path.map(|path| from_env(path, &text, &format!("environment {name}"))));
    }
    assigned.extend(options.sets.iter().map(|set| from_set(set, "--set")));
    for result in assigned {
        match result {
            Ok(table) => layers.push(Layer(table)),
            Err(error) => errors.push(error),
        }
    }
    (Layers { layers, is_whole }, errors)
}

/// The defaults as a layer, so that `window[3].slide` finds the element it changes.
fn defaults() -> Layer {
    let text = Config::default().render();
    let table = document(&text, &|_| "default".to_owned()).expect("the defaults render as TOML");
    Layer(table)
}

fn file(path: &Path, errors: &mut Vec<ConfigError>) -> Option<Layer> {
    let shown = path.display().to_string();
    let mut refuse = |origin: &str, key: &str, problem: &str| {
        errors.push(ConfigError::of_layer(origin, key, problem));
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| refuse(&shown, "", &format!("cannot be read: {error}")))
        .ok()?;
    let at = |line: usize| format!("{shown}:{line}");
    let mut table = document(&text, &at)
        .map_err(|faults| {
            for (line, message) in faults {
                // Only the message: the line itself may hold a secret.
                refuse(&at(line), "", &format!("not valid TOML: {message}"));
            }
        })
        .ok()?;
    // The config crate would take such keys for paths into other tables.
    table.retain(|key, value| {
        let is_kept = is_bare(key);
        if !is_kept {
            refuse(value.origin().unwrap_or(&shown), key, "no such key");
        }
        is_kept
    });
    Some(Layer(table))
}
