//! The faults: what each one does, and how it is seen to have happened.

use std::time::Duration;

use crate::process_faults::Moment;
use crate::watch::Mark;
use crate::world::World;
use crate::{kafka_faults, process_faults, redis_faults, redis_losses};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    KillActive,
    KillRandom,
    KillSuccessor,
    KillStarting,
    KillInCheckpoint(Moment),
    PauseActive,
    PauseOwner,
    TerminateActive,
    TerminateFollower,
    StallGenerator(Duration),
    RedisRestart { keeps_data: bool },
    RedisKilledWithActive,
    FlushAll,
    RedisFrozen(Duration),
    RedisFull,
    RedisFailover,
    RedisReplicasGone,
    RedisDiskBroken,
    RedisBusy,
    RedisRightsGone,
    RedisForeignType,
    ConnectionsKilled,
    RedisSlow(Duration),
    RedisCut,
    BrokerRestart,
    BrokerKilled,
    BrokerFrozen(Duration),
    PartitionsAdded,
}

/// A fault that has struck.
pub struct Strike {
    /// From here on the views have to go on: the fault's moment, or its end if it lasts.
    pub mark: Mark,
    /// What showed that it happened.
    pub proof: String,
}

impl Strike {
    pub fn now(proof: impl Into<String>) -> Strike {
        Strike { mark: Mark::now(), proof: proof.into() }
    }
}

impl Fault {
    /// Does it to the world. An error means that the fault could not be shown to have happened,
    /// or that the daemon did what no fault excuses.
    pub fn strike(self, world: &mut World) -> anyhow::Result<Strike> {
        use Fault::*;
        match self {
            KillActive => process_faults::kill_active(world),
            KillRandom => process_faults::kill_random(world),
            KillSuccessor => process_faults::kill_successor(world),
            KillStarting => process_faults::kill_starting(world),
            PauseActive => process_faults::pause_active(world),
            PauseOwner => process_faults::pause_owner(world),
            TerminateActive => process_faults::terminate_active(world),
            TerminateFollower => process_faults::terminate_follower(world),
            KillInCheckpoint(moment) => process_faults::kill_in_checkpoint(world, moment),
            StallGenerator(time) => process_faults::stall_generator(world, time),
            RedisRestart { keeps_data } => redis_losses::restart(world, keeps_data),
            RedisKilledWithActive => redis_losses::killed_with_active(world),
            FlushAll => redis_losses::flush_all(world),
            RedisFrozen(time) => redis_faults::frozen(world, time),
            RedisFull => redis_faults::full(world),
            RedisFailover => redis_losses::failover(world),
            RedisReplicasGone => redis_faults::replicas_gone(world),
            RedisDiskBroken => redis_faults::disk_broken(world),
            RedisBusy => redis_faults::busy(world),
            RedisRightsGone => redis_faults::rights_gone(world),
            RedisForeignType => redis_faults::foreign_type(world),
            ConnectionsKilled => redis_faults::connections_killed(world),
            RedisSlow(latency) => redis_faults::slow(world, latency),
            RedisCut => redis_faults::cut(world),
            BrokerRestart => kafka_faults::restart(world),
            BrokerKilled => kafka_faults::killed(world),
            BrokerFrozen(time) => kafka_faults::frozen(world, time),
            PartitionsAdded => kafka_faults::partitions_added(world),
        }
    }

    /// Whether records come to Kafka later than their time allows. Nothing else may make a record
    /// come after close: a slow reader, a dead one or a broker that is away makes nothing late.
    pub fn delays_producer(self) -> bool {
        matches!(self, Self::StallGenerator(_))
    }

    /// Samples of every latest view taken in the background of this strike. The oracle recounts
    /// a window for each.
    pub fn samples(self) -> usize {
        match self {
            // Long enough that readers see a writer or an owner come back that should not.
            Self::PauseActive | Self::PauseOwner => 40,
            _ => 12,
        }
    }

    /// Whether Redis forgets: only then may readers see older views again.
    pub fn loses_data(self) -> bool {
        use Fault::*;
        matches!(
            self,
            RedisRestart { keeps_data: false } | RedisKilledWithActive | FlushAll | RedisFailover
        )
    }

    /// Whether readers can look at Redis all the while.
    pub fn leaves_redis_readable(self) -> bool {
        use Fault::*;
        matches!(
            self,
            KillActive
                | KillRandom
                | KillSuccessor
                | KillStarting
                | KillInCheckpoint(_)
                | PauseActive
                | PauseOwner
                | TerminateActive
                | TerminateFollower
                | BrokerRestart
                | BrokerKilled
                | BrokerFrozen(_)
                | PartitionsAdded
        )
    }
}
