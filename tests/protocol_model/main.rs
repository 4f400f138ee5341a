//! The delivery protocol as a model: members, Kafka and Redis take single steps in any order,
//! on stale knowledge, with crashes and lost writes, and run the rules of
//! `nazar::pipeline::protocol` themselves.
//!
//! After every step: merged state = f(log before the cursor), for every member that believes
//! to lead. At every write: checkpoint and views equal the log before their offsets, views
//! and group watermark do not go back, no window is closed twice, and a window that every
//! partition's own watermark has passed is the function of the log. Once faults stop, all
//! of the log is published within ten rounds, and a closed window that lacks a record says so.
//!
//! ```text
//!  stale knowledge   an owner acts on what it observed some steps ago; a member learns of its
//!                    assignment late; a leader stages now and swaps later, or was replaced
//!  lost              each outbox slot and the slot {nazar} fall back by themselves; members
//!                    crash; the outcome of an append or a swap stays unknown
//!  repeated          outboxes are read again and again, merged in any order
//! ```
//!
//! Not modelled: what cells hold, blobs of panes, partitions added later.

mod leader;
mod log;
mod owner;
mod store;
mod world;

use proptest::prelude::*;

use world::{
    Action, CRASH, MAIN_FALLS_BACK, OUTBOX_FALLS_BACK, REASSIGN, TAKE_LEASE, Violation, World,
};

/// The rules, each of which can be broken to see that the model would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    FromEqualsCursor,
    OwnerChecks,
    MemoryEndsWithLease,
    RefusalIsHeard,
    AppendContinues,
    AppendComparesToken,
    WritesCompareToken,
    GateHolds,
    ClosedThroughHolds,
    AfterCloseIsKept,
    WatermarkIsKept,
}

fn run(
    actions: impl IntoIterator<Item = Action>,
    broken: Option<Rule>,
) -> Result<World, Violation> {
    let mut world = World::new(broken);
    for action in actions {
        world.step(action)?;
    }
    world.settle()?;
    Ok(world)
}

/// SplitMix64: enough to draw actions, and the same everywhere.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Steps of a seeded history, trouble that is left out included.
const STEPS: usize = 800;

/// Which kinds of trouble a seeded history leaves out, and how many eighths of the rest it
/// is spared. Trouble of every kind at every step leaves nothing the time to go wrong in its
/// own way.
#[derive(Clone, Copy)]
struct Calm {
    left_out: &'static [u8],
    spared_eighths: u64,
}

const TROUBLE: [u8; 5] = [REASSIGN, TAKE_LEASE, CRASH, MAIN_FALLS_BACK, OUTBOX_FALLS_BACK];

fn actions(seed: u64, calm: Option<Calm>) -> impl Iterator<Item = Action> {
    let mut state = seed;
    let drawn_left_out = random(&mut state);
    let drawn_spared_eighths = random(&mut state) % 8;
    (0..STEPS).filter_map(move |_| {
        let bits = random(&mut state).to_le_bytes();
        let action = [bits[0] % 64, bits[1], bits[2], bits[3]];
        let trouble = TROUBLE.iter().position(|&kind| kind == action[0]);
        let (left_out, spared_eighths) = match (trouble, calm) {
            (None, _) => (false, 0),
            (Some(kind), None) => (drawn_left_out >> kind & 1 == 1, drawn_spared_eighths),
            (Some(_), Some(calm)) => (calm.left_out.contains(&action[0]), calm.spared_eighths),
        };
        (!left_out && u64::from(bits[4] % 8) >= spared_eighths).then_some(action)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    /// Shrinks to the shortest history that breaks a rule.
    #[test]
    fn any_history_is_exact_and_ends(actions in prop::collection::vec(any::<Action>(), 0..400)) {
        prop_assert_eq!(run(actions, None).err(), None);
    }
}

#[test]
fn long_histories_are_exact_and_end() {
    let (mut closed, mut with_after_close) = (0, 0);
    for seed in 0..4_000 {
        let world = run(actions(seed, None), None)
            .unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        assert_eq!(world.boundaries(), 1, "seed {seed}: boundaries are not forgotten");
        let (windows, after_close) = world.closed();
        closed += windows;
        with_after_close += usize::from(after_close > 0);
    }
    assert!(closed > 100_000 && with_after_close > 200, "the runs miss what they are about");
}

/// Runs seeds until the broken rule shows.
fn check_broken(rule: Rule, seeds: u64, calm: Option<Calm>, expected: &[Violation]) {
    let violation = (0..seeds)
        .find_map(|seed| run(actions(seed, calm), Some(rule)).err())
        .unwrap_or_else(|| panic!("nobody noticed that {rule:?} was broken"));
    assert!(expected.contains(&violation), "{rule:?}: {violation}");
}

const INEXACT: Violation = "merged state is not the function of the log before its cursor";
const STUCK: Violation = "no progress after faults have stopped";
const VIEWS_BACK: Violation = "published views went back";
const WATERMARK_BACK: Violation = "the group watermark went back";
const CLOSED_TWICE: Violation = "a window was closed twice";
const UNCONFESSED: Violation = "a closed window lacks records, and events_after_close is 0";

#[test]
fn exactness_needs_the_admission_rule() {
    check_broken(Rule::FromEqualsCursor, 50, None, &[INEXACT]);
}

#[test]
fn progress_needs_the_owners_rule() {
    check_broken(Rule::OwnerChecks, 50, None, &[STUCK]);
    check_broken(Rule::MemoryEndsWithLease, 200, None, &[STUCK]);
    check_broken(Rule::RefusalIsHeard, 500, None, &[STUCK]);
}

#[test]
fn readers_need_the_fence_and_the_gate() {
    let back = [VIEWS_BACK, WATERMARK_BACK, CLOSED_TWICE];
    check_broken(Rule::WritesCompareToken, 500, None, &[back.as_slice(), &[STUCK]].concat());
    check_broken(Rule::GateHolds, 500, None, &back);
    check_broken(Rule::ClosedThroughHolds, 200, None, &[CLOSED_TWICE, WATERMARK_BACK]);
    let only_takeovers =
        Calm { left_out: &[CRASH, MAIN_FALLS_BACK, OUTBOX_FALLS_BACK], spared_eighths: 0 };
    check_broken(Rule::AfterCloseIsKept, 1_000, Some(only_takeovers), &[UNCONFESSED]);
    check_broken(Rule::WatermarkIsKept, 4_000, Some(only_takeovers), &[WATERMARK_BACK]);
}

/// The outbox script's conditions show trouble at once, instead of at the next trim or
/// restart. Exactness and progress do not rest on them.
#[test]
fn fencing_of_outboxes_only_prevents_quarrels() {
    for rule in [Rule::AppendContinues, Rule::AppendComparesToken] {
        for seed in 0..1_000 {
            assert_eq!(run(actions(seed, None), Some(rule)).err(), None, "{rule:?}, seed {seed}");
        }
    }
}
