//! What an incident has used so far.

use super::PostgresError;
use sqlx::PgPool;
use uuid::Uuid;

/// Tokens (prompt and completion) and US dollars of the model calls of an
/// incident together, without those of detection, whose budget is by the hour.
///
/// # Errors
/// The database is away.
pub async fn spent(pool: &PgPool, incident: Uuid) -> Result<(u64, f64), PostgresError> {
    let row = sqlx::query!(
        r#"SELECT coalesce(sum(prompt_tokens + completion_tokens), 0)::bigint AS "tokens!",
               coalesce(sum(cost_usd), 0) AS "cost_usd!"
           FROM llm_calls WHERE incident_id = $1 AND agent <> 'detection'"#,
        incident
    )
    .fetch_one(pool)
    .await?;
    Ok((u64::try_from(row.tokens).unwrap_or(0), row.cost_usd))
}
