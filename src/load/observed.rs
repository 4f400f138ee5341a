//! What Redis holds: the keys as docs/REDIS.md states them, and reading them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, ensure};
use redis::{Commands, Connection, ConnectionLike, FromRedisValue};

use super::kind::Kind;
use super::oracle::definitions::{Definitions, Metric};
use super::oracle::window::SketchOf;
use super::server;

/// Names of keys, spelled out from the documentation.
#[derive(Clone, Debug)]
pub struct Keys {
    pub prefix: String,
}

impl Keys {
    pub fn schema(&self) -> String {
        format!("{{{}}}:schema", self.prefix)
    }

    pub fn meta(&self) -> String {
        format!("{{{}}}:meta", self.prefix)
    }

    /// What the names of closed boards and of closed distinct counts begin with.
    pub fn closed_views(&self) -> [String; 2] {
        ["top", "uniques"].map(|what| format!("{{{}}}:closed:{what}:", self.prefix))
    }

    pub fn lease(&self) -> String {
        format!("{{{}}}:lease", self.prefix)
    }

    pub fn history(&self, window: &str) -> String {
        format!("{{{}}}:history:{window}", self.prefix)
    }

    pub fn totals(&self, window: &str) -> String {
        format!("{{{}}}:totals:{window}", self.prefix)
    }

    /// With an end: the closed board of that window; without: the latest one.
    pub fn top(&self, dimension: &str, metric: Metric, window: &str, end: Option<i64>) -> String {
        self.view(&format!("top:{}:{}", encode_id(dimension), metric.name()), window, end)
    }

    pub fn uniques(
        &self,
        definitions: &Definitions,
        sketch: &SketchOf,
        window: &str,
        end: Option<i64>,
    ) -> String {
        let entity = sketch.entity.as_ref().map_or(String::new(), |(dimension, name)| {
            format!(":{}:{}", encode_id(&definitions.dimensions[*dimension].name), encode_id(name))
        });
        self.view(&format!("uniques:{}{entity}", sketch.kind.name()), window, end)
    }

    fn view(&self, what: &str, window: &str, end: Option<i64>) -> String {
        let prefix = &self.prefix;
        match end {
            Some(end) => format!("{{{prefix}}}:closed:{what}:{window}:{end}"),
            None => format!("{{{prefix}}}:{what}:{window}"),
        }
    }
}

/// The longest encoded id in a key; a longer one is cut and ends in `~` and a hash of the whole.
const ENCODED_ID_BYTES_MAX: usize = 200;
const HASH_BYTES: usize = 17;

/// An id as a part of a key: bytes outside `[A-Za-z0-9._-]` as `%XX`, length capped.
fn encode_id(id: &str) -> String {
    let parts: Vec<String> = id
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(byte).into(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let whole = parts.concat();
    if whole.len() <= ENCODED_ID_BYTES_MAX {
        return whole;
    }
    let mut cut = String::new();
    for part in parts {
        if cut.len() + part.len() > ENCODED_ID_BYTES_MAX - HASH_BYTES {
            break;
        }
        cut += &part;
    }
    format!("{cut}~{:016x}", fnv1a(id))
}

fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// Members with scores, as `ZRANGE key 0 -1 REV WITHSCORES` gives them.
pub type Rows = Vec<(String, f64)>;

/// Fields of a hash or a stream entry.
pub type Fields = BTreeMap<String, String>;

/// Boards, and string values where they exist.
pub type Views = (Vec<Rows>, Vec<Option<Vec<u8>>>);

/// Everything that is compared comes through here: Redis, or a picture of it in memory.
pub trait Observed {
    /// The history entries of a window by window end.
    fn history(&mut self, key: &str) -> anyhow::Result<BTreeMap<i64, Fields>>;
    fn hash(&mut self, key: &str) -> anyhow::Result<Fields>;
    /// Boards and string values, each in the order asked for. A board that does not exist is empty.
    fn views(&mut self, boards: &[String], values: &[String]) -> anyhow::Result<Views>;
    /// The keys that begin so.
    fn keys(&mut self, beginning: &str) -> anyhow::Result<Vec<String>>;
}

/// So long after a swap the sketches of entities are expected to have followed.
const SETTLE: Duration = Duration::from_millis(100);
const SETTLE_ATTEMPTS: usize = 20;

/// One Redis server. All compared keys lie in one slot, so one master of a Cluster is enough as
/// well: the one that serves the slot of the prefix.
pub struct RedisObserved {
    connection: Connection,
}

/// What one latest window looked like at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LatestSnapshot {
    pub window: String,
    pub meta: Fields,
    pub totals: Fields,
    /// By key.
    pub boards: HashMap<String, Rows>,
    pub values: HashMap<String, Option<Vec<u8>>>,
}

impl RedisObserved {
    /// `url` as in `redis.url` of the daemon.
    pub fn connect(url: &str, prefix: &str) -> anyhow::Result<Self> {
        let connection = server::connect(url, prefix).context("connect to Redis")?;
        connection
            .set_read_timeout(Some(Duration::from_secs(60)))
            .context("set the Redis read timeout")?;
        Ok(Self { connection })
    }

    /// The definitions that the daemon states.
    pub fn definitions(&mut self, keys: &Keys) -> anyhow::Result<Definitions> {
        stated_definitions(&mut self.connection, keys)
    }

    /// A sample of a window's latest views. Sketches of entities are written right after the swap
    /// of the rest, not with it: they are taken when no swap has gone in the moments before, and
    /// left out where swaps come too fast for that.
    pub fn latest(
        &mut self,
        keys: &Keys,
        definitions: &Definitions,
        window: &str,
    ) -> anyhow::Result<LatestSnapshot> {
        let seq = format!("seq:{window}");
        let mut before = self.latest_now(keys, definitions, window)?;
        for _ in 0..SETTLE_ATTEMPTS {
            std::thread::sleep(SETTLE);
            let after = self.latest_now(keys, definitions, window)?;
            if after.meta.get(&seq) == before.meta.get(&seq) {
                return Ok(after);
            }
            before = after;
        }
        before.values.retain(|key, _| {
            let of =
                |kind| keys.uniques(definitions, &SketchOf { kind, entity: None }, window, None);
            Kind::WITH_USERS.into_iter().any(|kind| of(kind) == *key)
        });
        Ok(before)
    }

    /// Boards, totals, distinct users and meta of one latest window, read in one transaction.
    fn latest_now(
        &mut self,
        keys: &Keys,
        definitions: &Definitions,
        window: &str,
    ) -> anyhow::Result<LatestSnapshot> {
        let boards: Vec<String> = definitions
            .boards
            .iter()
            .map(|board| keys.top(&board.dimension, board.metric, window, None))
            .collect();
        // Entities come and go, so ask which have a sketch; what appears between this and
        // the transaction is left for the next sample.
        let suffix = format!(":{window}");
        let mut values = self.keys(&format!("{{{}}}:uniques:", keys.prefix))?;
        values.retain(|key| key.ends_with(&suffix));
        for kind in Kind::WITH_USERS {
            let key = keys.uniques(definitions, &SketchOf { kind, entity: None }, window, None);
            if !values.contains(&key) {
                values.push(key);
            }
        }
        let mut pipe = redis::pipe();
        pipe.atomic().hgetall(keys.meta()).hgetall(keys.totals(window));
        add_views(&mut pipe, &boards, &values);
        let answer: Vec<redis::Value> =
            pipe.query(&mut self.connection).context("read a latest window")?;
        let mut answer = answer.into_iter();
        let mut hash = || Fields::from_redis_value(answer.next().unwrap_or(redis::Value::Nil));
        let (meta, totals) = (hash()?, hash()?);
        let (rows, bytes) = split_views(answer, boards.len())?;
        Ok(LatestSnapshot {
            window: window.to_owned(),
            meta,
            totals,
            boards: boards.into_iter().zip(rows).collect(),
            values: values.into_iter().zip(bytes).collect(),
        })
    }
}

/// The definitions under a prefix.
pub(super) fn stated_definitions(
    connection: &mut Connection,
    keys: &Keys,
) -> anyhow::Result<Definitions> {
    let key = keys.schema();
    let json: Option<String> =
        connection.hget(&key, "definitions").with_context(|| format!("read {key}"))?;
    let json = json.with_context(|| {
        format!("{key} has no field `definitions`: has a daemon published under this prefix?")
    })?;
    Definitions::parse(&json)
}

fn add_views(pipe: &mut redis::Pipeline, boards: &[String], values: &[String]) {
    for key in boards {
        pipe.cmd("ZRANGE").arg(key).arg(0).arg(-1).arg("REV").arg("WITHSCORES");
    }
    for key in values {
        pipe.get(key);
    }
}

fn split_views(
    mut answer: impl Iterator<Item = redis::Value>,
    boards: usize,
) -> anyhow::Result<Views> {
    let rows =
        answer.by_ref().take(boards).map(Rows::from_redis_value).collect::<Result<_, _>>()?;
    let values = answer.map(Option::<Vec<u8>>::from_redis_value).collect::<Result<_, _>>()?;
    Ok((rows, values))
}

impl Observed for RedisObserved {
    fn history(&mut self, key: &str) -> anyhow::Result<BTreeMap<i64, Fields>> {
        const AT_ONCE: usize = 1000;
        let mut entries = BTreeMap::new();
        let mut from = "-".to_owned();
        loop {
            let page: Vec<(String, Fields)> = redis::cmd("XRANGE")
                .arg(key)
                .arg(&from)
                .arg("+")
                .arg("COUNT")
                .arg(AT_ONCE)
                .query(&mut self.connection)
                .with_context(|| format!("read {key}"))?;
            let Some((last, _)) = page.last() else { return Ok(entries) };
            from = format!("({last}");
            for (id, fields) in page {
                let end = id.split_once('-').and_then(|(end, _)| end.parse().ok());
                let end = end.with_context(|| format!("{key} has an entry with the id {id}"))?;
                let twice = entries.insert(end, fields).is_some();
                ensure!(!twice, "{key} has two entries for the window that ends at {end}");
            }
        }
    }

    fn hash(&mut self, key: &str) -> anyhow::Result<Fields> {
        self.connection.hgetall(key).with_context(|| format!("read {key}"))
    }

    fn views(&mut self, boards: &[String], values: &[String]) -> anyhow::Result<Views> {
        let mut pipe = redis::pipe();
        add_views(&mut pipe, boards, values);
        let answer: Vec<redis::Value> =
            pipe.query(&mut self.connection).context("read boards and distinct counts")?;
        split_views(answer.into_iter(), boards.len())
    }

    fn keys(&mut self, beginning: &str) -> anyhow::Result<Vec<String>> {
        ensure!(self.connection.check_connection(), "the connection to Redis is lost");
        let pattern = format!("{}*", glob_escape(beginning));
        let mut cursor = 0u64;
        let mut keys = Vec::new();
        loop {
            let (next, mut page): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("MATCH")
                .arg(&pattern)
                .arg("COUNT")
                .arg(5000)
                .query(&mut self.connection)
                .context("list keys")?;
            keys.append(&mut page);
            cursor = next;
            if cursor == 0 {
                // SCAN may name a key twice.
                keys.sort_unstable();
                keys.dedup();
                return Ok(keys);
            }
        }
    }
}

fn glob_escape(text: &str) -> String {
    let special = |c: char| matches!(c, '*' | '?' | '[' | ']' | '\\');
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spelled_as_documented() {
        let keys = Keys { prefix: "nazar".into() };
        assert_eq!(keys.history("1m"), "{nazar}:history:1m");
        assert_eq!(
            keys.top("product", Metric::RevenueMinor, "1h", None),
            "{nazar}:top:product:revenue_minor:1h"
        );
        assert_eq!(
            keys.top("product", Metric::Clicks, "1h", Some(60_000)),
            "{nazar}:closed:top:product:clicks:1h:60000"
        );
        assert_eq!(encode_id("Küche & Bad_1.x-"), "K%C3%BCche%20%26%20Bad_1.x-");
        // 1 + 60 × 3 + 17: never cut within a %XX.
        assert_eq!(encode_id(&format!("x{}", "ü".repeat(100))).len(), 198);
        assert_eq!(encode_id(&"x".repeat(200)), "x".repeat(200));
        assert_eq!(glob_escape("{a*}[b]"), "{a\\*}\\[b\\]");
    }
}
