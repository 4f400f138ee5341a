//! Where and of what something was measured: figures mean little without.

use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use nazar::load::environment::Environment;
use serde::{Deserialize, Serialize};

use crate::programs::Programs;

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Circumstances {
    pub date: String,
    /// With `+` if there were changes beside it.
    pub commit: String,
    pub cpu: String,
    pub cores: u64,
    pub memory_bytes: u64,
    pub kernel: String,
    /// With the version of librdkafka.
    pub nazar: String,
    pub kafka: String,
    pub redis: String,
}

impl Circumstances {
    pub fn here(programs: &Programs) -> anyhow::Result<Self> {
        let redis = first_line(Command::new("redis-server").arg("--version"));
        let redis = redis.split_whitespace().find_map(|word| word.strip_prefix("v="));
        Ok(Self {
            nazar: first_line(Command::new(&programs.nazar).arg("--version")),
            kafka: kafka_version().to_owned(),
            redis: redis.unwrap_or("unknown").to_owned(),
            ..Self::of_machine()
        })
    }

    /// Without what only a run of everything needs.
    pub fn of_machine() -> Self {
        let environment = Environment::here();
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Self {
            date: now[..10].to_owned(),
            commit: commit(),
            cpu: environment.cpu.unwrap_or(environment.arch),
            cores: environment.cpus,
            memory_bytes: environment.memory_bytes.unwrap_or(0),
            kernel: environment.kernel.unwrap_or(environment.os),
            ..Self::default()
        }
    }
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        first_line(Command::new("git").arg("-C").arg(root).args(arguments))
    };
    let commit = git(&["rev-parse", "--short=10", "HEAD"]);
    let changed = git(&["status", "--porcelain", "--", "src", "examples", "Cargo.lock"]);
    let mark = if changed.is_empty() { "" } else { "+" };
    format!("{commit}{mark}")
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or_default().trim().to_owned()
}

fn kafka_version() -> &'static str {
    let pom = include_str!("../../scripts/kafka.d/pom.xml");
    let version = pom.split_once("<kafka.version>").and_then(|(_, rest)| rest.split_once('<'));
    version.map_or("unknown", |(version, _)| version)
}
