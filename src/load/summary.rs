//! What a run was, for people.

use std::fmt::Write as _;

use super::artefacts::latency::Distribution;
use super::latency::meter::Stage;
use super::run_file::{RunFile, State};
use super::verdict::{Validity, Verdict};

/// Everything that is said at the end of a run.
pub fn text(run: &RunFile) -> String {
    let mut text = run.table();
    let rate = super::plot::short(run.events_per_second);
    let _ = writeln!(text, "\n{} records in {:.1} s, {rate}/s", run.records, run.seconds);
    latencies(&mut text, run);
    if let Some(report) = &run.verify {
        let _ = writeln!(text, "{}", report.text());
    }
    for judged in &run.thresholds {
        let sign = if judged.holds { "✓" } else { "✗" };
        let _ = writeln!(text, "{sign} {:<32}{}", judged.threshold, judged.shown);
    }
    if let Some(validity) = &run.validity {
        validity_lines(&mut text, validity);
    }
    if run.state == State::Running {
        text += "not finished: the run goes on, or was killed\n";
    }
    if run.state == State::Aborted {
        text += "ended early: a threshold was missed for good\n";
    }
    let verdict = match Verdict::of(run) {
        Verdict::Good => return text,
        Verdict::Interrupted => "interrupted: the account of what was written is complete",
        Verdict::Invalid => "invalid: these figures are not those of the load that was asked for",
        Verdict::Mismatch => "what was published is not what the log says",
        Verdict::Threshold => "a threshold was missed",
    };
    let _ = writeln!(text, "{verdict}");
    text
}

fn latencies(text: &mut String, run: &RunFile) {
    let Some(latency) = &run.latency else { return };
    let header = Distribution::default().percentiles().map(|(name, _)| format!("{name:>10}"));
    let _ =
        writeln!(text, "\n{:<16}{}{:>10}{:>12}", "latency, ms", header.concat(), "max", "samples");
    for stage in Stage::ALL {
        let Some(clock) = latency.clock(stage) else { continue };
        row(text, stage.name(), &clock.corrected);
        if let Some(uncorrected) = &clock.uncorrected {
            row(text, "  from sending", uncorrected);
        }
    }
    let mut notes = vec!["from the intended time".to_owned()];
    if latency.warmup_seconds > 0.0 {
        notes.push(format!("without the first {} s", latency.warmup_seconds));
    }
    if let Some(visible) = &latency.visible {
        notes.push(format!("visible: looked every {} ms", visible.poll_ms));
        if visible.one_in > 1 {
            notes.push(format!("one record in {} measured", visible.one_in));
        }
        if visible.missing > 0 {
            notes.push(format!("{} records not seen by the end", visible.missing));
        }
    }
    let _ = writeln!(text, "{}\n", notes.join("; "));
}

fn row(text: &mut String, name: &str, distribution: &Distribution) {
    let cell = |value: Option<f64>| match value {
        Some(ms) => format!("{ms:>10.2}"),
        None => format!("{:>10}", "-"),
    };
    let cells = distribution.percentiles().map(|(_, value)| cell(value)).concat();
    let max = cell((distribution.samples > 0).then_some(distribution.max_ms));
    let _ = writeln!(text, "{name:<16}{cells}{max}{:>12}", distribution.samples);
}

fn validity_lines(text: &mut String, validity: &Validity) {
    if validity.valid {
        let share = 100.0 * validity.late as f64 / validity.records.max(1) as f64;
        let _ = writeln!(
            text,
            "the schedule was held: {share:.2}% of the records more than {} ms late",
            validity.max_behind_ms
        );
    }
    validity.reasons.iter().for_each(|reason| _ = writeln!(text, "✗ {reason}"));
}
