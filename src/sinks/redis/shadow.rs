//! What we know Redis to hold, so that only changes are written.
//!
//! A plan compares; before it is carried out its keys are doubted, and once Redis has confirmed
//! it is applied. What a failed or cancelled flush may have written is thus written again by
//! the next one, whatever that one wants to say.

use std::collections::{HashMap, HashSet};
use std::hash::RandomState;
use std::time::{Duration, Instant};

use super::content::View;

/// The keys of one kind of view of one window.
#[derive(Debug, Default)]
pub struct Shadow {
    known: HashMap<String, Known>,
    state: RandomState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Removed, or found empty: nothing to remove again.
    Absent,
    /// It may stand there, from before or from a write that may have failed; what it says is
    /// not known.
    Unknown,
    Present {
        digest: u64,
        refreshed: Instant,
    },
}

/// What a flush has to do about a set of views.
#[derive(Debug, Default)]
pub struct Plan<'a> {
    pub write: Vec<(View<'a>, u64)>,
    pub remove: Vec<String>,
    /// Unchanged, but half of their time to live has passed.
    pub refresh: Vec<String>,
    pub unchanged: u64,
}

/// What a write changed, to be applied when it is known to have landed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    pub written: Vec<(String, u64)>,
    pub removed: Vec<String>,
}

impl Plan<'_> {
    pub fn effects(&self) -> Effects {
        Effects {
            written: self.write.iter().map(|(view, digest)| (view.key.clone(), *digest)).collect(),
            removed: self.remove.clone(),
        }
    }
}

impl Shadow {
    /// Keys that stand in Redis with content unknown to us, such as those of an earlier run.
    pub fn load(&mut self, keys: impl IntoIterator<Item = String>) {
        self.known = keys.into_iter().map(|key| (key, Known::Unknown)).collect();
    }

    /// Compares views with what Redis holds. A key that was never seen counts as unknown: an
    /// empty view removes it once.
    pub fn plan<'a>(
        &self,
        views: impl IntoIterator<Item = View<'a>>,
        now: Instant,
        half_life: Duration,
    ) -> Plan<'a> {
        let mut plan = Plan::default();
        for view in views {
            let known = self.known.get(&view.key).copied().unwrap_or(Known::Unknown);
            if view.content.is_empty() {
                match known {
                    Known::Absent => plan.unchanged += 1,
                    _ => plan.remove.push(view.key),
                }
                continue;
            }
            let current = view.content.digest(&self.state);
            match known {
                Known::Present { digest, refreshed } if digest == current => {
                    plan.unchanged += 1;
                    if now.saturating_duration_since(refreshed) >= half_life {
                        plan.refresh.push(view.key);
                    }
                }
                _ => plan.write.push((view, current)),
            }
        }
        plan
    }

    /// As [`Shadow::plan`], for views that come and go: a known key that is not among them is
    /// to be removed.
    pub fn plan_all<'a>(
        &self,
        views: impl IntoIterator<Item = View<'a>>,
        now: Instant,
        half_life: Duration,
    ) -> Plan<'a> {
        let views: Vec<View<'a>> = views.into_iter().collect();
        let named: HashSet<&str> = views.iter().map(|view| view.key.as_str()).collect();
        let mut gone: Vec<String> = self
            .known
            .iter()
            .filter(|(key, known)| **known != Known::Absent && !named.contains(key.as_str()))
            .map(|(key, _)| key.clone())
            .collect();
        gone.sort_unstable();
        let mut plan = self.plan(views, now, half_life);
        plan.remove.append(&mut gone);
        plan
    }

    /// These changes are about to be written.
    pub fn doubt(&mut self, effects: &Effects) {
        let keys = effects.written.iter().map(|(key, _)| key).chain(&effects.removed);
        for key in keys {
            self.known.insert(key.clone(), Known::Unknown);
        }
    }

    /// These changes have been written.
    pub fn apply(&mut self, effects: Effects, now: Instant) {
        for (key, digest) in effects.written {
            self.known.insert(key, Known::Present { digest, refreshed: now });
        }
        for key in effects.removed {
            self.known.insert(key, Known::Absent);
        }
    }

    /// Drops keys that are known to be absent; for views that come and go.
    pub fn compact(&mut self) {
        self.known.retain(|_, known| *known != Known::Absent);
    }

    /// The time to live of a key was set anew.
    pub fn refreshed(&mut self, key: &str, now: Instant) {
        if let Some(Known::Present { refreshed, .. }) = self.known.get_mut(key) {
            *refreshed = now;
        }
    }

    /// The key turned out to be gone: it is written again when its view is next due.
    pub fn forget(&mut self, key: &str) {
        self.known.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::super::content::Content;
    use super::*;

    const HALF: Duration = Duration::from_secs(100);

    fn view<'a>(key: &str, value: &'a [u8]) -> View<'a> {
        View { key: key.to_owned(), content: Content::Value(value) }
    }

    fn summary(plan: &Plan) -> (Vec<String>, Vec<String>, Vec<String>, u64) {
        let written = plan.write.iter().map(|(view, _)| view.key.clone()).collect();
        (written, plan.remove.clone(), plan.refresh.clone(), plan.unchanged)
    }

    #[test]
    fn only_changes_are_planned() {
        let start = Instant::now();
        let mut shadow = Shadow::default();
        let first = shadow.plan([view("a", b"1"), view("b", b"")], start, HALF);
        assert_eq!(summary(&first), (vec!["a".into()], vec!["b".into()], vec![], 0));
        // Not applied: the next plan says the same.
        let again = shadow.plan([view("a", b"1"), view("b", b"")], start, HALF);
        assert_eq!(summary(&again), summary(&first));
        shadow.apply(first.effects(), start);
        let same = shadow.plan([view("a", b"1"), view("b", b"")], start, HALF);
        assert_eq!(summary(&same), (vec![], vec![], vec![], 2));
        let changed = shadow.plan([view("a", b""), view("b", b"2")], start, HALF);
        assert_eq!(summary(&changed), (vec!["b".into()], vec!["a".into()], vec![], 0));
    }

    /// A write that was doubted and never confirmed may or may not stand there.
    #[test]
    fn doubted_keys_are_written_again() {
        let start = Instant::now();
        let mut shadow = Shadow::default();
        let plan = shadow.plan([view("a", b"1"), view("b", b"1")], start, HALF);
        shadow.apply(plan.effects(), start);
        let failed = shadow.plan([view("a", b"2"), view("b", b"")], start, HALF);
        shadow.doubt(&failed.effects());
        let back = shadow.plan([view("a", b"1"), view("b", b"1")], start, HALF);
        assert_eq!(summary(&back), (vec!["a".into(), "b".into()], vec![], vec![], 0));
    }

    #[test]
    fn unchanged_keys_are_refreshed_at_half_life() {
        let start = Instant::now();
        let mut shadow = Shadow::default();
        let plan = shadow.plan([view("a", b"1")], start, HALF);
        shadow.apply(plan.effects(), start);
        let at = |shadow: &Shadow, seconds| {
            let now = start + Duration::from_secs(seconds);
            summary(&shadow.plan([view("a", b"1")], now, HALF)).2
        };
        assert_eq!(at(&shadow, 99), Vec::<String>::new());
        assert_eq!(at(&shadow, 100), ["a"]);
        shadow.refreshed("a", start + HALF);
        assert_eq!(at(&shadow, 199), Vec::<String>::new());
        shadow.forget("a");
        assert_eq!(summary(&shadow.plan([view("a", b"1")], start, HALF)).0, ["a"]);
    }

    #[test]
    fn keys_that_left_are_removed_also_those_of_an_earlier_run() {
        let start = Instant::now();
        let mut shadow = Shadow::default();
        shadow.load(["old".to_owned(), "kept".to_owned()]);
        let plan = shadow.plan_all([view("kept", b"1")], start, HALF);
        assert_eq!(summary(&plan), (vec!["kept".into()], vec!["old".into()], vec![], 0));
        shadow.apply(plan.effects(), start);
        shadow.compact();
        let plan = shadow.plan_all([], start, HALF);
        assert_eq!(summary(&plan), (vec![], vec!["kept".into()], vec![], 0));
    }
}
