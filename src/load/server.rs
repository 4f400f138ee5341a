//! Which server holds a prefix: the one that is named, the master behind Sentinels, or of a
//! Cluster the master of the prefix's slot, in which all compared keys lie.
//!
//! Looked for once, as a verification takes moments, and without the daemon's own code.

use std::time::Duration;

use anyhow::{Context, bail};
use redis::{Client, Connection, ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

const CONNECT_MAX: Duration = Duration::from_secs(10);

/// `url`: one server, or several with commas of which any will do, or Sentinels and a name.
pub fn connect(url: &str, prefix: &str) -> anyhow::Result<Connection> {
    let (places, master_name) = places(url).context("read the Redis URL")?;
    let mut failure = None;
    for place in places {
        let connected = match &master_name {
            Some(name) => behind_sentinel(&place, name),
            None => of_cluster(&place, prefix),
        };
        match connected {
            Ok(connection) => return Ok(connection),
            Err(error) => drop(failure.get_or_insert(error)),
        }
    }
    Err(failure.context("the Redis URL names no server")?)
}

/// One URL for each host, and the name of the master if they are Sentinels.
fn places(url: &str) -> anyhow::Result<(Vec<ConnectionInfo>, Option<String>)> {
    let (scheme, rest) = url.split_once("://").context("it has no scheme")?;
    if scheme.ends_with("unix") {
        return Ok((vec![url.into_connection_info()?], None));
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let hosts_at = authority.rfind('@').map_or(0, |at| at + 1);
    let (login, hosts) = authority.split_at(hosts_at);
    let (scheme, name, path) = match scheme.strip_suffix("+sentinel") {
        None => (scheme, None, path.to_owned()),
        Some(scheme) => {
            let path = path.strip_prefix('/').context("it names no master")?;
            let (name, path) = path.split_at(path.find(['/', '?', '#']).unwrap_or(path.len()));
            (scheme, Some(name.to_owned()), path.to_owned())
        }
    };
    let place = |host: &str| Ok(format!("{scheme}://{login}{host}{path}").into_connection_info()?);
    Ok((hosts.split(',').map(place).collect::<anyhow::Result<_>>()?, name))
}

/// A server, or the node that it names when asked for the prefix.
fn of_cluster(place: &ConnectionInfo, prefix: &str) -> anyhow::Result<Connection> {
    let mut connection = open(place.clone())?;
    let asked = redis::cmd("EXISTS").arg(format!("{{{prefix}}}:meta")).exec(&mut connection);
    match asked {
        Err(error) => match error.redirect_node() {
            Some((node, _)) => {
                let (host, port) = node.rsplit_once(':').context("a redirection without port")?;
                open(at(place, host, port.parse()?))
            }
            None => Err(error.into()),
        },
        Ok(()) => Ok(connection),
    }
}

fn behind_sentinel(sentinel: &ConnectionInfo, name: &str) -> anyhow::Result<Connection> {
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    // Without login unless it asks for one, and never with a database.
    let stranger = sentinel.clone().set_redis_settings(Default::default());
    let guest = sentinel.clone().set_redis_settings(sentinel.redis_settings().clone().set_db(0));
    let answer = match question.query(&mut open(stranger)?) {
        Err(error) if error.code() == Some("NOAUTH") => question.query(&mut open(guest)?),
        answer => answer,
    };
    match answer? {
        Some((host, port)) => {
            let host: String = host;
            open(at(sentinel, &host, port))
        }
        None => bail!("Sentinels know no master {name}"),
    }
}

/// Another server with the same login and TLS. An empty host is the same one.
fn at(place: &ConnectionInfo, host: &str, port: u16) -> ConnectionInfo {
    let other = |same: &str| if host.is_empty() { same.to_owned() } else { host.to_owned() };
    let addr = match place.addr() {
        ConnectionAddr::TcpTls { host, insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host: other(host),
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        ConnectionAddr::Tcp(host, _) => ConnectionAddr::Tcp(other(host), port),
        socket => socket.clone(),
    };
    place.clone().set_addr(addr)
}

fn open(server: ConnectionInfo) -> anyhow::Result<Connection> {
    Ok(Client::open(server)?.get_connection_with_timeout(CONNECT_MAX)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_and_sentinels_are_read() {
        let read = |url: &str| {
            let (places, name) = places(url).unwrap();
            let places: Vec<String> = places.iter().map(|place| place.addr().to_string()).collect();
            format!("{} {}", places.join(","), name.unwrap_or_default())
        };
        assert_eq!(read("redis://u:p@a:1,b:2/"), "a:1,b:2 ");
        assert_eq!(read("redis+sentinel://:p@a:1,b:2/shop/3"), "a:1,b:2 shop");
        assert_eq!(read("unix:///run/a,b.sock"), "/run/a,b.sock ");
        assert!(places("redis+sentinel://a:1").is_err());
    }
}
