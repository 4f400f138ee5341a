//! `nazar backfill`: computes a period of history anew, under a prefix of its own.
//!
//! ```text
//!   nazar            run ───────────────────────────────────────────► its group, its prefix
//!   same topics  ──► backfill --from T --to T --prefix next ──ended─► {next}:history:…, {next}:closed:…
//!                                                    promote ───────► {nazar}:history:…, {nazar}:closed:…
//! ```
//! It is a bounded run for a [`Period`]: it reads as far back as the first window needs, publishes
//! the closed windows of the period and nothing else, and ends when every partition's watermark
//! has passed the last of them or its log has. It shares nothing with a daemon at work: another
//! prefix, a consumer group of its own, no dead letters (they were written when the records were
//! first read), no port. What it keeps under the prefix is marked with the period, so that only
//! the same command goes on where it was interrupted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;
use tracing::info;

use crate::config::Config;
use crate::pipeline::period::{Period, rfc3339};
use crate::pipeline::role::draw_token;
use crate::service::{self, Options, Refused, Summary};
use crate::sinks::redis::holdings::{Holdings, holdings};
use crate::sinks::redis::{admin, schema};
use crate::time::{EventTime, Span};

/// A time, or a distance back from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    At(EventTime),
    Ago(Duration),
}

/// Reads RFC 3339 or a duration.
///
/// # Errors
/// It is neither.
pub fn parse_when(text: &str) -> Result<When, String> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(When::Ago(ago));
    }
    let time = humantime::parse_rfc3339(text)
        .map_err(|_| "write a time as 2026-11-21T08:00:00Z, or how long ago it was as 36h")?;
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| "is before 1970")?;
    i64::try_from(since.as_millis())
        .map(|millis| When::At(EventTime::from_millis(millis)))
        .map_err(|_| "is too far away".to_owned())
}

impl When {
    fn resolve(self, now: EventTime) -> EventTime {
        match self {
            When::At(time) => time,
            When::Ago(ago) => now - Span::from(ago),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub from: When,
    /// `None`: as late as windows have closed for sure.
    pub to: Option<When>,
    pub prefix: String,
    pub keep_all: bool,
}

/// The line of JSON at its end.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub prefix: String,
    pub from_ms: i64,
    pub to_ms: i64,
    #[serde(flatten)]
    pub summary: Summary,
}

/// Runs until the period is computed.
///
/// # Errors
/// It is refused ([`service::is_refusal`]), somebody writes under the prefix, or the run fails.
pub async fn run(
    config: Config,
    request: Request,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<Line> {
    let period = period(&request, now(), config.definitions().lateness)?;
    let config = configure(config, &request)?;
    let redis = config.redis.clone();
    check_prefix(&config, period).await?;
    let options = Options { bounded: true, period: Some(period) };
    let summary = service::run(config, options, stop).await?;
    let found = holdings(&redis, &Value::Null).await.context("look at what was written")?;
    anyhow::ensure!(
        found.is_some_and(|found| found.ended),
        "interrupted; the same command goes on, with --from {} --to {}",
        rfc3339(period.from),
        rfc3339(period.to)
    );
    let (from_ms, to_ms) = (period.from.millis(), period.to.millis());
    Ok(Line { prefix: redis.prefix, from_ms, to_ms, summary })
}

/// The period that is asked for, if it is one that has passed.
fn period(request: &Request, now: EventTime, lateness: Span) -> anyhow::Result<Period> {
    let closed = now - lateness;
    let from = request.from.resolve(now);
    let to = request.to.map_or(closed, |to| to.resolve(now));
    let refuse = |reason: String| Err(Refused(reason).into());
    if to > closed {
        return refuse(format!(
            "--to: events of that time may still come (time.lateness); at the latest say {}",
            rfc3339(closed)
        ));
    }
    if from >= to || from < EventTime::from_millis(0) {
        return refuse(format!(
            "--from has to be before --to, and after 1970: {}",
            Period { from, to }
        ));
    }
    Ok(Period { from, to })
}

/// The configuration of the daemon, apart from it.
fn configure(mut config: Config, request: &Request) -> anyhow::Result<Config> {
    if request.prefix == config.redis.prefix {
        let prefix = &request.prefix;
        return Err(Refused(format!(
            "--prefix {prefix} is redis.prefix itself: compute under another one, then promote"
        ))
        .into());
    }
    config.redis.prefix.clone_from(&request.prefix);
    // A group of its own for each run: one that went on where another was killed would wait until
    // the broker takes that for dead.
    let run = &draw_token().to_string()[..8];
    config.kafka.group = format!("{}-backfill-{}-{run}", config.kafka.group, request.prefix);
    config.kafka.dead_letter_topic.clear();
    config.http.listen.clear();
    if request.keep_all {
        (config.redis.closed_keep, config.redis.history_keep) = (0, 0);
    }
    config.validate()?;
    Ok(config)
}

/// Whether what stands under the prefix is the same backfill, begun before, or nothing.
async fn check_prefix(config: &Config, period: Period) -> anyhow::Result<()> {
    let prefix = &config.redis.prefix;
    if let Some((holder, _)) = admin::lease(&config.redis).await.context("ask for the lease")? {
        anyhow::bail!(
            "somebody writes under {prefix} (lease of {holder}): choose another --prefix"
        );
    }
    let definitions = config.definitions();
    let ours =
        schema::definitions_json(&definitions, &config.topics, &config.fields, &config.limits);
    let Some(found) = holdings(&config.redis, &ours).await.context("look at the prefix")? else {
        return Ok(());
    };
    match objection(&found, &config.meaning_hash(), period) {
        Some(reason) => Err(Refused(format!(
            "the prefix {prefix} {reason}; choose another --prefix, or delete it with `nazar reset \
             --set redis.prefix={prefix}`"
        ))
        .into()),
        None => {
            info!(prefix, "going on with what was begun");
            Ok(())
        }
    }
}

/// Why a run for `period` cannot go on with what is there.
fn objection(found: &Holdings, meaning: &str, period: Period) -> Option<String> {
    let hash = found.config_hash.as_deref().unwrap_or_default();
    let Some((found_meaning, found_period)) = Period::read_mark(hash) else {
        return Some("holds views that no backfill has made".to_owned());
    };
    if found_meaning != meaning {
        let changes: Vec<String> = found.changes.iter().map(ToString::to_string).collect();
        return Some(format!("holds a backfill of another configuration ({})", changes.join("; ")));
    }
    if found_period != period {
        return Some(format!("holds a backfill of another period ({found_period})"));
    }
    found.ended.then(|| "holds this backfill, complete: it can be promoted".to_owned())
}

fn now() -> EventTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    EventTime::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX / 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: EventTime = EventTime::from_millis(1_700_000_000_000);

    fn request(from: &str, to: Option<&str>) -> Request {
        Request {
            from: parse_when(from).unwrap(),
            to: to.map(|to| parse_when(to).unwrap()),
            prefix: "next".into(),
            keep_all: false,
        }
    }

    #[test]
    fn times_are_absolute_or_a_distance_back() {
        let of = |from, to| {
            period(&request(from, to), NOW, Span::from_secs(60))
                .map(|period| (period.from - NOW, period.to - NOW))
                .map(|(from, to)| (from.millis() / 1000, to.millis() / 1000))
                .map_err(|error| {
                    assert!(service::is_refusal(&error));
                    error.to_string().split(' ').next().unwrap_or_default().to_owned()
                })
        };
        assert_eq!(of("2h", Some("1h")), Ok((-7200, -3600)));
        assert_eq!(of("2h", None), Ok((-7200, -60)));
        assert_eq!(of("2023-11-14T20:13:20Z", Some("3min")), Ok((-7200, -180)));
        assert_eq!(of("2h", Some("59s")), Err("--to:".into()));
        assert_eq!(of("2h", Some("2h")), Err("--from".into()));
        assert!(parse_when("yesterday").unwrap_err().contains("36h"));
    }

    #[test]
    fn it_is_apart_from_the_daemon() {
        let daemon = Config::default();
        let config = configure(daemon.clone(), &request("1h", None)).unwrap();
        assert_eq!(config.redis.prefix, "next");
        assert_ne!(config.kafka.group, daemon.kafka.group);
        assert_eq!((&*config.kafka.dead_letter_topic, &*config.http.listen), ("", ""));
        assert_eq!(config.meaning_hash(), daemon.meaning_hash());
        assert_eq!(config.redis.closed_keep, daemon.redis.closed_keep);

        let everything = Request { keep_all: true, ..request("1h", None) };
        let config = configure(daemon.clone(), &everything).unwrap();
        assert_eq!((config.redis.closed_keep, config.redis.history_keep), (0, 0));

        for bad in ["nazar", "a:b"] {
            let request = Request { prefix: bad.into(), ..request("1h", None) };
            assert!(configure(daemon.clone(), &request).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_same_backfill_is_gone_on_with() {
        let at = EventTime::from_millis;
        let period = Period { from: at(0), to: at(60) };
        let other = Period { to: at(61), ..period };
        let objection = |hash: &str, ended| {
            let found =
                Holdings { config_hash: Some(hash.into()), ended, seq: None, changes: vec![] };
            objection(&found, "a", period)
        };
        assert_eq!(objection(&period.mark("a"), false), None);
        for (hash, ended, word) in [
            (period.mark("a"), true, "promoted"),
            (period.mark("b"), false, "configuration"),
            (other.mark("a"), false, "another period"),
            ("a".into(), false, "no backfill"),
        ] {
            let said = objection(&hash, ended).unwrap_or_default();
            assert!(said.contains(word), "{hash}: {said}");
        }
    }
}
