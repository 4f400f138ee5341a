//! A redis-server of one's own: on a free loopback port, with a directory of its own, gone
//! with the demo however that ends.
//!
//! The server is not our child but that of a small shell, the keeper, which waits at the other
//! end of a pipe. The pipe closes when this handle is dropped, and just as well when the
//! process panics, is killed or leaves at a second Ctrl-C; then the keeper ends the server and
//! removes the directory. A handle alone could promise that only for an orderly end.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// `$1` is the directory, the rest is the server and its arguments. Signals meant for the
/// terminal's foreground are none of its business.
const KEEPER: &str = r#"
trap '' HUP INT TERM
directory=$1; shift
"$@" </dev/null >"$directory/redis.out" 2>&1 &
server=$!
cat >/dev/null
kill -KILL "$server" 2>/dev/null
wait "$server" 2>/dev/null
rm -rf -- "$directory"
"#;

/// Under its own name, Valkey is as good.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
const START_MAX: Duration = Duration::from_secs(10);
/// A port may be taken between looking and binding.
const ATTEMPTS: usize = 3;

pub struct RedisServer {
    port: u16,
    /// What `--version` says, in short: `redis 7.0.15`.
    pub version: String,
    directory: PathBuf,
    keeper: Child,
}

impl RedisServer {
    pub fn start() -> anyhow::Result<RedisServer> {
        let (program, version) = find()?;
        let mut last = String::new();
        for _ in 0..ATTEMPTS {
            let port = free_port()?;
            let mut server = RedisServer::spawn(program, &version, port)?;
            match server.until_up() {
                Ok(()) => return Ok(server),
                Err(why) => last = why,
            }
        }
        bail!("{program} did not come up on a free port of 127.0.0.1: {last}")
    }

    fn spawn(program: &str, version: &str, port: u16) -> anyhow::Result<RedisServer> {
        let directory = private_directory()?;
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "nazar-demo-keeper"])
            .arg(&directory)
            .arg(program)
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--protected-mode", "yes"])
            .arg("--dir")
            .arg(&directory)
            .args(["--save", "", "--appendonly", "no"])
            .args(["--maxmemory-policy", "noeviction", "--lazyfree-lazy-server-del", "yes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C goes to the whole foreground group: the server has to outlive the drain.
            .process_group(0)
            .spawn();
        let keeper = match keeper {
            Ok(keeper) => keeper,
            Err(error) => {
                let _ = std::fs::remove_dir_all(&directory);
                return Err(error).context("start sh, which keeps the redis-server");
            }
        };
        Ok(RedisServer { port, version: version.to_owned(), directory, keeper })
    }

    /// Waits until the port answers, and is ours: another server may have been faster.
    fn until_up(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_MAX;
        loop {
            let why = match self.is_ours() {
                Ok(true) => return Ok(()),
                Ok(false) => return Err("another server has taken the port".to_owned()),
                Err(error) => error.to_string(),
            };
            if Instant::now() > deadline {
                let said = std::fs::read_to_string(self.directory.join("redis.out"));
                let said = said.unwrap_or_default();
                return Err(format!("{why}; it said: {}", said.trim_end()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn is_ours(&self) -> redis::RedisResult<bool> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(1))?;
        connection.set_read_timeout(Some(Duration::from_secs(1)))?;
        let (_, directory): (String, String) =
            redis::cmd("CONFIG").arg(&["GET", "dir"]).query(&mut connection)?;
        let ours = std::fs::canonicalize(&self.directory).ok();
        Ok(std::fs::canonicalize(directory).ok() == ours && ours.is_some())
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// For files that shall live as long as the demo.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// The program to run, and its version.
fn find() -> anyhow::Result<(&'static str, String)> {
    for program in PROGRAMS {
        match Command::new(program).arg("--version").output() {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stdout);
                let version = said.split_whitespace().find_map(|word| word.strip_prefix("v="));
                let name = program.trim_end_matches("-server");
                return Ok((program, format!("{name} {}", version.unwrap_or("?"))));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("run {program} --version")),
        }
    }
    bail!(MISSING)
}

const MISSING: &str = "\
the demo needs a redis-server, and there is none on PATH. Install it:
  Debian, Ubuntu  sudo apt-get install redis-server
  Fedora          sudo dnf install redis       (or valkey-compat-redis)
  macOS           brew install redis
or run `make demo`, which does that first";

pub fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("find a free port on 127.0.0.1")?;
    Ok(listener.local_addr().context("read the free port")?.port())
}

/// Readable by its owner alone, and made by us: an existing one is never taken.
fn private_directory() -> anyhow::Result<PathBuf> {
    let process = std::process::id();
    for number in 0..1000 {
        let path = std::env::temp_dir().join(format!("nazar-demo-{process}-{number}"));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("create {}", path.display())),
        }
    }
    bail!("no free name for a directory under {}", std::env::temp_dir().display())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn nothing_is_left_behind() {
        let server = RedisServer::start().expect("redis-server is installed");
        let directory = server.directory().to_owned();
        let mut connection = TcpStream::connect(("127.0.0.1", server.port())).expect("it is up");
        connection.set_read_timeout(Some(START_MAX)).expect("a timeout");
        assert!(directory.is_dir());
        drop(server);
        // Somebody else may have got the port by now: what ends is our connection.
        let ended = connection.read(&mut [0]);
        let is_over = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
        assert!(matches!(ended, Ok(0)) || ended.as_ref().is_err_and(is_over), "{ended:?}");
        assert!(!directory.exists());
    }

    #[test]
    fn two_do_not_meet() {
        let servers = [RedisServer::start(), RedisServer::start()].map(|one| one.expect("up"));
        assert_ne!(servers[0].port(), servers[1].port());
        assert_ne!(servers[0].directory(), servers[1].directory());
    }
}
