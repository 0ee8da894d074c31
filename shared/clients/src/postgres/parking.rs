//! Early events and subscriptions.

use super::{PostgresError, Tx};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// An event that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct ParkedRow {
    pub id: i64,
    pub waiting_for: String,
    pub event_id: Uuid,
    pub topic: String,
    pub payload: Vec<u8>,
    pub coordinates: Value,
}

/// What to park.
#[derive(Clone, Copy, Debug)]
pub struct Parking<'a> {
    pub waiting_for: &'a str,
    pub event_id: Uuid,
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub coordinates: &'a Value,
    pub reason: &'a str,
    pub expires_ms: i64,
}

/// Keeps an early event; one that is kept already stays as it is.
///
/// # Errors
/// The database is away.
pub async fn park(tx: &mut Tx, agent: &str, parking: Parking<'_>) -> Result<bool, PostgresError> {
    let done = sqlx::query!(
        "INSERT INTO parked (agent, waiting_for, event_id, topic, payload, coordinates, reason, expires_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (agent, waiting_for, event_id) DO NOTHING",
        agent,
        parking.waiting_for,
        parking.event_id,
        parking.topic,
        parking.payload,
        parking.coordinates,
        parking.reason,
        parking.expires_ms
    )
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What waits for a scope or channel, oldest first.
///
/// # Errors
/// The database is away.
pub async fn parked_for(
    pool: &PgPool,
    agent: &str,
    waiting_for: &str,
) -> Result<Vec<ParkedRow>, PostgresError> {
    Ok(sqlx::query_as!(
        ParkedRow,
        "SELECT id, waiting_for, event_id, topic, payload, coordinates FROM parked
         WHERE agent = $1 AND waiting_for = $2 ORDER BY id LIMIT 256",
        agent,
        waiting_for
    )
    .fetch_all(pool)
    .await?)
}

/// What has waited too long, oldest first.
///
/// # Errors
/// The database is away.
pub async fn expired(
    pool: &PgPool,
    agent: &str,
    now_ms: i64,
) -> Result<Vec<ParkedRow>, PostgresError> {
    Ok(sqlx::query_as!(
        ParkedRow,
        "SELECT id, waiting_for, event_id, topic, payload, coordinates FROM parked
         WHERE agent = $1 AND expires_ms <= $2 ORDER BY id LIMIT 64",
        agent,
        now_ms
    )
    .fetch_all(pool)
    .await?)
}

/// Ends the waiting of one event.
///
/// # Errors
/// The database is away.
pub async fn unpark(tx: &mut Tx, id: i64) -> Result<(), PostgresError> {
    sqlx::query!("DELETE FROM parked WHERE id = $1", id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Subscribes a scope to a channel.
///
/// # Errors
/// The database is away.
pub async fn subscribe(
    tx: &mut Tx,
    agent: &str,
    channel: &str,
    scope: &str,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "INSERT INTO subscriptions (agent, channel, scope) VALUES ($1, $2, $3)
         ON CONFLICT DO NOTHING",
        agent,
        channel,
        scope
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Ends a subscription.
///
/// # Errors
/// The database is away.
pub async fn unsubscribe(
    tx: &mut Tx,
    agent: &str,
    channel: &str,
    scope: &str,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "DELETE FROM subscriptions WHERE agent = $1 AND channel = $2 AND scope = $3",
        agent,
        channel,
        scope
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The scopes that listen to a channel, in order.
///
/// # Errors
/// The database is away.
pub async fn subscribers(
    pool: &PgPool,
    agent: &str,
    channel: &str,
) -> Result<Vec<String>, PostgresError> {
    Ok(sqlx::query_scalar!(
        "SELECT scope FROM subscriptions WHERE agent = $1 AND channel = $2 ORDER BY scope",
        agent,
        channel
    )
    .fetch_all(pool)
    .await?)
}

/// What parked events wait for and could be offered now: every scope, and the
/// channels that have a subscriber.
///
/// # Errors
/// The database is away.
pub async fn answerable(pool: &PgPool, agent: &str) -> Result<Vec<String>, PostgresError> {
    Ok(sqlx::query_scalar!(
        "SELECT DISTINCT waiting_for FROM parked
         WHERE agent = $1 AND (waiting_for LIKE 'scope:%' OR EXISTS (
             SELECT 1 FROM subscriptions
             WHERE subscriptions.agent = parked.agent
               AND 'channel:' || subscriptions.channel = parked.waiting_for))
         ORDER BY waiting_for LIMIT 64",
        agent
    )
    .fetch_all(pool)
    .await?)
}
