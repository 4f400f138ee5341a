//! The table: a line for people while it goes on, JSON lines for programs, Markdown for readers.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::Context;

use crate::options::Options;
use crate::outcome::{Outcome, Verdict};

const PROOF_CHARS_MAX: usize = 400;

/// `test kill-active ... ok (41.2 s; rto 3.1 s, over 0, under 0)`, with what is wrong below.
pub fn line(outcome: &Outcome, seconds: f64) -> String {
    let verdict = match outcome.verdict() {
        Verdict::Held => "ok",
        Verdict::Failed => "FAILED",
        Verdict::Known => "known to fail",
    };
    let Outcome { fault, produced, over, under, lost, rto_max_seconds, windows, .. } = outcome;
    let Outcome { samples, flushes, .. } = outcome;
    let mut text = format!(
        "test {fault} ... {verdict} ({seconds:.0} s; produced {produced}, over {over}, under {under}, \
         lost {lost}, windows {windows}, samples {samples} of {flushes} flushes, rto {rto_max_seconds:.1} s, stale {:.1} s)",
        outcome.staleness_max_seconds
    );
    let proofs =
        outcome.proofs.iter().map(|proof| shortened(proof)).collect::<Vec<_>>().join(" | ");
    if !proofs.is_empty() {
        let _ = write!(text, "\n    {}", shortened(&proofs));
    }
    for failure in &outcome.failures {
        let _ = write!(text, "\n    WRONG: {failure}");
    }
    if let Some(known) = &outcome.known {
        let _ = write!(text, "\n    known: {known}");
    }
    text
}

/// Writes the JSON lines, and with `--report` the Markdown; returns where. Of some scenarios, by a
/// filter, the rows replace those that the report has.
pub fn save(outcomes: &[Outcome], options: &Options) -> anyhow::Result<PathBuf> {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults.jsonl");
    let report = options.report.clone();
    let place = report.clone().unwrap_or_else(|| scratch.clone());
    let circumstances = circumstances(options);
    let mut outcomes = outcomes.to_vec();
    outcomes.iter_mut().for_each(|outcome| outcome.circumstances.clone_from(&circumstances));
    if report.is_some() && !options.filter.is_empty() {
        outcomes = replaced(&place.with_extension("jsonl"), outcomes)?;
    }
    let mut lines = String::new();
    for outcome in &outcomes {
        lines += &serde_json::to_string(outcome).context("encode an outcome")?;
        lines.push('\n');
    }
    std::fs::create_dir_all(env!("CARGO_TARGET_TMPDIR"))?;
    let json = if report.is_some() { place.with_extension("jsonl") } else { scratch };
    std::fs::write(&json, lines).with_context(|| format!("write {}", json.display()))?;
    if report.is_some() {
        std::fs::write(&place, markdown(&outcomes))
            .with_context(|| format!("write {}", place.display()))?;
    }
    Ok(place)
}

/// The rows of an earlier report, with new ones in the place of those of their names.
fn replaced(earlier: &Path, mut new: Vec<Outcome>) -> anyhow::Result<Vec<Outcome>> {
    let lines = std::fs::read_to_string(earlier)
        .with_context(|| format!("read {}, whose rows are to be replaced", earlier.display()))?;
    let mut outcomes = Vec::new();
    for line in lines.lines() {
        let old: Outcome = serde_json::from_str(line).context("decode an earlier outcome")?;
        match new.iter().position(|outcome| outcome.fault == old.fault) {
            Some(number) => outcomes.push(new.remove(number)),
            None => outcomes.push(old),
        }
    }
    outcomes.append(&mut new);
    Ok(outcomes)
}

/// Under which circumstances, and which rows if those differ.
fn under(outcomes: &[Outcome]) -> String {
    let mut rows: Vec<(&str, Vec<&str>)> = Vec::new();
    for Outcome { circumstances, fault, .. } in outcomes {
        match rows.iter_mut().find(|(known, _)| known == circumstances) {
            Some((_, faults)) => faults.push(fault),
            None => rows.push((circumstances, vec![fault])),
        }
    }
    rows.sort_by_key(|(_, faults)| std::cmp::Reverse(faults.len()));
    let mut lines = rows.iter().enumerate().map(|(number, (circumstances, faults))| match number {
        0 => (*circumstances).to_owned(),
        _ => format!("{}: {circumstances}", faults.join(", ")),
    });
    let first = lines.next().unwrap_or_default();
    lines.fold(first, |text, line| format!("{text}\n\n{line}"))
}

fn markdown(outcomes: &[Outcome]) -> String {
    let mut text = String::from(HEAD);
    let _ = writeln!(text, "{}\n", under(outcomes));
    text += "| fault | what happens | runs | produced | counted | over | under | lost | windows | samples / flushes | after close | RTO p50 / max, s | stale max, s | RSS peak, MiB | held |\n";
    text += "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";
    for outcome in
        outcomes.iter().filter(|outcome| outcome.runs > 0 || !outcome.failures.is_empty())
    {
        let held = match outcome.verdict() {
            Verdict::Held => "yes",
            Verdict::Failed => "**no**",
            Verdict::Known => "no, known",
        };
        let Outcome { fault, what, runs, produced, counted, .. } = outcome;
        let Outcome { over, under, lost, windows, samples, flushes, .. } = outcome;
        let _ = writeln!(
            text,
            "| {fault} | {what} | {runs} | {produced} | {counted} | {over} | {under} | {lost} | {windows} | {samples} / {flushes} | {} | {:.1} / {:.1} | {:.1} | {} | {held} |",
            outcome.events_after_close,
            outcome.rto_p50_seconds,
            outcome.rto_max_seconds,
            outcome.staleness_max_seconds,
            outcome.rss_peak_bytes >> 20,
        );
    }
    let known: Vec<_> = outcomes.iter().filter_map(|o| Some((o, o.known.as_ref()?))).collect();
    if !known.is_empty() {
        text += "\n## Known to fail\n\n";
        for (outcome, why) in known {
            let _ = writeln!(text, "- {}: {why}", outcome.fault);
        }
    }
    text += "\n## How each fault was seen to have happened\n\n";
    for outcome in outcomes.iter().filter(|outcome| !outcome.proofs.is_empty()) {
        let _ = writeln!(text, "- {}: {}", outcome.fault, shortened(&outcome.proofs[0]));
    }
    text
}

const HEAD: &str = "\
# Reliability

`make faults` runs real daemons, a real Kafka broker and a real Redis, lets a generator write, and breaks something;
this page is what it wrote. Nothing here is edited by hand; [RELIABILITY.jsonl](RELIABILITY.jsonl) has the same for
programs.

After each run `nazar-load verify` recounts the log with code that shares nothing with the daemon, and compares every
closed window, and samples of the latest views, number by number. How to read the columns:

- *produced*: records that Kafka acknowledged. *counted*: those that the views explain, each applied or in one counter
  of the ledger; a row holds only if the two are equal and the ledger of every daemon closes.
- *over*, *under*: members, fields, distinct counts and windows that state more, or less, than the log. 0 is the only
  good number.
- *lost*: closed views and history entries that went with Redis' own data, where the fault takes it, of windows older
  than the last ten of each size, which the writer has in memory. Those and everything closed later must be there.
- *windows*, *samples / flushes*: how many closed windows were compared, and how many samples of latest views (one
  MULTI each: boards, totals and meta of one window) from how many different flushes. Distinct counts of single entities follow the rest of a view within
  moments: what a dying writer left unfinished there is not held against it before the end.
- *after close*: records that came after their window was closed, as when a producer was silent for longer than the
  lateness. Then only windows proven by every log are compared.
- *RTO*: from the fault, or its end if it lasts, until the views were written anew with more in them than ever before
  and, where Redis lost data, the closed windows that the writer has in memory stand again.
  Strikes that hit an instance which only stood by count as well.
- *stale*: the longest time, while the load went on, in which the views did not come to hold more.

A run without a failure bounds little: 0 of 30 says less than one in ten, at 95 %.

";

fn circumstances(options: &Options) -> String {
    let today = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}; {}; {}; Kafka {}; {cores} cores, shared by everything, {} scenarios at a time; {} build; seed {}; lease 2 s, session 3 s.",
        &today[..10],
        first_line(Command::new(env!("CARGO_BIN_EXE_nazar")).arg("--version")),
        first_line(Command::new("redis-server").arg("--version"))
            .split(" sha=")
            .next()
            .unwrap_or_default(),
        kafka_version(),
        options.jobs(),
        if cfg!(debug_assertions) { "debug" } else { "release" },
        options.seed,
    )
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").to_owned()
}

fn kafka_version() -> String {
    let pom = include_str!("../../scripts/kafka.d/pom.xml");
    let version = pom.split_once("<kafka.version>").and_then(|(_, rest)| rest.split_once('<'));
    version.map_or("unknown", |(version, _)| version).to_owned()
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(PROOF_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
