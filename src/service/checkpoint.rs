//! Checkpoints at the edge: blobs to where they lie, the manifest to Redis, and back at a start.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use crate::config::{BLOBS_IN_REDIS, Config};
use crate::metrics::Metrics;
use crate::metrics::checkpoint::CheckpointReport;
use crate::pipeline::capture_line::{CaptureReceiver, Order};
use crate::pipeline::checkpoint::{Assembly, BlobName, Capture, Damaged, Draft, Manifest, Stored};
use crate::pipeline::definitions::Definitions;
use crate::pipeline::delivery::Partition;
use crate::pipeline::merge::Merger;
use crate::service::publish::wall_clock_millis;
use crate::sinks::blobs::{BlobError, Blobs, StoreBlobs};
use crate::sinks::redis::checkpoint::{ManifestStore, Placed, RedisBlobs};
use crate::sinks::redis::error::RedisSinkError;

/// Blobs are written in groups of about so many bytes: one round trip each.
const GROUP_BYTES: usize = 512 << 10;

/// Blobs are read so many at a time: of the largest, about 8 MiB.
const READ_BLOBS: usize = 16;

/// Pause between attempts to read a checkpoint at a start.
const RETRY: Duration = Duration::from_secs(1);

/// Stores checkpoints of one process.
pub struct Keeper {
    manifests: ManifestStore,
    blobs: Blobs,
    config_hash: String,
    prefix: String,
    /// The log's cluster; empty where it is not known.
    cluster_id: String,
    stored: Stored,
    /// Of every blob that stands, as far as we wrote or read it.
    sizes: HashMap<BlobName, usize>,
    /// Blobs of checkpoints that were given up.
    orphans: Vec<BlobName>,
    /// Distinguishes the names of checkpoints that did not make it to a manifest.
    attempts: u64,
    metrics: Arc<Metrics>,
    /// The last reason to fail that was said.
    said: Option<String>,
}

/// Why a checkpoint was not stored.
#[derive(Debug, thiserror::Error)]
enum NotStored {
    #[error("it builds on one that was not stored")]
    NeedsEverything,
    #[error(transparent)]
    Blobs(#[from] BlobError),
    #[error("Redis has lost what it builds on ({0})")]
    Lost(&'static str),
    #[error("another process holds the prefix ({0})")]
    Fenced(String),
    #[error("encoding panicked")]
    Panicked,
}

impl From<redis::RedisError> for NotStored {
    fn from(error: redis::RedisError) -> Self {
        Self::Blobs(error.into())
    }
}

impl Keeper {
    /// # Errors
    /// The configuration names a place that cannot be.
    pub fn new(
        config: &Config,
        config_hash: String,
        token: &str,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let blobs = if config.checkpoint.blobs == BLOBS_IN_REDIS {
            Blobs::Redis(Box::new(RedisBlobs::new(&config.redis, token)?))
        } else {
            let store = StoreBlobs::new(&config.checkpoint, &config.redis.prefix);
            Blobs::Store(store.map_err(|error| {
                let place = &config.checkpoint.blobs;
                RedisSinkError::Config(format!("checkpoint.blobs = {place:?}: {error}"))
            })?)
        };
        Ok(Self {
            manifests: ManifestStore::new(&config.redis, token)?,
            blobs,
            config_hash,
            prefix: config.redis.prefix.clone(),
            cluster_id: String::new(),
            stored: Stored::default(),
            sizes: HashMap::new(),
            orphans: Vec::new(),
            attempts: 0,
            metrics,
            said: None,
        })
    }

    /// What the last checkpoint holds, if there is one and it is whole. Waits for Redis and for
    /// the place of the blobs as long as it takes.
    ///
    /// # Errors
    /// It was made with another configuration.
    pub async fn restore(
        &mut self,
        definitions: &Arc<Definitions>,
    ) -> anyhow::Result<Option<Merger>> {
        loop {
            match self.try_restore(definitions).await {
                Ok(restored) => return Ok(restored),
                Err(Refused::OtherConfiguration) => {
                    let prefix = self.prefix.clone();
                    let changes = Vec::new();
                    return Err(RedisSinkError::ConfigChanged { prefix, changes }.into());
                }
                Err(Refused::Damaged(damage)) => {
                    warn!(%damage, "the checkpoint cannot be used; state is rebuilt from Kafka");
                    self.stored = Stored::default();
                    return Ok(None);
                }
                Err(Refused::Panicked) => anyhow::bail!("restoring the checkpoint panicked"),
                Err(Refused::Away(error)) => {
                    warn!(%error, "read the checkpoint; it is tried again");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn try_restore(
        &mut self,
        definitions: &Arc<Definitions>,
    ) -> Result<Option<Merger>, Refused> {
        let started = Instant::now();
        let Some(standing) = self.manifests.read().await.map_err(BlobError::from)? else {
            return Ok(None);
        };
        if standing.config_hash != self.config_hash {
            return Err(Refused::OtherConfiguration);
        }
        let manifest = Manifest::decode(&standing.body)?;
        let assembly = Assembly::new(definitions.clone(), manifest)?;
        let (assembly, bytes) = self.read_blobs(assembly).await?;
        let finish = tokio::task::spawn_blocking(|| assembly.finish());
        let (merger, stored) = finish.await.map_err(|_| Refused::Panicked)??;
        let age_millis = wall_clock_millis() - standing.written_at_millis;
        self.metrics.checkpoint.restored_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.metrics.checkpoint.set_standing(self.sizes.len() as u64, bytes as u64);
        info!(
            blobs = self.sizes.len(),
            bytes,
            age_seconds = age_millis / 1000,
            seconds = started.elapsed().as_secs_f64(),
            "the checkpoint is restored"
        );
        (self.stored, self.cluster_id) = (stored, standing.cluster_id);
        Ok(Some(merger))
    }

    /// Decodes a group of blobs while the next is on its way; also the bytes of all.
    async fn read_blobs(&mut self, mut assembly: Assembly) -> Result<(Assembly, usize), Refused> {
        let names = assembly.blobs();
        let mut groups = names.chunks(READ_BLOBS);
        let mut bytes = 0;
        let mut fetched = self.fetch(groups.next()).await?;
        while !fetched.is_empty() {
            bytes += fetched.iter().map(|(_, content)| content.len()).sum::<usize>();
            let decode = tokio::task::spawn_blocking(move || {
                fetched.iter().try_for_each(|(name, content)| assembly.add(name, content))?;
                Ok::<_, Damaged>(assembly)
            });
            let next = self.fetch(groups.next()).await;
            assembly = decode.await.map_err(|_| Refused::Panicked)??;
            fetched = next?;
        }
        Ok((assembly, bytes))
    }

    async fn fetch(
        &mut self,
        names: Option<&[BlobName]>,
    ) -> Result<Vec<(BlobName, Vec<u8>)>, Refused> {
        let Some(names) = names else { return Ok(Vec::new()) };
        let mut fetched = Vec::with_capacity(names.len());
        for (name, content) in names.iter().zip(self.blobs.get(names).await?) {
            let content = content.ok_or_else(|| Damaged::Missing(name.clone()))?;
            self.sizes.insert(name.clone(), content.len());
            fetched.push((name.clone(), content));
        }
        Ok(fetched)
    }

    /// The cluster that the checkpoint's offsets belong to, where it is known.
    pub fn cluster_id(&self) -> Option<&str> {
        Some(self.cluster_id.as_str()).filter(|id| !id.is_empty())
    }

    pub fn set_cluster_id(&mut self, id: Option<String>) {
        self.cluster_id = id.unwrap_or_default();
    }

    /// Stores captures until there will be none. `stored` hears the cursors of every checkpoint
    /// that stands.
    pub async fn run(mut self, mut orders: CaptureReceiver, stored: impl Fn(&[(Partition, i64)])) {
        self.remove_unnamed().await;
        while let Some(order) = orders.next().await {
            match order {
                Order::Store(capture) => {
                    let cursors: Vec<(Partition, i64)> =
                        capture.cut.positions.iter().map(|(p, at)| (*p, at.cursor)).collect();
                    let outcome = self.store(*capture).await;
                    orders.set_stored(outcome.is_ok());
                    if self.hear(outcome) {
                        stored(&cursors);
                    }
                }
                Order::Discard => self.discard().await,
            }
        }
    }

    async fn store(&mut self, capture: Capture) -> Result<(CheckpointReport, f64), NotStored> {
        let started = Instant::now();
        self.attempts += 1;
        let is_everything = capture.is_everything;
        if is_everything {
            self.look_again().await?;
        }
        let prefix = format!("{}-{}", self.manifests.token(), self.attempts);
        let mut draft =
            Draft::new(&self.stored, capture, prefix).map_err(|_| NotStored::NeedsEverything)?;
        let mut report = CheckpointReport::default();
        let (mut written, orphans_before) = (Vec::new(), self.orphans.len());
        loop {
            // Encoding takes a core; the runtime has other things to do.
            let encode = move || {
                let group = next_group(&mut draft);
                (draft, group)
            };
            let (returned, group) =
                tokio::task::spawn_blocking(encode).await.map_err(|_| NotStored::Panicked)?;
            draft = returned;
            if group.is_empty() {
                break;
            }
            for (name, content) in &group {
                report.written_bytes += content.len() as u64;
                report.written_blobs += 1;
                written.push((name.clone(), content.len()));
                // Should this checkpoint fail, nobody will ask for it.
                self.orphans.push(name.clone());
            }
            self.blobs.put(group).await?;
        }
        let (manifest, dropped) = draft.finish();
        let body = manifest.encode();
        report.written_bytes += body.len() as u64;
        let named: Vec<&BlobName> = manifest.stored.blobs().collect();
        let beside = if self.blobs.are_beside_the_manifest() { &named[..] } else { &[] };
        match self.manifests.place(&body, &self.config_hash, &self.cluster_id, beside).await? {
            Placed::Stands => {}
            Placed::Fenced(holder) => return Err(NotStored::Fenced(holder)),
            Placed::Lost(cause) => return Err(NotStored::Lost(cause)),
        }
        self.stored = manifest.stored;
        self.sizes.extend(written);
        self.orphans.truncate(orphans_before);
        self.orphans.extend(dropped);
        self.remove_orphans().await;
        if is_everything {
            // A Redis that fell back also has blobs again that had been removed.
            self.remove_unnamed().await;
        }
        report.standing_blobs = self.sizes.len() as u64;
        report.standing_bytes = self.sizes.values().map(|&bytes| bytes as u64).sum();
        Ok((report, started.elapsed().as_secs_f64()))
    }

    /// A checkpoint of everything builds on nothing and replaces whatever stands, also an older
    /// one. It mostly follows an outage, after which the first use of each connection finds it
    /// broken: that must not cost a whole attempt.
    async fn look_again(&mut self) -> Result<(), NotStored> {
        if self.manifests.read().await.is_err() {
            self.manifests.read().await?;
        }
        if self.blobs.list().await.is_err() {
            self.blobs.list().await?;
        }
        Ok(())
    }

    /// Counts and says an outcome; whether it is a checkpoint that stands.
    fn hear(&mut self, outcome: Result<(CheckpointReport, f64), NotStored>) -> bool {
        let metrics = &self.metrics.checkpoint;
        match outcome {
            Ok((report, seconds)) => {
                metrics.stored(&report, seconds, wall_clock_millis() as f64 / 1000.0);
                debug!(?report, seconds, "checkpoint");
                if self.said.take().is_some() {
                    info!("checkpoints are stored again");
                }
                true
            }
            Err(error) => {
                metrics.failed();
                let reason = error.to_string();
                if self.said.as_ref() != Some(&reason) {
                    warn!(reason, "the checkpoint was not stored; the next one holds everything");
                    self.said = Some(reason);
                }
                false
            }
        }
    }

    /// What stays behind costs space until the next time, and nothing else.
    async fn remove_orphans(&mut self) {
        let orphans = std::mem::take(&mut self.orphans);
        for blob in &orphans {
            self.sizes.remove(blob);
        }
        match self.try_remove(&orphans).await {
            Ok(true) => {}
            // Whoever writes now has a list of its own.
            Ok(false) => debug!("blobs are not ours to remove any more"),
            Err(error) => {
                debug!(%error, "remove blobs that nobody names");
                self.orphans = orphans;
            }
        }
    }

    async fn try_remove(&mut self, names: &[BlobName]) -> Result<bool, BlobError> {
        if !self.blobs.are_beside_the_manifest() && !self.manifests.leads().await? {
            return Ok(false);
        }
        self.blobs.remove(names).await
    }

    /// Blobs that an earlier process began, or that came back, and no manifest names.
    async fn remove_unnamed(&mut self) {
        match self.blobs.list().await {
            Ok(all) => {
                let named: std::collections::HashSet<&BlobName> = self.stored.blobs().collect();
                let unnamed = all.into_iter().filter(|blob| !named.contains(blob)).collect();
                self.orphans = unnamed;
                self.remove_orphans().await;
            }
            Err(error) => debug!(%error, "list blobs"),
        }
    }

    async fn discard(&mut self) {
        if let Err(error) = self.manifests.discard().await {
            return debug!(%error, "remove the manifest");
        }
        self.orphans.extend(std::mem::take(&mut self.stored).blobs().cloned());
        self.remove_orphans().await;
    }
}

/// Blobs to be written together; empty when there are no more.
fn next_group(draft: &mut Draft) -> Vec<(BlobName, Vec<u8>)> {
    let (mut group, mut bytes) = (Vec::new(), 0);
    while bytes < GROUP_BYTES
        && let Some((name, content)) = draft.next_blob()
    {
        bytes += content.len();
        group.push((name, content));
    }
    group
}

/// Why a checkpoint was not restored.
enum Refused {
    OtherConfiguration,
    Damaged(Damaged),
    Away(BlobError),
    Panicked,
}

impl From<Damaged> for Refused {
    fn from(damage: Damaged) -> Self {
        Self::Damaged(damage)
    }
}

impl From<BlobError> for Refused {
    fn from(error: BlobError) -> Self {
        Self::Away(error)
    }
}
