//! Puts closed windows that a backfill has computed in the place of the live ones.
//!
//! ```text
//!  {next}:history:1m ──┐ merged, entry by entry
//!  {nazar}:history:1m ─┴─► {nazar}:tmp:… ─┐
//!  {next}:closed:…:E ─DUMP─► RESTORE {nazar}:tmp:… ─┴─► promote.lua: token? staged keys? ─► RENAME, UNLINK, list E
//! ```
//! The two prefixes are two slots of a Cluster, so nothing can be renamed from one to the other:
//! it is copied beside what it will replace, and then swapped by a script that sees one slot only.
//! Readers see the views of a window change in one step, then the next window's, and at last the
//! history of that size, in one step too.
//!
//! The live prefix has one writer, so whoever promotes is it: it takes the lease, and its scripts
//! compare the token. Checkpoint, latest views and `closed_through` stay as they are; what the live
//! writer has not closed is left to it. Everything that is copied is absolute, so a promotion that
//! was interrupted is simply made again.

mod plan;
mod stream;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use serde::Serialize;

use self::plan::{Boards, Verdict, boards, judge};
use self::stream::{Builder, Pages, remembered};
use super::connection::Connector;
use super::error::{RedisSinkError, Refusal};
use super::keys::{Keys, Place};
use super::lease::Keeper;
use super::scripts::{self, Answer, Scripts};
use super::{KEYS_MAX, admin, invalid_prefix, ttl_millis};
use crate::config::RedisConfig;
use crate::event::Kind;
use crate::pipeline::definitions::Definitions;
use crate::pipeline::period::Period;
use crate::time::EventTime;

/// What was staged and not swapped goes by itself after so long.
const STAGED_TTL: Duration = Duration::from_secs(3600);

/// Boards that expire so soon are not copied: some of a window might go in between.
const TTL_MIN: Duration = Duration::from_secs(60);

/// Values copied in one round trip; a board of a thousand takes some 20 KB.
const COPIES: usize = 100;

/// What to promote, from where.
pub struct Source<'a> {
    pub prefix: &'a str,
    pub period: Period,
}

/// What became of one window size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WindowReport {
    pub window: String,
    /// History entries: new, different from what stood, the same as it.
    pub added: u64,
    pub replaced: u64,
    pub equal: u64,
    /// Not taken, because what stands is complete and they are not.
    pub worse: u64,
    /// Not taken, because the live prefix has not closed them.
    pub not_closed: u64,
    /// Entries of either that `redis.history_keep` leaves no room for.
    pub trimmed: u64,
    /// Windows with boards: taken, beyond `redis.closed_keep`, expired.
    pub boards: u64,
    pub boards_too_old: u64,
    pub boards_expired: u64,
}

/// Takes the lease of the live prefix, promotes, and gives it back.
///
/// # Errors
/// Another writer holds the lease, the prefix is of another configuration, or Redis fails. What
/// was swapped before that stays.
pub async fn promote(
    config: &RedisConfig,
    definitions: &Definitions,
    config_hash: &str,
    token: &str,
    source: &Source<'_>,
) -> Result<Vec<WindowReport>, RedisSinkError> {
    let keys = |prefix: &str| Keys::new(prefix).ok_or_else(|| invalid_prefix(prefix));
    let (live, theirs) = (keys(&config.prefix)?, keys(source.prefix)?);
    let mut connector = Connector::new(config)?;
    let another = connector.another();
    let connection = connector.get().await.map_err(admin::refused)?.clone();
    let mut promotion = Promotion {
        connection,
        scripts: Scripts::default(),
        token: token.to_owned(),
        live,
        theirs,
        definitions,
        config,
        period: source.period,
        staged: 0,
    };
    promotion.claim(config_hash).await?;
    let lease = Keeper::start(another, &promotion.live, Arc::from(token), config.lease);
    let reports = promotion.windows().await;
    drop(lease);
    promotion.release().await;
    reports
}

struct Promotion<'a> {
    connection: MultiplexedConnection,
    scripts: Scripts,
    token: String,
    live: Keys,
    theirs: Keys,
    definitions: &'a Definitions,
    config: &'a RedisConfig,
    period: Period,
    /// How many temporary names were used.
    staged: usize,
}

/// What a script is to do.
#[derive(Default)]
struct Swap {
    /// From a temporary name to its own.
    views: Vec<(String, String)>,
    removed: Vec<String>,
    lists: Option<i64>,
    strikes_off: Option<i64>,
    lasts_for_ever: bool,
}

impl Promotion<'_> {
    async fn claim(&mut self, config_hash: &str) -> Result<(), RedisSinkError> {
        let mut invocation = self.scripts.claim.prepare_invoke();
        invocation.key(self.live.meta()).key(self.live.lease()).arg(&self.token);
        // As a start does: with this configuration only, and not where a run has ended.
        invocation.arg(config_hash).arg(ttl_millis(self.config.lease)).arg(1).arg(0);
        let prefix = self.config.prefix.clone();
        let answer = scripts::run(&invocation, &mut self.connection).await;
        match answer.map_err(admin::refused)? {
            Answer::Changed(_) => Err(RedisSinkError::ConfigChanged { prefix, changes: vec![] }),
            Answer::Ended => Err(RedisSinkError::Ended { prefix }),
            answer => self.judged(answer),
        }
    }

    async fn release(&mut self) {
        let mut invocation = self.scripts.release.prepare_invoke();
        invocation.key(self.live.lease()).arg(&self.token);
        // What fails here costs a successor the rest of the lease.
        let _ = scripts::run(&invocation, &mut self.connection).await;
    }

    async fn windows(&mut self) -> Result<Vec<WindowReport>, RedisSinkError> {
        let mut reports = Vec::new();
        for window in &self.definitions.windows {
            let label = window.label.as_str();
            let mut report = WindowReport { window: label.to_owned(), ..WindowReport::default() };
            let (taken, history) = self.stage_history(label, &mut report).await?;
            self.boards(label, &taken, &mut report).await?;
            // The history comes last: an entry that it names has its boards.
            if let Some(staged) = history {
                let views = vec![(staged, self.live.history(label))];
                self.swap(label, &Swap { views, lasts_for_ever: true, ..Swap::default() }).await?;
            }
            reports.push(report);
        }
        Ok(reports)
    }

    /// Merges the two histories under a temporary name, if that changes anything. Answers the
    /// ends that were taken from the backfill.
    async fn stage_history(
        &mut self,
        label: &str,
        report: &mut WindowReport,
    ) -> Result<(BTreeSet<i64>, Option<String>), RedisSinkError> {
        let closed_through = self.closed_through(label).await.map_err(refused)?;
        let (live_key, staged) = (self.live.history(label), self.temporary());
        let merge = async {
            let connection = &mut self.connection;
            let replaced = remembered(connection, &live_key).await?;
            let mut live = Pages::new(live_key);
            let mut theirs = Pages::new(self.theirs.history(label));
            let mut builder = Builder::new(staged.clone(), ttl_millis(STAGED_TTL));
            let mut taken = BTreeSet::new();
            loop {
                let ends = (live.peek(connection).await?, theirs.peek(connection).await?);
                let Some(end) = [ends.0, ends.1].into_iter().flatten().min() else { break };
                let standing = live.take_at(end);
                let Some(computed) = theirs.take_at(end) else {
                    if let Some(entry) = &standing {
                        builder.add(connection, entry).await?;
                    }
                    continue;
                };
                let time = EventTime::from_millis(end);
                let fields = standing.as_ref().map(|(_, fields)| fields);
                let verdict = judge(time, &self.period, closed_through, &computed.1, fields);
                report.count(verdict);
                if verdict.is_taken() {
                    taken.insert(end);
                    builder.add(connection, &computed).await?;
                } else if let Some(standing) = &standing {
                    builder.add(connection, standing).await?;
                }
            }
            if report.added + report.replaced == 0 {
                builder.discard(connection).await?;
                return Ok((taken, None));
            }
            let keep = self.config.history_keep;
            report.trimmed = builder.finish(connection, &replaced, report.added, keep).await?;
            Ok((taken, Some(staged.clone())))
        };
        merge.await.map_err(refused)
    }

    async fn closed_through(&mut self, label: &str) -> Result<Option<EventTime>, Refusal> {
        let mut command = redis::cmd("HGET");
        command.arg(self.live.meta()).arg(format!("closed_through:{label}"));
        let through: Option<i64> = command.query_async(&mut self.connection).await?;
        Ok(through.map(EventTime::from_millis))
    }

    /// Boards and distinct counts of the windows that were taken.
    async fn boards(
        &mut self,
        label: &str,
        taken: &BTreeSet<i64>,
        report: &mut WindowReport,
    ) -> Result<(), RedisSinkError> {
        let live = self.ends(self.live.closed_ends(label)).await.map_err(refused)?;
        let mut theirs = self.ends(self.theirs.closed_ends(label)).await.map_err(refused)?;
        theirs.retain(|end| taken.contains(end));
        let Boards { promoted, fallen, too_old } = boards(&live, &theirs, self.config.closed_keep);
        report.boards_too_old = too_old as u64;
        for end in promoted {
            match self.promote_boards(label, end).await? {
                true => report.boards += 1,
                false => report.boards_expired += 1,
            }
        }
        for end in fallen {
            let mut removed = self.views(&self.live, label, end);
            removed.extend(self.members(&self.live.clone(), label, end).await.map_err(refused)?);
            removed.push(self.live.closed_members(label, EventTime::from_millis(end)));
            for removed in removed.chunks(KEYS_MAX) {
                let removed = removed.to_vec();
                self.swap(label, &Swap { removed, ..Swap::default() }).await?;
            }
            self.swap(label, &Swap { strikes_off: Some(end), ..Swap::default() }).await?;
        }
        Ok(())
    }

    /// Copies and swaps what the backfill has of one window. False: it has expired.
    async fn promote_boards(&mut self, label: &str, end: i64) -> Result<bool, RedisSinkError> {
        let (theirs, live) = (self.theirs.clone(), self.live.clone());
        let pairs: Vec<(String, String)> = self
            .views(&theirs, label, end)
            .into_iter()
            .zip(self.views(&live, label, end))
            .collect();
        let Some((views, removed)) = self.copy(&pairs).await.map_err(refused)? else {
            return Ok(false);
        };
        self.promote_members(label, end).await?;
        let swap = Swap { views, removed, lists: Some(end), ..Swap::default() };
        self.swap(label, &swap).await?;
        Ok(true)
    }

    /// Distinct counts of single entities go before, as they do when a window closes. Their list
    /// names all of them at any time, so that they can be trimmed.
    async fn promote_members(&mut self, label: &str, end: i64) -> Result<(), RedisSinkError> {
        let (theirs, live) = (self.theirs.clone(), self.live.clone());
        let computed = self.members(&theirs, label, end).await.map_err(refused)?;
        let standing = self.members(&live, label, end).await.map_err(refused)?;
        let pairs: Vec<(String, String)> = computed
            .into_iter()
            .filter_map(|key| live.moved(&key, &theirs).map(|moved| (key, moved)))
            .collect();
        let moved: HashSet<&String> = pairs.iter().map(|(_, moved)| moved).collect();
        let gone: Vec<String> = standing.iter().filter(|k| !moved.contains(k)).cloned().collect();
        let list = live.closed_members(label, EventTime::from_millis(end));
        if !pairs.is_empty() {
            let staged = self.temporary();
            let all: Vec<&String> = moved.into_iter().chain(&standing).collect();
            let source = theirs.closed_members(label, EventTime::from_millis(end));
            self.stage_list(&staged, &all, &source).await.map_err(refused)?;
            let swap = Swap { views: vec![(staged, list)], ..Swap::default() };
            self.swap(label, &swap).await?;
        }
        for pairs in pairs.chunks(KEYS_MAX) {
            if let Some((views, removed)) = self.copy(pairs).await.map_err(refused)? {
                self.swap(label, &Swap { views, removed, ..Swap::default() }).await?;
            }
        }
        for removed in gone.chunks(KEYS_MAX) {
            let removed = removed.to_vec();
            self.swap(label, &Swap { removed, ..Swap::default() }).await?;
        }
        Ok(())
    }

    async fn stage_list(
        &mut self,
        staged: &str,
        members: &[&String],
        source: &str,
    ) -> Result<(), Refusal> {
        let ttl: i64 = redis::cmd("PTTL").arg(source).query_async(&mut self.connection).await?;
        let mut pipeline = redis::pipe();
        for members in members.chunks(KEYS_MAX) {
            pipeline.cmd("SADD").arg(staged).arg(members).ignore();
        }
        let ttl = u64::try_from(ttl).unwrap_or(ttl_millis(STAGED_TTL));
        pipeline.cmd("PEXPIRE").arg(staged).arg(ttl).ignore();
        Ok(pipeline.exec_async(&mut self.connection).await?)
    }

    /// Copies values to temporary names, each with what is left of its TTL. Answers those and the
    /// names of which there is nothing to copy; `None` where there is nothing at all, or nothing
    /// that lasts.
    #[allow(clippy::type_complexity)]
    async fn copy(
        &mut self,
        pairs: &[(String, String)],
    ) -> Result<Option<(Vec<(String, String)>, Vec<String>)>, Refusal> {
        let (mut views, mut absent) = (Vec::new(), Vec::new());
        for pairs in pairs.chunks(COPIES) {
            let mut ask = redis::pipe();
            for (from, _) in pairs {
                ask.cmd("DUMP").arg(from).cmd("PTTL").arg(from);
            }
            let answers: Vec<redis::Value> = ask.query_async(&mut self.connection).await?;
            let mut restore = redis::pipe();
            let mut copies = 0;
            for ((_, to), answer) in pairs.iter().zip(answers.chunks(2)) {
                let [redis::Value::BulkString(value), redis::Value::Int(ttl)] = answer else {
                    absent.push(to.clone());
                    continue;
                };
                if (0..ttl_millis(TTL_MIN) as i64).contains(ttl) {
                    return Ok(None);
                }
                let staged = self.temporary();
                restore.cmd("RESTORE").arg(&staged).arg((*ttl).max(0)).arg(value).ignore();
                views.push((staged, to.clone()));
                copies += 1;
            }
            if copies > 0 {
                restore.exec_async(&mut self.connection).await?;
            }
        }
        Ok(Some((views, absent)).filter(|(views, _)| !views.is_empty()))
    }

    /// The keys that change together when a window closes.
    fn views(&self, keys: &Keys, label: &str, end: i64) -> Vec<String> {
        let place = Place::Closed(EventTime::from_millis(end));
        let definitions = self.definitions;
        let board = |board: &crate::pipeline::definitions::Board| {
            let dimension = &definitions.dimensions[board.dimension].name;
            keys.board(place, dimension, board.metric, label)
        };
        let uniques = Kind::WITH_UNIQUES.into_iter().map(|kind| keys.uniques(place, kind, label));
        definitions.boards.iter().map(board).chain(uniques).collect()
    }

    /// The keys of single entities of a closed window.
    async fn members(
        &mut self,
        keys: &Keys,
        label: &str,
        end: i64,
    ) -> Result<Vec<String>, Refusal> {
        let list = keys.closed_members(label, EventTime::from_millis(end));
        Ok(admin::members(&mut self.connection, &list).await?)
    }

    async fn ends(&mut self, key: String) -> Result<Vec<i64>, Refusal> {
        let mut command = redis::cmd("ZRANGE");
        command.arg(&key).arg(&["0", "-1"]);
        let answer = command.query_async(&mut self.connection).await;
        answer.map_err(|source| Refusal { key: Some(key), source })
    }

    async fn swap(&mut self, label: &str, swap: &Swap) -> Result<(), RedisSinkError> {
        let mut invocation = self.scripts.promote.prepare_invoke();
        invocation.key(self.live.meta()).key(self.live.closed_ends(label));
        for (staged, live) in &swap.views {
            invocation.key(staged).key(live);
        }
        for key in &swap.removed {
            invocation.key(key);
        }
        let end = |end: Option<i64>| end.map_or_else(String::new, |end| end.to_string());
        invocation.arg(&self.token).arg(swap.views.len()).arg(end(swap.lists));
        invocation.arg(end(swap.strikes_off)).arg(u8::from(swap.lasts_for_ever));
        let answer = scripts::run(&invocation, &mut self.connection).await;
        self.judged(answer.map_err(admin::refused)?)
    }

    fn judged(&self, answer: Answer) -> Result<(), RedisSinkError> {
        let prefix = self.config.prefix.clone();
        match answer {
            Answer::Done(_) => Ok(()),
            Answer::Fenced(holder) | Answer::Held(holder) => {
                Err(RedisSinkError::Fenced { prefix, holder })
            }
            Answer::WrongType(key) => Err(scripts::wrong_type(key)),
            answer => {
                let detail = format!("what was staged is gone ({answer:?}); promote again");
                let source = redis::make_extension_error("LOST".to_owned(), Some(detail));
                Err(admin::refused(source))
            }
        }
    }

    fn temporary(&mut self) -> String {
        self.staged += 1;
        self.live.staged(&self.token, 0, self.staged)
    }
}

impl WindowReport {
    fn count(&mut self, verdict: Verdict) {
        let counter = match verdict {
            Verdict::Added => &mut self.added,
            Verdict::Replaced => &mut self.replaced,
            Verdict::Equal => &mut self.equal,
            Verdict::Worse => &mut self.worse,
            Verdict::NotClosed => &mut self.not_closed,
            Verdict::Outside => return,
        };
        *counter += 1;
    }
}

fn refused(refusal: Refusal) -> RedisSinkError {
    let Refusal { source, key } = refusal;
    RedisSinkError::Refused { class: super::error::ErrorClass::of(&source), key, source }
}
