//! The decisions of the investigation, pure.

pub mod advice;
pub mod evidence;
pub mod facts;
pub mod gathered;
pub mod rank;
pub mod state;
pub mod templates;
pub mod watch;

use crate::config::Config;
use facts::Facts;
use midwatch_events::incident::{
    IncidentOpened, IncidentUpdated, RcaCompleted, RootCauseCandidate, Verdict,
};
use midwatch_events::{Event, IncidentState, ids};
use midwatch_runtime::{Effect, Input, JobRequest, Moment, Projection};
use serde_json::{Value, json};
use state::{Case, State};

/// The core of the investigation.
#[derive(Clone, Debug, Default)]
pub struct Core {
    pub config: Config,
    /// Whether a model is configured that may reorder and word candidates.
    pub model: bool,
}

/// How long an update may wait for its incident's opening, wall clock.
const EARLY_TTL_MS: i64 = 60_000;

impl Core {
    /// Decides on one input about one incident.
    pub fn decide(&self, state: &mut State, at: Moment, input: Input) -> Vec<Effect> {
        match input {
            Input::Event { envelope, .. } => match envelope.event {
                Event::Opened(opened) => self.on_opened(state, at, &opened),
                Event::Updated(updated) => match &mut state.case {
                    Some(case) => self.on_updated(case, at, &updated),
                    None => vec![Effect::Park {
                        reason: "the incident's opening has not arrived".to_owned(),
                        ttl_ms: EARLY_TTL_MS,
                    }],
                },
                Event::Anomaly(anomaly) => match &mut state.case {
                    Some(case) if !case.resolved => {
                        watch::transition(case, &anomaly);
                        watch::resolve(case)
                    }
                    _ => Vec::new(),
                },
                _ => Vec::new(),
            },
            Input::JobDone { job, result } => match &mut state.case {
                Some(case) if job.kind == "gather" => self.on_gathered(case, at, result),
                Some(case) if job.kind == "advise" => self.on_advice(case, at, result),
                _ => Vec::new(),
            },
            Input::Timer { .. } => match &state.case {
                Some(case) if !case.resolved => {
                    vec![still_watching(case, at), self.watch_timer(at)]
                }
                _ => Vec::new(),
            },
            Input::Expired { envelope } => match envelope.event {
                Event::Updated(updated) => {
                    let id = updated.header.incident_id;
                    let summary = "An update came for an incident whose opening never arrived.";
                    vec![Effect::audit(
                        id,
                        "INPUT_EXPIRED",
                        at.event_ms,
                        summary,
                        json!({}),
                    )]
                }
                _ => Vec::new(),
            },
        }
    }

    fn on_opened(&self, state: &mut State, at: Moment, opened: &IncidentOpened) -> Vec<Effect> {
        let case = state.case.insert(Case::open(opened));
        let id = case.header.incident_id;
        let mut effects = vec![
            Effect::Project(Projection::Move {
                incident_id: id,
                to: IncidentState::Investigating,
            }),
            Effect::audit(
                id,
                "INVESTIGATION_STARTED",
                at.event_ms,
                format!("The investigation of {} began.", case.header.title()),
                json!({"wall_ms": at.wall_ms}),
            ),
            self.watch_timer(at),
        ];
        effects.extend(watch::watch_all(case, at.wall_ms));
        effects.push(gather(case));
        effects
    }

    fn watch_timer(&self, at: Moment) -> Effect {
        Effect::SetTimer {
            name: "watch".to_owned(),
            due_ms: at.wall_ms + self.config.watch_ms,
            payload: json!({}),
        }
    }

    fn on_updated(&self, case: &mut Case, at: Moment, updated: &IncidentUpdated) -> Vec<Effect> {
        // Each update holds the whole: an older one that comes late is past.
        if updated.revision <= case.update {
            return Vec::new();
        }
        case.update = updated.revision;
        let grown = updated.grouped_anomalies.len() > case.anomalies.len();
        case.header = updated.header.clone();
        case.anomalies.clone_from(&updated.grouped_anomalies);
        case.deployment.clone_from(&updated.deployment_context);
        if case.resolved {
            return Vec::new();
        }
        let mut effects = watch::watch_all(case, at.wall_ms);
        // A series that became normal again is no reason to look again.
        if !grown {
            return effects;
        }
        let reason = updated.reason.clone();
        if case.busy {
            case.look_again = Some(reason);
        } else {
            case.reason = reason;
            effects.push(gather(case));
        }
        effects
    }

    fn on_gathered(
        &self,
        case: &mut Case,
        at: Moment,
        result: Result<Value, String>,
    ) -> Vec<Effect> {
        let facts = result.and_then(|value| {
            serde_json::from_value::<Facts>(value).map_err(|error| error.to_string())
        });
        let facts = match facts {
            Ok(facts) => facts,
            // The anomalies themselves are evidence enough for an answer that
            // says what it could not look at.
            Err(error) => Facts {
                gaps: vec![format!("the records could not be read: {error}")],
                ..Facts::default()
            },
        };
        let mut effects: Vec<Effect> = facts
            .gaps
            .iter()
            .map(|gap| {
                let id = case.header.incident_id;
                Effect::audit(id, "EVIDENCE_GAP", at.event_ms, gap.clone(), json!({}))
            })
            .collect();
        let candidates = rank::rank(&self.config, case, &facts);
        case.facts = Some(facts);
        if self.model && !candidates.is_empty() {
            effects.push(advice::ask(case, &candidates));
            case.candidates = candidates;
            return effects;
        }
        effects.extend(self.conclude(case, at, candidates, "deterministic"));
        effects
    }

    fn on_advice(&self, case: &mut Case, at: Moment, result: Result<Value, String>) -> Vec<Effect> {
        let ranked = std::mem::take(&mut case.candidates);
        let advice = advice::read(&case.header, &ranked, at, result);
        let mut effects = advice.effects;
        effects.extend(self.conclude(case, at, advice.candidates, &advice.method));
        effects
    }

    /// Publishes the answer, or a revision where it differs from the last one.
    fn conclude(
        &self,
        case: &mut Case,
        at: Moment,
        candidates: Vec<RootCauseCandidate>,
        method: &str,
    ) -> Vec<Effect> {
        case.busy = false;
        let mut effects = Vec::new();
        let changed = case.revision == 0 || differs(&case.published, &candidates);
        case.candidates = candidates;
        if changed {
            case.revision += 1;
            effects.extend(self.publish(case, at, method));
        }
        if let Some(reason) = case.look_again.take() {
            case.reason = reason;
            effects.push(gather(case));
        } else {
            effects.extend(watch::resolve(case));
        }
        effects
    }

    fn publish(&self, case: &mut Case, at: Moment, method: &str) -> Vec<Effect> {
        let id = case.header.incident_id;
        let top = case.candidates.first();
        let top_confidence = top.map_or(0.0, |candidate| candidate.confidence);
        let verdict = if top_confidence >= self.config.conclusive {
            Verdict::Conclusive
        } else {
            Verdict::Inconclusive
        };
        let top_root_cause = match (verdict, top) {
            (Verdict::Conclusive, Some(top)) => top.hypothesis.clone(),
            (_, Some(top)) => format!("inconclusive; most likely {}", top.hypothesis),
            (_, None) => "inconclusive: no service of the incident shows a cause".to_owned(),
        };
        case.published = case.candidates.clone();
        case.answer.clone_from(&top_root_cause);
        let rca = RcaCompleted {
            top_changed: false,
            rejected_claims: Vec::new(),
            degradations: Vec::new(),
            header: case.header.clone(),
            rca_id: ids::derive(&["rca", &id.to_string(), &case.revision.to_string()]),
            completed_at_ms: at.event_ms,
            root_cause_candidates: case.candidates.clone(),
            top_root_cause: top_root_cause.clone(),
            top_confidence,
            verdict,
            revision: case.revision,
            revision_reason: if case.revision > 1 {
                case.reason.clone()
            } else {
                String::new()
            },
            method: method.to_owned(),
            trigger_metric: case.trigger.metric.clone(),
            observed_value: case.trigger.observed_value,
            baseline_value: case.trigger.baseline_value,
            deployment_context: case.deployment.clone(),
        };
        let first = case.revision == 1;
        let event_type = if first { "RCA_COMPLETE" } else { "RCA_REVISED" };
        let summary = format!(
            "{:.0} % confidence: {top_root_cause}",
            top_confidence * 100.0
        );
        let mut effects = vec![
            Effect::Project(Projection::Cause {
                incident_id: id,
                candidates: json!(case.candidates),
                top_root_cause,
                confidence: top_confidence,
            }),
            Effect::audit(
                id,
                event_type,
                at.event_ms,
                summary,
                json!({"revision": case.revision, "method": method, "verdict": verdict,
                       "wall_ms": at.wall_ms, "reason": case.reason,
                       "top_service": case.candidates.first().map(|top| &top.service)}),
            ),
            Effect::Publish(Event::Rca(Box::new(rca))),
        ];
        if first {
            let to = IncidentState::RcaComplete;
            effects.insert(
                0,
                Effect::Project(Projection::Move {
                    incident_id: id,
                    to,
                }),
            );
        }
        effects
    }
}

/// Whether people would call it another answer: another cause first, or a
/// confidence that moved by a tenth.
fn differs(old: &[RootCauseCandidate], new: &[RootCauseCandidate]) -> bool {
    match (old.first(), new.first()) {
        (Some(old), Some(new)) => {
            old.service != new.service
                || old.cause != new.cause
                || (old.confidence - new.confidence).abs() >= 0.1
        }
        (old, new) => old.is_some() != new.is_some(),
    }
}

fn gather(case: &mut Case) -> Effect {
    case.gatherings += 1;
    case.busy = true;
    let id = case.header.incident_id;
    let services: Vec<&String> = case.header.affected_services.iter().collect();
    Effect::StartJob(JobRequest::new(
        format!("gather:{}", case.gatherings),
        "gather",
        json!({
            "incident_id": id,
            "environment": case.header.environment,
            "anomaly_type": case.header.anomaly_type,
            "title": case.header.title(),
            "services": services,
            "anomalies": case.anomalies,
        }),
    ))
}

fn still_watching(case: &Case, at: Moment) -> Effect {
    let open: Vec<String> = case
        .watch
        .values()
        .filter(|watched| watched.normal.is_none())
        .map(|watched| format!("{} on {}", watched.metric, watched.service))
        .collect();
    Effect::audit(
        case.header.incident_id,
        "WATCH_CONTINUES",
        at.event_ms,
        format!("Still open; not normal yet: {}.", open.join(", ")),
        json!({"waiting_for": open}),
    )
}
