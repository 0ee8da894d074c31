//! The set of collections in one data folder, and the words they share: keys, limits, errors.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::{CreateCollection, PointId};
use tonic::Status;
use uuid::Uuid;

use crate::collection::Collection;

const UNPOISONED: &str = "no code panics while it holds this lock";

/// Why a request was not carried out. Each kind maps to one gRPC status code.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A collection or point that the request names does not exist (`NOT_FOUND`).
    #[error("{0} does not exist")]
    NotFound(String),
    /// The collection is already there (`ALREADY_EXISTS`).
    #[error("collection `{0}` already exists")]
    AlreadyExists(String),
    /// The request contradicts itself or the collection (`INVALID_ARGUMENT`).
    #[error("{0}")]
    Invalid(String),
    /// Valid Qdrant, but not served here (`UNIMPLEMENTED`).
    #[error("{0} is not supported by midwatch-vectors; use a real Qdrant server for it")]
    Unsupported(String),
    /// A configured limit is reached (`RESOURCE_EXHAUSTED`).
    #[error("{0}")]
    Full(String),
    /// The disk refused; nothing was changed in memory (`INTERNAL`).
    #[error("the change could not be made durable: {0}")]
    Storage(#[from] std::io::Error),
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::NotFound(_) => Self::not_found(message),
            StoreError::AlreadyExists(_) => Self::already_exists(message),
            StoreError::Invalid(_) => Self::invalid_argument(message),
            StoreError::Unsupported(_) => Self::unimplemented(message),
            StoreError::Full(_) => Self::resource_exhausted(message),
            StoreError::Storage(_) => Self::internal(message),
        }
    }
}

/// A point's id in Qdrant's order: numbers first, then UUIDs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PointKey {
    /// An unsigned number.
    Number(u64),
    /// A UUID, in whichever spelling it came.
    Uuid(Uuid),
}

impl PointKey {
    /// Reads an id of the protocol.
    ///
    /// # Errors
    /// `Invalid` where it is absent or no UUID.
    pub fn parse(id: PointId) -> Result<Self, StoreError> {
        match id.point_id_options {
            Some(PointIdOptions::Num(number)) => Ok(Self::Number(number)),
            Some(PointIdOptions::Uuid(text)) => {
                Uuid::parse_str(&text).map(Self::Uuid).map_err(|_| {
                    StoreError::Invalid(format!("point id `{text}` is neither a number nor a UUID"))
                })
            }
            None => Err(StoreError::Invalid("a point id is missing".to_owned())),
        }
    }
}

impl From<PointKey> for PointId {
    fn from(key: PointKey) -> Self {
        let options = match key {
            PointKey::Number(number) => PointIdOptions::Num(number),
            PointKey::Uuid(uuid) => PointIdOptions::Uuid(uuid.to_string()),
        };
        Self {
            point_id_options: Some(options),
        }
    }
}

/// Bounds on what the process takes into memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Points per collection. Search is exact, so both memory (1.6 kB a point at 384 dimensions,
    /// plus its payload) and the time of a search grow in proportion.
    pub max_points: usize,
    /// Collections in the store.
    pub max_collections: usize,
    /// Components of a vector. Qdrant's own bound is 65 536.
    pub max_dimensions: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_points: 200_000,
            max_collections: 64,
            max_dimensions: 65_536,
        }
    }
}

/// All collections of one data folder, which it owns until it is dropped.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    limits: Limits,
    collections: RwLock<BTreeMap<String, Arc<Collection>>>,
    /// Holds the advisory lock that keeps a second process out of the folder.
    _lock: File,
}

impl Store {
    /// Opens the folder, replays every log in it and compacts those that hold outdated records.
    ///
    /// # Errors
    /// An unusable folder, one in use by another process, or a damaged log; the message says which
    /// and what to do.
    pub fn open(folder: &Path, limits: Limits) -> anyhow::Result<Self> {
        use anyhow::Context as _;
        let shown = folder.display();
        std::fs::create_dir_all(folder)
            .with_context(|| format!("creating the data folder {shown}"))?;
        let lock =
            File::create(folder.join("lock")).with_context(|| format!("writing to {shown}"))?;
        lock.try_lock().with_context(|| {
            format!("{shown} is in use by another midwatch-vectors; stop it or give another --data")
        })?;
        let mut collections = BTreeMap::new();
        for entry in std::fs::read_dir(folder).with_context(|| format!("reading {shown}"))? {
            let path = entry.with_context(|| format!("reading {shown}"))?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                // A draft that was never renamed into place was never acknowledged either.
                Some("tmp") => std::fs::remove_file(&path)
                    .with_context(|| format!("removing the unfinished {}", path.display()))?,
                Some("log") => {
                    let collection = Collection::open(&path, limits)?;
                    collections.insert(collection.name().to_owned(), Arc::new(collection));
                }
                _ => {}
            }
        }
        Ok(Self {
            folder: folder.to_owned(),
            limits,
            collections: RwLock::new(collections),
            _lock: lock,
        })
    }

    /// The collection of that name.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn collection(&self, name: &str) -> Result<Arc<Collection>, StoreError> {
        let collections = self.collections.read().expect(UNPOISONED);
        let found = collections.get(name).cloned();
        found.ok_or_else(|| StoreError::NotFound(format!("collection `{name}`")))
    }

    /// All collections by name.
    pub fn collections(&self) -> Vec<Arc<Collection>> {
        self.collections
            .read()
            .expect(UNPOISONED)
            .values()
            .cloned()
            .collect()
    }

    /// Creates a collection durably.
    ///
    /// # Errors
    /// `AlreadyExists`, `Invalid`, `Unsupported`, `Full` or `Storage`.
    pub fn create(&self, request: CreateCollection) -> Result<(), StoreError> {
        let name = request.collection_name.clone();
        check_name(&name)?;
        let mut collections = self.collections.write().expect(UNPOISONED);
        if collections.contains_key(&name) {
            return Err(StoreError::AlreadyExists(name));
        }
        if collections.len() >= self.limits.max_collections {
            return Err(StoreError::Full(format!(
                "the store holds {} collections, its limit; delete one first",
                collections.len()
            )));
        }
        let path = self.folder.join(format!("{name}.log"));
        let collection = Collection::create(&path, request, self.limits)?;
        collections.insert(name, Arc::new(collection));
        Ok(())
    }

    /// Deletes a collection and its data; false where there was none.
    ///
    /// # Errors
    /// `Storage`; the collection is kept unless its file is gone.
    pub fn delete(&self, name: &str) -> Result<bool, StoreError> {
        let mut collections = self.collections.write().expect(UNPOISONED);
        let Some(collection) = collections.get(name) else {
            return Ok(false);
        };
        collection.close_and_remove()?;
        collections.remove(name);
        Ok(true)
    }
}

/// Names become file names, hence narrower than Qdrant's rule.
fn check_name(name: &str) -> Result<(), StoreError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    if (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(StoreError::Invalid(format!(
            "collection name `{name}`: use 1 to 128 letters, digits, `_`, `-` or `.`, not beginning with a dot"
        )))
    }
}
