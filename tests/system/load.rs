//! `nazar-load` as a child process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::kafka::Kafka;

/// Few names, so that boards are dense and the oracle is quick.
const CATALOGUE: &str = "--products 500 --categories 8 --sellers 40 --users 2000";

pub struct Load<'a> {
    pub kafka: &'a Kafka,
    /// Before the topic names.
    pub name: &'a str,
    pub out: PathBuf,
}

impl<'a> Load<'a> {
    pub fn new(kafka: &'a Kafka, directory: &tempfile::TempDir, name: &'a str) -> Self {
        Load { kafka, name, out: directory.path().join("run") }
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nazar-load"));
        command.args(words.split_whitespace()).args(["-b", &self.kafka.brokers()]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// `nazar-load run` with `options`; creates the topics.
    pub fn run(&self, options: &str) {
        let output = self.start(options).child.take().unwrap().wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The same in the background.
    pub fn start(&self, options: &str) -> Background {
        let mut command = self.command("run --create-topics --no-progress --seed 7");
        command.args(CATALOGUE.split_whitespace()).args(options.split_whitespace());
        command.args(["--topic-prefix", &format!("{}.", self.name)]);
        command.arg("--out").arg(&self.out);
        Background { child: Some(command.spawn().unwrap()) }
    }

    /// `nazar-load verify` against the views under the same name.
    pub fn verify(&self, redis_url: &str, options: &str) -> Output {
        let mut command = self.command("verify");
        command.arg(&self.out).args(["--redis", redis_url, "--prefix", self.name]);
        command.args(options.split_whitespace()).output().unwrap()
    }

    /// `run.json`.
    pub fn account(&self) -> Value {
        json_file(&self.out.join("run.json"))
    }
}

/// A generator that writes; killed with its handle.
pub struct Background {
    child: Option<Child>,
}

impl Background {
    pub fn wait(mut self) {
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub fn json_file(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Exit code, and everything that was said.
pub fn outcome(output: &Output) -> (i32, String) {
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    (output.status.code().unwrap_or(-1), said.concat())
}
