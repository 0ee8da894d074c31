//! Slow work and timers, durable.

use super::{PostgresError, Tx};
use serde_json::Value;
use sqlx::PgPool;
use std::time::Duration;
use uuid::Uuid;

/// A job as a worker or the loop takes it up.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRow {
    pub id: Uuid,
    pub scope: String,
    pub kind: String,
    pub payload: Value,
    pub attempts: i32,
    pub max_attempts: i32,
    pub result: Option<Value>,
    pub error: Option<String>,
}

/// Writes a job; one of the same id stays as it is.
///
/// # Errors
/// The database is away.
#[expect(clippy::too_many_arguments, reason = "the columns of one row")]
pub async fn insert(
    tx: &mut Tx,
    agent: &str,
    scope: &str,
    lane: &str,
    id: Uuid,
    kind: &str,
    payload: &Value,
    max_attempts: i32,
    delay_ms: i64,
) -> Result<(), PostgresError> {
    #[expect(clippy::cast_precision_loss, reason = "delays are far below 2^53 ms")]
    let delay_s = delay_ms as f64 / 1000.0;
    sqlx::query!(
        "INSERT INTO jobs (id, agent, scope, kind, payload, max_attempts, run_after, lane)
         VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7), $8)
         ON CONFLICT (id) DO NOTHING",
        id,
        agent,
        scope,
        kind,
        payload,
        max_attempts,
        delay_s,
        lane
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Takes the oldest job that may run now, for `lease_s` seconds. Jobs of one
/// lane run one at a time, in the order in which they were asked for.
///
/// # Errors
/// The database is away.
pub async fn claim(
    pool: &PgPool,
    agent: &str,
    owner: &str,
    lease_s: f64,
) -> Result<Option<JobRow>, PostgresError> {
    Ok(sqlx::query_as!(
        JobRow,
        "UPDATE jobs SET status = 'running', attempts = attempts + 1, lease_owner = $2,
                lease_until = now() + make_interval(secs => $3)
         WHERE id = (
             SELECT id FROM jobs AS candidate
             WHERE agent = $1 AND run_after <= now()
               AND (status = 'ready' OR (status = 'running' AND lease_until < now()))
               AND NOT EXISTS (
                   SELECT 1 FROM jobs AS earlier
                   WHERE earlier.agent = candidate.agent AND earlier.lane = candidate.lane
                     AND earlier.seq < candidate.seq AND earlier.status <> 'applied')
             ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED)
         RETURNING id, scope, kind, payload, attempts, max_attempts, result, error",
        agent,
        owner,
        lease_s
    )
    .fetch_optional(pool)
    .await?)
}

/// Extends the lease of a running job.
///
/// # Errors
/// The database is away.
pub async fn renew(
    pool: &PgPool,
    id: Uuid,
    owner: &str,
    lease_s: f64,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "UPDATE jobs SET lease_until = now() + make_interval(secs => $3)
         WHERE id = $1 AND lease_owner = $2 AND status = 'running'",
        id,
        owner,
        lease_s
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Gives back what a dead process of the same slot had taken, at once.
///
/// # Errors
/// The database is away.
pub async fn release(pool: &PgPool, agent: &str, owner: &str) -> Result<u64, PostgresError> {
    let done = sqlx::query!(
        "UPDATE jobs SET status = 'ready', lease_owner = NULL, lease_until = NULL
         WHERE agent = $1 AND lease_owner = $2 AND status = 'running'",
        agent,
        owner
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

/// Adds to how long a running job was worked on.
///
/// # Errors
/// The database is away.
pub async fn worked(pool: &PgPool, id: Uuid, owner: &str, ms: i64) -> Result<(), PostgresError> {
    sqlx::query!(
        "UPDATE jobs SET worked_ms = worked_ms + $3
         WHERE id = $1 AND lease_owner = $2 AND status = 'running'",
        id,
        owner,
        ms
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Journals a job's result, before anybody uses it.
///
/// # Errors
/// The database is away.
pub async fn finish(
    pool: &PgPool,
    id: Uuid,
    owner: &str,
    result: &Value,
) -> Result<bool, PostgresError> {
    let done = sqlx::query!(
        "UPDATE jobs SET status = 'done', result = $3, finished_at = now(), error = NULL
         WHERE id = $1 AND lease_owner = $2 AND status = 'running'",
        id,
        owner,
        result
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Journals a failed try: back to ready after `delay_s`, or failed for good.
///
/// # Errors
/// The database is away.
pub async fn fail(
    pool: &PgPool,
    id: Uuid,
    owner: &str,
    error: &str,
    retry_after_s: Option<f64>,
) -> Result<bool, PostgresError> {
    let done = sqlx::query!(
        "UPDATE jobs SET
             status = CASE WHEN $4::float8 IS NULL THEN 'failed' ELSE 'ready' END,
             error = $3, lease_owner = NULL, lease_until = NULL,
             run_after = now() + make_interval(secs => COALESCE($4::float8, 0)),
             finished_at = CASE WHEN $4::float8 IS NULL THEN now() END
         WHERE id = $1 AND lease_owner = $2 AND status = 'running'",
        id,
        owner,
        error,
        retry_after_s
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Journals that what a job needs is away: ready again after `wait`, without
/// the try being counted, or failed for good once it is older than `give_up`.
///
/// # Errors
/// The database is away.
pub async fn defer(
    pool: &PgPool,
    id: Uuid,
    owner: &str,
    error: &str,
    wait: Duration,
    give_up: Duration,
) -> Result<bool, PostgresError> {
    let done = sqlx::query!(
        "UPDATE jobs SET
             status = CASE WHEN created_at + make_interval(secs => $5) < now()
                           THEN 'failed' ELSE 'ready' END,
             finished_at = CASE WHEN created_at + make_interval(secs => $5) < now() THEN now() END,
             attempts = GREATEST(attempts - 1, 0), error = $3, lease_owner = NULL,
             lease_until = NULL, run_after = now() + make_interval(secs => $4)
         WHERE id = $1 AND lease_owner = $2 AND status = 'running'",
        id,
        owner,
        error,
        wait.as_secs_f64(),
        give_up.as_secs_f64()
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Jobs whose outcome the loop has not applied yet, oldest first.
///
/// # Errors
/// The database is away.
pub async fn finished(pool: &PgPool, agent: &str) -> Result<Vec<JobRow>, PostgresError> {
    Ok(sqlx::query_as!(
        JobRow,
        "SELECT id, scope, kind, payload, attempts, max_attempts, result, error FROM jobs
         WHERE agent = $1 AND status IN ('done', 'failed') ORDER BY seq LIMIT 64",
        agent
    )
    .fetch_all(pool)
    .await?)
}

/// Marks a job's outcome as applied.
///
/// # Errors
/// The database is away.
pub async fn mark_applied(tx: &mut Tx, id: Uuid) -> Result<(), PostgresError> {
    sqlx::query!("UPDATE jobs SET status = 'applied' WHERE id = $1", id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Those of these lanes in which a job waits or runs.
///
/// # Errors
/// The database is away.
pub async fn busy_lanes(
    pool: &PgPool,
    agent: &str,
    lanes: &[String],
) -> Result<Vec<String>, PostgresError> {
    Ok(sqlx::query_scalar!(
        "SELECT DISTINCT lane FROM jobs
         WHERE agent = $1 AND lane = ANY($2) AND status <> 'applied'",
        agent,
        lanes
    )
    .fetch_all(pool)
    .await?)
}

/// A job that delivers a message.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryRow {
    pub kind: String,
    pub payload: Value,
    /// Whether nothing is left to do of it.
    pub is_over: bool,
}

/// The jobs of an agent that deliver a message (`payload.notification`), in the
/// order in which they were asked for.
///
/// # Errors
/// The database is away.
pub async fn of_message(
    pool: &PgPool,
    agent: &str,
    message_id: &str,
) -> Result<Vec<DeliveryRow>, PostgresError> {
    Ok(sqlx::query_as!(
        DeliveryRow,
        r#"SELECT kind, payload, (status = 'applied') AS "is_over!" FROM jobs
           WHERE agent = $1 AND payload ? 'notification'
             AND payload #>> '{notification,message_id}' = $2
           ORDER BY seq"#,
        agent,
        message_id
    )
    .fetch_all(pool)
    .await?)
}

/// A timer that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct TimerRow {
    pub scope: String,
    pub name: String,
    pub due_ms: i64,
    pub payload: Value,
}

/// Sets or moves a timer.
///
/// # Errors
/// The database is away.
pub async fn set_timer(
    tx: &mut Tx,
    agent: &str,
    scope: &str,
    name: &str,
    due_ms: i64,
    payload: &Value,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "INSERT INTO timers (agent, scope, name, due_ms, payload) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (agent, scope, name)
         DO UPDATE SET due_ms = EXCLUDED.due_ms, payload = EXCLUDED.payload",
        agent,
        scope,
        name,
        due_ms,
        payload
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Forgets a timer; with `due_ms`, only where it is still due then.
///
/// # Errors
/// The database is away.
pub async fn clear_timer(
    tx: &mut Tx,
    agent: &str,
    scope: &str,
    name: &str,
    due_ms: Option<i64>,
) -> Result<(), PostgresError> {
    sqlx::query!(
        "DELETE FROM timers WHERE agent = $1 AND scope = $2 AND name = $3
           AND ($4::bigint IS NULL OR due_ms = $4)",
        agent,
        scope,
        name,
        due_ms
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Timers that are due, oldest first.
///
/// # Errors
/// The database is away.
pub async fn due_timers(
    pool: &PgPool,
    agent: &str,
    now_ms: i64,
) -> Result<Vec<TimerRow>, PostgresError> {
    Ok(sqlx::query_as!(
        TimerRow,
        "SELECT scope, name, due_ms, payload FROM timers
         WHERE agent = $1 AND due_ms <= $2 ORDER BY due_ms LIMIT 64",
        agent,
        now_ms
    )
    .fetch_all(pool)
    .await?)
}

/// Forgets applied jobs older than 90 days, a thousand at a time: until then
/// they show what was asked and answered.
///
/// # Errors
/// The database is away.
pub async fn prune(pool: &PgPool) -> Result<u64, PostgresError> {
    let done = sqlx::query!(
        "DELETE FROM jobs WHERE id IN (
             SELECT id FROM jobs WHERE status = 'applied'
               AND created_at < now() - INTERVAL '90 days' LIMIT 1000)"
    )
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}
