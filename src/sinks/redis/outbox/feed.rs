//! The leader's side: reading on where it stopped, and removing what is checkpointed.

use std::collections::BTreeMap;

use super::{Slots, StreamId, script};
use crate::config::{RedisConfig, TopicsConfig};
use crate::pipeline::delivery::Partition;
use crate::sinks::redis::error::{RedisSinkError, Refusal};

const TRIM: &str = include_str!("../lua/outbox_trim.lua");

/// A delivery, as it was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub partition: Partition,
    pub from: i64,
    pub to: i64,
    pub delivery: Vec<u8>,
}

/// How much one read brings at most. Bytes are kept to by the mean size of an outbox's
/// deliveries, and every outbox with news gives one delivery at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadBounds {
    pub bytes: u64,
    /// From each outbox.
    pub entries: u64,
}

/// The outboxes of all partitions, and how far each is read.
pub struct Feed {
    slots: Slots,
    read: BTreeMap<Partition, Position>,
}

/// An id means something under its owner's token only.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Position {
    token: String,
    id: StreamId,
}

/// What an owner's hash says.
struct Stand {
    token: String,
    start: StreamId,
    end: StreamId,
    entries: u64,
}

impl Feed {
    /// Reads every outbox from its start.
    pub fn new(config: &RedisConfig, topics: &TopicsConfig) -> Result<Self, RedisSinkError> {
        Ok(Self { slots: Slots::new(config, topics)?, read: BTreeMap::new() })
    }

    /// Reads an outbox from its start next time: its deliveries were not merged after all.
    pub fn read_again(&mut self, partition: Partition) {
        self.read.remove(&partition);
    }

    /// What was appended since the last read, in order by partition. Two round trips, or one if
    /// there is nothing new: the first tells how much waits where.
    pub async fn read(
        &mut self,
        partitions: &[Partition],
        bounds: ReadBounds,
    ) -> Result<Vec<Entry>, Refusal> {
        let news = self.news(partitions).await?;
        let mut pipeline = redis::pipe();
        let share = bounds.bytes / news.len().max(1) as u64;
        for (partition, after, stand) in &news {
            let held = stand.end.bytes.saturating_sub(stand.start.bytes).max(1);
            // In 128 bits: a share of 64 MiB times as many entries is beyond 53, not 128.
            let by_bytes = u128::from(share) * u128::from(stand.entries) / u128::from(held);
            let count = by_bytes.clamp(1, u128::from(bounds.entries.max(1)));
            let [outbox, _] = self.slots.of(*partition);
            let after = after.map_or("-".to_owned(), |id| format!("({id}"));
            pipeline.cmd("XRANGE").arg(outbox).arg(after).arg("+").arg("COUNT").arg(count as u64);
        }
        if news.is_empty() {
            return Ok(Vec::new());
        }
        type Row = (String, (String, i64, String, Vec<u8>));
        let rows: Vec<Vec<Row>> = self.slots.pipeline(&pipeline).await?;
        let mut entries = Vec::new();
        for ((partition, _, stand), rows) in news.into_iter().zip(rows) {
            for (id, (_, from, _, delivery)) in rows {
                let id: StreamId = id.parse()?;
                entries.push(Entry { partition, from, to: id.offset(), delivery });
                // The token was asked for before the entries. If another owner came in between,
                // they are noted under the token before it, and are read again.
                let token = stand.token.clone();
                self.read.insert(partition, Position { token, id });
            }
        }
        Ok(entries)
    }

    /// Removes what is merged for good: the deliveries that end at or before the cursor of a
    /// checkpoint and that were read here. A mark of a quiet partition that was appended at the
    /// cursor after the last read therefore stays. Returns how many were removed.
    pub async fn trim(&mut self, cursors: &[(Partition, i64)]) -> Result<u64, Refusal> {
        let mut pipeline = redis::pipe();
        for &(partition, cursor) in cursors {
            let read = self.read.get(&partition);
            let Some((position, end)) = read.zip(StreamId::last_ending_at(cursor)) else {
                continue;
            };
            let last = position.id.min(end);
            let mut trim = script(TRIM, &self.slots.of(partition));
            trim.arg(&position.token).arg(last.to_string()).arg(last.next().to_string());
            pipeline.add_command(trim);
        }
        if pipeline.is_empty() {
            return Ok(0);
        }
        let answers: Vec<(String, String)> = self.slots.pipeline(&pipeline).await?;
        let removed = |(word, detail): &(String, String)| match word.as_str() {
            "OK" => detail.parse().unwrap_or(0),
            _ => 0,
        };
        Ok(answers.iter().map(removed).sum())
    }

    /// The outboxes that hold something unread, and after which id to read on.
    async fn news(
        &mut self,
        partitions: &[Partition],
    ) -> Result<Vec<(Partition, Option<StreamId>, Stand)>, Refusal> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for &partition in partitions {
            let [_, owner] = self.slots.of(partition);
            pipeline.cmd("HMGET").arg(owner).arg(&["token", "start", "end", "entries"]);
        }
        type Row = (Option<String>, Option<String>, Option<String>, Option<u64>);
        let rows: Vec<Row> = self.slots.pipeline(&pipeline).await?;
        let mut news = Vec::new();
        for (&partition, row) in partitions.iter().zip(rows) {
            let (Some(token), Some(start), Some(end), Some(entries)) = row else {
                self.read.remove(&partition);
                continue;
            };
            let stand = Stand { token, start: start.parse()?, end: end.parse()?, entries };
            let position = self.read.get(&partition);
            // Another owner's ids, or ids that Redis has lost, say nothing about these.
            let same =
                |position: &&Position| position.token == stand.token && position.id <= stand.end;
            let after = position.filter(same).map(|position| position.id);
            if after.is_none() {
                self.read.remove(&partition);
            }
            if entries > 0 && after != Some(stand.end) {
                news.push((partition, after, stand));
            }
        }
        Ok(news)
    }
}
