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

mod boards;
mod plan;
mod stream;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use self::plan::{Verdict, judge};
use self::stream::{Builder, Pages, remembered};
use super::connection::Connector;
use super::error::{RedisSinkError, Refusal};
use super::keys::Keys;
use super::lease::Keeper;
use super::link::Link;
use super::scripts::{self, Answer, Scripts};
use super::{admin, invalid_prefix, ttl_millis};
use crate::config::RedisConfig;
use crate::pipeline::definitions::Definitions;
use crate::pipeline::period::Period;
use crate::time::EventTime;

/// What was staged and not swapped goes by itself after so long.
const STAGED_TTL: Duration = Duration::from_secs(3600);

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
    connection: Link,
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
