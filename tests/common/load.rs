//! `nazar-load` as a child process.
//!
//! Include it beside `kafka`: `#[path = "../common/load.rs"] mod load;`.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::kafka::Kafka;

/// Few names, so that boards are dense and the oracle is quick.
const CATALOGUE: &str = "--products 500 --categories 8 --sellers 40 --users 2000";

pub struct Load {
    brokers: String,
    /// Before the topic names.
    name: String,
    pub out: PathBuf,
    pub seed: u64,
}

impl Load {
    pub fn new(kafka: &Kafka, directory: &tempfile::TempDir, name: &str) -> Self {
        let (brokers, name) = (kafka.brokers(), name.to_owned());
        Load { brokers, name, out: directory.path().join("run"), seed: 7 }
    }

    fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nazar-load"));
        command.args(words.split_whitespace()).args(["-b", &self.brokers]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// `nazar-load run` with `options`; creates the topics.
    pub fn run(&self, options: &str) {
        self.start(options).wait();
    }

    /// The same in the background.
    pub fn start(&self, options: &str) -> Background {
        let mut command = self.command("run --create-topics --no-progress");
        command.args(["--seed", &self.seed.to_string()]);
        command.args(CATALOGUE.split_whitespace()).args(options.split_whitespace());
        // Here it is traffic for others; whether it was held up is no verdict.
        if !options.contains("--max-behind") {
            command.args(["--max-behind", "1h"]);
        }
        command.args(["--topic-prefix", &format!("{}.", self.name)]);
        command.arg("--out").arg(&self.out);
        Background { child: Some(command.spawn().unwrap()) }
    }

    /// `nazar-load verify` against the views under the same name.
    pub fn verify(&self, redis_url: &str, options: &str) -> Output {
        self.start_verify(redis_url, options).output()
    }

    /// The same in the background: samples are taken while other things go on.
    pub fn start_verify(&self, redis_url: &str, options: &str) -> Background {
        let mut command = self.command("verify");
        command.arg(&self.out).args(["--redis", redis_url, "--prefix", &self.name]);
        command.args(options.split_whitespace());
        Background { child: Some(command.spawn().unwrap()) }
    }

    /// `run.json`.
    pub fn account(&self) -> Value {
        json_file(&self.out.join("run.json"))
    }
}

/// A generator that writes, or a verification under way; killed with its handle.
pub struct Background {
    child: Option<Child>,
}

impl Background {
    pub fn wait(self) {
        let output = self.output();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub fn output(mut self) -> Output {
        self.child.take().unwrap().wait_with_output().unwrap()
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    pub fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id();
        signal_to(pid, signal);
    }
}

/// By the shell, as `kill` is no program of its own on a small Linux.
fn signal_to(pid: u32, signal: &str) {
    let sent = Command::new("sh").args(["-c", "kill $0 $1", signal, &pid.to_string()]).status();
    assert!(sent.unwrap().success());
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
