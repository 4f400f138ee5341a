//! What stands under a prefix already, as far as a start looks at it. Nothing is written.

use std::collections::BTreeMap;

use serde_json::Value;

use super::admin::refused;
use super::connection::Connector;
use super::error::RedisSinkError;
use super::keys::Keys;
use super::schema::{self, Change};
use crate::config::RedisConfig;

/// Meta as another process, or an earlier run, has left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    pub config_hash: Option<String>,
    /// A bounded run has ended here.
    pub ended: bool,
    pub seq: Option<u64>,
    /// What its definitions and ours differ in.
    pub changes: Vec<Change>,
}

/// `None`: nothing has been written under the prefix. `ours` are the definitions that a start
/// would bring, see [`schema::definitions_json`].
pub async fn holdings(
    config: &RedisConfig,
    ours: &Value,
) -> Result<Option<Holdings>, RedisSinkError> {
    let keys = Keys::new(&config.prefix).ok_or_else(|| super::invalid_prefix(&config.prefix))?;
    let mut connector = Connector::new(config)?;
    let connection = connector.get().await.map_err(refused)?;
    let mut pipeline = redis::pipe();
    pipeline.cmd("HMGET").arg(keys.meta()).arg(&["config_hash", "ended", "seq"]);
    pipeline.cmd("HGET").arg(keys.schema()).arg("definitions");
    type Meta = (Option<String>, Option<String>, Option<String>);
    let ((config_hash, ended, seq), definitions): (Meta, Option<String>) =
        pipeline.query_async(connection).await.map_err(refused)?;
    if config_hash.is_none() && seq.is_none() {
        return Ok(None);
    }
    let stored = definitions.and_then(|text| serde_json::from_str(&text).ok());
    Ok(Some(Holdings {
        config_hash,
        ended: ended.as_deref() == Some("1"),
        seq: seq.and_then(|seq| seq.parse().ok()),
        changes: stored.map_or(vec![], |stored: Value| schema::diff(&stored, ours)),
    }))
}

/// Meta as it stands, and the lease beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// By field, as docs/REDIS.md describes them.
    pub meta: BTreeMap<String, String>,
    /// `None`: nobody holds the lease.
    pub lease_left_millis: Option<u64>,
    /// The clock of Redis, in milliseconds since 1970.
    pub now_millis: i64,
}

/// `None`: nothing has been written under the prefix.
pub async fn standing(config: &RedisConfig) -> Result<Option<Standing>, RedisSinkError> {
    let keys = Keys::new(&config.prefix).ok_or_else(|| super::invalid_prefix(&config.prefix))?;
    let mut connector = Connector::new(config)?;
    let connection = connector.get().await.map_err(refused)?;
    let mut pipeline = redis::pipe();
    pipeline.cmd("HGETALL").arg(keys.meta());
    pipeline.cmd("PTTL").arg(keys.lease());
    pipeline.cmd("TIME");
    type Answers = (BTreeMap<String, String>, i64, (i64, i64));
    let (meta, lease_left, (seconds, micros)): Answers =
        pipeline.query_async(connection).await.map_err(refused)?;
    let standing = Standing {
        lease_left_millis: u64::try_from(lease_left).ok(),
        now_millis: seconds * 1000 + micros / 1000,
        meta,
    };
    Ok(Some(standing).filter(|standing| !standing.meta.is_empty()))
}
