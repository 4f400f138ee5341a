//! `scripts/bootstrap` on machines made of stubs: what it would install, and that it leaves a
//! complete machine alone. That the packages do what their names say, only a real machine shows.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A machine: a directory that is all of `PATH`.
struct Machine(tempfile::TempDir);

/// What the script itself needs, and every system has.
const BASE: [&str; 6] = ["bash", "env", "sed", "head", "cat", "chmod"];
/// A package manager that notes its arguments and "installs" the commands of what it is given.
const MANAGER: &str = r#"
echo "{manager} $*" >>"$LOG"
for package in "$@"; do
    case $package in
        gcc) commands="cc" ;;
        g++ | gcc-c++) commands="c++" ;;
        make) commands="make" ;;
        pkg-config | pkgconf-pkg-config) commands="pkg-config" ;;
        redis-server | redis) commands="redis-server" ;;
        openjdk-17-jdk-headless | java-21-openjdk-devel) commands="java" ;;
        maven) commands="mvn" ;;
        prometheus | shellcheck) commands="$package" ;;
        ShellCheck) commands="shellcheck" ;;
        *) commands="" ;;
    esac
    for command in $commands; do
        cat "$STUBS/$command" >"$BIN/$command"
        chmod +x "$BIN/$command"
    done
done
"#;

impl Machine {
    fn new(manager: &str) -> Machine {
        let machine = Machine(tempfile::tempdir().unwrap());
        fs::create_dir_all(machine.bin()).unwrap();
        fs::create_dir_all(machine.path("stubs")).unwrap();
        for name in BASE {
            symlink(which(name), machine.bin().join(name)).unwrap();
        }
        let noop = "#!/bin/sh\n";
        for command in ["cc", "c++", "make", "pkg-config", "mvn", "prometheus", "shellcheck"] {
            fs::write(machine.path("stubs").join(command), noop).unwrap();
        }
        let java = "#!/bin/sh\necho 'openjdk version \"17.0.1\" 2021-10-19' >&2\n";
        fs::write(machine.path("stubs/java"), java).unwrap();
        let redis = "#!/bin/sh\necho 'Redis server v=7.0.15 sha=0 malloc=x'\n";
        fs::write(machine.path("stubs/redis-server"), redis).unwrap();
        machine.install("cargo", noop);
        // `sudo` runs what it is given, as the tests may not be run by root.
        machine.install("sudo", "#!/bin/bash\n[[ $1 == -n ]] && shift\n\"$@\"\n");
        let script = MANAGER.replace("{manager}", manager);
        machine.install(manager, &format!("#!/bin/bash\n{script}"));
        // Of two names for a package, Debian 12 has the second.
        machine
            .install("apt-cache", "#!/bin/bash\n[[ $3 == openjdk-21* ]] || echo \"Package: $3\"\n");
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn bin(&self) -> PathBuf {
        self.path("bin")
    }

    fn install(&self, command: &str, script: &str) {
        let file = self.bin().join(command);
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn bootstrap(&self, arguments: &[&str]) -> Output {
        Command::new(self.bin().join("bash"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/bootstrap"))
            .args(arguments)
            .env_clear()
            .env("PATH", self.bin())
            .env("HOME", self.0.path())
            .env("BIN", self.bin())
            .env("STUBS", self.path("stubs"))
            .env("LOG", self.path("log"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The calls of the package manager since the last time.
    fn calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let _ = fs::remove_file(self.path("log"));
        log.lines().map(str::to_owned).collect()
    }
}

fn which(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.exists()).unwrap()
}

fn text(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

#[test]
fn a_bare_debian_gets_everything_once_and_nothing_the_second_time() {
    let machine = Machine::new("apt-get");
    let first = machine.bootstrap(&[]);
    assert!(first.status.success(), "{}", text(&first));
    let calls = machine.calls();
    assert_eq!(calls[0], "apt-get update -q");
    let packages = "gcc g++ libc6-dev make pkg-config libssl-dev zlib1g-dev redis-server";
    assert!(
        calls[1].starts_with("apt-get install -y -q ") && calls[1].ends_with(packages),
        "{calls:?}"
    );

    let second = machine.bootstrap(&[]);
    assert_eq!(text(&second), "bootstrap: everything is here\n");
    assert_eq!(machine.calls(), Vec::<String>::new());

    let for_tests = machine.bootstrap(&["--tests"]);
    assert!(for_tests.status.success(), "{}", text(&for_tests));
    let more = "openjdk-17-jdk-headless maven shellcheck prometheus";
    assert!(machine.calls()[1].ends_with(more));
}

#[test]
fn fedora_has_other_names() {
    let machine = Machine::new("dnf");
    // Asked what it offers, dnf answers with a name.
    let offer = "#!/bin/bash\nif [[ $2 == repoquery ]]; then echo \"$4\"; exit; fi\n";
    let manager = fs::read_to_string(machine.bin().join("dnf")).unwrap();
    machine.install("dnf", &manager.replace("#!/bin/bash\n", offer));
    let output = machine.bootstrap(&["--tests"]);
    assert!(output.status.success(), "{}", text(&output));
    let wanted = "dnf install -y -q gcc gcc-c++ make pkgconf-pkg-config openssl-devel zlib-devel \
                  redis java-21-openjdk-devel maven ShellCheck";
    assert_eq!(machine.calls(), [wanted]);
}

#[test]
fn what_it_cannot_do_it_says() {
    let machine = Machine::new("apt-get");
    let check = machine.bootstrap(&["--check"]);
    assert_eq!(check.status.code(), Some(1));
    assert!(text(&check).contains("missing: compiler pkg-config openssl zlib redis"));
    assert_eq!(machine.calls(), Vec::<String>::new(), "a check installs nothing");

    assert!(machine.bootstrap(&[]).status.success());
    fs::remove_file(machine.bin().join("cargo")).unwrap();
    let no_cargo = machine.bootstrap(&[]);
    assert!(!no_cargo.status.success() && text(&no_cargo).contains("sh.rustup.rs"));

    machine.install("cargo", "#!/bin/sh\n");
    machine.install("redis-server", "#!/bin/sh\necho 'Redis server v=6.0.16 sha=0'\n");
    let old = machine.bootstrap(&[]);
    assert!(!old.status.success() && text(&old).contains("redis-server 6 is too old"));

    let unknown = machine.bootstrap(&["--everything"]);
    assert_eq!(unknown.status.code(), Some(2));
}
