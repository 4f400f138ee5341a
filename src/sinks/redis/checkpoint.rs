//! The manifest of the group's checkpoint in Redis, and blobs beside it.
//!
//! ```text
//!  {nazar}:pane:<name> …        blobs, written first, each with its name in an index
//!  {nazar}:manifest             one hash, replaced by manifest.lua: token? builds on the last? blobs there?
//!  UNLINK what it dropped       afterwards
//! ```
//! A checkpoint that fails half-way leaves the last one as it was, and blobs that nobody names;
//! the index finds them.

use std::collections::BTreeMap;

use redis::{Pipeline, RedisError};

use super::admin;
use super::connection::Connector;
use super::content;
use super::error::RedisSinkError;
use super::keys::Keys;
use super::link::Link;
use super::scripts::{self, Answer, Scripts};
use super::unix_millis;
use crate::config::{RedisConfig, TopicsConfig};
use crate::pipeline::checkpoint::BlobName;
use crate::pipeline::delivery::Partition;

/// Names in one command or pipeline.
const NAMES_MAX: usize = 500;

/// Blobs as string values of Redis.
pub struct RedisBlobs {
    connector: Connector,
    keys: Keys,
    scripts: Scripts,
    token: String,
}

impl RedisBlobs {
    /// # Errors
    /// The configuration names no Redis.
    pub fn new(config: &RedisConfig, token: &str) -> Result<Self, RedisSinkError> {
        let keys =
            Keys::new(&config.prefix).ok_or_else(|| super::invalid_prefix(&config.prefix))?;
        let (connector, scripts) = (Connector::new(config)?, Scripts::default());
        Ok(Self { connector, keys, scripts, token: token.to_owned() })
    }

    pub async fn put(&mut self, group: &[(BlobName, Vec<u8>)]) -> Result<(), RedisError> {
        let mut pipeline = transaction();
        for (name, content) in group {
            pipeline.cmd("SADD").arg(self.keys.blobs_index()).arg(&**name).ignore();
            pipeline.cmd("SET").arg(self.keys.blob(name)).arg(content).ignore();
        }
        self.exec(&pipeline).await
    }

    pub async fn get(&mut self, names: &[BlobName]) -> Result<Vec<Option<Vec<u8>>>, RedisError> {
        let mut pipeline = redis::pipe();
        for name in names {
            pipeline.cmd("GET").arg(self.keys.blob(name));
        }
        let mut connection = self.connection().await?;
        let answer = pipeline.query_async(&mut connection).await;
        self.judged(answer)
    }

    /// Whether they are removed: only the writer of the prefix may.
    pub async fn remove(&mut self, names: &[BlobName]) -> Result<bool, RedisError> {
        for names in names.chunks(NAMES_MAX) {
            let mut invocation = self.scripts.unlink.prepare_invoke();
            invocation.key(self.keys.meta()).key(self.keys.blobs_index()).arg(&self.token);
            for name in names {
                invocation.key(self.keys.blob(name)).arg(&**name);
            }
            let mut connection = self.connector.get().await?.clone();
            let answer = scripts::run(&invocation, &mut connection).await;
            if !matches!(answer.inspect_err(|_| self.connector.disconnect())?, Answer::Done(_)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub async fn list(&mut self) -> Result<Vec<BlobName>, RedisError> {
        let index = self.keys.blobs_index();
        let mut connection = self.connection().await?;
        let names = admin::members(&mut connection, &index).await;
        Ok(self.judged(names)?.into_iter().map(BlobName::from).collect())
    }

    async fn connection(&mut self) -> Result<Link, RedisError> {
        self.connector.get().await.cloned()
    }

    async fn exec(&mut self, pipeline: &Pipeline) -> Result<(), RedisError> {
        let mut connection = self.connection().await?;
        let answer = pipeline.exec_async(&mut connection).await;
        self.judged(answer)
    }

    /// After an error the connection is in doubt.
    fn judged<T>(&mut self, answer: Result<T, RedisError>) -> Result<T, RedisError> {
        answer.inspect_err(|_| self.connector.disconnect())
    }
}

fn transaction() -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    pipeline
}

/// A manifest as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub token: String,
    pub seq: u64,
    pub config_hash: String,
    pub written_at_millis: i64,
    /// The log's cluster, where it was known.
    pub cluster_id: String,
    pub body: Vec<u8>,
}

/// What a leader publishes for the other instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderSays {
    pub stream_time_millis: Option<i64>,
    /// The newest time of the slowest partition that progresses.
    pub slowest_millis: Option<i64>,
    /// The newest offsets that views explain.
    pub published: BTreeMap<Partition, i64>,
}

/// What became of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    Stands,
    /// Another process holds the prefix.
    Fenced(String),
    /// Redis does not hold what this manifest builds on: everything has to be written.
    Lost(&'static str),
}

/// Reads and replaces the manifest.
pub struct ManifestStore {
    connector: Connector,
    keys: Keys,
    scripts: Scripts,
    token: String,
    /// Token and seq of the manifest that stands, as far as we know.
    last: Option<(String, u64)>,
}

impl ManifestStore {
    /// # Errors
    /// The configuration names no Redis.
    pub fn new(config: &RedisConfig, token: &str) -> Result<Self, RedisSinkError> {
        let keys =
            Keys::new(&config.prefix).ok_or_else(|| super::invalid_prefix(&config.prefix))?;
        let connector = Connector::new(config)?;
        let scripts = Scripts::default();
        Ok(Self { connector, keys, scripts, token: token.to_owned(), last: None })
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// The number of the next manifest.
    pub fn next_seq(&self) -> u64 {
        self.last.as_ref().map_or(1, |&(_, seq)| seq + 1)
    }

    /// The manifest that stands, unless it is the one that was seen.
    pub async fn read_if_new(
        &mut self,
        seen: Option<&(String, u64)>,
    ) -> Result<Option<Standing>, RedisError> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.keys.manifest()).arg(&["token", "seq"]);
        let mut connection = self.connector.get().await?.clone();
        let answer: Result<(Option<String>, Option<u64>), _> =
            command.query_async(&mut connection).await;
        let (token, seq) = answer.inspect_err(|_| self.connector.disconnect())?;
        let stands = token.zip(seq);
        if stands.is_none() || stands.as_ref() == seen {
            return Ok(None);
        }
        self.read().await
    }

    /// What a follower needs to know of meta. `windows`: their labels.
    pub async fn leader_says(
        &mut self,
        windows: &[String],
        topics: &TopicsConfig,
    ) -> Result<LeaderSays, RedisError> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.keys.meta()).arg(&["stream_time", "slowest_progressing"]);
        command.arg(content::CLOSED_OFFSETS);
        for label in windows {
            command.arg(format!("offsets:{label}"));
        }
        let mut connection = self.connector.get().await?.clone();
        let answer: Result<Vec<Option<String>>, _> = command.query_async(&mut connection).await;
        let fields = answer.inspect_err(|_| self.connector.disconnect())?;
        let number = |at: usize| fields.get(at)?.as_ref()?.parse().ok();
        let vectors = fields.iter().skip(2).flatten();
        Ok(LeaderSays {
            stream_time_millis: number(0),
            slowest_millis: number(1),
            published: content::newest_offsets(vectors.map(String::as_str), topics),
        })
    }

    /// The cluster whose log the leader reads, where it is known.
    pub async fn cluster_id(&mut self) -> Option<String> {
        let standing = self.read().await.ok().flatten()?;
        Some(standing.cluster_id).filter(|id| !id.is_empty())
    }

    /// The manifest that stands, which the next one replaces.
    pub async fn read(&mut self) -> Result<Option<Standing>, RedisError> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.keys.manifest());
        command.arg(&["token", "seq", "config_hash", "written_at", "cluster_id", "body"]);
        let mut connection = self.connector.get().await?.clone();
        type Fields = (
            Option<String>,
            Option<u64>,
            Option<String>,
            Option<i64>,
            Option<String>,
            Option<Vec<u8>>,
        );
        let answer: Result<Fields, _> = command.query_async(&mut connection).await;
        let fields = answer.inspect_err(|_| self.connector.disconnect())?;
        let (token, seq, config_hash, written_at_millis, cluster_id, body) = fields;
        let standing = token.zip(seq).map(|(token, seq)| Standing {
            token,
            seq,
            config_hash: config_hash.unwrap_or_default(),
            written_at_millis: written_at_millis.unwrap_or_default(),
            cluster_id: cluster_id.unwrap_or_default(),
            body: body.unwrap_or_default(),
        });
        self.last = standing.as_ref().map(|standing| (standing.token.clone(), standing.seq));
        Ok(standing)
    }

    /// Replaces the manifest. `blobs`: those that have to stand in Redis. After an answer was
    /// lost, what stands is read back.
    pub async fn place(
        &mut self,
        body: &[u8],
        config_hash: &str,
        cluster_id: &str,
        blobs: &[&BlobName],
    ) -> Result<Placed, RedisError> {
        let seq = self.next_seq();
        let (last_token, last_seq) = match &self.last {
            Some((token, seq)) => (token.clone(), seq.to_string()),
            None => Default::default(),
        };
        let mut invocation = self.scripts.manifest.prepare_invoke();
        invocation.key(self.keys.meta()).key(self.keys.manifest());
        for name in blobs {
            invocation.key(self.keys.blob(name));
        }
        invocation.arg(&self.token).arg(last_token).arg(last_seq).arg(seq);
        invocation.arg("config_hash").arg(config_hash).arg("cluster_id").arg(cluster_id);
        invocation.arg("written_at").arg(unix_millis()).arg("body").arg(body);
        let mut connection = self.connector.get().await?.clone();
        match scripts::run(&invocation, &mut connection).await {
            Ok(Answer::Done(_)) => {
                self.last = Some((self.token.clone(), seq));
                Ok(Placed::Stands)
            }
            Ok(Answer::Fenced(holder)) => Ok(Placed::Fenced(holder)),
            Ok(Answer::Stale(cause)) => {
                self.read().await?;
                Ok(Placed::Lost(cause))
            }
            Ok(_) => Ok(Placed::Lost("a script was answered out of place")),
            Err(error) => {
                self.connector.disconnect();
                let stands = self.read().await?;
                let is_ours =
                    |standing: &Standing| (&standing.token, standing.seq) == (&self.token, seq);
                if stands.as_ref().is_some_and(is_ours) { Ok(Placed::Stands) } else { Err(error) }
            }
        }
    }

    /// Whether meta names this process as the writer.
    pub async fn leads(&mut self) -> Result<bool, RedisError> {
        let mut connection = self.connector.get().await?.clone();
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.meta()).arg("leader");
        let leader: Result<Option<String>, _> = command.query_async(&mut connection).await;
        let leader = leader.inspect_err(|_| self.connector.disconnect())?;
        Ok(leader.is_some_and(|leader| leader == self.token))
    }

    /// Removes the manifest: nothing will be continued from here.
    pub async fn discard(&mut self) -> Result<(), RedisError> {
        let mut connection = self.connector.get().await?.clone();
        redis::cmd("UNLINK").arg(self.keys.manifest()).exec_async(&mut connection).await?;
        self.last = None;
        Ok(())
    }
}
