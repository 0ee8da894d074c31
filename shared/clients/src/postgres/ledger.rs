//! What an incident has cost: tokens, money, seconds of work, and bytes, by the
//! stage that caused them.

use super::PostgresError;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

/// The cost of one stage: an agent, or `records` for what was copied out of
/// telemetry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StageCost {
    pub stage: String,
    pub model_calls: i64,
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
    pub cost_usd: f64,
    /// Wall clock that models took, milliseconds; part of `work_ms`, since they
    /// are asked by jobs.
    pub model_ms: i64,
    /// Wall clock that the stage's jobs were worked on (retrieval, copying,
    /// model calls, execution, delivery), all tries together, milliseconds.
    /// Waiting for a turn, for approval or for readings is none of it, nor is a
    /// try that ended with its process.
    #[serde(default)]
    pub work_ms: i64,
    /// Events published about the incident, and their bytes.
    pub events: i64,
    pub event_bytes: i64,
    /// Bytes kept in PostgreSQL: audit lines, records, mails, prompts and
    /// replies.
    pub stored_bytes: i64,
}

/// The ledger of an incident, by the name of the stage.
///
/// # Errors
/// The database is away.
pub async fn of_incident(pool: &PgPool, incident: Uuid) -> Result<Vec<StageCost>, PostgresError> {
    Ok(sqlx::query_as!(
        StageCost,
        r#"SELECT stage AS "stage!", sum(model_calls)::bigint AS "model_calls!",
               sum(prompt_tokens)::bigint AS "prompt_tokens!",
               sum(completion_tokens)::bigint AS "completion_tokens!",
               sum(cost_usd)::double precision AS "cost_usd!", sum(model_ms)::bigint AS "model_ms!",
               sum(work_ms)::bigint AS "work_ms!",
               sum(events)::bigint AS "events!", sum(event_bytes)::bigint AS "event_bytes!",
               sum(stored_bytes)::bigint AS "stored_bytes!"
           FROM (
               SELECT agent AS stage, 1 AS model_calls, prompt_tokens, completion_tokens, cost_usd,
                   latency_ms AS model_ms, 0 AS work_ms, 0 AS events, 0 AS event_bytes,
                   octet_length(prompt::text) + coalesce(octet_length(reply), 0) AS stored_bytes
               FROM llm_calls WHERE incident_id = $1
               UNION ALL
               SELECT agent, 0, 0, 0, 0, 0, 0, 1, octet_length(payload), 0
               FROM outbox WHERE key = $1::uuid::text
               UNION ALL
               SELECT agent_name, 0, 0, 0, 0, 0, 0, 0, 0,
                   octet_length(summary) + octet_length(payload::text)
               FROM agent_events WHERE incident_id = $1
               UNION ALL
               SELECT 'communication', 0, 0, 0, 0, 0, 0, 0, 0,
                   octet_length(subject) + octet_length(body_html) + octet_length(body_text)
               FROM notifications WHERE incident_id = $1
               UNION ALL
               SELECT 'records', 0, 0, 0, 0, 0, 0, 0, 0,
                   octet_length(text) + octet_length(payload::text)
               FROM incident_records WHERE incident_id = $1
               UNION ALL
               SELECT CASE kind WHEN 'copy_records' THEN 'records' ELSE agent END,
                   0, 0, 0, 0, 0, worked_ms, 0, 0, 0
               FROM jobs WHERE scope = $1::uuid::text OR payload ->> 'incident_id' = $1::uuid::text
           ) AS spent GROUP BY stage ORDER BY stage"#,
        incident
    )
    .fetch_all(pool)
    .await?)
}
