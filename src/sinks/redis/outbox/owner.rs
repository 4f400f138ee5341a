//! The owner's side: opening an outbox, appending to it, and what it still holds.

use redis::Script;

use super::{Slots, StreamId, script, unexpected};
use crate::config::{RedisConfig, TopicsConfig};
use crate::pipeline::delivery::Partition;
use crate::pipeline::protocol::{Held, Token};
use crate::sinks::redis::error::{RedisSinkError, Refusal};

const OPEN: &str = include_str!("../lua/outbox_open.lua");
const APPEND: &str = include_str!("../lua/outbox_append.lua");
const HELD: &str = include_str!("../lua/outbox_held.lua");

/// The outboxes of the partitions that this process owns.
pub struct Outboxes {
    slots: Slots,
    append: Script,
    bytes_max: u64,
}

/// What became of an append. An error of the connection leaves that open: append the same again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Append {
    Appended,
    /// It was the last one appended: the answer to an earlier attempt was lost.
    AlreadyThere,
    /// The slot is another owner's, who holds this token.
    Fenced {
        holder: String,
    },
    /// The outbox ends elsewhere than this delivery starts: Redis has lost writes, ours or not.
    Gap {
        last_to: i64,
    },
    /// The slot, or the stream in it, is lost.
    Gone,
    /// It holds so many bytes that this delivery would take it beyond its bound. The leader is
    /// behind: wait, and read no further from Kafka.
    Full {
        bytes: u64,
    },
}

impl Outboxes {
    /// An outbox without a leader that reads it grows by what its partition contributes, about
    /// 12 bytes a record. More covers a longer absence of a leader; less keeps Redis safe from
    /// many partitions that wait at once.
    pub const BYTES_MAX: u64 = 64 << 20;

    /// `bytes_max`: of deliveries in one outbox, without what Redis adds. A single delivery
    /// beyond it is let through while the outbox is empty.
    pub fn new(
        config: &RedisConfig,
        topics: &TopicsConfig,
        bytes_max: u64,
    ) -> Result<Self, RedisSinkError> {
        let slots = Slots::new(config, topics)?;
        Ok(Self { slots, append: Script::new(APPEND), bytes_max })
    }

    /// Takes the slots of partitions: drops what their outboxes hold, and has the next delivery
    /// start at the cursor. Doing it again after an unknown outcome changes nothing, as long as
    /// nothing was appended.
    pub async fn open(&mut self, starts: &[(Partition, Token, i64)]) -> Result<(), Refusal> {
        let mut pipeline = redis::pipe();
        for &(partition, token, cursor) in starts {
            let mut open = script(OPEN, &self.slots.of(partition));
            open.arg(token.to_string()).arg(cursor);
            pipeline.add_command(open).ignore();
        }
        self.slots.pipeline(&pipeline).await
    }

    /// Hands over the records in `[from, to)`.
    pub async fn append(
        &mut self,
        partition: Partition,
        token: Token,
        from: i64,
        to: i64,
        delivery: &[u8],
    ) -> Result<Append, Refusal> {
        let keys = self.slots.of(partition);
        let (script, bytes_max) = (&self.append, self.bytes_max);
        let answer = self.slots.ask(async |connection| {
            let mut invocation = script.prepare_invoke();
            invocation.key(&keys).arg(token.to_string()).arg(from).arg(to);
            invocation.arg(bytes_max).arg(delivery).invoke_async(connection).await
        });
        let (word, detail): (String, String) = answer.await?;
        let number = || detail.parse::<i64>().map_err(|_| unexpected(detail.clone()));
        Ok(match word.as_str() {
            "OK" => Append::Appended,
            "THERE" => Append::AlreadyThere,
            "FENCED" => Append::Fenced { holder: detail },
            "GAP" => Append::Gap { last_to: number()? },
            "GONE" => Append::Gone,
            "FULL" => Append::Full { bytes: number()?.unsigned_abs() },
            _ => return Err(unexpected(word).into()),
        })
    }

    /// By partition, in the order asked: what its outbox holds, if it stands under the token and
    /// is whole. One round trip.
    pub async fn held(
        &mut self,
        partitions: &[(Partition, Token)],
    ) -> Result<Vec<Option<Held>>, Refusal> {
        let mut pipeline = redis::pipe();
        for &(partition, token) in partitions {
            let mut held = script(HELD, &self.slots.of(partition));
            held.arg(token.to_string());
            pipeline.add_command(held);
        }
        let answers: Vec<Vec<String>> = self.slots.pipeline(&pipeline).await?;
        let held = |answer: Vec<String>| match &answer[..] {
            [ok, start, end, _] if ok == "OK" => {
                let (start, end): (StreamId, StreamId) = (start.parse()?, end.parse()?);
                Ok(Some(Held { from: start.offset(), to: end.offset() }))
            }
            _ => Ok(None),
        };
        answers.into_iter().map(held).collect()
    }
}
