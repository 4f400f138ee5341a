//! `nazar probe`: one HTTP request to a nazar on this machine.
//!
//! Container images without a shell have no curl; this is all a health check needs.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// Health pages are a few lines; whatever is longer is not one of ours.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// What the page answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn is_healthy(&self) -> bool {
        self.status == 200
    }
}

/// Asks for `page` at the address that `http.listen` names, within `timeout` in all.
pub fn probe(listen: &str, page: &str, timeout: Duration) -> anyhow::Result<Answer> {
    ensure!(!listen.is_empty(), "nothing to ask: http.listen is \"\"");
    ensure!(is_path(page), "--page must be a path such as /livez");
    let listen: SocketAddr = listen.parse().context("read http.listen")?;
    let address = reachable(listen);
    let deadline = Instant::now() + timeout;
    let mut stream = TcpStream::connect_timeout(&address, timeout.max(Duration::from_millis(1)))
        .with_context(|| format!("connect to {address}"))?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let request = format!("GET {page} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).with_context(|| format!("ask {address}"))?;
    let answer = read_until(&mut stream, deadline).with_context(|| format!("hear {address}"))?;
    parse(&answer).with_context(|| format!("understand {address}"))
}

/// A process that listens on every address is asked on the loopback one.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn is_path(page: &str) -> bool {
    page.starts_with('/') && page.bytes().all(|byte| byte.is_ascii_graphic())
}

fn left(deadline: Instant) -> anyhow::Result<Duration> {
    match deadline.checked_duration_since(Instant::now()) {
        Some(left) if !left.is_zero() => Ok(left),
        _ => bail!("no answer in time"),
    }
}

/// Reads to the end. A peer that sends a byte now and then must not hold us beyond the deadline.
fn read_until(stream: &mut TcpStream, deadline: Instant) -> anyhow::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while (answer.len() as u64) < ANSWER_BYTES_MAX {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut chunk)? {
            0 => break,
            count => answer.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(answer)
}

/// `HTTP/1.1 200 OK`, headers, an empty line, the body.
fn parse(answer: &[u8]) -> anyhow::Result<Answer> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n").context("not an HTTP answer")?;
    let mut words = head.split_ascii_whitespace();
    ensure!(words.next().is_some_and(|word| word.starts_with("HTTP/1.")), "not an HTTP answer");
    let status = words.next().and_then(|word| word.parse().ok()).context("not an HTTP answer")?;
    Ok(Answer { status, body: body.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Answers one request with `answer` and returns the request's first line.
    fn serve(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut request = [0; 512];
            let count = stream.read(&mut request).expect("a request");
            stream.write_all(answer.as_bytes()).expect("a reader");
            let request = String::from_utf8_lossy(&request[..count]).into_owned();
            request.lines().next().unwrap_or_default().to_owned()
        });
        (format!("0.0.0.0:{port}"), server)
    }

    const TIMEOUT: Duration = Duration::from_secs(5);

    #[test]
    fn the_status_decides() {
        let (listen, server) = serve("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
        let answer = probe(&listen, "/livez", TIMEOUT).expect("an answer");
        assert_eq!(server.join().expect("no panic"), "GET /livez HTTP/1.1");
        assert_eq!(answer, Answer { status: 200, body: "ok".to_owned() });
        assert!(answer.is_healthy());

        let (listen, _server) = serve("HTTP/1.1 503 Service Unavailable\r\n\r\nredis: away");
        let answer = probe(&listen, "/readyz", TIMEOUT).expect("an answer");
        assert_eq!((answer.is_healthy(), answer.body.as_str()), (false, "redis: away"));
    }

    #[test]
    fn anything_else_is_an_error_that_says_why() {
        let error = |listen: &str, page: &str| {
            format!("{:#}", probe(listen, page, TIMEOUT).expect_err("no health"))
        };
        assert_eq!(error("", "/livez"), "nothing to ask: http.listen is \"\"");
        assert!(error("127.0.0.1:1", "/a b\r\nX: y").contains("--page must be a path"));
        let (listen, _server) = serve("SSH-2.0-something\r\n\r\n");
        assert!(error(&listen, "/livez").ends_with("not an HTTP answer"));
        let closed = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
        assert!(error(&closed.expect("a port").to_string(), "/livez").starts_with("connect to"));
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listen = listener.local_addr().expect("bound").to_string();
        let begin = Instant::now();
        assert!(probe(&listen, "/livez", Duration::from_millis(100)).is_err());
        assert!(begin.elapsed() < TIMEOUT);
    }
}
