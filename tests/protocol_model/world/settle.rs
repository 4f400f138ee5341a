//! What has to be true: of any write, and once faults have stopped.

use std::time::Duration;

use nazar::pipeline::protocol::Cursors;

use super::{LEASE_MILLIS, MEMBERS, PARTITIONS, Violation, World};
use crate::log::{LATENESS, Panes, partition, window};

impl World {
    pub(super) fn truth(&self) -> Panes {
        let mut panes = Panes::new();
        self.logs.iter().for_each(|log| log.add_panes(log.end(), &mut panes));
        panes
    }

    pub(super) fn check_panes(&self, cursors: &Cursors, panes: &Panes) -> Result<(), Violation> {
        let mut expected = Panes::new();
        for (p, log) in self.logs.iter().enumerate() {
            log.add_panes(cursors.get(partition(p)).unwrap(), &mut expected);
        }
        if *panes == expected { Ok(()) } else { Err("panes are not the function of the log") }
    }

    // ---- liveness

    /// Faults have stopped: everybody hears the truth and goes on in turn. All of the log has
    /// to be merged and published within a few rounds.
    pub fn settle(&mut self) -> Result<(), Violation> {
        const ROUNDS: usize = 10;
        for p in 0..PARTITIONS {
            if self.withheld[p].is_some() {
                self.begin_or_end_outage(p);
            }
        }
        for _ in 0..ROUNDS {
            self.round()?;
            if self.is_settled() {
                self.round()?;
                return self.check_closed();
            }
        }
        Err("no progress after faults have stopped")
    }

    fn round(&mut self) -> Result<(), Violation> {
        let is_led = self.members.iter().flat_map(|member| &member.leader).any(|leader| {
            self.main.now.lease.as_ref().is_some_and(|lease| lease.token == leader.token)
        });
        if !is_led {
            self.take_lease(0, LEASE_MILLIS + 100);
        }
        for m in 0..MEMBERS {
            self.learn(m, true);
            self.load(m);
            for p in 0..PARTITIONS {
                self.read_outbox(m, p);
                self.observe(m, p);
                self.consume(m, p, i64::MAX / 2);
                self.flush(m, p, false);
            }
            while self.members[m].leader.as_ref().is_some_and(|leader| !leader.inbox.is_empty()) {
                self.merge(m, 0, false)?;
            }
            self.checkpoint(m)?;
            (0..PARTITIONS).for_each(|p| self.trim(m, p));
            self.stage(m, Duration::ZERO);
            self.swap(m, false)?;
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        let ends = |cursors: &Cursors| {
            let mut logs = self.logs.iter().enumerate();
            logs.all(|(p, log)| cursors.get(partition(p)) == Some(log.end()))
        };
        let main = &self.main.now;
        let reached = main.meta.stream_time.map(|newest| newest - LATENESS);
        ends(&main.manifest.cursors)
            && ends(&main.meta.vector)
            && main.meta.group_watermark.map(|g| g.millis()) >= reached
    }

    /// Whatever a closed window lacks must be confessed.
    fn check_closed(&self) -> Result<(), Violation> {
        let truth = self.truth();
        let main = &self.main.now;
        let lacking =
            main.history.iter().any(|(&end, closed)| closed.content != window(&truth, end));
        if lacking && main.meta.after_close == 0 {
            return Err("a closed window lacks records, and events_after_close is 0");
        }
        Ok(())
    }

    /// The largest number of boundaries that any owner remembers.
    pub fn boundaries(&self) -> usize {
        let owners = self.members.iter().flat_map(|member| member.owners.iter().flatten());
        owners.map(|owner| owner.sent.boundaries()).max().unwrap_or(0)
    }

    /// (windows closed, records after close): that runs see what they are about.
    pub fn closed(&self) -> (usize, u64) {
        (self.main.now.history.len(), self.main.now.meta.after_close)
    }
}
