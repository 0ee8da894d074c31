//! The `incidents` table. Each agent writes only its own columns, and the
//! status moves by compare-and-set.

use super::{PostgresError, Tx, at};
use midwatch_events::IncidentHeader;
use midwatch_events::lifecycle::{IncidentState, Move};
use serde_json::Value;
use uuid::Uuid;

/// How a requested move of the status ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    Taken,
    AlreadyThere,
    /// Its predecessor has not been taken yet.
    Early,
    Refused(IncidentState),
    /// There is no such incident (yet).
    NoIncident,
}

/// A new incident, in state CORRELATING.
///
/// # Errors
/// The database is away.
pub async fn open(
    tx: &mut Tx,
    header: &IncidentHeader,
    blast_radius: &Value,
    context: &Value,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "INSERT INTO incidents (id, short_id, environment, status, anomaly_type, severity,
             affected_services, blast_radius, correlation_context, detection_time)
         VALUES ($1, $2, $3, 'CORRELATING', $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING",
        header.incident_id,
        header.short_id,
        header.environment,
        header.anomaly_type.as_str(),
        header.severity.as_str(),
        serde_json::json!(header.affected_services),
        blast_radius,
        context,
        at(header.detected_at_ms)
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What correlation knows now.
///
/// # Errors
/// The database is away.
pub async fn correlate(
    tx: &mut Tx,
    header: &IncidentHeader,
    blast_radius: &Value,
    context: &Value,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "UPDATE incidents SET anomaly_type = $2, severity = $3, affected_services = $4,
             blast_radius = $5, correlation_context = $6, updated_at = now() WHERE id = $1",
        header.incident_id,
        header.anomaly_type.as_str(),
        header.severity.as_str(),
        serde_json::json!(header.affected_services),
        blast_radius,
        context
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Moves the status to `to` where that is legal from where it is.
///
/// # Errors
/// The database is away.
pub async fn move_to(tx: &mut Tx, id: Uuid, to: IncidentState) -> Result<Moved, PostgresError> {
    let row = sqlx::query!("SELECT status FROM incidents WHERE id = $1 FOR UPDATE", id)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else {
        return Ok(Moved::NoIncident);
    };
    let from = IncidentState::parse(&row.status)
        .expect("the column's check admits only the states of the lifecycle");
    match from.judge(to) {
        Move::Stay => return Ok(Moved::AlreadyThere),
        Move::Park => return Ok(Moved::Early),
        Move::Refuse => return Ok(Moved::Refused(from)),
        Move::Take => {}
    }
    sqlx::query!(
        "UPDATE incidents SET status = $2, updated_at = now() WHERE id = $1 AND status = $3",
        id,
        to.as_str(),
        from.as_str()
    )
    .execute(&mut **tx)
    .await?;
    Ok(Moved::Taken)
}

/// The candidates for the cause.
///
/// # Errors
/// The database is away.
pub async fn cause(
    tx: &mut Tx,
    id: Uuid,
    candidates: &Value,
    top: &str,
    confidence: f64,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "UPDATE incidents SET rca_candidates = $2, top_root_cause = $3, rca_confidence = $4,
             updated_at = now() WHERE id = $1",
        id,
        candidates,
        top,
        confidence
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The plan.
///
/// # Errors
/// The database is away.
pub async fn plan(tx: &mut Tx, id: Uuid, plan: &Value) -> Result<(), PostgresError> {
    sqlx::query!(
        "UPDATE incidents SET remediation_plan = $2, updated_at = now() WHERE id = $1",
        id,
        plan
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The end.
///
/// # Errors
/// The database is away.
pub async fn resolve(
    tx: &mut Tx,
    id: Uuid,
    resolved_at_ms: i64,
    resolution: &Value,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "UPDATE incidents SET resolution_time = $2, resolution = $3, updated_at = now()
         WHERE id = $1",
        id,
        at(resolved_at_ms),
        resolution
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// It goes on: there is no end any more.
///
/// # Errors
/// The database is away.
pub async fn reopen(tx: &mut Tx, id: Uuid) -> Result<(), PostgresError> {
    sqlx::query!(
        "UPDATE incidents SET resolution_time = NULL, resolution = NULL, updated_at = now()
         WHERE id = $1",
        id
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The postmortem.
///
/// # Errors
/// The database is away.
pub async fn postmortem(tx: &mut Tx, id: Uuid, markdown: &str) -> Result<(), PostgresError> {
    sqlx::query!(
        "UPDATE incidents SET postmortem = $2, updated_at = now() WHERE id = $1",
        id,
        markdown
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What correlation wrote about an incident, where there is one.
///
/// # Errors
/// The database is away.
pub async fn context(pool: &sqlx::PgPool, id: Uuid) -> Result<Option<Value>, PostgresError> {
    Ok(sqlx::query_scalar!(
        "SELECT correlation_context FROM incidents WHERE id = $1",
        id
    )
    .fetch_optional(pool)
    .await?)
}
