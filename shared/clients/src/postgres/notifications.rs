//! What people were told.

use super::{PostgresError, Tx};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

/// A message to people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    pub incident_id: Uuid,
    /// `opened`, `rca`, `plan`, `resolved`, `postmortem`.
    pub stage: String,
    /// `mail`.
    pub channel: String,
    pub to: Vec<String>,
    pub cc: Vec<String>,
    /// Without angle brackets.
    pub message_id: String,
    pub in_reply_to: Option<String>,
    pub subject: String,
    pub body_html: String,
    pub body_text: String,
}

/// Writes one row per recipient; recipients who have a row for this stage and
/// channel are left alone.
///
/// # Errors
/// The database is away.
pub async fn insert(tx: &mut Tx, note: &Notification) -> Result<u64, PostgresError> {
    let mut written = 0;
    for (role, recipients) in [("to", &note.to), ("cc", &note.cc)] {
        let done = sqlx::query!(
            "INSERT INTO notifications (incident_id, stage, channel, recipient, role, message_id,
                 in_reply_to, subject, body_html, body_text)
             SELECT $1, $2, $3, recipient, $4, $5, $6, $7, $8, $9
             FROM unnest($10::text[]) AS recipient
             ON CONFLICT (incident_id, stage, channel, recipient) DO NOTHING",
            note.incident_id,
            note.stage,
            note.channel,
            role,
            note.message_id,
            note.in_reply_to,
            note.subject,
            note.body_html,
            note.body_text,
            recipients
        )
        .execute(&mut **tx)
        .await?;
        written += done.rows_affected();
    }
    Ok(written)
}

/// How the delivery of a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    pub message_id: String,
    /// For whom it ended; empty for everybody whom the message goes to.
    pub recipients: Vec<String>,
    pub sent: bool,
    pub attempts: i32,
    /// Why it was not sent, or to whom it was not.
    pub error: Option<String>,
}

/// Records how a delivery ended. What was sent stays sent.
///
/// # Errors
/// The database is away.
pub async fn done(tx: &mut Tx, end: &Delivered) -> Result<(), PostgresError> {
    sqlx::query!(
        "UPDATE notifications SET status = CASE WHEN $2 THEN 'SENT' ELSE 'FAILED' END,
             attempts = $3, error = $4, sent_at = CASE WHEN $2 THEN now() END
         WHERE message_id = $1 AND status <> 'SENT'
           AND (cardinality($5::text[]) = 0 OR recipient = ANY($5))",
        end.message_id,
        end.sent,
        end.attempts,
        end.error.as_deref(),
        &end.recipients
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Who has not got a message, and how often it was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreached {
    pub recipient: String,
    pub attempts: i32,
}

/// The recipients for whom a message finally failed.
///
/// # Errors
/// The database is away.
pub async fn unreached(pool: &PgPool, message_id: &str) -> Result<Vec<Unreached>, PostgresError> {
    Ok(sqlx::query_as!(
        Unreached,
        "SELECT recipient, attempts FROM notifications
         WHERE message_id = $1 AND status = 'FAILED' ORDER BY id",
        message_id
    )
    .fetch_all(pool)
    .await?)
}
