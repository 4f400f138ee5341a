//! The whole pure core against a naive model: partitions in any interleaving, deliveries cut
//! anywhere, records in any order, checkpoints and crashes at any time, and what is closed must
//! be a function of the logs alone.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use proptest::prelude::*;

use crate::event::{DIMENSIONS_MAX, Effect, Event, Kind, Line, Metric};
use crate::pipeline::checkpoint::{Assembly, BlobName, Draft, Manifest, Stored};
use crate::pipeline::clock::Coverage;
use crate::pipeline::decode::Decoded;
use crate::pipeline::definitions::Definitions;
use crate::pipeline::delivery::Partition;
use crate::pipeline::hll;
use crate::pipeline::merge::Merger;
use crate::pipeline::owned::{Outcome, OwnedPartition};
use crate::pipeline::protocol::{Reach, Token, Verdict, Way};
use crate::pipeline::testing;
use crate::pipeline::view::{Offsets, WindowView};
use crate::time::EventTime;

#[derive(Clone, Debug)]
struct Record {
    millis: i64,
    user: u16,
    product: u8,
    category: u8,
}

impl Record {
    fn names(&self) -> [String; 3] {
        [format!("u{}", self.user), format!("p{}", self.product), format!("c{}", self.category)]
    }
}

/// What a window shows, with nothing of how it came about.
#[derive(Debug, Default, PartialEq)]
struct Content {
    events: u64,
    products: Vec<(String, u64)>,
    uniques: Vec<(Option<String>, Vec<u8>)>,
}

impl Content {
    fn of_view(view: &WindowView) -> Self {
        let board = view
            .boards
            .iter()
            .find(|board| board.dimension == 0 && board.metric == Metric::Clicks)
            .expect("declared");
        let mut uniques: Vec<(Option<String>, Vec<u8>)> = view
            .distinct
            .iter()
            .map(|u| (u.entity.as_ref().map(|(_, name)| name.to_string()), u.value.clone()))
            .collect();
        uniques.sort();
        Self {
            events: view.totals.events,
            products: board.rows.iter().map(|(n, v)| (n.to_string(), *v)).collect(),
            uniques,
        }
    }

    fn of_records<'a>(records: impl Iterator<Item = &'a Record>) -> Self {
        let mut products: BTreeMap<String, u64> = BTreeMap::new();
        let mut users: BTreeMap<Option<String>, hll::Registers> = BTreeMap::new();
        let mut events = 0;
        for record in records {
            events += 1;
            let [user, product, category] = record.names();
            *products.entry(product).or_default() += 1;
            let (register, rank) = hll::mark(user.as_bytes());
            for entity in [None, Some(category)] {
                users.entry(entity).or_default().raise(register, rank);
            }
        }
        let mut products: Vec<(String, u64)> = products.into_iter().collect();
        products.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| b.0.cmp(&a.0)));
        products.truncate(3);
        let uniques = users.into_iter().map(|(entity, registers)| (entity, registers.encode()));
        Self { events, products, uniques: uniques.collect() }
    }
}

/// The records of a log that are not late, by the rule as it is written.
fn applied<'a>(log: &'a [Record], definitions: &Definitions) -> Vec<&'a Record> {
    let (lateness, pane) = (definitions.lateness.millis(), definitions.base_pane().millis());
    let mut newest: Option<i64> = None;
    let mut applied = Vec::new();
    for record in log {
        let pane_end = record.millis - record.millis.rem_euclid(pane) + pane;
        if newest.is_none_or(|newest| pane_end > newest - lateness) {
            applied.push(record);
        }
        newest = newest.max(Some(record.millis));
    }
    applied
}

fn partition(index: usize) -> Partition {
    Partition { kind: Kind::Click, index: index as i32 }
}

const LEASE: Token = Token::new(1);
const WAY: Way = Way::Memory(LEASE);

struct System {
    definitions: Arc<Definitions>,
    merger: Merger,
    owned: Vec<OwnedPartition>,
    store: Store,
    /// Crashes so far.
    lives: usize,
}

/// Where checkpoints go.
#[derive(Default)]
struct Store {
    manifest: Option<Vec<u8>>,
    blobs: HashMap<BlobName, Vec<u8>>,
    /// What the writer believes to be stored.
    stored: Stored,
    needs_everything: bool,
    written: usize,
}

impl System {
    fn new(definitions: Definitions, partitions: usize) -> Self {
        let definitions = Arc::new(definitions);
        let merger = Merger::new(definitions.clone());
        let store = Store::default();
        let mut system = Self { definitions, merger, owned: Vec::new(), store, lives: 0 };
        system.merger.keep_journal();
        system.begin(partitions);
        system
    }

    fn begin(&mut self, partitions: usize) {
        for index in 0..partitions {
            self.merger.add_partition(partition(index), 0, Coverage::Everything, 0);
        }
        self.owned =
            (0..partitions).map(|i| Self::own(&self.definitions, &self.merger, i)).collect();
        self.merger.clock_mut().topology_known();
    }

    /// Takes a checkpoint; `lost`: half of it is written when the store fails.
    fn checkpoint(&mut self, lost: bool) {
        let store = &mut self.store;
        let capture = self.merger.capture(store.needs_everything);
        store.written += 1;
        let draft = Draft::new(&store.stored, capture, format!("w-{}", store.written));
        let mut draft = draft.expect("every capture since the last whole one was stored");
        let mut count = 0;
        while let Some((name, blob)) = draft.next_blob() {
            count += 1;
            if lost && count > 2 {
                store.needs_everything = true;
                return;
            }
            assert!(store.blobs.insert(name, blob).is_none(), "a name is used once");
        }
        let (manifest, dropped) = draft.finish();
        store.manifest = Some(manifest.encode());
        store.stored = manifest.stored;
        store.needs_everything = false;
        for blob in dropped {
            assert!(store.blobs.remove(&blob).is_some(), "dropped once");
        }
    }

    /// Merged state is lost; what the last checkpoint holds comes back.
    fn crash(&mut self) {
        self.lives += 1;
        let partitions = self.owned.len();
        let definitions = self.definitions.clone();
        match &self.store.manifest {
            Some(manifest) => {
                let manifest = Manifest::decode(manifest).expect("whole");
                let mut assembly = Assembly::new(definitions, manifest).expect("ours");
                for blob in assembly.blobs() {
                    assembly.add(&blob, &self.store.blobs[&blob]).expect("whole");
                }
                (self.merger, self.store.stored) = assembly.finish().expect("complete");
            }
            None => {
                self.merger = Merger::new(definitions);
                self.merger.keep_journal();
            }
        }
        self.store.needs_everything = false;
        self.begin(partitions);
    }

    fn own(definitions: &Arc<Definitions>, merger: &Merger, index: usize) -> OwnedPartition {
        let position = merger.position(partition(index)).expect("added").clone();
        OwnedPartition::start(partition(index), position, definitions.clone())
    }

    /// Another owner takes over from the merged position; what was open is lost and read again.
    fn take_over(&mut self, index: usize) {
        self.owned[index] = Self::own(&self.definitions, &self.merger, index);
    }

    fn read(&mut self, index: usize, log: &[Record], count: usize) -> Vec<Outcome> {
        let from = self.owned[index].next_offset() as usize;
        let mut outcomes = Vec::new();
        for (offset, record) in log.iter().enumerate().skip(from).take(count) {
            let [user, product, category] = record.names();
            let mut entities = [None; DIMENSIONS_MAX];
            entities[0] = Some(product.as_str());
            entities[1] = Some(category.as_str());
            let line = Line { entities, units: 0, revenue_minor: 0 };
            let event = Event {
                time: EventTime::from_millis(record.millis),
                event_id: None,
                user_id: Some(&user),
                effect: Effect::Click(&line),
            };
            outcomes.push(self.owned[index].record(offset as i64, &Decoded::Event(event), None));
        }
        outcomes
    }

    fn deliver(&mut self, index: usize) {
        if let Some(delivery) = self.owned[index].take(WAY) {
            self.merger.merge(&delivery, 0);
        }
        let position = self.merger.position(partition(index)).expect("added");
        let reach = Reach { leading: Some(LEASE), outbox: None };
        assert_eq!(self.owned[index].check(position, &reach), Verdict::GoOn);
    }

    fn close(&mut self, closed: &mut BTreeMap<(usize, i64), (usize, Content)>) {
        while let Some(view) = self.merger.close_next(EventTime::MAX) {
            assert!(view.complete && view.quiet == 0 || view.view.end > EventTime::MIN);
            let content = Content::of_view(&view.view);
            let key = (view.view.window, view.view.end.millis());
            // Windows that closed after the last checkpoint close again after a crash.
            match closed.entry(key) {
                Entry::Vacant(entry) => drop(entry.insert((self.lives, content))),
                Entry::Occupied(entry) => {
                    let (life, before) = entry.get();
                    assert!(*life < self.lives, "closed once");
                    assert_eq!(*before, content);
                }
            }
        }
        self.merger.roll_up();
    }
}

/// Logs of three partitions: times drift forward, some records far behind.
fn logs() -> impl Strategy<Value = Vec<Vec<Record>>> {
    let record = (prop_oneof![8 => -3_000i64..3_000, 1 => -20_000i64..0], 0u16..40, 0u8..8, 0u8..3);
    let log = prop::collection::vec(record, 0..80).prop_map(|drafts| {
        let draft = |(number, (offset, user, product, category))| Record {
            millis: 100_000 + number as i64 * 700 + offset,
            user,
            product,
            category,
        };
        drafts.into_iter().enumerate().map(draft).collect()
    });
    prop::collection::vec(log, 3)
}

/// What befalls merged state before a step.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Nothing,
    Checkpoint,
    LostCheckpoint,
    Crash,
}

/// (partition, records to read, hand over?, take over?, look at the latest views?, trouble)
type Step = (usize, usize, bool, bool, bool, Trouble);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let flag = prop::bool::weighted;
    let trouble = prop_oneof![
        10 => Just(Trouble::Nothing),
        5 => Just(Trouble::Checkpoint),
        1 => Just(Trouble::LostCheckpoint),
        1 => Just(Trouble::Crash),
    ];
    let step = (0usize..3, 0usize..12, flag(0.6), flag(0.1), flag(0.3), trouble);
    prop::collection::vec(step, 1..100)
}

fn check(
    definitions: Definitions,
    logs: &[Vec<Record>],
    steps: &[Step],
) -> Result<(), TestCaseError> {
    let mut system = System::new(definitions, logs.len());
    let mut closed = BTreeMap::new();
    let drain = |(index, log): (usize, &Vec<Record>)| {
        (index, log.len(), true, false, true, Trouble::Nothing)
    };
    let drain = logs.iter().enumerate().map(drain);
    let all: Vec<Step> = steps.iter().copied().chain(drain).collect();
    for (index, count, hand_over, take_over, look, trouble) in all {
        match trouble {
            Trouble::Nothing => {}
            Trouble::Checkpoint => system.checkpoint(false),
            Trouble::LostCheckpoint => system.checkpoint(true),
            Trouble::Crash => system.crash(),
        }
        if take_over {
            system.take_over(index);
        }
        system.read(index, &logs[index], count);
        if hand_over {
            system.deliver(index);
        }
        if look {
            compare_latest(&mut system, logs)?;
            system.close(&mut closed);
        }
    }
    system.merger.finish();
    system.close(&mut closed);

    let definitions = system.definitions.clone();
    let records: Vec<&Record> = logs.iter().flat_map(|log| applied(log, &definitions)).collect();
    for (number, window) in definitions.windows.iter().enumerate() {
        let step = window.closed_step.millis();
        let first_end = |millis: i64| millis - millis.rem_euclid(step) + step;
        let ends: BTreeSet<i64> = records
            .iter()
            .flat_map(|record| {
                let first = first_end(record.millis);
                (first..record.millis + window.size.millis() + 1).step_by(step as usize)
            })
            .collect();
        for end in ends {
            let inside = (end - window.size.millis())..end;
            let expected = Content::of_records(
                records.iter().copied().filter(|record| inside.contains(&record.millis)),
            );
            let found = closed.remove(&(number, end)).map(|(_, content)| content);
            let found = found.unwrap_or_default();
            prop_assert_eq!(found, expected, "window {} ending at {}", &window.label, end);
        }
    }
    closed.retain(|_, (_, content)| content.events > 0);
    prop_assert!(closed.is_empty(), "closed without a record: {closed:?}");

    let consumed: usize = logs.iter().map(Vec::len).sum();
    let ledgers = system.merger.positions().values().map(|position| position.state.ledger);
    let (sum_consumed, sum_applied, sum_late) = ledgers.fold((0, 0, 0), |(c, a, l), ledger| {
        (c + ledger.consumed, a + ledger.applied, l + ledger.late)
    });
    prop_assert_eq!(sum_consumed, consumed as u64);
    prop_assert_eq!(sum_applied, records.len() as u64);
    prop_assert_eq!(sum_consumed, sum_applied + sum_late);
    Ok(())
}

/// Latest views are exact for the cursors they state.
fn compare_latest(system: &mut System, logs: &[Vec<Record>]) -> Result<(), TestCaseError> {
    let offsets: Offsets = system.merger.offsets();
    let definitions = system.definitions.clone();
    let merged: Vec<&Record> = offsets
        .iter()
        .flat_map(|&(partition, cursor)| {
            applied(&logs[partition.index as usize][..cursor as usize], &definitions)
        })
        .collect();
    let newest = merged.iter().map(|record| record.millis).max();
    for (number, window) in definitions.windows.iter().enumerate() {
        let latest = system.merger.latest(number, &offsets);
        prop_assert_eq!(latest.is_some(), newest.is_some());
        let (Some(latest), Some(newest)) = (latest, newest) else { continue };
        let slide = window.slide.millis();
        let end = newest - newest.rem_euclid(slide) + slide;
        prop_assert_eq!(latest.view.end.millis(), end);
        let inside = (end - window.size.millis())..end;
        let expected = Content::of_records(
            merged.iter().copied().filter(|record| inside.contains(&record.millis)),
        );
        prop_assert_eq!(Content::of_view(&latest.view), expected, "latest {}", &window.label);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_is_published_is_a_function_of_the_logs(
        logs in logs(),
        steps in steps(),
        shape in prop::sample::select(vec![
            vec![(4, 1), (12, 3), (24, 24)],
            vec![(2, 2)],
            vec![(60 * 24, 60), (60, 1)],
        ]),
    ) {
        check(testing::definitions_with(&shape), &logs, &steps)?;
    }
}

#[test]
fn only_the_last_closed_windows_of_a_size_are_read_in_full() {
    // A gap of more than a window lies between 20 s and 60 s.
    let millis = (0..20).chain(60..80).map(|secs| secs * 1000);
    let log: Vec<Record> =
        millis.map(|millis| Record { millis, user: 1, product: 1, category: 1 }).collect();
    let mut system = System::new(testing::definitions_with(&[(4, 1)]), 1);
    system.merger.keep_closed(3);
    system.read(0, &log, 40);
    system.deliver(0);
    let mut closed = Vec::new();
    // 23 windows hold a record of each stretch; the stream closes up to 74, then the rest.
    while let Some(view) = system.merger.close_next(EventTime::MAX) {
        closed.push(view);
    }
    let in_full = |views: &[crate::pipeline::view::ClosedView]| -> Vec<i64> {
        let full = views.iter().filter(|view| !view.view.boards.is_empty());
        full.map(|view| view.view.end.millis() / 1000).collect()
    };
    assert_eq!(in_full(&closed), [72, 73, 74]);
    assert!(
        closed.iter().all(|view| view.view.totals.events > 0 || view.view.end.millis() == 24_000)
    );
    assert!(closed.iter().filter(|view| view.view.uniques > 0).count() == closed.len() - 1);
    closed.clear();
    system.merger.finish();
    while let Some(view) = system.merger.close_next(EventTime::MAX) {
        closed.push(view);
    }
    assert_eq!(in_full(&closed), [81, 82, 83]);
}

#[test]
fn beyond_the_cap_names_count_as_other_and_nothing_is_lost() {
    let mut definitions = testing::definitions_with(&[(60, 60)]);
    definitions.dimensions[0].entities_max = 2;
    let log: Vec<Record> = (0..10)
        .map(|n| Record { millis: 1000, user: n, product: n as u8 % 5, category: 0 })
        .collect();
    let mut system = System::new(definitions, 1);
    system.read(0, &log, 10);
    system.deliver(0);
    let offsets = system.merger.offsets();
    let latest = system.merger.latest(0, &offsets).expect("records have come");
    let content = Content::of_view(&latest.view);
    let expected = [("__other__", 6), ("p1", 2), ("p0", 2)].map(|(n, v)| (n.to_owned(), v));
    assert_eq!(content.products, expected);
    assert_eq!(system.merger.meta(0).over_cap, 6);
}

#[test]
fn names_and_panes_are_given_back() {
    let mut system = System::new(testing::definitions(), 1);
    let log: Vec<Record> = (0..400)
        .map(|n| Record { millis: n * 1000, user: n as u16, product: n as u8, category: n as u8 })
        .collect();
    let mut closed = BTreeMap::new();
    for _ in 0..40 {
        system.read(0, &log, 10);
        system.deliver(0);
        let offsets = system.merger.offsets();
        (0..3).for_each(|window| drop(system.merger.latest(window, &offsets)));
        system.close(&mut closed);
    }
    // The longest window is 24 s; a name per second, closing a lateness and a step behind.
    let live = system.merger.windows().entities(0).live();
    assert!((1..64).contains(&live), "{live} of 256 names are live");
    let panes: usize = system.merger.windows().panes().sum();
    assert!(panes < 64, "{panes} panes are kept");
}
