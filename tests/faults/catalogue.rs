//! Which fault on which stage. The order is that of the table.

use std::time::Duration;

use crate::fault::Fault;
use crate::options::Options;
use crate::process_faults::Moment;
use crate::stage::{RedisKind, Stage};

pub struct Scenario {
    pub name: &'static str,
    /// For the table.
    pub what: &'static str,
    pub stage: Stage,
    pub plan: Plan,
    /// In the set that `make test` runs.
    is_short: bool,
    /// Why it fails for now, if it does.
    pub known: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    Faults(Vec<Fault>),
    /// At random, for as long as the options say.
    Soak,
    /// No fault: the judge is judged.
    Judge,
    /// So many records, read by one instance, by several, and by one that is killed.
    SameLog(u64),
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const STAGE: Stage = Stage {
    instances: 2,
    own_broker: false,
    redis: RedisKind::Forgetful,
    lateness_seconds: 3,
    events_per_second: 800,
};
const THREE: Stage = Stage { instances: 3, ..STAGE };
const DURABLE: Stage = Stage { redis: RedisKind::Durable, ..STAGE };
/// Event time may run a few seconds ahead of records that wait for a broker to come back.
const BROKER: Stage = Stage { own_broker: true, lateness_seconds: 12, ..STAGE };
const RELAYED: Stage = Stage { redis: RedisKind::Relayed, ..STAGE };

/// Records of the log that all instances of `same-log` read, in the short set.
const SHORT_LOG: u64 = 100_000;

fn short(name: &'static str, what: &'static str, stage: Stage, faults: Vec<Fault>) -> Scenario {
    Scenario { name, what, stage, plan: Plan::Faults(faults), is_short: true, known: None }
}

fn long(name: &'static str, what: &'static str, stage: Stage, faults: Vec<Fault>) -> Scenario {
    Scenario { is_short: false, ..short(name, what, stage, faults) }
}

/// What the options ask for.
pub fn chosen(options: &Options) -> Vec<Scenario> {
    if options.soak {
        let stage = Stage { redis: RedisKind::Durable, instances: 3, ..BROKER };
        let what = "faults of processes, Redis and broker in random order";
        return vec![Scenario { plan: Plan::Soak, ..long("soak", what, stage, vec![]) }];
    }
    let is_named = |scenario: &Scenario| {
        let contains = |part: &String| scenario.name.contains(part.as_str());
        options.filter.is_empty() || options.filter.iter().any(contains)
    };
    let mut scenarios = catalogue(options);
    scenarios.retain(|scenario| (options.all || scenario.is_short) && is_named(scenario));
    scenarios
}

fn catalogue(options: &Options) -> Vec<Scenario> {
    use Fault::*;
    let kills = options.kills;
    let records = if options.all { options.events } else { SHORT_LOG };
    let same_log = short(
        "same-log",
        "one log, read by 1, 2 and 4 instances, and by one killed ten times",
        Stage { instances: 4, ..STAGE },
        vec![],
    );
    let judge = short("judge", "no fault: the judge finds what is edited by hand", STAGE, vec![]);
    vec![
        // Those with a broker of their own start first, as they take longest.
        short(
            "broker-restart",
            "the broker ends in order and starts again",
            BROKER,
            vec![BrokerRestart],
        ),
        short(
            "kill-active",
            "kill -9 of the instance that writes, two more at hand",
            THREE,
            vec![KillActive],
        ),
        short(
            "kill-starting",
            "kill -9 five times within the first second of a start",
            STAGE,
            vec![KillStarting],
        ),
        short(
            "kill-in-checkpoint",
            "kill -9 of the instance that writes when a blob of a checkpoint lies in Redis, and when its manifest does",
            STAGE,
            [Moment::BlobWritten, Moment::ManifestWritten].map(KillInCheckpoint).into(),
        ),
        short(
            "rebalance",
            "an instance that follows leaves three, and comes back",
            THREE,
            vec![TerminateFollower; 2],
        ),
        short(
            "pause-active",
            "the instance that writes paused beyond lease and session, then going on",
            STAGE,
            vec![PauseActive],
        ),
        short(
            "terminate-active",
            "SIGTERM to the instance that writes",
            STAGE,
            vec![TerminateActive],
        ),
        short(
            "redis-restart",
            "Redis ends and starts again with its data",
            DURABLE,
            vec![RedisRestart { keeps_data: true }],
        ),
        short(
            "redis-data-lost",
            "Redis killed, and started without data",
            STAGE,
            vec![RedisRestart { keeps_data: false }],
        ),
        Scenario { plan: Plan::Judge, ..judge },
        Scenario { plan: Plan::SameLog(records), ..same_log },
        long(
            "pause-both",
            "the instance that writes and one that follows paused in turn, each going on in the midst of its work",
            Stage { instances: 3, ..RELAYED },
            [PauseActive, PauseOwner].repeat(5),
        ),
        long("kill-random", "kill -9 of any of three instances", THREE, vec![KillRandom; kills]),
        long(
            "kill-successor",
            "kill -9 of the instance that writes, then of the one taking over",
            THREE,
            vec![KillSuccessor; 3],
        ),
        long(
            "all-lost",
            "Redis and the instance that writes killed at once, no data left",
            STAGE,
            vec![RedisKilledWithActive],
        ),
        long("flushall", "FLUSHALL, again and again", STAGE, vec![FlushAll; 5]),
        long(
            "redis-frozen-5s",
            "Redis answers nothing for 5 s",
            STAGE,
            vec![RedisFrozen(seconds(5))],
        ),
        long(
            "redis-frozen-20s",
            "Redis answers nothing for 20 s",
            STAGE,
            vec![RedisFrozen(seconds(20))],
        ),
        long(
            "redis-frozen-60s",
            "Redis answers nothing for 60 s",
            STAGE,
            vec![RedisFrozen(seconds(60))],
        ),
        long("redis-full", "OOM: maxmemory reached", STAGE, vec![RedisFull]),
        long(
            "redis-failover",
            "READONLY, and a roll-back of acknowledged writes",
            STAGE,
            vec![RedisFailover],
        ),
        long(
            "redis-replicas-gone",
            "NOREPLICAS: too few replicas to write",
            STAGE,
            vec![RedisReplicasGone],
        ),
        long("redis-disk-broken", "MISCONF: snapshots fail", STAGE, vec![RedisDiskBroken]),
        long("redis-busy", "BUSY: a script of another client", STAGE, vec![RedisBusy]),
        long(
            "redis-rights-gone",
            "NOPERM: rights taken, and given back",
            Stage { redis: RedisKind::Guarded, ..STAGE },
            vec![RedisRightsGone],
        ),
        long(
            "redis-foreign-type",
            "WRONGTYPE: a string in a board's place",
            STAGE,
            vec![RedisForeignType],
        ),
        long(
            "redis-connections-killed",
            "CLIENT KILL of all connections, five a second",
            STAGE,
            vec![ConnectionsKilled],
        ),
        long(
            "redis-slow",
            "200 ms more for every answer of Redis",
            RELAYED,
            vec![RedisSlow(Duration::from_millis(200))],
        ),
        long("redis-cut", "connections to Redis cut at any byte", RELAYED, vec![RedisCut]),
        long(
            "broker-killed",
            "kill -9 of the broker, and a start",
            // Its start can take half a minute on a busy machine; so late the producer is then.
            Stage { lateness_seconds: 40, ..BROKER },
            vec![BrokerKilled; 2],
        ),
        long(
            "broker-frozen",
            "the broker answers nothing for 10 s",
            Stage { lateness_seconds: 20, ..BROKER },
            vec![BrokerFrozen(seconds(10))],
        ),
        long(
            "partitions-added",
            "partitions added to a topic that is read",
            STAGE,
            vec![PartitionsAdded],
        ),
        long(
            "generator-stalled",
            "the producer silent for 10 s, then its backlog at once",
            STAGE,
            vec![StallGenerator(seconds(10))],
        ),
    ]
}
