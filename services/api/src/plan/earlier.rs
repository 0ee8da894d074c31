//! What was carried out under plans that were revised since.

use super::told::happened;
use super::{StepState, StepView, step_view};
use midwatch_clients::postgres::read::AgentEvent;
use midwatch_events::artifact::{Artifact, ArtifactKind};
use midwatch_events::response::RemediationPlan;
use serde::Serialize;
use uuid::Uuid;

/// A step of an earlier plan that was begun, whatever became of it. Its number
/// says nothing without its plan: each plan counts anew.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EarlierStep {
    pub plan_id: Uuid,
    /// Event time.
    pub planned_at_ms: i64,
    #[serde(flatten)]
    pub view: StepView,
}

/// The steps that were begun under other plans than this one, oldest plan
/// first. A plan that cannot be read as one shows nothing.
pub(super) fn earlier(
    plan_id: Uuid,
    artifacts: &[Artifact],
    timeline: &[AgentEvent],
) -> Vec<EarlierStep> {
    let proposals = artifacts
        .iter()
        .filter(|artifact| artifact.kind == ArtifactKind::RemediationProposal);
    let mut steps = Vec::new();
    for proposal in proposals {
        let Ok(plan) = serde_json::from_value::<RemediationPlan>(proposal.body.clone()) else {
            continue;
        };
        if plan.plan_id == plan_id {
            continue;
        }
        for step in &plan.action_steps {
            let view = step_view(step, happened(&plan, &step.step_id, timeline), None);
            if was_begun(view.state) {
                steps.push(EarlierStep {
                    plan_id: plan.plan_id,
                    planned_at_ms: plan.planned_at_ms,
                    view,
                });
            }
        }
    }
    steps
}

fn was_begun(state: StepState) -> bool {
    match state {
        StepState::ByHand
        | StepState::Waiting
        | StepState::PartlyApproved
        | StepState::Approved
        | StepState::Rejected
        | StepState::Refused => false,
        StepState::Running
        | StepState::Done
        | StepState::DryRun
        | StepState::Failed
        | StepState::Unknown
        | StepState::Verified
        | StepState::Undone => true,
    }
}
