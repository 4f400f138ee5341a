use proptest::prelude::*;

use super::*;
use crate::event::Kind;
use crate::pipeline::watermark::Params;

const LATENESS: Span = Span::from_secs(10);
const STALL_LIMIT: Duration = Duration::from_secs(60);
const P: [Partition; 3] = [partition(0), partition(1), partition(2)];

const fn partition(index: i32) -> Partition {
    Partition { kind: Kind::Click, index }
}

fn at(seconds: i64) -> EventTime {
    EventTime::from_millis(seconds * 1000)
}

fn after(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A clock with its partitions, the watermark of each, and monotonic time.
struct Timeline {
    clock: GroupClock,
    watermarks: Vec<Watermark>,
    now: Duration,
}

impl Timeline {
    fn new(partitions: usize) -> Self {
        let mut clock = GroupClock::new(LATENESS, STALL_LIMIT);
        clock.set_partitions(P[..partitions].iter().copied(), true);
        for partition in &P[..partitions] {
            clock.start(*partition, Coverage::BEGINNING);
        }
        Self { clock, watermarks: vec![Watermark::default(); partitions], now: Duration::ZERO }
    }

    fn record(&mut self, p: usize, seconds: i64) {
        let max_future = Span::from_secs(1_000_000);
        let params = Params { lateness: LATENESS, max_future, base_pane: Span::from_secs(1) };
        self.watermarks[p].observe(at(seconds), &params);
        self.clock.progressed(P[p], &self.watermarks[p], self.now);
        self.clock.tick(self.now);
    }

    /// Asks the broker, which has nothing.
    fn quiet(&mut self, p: usize) {
        self.clock.quiet(P[p], self.clock.stream_time(), self.now);
        self.clock.tick(self.now);
    }

    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += after(1);
            self.clock.tick(self.now);
        }
    }

    fn g(&self) -> Option<i64> {
        self.clock.group_watermark().map(|g| g.millis() / 1000)
    }

    fn n(&self) -> Option<i64> {
        self.clock.stream_time().map(|n| n.millis() / 1000)
    }
}

#[test]
fn the_group_watermark_is_the_least_of_all_partitions() {
    let mut t = Timeline::new(2);
    t.record(0, 100);
    assert_eq!((t.g(), t.n()), (None, Some(100)), "p1 has not been heard of");
    t.record(1, 50);
    assert_eq!((t.g(), t.n()), (Some(40), Some(100)));
    t.record(1, 120);
    assert_eq!((t.g(), t.n()), (Some(90), Some(120)));
    t.clock.set_partitions(P, true);
    t.record(0, 150);
    assert_eq!(t.g(), Some(90), "a new partition holds it");
    assert_eq!(t.clock.slowest(), Some((P[2], None)));
    t.clock.set_partitions(P[..2].iter().copied(), false);
    t.record(0, 150);
    assert_eq!(t.g(), Some(90), "a topic is missing");
    t.clock.set_partitions(P[..2].iter().copied(), true);
    t.pass(1);
    assert_eq!(t.g(), Some(110));
}

#[test]
fn a_quiet_partition_does_not_hold_it_and_nothing_of_it_is_late() {
    //  p0 ─●100─┤ quiet 130 ──────●105
    //  p1 ─●100──●130──────●140
    let mut t = Timeline::new(2);
    t.record(0, 100);
    t.record(1, 100);
    t.record(1, 130);
    assert_eq!(t.g(), Some(90));
    t.quiet(0);
    assert_eq!(t.g(), Some(120));
    t.record(1, 140);
    assert_eq!(t.g(), Some(120), "only up to what was known when the broker was asked");
    assert_eq!(t.clock.watermark(P[0]), Some(at(90)), "lateness is judged by the log alone");
    assert_eq!((t.clock.quiet_closed(at(120)), t.clock.quiet_closed(at(90))), (1, 0));
    t.record(0, 105);
    assert_eq!((t.g(), t.clock.watermark(P[0])), (Some(120), Some(at(95))));
}

#[test]
fn stream_time_grows_only_while_every_partition_is_known_to_be_quiet() {
    let mut t = Timeline::new(2);
    t.record(0, 100);
    t.pass(30);
    assert_eq!(t.n(), Some(100), "nobody said that it is quiet");
    t.quiet(0);
    t.pass(30);
    t.quiet(0);
    assert_eq!(t.n(), Some(100), "of p1 nothing is known");
    t.quiet(1);
    t.pass(30);
    assert_eq!(t.n(), Some(100), "the broker has not answered since");
    t.quiet(1);
    assert_eq!(t.n(), Some(100), "not for p0");
    t.quiet(0);
    assert_eq!((t.n(), t.g()), (Some(130), Some(90)));
    t.pass(5);
    t.quiet(0);
    t.quiet(1);
    assert_eq!((t.n(), t.g()), (Some(135), Some(120)), "p0 was asked before the last five");
    t.record(0, 110);
    t.pass(20);
    t.quiet(1);
    assert_eq!(t.n(), Some(135), "p0 is not quiet any more");
    t.quiet(0);
    assert_eq!(t.n(), Some(135), "and was not in between");
    t.record(0, 200);
    assert_eq!(t.n(), Some(200));
}

#[test]
fn a_stalled_partition_is_left_out_and_named_until_it_is_heard_of() {
    let mut t = Timeline::new(2);
    t.record(0, 100);
    t.record(1, 100);
    for second in 1..=59 {
        t.pass(1);
        t.record(1, 100 + second);
    }
    assert_eq!((t.g(), t.clock.missing()), (Some(90), vec![]));
    t.pass(1);
    assert_eq!((t.g(), t.clock.missing()), (Some(149), vec![P[0]]));
    assert!(!t.clock.complete(at(0)));
    t.record(0, 101);
    assert_eq!((t.g(), t.clock.missing()), (Some(149), vec![]));
    assert!(t.clock.complete(at(0)));
}

#[test]
fn our_own_pauses_and_the_silence_of_all_are_no_stall() {
    let held = |hold: fn(&mut GroupClock), alive: bool, seconds_per_tick: u64| {
        let mut t = Timeline::new(2);
        t.record(0, 100);
        t.record(1, 100);
        hold(&mut t.clock);
        for _ in 0..(120 / seconds_per_tick) {
            t.now += after(seconds_per_tick);
            match alive {
                true => t.record(1, 200),
                false => t.clock.tick(t.now),
            }
        }
        t.clock.missing().len()
    };
    assert_eq!(held(|_| (), true, 1), 1, "p0 has stalled");
    assert_eq!(held(|clock| clock.hold(P[0], true), true, 1), 0, "we hold it");
    assert_eq!(held(|clock| clock.hold_all(true), true, 1), 0, "we hold everything");
    assert_eq!(held(|_| (), false, 1), 0, "everything is silent");
    assert_eq!(held(|_| (), true, 60), 0, "this process was stopped, twice");
}

#[test]
fn when_all_are_left_out_it_stands_still() {
    let mut t = Timeline::new(2);
    t.record(0, 100);
    t.record(1, 100);
    for (p, time) in [(0, 200), (1, 300)] {
        // One progresses until the other is left out; then that one goes on and it falls silent.
        for _ in 0..61 {
            t.pass(1);
            t.record(p, time);
        }
    }
    assert_eq!((t.clock.missing(), t.g()), (vec![P[0]], Some(290)));
    let mut none = t.clock.clone();
    none.stall_limit = Duration::ZERO;
    none.tick(t.now);
    assert_eq!(none.missing().len(), 2);
    assert_eq!(none.group_watermark(), Some(at(290)));
}

#[test]
fn the_slowest_that_progresses_sets_the_pace() {
    let mut t = Timeline::new(3);
    assert_eq!(t.clock.slowest_progressing(t.now), None);
    t.record(0, 100);
    t.record(1, 200);
    t.record(2, 300);
    assert_eq!(t.clock.slowest_progressing(t.now), Some(at(90)));
    t.quiet(0);
    assert_eq!(t.clock.slowest_progressing(t.now), Some(at(190)), "p0 is quiet");
    t.pass(10);
    t.record(2, 310);
    assert_eq!(t.clock.slowest_progressing(t.now), Some(at(190)));
    t.pass(1);
    assert_eq!(t.clock.slowest_progressing(t.now), Some(at(300)), "p1 is stuck");
}

#[test]
fn completeness_is_coverage() {
    let mut t = Timeline::new(1);
    assert!(t.clock.complete(EventTime::MIN), "from log offset 0, even when empty");
    t.clock.start(P[0], Coverage::asked_for(at(50)));
    assert!(t.clock.complete(at(50)) && !t.clock.complete(at(49)), "as was asked");
    t.record(0, 60);
    assert!(t.clock.complete(at(70)) && !t.clock.complete(at(69)), "the first record counts");
    t.record(0, 65);
    assert!(t.clock.complete(at(70)), "the first, not the last");
    t.clock.start(P[0], Coverage::UNKNOWN);
    t.watermarks[0].records_lost();
    assert!(!t.clock.complete(at(1_000_000)), "records were lost");
    t.record(0, 80);
    assert!(t.clock.complete(at(90)) && !t.clock.complete(at(89)));
    t.clock.set_partitions(P[..2].iter().copied(), true);
    assert!(!t.clock.complete(at(90)), "of p1 nothing is known");
}

#[test]
fn a_bounded_run_closes_everything_and_a_successor_goes_on() {
    let mut t = Timeline::new(2);
    t.record(0, 100);
    t.clock.resume(Some(at(95)), Some(at(99)));
    assert_eq!((t.g(), t.n()), (Some(95), Some(100)));
    t.clock.finish();
    t.clock.tick(t.now);
    assert_eq!(t.clock.group_watermark(), Some(EventTime::MAX));
    assert_eq!(t.clock.quiet_closed(at(90)), 1);
}

#[derive(Clone, Copy, Debug)]
enum Told {
    Record {
        p: usize,
        step: i64,
    },
    /// The broker is asked, and answers some seconds later.
    Quiet {
        p: usize,
        answers_after: u64,
    },
    Pass(u64),
    Hold {
        p: usize,
        held: bool,
    },
}

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![
        4 => (0..3usize, -5..30i64).prop_map(|(p, step)| Told::Record { p, step }),
        6 => (0..3usize, 0..3u64).prop_map(|(p, answers_after)| Told::Quiet { p, answers_after }),
        3 => (1..20u64).prop_map(Told::Pass),
        1 => (0..3usize, any::<bool>()).prop_map(|(p, held)| Told::Hold { p, held }),
    ]
}

proptest! {
    #[test]
    fn it_is_monotone_and_the_least_and_never_ahead_of_stream_time(
        history in prop::collection::vec(told(), 0..200),
    ) {
        let mut t = Timeline::new(3);
        let (mut newest, mut marks) = ([None; 3], [None; 3]);
        // Since its last record, the moments at which each partition was confirmed quiet.
        let mut confirmed: [Vec<Duration>; 3] = Default::default();
        let mut expected_g = None;
        for told in history {
            let (g, n) = (t.clock.group_watermark(), t.clock.stream_time());
            match told {
                Told::Record { p, step } => {
                    let time = newest[p].unwrap_or(100) + step;
                    newest[p] = newest[p].max(Some(time));
                    confirmed[p].clear();
                    t.record(p, time);
                }
                Told::Quiet { p, answers_after } => {
                    let (mark, asked_at) = (t.clock.stream_time(), t.now);
                    t.pass(answers_after);
                    let watermark = t.clock.watermark(P[p]);
                    t.clock.quiet(P[p], mark, asked_at);
                    t.clock.tick(t.now);
                    prop_assert_eq!(t.clock.watermark(P[p]), watermark);
                    marks[p] = marks[p].max(mark);
                    confirmed[p].push(asked_at);
                    let everywhere = confirmed.iter().all(|moments| !moments.is_empty());
                    prop_assert!(everywhere || t.clock.stream_time() == n);
                }
                Told::Pass(seconds) => t.pass(seconds),
                Told::Hold { p, held } => t.clock.hold(P[p], held),
            }
            // Monotone, and neither runs ahead of what can be known.
            prop_assert!(t.clock.group_watermark() >= g && t.clock.stream_time() >= n);
            let newest_of_all = newest.iter().copied().flatten().max();
            prop_assert!(t.clock.stream_time() <= newest_of_all.map(|time| at(time) + Span::from(t.now)));
            prop_assert!(t.clock.stream_time() >= newest_of_all.map(at));
            prop_assert!(t.clock.group_watermark() <= t.clock.stream_time().map(|n| n - LATENESS));
            // The least over all partitions that are not left out.
            let missing = t.clock.missing();
            let reached = (0..3).filter(|&p| !missing.contains(&P[p])).map(|p| {
                newest[p].map(at).max(marks[p]).map(|time| time - LATENESS)
            });
            expected_g = expected_g.max(reached.min().flatten());
            prop_assert_eq!(t.clock.group_watermark(), expected_g);
        }
    }
}
