//! Commands in pipelines of bounded size.

use redis::{Pipeline, RedisError};

use super::content::{Content, View};
use super::error::Refusal;
use super::link::Link;

/// Members or fields per command: one command of more would hold Redis for too long, much
/// smaller ones cost more in parsing.
const PAIRS_MAX: usize = 1000;

/// A pipeline is sent once it holds this many bytes. Replies and queries pile up in Redis
/// beyond it; below it the round trips show.
const PIPELINE_BYTES: usize = 128 << 10;

/// Commands on their way, sent as transactions: either a whole key arrives, with its TTL, or
/// nothing of it. A key's commands are never split over two transactions. On a Cluster, keys of
/// different slots arrive in any order, except around [`Batch::settle`].
pub struct Batch<'c> {
    connection: &'c mut Link,
    pipeline: Pipeline,
    bytes: usize,
    bytes_total: u64,
}

impl<'c> Batch<'c> {
    pub fn new(connection: &'c mut Link) -> Self {
        Batch { connection, pipeline: transaction(), bytes: 0, bytes_total: 0 }
    }

    /// Writes a view under `key`, which holds nothing yet.
    pub async fn stage(
        &mut self,
        key: &str,
        view: &View<'_>,
        ttl_millis: u64,
    ) -> Result<(), Refusal> {
        match &view.content {
            Content::Board(rows) => {
                for rows in rows.chunks(PAIRS_MAX) {
                    let command = self.pipeline.cmd("ZADD").arg(key);
                    for (name, score) in rows {
                        command.arg(*score).arg(name.as_bytes());
                        self.bytes += name.len() + 32;
                    }
                    command.ignore();
                }
            }
            Content::Fields(fields) => self.set_fields(key, fields),
            Content::Value(value) => {
                self.pipeline.cmd("SET").arg(key).arg(*value).ignore();
                self.bytes += value.len();
            }
        }
        self.expire(key, ttl_millis);
        self.send_if_full().await
    }

    pub fn set_fields<N: AsRef<str>>(&mut self, key: &str, fields: &[(N, String)]) {
        for fields in fields.chunks(PAIRS_MAX) {
            let command = self.pipeline.cmd("HSET").arg(key);
            for (name, value) in fields {
                command.arg(name.as_ref()).arg(value);
                self.bytes += name.as_ref().len() + value.len() + 16;
            }
            command.ignore();
        }
    }

    pub fn expire(&mut self, key: &str, ttl_millis: u64) {
        self.command("PEXPIRE", key, &[&ttl_millis.to_string()]);
    }

    pub fn command(&mut self, name: &str, key: &str, arguments: &[&str]) {
        self.pipeline.cmd(name).arg(key).arg(arguments).ignore();
        self.bytes += key.len() + arguments.iter().map(|one| one.len()).sum::<usize>() + 32;
    }

    /// To be called between keys.
    pub async fn send_if_full(&mut self) -> Result<(), Refusal> {
        if self.bytes >= PIPELINE_BYTES { self.send().await } else { Ok(()) }
    }

    /// What follows has to stand after what came before. One server keeps the order anyway.
    pub async fn settle(&mut self) -> Result<(), Refusal> {
        if self.connection.is_cluster() { self.send().await } else { self.send_if_full().await }
    }

    /// One command with many arguments, in parts.
    pub async fn in_parts(
        &mut self,
        name: &str,
        key: &str,
        arguments: &[&str],
    ) -> Result<(), Refusal> {
        for arguments in arguments.chunks(PAIRS_MAX) {
            self.command(name, key, arguments);
            self.send_if_full().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Refusal> {
        if self.pipeline.is_empty() {
            return Ok(());
        }
        let pipeline = std::mem::replace(&mut self.pipeline, transaction());
        self.bytes_total += self.bytes as u64;
        self.bytes = 0;
        pipeline
            .exec_async(self.connection)
            .await
            .map_err(|source| Refusal { key: refused_key(&pipeline, &source), source })
    }

    /// Sends what is left and answers how many bytes the batch took, about.
    pub async fn finish(mut self) -> Result<u64, Refusal> {
        self.send().await?;
        Ok(self.bytes_total)
    }
}

/// The key of the command that the server refused.
fn refused_key(pipeline: &Pipeline, error: &RedisError) -> Option<String> {
    let (index, _) = error.clone().into_server_errors()?.first().cloned()?;
    match pipeline.cmd_iter().nth(index)?.args_iter().nth(1)? {
        redis::Arg::Simple(key) => Some(String::from_utf8_lossy(key).into_owned()),
        _ => None,
    }
}

fn transaction() -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    pipeline
}
