//! Reading pictures from Redis, and coming back after it was away.

use std::time::Duration;

use anyhow::Context;
use redis::Connection;

use super::picture::{Board, Picture};
use super::what::{Asked, What};
use crate::load::observed::{Fields, Keys, Rows, stated_definitions};
use crate::load::oracle::definitions::Definitions;
use crate::load::server;
use crate::load::terminal::totals::numbers;

/// What is read is small: a server that takes longer than this is as good as away.
const RESPONSE_MAX: Duration = Duration::from_secs(5);
/// Closed windows that are shown.
pub const CLOSED: usize = 3;

/// Why there is no picture.
#[derive(Debug)]
pub enum Failure {
    /// The daemon does not keep what was asked for.
    Usage(String),
    /// Redis cannot be read now.
    Away(anyhow::Error),
}

pub struct Reader {
    url: String,
    keys: Keys,
    asked: Asked,
    session: Option<Session>,
}

/// A connection, and what the daemon said it keeps when it was made.
struct Session {
    connection: Connection,
    config_hash: Option<String>,
    what: What,
}

type Entries = Vec<(String, Fields)>;

impl Reader {
    /// `url` as in `redis.url` of the daemon. Connects when it is first asked.
    pub fn new(url: &str, prefix: &str, asked: Asked) -> Self {
        let keys = Keys { prefix: prefix.to_owned() };
        Self { url: url.to_owned(), keys, asked, session: None }
    }

    /// The views of one window with everything that belongs to them, in one transaction. After a
    /// failure the next call connects anew, and looks anew for the server that holds the prefix.
    pub fn picture(&mut self, now_ms: fn() -> i64) -> Result<Picture, Failure> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.open()?,
        };
        let (mut picture, hash) = session.picture(&self.keys, now_ms).map_err(Failure::Away)?;
        if hash != session.config_hash {
            // A daemon with another configuration has taken over.
            session = self.open()?;
            picture = session.picture(&self.keys, now_ms).map_err(Failure::Away)?.0;
        }
        self.session = Some(session);
        Ok(picture)
    }

    fn open(&self) -> Result<Session, Failure> {
        let (connection, config_hash, definitions) = self.ask().map_err(Failure::Away)?;
        let what = self.asked.of(&definitions).map_err(Failure::Usage)?;
        Ok(Session { connection, config_hash, what })
    }

    fn ask(&self) -> anyhow::Result<(Connection, Option<String>, Definitions)> {
        let mut connection =
            server::connect(&self.url, &self.keys.prefix).context("connect to Redis")?;
        connection.set_read_timeout(Some(RESPONSE_MAX)).context("set the Redis read timeout")?;
        // The hash first: should both change between the two questions, it is the older one, and the
        // next picture finds out.
        let config_hash = redis::cmd("HGET")
            .arg(self.keys.meta())
            .arg("config_hash")
            .query(&mut connection)
            .context("read meta")?;
        let definitions = stated_definitions(&mut connection, &self.keys)?;
        Ok((connection, config_hash, definitions))
    }
}

impl Session {
    /// A picture, and the hash of the configuration that its views were made by.
    fn picture(
        &mut self,
        keys: &Keys,
        now_ms: fn() -> i64,
    ) -> anyhow::Result<(Picture, Option<String>)> {
        let What { window, boards, rows, currency } = &self.what;
        let mut pipe = redis::pipe();
        pipe.atomic().hgetall(keys.meta()).hgetall(keys.totals(window));
        pipe.cmd("PTTL").arg(keys.lease());
        let history = keys.history(window);
        pipe.cmd("XREVRANGE").arg(history).arg(&["+", "-", "COUNT"]).arg(CLOSED);
        for board in boards {
            let key = keys.top(&board.dimension, board.metric, window, None);
            pipe.cmd("ZRANGE").arg(key).arg(0).arg(rows.saturating_sub(1));
            pipe.arg(&["REV", "WITHSCORES"]);
        }
        let answer: Vec<redis::Value> =
            pipe.query(&mut self.connection).context("read the views")?;
        let read_at_ms = now_ms();
        let mut answer = answer.into_iter();
        let mut next = || answer.next().unwrap_or(redis::Value::Nil);
        let meta: Fields = redis::from_redis_value(next())?;
        let totals: Fields = redis::from_redis_value(next())?;
        let lease_left: i64 = redis::from_redis_value(next())?;
        let closed: Entries = redis::from_redis_value(next())?;
        let mut picture = Picture::of_meta(&keys.prefix, window, &meta, read_at_ms);
        picture.leader.lease_left_ms = Some(lease_left).filter(|left| *left >= 0);
        picture.currency.clone_from(currency);
        picture.totals = numbers(&totals);
        picture.closed = closed.iter().map(|(_, fields)| numbers(fields)).collect();
        for (board, rows) in boards.iter().zip(answer) {
            let rows: Rows = redis::from_redis_value(rows)?;
            picture.boards.push(Board::new(board, rows));
        }
        Ok((picture, meta.get("config_hash").cloned()))
    }
}
