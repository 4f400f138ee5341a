//! Tokens, and what each script in Redis compares before it writes.
//!
//! The scripts say the same in Lua; these functions are their definition, and what the
//! model runs. A token is random and compared as a whole. A counter would not do: a
//! failover can lose the increment, and then two holders are given the same number.
//!
//! Fencing keeps writers from quarrelling. Exactness does not rest on it: after lost writes
//! an old token may be valid again, and [`super::cursors`] and [`super::gate`] still hold.

use std::fmt;

/// Names one holder of one right: a lease, or the ownership of a partition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(u128);

impl Token {
    /// `random` has to be drawn anew each time a right is claimed.
    pub const fn new(random: u128) -> Self {
        Self(random)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The leader's lease, as it stands in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub token: Token,
    /// By the clock of Redis, the only one that all contenders share.
    pub expires_at_millis: u64,
}

/// Whether the lease may be taken by a new holder.
pub fn lease_is_free(lease: Option<&Lease>, redis_now_millis: u64) -> bool {
    lease.is_none_or(|lease| lease.expires_at_millis <= redis_now_millis)
}

/// Whether a write or a renewal by `mine` is let through.
///
/// An expired lease that nobody took still admits its holder: there is no one to disturb.
pub fn write_admitted(lease: Option<&Lease>, mine: Token) -> bool {
    lease.is_some_and(|lease| lease.token == mine)
}

/// Whether a delivery may be appended to an outbox, which stands under `held` and ends at
/// `last_to` (the offset it was opened at, while it is empty).
///
/// Without the second condition a lost entry leaves a gap that its owner cannot see before the
/// outbox is next trimmed, and the leader stands still until then.
pub fn append_admitted(held: Option<Token>, mine: Token, last_to: i64, from: i64) -> bool {
    held == Some(mine) && last_to == from
}

/// What became of a numbered write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    Landed,
    /// The number before it stands there: write it again.
    Missing,
    /// Neither stands there: Redis has lost earlier writes too, so write everything.
    Lost,
}

/// Decides from the sequence number that Redis holds what became of the write `attempted`.
/// Also tells, when nothing was attempted since, whether Redis still holds the last write.
pub fn landing(stored: Option<u64>, attempted: u64) -> Landing {
    match stored {
        Some(stored) if stored == attempted => Landing::Landed,
        Some(stored) if Some(stored) == attempted.checked_sub(1) => Landing::Missing,
        None if attempted == 1 => Landing::Missing,
        _ => Landing::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINE: Token = Token::new(7 << 64 | 1);
    /// Differs only in the upper half, as a comparison of numbers cut to 64 bits would miss.
    const OTHER: Token = Token::new(8 << 64 | 1);

    #[test]
    fn a_lease_is_taken_when_expired_and_written_under_by_its_holder_alone() {
        let lease = Lease { token: MINE, expires_at_millis: 100 };
        assert!(lease_is_free(None, 0));
        assert!(!lease_is_free(Some(&lease), 99));
        assert!(lease_is_free(Some(&lease), 100));
        assert!(write_admitted(Some(&lease), MINE));
        assert!(!write_admitted(Some(&lease), OTHER));
        assert!(!write_admitted(None, MINE));
    }

    #[test]
    fn an_append_needs_the_token_and_the_end() {
        assert!(append_admitted(Some(MINE), MINE, 10, 10));
        assert!(!append_admitted(Some(MINE), MINE, 9, 10));
        assert!(!append_admitted(Some(MINE), MINE, 11, 10));
        assert!(!append_admitted(Some(OTHER), MINE, 10, 10));
        assert!(!append_admitted(None, MINE, 10, 10));
    }

    #[test]
    fn an_unknown_outcome_is_read_back() {
        assert_eq!(landing(Some(5), 5), Landing::Landed);
        assert_eq!(landing(Some(4), 5), Landing::Missing);
        assert_eq!(landing(None, 1), Landing::Missing);
        assert_eq!(landing(Some(3), 5), Landing::Lost);
        assert_eq!(landing(None, 5), Landing::Lost);
        assert_eq!(landing(Some(6), 5), Landing::Lost, "another leader's");
    }
}
