//! All closed windows of a log against what was published of them.
//!
//! Which windows must exist depends on how far closing had to come. After a bounded run that
//! is everything with content. Otherwise it is what the daemon says it has closed, and in any
//! case what every partition's own watermark has passed: a daemon that closes nothing is
//! different, not excused.
//!
//! While no event arrived after its pane was closed, every closed window is a pure function
//! of the log, whether it was closed by watermarks or by the broker's word that partitions
//! were quiet. Once there were such events, that holds for proven windows only, and only
//! those are judged. (A quiet window that was empty when it was closed is followed by others that have
//! no entry, until one had content in time.)

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::compare::{self, Differences, Kept};
use super::observed::{Fields, Keys, Observed};
use super::oracle::definitions::{Definitions, Window};
use super::oracle::facts::Facts;
use super::oracle::window::{Counter, Truth, demanded_ends};
use super::oracle::{join, threads};
use super::report::WindowsReport;

/// What meta says about closing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closing {
    /// A bounded run has ended: everything is closed.
    pub ended: bool,
    pub events_after_close: u64,
    pub over_cap: u64,
    /// By window label: the end of the newest closed window.
    pub closed_through: BTreeMap<String, i64>,
}

impl Closing {
    pub fn from_meta(meta: &Fields) -> Self {
        let count = |name: &str| meta.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        let closed_through = meta.iter().filter_map(|(field, value)| {
            let window = field.strip_prefix("closed_through:")?;
            Some((window.to_owned(), value.parse().ok()?))
        });
        Self {
            ended: meta.get("ended").is_some_and(|value| value == "1"),
            events_after_close: count("events_after_close"),
            over_cap: count("over_cap"),
            closed_through: closed_through.collect(),
        }
    }

    /// The last end that must have been closed.
    fn through(&self, window: &Window, facts: &Facts, lateness_ms: i64) -> i64 {
        if self.ended {
            return i64::MAX;
        }
        self.stated(&window.label).max(proven_through(facts, lateness_ms))
    }

    fn stated(&self, label: &str) -> i64 {
        self.closed_through.get(label).copied().unwrap_or(i64::MIN)
    }

    /// Sizes of which the last window that is [`due`] has not been closed yet.
    pub fn behind<'a>(&self, due: &'a BTreeMap<String, i64>) -> Vec<&'a str> {
        let is_behind = |(label, end): &(&String, &i64)| !self.ended && self.stated(label) < **end;
        due.iter().filter(is_behind).map(|(label, _)| label.as_str()).collect()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.ended {
            notes.push(
                "no bounded run has ended: judged is what was closed or had to be closed".into(),
            );
        }
        if self.events_after_close > 0 {
            notes.push(format!(
                "{} events arrived after their pane was closed: only proven windows are judged",
                self.events_after_close
            ));
        }
        if self.over_cap > 0 {
            notes.push(format!(
                "{} times an entity was counted under `__other__`: views cannot be equal",
                self.over_cap
            ));
        }
        notes
    }
}

/// By window label: the end of the newest window with content that every partition's own watermark
/// has passed. A daemon that has merged the whole log closes it within seconds.
pub fn due(definitions: &Definitions, facts: &Facts) -> BTreeMap<String, i64> {
    let through = proven_through(facts, definitions.lateness_ms);
    let last = |window: &Window| {
        let ends = demanded_ends(window, facts).into_iter();
        Some((window.label.clone(), ends.filter(|&end| end <= through).max()?))
    };
    definitions.windows.iter().filter_map(last).collect()
}

/// What every partition's own watermark has passed.
fn proven_through(facts: &Facts, lateness_ms: i64) -> i64 {
    let newest = facts.partitions.iter().map(|trace| trace.newest.last().map(|last| last.1));
    newest.min().flatten().map_or(i64::MIN, |newest| newest - lateness_ms)
}

/// Compares every window of every size.
pub fn compare_closed_windows(
    definitions: &Definitions,
    keys: &Keys,
    facts: &Facts,
    observed: &mut dyn Observed,
    differences: &mut Differences,
    notes: &mut Vec<String>,
) -> anyhow::Result<WindowsReport> {
    let closing = Closing::from_meta(&observed.hash(&keys.meta())?);
    notes.extend(closing.notes());
    let mut pass = Pass {
        definitions,
        keys,
        facts,
        closing,
        report: WindowsReport::default(),
        known_keys: HashSet::new(),
        not_judged: HashSet::new(),
    };
    for window in &definitions.windows {
        pass.window(window, observed, differences, notes)?;
    }
    pass.surplus_keys(observed, differences)?;
    Ok(pass.report)
}

struct Pass<'a> {
    definitions: &'a Definitions,
    keys: &'a Keys,
    facts: &'a Facts,
    closing: Closing,
    report: WindowsReport,
    /// Keys of boards and sketches whose window has content.
    known_keys: HashSet<String>,
    /// Windows with content by label and end, of which neither presence nor absence is wrong.
    not_judged: HashSet<(String, i64)>,
}

impl Pass<'_> {
    fn window(
        &mut self,
        window: &Window,
        observed: &mut dyn Observed,
        differences: &mut Differences,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<()> {
        let history = self.keys.history(&window.label);
        let entries = observed.history(&history)?;
        let content: BTreeSet<i64> = demanded_ends(window, self.facts).into_iter().collect();
        compare::compare_surplus(&history, &content, window.closed_step_ms, &entries, differences);
        let quiet = entries.values().filter(|entry| is_quiet(entry)).count();
        if quiet > 0 {
            notes.push(format!(
                "{}: {quiet} of {} windows were closed on the broker's word that partitions were quiet",
                window.label,
                entries.len()
            ));
        }
        let through = self.closing.through(window, self.facts, self.definitions.lateness_ms);
        let demanded: Vec<i64> = content.range(..=through).copied().collect();
        // A daemon that runs goes on closing while we look.
        let later = content.range(through.saturating_add(1)..);
        self.not_judged.extend(later.map(|&end| (window.label.clone(), end)));
        // What is trimmed is the oldest of all that was closed, empty windows included.
        let closed: BTreeSet<i64> = demanded.iter().chain(entries.keys()).copied().collect();
        let is_kept = |keep: usize, end: i64| keep == 0 || closed.range(end + 1..).count() < keep;
        let limits = &self.definitions.limits;
        each_truth(self.definitions, self.facts, window, &demanded, |truth| {
            let names = compare::closed_keys(self.definitions, self.keys, &window.label, &truth);
            self.known_keys.extend(names.boards);
            self.known_keys.extend(names.sketches.into_iter().map(|(key, _)| key));
            let entry = entries.get(&truth.end_ms);
            let is_trimmed = entry.is_none() && !is_kept(limits.history_keep, truth.end_ms);
            let is_quietly_closed = || match entry {
                Some(entry) => is_quiet(entry),
                None => was_passed_empty(&entries, truth.end_ms),
            };
            let is_open = self.closing.events_after_close > 0 && is_quietly_closed();
            if is_trimmed || is_open {
                self.report.not_judged += 1;
                self.not_judged.insert((window.label.clone(), truth.end_ms));
                return Ok(());
            }
            let (demanded, found) = compare::compare_closed(
                self.definitions,
                self.keys,
                &window.label,
                &truth,
                Kept { entry, has_views: is_kept(limits.closed_keep, truth.end_ms) },
                observed,
                differences,
            )?;
            self.report.demanded.add(demanded);
            self.report.found.add(found);
            Ok(())
        })
    }

    /// Closed boards and distinct counts that nothing demands.
    fn surplus_keys(
        &self,
        observed: &mut dyn Observed,
        differences: &mut Differences,
    ) -> anyhow::Result<()> {
        // Other keys beside these are bookkeeping and no views.
        for beginning in self.keys.closed_views() {
            for key in observed.keys(&beginning)? {
                let mut parts = key.rsplitn(3, ':');
                let end = parts.next().and_then(|end| end.parse().ok());
                let window = parts.next().unwrap_or_default().to_owned();
                let is_unjudged = end.is_some_and(|end| self.not_judged.contains(&(window, end)));
                if !self.known_keys.contains(&key) && !is_unjudged {
                    let expected = "no such key, for its window has no such content";
                    differences.add(&key, "", expected, "a key");
                }
            }
        }
        Ok(())
    }
}

/// Whether closing may have passed a window without an entry: after the first empty window the
/// next one that has an entry is one with content. What came for those in between came after close.
fn was_passed_empty(entries: &BTreeMap<i64, Fields>, end_ms: i64) -> bool {
    let before = entries.range(..end_ms).next_back();
    before.is_some_and(|(_, entry)| {
        is_quiet(entry) && entry.get("events").is_none_or(|events| events == "0")
    })
}

/// Whether some partition's part in it rests on the broker's word instead of its own watermark.
fn is_quiet(entry: &Fields) -> bool {
    let stated = |name: &str| entry.get(name).map(String::as_str);
    stated("quiet").is_some_and(|quiet| quiet != "0") || stated("proven") == Some("0")
}

/// Recounts the windows that end at `ends` on all cores, and hands them over in order.
fn each_truth(
    definitions: &Definitions,
    facts: &Facts,
    window: &Window,
    ends: &[i64],
    mut each: impl FnMut(Truth) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let threads = threads();
    std::thread::scope(|scope| {
        let (receivers, workers): (Vec<_>, Vec<_>) = (0..threads)
            .map(|first| {
                // One truth in waiting per thread: enough to stay busy, little to hold.
                let (sender, receiver) = std::sync::mpsc::sync_channel(1);
                let worker = scope.spawn(move || {
                    let mut counter = Counter::new(definitions, facts);
                    for &end in ends.iter().skip(first).step_by(threads) {
                        // The receiver is gone once an error has ended the comparison.
                        if sender.send(counter.count(window, end, |_| true)).is_err() {
                            return;
                        }
                    }
                });
                (receiver, worker)
            })
            .unzip();
        let mut result = Ok(());
        for at in 0..ends.len() {
            match receivers[at % threads].recv() {
                Ok(truth) => result = each(truth),
                // The thread has panicked, which joining it will say.
                Err(_) => break,
            }
            if result.is_err() {
                break;
            }
        }
        drop(receivers);
        for worker in workers {
            join(worker)?;
        }
        result
    })
}
