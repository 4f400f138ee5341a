//! A program run as a process of its own, and what it took: time, processors, memory.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use wait4::Wait4;

/// The kernel counts processor time in such parts for `/proc`, on every platform that Linux has.
const TICKS_PER_SECOND: f64 = 100.0;

/// So much is shown of what a program printed that then failed.
const SAID_CHARS_MAX: usize = 4000;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    pub user_seconds: f64,
    pub system_seconds: f64,
    pub peak_rss_bytes: u64,
}

impl Spent {
    pub fn processor_seconds(&self) -> f64 {
        self.user_seconds + self.system_seconds
    }

    /// Of a process that still runs: by the kernel's tables, to a hundredth of a second.
    pub fn of_running(pid: u32) -> anyhow::Result<Self> {
        let (user_seconds, system_seconds) =
            times(pid).with_context(|| format!("read what process {pid} has used"))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|text| text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        Ok(Self { user_seconds, system_seconds, peak_rss_bytes: peak.unwrap_or(0) << 10 })
    }
}

/// User and system time of a process; `None` where there is no `/proc`, or no such process.
fn times(pid: u32) -> Option<(f64, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program stands in parentheses and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    Some((seconds()?, seconds()?))
}

pub fn processor_seconds(pid: u32) -> Option<f64> {
    times(pid).map(|(user, system)| user + system)
}

/// A program that has ended well.
#[derive(Debug)]
pub struct Ended {
    pub stdout: String,
    pub wall_seconds: f64,
    pub spent: Spent,
}

/// Runs a program to its end. What it says on stderr goes to `log`, whose end is shown if it fails.
pub fn run(command: &mut Command, log: &Path, patience: Duration) -> anyhow::Result<Ended> {
    let output = log.with_extension("out");
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(File::create(&output)?)
        .stderr(File::create(log)?)
        .spawn()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    let guard = Overseer::new(child.id(), patience);
    let used = child.wait4().context("wait for a program")?;
    let wall_seconds = started.elapsed().as_secs_f64();
    let was_killed = guard.dismiss();
    if !used.status.success() {
        let late = if was_killed { " after too long a time" } else { "" };
        let said: String = std::fs::read_to_string(&output)?.chars().take(SAID_CHARS_MAX).collect();
        let (program, status) = (command.get_program().display(), used.status);
        bail!("{program} ended by {status}{late}\n{said}\n{}", tail(log));
    }
    Ok(Ended {
        stdout: std::fs::read_to_string(&output)?,
        wall_seconds,
        spent: Spent {
            user_seconds: used.rusage.utime.as_secs_f64(),
            system_seconds: used.rusage.stime.as_secs_f64(),
            peak_rss_bytes: used.rusage.maxrss,
        },
    })
}

/// Kills a process that takes too long.
struct Overseer {
    done: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<bool>,
}

impl Overseer {
    fn new(pid: u32, patience: Duration) -> Self {
        let (done, wait) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let is_late = wait.recv_timeout(patience).is_err();
            is_late && signal(pid, "-KILL").is_ok()
        });
        Self { done, thread }
    }

    fn dismiss(self) -> bool {
        let _ = self.done.send(());
        self.thread.join().unwrap_or(false)
    }
}

/// A program in the background; killed with its handle.
#[derive(Debug)]
pub struct Background {
    child: Child,
    pub started: Instant,
}

impl Background {
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let started = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?)
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        Ok(Self { child, started })
    }

    pub fn spent(&self) -> anyhow::Result<Spent> {
        Spent::of_running(self.child.id())
    }

    pub fn ensure_running(&mut self, log: &Path) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("a program ended by {status}\n{}", tail(log)),
        }
    }

    /// Waits for a program that ends by itself, and well.
    pub fn wait(&mut self, deadline: Instant, log: &Path) -> anyhow::Result<()> {
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("a program ended by {status}\n{}", tail(log)),
                None => ensure!(Instant::now() < deadline, "a program took too long"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGTERM, and its end.
    pub fn terminate(mut self) -> anyhow::Result<()> {
        signal(self.child.id(), "-TERM")?;
        let status = self.child.wait()?;
        ensure!(status.success(), "a program ended by {status}");
        Ok(())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(pid: u32, signal: &str) -> anyhow::Result<()> {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status()?;
    ensure!(status.success(), "process {pid} could not be signalled");
    Ok(())
}

pub fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
