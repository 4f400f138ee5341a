//! One hash per entity that stands on some latest board: which of them change with a window.
//!
//! The hashes lie outside the atomic view. An entity's fields of a window are written when the
//! window is due and the entity stands on one of its boards, removed when it has left them, and
//! the hash is deleted when it has left the boards of all windows.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::keys::Keys;
use crate::event::Metric;
use crate::pipeline::definitions::Definitions;
use crate::pipeline::view::EntityView;

type Metrics = [u64; Metric::COUNT];

#[derive(Debug, Default)]
pub struct Entities {
    known: HashMap<String, Entity>,
    /// Windows that were written since the keys of an earlier run were loaded. Once all were,
    /// what is still without a window has left.
    written: Vec<bool>,
}

#[derive(Clone, Debug)]
struct Entity {
    /// By window: what the hash says.
    says: Vec<Says>,
    /// The hash is of an earlier run, so it must be deleted before the first write.
    stale: bool,
    refreshed: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Nothing,
    /// A write may have failed.
    Unknown,
    Metrics(Metrics),
}

/// What happens to one hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Delete,
    Write {
        /// Delete what stands there first.
        afresh: bool,
        /// The hash may be new: add it to the index.
        index: bool,
        metrics: Option<Metrics>,
    },
}

/// Changes by key, for one window.
#[derive(Debug, Default)]
pub struct Plan {
    pub changes: BTreeMap<String, Change>,
    pub unchanged: u64,
}

impl Plan {
    /// Those whose change is such.
    pub fn keys(&self, is_such: impl Fn(&Change) -> bool) -> Vec<&str> {
        let such = self.changes.iter().filter(|(_, change)| is_such(change));
        such.map(|(key, _)| key.as_str()).collect()
    }
}

impl Entities {
    pub fn new(windows: usize) -> Self {
        Entities { known: HashMap::new(), written: vec![false; windows] }
    }

    /// Hashes of an earlier run.
    pub fn load(&mut self, keys: impl IntoIterator<Item = String>, now: Instant) {
        let windows = self.written.len();
        let stale = || Entity { says: vec![Says::Nothing; windows], stale: true, refreshed: now };
        self.known = keys.into_iter().map(|key| (key, stale())).collect();
        self.written = vec![false; windows];
    }

    pub fn plan(
        &self,
        keys: &Keys,
        definitions: &Definitions,
        window: usize,
        entities: &[EntityView],
        now: Instant,
        half_life: Duration,
    ) -> Plan {
        let mut plan = Plan::default();
        let mut named: HashMap<String, Metrics> = HashMap::with_capacity(entities.len());
        for entity in entities {
            let dimension = &definitions.dimensions[entity.dimension].name;
            named.insert(keys.entity(dimension, &entity.name), entity.metrics);
        }
        let all_written =
            self.written.iter().enumerate().all(|(index, &written)| written || index == window);
        for (key, entity) in &self.known {
            if named.contains_key(key) {
                continue;
            }
            let elsewhere = entity
                .says
                .iter()
                .enumerate()
                .any(|(index, says)| index != window && *says != Says::Nothing);
            if elsewhere {
                if entity.says[window] != Says::Nothing {
                    let change = Change::Write { afresh: false, index: false, metrics: None };
                    plan.changes.insert(key.clone(), change);
                }
            } else if all_written || !entity.stale {
                plan.changes.insert(key.clone(), Change::Delete);
            }
        }
        for (key, metrics) in named {
            let known = self.known.get(&key);
            let current = known.is_some_and(|entity| {
                entity.says[window] == Says::Metrics(metrics)
                    && now.saturating_duration_since(entity.refreshed) < half_life
            });
            if current {
                plan.unchanged += 1;
                continue;
            }
            let afresh = known.is_some_and(|entity| entity.stale);
            // A key in doubt may have been deleted, and its index entry with it.
            let index = known.is_none_or(|entity| entity.says.contains(&Says::Unknown));
            let change = Change::Write { afresh, index, metrics: Some(metrics) };
            plan.changes.insert(key, change);
        }
        plan
    }

    /// The plan is about to be carried out.
    pub fn doubt(&mut self, plan: &Plan, window: usize, now: Instant) {
        for (key, change) in &plan.changes {
            let entity = self.entry(key, now);
            // A hash of an earlier run stays one until it is known to be replaced.
            if !entity.stale || *change != Change::Delete {
                entity.says[window] = Says::Unknown;
            }
        }
    }

    /// Some hashes may be gone or old: all are written again.
    pub fn distrust(&mut self) {
        for says in self.known.values_mut().flat_map(|entity| &mut entity.says) {
            if *says != Says::Nothing {
                *says = Says::Unknown;
            }
        }
    }

    /// The plan has been carried out.
    pub fn apply(&mut self, plan: Plan, window: usize, now: Instant) {
        for (key, change) in plan.changes {
            match change {
                Change::Delete => {
                    self.known.remove(&key);
                }
                Change::Write { metrics, .. } => {
                    let entity = self.entry(&key, now);
                    entity.says[window] = metrics.map_or(Says::Nothing, Says::Metrics);
                    entity.stale = false;
                    entity.refreshed = now;
                }
            }
        }
        self.written[window] = true;
    }

    fn entry(&mut self, key: &str, now: Instant) -> &mut Entity {
        let windows = self.written.len();
        self.known.entry(key.to_owned()).or_insert_with(|| Entity {
            says: vec![Says::Nothing; windows],
            stale: false,
            refreshed: now,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::pipeline::definitions::{Board, Dimension};
    use crate::time::Span;

    const HALF: Duration = Duration::from_secs(100);

    fn definitions() -> Definitions {
        let dimension = Dimension {
            name: "product".into(),
            field: "product_id".into(),
            entities_max: 10,
            uniques: false,
        };
        Definitions {
            windows: vec![],
            dimensions: vec![dimension],
            boards: vec![Board { dimension: 0, metric: Metric::Clicks, top: 1 }],
            levels: vec![Span::from_secs(1)],
            lateness: Span::ZERO,
            max_future: Span::ZERO,
            max_skew: Span::ZERO,
            stall_limit: Span::ZERO,
            currency: "EUR".into(),
            sketch_bytes_max: 0,
            deduplicate: false,
            deduplicate_bytes_max: 0,
        }
    }

    fn entity(name: &str, clicks: u64) -> EntityView {
        EntityView { dimension: 0, name: Arc::from(name), metrics: [clicks, 0, 0, 0, 0] }
    }

    /// Plans and applies; answers one word per change.
    fn step(entities: &mut Entities, window: usize, views: &[EntityView]) -> Vec<String> {
        let keys = Keys::new("n").unwrap();
        let now = Instant::now();
        let plan = entities.plan(&keys, &definitions(), window, views, now, HALF);
        let words = plan
            .changes
            .iter()
            .map(|(key, change)| match change {
                Change::Delete => format!("delete {key}"),
                Change::Write { afresh: true, .. } => format!("replace {key}"),
                Change::Write { metrics: None, .. } => format!("trim {key}"),
                Change::Write { index: true, .. } => format!("add {key}"),
                Change::Write { .. } => format!("write {key}"),
            })
            .collect();
        entities.apply(plan, window, now);
        words
    }

    #[test]
    fn an_entity_lives_as_long_as_it_is_on_some_board() {
        let mut entities = Entities::new(2);
        assert_eq!(
            step(&mut entities, 0, &[entity("a", 1), entity("b", 1)]),
            ["add n:product:a", "add n:product:b"]
        );
        assert_eq!(
            step(&mut entities, 0, &[entity("a", 1), entity("b", 2)]),
            ["write n:product:b"]
        );
        assert_eq!(step(&mut entities, 1, &[entity("a", 1)]), ["write n:product:a"]);
        assert_eq!(step(&mut entities, 0, &[]), ["trim n:product:a", "delete n:product:b"]);
        assert_eq!(step(&mut entities, 1, &[]), ["delete n:product:a"]);
        assert_eq!(step(&mut entities, 1, &[]), Vec::<String>::new());
    }

    #[test]
    fn a_failed_plan_is_made_up_for_whatever_follows() {
        let keys = Keys::new("n").unwrap();
        let now = Instant::now();
        let mut entities = Entities::new(2);
        step(&mut entities, 0, &[entity("a", 1), entity("b", 1), entity("c", 1)]);
        step(&mut entities, 1, &[entity("a", 1), entity("c", 1)]);
        let failed = [entity("a", 2), entity("d", 1)];
        let plan = entities.plan(&keys, &definitions(), 0, &failed, now, HALF);
        entities.doubt(&plan, 0, now);
        // As before the failure: a was perhaps written, b deleted, c trimmed, d added.
        let before = [entity("a", 1), entity("b", 1)];
        assert_eq!(
            step(&mut entities, 0, &before),
            ["add n:product:a", "add n:product:b", "trim n:product:c", "delete n:product:d"]
        );
        assert_eq!(step(&mut entities, 0, &before), Vec::<String>::new());
    }

    #[test]
    fn hashes_of_an_earlier_run_are_replaced_or_deleted_once_all_windows_are_known() {
        let mut entities = Entities::new(2);
        entities.load(["n:product:a".to_owned(), "n:product:z".to_owned()], Instant::now());
        assert_eq!(step(&mut entities, 0, &[entity("a", 1)]), ["replace n:product:a"]);
        assert_eq!(step(&mut entities, 1, &[]), ["delete n:product:z"]);
    }
}
