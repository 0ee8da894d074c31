//! Processed marks, agent state and the outbox.

use super::{PostgresError, Tx};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// Marks an input as processed; `false` where it was already.
///
/// # Errors
/// The database is away.
pub async fn mark_processed(tx: &mut Tx, agent: &str, input: Uuid) -> Result<bool, PostgresError> {
    let done = sqlx::query!(
        "INSERT INTO processed (agent, input_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        agent,
        input
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether an input was processed.
///
/// # Errors
/// The database is away.
pub async fn is_processed(pool: &PgPool, agent: &str, input: Uuid) -> Result<bool, PostgresError> {
    let row = sqlx::query!(
        "SELECT 1 AS one FROM processed WHERE agent = $1 AND input_id = $2",
        agent,
        input
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.is_some())
}

/// Forgets marks older than the broker keeps messages, a thousand at a time.
///
/// # Errors
/// The database is away.
pub async fn prune_processed(pool: &PgPool) -> Result<u64, PostgresError> {
    let done = sqlx::query!(
        "DELETE FROM processed WHERE ctid IN (
             SELECT ctid FROM processed WHERE processed_at < now() - INTERVAL '8 days' LIMIT 1000)"
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

/// An agent's state for one scope, with the version it was read at; version 0
/// means that there is none.
///
/// # Errors
/// The database is away.
pub async fn load_state(
    tx: &mut Tx,
    agent: &str,
    scope: &str,
) -> Result<(i64, Option<Value>), PostgresError> {
    let row = sqlx::query!(
        "SELECT version, state FROM agent_state WHERE agent = $1 AND scope = $2",
        agent,
        scope
    )
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.map_or((0, None), |row| (row.version, Some(row.state))))
}

/// Writes the state that was read at `version`.
///
/// # Errors
/// [`PostgresError::StaleOwner`] where somebody else wrote it since.
pub async fn save_state(
    tx: &mut Tx,
    agent: &str,
    scope: &str,
    version: i64,
    state: &Value,
) -> Result<(), PostgresError> {
    let done = if version == 0 {
        sqlx::query!(
            "INSERT INTO agent_state (agent, scope, version, state) VALUES ($1, $2, 1, $3)
             ON CONFLICT DO NOTHING",
            agent,
            scope,
            state
        )
        .execute(&mut **tx)
        .await?
    } else {
        sqlx::query!(
            "UPDATE agent_state SET state = $4, version = version + 1, updated_at = now()
             WHERE agent = $1 AND scope = $2 AND version = $3",
            agent,
            scope,
            version,
            state
        )
        .execute(&mut **tx)
        .await?
    };
    if done.rows_affected() == 1 {
        Ok(())
    } else {
        Err(PostgresError::StaleOwner {
            agent: agent.to_owned(),
            scope: scope.to_owned(),
            version,
        })
    }
}

/// A message that waits for the broker.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRow {
    pub id: i64,
    pub event_id: Uuid,
    pub topic: String,
    pub key: String,
    pub payload: Vec<u8>,
    pub headers: Value,
}

/// Puts a message into the outbox; one of the same event id stays as it is.
///
/// # Errors
/// The database is away.
pub async fn enqueue(
    tx: &mut Tx,
    agent: &str,
    event_id: Uuid,
    topic: &str,
    key: &str,
    payload: &[u8],
    headers: &Value,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "INSERT INTO outbox (agent, event_id, topic, key, payload, headers)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (event_id) DO NOTHING",
        agent,
        event_id,
        topic,
        key,
        payload,
        headers
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Takes the agent's turn to publish, until the transaction ends: with two
/// publishers at once, newer messages of a key could overtake older ones.
///
/// # Errors
/// The database is away, or the turn does not come within its lock time-out.
pub async fn take_turn(tx: &mut Tx, agent: &str) -> Result<(), PostgresError> {
    sqlx::query!(
        r#"SELECT pg_advisory_xact_lock(hashtextextended('midwatch.outbox.' || $1::text, 0))::text AS "done""#,
        agent
    )
    .fetch_one(&mut **tx)
    .await?;
    Ok(())
}

/// Sets a message aside that the broker will never take.
///
/// # Errors
/// The database is away.
pub async fn mark_refused(tx: &mut Tx, id: i64, why: &str) -> Result<(), PostgresError> {
    sqlx::query!(
        "UPDATE outbox SET sent_at = now(), refused = $2 WHERE id = $1",
        id,
        why
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The oldest unsent messages of an agent.
///
/// # Errors
/// The database is away.
pub async fn unsent(tx: &mut Tx, agent: &str, limit: i64) -> Result<Vec<OutboxRow>, PostgresError> {
    Ok(sqlx::query_as!(
        OutboxRow,
        "SELECT id, event_id, topic, key, payload, headers FROM outbox
         WHERE agent = $1 AND sent_at IS NULL ORDER BY id LIMIT $2",
        agent,
        limit
    )
    .fetch_all(&mut **tx)
    .await?)
}

/// Marks messages as sent.
///
/// # Errors
/// The database is away.
pub async fn mark_sent(tx: &mut Tx, ids: &[i64]) -> Result<(), PostgresError> {
    sqlx::query!("UPDATE outbox SET sent_at = now() WHERE id = ANY($1)", ids)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// How many messages of an agent wait, for the metrics.
///
/// # Errors
/// The database is away.
pub async fn outbox_depth(pool: &PgPool, agent: &str) -> Result<i64, PostgresError> {
    let row = sqlx::query!(
        r#"SELECT count(*) AS "count!" FROM outbox WHERE agent = $1 AND sent_at IS NULL"#,
        agent
    )
    .fetch_one(pool)
    .await?;
    Ok(row.count)
}

/// Forgets sent messages older than eight days, a thousand at a time; not those
/// of an incident, which stay as long as it does, so that it can be exported
/// whole however old it is.
///
/// # Errors
/// The database is away.
pub async fn prune_outbox(pool: &PgPool) -> Result<u64, PostgresError> {
    let done = sqlx::query!(
        "DELETE FROM outbox WHERE id IN (
             SELECT id FROM outbox WHERE sent_at < now() - INTERVAL '8 days'
                 AND NOT EXISTS (SELECT 1 FROM incidents WHERE incidents.id::text = outbox.key)
                 LIMIT 1000)"
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}
