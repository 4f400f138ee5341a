//! The end of a run: nothing is produced any more, everything is read and closed, and the oracle is
//! asked.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::daemon::Running;
use crate::load::{Background, json_file};
use crate::stage::{CLOSING, LABELS};
use crate::watch::{now_ms, sum_of_offsets};
use crate::world::{WAIT, World};

/// All differences are sorted by direction, so all are asked for.
const VERIFY: &str = "--json --differences 1000000";
/// The last record of all lies so far before its place in the schedule at most.
const SLACK_MS: i64 = 500;

impl World {
    /// `nazar-load verify`, sampling latest views in the background from now on.
    pub fn sample_views(&self, samples: usize) -> Background {
        let options = format!("{VERIFY} --latest-samples {samples} --every 250ms --wait 24h");
        self.load.start_verify(&self.redis.url(), &options)
    }

    /// Ends the load, and waits until all of it is read and every window with content is closed.
    /// Returns the generator's account.
    pub fn finish(&mut self) -> anyhow::Result<Value> {
        let generator = self.generator.take().context("the generator")?;
        self.watch.load_ends();
        generator.signal("-TERM");
        let output = generator.output();
        let ended_ms = now_ms();
        let account = json_file(&self.load.out.join("run.json"));
        if account["state"] != "interrupted" {
            bail!("the generator: {}", String::from_utf8_lossy(&output.stderr));
        }
        let records = account["records"].as_i64().context("records in run.json")?;
        self.until("all records are in the latest views of all windows", WAIT, |world| {
            let is_read = |label: &&str| {
                let offsets = world.meta(&format!("offsets:{label}")).unwrap_or_default();
                sum_of_offsets(&offsets) == records
            };
            LABELS.iter().all(is_read).then_some(())
        })?;
        // By the generator's schedule, which begins before its topics are created.
        let start_ms =
            account["parameters"]["start_ms"].as_str().context("start_ms in run.json")?;
        let written_ms = records * 1000 / self.stage.events_per_second as i64;
        let last_ms = start_ms.parse::<i64>()? + written_ms - SLACK_MS;
        let lateness = Duration::from_secs(self.stage.lateness_seconds);
        self.until("the windows of all records are closed", WAIT + lateness, |world| {
            let millis = |field: String| world.meta(&field)?.parse::<i64>().ok();
            let watermark = millis("group_watermark".into())?;
            let is_closed = |&(label, size_ms, step_ms): &(&str, i64, i64)| {
                // The word of the watermark alone does not do: the windows have to be there.
                let through = millis(format!("closed_through:{label}")).unwrap_or(i64::MIN);
                watermark >= ended_ms + size_ms && through >= last_ms + size_ms - step_ms
            };
            CLOSING.iter().all(is_closed).then_some(())
        })?;
        Ok(account)
    }

    /// The oracle's report on everything that stands now.
    pub fn verify(&self) -> anyhow::Result<Value> {
        let options = format!("{VERIFY} --latest-samples 2 --every 500ms --wait 30s");
        report_of(self.load.start_verify(&self.redis.url(), &options))
    }

    /// SIGTERM to all; the exit codes.
    pub fn end(&mut self) -> Vec<i32> {
        let mut running: Vec<Running> =
            self.instances.iter_mut().filter_map(|instance| instance.running.take()).collect();
        running.iter().for_each(|running| running.signal("-TERM"));
        running.iter_mut().map(Running::end).collect()
    }

    /// Copies what the daemons have said.
    pub fn keep_logs(&self, into: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(into)?;
        for entry in std::fs::read_dir(self.directory.path())? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                std::fs::copy(entry.path(), into.join(entry.file_name()))?;
            }
        }
        Ok(())
    }
}

/// The JSON that a verification has printed; an error unless it came to a verdict.
pub fn report_of(verification: Background) -> anyhow::Result<Value> {
    let output = verification.output();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(matches!(output.status.code(), Some(0 | 3)), "nazar-load verify: {said}");
    serde_json::from_slice(&output.stdout).context("parse the report of nazar-load verify")
}
