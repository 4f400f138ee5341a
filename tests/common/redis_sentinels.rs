//! A master, a replica, and Sentinels that watch over them.
//!
//! Include it beside `redis`: `#[path = "../common/redis_sentinels.rs"] mod sentinels;`, with
//! that one named `redis_server`.

#![allow(dead_code)]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::redis_server::{Server, ask};

pub const NAME: &str = "shop";

/// A failover of Sentinel takes a second or two here, more on a busy machine.
const WAIT: Duration = Duration::from_secs(60);

pub struct Watched {
    /// The first is the master at the start.
    pub servers: Vec<Server>,
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    port: u16,
    child: Child,
    _directory: TempDir,
}

impl Watched {
    /// A replica, and three Sentinels of which two have to agree.
    pub fn start() -> Watched {
        Watched::with(&[])
    }

    /// The same, with arguments for master and replica.
    pub fn with(arguments: &[&str]) -> Watched {
        let master = Server::with(arguments);
        let port = master.port.to_string();
        let replica = Server::with(&[&["--replicaof", "127.0.0.1", &port], arguments].concat());
        let mut watched = Watched { servers: vec![master, replica], sentinels: Vec::new() };
        watched.until("the replica follows", |watched| {
            watched.servers[1].info("master_link_status") == "up"
        });
        for _ in 0..3 {
            let sentinel = Sentinel::start(watched.servers[0].port);
            watched.sentinels.push(sentinel);
        }
        watched.until("the Sentinels know each other and the replica", |watched| {
            watched.sentinels.iter().all(|sentinel| {
                let known = sentinel.master();
                known.contains("slaves=1,sentinels=3") && known.contains("status=ok")
            })
        });
        watched
    }

    /// The address by way of the Sentinels.
    pub fn url(&self) -> String {
        let places: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis+sentinel://{}/{NAME}", places.join(","))
    }

    /// The server that takes writes, as it says itself.
    pub fn master(&self) -> usize {
        let master = (0..self.servers.len()).find(|&index| self.role(index) == "master");
        master.expect("one is master")
    }

    /// `master` or `slave`; nothing while it does not answer, as when Sentinels close its
    /// connections to demote it.
    pub fn role(&self, index: usize) -> String {
        let server = &self.servers[index];
        let ask = || -> redis::RedisResult<String> {
            let mut connection = redis::Client::open(server.url())?.get_connection()?;
            redis::cmd("INFO").arg("replication").query(&mut connection)
        };
        let info = if server.is_running() { ask().unwrap_or_default() } else { String::new() };
        let role = info.lines().find_map(|line| line.strip_prefix("role:"));
        role.unwrap_or_default().to_owned()
    }

    /// Waits until another one than this is master, as all Sentinels see it.
    pub fn promoted(&self, before: usize) -> usize {
        let other = self.servers.len() - 1 - before;
        let port = format!(":{}", self.servers[other].port);
        self.until("the Sentinels have promoted the replica", |watched| {
            watched.sentinels.iter().all(|sentinel| sentinel.master().contains(&port))
                && watched.role(other) == "master"
        });
        other
    }

    pub fn kill_sentinel(&mut self) {
        drop(self.sentinels.remove(0));
    }

    pub fn until(&self, what: &str, is_so: impl Fn(&Watched) -> bool) {
        let deadline = Instant::now() + WAIT;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "waited in vain until {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Sentinel {
    /// It rewrites its configuration, which therefore lies in a place of its own.
    fn start(master: u16) -> Sentinel {
        let directory = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = directory.path().join("sentinel.conf");
        let lines = [
            format!("port {port}"),
            "bind 127.0.0.1".to_owned(),
            format!("dir {}", directory.path().display()),
            format!("sentinel monitor {NAME} 127.0.0.1 {master} 2"),
            format!("sentinel down-after-milliseconds {NAME} 1000"),
            format!("sentinel failover-timeout {NAME} 10000"),
        ];
        std::fs::write(&file, lines.join("\n")).unwrap();
        let child = Command::new("redis-server")
            .arg(&file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let sentinel = Sentinel { port, child, _directory: directory };
        let deadline = Instant::now() + WAIT;
        while sentinel.connect().is_none() {
            assert!(Instant::now() < deadline, "a Sentinel did not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        sentinel
    }

    fn connect(&self) -> Option<redis::Connection> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        client.get_connection().ok()
    }

    /// Its line about the master.
    fn master(&self) -> String {
        let mut connection = self.connect().expect("a Sentinel is up");
        let info: String = ask(&mut connection, "INFO sentinel");
        info.lines().find(|line| line.starts_with("master0:")).unwrap_or_default().to_owned()
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
