//! Outboxes: how deliveries of partitions that another instance owns reach the leader.
//!
//! ```text
//!   owner of p                     slot {nazar:<topic>:<p>}                       leader
//!   open(token, cursor) ───► owner   token  start 500-0  end 930-2210  entries 3
//!   append(from, to, …) ───► outbox  700-801 │ 900-1650 │ 930-2210  ───────► Feed::read
//!   held() ◄───────────────          [500,700) [700,900)  [900,930) ◄─────── Feed::trim
//! ```
//!
//! One partition, one slot, two keys: a stream of deliveries and a hash that says whose it is.
//! [`Outboxes`] is the owner's side, [`Feed`] the leader's. The rules are those of
//! [`crate::pipeline::protocol`]: [`append_admitted`], [`Held`]; the scripts say them in Lua.
//!
//! # Ids
//!
//! An entry's id is `<to>-<bytes appended since the outbox was opened>`. So it tells where the
//! entry ends, and two ids tell how many bytes lie between them: the byte count of an outbox is
//! the difference of `end` and `start` and can never drift. It also makes a trim right by
//! construction, wherever Redis or its clock has been: what it removes it names by offset.
//!
//! An id is a position only together with the token it was read under. A [`Feed`] reads from
//! the start of the stream again when the token has changed (another owner may have opened
//! at a lower offset), or when the stream ends before what was read (Redis has lost its latest
//! writes). In between it cannot miss a delivery: under one token an owner appends each range
//! once, each after the one before, and after lost writes its next one is refused ([`Append::Gap`])
//! until it opens again with a new token. What can be skipped is a mark of a quiet partition
//! (an empty range), when lost ones were replaced by as many bytes of new ones; the next mark
//! says more. What is read twice the cursor ignores.
//!
//! # What is lost, and who notices
//!
//! | what happened | owner | leader |
//! |---|---|---|
//! | the slot is gone | [`Append::Gone`] | reads nothing |
//! | its latest writes are gone | [`Append::Gap`], or a `held` that ends too early | reads from the start |
//! | the stream alone is gone or replaced | [`Append::Gone`], by the number of entries | reads from the start, if it ends too early |
//! | another owner has opened | [`Append::Fenced`] | reads from the start |
//! | the answer to an append | appends the same again: [`Append::AlreadyThere`] | |
//!
//! A stream that was put back by hand, alone, and has as many entries as the hash counts, is not
//! noticed. Neither key has a TTL: a partition that nobody owns keeps its last deliveries.
//!
//! Every command names the keys of one slot only, so that a pipeline of them is right on a
//! Cluster, too. Bounds: an outbox refuses what would take it beyond so many bytes
//! ([`Append::Full`]) unless it is empty; a [`Feed`] reads about so many bytes at a time.
//!
//! # What it costs
//!
//! Deliveries as `benches/wire.rs` makes them: 50,000 bytes (a backlog, 4,200 records) and 16,500
//! bytes (a second of live traffic, 1,420 records). One connection, one append after the other,
//! 12 outboxes, 2,400 deliveries; Redis 7.0 on the same two shared cores; processor time and
//! memory by INFO before and after (`tests/redis_sink/outbox_cost.rs`). One run on a busy machine:
//! times are good to a factor of two, bytes come out the same each time.
//!
//! | | 50,000 bytes | 16,500 bytes |
//! |---|---|---|
//! | appends a second | 5,600 | 3,800 |
//! | Redis, µs an append | 119 | 57 |
//! | … a delivery read | 22 | 15 |
//! | … a trim of one delivery | 80 | 35 |
//! | … `held` of one partition | 6 | 5 |
//! | bytes in Redis a byte | 1.15 | 1.25 |
//! | bytes in Redis a record | 13.7 | 14.5 |
//!
//! So a record of a backlog costs Redis some 50 ns on its way, and a million of them a second
//! about a twentieth of a core. A trim is dear because its script is shown the last delivery
//! it removes, to see its id; checkpoints trim many at once, and pay that once per outbox.
//!
//! [`append_admitted`]: crate::pipeline::protocol::append_admitted
//! [`Held`]: crate::pipeline::protocol::Held

mod feed;
mod owner;

pub use feed::{Entry, Feed, ReadBounds};
pub use owner::{Append, Outboxes};

use std::fmt;
use std::str::FromStr;

use redis::{ErrorKind, FromRedisValue, Pipeline, RedisError};

use super::connection::Connector;
use super::error::{RedisSinkError, Refusal};
use super::keys::Keys;
use super::link::Link;
use crate::config::{RedisConfig, TopicsConfig};
use crate::pipeline::delivery::Partition;

/// The id of an entry: where its delivery ends, and the bytes appended up to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    pub to: u64,
    pub bytes: u64,
}

impl StreamId {
    /// The greatest id of an entry that ends at or before an offset; `None` before all offsets.
    fn last_ending_at(offset: i64) -> Option<StreamId> {
        Some(StreamId { to: u64::try_from(offset).ok()?, bytes: u64::MAX })
    }

    fn next(self) -> StreamId {
        match self.bytes.checked_add(1) {
            Some(bytes) => StreamId { bytes, ..self },
            None => StreamId { to: self.to.saturating_add(1), bytes: 0 },
        }
    }

    fn offset(self) -> i64 {
        i64::try_from(self.to).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.to, self.bytes)
    }
}

impl FromStr for StreamId {
    type Err = RedisError;

    fn from_str(text: &str) -> Result<Self, RedisError> {
        let parse = || {
            let (to, bytes) = text.split_once('-')?;
            Some(StreamId { to: to.parse().ok()?, bytes: bytes.parse().ok()? })
        };
        parse().ok_or_else(|| unexpected(format!("`{text}` is not the id of a stream entry")))
    }
}

/// What is common to both sides: a connection, and the keys of a partition.
struct Slots {
    connector: Connector,
    keys: Keys,
    topics: TopicsConfig,
}

impl Slots {
    fn new(config: &RedisConfig, topics: &TopicsConfig) -> Result<Self, RedisSinkError> {
        let keys = Keys::new(&config.prefix).ok_or_else(|| {
            RedisSinkError::Config(format!("redis.prefix `{}` is not allowed", config.prefix))
        })?;
        Ok(Self { connector: Connector::new(config)?, keys, topics: topics.clone() })
    }

    /// Outbox and owner.
    fn of(&self, partition: Partition) -> [String; 2] {
        let topic = self.topics.of(partition.kind);
        [self.keys.outbox(topic, partition.index), self.keys.owner(topic, partition.index)]
    }

    /// One exchange. A connection that failed is thrown away if its error says so.
    async fn ask<T>(
        &mut self,
        exchange: impl AsyncFnOnce(&mut Link) -> Result<T, RedisError>,
    ) -> Result<T, Refusal> {
        let answer = match self.connector.get().await {
            Ok(connection) => exchange(connection).await,
            Err(error) => Err(error),
        };
        answer.map_err(|source| {
            let refusal = Refusal::from(source);
            if refusal.class().needs_reconnect() {
                self.connector.disconnect();
            }
            refusal
        })
    }

    async fn pipeline<T: FromRedisValue>(&mut self, pipeline: &Pipeline) -> Result<T, Refusal> {
        self.ask(async |connection| pipeline.query_async(connection).await).await
    }
}

/// A script with its text: it needs no loading, and one line does for a pipeline. The text is a
/// few hundred bytes, beside deliveries of some ten thousand.
fn script(text: &'static str, keys: &[String; 2]) -> redis::Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(keys.len()).arg(keys);
    command
}

/// An answer that none of our scripts gives.
fn unexpected(detail: String) -> RedisError {
    (ErrorKind::Parse, "an outbox is not as it should be", detail).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        let id = StreamId { to: 500, bytes: 801 };
        assert_eq!(id.to_string(), "500-801");
        assert_eq!("500-801".parse(), Ok::<_, RedisError>(id));
        for bad in ["", "5", "5-", "-5", "5-x", "5-5-5"] {
            assert!(bad.parse::<StreamId>().is_err(), "{bad}");
        }
        assert!(StreamId { to: 499, bytes: 900 } < id && id < StreamId { to: 500, bytes: 802 });
        assert_eq!(id.next().to_string(), "500-802");
        let last = StreamId::last_ending_at(500).unwrap();
        assert_eq!((last.offset(), last.next().to_string()), (500, "501-0".to_owned()));
        assert_eq!(StreamId::last_ending_at(-1), None);
    }

    /// Both sides are used from tasks that may move between threads.
    #[test]
    fn both_sides_can_be_used_by_tasks() {
        fn is_send<T: Send>(_: T) {}
        use crate::event::Kind;
        use crate::pipeline::protocol::Token;
        let crate::config::Config { redis, topics, .. } = crate::config::Config::default();
        let (partition, token) = (Partition { kind: Kind::Click, index: 0 }, Token::new(1));
        let mut outboxes = Outboxes::new(&redis, &topics, 1).unwrap();
        is_send(outboxes.open(&[(partition, token, 0)]));
        is_send(outboxes.append(partition, token, 0, 1, b"x"));
        is_send(outboxes.held(&[(partition, token)]));
        let mut feed = Feed::new(&redis, &topics).unwrap();
        is_send(feed.read(&[partition], ReadBounds { bytes: 1, entries: 1 }));
        is_send(feed.trim(&[(partition, 0)]));
    }
}
