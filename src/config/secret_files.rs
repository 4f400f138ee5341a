//! Secrets that stand in files of their own, as Docker and Kubernetes mount them.

use std::path::Path;

use super::defaults::REDIS_URL;
use super::read::Origins;
use super::{Config, ConfigError, Secret};

/// Reads every `_file` key into the field it stands for. A secret given both ways is an
/// error: it would be unclear which one is in force after the next rotation.
pub(super) fn read(config: &mut Config, origins: &Origins, errors: &mut Vec<ConfigError>) {
    let files = &config.files;
    let mut filler = Filler { origins, errors };

    if let Some(path) = &files.redis_url {
        let is_given = config.redis.url.expose() != REDIS_URL;
        let url = filler.fill("redis.url_file", path, is_given.then_some("redis.url"));
        config.redis.url = url.map_or_else(|| Secret::new(REDIS_URL), Secret::new);
    }
    if let Some(path) = &files.redis_password {
        let is_given = !config.redis.password.is_empty();
        let password =
            filler.fill("redis.password_file", path, is_given.then_some("redis.password"));
        config.redis.password = Secret::new(password.unwrap_or_default());
    }
    for (property, path) in &files.kafka_properties {
        let key = format!("kafka.properties_files.{property}");
        let rival = format!("kafka.properties.{property}");
        let is_given = config.kafka.properties.contains_key(property);
        if let Some(value) = filler.fill(&key, path, is_given.then_some(&rival)) {
            config.kafka.properties.insert(property.clone(), value);
        }
    }
}

struct Filler<'a> {
    origins: &'a Origins,
    errors: &'a mut Vec<ConfigError>,
}

impl Filler<'_> {
    /// The content of the file without the line end; `rival` is the key that was set as well.
    fn fill(&mut self, key: &str, path: &Path, rival: Option<&str>) -> Option<String> {
        if let Some(rival) = rival {
            let origin = self.origin(rival);
            self.refuse(key, path, format!("{rival} is set as well ({origin}); keep one of them"));
            return None;
        }
        match std::fs::read_to_string(path) {
            Ok(text) => match text.trim_end_matches(['\n', '\r']) {
                "" => {
                    self.refuse(
                        key,
                        path,
                        "the file is empty; it should hold the secret".to_owned(),
                    );
                    None
                }
                secret => Some(secret.to_owned()),
            },
            Err(error) => {
                self.refuse(key, path, format!("the file cannot be read: {error}"));
                None
            }
        }
    }

    fn origin(&self, key: &str) -> &str {
        self.origins.get(key).map_or("default", String::as_str)
    }

    fn refuse(&mut self, key: &str, path: &Path, problem: String) {
        self.errors.push(ConfigError {
            origin: self.origin(key).to_owned(),
            key: key.to_owned(),
            value: Some(super::format::quoted(&path.to_string_lossy())),
            problem,
        });
    }
}
