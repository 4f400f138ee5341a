//! A follower's way to the leader: outboxes one way, the checkpoint and meta the other.
//!
//! ```text
//!   owners ─► inlet ─► relay (thread) ─► courier ─► outboxes in Redis
//!   owners ◄─ merged positions ◄──────── courier ◄─ manifest (cursors), meta (stream time)
//! ```
//! The courier appends one delivery after the other, so what it knows of an outbox is exact: an
//! outbox that does not end where the last append ended is broken, and its owner begins again at
//! the cursor. Trouble with Redis is waited out; owners then find the channel full and stop reading.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use crate::config::TopicsConfig;
use crate::metrics::team::{OutboxOutcome, TeamMetrics};
use crate::pipeline::checkpoint::Manifest;
use crate::pipeline::delivery::{Delivery, Partition};
use crate::pipeline::handover::{Inlet, MergedState, Message};
use crate::pipeline::protocol::Token;
use crate::pipeline::role::{Opening, Role};
use crate::pipeline::wire;
use crate::sinks::redis::checkpoint::ManifestStore;
use crate::sinks::redis::outbox::{Append, Outboxes};
use crate::time::EventTime;

/// How often outboxes, manifest and meta are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Pause after an exchange that failed, or before a full outbox is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the relay waits for a delivery before it looks whether it is to end.
const RELAY_WAIT: Duration = Duration::from_millis(20);
/// How often it looks for room.
const ROOM_WAIT: Duration = Duration::from_millis(2);

/// Appends deliveries, and keeps what owners need to know of the leader.
pub struct Courier {
    pub outboxes: Outboxes,
    pub manifests: ManifestStore,
    /// The labels of the windows, and the topics: what meta's offset vectors are read by.
    pub windows: Vec<String>,
    pub topics: TopicsConfig,
    pub role: Arc<Role>,
    pub merged: Arc<MergedState>,
    pub metrics: Arc<TeamMetrics>,
}

/// What was appended to a partition's outbox.
struct Appended {
    token: Token,
    to: i64,
    is_broken: bool,
}

impl Courier {
    /// Runs until it is dropped. While this process leads it only takes outboxes, so that those
    /// who owned a partition before cannot append to it any more. `checkpointed` hears the cursors of every
    /// new checkpoint.
    pub async fn run(
        mut self,
        mut openings: mpsc::UnboundedReceiver<Opening>,
        mut deliveries: mpsc::Receiver<Delivery>,
        checkpointed: impl Fn(&[(Partition, i64)]),
    ) {
        let mut appended: HashMap<Partition, Appended> = HashMap::new();
        let mut seen = None;
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut may_deliver = true;
        loop {
            tokio::select! {
                // An outbox is open before anything is appended to it.
                biased;
                opening = openings.recv() => match opening {
                    Some(opening) => self.open(opening, &mut openings, &mut appended).await,
                    None => return,
                },
                _ = looks.tick() => if !self.role.leads() {
                    self.look_at_outboxes(&mut appended).await;
                    self.look_at_leader(&mut seen, &checkpointed).await;
                },
                delivery = deliveries.recv(), if may_deliver => match delivery {
                    Some(delivery) => self.append(&delivery, &mut appended).await,
                    None => may_deliver = false,
                },
            }
        }
    }

    async fn open(
        &mut self,
        first: Opening,
        more: &mut mpsc::UnboundedReceiver<Opening>,
        appended: &mut HashMap<Partition, Appended>,
    ) {
        let mut openings = vec![first];
        while let Ok(opening) = more.try_recv() {
            openings.retain(|other| other.partition != opening.partition);
            openings.push(opening);
        }
        let starts: Vec<(Partition, Token, i64)> =
            openings.iter().map(|one| (one.partition, one.token, one.cursor)).collect();
        while let Err(refusal) = self.outboxes.open(&starts).await {
            debug!(?refusal, "take outboxes");
            tokio::time::sleep(PAUSE).await;
        }
        for Opening { partition, token, cursor } in openings {
            appended.insert(partition, Appended { token, to: cursor, is_broken: false });
        }
    }

    async fn append(&mut self, delivery: &Delivery, appended: &mut HashMap<Partition, Appended>) {
        let Some(outbox) = appended.get_mut(&delivery.partition) else { return };
        // What does not continue is of a start before this one.
        if outbox.is_broken || delivery.from != outbox.to {
            return;
        }
        let bytes = wire::encode(delivery);
        let (partition, token) = (delivery.partition, outbox.token);
        loop {
            let (from, to) = (delivery.from, delivery.to);
            match self.outboxes.append(partition, token, from, to, &bytes).await {
                Ok(Append::Appended | Append::AlreadyThere) => {
                    outbox.to = to;
                    self.metrics.outbox(OutboxOutcome::Appended, bytes.len());
                    return;
                }
                Ok(Append::Full { bytes }) => {
                    self.metrics.outbox(OutboxOutcome::Full, 0);
                    debug!(?partition, bytes, "the outbox is full");
                }
                Ok(answer @ (Append::Fenced { .. } | Append::Gap { .. } | Append::Gone)) => {
                    if let Append::Fenced { .. } = answer {
                        self.metrics.outbox(OutboxOutcome::Fenced, 0);
                    } else {
                        self.metrics.outbox(OutboxOutcome::Lost, 0);
                    }
                    warn!(?partition, ?answer, "an outbox is not ours any more, or not whole");
                    outbox.is_broken = true;
                    self.role.outbox_is_broken(partition, token);
                    return;
                }
                Err(refusal) => debug!(?refusal, "append to an outbox"),
            }
            if self.role.leads() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Whether every outbox ends where the last append ended.
    async fn look_at_outboxes(&mut self, appended: &mut HashMap<Partition, Appended>) {
        let asked: Vec<(Partition, Token)> = appended
            .iter()
            .filter(|(_, outbox)| !outbox.is_broken)
            .map(|(&partition, outbox)| (partition, outbox.token))
            .collect();
        let held = match self.outboxes.held(&asked).await {
            Ok(held) => held,
            Err(refusal) => return debug!(?refusal, "look at outboxes"),
        };
        for ((partition, token), held) in asked.into_iter().zip(held) {
            let Some(outbox) = appended.get_mut(&partition) else { continue };
            match held.filter(|held| held.to == outbox.to) {
                Some(held) => self.role.outbox_begins(partition, token, held.from),
                None => {
                    self.metrics.outbox(OutboxOutcome::Lost, 0);
                    debug!(?partition, ?held, "the outbox does not end where we ended");
                    outbox.is_broken = true;
                    self.role.outbox_is_broken(partition, token);
                }
            }
        }
    }

    /// Cursors by the checkpoint, stream time by meta.
    async fn look_at_leader(
        &mut self,
        seen: &mut Option<(String, u64)>,
        checkpointed: &impl Fn(&[(Partition, i64)]),
    ) {
        match self.manifests.leader_says(&self.windows, &self.topics).await {
            Ok(said) => {
                self.role.set_published(said.published);
                let time = |millis: Option<i64>| millis.map(EventTime::from_millis);
                self.merged.set_stream_time(time(said.stream_time_millis));
                self.merged.set_slowest_progressing(time(said.slowest_millis));
            }
            Err(error) => debug!(%error, "read meta"),
        }
        match self.manifests.read_if_new(seen.as_ref()).await {
            Ok(Some(standing)) => match Manifest::decode(&standing.body) {
                Ok(manifest) => {
                    // A leader of this very process sets positions itself.
                    if self.role.leads() {
                        return;
                    }
                    let positions = manifest.cut.positions;
                    let cursors: Vec<(Partition, i64)> =
                        positions.iter().map(|(id, position)| (*id, position.cursor)).collect();
                    for (partition, position) in positions {
                        self.merged.set_position(partition, position);
                    }
                    checkpointed(&cursors);
                    *seen = Some((standing.token, standing.seq));
                }
                Err(damage) => warn!(%damage, "read the leader's checkpoint"),
            },
            Ok(None) => {}
            Err(error) => debug!(%error, "read the manifest"),
        }
    }
}

/// Moves deliveries from the owners' channel to the courier, on a thread of its own.
pub struct Relay {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Inlet>,
}

impl Relay {
    pub fn start(inlet: Inlet, deliveries: mpsc::Sender<Delivery>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::Builder::new().name("relay".into()).spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                match inlet.receive(RELAY_WAIT) {
                    Ok(Message::Delivery(delivery)) => forward(*delivery, &deliveries, &seen),
                    // Only a merger has use for the others.
                    Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            inlet
        })?;
        Ok(Self { stop, thread })
    }

    /// The channel, for a merger: this process begins to lead. Deliveries that are on their way
    /// to an outbox stay on it; one that finds no room there is dropped, and read again.
    pub fn stop(self) -> Option<Inlet> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok()
    }
}

/// Waits for room, but not longer than the relay is wanted: outboxes may be full for want of the
/// leader that this process is about to be.
fn forward(mut delivery: Delivery, deliveries: &mpsc::Sender<Delivery>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        match deliveries.try_send(delivery) {
            Err(TrySendError::Full(same)) => delivery = same,
            Ok(()) | Err(TrySendError::Closed(_)) => return,
        }
        std::thread::sleep(ROOM_WAIT);
    }
}

/// Said once when a process joins without the lease.
pub fn say_following() {
    info!("another instance leads; this one reads its share and hands over through Redis");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;
    use crate::pipeline::delivery::{Cells, PartitionState};
    use crate::pipeline::handover::channel;

    #[test]
    fn a_relay_ends_although_nobody_takes_what_it_forwards() {
        let (outlet, inlet) = channel(1 << 20);
        let (deliveries, _taken_by_nobody) = mpsc::channel(1);
        let relay = Relay::start(inlet, deliveries).unwrap();
        for from in 0..3 {
            let partition = Partition { kind: Kind::Click, index: 0 };
            let (state_to, cells) = (PartitionState::default(), Cells::default());
            let (to, oldest_record_millis, has_gap) = (from + 1, None, false);
            let delivery =
                Delivery { partition, from, to, state_to, cells, oldest_record_millis, has_gap };
            outlet.deliver(delivery).unwrap();
        }
        let inlet = relay.stop().expect("its thread ends");
        drop(outlet);
        while let Ok(message) = inlet.receive(Duration::ZERO) {
            assert!(matches!(message, Message::Delivery(_)));
        }
    }
}
