//! The run's own figures for Prometheus, while it goes on.
//!
//! A run ends, and its page with it, before the last scrape: what counts in the end is in `run.json`.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;

use super::latency::meter::{Meter, Stage};

const ACCEPT_EVERY: Duration = Duration::from_millis(50);
/// Whoever asks has to do it within this time, or others would wait.
const ASK_MAX: Duration = Duration::from_secs(1);
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

pub fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
    listener.set_nonblocking(true).context("prepare the listener")?;
    let address = listener.local_addr().context("ask for the address listened on")?;
    eprintln!("metrics on http://{address}/metrics");
    Ok(listener)
}

/// Answers until `done`.
pub fn serve(listener: &TcpListener, meter: &Meter, done: &AtomicBool) {
    while !done.load(Relaxed) {
        match listener.accept() {
            // Whoever hangs up early misses the answer, and that is all.
            Ok((stream, _)) => _ = answer(stream, meter),
            Err(_) => std::thread::sleep(ACCEPT_EVERY),
        }
    }
}

fn answer(mut stream: TcpStream, meter: &Meter) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(ASK_MAX))?;
    stream.set_write_timeout(Some(ASK_MAX))?;
    let mut asked = [0; 1024];
    let length = stream.read(&mut asked)?;
    let (status, body) = match asked[..length].starts_with(b"GET /metrics") {
        true => ("200 OK", page(meter)),
        false => ("404 Not Found", "see /metrics\n".to_owned()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// The page in the Prometheus text format.
pub fn page(meter: &Meter) -> String {
    let mut page = String::new();
    let mut say = |line: std::fmt::Arguments<'_>| _ = writeln!(page, "{line}");
    let (progress, is_watched) = (meter.progress(), meter.pending().is_some());
    say(format_args!("# HELP nazar_load_records_total Records, by how far they have come."));
    say(format_args!("# TYPE nazar_load_records_total counter"));
    let visible = is_watched.then_some(("visible", progress.visible));
    for (stage, count) in
        [("intended", meter.intended()), ("sent", progress.sent), ("acked", progress.acked)]
            .into_iter()
            .chain(visible)
    {
        say(format_args!("nazar_load_records_total{{stage=\"{stage}\"}} {count}"));
    }
    say(format_args!(
        "# HELP nazar_load_behind_seconds How late the latest record of the last second was handed over."
    ));
    say(format_args!("# TYPE nazar_load_behind_seconds gauge"));
    say(format_args!("nazar_load_behind_seconds {}", meter.behind_last().as_secs_f64()));
    say(format_args!(
        "# HELP nazar_load_latency_seconds From the intended time, since the warm-up, by clock."
    ));
    say(format_args!("# TYPE nazar_load_latency_seconds summary"));
    for stage in Stage::ALL {
        if stage == Stage::Visible && !is_watched {
            continue;
        }
        let recorder = meter.recorder(stage);
        let (histogram, clock) = (&recorder.total().corrected, stage.name());
        for quantile in QUANTILES.into_iter().filter(|_| !histogram.is_empty()) {
            let seconds = histogram.value_at_quantile(quantile) as f64 / 1e6;
            say(format_args!(
                "nazar_load_latency_seconds{{clock=\"{clock}\",quantile=\"{quantile}\"}} {seconds}"
            ));
        }
        let sum = histogram.mean() * histogram.len() as f64 / 1e6;
        say(format_args!("nazar_load_latency_seconds_sum{{clock=\"{clock}\"}} {sum}"));
        let count = histogram.len();
        say(format_args!("nazar_load_latency_seconds_count{{clock=\"{clock}\"}} {count}"));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::latency::stamp::Stamp;

    #[test]
    fn a_page_says_how_far_records_have_come() {
        let meter = Meter::new(Duration::ZERO, Duration::from_secs(1), None);
        meter.acknowledged(Stamp::new(0, 0));
        meter.publish(7, Duration::from_millis(250));
        meter.recorder(Stage::Ack).end_interval(|_, _| {});
        let page = page(&meter);
        let value = |series: &str| -> f64 {
            let line = page.lines().find_map(|line| line.strip_prefix(series));
            line.unwrap_or_else(|| panic!("no {series} in\n{page}")).trim().parse().unwrap()
        };
        assert_eq!(value("nazar_load_records_total{stage=\"intended\"}"), 7.0);
        assert_eq!(value("nazar_load_records_total{stage=\"acked\"}"), 1.0);
        assert_eq!(value("nazar_load_behind_seconds"), 0.25);
        assert_eq!(value("nazar_load_latency_seconds_count{clock=\"ack\"}"), 1.0);
        assert!(value("nazar_load_latency_seconds{clock=\"ack\",quantile=\"0.99\"}") < 60.0);
        // Nobody watches, so nothing is said.
        assert!(!page.contains("visible"), "{page}");
    }
}
