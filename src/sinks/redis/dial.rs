//! Opening one connection to one server: TLS, login, timeouts.

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisConnectionInfo, RedisError,
    TlsCertificates,
};

use super::address::Address;
use super::cluster::slots::Node;
use super::error::RedisSinkError;
use crate::config::RedisConfig;

/// What all servers of a configuration have in common.
#[derive(Clone)]
pub struct Dialer {
    settings: AsyncConnectionConfig,
    address: Address,
    /// Any server's: its address is replaced.
    pattern: ConnectionInfo,
    /// To trust instead of the built-in ones.
    certificate: Option<Vec<u8>>,
}

impl Dialer {
    /// Connects to nothing yet.
    pub fn new(config: &RedisConfig, address: &Address) -> Result<Dialer, RedisSinkError> {
        // The crate's default of 500 ms would call a slow server dead.
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.connect_timeout))
            .set_response_timeout(Some(config.response_timeout));
        let pattern = address.places.first().expect("an address has a place").clone();
        let mut login = pattern.redis_settings().clone();
        if !config.username.is_empty() {
            login = login.set_username(&config.username);
        }
        if !config.password.expose().is_empty() {
            login = login.set_password(config.password.expose());
        }
        let tls = matches!(pattern.addr(), ConnectionAddr::TcpTls { .. });
        if tls {
            // Without a provider the TLS library panics at the first connection. An error here
            // means that one is installed already, which will do as well.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let certificate = match &config.tls_ca_file {
            Some(_) if !tls => {
                return Err(RedisSinkError::Config(
                    "redis.tls_ca_file is set, but redis.url does not begin with rediss".to_owned(),
                ));
            }
            Some(path) => Some(std::fs::read(path).map_err(|error| {
                RedisSinkError::Config(format!("redis.tls_ca_file {}: {error}", path.display()))
            })?),
            None => None,
        };
        let tcp = TcpSettings::default().set_nodelay(true);
        let pattern = pattern.set_redis_settings(login).set_tcp_settings(tcp);
        let dialer = Dialer { settings, address: address.clone(), pattern, certificate };
        // What is wrong with a certificate is said at the start, not at the first connection.
        dialer.client(dialer.pattern.clone()).map_err(|error| {
            let key = if dialer.certificate.is_some() { "redis.tls_ca_file" } else { "redis.url" };
            RedisSinkError::Config(format!("{key}: {error}"))
        })?;
        Ok(dialer)
    }

    pub async fn dial(&self, addr: &ConnectionAddr) -> Result<MultiplexedConnection, RedisError> {
        self.open(self.pattern.clone().set_addr(addr.clone())).await
    }

    /// As `dial`, to what is no server of keys: without a database, and without login if so asked.
    pub async fn dial_guide(
        &self,
        addr: &ConnectionAddr,
        with_login: bool,
    ) -> Result<MultiplexedConnection, RedisError> {
        let settings = match with_login {
            true => self.pattern.redis_settings().clone().set_db(0),
            false => RedisConnectionInfo::default(),
        };
        let pattern = self.pattern.clone().set_redis_settings(settings);
        self.open(pattern.set_addr(addr.clone())).await
    }

    /// The address of a server that another one has named.
    pub fn addr(&self, node: &Node) -> ConnectionAddr {
        self.address.server(node).addr().clone()
    }

    async fn open(&self, info: ConnectionInfo) -> Result<MultiplexedConnection, RedisError> {
        // The connection timeout bounds all of it: name, socket, TLS, login.
        self.client(info)?.get_multiplexed_async_connection_with_config(&self.settings).await
    }

    fn client(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        match &self.certificate {
            None => Client::open(info),
            Some(certificate) => {
                let root_cert = Some(certificate.clone());
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
            }
        }
    }
}
