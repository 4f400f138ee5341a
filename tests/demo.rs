//! `nazar demo` as a newcomer meets it: what it says, how it ends, what it leaves behind.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A demo without a terminal, in a directory for temporary files of its own.
struct Demo {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    text: String,
    temporary: TempDir,
}

impl Demo {
    fn start(arguments: &[&str]) -> Demo {
        let temporary = TempDir::new().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_nazar"))
            .arg("demo")
            .args(arguments)
            .env("TMPDIR", temporary.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Demo { child, stdout, text: String::new(), temporary }
    }

    /// Reads on until a line holds `word`.
    fn until(&mut self, word: &str) {
        loop {
            let before = self.text.len();
            assert!(self.stdout.read_line(&mut self.text).unwrap() > 0, "ended: {}", self.text);
            if self.text[before..].contains(word) {
                return;
            }
        }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("sh").args(["-c", "kill $0 $1", signal, &pid]).status().unwrap().success()
        );
    }

    /// Waits for the end; returns the status, and what was said on stderr.
    fn end(&mut self) -> (ExitStatus, String) {
        self.stdout.read_to_string(&mut self.text).unwrap();
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.child.wait().unwrap(), stderr)
    }

    fn redis_port(&self) -> u16 {
        let (_, rest) = self.text.split_once("redis-cli -p ").expect("the hint was printed");
        rest.split(' ').next().unwrap().parse().unwrap()
    }

    /// The keeper may need a moment more than its demo.
    fn assert_nothing_is_left(&self) {
        let port = self.redis_port();
        let is_clean = || {
            std::fs::read_dir(self.temporary.path()).unwrap().next().is_none()
                && TcpStream::connect(("127.0.0.1", port)).is_err()
        };
        let deadline = Instant::now() + Duration::from_secs(10);
        while !is_clean() {
            assert!(Instant::now() < deadline, "the server or its directory is still there");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_run_with_an_end_judges_itself() {
    let mut demo = Demo::start(&["--for", "8s"]);
    let (status, stderr) = demo.end();
    let text = &demo.text;
    for word in ["librdkafka's mock", "/metrics", "boards: p", "events/s  lag", "60 of 60"] {
        assert!(text.contains(word), "{word} is missing from {text}\n{stderr}");
    }
    assert!(!text.contains('\u{1b}'), "no terminal was there to be painted: {text}");
    // A development build on a busy machine may be too slow; nothing else may be wrong.
    let complaints: Vec<&str> = stderr.lines().filter(|line| line.starts_with("nazar: ")).collect();
    match status.code() {
        Some(0) => assert!(complaints.is_empty(), "{stderr}"),
        Some(1) => assert!(
            complaints.len() == 1 && complaints[0].contains("rate was too low"),
            "{text}\n{stderr}"
        ),
        _ => panic!("{status}: {stderr}"),
    }
    demo.assert_nothing_is_left();
}

#[test]
fn ctrl_c_is_a_good_end() {
    let mut demo = Demo::start(&[]);
    demo.until("boards: p");
    demo.signal("-INT");
    let (status, stderr) = demo.end();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(demo.text.contains("each reason as often as the generator meant it"), "{}", demo.text);
    demo.assert_nothing_is_left();
}

#[test]
fn ctrl_c_before_the_first_record_ends_it_too() {
    let mut demo = Demo::start(&[]);
    demo.until("starting");
    demo.signal("-INT");
    let (status, stderr) = demo.end();
    assert_eq!(status.code(), Some(0), "{stderr}");
    demo.assert_nothing_is_left();
}

#[test]
fn even_a_killed_one_leaves_nothing_behind() {
    let mut demo = Demo::start(&[]);
    demo.until("starting");
    assert!(TcpStream::connect(("127.0.0.1", demo.redis_port())).is_ok());
    demo.signal("-KILL");
    assert_eq!(demo.end().0.code(), None);
    demo.assert_nothing_is_left();
}

#[test]
fn without_a_redis_server_it_says_how_to_get_one() {
    let output = Command::new(env!("CARGO_BIN_EXE_nazar"))
        .arg("demo")
        .env("PATH", Path::new("/nonexistent"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    for word in ["apt-get install", "dnf install", "brew install", "make demo"] {
        assert!(stderr.contains(word), "{stderr}");
    }
}
