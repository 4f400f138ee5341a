//! Logs: written once by `nazar-load run`, read by every run of the cases that share them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use nazar::load::kind::Kind;
use nazar::load::run_file::RunFile;

use crate::Bench;

/// The order that topics have everywhere.
const KINDS: [(&str, Kind); 3] =
    [("click", Kind::Click), ("wishlist", Kind::Wishlist), ("purchase", Kind::Purchase)];

/// What `nazar-load run` is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Before the names of its topics.
    pub name: String,
    pub events: u64,
    /// Event time from the first to the last.
    pub span_secs: u64,
    /// Of each topic.
    pub partitions: u32,
    pub products: u32,
    pub categories: u32,
    pub users: u32,
    pub popularity: &'static str,
    pub key: &'static str,
    /// As in the configurations that it is read with: `verify` insists on it.
    pub lateness: &'static str,
    pub base_pane: &'static str,
}

impl Log {
    pub fn topic(&self, kind: &str) -> String {
        format!("{}.{kind}", self.name)
    }

    /// The configuration that names its topics.
    pub fn sets(&self) -> Vec<(String, String)> {
        let topic = |(kind, _)| (format!("topics.{kind}"), self.topic(kind));
        KINDS.map(topic).to_vec()
    }

    fn parameters(&self) -> Vec<String> {
        let Self { name, events, span_secs, partitions, products, .. } = self;
        let Self { categories, users, popularity, key, lateness, base_pane, .. } = self;
        let text = format!(
            "--seed 42 --events {events} --event-time-span {span_secs}s --partitions {partitions} \
             --products {products} --categories {categories} --users {users} \
             --popularity {popularity} --key {key} --lateness {lateness} --base-pane {base_pane} \
             --currency USD --topic-prefix {name}. --create-topics --no-progress"
        );
        text.split_whitespace().map(str::to_owned).collect()
    }
}

/// The log that lies on the broker.
#[derive(Debug)]
pub struct Written {
    /// What `nazar-load run` left, for `verify`.
    pub account: PathBuf,
    pub run: RunFile,
}

impl Written {
    pub fn load(account: &Path) -> anyhow::Result<Self> {
        Ok(Self { account: account.to_owned(), run: RunFile::load(account)? })
    }

    /// The ends of its partitions, by their names in `meta`.
    pub fn ends(&self) -> impl Iterator<Item = (String, i64)> {
        self.run.topics.iter().flat_map(|topic| {
            let place = |(index, &end): (usize, &i64)| (format!("{}/{index}", topic.topic), end);
            topic.end_offsets.iter().enumerate().map(place).collect::<Vec<_>>()
        })
    }
}

impl Bench {
    /// Writes a log, unless the directory holds it from an earlier time.
    pub fn written(&self, log: &Log) -> anyhow::Result<Written> {
        let directory = self.directory.join("logs");
        std::fs::create_dir_all(&directory)?;
        let (account, said) =
            (directory.join(&log.name), directory.join(format!("{}.args", log.name)));
        let parameters = log.parameters().join(" ");
        if let Ok(earlier) = std::fs::read_to_string(&said) {
            ensure!(
                earlier == parameters,
                "{} has a log {} of other parameters: take another --dir",
                self.directory.display(),
                log.name
            );
            return Written::load(&account);
        }
        eprintln!("  writing {} events", log.events);
        let output = Command::new(&self.programs.load)
            .arg("run")
            .args(["--brokers", &self.servers.brokers()])
            .args(log.parameters())
            .arg("--out")
            .arg(&account)
            .stdin(Stdio::null())
            .output()
            .context("start nazar-load")?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "nazar-load could not write the log: {stderr}");
        std::fs::write(&said, parameters)?;
        Written::load(&account)
    }
}
