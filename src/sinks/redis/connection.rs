//! A connection that is made when needed and thrown away when in doubt.
//!
//! The redis crate's own manager does not reconnect on READONLY, so a failover behind one
//! address would go unnoticed for ever; here the caller decides by [`ErrorClass`] and the
//! next use connects anew, resolving the host name again.
//!
//! [`ErrorClass`]: super::error::ErrorClass

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError,
    TlsCertificates,
};

use super::error::RedisSinkError;
use crate::config::RedisConfig;

/// First wait after a failure. Doubled each time up to [`BACKOFF_MAX`].
const BACKOFF_MIN: Duration = Duration::from_millis(50);

/// Longest wait: what a recovered Redis may have to wait for us at most. Longer would delay
/// recovery, shorter would hammer a server that is coming up.
const BACKOFF_MAX: Duration = Duration::from_secs(2);

pub struct Connector {
    client: Client,
    settings: AsyncConnectionConfig,
    live: Option<MultiplexedConnection>,
}

impl Connector {
    /// Reads the configuration and connects to nothing yet.
    pub fn new(config: &RedisConfig) -> Result<Connector, RedisSinkError> {
        let client = client(config)?;
        // The crate's default of 500 ms would call a slow server dead.
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.connect_timeout))
            .set_response_timeout(Some(config.response_timeout));
        Ok(Connector { client, settings, live: None })
    }

    /// A second connector to the same place.
    pub fn another(&self) -> Connector {
        Connector { client: self.client.clone(), settings: self.settings.clone(), live: None }
    }

    /// Host and port, or socket path: for logs, without credentials.
    pub fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// The connection, made now if there is none.
    pub async fn get(&mut self) -> Result<&mut MultiplexedConnection, RedisError> {
        if self.live.is_none() {
            // The connection timeout bounds all of it: name, socket, TLS, login.
            let connect = self.client.get_multiplexed_async_connection_with_config(&self.settings);
            self.live = Some(connect.await?);
        }
        Ok(self.live.as_mut().expect("it was set above"))
    }

    /// Forgets the connection: the next use makes a new one.
    pub fn disconnect(&mut self) {
        self.live = None;
    }
}

fn client(config: &RedisConfig) -> Result<Client, RedisSinkError> {
    // The crate's messages say what is wrong without quoting the URL, which may hold a password.
    let refuse = |error: RedisError| RedisSinkError::Config(format!("redis.url: {error}"));
    let info: ConnectionInfo = config.url.expose().into_connection_info().map_err(refuse)?;
    let mut login = info.redis_settings().clone();
    if !config.username.is_empty() {
        login = login.set_username(&config.username);
    }
    if !config.password.expose().is_empty() {
        login = login.set_password(config.password.expose());
    }
    let tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
    if tls {
        // Without a provider the TLS library panics at the first connection. An error here means
        // that one is installed already, which will do as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let tcp = TcpSettings::default().set_nodelay(true);
    let info = info.set_redis_settings(login).set_tcp_settings(tcp);
    match &config.tls_ca_file {
        None => Client::open(info).map_err(refuse),
        Some(_) if !tls => Err(RedisSinkError::Config(
            "redis.tls_ca_file is set, but redis.url does not begin with rediss://".to_owned(),
        )),
        Some(path) => {
            let certificate = std::fs::read(path).map_err(|error| {
                RedisSinkError::Config(format!("redis.tls_ca_file {}: {error}", path.display()))
            })?;
            let certificates = TlsCertificates { client_tls: None, root_cert: Some(certificate) };
            Client::build_with_tls(info, certificates).map_err(|error| {
                RedisSinkError::Config(format!("redis.tls_ca_file {}: {error}", path.display()))
            })
        }
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
