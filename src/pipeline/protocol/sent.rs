//! The owner's side: what it has handed over, and whether the leader can still get it.
//!
//! An owner's one rule, on assignment, after a refusal, and at every flush:
//!
//! > The partition's cursor must be a boundary of what I have sent, and all that I sent after
//! > it must still be within the leader's reach. If so, I go on; if not, I drop my outbox and
//! > my open delta, and start again at the cursor with its state.
//!
//! ```text
//!   started at 0      sent: [0,4) [4,9) [9,12)        boundaries 0 4 9 12
//!   cursor 4, outbox holds [4,12)      go on; 0 is forgotten
//!   cursor 4, outbox holds [4,9)       start again at 4: Redis has lost [9,12)
//!   cursor 4, outbox holds [9,12)      start again at 4: trimmed, then the cursor was lost
//!   cursor 6                           start again at 6: the leader merged somebody else's cut
//! ```
//!
//! Handing a partition over to another member, waking up as a zombie, Redis falling back and
//! a change of leader are all this rule.

use std::collections::VecDeque;

use super::fence::Token;

/// How a delivery went to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Into the partition's outbox in Redis.
    Outbox,
    /// To the merger of this process, which held this lease. It is gone when the lease is.
    Memory(Token),
}

/// What the outbox of a partition holds: deliveries without a gap from `from` to `to`.
/// When it is empty both are the offset that the next delivery has to start at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub from: i64,
    pub to: i64,
}

/// Where the leader can still find what was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The lease that this process holds, if it leads. The next delivery then goes through memory.
    pub leading: Option<Token>,
    /// The partition's outbox, if it stands under this owner's token.
    pub outbox: Option<Held>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next delivery starts at [`Sent::end`].
    GoOn,
    /// Drop outbox and open delta, seek to the cursor with its state, mint a token, and open
    /// the outbox and a new [`Sent`] there.
    Restart,
}

/// What was handed over since the partition was started here, as far as it still matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The oldest boundary that is remembered.
    base: i64,
    /// Ends of the deliveries after `base`, ascending, and the way each one went.
    ends: VecDeque<(i64, Way)>,
    refused: bool,
}

impl Sent {
    /// Starts at a cursor, with nothing sent.
    pub fn start(cursor: i64) -> Self {
        Self { base: cursor, ends: VecDeque::new(), refused: false }
    }

    /// Where the next delivery starts.
    pub fn end(&self) -> i64 {
        self.ends.back().map_or(self.base, |&(end, _)| end)
    }

    /// Notes that `[end(), to)` was handed over. An empty delivery adds no boundary.
    pub fn hand_over(&mut self, to: i64, way: Way) {
        debug_assert!(to >= self.end(), "deliveries continue one another");
        if to > self.end() {
            self.ends.push_back((to, way));
        }
    }

    /// Notes that the merger of this process refused a delivery. What it refused it has
    /// dropped, so that a handover through memory is not within reach any more although the
    /// process still leads. (A refused delivery in the outbox stays there, and the cursor that
    /// the leader checkpoints tells.)
    pub fn refused(&mut self) {
        self.refused = true;
    }

    /// The owner's one rule. Boundaries below the cursor are forgotten on the way: should the
    /// cursor fall back behind them, what lay between is trimmed or will be, and is read again.
    #[must_use]
    pub fn check(&mut self, cursor: i64, reach: &Reach) -> Verdict {
        if self.refused || !self.forget_before(cursor) {
            return Verdict::Restart;
        }
        let mut from = self.base;
        for &(to, way) in &self.ends {
            let within_reach = match way {
                Way::Memory(lease) => reach.leading == Some(lease),
                Way::Outbox => reach.outbox.is_some_and(|held| held.from <= from && to <= held.to),
            };
            if !within_reach {
                return Verdict::Restart;
            }
            from = to;
        }
        // The outbox would refuse whatever does not start where it ends.
        let has_a_way = reach.leading.is_some() || reach.outbox.is_some_and(|held| held.to == from);
        if has_a_way { Verdict::GoOn } else { Verdict::Restart }
    }

    /// How many boundaries are remembered: one for each delivery since the cursor, and one.
    pub fn boundaries(&self) -> usize {
        self.ends.len() + 1
    }

    /// Makes `cursor` the oldest boundary; false if it is not a boundary.
    fn forget_before(&mut self, cursor: i64) -> bool {
        let passed = self.ends.partition_point(|&(end, _)| end <= cursor);
        let newest_passed = passed.checked_sub(1).map_or(self.base, |last| self.ends[last].0);
        if newest_passed != cursor {
            return false;
        }
        self.ends.drain(..passed);
        self.base = cursor;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Token = Token::new(1);
    const NEXT_LEASE: Token = Token::new(2);

    fn outbox(from: i64, to: i64) -> Reach {
        Reach { leading: None, outbox: Some(Held { from, to }) }
    }

    fn leading(lease: Token) -> Reach {
        Reach { leading: Some(lease), outbox: None }
    }

    /// `[0,4) [4,9) [9,12)`
    fn sent(way: Way) -> Sent {
        let mut sent = Sent::start(0);
        for to in [4, 9, 12] {
            sent.hand_over(to, way);
        }
        sent
    }

    #[test]
    fn the_cursor_must_be_a_boundary_and_the_rest_within_reach() {
        for (cursor, reach, expected) in [
            (0, outbox(0, 12), Verdict::GoOn),
            (4, outbox(0, 12), Verdict::GoOn),
            (4, outbox(4, 12), Verdict::GoOn),
            (12, outbox(12, 12), Verdict::GoOn),
            (6, outbox(0, 12), Verdict::Restart), // not a boundary
            (13, outbox(0, 12), Verdict::Restart), // somebody else sent more
            (-1, outbox(0, 12), Verdict::Restart), // before my start
            (4, outbox(0, 9), Verdict::Restart),  // the end is lost
            (4, outbox(9, 12), Verdict::Restart), // trimmed, then the cursor was lost
            (12, outbox(12, 13), Verdict::Restart), // would not take what comes next
            (12, Reach::default(), Verdict::Restart), // another owner's outbox
        ] {
            assert_eq!(sent(Way::Outbox).check(cursor, &reach), expected, "{cursor} {reach:?}");
        }
    }

    #[test]
    fn memory_counts_only_while_this_process_holds_the_same_lease() {
        let memory = || sent(Way::Memory(LEASE));
        assert_eq!(memory().check(4, &leading(LEASE)), Verdict::GoOn);
        assert_eq!(memory().check(4, &leading(NEXT_LEASE)), Verdict::Restart);
        assert_eq!(memory().check(4, &outbox(12, 12)), Verdict::Restart);
        // All of it is checkpointed: nothing is missing, whoever leads now.
        assert_eq!(memory().check(12, &leading(NEXT_LEASE)), Verdict::GoOn);
        assert_eq!(memory().check(12, &outbox(0, 0)), Verdict::Restart, "outbox left behind");
        let mut refused = memory();
        refused.refused();
        assert_eq!(refused.check(4, &leading(LEASE)), Verdict::Restart);
    }

    #[test]
    fn ways_may_change_when_the_process_begins_to_lead() {
        let mut sent = Sent::start(0);
        sent.hand_over(4, Way::Outbox);
        sent.hand_over(9, Way::Memory(LEASE));
        let reach = Reach { leading: Some(LEASE), outbox: Some(Held { from: 0, to: 4 }) };
        assert_eq!(sent.clone().check(0, &reach), Verdict::GoOn);
        assert_eq!(sent.clone().check(0, &leading(LEASE)), Verdict::Restart, "outbox lost");
        assert_eq!(sent.check(4, &leading(LEASE)), Verdict::GoOn);
    }

    #[test]
    fn what_lies_before_the_cursor_is_forgotten() {
        let mut sent = sent(Way::Outbox);
        assert_eq!(sent.boundaries(), 4);
        assert_eq!(sent.check(9, &outbox(0, 12)), Verdict::GoOn);
        assert_eq!((sent.boundaries(), sent.end()), (2, 12));
        assert_eq!(sent.check(4, &outbox(0, 12)), Verdict::Restart, "the cursor fell back");
        let mut empty = Sent::start(9);
        empty.hand_over(9, Way::Outbox);
        assert_eq!(empty.boundaries(), 1, "an empty delivery adds no boundary");
    }
}
