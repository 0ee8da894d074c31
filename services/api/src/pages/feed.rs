//! `/`: the incidents, newest first, as they happen.

use super::{Frame, Section, format};
use crate::activity::{self, Stats};
use crate::error::ApiError;
use crate::incidents::{self, Item};
use crate::params::{Params, SEVERITIES};
use crate::{App, topics};
use axum::extract::State;
use axum::response::Response;
use midwatch_clients::postgres::read::{self, AgentEvent, IncidentSummary};
use midwatch_events::topics::Topic;
use midwatch_events::{IncidentState, Severity, ids};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// Lines of the audit trail beside the feed.
const RECENT: i64 = 12;
/// Names that the service filter offers.
const SERVICES: i64 = 200;
/// How long an empty page waits for the broker's figures.
const BROKER: Duration = Duration::from_millis(1_500);

/// An incident's row.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    item: Item,
    services: Vec<String>,
    more_services: usize,
    /// How long it took, or how long it has been open.
    duration: String,
    open: bool,
}

/// A line of the audit trail.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    event: AgentEvent,
    short_id: Option<String>,
}

/// What the filters are set to, and what they offer.
#[derive(Serialize)]
struct Filters {
    status: String,
    severity: String,
    service: String,
    /// Without a field of its own; links lead here with it.
    environment: String,
    statuses: Vec<&'static str>,
    severities: Vec<&'static str>,
    services: Vec<String>,
    active: bool,
}

/// Why there is nothing to see.
#[derive(Serialize)]
struct Empty {
    headline: &'static str,
    lines: Vec<String>,
    filtered: bool,
}

#[derive(Serialize)]
struct View {
    frame: Frame,
    stats: Stats,
    filters: Filters,
    rows: Vec<Row>,
    next: Option<String>,
    /// The query of the first page, on a later one.
    first: Option<String>,
    lines: Vec<Line>,
    empty: Option<Empty>,
}

/// `GET /`.
pub async fn show(State(app): State<App>, params: Params) -> Result<Response, ApiError> {
    let mut frame = Frame::new("Incidents").of(Section::Incidents);
    frame.last_id = read::last_event_id(&app.pool).await?;
    let page = incidents::page(&app, &params).await?;
    let stats = activity::read_stats(&app).await?;
    let filters = filters(&app, &params).await?;
    let mut events = read::agent_events(&app.pool, None, None, RECENT).await?;
    events.reverse();
    let empty = if page.items.is_empty() {
        Some(explain(&app, &stats, &filters, frame.now_ms).await)
    } else {
        None
    };
    let view = View {
        rows: page
            .items
            .into_iter()
            .map(|item| row(item, frame.now_ms))
            .collect(),
        next: page.next.map(|next| params.query_with("before", &next)),
        first: params
            .text("before")
            .map(|_| params.query_without("before")),
        lines: events
            .into_iter()
            .map(|event| Line {
                short_id: event.incident_id.map(ids::short_incident),
                event,
            })
            .collect(),
        frame,
        stats,
        filters,
        empty,
    };
    app.pages.answer("feed.html", view)
}

fn row(item: Item, now_ms: i64) -> Row {
    let names = item
        .row
        .affected_services
        .as_array()
        .cloned()
        .unwrap_or_default();
    let services: Vec<String> = names
        .iter()
        .filter_map(|name| Some(name.as_str()?.to_owned()))
        .take(4)
        .collect();
    let open = item.row.status != IncidentState::Resolved.as_str();
    let duration = duration(&item.row, now_ms);
    Row {
        more_services: names.len().saturating_sub(services.len()),
        services,
        duration,
        open,
        item,
    }
}

/// How long an incident took, or how long it has been open.
#[must_use]
pub fn duration(row: &IncidentSummary, now_ms: i64) -> String {
    match (row.mttr_ms, row.resolved_wall_ms) {
        (Some(event_ms), Some(end)) => format::both(event_ms, end - row.created_at_ms),
        (Some(event_ms), None) => format::span(event_ms),
        (None, _) if row.status != IncidentState::Resolved.as_str() => {
            format::span(now_ms - row.created_at_ms)
        }
        (None, _) => row.resolved_at_ms.map_or_else(
            || "unknown".to_owned(),
            |end| format::span(end - row.detected_at_ms),
        ),
    }
}

async fn filters(app: &App, params: &Params) -> Result<Filters, ApiError> {
    let status = params.status()?.unwrap_or_default();
    let severity = params.severity()?.unwrap_or_default();
    let service = params.text("service").unwrap_or_default();
    let mut services = read::service_names(&app.pool, SERVICES).await?;
    if !service.is_empty() && !services.contains(&service) {
        services.insert(0, service.clone());
    }
    let narrowing = ["status", "severity", "service", "environment", "before"];
    Ok(Filters {
        active: narrowing.iter().any(|name| params.text(name).is_some()),
        status,
        severity,
        service,
        environment: params.text("environment").unwrap_or_default(),
        statuses: IncidentState::ALL.map(IncidentState::as_str).to_vec(),
        severities: SEVERITIES.map(Severity::as_str).to_vec(),
        services,
    })
}

async fn explain(app: &App, stats: &Stats, filters: &Filters, now_ms: i64) -> Empty {
    if filters.active && stats.incidents > 0 {
        return Empty {
            headline: "No incident matches these filters",
            lines: vec![format!("There are {} in all.", stats.incidents)],
            filtered: true,
        };
    }
    let mut lines = vec![reading(broker(app).await.as_deref())];
    lines.push(match stats.last_event_wall_ms {
        Some(at) => format!(
            "The agents have written {} lines to the audit trail, the last {} ago.",
            format::number(stats.agent_events as f64),
            format::span(now_ms - at)
        ),
        None => "No agent has written to the audit trail yet.".to_owned(),
    });
    lines.push(
        "Detection first learns the normal range of each metric; an incident appears here \
         by itself as soon as something leaves it."
            .to_owned(),
    );
    Empty {
        headline: "All quiet: no incident so far",
        lines,
        filtered: false,
    }
}

/// The broker's figures, if it gives them soon. The question goes on in the
/// background, so that the next page finds the answer.
async fn broker(app: &App) -> Option<Arc<topics::TopicsView>> {
    let topics = app.topics.clone();
    let asked = tokio::spawn(async move { topics.view().await });
    tokio::time::timeout(BROKER, asked).await.ok()?.ok()?.ok()
}

fn reading(view: Option<&topics::TopicsView>) -> String {
    let Some(view) = view.filter(|view| view.reachable) else {
        return "The broker gives no answer at the moment, so it is not known whether telemetry \
                arrives. GET /api/topics says more."
            .to_owned();
    };
    let messages = |topic: Topic| {
        let found = view
            .topics
            .iter()
            .find(|found| found.name.ends_with(topic.name()));
        found.and_then(|found| found.messages)
    };
    match (
        messages(Topic::RawMetrics),
        messages(Topic::AnomaliesDetected),
    ) {
        (Some(0), _) => "No telemetry yet: raw.metrics is empty. Start the simulator or a \
                         collector."
            .to_owned(),
        (Some(metrics), anomalies) => format!(
            "raw.metrics holds {} readings, anomalies.detected {} transitions.",
            format::number(metrics as f64),
            anomalies.map_or_else(
                || "an unknown number of".to_owned(),
                |count| format::number(count as f64)
            )
        ),
        (None, _) => "The broker does not say how many readings it holds.".to_owned(),
    }
}
