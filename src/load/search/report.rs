//! What a search has found, for people and for programs.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::load::plot::short;
use crate::load::report::exit;
use crate::load::threshold::Judged;

pub const FILE: &str = "search.json";
/// Changes when a reader of the old form would misread the new one.
pub const FORMAT: u32 = 1;

/// `search.json`. Rates are in records per second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchReport {
    pub format: u32,
    pub version: String,
    pub slos: Vec<String>,
    pub min: f64,
    pub max: f64,
    pub within: f64,
    /// It was ended before the interval was known.
    pub interrupted: bool,
    /// The highest rate that holds is at least this; `null`: not even `min` holds.
    pub low: Option<f64>,
    /// And below this; `null`: even `max` holds.
    pub high: Option<f64>,
    /// Each end was probed until it had answered alike twice more often than not.
    pub confirmed: bool,
    /// In the order in which they were run.
    pub probes: Vec<Probe>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    pub rate: f64,
    pub holds: bool,
    /// Whether the generator held its schedule. If not, it or the broker is the limit.
    pub valid: bool,
    pub records: u64,
    pub thresholds: Vec<Judged>,
    /// Records a second by which the backlog grew; `null`: not watched.
    pub backlog_growth: Option<f64>,
    /// Why it does not hold.
    pub reasons: Vec<String>,
    /// Where its artefacts are.
    pub directory: String,
}

impl Probe {
    pub fn line(&self) -> String {
        let sign = if self.holds { "✓" } else { "✗" };
        let shown = |judged: &Judged| format!("{} {}", judged.threshold, judged.shown);
        let why = match self.holds {
            true => self.thresholds.iter().map(shown).collect::<Vec<_>>().join("; "),
            false => self.reasons.join("; "),
        };
        format!("{sign} {:>7}/s  {why}", short(self.rate))
    }
}

impl SearchReport {
    pub fn text(&self) -> String {
        let mut text = String::new();
        for probe in &self.probes {
            let _ = writeln!(text, "{}", probe.line());
        }
        let slos = self.slos.join(", ");
        let _ = writeln!(text, "{slos}: {}", self.answer());
        if self.is_limited_by_the_generator() {
            text +=
                "the limit was the generator or the broker: it did not hold its schedule there\n";
        }
        text
    }

    /// The interval in words.
    pub fn answer(&self) -> String {
        let answer = match (self.low, self.high) {
            (Some(low), Some(high)) => {
                format!(
                    "the highest rate that holds is between {} and {}/s",
                    short(low),
                    short(high)
                )
            }
            (None, Some(high)) => format!("not even {}/s holds", short(high)),
            (Some(low), None) if low >= self.max => format!("even {}/s holds", short(low)),
            (Some(low), None) => format!("{}/s holds; more is not known", short(low)),
            (None, None) => "nothing is known".to_owned(),
        };
        let confirmed = match (self.interrupted, self.confirmed) {
            (true, _) => "; interrupted",
            (false, true) => ", each end confirmed",
            (false, false) => "; the ends contradict themselves",
        };
        format!("{answer}{confirmed}")
    }

    /// Whether the rate that does not hold is one that the daemon has never seen.
    pub fn is_limited_by_the_generator(&self) -> bool {
        let mut failed = self.probes.iter().filter(|probe| Some(probe.rate) == self.high);
        failed.any(|probe| !probe.valid)
    }

    pub fn exit_code(&self) -> u8 {
        match self.low {
            _ if self.interrupted => exit::INTERRUPTED,
            Some(_) => exit::GOOD,
            None => exit::THRESHOLD,
        }
    }

    pub fn load(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(FILE);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let report: Self =
            serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
        ensure!(
            report.format == FORMAT,
            "{} has format {}, this version reads {FORMAT}",
            path.display(),
            report.format
        );
        Ok(report)
    }

    pub fn save(&self, directory: &Path) -> anyhow::Result<()> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("create {}", directory.display()))?;
        let json = serde_json::to_string_pretty(self).context("encode the search")? + "\n";
        let path = directory.join(FILE);
        std::fs::write(&path, json).with_context(|| format!("write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(rate: f64, reasons: &[&str]) -> Probe {
        let judged = Judged {
            threshold: "visible.p99<2s".into(),
            value: Some(812.0),
            holds: true,
            shown: "812ms".into(),
        };
        Probe {
            rate,
            holds: reasons.is_empty(),
            valid: !reasons.iter().any(|reason| reason.contains("schedule")),
            records: 100,
            thresholds: vec![judged],
            backlog_growth: None,
            reasons: reasons.iter().map(|&reason| reason.to_owned()).collect(),
            directory: "probe-01".into(),
        }
    }

    #[test]
    fn a_search_ends_with_an_interval() {
        let report = SearchReport {
            format: 1,
            version: "0".into(),
            slos: vec!["visible.p99<2s".into()],
            min: 1e3,
            max: 1e6,
            within: 0.1,
            interrupted: false,
            low: Some(47_500.0),
            high: Some(51_000.0),
            confirmed: true,
            probes: vec![probe(47_500.0, &[]), probe(51_000.0, &["the schedule was not held"])],
        };
        insta::assert_snapshot!(report.text(), @"
        ✓   47.5k/s  visible.p99<2s 812ms
        ✗     51k/s  the schedule was not held
        visible.p99<2s: the highest rate that holds is between 47.5k and 51k/s, each end confirmed
        the limit was the generator or the broker: it did not hold its schedule there
        ");
    }
}
