//! The Redis sink against real servers: what stands in Redis after a flush, and what happens
//! when Redis does not play along. Each test starts its own redis-server.

mod checkpoint;
mod cluster;
#[path = "../common/redis_cluster.rs"]
mod cluster_servers;
mod content;
mod fixture;
mod lease;
mod loss;
mod outbox;
mod outbox_cost;
mod picture;
mod promote;
#[path = "../common/schema.rs"]
mod schema;
mod scripts;
mod sentinel;
#[path = "../common/redis_sentinels.rs"]
mod sentinels;
#[path = "../common/redis.rs"]
mod server;
mod start;
mod top;
mod trouble;

use server as redis_server;
