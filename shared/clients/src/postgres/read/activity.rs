//! What the agents did: audit trail, mails, model calls, and the totals.

use super::Count;
use crate::postgres::PostgresError;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// A line of the audit trail.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AgentEvent {
    pub id: i64,
    pub event_id: Uuid,
    pub incident_id: Option<Uuid>,
    pub agent: String,
    pub event_type: String,
    /// Event time.
    pub at_ms: i64,
    /// Wall clock of the same moment.
    pub wall_ms: i64,
    pub summary: String,
    pub payload: Value,
}

/// A mail, or a message on another channel: one, however many recipients.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Email {
    pub id: i64,
    pub incident_id: Uuid,
    /// `mail`, or a channel's name.
    pub channel: String,
    pub stage: String,
    pub subject: String,
    pub status: String,
    pub recipients: Value,
    pub message_id: String,
    pub attempts: i32,
    pub error: Option<String>,
    pub created_at_ms: i64,
    pub sent_at_ms: Option<i64>,
}

/// How messages reach people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Medium {
    #[default]
    Mail,
    /// Every channel but mail.
    Channels,
    Any,
}

/// Which mails to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EmailFilter {
    pub incident: Option<Uuid>,
    /// PENDING, SENT or FAILED.
    pub status: Option<String>,
    pub stage: Option<String>,
    /// Only mails whose id is below this one.
    pub before: Option<i64>,
    pub medium: Medium,
    /// The one message of this Message-ID.
    pub message_id: Option<String>,
}

/// A mail as it went out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailBody {
    pub subject: String,
    pub html: String,
    pub text: String,
}

/// A model call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelCall {
    pub call_id: Uuid,
    pub incident_id: Option<Uuid>,
    pub agent: String,
    pub purpose: String,
    pub tier: String,
    pub model: String,
    pub prompt: Value,
    pub reply: Option<String>,
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
    pub cost_usd: f64,
    pub latency_ms: i64,
    pub outcome: String,
    pub error: Option<String>,
    pub created_at_ms: i64,
}

/// The figures on top of the dashboard.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Totals {
    /// Median of event time from detection to resolution, without merged
    /// incidents; absent before the first resolution.
    pub mttr_median_ms: Option<f64>,
    pub agent_events: i64,
    pub last_event_wall_ms: Option<i64>,
    pub model_calls: i64,
    pub model_cost_usd: f64,
}

/// Lines of the audit trail in the order in which they were written: those
/// after the id `after`, or without one the newest.
///
/// # Errors
/// The database is away.
pub async fn agent_events(
    pool: &PgPool,
    incident: Option<Uuid>,
    after: Option<i64>,
    limit: i64,
) -> Result<Vec<AgentEvent>, PostgresError> {
    let Some(after) = after else {
        let mut newest = sqlx::query_as!(
            AgentEvent,
            r#"SELECT id, event_id, incident_id, agent_name AS agent, event_type,
                   event_time_ms AS at_ms,
                   (extract(epoch FROM created_at) * 1000)::bigint AS "wall_ms!", summary, payload
               FROM agent_events WHERE $1::uuid IS NULL OR incident_id = $1
               ORDER BY id DESC LIMIT $2"#,
            incident,
            limit
        )
        .fetch_all(pool)
        .await?;
        newest.reverse();
        return Ok(newest);
    };
    Ok(sqlx::query_as!(
        AgentEvent,
        r#"SELECT id, event_id, incident_id, agent_name AS agent, event_type,
               event_time_ms AS at_ms,
               (extract(epoch FROM created_at) * 1000)::bigint AS "wall_ms!", summary, payload
           FROM agent_events WHERE id > $2 AND ($1::uuid IS NULL OR incident_id = $1)
           ORDER BY id LIMIT $3"#,
        incident,
        after,
        limit
    )
    .fetch_all(pool)
    .await?)
}

/// The newest id of the audit trail; 0 where it is empty.
///
/// # Errors
/// The database is away.
pub async fn last_event_id(pool: &PgPool) -> Result<i64, PostgresError> {
    Ok(
        sqlx::query_scalar!(r#"SELECT coalesce(max(id), 0) AS "id!" FROM agent_events"#)
            .fetch_one(pool)
            .await?,
    )
}

/// Mails or messages on other channels, newest first.
///
/// # Errors
/// The database is away.
pub async fn emails(
    pool: &PgPool,
    filter: &EmailFilter,
    limit: i64,
) -> Result<Vec<Email>, PostgresError> {
    let by_mail = match filter.medium {
        Medium::Mail => Some(true),
        Medium::Channels => Some(false),
        Medium::Any => None,
    };
    // The view `emails` groups the whole table before it can be limited; here
    // the first row of each mail is found by key, and only then its others.
    // A mail is FAILED where it failed for anybody, and PENDING where somebody
    // still waits for it.
    Ok(sqlx::query_as!(
        Email,
        r#"SELECT n.id, n.incident_id, n.channel, n.stage, n.subject, mail.status AS "status!",
               mail.recipients AS "recipients!", n.message_id, mail.attempts AS "attempts!", mail.error,
               (extract(epoch FROM n.created_at) * 1000)::bigint AS "created_at_ms!",
               (extract(epoch FROM mail.sent_at) * 1000)::bigint AS sent_at_ms
           FROM notifications n CROSS JOIN LATERAL (
               SELECT min(r.status) AS status, max(r.attempts) AS attempts, max(r.error) AS error,
                      max(r.sent_at) AS sent_at, min(r.id) AS first_id,
                      jsonb_agg(r.recipient ORDER BY r.role DESC, r.recipient) AS recipients
               FROM notifications r
               WHERE r.message_id = n.message_id AND r.incident_id = n.incident_id
                 AND r.stage = n.stage AND r.channel = n.channel) mail
           WHERE n.id = mail.first_id
             AND ($6::bool IS NULL OR (n.channel = 'mail') = $6)
             AND ($7::text IS NULL OR n.message_id = $7)
             AND ($1::uuid IS NULL OR n.incident_id = $1)
             AND ($2::text IS NULL OR mail.status = $2)
             AND ($3::text IS NULL OR n.stage = $3)
             AND ($4::bigint IS NULL OR n.id < $4)
           ORDER BY n.id DESC LIMIT $5"#,
        filter.incident,
        filter.status,
        filter.stage,
        filter.before,
        limit,
        by_mail,
        filter.message_id
    )
    .fetch_all(pool)
    .await?)
}

/// What a mail says, by the id that [`emails`] gives it.
///
/// # Errors
/// The database is away.
pub async fn email_body(pool: &PgPool, id: i64) -> Result<Option<EmailBody>, PostgresError> {
    Ok(sqlx::query_as!(
        EmailBody,
        "SELECT subject, body_html AS html, body_text AS text
         FROM notifications WHERE id = $1 AND channel = 'mail'",
        id
    )
    .fetch_optional(pool)
    .await?)
}

/// Model calls, newest first; of one incident, or of all.
///
/// # Errors
/// The database is away.
pub async fn model_calls(
    pool: &PgPool,
    incident: Option<Uuid>,
    limit: i64,
) -> Result<Vec<ModelCall>, PostgresError> {
    Ok(sqlx::query_as!(
        ModelCall,
        r#"SELECT call_id, incident_id, agent, purpose, tier, model, prompt, reply, prompt_tokens,
               completion_tokens, cost_usd, latency_ms, outcome, error,
               (extract(epoch FROM created_at) * 1000)::bigint AS "created_at_ms!"
           FROM llm_calls WHERE $1::uuid IS NULL OR incident_id = $1
           ORDER BY created_at DESC, call_id LIMIT $2"#,
        incident,
        limit
    )
    .fetch_all(pool)
    .await?)
}

/// Incidents by state.
///
/// # Errors
/// The database is away.
pub async fn counts_by_status(pool: &PgPool) -> Result<Vec<Count>, PostgresError> {
    Ok(sqlx::query_as!(
        Count,
        r#"SELECT status AS name, count(*) AS "count!" FROM incidents GROUP BY status ORDER BY status"#
    )
    .fetch_all(pool)
    .await?)
}

/// Incidents by severity; all of them, or only those that are open.
///
/// # Errors
/// The database is away.
pub async fn counts_by_severity(
    pool: &PgPool,
    open_only: bool,
) -> Result<Vec<Count>, PostgresError> {
    Ok(sqlx::query_as!(
        Count,
        r#"SELECT severity AS name, count(*) AS "count!" FROM incidents
           WHERE NOT $1 OR status <> 'RESOLVED' GROUP BY severity ORDER BY severity"#,
        open_only
    )
    .fetch_all(pool)
    .await?)
}

/// Mails (not recipients) by state.
///
/// # Errors
/// The database is away.
pub async fn mail_counts(pool: &PgPool) -> Result<Vec<Count>, PostgresError> {
    Ok(sqlx::query_as!(
        Count,
        r#"SELECT status AS "name!", count(*) AS "count!" FROM emails GROUP BY status ORDER BY status"#
    )
    .fetch_all(pool)
    .await?)
}

/// The other figures on top of the dashboard.
///
/// # Errors
/// The database is away.
pub async fn totals(pool: &PgPool) -> Result<Totals, PostgresError> {
    Ok(sqlx::query_as!(
        Totals,
        r#"SELECT
               (SELECT percentile_cont(0.5) WITHIN GROUP (
                           ORDER BY extract(epoch FROM resolution_time - detection_time) * 1000.0)
                FROM incidents WHERE status = 'RESOLVED' AND resolution_time IS NOT NULL
                  AND resolution->>'resolution_method' IS DISTINCT FROM 'MERGED') AS mttr_median_ms,
               (SELECT count(*) FROM agent_events) AS "agent_events!",
               (SELECT (extract(epoch FROM max(created_at)) * 1000)::bigint FROM agent_events
                WHERE id > (SELECT max(id) - 1000 FROM agent_events)) AS last_event_wall_ms,
               (SELECT count(*) FROM llm_calls) AS "model_calls!",
               (SELECT coalesce(sum(cost_usd), 0) FROM llm_calls) AS "model_cost_usd!""#
    )
    .fetch_one(pool)
    .await?)
}

/// The services of the newest incidents, by name: what a filter can offer.
///
/// # Errors
/// The database is away.
pub async fn service_names(pool: &PgPool, limit: i64) -> Result<Vec<String>, PostgresError> {
    Ok(sqlx::query_scalar!(
        r#"SELECT DISTINCT service AS "service!" FROM (
               SELECT affected_services FROM incidents ORDER BY created_at DESC, id DESC LIMIT 500) newest
           CROSS JOIN LATERAL jsonb_array_elements_text(
               CASE WHEN jsonb_typeof(affected_services) = 'array' THEN affected_services
                    ELSE '[]'::jsonb END) AS service
           ORDER BY 1 LIMIT $1"#,
        limit
    )
    .fetch_all(pool)
    .await?)
}
