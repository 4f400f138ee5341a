//! Asks Redis through the sink's own connection, and judges what it answers.

use super::{ANSWERS_MAX, Finding, Section};
use crate::config::Config;
use crate::sinks::redis::admin::{Probe, probe};
use crate::sinks::redis::error::{ErrorClass, RedisSinkError};
use crate::sinks::redis::holdings::{Holdings, holdings};
use crate::sinks::redis::schema;

pub async fn section(config: &Config) -> Section {
    let asked = async {
        let found = probe(&config.redis).await?;
        let ours = schema::definitions_json(
            &config.definitions(),
            &config.topics,
            &config.fields,
            &config.limits,
        );
        Ok::<_, RedisSinkError>((found, holdings(&config.redis, &ours).await))
    };
    let mut findings = Vec::new();
    match tokio::time::timeout(ANSWERS_MAX, asked).await {
        Err(_) => {
            let found = format!("not all was answered within {} s", ANSWERS_MAX.as_secs());
            findings.push(Finding::fail("server", found, "is it stopped, or busy with a script?"));
        }
        Ok(Err(error)) => findings.push(unreachable(&error)),
        Ok(Ok((found, held))) => {
            findings.extend(judge_server(&found));
            findings.push(match held {
                Ok(held) => judge_prefix(&config.redis.prefix, held, &config.meaning_hash()),
                Err(error) => Finding::fail(prefix(&config.redis.prefix), error.to_string(), ""),
            });
        }
    }
    Section { name: format!("redis {}", address(config)), findings }
}

/// Where Redis is, without credentials.
fn address(config: &Config) -> &str {
    let url = config.redis.url.expose();
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    rest.rsplit_once('@').map_or(rest, |(_, address)| address)
}

fn unreachable(error: &RedisSinkError) -> Finding {
    let advice = match error.class() {
        Some(ErrorClass::Auth) => "are redis.username and redis.password right?",
        Some(ErrorClass::Io | ErrorClass::Timeout) => "is it running, and redis.url right?",
        _ => "",
    };
    // Nothing was asked yet: the words about a refused command would mislead.
    let found = match error {
        RedisSinkError::Refused { source, .. } => source.to_string(),
        error => error.to_string(),
    };
    Finding::fail("server", found, advice)
}

fn judge_server(found: &Probe) -> Vec<Finding> {
    let server = format!(
        "{} {}, {}, {}, answers in {:.1} ms",
        found.server,
        found.version,
        found.mode,
        found.role,
        found.latency.as_secs_f64() * 1000.0
    );
    let mut findings = vec![judge_kind(found, server), judge_memory(found)];
    findings.push(match found.lazyfree_lazy_server_del {
        Some(true) => Finding::ok("lazyfree-lazy-server-del", "yes"),
        Some(false) => Finding::warn(
            "lazyfree-lazy-server-del",
            "no",
            "replacing a large board stops the server while the old one is freed; set it to yes",
        ),
        None => Finding::ok("lazyfree-lazy-server-del", "may not be read")
            .remark("yes would be right: old boards are then freed aside"),
    });
    findings.push(match &found.refused {
        None => Finding::ok("rights", "every command that is needed"),
        Some(refused) => Finding::fail(
            "rights",
            refused.as_str(),
            "grant it to the user, for the keys and the channel of the prefix",
        ),
    });
    findings
}

fn judge_kind(found: &Probe, server: String) -> Finding {
    let major: Option<u32> = found.version.split('.').next().and_then(|text| text.parse().ok());
    if found.cluster {
        let advice = "this version writes to a single Redis, or to the primary behind Sentinel";
        Finding::fail("server", server, advice)
    } else if found.role == "slave" {
        Finding::fail("server", server, "a replica takes no writes: name the primary in redis.url")
    } else if major.is_some_and(|major| major < 7) {
        Finding::fail("server", server, "Redis 7 or Valkey 7.2, or newer, is needed")
    } else {
        Finding::ok("server", server)
    }
}

fn judge_memory(found: &Probe) -> Finding {
    let max = match found.maxmemory_bytes {
        0 => "no maxmemory".to_owned(),
        bytes => format!("maxmemory {}", bytesize::ByteSize(bytes).display().iec()),
    };
    let policy = found.maxmemory_policy.as_str();
    let text = format!("{max}, maxmemory-policy {policy}");
    if policy == "noeviction" || policy.starts_with("volatile-") {
        return Finding::ok("memory", text);
    }
    let advice = "it may evict meta and history, which have no TTL; set noeviction or volatile-ttl";
    Finding::warn("memory", text, advice)
}

fn judge_prefix(name: &str, held: Option<Holdings>, our_hash: &str) -> Finding {
    let what = prefix(name);
    const REMEDY: &str = "choose another redis.prefix, or delete its views with `nazar reset`";
    let Some(held) = held else {
        return Finding::ok(what, "free");
    };
    if held.config_hash.as_deref().is_some_and(|hash| hash != our_hash) {
        let changes: Vec<String> = held.changes.iter().map(ToString::to_string).collect();
        let detail =
            if changes.is_empty() { String::new() } else { format!(": {}", changes.join("; ")) };
        let found = format!("views of another configuration{detail}");
        return Finding::fail(what, found, format!("restore it, {REMEDY}"));
    }
    if held.ended {
        let found = "views of a bounded run that has ended";
        return Finding::fail(what, found, format!("nothing may follow it: {REMEDY}"));
    }
    let seq = held.seq.map_or_else(|| "none".to_owned(), |seq| seq.to_string());
    Finding::ok(what, format!("views of this configuration, at seq {seq}"))
}

fn prefix(name: &str) -> String {
    format!("prefix {name}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::Verdict;
    use crate::config::Secret;
    use crate::sinks::redis::schema::Change;

    fn good() -> Probe {
        Probe {
            server: "redis".into(),
            version: "7.2.4".into(),
            mode: "standalone".into(),
            cluster: false,
            role: "master".into(),
            maxmemory_bytes: 0,
            maxmemory_policy: "noeviction".into(),
            lazyfree_lazy_server_del: Some(true),
            latency: Duration::from_micros(200),
            refused: None,
        }
    }

    /// What is not ok.
    fn check(probe: Probe, expected: &[(&str, Verdict)]) {
        let findings = judge_server(&probe);
        let found: Vec<(&str, Verdict)> = findings
            .iter()
            .filter(|finding| finding.verdict != Verdict::Ok)
            .map(|finding| (finding.what.as_str(), finding.verdict))
            .collect();
        assert_eq!(found, expected, "{probe:?}");
    }

    #[test]
    fn each_fault_of_a_server_is_named() {
        use Verdict::{Fail, Warn};
        check(good(), &[]);
        check(Probe { server: "valkey".into(), version: "8.0.1".into(), ..good() }, &[]);
        check(Probe { version: "6.2.14".into(), ..good() }, &[("server", Fail)]);
        check(Probe { cluster: true, ..good() }, &[("server", Fail)]);
        check(Probe { role: "slave".into(), ..good() }, &[("server", Fail)]);
        check(Probe { maxmemory_policy: "allkeys-lru".into(), ..good() }, &[("memory", Warn)]);
        check(Probe { maxmemory_policy: "volatile-ttl".into(), ..good() }, &[]);
        let lazyfree = |value| Probe { lazyfree_lazy_server_del: value, ..good() };
        check(lazyfree(Some(false)), &[("lazyfree-lazy-server-del", Warn)]);
        check(lazyfree(None), &[]);
        check(Probe { refused: Some("NOPERM rename".into()), ..good() }, &[("rights", Fail)]);
    }

    #[test]
    fn a_prefix_is_free_ours_or_taken() {
        let held = |hash: &str, ended| {
            let change =
                Change { path: "lateness_ms".into(), stored: None, ours: Some("1".into()) };
            let changes = vec![change];
            Some(Holdings { config_hash: Some(hash.to_owned()), ended, seq: Some(7), changes })
        };
        let judge = |held| judge_prefix("nazar", held, "ours");
        assert_eq!(judge(None).verdict, Verdict::Ok);
        assert!(judge(held("ours", false)).found.ends_with("seq 7"));
        let other = judge(held("theirs", false));
        assert_eq!(other.verdict, Verdict::Fail);
        assert!(other.found.contains("lateness_ms"), "{other:?}");
        let ended = judge(held("ours", true));
        assert!(ended.verdict == Verdict::Fail && ended.found.contains("ended"), "{ended:?}");
    }

    #[test]
    fn no_credentials_are_shown() {
        let shown = |url: &str| {
            let mut config = Config::default();
            config.redis.url = Secret::new(url);
            address(&config).to_owned()
        };
        assert_eq!(shown("redis://127.0.0.1:6379"), "127.0.0.1:6379");
        assert_eq!(shown("rediss://user:p%40ss@host:1/0"), "host:1/0");
        assert_eq!(shown("unix:///run/r.sock?pass=x&user=y"), "/run/r.sock");
    }
}
