//! A history stream, read page by page, and another one built beside it.

use std::collections::{BTreeMap, VecDeque};

use redis::{Pipeline, RedisError, Value};

use super::plan::Fields;
use crate::sinks::redis::error::Refusal;
use crate::sinks::redis::link::Link;

/// Entries in one answer or one pipeline.
const PAGE: usize = 500;

/// A window's end and what is said of it.
pub type Entry = (i64, Fields);

/// The entries of a stream, oldest first. One with an id that is no window's end is not ours and
/// is passed over.
pub struct Pages {
    key: String,
    /// Where the next page begins; `None` after the last.
    next: Option<String>,
    page: VecDeque<Entry>,
}

impl Pages {
    pub fn new(key: String) -> Self {
        Self { key, next: Some("-".to_owned()), page: VecDeque::new() }
    }

    /// The end of the next entry.
    pub async fn peek(&mut self, connection: &mut Link) -> Result<Option<i64>, Refusal> {
        while self.page.is_empty()
            && let Some(from) = self.next.take()
        {
            let mut command = redis::cmd("XRANGE");
            command.arg(&self.key).arg(&from).arg(&["+", "COUNT"]).arg(PAGE);
            let entries: Vec<(String, Vec<(String, String)>)> = command
                .query_async(connection)
                .await
                .map_err(|source| Refusal { key: Some(self.key.clone()), source })?;
            if entries.len() == PAGE {
                self.next = entries.last().map(|(id, _)| format!("({id}"));
            }
            let end = |id: &str| id.strip_suffix("-0")?.parse().ok();
            self.page.extend(entries.into_iter().filter_map(|(id, f)| Some((end(&id)?, f))));
        }
        Ok(self.page.front().map(|&(end, _)| end))
    }

    /// The next entry, if it is that of `end` and was peeked at.
    pub fn take_at(&mut self, end: i64) -> Option<Entry> {
        if self.page.front().is_some_and(|entry| entry.0 == end) {
            self.page.pop_front()
        } else {
            None
        }
    }
}

/// Builds a stream in the order of ends.
pub struct Builder {
    key: String,
    ttl_millis: u64,
    pipeline: Pipeline,
    waiting: usize,
}

impl Builder {
    /// Under a temporary name, which goes by itself after a crash.
    pub fn new(key: String, ttl_millis: u64) -> Self {
        Self { key, ttl_millis, pipeline: redis::pipe(), waiting: 0 }
    }

    pub async fn add(
        &mut self,
        connection: &mut Link,
        (end, fields): &Entry,
    ) -> Result<(), Refusal> {
        self.pipeline.cmd("XADD").arg(&self.key).arg(format!("{end}-0")).arg(fields).ignore();
        self.waiting += 1;
        if self.waiting >= PAGE { self.send(connection).await } else { Ok(()) }
    }

    /// It is not needed.
    pub async fn discard(self, connection: &mut Link) -> Result<(), Refusal> {
        Ok(redis::cmd("UNLINK").arg(&self.key).exec_async(connection).await?)
    }

    async fn send(&mut self, connection: &mut Link) -> Result<(), Refusal> {
        self.pipeline.cmd("PEXPIRE").arg(&self.key).arg(self.ttl_millis).ignore();
        let pipeline = std::mem::replace(&mut self.pipeline, redis::pipe());
        self.waiting = 0;
        Ok(pipeline.exec_async(connection).await?)
    }

    /// Trims it to `keep` entries (0: all), and lets it remember what the stream that it replaces
    /// does: the newest id there ever was, and how many entries, `added` more by now. Answers how
    /// many were trimmed.
    pub async fn finish(
        mut self,
        connection: &mut Link,
        replaced: &Remembered,
        added: u64,
        keep: usize,
    ) -> Result<u64, Refusal> {
        self.send(connection).await?;
        let ours = remembered(connection, &self.key).await?;
        let last_id = ours.last_id.max(replaced.last_id);
        let mut command = redis::cmd("XSETID");
        command.arg(&self.key).arg(format!("{}-{}", last_id.0, last_id.1));
        command.arg("ENTRIESADDED").arg(ours.added.max(replaced.added + added));
        command.exec_async(connection).await?;
        if keep == 0 {
            return Ok(0);
        }
        let mut command = redis::cmd("XTRIM");
        command.arg(&self.key).arg(&["MAXLEN", "="]).arg(keep);
        Ok(command.query_async(connection).await?)
    }
}

/// What a stream knows of entries that it no longer holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    last_id: (u64, u64),
    added: u64,
}

/// Of a stream that may not exist.
pub async fn remembered(connection: &mut Link, key: &str) -> Result<Remembered, RedisError> {
    let exists: bool = redis::cmd("EXISTS").arg(key).query_async(connection).await?;
    if !exists {
        return Ok(Remembered::default());
    }
    let info: BTreeMap<String, Value> =
        redis::cmd("XINFO").arg("STREAM").arg(key).query_async(connection).await?;
    let text = |name: &str| info.get(name).and_then(|v| redis::from_redis_value_ref(v).ok());
    let id: Option<String> = text("last-generated-id");
    let last_id = id.as_deref().and_then(parse_id).unwrap_or_default();
    let added = match info.get("entries-added") {
        Some(Value::Int(added)) => u64::try_from(*added).unwrap_or(0),
        _ => 0,
    };
    Ok(Remembered { last_id, added })
}

fn parse_id(id: &str) -> Option<(u64, u64)> {
    let (millis, number) = id.split_once('-')?;
    Some((millis.parse().ok()?, number.parse().ok()?))
}
