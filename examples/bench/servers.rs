//! A broker and a Redis of one's own, on free ports.
//!
//! They end with their handle, or with this process, however that ends: a keeper process holds the
//! other end of a pipe, and cleans up when the pipe closes.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use redis::Connection;

use crate::measured::processor_seconds;

const REDIS_START_MAX: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Servers {
    kafka_directory: PathBuf,
    kafka_port: u16,
    redis_pid: u32,
    redis_port: u16,
    keeper: Child,
}

impl Servers {
    /// With `keep` the broker's data stay in `directory` for the next time.
    pub fn start(directory: &Path, keep: bool) -> anyhow::Result<Self> {
        let (kafka_directory, port_file) = (directory.join("kafka"), directory.join("kafka-port"));
        // The advertised port is part of a broker's configuration: with data kept, it stays.
        let kept = std::fs::read_to_string(&port_file).ok().and_then(|text| text.parse().ok());
        let kafka_port = kept.map_or_else(two_free_ports, Ok)?;
        let redis_port = free_port()?;
        let mut redis = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &redis_port.to_string(), "--save", ""])
            .args(["--lazyfree-lazy-server-del", "yes", "--dir"])
            .arg(directory)
            .stdout(Stdio::null())
            .spawn()
            .context("start redis-server")?;
        let redis_pid = redis.id();
        let keeper = match keeper(&kafka_directory, redis_pid, keep) {
            Ok(keeper) => keeper,
            Err(error) => {
                let _ = redis.kill();
                return Err(error).context("start a keeper");
            }
        };
        // From here on both end with the handle; Redis is waited for, so that its number is its own.
        std::thread::spawn(move || redis.wait());
        let servers = Self { kafka_directory, kafka_port, redis_pid, redis_port, keeper };
        let started = Command::new(script())
            .args(["start", "--port", &kafka_port.to_string()])
            .arg("--dir")
            .arg(&servers.kafka_directory)
            .stdout(Stdio::null())
            .status()
            .context("run scripts/kafka")?;
        ensure!(started.success(), "the broker could not be started");
        std::fs::write(port_file, kafka_port.to_string())?;
        let deadline = Instant::now() + REDIS_START_MAX;
        while servers.redis().is_err() {
            ensure!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(servers)
    }

    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.kafka_port)
    }

    pub fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.redis_port)
    }

    pub fn redis(&self) -> anyhow::Result<Connection> {
        let client = redis::Client::open(self.redis_url())?;
        let mut connection = client.get_connection()?;
        redis::cmd("PING").exec(&mut connection)?;
        Ok(connection)
    }

    /// What the broker and Redis have used of processors so far, in seconds; where the system tells.
    pub fn spent(&self) -> (Option<f64>, Option<f64>) {
        let broker = std::fs::read_to_string(self.kafka_directory.join("broker-1/pid")).ok();
        let broker = broker.and_then(|pid| processor_seconds(pid.trim().parse().ok()?));
        (broker, processor_seconds(self.redis_pid))
    }

    /// The next run must not wait for the keys of the last one.
    pub fn flush(&self) -> anyhow::Result<()> {
        redis::cmd("FLUSHALL").arg("SYNC").exec(&mut self.redis()?).context("empty Redis")
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Waits for the end of its input, then ends both; the broker's data stay if they are to be kept. It
/// has a process group of its own, so that ctrl-C does not end it before its work is done.
fn keeper(kafka_directory: &Path, redis_pid: u32, keep: bool) -> std::io::Result<Child> {
    let work = "cat >/dev/null; kill -KILL \"$1\"; exec \"$0\" \"$2\" --dir \"$3\"";
    Command::new("sh")
        .args(["-c", work])
        .arg(script())
        .args([redis_pid.to_string().as_str(), if keep { "stop" } else { "clean" }])
        .arg(kafka_directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka")
}

pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The broker takes the one after the given one as well.
fn two_free_ports() -> anyhow::Result<u16> {
    for _ in 0..100 {
        let port = free_port()?;
        if port.checked_add(1).is_some_and(|next| TcpListener::bind(("127.0.0.1", next)).is_ok()) {
            return Ok(port);
        }
    }
    anyhow::bail!("there are no two free ports side by side")
}
