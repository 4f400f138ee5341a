//! How much memory this process may take: the machine's, or less if a control group says so.

use std::fs;
use std::path::{Path, PathBuf};

/// The least limit that applies, and who sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    pub bytes: u64,
    pub origin: &'static str,
}

/// `None` where it cannot be read from files, as on macOS.
pub fn memory_limit() -> Option<MemoryLimit> {
    limit_under(Path::new("/"))
}

fn limit_under(root: &Path) -> Option<MemoryLimit> {
    let machine = machine_bytes(root).map(|bytes| MemoryLimit { bytes, origin: "this machine" });
    let group = group_bytes(root)
        .map(|bytes| MemoryLimit { bytes, origin: "the control group (container)" });
    machine.into_iter().chain(group).min_by_key(|limit| limit.bytes)
}

fn machine_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The least limit of our control group and those above it. In a container the path is often
/// that of the host and leads nowhere; the mount point itself then is our group.
fn group_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let limits = text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (mount, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            list if list.split(',').any(|controller| controller == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        upwards(&root.join(mount), path).filter_map(|dir| read_bytes(&dir.join(file))).min()
    });
    limits.min()
}

/// The directory of `path` under `mount`, and each above it up to `mount`.
fn upwards(mount: &Path, path: &str) -> impl Iterator<Item = PathBuf> {
    let inner = mount.join(path.trim_start_matches('/'));
    let depth = inner.components().count() - mount.components().count();
    let dirs: Vec<PathBuf> = inner.ancestors().take(depth + 1).map(Path::to_owned).collect();
    dirs.into_iter()
}

/// `max` is no number: no limit. Version 1 states a number beyond all memory instead.
fn read_bytes(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], expected: Option<(u64, &str)>) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let found = limit_under(root.path());
        let found = found.map(|limit| (limit.bytes, limit.origin.split(' ').nth(1).unwrap()));
        assert_eq!(found, expected, "{files:?}");
    }

    #[test]
    fn the_least_limit_counts() {
        let machine = ("proc/meminfo", "MemTotal:       2048 kB\nMemFree:  7 kB\n");
        let two = ("proc/self/cgroup", "0::/a/b\n");
        check(&[], None);
        check(&[machine], Some((2 << 20, "machine")));
        check(
            &[machine, two, ("sys/fs/cgroup/a/b/memory.max", "max\n")],
            Some((2 << 20, "machine")),
        );
        check(&[machine, two, ("sys/fs/cgroup/a/memory.max", "4096\n")], Some((4096, "control")));
        check(
            &[
                machine,
                two,
                ("sys/fs/cgroup/a/b/memory.max", "512"),
                ("sys/fs/cgroup/memory.max", "1024"),
            ],
            Some((512, "control")),
        );
        let one = ("proc/self/cgroup", "7:cpu:/x\n4:memory,other:/docker/1\n");
        check(
            &[machine, one, ("sys/fs/cgroup/memory/memory.limit_in_bytes", "8192\n")],
            Some((8192, "control")),
        );
        let none = "9223372036854771712";
        check(
            &[machine, one, ("sys/fs/cgroup/memory/memory.limit_in_bytes", none)],
            Some((2 << 20, "machine")),
        );
        check(&[machine, ("proc/self/cgroup", "odd")], Some((2 << 20, "machine")));
    }
}
