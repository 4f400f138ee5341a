//! Asks a running daemon for its health: what a container's health check runs, as its image has
//! no curl.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, bail};

/// Longer than any answer of ours takes, shorter than the patience of orchestrators.
const TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Succeeds with the answer's body if `path` at the address that `http.listen` names says 200.
pub fn probe(listen: &str, path: &str) -> anyhow::Result<String> {
    let bound = listen
        .to_socket_addrs()
        .with_context(|| format!("resolve http.listen = \"{listen}\""))?
        .next()
        .with_context(|| format!("http.listen = \"{listen}\" names no address"))?;
    let address = reachable(bound);
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)
        .with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .context("send the request")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).context("read the answer")?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or("no status");
    if status != "200" {
        bail!("{path} says {status}: {body}");
    }
    Ok(body.to_owned())
}

/// A daemon that listens on every address is asked on loopback.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}
