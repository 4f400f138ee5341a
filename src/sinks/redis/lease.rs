//! The right to write under a prefix: one holder, named by a random token, for a limited time.
//!
//! ```text
//!  A ──claim──renew──renew──renew──✗ killed                  (its late writes are refused:
//!  B ──claim? held… held… held… held… ─── expired ──claim──►  meta names B now)
//! ```
//! The lease is a key with a TTL, so that its end is judged by the clock of Redis alone. Every
//! writing script compares the token in meta, which a claim sets; the lease only decides who may
//! claim. A writer that was paused for longer than its lease therefore finds out at its next
//! write, from Redis itself.
//!
//! A task of its own renews, since a flush of a large backlog may take longer than a lease.

use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use super::connection::Connector;
use super::keys::Keys;
use super::scripts::{self, Scripts};

/// Renewals within one lease: so many may fail in a row.
const RENEWALS: u32 = 4;

/// Renews a lease until it is dropped.
pub struct Keeper(tokio::task::JoinHandle<()>);

impl Keeper {
    pub fn start(mut connector: Connector, keys: &Keys, token: Arc<str>, lease: Duration) -> Self {
        let (meta, key) = (keys.meta(), keys.lease());
        Self(tokio::spawn(async move {
            let scripts = Scripts::default();
            let mut ticks = tokio::time::interval(lease / RENEWALS);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let renewed = async {
                    let mut connection = connector.get().await?.clone();
                    let mut invocation = scripts.renew.prepare_invoke();
                    invocation.key(&meta).key(&key).arg(&*token).arg(super::ttl_millis(lease));
                    scripts::run(&invocation, &mut connection).await
                };
                // What goes wrong here goes wrong for the next flush as well, which says so.
                match renewed.await {
                    Ok(answer) => debug!(?answer, "renewed the lease"),
                    Err(error) => {
                        debug!(%error, "renew the lease");
                        connector.disconnect();
                    }
                }
            }
        }))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}
