//! `/fleet`: every service with its metrics now; `/fleet/{service}`: one.

use super::chart::{self, Chart};
use super::score::{self, Reasons};
use super::spark::{self, Spark};
use super::{Frame, Section, format};
use crate::App;
use crate::error::ApiError;
use crate::fleet::{self, MetricNow, OpenIncident, ServiceNow, State};
use crate::incidents::Item;
use crate::known::Known;
use crate::params::Params;
use crate::series::Series;
use axum::extract::{Path, State as AppState};
use axum::response::Response;
use midwatch_clients::postgres::read;
use midwatch_events::knowledge::CatalogueEntry;
use serde::Serialize;
use std::collections::BTreeMap;

/// Open incidents whose anomalies are marked on the charts of their service.
const MARKED: usize = 5;

/// A metric's line in the overview.
#[derive(Serialize)]
struct MetricLine {
    metric: String,
    label: String,
    state: State,
    value: String,
    /// The value where the label says the unit already.
    short: String,
    /// What is normal, in words.
    normal: String,
    /// The same in figures.
    range: String,
    spark: Option<Spark>,
}

/// A service's card.
#[derive(Serialize)]
struct Card {
    service: String,
    environment: Option<String>,
    in_catalogue: bool,
    team: Option<String>,
    criticality: Option<String>,
    state: State,
    state_text: String,
    metrics: Vec<MetricLine>,
    more_metrics: usize,
    incidents: Vec<OpenIncident>,
}

#[derive(Serialize)]
struct Overview {
    frame: Frame,
    cards: Vec<Card>,
    services: usize,
    unusual: usize,
    silent: usize,
    open: usize,
    environments: Vec<String>,
    environment: String,
    /// Whether these are all services.
    whole: bool,
    next: Option<String>,
    /// The query of the first page, on a later one.
    first: Option<String>,
    notes: Vec<String>,
}

/// A metric drawn on its service's page.
#[derive(Serialize)]
struct Drawing {
    #[serde(flatten)]
    line: MetricLine,
    newest_ms: i64,
    half: Option<Chart>,
    narrow: Option<Chart>,
    reasons: Reasons,
}

#[derive(Serialize)]
struct Environment {
    name: String,
    state: State,
    state_text: String,
    drawings: Vec<Drawing>,
    more_metrics: usize,
    incidents: Vec<OpenIncident>,
}

#[derive(Serialize)]
struct IncidentLine {
    duration: String,
    open: bool,
    #[serde(flatten)]
    item: Item,
}

#[derive(Serialize)]
struct One {
    frame: Frame,
    service: String,
    catalogue: Option<CatalogueEntry>,
    facts: Vec<(&'static str, String)>,
    environments: Vec<Environment>,
    incidents: Vec<IncidentLine>,
    next: Option<String>,
    later: bool,
    notes: Vec<String>,
}

/// `GET /fleet`.
pub async fn overview(AppState(app): AppState<App>, params: Params) -> Result<Response, ApiError> {
    let mut frame = Frame::new("Fleet").of(Section::Fleet);
    frame.every_ms = 10_000;
    frame.last_id = read::last_event_id(&app.pool).await?;
    let view = fleet::overview(&app, &params).await?;
    let later = params.text("after").is_some();
    let cards: Vec<Card> = view.items.into_iter().map(card).collect();
    let count = |state: State| cards.iter().filter(|card| card.state == state).count();
    let page = Overview {
        unusual: count(State::Unusual),
        silent: count(State::NoData),
        open: cards
            .iter()
            .filter(|card| !card.incidents.is_empty())
            .count(),
        whole: view.next.is_none() && !later,
        services: view.services,
        environments: view.environments,
        environment: params.text("environment").unwrap_or_default(),
        next: view.next.map(|next| params.query_with("after", &next)),
        first: later.then(|| params.query_without("after")),
        notes: view.notes,
        cards,
        frame,
    };
    app.pages.answer("fleet.html", page)
}

/// `GET /fleet/{service}`.
pub async fn one(
    AppState(app): AppState<App>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let mut frame = Frame::new(name.clone()).of(Section::Fleet);
    frame.every_ms = 10_000;
    frame.last_id = read::last_event_id(&app.pool).await?;
    let view = fleet::service(&app, &name, &params).await?;
    let marks = marks(&app, &view.environments).await?;
    let facts = view.catalogue.as_ref().map(facts).unwrap_or_default();
    let now_ms = frame.now_ms;
    let page = One {
        facts,
        catalogue: view.catalogue,
        environments: view
            .environments
            .into_iter()
            .map(|row| environment(row, &marks))
            .collect(),
        incidents: view
            .incidents
            .items
            .into_iter()
            .map(|row| incident_line(row, now_ms))
            .collect(),
        next: view
            .incidents
            .next
            .map(|next| params.query_with("before", &next)),
        later: params.text("before").is_some(),
        notes: view.notes,
        service: name,
        frame,
    };
    app.pages.answer("service.html", page)
}

/// Where an open anomaly began and what it was noticed by.
#[derive(Clone, Copy)]
struct Mark {
    onset_ms: i64,
    detected_at_ms: i64,
    observed_value: f64,
}

/// The open anomalies, by environment, service and metric.
type Marks = BTreeMap<(String, String, String), Mark>;

async fn marks(app: &App, environments: &[ServiceNow]) -> Result<Marks, ApiError> {
    let mut marks = Marks::new();
    let open = environments.iter().flat_map(|row| &row.open_incidents);
    for incident in open.take(MARKED) {
        let Some(row) = read::incident(&app.pool, incident.id, incident.id).await? else {
            continue;
        };
        for anomaly in Known::read(&row).anomalies {
            if anomaly.cleared_at_ms.is_none() {
                let key = (
                    row.environment.clone(),
                    anomaly.service,
                    anomaly.trigger_metric,
                );
                let mark = Mark {
                    onset_ms: anomaly.onset_ms,
                    detected_at_ms: anomaly.detected_at_ms,
                    observed_value: anomaly.observed_value,
                };
                marks.insert(key, mark);
            }
        }
    }
    Ok(marks)
}

fn card(row: ServiceNow) -> Card {
    Card {
        state_text: state_text(row.state, row.metrics.is_empty()),
        metrics: row.metrics.iter().map(metric_line).collect(),
        service: row.service,
        environment: row.environment,
        in_catalogue: row.in_catalogue,
        team: row.team,
        criticality: row.criticality,
        state: row.state,
        more_metrics: row.more_metrics,
        incidents: row.open_incidents,
    }
}

fn environment(row: ServiceNow, marks: &Marks) -> Environment {
    let name = row.environment.unwrap_or_default();
    Environment {
        state_text: state_text(row.state, row.metrics.is_empty()),
        drawings: row
            .metrics
            .iter()
            .map(|metric| {
                let key = (name.clone(), row.service.clone(), metric.metric.clone());
                drawing(&row.service, metric, marks.get(&key).copied())
            })
            .collect(),
        state: row.state,
        more_metrics: row.more_metrics,
        incidents: row.open_incidents,
        name,
    }
}

fn drawing(service: &str, metric: &MetricNow, anomaly: Option<Mark>) -> Drawing {
    // A mark before the first reading would stand at the edge and lie.
    let first_ms = metric.points.first().map_or(i64::MAX, |point| point.at_ms);
    let shown = anomaly.filter(|mark| mark.detected_at_ms >= first_ms);
    let series = Series {
        service: service.to_owned(),
        metric: metric.metric.clone(),
        source: "redis",
        onset_ms: anomaly.map(|mark| mark.onset_ms),
        detected_at_ms: shown.map(|mark| mark.detected_at_ms),
        observed_value: shown.map(|mark| mark.observed_value),
        points: metric.points.clone(),
        ..Series::default()
    };
    Drawing {
        half: chart::draw(&series, None, chart::HALF),
        narrow: chart::draw(&series, None, chart::NARROW),
        reasons: score::reasons(&metric.points),
        newest_ms: metric.at_ms,
        line: metric_line(metric),
    }
}

fn metric_line(metric: &MetricNow) -> MetricLine {
    let measure = |value| format::measure(value, &metric.metric);
    // What is counted is not negative, though its range may reach below zero.
    let least = |low: f64| {
        if metric.value < 0.0 {
            low
        } else {
            low.max(0.0)
        }
    };
    let bytes = metric.metric.contains("_bytes");
    let named = [" connections", " messages"].contains(&format::unit(&metric.metric));
    let figure = |value| {
        if bytes {
            measure(value)
        } else {
            format::number(value)
        }
    };
    MetricLine {
        short: if named {
            format::number(metric.value)
        } else {
            measure(metric.value)
        },
        range: match (metric.low, metric.high) {
            (Some(low), Some(high)) => format!("{} – {}", figure(least(low)), figure(high)),
            _ => "learning".to_owned(),
        },
        label: format::metric_label(&metric.metric),
        state: metric.state,
        value: measure(metric.value),
        normal: match (metric.expected, metric.low, metric.high) {
            (_, Some(low), Some(high)) => {
                format!("normally {} to {}", figure(least(low)), measure(high))
            }
            (Some(expected), ..) => format!("normally {}", measure(expected)),
            _ => "learning what is normal".to_owned(),
        },
        spark: spark::draw(&metric.points),
        metric: metric.metric.clone(),
    }
}

fn state_text(state: State, empty: bool) -> String {
    match state {
        State::Normal => "normal",
        State::Learning => "learning",
        State::Unusual => "unusual",
        State::NoData if empty => "no data",
        State::NoData => "readings stopped",
    }
    .to_owned()
}

fn facts(entry: &CatalogueEntry) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    let mut add = |label, text: String| {
        if !text.is_empty() {
            facts.push((label, text));
        }
    };
    add("Team", entry.team.clone());
    add("On call", entry.on_call.clone());
    let rest = |name: &str| match entry.rest.get(name) {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(serde_json::Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let sla = rest("sla");
    let sla = if sla.is_empty() {
        String::new()
    } else {
        format!("{sla} % available")
    };
    add("Promise", sla);
    add("Language", rest("language"));
    add("Runbooks", entry.runbooks.join(", "));
    facts
}

fn incident_line(item: Item, now_ms: i64) -> IncidentLine {
    IncidentLine {
        open: item.row.status != "RESOLVED",
        duration: super::feed::duration(&item.row, now_ms),
        item,
    }
}
