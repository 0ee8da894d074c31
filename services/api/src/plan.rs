//! The plan of an incident, step by step, with what became of each: read off
//! the lines that remediation writes into the audit trail.
//!
//! `GET /api/incidents/{id}/plan`; the page and the command line show the same.

mod earlier;
mod told;

use crate::App;
use crate::error::ApiError;
use crate::incidents::TIMELINE;
use crate::known::Known;
use crate::params::{Params, find_incident};
use axum::Json;
use axum::extract::{Path, State};
pub use earlier::EarlierStep;
use midwatch_clients::postgres::artifacts;
use midwatch_clients::postgres::read::{self, AgentEvent, IncidentRow};
use midwatch_events::ActionStep;
use midwatch_events::action::{RiskClass, Verification, plan_hash};
use midwatch_events::artifact::Artifact;
use midwatch_events::response::RemediationPlan;
use midwatch_runtime::clock;
use serde::Serialize;
use told::happened;
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
    /// Until when it counts, wall clock, where that was said.
    pub until_ms: Option<i64>,
}

/// An approval that does not count, or no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Void {
    pub by: String,
    pub credential_id: String,
    /// Of the approval, or of its refusal; wall clock.
    pub wall_ms: i64,
    pub why: String,
}

/// A line of the audit trail about a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Happening {
    /// `approved`, `refused`, `intent`, `outcome`, `verified`, `undone`,
    /// `not_undone`.
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
    pub is_undo: bool,
    /// Whether it answers a person's command.
    pub was_asked: bool,
    #[serde(skip)]
    is_approval: bool,
    #[serde(skip)]
    until_ms: Option<i64>,
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
    /// Those that count now.
    pub approvals: Vec<Approval>,
    /// The newest of each person without an approval that counts, and why: they
    /// may approve again.
    pub void_approvals: Vec<Void>,
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
    /// Whether an approval leads to a dry run only, by the policy at the time
    /// of the plan; null where that was not said.
    pub dry_run: Option<bool>,
    pub steps: Vec<StepView>,
    /// Approvals that were meant for another plan.
    pub void_approvals: Vec<Void>,
    /// What was carried out under plans that were revised since.
    pub earlier: Vec<EarlierStep>,
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

/// The plan of an incident; `None` where there is none. Earlier plans stand
/// among its artifacts.
#[must_use]
pub fn view(
    row: &IncidentRow,
    known: &Known,
    timeline: &[AgentEvent],
    artifacts: &[Artifact],
) -> Option<PlanView> {
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
                let happened = happened(plan, &step.step_id, timeline);
                step_view(step, happened, is_open.then(clock::now_ms))
            })
            .collect(),
        dry_run: plan.dry_run,
        void_approvals: told::of_other_plans(plan, timeline),
        earlier: earlier::earlier(plan.plan_id, artifacts, timeline),
    })
}

/// `now_ms` is the wall clock while the incident is open; absent after it.
fn step_view(step: &ActionStep, happened: Vec<Happening>, now_ms: Option<i64>) -> StepView {
    let two_people = step
        .typed
        .as_ref()
        .is_some_and(|typed| typed.risk == RiskClass::Destructive);
    let mut seen = Seen {
        state: match step.typed {
            Some(_) => StepState::Waiting,
            None => StepState::ByHand,
        },
        approvals: Vec::new(),
        void: Vec::new(),
        missing: None,
    };
    for one in &happened {
        seen.take(one, two_people);
    }
    if let Some(now_ms) = now_ms {
        seen.lapse(now_ms);
    }
    let waits = matches!(
        seen.state,
        // What failed changed nothing, so it may be tried again.
        StepState::Waiting
            | StepState::PartlyApproved
            | StepState::Refused
            | StepState::Rejected
            | StepState::Failed
            | StepState::DryRun
    );
    StepView {
        can_decide: now_ms.is_some() && waits && step.typed.is_some(),
        two_people,
        step: step.clone(),
        state: seen.state,
        approvals: seen.approvals,
        void_approvals: seen.void,
        approvals_missing: seen.missing,
        happened,
    }
}

/// How far a step is after some of its lines.
struct Seen {
    state: StepState,
    approvals: Vec<Approval>,
    void: Vec<Void>,
    missing: Option<u32>,
}

impl Seen {
    fn take(&mut self, one: &Happening, two_people: bool) {
        // An undo that does not come to its end leaves the step as it was.
        if one.is_undo && one.phase != "undone" {
            return;
        }
        match one.phase.as_str() {
            "approved" if self.is_begun() => {}
            "approved" => {
                self.void
                    .retain(|void| void.credential_id != one.credential_id);
                // Given anew, it takes the place of one that lapsed.
                self.approvals.retain(|earlier| {
                    earlier.credential_id.is_empty() || earlier.credential_id != one.credential_id
                });
                self.approvals.push(Approval {
                    by: one.by.clone(),
                    credential_id: one.credential_id.clone(),
                    channel: one.channel.clone(),
                    wall_ms: one.wall_ms,
                    until_ms: one.until_ms,
                });
                // Where it is not said, two is what such a step usually takes.
                let usual = u32::from(two_people && self.approvals.len() < 2);
                let missing = one.approvals_missing.unwrap_or(usual);
                self.missing = Some(missing);
                self.state = match missing {
                    0 => StepState::Approved,
                    _ => StepState::PartlyApproved,
                };
            }
            "refused" if one.rule == "rejected" => {
                self.take_back(StepState::Rejected, &one.reason);
            }
            // A command that came in vain changes nothing about the others.
            "refused" if one.was_asked => {
                self.heard_in_vain(one);
                if self.state == StepState::Waiting {
                    self.state = StepState::Refused;
                }
            }
            "refused" => self.take_back(StepState::Refused, &one.reason),
            "intent" => self.state = StepState::Running,
            "outcome" => {
                self.state = match one.succeeded {
                    Some(true) if one.dry_run => StepState::DryRun,
                    Some(true) => StepState::Done,
                    Some(false) => StepState::Failed,
                    None => StepState::Unknown,
                };
                // What changed nothing needs a new approval to be tried again.
                match self.state {
                    StepState::Failed => {
                        self.take_back(StepState::Failed, "it was tried and changed nothing");
                    }
                    StepState::DryRun => {
                        self.take_back(StepState::DryRun, "it was for the dry run");
                    }
                    _ => {}
                }
            }
            "verified" => self.state = StepState::Verified,
            "undone" => self.state = StepState::Undone,
            _ => {}
        }
    }

    /// What was approved no longer counts.
    fn take_back(&mut self, state: StepState, why: &str) {
        self.state = state;
        for approval in std::mem::take(&mut self.approvals) {
            self.set_aside(approval.by, approval.credential_id, approval.wall_ms, why);
        }
        self.missing = None;
    }

    /// A command that was refused; whoever has an approval that counts needs no
    /// other.
    fn heard_in_vain(&mut self, one: &Happening) {
        let counts = |approval: &Approval| approval.credential_id == one.credential_id;
        if one.is_approval && !self.approvals.iter().any(counts) {
            self.set_aside(
                one.by.clone(),
                one.credential_id.clone(),
                one.wall_ms,
                &one.reason,
            );
        }
    }

    fn set_aside(&mut self, by: String, credential_id: String, wall_ms: i64, why: &str) {
        self.void.retain(|void| void.credential_id != credential_id);
        self.void.push(Void {
            by,
            credential_id,
            wall_ms,
            why: why.to_owned(),
        });
    }

    /// Nothing is written when an approval comes to its end while another one
    /// is waited for.
    fn lapse(&mut self, now_ms: i64) {
        if self.state != StepState::PartlyApproved {
            return;
        }
        let ended = |approval: &Approval| approval.until_ms.is_some_and(|until| until <= now_ms);
        let (lapsed, left): (Vec<_>, Vec<_>) = std::mem::take(&mut self.approvals)
            .into_iter()
            .partition(ended);
        self.approvals = left;
        let count = u32::try_from(lapsed.len()).unwrap_or(u32::MAX);
        self.missing = self.missing.map(|missing| missing.saturating_add(count));
        for approval in lapsed {
            let until_ms = approval.until_ms.unwrap_or(now_ms);
            let minutes = (until_ms - approval.wall_ms) / 60_000;
            let why = format!("it lapsed {minutes} min after it was given");
            self.set_aside(approval.by, approval.credential_id, approval.wall_ms, &why);
        }
        if self.approvals.is_empty() {
            (self.state, self.missing) = (StepState::Waiting, None);
        }
    }

    fn is_begun(&self) -> bool {
        !matches!(
            self.state,
            StepState::Waiting
                | StepState::PartlyApproved
                | StepState::Approved
                | StepState::Rejected
                | StepState::Refused
                | StepState::DryRun
                | StepState::Failed
                | StepState::ByHand
        )
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
    let artifacts = artifacts::of_incident(&app.pool, row.id).await?;
    let known = Known::read(&row);
    view(&row, &known, &timeline, &artifacts)
        .map(Json)
        .ok_or_else(|| {
            ApiError::not_found(
                format!("{} has no plan", row.short_id),
                "the plan follows the root cause",
            )
        })
}

#[cfg(test)]
mod tests;
