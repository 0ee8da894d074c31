//! Filling the knowledge store so that it holds the files, the whole files and
//! beside them only the incidents that people have reviewed.

use crate::chunk;
use crate::content::Knowledge;
use midwatch_clients::embeddings::EmbeddingsClient;
use midwatch_clients::knowledge::{COLLECTIONS, INCIDENTS, KnowledgeError, KnowledgeStore};
use std::collections::BTreeSet;
use std::time::Duration;
use thiserror::Error;
use tokio::time::Instant;

/// Pause between two looks at whether store and embedder are up.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Why the store does not hold the knowledge.
#[derive(Debug, Error)]
pub enum SeedError {
    #[error(transparent)]
    Knowledge(#[from] KnowledgeError),
    #[error("store and embedder were not both ready within {} s", waited.as_secs())]
    NotReady {
        waited: Duration,
        #[source]
        last: KnowledgeError,
    },
    #[error(
        "collection {collection:?} holds {found} points after seeding instead of {expected}; is something else writing to it?"
    )]
    Count {
        collection: &'static str,
        expected: u64,
        found: u64,
    },
}

/// What became of one collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeded {
    pub collection: &'static str,
    pub points: u64,
    /// Points of earlier files that are gone.
    pub removed: usize,
}

/// Waits until store and embedder both answer, at most `limit` (plus the time
/// limit of the last call).
///
/// # Errors
/// [`SeedError::NotReady`] with the last reason; a permanent error at once.
pub async fn wait_until_ready(
    store: &KnowledgeStore,
    embeddings: &EmbeddingsClient,
    limit: Duration,
) -> Result<(), SeedError> {
    let deadline = Instant::now() + limit;
    loop {
        let error = match both_answer(store, embeddings).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if !error.is_transient() {
            return Err(error.into());
        }
        if Instant::now() >= deadline {
            return Err(SeedError::NotReady {
                waited: limit,
                last: error,
            });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn both_answer(
    store: &KnowledgeStore,
    embeddings: &EmbeddingsClient,
) -> Result<(), KnowledgeError> {
    store.exists(INCIDENTS).await?;
    embeddings.embed(&["ready".to_owned()]).await?;
    Ok(())
}

/// Creates what is missing, writes every document, removes what is not in the
/// files, and verifies the counts. Doing it again changes nothing.
///
/// # Errors
/// [`SeedError`]; what was written until then stays, and the next run mends it.
pub async fn seed(store: &KnowledgeStore, knowledge: &Knowledge) -> Result<Vec<Seeded>, SeedError> {
    let mut report = Vec::with_capacity(COLLECTIONS.len());
    for (collection, documents) in chunk::documents(knowledge) {
        let keywords = COLLECTIONS
            .iter()
            .find(|(name, _)| *name == collection)
            .map_or(&[][..], |(_, keywords)| keywords);
        store.ensure_collection(collection, keywords).await?;
        store.upsert(collection, &documents).await?;
        let wanted: BTreeSet<_> = documents.iter().map(|document| document.id).collect();
        let (removed, reviewed) = store.delete_others(collection, &wanted).await?;
        let (expected, found) = (
            (wanted.len() + reviewed) as u64,
            store.count(collection).await?,
        );
        if expected != found {
            return Err(SeedError::Count {
                collection,
                expected,
                found,
            });
        }
        report.push(Seeded {
            collection,
            points: found,
            removed,
        });
    }
    Ok(report)
}
