//! Which one-time links were used.
//!
//! A row is taken before the link's command goes out and completed afterwards.
//! The command's id is derived from the nonce, so a row that a process left
//! behind without having published may be taken again: what was published after
//! all is dropped by its readers.

use super::PostgresError;
use crate::signed_link::{Link, TakeLink};
use sqlx::PgPool;

/// The use of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// `approve`, `reject` or `acknowledge`.
    pub command: String,
    pub recipient: String,
    /// Wall clock, epoch milliseconds.
    pub taken_at_ms: i64,
    /// Whether the broker has acknowledged its command.
    pub is_published: bool,
}

/// Takes a link to take an incident for its one use, as [`take`].
///
/// # Errors
/// The database is away.
pub async fn take_incident(pool: &PgPool, link: &TakeLink) -> Result<Option<Used>, PostgresError> {
    let link = Link {
        incident_id: link.incident_id,
        plan_hash: String::new(),
        step_id: String::new(),
        recipient: link.recipient.clone(),
        nonce: link.nonce.clone(),
        expires_ms: link.expires_ms,
    };
    take(pool, &link, "acknowledge").await
}

/// Takes a link for its one use; `None` where it is the caller's, otherwise who
/// has it. One that was taken a minute ago and never published is free again,
/// for the same command only: the first may be on the broker.
///
/// # Errors
/// The database is away.
pub async fn take(
    pool: &PgPool,
    link: &Link,
    command: &str,
) -> Result<Option<Used>, PostgresError> {
    let taken = sqlx::query_scalar!(
        r#"INSERT INTO approval_links_used AS row
               (nonce, incident_id, plan_hash, step_id, recipient, command)
           VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (nonce) DO UPDATE SET taken_at = now()
               WHERE row.broker_offset IS NULL AND row.command = $6
                   AND row.taken_at < now() - INTERVAL '60 seconds'
           RETURNING nonce"#,
        link.nonce,
        link.incident_id,
        link.plan_hash,
        link.step_id,
        link.recipient,
        command
    )
    .fetch_optional(pool)
    .await?;
    if taken.is_some() {
        return Ok(None);
    }
    let other = used(pool, &link.nonce).await?;
    other
        .map(Some)
        .ok_or_else(|| sqlx::Error::RowNotFound.into())
}

/// Notes where the link's command lies.
///
/// # Errors
/// The database is away.
pub async fn published(
    pool: &PgPool,
    nonce: &str,
    partition: i32,
    offset: i64,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "UPDATE approval_links_used SET partition = $2, broker_offset = $3 WHERE nonce = $1",
        nonce,
        partition,
        offset
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Gives a link back whose command the broker did not take.
///
/// # Errors
/// The database is away; the link is free again after a minute.
pub async fn give_back(pool: &PgPool, nonce: &str) -> Result<(), PostgresError> {
    sqlx::query!(
        "DELETE FROM approval_links_used WHERE nonce = $1 AND broker_offset IS NULL",
        nonce
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// The use of a link, where there was one.
///
/// # Errors
/// The database is away.
pub async fn used(pool: &PgPool, nonce: &str) -> Result<Option<Used>, PostgresError> {
    Ok(sqlx::query_as!(
        Used,
        r#"SELECT command, recipient,
               (extract(epoch FROM taken_at) * 1000)::bigint AS "taken_at_ms!",
               (broker_offset IS NOT NULL) AS "is_published!"
           FROM approval_links_used WHERE nonce = $1"#,
        nonce
    )
    .fetch_optional(pool)
    .await?)
}
