//! The chain of typed artifacts of an incident.

use super::{PostgresError, Tx};
use midwatch_events::artifact::{Artifact, ArtifactKind};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

/// Writes artifacts of one incident. Those of the kinds in `supersedes` that
/// are there and not among them become superseded; one that is among them and
/// was written before takes its status, and nothing else, from here.
///
/// # Errors
/// The database is away.
pub async fn write(
    tx: &mut Tx,
    incident: Uuid,
    artifacts: &[Artifact],
    supersedes: &[ArtifactKind],
) -> Result<(), PostgresError> {
    let kinds: Vec<String> = supersedes
        .iter()
        .map(|kind| kind.as_str().to_owned())
        .collect();
    let ids: Vec<Uuid> = artifacts
        .iter()
        .map(|artifact| artifact.artifact_id)
        .collect();
    sqlx::query!(
        "UPDATE artifacts SET status = 'superseded'
         WHERE incident_id = $1 AND kind = ANY($2) AND artifact_id <> ALL($3)
           AND status <> 'superseded'",
        incident,
        &kinds,
        &ids
    )
    .execute(&mut **tx)
    .await?;
    let rows =
        serde_json::to_value(artifacts).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query!(
        "INSERT INTO artifacts (artifact_id, incident_id, kind, schema_version, producer, consumer,
             status, inputs, evidence, created_at_ms, replay, body)
         SELECT artifact_id, $1, kind, schema_version, producer, consumer, status, inputs, evidence,
             created_at_ms, replay, body
         FROM jsonb_to_recordset($2::jsonb) AS row(artifact_id UUID, kind TEXT,
             schema_version INTEGER, producer TEXT, consumer TEXT, status TEXT, inputs UUID[],
             evidence TEXT[], created_at_ms BIGINT, replay BOOLEAN, body JSONB)
         ON CONFLICT (artifact_id) DO UPDATE SET status = excluded.status",
        incident,
        rows
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// All artifacts of an incident, superseded ones included, in the order in
/// which they were written; at most 5 000.
///
/// # Errors
/// The database is away, or a row is of a kind that this build does not know.
pub async fn of_incident(pool: &PgPool, incident: Uuid) -> Result<Vec<Artifact>, PostgresError> {
    let rows = sqlx::query!(
        "SELECT artifact_id, incident_id, kind, schema_version, producer, consumer, status, inputs,
             evidence, created_at_ms, replay, body
         FROM artifacts WHERE incident_id = $1 ORDER BY seq LIMIT 5000",
        incident
    )
    .fetch_all(pool)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Artifact {
                artifact_id: row.artifact_id,
                incident_id: row.incident_id,
                kind: word(&row.kind)?,
                schema_version: u32::try_from(row.schema_version).unwrap_or(0),
                producer: row.producer,
                consumer: row.consumer,
                status: word(&row.status)?,
                inputs: row.inputs,
                evidence: row.evidence,
                created_at_ms: row.created_at_ms,
                replay: row.replay,
                body: row.body,
            })
        })
        .collect()
}

/// A wire name as the value that it stands for.
fn word<T: DeserializeOwned>(name: &str) -> Result<T, PostgresError> {
    let value: Value = json!(name);
    serde_json::from_value(value)
        .map_err(|error| PostgresError::Sql(sqlx::Error::Decode(error.into())))
}
