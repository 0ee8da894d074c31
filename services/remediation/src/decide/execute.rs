//! From an approved step to its outcome: the intent is on record before the
//! job that acts begins, and one step of an incident runs at a time.

use super::approve::drop_open;
use super::trail;
use super::{Acting, Core, Deed, Performed, Stage, State, performed};
use crate::catalogue::{self, Refusal};
use crate::execution::{
    Check, EXECUTE, Execution, IN_PART, NOT_OURS, Outcome, OutcomeStatus, VERIFY,
};
use crate::policy::{Ruling, Wish};
use midwatch_events::action::TypedAction;
use midwatch_events::artifact::{ArtifactKind, ArtifactStatus};
use midwatch_events::ids;
use midwatch_events::response::ActionDetails;
use midwatch_runtime::agent::{Job, Moment};
use midwatch_runtime::effect::{Effect, JobRequest};
use serde_json::{Value, json};
use uuid::Uuid;

/// Tries of an execution. Executors act once under a key, so that a further
/// try only finds out what became of the first.
const EXECUTE_TRIES: i32 = 5;
/// Tries of a verification that fail; looks that come too early cost none.
const VERIFY_TRIES: i32 = 5;

impl Core {
    /// Starts an approved step, where everything still allows it.
    pub(super) fn start(
        &self,
        state: &mut State,
        at: Moment,
        step_id: &str,
        stopped: bool,
    ) -> Vec<Effect> {
        let Some(published) = &state.plan else {
            return Vec::new();
        };
        let Some(plan) = published.plan.clone() else {
            return Vec::new();
        };
        let mut steps = plan.action_steps.iter();
        let Some(step) = steps.find(|step| step.step_id == step_id) else {
            return Vec::new();
        };
        let Some(action) = step.typed.as_deref() else {
            return Vec::new();
        };
        let progress = state.steps.get(step_id).cloned().unwrap_or_default();
        let wish = Wish {
            action,
            environment: &plan.header.environment,
            wall_ms: at.wall_ms,
            stopped,
        };
        let ruling = catalogue::check(action, &published.known)
            .and_then(|()| self.policy.rule(wish, &progress.approvals))
            .and_then(|ruling| match ruling {
                Ruling::Run { dry_run } => Ok(dry_run),
                Ruling::Wait { .. } => Err(Refusal::new(
                    "expired",
                    "an approval came to its end before the step could run",
                )),
            });
        let by = trail::names(&progress.approvals);
        let entry = state.steps.entry(step_id.to_owned()).or_default();
        let dry_run = match ruling {
            // Whoever approved was told that nothing would be changed; that the
            // policy has become live since must not change it.
            Ok(dry_run) => dry_run || plan.dry_run == Some(true),
            Err(refusal) => {
                entry.stage = Stage::Open;
                entry.approvals.clear();
                return trail::not_started(at, &plan, step_id, &by, &refusal);
            }
        };
        entry.stage = Stage::Running;
        let acting = Acting {
            header: plan.header.clone(),
            plan_id: plan.plan_id,
            plan_hash: plan.plan_hash.clone(),
            step: step.clone(),
            by,
            key: key(plan.plan_id, step_id, "do", progress.round),
            dry_run,
            is_undo: false,
            verifying: false,
            onset_ms: published.onset_ms,
            approvals: progress.approvals,
        };
        let action = action.clone();
        self.act(state, at, acting, action, "approved")
    }

    /// What an executor is asked to do.
    pub(super) fn execution(&self, acting: &Acting, action: TypedAction) -> Execution {
        let undo = acting.is_undo;
        Execution {
            key: acting.key.clone(),
            incident_id: acting.header.incident_id,
            environment: acting.header.environment.clone(),
            plan_id: acting.plan_id,
            step_id: acting.step.step_id.clone(),
            is_undo: undo,
            dry_run: acting.dry_run,
            // What was made worse is taken back at once.
            cool_down_ms: if undo {
                0
            } else {
                self.policy.cool_down_for(&action.service)
            },
            hourly_limit: if undo {
                u32::MAX
            } else {
                self.policy.hourly_limit
            },
            approvals: acting.approvals.clone(),
            action,
        }
    }

    /// Writes the intent down and starts the job.
    fn act(
        &self,
        state: &mut State,
        at: Moment,
        acting: Acting,
        action: TypedAction,
        reason: &str,
    ) -> Vec<Effect> {
        let command = catalogue::command(&action);
        let service = action.service.clone();
        let execution = self.execution(&acting, action);
        let input = trail::proposal_id(acting.header.incident_id, acting.plan_id);
        let body = json!(execution);
        let what = if acting.dry_run { "Dry run: " } else { "" };
        let effects = vec![
            acting.audit(
                at,
                "ACTION_STARTED",
                format!("{what}{} ({reason}): {command}", acting.step.step_id),
                Value::Null,
            ),
            acting.artifact(
                at,
                ArtifactKind::ExecutionPlan,
                input,
                ArtifactStatus::Complete,
                body.clone(),
            ),
            acting
                .about(at.event_ms)
                .publish("intent", reason, &command, acting.details()),
            Effect::StartJob(JobRequest {
                lane: Some(format!("act {} {service}", acting.header.environment)),
                max_attempts: EXECUTE_TRIES,
                ..JobRequest::new(format!("{EXECUTE}:{}", acting.key), EXECUTE, body)
            }),
        ];
        state.acting = Some(Box::new(acting));
        effects
    }

    /// An execution ended.
    pub(super) fn executed(
        &self,
        state: &mut State,
        at: Moment,
        job: &Job,
        result: Result<Value, String>,
    ) -> Vec<Effect> {
        let running = state.acting.as_deref();
        let of_this =
            running.filter(|acting| job.payload["key"] == acting.key && !acting.verifying);
        let Some(acting) = of_this.cloned() else {
            return Vec::new();
        };
        let read = performed::<Outcome>(result);
        // Whether a job that failed acted before it did is not known here.
        let Performed { done, stopped } = read.unwrap_or_else(|error| Performed {
            done: Outcome {
                status: OutcomeStatus::Unknown,
                rule: String::new(),
                output: error,
                acted_at_ms: None,
                reconciled: false,
            },
            stopped: false,
        });
        let mut effects = told(at, &acting, &done);
        let has_changed =
            done.status == OutcomeStatus::Done && !acting.dry_run && !only_looks(&acting);
        if has_changed {
            note_deed(state, &acting);
        }
        if !acting.is_undo {
            let stage = match done.status {
                OutcomeStatus::Done if acting.dry_run => Stage::Rehearsed,
                OutcomeStatus::Done | OutcomeStatus::Unknown => Stage::Done,
                OutcomeStatus::Failed | OutcomeStatus::Refused => Stage::Open,
            };
            self.settle(state, &acting, stage);
        }
        match done.status {
            OutcomeStatus::Done if has_changed && !acting.is_undo => {
                effects.push(look(state, at, acting, &done));
            }
            // Of an undo as well: what was approved meanwhile would act on a
            // state that nobody knows.
            OutcomeStatus::Unknown => {
                let what = if acting.is_undo {
                    "whether the step before was taken back is not known; a person must look first"
                } else {
                    "what became of the step before is not known; a person must look first"
                };
                effects.extend(drop_open(state, at, "after_unknown", what));
                effects.extend(self.go_on(state, at, stopped));
            }
            _ => effects.extend(self.go_on(state, at, stopped)),
        }
        effects
    }

    /// Notes how far the step came, where the plan is still the same.
    pub(super) fn settle(&self, state: &mut State, acting: &Acting, stage: Stage) {
        let current = state
            .plan
            .as_ref()
            .is_some_and(|plan| plan.plan_id == acting.plan_id);
        if !current {
            return;
        }
        let entry = state.steps.entry(acting.step.step_id.clone()).or_default();
        entry.stage = stage;
        entry.approvals.clear();
        if stage != Stage::Done {
            entry.round += 1;
        }
    }

    /// Nothing runs any more: the next approved step, where there is one.
    pub(super) fn go_on(&self, state: &mut State, at: Moment, stopped: bool) -> Vec<Effect> {
        state.acting = None;
        let mut effects = Vec::new();
        while state.acting.is_none() && !state.queue.is_empty() {
            let next = state.queue.remove(0);
            effects.extend(self.start(state, at, &next, stopped));
        }
        effects
    }

    /// Takes back what made it worse, where the policy and the catalogue let
    /// it.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn take_back(
        &self,
        state: &mut State,
        at: Moment,
        acting: &Acting,
        stopped: bool,
        why: &str,
    ) -> Result<Vec<Effect>, Refusal> {
        self.policy.is_not_stopped(stopped)?;
        let action = acting.step.typed.as_deref();
        let undo = action.and_then(catalogue::undo_action).ok_or_else(|| {
            Refusal::new(
                "no_undo",
                "nothing takes this action back; a person must look",
            )
        })?;
        if self.policy.forbidden.contains(&undo.kind) {
            return Err(Refusal::new(
                "forbidden_kind",
                "the policy forbids the undo",
            ));
        }
        let acting = Acting {
            key: key(acting.plan_id, &acting.step.step_id, "undo", 0),
            by: "policy".to_owned(),
            approvals: Vec::new(),
            is_undo: true,
            verifying: false,
            ..acting.clone()
        };
        Ok(self.act(state, at, acting, undo, why))
    }
}

/// One for each execution: whoever acts twice under it acts once.
fn key(plan_id: Uuid, step_id: &str, what: &str, round: u32) -> String {
    let (plan_id, round) = (plan_id.to_string(), round.to_string());
    ids::derive(&["execution", &plan_id, step_id, what, &round]).to_string()
}

/// Remembers what was carried out, and forgets what was taken back.
fn note_deed(state: &mut State, acting: &Acting) {
    let step_id = &acting.step.step_id;
    if acting.is_undo {
        state
            .deeds
            .retain(|deed| deed.plan_id != acting.plan_id || deed.step_id != *step_id);
    } else if let Some(action) = &acting.step.typed {
        state.deeds.push(Deed {
            plan_id: acting.plan_id,
            step_id: step_id.clone(),
            kind: action.kind,
            service: action.service.clone(),
            came_back: false,
        });
    }
}

fn only_looks(acting: &Acting) -> bool {
    let action = acting.step.typed.as_deref();
    action.is_some_and(|action| action.kind.only_looks())
}

/// Starts looking at the effect.
fn look(state: &mut State, at: Moment, acting: Acting, outcome: &Outcome) -> Effect {
    let effect = acting
        .step
        .typed
        .as_ref()
        .map(|action| action.effect.clone());
    let check = effect.map(|effect| Check {
        incident_id: acting.header.incident_id,
        environment: acting.header.environment.clone(),
        step_id: acting.step.step_id.clone(),
        effect,
        onset_ms: acting.onset_ms,
        acted_at_ms: outcome.acted_at_ms.unwrap_or(at.event_ms),
        affected_services: acting.header.affected_services.clone(),
        asked_wall_ms: Some(at.wall_ms),
    });
    let request = JobRequest {
        // Planning goes on while readings are waited for.
        lane: Some(format!("verify {}", acting.header.incident_id)),
        max_attempts: VERIFY_TRIES,
        ..JobRequest::new(format!("{VERIFY}:{}", acting.key), VERIFY, json!(check))
    };
    state.acting = Some(Box::new(Acting {
        verifying: true,
        ..acting
    }));
    Effect::StartJob(request)
}

/// How an outcome is published: phase, line of the trail, success and result.
fn words(
    acting: &Acting,
    outcome: &Outcome,
) -> (&'static str, &'static str, Option<bool>, &'static str) {
    match outcome.status {
        OutcomeStatus::Done if acting.dry_run => (
            "outcome",
            "ACTION_EXECUTED",
            Some(true),
            "dry run: nothing was changed",
        ),
        OutcomeStatus::Done if only_looks(acting) => (
            "outcome",
            "ACTION_EXECUTED",
            Some(true),
            "looked; nothing was changed",
        ),
        OutcomeStatus::Done if acting.is_undo => ("undone", "ACTION_UNDONE", Some(true), "undone"),
        OutcomeStatus::Done => ("outcome", "ACTION_EXECUTED", Some(true), "done"),
        OutcomeStatus::Failed if outcome.rule == NOT_OURS => (
            "outcome",
            "ACTION_FAILED",
            Some(false),
            "not ours: somebody else had done it; nothing was changed",
        ),
        OutcomeStatus::Failed => (
            "outcome",
            "ACTION_FAILED",
            Some(false),
            "failed; nothing was changed",
        ),
        OutcomeStatus::Refused => ("refused", "ACTION_REFUSED", None, "refused"),
        OutcomeStatus::Unknown if outcome.rule == IN_PART => (
            "outcome",
            "ACTION_FAILED",
            None,
            "done in part only; a person must look",
        ),
        OutcomeStatus::Unknown => (
            "outcome",
            "ACTION_FAILED",
            None,
            "unknown; a person must look",
        ),
    }
}

/// What is said of an outcome.
fn told(at: Moment, acting: &Acting, outcome: &Outcome) -> Vec<Effect> {
    let step = &acting.step.step_id;
    let what = if acting.is_undo { "the undo of " } else { "" };
    let (phase, kind, succeeded, result) = words(acting, outcome);
    let reason = match (&outcome.rule, outcome.reconciled) {
        (rule, _) if !rule.is_empty() => format!("{}: {}", rule, outcome.output),
        (_, true) => "found by looking after a restart".to_owned(),
        _ if acting.is_undo => "undo".to_owned(),
        _ => String::new(),
    };
    let details = ActionDetails {
        succeeded,
        output: outcome.output.clone(),
        acted_at_ms: outcome.acted_at_ms,
        rule: outcome.rule.clone(),
        ..acting.details()
    };
    let status = if outcome.status == OutcomeStatus::Unknown {
        ArtifactStatus::Partial
    } else {
        ArtifactStatus::Complete
    };
    let at_ms = outcome.acted_at_ms.unwrap_or(at.event_ms);
    vec![
        acting.audit(at, kind, format!("{what}{step}: {result}"), json!(outcome)),
        acting.artifact(
            at,
            ArtifactKind::ExecutionResult,
            acting.artifact_id(ArtifactKind::ExecutionPlan),
            status,
            json!(outcome),
        ),
        acting.about(at_ms).publish(phase, &reason, result, details),
    ]
}
