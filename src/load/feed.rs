//! Makes blocks on threads of their own, a little ahead of whoever takes them.
//!
//! ```text
//! generator ──► full blocks ──► producer
//!     ▲                            │
//!     └─────── used blocks ◄───────┘
//! ```
//!
//! Blocks go round, so a run of any length takes the memory of a few of them.

use std::cell::RefCell;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::block::Block;
use super::generator::Generator;
use super::workload::WorkloadConfig;

/// Blocks under way for each thread that makes them: one is made, one waits, one is sent, and one
/// more evens out whoever is held up.
const BLOCKS_PER_THREAD: usize = 4;

/// Where blocks come from. Of a stream that has ended they are empty.
pub struct Feed {
    full: Receiver<Block>,
    first: RefCell<Option<Block>>,
    used: SyncSender<Block>,
}

impl Feed {
    /// The blocks of a workload.
    pub fn start(config: WorkloadConfig, threads: usize) -> Feed {
        let mut generator = Generator::new(config);
        Feed::of(threads, move |blocks| generator.fill(blocks))
    }

    /// The blocks that `fill` fills, as many at a time as it has threads for. It leaves those empty that
    /// come after the end. Its thread ends when the feed is dropped.
    pub fn of(threads: usize, fill: impl FnMut(&mut [Block]) + Send + 'static) -> Feed {
        let threads = threads.max(1);
        let (full_sender, full) = sync_channel(threads * BLOCKS_PER_THREAD);
        let (used, used_receiver) = sync_channel(threads * BLOCKS_PER_THREAD);
        (0..threads * BLOCKS_PER_THREAD).for_each(|_| _ = used.send(Block::default()));
        std::thread::spawn(move || make(fill, threads, &full_sender, &used_receiver));
        Feed { full, first: RefCell::default(), used }
    }

    /// Returns once the first block has been made: before the clock starts.
    pub fn wait(&self) {
        let next = self.next();
        *self.first.borrow_mut() = next;
    }

    /// The next block; `None` after the last one.
    pub fn next(&self) -> Option<Block> {
        let first = self.first.borrow_mut().take();
        first.or_else(|| self.full.recv().ok()).filter(|block| !block.is_empty())
    }

    /// Gives a block back.
    pub fn used(&self, block: Block) {
        // Nobody takes it once the last block has been made.
        let _ = self.used.try_send(block);
    }
}

fn make(
    mut fill: impl FnMut(&mut [Block]),
    threads: usize,
    full: &SyncSender<Block>,
    used: &Receiver<Block>,
) {
    loop {
        let mut blocks: Vec<Block> = used.iter().take(threads).collect();
        if blocks.len() < threads {
            return;
        }
        fill(&mut blocks);
        let has_ended = blocks.iter().any(Block::is_empty);
        for block in blocks {
            // Nobody listens any more: the run was ended early.
            if full.send(block).is_err() {
                return;
            }
        }
        if has_ended {
            return;
        }
    }
}
