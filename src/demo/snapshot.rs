//! What is shown: read back from Redis, as anybody could, and from nowhere else.

use std::time::Duration;

use anyhow::Context;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;

use crate::event::Metric;
use crate::load::observed::Fields;
use crate::load::terminal::board::Rows;
use crate::load::terminal::totals::{Numbers, numbers};
use crate::pipeline::definitions::Definitions;
use crate::sinks::redis::keys::{Keys, Place};

/// The window that is shown live: the shortest moves most.
pub const WINDOW: &str = "1m";
/// The boards shown: what they are called, of which dimension, by which metric.
pub const SHOWN: [(&str, &str, Metric); 3] = [
    ("top products by clicks", "product", Metric::Clicks),
    ("top categories by revenue", "category", Metric::RevenueMinor),
    ("top sellers by units", "seller", Metric::Units),
];
pub const ROWS: usize = 6;
pub const HISTORY: usize = 4;
const RESPONSE_MAX: Duration = Duration::from_secs(5);

/// One consistent cut of the views.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Records of all partitions whose effect these views hold.
    pub readable: u64,
    pub flushed_at_ms: Option<i64>,
    pub totals: Numbers,
    /// As [`SHOWN`].
    pub boards: Vec<Rows>,
    /// Closed windows, newest first.
    pub history: Vec<Numbers>,
}

pub struct Reader {
    connection: MultiplexedConnection,
    keys: Keys,
}

type Cut = (
    Fields,
    Fields,
    Vec<(String, f64)>,
    Vec<(String, f64)>,
    Vec<(String, f64)>,
    Vec<(String, Fields)>,
);

impl Reader {
    pub async fn connect(url: &str, prefix: &str) -> anyhow::Result<Reader> {
        let keys = Keys::new(prefix).context("read redis.prefix")?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(RESPONSE_MAX));
        let connection = redis::Client::open(url)
            .context("read the URL of Redis")?
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .context("connect to the demo's Redis")?;
        Ok(Reader { connection, keys })
    }

    pub async fn snapshot(&mut self) -> anyhow::Result<Snapshot> {
        let mut pipeline = redis::pipe();
        pipeline.atomic().cmd("HGETALL").arg(self.keys.meta());
        pipeline.cmd("HGETALL").arg(self.keys.totals(WINDOW));
        for (_, dimension, metric) in SHOWN {
            let board = self.keys.board(Place::Latest, dimension, metric, WINDOW);
            pipeline.cmd("ZRANGE").arg(board).arg(0).arg(ROWS - 1).arg(&["REV", "WITHSCORES"]);
        }
        let history = self.keys.history(WINDOW);
        pipeline.cmd("XREVRANGE").arg(history).arg(&["+", "-", "COUNT"]).arg(HISTORY);
        let cut: Cut =
            pipeline.query_async(&mut self.connection).await.context("read the views back")?;
        let (meta, totals, products, categories, sellers, history) = cut;
        Ok(Snapshot {
            readable: meta.get(&format!("offsets:{WINDOW}")).map_or(0, |text| sum_offsets(text)),
            flushed_at_ms: meta.get("flushed_at").and_then(|text| text.parse().ok()),
            totals: numbers(&totals),
            boards: [products, categories, sellers].map(whole).into(),
            history: history.iter().map(|(_, fields)| numbers(fields)).collect(),
        })
    }

    /// How many records are readable; cheaper than a whole snapshot.
    pub async fn readable(&mut self) -> anyhow::Result<u64> {
        let mut command = redis::cmd("HGET");
        command.arg(self.keys.meta()).arg(format!("offsets:{WINDOW}"));
        let offsets: Option<String> =
            command.query_async(&mut self.connection).await.context("read meta back")?;
        Ok(offsets.map_or(0, |text| sum_offsets(&text)))
    }

    /// The length of every latest board there should be, by name.
    pub async fn board_lengths(
        &mut self,
        definitions: &Definitions,
    ) -> anyhow::Result<Vec<(String, u64)>> {
        let mut names = Vec::new();
        let mut pipeline = redis::pipe();
        for window in &definitions.windows {
            for board in &definitions.boards {
                let dimension = &definitions.dimensions[board.dimension].name;
                let label = &window.label;
                pipeline.cmd("ZCARD").arg(self.keys.board(
                    Place::Latest,
                    dimension,
                    board.metric,
                    label,
                ));
                names.push(format!("{dimension}:{}:{label}", board.metric.name()));
            }
        }
        let lengths: Vec<u64> =
            pipeline.query_async(&mut self.connection).await.context("read the boards back")?;
        Ok(names.into_iter().zip(lengths).collect())
    }
}

/// Scores are whole numbers that Redis keeps as doubles.
fn whole(board: Vec<(String, f64)>) -> Rows {
    board.into_iter().map(|(name, score)| (name, score as u64)).collect()
}

/// `<topic>/<partition>=<next offset>,…`. The demo's logs begin at 0, so the sum of the next
/// offsets is the number of records.
fn sum_offsets(text: &str) -> u64 {
    let offsets = text.split(',').filter_map(|part| part.rsplit_once('='));
    offsets.filter_map(|(_, offset)| offset.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_offsets_add_up_to_records() {
        assert_eq!(sum_offsets("click/0=7,click/1=3,a=b/2=5"), 15);
        assert_eq!(sum_offsets(""), 0);
    }
}
