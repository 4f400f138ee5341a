//! Where a run was made: figures mean little without the machine that they are of.

use serde::{Deserialize, Serialize};

/// Of the machine that the generator ran on. What it does not say is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    pub os: String,
    pub arch: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// That this process may use.
    pub cpus: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

impl Environment {
    pub fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        Self {
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
            cpu: read("/proc/cpuinfo").and_then(|text| cpu(&text)),
            cpus: std::thread::available_parallelism().map_or(0, |count| count.get() as u64),
            memory_bytes: read("/proc/meminfo").and_then(|text| memory_bytes(&text)),
        }
    }
}

fn cpu(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linux_says_what_it_runs_on() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Fast CPU @ 3.0 GHz\nmodel name\t: other\n";
        assert_eq!(cpu(cpuinfo).as_deref(), Some("Fast CPU @ 3.0 GHz"));
        assert_eq!(memory_bytes("MemTotal:       2048 kB\nMemFree: 1 kB\n"), Some(2 << 20));
        assert_eq!((cpu(""), memory_bytes("MemTotal: a lot")), (None, None));
        assert!(Environment::here().cpus > 0);
    }
}
