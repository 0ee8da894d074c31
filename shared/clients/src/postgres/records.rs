//! The records of an incident's window.

use super::{PostgresError, Tx};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// A record copied into `incident_records`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptRecord {
    /// Made by [`midwatch_events::ids::record`].
    pub record_id: String,
    /// `metric`, `log`, `span`, `deployment`, `kubernetes` or `anomaly`.
    pub kind: String,
    pub service: String,
    /// The metric's name, or empty.
    pub name: String,
    /// Event time, epoch milliseconds.
    pub at_ms: i64,
    pub value: Option<f64>,
    pub text: String,
    pub payload: Value,
}

/// Keeps a record; one of the same id stays as it is.
///
/// # Errors
/// The database is away.
pub async fn keep(
    tx: &mut Tx,
    incident: Uuid,
    records: &[KeptRecord],
) -> Result<(), PostgresError> {
    // One statement for all rows: an incident's window holds thousands.
    let rows = serde_json::to_value(records).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query!(
        "INSERT INTO incident_records (incident_id, record_id, kind, service, name, at_ms, value, text, payload)
         SELECT $1, record_id, kind, service, name, at_ms, value, text, payload
         FROM jsonb_to_recordset($2::jsonb) AS row(record_id TEXT, kind TEXT, service TEXT, name TEXT,
             at_ms BIGINT, value DOUBLE PRECISION, text TEXT, payload JSONB)
         ON CONFLICT (incident_id, record_id) DO NOTHING",
        incident,
        rows
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Records of one incident: whoever copies them keeps no more, so that reading
/// them leaves none out.
pub const TOTAL: usize = 30_000;

/// The ids of an incident's records.
///
/// # Errors
/// The database is away.
pub async fn ids_of(pool: &PgPool, incident: Uuid) -> Result<Vec<String>, PostgresError> {
    Ok(sqlx::query_scalar!(
        "SELECT record_id FROM incident_records WHERE incident_id = $1",
        incident
    )
    .fetch_all(pool)
    .await?)
}

/// All records of an incident, in order of time; at most [`TOTAL`].
///
/// # Errors
/// The database is away.
pub async fn of_incident(pool: &PgPool, incident: Uuid) -> Result<Vec<KeptRecord>, PostgresError> {
    Ok(sqlx::query_as!(
        KeptRecord,
        "SELECT record_id, kind, service, name, at_ms, value, text, payload FROM incident_records
         WHERE incident_id = $1 ORDER BY at_ms, record_id LIMIT 30000",
        incident
    )
    .fetch_all(pool)
    .await?)
}

/// Forgets records whose retention has ended, a thousand at a time.
///
/// # Errors
/// The database is away.
pub async fn prune(pool: &PgPool) -> Result<u64, PostgresError> {
    let done = sqlx::query!(
        "DELETE FROM incident_records WHERE ctid IN (
             SELECT ctid FROM incident_records WHERE keep_until < now() LIMIT 1000)"
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}
