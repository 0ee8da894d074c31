//! Finding: incidents and runbook sections by meaning, services by name.

use super::{
    ARCHITECTURE, EffectiveAction, INCIDENTS, KnowledgeStore, KnownCause, REVIEWED, RUNBOOKS,
    Result, RunbookStep, equals,
};
use qdrant_client::qdrant::{Query, QueryPointsBuilder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const INCIDENT_CHUNKS: u64 = 10;
const INCIDENT_HITS: usize = 5;
const RUNBOOK_HITS: u64 = 8;
/// A historical incident, found by its best chunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentHit {
    pub incident_id: String,
    /// Cosine of query and chunk; related texts lie at 0.4 and above.
    #[serde(default)]
    pub score: f32,
    /// `summary`, `root_cause`, `resolution` or `contributing_factors`.
    pub chunk_type: String,
    pub text: String,
    pub anomaly_type: String,
    pub severity: String,
    pub mttr_minutes: f64,
    pub tags: Vec<String>,
    /// The whole incident as in `knowledge/incidents`.
    pub record: Value,
    /// What was carried out then, and whether it worked.
    #[serde(default)]
    pub effective_actions: Vec<EffectiveAction>,
    /// Where the cause was.
    #[serde(default)]
    pub service: String,
    /// [`REVIEWED`] where people's review brought it in.
    #[serde(default)]
    pub origin: String,
}

/// A section of a runbook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunbookHit {
    pub runbook_id: String,
    pub section_title: String,
    /// Markdown, without the heading.
    pub text: String,
    /// Cosine of query and section; 0 where no query was made.
    #[serde(default)]
    pub score: f32,
    pub anomaly_types: Vec<String>,
    /// Place of the section in its runbook, from 0.
    pub position: u32,
    /// The steps that the section lists.
    #[serde(default)]
    pub steps: Vec<RunbookStep>,
    /// The causes that its runbook knows beyond the anomaly types.
    #[serde(default)]
    pub causes: Vec<KnownCause>,
    /// `host`, or empty for workloads.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub target: String,
}

impl RunbookHit {
    /// Whether its commands are for machines and not for workloads.
    #[must_use]
    pub fn is_for_hosts(&self) -> bool {
        self.target == "host"
    }
}

/// The record of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchitectureHit {
    pub service_name: String,
    /// Whether the name was asked for; otherwise it is the nearest by meaning.
    pub exact: bool,
    /// 1 for an exact name, else the cosine.
    pub score: f32,
    /// The record as in `knowledge/services.json`.
    pub record: Value,
}

impl KnowledgeStore {
    /// Up to five historical incidents that resemble `query`, best first. With
    /// an anomaly type only such incidents, unless there is none.
    ///
    /// # Errors
    /// [`KnowledgeError`].
    pub async fn search_incidents(
        &self,
        query: &str,
        anomaly_type: Option<&str>,
    ) -> Result<Vec<IncidentHit>> {
        let filter = anomaly_type.map(|kind| ("anomaly_type", kind));
        let chunks = self
            .search(INCIDENTS, query, INCIDENT_CHUNKS, filter)
            .await?;
        Ok(best_of_each(chunks))
    }

    /// Up to five incidents that people have reviewed and that resemble `query`,
    /// best first, whatever their type: what an incident was opened on is often
    /// only what its cause led to.
    ///
    /// # Errors
    /// [`KnowledgeError`].
    pub async fn search_reviewed(&self, query: &str) -> Result<Vec<IncidentHit>> {
        let vector = self.vector(query).await?;
        let filter = Some(("origin", REVIEWED));
        let chunks = self
            .nearest(INCIDENTS, &vector, INCIDENT_CHUNKS, filter)
            .await?;
        Ok(best_of_each(chunks))
    }

    /// Up to eight runbook sections that answer `query`, best first. With an
    /// anomaly type only from runbooks for it, unless there is none.
    ///
    /// # Errors
    /// [`KnowledgeError`].
    pub async fn search_runbooks(
        &self,
        query: &str,
        anomaly_type: Option<&str>,
    ) -> Result<Vec<RunbookHit>> {
        let filter = anomaly_type.map(|kind| ("anomaly_types", kind));
        let hits = self.search(RUNBOOKS, query, RUNBOOK_HITS, filter).await?;
        Ok(hits
            .into_iter()
            .map(|(score, hit)| RunbookHit { score, ..hit })
            .collect())
    }

    /// All sections of a runbook in its order; none when it is unknown.
    ///
    /// # Errors
    /// [`KnowledgeError`].
    pub async fn runbook_sections(&self, runbook_id: &str) -> Result<Vec<RunbookHit>> {
        let points = self
            .scroll(RUNBOOKS, Some(("runbook_id", runbook_id)), true)
            .await?;
        let mut sections: Vec<RunbookHit> = points
            .into_iter()
            .map(|(_, payload)| self.read(RUNBOOKS, payload))
            .collect::<Result<_>>()?;
        sections.sort_by_key(|section| section.position);
        Ok(sections)
    }

    /// The record of `service`, or of the nearest one by meaning; none only
    /// when the collection is empty.
    ///
    /// # Errors
    /// [`KnowledgeError`].
    pub async fn architecture(&self, service: &str) -> Result<Option<ArchitectureHit>> {
        #[derive(Deserialize)]
        struct Stored {
            service_name: String,
            record: Value,
        }
        let exact = self
            .scroll(ARCHITECTURE, Some(("service_name", service)), true)
            .await?
            .into_iter()
            .next();
        let (score, stored, exact): (f32, Stored, bool) = match exact {
            Some((_, payload)) => (1.0, self.read(ARCHITECTURE, payload)?, true),
            None => match self
                .search(ARCHITECTURE, service, 1, None)
                .await?
                .into_iter()
                .next()
            {
                Some((score, stored)) => (score, stored, false),
                None => return Ok(None),
            },
        };
        Ok(Some(ArchitectureHit {
            service_name: stored.service_name,
            exact,
            score,
            record: stored.record,
        }))
    }

    /// The nearest points, best first; a filter without hits is dropped.
    async fn search<T: DeserializeOwned>(
        &self,
        collection: &str,
        query: &str,
        limit: u64,
        filter: Option<(&str, &str)>,
    ) -> Result<Vec<(f32, T)>> {
        let vector = self.vector(query).await?;
        let mut hits = self.nearest(collection, &vector, limit, filter).await?;
        if hits.is_empty() && filter.is_some() {
            hits = self.nearest(collection, &vector, limit, None).await?;
        }
        Ok(hits)
    }

    async fn vector(&self, query: &str) -> Result<Vec<f32>> {
        let vectors = self.embeddings.embed(&[query.to_owned()]).await?;
        let vector = vectors.into_iter().next();
        Ok(vector.expect("embed gives one vector per text"))
    }

    async fn nearest<T: DeserializeOwned>(
        &self,
        collection: &str,
        vector: &[f32],
        limit: u64,
        filter: Option<(&str, &str)>,
    ) -> Result<Vec<(f32, T)>> {
        let mut request = QueryPointsBuilder::new(self.name(collection))
            .query(Query::new_nearest(vector.to_vec()))
            .limit(limit)
            .with_payload(true);
        if let Some((field, value)) = filter {
            request = request.filter(equals(field, value));
        }
        let answer = self
            .client
            .query(request)
            .await
            .map_err(self.failed("query", collection))?;
        answer
            .result
            .into_iter()
            .map(|point| Ok((point.score, self.read(collection, point.payload.into())?)))
            .collect()
    }
}

/// Chunks come best first, so the first of an incident is its best.
fn best_of_each(chunks: Vec<(f32, IncidentHit)>) -> Vec<IncidentHit> {
    let mut hits: Vec<IncidentHit> = Vec::with_capacity(INCIDENT_HITS);
    for (score, chunk) in chunks {
        let known = |hit: &IncidentHit| hit.incident_id == chunk.incident_id;
        if hits.len() < INCIDENT_HITS && !hits.iter().any(known) {
            hits.push(IncidentHit { score, ..chunk });
        }
    }
    hits
}
