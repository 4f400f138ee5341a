//! The Redis sink against real servers: what stands in Redis after a flush, and what happens
//! when Redis does not play along. Each test starts its own redis-server.

mod checkpoint;
mod content;
mod fixture;
mod lease;
mod loss;
mod outbox;
mod outbox_cost;
mod promote;
mod scripts;
#[path = "../common/redis.rs"]
mod server;
mod start;
mod trouble;
