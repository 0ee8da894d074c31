//! Everything that is stored about an incident, in pages, for a bundle.

use super::PostgresError;
use serde_json::Value;
use sqlx::{PgConnection, PgPool, Postgres as Database, Transaction};
use uuid::Uuid;

/// What is exported, in this order.
pub const KINDS: [&str; 8] = [
    "incident",
    "event",
    "audit",
    "record",
    "artifact",
    "model_call",
    "notification",
    "postmortem",
];
/// Rows of one page; a row has a megabyte at most.
const PAGE: i64 = 16;

/// A row: the key that the next page begins behind, and what it holds.
#[derive(Clone, Debug)]
pub struct Row {
    pub key: String,
    pub row: Value,
}

/// A view of the database that stays the same however long the export takes.
///
/// # Errors
/// The database is away.
pub async fn snapshot(pool: &PgPool) -> Result<Transaction<'static, Database>, PostgresError> {
    Ok(pool
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?)
}

/// The next page of this kind behind the key `after`; the first one behind the
/// empty key. An empty page is the end; an unknown kind has none.
///
/// # Errors
/// The database is away.
pub async fn page(
    connection: &mut PgConnection,
    kind: &str,
    incident: Uuid,
    after: &str,
) -> Result<Vec<Row>, PostgresError> {
    let number: i64 = after.parse().unwrap_or(-1);
    match kind {
        "event" | "audit" | "notification" | "artifact" | "postmortem" => {
            numbered(connection, kind, incident, number).await
        }
        _ => named(connection, kind, incident, after).await,
    }
}

async fn numbered(
    connection: &mut PgConnection,
    kind: &str,
    incident: Uuid,
    after: i64,
) -> Result<Vec<Row>, PostgresError> {
    Ok(match kind {
        // The payload as text: the very bytes that went out.
        "event" => sqlx::query_as!(
            Row,
            r#"SELECT id::text AS "key!", jsonb_build_object('event_id', event_id, 'agent', agent,
                   'topic', topic, 'key', key, 'headers', headers,
                   'payload', convert_from(payload, 'UTF8'), 'created_at', created_at,
                   'sent_at', sent_at, 'refused', refused) AS "row!"
               FROM outbox WHERE key = $1::uuid::text AND id > $2 ORDER BY id LIMIT $3"#,
            incident,
            after,
            PAGE
        )
        .fetch_all(connection)
        .await?,
        "audit" => {
            sqlx::query_as!(
                Row,
                r#"SELECT id::text AS "key!", to_jsonb(agent_events) AS "row!" FROM agent_events
               WHERE incident_id = $1 AND id > $2 ORDER BY id LIMIT $3"#,
                incident,
                after,
                PAGE
            )
            .fetch_all(connection)
            .await?
        }
        "notification" => {
            sqlx::query_as!(
                Row,
                r#"SELECT id::text AS "key!", to_jsonb(notifications) AS "row!" FROM notifications
               WHERE incident_id = $1 AND id > $2 ORDER BY id LIMIT $3"#,
                incident,
                after,
                PAGE
            )
            .fetch_all(connection)
            .await?
        }
        "artifact" => {
            sqlx::query_as!(
                Row,
                r#"SELECT seq::text AS "key!", to_jsonb(artifacts) AS "row!" FROM artifacts
               WHERE incident_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"#,
                incident,
                after,
                PAGE
            )
            .fetch_all(connection)
            .await?
        }
        _ => {
            sqlx::query_as!(
                Row,
                r#"SELECT version::text AS "key!", to_jsonb(postmortems) AS "row!" FROM postmortems
               WHERE incident_id = $1 AND version > $2 ORDER BY version LIMIT $3"#,
                incident,
                i32::try_from(after).unwrap_or(i32::MAX),
                PAGE
            )
            .fetch_all(connection)
            .await?
        }
    })
}

async fn named(
    connection: &mut PgConnection,
    kind: &str,
    incident: Uuid,
    after: &str,
) -> Result<Vec<Row>, PostgresError> {
    Ok(match kind {
        "incident" => sqlx::query_as!(
            Row,
            r#"SELECT id::text AS "key!", to_jsonb(incidents) AS "row!" FROM incidents
               WHERE id = $1 AND id::text > $2"#,
            incident, after
        ).fetch_all(connection).await?,
        "record" => sqlx::query_as!(
            Row,
            r#"SELECT record_id AS "key!", to_jsonb(incident_records) AS "row!" FROM incident_records
               WHERE incident_id = $1 AND record_id > $2 ORDER BY record_id LIMIT $3"#,
            incident, after, PAGE
        ).fetch_all(connection).await?,
        "model_call" => sqlx::query_as!(
            Row,
            r#"SELECT call_id::text AS "key!", to_jsonb(llm_calls) AS "row!" FROM llm_calls
               WHERE incident_id = $1 AND call_id::text > $2 ORDER BY call_id::text LIMIT $3"#,
            incident, after, PAGE
        ).fetch_all(connection).await?,
        _ => Vec::new(),
    })
}
