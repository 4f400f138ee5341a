//! Whether the daemon is alive, and whether it is ready: two questions with different answers.
//!
//! *Alive* means that its loops turn. It depends on nothing outside: when Kafka or Redis is away
//! the daemon waits, and restarting it would only add a catch-up. *Ready* means that it does its
//! job: it has joined the group, all topics exist, Redis takes writes, and views have been
//! published. Others set these facts; answering reads them and never asks anyone.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use serde::Serialize;

/// A fact that readiness needs, with the reason why it does not hold.
#[derive(Debug)]
pub struct Condition {
    failing: ArcSwapOption<String>,
}

impl Condition {
    fn failing(reason: &str) -> Self {
        Self { failing: ArcSwapOption::from_pointee(reason.to_owned()) }
    }

    /// The fact holds from now on.
    pub fn hold(&self) {
        self.failing.store(None);
    }

    /// The fact does not hold, because of `reason`: a fragment for a person to read.
    pub fn fail(&self, reason: impl Into<String>) {
        self.failing.store(Some(Arc::new(reason.into())));
    }

    pub fn reason(&self) -> Option<Arc<String>> {
        self.failing.load_full()
    }
}

/// The heartbeat of one loop. The loop calls [`beat`](Pulse::beat) each time around, also while
/// it waits for Kafka or Redis: what is being waited for is not dead.
#[derive(Debug)]
pub struct Pulse {
    name: String,
    limit: Duration,
    origin: Instant,
    /// Milliseconds since `origin`; [`STOPPED`] once the loop has ended as planned.
    last_millis: AtomicU64,
}

const STOPPED: u64 = u64::MAX;

impl Pulse {
    pub fn beat(&self) {
        self.beat_at(Instant::now());
    }

    fn beat_at(&self, now: Instant) {
        self.last_millis.store(self.millis(now), Relaxed);
    }

    /// The loop ends as planned: its silence means nothing from now on.
    pub fn stop(&self) {
        self.last_millis.store(STOPPED, Relaxed);
    }

    fn millis(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin).as_millis();
        u64::try_from(elapsed).unwrap_or(STOPPED - 1)
    }

    fn check(&self, now: Instant) -> Check {
        let last_millis = self.last_millis.load(Relaxed);
        let silent = Duration::from_millis(self.millis(now).saturating_sub(last_millis));
        let reason = (last_millis != STOPPED && silent > self.limit)
            .then(|| format!("no turn for {silent:.1?}, limit {:?}", self.limit));
        Check { name: self.name.clone(), ok: reason.is_none(), reason }
    }
}

/// What the daemon knows about itself. Shared by all its parts.
#[derive(Debug)]
pub struct Health {
    pub kafka_joined: Condition,
    pub topics_present: Condition,
    pub redis_usable: Condition,
    pub first_flush: Condition,
    /// Holds from the start; fails when the daemon drains.
    pub serving: Condition,
    pulses: Mutex<Vec<Arc<Pulse>>>,
}

/// The answer to one of the two questions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    pub ok: bool,
    pub checks: Vec<Check>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub name: String,
    pub ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Default for Health {
    fn default() -> Self {
        let serving = Condition { failing: ArcSwapOption::empty() };
        Self {
            kafka_joined: Condition::failing("has not joined the consumer group yet"),
            topics_present: Condition::failing("has not seen the topics' metadata yet"),
            redis_usable: Condition::failing("has not connected yet"),
            first_flush: Condition::failing("has not published views yet"),
            serving,
            pulses: Mutex::default(),
        }
    }
}

impl Health {
    /// Watches a loop that promises a turn within `limit`; its time starts now.
    pub fn pulse(&self, name: impl Into<String>, limit: Duration) -> Arc<Pulse> {
        let (origin, last_millis) = (Instant::now(), AtomicU64::new(0));
        let pulse = Arc::new(Pulse { name: name.into(), limit, origin, last_millis });
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner).push(pulse.clone());
        pulse
    }

    pub fn live(&self) -> Verdict {
        self.live_at(Instant::now())
    }

    fn live_at(&self, now: Instant) -> Verdict {
        let pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        Verdict::of(pulses.iter().map(|pulse| pulse.check(now)).collect())
    }

    pub fn ready(&self) -> Verdict {
        let conditions = [
            ("serving", &self.serving),
            ("kafka_joined", &self.kafka_joined),
            ("topics_present", &self.topics_present),
            ("redis_usable", &self.redis_usable),
            ("first_flush", &self.first_flush),
        ];
        let check = |(name, condition): (&str, &Condition)| {
            let reason = condition.reason().map(|reason| (*reason).clone());
            Check { name: name.to_owned(), ok: reason.is_none(), reason }
        };
        Verdict::of(conditions.into_iter().map(check).collect())
    }
}

impl Verdict {
    fn of(checks: Vec<Check>) -> Self {
        Self { ok: checks.iter().all(|check| check.ok), checks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failing(verdict: &Verdict) -> Vec<&str> {
        verdict.checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect()
    }

    #[test]
    fn alive_while_every_loop_turns_within_its_limit() {
        let health = Health::default();
        let seconds = Duration::from_secs;
        let poll = health.pulse("poll 0", seconds(10));
        let flush = health.pulse("flush", seconds(30));
        let start = poll.origin;
        assert!(health.live_at(start + seconds(10)).ok, "the first turn has its limit, too");
        assert_eq!(failing(&health.live_at(start + seconds(11))), ["poll 0"]);
        poll.beat_at(start + seconds(11));
        assert!(health.live_at(start + seconds(12)).ok);
        assert_eq!(failing(&health.live_at(start + seconds(60))), ["poll 0", "flush"]);
        poll.stop();
        flush.stop();
        assert!(
            health.live_at(start + seconds(600)).ok,
            "a loop that ended as planned is not dead"
        );
    }

    #[test]
    fn alive_does_not_ask_kafka_or_redis() {
        let health = Health::default();
        health.redis_usable.fail("connection refused");
        assert!(health.live().ok);
        assert!(!health.ready().ok);
    }

    #[test]
    fn ready_when_all_holds_and_each_missing_fact_is_named() {
        let health = Health::default();
        let all = ["kafka_joined", "topics_present", "redis_usable", "first_flush"];
        assert_eq!(failing(&health.ready()), all);
        health.kafka_joined.hold();
        health.topics_present.hold();
        health.redis_usable.hold();
        health.first_flush.hold();
        assert!(health.ready().ok);
        health.serving.fail("is shutting down");
        let verdict = health.ready();
        assert_eq!(failing(&verdict), ["serving"]);
        assert_eq!(verdict.checks[0].reason.as_deref(), Some("is shutting down"));
    }
}
