//! Where the blobs of checkpoints lie: in Redis beside the manifest, or in a directory or object
//! store, which keeps large state out of Redis' memory.
//!
//! Blobs are written once under names that are never used again, so neither place needs to
//! order or to fence writes: what counts is which blobs the manifest names, and that stands in
//! Redis under the writer's token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use redis::RedisError;

use crate::config::CheckpointConfig;
use crate::pipeline::checkpoint::BlobName;
use crate::sinks::redis::checkpoint::RedisBlobs;

/// A place for blobs.
pub enum Blobs {
    Redis(Box<RedisBlobs>),
    Store(StoreBlobs),
}

/// Why a blob could not be written, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error(transparent)]
    Redis(#[from] RedisError),
    #[error(transparent)]
    Store(#[from] object_store::Error),
}

impl Blobs {
    /// Writes blobs under names that were never used.
    pub async fn put(&mut self, group: Vec<(BlobName, Vec<u8>)>) -> Result<(), BlobError> {
        match self {
            Self::Redis(blobs) => Ok(blobs.put(&group).await?),
            Self::Store(blobs) => {
                for (name, content) in group {
                    blobs.put(&name, content).await?;
                }
                Ok(())
            }
        }
    }

    /// Blobs in the order of their names; `None` for one that is not there.
    pub async fn get(&mut self, names: &[BlobName]) -> Result<Vec<Option<Vec<u8>>>, BlobError> {
        match self {
            Self::Redis(blobs) => Ok(blobs.get(names).await?),
            Self::Store(blobs) => {
                let mut contents = Vec::with_capacity(names.len());
                for name in names {
                    contents.push(blobs.get(name).await?);
                }
                Ok(contents)
            }
        }
    }

    /// Removes blobs that no manifest names any more; whether it may. In a store, ask before
    /// whether the prefix is still ours: it cannot know.
    pub async fn remove(&mut self, names: &[BlobName]) -> Result<bool, BlobError> {
        match self {
            Self::Redis(blobs) => Ok(blobs.remove(names).await?),
            Self::Store(blobs) => blobs.remove(names).await.map(|()| true),
        }
    }

    /// All blobs, also those that a process has left behind unfinished.
    pub async fn list(&mut self) -> Result<Vec<BlobName>, BlobError> {
        match self {
            Self::Redis(blobs) => Ok(blobs.list().await?),
            Self::Store(blobs) => blobs.list().await,
        }
    }

    /// Whether the manifest's script can see them.
    pub fn are_beside_the_manifest(&self) -> bool {
        matches!(self, Self::Redis(_))
    }
}

/// Blobs that a manifest dropped stay for so long: Redis may lose its newest manifest in a
/// failover, and the one before it must still find its blobs.
const KEPT_DROPPED: Duration = Duration::from_secs(60);

/// Blobs in a directory or object store.
pub struct StoreBlobs {
    store: Arc<dyn ObjectStore>,
    root: Path,
    dropped: Vec<(Instant, BlobName)>,
}

impl StoreBlobs {
    /// `prefix`: the Redis prefix, so that several may share a place.
    ///
    /// # Errors
    /// The address is none, or this build knows no store of that kind.
    pub fn new(config: &CheckpointConfig, prefix: &str) -> Result<Self, object_store::Error> {
        let url = url::Url::parse(&config.blobs).map_err(|error| object_store::Error::Generic {
            store: "checkpoint.blobs",
            source: error.into(),
        })?;
        let environment = std::env::vars().map(|(name, value)| (name.to_ascii_lowercase(), value));
        let (store, root) = if url.scheme() == "file" {
            let directory = url.to_file_path().map_err(|()| object_store::Error::Generic {
                store: "checkpoint.blobs",
                source: "a file address needs an absolute path, as in file:///var/lib/nazar".into(),
            })?;
            std::fs::create_dir_all(&directory).map_err(|source| object_store::Error::Generic {
                store: "checkpoint.blobs",
                source: source.into(),
            })?;
            let store = object_store::local::LocalFileSystem::new_with_prefix(directory)?;
            (Arc::new(store) as Arc<dyn ObjectStore>, Path::default())
        } else {
            let (store, root) = object_store::parse_url_opts(&url, environment)?;
            (Arc::from(store), root)
        };
        Ok(Self { store, root: root.join(prefix), dropped: Vec::new() })
    }

    fn path(&self, name: &BlobName) -> Path {
        self.root.clone().join(&**name)
    }

    async fn put(&self, name: &BlobName, content: Vec<u8>) -> Result<(), BlobError> {
        self.store.put(&self.path(name), PutPayload::from(content)).await?;
        Ok(())
    }

    async fn get(&self, name: &BlobName) -> Result<Option<Vec<u8>>, BlobError> {
        match self.store.get(&self.path(name)).await {
            Ok(found) => Ok(Some(found.bytes().await?.to_vec())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn remove(&mut self, names: &[BlobName]) -> Result<(), BlobError> {
        let now = Instant::now();
        self.dropped.extend(names.iter().map(|name| (now, name.clone())));
        while let Some((since, name)) = self.dropped.first()
            && now.duration_since(*since) >= KEPT_DROPPED
        {
            match self.store.delete(&self.path(name)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            self.dropped.remove(0);
        }
        Ok(())
    }

    async fn list(&self) -> Result<Vec<BlobName>, BlobError> {
        let listed = self.store.list_with_delimiter(Some(&self.root)).await?;
        let name = |path: &Path| path.filename().map(BlobName::from);
        Ok(listed.objects.iter().filter_map(|object| name(&object.location)).collect())
    }
}
