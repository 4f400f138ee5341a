//! The daemon as a child process, watched as an operator would: its pages, its log, its exit.
//!
//! Include it with `#[path = "../common/daemon.rs"] mod daemon;`.

#![allow(dead_code)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for anything; the machine may be busy and the build is not optimised.
pub const WAIT: Duration = Duration::from_secs(60);

/// A prepared command line of `nazar run`.
#[derive(Clone)]
pub struct Daemon {
    arguments: Vec<String>,
    directory: PathBuf,
    port: u16,
}

impl Daemon {
    /// Reads and writes under `name`, from the beginning of the log.
    pub fn new(directory: &tempfile::TempDir, name: &str, brokers: &str, redis_url: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let daemon = Daemon { arguments: Vec::new(), directory: directory.path().into(), port };
        daemon
            .set("kafka.brokers", brokers)
            .set("kafka.group", name)
            .set("kafka.start", "earliest")
            .set("kafka.dead_letter_topic", &format!("{name}.dead"))
            .set("topics.click", &format!("{name}.click"))
            .set("topics.wishlist", &format!("{name}.wishlist"))
            .set("topics.purchase", &format!("{name}.purchase"))
            .set("redis.url", redis_url)
            .set("redis.prefix", name)
            .set("redis.flush", "250ms")
            .set("http.listen", &format!("127.0.0.1:{port}"))
    }

    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.arguments.extend(["--set".into(), format!("{key}={value}")]);
        self
    }

    /// Reads a configuration file below everything that is set.
    pub fn file(mut self, path: &Path) -> Self {
        self.arguments.extend(["--config".into(), path.display().to_string()]);
        self
    }

    /// One topic of clicks, nothing else.
    pub fn clicks_only(self) -> Self {
        self.set("topics.wishlist", "").set("topics.purchase", "")
    }

    /// Runs to its own end.
    pub fn bounded(&self) -> Output {
        self.command().arg("--bounded").output().unwrap()
    }

    /// Runs a start that is expected to end by itself.
    pub fn refused(&self) -> Output {
        self.command().output().unwrap()
    }

    /// Another command with the same configuration, to its end.
    pub fn other(&self, command: &str, words: &[&str]) -> Output {
        self.nazar(command).args(words).output().unwrap()
    }

    /// The same in the background.
    pub fn start_other(&self, command: &str, words: &[&str]) -> Child {
        let mut command = self.nazar(command);
        command.args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs until it is told to end.
    pub fn start(&self) -> Running {
        let log = self.directory.join(format!("log-{}", self.port));
        let child = self
            .command()
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(&log).unwrap())
            .spawn()
            .unwrap();
        Running { child, log, port: self.port }
    }

    fn command(&self) -> Command {
        self.nazar("run")
    }

    fn nazar(&self, said: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nazar"));
        command.arg(said).args(&self.arguments).current_dir(&self.directory);
        // What the machine's own environment says must not reach the test.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("NAZAR_")) {
            command.env_remove(name);
        }
        command
    }
}

/// A daemon that runs; killed with its handle.
pub struct Running {
    child: Child,
    log: PathBuf,
    port: u16,
}

impl Running {
    /// Everything it has said so far, over all starts of this [`Daemon`].
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Status and body of a page; `None` while nobody listens.
    pub fn page(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: nazar\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// The address of a page.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn status(&self, path: &str) -> u16 {
        self.page(path).map_or(0, |(status, _)| status)
    }

    /// The reason a check of `/readyz` gives; empty while it is fulfilled.
    pub fn not_ready_because(&self, check: &str) -> String {
        let Some((_, body)) = self.page("/readyz") else { return "no page".into() };
        let body: Value = serde_json::from_str(&body).unwrap();
        let checks = body["checks"].as_array().unwrap();
        let check = checks.iter().find(|row| row["name"] == check).unwrap();
        check["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// Sum of all series of a metric whose labels contain `labels`; `None` without any.
    pub fn metric(&self, name: &str, labels: &str) -> Option<f64> {
        let (_, body) = self.page("/metrics")?;
        sum_of(&body, name, labels)
    }

    pub fn until(&self, what: &str, holds: impl Fn(&Running) -> bool) {
        let deadline = Instant::now() + WAIT;
        while !holds(self) {
            if Instant::now() >= deadline {
                let page = self.page("/readyz");
                panic!("waited too long until {what}\n{page:?}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn until_ready(&self) {
        self.until("it is ready", |daemon| daemon.status("/readyz") == 200);
    }

    pub fn is_alive(&mut self) -> bool {
        self.ended().is_none()
    }

    /// The exit code of a daemon that has ended; negative is the signal that ended it.
    pub fn ended(&mut self) -> Option<i32> {
        let status = self.child.try_wait().unwrap()?;
        Some(status.code().unwrap_or_else(|| -status.signal().unwrap_or(0)))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash does, at once.
    #[allow(dead_code)]
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("sh").args(["-c", "kill $0 $1", signal, &pid]).status().unwrap().success()
        );
    }

    /// SIGTERM, then its exit code and how long the end took.
    pub fn terminate(&mut self, limit: Duration) -> (i32, Duration) {
        self.signal("-TERM");
        self.ended_within(limit)
    }

    /// The exit code of a daemon that ends by itself.
    pub fn end(&mut self) -> i32 {
        self.ended_within(WAIT).0
    }

    fn ended_within(&mut self, limit: Duration) -> (i32, Duration) {
        let asked = Instant::now();
        loop {
            if let Some(code) = self.ended() {
                return (code, asked.elapsed());
            }
            assert!(asked.elapsed() < limit, "still there after {limit:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn sum_of(page: &str, name: &str, labels: &str) -> Option<f64> {
    let samples: Vec<f64> = page
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter_map(|rest| rest.rsplit_once(' '))
        .filter(|(series, _)| series.contains(labels))
        .map(|(_, value)| value.parse().unwrap())
        .collect();
    (!samples.is_empty()).then(|| samples.iter().sum())
}
