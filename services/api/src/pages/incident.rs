//! `/incidents/{id}`: one incident with all that is known about it.

use super::chart::{self, Chart};
use super::evidence::{self, Table};
use super::graph::{self, Graph};
use super::score::{self, Reasons};
use super::{Frame, Section, format, markdown};
use crate::App;
use crate::error::ApiError;
use crate::incidents::{self, KINDS, Parts};
use crate::known::Known;
use crate::params::{Params, find_incident};
use crate::series;
use axum::extract::{Path, State};
use axum::response::Response;
use midwatch_clients::postgres::read::{self, AgentEvent, Email, IncidentRow, ModelCall};
use midwatch_events::IncidentState;
use midwatch_events::incident::LogExcerpt;
use midwatch_events::{
    CorrelationSignal, GroupedAnomaly, RawDeployment, RemediationPlan, RootCauseCandidate,
};
use minijinja::Value;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Metrics drawn: the triggering one and some that went with it.
const CHARTS: usize = 5;

/// A step of an incident's life.
#[derive(Serialize)]
struct Step {
    name: &'static str,
    /// `done`, `current` or `ahead`.
    state: &'static str,
}

/// A line under "What is known".
#[derive(Serialize)]
struct Fact {
    label: &'static str,
    text: String,
}

/// A line of the timeline, with its distance from the detection.
#[derive(Serialize)]
struct Moment {
    #[serde(flatten)]
    event: AgentEvent,
    since: String,
    /// The same on the wall clock, where that differs.
    since_wall: Option<String>,
}

/// A metric in both sizes.
#[derive(Serialize)]
struct Drawing {
    service: String,
    metric: String,
    source: &'static str,
    trigger: bool,
    wide: Chart,
    narrow: Chart,
    reasons: Reasons,
}

/// A service and what it has to do with the incident.
#[derive(Serialize)]
struct Affected {
    name: String,
    anomalies: usize,
}

#[derive(Serialize)]
struct Costs {
    tokens: i64,
    cost_usd: f64,
}

#[derive(Serialize)]
struct View {
    frame: Frame,
    id: String,
    short_id: String,
    environment: String,
    status: String,
    severity: String,
    title: String,
    detected_at_ms: i64,
    duration_label: &'static str,
    duration: String,
    steps: Vec<Step>,
    facts: Vec<Fact>,
    timeline: Vec<Moment>,
    timeline_full: bool,
    affected: Vec<Affected>,
    at_risk: Vec<String>,
    rps: Option<f64>,
    blast: String,
    graphs: Vec<Graph>,
    drawings: Vec<Drawing>,
    no_chart: String,
    anomalies: Vec<GroupedAnomaly>,
    signals: Vec<CorrelationSignal>,
    errors: Vec<LogExcerpt>,
    candidates: Vec<RootCauseCandidate>,
    plan: Option<RemediationPlan>,
    mails: Vec<Email>,
    calls: Vec<ModelCall>,
    costs: Costs,
    postmortem: Option<Value>,
    evidence: Table,
    records: Vec<(String, i64)>,
    unread: Vec<String>,
}

/// `GET /incidents/{id}`.
pub async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&[])?;
    let last_id = read::last_event_id(&app.pool).await?;
    let row = find_incident(&app.pool, &id).await?;
    let known = Known::read(&row);
    let parts = incidents::parts(&app, row.id).await?;
    let drawings = drawings(&app, &row, &known).await?;
    let evidence = evidence::collect(&app, row.id, &known).await?;
    let view = View::new(row, known, parts, last_id, drawings, evidence);
    app.pages.answer("incident.html", view)
}

impl View {
    fn new(
        row: IncidentRow,
        known: Known,
        parts: Parts,
        last_id: i64,
        drawings: Vec<Drawing>,
        evidence: Table,
    ) -> View {
        let frame = Frame {
            follows: row.id.to_string(),
            last_id,
            ..Frame::new(format!("{} {}", row.short_id, known.title)).of(Section::Incidents)
        };
        let clocks = Clocks::new(&row, &known, &parts.timeline);
        let (duration_label, duration) =
            clocks.duration(&row, &known, &parts.timeline, frame.now_ms);
        let blast = known.blast.clone().unwrap_or_default();
        let postmortem = row.postmortem.as_deref().map(markdown::render);
        View {
            id: row.id.to_string(),
            detected_at_ms: row.detected_at_ms,
            duration_label,
            duration,
            steps: steps(&row.status),
            facts: facts(&row, &known),
            timeline_full: parts.timeline.len() as i64 >= incidents::TIMELINE,
            affected: affected(&known, &blast.impaired),
            at_risk: blast.at_risk,
            rps: blast.requests_per_second,
            blast: blast.description,
            graphs: graphs(&known),
            no_chart: no_chart(&known),
            drawings,
            postmortem: postmortem.map(Value::from_safe_string),
            records: in_order(&parts.records),
            timeline: parts
                .timeline
                .into_iter()
                .map(|event| clocks.moment(event))
                .collect(),
            mails: parts.mails,
            costs: costs(&parts.calls),
            calls: parts.calls,
            evidence,
            short_id: row.short_id,
            environment: row.environment,
            status: row.status,
            severity: row.severity,
            title: known.title,
            anomalies: known.anomalies,
            signals: known.signals,
            errors: known.errors,
            candidates: known.candidates,
            plan: known.plan,
            unread: known.unread,
            frame,
        }
    }
}

fn graphs(known: &Known) -> Vec<Graph> {
    let layouts = [graph::WIDE, graph::NARROW].into_iter();
    layouts
        .filter_map(|layout| graph::draw(known, layout))
        .collect()
}

fn in_order(records: &BTreeMap<String, i64>) -> Vec<(String, i64)> {
    let kinds = KINDS.iter();
    kinds
        .filter_map(|kind| Some(((*kind).to_owned(), *records.get(*kind)?)))
        .collect()
}

fn costs(calls: &[ModelCall]) -> Costs {
    Costs {
        tokens: calls
            .iter()
            .map(|call| call.prompt_tokens + call.completion_tokens)
            .sum(),
        cost_usd: calls.iter().map(|call| call.cost_usd).sum(),
    }
}

/// The moment of detection on both clocks.
struct Clocks {
    event_ms: i64,
    wall_ms: i64,
}

impl Clocks {
    fn new(row: &IncidentRow, known: &Known, timeline: &[AgentEvent]) -> Clocks {
        let first = timeline.iter().map(|event| event.wall_ms).min();
        Clocks {
            event_ms: row.detected_at_ms,
            wall_ms: known
                .detected_wall_ms()
                .unwrap_or_else(|| first.unwrap_or(row.created_at_ms).min(row.created_at_ms)),
        }
    }

    fn duration(
        &self,
        row: &IncidentRow,
        known: &Known,
        timeline: &[AgentEvent],
        now_ms: i64,
    ) -> (&'static str, String) {
        if row.status == IncidentState::Resolved.as_str() {
            let text = match (&known.resolution, row.resolved_at_ms) {
                (Some(end), _) => format::both(end.mttr_ms, end.resolved_wall_ms - self.wall_ms),
                (None, Some(end)) => format::span(end - self.event_ms),
                (None, None) => "an unknown time".to_owned(),
            };
            return ("Resolved after", text);
        }
        let wall = format::span(now_ms - self.wall_ms);
        let text = timeline
            .iter()
            .map(|event| (event.at_ms - self.event_ms, event.wall_ms - self.wall_ms))
            .max()
            .filter(|(event_ms, wall_ms)| format::clocks_differ(*event_ms, *wall_ms))
            .map_or(wall.clone(), |(event_ms, _)| {
                format!(
                    "{wall} wall, {} simulated at the last event",
                    format::span(event_ms)
                )
            });
        ("Open for", text)
    }

    fn moment(&self, event: AgentEvent) -> Moment {
        let event_ms = event.at_ms - self.event_ms;
        let wall_ms = event.wall_ms - self.wall_ms;
        Moment {
            since: offset(event_ms),
            since_wall: format::clocks_differ(event_ms, wall_ms).then(|| offset(wall_ms)),
            event,
        }
    }
}

fn offset(ms: i64) -> String {
    let sign = if ms < -499 { "−" } else { "+" };
    format!("{sign}{}", format::span(ms.abs()))
}

fn steps(status: &str) -> Vec<Step> {
    let now = IncidentState::parse(status).unwrap_or(IncidentState::Detecting);
    IncidentState::ALL
        .into_iter()
        .map(|state| Step {
            name: state.as_str(),
            state: match state.cmp(&now) {
                std::cmp::Ordering::Less => "done",
                std::cmp::Ordering::Equal if state == IncidentState::Resolved => "done",
                std::cmp::Ordering::Equal => "current",
                std::cmp::Ordering::Greater => "ahead",
            },
        })
        .collect()
}

fn facts(row: &IncidentRow, known: &Known) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |label, text: String| facts.push(Fact { label, text });
    if !known.description.is_empty() {
        add("What happened", known.description.clone());
    }
    if let Some(trigger) = &known.trigger {
        add("Triggered by", triggered(trigger));
    }
    add(
        "Root cause",
        match (&row.top_root_cause, row.rca_confidence) {
            (Some(cause), Some(sure)) => format!("{cause} ({:.0} % confidence)", sure * 100.0),
            (Some(cause), None) => cause.clone(),
            _ if row.status == "RESOLVED" => "Not determined before it was over.".to_owned(),
            _ => "Not yet known: investigation is at work.".to_owned(),
        },
    );
    if let Some(change) = &known.deployment {
        add("Nearest change", change_text(change, row.detected_at_ms));
    }
    if let Some(plan) = &known.plan {
        let [least, most] = plan.estimated_resolution_minutes;
        add(
            "Plan",
            format!(
                "{} steps, estimated {least} to {most} min ({})",
                plan.action_steps.len(),
                plan.estimate_basis
            ),
        );
    }
    if let Some(end) = &known.resolution {
        let readings = end.settling_readings.len();
        let after = if readings == 0 {
            String::new()
        } else {
            format!(" after {readings} consecutive normal readings")
        };
        add(
            "Resolved",
            format!(
                "{}{after}, {}",
                format::words(&end.resolution_method),
                format::stamp(end.resolved_at_ms)
            ),
        );
    }
    facts
}

fn change_text(change: &RawDeployment, detected_at_ms: i64) -> String {
    let before = detected_at_ms - change.timestamp_ms;
    let side = if before >= 0 { "before" } else { "after" };
    let mut text = format!(
        "{} {} of {}, {} {side} detection",
        change.change_type,
        change.version,
        change.service,
        format::span(before.abs())
    );
    if !change.deployed_by.is_empty() {
        text.push_str(&format!(", by {}", change.deployed_by));
    }
    if !change.git_sha.is_empty() {
        text.push_str(&format!(" ({})", change.git_sha));
    }
    if !change.description.is_empty() {
        text.push_str(&format!(": {}", change.description));
    }
    text
}

fn triggered(trigger: &crate::known::Trigger) -> String {
    let measure = |value| format::measure(value, &trigger.metric);
    format!(
        "{} of {} at {}, normally {} ({:+.1} σ)",
        trigger.metric,
        trigger.service,
        measure(trigger.observed_value),
        measure(trigger.baseline_value),
        trigger.deviation_sigma
    )
}

fn affected(known: &Known, impaired: &[String]) -> Vec<Affected> {
    let mut seen = BTreeSet::new();
    known
        .services
        .iter()
        .chain(impaired)
        .filter(|name| seen.insert(name.as_str()))
        .map(|name| Affected {
            name: name.clone(),
            anomalies: known
                .anomalies
                .iter()
                .filter(|anomaly| anomaly.service == **name)
                .count(),
        })
        .collect()
}

fn no_chart(known: &Known) -> String {
    match &known.trigger {
        None => "This incident names no triggering metric.".to_owned(),
        Some(trigger)
            if trigger.metric.starts_with("log:") || trigger.metric.starts_with("kubernetes:") =>
        {
            format!(
                "It was triggered by {}, which has no readings to draw.",
                trigger.metric
            )
        }
        Some(trigger) => format!(
            "Fewer than two readings of {} of {} were kept.",
            trigger.metric, trigger.service
        ),
    }
}

async fn drawings(app: &App, row: &IncidentRow, known: &Known) -> Result<Vec<Drawing>, ApiError> {
    let trigger = known
        .trigger
        .iter()
        .map(|trigger| (&trigger.service, &trigger.metric));
    let others = known
        .anomalies
        .iter()
        .map(|anomaly| (&anomaly.service, &anomaly.trigger_metric));
    let mut seen = BTreeSet::new();
    let mut drawings = Vec::new();
    for (index, (service, metric)) in trigger.chain(others).enumerate() {
        if drawings.len() == CHARTS || !seen.insert((service, metric)) {
            continue;
        }
        let series = series::load(app, row, known, service, metric).await?;
        let draw = |size| chart::draw(&series, row.resolved_at_ms, size);
        if let (Some(wide), Some(narrow)) = (draw(chart::WIDE), draw(chart::NARROW)) {
            drawings.push(Drawing {
                service: service.clone(),
                metric: metric.clone(),
                source: series.source,
                trigger: index == 0,
                wide,
                narrow,
                reasons: score::reasons(&series.points),
            });
        }
    }
    Ok(drawings)
}
