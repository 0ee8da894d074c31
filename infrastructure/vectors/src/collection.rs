//! One collection: points in memory, every change in its log first.
//!
//! Writers hold the log for the whole change (check, append, sync, apply), readers only the state,
//! so that a search never waits for the disk and never sees what is not durable yet.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard};

use qdrant_client::qdrant::{
    CreateCollection, CreateFieldIndexCollection, DeleteFieldIndexCollection, PointStruct,
    PointsIdsList, UpdateMode, UpsertPoints,
};

use crate::filter::{FilterPlan, Payload};
use crate::path::FieldPath;
use crate::persist::{Log, OpenError, Operation};
use crate::space::{Space, point_vector};
use crate::store::{Limits, PointKey, StoreError};

const UNPOISONED: &str = "no code panics while it holds this lock";
/// Points per record of a compacted log: large enough for speed, far below the frame limit.
const COMPACTED_BATCH: usize = 256;
/// Outdated entries below this are not worth rewriting a log for while the process runs.
const COMPACT_ABOVE: usize = 20_000;

/// What is stored under one id.
#[derive(Debug, Clone)]
pub struct StoredPoint {
    /// Normalised where the distance is cosine, as Qdrant does it.
    pub vector: Vec<f32>,
    /// The fields.
    pub payload: Payload,
    /// The operation that wrote it.
    pub version: u64,
}

/// The readable part of a collection.
#[derive(Debug, Default)]
pub struct State {
    /// Points in id order.
    pub points: BTreeMap<PointKey, StoredPoint>,
    /// Declared field indexes by field name; search does not need them, clients ask for them.
    pub indexes: BTreeMap<String, CreateFieldIndexCollection>,
}

#[derive(Debug)]
struct Writer {
    log: Log,
    sequence: u64,
    /// Entries in the log that a later one made void.
    outdated: usize,
    removed: bool,
}

/// Which points a change is about.
#[derive(Debug)]
pub enum Selection {
    /// Those with these ids; unknown ids do no harm.
    Ids(Vec<PointKey>),
    /// Those that pass the filter at that moment.
    Filter(FilterPlan),
}

/// A collection with one unnamed dense vector per point.
#[derive(Debug)]
pub struct Collection {
    config: CreateCollection,
    space: Space,
    limits: Limits,
    writer: Mutex<Writer>,
    state: RwLock<State>,
}

impl Collection {
    /// Creates the collection's log; the request is kept whole as its configuration.
    ///
    /// # Errors
    /// `Invalid` or `Unsupported` for a configuration that cannot be served, `Storage`.
    pub fn create(
        path: &Path,
        config: CreateCollection,
        limits: Limits,
    ) -> Result<Self, StoreError> {
        let space = Space::of(&config, limits)?;
        let (bytes, _) = Operation::Create(Box::new(config.clone())).into_record();
        let log = Log::create(path, std::iter::once(bytes))?;
        Ok(Self::assemble(
            config,
            space,
            limits,
            log,
            State::default(),
            Progress::default(),
        ))
    }

    /// Replays a log, and rewrites it where it holds outdated records.
    ///
    /// # Errors
    /// An unreadable file or one that does not begin with a collection.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, OpenError> {
        let mut opened: Option<(CreateCollection, Space)> = None;
        let mut state = State::default();
        let mut progress = Progress::default();
        let log = Log::open(path, |operation| {
            progress.sequence += 1;
            match (&opened, operation) {
                (None, Operation::Create(config)) => {
                    let space = Space::of(&config, limits).map_err(|error| error.to_string())?;
                    opened = Some((*config, space));
                    Ok(())
                }
                (None, _) => Err("it does not begin with a collection".to_owned()),
                (Some(_), Operation::Create(_)) => {
                    Err("it creates the collection twice".to_owned())
                }
                (Some((_, space)), operation) => {
                    let change = Change::of(operation, space).map_err(|error| error.to_string())?;
                    progress.outdated += change.apply(&mut state, progress.sequence);
                    Ok(())
                }
            }
        })?;
        let (config, space) = opened.ok_or_else(|| OpenError::Damaged {
            path: path.to_owned(),
            offset: 0,
            reason: "it holds no collection".to_owned(),
        })?;
        let outdated = progress.outdated > 0;
        let collection = Self::assemble(config, space, limits, log, state, progress);
        if outdated {
            let mut writer = collection.writer.lock().expect(UNPOISONED);
            collection
                .compact(&mut writer)
                .map_err(|source| OpenError::Io {
                    path: path.to_owned(),
                    source,
                })?;
        }
        Ok(collection)
    }

    fn assemble(
        config: CreateCollection,
        space: Space,
        limits: Limits,
        log: Log,
        state: State,
        progress: Progress,
    ) -> Self {
        let Progress { sequence, outdated } = progress;
        let writer = Writer {
            log,
            sequence,
            outdated,
            removed: false,
        };
        Self {
            config,
            space,
            limits,
            writer: Mutex::new(writer),
            state: RwLock::new(state),
        }
    }

    /// The collection's name.
    pub fn name(&self) -> &str {
        &self.config.collection_name
    }

    /// The request that created it.
    pub fn config(&self) -> &CreateCollection {
        &self.config
    }

    /// Its vector size and distance.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The points and indexes as of now; writers wait while the guard is held.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().expect(UNPOISONED)
    }

    /// Bytes of its log on disk.
    pub fn log_bytes(&self) -> u64 {
        self.writer.lock().expect(UNPOISONED).log.length()
    }

    /// Writes points whole, all or none. Returns the operation's number.
    ///
    /// # Errors
    /// `Invalid` (ids, vector sizes), `Unsupported`, `Full` or `Storage`.
    pub fn upsert(&self, points: Vec<PointStruct>, mode: UpdateMode) -> Result<u64, StoreError> {
        let mut writer = self.writer()?;
        let points = self.points_for(points, mode)?;
        if points.is_empty() {
            return Ok(writer.sequence);
        }
        self.commit(
            &mut writer,
            Operation::Upsert(UpsertPoints {
                points,
                ..UpsertPoints::default()
            }),
        )
    }

    /// Leaves out what the mode excludes.
    fn points_for(
        &self,
        points: Vec<PointStruct>,
        mode: UpdateMode,
    ) -> Result<Vec<PointStruct>, StoreError> {
        if mode == UpdateMode::Upsert {
            return Ok(points);
        }
        let state = self.read();
        let mut chosen = Vec::with_capacity(points.len());
        for point in points {
            let key = PointKey::parse(point.id.clone().unwrap_or_default())?;
            if state.points.contains_key(&key) == (mode == UpdateMode::UpdateOnly) {
                chosen.push(point);
            }
        }
        Ok(chosen)
    }

    /// Removes points. Returns the operation's number.
    ///
    /// # Errors
    /// `Storage`.
    pub fn delete(&self, selection: Selection) -> Result<u64, StoreError> {
        let mut writer = self.writer()?;
        let keys: Vec<PointKey> = {
            let state = self.read();
            match selection {
                Selection::Ids(mut keys) => {
                    keys.retain(|key| state.points.contains_key(key));
                    keys
                }
                Selection::Filter(filter) => {
                    let passing = state.points.iter();
                    let passing =
                        passing.filter(|(key, point)| filter.matches(key, &point.payload));
                    passing.map(|(key, _)| *key).collect()
                }
            }
        };
        if keys.is_empty() {
            return Ok(writer.sequence);
        }
        let ids = keys.into_iter().map(Into::into).collect();
        self.commit(&mut writer, Operation::Delete(PointsIdsList { ids }))
    }

    /// Declares a field index. Returns the operation's number.
    ///
    /// # Errors
    /// `Invalid` for an unreadable field name, `Storage`.
    pub fn create_index(&self, mut request: CreateFieldIndexCollection) -> Result<u64, StoreError> {
        FieldPath::parse(&request.field_name)?;
        let mut writer = self.writer()?;
        request.collection_name = String::new();
        request.wait = None;
        if self.read().indexes.get(&request.field_name) == Some(&request) {
            return Ok(writer.sequence);
        }
        self.commit(&mut writer, Operation::CreateIndex(request))
    }

    /// Takes a field index back. Returns the operation's number.
    ///
    /// # Errors
    /// `Storage`.
    pub fn delete_index(&self, field_name: String) -> Result<u64, StoreError> {
        let mut writer = self.writer()?;
        if !self.read().indexes.contains_key(&field_name) {
            return Ok(writer.sequence);
        }
        let request = DeleteFieldIndexCollection {
            field_name,
            ..DeleteFieldIndexCollection::default()
        };
        self.commit(&mut writer, Operation::DeleteIndex(request))
    }

    /// Ends the collection: no write that began earlier can be acknowledged afterwards.
    ///
    /// # Errors
    /// `Storage`.
    pub fn close_and_remove(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().expect(UNPOISONED);
        writer.log.remove()?;
        writer.removed = true;
        Ok(())
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>, StoreError> {
        let writer = self.writer.lock().expect(UNPOISONED);
        if writer.removed {
            return Err(StoreError::NotFound(format!(
                "collection `{}`",
                self.name()
            )));
        }
        Ok(writer)
    }

    /// Checks, logs, then applies one change.
    fn commit(&self, writer: &mut Writer, operation: Operation) -> Result<u64, StoreError> {
        let (bytes, operation) = operation.into_record();
        let change = Change::of(operation, &self.space)?;
        self.check_room(&change)?;
        writer.log.append(&bytes)?;
        writer.sequence += 1;
        let sequence = writer.sequence;
        let live = {
            let mut state = self.state.write().expect(UNPOISONED);
            writer.outdated += change.apply(&mut state, sequence);
            state.points.len()
        };
        if writer.outdated > COMPACT_ABOVE.max(live)
            && let Err(error) = self.compact(writer)
        {
            // The change itself is durable in the old log, which stays in use or refuses later.
            tracing::error!(collection = self.name(), %error, "compaction failed");
        }
        Ok(sequence)
    }

    fn check_room(&self, change: &Change) -> Result<(), StoreError> {
        let Change::Upsert(points) = change else {
            return Ok(());
        };
        let state = self.read();
        let added = points
            .keys()
            .filter(|key| !state.points.contains_key(key))
            .count();
        let total = state.points.len() + added;
        if total > self.limits.max_points {
            return Err(StoreError::Full(format!(
                "collection `{}` would hold {total} points, its limit is {}; raise --max-points or use a real Qdrant server",
                self.name(),
                self.limits.max_points
            )));
        }
        Ok(())
    }

    /// Rewrites the log as the shortest one that gives the present state.
    fn compact(&self, writer: &mut Writer) -> std::io::Result<()> {
        let state = self.read();
        let created = Operation::Create(Box::new(self.config.clone()));
        let indexes = state.indexes.values().cloned().map(Operation::CreateIndex);
        let points: Vec<_> = state.points.iter().collect();
        let batches = points.chunks(COMPACTED_BATCH).map(|batch| {
            let points = batch.iter().map(|(key, point)| PointStruct {
                id: Some((**key).into()),
                payload: point.payload.clone(),
                vectors: Some(point.vector.clone().into()),
            });
            Operation::Upsert(UpsertPoints {
                points: points.collect(),
                ..UpsertPoints::default()
            })
        });
        let records = std::iter::once(created).chain(indexes).chain(batches);
        writer
            .log
            .rewrite(records.map(|operation| operation.into_record().0))?;
        writer.outdated = 0;
        tracing::info!(
            collection = self.name(),
            points = points.len(),
            bytes = writer.log.length(),
            "compacted"
        );
        Ok(())
    }
}

#[derive(Default)]
struct Progress {
    sequence: u64,
    outdated: usize,
}

/// A checked change: applying it cannot fail any more.
enum Change {
    Upsert(BTreeMap<PointKey, (Vec<f32>, Payload)>),
    Delete(Vec<PointKey>),
    CreateIndex(Box<CreateFieldIndexCollection>),
    DeleteIndex(String),
}

impl Change {
    fn of(operation: Operation, space: &Space) -> Result<Self, StoreError> {
        match operation {
            Operation::Upsert(request) => {
                let mut points = BTreeMap::new();
                for point in request.points {
                    let key = PointKey::parse(point.id.unwrap_or_default())?;
                    let vector = space.admit(point_vector(point.vectors)?)?;
                    points.insert(key, (vector, point.payload));
                }
                Ok(Self::Upsert(points))
            }
            Operation::Delete(list) => {
                let keys: Result<_, _> = list.ids.into_iter().map(PointKey::parse).collect();
                Ok(Self::Delete(keys?))
            }
            Operation::CreateIndex(request) => Ok(Self::CreateIndex(Box::new(request))),
            Operation::DeleteIndex(request) => Ok(Self::DeleteIndex(request.field_name)),
            Operation::Create(_) => Err(StoreError::Invalid(
                "a collection inside a collection".to_owned(),
            )),
        }
    }

    /// Returns how many log entries this made void.
    fn apply(self, state: &mut State, version: u64) -> usize {
        match self {
            Self::Upsert(points) => {
                let mut replaced = 0;
                for (key, (vector, payload)) in points {
                    let point = StoredPoint {
                        vector,
                        payload,
                        version,
                    };
                    replaced += usize::from(state.points.insert(key, point).is_some());
                }
                replaced
            }
            Self::Delete(keys) => {
                let removed = keys
                    .iter()
                    .filter(|key| state.points.remove(key).is_some())
                    .count();
                // The removed point's entry and the removal itself.
                removed * 2
            }
            Self::CreateIndex(request) => usize::from(
                state
                    .indexes
                    .insert(request.field_name.clone(), *request)
                    .is_some(),
            ),
            Self::DeleteIndex(field) => usize::from(state.indexes.remove(&field).is_some()) * 2,
        }
    }
}
