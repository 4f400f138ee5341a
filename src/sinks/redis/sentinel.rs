//! Asking Sentinels who the master is, each time a connection is made.
//!
//! A Sentinel may be behind the others, and the server it names may have just been replaced, so
//! the server is asked for its role as well. Nothing is subscribed to: a master that went away
//! shows as a broken connection or as READONLY, and Sentinels close the connections of one
//! that they demote; then the question is asked again.

use redis::aio::MultiplexedConnection;
use redis::{ConnectionAddr, ConnectionInfo, RedisError, Value};
use tracing::debug;

use super::cluster::slots::Node;
use super::dial::Dialer;

/// A connection to the master of that name, and where it is. The Sentinel that answered comes
/// first from then on.
pub async fn master(
    dialer: &Dialer,
    sentinels: &mut [ConnectionInfo],
    name: &str,
) -> Result<(Node, MultiplexedConnection), RedisError> {
    let mut last = unavailable("no Sentinel answers".to_owned());
    for index in 0..sentinels.len() {
        let sentinel = sentinels[index].addr();
        match ask(dialer, sentinel, name).await {
            Ok(Some(node)) => {
                let connection = connect(dialer, &node).await?;
                sentinels[..=index].rotate_right(1);
                return Ok((node, connection));
            }
            Ok(None) => last = unavailable(format!("Sentinels know no master `{name}`")),
            Err(error) => {
                debug!(%sentinel, %error, "ask a Sentinel");
                last = error;
            }
        }
    }
    Err(last)
}

async fn connect(dialer: &Dialer, node: &Node) -> Result<MultiplexedConnection, RedisError> {
    let mut connection = dialer.dial(&dialer.addr(node)).await?;
    // Of the commands that tell the role, the one that every user may run.
    let hello: Result<Value, _> = redis::cmd("HELLO").query_async(&mut connection).await;
    match hello.as_ref().ok().and_then(role) {
        // Where nobody tells, the first write does.
        None | Some("master") => Ok(connection),
        Some(role) => Err(unavailable(format!("{node} is a {role}, not the master (yet)"))),
    }
}

/// `None`: the Sentinel does not know the name.
async fn ask(
    dialer: &Dialer,
    sentinel: &ConnectionAddr,
    name: &str,
) -> Result<Option<Node>, RedisError> {
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    // User and password are those of the servers; a Sentinel gets them only if it wants any.
    let mut connection = dialer.dial_guide(sentinel, false).await?;
    let answer = match question.query_async(&mut connection).await {
        Err(error) if error.code() == Some("NOAUTH") => {
            let mut connection = dialer.dial_guide(sentinel, true).await?;
            question.query_async(&mut connection).await
        }
        answer => answer,
    };
    let found: Option<(String, u16)> = answer?;
    Ok(found.map(|(host, port)| Node { host, port }))
}

/// From names and values in turn, or from a map.
fn role(hello: &Value) -> Option<&str> {
    let text = |value: &'_ Value| match value {
        Value::BulkString(text) => std::str::from_utf8(text).ok().map(str::to_owned),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    };
    let value = match hello {
        Value::Array(pairs) => pairs
            .chunks_exact(2)
            .find(|pair| text(&pair[0]).as_deref() == Some("role"))
            .map(|pair| &pair[1]),
        Value::Map(pairs) => pairs
            .iter()
            .find(|(name, _)| text(name).as_deref() == Some("role"))
            .map(|(_, value)| value),
        _ => None,
    };
    match value? {
        Value::BulkString(text) => std::str::from_utf8(text).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// Waiting helps: the failover goes on, or the Sentinel comes back.
fn unavailable(detail: String) -> RedisError {
    redis::make_extension_error("MASTERDOWN".to_owned(), Some(detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_found() {
        let text = |text: &str| Value::BulkString(text.into());
        let flat = [text("mode"), text("role"), text("role"), text("replica")];
        assert_eq!(role(&Value::Array(flat.to_vec())), Some("replica"));
        let pairs = vec![(Value::SimpleString("role".into()), text("master"))];
        assert_eq!(role(&Value::Map(pairs)), Some("master"));
        assert_eq!(role(&Value::Array(vec![text("role")])), None);
        assert_eq!(role(&Value::Nil), None);
    }
}
