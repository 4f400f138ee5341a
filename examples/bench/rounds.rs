//! Backlogs: ceiling and nazar in turn, from the beginning of a log to its end.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, ensure};
use nazar::load::report::VerifyReport;
use serde::Deserialize;

use crate::Bench;
use crate::case::{Case, File};
use crate::log::Written;
use crate::measured::{self, Ended};
use crate::row::{Row, Verified};

/// What both programs print at their end, among other things.
#[derive(Deserialize)]
struct Line {
    events: u64,
    seconds: f64,
}

impl Bench {
    pub fn rounds(&self, case: &Case, runs: u32) -> anyhow::Result<Vec<Row>> {
        let log = self.written(&case.log)?;
        let mut rows = Vec::new();
        for round in 1..=runs {
            let mut ceiling = Command::new(&self.programs.ceiling);
            ceiling.args(self.arguments(case, "ceiling")?);
            rows.push(self.once(case, "ceiling", round, &mut ceiling)?.0);

            let prefix = format!("{}-{round}", case.name);
            let mut nazar = Command::new(&self.programs.nazar);
            nazar.args(["run", "--bounded"]).args(self.arguments(case, &prefix)?);
            let (mut row, ended) = self.once(case, "nazar", round, &mut nazar)?;
            if round == 1 || self.verify_all {
                let said = self.directory.join("daemon.json");
                std::fs::write(&said, &ended.stdout)?;
                row.verified = Some(self.verify(&log, &prefix, Some(said), case)?);
            }
            rows.push(row);
            self.servers.flush()?;
        }
        Ok(rows)
    }

    fn once(
        &self,
        case: &Case,
        program: &str,
        round: u32,
        command: &mut Command,
    ) -> anyhow::Result<(Row, Ended)> {
        let mut row = Row::of(case, program, round);
        let before = self.servers.spent();
        let log = self.log_of(program);
        let ended = measured::run(command, &log, case.patience())?;
        self.note_servers(&mut row, before);
        let line: Line = serde_json::from_str(&ended.stdout)
            .with_context(|| format!("read the result of {program}"))?;
        let (found, expected) = (line.events, case.log.events);
        ensure!(found == expected, "{program} read {found} events of {expected}");
        row.seconds = line.seconds;
        row.spent = ended.spent;
        row.figures.insert("wall_seconds".into(), ended.wall_seconds);
        eprintln!("{}", row.text());
        Ok((row, ended))
    }

    pub fn note_servers(&self, row: &mut Row, before: (Option<f64>, Option<f64>)) {
        let after = self.servers.spent();
        row.broker_processor_seconds = before.0.zip(after.0).map(|(from, to)| to - from);
        row.redis_processor_seconds = before.1.zip(after.1).map(|(from, to)| to - from);
    }

    pub fn log_of(&self, program: &str) -> PathBuf {
        self.directory.join(format!("{program}.log"))
    }

    /// The configuration of a case, as arguments: its file, its own keys, and where everything is.
    pub fn arguments(&self, case: &Case, prefix: &str) -> anyhow::Result<Vec<String>> {
        let file = match &case.settings.file {
            File::Path(path) => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path),
            File::Text(text) => {
                let path = self.directory.join(format!("{}.toml", case.name));
                std::fs::write(&path, text)?;
                path
            }
        };
        let mut arguments = vec!["--config".to_owned(), file.display().to_string()];
        let here = [
            ("kafka.brokers", self.servers.brokers()),
            ("kafka.group", prefix.to_owned()),
            ("kafka.start", "earliest".to_owned()),
            // Its topic does not exist here, and nothing is rejected.
            ("kafka.dead_letter_topic", String::new()),
            ("redis.url", self.servers.redis_url()),
            ("redis.prefix", prefix.to_owned()),
            ("http.listen", String::new()),
        ];
        let own = case.settings.sets.iter().map(|(key, value)| (key.to_string(), value.clone()));
        let here = here.map(|(key, value)| (key.to_owned(), value));
        for (key, value) in here.into_iter().chain(case.log.sets()).chain(own) {
            arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        Ok(arguments)
    }

    /// Recounts the log and compares; a difference is an error. With the result of a run that has
    /// ended, which is compared as well; without it, latest views of one that goes on are compared.
    pub fn verify(
        &self,
        log: &Written,
        prefix: &str,
        daemon: Option<PathBuf>,
        case: &Case,
    ) -> anyhow::Result<Verified> {
        let mut command = Command::new(&self.programs.load);
        command.arg("verify").arg(&log.account).args(["--json", "--wait", "60s"]);
        command.args(["--brokers", &self.servers.brokers()]);
        command.args(["--redis", &self.servers.redis_url(), "--prefix", prefix]);
        command.args(["--closed-keep", &case.settings.closed_keep.to_string()]);
        match daemon {
            Some(said) => command.arg("--daemon-json").arg(said),
            // It still runs, and a short log may not have closed a window yet.
            None => command.args(["--latest-samples", "2", "--every", "300ms"]),
        };
        let ended = measured::run(&mut command, &self.log_of("verify"), case.patience())
            .context("verify what nazar has published")?;
        let report: VerifyReport = serde_json::from_str(&ended.stdout)?;
        let closed = report.closed.found;
        let latest = report.latest.unwrap_or_default();
        ensure!(report.equal, "the views differ from the log");
        ensure!(closed.windows + latest.compared > 0, "nothing was there that could be verified");
        let windows = closed.windows + latest.compared;
        eprintln!("  verified: 0 differences in {windows} windows");
        Ok(Verified {
            differences: report.differences.count,
            windows,
            members: closed.members + latest.found.members,
            distinct_counts: closed.sketches + latest.found.sketches,
        })
    }
}
