//! For people: what kind of server this is, whether it will do, and how to start over.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use super::connection::Connector;
use super::error::{ErrorClass, RedisSinkError, Refusal};
use super::keys::Keys;
use super::link::Link;
use crate::config::RedisConfig;

/// Keys asked for per step of a scan.
const SCAN_COUNT: usize = 1000;

/// Everything that holds keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// One, or the masters of a Cluster.
    pub servers: Vec<Probe>,
    /// Slots of a Cluster that nobody serves.
    pub unserved_slots: usize,
}

/// What a server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its address, where there are several.
    pub node: Option<String>,
    /// `redis` or `valkey`.
    pub server: String,
    pub version: String,
    /// `standalone`, `sentinel` or `cluster`.
    pub mode: String,
    pub cluster: bool,
    /// `master` or `slave`, as the server says.
    pub role: String,
    /// 0: no limit.
    pub maxmemory_bytes: u64,
    pub maxmemory_policy: String,
    /// `None`: the user may not read it.
    pub lazyfree_lazy_server_del: Option<bool>,
    /// Round trip of one PING.
    pub latency: Duration,
    /// What the user may not do of what the sink needs; `None`: not asked, or all is well.
    pub refused: Option<String>,
}

impl Probe {
    /// All that hold keys, one after the other.
    pub(super) async fn ask_all(link: &Link) -> Result<Vec<Probe>, RedisError> {
        let mut probes = Vec::new();
        for (node, mut connection) in link.servers().await? {
            probes.push(Probe::ask(node, &mut connection).await?);
        }
        Ok(probes)
    }

    async fn ask(
        node: Option<String>,
        connection: &mut MultiplexedConnection,
    ) -> Result<Probe, RedisError> {
        let start = Instant::now();
        redis::cmd("PING").exec_async(connection).await?;
        let latency = start.elapsed();
        let info: String = redis::cmd("INFO").query_async(connection).await?;
        let info = parse_info(&info);
        let text = |name: &str| info.get(name).copied().unwrap_or("unknown").to_owned();
        // Managed services rename or forbid CONFIG; that alone is no reason to complain.
        let lazyfree: Result<HashMap<String, String>, RedisError> = redis::cmd("CONFIG")
            .arg(&["GET", "lazyfree-lazy-server-del"])
            .query_async(connection)
            .await;
        let lazyfree = lazyfree.ok().and_then(|values| values.into_values().next());
        let valkey = info.get("valkey_version");
        Ok(Probe {
            node,
            server: if valkey.is_some() { "valkey" } else { "redis" }.to_owned(),
            version: valkey.map_or_else(|| text("redis_version"), |version| (*version).to_owned()),
            mode: info
                .get("redis_mode")
                .or(info.get("server_mode"))
                .copied()
                .unwrap_or("unknown")
                .to_owned(),
            cluster: info.get("cluster_enabled") == Some(&"1"),
            role: text("role"),
            maxmemory_bytes: info.get("maxmemory").and_then(|text| text.parse().ok()).unwrap_or(0),
            maxmemory_policy: text("maxmemory_policy"),
            lazyfree_lazy_server_del: lazyfree.map(|value| value == "yes"),
            latency,
            refused: None,
        })
    }

    /// What may hurt later.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let policy = self.maxmemory_policy.as_str();
        if policy.starts_with("allkeys") {
            warnings.push(format!(
                "redis maxmemory-policy is {policy}: it may evict meta and history, which have no TTL; set noeviction or volatile-ttl"
            ));
        }
        if self.lazyfree_lazy_server_del == Some(false) {
            warnings.push(
                "redis lazyfree-lazy-server-del is no: replacing a large board blocks the server while the old one is freed; set it to yes"
                    .to_owned(),
            );
        }
        if major(&self.version).is_some_and(|major| major < 7) {
            warnings.push(format!(
                "{} {} is too old: version 7 or newer is needed",
                self.server, self.version
            ));
        }
        if self.role == "slave" {
            warnings.push("redis is a replica: it takes no writes".to_owned());
        }
        if let Some(refused) = &self.refused {
            warnings.push(format!("the redis user may not do what the sink needs: {refused}"));
        }
        match &self.node {
            None => warnings,
            Some(node) => warnings.into_iter().map(|text| format!("{node}: {text}")).collect(),
        }
    }
}

/// Connects once and looks. Nothing is written.
pub async fn survey(config: &RedisConfig) -> Result<Survey, RedisSinkError> {
    let keys = Keys::new(&config.prefix).ok_or_else(|| super::invalid_prefix(&config.prefix))?;
    let mut connector = Connector::new(config)?;
    let link = connector.get().await.map_err(refused)?;
    let mut servers = Vec::new();
    for (node, mut connection) in link.servers().await.map_err(refused)? {
        let mut probe = Probe::ask(node, &mut connection).await.map_err(refused)?;
        if let Err(error) = ask_rights(&mut connection, &keys).await {
            probe.refused = Some(error.to_string());
        }
        servers.push(probe);
    }
    let unserved_slots = link.cluster().map_or(0, |cluster| cluster.unserved());
    Ok(Survey { servers, unserved_slots })
}

/// Asks for every kind of command that the sink uses, without running one: Redis checks rights
/// when it queues a command of a transaction, and this transaction is discarded. (`ACL DRYRUN`
/// would need the rights of an administrator.)
async fn ask_rights(connection: &mut MultiplexedConnection, keys: &Keys) -> Result<(), RedisError> {
    let [set, zset, hash, value, stream, renamed] =
        [0, 1, 2, 3, 4, 5].map(|number| keys.staged("probe", 0, number));
    let script = "return redis.call('EXISTS', KEYS[1])";
    let commands: [&[&str]; 22] = [
        &["GET", &value],
        &["SADD", &set, "x"],
        &["SREM", &set, "x"],
        &["SSCAN", &set, "0"],
        &["ZADD", &zset, "1", "x"],
        &["ZRANGE", &zset, "0", "-1"],
        &["HSET", &hash, "x", "1"],
        &["HDEL", &hash, "y"],
        &["HGET", &hash, "x"],
        &["HMGET", &hash, "x"],
        &["SET", &value, "x", "PX", "60000"],
        &["XADD", &stream, "1-0", "x", "1"],
        &["XREVRANGE", &stream, "+", "-", "COUNT", "1"],
        &["TYPE", &stream],
        &["EXISTS", &stream],
        &["PEXPIRE", &hash, "60000"],
        &["RENAME", &value, &renamed],
        &["PUBLISH", &keys.flushes(), "{}"],
        &["ZREMRANGEBYRANK", &zset, "0", "-1"],
        &["UNLINK", &hash, &renamed, &stream],
        &["SCRIPT", "LOAD", script],
        &["EVALSHA", "0000000000000000000000000000000000000000", "1", &set],
    ];
    // On its own: were it refused, what follows would be run instead of queued.
    redis::cmd("MULTI").exec_async(connection).await?;
    let mut queued = redis::pipe();
    for command in commands {
        queued.cmd(command[0]).arg(&command[1..]);
    }
    queued.ignore_errors();
    let answers: Vec<Result<redis::Value, RedisError>> = queued.query_async(connection).await?;
    // The sink has no need for it, so a user may lack this right: then the transaction is
    // discarded with the connection, which is closed after this.
    let _ = redis::cmd("DISCARD").exec_async(connection).await;
    // Rights come before slots: a node that would send the command elsewhere grants it.
    let granted = |answer: Result<redis::Value, RedisError>| match answer {
        Err(error) if ErrorClass::of(&error) != ErrorClass::Moved => Err(error),
        _ => Ok(()),
    };
    answers.into_iter().try_for_each(granted)
}

/// The token of the instance that writes under the prefix, and how long its lease lasts.
pub async fn lease(config: &RedisConfig) -> Result<Option<(String, Duration)>, RedisSinkError> {
    let keys = Keys::new(&config.prefix).ok_or_else(|| super::invalid_prefix(&config.prefix))?;
    let mut connector = Connector::new(config)?;
    let connection = connector.get().await.map_err(refused)?;
    let mut pipeline = redis::pipe();
    pipeline.cmd("GET").arg(keys.lease()).cmd("PTTL").arg(keys.lease());
    let (holder, left): (Option<String>, i64) =
        pipeline.query_async(connection).await.map_err(refused)?;
    let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
    Ok(holder.map(|holder| (holder, left)))
}

/// Deletes every key under the prefix and answers how many there were. Stop the daemon first: a
/// running one finds its views gone and writes them again.
pub async fn reset(config: &RedisConfig) -> Result<u64, RedisSinkError> {
    let keys = Keys::new(&config.prefix).ok_or_else(|| super::invalid_prefix(&config.prefix))?;
    let mut connector = Connector::new(config)?;
    let link = connector.get().await.map_err(refused)?;
    let mut deleted = 0;
    for (_, mut server) in link.servers().await.map_err(refused)? {
        for pattern in keys.patterns() {
            deleted += delete(link, &mut server, &pattern).await.map_err(refused)?;
        }
    }
    Ok(deleted)
}

/// Deletes what matches on one server. By the link, as a key may have moved since it was listed.
async fn delete(
    link: &mut Link,
    server: &mut MultiplexedConnection,
    pattern: &str,
) -> Result<u64, RedisError> {
    let mut deleted = 0;
    let mut cursor = "0".to_owned();
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(&cursor).arg(&["MATCH", pattern, "COUNT"]).arg(SCAN_COUNT);
        let (next, found): (String, Vec<Vec<u8>>) = scan.query_async(server).await?;
        if !found.is_empty() {
            // One command per key: they need not share a slot.
            let mut pipeline = redis::pipe();
            for key in &found {
                pipeline.cmd("UNLINK").arg(key);
            }
            let removed: Vec<u64> = pipeline.query_async(link).await?;
            deleted += removed.iter().sum::<u64>();
        }
        cursor = next;
        if cursor == "0" {
            return Ok(deleted);
        }
    }
}

/// The members of a set, asked for in steps.
pub(super) async fn members(connection: &mut Link, key: &str) -> Result<Vec<String>, RedisError> {
    let mut members = Vec::new();
    let mut cursor = "0".to_owned();
    loop {
        let mut scan = redis::cmd("SSCAN");
        scan.arg(key).arg(&cursor).arg("COUNT").arg(SCAN_COUNT);
        let (next, mut found): (String, Vec<String>) = scan.query_async(connection).await?;
        members.append(&mut found);
        cursor = next;
        if cursor == "0" {
            return Ok(members);
        }
    }
}

pub(super) fn refused(source: RedisError) -> RedisSinkError {
    let Refusal { source, key } = source.into();
    RedisSinkError::Refused { class: ErrorClass::of(&source), key, source }
}

fn parse_info(info: &str) -> HashMap<&str, &str> {
    info.lines().filter_map(|line| line.trim_end().split_once(':')).collect()
}

fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_name_the_setting_and_the_remedy() {
        let good = Probe {
            node: None,
            server: "redis".into(),
            version: "7.2.4".into(),
            mode: "standalone".into(),
            cluster: false,
            role: "master".into(),
            maxmemory_bytes: 0,
            maxmemory_policy: "noeviction".into(),
            lazyfree_lazy_server_del: Some(true),
            latency: Duration::ZERO,
            refused: None,
        };
        assert_eq!(good.warnings(), Vec::<String>::new());
        let volatile = Probe { maxmemory_policy: "volatile-lru".into(), ..good.clone() };
        assert_eq!(volatile.warnings(), Vec::<String>::new());
        let bad = Probe {
            version: "6.2.1".into(),
            role: "slave".into(),
            maxmemory_policy: "allkeys-lru".into(),
            lazyfree_lazy_server_del: Some(false),
            ..good
        };
        let warnings = bad.warnings().join("\n");
        for word in ["allkeys-lru", "noeviction", "lazyfree-lazy-server-del", "6.2.1", "replica"] {
            assert!(warnings.contains(word), "{word}: {warnings}");
        }
    }

    #[test]
    fn info_is_read_by_name() {
        let info = parse_info("# Server\r\nredis_version:7.0.15\r\nrole:master\r\n");
        assert_eq!(info.get("redis_version"), Some(&"7.0.15"));
        assert_eq!(info.get("role"), Some(&"master"));
    }
}
