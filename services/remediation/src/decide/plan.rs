//! When to plan, and what a plan says.

use super::approve::drop_open;
use super::trail;
use super::{Advice, Cause, Core, Draft, ORDER, Published, RETRIEVE, Retrieved, State};
use crate::case::{Case, known};
use crate::estimate::estimate;
use crate::order;
use crate::steps::{self, Chosen, Means};
use midwatch_clients::knowledge::RunbookHit;
use midwatch_events::action::plan_hash;
use midwatch_events::{Event, IncidentState, RcaCompleted, RemediationPlan, ids};
use midwatch_runtime::agent::{Job, Moment};
use midwatch_runtime::effect::{Effect, JobRequest, Projection};
use serde_json::{Value, json};

/// Why steps stay by hand in the simulated fleet.
const NO_SIMULATOR: &str = "SIMULATOR_ACTIONS_URL names no control endpoint of the simulator";

impl Core {
    fn case<'a>(&'a self, rca: &'a RcaCompleted) -> Case<'a> {
        Case {
            rca,
            catalogue: &self.catalogue,
            allowed: &self.allowed,
            default_namespace: &self.namespace,
        }
    }

    /// A root cause, or a revision of it.
    pub(super) fn rca(&self, state: &mut State, rca: &RcaCompleted) -> Vec<Effect> {
        if follows_reopening(state, rca) {
            state.last_end_ms = state.resolved_at_ms.take();
            // What was done against it did not last, and needs approving anew
            // even if it is the same cause: that takes a plan of its own.
            state.cause = None;
            for deed in &mut state.deeds {
                deed.came_back = true;
            }
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
    pub(super) fn retrieved(
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
        let draft = self.drafted(state, at, &rca, &found);
        if self.has_model
            && draft.plan.action_steps.len() > 1
            && let Ok(payload) = serde_json::to_value(&draft)
        {
            effects.push(Effect::StartJob(JobRequest {
                // The client tries again by itself, within its time limit.
                max_attempts: 1,
                ..JobRequest::new(format!("{ORDER}:{}", draft.rca.revision), ORDER, payload)
            }));
            return effects;
        }
        effects.extend(self.publish(state, at, draft, "deterministic"));
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
        let draft = self.drafted(state, at, rca, found);
        (draft.plan, draft.dropped)
    }

    /// The plan with everything that publishing it needs.
    fn drafted(&self, state: &State, at: Moment, rca: &RcaCompleted, found: &Retrieved) -> Draft {
        let case = self.case(rca);
        let simulated = rca.header.environment == self.simulated_environment;
        let known = known(&case, &found.observed, simulated);
        let by_hand = (simulated && !self.has_simulator).then_some(NO_SIMULATOR);
        let means = Means {
            observed: &found.observed,
            known: &known,
            by_hand,
            effective: &found.effective,
            deeds: &state.deeds,
        };
        let chosen = choose(&case, found, means);
        let (estimated_resolution_minutes, mut estimate_basis) = estimate(&case, &found.past);
        if state.resolved_at_ms.is_some() {
            estimate_basis.push_str(" The incident was over before the plan was ready.");
        }
        let root_cause = if case.is_conclusive() {
            rca.top_root_cause.clone()
        } else {
            // The verdict says that it is inconclusive already.
            let lead = rca.top_root_cause.as_str();
            let lead = lead
                .strip_prefix("inconclusive; most likely ")
                .unwrap_or(lead);
            format!("not established; strongest lead: {lead}")
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
            dry_run: Some(self.policy.is_dry_run(&rca.header.environment)),
        };
        Draft {
            rca: rca.clone(),
            plan,
            dropped: chosen.dropped,
            by_hand: chosen.by_hand,
            known,
            onset_ms: found.onset_ms,
        }
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

/// Whether a cause was found after the incident had ended and was reopened. One
/// that was heard of before, or an older one, is delivered late.
fn follows_reopening(state: &State, rca: &RcaCompleted) -> bool {
    let is_new = state
        .cause
        .as_ref()
        .is_none_or(|cause| rca.revision > cause.revision);
    let is_later = |at: i64| match state.last_rca_revision {
        Some(before) => rca.revision > before,
        // An older build told the end.
        None => rca.completed_at_ms > at,
    };
    is_new && state.resolved_at_ms.is_some_and(is_later)
}

/// Steps from the runbook where the cause is established and one fits, else
/// steps that only look.
fn choose(case: &Case<'_>, found: &Retrieved, means: Means<'_>) -> Chosen {
    let mut looks = steps::diagnosis(case, means);
    // A runbook for workloads says nothing about a machine.
    let fits = |one: &&RunbookHit| one.is_for_hosts() == steps::is_host(case.service());
    let sections: Vec<RunbookHit> = found.sections.iter().filter(fits).cloned().collect();
    if sections.is_empty() {
        let reason = format!(
            "no runbook was found for {}, so the plan only looks",
            case.key()
        );
        looks.dropped.push(reason);
        return looks;
    }
    let mut chosen = steps::from_runbook(case, &sections, means, !case.is_conclusive());
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
        chosen.by_hand.extend(looks.by_hand);
        chosen.steps.truncate(crate::config::MAX_STEPS);
        chosen.steps.sort_by_key(|step| step.priority);
        steps::renumber(&mut chosen.steps);
    }
    chosen
}

impl Core {
    /// The model answered, or could not.
    pub(super) fn ordered(
        &self,
        state: &mut State,
        at: Moment,
        job: &Job,
        result: Result<Value, String>,
    ) -> Vec<Effect> {
        let Ok(mut draft) = serde_json::from_value::<Draft>(job.payload.clone()) else {
            return Vec::new();
        };
        let incident_id = draft.rca.header.incident_id;
        let mut effects = Vec::new();
        let advice = result.and_then(|value| {
            serde_json::from_value::<Advice>(value).map_err(|error| error.to_string())
        });
        let services: Vec<&str> = self.catalogue.iter().map(|one| one.name.as_str()).collect();
        let applied = advice.and_then(|advice| {
            let error = advice.call.error.clone();
            effects.push(Effect::RecordModelCall {
                incident_id: Some(incident_id),
                call: Box::new(advice.call),
            });
            let order = advice
                .order
                .ok_or_else(|| error.unwrap_or_else(|| "the model gave no order".to_owned()))?;
            order::apply(&order, &draft.rca, &mut draft.plan, &services)
        });
        let current = state
            .cause
            .as_ref()
            .is_some_and(|cause| cause.revision == draft.rca.revision);
        if !current {
            return effects;
        }
        let method = match applied {
            Ok(left_out) => {
                if !left_out.is_empty() {
                    let reason = left_out.join("; ");
                    effects.push(Effect::audit(
                        incident_id,
                        "MODEL_ADVICE_REFUSED",
                        at.event_ms,
                        format!("The model's order is taken without some of its words: {reason}"),
                        json!({ "purpose": ORDER, "reason": reason }),
                    ));
                }
                "ordered by a model"
            }
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
        effects.extend(self.publish(state, at, draft, method));
        effects
    }

    /// The plan becomes known; approvals of an earlier one no longer count.
    fn publish(&self, state: &mut State, at: Moment, draft: Draft, method: &str) -> Vec<Effect> {
        if state.merged {
            return Vec::new();
        }
        let key = state
            .cause
            .as_ref()
            .map_or_else(String::new, |cause| cause.key.clone());
        let revised = state.plan.is_some();
        let mut effects = drop_open(
            state,
            at,
            "plan_revised",
            "the plan was revised; the new one needs an approval of its own",
        );
        state.steps.clear();
        let mut plan = draft.plan.clone();
        plan.plan_hash = plan_hash(plan.plan_id, &plan.action_steps);
        let incident_id = plan.header.incident_id;
        state.plan = Some(Published {
            plan_id: plan.plan_id,
            key: key.clone(),
            plan: Some(Box::new(plan.clone())),
            known: draft.known.clone(),
            // Readings from before the last end belong to another outbreak.
            onset_ms: draft
                .onset_ms
                .unwrap_or(plan.header.detected_at_ms)
                .max(state.last_end_ms.unwrap_or(i64::MIN)),
        });
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
        effects.push(trail::proposal(at, &draft.rca, &plan));
        effects.push(ready(at, &draft, &plan, (&key, method, revised)));
        if !draft.dropped.is_empty() {
            effects.push(Effect::audit(
                incident_id,
                "STEPS_LEFT_OUT",
                at.event_ms,
                draft.dropped.join("; "),
                json!({ "plan_id": plan.plan_id, "reasons": draft.dropped }),
            ));
        }
        effects.push(Effect::Publish(Event::Plan(Box::new(plan))));
        effects.extend(self.start_what_needs_nobody(state, at));
        effects
    }
}

/// The line of the audit trail about a plan.
fn ready(
    at: Moment,
    draft: &Draft,
    plan: &RemediationPlan,
    (key, method, revised): (&str, &str, bool),
) -> Effect {
    let [low, high] = plan.estimated_resolution_minutes;
    let count = plan.action_steps.len();
    let summary = format!(
        "{} with {count} {} against {key}, estimated {low} to {high} min",
        if revised { "Revised plan" } else { "Plan" },
        if count == 1 { "step" } else { "steps" },
    );
    let payload = json!({
        "plan_id": plan.plan_id,
        "plan_hash": plan.plan_hash,
        "rca_revision": draft.rca.revision,
        "method": method,
        "steps": plan.action_steps.iter().map(|step| json!({
            "step_id": step.step_id,
            "action": step.action,
            "risk_level": step.risk_level,
            "kind": step.typed.as_ref().map(|action| action.kind),
        })).collect::<Vec<_>>(),
        "by_hand": draft.by_hand,
        "runbooks": plan.runbook_references,
        "estimate_minutes": [low, high],
    });
    Effect::audit(
        plan.header.incident_id,
        "PLAN_READY",
        at.event_ms,
        summary,
        payload,
    )
}
