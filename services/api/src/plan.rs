//! The plan of an incident, step by step, with what became of each: read off
//! the lines that remediation writes into the audit trail.
//!
//! `GET /api/incidents/{id}/plan`; the page and the command line show the same.

use crate::App;
use crate::error::ApiError;
use crate::incidents::TIMELINE;
use crate::known::Known;
use crate::params::{Params, find_incident};
use axum::Json;
use axum::extract::{Path, State};
use midwatch_clients::postgres::read::{self, AgentEvent, IncidentRow};
use midwatch_events::ActionStep;
use midwatch_events::action::{RiskClass, Verification, plan_hash};
use midwatch_events::response::{ActionDetails, RemediationPlan};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Midwatch cannot do it: a person has to, or it only looks.
    ByHand,
    Waiting,
    /// Another person has to approve it.
    PartlyApproved,
    Approved,
    /// A person said no.
    Rejected,
    /// A rule said no; it may be asked again.
    Refused,
    Running,
    Done,
    /// Carried out as a dry run: nothing was changed.
    DryRun,
    Failed,
    /// A crash left open whether it was done.
    Unknown,
    Verified,
    Undone,
}

/// An approval that counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Approval {
    pub by: String,
    pub credential_id: String,
    pub channel: String,
    /// Wall clock.
    pub wall_ms: i64,
}

/// A line of the audit trail about a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Happening {
    /// `approved`, `refused`, `intent`, `outcome`, `verified`, `undone`.
    pub phase: String,
    /// Event time.
    pub at_ms: i64,
    /// Wall clock of the same moment.
    pub wall_ms: i64,
    pub by: String,
    pub credential_id: String,
    pub channel: String,
    /// The rule that refused; empty otherwise.
    pub rule: String,
    pub reason: String,
    pub result: String,
    pub output: String,
    pub dry_run: bool,
    pub succeeded: Option<bool>,
    pub approvals_missing: Option<u32>,
    pub verification: Option<Verification>,
}

/// A step and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepView {
    #[serde(flatten)]
    pub step: ActionStep,
    pub state: StepState,
    /// Whether to approve or reject it makes sense now.
    pub can_decide: bool,
    /// Whether the class usually takes two people.
    pub two_people: bool,
    pub approvals: Vec<Approval>,
    /// How many further approvals it waits for, where that was said.
    pub approvals_missing: Option<u32>,
    /// Oldest first.
    pub happened: Vec<Happening>,
}

/// A plan and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanView {
    pub incident_id: Uuid,
    pub short_id: String,
    pub environment: String,
    /// Of the incident.
    pub status: String,
    pub plan_id: Uuid,
    /// What approvals are bound to.
    pub plan_hash: String,
    pub planned_at_ms: i64,
    pub root_cause: String,
    pub confidence: f64,
    pub steps: Vec<StepView>,
}

/// What remediation writes of a phase, read leniently.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    plan_id: Option<Uuid>,
    step_id: String,
    phase: String,
    by: String,
    reason: String,
    result: String,
    #[serde(flatten)]
    details: ActionDetails,
}

/// What approvals of a plan are bound to. Plans of older builds carry no hash.
#[must_use]
pub fn hash_of(plan: &RemediationPlan) -> String {
    if plan.plan_hash.is_empty() {
        plan_hash(plan.plan_id, &plan.action_steps)
    } else {
        plan.plan_hash.clone()
    }
}

/// The plan of an incident; `None` where there is none.
#[must_use]
pub fn view(row: &IncidentRow, known: &Known, timeline: &[AgentEvent]) -> Option<PlanView> {
    let plan = known.plan.as_ref()?;
    let is_open = row.status != "RESOLVED";
    let steps = plan.action_steps.iter();
    Some(PlanView {
        incident_id: row.id,
        short_id: row.short_id.clone(),
        environment: row.environment.clone(),
        status: row.status.clone(),
        plan_id: plan.plan_id,
        plan_hash: hash_of(plan),
        planned_at_ms: plan.planned_at_ms,
        root_cause: plan.root_cause.clone(),
        confidence: plan.confidence,
        steps: steps
            .map(|step| {
                step_view(
                    step,
                    happened(plan.plan_id, &step.step_id, timeline),
                    is_open,
                )
            })
            .collect(),
    })
}

fn happened(plan_id: Uuid, step_id: &str, timeline: &[AgentEvent]) -> Vec<Happening> {
    let lines = timeline
        .iter()
        .filter(|event| event.agent == "remediation" && event.payload["phase"].is_string());
    lines
        .filter_map(|event| Some((event, Told::deserialize(&event.payload).ok()?)))
        .filter(|(_, told)| told.plan_id.is_none_or(|id| id == plan_id) && told.step_id == step_id)
        .map(|(event, told)| Happening {
            phase: told.phase,
            at_ms: event.at_ms,
            wall_ms: event.wall_ms,
            by: told.by,
            credential_id: told.details.credential_id,
            channel: told.details.channel,
            rule: told.details.rule,
            reason: told.reason,
            result: told.result,
            output: told.details.output,
            dry_run: told.details.dry_run,
            succeeded: told.details.succeeded,
            approvals_missing: told.details.approvals_missing,
            verification: told.details.verification.map(|boxed| *boxed),
        })
        .collect()
}

fn step_view(step: &ActionStep, happened: Vec<Happening>, is_open: bool) -> StepView {
    let mut state = match step.typed {
        Some(_) => StepState::Waiting,
        None => StepState::ByHand,
    };
    let mut approvals: Vec<Approval> = Vec::new();
    let mut approvals_missing = None;
    for one in &happened {
        let is_begun = !matches!(
            state,
            StepState::Waiting
                | StepState::PartlyApproved
                | StepState::Approved
                | StepState::Rejected
                | StepState::Refused
                | StepState::ByHand
        );
        match one.phase.as_str() {
            "approved" => {
                approvals.push(Approval {
                    by: one.by.clone(),
                    credential_id: one.credential_id.clone(),
                    channel: one.channel.clone(),
                    wall_ms: one.wall_ms,
                });
                approvals_missing = one.approvals_missing;
                if !is_begun {
                    state = match one.approvals_missing {
                        Some(1..) => StepState::PartlyApproved,
                        _ => StepState::Approved,
                    };
                }
            }
            // A command that came in vain changes nothing about what was done.
            "refused" if is_begun => {}
            "refused" if one.rule == "rejected" => state = StepState::Rejected,
            "refused" if state == StepState::PartlyApproved => {}
            "refused" => state = StepState::Refused,
            "intent" => state = StepState::Running,
            "outcome" => {
                state = match one.succeeded {
                    Some(true) if one.dry_run => StepState::DryRun,
                    Some(true) => StepState::Done,
                    Some(false) => StepState::Failed,
                    None => StepState::Unknown,
                }
            }
            "verified" => state = StepState::Verified,
            "undone" => state = StepState::Undone,
            _ => {}
        }
    }
    let waits = matches!(
        state,
        StepState::Waiting | StepState::PartlyApproved | StepState::Refused
    );
    StepView {
        can_decide: is_open && waits && step.typed.is_some(),
        two_people: step
            .typed
            .as_ref()
            .is_some_and(|typed| typed.risk == RiskClass::Destructive),
        step: step.clone(),
        state,
        approvals,
        approvals_missing,
        happened,
    }
}

/// The step that a decision is about, as the incident is now.
///
/// # Errors
/// 404 or 409 with the rule that it breaks as its code: `incident_over`,
/// `no_plan`, `other_plan`, `unknown_step`, `not_executable`.
pub fn decidable<'a>(
    row: &IncidentRow,
    plan: Option<&'a RemediationPlan>,
    step_id: &str,
    hash: &str,
) -> Result<&'a ActionStep, ApiError> {
    use axum::http::StatusCode;
    let refused = |status, code, message: String, hint: &str| {
        Err(ApiError {
            status,
            code,
            message,
            hint: hint.to_owned(),
        })
    };
    let short = &row.short_id;
    let conflict = StatusCode::CONFLICT;
    if row.status == "RESOLVED" {
        let what = format!("{short} is over: nothing of its plan can be approved or rejected");
        return refused(conflict, "incident_over", what, "reopen it first");
    }
    let Some(plan) = plan else {
        let what = format!("{short} has no plan yet");
        return refused(conflict, "no_plan", what, "the plan follows the root cause");
    };
    if hash_of(plan) != hash {
        let what = format!("the plan of {short} is another one now: the hash does not fit");
        let hint = "look at the plan again; GET /api/incidents/{id}/plan has its plan_hash";
        return refused(conflict, "other_plan", what, hint);
    }
    let Some(step) = plan.action_steps.iter().find(|one| one.step_id == step_id) else {
        let shown = step_id.get(..40).unwrap_or(step_id);
        let what = format!("the plan of {short} has no step {shown:?}");
        let steps: Vec<&str> = plan
            .action_steps
            .iter()
            .map(|one| one.step_id.as_str())
            .collect();
        let hint = format!("its steps are {}", steps.join(", "));
        return refused(StatusCode::NOT_FOUND, "unknown_step", what, &hint);
    };
    if step.typed.is_none() {
        let what = format!("{step_id} is for a person to do: there is nothing to execute");
        return refused(
            conflict,
            "not_executable",
            what,
            "do it by hand; its command can be copied",
        );
    }
    Ok(step)
}

/// `GET /api/incidents/{id}/plan`.
pub async fn get(
    State(app): State<App>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Json<PlanView>, ApiError> {
    params.only(&[])?;
    let row = find_incident(&app.pool, &id).await?;
    let timeline = read::agent_events(&app.pool, Some(row.id), None, TIMELINE).await?;
    let known = Known::read(&row);
    view(&row, &known, &timeline).map(Json).ok_or_else(|| {
        ApiError::not_found(
            format!("{} has no plan", row.short_id),
            "the plan follows the root cause",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use midwatch_events::response::Priority;
    use serde_json::{Value, json};

    fn step(typed: bool) -> ActionStep {
        let typed = json!({"kind": "drain", "service": "s", "arguments": {"node": "n1"},
            "risk": "destructive", "executor": "kubernetes", "pre_checks": [], "blast_radius": "",
            "effect": {"service": "s", "metric": "m", "direction": "below", "baseline_value": 1.0,
                "within_ms": 1}})
        .as_object()
        .filter(|_| typed)
        .map(|typed| serde_json::from_value(json!(typed)).expect("an action"));
        ActionStep {
            step_id: "S1".to_owned(),
            priority: Priority::Immediate,
            action: "Drain".to_owned(),
            command: "drain".to_owned(),
            rationale: String::new(),
            risk_level: "high".to_owned(),
            owner: String::new(),
            expected_outcome: String::new(),
            rollback: String::new(),
            typed,
        }
    }

    fn told(lines: &[Value]) -> StepView {
        let plan_id = Uuid::from_u128(7);
        let lines: Vec<AgentEvent> = lines
            .iter()
            .enumerate()
            .map(|(index, payload)| {
                let mut payload = payload.clone();
                payload["plan_id"] = json!(plan_id);
                payload["step_id"] = json!("S1");
                AgentEvent {
                    id: index as i64,
                    event_id: Uuid::from_u128(index as u128),
                    incident_id: None,
                    agent: "remediation".to_owned(),
                    event_type: "STEP".to_owned(),
                    at_ms: index as i64,
                    wall_ms: index as i64,
                    summary: String::new(),
                    payload,
                }
            })
            .collect();
        step_view(&step(true), happened(plan_id, "S1", &lines), true)
    }

    #[test]
    fn a_step_is_as_far_as_its_last_telling_line() {
        let first = json!({"phase": "approved", "by": "ana", "credential_id": "slack:U1",
            "channel": "slack", "approvals_missing": 1});
        let second = json!({"phase": "approved", "by": "bo", "approvals_missing": 0});
        let refused = json!({"phase": "refused", "rule": "same_credential"});
        let rejected = json!({"phase": "refused", "rule": "rejected"});
        let intent = json!({"phase": "intent"});
        let done = json!({"phase": "outcome", "succeeded": true});
        let dry = json!({"phase": "outcome", "succeeded": true, "dry_run": true});
        let open = json!({"phase": "outcome"});
        let verified = json!({"phase": "verified", "verification": {"service": "s", "metric": "m",
            "verdict": "worse", "before": {}, "after": {}, "test": "t", "summary": "x"}});
        let foreign = json!({"phase": ["no text"]});
        use StepState as S;
        for (lines, state, can_decide) in [
            (vec![], S::Waiting, true),
            (vec![&foreign], S::Waiting, true),
            (vec![&refused], S::Refused, true),
            (vec![&rejected], S::Rejected, false),
            (vec![&first], S::PartlyApproved, true),
            (vec![&first, &refused], S::PartlyApproved, true),
            (vec![&first, &second], S::Approved, false),
            (vec![&second, &intent], S::Running, false),
            (vec![&second, &intent, &done, &refused], S::Done, false),
            (vec![&second, &intent, &dry], S::DryRun, false),
            (vec![&second, &intent, &open], S::Unknown, false),
        ] {
            let lines: Vec<Value> = lines.into_iter().cloned().collect();
            let seen = told(&lines);
            assert_eq!(
                (seen.state, seen.can_decide),
                (state, can_decide),
                "{lines:?}"
            );
        }
        let mut verified = verified;
        for span in ["before", "after"] {
            verified["verification"][span] =
                json!({"from_ms": 0, "to_ms": 1, "count": 3, "median": 2.0});
        }
        let seen = told(&[first, second, intent, done, verified]);
        assert_eq!((seen.state, seen.approvals.len()), (S::Verified, 2));
        assert!(seen.two_people);
        let last = seen.happened.last().expect("five lines");
        let verdict = last.verification.as_ref().map(|one| one.verdict.as_str());
        assert_eq!(verdict, Some("worse"));
        assert_eq!(step_view(&step(false), Vec::new(), true).state, S::ByHand);
    }
}
