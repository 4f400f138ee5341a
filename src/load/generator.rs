//! Makes the blocks of a workload, on as many threads as it is given.
//!
//! ```text
//!  times ─► lanes 0…15, apart ─► gate, in order ─► blocks written and digested, apart ─►
//! ```
//!
//! The threads share out lanes and blocks; none of them decides anything that another one sees. So
//! the stream does not depend on their number, and the only part that cannot be shared is the
//! gate, which takes some tens of nanoseconds a record.

use super::block::{BLOCK_RECORDS, Block, Meta};
use super::catalogue::Catalogue;
use super::encode::{Encoder, write_key};
use super::gate::{Decided, Gate};
use super::kind::Reason;
use super::lane::{Draft, LANES, Lane};
use super::scenario::Script;
use super::scenario::tally::Trace;
use super::schedule::Times;
use super::spoil::Spoil;
use super::workload::{Injected, WorkloadConfig};

#[derive(Debug)]
pub struct Generator {
    config: WorkloadConfig,
    catalogue: Catalogue,
    script: Option<Script>,
    times: Times,
    lanes: Vec<Lane>,
    gate: Gate,
    /// The number of the next record.
    next: u64,
    due_ns: Vec<u64>,
    drafts: Vec<Vec<Draft>>,
    decided: Vec<Decided>,
}

impl Generator {
    pub fn new(config: WorkloadConfig) -> Self {
        let catalogue = Catalogue::new(config.products, config.categories, config.sellers)
            .with_popularity(config.popularity);
        Self {
            script: Script::of(&config, &catalogue),
            catalogue,
            times: config.schedule.times(config.seed),
            lanes: (0..LANES).map(|lane| Lane::new(&config, lane)).collect(),
            gate: Gate::new(&config),
            next: 0,
            due_ns: Vec::new(),
            drafts: vec![Vec::new(); LANES],
            decided: Vec::new(),
            config,
        }
    }

    pub fn config(&self) -> &WorkloadConfig {
        &self.config
    }

    /// Fills the blocks with the next records, on a thread each; those after the end are empty.
    pub fn fill(&mut self, blocks: &mut [Block]) {
        let count = blocks.len() * BLOCK_RECORDS;
        self.due_ns.clear();
        self.due_ns.extend(self.times.by_ref().take(count));
        self.draft(blocks.len());
        self.decide();
        self.write(blocks);
        self.next += self.due_ns.len() as u64;
    }

    fn draft(&mut self, threads: usize) {
        let (config, catalogue, first) = (&self.config, &self.catalogue, self.next);
        let script = self.script.as_ref();
        let due_ns = self.due_ns.as_slice();
        // The first number that is this lane's; there may be none before the end.
        let of_lane = |lane: usize| (lane + LANES - (first % LANES as u64) as usize) % LANES;
        let work = |base: usize, lanes: &mut [Lane], drafts: &mut [Vec<Draft>]| {
            for (at, (lane, drafts)) in lanes.iter_mut().zip(drafts).enumerate() {
                drafts.clear();
                for at in (of_lane(base + at)..due_ns.len()).step_by(LANES) {
                    let number = first + at as u64;
                    drafts.push(lane.draft(config, catalogue, script, number, due_ns[at]));
                }
            }
        };
        if threads <= 1 {
            return work(0, &mut self.lanes, &mut self.drafts);
        }
        let share = LANES.div_ceil(threads);
        let parts = self.lanes.chunks_mut(share).zip(self.drafts.chunks_mut(share));
        std::thread::scope(|scope| {
            for (part, (lanes, drafts)) in parts.enumerate() {
                let work = &work;
                scope.spawn(move || work(part * share, lanes, drafts));
            }
        });
    }

    fn decide(&mut self) {
        let first_lane = (self.next % LANES as u64) as usize;
        self.decided.clear();
        for at in 0..self.due_ns.len() {
            let draft = self.drafts[(first_lane + at) % LANES][at / LANES];
            self.decided.push(self.gate.decide(draft));
        }
    }

    fn write(&self, blocks: &mut [Block]) {
        let mut parts = self.decided.chunks(BLOCK_RECORDS);
        let work = |block: &mut Block, decided: &[Decided]| {
            block.clear();
            decided.iter().for_each(|decided| self.write_record(block, decided));
            block.seal();
        };
        let mut shares = blocks.iter_mut().map(|block| (block, parts.next().unwrap_or(&[])));
        if shares.len() == 1 {
            return shares.for_each(|(block, decided)| work(block, decided));
        }
        std::thread::scope(|scope| {
            for (block, decided) in shares.by_ref() {
                let work = &work;
                scope.spawn(move || work(block, decided));
            }
        });
    }

    fn write_record(&self, block: &mut Block, decided: &Decided) {
        let Decided { draft, event_time_ms, label, injected } = decided;
        let meta = Meta {
            kind: draft.deed.action.kind(),
            partition: draft.partition,
            create_time_ms: draft.create_time_ms,
            due_ns: draft.due_ns,
            intended_ms: draft.intended_ms,
            label: *label,
            injected: *injected,
        };
        let encode = |out: &mut Vec<u8>, spoil, drift| {
            let (catalogue, currency) = (&self.catalogue, self.config.currency.as_str());
            let encoder = Encoder { catalogue, currency, spoil, drift };
            encoder.encode(out, draft.event, *event_time_ms, &draft.deed)
        };
        block.push(
            meta,
            |out| write_key(out, self.config.key, &draft.deed),
            |out| {
                if *label == Reason::Tombstone {
                    return (false, *injected);
                }
                let start = out.len();
                match *injected {
                    Injected::Nothing | Injected::Reordered => _ = encode(out, None, None),
                    Injected::Drifted(drift) => {
                        let has_drifted = encode(out, None, Some(drift));
                        debug_assert!(has_drifted, "every event of its kind has the field");
                    }
                    Injected::Spoiled(spoil) => {
                        if !encode(out, Some(spoil), None) {
                            // This shape of event does not have the field.
                            out.truncate(start);
                            encode(out, Some(Spoil::Truncated), None);
                            return (true, Injected::Spoiled(Spoil::Truncated));
                        }
                    }
                }
                (true, *injected)
            },
        );
        if self.script.is_some() && matches!(label, Reason::Applied | Reason::Duplicate) {
            let is_drifted = matches!(injected, Injected::Drifted(_));
            block.trace(Trace {
                event_time_ms: *event_time_ms,
                is_sure: *label == Reason::Applied && !is_drifted,
                deed: draft.deed,
            });
        }
    }
}
