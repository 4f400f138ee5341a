//! The effective configuration as TOML, without its secrets.

use std::collections::BTreeMap;

use super::Config;
use super::assignment::is_bare;
use super::format::{Format, quoted};
use super::keys::{Walk, walk};

/// A key with its value as TOML, redacted.
pub(super) struct Shown {
    /// The full path, as errors name it: `window[0].size`.
    pub path: String,
    /// The line of its table: `[kafka]`, `[[window]]`.
    header: String,
    /// Numbers the tables, for two of the same header stand next to each other in a list.
    table: usize,
    name: String,
    pub value: String,
}

/// Every key that is set, in the order of the description.
pub(super) fn shown(config: &Config) -> Vec<Shown> {
    let mut renderer = Renderer::default();
    walk(&mut renderer, &mut config.clone());
    let mut keys = renderer.keys;
    // A secret from a file is shown as that file, which can be read again.
    let files = &config.files;
    keys.retain(|key| match key.path.as_str() {
        "redis.url" => files.redis_url.is_none(),
        "redis.password" => files.redis_password.is_none(),
        path => match path.strip_prefix("kafka.properties.") {
            Some(property) => !files.kafka_properties.contains_key(property),
            None => true,
        },
    });
    keys
}

impl Config {
    /// The effective configuration as TOML. Secrets are replaced by `"[redacted]"`, the user
    /// and password of a URL likewise; all else reads back as it was.
    pub fn render(&self) -> String {
        let mut text = String::new();
        let mut table = 0;
        for key in shown(self) {
            if key.table != table {
                table = key.table;
                let gap = if text.is_empty() { "" } else { "\n" };
                text.push_str(&format!("{gap}{}\n", key.header));
            }
            text.push_str(&format!("{} = {}\n", key.name, key.value));
        }
        text
    }
}

#[derive(Default)]
struct Renderer {
    keys: Vec<Shown>,
    prefix: String,
    header: String,
    table: usize,
    tables: usize,
}

impl Renderer {
    fn add<T>(&mut self, name: &str, shown_name: String, format: &impl Format<T>, value: &T) {
        self.keys.push(Shown {
            path: format!("{}{name}", self.prefix),
            header: self.header.clone(),
            table: self.table,
            name: shown_name,
            value: format.show(name, value),
        });
    }

    fn inside(&mut self, prefix: String, header: String, body: impl FnOnce(&mut Self)) {
        self.tables += 1;
        let outer_table = std::mem::replace(&mut self.table, self.tables);
        let outer_prefix = std::mem::replace(&mut self.prefix, prefix);
        let outer_header = std::mem::replace(&mut self.header, header);
        body(self);
        self.table = outer_table;
        self.prefix = outer_prefix;
        self.header = outer_header;
    }
}

impl Walk for Renderer {
    fn table(&mut self, name: &str, body: impl FnOnce(&mut Self)) {
        let path = format!("{}{name}", self.prefix);
        self.inside(format!("{path}."), format!("[{path}]"), body);
    }

    fn key<T>(&mut self, name: &str, format: impl Format<T>, slot: &mut T) {
        self.add(name, name.to_owned(), &format, slot);
    }

    fn required<T>(&mut self, name: &str, format: impl Format<T>, slot: &mut T) {
        self.key(name, format, slot);
    }

    fn optional<T>(&mut self, name: &str, format: impl Format<T>, slot: &mut Option<T>) {
        if let Some(value) = slot {
            self.key(name, format, value);
        }
    }

    fn map<T>(&mut self, name: &str, format: impl Format<T>, slot: &mut BTreeMap<String, T>) {
        self.table(name, |renderer| {
            for (key, value) in slot {
                renderer.add(key, quoted_key(key), &format, value);
            }
        });
    }

    fn list<T: Clone>(
        &mut self,
        name: &str,
        _blank: T,
        slot: &mut Vec<T>,
        body: impl Fn(&mut Self, &mut T),
    ) {
        for (index, item) in slot.iter_mut().enumerate() {
            let path = format!("{}{name}[{index}].", self.prefix);
            self.inside(path, format!("[[{name}]]"), |renderer| body(renderer, item));
        }
    }
}

/// A name that the user chose, with quotes where TOML wants them.
fn quoted_key(key: &str) -> String {
    if is_bare(key) { key.to_owned() } else { quoted(key) }
}
