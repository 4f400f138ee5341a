//! The leader's side of the outboxes: reads what other instances hand over, and removes what a
//! checkpoint has made superfluous.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{debug, error};

use crate::pipeline::delivery::{Delivery, Partition};
use crate::pipeline::handover::{MergedState, Outlet};
use crate::pipeline::wire;
use crate::sinks::redis::outbox::{Feed, ReadBounds};

/// Pause after a read that brought nothing, and while the merger's channel is full.
const PAUSE: Duration = Duration::from_millis(50);
/// Pause after an exchange that failed.
const RETRY: Duration = Duration::from_millis(500);
/// An outbox with refused deliveries is read again so often. More often reads the same for nothing
/// while its owner finds out.
const AGAIN: Duration = Duration::from_secs(1);
/// One read brings about so much.
const BOUNDS: ReadBounds = ReadBounds { bytes: 4 << 20, entries: 256 };

/// Cursors of the newest checkpoint.
pub type Checkpointed = watch::Receiver<Vec<(Partition, i64)>>;

/// Reads for as long as it is polled.
pub async fn run(
    mut feed: Feed,
    merged: Arc<MergedState>,
    outlet: Outlet,
    mut checkpointed: Checkpointed,
) {
    let mut looked_again = Instant::now();
    loop {
        if looked_again.elapsed() >= AGAIN {
            looked_again = Instant::now();
            merged.take_refused_outboxes().into_iter().for_each(|id| feed.read_again(id));
        }
        if checkpointed.has_changed().unwrap_or(false) {
            let cursors = checkpointed.borrow_and_update().clone();
            match feed.trim(&cursors).await {
                Ok(removed) => debug!(removed, "trimmed outboxes"),
                Err(refusal) => debug!(?refusal, "trim outboxes"),
            }
        }
        if outlet.is_full() {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        match read(&mut feed, &merged.partitions()).await {
            Some(deliveries) if deliveries.is_empty() => tokio::time::sleep(PAUSE).await,
            Some(deliveries) => {
                for delivery in deliveries {
                    if outlet.deliver_from_outbox(delivery).is_err() {
                        return;
                    }
                }
            }
            None => tokio::time::sleep(RETRY).await,
        }
    }
}

/// What waits in the outboxes; `None` when Redis does not answer.
pub async fn read(feed: &mut Feed, partitions: &[Partition]) -> Option<Vec<Delivery>> {
    let entries = match feed.read(partitions, BOUNDS).await {
        Ok(entries) => entries,
        Err(refusal) => {
            debug!(?refusal, "read outboxes");
            return None;
        }
    };
    let mut deliveries = Vec::with_capacity(entries.len());
    for entry in entries {
        match wire::decode(&entry.delivery) {
            // Its place says whose it is, whatever it says of itself.
            Ok(delivery) if delivery.partition == entry.partition => deliveries.push(delivery),
            Ok(delivery) => {
                error!(partition = ?entry.partition, of = ?delivery.partition, "a delivery lies in another's outbox");
            }
            Err(reason) => error!(partition = ?entry.partition, %reason, "read a delivery"),
        }
    }
    Some(deliveries)
}
