//! Which server holds a prefix: the one named, the master behind Sentinels, or that of the
//! prefix's slot in a Cluster.

use std::time::Duration;

use anyhow::{Context, bail};
use redis::{Client, Connection, ConnectionInfo};

use crate::sinks::redis::address::{Address, node};
use crate::sinks::redis::cluster::slots::{Node, SlotMap, slot};

const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A connection to it. Looked for once: a verification takes moments.
pub fn connect(url: &str, prefix: &str) -> anyhow::Result<Connection> {
    let address = Address::parse(url).context("read the Redis URL")?;
    let mut failure = None;
    for place in &address.places {
        match connect_by(place, &address, prefix) {
            Ok(connection) => return Ok(connection),
            Err(error) => drop(failure.get_or_insert(error)),
        }
    }
    Err(failure.context("the Redis URL names no server")?)
}

/// By asking this one.
fn connect_by(
    place: &ConnectionInfo,
    address: &Address,
    prefix: &str,
) -> anyhow::Result<Connection> {
    if let Some(name) = &address.master_name {
        let master = ask_sentinel(place, name)?;
        return open(address.server(&master));
    }
    let mut connection = open(place.clone())?;
    let Some(teller) = node(place.addr()) else { return Ok(connection) };
    let answer: redis::Value = match redis::cmd("CLUSTER").arg("SLOTS").query(&mut connection) {
        Ok(answer) => answer,
        // No Cluster.
        Err(error) if matches!(error.code(), Some("ERR" | "NOPERM")) => return Ok(connection),
        Err(error) => return Err(error.into()),
    };
    let map = SlotMap::parse(answer, &teller)?;
    match map.owner(slot(prefix.as_bytes())) {
        None => bail!("nobody serves the slot of {prefix}"),
        Some(owner) if *owner == teller => Ok(connection),
        Some(owner) => open(address.server(owner)),
    }
}

fn ask_sentinel(place: &ConnectionInfo, name: &str) -> anyhow::Result<Node> {
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    // Without login unless it asks for one, and never with a database.
    let stranger = place.clone().set_redis_settings(Default::default());
    let guest = place.clone().set_redis_settings(place.redis_settings().clone().set_db(0));
    let answer = match question.query(&mut open(stranger)?) {
        Err(error) if error.code() == Some("NOAUTH") => question.query(&mut open(guest)?),
        answer => answer,
    };
    let found: Option<(String, u16)> = answer?;
    let (host, port) = found.with_context(|| format!("Sentinels know no master {name}"))?;
    Ok(Node { host, port })
}

fn open(server: ConnectionInfo) -> anyhow::Result<Connection> {
    Ok(Client::open(server)?.get_connection_with_timeout(CONNECT_MAX)?)
}
