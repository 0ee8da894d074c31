//! What the look at an action's effect leads to.

use super::approve::drop_open;
use super::{Acting, Core, Performed, State, performed};
use midwatch_events::action::{Verification, VerificationVerdict};
use midwatch_events::artifact::{ArtifactKind, ArtifactStatus};
use midwatch_events::response::ActionDetails;
use midwatch_runtime::agent::{Job, Moment};
use midwatch_runtime::effect::Effect;
use serde_json::{Value, json};

impl Core {
    /// The effect was looked at, or could not be.
    pub(super) fn verified(
        &self,
        state: &mut State,
        at: Moment,
        job: &Job,
        result: Result<Value, String>,
    ) -> Vec<Effect> {
        let running = state.acting.as_deref();
        let of_this = running
            .filter(|acting| acting.verifying && job.payload["step_id"] == acting.step.step_id);
        let Some(acting) = of_this.cloned() else {
            return Vec::new();
        };
        let read = performed::<Verification>(result);
        let (verification, stopped, words) = match read {
            Ok(Performed { done, stopped }) => {
                let words = done.summary.clone();
                (Some(done), stopped, words)
            }
            Err(error) => (
                None,
                false,
                format!("the effect could not be looked at: {error}"),
            ),
        };
        let verdict = verification
            .as_ref()
            .map_or(VerificationVerdict::NotProvable, |found| found.verdict);
        let mut effects = said(at, &acting, verification, verdict, &words);
        let undo = match verdict {
            VerificationVerdict::Worse => self.policy.undo.on_worse,
            VerificationVerdict::NotImproved => self.policy.undo.on_not_improved,
            _ => false,
        };
        if verdict == VerificationVerdict::Worse {
            effects.extend(drop_open(
                state,
                at,
                "after_worse",
                "the step before made it worse; look at the effect and approve anew",
            ));
        }
        if undo {
            let why = format!("undo, for the effect was {}", verdict.as_str());
            match self.take_back(state, at, &acting, stopped, &why) {
                Ok(more) => {
                    effects.extend(more);
                    return effects;
                }
                Err(refusal) => effects.push(acting.audit(
                    at,
                    "ACTION_NOT_UNDONE",
                    format!("{} is not undone: {refusal}", acting.step.step_id),
                    json!({"rule": refusal.rule}),
                )),
            }
        }
        effects.extend(self.go_on(state, at, stopped));
        effects
    }
}

fn said(
    at: Moment,
    acting: &Acting,
    verification: Option<Verification>,
    verdict: VerificationVerdict,
    words: &str,
) -> Vec<Effect> {
    let status = if verification.is_some() {
        ArtifactStatus::Complete
    } else {
        ArtifactStatus::Partial
    };
    let body = json!({"verdict": verdict, "summary": words, "verification": verification});
    let details = ActionDetails {
        verification: verification.map(Box::new),
        ..acting.details()
    };
    vec![
        acting.audit(
            at,
            "ACTION_VERIFIED",
            format!("{}: {}. {words}", acting.step.step_id, verdict.as_str()),
            body.clone(),
        ),
        acting.artifact(
            at,
            ArtifactKind::VerificationResult,
            acting.artifact_id(ArtifactKind::ExecutionResult),
            status,
            body,
        ),
        acting
            .about(at.event_ms)
            .publish("verified", words, verdict.as_str(), details),
    ]
}
