//! The audit trail.

use super::{PostgresError, Tx};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// A line to add.
#[derive(Clone, Copy, Debug)]
pub struct AuditLine<'a> {
    pub event_id: Uuid,
    pub incident_id: Option<Uuid>,
    pub agent: &'a str,
    pub event_type: &'a str,
    pub event_time_ms: i64,
    pub summary: &'a str,
    pub payload: &'a Value,
}

/// Adds a line; one of the same event id stays as it is.
///
/// # Errors
/// The database is away.
pub async fn insert(tx: &mut Tx, line: AuditLine<'_>) -> Result<(), PostgresError> {
    sqlx::query!(
        "INSERT INTO agent_events
             (event_id, incident_id, agent_name, event_type, event_time_ms, summary, payload)
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (event_id) DO NOTHING",
        line.event_id,
        line.incident_id,
        line.agent,
        line.event_type,
        line.event_time_ms,
        line.summary,
        line.payload
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Adds a line outside any transaction, for processes that keep no state in
/// PostgreSQL.
///
/// # Errors
/// The database is away.
pub async fn insert_now(pool: &PgPool, line: AuditLine<'_>) -> Result<(), PostgresError> {
    let mut tx = pool.begin().await?;
    insert(&mut tx, line).await?;
    tx.commit().await?;
    Ok(())
}
