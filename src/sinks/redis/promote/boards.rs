//! Boards and distinct counts of closed windows, copied and swapped in one window after another.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use super::plan::{Boards, boards};
use super::{Promotion, STAGED_TTL, Swap, WindowReport, refused};
use crate::event::Kind;
use crate::pipeline::definitions::Board;
use crate::sinks::redis::error::{RedisSinkError, Refusal};
use crate::sinks::redis::keys::{Keys, Place};
use crate::sinks::redis::{KEYS_MAX, admin, ttl_millis};
use crate::time::EventTime;

/// Boards that expire so soon are not copied: some of a window might go in between.
const TTL_MIN: Duration = Duration::from_secs(60);

/// Values copied in one round trip; a board of a thousand takes some 20 KB.
const COPIES: usize = 100;

/// What stands under temporary names.
#[derive(Default)]
struct Copied {
    /// From a temporary name to its own.
    views: Vec<(String, String)>,
    /// Own names of which there was nothing to copy.
    absent: Vec<String>,
}

impl Promotion<'_> {
    /// Boards and distinct counts of the windows that were taken.
    pub(super) async fn boards(
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
            let live = self.live.clone();
            let members = self.members(&live, label, end).await.map_err(refused)?;
            self.remove(label, members).await?;
            let mut removed = self.views(&live, label, end);
            removed.push(live.closed_members(label, EventTime::from_millis(end)));
            self.swap(label, &Swap { removed, strikes_off: Some(end), ..Swap::default() }).await?;
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
        let Some(Copied { views, absent }) = self.copy(&pairs).await.map_err(refused)? else {
            return Ok(false);
        };
        self.promote_members(label, end).await?;
        let swap = Swap { views, removed: absent, lists: Some(end), ..Swap::default() };
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
            if let Some(Copied { views, absent }) = self.copy(pairs).await.map_err(refused)? {
                self.swap(label, &Swap { views, removed: absent, ..Swap::default() }).await?;
            }
        }
        self.remove(label, gone).await
    }

    async fn remove(&mut self, label: &str, keys: Vec<String>) -> Result<(), RedisSinkError> {
        for keys in keys.chunks(KEYS_MAX) {
            let removed = keys.to_vec();
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

    /// Copies values to temporary names, each with what is left of its TTL. `None` where there is nothing at all, or nothing
    /// that lasts.
    async fn copy(&mut self, pairs: &[(String, String)]) -> Result<Option<Copied>, Refusal> {
        let mut copied = Copied::default();
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
                    copied.absent.push(to.clone());
                    continue;
                };
                if (0..ttl_millis(TTL_MIN) as i64).contains(ttl) {
                    return Ok(None);
                }
                let staged = self.temporary();
                restore.cmd("RESTORE").arg(&staged).arg((*ttl).max(0)).arg(value).ignore();
                copied.views.push((staged, to.clone()));
                copies += 1;
            }
            if copies > 0 {
                restore.exec_async(&mut self.connection).await?;
            }
        }
        Ok(Some(copied).filter(|copied| !copied.views.is_empty()))
    }

    /// The keys that change together when a window closes.
    fn views(&self, keys: &Keys, label: &str, end: i64) -> Vec<String> {
        let place = Place::Closed(EventTime::from_millis(end));
        let definitions = self.definitions;
        let board = |board: &Board| {
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
}
