//! What a scenario is played on: how many daemons, which broker, which Redis, how much traffic.

use std::time::Duration;

use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::kafka::Kafka;
use crate::redis_server::Server;

/// Two that close many times within a run, and one that holds the whole run.
const WINDOWS: &str = r#"[{size="2s",slide="1s",closed_step="1s"},{size="8s",slide="2s",closed_step="2s"},{size="1h",slide="15s",refresh="500ms"}]"#;
pub const LABELS: [&str; 3] = ["2s", "8s", "1h"];
/// Those that have to be closed at the end: label, size and step of closing in milliseconds.
pub const CLOSING: [(&str, i64, i64); 2] = [("2s", 2_000, 1_000), ("8s", 8_000, 2_000)];
pub const LEASE: Duration = Duration::from_secs(2);
/// So long a broker waits for a consumer that has fallen silent.
pub const SESSION: Duration = Duration::from_secs(3);
/// Of each topic.
pub const PARTITIONS: i32 = 4;

#[derive(Clone, Copy, Debug)]
pub struct Stage {
    pub instances: usize,
    /// A broker that may be stopped; else the one that all scenarios share.
    pub own_broker: bool,
    pub redis: RedisKind,
    pub lateness_seconds: u64,
    pub events_per_second: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisKind {
    /// Forgets everything when it ends.
    Forgetful,
    /// Has everything on disk before it answers.
    Durable,
    /// The daemons log in as a user of their own.
    Guarded,
    /// The daemons reach it through a relay.
    Relayed,
}

/// The user of [`RedisKind::Guarded`].
pub const USER: &str = "writer";

impl Stage {
    pub fn redis(&self) -> Server {
        match self.redis {
            RedisKind::Durable => Server::with(&["--appendonly", "yes", "--appendfsync", "always"]),
            RedisKind::Guarded => {
                let server = Server::start();
                server.ask::<String>(&format!("ACL SETUSER {USER} on >secret ~* &* +@all"));
                server
            }
            RedisKind::Forgetful | RedisKind::Relayed => Server::start(),
        }
    }

    /// The command line of a daemon. `redis_port` is that of Redis, or of a relay to it.
    pub fn daemon(
        &self,
        directory: &TempDir,
        name: &str,
        kafka: &Kafka,
        redis_port: u16,
    ) -> Daemon {
        let user = (self.redis == RedisKind::Guarded).then(|| format!("{USER}:secret@"));
        let login = user.unwrap_or_default();
        let url = format!("redis://{login}127.0.0.1:{redis_port}/");
        Daemon::new(directory, name, &kafka.brokers(), &url)
            .set("window", WINDOWS)
            .set("time.lateness", &format!("{}s", self.lateness_seconds))
            .set("redis.lease", &format!("{}s", LEASE.as_secs()))
            .set("redis.closed_keep", "0")
            .set("redis.history_keep", "0")
            .set("kafka.properties.session.timeout.ms", &SESSION.as_millis().to_string())
            .set("kafka.properties.heartbeat.interval.ms", "1000")
            .set("kafka.properties.topic.metadata.refresh.interval.ms", "1000")
    }

    /// The options of a generator that writes until it is told to end.
    pub fn load(&self) -> String {
        let Stage { events_per_second: rate, lateness_seconds: lateness, .. } = self;
        format!(
            "--for 24h --rate {rate} --partitions {PARTITIONS} --lateness {lateness}s --inject usual,reorder=2%:1s"
        )
    }
}
