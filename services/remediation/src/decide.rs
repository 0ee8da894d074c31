//! When to plan, what to publish, and when to stop. Pure: no clock, network
//! or log.

use crate::case::{Case, Observed};
use crate::estimate::{Past, estimate};
use crate::order::{self, Order};
use crate::steps::{self, Chosen};
use midwatch_clients::knowledge::RunbookHit;
use midwatch_clients::llm::LlmCall;
use midwatch_events::knowledge::Catalogue;
use midwatch_events::{
    Event, IncidentResolved, IncidentState, OperatorCommand, RcaCompleted, RemediationPlan, ids,
};
use midwatch_runtime::agent::{Input, Job, Moment};
use midwatch_runtime::effect::{Effect, JobRequest, Projection};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The job that looks up runbooks, records and past incidents.
pub const RETRIEVE: &str = "retrieve_runbooks";
/// The job that asks the model for an order.
pub const ORDER: &str = "order_steps";

/// What is remembered of an incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The root cause that is being planned for or was planned for last.
    pub cause: Option<Cause>,
    /// The last plan that was published.
    pub plan: Option<Published>,
    /// Event time of the incident's end, where it is over.
    pub resolved_at_ms: Option<i64>,
    /// Merged into another incident, which has its own plan.
    pub merged: bool,
}

/// A root cause under work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// [`Case::key`].
    pub key: String,
    pub revision: u32,
}

/// A published plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub plan_id: uuid::Uuid,
    pub key: String,
}

/// What the retrieval job returns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Retrieved {
    /// The sections of the runbook that fits, in its order; empty where none
    /// does.
    pub sections: Vec<RunbookHit>,
    pub observed: Observed,
    pub past: Vec<Past>,
}

/// The payload of the ordering job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    pub rca: RcaCompleted,
    pub plan: RemediationPlan,
    pub dropped: Vec<String>,
}

/// What the ordering job returns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    pub call: LlmCall,
    /// Absent where the call failed; the call says how.
    pub order: Option<Order>,
}

/// The deciding part of the agent.
#[derive(Clone, Debug, Default)]
pub struct Core {
    pub catalogue: Catalogue,
    /// `K8S_NAMESPACE`.
    pub namespace: String,
    /// Whether a model is configured.
    pub has_model: bool,
}

impl Core {
    /// Decides on an input.
    pub fn decide(&self, state: &mut State, at: Moment, input: Input) -> Vec<Effect> {
        match input {
            Input::Event { envelope, .. } | Input::Expired { envelope } => match envelope.event {
                Event::Rca(rca) => self.rca(state, &rca),
                Event::Resolved(resolved) => over(state, &resolved),
                Event::Command(command) => vec![heard(&command)],
                _ => Vec::new(),
            },
            Input::JobDone { job, result } if job.kind == RETRIEVE => {
                self.retrieved(state, at, &job, result)
            }
            Input::JobDone { job, result } if job.kind == ORDER => ordered(state, at, &job, result),
            Input::JobDone { .. } | Input::Timer { .. } => Vec::new(),
        }
    }

    fn case<'a>(&'a self, rca: &'a RcaCompleted) -> Case<'a> {
        Case {
            rca,
            catalogue: &self.catalogue,
            default_namespace: &self.namespace,
        }
    }

    fn rca(&self, state: &mut State, rca: &RcaCompleted) -> Vec<Effect> {
        // A cause found after the end means that the incident was reopened.
        if state
            .resolved_at_ms
            .is_some_and(|at| rca.completed_at_ms > at)
        {
            state.resolved_at_ms = None;
        }
        // The first plan is made even if the fault ended meanwhile: people
        // need it for what is left to do. Further ones would only disturb.
        let over = state.resolved_at_ms.is_some() && state.cause.is_some();
        let key = self.case(rca).key();
        let known = state
            .cause
            .as_ref()
            .is_some_and(|cause| cause.key == key || cause.revision >= rca.revision);
        if over || known || state.merged {
            return Vec::new();
        }
        state.cause = Some(Cause {
            key,
            revision: rca.revision,
        });
        match serde_json::to_value(rca) {
            Ok(payload) => vec![Effect::StartJob(JobRequest::new(
                format!("{RETRIEVE}:{}", rca.revision),
                RETRIEVE,
                payload,
            ))],
            Err(_) => Vec::new(),
        }
    }

    /// Runbooks and records are there, or could not be had.
    fn retrieved(
        &self,
        state: &mut State,
        at: Moment,
        job: &Job,
        result: Result<Value, String>,
    ) -> Vec<Effect> {
        let Ok(rca) = serde_json::from_value::<RcaCompleted>(job.payload.clone()) else {
            return Vec::new();
        };
        // A newer cause has its own retrieval.
        if state
            .cause
            .as_ref()
            .is_none_or(|cause| cause.revision != rca.revision)
        {
            return Vec::new();
        }
        let found = result.and_then(|value| {
            serde_json::from_value::<Retrieved>(value).map_err(|error| error.to_string())
        });
        let mut effects = Vec::new();
        let found = found.unwrap_or_else(|error| {
            let summary =
                format!("The knowledge store could not be asked, so the plan only looks: {error}");
            effects.push(Effect::audit(
                rca.header.incident_id,
                "PLAN_DEGRADED",
                at.event_ms,
                summary,
                json!({ "rca_revision": rca.revision, "error": error }),
            ));
            Retrieved::default()
        });
        let (plan, dropped) = self.draft(state, at, &rca, &found);
        if self.has_model && plan.action_steps.len() > 1 {
            let draft = Draft { rca, plan, dropped };
            if let Ok(payload) = serde_json::to_value(&draft) {
                effects.push(Effect::StartJob(JobRequest {
                    // The client tries again by itself, within its time limit.
                    max_attempts: 1,
                    ..JobRequest::new(format!("{ORDER}:{}", draft.rca.revision), ORDER, payload)
                }));
                return effects;
            }
            effects.extend(publish(state, at, draft, "deterministic"));
            return effects;
        }
        effects.extend(publish(
            state,
            at,
            Draft { rca, plan, dropped },
            "deterministic",
        ));
        effects
    }

    /// The plan for a cause, and what had to be left out of it.
    #[must_use]
    pub fn draft(
        &self,
        state: &State,
        at: Moment,
        rca: &RcaCompleted,
        found: &Retrieved,
    ) -> (RemediationPlan, Vec<String>) {
        let case = self.case(rca);
        let chosen = choose(&case, found);
        let (estimated_resolution_minutes, mut estimate_basis) = estimate(&case, &found.past);
        if state.resolved_at_ms.is_some() {
            estimate_basis.push_str(" The incident was over before the plan was ready.");
        }
        let root_cause = if case.is_conclusive() {
            rca.top_root_cause.clone()
        } else {
            format!("not established; strongest lead: {}", rca.top_root_cause)
        };
        let plan = RemediationPlan {
            header: rca.header.clone(),
            plan_id: ids::derive(&[
                "plan",
                &rca.header.incident_id.to_string(),
                &rca.revision.to_string(),
            ]),
            planned_at_ms: at.event_ms,
            root_cause,
            confidence: rca.top_confidence,
            action_steps: chosen.steps,
            escalation_path: self.escalation(&case),
            runbook_references: chosen.references,
            estimated_resolution_minutes,
            estimate_basis,
            rca_revision: rca.revision,
            plan_hash: String::new(),
        };
        (plan, chosen.dropped)
    }

    /// Whom to call, nearest first: whoever owns the cause, then whoever owns
    /// what suffers from it.
    fn escalation(&self, case: &Case<'_>) -> Vec<String> {
        let mut path: Vec<String> = Vec::new();
        let affected = case.rca.header.affected_services.iter().map(String::as_str);
        for service in std::iter::once(case.service()).chain(affected) {
            let Some(entry) = self.catalogue.get(service) else {
                continue;
            };
            for (role, address) in [("on-call", &entry.on_call), ("team", &entry.team_email)] {
                let contact = format!("{} {role} ({address})", entry.team);
                // Of services that only suffer, the person on call is enough.
                let wanted = role == "on-call" || service == case.service();
                if wanted && !address.is_empty() && !path.contains(&contact) {
                    path.push(contact);
                }
            }
        }
        if path.is_empty() {
            path.extend(["on-call".to_owned(), "team".to_owned()]);
        }
        path
    }
}

/// Steps from the runbook where the cause is established and one fits, else
/// steps that only look.
fn choose(case: &Case<'_>, found: &Retrieved) -> Chosen {
    let mut looks = steps::diagnosis(case, &found.observed);
    if steps::is_host(case.service()) {
        return looks;
    }
    if found.sections.is_empty() {
        let reason = format!(
            "no runbook was found for {}, so the plan only looks",
            case.key()
        );
        looks.dropped.push(reason);
        return looks;
    }
    let mut chosen = steps::from_runbook(
        case,
        &found.sections,
        &found.observed,
        !case.is_conclusive(),
    );
    let changes = chosen
        .steps
        .iter()
        .any(|step| step.risk_level != "read-only");
    if !case.is_conclusive() || !changes {
        let known: Vec<String> = chosen
            .steps
            .iter()
            .map(|step| step.command.clone())
            .collect();
        let new = looks
            .steps
            .into_iter()
            .filter(|step| !known.contains(&step.command));
        chosen.steps.extend(new);
        chosen.steps.truncate(crate::config::MAX_STEPS);
        chosen.steps.sort_by_key(|step| step.priority);
        steps::renumber(&mut chosen.steps);
    }
    chosen
}

/// The model answered, or could not.
fn ordered(state: &mut State, at: Moment, job: &Job, result: Result<Value, String>) -> Vec<Effect> {
    let Ok(mut draft) = serde_json::from_value::<Draft>(job.payload.clone()) else {
        return Vec::new();
    };
    let incident_id = draft.rca.header.incident_id;
    let mut effects = Vec::new();
    let advice = result.and_then(|value| {
        serde_json::from_value::<Advice>(value).map_err(|error| error.to_string())
    });
    let applied = advice.and_then(|advice| {
        let error = advice.call.error.clone();
        effects.push(Effect::RecordModelCall {
            incident_id: Some(incident_id),
            call: Box::new(advice.call),
        });
        let order = advice
            .order
            .ok_or_else(|| error.unwrap_or_else(|| "the model gave no order".to_owned()))?;
        order::apply(&order, &draft.rca, &mut draft.plan)
    });
    let current = state
        .cause
        .as_ref()
        .is_some_and(|cause| cause.revision == draft.rca.revision);
    if !current {
        return effects;
    }
    let method = match applied {
        Ok(()) => "ordered by a model",
        Err(reason) => {
            effects.push(Effect::audit(
                incident_id,
                "MODEL_ADVICE_REFUSED",
                at.event_ms,
                format!("The plan keeps its own order: {reason}"),
                json!({ "purpose": ORDER, "reason": reason }),
            ));
            "deterministic"
        }
    };
    effects.extend(publish(state, at, draft, method));
    effects
}

/// The plan becomes known.
fn publish(state: &mut State, at: Moment, draft: Draft, method: &str) -> Vec<Effect> {
    let Draft { rca, plan, dropped } = draft;
    let incident_id = rca.header.incident_id;
    if state.merged {
        return Vec::new();
    }
    let key = state
        .cause
        .as_ref()
        .map_or_else(String::new, |cause| cause.key.clone());
    let revised = state.plan.is_some();
    state.plan = Some(Published {
        plan_id: plan.plan_id,
        key: key.clone(),
    });
    let mut effects = Vec::new();
    if let Ok(plan) = serde_json::to_value(&plan) {
        effects.push(Effect::Project(Projection::Plan { incident_id, plan }));
    }
    // An incident that is over does not go back to being remediated.
    if state.resolved_at_ms.is_none() {
        effects.push(Effect::Project(Projection::Move {
            incident_id,
            to: IncidentState::Remediating,
        }));
    }
    let [low, high] = plan.estimated_resolution_minutes;
    let count = plan.action_steps.len();
    let summary = format!(
        "{} with {count} {} against {key}, estimated {low} to {high} min",
        if revised { "Revised plan" } else { "Plan" },
        if count == 1 { "step" } else { "steps" },
    );
    let payload = json!({
        "plan_id": plan.plan_id,
        "rca_revision": rca.revision,
        "method": method,
        "steps": plan.action_steps.iter().map(|step| json!({
            "step_id": step.step_id,
            "action": step.action,
            "risk_level": step.risk_level,
        })).collect::<Vec<_>>(),
        "runbooks": plan.runbook_references,
        "estimate_minutes": [low, high],
    });
    effects.push(Effect::audit(
        incident_id,
        "PLAN_READY",
        at.event_ms,
        summary,
        payload,
    ));
    if !dropped.is_empty() {
        effects.push(Effect::audit(
            incident_id,
            "STEPS_LEFT_OUT",
            at.event_ms,
            dropped.join("; "),
            json!({ "plan_id": plan.plan_id, "reasons": dropped }),
        ));
    }
    effects.push(Effect::Publish(Event::Plan(Box::new(plan))));
    effects
}

fn over(state: &mut State, resolved: &IncidentResolved) -> Vec<Effect> {
    state.resolved_at_ms = Some(resolved.resolved_at_ms);
    state.merged |= resolved.resolution_method == "MERGED";
    Vec::new()
}

/// People's commands are only written down: nothing is carried out yet.
fn heard(command: &OperatorCommand) -> Effect {
    let summary = format!(
        "{} asks to {} {}; nothing is carried out by this version",
        command.by, command.command, command.target
    );
    Effect::audit(
        command.incident_id,
        "COMMAND_RECEIVED",
        command.issued_at_ms,
        summary,
        json!({
            "command": command.command,
            "target": command.target,
            "by": command.by,
            "credential_id": command.credential_id,
            "reason": command.reason,
            "expires_at_ms": command.expires_at_ms,
        }),
    )
}
