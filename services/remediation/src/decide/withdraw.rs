//! An operator's no. What only waits for another step is taken out here; what
//! was handed to an executor may have begun by now, and the record of actions
//! decides which of the two came first.

use super::approve::{Subject, refuse, said, subject, take_up};
use super::trail::About;
use super::{Acting, Core, Performed, Stage, State, performed};
use crate::catalogue::Refusal;
use crate::execution::{REJECTED, Rejection, WITHDRAW, Withdrawal};
use midwatch_events::response::ActionDetails;
use midwatch_events::{IncidentHeader, OperatorCommand, ids};
use midwatch_runtime::agent::{Job, Moment};
use midwatch_runtime::effect::{Effect, JobRequest};
use serde_json::{Value, json};
use uuid::Uuid;

/// Tries of a withdrawal; each asks PostgreSQL once.
const WITHDRAW_TRIES: i32 = 5;

/// What a rejection takes out.
struct Out<'a> {
    header: &'a IncidentHeader,
    plan_id: Uuid,
    step_id: &'a str,
    /// What the step does, in words.
    action: &'a str,
}

impl Core {
    /// A person says no: every approval of the step is taken back, and it is
    /// taken out where it has not begun. It may be approved anew.
    pub(super) fn reject(
        &self,
        state: &mut State,
        at: Moment,
        command: &OperatorCommand,
    ) -> Result<Vec<Effect>, Refusal> {
        take_up(state, at, command)?;
        let Subject { plan, step, .. } = subject(state, command)?;
        let progress = state.steps.entry(step.step_id.clone()).or_default();
        match progress.stage {
            Stage::Open | Stage::Queued | Stage::Rehearsed => {}
            Stage::Running => return self.ask_to_withdraw(state, &step.step_id, command),
            Stage::Done => return Err(too_late("it was carried out already")),
        }
        progress.stage = Stage::Open;
        progress.approvals.clear();
        state.queue.retain(|waiting| *waiting != step.step_id);
        let details = ActionDetails {
            plan_hash: plan.plan_hash.clone(),
            typed: step.typed.clone(),
            ..ActionDetails::default()
        };
        let out = Out {
            header: &plan.header,
            plan_id: plan.plan_id,
            step_id: &step.step_id,
            action: &step.action,
        };
        Ok(rejected(at, command, &out, details))
    }

    /// The step was handed to an executor: the record says whether it has
    /// begun.
    fn ask_to_withdraw(
        &self,
        state: &State,
        step_id: &str,
        command: &OperatorCommand,
    ) -> Result<Vec<Effect>, Refusal> {
        let acting = state.acting.as_deref().filter(|acting| {
            acting.step.step_id == step_id && !acting.is_undo && !acting.verifying
        });
        let action = acting.and_then(|acting| acting.step.typed.as_deref());
        let (Some(acting), Some(action)) = (acting, action) else {
            return Err(too_late("it was carried out already"));
        };
        let rejection = Rejection {
            execution: self.execution(acting, action.clone()),
            command: command.clone(),
        };
        // The same command twice is one question.
        let issued = command.issued_at_ms.to_string();
        let who = [WITHDRAW, &acting.key, &command.credential_id, &issued];
        Ok(vec![Effect::StartJob(JobRequest {
            // Not the lane in which the step waits.
            lane: Some(format!("reject {}", command.incident_id)),
            max_attempts: WITHDRAW_TRIES,
            ..JobRequest::new(
                format!("{WITHDRAW}:{}", ids::derive(&who)),
                WITHDRAW,
                json!(rejection),
            )
        })])
    }

    /// The record was asked.
    pub(super) fn withdrawn(
        &self,
        state: &mut State,
        at: Moment,
        job: &Job,
        result: Result<Value, String>,
    ) -> Vec<Effect> {
        let Ok(rejection) = serde_json::from_value::<Rejection>(job.payload.clone()) else {
            return Vec::new();
        };
        let Rejection { execution, command } = rejection;
        let refusal = match performed(result) {
            Ok(Performed {
                done: Withdrawal::Withdrawn,
                stopped,
            }) => return self.taken_out(state, at, &execution.key, &command, stopped),
            Ok(Performed {
                done: Withdrawal::HasBegun,
                ..
            }) => too_late("it has begun, and its outcome is still to come"),
            Ok(Performed {
                done: Withdrawal::HasEnded { status },
                ..
            }) => too_late(&format!("it has begun and ended ({status})")),
            Err(error) => Refusal::new(
                "not_decided",
                format!(
                    "whether the step could be taken out is not known: {error}; reject it again"
                ),
            ),
        };
        let mut effects = refuse(state, at, &command, &refusal);
        let plan = state.plan.as_ref().map(|one| one.plan_id);
        if plan != Some(execution.plan_id) {
            // A step of that name in the present plan is another one.
            effects.truncate(1);
        }
        effects
    }

    fn taken_out(
        &self,
        state: &mut State,
        at: Moment,
        key: &str,
        command: &OperatorCommand,
        stopped: bool,
    ) -> Vec<Effect> {
        let acting = state.acting.as_deref();
        let of_this = acting.filter(|acting| acting.key == key && !acting.verifying);
        let Some(acting) = of_this.cloned() else {
            // The executor came to the mark first and said so; the line of
            // whose command it was would undo what was approved since.
            let since = state.steps.get(&command.target);
            let is_quiet =
                since.is_none_or(|step| step.stage == Stage::Open && step.approvals.is_empty());
            let summary = format!("{} rejected {}", command.by, command.target);
            let line = said(at, command, "ACTION_REFUSED", &summary, REJECTED);
            return is_quiet.then_some(line).into_iter().collect();
        };
        self.settle(state, &acting, Stage::Open);
        let mut effects = rejected(at, command, &Out::of(&acting), acting.details());
        effects.extend(self.go_on(state, at, stopped));
        effects
    }
}

impl Out<'_> {
    fn of(acting: &Acting) -> Out<'_> {
        Out {
            header: &acting.header,
            plan_id: acting.plan_id,
            step_id: &acting.step.step_id,
            action: &acting.step.action,
        }
    }
}

fn too_late(why: &str) -> Refusal {
    Refusal::new(
        "has_begun",
        format!("a rejection comes too late for this step: {why}; nothing is changed by it"),
    )
}

/// What is said of a rejection that counts.
fn rejected(
    at: Moment,
    command: &OperatorCommand,
    out: &Out<'_>,
    details: ActionDetails,
) -> Vec<Effect> {
    let reason = if command.reason.is_empty() {
        "no reason was given"
    } else {
        &command.reason
    };
    let summary = format!(
        "{} rejected {} ({}): {reason}",
        command.by, out.step_id, out.action
    );
    let details = ActionDetails {
        credential_id: command.credential_id.clone(),
        channel: command.details.channel.clone(),
        rule: REJECTED.to_owned(),
        ..details
    };
    let about = About {
        header: out.header,
        plan_id: out.plan_id,
        step_id: out.step_id,
        by: &command.by,
        at_ms: at.event_ms,
    };
    vec![
        said(at, command, "ACTION_REFUSED", &summary, REJECTED),
        about.publish("refused", reason, REJECTED, details),
    ]
}
