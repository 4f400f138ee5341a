//! The daemon's own metrics, looked at once a second for the timeline.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use url::Url;

use super::artefacts::timeline::DaemonSecond;

const EVERY: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(2);
/// A page that is longer is not the daemon's.
const PAGE_BYTES_MAX: u64 = 16 << 20;

/// The last answer, until it is taken.
pub type Latest = Mutex<Option<DaemonSecond>>;

/// The address of a metrics page: `http://host:port`, with or without a path.
pub fn address(text: &str) -> Result<Url, String> {
    let mut url = Url::parse(text).map_err(|error| error.to_string())?;
    if url.scheme() != "http" || url.host_str().is_none() {
        return Err("expected http://host:port/metrics".into());
    }
    if url.path() == "/" {
        url.set_path("/metrics");
    }
    Ok(url)
}

/// Asks again and again until `done`. A daemon that does not answer leaves no figures.
pub fn watch(url: &Url, latest: &Latest, done: &AtomicBool) {
    while !done.load(Relaxed) {
        let answer = ask(url).ok();
        *latest.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        std::thread::sleep(EVERY);
    }
}

/// Asks once.
pub fn ask(url: &Url) -> anyhow::Result<DaemonSecond> {
    Ok(figures(&fetch(url).with_context(|| format!("ask {url} for metrics"))?))
}

fn fetch(url: &Url) -> anyhow::Result<String> {
    let addresses = url.socket_addrs(|| None).context("look up the daemon's address")?;
    let address = addresses.first().context("look up the daemon's address")?;
    let mut stream = TcpStream::connect_timeout(address, TIMEOUT).context("connect")?;
    stream.set_read_timeout(Some(TIMEOUT)).context("set the timeout")?;
    let host = url.host_str().unwrap_or_default();
    // The old version of the protocol: the answer comes in one piece, and ends with the connection.
    write!(stream, "GET {} HTTP/1.0\r\nHost: {host}\r\n\r\n", url.path()).context("ask")?;
    let mut answer = String::new();
    stream.take(PAGE_BYTES_MAX).read_to_string(&mut answer).context("read the answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("find the end of the head")?;
    ensure!(head.split(' ').nth(1) == Some("200"), "{head}");
    Ok(body.to_owned())
}

fn figures(page: &str) -> DaemonSecond {
    let values = |name: &'static str| {
        let series = page.lines().filter_map(move |line| line.strip_prefix(name));
        let series = series.filter(|rest| rest.starts_with(['{', ' ']));
        series.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok())
    };
    let sum =
        |name| values(name).fold(None, |sum: Option<f64>, one| Some(sum.unwrap_or(0.0) + one));
    DaemonSecond {
        lag_records: sum("nazar_kafka_lag_records"),
        lag_seconds: values("nazar_kafka_lag_seconds").reduce(f64::max),
        applied: sum("nazar_events_applied_total"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_added_up_over_their_series() {
        let page = "\
            # TYPE nazar_kafka_lag_records gauge\n\
            nazar_kafka_lag_records{topic=\"a b\",partition=\"0\"} 3\n\
            nazar_kafka_lag_records{topic=\"click\",partition=\"1\"} 4\n\
            nazar_kafka_lag_seconds{topic=\"click\",partition=\"0\"} 0.5\n\
            nazar_kafka_lag_seconds{topic=\"click\",partition=\"1\"} 0.25\n\
            nazar_kafka_lag_seconds_of_others 9\n";
        let expected =
            DaemonSecond { lag_records: Some(7.0), lag_seconds: Some(0.5), applied: None };
        assert_eq!(figures(page), expected);
    }

    #[test]
    fn addresses_may_leave_out_the_path() {
        let path = |text: &str| address(text).map(|url| url.path().to_owned());
        assert_eq!(path("http://localhost:9464").unwrap(), "/metrics");
        assert_eq!(path("http://localhost:9464/m").unwrap(), "/m");
        assert!(path("https://localhost").unwrap_err().contains("http://host:port"));
        assert!(path("localhost").is_err());
    }
}
