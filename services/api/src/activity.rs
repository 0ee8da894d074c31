//! Audit trail, mails, model calls, figures, health.

use crate::App;
use crate::error::ApiError;
use crate::incidents::{PAGE, Page};
use crate::params::Params;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use midwatch_clients::postgres::PostgresError;
use midwatch_clients::postgres::read::{self, AgentEvent, Count, Email, EmailFilter, ModelCall};
use midwatch_events::ids;
use serde::Serialize;
use sqlx::PgPool;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Stages of the mails of an incident.
pub const STAGES: [&str; 5] = ["opened", "rca", "plan", "resolved", "postmortem"];

/// A mail's own page may do nothing: no scripts, no forms, nothing from
/// elsewhere; only the styles that mails carry inline.
const MAIL_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox";

/// Lines of the audit trail, and where to go on.
#[derive(Debug, Serialize)]
pub struct Events {
    pub items: Vec<AgentEvent>,
    /// `after=` that continues behind the last of these.
    pub next: Option<i64>,
}

/// `GET /api/agent-events`.
pub async fn agent_events(
    State(app): State<App>,
    params: Params,
) -> Result<Json<Events>, ApiError> {
    params.only(&["incident", "after", "limit"])?;
    let after = params.number("after", 0, i64::MAX)?;
    let limit = params.limit(1_000)?;
    let incident = params.incident(&app.pool, "incident").await?;
    let items = read::agent_events(&app.pool, incident, after, limit).await?;
    let next = items.last().map(|event| event.id).or(after);
    Ok(Json(Events { items, next }))
}

/// A mail in a list.
#[derive(Debug, Serialize)]
pub struct EmailItem {
    #[serde(flatten)]
    pub mail: Email,
    pub short_id: String,
    /// Where its HTML is.
    pub html: String,
}

/// `GET /api/emails`.
pub async fn emails(
    State(app): State<App>,
    params: Params,
) -> Result<Json<Page<EmailItem>>, ApiError> {
    params.only(&["incident", "status", "stage", "limit", "before"])?;
    let limit = params.limit(PAGE)?;
    let incident = params.incident(&app.pool, "incident").await?;
    let filter = EmailFilter {
        incident,
        status: params.one_of("status", &["PENDING", "SENT", "FAILED"])?,
        stage: params.one_of("stage", &STAGES)?,
        before: params.number("before", 1, i64::MAX)?,
        ..EmailFilter::default()
    };
    let mut mails = read::emails(&app.pool, &filter, limit + 1).await?;
    let more = mails.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if more {
        mails.pop();
    }
    let next = mails
        .last()
        .filter(|_| more)
        .map(|mail| mail.id.to_string());
    let items = mails
        .into_iter()
        .map(|mail| EmailItem {
            short_id: ids::short_incident(mail.incident_id),
            html: format!("/api/emails/{}", mail.id),
            mail,
        })
        .collect();
    Ok(Json(Page { items, next }))
}

/// `GET /api/emails/{id}`: the mail as it went out.
pub async fn email(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    let number: i64 = id.parse().map_err(|_| {
        ApiError::parameter(
            "id",
            &id,
            "give the number that GET /api/emails shows as id",
        )
    })?;
    let body = read::email_body(&app.pool, number).await?.ok_or_else(|| {
        ApiError::not_found(
            format!("there is no mail {number}"),
            "GET /api/emails lists them",
        )
    })?;
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(MAIL_POLICY),
        ),
    ];
    Ok((headers, body.html).into_response())
}

/// `GET /api/llm-calls`.
pub async fn llm_calls(
    State(app): State<App>,
    params: Params,
) -> Result<Json<Page<ModelCall>>, ApiError> {
    params.only(&["incident", "limit"])?;
    let limit = params.limit(PAGE)?;
    let incident = params.incident(&app.pool, "incident").await?;
    let items = read::model_calls(&app.pool, incident, limit).await?;
    Ok(Json(Page { items, next: None }))
}

/// The figures on top of the dashboard.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    pub incidents: i64,
    pub open: i64,
    pub by_status: BTreeMap<String, i64>,
    pub by_severity: BTreeMap<String, i64>,
    pub open_by_severity: BTreeMap<String, i64>,
    /// Event time from detection to resolution; `null` before the first one.
    pub mttr_median_ms: Option<f64>,
    pub mttr_median_minutes: Option<f64>,
    pub mails_sent: i64,
    pub mails_failed: i64,
    pub mails_pending: i64,
    pub agent_events: i64,
    pub last_event_wall_ms: Option<i64>,
    pub model_calls: i64,
    pub model_cost_usd: f64,
}

/// The figures, and when they were read. They are counted over whole tables,
/// so an answer stands for ten times as long as the counting took: at once
/// again on a small database, every few seconds on a large one.
#[derive(Default)]
pub struct StatsCache(Mutex<Option<(Instant, Duration, Stats)>>);

/// The figures.
///
/// # Errors
/// The database is away.
pub async fn read_stats(app: &App) -> Result<Stats, ApiError> {
    let mut cache = app.stats.0.lock().await;
    if let Some((at, cost, stats)) = &*cache
        && at.elapsed() < *cost * 10
    {
        return Ok(stats.clone());
    }
    let begun = Instant::now();
    let stats = count(&app.pool).await?;
    let now = Instant::now();
    *cache = Some((now, now - begun, stats.clone()));
    Ok(stats)
}

async fn count(pool: &PgPool) -> Result<Stats, PostgresError> {
    let (by_status, by_severity, open_by_severity, mails, totals) = tokio::try_join!(
        read::counts_by_status(pool),
        read::counts_by_severity(pool, false),
        read::counts_by_severity(pool, true),
        read::mail_counts(pool),
        read::totals(pool),
    )?;
    let (by_status, mails) = (table(by_status), table(mails));
    let mail = |status: &str| mails.get(status).copied().unwrap_or(0);
    let incidents = by_status.values().sum();
    Ok(Stats {
        incidents,
        open: incidents - by_status.get("RESOLVED").copied().unwrap_or(0),
        by_severity: table(by_severity),
        open_by_severity: table(open_by_severity),
        by_status,
        mttr_median_ms: totals.mttr_median_ms,
        mttr_median_minutes: totals.mttr_median_ms.map(|ms| ms / 60_000.0),
        mails_sent: mail("SENT"),
        mails_failed: mail("FAILED"),
        mails_pending: mail("PENDING"),
        agent_events: totals.agent_events,
        last_event_wall_ms: totals.last_event_wall_ms,
        model_calls: totals.model_calls,
        model_cost_usd: totals.model_cost_usd,
    })
}

fn table(counts: Vec<Count>) -> BTreeMap<String, i64> {
    counts
        .into_iter()
        .map(|count| (count.name, count.count))
        .collect()
}

/// `GET /api/stats`.
pub async fn stats(State(app): State<App>, params: Params) -> Result<Json<Stats>, ApiError> {
    params.only(&[])?;
    Ok(Json(read_stats(&app).await?))
}

/// `GET /api/topics`.
pub async fn topics(State(app): State<App>, params: Params) -> Result<Response, ApiError> {
    params.only(&[])?;
    Ok(Json(&*app.topics.view().await?).into_response())
}

/// `GET /health`: 200 while the API can do its work. Redis is not among it:
/// without it charts show kept records only.
pub async fn health(State(app): State<App>) -> Response {
    let ping = tokio::time::timeout(Duration::from_secs(2), read::ping(&app.pool)).await;
    let healthy = matches!(ping, Ok(Ok(())));
    let status = if healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = serde_json::json!({
        "status": if healthy { "ok" } else { "unavailable" },
        "postgres": if healthy { "ok" } else { "no answer within 2 s" },
        "redis": if app.recent.is_connected() { "ok" } else { "not connected; charts show kept records only" },
    });
    (status, Json(body)).into_response()
}
