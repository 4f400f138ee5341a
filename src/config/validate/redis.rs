//! Redis, HTTP and the log.

use std::net::SocketAddr;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::{Rules, hint};
use crate::config::Config;
use crate::config::error::listed;
use crate::sinks::redis::address::Address;

const SCHEMES: [&str; 6] =
    ["redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+unix", "unix"];
const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

pub(super) fn check(config: &Config, rules: &mut Rules<'_>) {
    let redis = &config.redis;
    check_url(config, rules);
    check_prefix(&redis.prefix, rules);
    let flush_fits = (Duration::from_millis(50)..=Duration::from_secs(60)).contains(&redis.flush);
    rules.refuse_if(
        !flush_fits,
        "redis.flush",
        "must be from 50ms to 60s: faster keeps Redis busy with views nobody has read yet, slower \
         lets deliveries pile up in memory",
    );
    let lease_fits = (Duration::from_secs(1)..=Duration::from_secs(300)).contains(&redis.lease);
    rules.refuse_if(
        !lease_fits,
        "redis.lease",
        "must be from 1s to 300s: shorter is lost to a pause of Redis, longer keeps a successor \
         waiting after a crash",
    );
    for (path, timeout) in [
        ("redis.connect_timeout", redis.connect_timeout),
        ("redis.response_timeout", redis.response_timeout),
    ] {
        rules.refuse_if(timeout.is_zero(), path, "must be longer than 0: every attempt would fail");
    }
    check_listen(&config.http.listen, rules);
    check_level(&config.log.level, rules);
}

fn check_url(config: &Config, rules: &mut Rules<'_>) {
    let redis = &config.redis;
    let key = if config.files.redis_url.is_some() { "redis.url_file" } else { "redis.url" };
    let url = redis.url.expose();
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if !scheme.is_some_and(|scheme| SCHEMES.contains(&scheme)) {
        let hint = hint(scheme.unwrap_or_default(), SCHEMES);
        return rules.refuse(
            key,
            format!(
                "must begin with one of the schemes {}, as in redis://host:6379/0{hint}",
                listed(SCHEMES)
            ),
        );
    }
    // The reason is not shown: it may quote the URL.
    let Some(place) =
        Address::parse(url).ok().and_then(|address| address.places.into_iter().next())
    else {
        return rules.refuse(
            key,
            "is not a Redis URL; write redis://[user:password@]host:6379[/db], several nodes of a \
             Cluster with commas, or redis+sentinel://host:26379,…/name; characters other than \
             letters and digits in user and password percent-encoded",
        );
    };
    let settings = place.redis_settings();
    let password_twice = settings.password().is_some() && !redis.password.is_empty();
    rules.refuse_if(
        password_twice,
        "redis.password",
        "redis.url carries a password as well; keep one of them",
    );
    let username_twice = settings.username().is_some() && !redis.username.is_empty();
    rules.refuse_if(
        username_twice,
        "redis.username",
        "redis.url carries a user as well; keep one of them",
    );
    let has_password = !redis.password.is_empty() || config.files.redis_password.is_some();
    let nobody = !redis.username.is_empty() && !has_password;
    rules.refuse_if(
        nobody,
        "redis.username",
        "has no password: set redis.password or redis.password_file",
    );
    if redis.tls_ca_file.is_some() && !scheme.is_some_and(|scheme| scheme.starts_with("rediss")) {
        rules.refuse(
            "redis.tls_ca_file",
            "has no effect without TLS: redis.url must begin with rediss:// or rediss+sentinel://",
        );
    }
}

fn check_prefix(prefix: &str, rules: &mut Rules<'_>) {
    let is_plain = !prefix.is_empty()
        && prefix.chars().all(|c| c.is_ascii_graphic() && !"{}:*?[]\\%".contains(c));
    rules.refuse_if(
        !is_plain,
        "redis.prefix",
        "must be printable ASCII without spaces, ':', '%', braces or the signs of key patterns: \
         it is the hash tag of every key",
    );
}

fn check_listen(listen: &str, rules: &mut Rules<'_>) {
    let parses = listen.is_empty() || listen.parse::<SocketAddr>().is_ok();
    rules.refuse_if(
        !parses,
        "http.listen",
        r#"must be address:port, such as "127.0.0.1:9464" or "[::]:9464", or "" for none"#,
    );
}

/// A bare word is a level: a filter would take any other for the name of a module.
fn check_level(level: &str, rules: &mut Rules<'_>) {
    let is_filter = level.contains(['=', ',']);
    if !is_filter && !LEVELS.contains(&level) {
        let hint = hint(level, LEVELS);
        rules.refuse(
            "log.level",
            format!(
                "must be one of {}, or a filter such as \"info,nazar::sinks=debug\"{hint}",
                listed(LEVELS)
            ),
        );
    } else if is_filter && EnvFilter::try_new(level).is_err() {
        rules.refuse(
            "log.level",
            "is no filter; write \"info,nazar::sinks=debug\": levels by module, with commas",
        );
    }
}
