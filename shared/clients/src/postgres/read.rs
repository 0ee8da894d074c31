//! The read model: what pages and the API show.
//!
//! Only `SELECT`s. Lists are paged by key, so that a page costs the same
//! however many rows lie before it, and every list has a limit. Times leave as
//! epoch milliseconds: `*_at_ms` of `created`, `updated` and `sent` are wall
//! clock, those of `detected` and `resolved` are event time.

mod activity;
mod work;

pub use activity::{
    AgentEvent, Email, EmailBody, EmailFilter, Medium, ModelCall, Totals, agent_events,
    counts_by_severity, counts_by_status, email_body, emails, last_event_id, mail_counts,
    model_calls, service_names, totals,
};
pub use work::{AgentWork, THROUGHPUT_MINUTES, agent_work};

use super::PostgresError;
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use std::time::Duration;
use uuid::Uuid;

/// An incident in a list.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentSummary {
    pub id: Uuid,
    pub short_id: String,
    pub environment: String,
    pub status: String,
    pub severity: String,
    pub anomaly_type: String,
    /// `["a","b"]`; the first is the one that the incident is named after.
    pub affected_services: Value,
    pub top_root_cause: Option<String>,
    /// 0..1.
    pub rca_confidence: Option<f64>,
    pub detected_at_ms: i64,
    pub resolved_at_ms: Option<i64>,
    /// Wall clock of the resolution.
    pub resolved_wall_ms: Option<i64>,
    /// Event time from detection to resolution.
    pub mttr_ms: Option<i64>,
    pub resolution_method: Option<String>,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
    /// Microseconds of `created_at`: the key that lists are paged by.
    #[serde(skip)]
    pub created_us: i64,
}

/// Which incidents to list. Empty fields do not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentFilter {
    /// A state, or `OPEN` for all but RESOLVED.
    pub status: Option<String>,
    pub severity: Option<String>,
    /// An affected service.
    pub service: Option<String>,
    pub environment: Option<String>,
    /// Only those older than this key: microseconds of `created_at`, and id.
    pub before: Option<(i64, Uuid)>,
}

/// An incident with all its documents.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentRow {
    pub id: Uuid,
    pub short_id: String,
    pub environment: String,
    pub status: String,
    pub severity: String,
    pub anomaly_type: String,
    pub affected_services: Value,
    pub blast_radius: Value,
    pub correlation_context: Value,
    pub rca_candidates: Option<Value>,
    pub top_root_cause: Option<String>,
    pub rca_confidence: Option<f64>,
    pub remediation_plan: Option<Value>,
    pub postmortem: Option<String>,
    pub resolution: Option<Value>,
    pub detected_at_ms: i64,
    pub resolved_at_ms: Option<i64>,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

/// A record of an incident's window.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    pub record_id: String,
    pub kind: String,
    pub service: String,
    pub name: String,
    /// Event time.
    pub at_ms: i64,
    pub value: Option<f64>,
    pub text: String,
    pub payload: Value,
}

/// Which records to list. Empty fields do not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordFilter {
    pub kind: Option<String>,
    pub service: Option<String>,
    pub name: Option<String>,
    /// Leaves this kind out.
    pub but_kind: Option<String>,
}

/// How many rows have this value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    pub name: String,
    pub count: i64,
}

/// A pool for readers on the same server as `pool`: its transactions are
/// read-only, its statements end after 5 s, and it takes the role
/// `midwatch_reader` where this user may.
#[must_use]
pub fn reader_pool(pool: &PgPool, connections: u32) -> PgPool {
    let options = (*pool.connect_options())
        .clone()
        .application_name("midwatch-reader")
        .options([
            ("default_transaction_read_only", "on"),
            ("statement_timeout", "5000"),
            // A list's filters are parameters that may be null. A plan for any
            // value of them reads the whole table: seconds at 100 000
            // incidents, where a plan for the values at hand takes one
            // millisecond.
            ("plan_cache_mode", "force_custom_plan"),
        ]);
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(5))
        .after_connect(|connection, _| {
            Box::pin(async move {
                let may = sqlx::query_scalar!(
                    r#"SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'midwatch_reader'
                           AND pg_has_role(oid, 'MEMBER')) AS "may!""#
                )
                .fetch_one(&mut *connection)
                .await?;
                if may {
                    sqlx::query!("SET ROLE midwatch_reader")
                        .execute(connection)
                        .await?;
                }
                Ok(())
            })
        })
        .connect_lazy_with(options)
}

/// Whether the database answers.
///
/// # Errors
/// It does not.
pub async fn ping(pool: &PgPool) -> Result<(), PostgresError> {
    sqlx::query_scalar!(r#"SELECT 1 AS "one!""#)
        .fetch_one(pool)
        .await?;
    Ok(())
}

/// Incidents, newest first.
///
/// # Errors
/// The database is away.
pub async fn incidents(
    pool: &PgPool,
    filter: &IncidentFilter,
    limit: i64,
) -> Result<Vec<IncidentSummary>, PostgresError> {
    let (before_us, before_id) = filter.before.unzip();
    Ok(sqlx::query_as!(
        IncidentSummary,
        r#"SELECT id, short_id, environment, status, severity, anomaly_type, affected_services,
               top_root_cause, rca_confidence,
               (extract(epoch FROM detection_time) * 1000)::bigint AS "detected_at_ms!",
               (extract(epoch FROM resolution_time) * 1000)::bigint AS resolved_at_ms,
               CASE WHEN jsonb_typeof(resolution->'resolved_wall_ms') = 'number'
                    THEN (resolution->>'resolved_wall_ms')::numeric::bigint END AS resolved_wall_ms,
               CASE WHEN jsonb_typeof(resolution->'mttr_ms') = 'number'
                    THEN (resolution->>'mttr_ms')::numeric::bigint END AS mttr_ms,
               resolution->>'resolution_method' AS resolution_method,
               (extract(epoch FROM created_at) * 1000)::bigint AS "created_at_ms!",
               (extract(epoch FROM updated_at) * 1000)::bigint AS "updated_at_ms!",
               (extract(epoch FROM created_at) * 1000000)::bigint AS "created_us!"
           FROM incidents
           WHERE ($1::text IS NULL OR status = $1 OR ($1 = 'OPEN' AND status <> 'RESOLVED'))
             AND ($2::text IS NULL OR severity = $2)
             AND ($3::text IS NULL OR affected_services @> jsonb_build_array($3::text))
             AND ($4::text IS NULL OR environment = $4)
             AND ($5::bigint IS NULL OR (created_at, id) <
                  (TIMESTAMPTZ 'epoch' + $5::bigint * INTERVAL '1 microsecond', $6::uuid))
           ORDER BY created_at DESC, id DESC LIMIT $7"#,
        filter.status,
        filter.severity,
        filter.service,
        filter.environment,
        before_us,
        before_id,
        limit
    )
    .fetch_all(pool)
    .await?)
}

/// The newest incident whose id lies in this range. One incident is the range
/// of its own id; a short id is the range of all ids that begin with it.
///
/// # Errors
/// The database is away.
pub async fn incident(
    pool: &PgPool,
    first: Uuid,
    last: Uuid,
) -> Result<Option<IncidentRow>, PostgresError> {
    Ok(sqlx::query_as!(
        IncidentRow,
        r#"SELECT id, short_id, environment, status, severity, anomaly_type, affected_services,
               blast_radius, correlation_context, rca_candidates, top_root_cause, rca_confidence,
               remediation_plan, postmortem, resolution,
               (extract(epoch FROM detection_time) * 1000)::bigint AS "detected_at_ms!",
               (extract(epoch FROM resolution_time) * 1000)::bigint AS resolved_at_ms,
               (extract(epoch FROM created_at) * 1000)::bigint AS "created_at_ms!",
               (extract(epoch FROM updated_at) * 1000)::bigint AS "updated_at_ms!"
           FROM incidents WHERE id BETWEEN $1 AND $2 ORDER BY created_at DESC LIMIT 1"#,
        first,
        last
    )
    .fetch_optional(pool)
    .await?)
}

/// Records of an incident, in order of time.
///
/// # Errors
/// The database is away.
pub async fn records(
    pool: &PgPool,
    incident: Uuid,
    filter: &RecordFilter,
    limit: i64,
) -> Result<Vec<Record>, PostgresError> {
    Ok(sqlx::query_as!(
        Record,
        "SELECT record_id, kind, service, name, at_ms, value, text, payload FROM incident_records
         WHERE incident_id = $1 AND ($2::text IS NULL OR kind = $2)
           AND ($3::text IS NULL OR service = $3) AND ($4::text IS NULL OR name = $4)
           AND ($5::text IS NULL OR kind <> $5)
         ORDER BY at_ms, record_id LIMIT $6",
        incident,
        filter.kind,
        filter.service,
        filter.name,
        filter.but_kind,
        limit
    )
    .fetch_all(pool)
    .await?)
}

/// The records of an incident with these ids, in order of time.
///
/// # Errors
/// The database is away.
pub async fn records_by_id(
    pool: &PgPool,
    incident: Uuid,
    ids: &[String],
) -> Result<Vec<Record>, PostgresError> {
    Ok(sqlx::query_as!(
        Record,
        "SELECT record_id, kind, service, name, at_ms, value, text, payload FROM incident_records
         WHERE incident_id = $1 AND record_id = ANY($2) ORDER BY at_ms, record_id LIMIT 2000",
        incident,
        ids
    )
    .fetch_all(pool)
    .await?)
}

/// How many records of each kind an incident has.
///
/// # Errors
/// The database is away.
pub async fn record_counts(pool: &PgPool, incident: Uuid) -> Result<Vec<Count>, PostgresError> {
    Ok(sqlx::query_as!(
        Count,
        r#"SELECT kind AS name, count(*) AS "count!" FROM incident_records
           WHERE incident_id = $1 GROUP BY kind ORDER BY kind"#,
        incident
    )
    .fetch_all(pool)
    .await?)
}
