//! `/api/incidents`: the list, one incident, its records.

use crate::App;
use crate::error::ApiError;
use crate::known::{self, Known, RecordsLeftOut};
use crate::params::{Params, find_incident, incident_key};
use axum::Json;
use axum::extract::{Path, State};
use midwatch_clients::postgres::artifacts;
use midwatch_clients::postgres::ledger::{self, StageCost};
use midwatch_clients::postgres::read::{
    self, AgentEvent, Email, EmailFilter, IncidentFilter, IncidentRow, IncidentSummary, Medium,
    ModelCall, Record, RecordFilter,
};
use midwatch_clients::postgres::review::{self, PostmortemVersion};
use midwatch_events::artifact::Artifact;
use midwatch_runtime::clock;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Largest page of a list.
pub const PAGE: i64 = 200;
/// Lines of the audit trail that one incident shows: the newest.
pub const TIMELINE: i64 = 1_000;
/// Mails and model calls that one incident shows.
const SOME: i64 = 200;
/// Kinds of records, as `incident_records.kind` has them.
pub const KINDS: [&str; 6] = [
    "metric",
    "log",
    "span",
    "deployment",
    "kubernetes",
    "anomaly",
];

/// An incident in a list.
#[derive(Clone, Debug, Serialize)]
pub struct Item {
    pub title: String,
    #[serde(flatten)]
    pub row: IncidentSummary,
}

impl From<IncidentSummary> for Item {
    fn from(row: IncidentSummary) -> Item {
        let primary = row.affected_services.get(0).and_then(Value::as_str);
        Item {
            title: known::title(&row.anomaly_type, primary),
            row,
        }
    }
}

/// A page of a list, and the key of the page after it.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// `before=` of the next page; `null` on the last one.
    pub next: Option<String>,
}

/// What happened, in the order in which it was written.
#[derive(Clone, Debug, Serialize)]
pub struct TimelineEntry {
    pub at_ms: i64,
    pub wall_ms: i64,
    pub agent: String,
    pub event_type: String,
    pub summary: String,
}

/// A model call without its texts.
#[derive(Clone, Debug, Serialize)]
pub struct CallSummary {
    pub call_id: Uuid,
    pub agent: String,
    pub purpose: String,
    pub tier: String,
    pub model: String,
    pub prompt_tokens: i64,
    pub completion_tokens: i64,
    pub cost_usd: f64,
    pub latency_ms: i64,
    pub outcome: String,
    pub error: Option<String>,
    pub created_at_ms: i64,
}

/// An incident with all that belongs to it.
#[derive(Clone, Debug, Serialize)]
pub struct Detail {
    pub id: Uuid,
    pub short_id: String,
    pub environment: String,
    pub status: String,
    pub severity: String,
    pub anomaly_type: String,
    pub title: String,
    pub affected_services: Value,
    /// RFC 3339, event time.
    pub detection_time: String,
    pub resolution_time: Option<String>,
    pub detected_at_ms: i64,
    pub resolved_at_ms: Option<i64>,
    /// Wall clock.
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
    pub top_root_cause: Option<String>,
    pub rca_confidence: Option<f64>,
    pub rca_candidates: Option<Value>,
    pub remediation_plan: Option<Value>,
    pub blast_radius: Value,
    pub correlation_context: Value,
    pub resolution: Option<Value>,
    pub postmortem: Option<String>,
    pub timeline: Vec<TimelineEntry>,
    pub mails: Vec<Email>,
    /// On other channels, oldest first.
    pub messages: Vec<Email>,
    /// How many records of each kind there are.
    pub records: BTreeMap<String, i64>,
    pub llm_calls: Vec<CallSummary>,
    /// What each stage took, by its name.
    pub costs: Vec<StageCost>,
    /// How far the newest postmortem is; `null` before there is one.
    pub review: Option<Review>,
}

/// How far people are with a postmortem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Review {
    pub version: i32,
    /// `draft`, `reviewed`, `published`.
    pub status: String,
    pub reviewed_by: Option<String>,
    /// Wall clock.
    pub reviewed_at_ms: Option<i64>,
    pub published_by: Option<String>,
    pub published_at_ms: Option<i64>,
}

impl From<PostmortemVersion> for Review {
    fn from(newest: PostmortemVersion) -> Review {
        Review {
            version: newest.version,
            status: newest.status,
            reviewed_by: newest.reviewed_by,
            reviewed_at_ms: newest.reviewed_at_ms,
            published_by: newest.published_by,
            published_at_ms: newest.published_at_ms,
        }
    }
}

/// What belongs to an incident besides its row.
pub struct Parts {
    pub timeline: Vec<AgentEvent>,
    /// Oldest first.
    pub mails: Vec<Email>,
    /// On other channels, oldest first.
    pub messages: Vec<Email>,
    pub records: BTreeMap<String, i64>,
    /// Oldest first.
    pub calls: Vec<ModelCall>,
    /// In the order of writing.
    pub artifacts: Vec<Artifact>,
    pub costs: Vec<StageCost>,
    pub review: Option<Review>,
}

/// Reads what belongs to an incident.
///
/// # Errors
/// The database is away.
pub async fn parts(app: &App, incident: Uuid) -> Result<Parts, ApiError> {
    let of_incident = EmailFilter {
        incident: Some(incident),
        ..EmailFilter::default()
    };
    let mut mails = read::emails(&app.pool, &of_incident, SOME).await?;
    mails.reverse();
    let on_channels = EmailFilter {
        medium: Medium::Channels,
        ..of_incident
    };
    let mut messages = read::emails(&app.pool, &on_channels, SOME).await?;
    messages.reverse();
    let mut calls = read::model_calls(&app.pool, Some(incident), SOME).await?;
    calls.reverse();
    let counts = read::record_counts(&app.pool, incident).await?;
    let artifacts = artifacts::of_incident(&app.pool, incident).await?;
    Ok(Parts {
        timeline: read::agent_events(&app.pool, Some(incident), None, TIMELINE).await?,
        mails,
        messages,
        records: counts
            .into_iter()
            .map(|count| (count.name, count.count))
            .collect(),
        calls,
        artifacts,
        costs: ledger::of_incident(&app.pool, incident).await?,
        review: review::latest(&app.pool, incident).await?.map(Review::from),
    })
}

impl Detail {
    fn new(row: IncidentRow, parts: Parts) -> Detail {
        let primary = row.affected_services.get(0).and_then(Value::as_str);
        Detail {
            title: known::title(&row.anomaly_type, primary),
            id: row.id,
            short_id: row.short_id,
            environment: row.environment,
            status: row.status,
            severity: row.severity,
            anomaly_type: row.anomaly_type,
            affected_services: row.affected_services,
            detection_time: clock::rfc3339(row.detected_at_ms),
            resolution_time: row.resolved_at_ms.map(clock::rfc3339),
            detected_at_ms: row.detected_at_ms,
            resolved_at_ms: row.resolved_at_ms,
            created_at_ms: row.created_at_ms,
            updated_at_ms: row.updated_at_ms,
            top_root_cause: row.top_root_cause,
            rca_confidence: row.rca_confidence,
            rca_candidates: row.rca_candidates,
            remediation_plan: row.remediation_plan,
            blast_radius: row.blast_radius,
            correlation_context: row.correlation_context,
            resolution: row.resolution,
            postmortem: row.postmortem,
            timeline: parts
                .timeline
                .into_iter()
                .map(TimelineEntry::from)
                .collect(),
            mails: parts.mails,
            messages: parts.messages,
            records: parts.records,
            llm_calls: parts.calls.into_iter().map(CallSummary::from).collect(),
            costs: parts.costs,
            review: parts.review,
        }
    }
}

impl From<AgentEvent> for TimelineEntry {
    fn from(event: AgentEvent) -> Self {
        TimelineEntry {
            at_ms: event.at_ms,
            wall_ms: event.wall_ms,
            agent: event.agent,
            event_type: event.event_type,
            summary: event.summary,
        }
    }
}

impl From<ModelCall> for CallSummary {
    fn from(call: ModelCall) -> Self {
        CallSummary {
            call_id: call.call_id,
            agent: call.agent,
            purpose: call.purpose,
            tier: call.tier,
            model: call.model,
            prompt_tokens: call.prompt_tokens,
            completion_tokens: call.completion_tokens,
            cost_usd: call.cost_usd,
            latency_ms: call.latency_ms,
            outcome: call.outcome,
            error: call.error,
            created_at_ms: call.created_at_ms,
        }
    }
}

/// The incidents that the parameters ask for, and the key of the next page.
///
/// # Errors
/// A bad parameter, or the database is away.
pub async fn page(app: &App, params: &Params) -> Result<Page<Item>, ApiError> {
    params.only(&[
        "status",
        "severity",
        "service",
        "environment",
        "limit",
        "before",
    ])?;
    let limit = params.limit(PAGE)?;
    let filter = IncidentFilter {
        status: params.status()?,
        severity: params.severity()?,
        service: params.text("service"),
        environment: params.text("environment"),
        before: params.before_incident()?,
    };
    // One more than asked for tells whether there is a next page.
    let mut rows = read::incidents(&app.pool, &filter, limit + 1).await?;
    let more = rows.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if more {
        rows.pop();
    }
    let next = rows.last().filter(|_| more).map(incident_key);
    let items = rows.into_iter().map(Item::from).collect();
    Ok(Page { items, next })
}

/// `GET /api/incidents`.
pub async fn list(State(app): State<App>, params: Params) -> Result<Json<Page<Item>>, ApiError> {
    Ok(Json(page(&app, &params).await?))
}

/// `GET /api/incidents/{id}`.
pub async fn one(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Detail>, ApiError> {
    params.only(&[])?;
    let row = find_incident(&app.pool, &id).await?;
    let parts = parts(&app, row.id).await?;
    Ok(Json(Detail::new(row, parts)))
}

/// A list of records, and whether that is all.
#[derive(Clone, Debug, Serialize)]
pub struct Records {
    pub items: Vec<Record>,
    /// Whether the limit left some out.
    pub truncated: bool,
    /// Records that were too many to be kept with the incident, by kind and
    /// service; whatever was asked for.
    pub left_out: Vec<RecordsLeftOut>,
}

/// `GET /api/incidents/{id}/records`.
pub async fn records(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Records>, ApiError> {
    params.only(&["kind", "service", "name", "limit"])?;
    let filter = RecordFilter {
        kind: params.one_of("kind", &KINDS)?,
        service: params.text("service"),
        name: params.text("name"),
        but_kind: None,
    };
    let limit = params.number("limit", 1, 5_000)?.unwrap_or(1_000);
    let row = find_incident(&app.pool, &id).await?;
    let mut items = read::records(&app.pool, row.id, &filter, limit + 1).await?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let truncated = items.len() > most;
    items.truncate(most);
    Ok(Json(Records {
        items,
        truncated,
        left_out: Known::read(&row).records_left_out,
    }))
}

/// What the agents concluded about an incident, and from what.
#[derive(Clone, Debug, Serialize)]
pub struct Artifacts {
    /// In the order of writing; superseded ones included.
    pub items: Vec<Artifact>,
}

/// `GET /api/incidents/{id}/artifacts`.
pub async fn artifacts(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<Artifacts>, ApiError> {
    params.only(&[])?;
    let row = find_incident(&app.pool, &id).await?;
    let items = artifacts::of_incident(&app.pool, row.id).await?;
    Ok(Json(Artifacts { items }))
}
