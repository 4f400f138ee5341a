//! `nazar promote`: closed windows of a finished backfill take the place of the live ones.
//!
//! No daemon may be at work: it is the only writer of its prefix, and remembers what it has
//! written. Both prefixes have to mean the same, down to the configuration's hash: a history that
//! changes its meaning half-way would be neither. (For a new meaning, let a daemon begin under a new
//! prefix, and promote there what a backfill with the same configuration has computed.)

use std::fmt;

use anyhow::Context;
use serde::Serialize;

use crate::config::Config;
use crate::pipeline::period::{Period, rfc3339};
use crate::pipeline::role::draw_token;
use crate::service::Refused;
use crate::sinks::redis::holdings::{Holdings, holdings};
use crate::sinks::redis::promote::{Source, WindowReport, promote};
use crate::sinks::redis::{admin, schema};

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub from_prefix: String,
    pub prefix: String,
    pub from_ms: i64,
    pub to_ms: i64,
    pub windows: Vec<WindowReport>,
    /// Of the live prefix, for whom boards were too old.
    #[serde(skip)]
    period: Period,
}

/// Promotes what stands under `from_prefix` to the configured prefix.
///
/// # Errors
/// It is refused ([`crate::service::is_refusal`]), a daemon is at work, or Redis fails; then the
/// same command makes it whole.
pub async fn run(config: &Config, from_prefix: &str) -> anyhow::Result<Report> {
    let prefix = &config.redis.prefix;
    if from_prefix == prefix {
        return refuse(format!(
            "--prefix {prefix} is redis.prefix itself: name that of a backfill"
        ));
    }
    let definitions = config.definitions();
    let ours =
        schema::definitions_json(&definitions, &config.topics, &config.fields, &config.limits);
    let mut backfill = config.redis.clone();
    from_prefix.clone_into(&mut backfill.prefix);
    let found = holdings(&backfill, &ours).await.context("look at the backfill")?;
    let meaning = config.meaning_hash();
    let period = match finished_period(found.as_ref(), &meaning) {
        Ok(period) => period,
        Err(reason) => return refuse(format!("the prefix {from_prefix} {reason}")),
    };
    let Some(live) = holdings(&config.redis, &ours).await.context("look at the prefix")? else {
        return refuse(format!("nothing has been written under the prefix {prefix}"));
    };
    if live.config_hash.as_ref().is_some_and(|hash| *hash != meaning) {
        let changes = changes(&live);
        return refuse(format!(
            "the prefix {prefix} holds views of another configuration{changes}"
        ));
    }
    if let Some((holder, left)) = admin::lease(&config.redis).await.context("ask for the lease")? {
        anyhow::bail!(
            "an instance writes under {prefix}: stop it first (lease of {holder}; if it is gone \
             already, the lease ends in {:.0} s)",
            left.as_secs_f64().ceil()
        );
    }
    let source = Source { prefix: from_prefix, period };
    let token = draw_token().to_string();
    let windows = promote(&config.redis, &definitions, &meaning, &token, &source)
        .await
        .context("promote; the same command makes it whole")?;
    Ok(Report {
        from_prefix: from_prefix.to_owned(),
        prefix: prefix.clone(),
        from_ms: period.from.millis(),
        to_ms: period.to.millis(),
        windows,
        period,
    })
}

fn refuse<T>(reason: String) -> anyhow::Result<T> {
    Err(Refused(reason).into())
}

/// Of which period a prefix holds all, in our meaning; or why it does not.
fn finished_period(found: Option<&Holdings>, meaning: &str) -> Result<Period, String> {
    let Some(found) = found else { return Err("holds nothing: see nazar backfill".into()) };
    let hash = found.config_hash.as_deref().unwrap_or_default();
    let Some((found_meaning, period)) = Period::read_mark(hash) else {
        return Err("holds views that no backfill has made".into());
    };
    if found_meaning != meaning {
        return Err(format!("holds a backfill of another configuration{}", changes(found)));
    }
    if !found.ended {
        return Err(format!("holds a backfill of {period} that has not ended"));
    }
    Ok(period)
}

fn changes(found: &Holdings) -> String {
    let changes: Vec<String> = found.changes.iter().map(ToString::to_string).collect();
    if changes.is_empty() { String::new() } else { format!(" ({})", changes.join("; ")) }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from_prefix, prefix, period: Period { from, to }, windows, .. } = self;
        writeln!(
            f,
            "{from_prefix} to {prefix}, windows that end after {} up to {}",
            rfc3339(*from),
            rfc3339(*to)
        )?;
        writeln!(f, "\nwindow      added  replaced  equal  boards")?;
        for one in windows {
            let WindowReport { window, added, replaced, equal, boards, .. } = one;
            write!(f, "{window:8}  {added:>7}  {replaced:>8}  {equal:>5}  {boards:>6}")?;
            let notes: Vec<String> = [
                (one.worse, "left alone: what stands is complete, they are not"),
                (one.not_closed, "left to the daemon, which has not closed them"),
                (one.trimmed, "trimmed (redis.history_keep)"),
                (one.boards_too_old, "without boards (redis.closed_keep)"),
                (one.boards_expired, "whose boards have expired"),
            ]
            .into_iter()
            .filter(|&(count, _)| count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
            writeln!(f, "{}{}", if notes.is_empty() { "" } else { "  " }, notes.join("; "))?;
        }
        Ok(())
    }
}
