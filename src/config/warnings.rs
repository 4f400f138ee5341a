//! What is allowed, but worth a word at start.

use super::Config;

impl Config {
    /// One sentence each; for the log.
    pub fn warnings(&self) -> Vec<String> {
        let property = |name: &str| self.kafka.properties.get(name).map(String::as_str);
        let mut warnings = Vec::new();
        if property("ssl.endpoint.identification.algorithm") == Some("none") {
            warnings.push(
                "the names in the brokers' certificates are not checked \
                       (ssl.endpoint.identification.algorithm = none)",
            );
        }
        if property("enable.ssl.certificate.verification") == Some("false") {
            warnings.push(
                "the brokers' certificates are not checked \
                       (enable.ssl.certificate.verification = false)",
            );
        }
        let is_remote = !["//127.", "//localhost", "@127.", "@localhost", "[::1]", "unix:"]
            .iter()
            .any(|place| self.redis.url.expose().contains(place));
        let has_password = !self.redis.password.is_empty() || self.redis.url.expose().contains('@');
        let is_plain = ["redis://", "redis+sentinel://"]
            .iter()
            .any(|scheme| self.redis.url.expose().starts_with(scheme));
        if is_plain && is_remote && has_password {
            warnings.push(
                "the Redis password crosses the network in the clear (redis.url does not \
                       begin with rediss)",
            );
        }
        warnings.into_iter().map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn each_weak_setting_is_named() {
        let mut config = Config::default();
        assert_eq!(config.warnings(), Vec::<String>::new());
        for (name, value) in [
            ("ssl.endpoint.identification.algorithm", "none"),
            ("enable.ssl.certificate.verification", "false"),
        ] {
            config.kafka.properties.insert(name.to_owned(), value.to_owned());
        }
        config.redis.password = Secret::new("x");
        assert_eq!(config.warnings().len(), 2, "a local Redis is no network");
        config.redis.url = Secret::new("redis://far.example:6379");
        assert_eq!(config.warnings().len(), 3);
    }
}
