//! The record of every model call.

use super::{PostgresError, Tx};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

/// One model call, as it left the process and as it came back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LlmCall {
    pub call_id: Uuid,
    pub agent: String,
    pub purpose: String,
    /// `fast` or `reasoning`.
    pub tier: String,
    pub model: String,
    /// The messages as sent, redacted.
    pub prompt: Value,
    pub reply: Option<String>,
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
    pub cost_usd: f64,
    pub latency_ms: i64,
    /// `ok`, `timeout`, `rate_limited`, `http_error`, `schema_invalid`,
    /// `budget`, `circuit_open`.
    pub outcome: String,
    pub error: Option<String>,
}

/// Records a call; one of the same id stays as it is.
///
/// # Errors
/// The database is away.
pub async fn insert(
    tx: &mut Tx,
    incident: Option<Uuid>,
    call: &LlmCall,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "INSERT INTO llm_calls (call_id, incident_id, agent, purpose, tier, model, prompt, reply,
             prompt_tokens, completion_tokens, cost_usd, latency_ms, outcome, error)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         ON CONFLICT (call_id) DO NOTHING",
        call.call_id,
        incident,
        call.agent,
        call.purpose,
        call.tier,
        call.model,
        call.prompt,
        call.reply,
        call.prompt_tokens,
        call.completion_tokens,
        call.cost_usd,
        call.latency_ms,
        call.outcome,
        call.error
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Records a call outside any transaction.
///
/// # Errors
/// The database is away.
pub async fn insert_call(
    pool: &PgPool,
    incident: Option<Uuid>,
    call: &LlmCall,
) -> Result<(), PostgresError> {
    let mut tx = pool.begin().await?;
    insert(&mut tx, incident, call).await?;
    tx.commit().await?;
    Ok(())
}

/// Records a call about an anomaly, with the incident that goes on and lists it,
/// where there is one by now. Of what opens later see [`tie`].
///
/// # Errors
/// The database is away.
pub async fn insert_for_anomaly(
    pool: &PgPool,
    anomaly: Uuid,
    call: &LlmCall,
) -> Result<(), PostgresError> {
    let incident = sqlx::query_scalar!(
        "SELECT id FROM incidents
         WHERE status IN ('DETECTING', 'CORRELATING', 'INVESTIGATING', 'RCA_COMPLETE', 'REMEDIATING')
           AND correlation_context->'grouped_anomalies'
               @> jsonb_build_array(jsonb_build_object('anomaly_id', $1::uuid))
         ORDER BY created_at DESC, id DESC LIMIT 1",
        anomaly
    )
    .fetch_optional(pool)
    .await?;
    insert_call(pool, incident, call).await
}

/// Calls that were made before their incident opened belong to it from now on;
/// what belongs to one already stays there.
///
/// # Errors
/// The database is away.
pub async fn tie(tx: &mut Tx, incident: Uuid, calls: &[Uuid]) -> Result<(), PostgresError> {
    sqlx::query!(
        "UPDATE llm_calls SET incident_id = $1 WHERE call_id = ANY($2) AND incident_id IS NULL",
        incident,
        calls
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Milliseconds that the investigation's model calls of an incident have taken together.
///
/// # Errors
/// The database is away.
pub async fn investigated_ms(pool: &PgPool, incident: Uuid) -> Result<u64, PostgresError> {
    let ms = sqlx::query_scalar!(
        r#"SELECT coalesce(sum(latency_ms), 0)::bigint AS "ms!"
           FROM llm_calls WHERE incident_id = $1 AND agent = 'investigation'"#,
        incident
    )
    .fetch_one(pool)
    .await?;
    Ok(u64::try_from(ms).unwrap_or(0))
}
