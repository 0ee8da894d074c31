//! Messages on channels other than mail: where they stand at their provider.

use super::PostgresError;
use sqlx::PgPool;
use uuid::Uuid;

/// The provider's id of a part of an incident's messages, where it was posted.
///
/// # Errors
/// The database is away.
pub async fn posted(
    pool: &PgPool,
    incident_id: Uuid,
    channel: &str,
    part: &str,
) -> Result<Option<String>, PostgresError> {
    Ok(sqlx::query_scalar!(
        "SELECT external_id FROM channel_messages
         WHERE incident_id = $1 AND channel = $2 AND part = $3",
        incident_id,
        channel,
        part
    )
    .fetch_optional(pool)
    .await?)
}

/// Remembers where a part was posted; the first id stays.
///
/// # Errors
/// The database is away.
pub async fn remember(
    pool: &PgPool,
    incident_id: Uuid,
    channel: &str,
    part: &str,
    external_id: &str,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "INSERT INTO channel_messages (incident_id, channel, part, external_id)
         VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        incident_id,
        channel,
        part,
        external_id
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Notes how the tries of a part stand, in place of what was noted before.
///
/// # Errors
/// The database is away.
pub async fn tried(
    pool: &PgPool,
    incident_id: Uuid,
    channel: &str,
    part: &str,
    how: &str,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "INSERT INTO channel_messages (incident_id, channel, part, external_id)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (incident_id, channel, part) DO UPDATE SET external_id = EXCLUDED.external_id",
        incident_id,
        channel,
        part,
        how
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Shows a message as FAILED while its delivery is still being tried: people
/// must see that a channel is down before everything has been given up.
///
/// # Errors
/// The database is away.
pub async fn failing(
    pool: &PgPool,
    message_id: &str,
    attempts: i32,
    error: &str,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "UPDATE notifications SET status = 'FAILED', attempts = $2, error = $3
         WHERE message_id = $1 AND status <> 'SENT'",
        message_id,
        attempts,
        error
    )
    .execute(pool)
    .await?;
    Ok(())
}
