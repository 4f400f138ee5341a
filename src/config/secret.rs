//! Values that are never printed, and what is printed in their place.

/// Stands where a secret would. Reading it back as a secret is refused, so that a printed
/// configuration is not taken for a usable one.
pub(super) const REDACTED: &str = "[redacted]";

/// A value that is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(REDACTED)
    }
}

/// Whether a librdkafka property holds a secret, by its name. librdkafka keeps such a list,
/// but does not show it; this one errs on the side of hiding.
pub fn is_secret_property(name: &str) -> bool {
    const FRAGMENTS: [&str; 7] = [
        "password",
        "passphrase",
        "secret",
        "key.pem",
        "private.key",
        "jaas",
        "oauthbearer.config",
    ];
    // `ssl.key.location` and the like name a file, and the endpoint of a token is an address.
    let names_a_place = name.ends_with(".location") || name.ends_with(".file");
    !names_a_place && FRAGMENTS.iter().any(|fragment| name.contains(fragment))
}

/// Hides user and password of a URL, and a password given as a parameter of a socket URL.
///
/// Everything up to the last `@` goes: a password that was not percent-encoded may hold any
/// character, and hiding too much of a URL costs less than showing a piece of a password.
pub fn redact_url(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let shown = match rest.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}{REDACTED}@{host}"),
        None => format!("{scheme}{rest}"),
    };
    let Some((place, parameters)) = shown.split_once('?') else { return shown };
    let parameters: Vec<String> = parameters.split('&').map(redact_parameter).collect();
    format!("{place}?{}", parameters.join("&"))
}

fn redact_parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((name, _)) if name.starts_with("pass") => format!("{name}={REDACTED}"),
        _ => parameter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_user_and_password_and_nothing_else() {
        let shown = [
            "redis://localhost:6379/2",
            "rediss://me:pa@ss/word@host:6380",
            "redis+unix:///run/redis.sock?db=1&pass=canary&user=me",
            "me:canary@host",
        ]
        .map(redact_url);
        assert_eq!(
            shown,
            [
                "redis://localhost:6379/2",
                "rediss://[redacted]@host:6380",
                "redis+unix:///run/redis.sock?db=1&pass=[redacted]&user=me",
                "[redacted]@host",
            ]
        );
    }

    #[test]
    fn secret_properties_are_known_by_name() {
        for name in
            ["sasl.password", "ssl.key.password", "ssl.key.pem", "sasl.oauthbearer.client.secret"]
        {
            assert!(is_secret_property(name), "{name}");
        }
        for name in ["sasl.username", "ssl.key.location", "fetch.min.bytes", "ssl.ca.pem"] {
            assert!(!is_secret_property(name), "{name}");
        }
    }

    #[test]
    fn debug_output_is_redacted() {
        assert_eq!(format!("{:?}", Secret::new("canary")), "[redacted]");
    }
}
