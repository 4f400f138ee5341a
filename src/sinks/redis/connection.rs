//! A connection that is made when needed and thrown away when in doubt.
//!
//! The redis crate's own manager does not reconnect on READONLY, so a failover behind one
//! address would go unnoticed for ever; here the caller decides by [`ErrorClass`] and the
//! next use connects anew: it resolves the host name again, asks the Sentinels again, or asks
//! the nodes of a Cluster again who serves what.
//!
//! Whether a server is a node of a Cluster is asked when connecting, so that one address does
//! for both, and a single Redis pays one round trip a connection for it.
//!
//! [`ErrorClass`]: super::error::ErrorClass

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ConnectionAddr, ErrorKind, RedisError};

use super::address::{self, Address};
use super::cluster::slots::{Node, SlotMap, slot};
use super::cluster::{self, Cluster};
use super::dial::Dialer;
use super::error::RedisSinkError;
use super::link::Link;
use super::sentinel;
use crate::config::RedisConfig;

/// First wait after a failure. Doubled each time up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// Longest wait: what a recovered Redis may have to wait for us at most. Longer would delay
/// recovery, shorter would hammer a server that is coming up.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

#[derive(Clone)]
pub struct Connector {
    dialer: Dialer,
    /// As configured; the one that answered last comes first.
    address: Address,
    /// The masters of the Cluster, when we looked last: one of them may be there when none of
    /// those that are configured is.
    known: Vec<ConnectionAddr>,
    /// The slot of everything that changes together.
    home: u16,
    live: Option<Link>,
}

impl Connector {
    /// Reads the configuration and connects to nothing yet.
    pub fn new(config: &RedisConfig) -> Result<Connector, RedisSinkError> {
        // The crate's messages say what is wrong without quoting the URL, which may hold a password.
        let address = Address::parse(config.url.expose())
            .map_err(|error| RedisSinkError::Config(format!("redis.url: {error}")))?;
        let dialer = Dialer::new(config, &address)?;
        let home = slot(config.prefix.as_bytes());
        Ok(Connector { dialer, address, known: Vec::new(), home, live: None })
    }

    /// A second connector to the same place.
    pub fn another(&self) -> Connector {
        Connector { live: None, ..self.clone() }
    }

    /// Hosts and ports, or socket path: for logs, without credentials.
    pub fn address(&self) -> String {
        self.address.describe()
    }

    /// The connection, made now if there is none.
    pub async fn get(&mut self) -> Result<&mut Link, RedisError> {
        if self.live.is_none() {
            self.live = Some(self.connect().await?);
        }
        Ok(self.live.as_mut().expect("it was set above"))
    }

    /// Whether the connection, if there is one, is to a Cluster.
    pub fn is_cluster(&self) -> bool {
        self.live.as_ref().is_some_and(Link::is_cluster)
    }

    /// Forgets the connection: the next use makes a new one.
    pub fn disconnect(&mut self) {
        self.live = None;
    }

    async fn connect(&mut self) -> Result<Link, RedisError> {
        if let Some(name) = &self.address.master_name {
            let (_, connection) =
                sentinel::master(&self.dialer, &mut self.address.places, name).await?;
            return Ok(Link::Single(connection));
        }
        let configured: Vec<ConnectionAddr> =
            self.address.places.iter().map(|place| place.addr().clone()).collect();
        let mut failure = None;
        for (index, addr) in configured.iter().chain(&self.known).enumerate() {
            match self.connect_to(addr).await {
                Ok(link) => {
                    if let Some(places) = self.address.places.get_mut(..=index) {
                        places.rotate_right(1);
                    }
                    if let Some(cluster) = link.cluster() {
                        let masters = cluster.masters();
                        self.known = masters.iter().map(|node| self.dialer.addr(node)).collect();
                    }
                    return Ok(link);
                }
                // The first is the one that a person looks for in the log.
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        Err(failure.unwrap_or_else(|| (ErrorKind::InvalidClientConfig, "no address").into()))
    }

    async fn connect_to(&self, addr: &ConnectionAddr) -> Result<Link, RedisError> {
        let mut connection = self.dialer.dial(addr).await?;
        let teller = address::node(addr);
        match ask_slots(&mut connection, teller.as_ref()).await? {
            Some(map) => {
                let teller = teller.map(|node| (node, connection));
                Ok(Link::Cluster(Cluster::new(self.dialer.clone(), self.home, map, teller)))
            }
            None if self.address.places.len() > 1 => Err((
                ErrorKind::InvalidClientConfig,
                "redis.url names several servers, but this one is no node of a Cluster",
                addr.to_string(),
            )
                .into()),
            None => Ok(Link::Single(connection)),
        }
    }
}

/// `None`: it is no node of a Cluster, or does not let us ask.
async fn ask_slots(
    connection: &mut MultiplexedConnection,
    teller: Option<&Node>,
) -> Result<Option<SlotMap>, RedisError> {
    // By a socket, other nodes cannot be reached.
    let Some(teller) = teller else { return Ok(None) };
    match cluster::ask_slots(connection, teller).await {
        Ok(map) => Ok(Some(map)),
        // Without Cluster mode, behind a proxy, or with a user who may not.
        Err(error) if matches!(error.code(), Some("ERR" | "NOPERM")) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits between attempts: doubling, capped, and spread over half of each step so that the
/// instances that lost the same server do not return in step.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
    jitter: RandomState,
}

impl Backoff {
    pub fn next_delay(&mut self) -> Duration {
        let delay = delay(self.failures, self.jitter.hash_one(self.failures));
        self.failures = self.failures.saturating_add(1);
        delay
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// Between half of the step and the whole of it, by `random`.
fn delay(failures: u32, random: u64) -> Duration {
    let step = BACKOFF_MIN.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX);
    let share = (random % 1024) as u32;
    step / 2 + step / 2 * share / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap() {
        let longest: Vec<u128> =
            [0, 1, 2, 5, 6, 40, u32::MAX].map(|failures| delay(failures, 1023).as_millis()).into();
        assert_eq!(longest, [49, 99, 199, 1599, 1999, 1999, 1999]);
        assert_eq!(delay(0, 0), BACKOFF_MIN / 2);
        assert_eq!(delay(40, 0), BACKOFF_MAX / 2);
    }
}
