//! A Prometheus of our own: the repository's scrape configuration, pointed at one target.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

/// The binary on `PATH`, if there is one.
pub fn find() -> Option<PathBuf> {
    find_tool("prometheus")
}

pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

impl Prometheus {
    pub fn start(binary: &Path, target: SocketAddr) -> Prometheus {
        let shipped =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/prometheus.yml");
        let shipped = std::fs::read_to_string(shipped).unwrap();
        let config = shipped
            .replace("nazar:9464", &target.to_string())
            .replace("scrape_interval: 5s", "scrape_interval: 1s")
            .replace("scrape_timeout: 4s", "scrape_timeout: 1s");
        assert!(config.contains(&target.to_string()) && config.contains(": 1s"), "{config}");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus/alerts.yml");
        std::fs::copy(rules, directory.path().join("alerts.yml")).unwrap();

        // Free a moment ago; whoever takes it first makes the wait below fail, not pass.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(binary)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Prometheus { child, address, directory }
    }

    /// Waits until the target has been scraped `scrapes` times in the last few seconds.
    pub fn wait_for_scrapes(&self, scrapes: usize, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut last = Err("never asked".to_owned());
        while Instant::now() < deadline {
            last = self.query("sum(sum_over_time(up{job=\"nazar\"}[1m]))");
            if last.as_ref().is_ok_and(|values| values.iter().any(|&v| v >= scrapes as f64)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        panic!("not scraped {scrapes} times in {patience:?}: {last:?}\n{log}");
    }

    /// The values of an instant query, one per series.
    pub fn query(&self, expression: &str) -> Result<Vec<f64>, String> {
        let expression = utf8_percent_encode(expression, NON_ALPHANUMERIC);
        let path = format!("/api/v1/query?query={expression}");
        let body = get(self.address, &path).map_err(|error| error.to_string())?;
        let answer: Value =
            serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        if answer["status"] != "success" {
            return Err(answer["error"].as_str().unwrap_or(&body).to_owned());
        }
        let data = &answer["data"];
        let number = |pair: &Value| pair[1].as_str()?.parse().ok();
        let values = match data["resultType"].as_str() {
            Some("scalar") => number(&data["result"]).into_iter().collect(),
            _ => data["result"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|series| number(&series["value"]))
                .collect(),
        };
        Ok(values)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request in HTTP/1.0, so that the answer is not chunked.
fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
}
