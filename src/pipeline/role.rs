//! Whether this process leads, and how its deliveries reach the leader.
//!
//! ```text
//!   leads      owner ──memory──► merger
//!   follows    owner ──► courier ──► outbox in Redis ──► leader's merger
//! ```
//! Owners ask before each hand-over, and again whether what they handed over is still within the
//! leader's reach ([`crate::pipeline::protocol`] has the rule). The courier says what it
//! knows of the outboxes. A process begins to lead at most once: one that loses its lease ends.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::pipeline::delivery::Partition;
use crate::pipeline::protocol::{Held, Reach, Token, Way};

/// A token that nobody else has drawn. The standard library seeds its hashers with 128 random
/// bits of the operating system, anew for each of these.
pub fn draw_token() -> Token {
    let half = || u128::from(RandomState::new().hash_one(0));
    Token::new(half() << 64 | half())
}

/// A partition that begins here: its outbox is to be taken under a new token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    pub partition: Partition,
    pub token: Token,
    pub cursor: i64,
}

/// What is known of one outbox.
#[derive(Clone, Copy, Debug)]
struct Outbox {
    token: Token,
    /// Where it begins.
    from: i64,
    /// It is somebody else's, or lacks what was appended.
    is_broken: bool,
}

/// Shared by owners and courier.
pub struct Role {
    lease: Token,
    leads: AtomicBool,
    outboxes: Mutex<HashMap<Partition, Outbox>>,
    published: Mutex<HashMap<Partition, i64>>,
    openings: UnboundedSender<Opening>,
}

impl Role {
    /// A follower under the token that it will lead with.
    pub fn new(lease: Token) -> (Self, UnboundedReceiver<Opening>) {
        let (openings, receiver) = unbounded_channel();
        let outboxes = Mutex::default();
        let leads = AtomicBool::new(false);
        (Self { lease, leads, outboxes, published: Mutex::default(), openings }, receiver)
    }

    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    /// From now on deliveries go through memory.
    pub fn begin_to_lead(&self) {
        self.leads.store(true, Ordering::Release);
    }

    /// How the next delivery goes.
    pub fn way(&self) -> Way {
        if self.leads() { Way::Memory(self.lease) } else { Way::Outbox }
    }

    /// The offsets that the views explain, as far as they are known here.
    pub fn set_published(&self, offsets: impl IntoIterator<Item = (Partition, i64)>) {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.extend(offsets);
    }

    /// Where a delivery of a partition that starts at `cursor` has to end: at what the views
    /// explain, so that a new leader judges none in part for the one before it.
    pub fn cut(&self, partition: Partition, cursor: i64) -> Option<i64> {
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        published.get(&partition).copied().filter(|&published| published > cursor)
    }

    /// A partition starts here at a cursor; its outbox is taken from whoever held it.
    pub fn start(&self, opening: Opening) {
        let Opening { partition, token, cursor } = opening;
        self.outboxes().insert(partition, Outbox { token, from: cursor, is_broken: false });
        // Without a courier the process is going down.
        let _ = self.openings.send(opening);
    }

    pub fn end(&self, partition: Partition) {
        self.outboxes().remove(&partition);
    }

    /// Where the leader can find what was handed over, up to `sent_to`: what is on its way to the
    /// outbox counts as there until the courier says otherwise.
    pub fn reach(&self, partition: Partition, sent_to: i64) -> Reach {
        let outboxes = self.outboxes();
        let whole = outboxes.get(&partition).filter(|outbox| !outbox.is_broken);
        Reach {
            leading: self.leads().then_some(self.lease),
            outbox: whole.map(|outbox| Held { from: outbox.from, to: sent_to }),
        }
    }

    /// The courier has seen that the outbox is whole, and where it begins now.
    pub fn outbox_begins(&self, partition: Partition, token: Token, from: i64) {
        if let Some(outbox) = self.outboxes().get_mut(&partition)
            && outbox.token == token
        {
            outbox.from = from;
        }
    }

    /// The courier has seen that the outbox is not ours any more, or not whole.
    pub fn outbox_is_broken(&self, partition: Partition, token: Token) {
        if let Some(outbox) = self.outboxes().get_mut(&partition)
            && outbox.token == token
        {
            outbox.is_broken = true;
        }
    }

    fn outboxes(&self) -> MutexGuard<'_, HashMap<Partition, Outbox>> {
        self.outboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_in_both_halves() {
        let [a, b] = [draw_token(), draw_token()].map(|token| token.to_string());
        assert_ne!(a[..16], b[..16]);
        assert_ne!(a[16..], b[16..]);
        assert_ne!(a[..16], a[16..]);
    }
}
