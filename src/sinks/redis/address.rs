//! What `redis.url` may say: one server, several nodes of a Cluster, or Sentinels and a name.
//!
//! ```text
//!  redis://[user:password@]host:6379[/db]               a server, or any node of a Cluster
//!  redis://[user:password@]a:6379,b:6379,c:6379         nodes of a Cluster: the first that answers tells the rest
//!  redis+sentinel://[user:password@]s1:26379,s2/name[/db]  the master that Sentinels know as `name`
//!  unix:///path, redis+unix:///path                     a socket
//! ```
//! With `rediss` in the place of `redis` every connection is TLS. The redis crate reads one
//! address; this takes a list apart and leaves the rest to it.

use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError};

use super::cluster::slots::Node;

const SENTINEL_SCHEMES: [(&str, &str); 2] =
    [("redis+sentinel", "redis"), ("rediss+sentinel", "rediss")];

/// What a place looks like to others, unless it is a socket.
pub fn node(addr: &ConnectionAddr) -> Option<Node> {
    match addr {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some(Node { host: host.clone(), port: *port })
        }
        _ => None,
    }
}

/// Where Sentinels listen unless told otherwise.
const SENTINEL_PORT: u16 = 26379;

/// A parsed `redis.url`.
#[derive(Clone, Debug)]
pub struct Address {
    /// Servers, or Sentinels; never empty. All with the same user, password and database, which
    /// are those of the servers.
    pub places: Vec<ConnectionInfo>,
    /// The name of the master to ask Sentinels for; `None`: the places are servers.
    pub master_name: Option<String>,
}

impl Address {
    /// # Errors
    /// The text is no such URL. Messages do not quote it: it may hold a password.
    pub fn parse(url: &str) -> Result<Address, RedisError> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid("no scheme"))?;
        let sentinel = SENTINEL_SCHEMES.iter().find(|(sentinel, _)| *sentinel == scheme);
        let is_socket = scheme.ends_with("unix");
        if is_socket || (sentinel.is_none() && !authority(rest).0.contains(',')) {
            return Ok(Address { places: vec![url.into_connection_info()?], master_name: None });
        }
        let (authority, rest) = authority(rest);
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (format!("{login}@"), hosts),
            None => (String::new(), authority),
        };
        let (scheme, rest, master_name) = match sentinel {
            None => (scheme, rest.to_owned(), None),
            Some((_, scheme)) => {
                let (name, rest) = split_name(rest)?;
                (*scheme, rest, Some(name))
            }
        };
        let places = hosts
            .split(',')
            .map(|host| {
                let host = host.trim();
                if host.is_empty() {
                    return Err(invalid("an empty host in the list"));
                }
                let port = match master_name {
                    Some(_) if !has_port(host) => format!(":{SENTINEL_PORT}"),
                    _ => String::new(),
                };
                format!("{scheme}://{login}{host}{port}{rest}").into_connection_info()
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Address { places, master_name })
    }

    /// A server that another one has named, with the login and the TLS of all.
    pub fn server(&self, node: &Node) -> ConnectionInfo {
        let pattern = self.places.first().expect("an address has a place");
        let (host, port) = (node.host.clone(), node.port);
        let addr = match pattern.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: *insecure,
                tls_params: tls_params.clone(),
            },
            _ => ConnectionAddr::Tcp(host, port),
        };
        pattern.clone().set_addr(addr)
    }

    /// For logs, without credentials.
    pub fn describe(&self) -> String {
        let places: Vec<String> =
            self.places.iter().map(|place| place.addr().to_string()).collect();
        match &self.master_name {
            Some(name) => format!("{name} at {}", places.join(",")),
            None => places.join(","),
        }
    }
}

/// `a:1,b:2` and what follows it.
fn authority(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

/// The name of the master, which is the first part of the path, and what is left without it.
fn split_name(rest: &str) -> Result<(String, String), RedisError> {
    let path = rest.strip_prefix('/').unwrap_or_default();
    let (name, rest) = path.split_at(path.find(['/', '?', '#']).unwrap_or(path.len()));
    if name.is_empty() {
        return Err(invalid("no name of a master after the Sentinels, as in /mymaster"));
    }
    Ok((name.to_owned(), rest.to_owned()))
}

fn has_port(host: &str) -> bool {
    // Behind the bracket, if any: `[::1]` has colons and no port.
    host.rsplit(']').next().is_some_and(|end| end.contains(':'))
}

fn invalid(what: &'static str) -> RedisError {
    (ErrorKind::InvalidClientConfig, what).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses, user, password, database and name.
    fn read(url: &str) -> String {
        let address = match Address::parse(url) {
            Ok(address) => address,
            Err(error) => return format!("error: {error}"),
        };
        let settings = address.places[0].redis_settings();
        let says = |text: Option<&str>| text.unwrap_or("-").to_owned();
        let same = |place: &ConnectionInfo| {
            place.redis_settings().password() == settings.password()
                && place.redis_settings().db() == settings.db()
        };
        assert!(address.places.iter().all(same), "{url}");
        let (user, password) = (says(settings.username()), says(settings.password()));
        format!("{} {user} {password} {}", address.describe(), settings.db())
    }

    #[test]
    fn every_form_is_read() {
        for (url, expected) in [
            ("redis://h", "h:6379 - - 0"),
            ("redis://u:p%40@h:1/3", "h:1 u p@ 3"),
            ("redis://a:1,b,c:3", "a:1,b:6379,c:3 - - 0"),
            ("rediss://u:a%2Cb@a:1,b:2/", "a:1,b:2 u a,b 0"),
            ("redis://[::1]:7,[::2]", "::1:7,::2:6379 - - 0"),
            ("redis+sentinel://s:1/mymaster", "mymaster at s:1 - - 0"),
            ("redis+sentinel://:p@s,[::1],t:9/m/2", "m at s:26379,::1:26379,t:9 - p 2"),
            ("rediss+sentinel://s/m?protocol=resp3", "m at s:26379 - - 0"),
            ("unix:///run/r,s.sock", "/run/r,s.sock - - 0"),
        ] {
            assert_eq!(read(url), expected, "{url}");
        }
    }

    #[test]
    fn others_are_refused_without_quoting_them() {
        for url in
            ["h:6379", "redis://a,,b", "redis://secret@", "redis+sentinel://s", "redis://a,b/x"]
        {
            let answer = read(url);
            assert!(answer.starts_with("error") && !answer.contains("secret"), "{url}: {answer}");
        }
    }
}
