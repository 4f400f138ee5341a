//! The merger's thread: takes deliveries, closes windows, and has views published.
//!
//! At most one flush is being written at a time. Meanwhile merging goes on, and the next flush
//! carries whatever is newest then: a slow Redis costs freshness, never correctness. Closed
//! windows cannot be skipped, so they wait here; when they fill their share of memory no
//! delivery is taken any more, the channel fills, and the owners stop reading.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::event::Kind;
use crate::pipeline::capture_line::{CaptureSender, Order};
use crate::pipeline::checkpoint::cadence::Cadence;
use crate::pipeline::definitions::Definitions;
use crate::pipeline::delivery::{Delivery, Partition};
use crate::pipeline::handover::{Inlet, MergedState, Message};
use crate::pipeline::merge::{Merged, Merger, Position};
use crate::pipeline::period::Period;
use crate::pipeline::protocol::{Admission, Cursors, Gate, Passage};
use crate::pipeline::rounds::Rounds;
use crate::pipeline::view::{ClosedView, Flush, LatestView, Offsets};
use crate::time::EventTime;

/// How often the clock ticks and windows are looked at for closing.
const TICK: Duration = Duration::from_millis(20);

/// How often the bytes of merged state are added up.
const STATE_MEASURED_EVERY: Duration = Duration::from_secs(1);

/// Deliveries merged between two looks at the clock, so that closing keeps up in a backlog.
const DELIVERIES_PER_TURN: usize = 64;

/// A checkpoint that is due keeps windows from closing for so long at most, while those that
/// have closed are on their way to the sink.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(10);

/// At the end the last checkpoint is waited for so long: without it more of the log is read again.
const LAST_CHECKPOINT_MAX: Duration = Duration::from_secs(10);

/// The first record is waited for so many times longer than any other.
const FIRST_RECORD_PATIENCE: u32 = 10;

/// One flush on its way to the sink.
pub struct Job {
    pub flush: Flush,
    /// The deliveries that this flush makes visible: kind, Kafka's timestamp of the oldest
    /// record, and how many records were applied.
    pub visible: Vec<(Kind, i64, u64)>,
    /// Nothing follows.
    pub is_last: bool,
}

/// The merger's way to the sink: free, or writing one job.
pub struct JobSender {
    sender: mpsc::Sender<Job>,
    busy: Arc<AtomicBool>,
    all_windows: Arc<AtomicBool>,
    data_lost: Arc<AtomicBool>,
}

/// The sink's end.
pub struct JobReceiver {
    receiver: mpsc::Receiver<Job>,
    busy: Arc<AtomicBool>,
    all_windows: Arc<AtomicBool>,
    data_lost: Arc<AtomicBool>,
}

/// Asks for every window in the next flush, whatever its cadence.
#[derive(Clone)]
pub struct AllWindows(Arc<AtomicBool>);

impl AllWindows {
    pub fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A way for one job at a time.
pub fn job_channel() -> (JobSender, JobReceiver) {
    let (sender, receiver) = mpsc::channel(1);
    let busy = Arc::new(AtomicBool::new(false));
    let all_windows = Arc::new(AtomicBool::new(false));
    let data_lost = Arc::new(AtomicBool::new(false));
    let sender = JobSender {
        sender,
        busy: busy.clone(),
        all_windows: all_windows.clone(),
        data_lost: data_lost.clone(),
    };
    (sender, JobReceiver { receiver, busy, all_windows, data_lost })
}

impl JobReceiver {
    /// The next job. Asking for it says that the one before is done; `None`: there will be none.
    pub async fn next(&mut self) -> Option<Job> {
        self.done();
        self.receiver.recv().await
    }

    pub fn all_windows(&self) -> AllWindows {
        AllWindows(self.all_windows.clone())
    }

    /// Says that the sink's store has lost data: the next flush carries every window, and a
    /// checkpoint that builds on nothing is due at once.
    pub fn data_lost(&self) {
        self.data_lost.store(true, Ordering::Release);
        self.all_windows().ask();
    }

    /// Says that the last job is done.
    pub fn done(&self) {
        self.busy.store(false, Ordering::Release);
    }
}

impl JobSender {
    /// Whether the last job is done; an error when it never will be.
    fn is_free(&self) -> Result<bool, SinkGone> {
        let is_closed = self.sender.is_closed();
        match (self.busy.load(Ordering::Acquire), is_closed) {
            (false, _) => Ok(true),
            (true, false) => Ok(false),
            (true, true) => Err(SinkGone),
        }
    }

    fn send(&self, job: Job) -> Result<(), SinkGone> {
        self.busy.store(true, Ordering::Release);
        self.sender.try_send(job).map_err(|_| SinkGone)
    }
}

/// The sink has given up; it has said why.
#[derive(Debug, thiserror::Error)]
#[error("the sink has ended")]
pub struct SinkGone;

/// How the merger's thread is set up.
pub struct Plan {
    pub definitions: Arc<Definitions>,
    /// Time between flushes.
    pub flush: Duration,
    /// By window: its latest views are written at most so often.
    pub refresh: Vec<Duration>,
    /// How many closed windows of a size keep their boards; `None`: all.
    pub closed_keep: Option<usize>,
    /// Closed windows that wait for the sink may take so many bytes.
    pub unpublished_bytes_max: usize,
    /// Merged state may take so many bytes; beyond, new entities count under `__other__`.
    pub state_bytes_max: usize,
    /// A bounded run ends when every partition has reached its offset.
    pub bounded: Option<BTreeMap<Partition, i64>>,
    /// The only windows that are wanted: those are published as they close, and nothing else. The
    /// run ends early where every partition's watermark has passed the last of them.
    pub period: Option<Period>,
    /// What readers have seen of an earlier run.
    pub gate: Gate,
    /// `None`: nothing is saved, and a restart reads the log again.
    pub checkpoints: Option<Checkpoints>,
}

/// How often merged state is saved, and where to.
pub struct Checkpoints {
    pub every: Duration,
    pub line: CaptureSender,
}

/// Hears what happens, for metrics and logs; called between deliveries, never per record.
pub trait Observer: Send {
    fn merged(&mut self, delivery: &Delivery, merged: Merged);
    fn ticked(&mut self, merger: &Merger, unpublished_bytes: usize, now_millis: u64);
}

/// The thread's state.
pub struct Publisher<O> {
    plan: Plan,
    merger: Merger,
    inlet: Inlet,
    shared: Arc<MergedState>,
    jobs: JobSender,
    observer: O,
    started: Instant,
    state_measured: Instant,
    rounds: Rounds,
    closed: Vec<Arc<ClosedView>>,
    closed_bytes: usize,
    /// By window: when its latest views were last handed to the sink.
    published: Vec<Option<Instant>>,
    last_flush: Option<Instant>,
    visible: Vec<(Kind, i64, u64)>,
    /// Merged offsets, added up, and when they grew last.
    progress: (i64, Instant),
    /// Some of it was read by this run.
    has_read: bool,
    cadence: Cadence,
    stopping: bool,
}

impl<O: Observer> Publisher<O> {
    /// `merger`: a new one, or as a checkpoint tells of it.
    pub fn new(
        plan: Plan,
        mut merger: Merger,
        inlet: Inlet,
        shared: Arc<MergedState>,
        jobs: JobSender,
        observer: O,
    ) -> Self {
        if let Some(windows) = plan.closed_keep {
            merger.keep_closed(windows);
        }
        if let Some(period) = plan.period {
            merger.leave_out_to(period.from);
        }
        let shortest_step = plan.definitions.windows.iter().map(|window| window.closed_step).min();
        Self {
            rounds: Rounds::new(shortest_step.unwrap_or_default()),
            merger,
            inlet,
            shared,
            jobs,
            observer,
            started: Instant::now(),
            state_measured: Instant::now(),
            closed: Vec::new(),
            closed_bytes: 0,
            published: vec![None; plan.definitions.windows.len()],
            last_flush: None,
            visible: Vec::new(),
            progress: (0, Instant::now()),
            has_read: false,
            cadence: Cadence::new(
                plan.checkpoints.as_ref().map_or(Duration::ZERO, |one| one.every),
            ),
            stopping: false,
            plan,
        }
    }

    /// Runs until it is told to stop, or a bounded run has ended. Returns the merger, whose
    /// ledgers are then final.
    ///
    /// # Errors
    /// The sink has ended before.
    pub fn run(mut self) -> Result<Merger, SinkGone> {
        while !self.stopping {
            self.take_deliveries();
            self.tick();
            if self.bounded_end_reached() {
                match self.plan.period {
                    Some(period) => self.merger.finish_at(period.to),
                    None => self.merger.finish(),
                }
                self.stopping = true;
            }
            if self.stopping || !self.checkpoint_holds_closing()? {
                self.close_windows()?;
            }
            if !self.stopping && self.flush_is_due() && self.jobs.is_free()? {
                self.flush(false)?;
            }
            self.checkpoint_if_due()?;
        }
        self.wait_for_sink()?;
        self.last_checkpoint()?;
        self.flush(true)?;
        self.wait_for_sink()?;
        self.discard_checkpoint();
        Ok(self.merger)
    }

    fn checkpoint_is_due(&self) -> bool {
        self.plan.checkpoints.as_ref().is_some_and(|checkpoints| {
            let line = &checkpoints.line;
            self.cadence.is_due(self.started.elapsed(), line.needs_everything()) && line.is_free()
        })
    }

    /// A cut must not lie behind windows that have closed and are not readable yet: a restart
    /// would never close them again. So for a moment no more are closed.
    fn checkpoint_holds_closing(&self) -> Result<bool, SinkGone> {
        let sink_answers = self.jobs.is_free()?
            || self.last_flush.is_none_or(|at| at.elapsed() < CHECKPOINT_PATIENCE);
        Ok(self.checkpoint_is_due() && sink_answers)
    }

    fn checkpoint_if_due(&mut self) -> Result<(), SinkGone> {
        if self.checkpoint_is_due() && self.closed.is_empty() && self.jobs.is_free()? {
            self.capture();
        }
        Ok(())
    }

    fn capture(&mut self) {
        let Some(checkpoints) = &self.plan.checkpoints else { return };
        let needs_everything = checkpoints.line.needs_everything();
        let capture = self.merger.capture(needs_everything);
        checkpoints.line.send(Order::Store(Box::new(capture)));
        self.cadence.taken(self.started.elapsed(), needs_everything);
    }

    /// Before the last flush, after which a successor may begin.
    fn last_checkpoint(&mut self) -> Result<(), SinkGone> {
        if self.plan.checkpoints.is_none() || self.merger.has_ended() {
            return Ok(());
        }
        if !self.closed.is_empty() {
            self.flush(false)?;
            self.wait_for_sink()?;
        }
        self.wait_for_line();
        self.capture();
        self.wait_for_line();
        Ok(())
    }

    /// A bounded run has ended: its prefix takes no other, so nobody goes on from here.
    fn discard_checkpoint(&self) {
        if let Some(checkpoints) = &self.plan.checkpoints
            && self.merger.has_ended()
        {
            self.wait_for_line();
            checkpoints.line.send(Order::Discard);
            self.wait_for_line();
        }
    }

    fn wait_for_line(&self) {
        let Some(checkpoints) = &self.plan.checkpoints else { return };
        let since = Instant::now();
        while !checkpoints.line.is_free() && since.elapsed() < LAST_CHECKPOINT_MAX {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn tick(&mut self) {
        let now = self.now_millis();
        if self.jobs.data_lost.swap(false, Ordering::AcqRel)
            && let Some(checkpoints) = &self.plan.checkpoints
        {
            checkpoints.line.ask_everything();
            self.cadence.begin_anew();
        }
        self.merger.tick(now, !self.has_room());
        self.shared.set_stream_time(self.merger.clock().stream_time());
        self.shared.set_slowest_progressing(self.merger.clock().slowest_progressing(now));
        if self.state_measured.elapsed() >= STATE_MEASURED_EVERY {
            self.state_measured = Instant::now();
            self.merger.set_full(self.merger.bytes() > self.plan.state_bytes_max);
        }
        self.observer.ticked(&self.merger, self.closed_bytes, now);
    }

    fn now_millis(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    fn has_room(&self) -> bool {
        self.closed_bytes < self.plan.unpublished_bytes_max
    }

    /// Merges what waits, for at most one tick.
    fn take_deliveries(&mut self) {
        if !self.has_room() {
            std::thread::sleep(TICK);
            return;
        }
        let mut wait = TICK;
        for _ in 0..DELIVERIES_PER_TURN {
            match self.inlet.receive(wait) {
                Ok(message) => self.handle(message),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => {
                    self.stopping = true;
                    return;
                }
            }
            wait = Duration::ZERO;
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Delivery(delivery) => {
                let merged = self.merger.merge(&delivery, self.now_millis());
                self.merged(&delivery, merged);
            }
            Message::FromOutbox(delivery) => {
                let merged = self.merger.merge_from_outbox(&delivery, self.now_millis());
                if merged.admission == Admission::Refuse {
                    // Its owner goes on from the cursor of the next checkpoint. Should it find
                    // nothing wrong, what was refused is still in its outbox.
                    self.cadence.ask();
                    self.shared.note_refused_outbox(delivery.partition);
                }
                self.merged(&delivery, merged);
            }
            Message::Partition { partition, start, coverage } => {
                self.merger.add_partition(partition, start, coverage, self.now_millis());
                self.share_position(partition);
            }
            Message::Stop => self.stopping = true,
        }
    }

    fn merged(&mut self, delivery: &Delivery, merged: Merged) {
        if merged.admission == Admission::Apply {
            self.rounds.merged(delivery.bytes());
            self.shared.add_records(delivery.to.abs_diff(delivery.from));
            if let Some(oldest_millis) = delivery.oldest_record_millis {
                let applied = delivery.cells.panes.iter().map(|pane| pane.totals.events).sum();
                self.visible.push((delivery.partition.kind, oldest_millis, applied));
            }
        }
        self.share_position(delivery.partition);
        self.observer.merged(delivery, merged);
    }

    /// Lets the owner see where the merged state stands.
    fn share_position(&self, partition: Partition) {
        if let Some(position) = self.merger.position(partition) {
            self.shared.set_position(partition, position.clone());
        }
    }

    fn bounded_end_reached(&self) -> bool {
        let lateness = self.plan.definitions.lateness;
        let reached = |(partition, &end): (&Partition, &i64)| {
            let Some(Position { cursor, state, .. }) = self.merger.position(*partition) else {
                return false;
            };
            let watermark = state.watermark.watermark(lateness);
            *cursor >= end || self.plan.period.is_some_and(|period| watermark >= Some(period.to))
        };
        self.plan.bounded.as_ref().is_some_and(|ends| ends.iter().all(reached))
    }

    /// Closes what can be closed, as far as there is room for it and [`Rounds`] let it.
    fn close_windows(&mut self) -> Result<(), SinkGone> {
        let Some(group_watermark) = self.merger.clock().group_watermark() else { return Ok(()) };
        let last_wanted = self.plan.period.map_or(EventTime::MAX, |period| period.to);
        let group_watermark = group_watermark.min(last_wanted);
        let until = if self.stopping {
            Some(group_watermark)
        } else {
            self.rounds.begin(group_watermark, self.started.elapsed())
        };
        let Some(until) = until else { return Ok(()) };
        let mut any = false;
        loop {
            if !self.has_room() {
                if !self.stopping {
                    break;
                }
                self.wait_for_sink()?;
                self.flush(false)?;
            }
            let Some(closed) = self.merger.close_next(until) else {
                self.rounds.done(self.started.elapsed());
                break;
            };
            if self.plan.period.is_none_or(|period| period.holds(closed.view.end)) {
                self.closed_bytes += closed.bytes();
                self.closed.push(Arc::new(closed));
            }
            any = true;
            if !self.rounds.closed(self.started.elapsed()) {
                // Panes that became superfluous cost time as well as memory.
                self.merger.roll_up();
                if !self.stopping {
                    return Ok(());
                }
            }
        }
        if any {
            self.merger.roll_up();
        }
        Ok(())
    }

    fn wait_for_sink(&self) -> Result<(), SinkGone> {
        while !self.jobs.is_free()? {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn flush_is_due(&self) -> bool {
        self.last_flush.is_none_or(|last| last.elapsed() >= self.plan.flush)
    }

    /// Hands the newest state to the sink, which is free.
    fn flush(&mut self, is_last: bool) -> Result<(), SinkGone> {
        self.last_flush = Some(Instant::now());
        let offsets = self.merger.offsets();
        let keeps_latest = self.is_behind_what_stands(&offsets);
        let latest = if keeps_latest || self.plan.period.is_some() {
            self.merger.advance_latest();
            Vec::new()
        } else {
            self.latest(&offsets, is_last)
        };
        self.merger.roll_up();
        if keeps_latest && self.closed.is_empty() && !is_last {
            return Ok(());
        }
        self.closed_bytes = 0;
        let visible = if keeps_latest { Vec::new() } else { std::mem::take(&mut self.visible) };
        self.jobs.send(Job {
            flush: Flush {
                closed: std::mem::take(&mut self.closed),
                latest,
                meta: self.merger.meta(self.now_millis()),
                keeps_latest,
            },
            visible,
            is_last,
        })
    }

    /// The windows that are due.
    fn latest(&mut self, offsets: &Offsets, is_last: bool) -> Vec<LatestView> {
        let now = Instant::now();
        let all_windows = is_last || self.jobs.all_windows.swap(false, Ordering::AcqRel);
        let mut latest = Vec::new();
        for window in 0..self.published.len() {
            let due = self.published[window]
                .is_none_or(|last| now.duration_since(last) >= self.plan.refresh[window]);
            if !due && !all_windows {
                continue;
            }
            if let Some(view) = self.merger.latest(window, offsets) {
                latest.push(view);
                self.published[window] = Some(now);
            }
        }
        latest
    }

    /// Whether readers have seen more of the log than is merged yet. Patience is for standing
    /// still: reading a day again may take minutes, and gets there.
    fn is_behind_what_stands(&mut self, offsets: &Offsets) -> bool {
        let merged: i64 = offsets.iter().map(|&(_, offset)| offset).sum();
        if merged != self.progress.0 {
            // Not what reading starts from, but what it adds.
            self.has_read |= self.progress.0 != 0;
            self.progress = (merged, Instant::now());
        }
        if self.merger.has_ended() {
            return false;
        }
        let cursors: Cursors = offsets.iter().copied().collect();
        let before = self.plan.gate.is_open();
        let stood_still = self.progress.1.elapsed();
        // Before the first record the group may still wait for a member that died.
        let waited = if self.has_read { stood_still } else { stood_still / FIRST_RECORD_PATIENCE };
        let passage = self.plan.gate.pass(&cursors, waited);
        match passage {
            Passage::Shut => return true,
            _ if !before => self.merger.overtake(),
            _ => {}
        }
        match passage {
            Passage::Open if !before && self.plan.gate.has_predecessor() => {
                info!("the views of the last run are reached")
            }
            Passage::Forced if !before => warn!(
                "the views of the last run knew more of the log than can be read now, and are \
                 replaced: were topics deleted or made anew?"
            ),
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::capture_line::capture_line;
    use crate::pipeline::clock::Coverage;
    use crate::pipeline::delivery::{Cells, PartitionState};
    use crate::pipeline::handover::channel;
    use crate::pipeline::testing;
    use crate::pipeline::watermark::Watermark;

    struct Nobody;

    impl Observer for Nobody {
        fn merged(&mut self, _: &Delivery, _: Merged) {}
        fn ticked(&mut self, _: &Merger, _: usize, _: u64) {}
    }

    const HOUR: Duration = Duration::from_secs(3600);
    const P: Partition = Partition { kind: Kind::Click, index: 0 };

    /// A publisher of one partition, when views stand that explain it up to `published`.
    fn publisher(published: Option<i64>) -> (Publisher<Nobody>, JobReceiver) {
        let definitions = Arc::new(testing::definitions());
        let (jobs, receiver) = job_channel();
        let plan = Plan {
            flush: Duration::ZERO,
            refresh: vec![Duration::ZERO; definitions.windows.len()],
            definitions,
            closed_keep: None,
            unpublished_bytes_max: 1 << 20,
            state_bytes_max: 1 << 20,
            bounded: None,
            period: None,
            checkpoints: None,
            gate: Gate::new(published.map(|offset| (P, offset))),
        };
        let (_, inlet) = channel(1 << 20);
        let merger = Merger::new(plan.definitions.clone());
        let mut publisher = Publisher::new(plan, merger, inlet, Arc::default(), jobs, Nobody);
        publisher.merger.add_partition(P, 0, Coverage::Everything, 0);
        (publisher, receiver)
    }

    fn read(publisher: &mut Publisher<Nobody>, from: i64, to: i64) {
        publisher.handle(Message::Delivery(Box::new(Delivery {
            partition: P,
            from,
            to,
            state_to: PartitionState::default(),
            cells: Cells::default(),
            oldest_record_millis: Some(0),
            has_gap: false,
        })));
    }

    /// What a flush sends: whether it leaves the latest views alone, and what became visible.
    fn flushed(
        publisher: &mut Publisher<Nobody>,
        receiver: &mut JobReceiver,
        is_last: bool,
    ) -> Option<(bool, usize)> {
        publisher.flush(is_last).expect("the sink lives");
        let job = receiver.receiver.try_recv().ok();
        receiver.done();
        job.map(|job| (job.flush.keeps_latest, job.visible.len()))
    }

    #[test]
    fn views_of_an_earlier_run_stand_until_they_are_reached() {
        let (mut publisher, mut receiver) = publisher(Some(100));
        read(&mut publisher, 0, 60);
        assert_eq!(flushed(&mut publisher, &mut receiver, false), None);
        read(&mut publisher, 60, 99);
        assert_eq!(flushed(&mut publisher, &mut receiver, false), None);
        read(&mut publisher, 99, 130);
        assert_eq!(flushed(&mut publisher, &mut receiver, false), Some((false, 3)));
        read(&mut publisher, 130, 140);
        assert_eq!(flushed(&mut publisher, &mut receiver, false), Some((false, 1)));
    }

    #[test]
    fn a_run_that_ends_before_it_has_reached_them_leaves_them() {
        let (mut publisher, mut receiver) = publisher(Some(100));
        read(&mut publisher, 0, 60);
        assert_eq!(flushed(&mut publisher, &mut receiver, true), Some((true, 0)));
        // A bounded run has read all there is.
        let (mut publisher, mut receiver) = self::publisher(Some(100));
        read(&mut publisher, 0, 60);
        publisher.merger.finish();
        assert_eq!(flushed(&mut publisher, &mut receiver, true), Some((false, 1)));
    }

    #[test]
    fn a_run_for_a_period_ends_where_watermarks_have_passed_it_and_shows_no_latest_views() {
        let (mut publisher, mut receiver) = publisher(None);
        let at = EventTime::from_millis;
        publisher.plan.bounded = Some([(P, 1000)].into());
        publisher.plan.period = Some(Period { from: at(0), to: at(60_000) });
        let lateness = publisher.plan.definitions.lateness;
        let mut read = |from, newest| {
            let watermark = Watermark::from_parts(Some(newest), 1, &[newest]);
            let watermark = watermark.expect("one record, one time");
            publisher.handle(Message::Delivery(Box::new(Delivery {
                partition: P,
                from,
                to: from + 10,
                state_to: PartitionState { watermark, ..PartitionState::default() },
                cells: Cells::default(),
                oldest_record_millis: Some(0),
                has_gap: false,
            })));
            publisher.flush(false).expect("the sink lives");
            let flush = receiver.receiver.try_recv().expect("a job").flush;
            receiver.done();
            (flush.latest.len(), flush.keeps_latest, publisher.bounded_end_reached())
        };
        assert_eq!(read(0, at(59_999) + lateness), (0, false, false));
        assert_eq!(read(10, at(60_000) + lateness), (0, false, true));
    }

    #[test]
    fn a_first_run_publishes_at_once() {
        let (mut publisher, mut receiver) = publisher(None);
        read(&mut publisher, 0, 1);
        assert_eq!(flushed(&mut publisher, &mut receiver, false), Some((false, 1)));
    }

    #[tokio::test]
    async fn when_the_store_has_lost_its_data_a_whole_checkpoint_follows_at_once() {
        let (mut publisher, receiver) = publisher(None);
        let (line, mut captures) = capture_line();
        publisher.plan.checkpoints = Some(Checkpoints { every: HOUR, line });
        publisher.cadence = Cadence::new(HOUR);
        let mut captured = async |publisher: &mut Publisher<Nobody>, later: Duration| {
            publisher.started = publisher.started.checked_sub(later).expect("booted for a minute");
            publisher.tick();
            publisher.checkpoint_if_due().expect("the sink lives");
            match tokio::time::timeout(Duration::from_millis(1), captures.next()).await {
                Ok(Some(Order::Store(capture))) => Some(capture.is_everything),
                _ => None,
            }
        };
        assert_eq!(captured(&mut publisher, Duration::ZERO).await, Some(false));
        let a_moment = Duration::from_secs(2);
        assert_eq!(captured(&mut publisher, a_moment).await, None, "nothing has happened");
        receiver.data_lost();
        assert_eq!(captured(&mut publisher, a_moment).await, Some(true));
    }

    #[test]
    fn a_log_that_cannot_reach_them_is_not_waited_for_for_ever() {
        let (mut publisher, mut receiver) = publisher(Some(100));
        read(&mut publisher, 0, 60);
        assert_eq!(flushed(&mut publisher, &mut receiver, false), None);
        // It has stood still for longer than the patience.
        let Some(long_ago) = Instant::now().checked_sub(Gate::PATIENCE) else { return };
        publisher.progress.1 = long_ago;
        assert_eq!(flushed(&mut publisher, &mut receiver, false), None, "nothing was read yet");
        read(&mut publisher, 60, 70);
        assert_eq!(flushed(&mut publisher, &mut receiver, false), None, "it moves");
        publisher.progress.1 = long_ago;
        assert_eq!(flushed(&mut publisher, &mut receiver, false), Some((false, 2)));
        assert!(publisher.plan.gate.is_open());
    }
}
