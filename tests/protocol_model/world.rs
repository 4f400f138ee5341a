//! All members, Kafka and Redis, and one step at a time of any of them.

mod settle;

use std::rc::Rc;
use std::time::Duration;

use nazar::pipeline::protocol::{
    Admission, Gate, Landing, Lease, Reach, Token, Verdict, Way, landing, lease_is_free,
    write_admitted,
};

use crate::Rule;
use crate::leader::{Leader, Merged, append_is_admitted};
use crate::log::{Log, Panes, Record, partition, window};
use crate::owner::{Owner, Seen};
use crate::store::{Main, Manifest, Meta, Outbox, Slot, State};

pub const PARTITIONS: usize = 2;
pub const MEMBERS: usize = 3;
const LEASE_MILLIS: u64 = 10;

/// Kinds of action that a run may leave out, so that others have room to unfold.
pub const REASSIGN: u8 = 8;
pub const TAKE_LEASE: u8 = 33;
pub const CRASH: u8 = 61;
pub const MAIN_FALLS_BACK: u8 = 62;
pub const OUTBOX_FALLS_BACK: u8 = 63;

/// What went wrong.
pub type Violation = &'static str;

/// One step: what, and three choices that the step interprets.
pub type Action = [u8; 4];

#[derive(Default)]
struct Member {
    owners: [Option<Owner>; PARTITIONS],
    leader: Option<Leader>,
}

pub struct World {
    broken: Option<Rule>,
    logs: Vec<Log>,
    /// What Kafka says. Members learn of it later, or never.
    assigned: [usize; PARTITIONS],
    members: Vec<Member>,
    main: Slot<Main>,
    outboxes: Vec<Slot<Outbox>>,
    redis_now: u64,
    newest_time: i64,
    records: u32,
    withheld: [Option<Vec<Record>>; PARTITIONS],
    tokens: u128,
}

impl World {
    pub fn new(broken: Option<Rule>) -> Self {
        let all = || (0..PARTITIONS).map(partition);
        // The start offsets, written once.
        let manifest = Manifest {
            cursors: all().map(|partition| (partition, 0)).collect(),
            states: vec![State::default(); PARTITIONS],
            digests: vec![0; PARTITIONS],
            panes: Panes::new(),
            group_watermark: None,
            after_close: 0,
        };
        let main = Main {
            lease: None,
            manifest: Rc::new(manifest),
            meta: Rc::new(Meta::default()),
            history: Rc::default(),
        };
        Self {
            broken,
            logs: (0..PARTITIONS).map(|_| Log::new()).collect(),
            assigned: [0; PARTITIONS],
            members: (0..MEMBERS).map(|_| Member::default()).collect(),
            main: Slot::new(main),
            outboxes: (0..PARTITIONS).map(|_| Slot::new(Outbox::default())).collect(),
            redis_now: 0,
            newest_time: 10,
            records: 0,
            withheld: Default::default(),
            tokens: 0,
        }
    }

    /// Any one step of anybody, with every invariant that it may break.
    pub fn step(&mut self, [what, a, b, c]: Action) -> Result<(), Violation> {
        let (m, p) = (a as usize % MEMBERS, b as usize % PARTITIONS);
        let owner = self.any_owner(a);
        let leader = self.any_leader(a);
        match what % 64 {
            0..7 => self.produce(p, a, c),
            7 => self.begin_or_end_outage(p),
            REASSIGN => self.assigned[p] = m,
            9..12 => self.learn(m, c % 2 == 0),
            12..19 => owner.into_iter().for_each(|(m, p)| self.observe(m, p)),
            19..25 => owner.into_iter().for_each(|(m, p)| self.consume(m, p, i64::from(c % 4) + 1)),
            25..33 => {
                owner.into_iter().for_each(|(m, p)| self.flush(m, p, c.is_multiple_of(16)));
            }
            TAKE_LEASE..35 => self.take_lease(m, u64::from(c % 4)),
            35..37 => leader.into_iter().for_each(|m| self.load(m)),
            37..41 => leader.into_iter().for_each(|m| self.read_outbox(m, p)),
            41..51 => return leader.map_or(Ok(()), |m| self.merge_one(m, c)),
            51..53 => return leader.map_or(Ok(()), |m| self.checkpoint(m)),
            53 => leader.into_iter().for_each(|m| self.trim(m, p)),
            54..57 => {
                let patience = if c == 0 { Gate::PATIENCE } else { Duration::ZERO };
                leader.into_iter().for_each(|m| self.stage(m, patience));
            }
            57..61 => return leader.map_or(Ok(()), |m| self.swap(m, c.is_multiple_of(8))),
            CRASH => self.members[m] = Member::default(),
            MAIN_FALLS_BACK => self.main.fall_back(usize::from(c % 6)),
            _ => self.outboxes[p].fall_back(usize::from(c % 4)),
        }
        Ok(())
    }

    fn any_owner(&self, choice: u8) -> Option<(usize, usize)> {
        let owners = (0..MEMBERS * PARTITIONS).map(|i| (i / PARTITIONS, i % PARTITIONS));
        let living: Vec<_> = owners.filter(|&(m, p)| self.members[m].owners[p].is_some()).collect();
        (!living.is_empty()).then(|| living[usize::from(choice) % living.len()])
    }

    fn any_leader(&self, choice: u8) -> Option<usize> {
        let living: Vec<_> = (0..MEMBERS).filter(|&m| self.members[m].leader.is_some()).collect();
        (!living.is_empty()).then(|| living[usize::from(choice) % living.len()])
    }

    // ---- Kafka

    fn produce(&mut self, p: usize, late_by: u8, weight: u8) {
        self.newest_time += i64::from(late_by & 1);
        let late_by = if late_by >= 240 { 7 } else { i64::from(late_by / 2 % 4) };
        self.records += 1;
        // Any odd factor spreads the weights over 64 bits; the rotation tells records apart.
        let weight = (u64::from(weight) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let weight = weight.rotate_left(self.records % 64);
        let record = Record { time: self.newest_time - late_by, weight };
        match &mut self.withheld[p] {
            Some(withheld) => withheld.push(record),
            None => self.logs[p].push(record),
        }
    }

    /// The producers of a partition go on stamping events, and deliver them when they are back.
    fn begin_or_end_outage(&mut self, p: usize) {
        match self.withheld[p].take() {
            Some(withheld) => withheld.into_iter().for_each(|record| self.logs[p].push(record)),
            None => self.withheld[p] = Some(vec![]),
        }
    }

    /// A member hears of the assignment: it gives up partitions, with a last handover or
    /// without, and starts others.
    fn learn(&mut self, m: usize, hand_over: bool) {
        for p in 0..PARTITIONS {
            let mine = self.assigned[p] == m;
            if mine && self.members[m].owners[p].is_none() {
                let seen = Seen {
                    manifest: self.main.now.manifest.clone(),
                    meta: self.main.now.meta.clone(),
                    outbox: None,
                };
                self.restart(m, p, &seen);
            } else if !mine {
                if hand_over {
                    self.observe(m, p);
                    self.flush(m, p, false);
                }
                self.members[m].owners[p] = None;
            }
        }
    }

    // ---- owners

    fn mint(&mut self) -> Token {
        self.tokens += 1;
        Token::new(self.tokens << 64)
    }

    fn restart(&mut self, m: usize, p: usize, seen: &Seen) {
        let token = self.mint();
        let owner = Owner::start(p, token, seen);
        let at = owner.sent.end();
        self.outboxes[p].write(|outbox| *outbox = Outbox::open(token, at));
        self.members[m].owners[p] = Some(owner);
    }

    fn observe(&mut self, m: usize, p: usize) {
        if let Some(owner) = &mut self.members[m].owners[p] {
            owner.observe(&self.main.now, &self.outboxes[p].now);
        }
    }

    fn consume(&mut self, m: usize, p: usize, records: i64) {
        if let Some(owner) = &mut self.members[m].owners[p] {
            owner.consume(&self.logs[p], records);
        }
    }

    /// The owner's rule on what was observed, then the handover.
    fn flush(&mut self, m: usize, p: usize, outcome_unknown: bool) {
        let Member { owners, leader } = &mut self.members[m];
        let Some(owner) = &mut owners[p] else { return };
        let Some(seen) = owner.seen.take() else { return };
        let broken = self.broken;
        // Broken: as if memory could still be read by whoever leads next.
        let memory = |lease| match broken {
            Some(Rule::MemoryEndsWithLease) => Token::new(0),
            _ => lease,
        };
        let mut leading = leader.as_ref().map(|leader| memory(leader.token));
        if broken == Some(Rule::MemoryEndsWithLease) {
            leading = Some(Token::new(0));
        }
        let reach = Reach { leading, outbox: seen.outbox };
        let verdict = owner.sent.check(seen.cursor(p), &reach);
        if verdict == Verdict::Restart && broken != Some(Rule::OwnerChecks) {
            return self.restart(m, p, &seen);
        }
        let delivery = Rc::new(owner.delivery(&self.logs[p], &seen));
        let to = delivery.to;
        if let Some(leader) = leader {
            leader.inbox.push((Some(leader.token), delivery));
            owner.sent.hand_over(to, Way::Memory(memory(leader.token)));
            owner.handed_over();
        } else if append_is_admitted(&self.outboxes[p].now, owner.token, delivery.from, broken) {
            self.outboxes[p].write(|outbox| outbox.append(delivery));
            // An unknown outcome shows at the next check: the outbox ends elsewhere.
            if !outcome_unknown {
                owner.sent.hand_over(to, Way::Outbox);
                owner.handed_over();
            }
        }
    }

    // ---- leaders

    fn take_lease(&mut self, m: usize, waited: u64) {
        self.redis_now += waited;
        if lease_is_free(self.main.now.lease.as_ref(), self.redis_now) {
            let token = self.mint();
            let expires_at_millis = self.redis_now + LEASE_MILLIS;
            self.main.write(|main| main.lease = Some(Lease { token, expires_at_millis }));
            self.members[m].leader = Some(Leader::new(token));
        }
    }

    fn load(&mut self, m: usize) {
        if let Some(leader) = &mut self.members[m].leader {
            let (main, broken) = (&self.main.now, self.broken);
            leader.merged.get_or_insert_with(|| Merged::load(main, broken));
        }
    }

    fn read_outbox(&mut self, m: usize, p: usize) {
        if let Some(leader) = &mut self.members[m].leader {
            let entries = &self.outboxes[p].now.entries;
            leader.inbox.extend(entries.iter().map(|entry| (None, entry.clone())));
        }
    }

    /// Merges any delivery that has arrived, seldom in order, and keeps some to repeat them.
    fn merge_one(&mut self, m: usize, choice: u8) -> Result<(), Violation> {
        let Some(leader) = &self.members[m].leader else { return Ok(()) };
        if leader.merged.is_none() || leader.inbox.is_empty() {
            return Ok(());
        }
        let out_of_order = choice.is_multiple_of(8);
        let index = if out_of_order { usize::from(choice) % leader.inbox.len() } else { 0 };
        self.merge(m, index, choice.is_multiple_of(16))
    }

    fn merge(&mut self, m: usize, index: usize, keep: bool) -> Result<(), Violation> {
        let Member { owners, leader } = &mut self.members[m];
        let leader = leader.as_mut().unwrap();
        let merged = leader.merged.as_mut().unwrap();
        let (way, delivery) = leader.inbox[index].clone();
        if !keep {
            leader.inbox.remove(index);
        }
        let admission = merged.apply(&delivery, self.broken);
        if admission == Admission::Refuse
            && way == Some(leader.token)
            && self.broken != Some(Rule::RefusalIsHeard)
            && let Some(owner) = &mut owners[delivery.p]
        {
            owner.sent.refused();
        }
        for (p, log) in self.logs.iter().enumerate() {
            let cursor = merged.cursors.get(partition(p)).unwrap();
            if merged.digests[p] != log.digest(cursor) {
                return Err("merged state is not the function of the log before its cursor");
            }
        }
        Ok(())
    }

    fn is_fenced(&self, token: Token) -> bool {
        self.broken != Some(Rule::WritesCompareToken)
            && !write_admitted(self.main.now.lease.as_ref(), token)
    }

    fn checkpoint(&mut self, m: usize) -> Result<(), Violation> {
        let Some(leader) = &mut self.members[m].leader else { return Ok(()) };
        let Some(merged) = &leader.merged else { return Ok(()) };
        let (token, manifest) = (leader.token, Rc::new(merged.checkpoint()));
        if self.is_fenced(token) {
            self.members[m].leader = None;
            return Ok(());
        }
        self.check_panes(&manifest.cursors, &manifest.panes)?;
        self.members[m].leader.as_mut().unwrap().trim_to = Some(manifest.clone());
        let expires_at_millis = self.redis_now + LEASE_MILLIS;
        self.main.write(|main| {
            main.lease = Some(Lease { token, expires_at_millis });
            main.manifest = manifest;
        });
        Ok(())
    }

    /// Trims one outbox to a checkpoint that was written, perhaps long ago.
    fn trim(&mut self, m: usize, p: usize) {
        let Some(leader) = &self.members[m].leader else { return };
        let Some(manifest) = &leader.trim_to else { return };
        let cursor = manifest.cursors.get(partition(p)).unwrap();
        self.outboxes[p].write(|outbox| outbox.entries.retain(|entry| entry.to > cursor));
    }

    fn stage(&mut self, m: usize, waited: Duration) {
        let broken = self.broken;
        let Some(leader) = &mut self.members[m].leader else { return };
        if let (Some(merged), None) = (&mut leader.merged, &leader.staged) {
            leader.staged = merged.stage(waited, broken);
        }
    }

    fn swap(&mut self, m: usize, outcome_unknown: bool) -> Result<(), Violation> {
        let Some(leader) = &self.members[m].leader else { return Ok(()) };
        let Some(staged) = &leader.staged else { return Ok(()) };
        if self.is_fenced(leader.token) {
            self.members[m].leader = None;
            return Ok(());
        }
        let before = &self.main.now;
        let (meta, shown) = (staged.meta.clone(), &before.meta);
        if landing(shown.seq, meta.seq.unwrap()) != Landing::Landed {
            if !staged.forced && !meta.vector.reached(shown.vector.iter()) {
                return Err("published views went back");
            }
            if meta.group_watermark < shown.group_watermark {
                return Err("the group watermark went back");
            }
            let newest_closed = before.history.last_key_value().map(|(&end, _)| end);
            if staged.closed.keys().next().copied() <= newest_closed && !staged.closed.is_empty() {
                return Err("a window was closed twice");
            }
            let truth = self.truth();
            if staged.proven.iter().any(|end| staged.closed[end].content != window(&truth, *end)) {
                return Err("a proven window is not the function of the log");
            }
            self.check_panes(&meta.vector, &meta.views)?;
            let closed = staged.closed.clone();
            self.main.write(|main| {
                Rc::make_mut(&mut main.history).extend(closed);
                main.meta = meta;
            });
        }
        if !outcome_unknown {
            self.members[m].leader.as_mut().unwrap().staged = None;
        }
        Ok(())
    }
}
