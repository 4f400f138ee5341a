//! The whole system: the real binaries, a real broker, a real Redis.
//!
//! One broker serves all tests that do not stop it; each test has topics, a consumer group, a
//! prefix and a Redis of its own. Windows and event counts are small, because our own code is
//! not optimised here; the oracle judges every number all the same.

#[path = "../common/redis_cluster.rs"]
mod cluster_servers;
#[path = "../common/daemon.rs"]
mod daemon;
#[path = "../common/kafka.rs"]
mod kafka;
#[path = "../common/load.rs"]
mod load;
#[path = "../common/redis.rs"]
mod redis_server;

mod backfill;
mod bounded;
mod cluster;
mod live;
mod logs;
mod measured;
mod outages;
mod refusals;
mod rejects;
mod sentinel;
#[path = "../common/redis_sentinels.rs"]
mod sentinels;
mod team;
