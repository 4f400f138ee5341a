//! A private redis-server on a free port, killed by its own handle.

#![allow(dead_code)]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Connection, FromRedisValue};
use tempfile::TempDir;

pub struct Server {
    pub port: u16,
    dir: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Server {
    pub fn start() -> Server {
        Server::with(&[])
    }

    pub fn with(arguments: &[&str]) -> Server {
        let mut server = Server::stopped(arguments);
        server.run();
        server
    }

    /// A place for a server that is not running yet.
    pub fn stopped(arguments: &[&str]) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = arguments.iter().map(|one| one.to_string()).collect();
        Server { port, dir: TempDir::new().unwrap(), arguments, child: None }
    }

    /// Starts it, with the data set that was saved in its directory, if any.
    pub fn run(&mut self) {
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""])
            .args(["--dir", self.dir.path().to_str().unwrap()])
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.is_up() {
            assert!(Instant::now() < deadline, "redis-server did not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM: an append-only file is complete afterwards.
    pub fn stop(&mut self) {
        if self.child.is_some() {
            self.signal("-TERM");
        }
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(
            Command::new("sh").args(["-c", "kill $0 $1", signal, &pid]).status().unwrap().success()
        );
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    fn is_up(&self) -> bool {
        let connection = redis::Client::open(self.url()).unwrap().get_connection();
        connection.is_ok_and(|mut connection| redis::cmd("PING").exec(&mut connection).is_ok())
    }

    /// A field of `INFO`.
    pub fn info(&self, field: &str) -> String {
        let info: String = self.ask("INFO everything");
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("INFO has no {field}")).trim().to_owned()
    }

    /// Where its data set lies.
    pub fn directory(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Also where the server refuses writes, and a PING with them.
    pub fn connect(&self) -> Connection {
        let client = redis::Client::open(self.url()).unwrap();
        client.get_connection().expect("redis-server is up")
    }

    /// One command, written as on the command line.
    pub fn ask<T: FromRedisValue>(&self, line: &str) -> T {
        ask(&mut self.connect(), line)
    }
}

pub fn ask<T: FromRedisValue>(connection: &mut Connection, line: &str) -> T {
    let mut words = line.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    command.query(connection).unwrap_or_else(|error| panic!("{line}: {error}"))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
