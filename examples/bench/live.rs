//! Traffic at a rate: how soon an event is visible, what a flush costs Redis, how soon a process that
//! starts has published.

use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use nazar::load::artefacts::latency::Distribution;
use nazar::load::observed::Fields;

use crate::Bench;
use crate::case::Case;
use crate::log::Written;
use crate::measured::Background;
use crate::row::Row;

/// The generator is at work so long before the daemon is started.
const AHEAD: Duration = Duration::from_secs(2);
/// Not measured: the daemon starts and catches up.
const WARM_UP_SECS: u64 = 10;
const PUBLISH_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(2);

impl Bench {
    pub fn live(&self, case: &Case, rate: u64, seconds: u64) -> anyhow::Result<Vec<Row>> {
        let prefix = case.name.clone();
        let account = self.directory.join(format!("{prefix}-run"));
        let mut row = Row::of(case, "nazar", 1);
        let load_log = self.log_of("load");
        let mut load = self.generator(case, rate, seconds, &prefix);
        load.arg("--out").arg(&account);
        let mut generator = Background::start(&mut load, &load_log)?;
        std::thread::sleep(AHEAD);

        let daemon = self.instance(case, &prefix, 0)?;
        row.figures.insert("first_start_ms".into(), self.first_board(&prefix, &daemon)?);
        // Of the measured part alone.
        std::thread::sleep(Duration::from_secs(WARM_UP_SECS));
        let (servers, before) = (self.servers.spent(), daemon.spent()?);
        let (began, seq) = (Instant::now(), number(&self.meta(&prefix)?, "seq"));
        let deadline = began + Duration::from_secs(seconds) + PUBLISH_MAX + case.patience();
        let part = Duration::from_secs(seconds.saturating_sub(WARM_UP_SECS + 5).max(2));
        std::thread::sleep(part);
        self.note_servers(&mut row, servers);
        row.seconds = began.elapsed().as_secs_f64();
        row.events = (row.seconds * rate as f64) as u64;
        row.spent = daemon.spent()?;
        row.spent.user_seconds -= before.user_seconds;
        row.spent.system_seconds -= before.system_seconds;
        let swaps = number(&self.meta(&prefix)?, "seq") - seq;
        row.figures.insert("swaps".into(), swaps);
        generator.wait(deadline, &load_log).context("generate traffic")?;

        let log = Written::load(&account)?;
        let latency = log.run.latency.clone().context("the run has measured nothing")?;
        let visible = latency.visible.context("nothing was watched")?;
        note(&mut row, "visible", &visible.clock.corrected);
        if let Some(from_sending) = &visible.clock.uncorrected {
            note(&mut row, "visible_from_sending", from_sending);
        }
        note(&mut row, "ack", &latency.ack.corrected);
        row.figures.insert("missing".into(), visible.missing as f64);
        row.figures.insert("rate".into(), rate as f64);
        row.verified = Some(self.verify(&log, &prefix, None, case)?);
        daemon.terminate()?;

        let again = self.instance(case, &prefix, 0)?;
        row.figures.insert("next_start_ms".into(), self.first_board(&prefix, &again)?);
        again.terminate()?;
        self.servers.flush()?;
        eprintln!("{}\n  {:?}", row.text(), row.figures);
        Ok(vec![row])
    }

    fn generator(&self, case: &Case, rate: u64, seconds: u64, prefix: &str) -> Command {
        let mut load = Command::new(&self.programs.load);
        load.args(["run", "--create-topics", "--no-progress", "--seed", "42", "--rate"]);
        load.arg(rate.to_string()).args(["--for", &format!("{}s", seconds + WARM_UP_SECS)]);
        load.args(["--warmup", &format!("{WARM_UP_SECS}s"), "--brokers", &self.servers.brokers()]);
        load.args(["--redis", &self.servers.redis_url(), "--prefix", prefix]);
        load.args(["--visible-poll", "10ms", "--topic-prefix", &format!("{}.", case.log.name)]);
        let log = &case.log;
        let sizes = [("--products", log.products), ("--users", log.users)];
        for (name, size) in sizes.into_iter().chain([("--partitions", log.partitions)]) {
            load.args([name, &size.to_string()]);
        }
        load.args(["--lateness", log.lateness, "--base-pane", log.base_pane]);
        // Whether the generator could hold its schedule stands beside the figures.
        load.args(["--max-behind", "1h"]);
        load
    }

    /// Milliseconds from the start of a daemon until a board of its own could be read.
    fn first_board(&self, prefix: &str, daemon: &Background) -> anyhow::Result<f64> {
        let since_start = daemon.started.elapsed().as_millis() as f64;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as f64;
        let started_ms = now - since_start;
        while number(&self.meta(prefix)?, "flushed_at") < started_ms {
            ensure!(daemon.started.elapsed() < PUBLISH_MAX, "nothing was published");
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(daemon.started.elapsed().as_secs_f64() * 1000.0)
    }
}

fn number(meta: &Fields, name: &str) -> f64 {
    meta.get(name).and_then(|text| text.parse().ok()).unwrap_or(0.0)
}

fn note(row: &mut Row, clock: &str, distribution: &Distribution) {
    let figures = [
        ("p50", distribution.p50_ms),
        ("p99", distribution.p99_ms),
        ("p999", distribution.p99_9_ms),
        ("max", Some(distribution.max_ms)),
    ];
    for (name, value) in figures.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        row.figures.insert(format!("{clock}_{name}_ms"), value);
    }
}
