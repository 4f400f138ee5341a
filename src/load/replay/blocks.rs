//! The second reading: events become labelled records, in blocks.

use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::ensure;

use super::Replay;
use super::account::Account;
use super::event::Event;
use super::pacing::Due;
use super::value::time::TIMES_MS;
use crate::load::block::{BLOCK_RECORDS, Block, Meta};
use crate::load::clock::{Clock, Rules};
use crate::load::kind::{Kind, Reason};
use crate::load::partitioner::partition_of;
use crate::load::workload::Injected;

/// What depends on the cluster that is replayed to.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// By kind.
    pub partitions: [u32; 4],
    /// The daemon's.
    pub rules: Rules,
}

/// Blocks that are filled ahead of whoever takes them.
const BLOCKS_AHEAD: usize = 4;

/// Fills blocks one after another, from a thread that reads the files; empty ones after the end. The
/// thread ends with the filler.
pub fn filler(replay: Replay, target: Target) -> impl FnMut(&mut [Block]) + Send + 'static {
    let (full_sender, full) = sync_channel(BLOCKS_AHEAD);
    let (used, used_receiver) = sync_channel(BLOCKS_AHEAD);
    (0..BLOCKS_AHEAD).for_each(|_| _ = used.send(Block::default()));
    std::thread::spawn(move || {
        if let Err(error) = fill(&replay, target, &used_receiver, &full_sender) {
            // Before the sender is gone, by which the end is noticed.
            let _ = replay.failure.set(format!("{error:#}"));
        }
        drop(full_sender);
    });
    move |blocks| {
        for block in blocks {
            block.clear();
            if let Ok(next) = full.recv() {
                // Nobody takes it once the last block has been made.
                let _ = used.try_send(std::mem::replace(block, next));
            }
        }
    }
}

/// Fills blocks until the files end or nobody takes them any more.
fn fill(
    replay: &Replay,
    target: Target,
    used: &Receiver<Block>,
    full: &SyncSender<Block>,
) -> anyhow::Result<()> {
    for time_ms in [replay.account.first_ms, replay.account.last_ms].into_iter().flatten() {
        let shifted_ms = time_ms.saturating_add(replay.shift_ms());
        ensure!(
            TIMES_MS.contains(&shifted_ms),
            "the event time {time_ms} would be shifted to {shifted_ms}, which is not in 2000 to 2099: \
             the files span too much (see `from` and `until` of a mapping)"
        );
    }
    let mut labels = Labels::new(replay, target);
    let Some(mut block) = empty(used) else { return Ok(()) };
    let (mut sent, mut is_wanted) = (0, true);
    replay.source.each(&mut Account::default(), &mut |event, _| {
        labels.push(&mut block, event);
        sent += 1;
        if block.len() < BLOCK_RECORDS {
            return ControlFlow::Continue(());
        }
        block.seal();
        is_wanted = full.send(std::mem::take(&mut block)).is_ok();
        match empty(used).filter(|_| is_wanted) {
            Some(next) => {
                block = next;
                ControlFlow::Continue(())
            }
            None => {
                is_wanted = false;
                ControlFlow::Break(())
            }
        }
    })?;
    if !is_wanted {
        return Ok(());
    }
    ensure!(
        sent == replay.account.events,
        "the files have changed while they were replayed: {} events before, {sent} now",
        replay.account.events
    );
    if !block.is_empty() {
        block.seal();
        // It was the last one; an early end is no matter here.
        let _ = full.send(block);
    }
    Ok(())
}

fn empty(used: &Receiver<Block>) -> Option<Block> {
    let mut block = used.recv().ok()?;
    block.clear();
    Some(block)
}

/// Keeps the clock of every partition, as whoever reads the log will.
struct Labels {
    target: Target,
    shift_ms: i64,
    due: Due,
    clocks: [Vec<Clock>; 4],
    /// The newest event time so far, shifted: the stream's own clock.
    newest_ms: i64,
    number: u64,
}

impl Labels {
    fn new(replay: &Replay, target: Target) -> Self {
        Self {
            target,
            shift_ms: replay.shift_ms(),
            due: Due::new(replay.pacing),
            clocks: target.partitions.map(|count| vec![Clock::default(); count.max(1) as usize]),
            newest_ms: i64::MIN,
            number: 0,
        }
    }

    fn push(&mut self, block: &mut Block, event: &Event) {
        let Target { partitions, rules } = self.target;
        let time_ms = event.time_ms + self.shift_ms;
        self.newest_ms = self.newest_ms.max(time_ms);
        let partitions = partitions[event.kind as usize];
        let partition = match event.key.as_slice() {
            // Nothing keeps it together with others, so it goes to one after another.
            [] => (self.number % u64::from(partitions.max(1))) as u32,
            key => partition_of(key, partitions),
        };
        self.number += 1;
        let meta = Meta {
            kind: event.kind,
            partition,
            // As if each had been sent when the stream had got so far.
            create_time_ms: self.newest_ms,
            due_ns: self.due.of(event.time_ms),
            intended_ms: time_ms,
            label: self.judge(event.kind, partition, time_ms, rules),
            injected: Injected::Nothing,
        };
        block.push(
            meta,
            |out| out.extend_from_slice(&event.key),
            |out| {
                event.write(time_ms, out);
                (true, Injected::Nothing)
            },
        );
    }

    fn judge(&mut self, kind: Kind, partition: u32, time_ms: i64, rules: Rules) -> Reason {
        let clock = &mut self.clocks[kind as usize][partition as usize];
        let is_late = clock.is_late(time_ms, &rules);
        clock.observe(time_ms, &rules);
        if is_late { Reason::Late } else { Reason::Applied }
    }
}
