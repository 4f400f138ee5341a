//! What is left of a run or a search in a directory, read for a report.
//!
//! `run.json` or `search.json` has to be there. Other files may be missing, as a preload has no timeline; damage
//! is an error that names file and line, except for a last line that a killed run did not finish.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::hlog::{self, Histograms};
use super::latency::{ClockResult, Distribution, Latency, VisibleResult};
use super::timeline::{self, Second};
use crate::load::latency::meter::Stage;
use crate::load::report::VerifyReport;
use crate::load::run_file::{RunFile, State};
use crate::load::search::report::{self as search, SearchReport};

/// Where the result of a later `nazar-load verify DIR --json` is looked for.
pub const VERIFY_FILE: &str = "verify.json";

#[derive(Clone, Debug)]
pub enum Left {
    Run(Box<RunLeft>),
    Search(SearchReport),
}

/// A run's directory.
#[derive(Clone, Debug)]
pub struct RunLeft {
    pub run: RunFile,
    /// `None`: the run had no schedule.
    pub timeline: Option<Vec<Second>>,
    pub histograms: Option<Histograms>,
    /// What a reader of the report should know of the files.
    pub notes: Vec<String>,
}

impl Left {
    pub fn read(directory: &Path) -> anyhow::Result<Self> {
        if directory.join(search::FILE).exists() {
            return Ok(Left::Search(SearchReport::load(directory)?));
        }
        Ok(Left::Run(Box::new(RunLeft::read(directory)?)))
    }
}

impl RunLeft {
    pub fn read(directory: &Path) -> anyhow::Result<Self> {
        let mut left = Self {
            run: RunFile::load(directory)?,
            timeline: None,
            histograms: None,
            notes: Vec::new(),
        };
        let exists = |name: &str| directory.join(name).exists();
        if exists(timeline::FILE) {
            let (seconds, is_cut_off) = timeline::load_cut_off(directory)?;
            left.note_cut_off(timeline::FILE, is_cut_off);
            left.timeline = Some(seconds);
        }
        if exists(hlog::FILE) {
            let (histograms, is_cut_off) = hlog::load(directory)?;
            left.note_cut_off(hlog::FILE, is_cut_off);
            left.histograms = Some(histograms);
        }
        if left.run.verify.is_none() && exists(VERIFY_FILE) {
            left.take_verification(directory)?;
        }
        left.derive_what_is_missing();
        Ok(left)
    }

    fn note_cut_off(&mut self, name: &str, is_cut_off: bool) {
        if is_cut_off {
            self.notes.push(format!("{name} ends with half a line, which is left out"));
        }
    }

    /// A verification that came after the run, and what the run amounts to with it.
    fn take_verification(&mut self, directory: &Path) -> anyhow::Result<()> {
        let path = directory.join(VERIFY_FILE);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let report: VerifyReport =
            serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
        self.notes.push(format!("the verification is that of {VERIFY_FILE}"));
        self.run.verify = Some(report);
        if self.run.state != State::Running {
            self.run.verdict = Some(crate::load::verdict::Verdict::of(&self.run));
        }
        Ok(())
    }

    /// A run that was killed has no result, but the sums of what it has measured are the same figures.
    fn derive_what_is_missing(&mut self) {
        let Some(histograms) = self.histograms.as_ref().filter(|_| self.run.latency.is_none())
        else {
            return;
        };
        let clock = |stage: Stage| {
            let pair = histograms.of(stage);
            let uncorrected = Distribution::of(&pair.uncorrected, pair.uncorrected.len());
            ClockResult {
                corrected: Distribution::of(&pair.corrected, pair.corrected.len()),
                uncorrected: (stage != Stage::Schedule).then_some(uncorrected),
                negative: 0,
            }
        };
        let is_watched = !histograms.of(Stage::Visible).corrected.is_empty();
        let visible = is_watched.then(|| VisibleResult {
            clock: clock(Stage::Visible),
            one_in: 1,
            ..VisibleResult::default()
        });
        self.run.latency = Some(Latency {
            warmup_seconds: self.warmup().as_secs_f64(),
            schedule: clock(Stage::Schedule),
            ack: clock(Stage::Ack),
            visible,
        });
        self.notes.push(format!(
            "run.json has no result: latencies are those of {}, up to its last line",
            hlog::FILE
        ));
        if self.run.records == 0 {
            let sent = self.timeline.iter().flatten().map(|second| second.sent);
            self.run.records = sent.fold(0, u64::saturating_add);
            self.run.seconds = self.last_second();
            self.run.events_per_second =
                (self.run.records as f64 / self.run.seconds.max(1e-9)).round();
        }
    }

    fn last_second(&self) -> f64 {
        self.timeline.iter().flatten().map(|second| second.at_seconds).fold(0.0, f64::max)
    }

    /// As far as the lines of the timeline tell.
    fn warmup(&self) -> Duration {
        let lines = self.timeline.iter().flatten();
        let end = lines.take_while(|second| second.warmup).last().map(|second| second.at_seconds);
        Duration::try_from_secs_f64(end.unwrap_or(0.0)).unwrap_or_default()
    }
}
