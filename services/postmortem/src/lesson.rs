//! What can be learnt from an incident once people have reviewed it: only what
//! its postmortem states, and what the checks of its actions found.

use crate::document::Document;
use crate::facts::{Deed, Facts, verification};
use crate::statement::Statement;
use midwatch_clients::knowledge::{EffectiveAction, PastIncident, REVIEWED};
use midwatch_events::Severity;
use midwatch_events::action::TypedAction;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Confidences below it are inconclusive, as the investigation has it.
const CONCLUSIVE: f64 = 0.5;

/// A step that was carried out or refused, in words and data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// [`Facts::step_name`].
    pub step_id: String,
    pub action: String,
    pub command: String,
    /// The action's wire name; empty for a step that nothing executes.
    pub kind: String,
    /// The verdict's wire name; empty where its effect was not verified.
    pub verdict: String,
    /// What became of it, as the postmortem says.
    pub became: String,
    /// As the plan had them, this and the four below; empty in what older
    /// versions drew.
    #[serde(default)]
    pub why: String,
    #[serde(default)]
    pub expect: String,
    #[serde(default)]
    pub rollback: String,
    #[serde(default)]
    pub risk: String,
    #[serde(default)]
    pub owner: String,
    /// What was executed; absent for a step that nothing executes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typed: Option<Box<TypedAction>>,
}

/// The lesson; the fields of a past incident, and what it was drawn from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lesson {
    pub incident_id: String,
    pub title: String,
    pub anomaly_type: String,
    pub severity: Severity,
    pub service: String,
    pub affected_services: Vec<String>,
    pub started_at: String,
    pub resolved_at: String,
    pub mttr_minutes: f64,
    pub summary: String,
    pub root_cause: String,
    pub resolution: String,
    pub contributing_factors: Vec<String>,
    pub tags: Vec<String>,
    /// The wire name of the cause; empty where none was established.
    pub cause: String,
    /// The investigation concluded that cause, and nobody stated another one in
    /// words: only then may it speak for the cause of a later incident.
    #[serde(default)]
    pub concluded: bool,
    pub trigger_metric: String,
    pub evidence: Vec<String>,
    pub tried: Vec<Tried>,
    pub effective_actions: Vec<EffectiveAction>,
}

/// Draws the lesson from a document that has passed the lint.
#[must_use]
pub fn draw(facts: &Facts, document: &Document) -> Lesson {
    let header = &facts.resolved.header;
    let first = facts.candidates.first();
    let cause = first.map_or_else(String::new, |first| first.cause.clone());
    let under = |heading: &str| -> Vec<String> {
        let section = document.section(heading);
        let statements = section.iter().flat_map(|section| &section.statements);
        statements.map(Statement::text).collect()
    };
    let tried = tried(facts, document);
    let stated = facts.resolved.stated.as_ref();
    Lesson {
        incident_id: header.short_id.clone(),
        title: header.title(),
        anomaly_type: header.anomaly_type.as_str().to_owned(),
        severity: header.severity,
        service: first
            .map_or(header.primary_service(), |first| &first.service)
            .to_owned(),
        affected_services: header.affected_services.clone(),
        started_at: rfc3339(facts.onset_ms().unwrap_or(header.detected_at_ms)),
        resolved_at: rfc3339(facts.resolved.resolved_at_ms),
        mttr_minutes: facts.resolved.mttr_minutes,
        summary: document.summary(),
        concluded: first.is_some_and(|first| first.confidence >= CONCLUSIVE)
            && stated.is_none_or(|stated| stated.root_cause.is_empty()),
        root_cause: match stated.filter(|stated| !stated.root_cause.is_empty()) {
            Some(stated) => format!("{} stated: {}", who(&stated.by), stated.root_cause),
            None => under("Root cause").join(" "),
        },
        resolution: resolution(facts, &tried),
        contributing_factors: under("Contributing factors"),
        tags: tags(facts, &cause),
        trigger_metric: facts.resolved.trigger_metric.clone(),
        evidence: under("Evidence for it"),
        effective_actions: effective(facts, &cause),
        tried,
        cause,
    }
}

impl Lesson {
    /// As the knowledge store holds it.
    #[must_use]
    pub fn past_incident(&self) -> PastIncident {
        PastIncident {
            incident_id: self.incident_id.clone(),
            title: self.title.clone(),
            anomaly_type: self.anomaly_type.clone(),
            severity: self.severity.as_str().to_owned(),
            service: self.service.clone(),
            mttr_minutes: self.mttr_minutes,
            tags: self.tags.clone(),
            summary: self.summary.clone(),
            root_cause: self.root_cause.clone(),
            resolution: self.resolution.clone(),
            contributing_factors: self.contributing_factors.clone(),
            record: json!(self),
            effective_actions: self.effective_actions.clone(),
            origin: Some(REVIEWED),
        }
    }
}

/// The latest judged action of each kind, oldest first.
fn effective(facts: &Facts, cause: &str) -> Vec<EffectiveAction> {
    let mut actions: Vec<EffectiveAction> = Vec::new();
    for deed in facts
        .actions
        .iter()
        .filter(|deed| deed.action.phase == "verified")
    {
        let (Some(kind), Some(found)) = (kind(facts, deed), verification(deed)) else {
            continue;
        };
        actions.retain(|known| known.kind != kind);
        actions.push(EffectiveAction {
            kind,
            cause: cause.to_owned(),
            verdict: found.verdict.as_str().to_owned(),
        });
    }
    actions
}

fn kind(facts: &Facts, deed: &Deed) -> Option<String> {
    let planned = facts.step_of(&deed.action);
    let typed = deed.action.details.typed.as_deref();
    typed
        .or_else(|| planned.and_then(|planned| planned.step.typed.as_deref()))
        .map(|typed| typed.kind.as_str().to_owned())
}

fn tried(facts: &Facts, document: &Document) -> Vec<Tried> {
    let rows = document.section("What was tried");
    facts
        .steps()
        .filter_map(|planned| {
            let step = planned.step;
            facts.deeds(planned).next()?;
            let verified = facts.deeds(planned).rev().find_map(verification);
            let told = facts.deeds(planned).rev();
            let mut told = told.filter_map(|deed| deed.action.details.typed.clone());
            let typed = told.next().or_else(|| step.typed.clone());
            let name = format!("{} | ", facts.step_name(planned));
            let row = rows
                .iter()
                .flat_map(|section| &section.statements)
                .find(|row| row.text().starts_with(&name))?;
            let became = row
                .text()
                .rsplit(" | ")
                .next()
                .unwrap_or_default()
                .to_owned();
            Some(Tried {
                step_id: facts.step_name(planned),
                action: step.action.clone(),
                command: step.command.clone(),
                kind: typed
                    .as_ref()
                    .map_or("", |typed| typed.kind.as_str())
                    .to_owned(),
                verdict: verified
                    .map_or("", |found| found.verdict.as_str())
                    .to_owned(),
                became,
                why: step.rationale.clone(),
                expect: step.expected_outcome.clone(),
                rollback: step.rollback.clone(),
                risk: step.risk_level.clone(),
                owner: step.owner.clone(),
                typed,
            })
        })
        .collect()
}

fn resolution(facts: &Facts, tried: &[Tried]) -> String {
    let mut said: Vec<String> = tried
        .iter()
        .map(|one| format!("{} ({}): {}.", one.action, one.command, one.became))
        .collect();
    if let Some(stated) = &facts.resolved.stated
        && !stated.fix.is_empty()
    {
        said.push(format!(
            "{} stated this fix: {}",
            who(&stated.by),
            stated.fix
        ));
    }
    if said.is_empty() {
        said.push(facts.unexplained_end().to_owned());
    }
    said.join(" ")
}

fn tags(facts: &Facts, cause: &str) -> Vec<String> {
    let stated = facts.resolved.stated.as_ref();
    let own = stated.map(|stated| [stated.category.clone(), stated.component.clone()]);
    let mut tags: Vec<String> = [cause.to_lowercase().replace('_', "-")]
        .into_iter()
        .chain(own.into_iter().flatten())
        .filter(|tag| !tag.is_empty())
        .collect();
    tags.dedup();
    tags
}

fn who(by: &str) -> &str {
    if by.is_empty() {
        "Whoever closed it"
    } else {
        by
    }
}

fn rfc3339(epoch_ms: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(epoch_ms) * 1_000_000)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}
