//! Asks Redis through the sink's own connection, and judges what it answers.

use super::{ANSWERS_MAX, Finding, Section};
use crate::config::Config;
use crate::sinks::redis::admin::{Probe, Survey, survey};
use crate::sinks::redis::error::{ErrorClass, RedisSinkError};
use crate::sinks::redis::holdings::{Holdings, holdings};
use crate::sinks::redis::schema;

pub async fn section(config: &Config) -> Section {
    let asked = async {
        let found = survey(&config.redis).await?;
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
            findings.extend(judge(&found));
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

/// One server's findings as they are; of several, what they have in common once.
fn judge(found: &Survey) -> Vec<Finding> {
    let mut findings = Vec::from_iter(judge_slots(found));
    let mut by_server = found.servers.iter().map(judge_server).collect::<Vec<_>>();
    while by_server.iter().any(|findings| !findings.is_empty()) {
        let row: Vec<(Option<&str>, Finding)> = found
            .servers
            .iter()
            .zip(&mut by_server)
            .filter(|(_, findings)| !findings.is_empty())
            .map(|(server, findings)| (server.node.as_deref(), findings.remove(0)))
            .collect();
        let is_same = row.windows(2).all(|pair| pair[0].1 == pair[1].1);
        let shown = if is_same { 1 } else { row.len() };
        findings.extend(row.into_iter().take(shown).map(|(node, finding)| match node {
            Some(node) if !is_same => {
                Finding { what: format!("{} of {node}", finding.what), ..finding }
            }
            _ => finding,
        }));
    }
    findings
}

/// Nothing to say of a single server.
fn judge_slots(found: &Survey) -> Option<Finding> {
    found.servers.iter().any(|server| server.node.is_some()).then(|| {
        let masters = found.servers.len();
        match found.unserved_slots {
            0 => Finding::ok("cluster", format!("all slots, on {masters} masters")),
            slots => Finding::fail(
                "cluster",
                format!("{slots} slots are served by none of {masters} masters"),
                "redis-cli --cluster check, and fix, tell and mend that",
            ),
        }
    })
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
    if found.cluster && found.node.is_none() {
        let advice = "it does not tell where the slots are: grant its user +cluster|slots";
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
            node: None,
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
        let node = Some("h:1".to_owned());
        check(Probe { cluster: true, node, ..good() }, &[]);
        check(Probe { role: "slave".into(), ..good() }, &[("server", Fail)]);
        check(Probe { maxmemory_policy: "allkeys-lru".into(), ..good() }, &[("memory", Warn)]);
        check(Probe { maxmemory_policy: "volatile-ttl".into(), ..good() }, &[]);
        let lazyfree = |value| Probe { lazyfree_lazy_server_del: value, ..good() };
        check(lazyfree(Some(false)), &[("lazyfree-lazy-server-del", Warn)]);
        check(lazyfree(None), &[]);
        check(Probe { refused: Some("NOPERM rename".into()), ..good() }, &[("rights", Fail)]);
    }

    #[test]
    fn masters_are_told_apart_where_they_differ() {
        let server = |port: u16, policy: &str| Probe {
            node: Some(format!("h:{port}")),
            cluster: true,
            maxmemory_policy: policy.into(),
            latency: Duration::from_millis(u64::from(port)),
            ..good()
        };
        let servers =
            vec![server(1, "noeviction"), server(2, "allkeys-lru"), server(3, "noeviction")];
        let of = |unserved_slots| judge(&Survey { servers: servers.clone(), unserved_slots });
        let whats: Vec<String> = of(0).into_iter().map(|finding| finding.what).collect();
        assert_eq!(
            whats.join(", "),
            "cluster, server of h:1, server of h:2, server of h:3, memory of h:1, memory of h:2, \
             memory of h:3, lazyfree-lazy-server-del, rights"
        );
        assert_eq!(of(0)[0].verdict, Verdict::Ok);
        assert_eq!(of(9)[0].verdict, Verdict::Fail);
        let single = Survey { servers: vec![good()], unserved_slots: 0 };
        assert_eq!(judge(&single), judge_server(&good()));
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
