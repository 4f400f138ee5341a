//! Faults in an order that a seed decides.

use std::time::Duration;

use nazar::load::rng::Rng;

use crate::fault::Fault;
use crate::process_faults::Moment;

/// More than any soak can play.
const LENGTH: usize = 10_000;

/// What may strike the same three instances, broker and Redis again and again. Faults of processes
/// stand twice, as they are what happens most. Redis forgets its closed views in none of
/// them: the judge would have less and less to compare.
const MIX: [Fault; 21] = [
    Fault::KillActive,
    Fault::KillActive,
    Fault::KillRandom,
    Fault::KillRandom,
    Fault::KillSuccessor,
    Fault::KillStarting,
    Fault::PauseActive,
    Fault::KillInCheckpoint(Moment::BlobWritten),
    Fault::KillInCheckpoint(Moment::ManifestWritten),
    Fault::TerminateActive,
    Fault::TerminateActive,
    Fault::TerminateFollower,
    Fault::RedisRestart { keeps_data: true },
    Fault::RedisFrozen(Duration::from_secs(5)),
    Fault::RedisFull,
    Fault::RedisReplicasGone,
    Fault::RedisBusy,
    Fault::ConnectionsKilled,
    Fault::BrokerRestart,
    Fault::BrokerKilled,
    Fault::BrokerFrozen(Duration::from_secs(5)),
];

/// The same for the same seed; printed as it is played.
pub fn sequence(seed: u64) -> Vec<Fault> {
    let mut rng = Rng::new(seed, 1);
    (0..LENGTH).map(|_| MIX[rng.below(MIX.len() as u64) as usize]).collect()
}
