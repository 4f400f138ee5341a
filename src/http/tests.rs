//! Over real sockets, with bytes written by hand: what is promised is what goes over the wire.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::*;

struct Running {
    address: SocketAddr,
    health: Arc<Health>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

async fn start(limits: Limits) -> Running {
    let server = Server::bind("127.0.0.1:0").await.unwrap().with_limits(limits);
    let (address, health) = (server.address(), Arc::new(Health::default()));
    let metrics = || "nazar_complete 1\n".to_owned();
    let pages = Pages { metrics: Arc::new(metrics), health: health.clone() };
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(server.run(pages, async move { drop(stopped.await) }));
    Running { address, health, stop, server }
}

impl Running {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Sends one request and returns the whole answer.
    fn ask(&self, request_line: &str) -> JoinHandle<String> {
        let request = format!("{request_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let mut stream = self.connect();
        spawn_blocking(move || {
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("the connection ends");
            answer
        })
    }
}

#[tokio::test]
async fn metrics_are_served_as_prometheus_wants_them() {
    let running = start(Limits::default()).await;
    let answer = running.ask("GET /metrics").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(answer.ends_with("\r\n\r\nnazar_complete 1\n"));
    let head = running.ask("HEAD /metrics").await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(running.ask("GET /").await.unwrap().contains(env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn nothing_but_get_and_head() {
    let running = start(Limits::default()).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = running.ask(&format!("{method} /metrics")).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        assert!(answer.to_lowercase().contains("allow: get,head"), "{answer}");
    }
    assert!(running.ask("GET /metrics/x").await.unwrap().starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn readyz_names_what_is_missing_and_livez_does_not_care() {
    let running = start(Limits::default()).await;
    let answer = running.ask("GET /readyz").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    insta::assert_snapshot!(body.trim_end(), @r#"{"ok":false,"checks":[{"name":"serving","ok":true},{"name":"kafka_joined","ok":false,"reason":"has not joined the consumer group yet"},{"name":"topics_present","ok":false,"reason":"has not seen the topics' metadata yet"},{"name":"redis_usable","ok":false,"reason":"has not connected yet"},{"name":"first_flush","ok":false,"reason":"has not published views yet"}]}"#);
    for path in ["/livez", "/healthz"] {
        let answer = running.ask(&format!("GET {path}")).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("no-store"), "{answer}");
    }
    let health = &running.health;
    health.kafka_joined.hold();
    health.topics_present.hold();
    health.redis_usable.hold();
    health.first_flush.hold();
    assert!(running.ask("GET /readyz").await.unwrap().starts_with("HTTP/1.1 200 "));

    let _silent = health.pulse("poll 0", Duration::ZERO);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let answer = running.ask("GET /livez").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("poll 0"), "{answer}");
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_the_key() {
    let first = Server::bind("127.0.0.1:0").await.unwrap();
    let taken = first.address().to_string();
    let error = Server::bind(&taken).await.err().expect("the port is taken");
    let text = format!("{error:#}");
    assert!(text.contains("http.listen") && text.contains(&taken), "{text}");
}

#[tokio::test]
async fn a_header_that_trickles_in_is_cut_off() {
    let connection_max = Duration::from_millis(300);
    let running = start(Limits { connection_max, ..Limits::default() }).await;
    let mut reading = running.connect();
    let mut writing = reading.try_clone().unwrap();
    let begun = Instant::now();
    thread::spawn(move || {
        for byte in b"GET /metrics HTTP/1.1\r\nX-Slow: ".iter().cycle() {
            if writing.write_all(&[*byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    // Either an orderly end or a reset, as bytes may be on their way when it comes.
    let ended = spawn_blocking(move || match reading.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    });
    assert!(ended.await.unwrap(), "still open after {:?}", begun.elapsed());
    assert!(begun.elapsed() >= connection_max);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_slot() {
    let running = start(Limits { connections_max: 2, ..Limits::default() }).await;
    let idle = [running.connect(), running.connect()];
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut third = running.ask("GET /livez");
    assert!(timeout(Duration::from_millis(200), &mut third).await.is_err(), "there is no slot");
    drop(idle);
    assert!(third.await.unwrap().starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn shutdown_ends_soon_even_with_connections_that_do_not() {
    let running = start(Limits::default()).await;
    let mut stuck = running.connect();
    stuck.write_all(b"GET /metr").unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    running.stop.send(()).unwrap();
    timeout(GRACE * 3, running.server).await.expect("the server ends").unwrap();
    assert!(TcpStream::connect(running.address).is_err(), "the port is free again");
}

#[tokio::test]
async fn the_probe_reads_the_answer_of_a_daemon_that_listens_everywhere() {
    use crate::probe::probe;
    let running = start(Limits::default()).await;
    let port = running.address.port();
    let ask = |page: &'static str| {
        spawn_blocking(move || probe(&format!("0.0.0.0:{port}"), page, GRACE * 3))
    };
    let alive = ask("/livez").await.unwrap().unwrap();
    assert!(alive.is_healthy() && alive.body.contains("\"ok\":true"));
    let refused = ask("/readyz").await.unwrap().unwrap();
    assert!(!refused.is_healthy() && refused.body.contains("kafka_joined"), "{refused:?}");
    running.stop.send(()).unwrap();
    running.server.await.unwrap();
    assert!(ask("/livez").await.unwrap().is_err());
}
