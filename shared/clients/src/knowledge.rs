//! The knowledge store: historical incidents, runbooks and the service
//! catalogue as vectors in Qdrant (1.13 or newer, or the local process that
//! speaks its protocol).
//!
//! Three collections of cosine vectors: [`INCIDENTS`] (four chunks per
//! incident), [`RUNBOOKS`] (one point per section), [`ARCHITECTURE`] (one
//! point per service). Calls end within [`TIME_LIMIT`] plus the time of the
//! embedder. Nothing is tried again here: retrieval runs in jobs, which are.

mod causes;
mod past;
mod retrieval;
mod steps;

pub use causes::{CauseSign, KnownCause};
pub use past::{EffectiveAction, PastIncident, REVIEWED};
pub use retrieval::{ArchitectureHit, IncidentHit, RunbookHit};
pub use steps::{ActionTemplate, FillError, PLACEHOLDERS, RunbookStep};

use crate::embeddings::{DIMENSION, EmbeddingsClient, EmbeddingsError};
use crate::error::Gravity;
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder,
    DeletePointsBuilder, Distance, FieldType, Filter, PointId, PointStruct, PointsIdsList,
    ScrollPointsBuilder, UpsertPointsBuilder, VectorParamsBuilder,
};
use qdrant_client::{Payload, Qdrant, QdrantError};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::time::Duration;
use thiserror::Error;
use uuid::Uuid;

/// Chunks of historical incidents.
pub const INCIDENTS: &str = "incidents";
/// Sections of runbooks.
pub const RUNBOOKS: &str = "runbooks";
/// Records of services.
pub const ARCHITECTURE: &str = "architecture";
/// Each collection with the payload fields that are indexed as keywords.
pub const COLLECTIONS: [(&str, &[&str]); 3] = [
    (
        INCIDENTS,
        &[
            "incident_id",
            "anomaly_type",
            "severity",
            "chunk_type",
            "tags",
        ],
    ),
    (RUNBOOKS, &["runbook_id", "anomaly_types", "tags"]),
    (ARCHITECTURE, &["service_name"]),
];
/// Time limit of one call to the store.
pub const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Points per upsert: some hundred kilobytes, far below the 4 MB that a gRPC
/// server takes by default.
const UPSERT_BATCH: usize = 64;
const SCROLL_PAGE: u32 = 256;
/// Pages of one scroll: a store that never ends its paging ends here.
const SCROLL_PAGES: usize = 1000;

/// Why the store could not answer.
#[derive(Debug, Error)]
pub enum KnowledgeError {
    #[error(
        "the knowledge store's address {url:?} cannot be used; set QDRANT_URL to its gRPC address, such as http://127.0.0.1:6334"
    )]
    Address {
        url: String,
        #[source]
        source: Box<QdrantError>,
    },
    #[error("{call} on collection {collection:?} of the knowledge store at {url} failed")]
    Store {
        call: &'static str,
        collection: String,
        url: String,
        #[source]
        source: Box<QdrantError>,
    },
    #[error("collection {collection:?} of the knowledge store is not as needed: {problem}")]
    Collection { collection: String, problem: String },
    #[error(
        "a point of collection {collection:?} has an unexpected payload ({problem}); run midwatch-seeder again"
    )]
    Payload { collection: String, problem: String },
    #[error(transparent)]
    Embeddings(#[from] EmbeddingsError),
}

impl KnowledgeError {
    /// What a caller can do about it.
    #[must_use]
    pub fn gravity(&self) -> Gravity {
        match self {
            KnowledgeError::Store { source, .. } => match source.as_ref() {
                // Cancelled, Unknown and Internal are how a refused, broken or
                // timed-out connection surfaces; the others are deadline,
                // exhausted, aborted and unavailable.
                QdrantError::ResponseError { status } => match status.code() as i32 {
                    1 | 2 | 4 | 8 | 10 | 13 | 14 => Gravity::Transient,
                    // Permission denied and unauthenticated.
                    7 | 16 => Gravity::Fatal,
                    _ => Gravity::Permanent,
                },
                QdrantError::ResourceExhaustedError { .. } | QdrantError::Io(_) => {
                    Gravity::Transient
                }
                _ => Gravity::Permanent,
            },
            KnowledgeError::Embeddings(error) => error.gravity(),
            // Seeding creates and fills collections while agents may ask.
            KnowledgeError::Collection { .. } => Gravity::Transient,
            KnowledgeError::Address { .. } => Gravity::Fatal,
            KnowledgeError::Payload { .. } => Gravity::Permanent,
        }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.gravity() == Gravity::Transient
    }
}

/// What is stored: a text to be found by, and what is handed back.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub id: Uuid,
    /// What the vector is made from.
    pub text: String,
    pub payload: Map<String, Value>,
}

/// The store together with the embedder that makes its vectors.
#[derive(Clone)]
pub struct KnowledgeStore {
    client: Qdrant,
    embeddings: EmbeddingsClient,
    url: String,
    prefix: String,
}

type Result<T, E = KnowledgeError> = std::result::Result<T, E>;

impl KnowledgeStore {
    /// A store at `url` (gRPC). Nothing is contacted yet.
    ///
    /// # Errors
    /// [`KnowledgeError::Address`] when `url` is not an address.
    pub fn connect(
        url: &str,
        api_key: Option<String>,
        embeddings: EmbeddingsClient,
    ) -> Result<KnowledgeStore> {
        let client = Qdrant::from_url(url)
            .api_key(api_key)
            .timeout(TIME_LIMIT)
            .connect_timeout(TIME_LIMIT)
            // The check would contact the server here and print to the
            // terminal; only calls that are the same since 1.13 are used.
            .skip_compatibility_check()
            .build()
            .map_err(|source| KnowledgeError::Address {
                url: url.to_owned(),
                source: Box::new(source),
            })?;
        Ok(KnowledgeStore {
            client,
            embeddings,
            url: url.to_owned(),
            prefix: String::new(),
        })
    }

    /// Puts `prefix` before every collection name, so that several sets of
    /// knowledge share one server.
    #[must_use]
    pub fn with_collection_prefix(mut self, prefix: &str) -> KnowledgeStore {
        prefix.clone_into(&mut self.prefix);
        self
    }

    fn name(&self, collection: &str) -> String {
        format!("{}{collection}", self.prefix)
    }

    fn failed(
        &self,
        call: &'static str,
        collection: &str,
    ) -> impl FnOnce(QdrantError) -> KnowledgeError {
        let (url, collection) = (self.url.clone(), self.name(collection));
        move |source| KnowledgeError::Store {
            call,
            collection,
            url,
            source: Box::new(source),
        }
    }

    /// Succeeds when all three collections exist and hold something.
    ///
    /// # Errors
    /// Says which collection is missing or empty.
    pub async fn ready(&self) -> Result<()> {
        for (collection, _) in COLLECTIONS {
            let problem = if !self.exists(collection).await? {
                "it does not exist"
            } else if self.count(collection).await? == 0 {
                "it is empty"
            } else {
                continue;
            };
            return Err(KnowledgeError::Collection {
                collection: self.name(collection),
                problem: format!("{problem}; run midwatch-seeder"),
            });
        }
        Ok(())
    }

    /// Whether the store answers and has the collection.
    ///
    /// # Errors
    /// [`KnowledgeError::Store`].
    pub async fn exists(&self, collection: &str) -> Result<bool> {
        self.client
            .collection_exists(self.name(collection))
            .await
            .map_err(self.failed("exists", collection))
    }

    /// Creates the collection where it is missing, with its keyword indexes.
    ///
    /// # Errors
    /// [`KnowledgeError::Collection`] when it exists with other vectors.
    pub async fn ensure_collection(&self, collection: &str, keywords: &[&str]) -> Result<()> {
        if self.exists(collection).await? {
            self.check_vectors(collection).await?;
        } else {
            let vectors = VectorParamsBuilder::new(DIMENSION as u64, Distance::Cosine);
            self.client
                .create_collection(
                    CreateCollectionBuilder::new(self.name(collection)).vectors_config(vectors),
                )
                .await
                .map_err(self.failed("create", collection))?;
        }
        for keyword in keywords {
            self.client
                .create_field_index(
                    CreateFieldIndexCollectionBuilder::new(
                        self.name(collection),
                        *keyword,
                        FieldType::Keyword,
                    )
                    .wait(true),
                )
                .await
                .map_err(self.failed("create field index", collection))?;
        }
        Ok(())
    }

    async fn check_vectors(&self, collection: &str) -> Result<()> {
        let info = self
            .client
            .collection_info(self.name(collection))
            .await
            .map_err(self.failed("info", collection))?;
        let vectors = info
            .result
            .and_then(|info| info.config)
            .and_then(|config| config.params)
            .and_then(|params| params.vectors_config)
            .and_then(|vectors| vectors.config);
        match vectors {
            Some(Config::Params(params))
                if params.size == DIMENSION as u64
                    && params.distance == i32::from(Distance::Cosine) =>
            {
                Ok(())
            }
            other => Err(KnowledgeError::Collection {
                collection: self.name(collection),
                problem: format!(
                    "its vectors are {other:?} instead of {DIMENSION} numbers under cosine; delete it and run midwatch-seeder"
                ),
            }),
        }
    }

    /// Embeds and stores the documents; a point with the same id is replaced.
    ///
    /// # Errors
    /// [`KnowledgeError`]; batches before the failed one are stored.
    pub async fn upsert(&self, collection: &str, documents: &[Document]) -> Result<()> {
        for batch in documents.chunks(UPSERT_BATCH) {
            let texts: Vec<String> = batch.iter().map(|one| one.text.clone()).collect();
            let vectors = self.embeddings.embed(&texts).await?;
            let points: Vec<PointStruct> = batch
                .iter()
                .zip(vectors)
                .map(|(document, vector)| {
                    let payload = Payload::from(document.payload.clone());
                    PointStruct::new(document.id.to_string(), vector, payload)
                })
                .collect();
            self.client
                .upsert_points(UpsertPointsBuilder::new(self.name(collection), points).wait(true))
                .await
                .map_err(self.failed("upsert", collection))?;
        }
        Ok(())
    }

    /// How many points the collection holds, exactly.
    ///
    /// # Errors
    /// [`KnowledgeError::Store`].
    pub async fn count(&self, collection: &str) -> Result<u64> {
        let answer = self
            .client
            .count(CountPointsBuilder::new(self.name(collection)).exact(true))
            .await
            .map_err(self.failed("count", collection))?;
        Ok(answer.result.map_or(0, |result| result.count))
    }

    /// Deletes every point whose id is not among `wanted` and that no review
    /// brought in ([`REVIEWED`]); gives the number of those deleted, and of
    /// those left alone for that reason.
    ///
    /// # Errors
    /// [`KnowledgeError::Store`].
    pub async fn delete_others(
        &self,
        collection: &str,
        wanted: &BTreeSet<Uuid>,
    ) -> Result<(usize, usize)> {
        let wanted: BTreeSet<String> = wanted.iter().map(Uuid::to_string).collect();
        let others = self
            .scroll(collection, None, true)
            .await?
            .into_iter()
            .filter(|(id, _)| match &id.point_id_options {
                Some(PointIdOptions::Uuid(uuid)) => !wanted.contains(&uuid.to_lowercase()),
                Some(PointIdOptions::Num(_)) | None => true,
            });
        let (reviewed, others): (Vec<_>, Vec<_>) =
            others.partition(|(_, payload)| Value::from(payload.clone())["origin"] == REVIEWED);
        let others: Vec<PointId> = others.into_iter().map(|(id, _)| id).collect();
        if !others.is_empty() {
            let ids = PointsIdsList {
                ids: others.clone(),
            };
            self.client
                .delete_points(
                    DeletePointsBuilder::new(self.name(collection))
                        .points(ids)
                        .wait(true),
                )
                .await
                .map_err(self.failed("delete", collection))?;
        }
        Ok((others.len(), reviewed.len()))
    }

    /// Removes the collection and everything in it.
    ///
    /// # Errors
    /// [`KnowledgeError::Store`].
    pub async fn delete_collection(&self, collection: &str) -> Result<()> {
        self.client
            .delete_collection(self.name(collection))
            .await
            .map_err(self.failed("delete collection", collection))?;
        Ok(())
    }

    async fn scroll(
        &self,
        collection: &str,
        filter: Option<(&str, &str)>,
        with_payload: bool,
    ) -> Result<Vec<(PointId, Payload)>> {
        let mut points = Vec::new();
        let mut offset: Option<PointId> = None;
        for _ in 0..SCROLL_PAGES {
            let mut request = ScrollPointsBuilder::new(self.name(collection))
                .limit(SCROLL_PAGE)
                .with_payload(with_payload)
                .with_vectors(false);
            if let Some((field, value)) = filter {
                request = request.filter(equals(field, value));
            }
            if let Some(offset) = offset {
                request = request.offset(offset);
            }
            let page = self
                .client
                .scroll(request)
                .await
                .map_err(self.failed("scroll", collection))?;
            points.extend(page.result.into_iter().filter_map(|point| {
                let id = point.id?;
                Some((id, Payload::from(point.payload)))
            }));
            offset = page.next_page_offset;
            if offset.is_none() {
                return Ok(points);
            }
        }
        Err(KnowledgeError::Collection {
            collection: self.name(collection),
            problem: format!("its listing did not end after {SCROLL_PAGES} pages"),
        })
    }

    fn read<T: DeserializeOwned>(&self, collection: &str, payload: Payload) -> Result<T> {
        serde_json::from_value(Value::from(payload)).map_err(|error| KnowledgeError::Payload {
            collection: self.name(collection),
            problem: error.to_string(),
        })
    }
}

/// An exact match. The client's own conversion of a string turns one with a
/// space into a search for its words, which is something else.
fn equals(field: &str, value: &str) -> Filter {
    Filter::must([Condition::matches(
        field,
        MatchValue::Keyword(value.to_owned()),
    )])
}
