//! What a run amounts to, in a word, a sentence and a sign.

use crate::load::run_file::{RunFile, State};
use crate::load::terminal::words::grouped;
use crate::load::verdict::Verdict;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Of the style sheet; never the only sign of it.
    pub class: &'static str,
    pub sign: &'static str,
    pub word: &'static str,
    pub why: String,
}

pub fn of(run: &RunFile) -> Standing {
    let standing = |class, sign, word, why| Standing { class, sign, word, why };
    if run.state == State::Running {
        let why = "run.json says that the run has not ended: it goes on, or was killed".to_owned();
        return standing("unsure", "…", "Not finished", why);
    }
    match Verdict::of(run) {
        Verdict::Good => standing("good", "✓", "Good", good(run)),
        Verdict::Interrupted => {
            let records = grouped(run.records);
            let why = format!(
                "a signal ended it after {records} records; the account of what was written is complete"
            );
            standing("unsure", "■", "Interrupted", why)
        }
        Verdict::Invalid => {
            let reasons = run.validity.iter().flat_map(|validity| &validity.reasons);
            let reasons = reasons.map(String::as_str).collect::<Vec<_>>().join("; ");
            let why =
                format!("{reasons}. These figures are not those of the load that was asked for");
            standing("unsure", "!", "Invalid", why)
        }
        Verdict::Mismatch => standing("bad", "✗", "Mismatch", mismatch(run)),
        Verdict::Threshold => {
            let missed = run.thresholds.iter().filter(|judged| !judged.holds);
            let missed = missed.map(|judged| format!("{}: {}", judged.threshold, judged.shown));
            let mut why = missed.collect::<Vec<_>>().join("; ");
            if run.state == State::Aborted {
                why += "; the run was ended for it";
            }
            standing("bad", "✗", "Threshold missed", why)
        }
    }
}

fn good(run: &RunFile) -> String {
    let mut said = Vec::new();
    if run.validity.is_some() {
        said.push("the schedule was held".to_owned());
    }
    match run.thresholds.len() {
        0 => {}
        1 => said.push("the threshold was kept".to_owned()),
        count => said.push(format!("all {count} thresholds were kept")),
    }
    match &run.verify {
        Some(_) => {
            said.push("what Redis holds is what the log says, without a difference".to_owned())
        }
        None => said.push("nothing was verified".to_owned()),
    }
    said.join("; ")
}

fn mismatch(run: &RunFile) -> String {
    let Some(report) = &run.verify else { return String::new() };
    let count = grouped(report.differences.count);
    match report.differences.first.first() {
        Some(first) => format!("{count} differences between the log and Redis; the first: {first}"),
        None => format!("{count} differences between the log and Redis"),
    }
}
