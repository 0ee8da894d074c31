//! `/incidents/{id}`: one incident with all that is known about it.

use super::calls::{self, Calls};
use super::cause::{self, Candidate, Link};
use super::chain::{self, Chain};
use super::conclusion::{self, Conclusion, Related};
use super::costs::{self, Costs};
use super::drawings::{self, Drawing};
use super::evidence::{self, Sources, Table};
use super::graph::{self, Graph};
use super::operate::{self, Operate};
use super::proof::{self, Proof};
use super::{Frame, Section, format, markdown};
use crate::App;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::incidents::{self, KINDS, Parts, Review};
use crate::known::{Known, RecordsLeftOut};
use crate::params::{Params, find_incident};
use crate::plan::{self, PlanView};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use midwatch_clients::postgres::read::{self, AgentEvent, Email, IncidentRow};
use midwatch_events::IncidentState;
use midwatch_events::incident::{LogExcerpt, Stated};
use midwatch_events::more;
use midwatch_events::{CorrelationSignal, GroupedAnomaly, LeftOut, RawDeployment, RemediationPlan};
use minijinja::Value;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Calls listed: the graph of a large fleet is not for reading.
const EDGES: usize = 100;

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

/// A service and what it has to do with the incident.
#[derive(Serialize)]
struct Affected {
    name: String,
    anomalies: usize,
}

/// A call between two services, and where it was learnt.
#[derive(Serialize)]
struct Learnt {
    caller: String,
    callee: String,
    /// Each source with its age at the detection.
    sources: Vec<(String, String)>,
}

/// What was read beside the incident's row and its parts.
struct Gathered {
    last_id: i64,
    drawings: Vec<Drawing>,
    evidence: Table,
    operate: Operate,
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
    learnt: Vec<Learnt>,
    contradicted: Vec<(String, String)>,
    expired: Vec<(String, String)>,
    drawings: Vec<Drawing>,
    no_chart: String,
    anomalies: Vec<GroupedAnomaly>,
    /// Those that are told by their numbers only.
    more_anomalies: Vec<GroupedAnomaly>,
    unlisted: u64,
    left_out: Vec<LeftOut>,
    related: Vec<Related>,
    signals: Vec<CorrelationSignal>,
    errors: Vec<LogExcerpt>,
    operate: Operate,
    candidates: Vec<Candidate>,
    conclusion: Conclusion,
    proofs: Vec<Proof>,
    plan: Option<RemediationPlan>,
    /// The same, with what became of each step.
    done: Option<PlanView>,
    plan_runbooks: Vec<Link>,
    mails: Vec<Email>,
    messages: Vec<Email>,
    calls: Calls,
    costs: Costs,
    review: Option<Review>,
    chain: Chain,
    postmortem: Option<Value>,
    evidence: Table,
    records: Vec<(String, i64)>,
    records_left_out: Vec<RecordsLeftOut>,
    unread: Vec<String>,
}

/// `GET /incidents/{id}`.
pub async fn show(
    State(app): State<App>,
    Path(id): Path<String>,
    caller: Caller,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["chart", "asked"])?;
    let last_id = read::last_event_id(&app.pool).await?;
    let row = find_incident(&app.pool, &id).await?;
    let known = Known::read(&row);
    let parts = incidents::parts(&app, row.id).await?;
    let chart = params.text("chart");
    let asked = params.text("asked");
    let gathered = Gathered {
        last_id,
        drawings: drawings::collect(&app, &row, &known, chart.as_deref()).await?,
        evidence: evidence::collect(&app, row.id, &known).await?,
        operate: operate::collect(
            &app,
            &row,
            &known,
            &parts.timeline,
            (&caller, &headers),
            asked.as_deref(),
        )
        .await?,
    };
    let view = View::new(row, known, parts, gathered);
    app.pages.answer("incident.html", view)
}

impl View {
    fn new(row: IncidentRow, known: Known, parts: Parts, gathered: Gathered) -> View {
        let frame = Frame {
            follows: row.id.to_string(),
            last_id: gathered.last_id,
            ..Frame::new(format!("{} {}", row.short_id, known.title)).of(Section::Incidents)
        };
        let clocks = Clocks::new(&row, &known, &parts.timeline);
        let (duration_label, duration) =
            clocks.duration(&row, &known, &parts.timeline, frame.now_ms);
        let blast = known.blast.clone().unwrap_or_default();
        let done = plan::view(&row, &known, &parts.timeline, &parts.artifacts);
        let postmortem = row.postmortem.as_deref().map(markdown::render);
        let sources = Sources::of(&known);
        let cited = known.plan.as_ref().map(|plan| &plan.runbook_references);
        let plan_runbooks = cited.map_or_else(Vec::new, |cited| cause::runbooks(cited));
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
            graphs: graphs(&known, row.detected_at_ms),
            learnt: learnt(&known, row.detected_at_ms),
            no_chart: drawings::no_chart(&known),
            drawings: gathered.drawings,
            related: conclusion::related(row.id, &known, &parts.timeline),
            conclusion: conclusion::read(&parts.timeline),
            candidates: cause::candidates(&known, &sources),
            proofs: proofs(&known, &sources),
            operate: gathered.operate,
            plan_runbooks,
            postmortem: postmortem.map(Value::from_safe_string),
            records: in_order(&parts.records),
            timeline: parts
                .timeline
                .into_iter()
                .map(|event| clocks.moment(event))
                .collect(),
            mails: parts.mails,
            messages: parts.messages,
            calls: calls::collect(&parts.calls),
            costs: costs::collect(&parts.costs),
            review: parts.review,
            chain: chain::collect(&parts.artifacts),
            evidence: gathered.evidence,
            short_id: row.short_id,
            environment: row.environment,
            status: row.status,
            severity: row.severity,
            title: known.title,
            more_anomalies: more::divided(&known.anomalies).1.to_vec(),
            anomalies: more::divided(&known.anomalies).0.to_vec(),
            signals: known.signals,
            errors: known.errors,
            left_out: known.left_out,
            contradicted: known.contradicted,
            expired: known.expired,
            records_left_out: known.records_left_out,
            unlisted: known.unlisted,
            plan: known.plan,
            done,
            unread: known.unread,
            frame,
        }
    }
}

fn proofs(known: &Known, sources: &Sources) -> Vec<Proof> {
    let layouts = [proof::WIDE, proof::NARROW].into_iter();
    layouts
        .filter_map(|layout| proof::draw(&known.candidates, sources, layout))
        .collect()
}

fn graphs(known: &Known, detected_at_ms: i64) -> Vec<Graph> {
    let layouts = [graph::WIDE, graph::NARROW].into_iter();
    layouts
        .filter_map(|layout| graph::draw(known, detected_at_ms, layout))
        .collect()
}

fn learnt(known: &Known, detected_at_ms: i64) -> Vec<Learnt> {
    let calls = known.edges.iter().take(EDGES);
    calls
        .map(|call| Learnt {
            caller: call.caller.clone(),
            callee: call.callee.clone(),
            sources: graph::learnt(call, detected_at_ms),
        })
        .collect()
}

fn in_order(records: &BTreeMap<String, i64>) -> Vec<(String, i64)> {
    let kinds = KINDS.iter();
    kinds
        .filter_map(|kind| Some(((*kind).to_owned(), *records.get(*kind)?)))
        .collect()
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
    if let Some(declared) = &known.declared {
        let severity = format::words(&declared.severity);
        add(
            "Declared",
            format!("by {}, {severity}: {}", declared.by, declared.title),
        );
    }
    if !known.description.is_empty() {
        add("What happened", known.description.clone());
    }
    if let Some(trigger) = &known.trigger {
        add("Triggered by", triggered(trigger));
    }
    if !known.severity_reason.is_empty() {
        let severity = format::words(&row.severity);
        add("Severity", format!("{severity}: {}", known.severity_reason));
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
    let stated = known
        .resolution
        .as_ref()
        .and_then(|end| end.stated.as_ref());
    if let Some(stated) = stated {
        add("Stated", stated_text(stated));
    }
    facts
}

/// What a person said who closed it; nobody measured it.
fn stated_text(stated: &Stated) -> String {
    let mut text = format!("by {}, not measured: {}", stated.by, stated.root_cause);
    let parts = [
        ("fix", &stated.fix),
        ("category", &stated.category),
        ("component", &stated.component),
    ];
    for (name, value) in parts {
        if !value.is_empty() {
            text.push_str(&format!("; {name}: {value}"));
        }
    }
    if let Some(minutes) = stated.toil_minutes {
        text.push_str(&format!("; toil: {} min", format::number(minutes)));
    }
    text
}

fn change_text(change: &RawDeployment, detected_at_ms: i64) -> String {
    let before = detected_at_ms - change.timestamp_ms;
    let side = if before >= 0 { "before" } else { "after" };
    let mut text = format!(
        "{}, {} {side} detection",
        change.told(),
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
