//! A connection to wherever the keys are: one server, or the masters of a Cluster.
//!
//! Commands, pipelines and scripts take either through the redis crate's own trait, so nothing
//! above knows which it has. What a Cluster asks of them in return:
//!
//! - a command or script names keys of one slot only;
//! - a pipeline that is no transaction holds commands that may run in any order between slots;
//! - a transaction over several slots is one transaction for each of them.

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Cmd, Pipeline, RedisError, RedisFuture, Value};

use super::cluster::Cluster;

#[derive(Clone)]
pub enum Link {
    /// Nothing stands between the caller and the connection of the redis crate.
    Single(MultiplexedConnection),
    Cluster(Cluster),
}

impl Link {
    pub fn is_cluster(&self) -> bool {
        matches!(self, Link::Cluster(_))
    }

    pub fn cluster(&self) -> Option<&Cluster> {
        match self {
            Link::Single(_) => None,
            Link::Cluster(cluster) => Some(cluster),
        }
    }

    /// A connection to every server that holds keys, and its name if there are several.
    pub async fn servers(
        &self,
    ) -> Result<Vec<(Option<String>, MultiplexedConnection)>, RedisError> {
        match self {
            Link::Single(connection) => Ok(vec![(None, connection.clone())]),
            Link::Cluster(cluster) => {
                let mut servers = Vec::new();
                for node in cluster.masters() {
                    servers.push((Some(node.to_string()), cluster.connection(&node).await?));
                }
                Ok(servers)
            }
        }
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Link::Single(connection) => connection.req_packed_command(command),
            Link::Cluster(cluster) => Box::pin(cluster.command(command)),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Link::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            // Offset and count only say whether it is a transaction, which it says itself.
            Link::Cluster(cluster) => Box::pin(cluster.pipeline(pipeline)),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Link::Single(connection) => connection.get_db(),
            Link::Cluster(_) => 0,
        }
    }
}
