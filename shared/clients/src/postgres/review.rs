//! The versions of a postmortem and how far their review has come.

use super::{PostgresError, Tx, at};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// One version of a postmortem.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PostmortemVersion {
    pub incident_id: Uuid,
    pub version: i32,
    /// `draft`, `reviewed`, `published`.
    pub status: String,
    pub markdown: String,
    pub statements: Value,
    pub lesson: Value,
    pub reviewed_by: Option<String>,
    pub published_by: Option<String>,
    /// Wall clock, like the two below.
    pub created_at_ms: i64,
    pub reviewed_at_ms: Option<i64>,
    pub published_at_ms: Option<i64>,
}

/// Writes a draft. One of the same version that people have reviewed stays as
/// it is.
///
/// # Errors
/// The database is away.
pub async fn draft(
    tx: &mut Tx,
    incident: Uuid,
    version: u32,
    markdown: &str,
    statements: &Value,
    lesson: &Value,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "INSERT INTO postmortems (incident_id, version, markdown, statements, lesson)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (incident_id, version) DO UPDATE SET markdown = excluded.markdown,
             statements = excluded.statements, lesson = excluded.lesson
         WHERE postmortems.status = 'draft'",
        incident,
        i32::try_from(version).unwrap_or(i32::MAX),
        markdown,
        statements,
        lesson
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Moves a version on: a draft to `reviewed`, a reviewed one to `published`.
/// Any other move changes nothing.
///
/// # Errors
/// The database is away.
pub async fn advance(
    tx: &mut Tx,
    incident: Uuid,
    version: u32,
    status: &str,
    by: &str,
    wall_ms: i64,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "UPDATE postmortems SET status = $3,
             reviewed_by = CASE WHEN $3 = 'reviewed' THEN $4 ELSE reviewed_by END,
             reviewed_at = CASE WHEN $3 = 'reviewed' THEN $5 ELSE reviewed_at END,
             published_by = CASE WHEN $3 = 'published' THEN $4 ELSE published_by END,
             published_at = CASE WHEN $3 = 'published' THEN $5 ELSE published_at END
         WHERE incident_id = $1 AND version = $2
           AND ((status = 'draft' AND $3 = 'reviewed') OR (status = 'reviewed' AND $3 = 'published'))",
        incident,
        i32::try_from(version).unwrap_or(i32::MAX),
        status,
        by,
        at(wall_ms)
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The newest version of an incident's postmortem, where there is one.
///
/// # Errors
/// The database is away.
pub async fn latest(
    pool: &PgPool,
    incident: Uuid,
) -> Result<Option<PostmortemVersion>, PostgresError> {
    Ok(sqlx::query_as!(
        PostmortemVersion,
        r#"SELECT incident_id, version, status, markdown, statements, lesson, reviewed_by,
               published_by,
               (extract(epoch FROM created_at) * 1000)::bigint AS "created_at_ms!",
               (extract(epoch FROM reviewed_at) * 1000)::bigint AS reviewed_at_ms,
               (extract(epoch FROM published_at) * 1000)::bigint AS published_at_ms
           FROM postmortems WHERE incident_id = $1 ORDER BY version DESC LIMIT 1"#,
        incident
    )
    .fetch_optional(pool)
    .await?)
}

/// The lessons of the newest versions, the latest incident first: of all
/// services, or of the one where the cause was.
///
/// # Errors
/// The database is away.
pub async fn lessons(
    pool: &PgPool,
    service: Option<&str>,
    limit: i64,
) -> Result<Vec<Value>, PostgresError> {
    Ok(sqlx::query_scalar!(
        "SELECT lesson FROM (
             SELECT DISTINCT ON (incident_id) incident_id, lesson, created_at FROM postmortems
             ORDER BY incident_id, version DESC) AS newest
         WHERE $1::text IS NULL OR lesson->>'service' = $1
         ORDER BY created_at DESC, incident_id LIMIT $2",
        service,
        limit
    )
    .fetch_all(pool)
    .await?)
}
