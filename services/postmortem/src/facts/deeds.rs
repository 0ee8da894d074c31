//! What became of the plan's steps.

use super::Facts;
use midwatch_events::RemediationAction;
use midwatch_events::action::{Verification, VerificationVerdict};
use serde::{Deserialize, Serialize};

/// A phase of a step, and the id of the event that told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deed {
    /// Empty in what older versions remembered.
    #[serde(default, rename = "deed_event_id")]
    pub id: String,
    #[serde(flatten)]
    pub action: RemediationAction,
}

/// The result of a refusal that is a person's no.
const REJECTED: &str = "rejected";

/// How far a step came. Each variant names the deeds that show it.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing<'a> {
    Proposed,
    Approved(&'a Deed),
    Refused(&'a Deed),
    /// The outcome says what would have been done.
    DryRun(&'a Deed),
    /// Begun; no outcome is recorded.
    Begun(&'a Deed),
    Failed(&'a Deed),
    /// Done, and its effect is not proven.
    Executed(&'a Deed),
    /// Done, and its effect judged.
    Applied {
        outcome: &'a Deed,
        verified: &'a Deed,
    },
    /// Done and taken back; the judgement that led to it, where there is one.
    Undone {
        undone: &'a Deed,
        verified: Option<&'a Deed>,
    },
}

impl Facts {
    /// The deeds of a step of this plan, oldest first.
    pub fn deeds<'a>(&'a self, step: &'a str) -> impl DoubleEndedIterator<Item = &'a Deed> {
        let plan = self.plan.as_ref().map(|plan| plan.plan_id);
        self.actions
            .iter()
            .filter(move |deed| Some(deed.action.plan_id) == plan && deed.action.step_id == step)
    }

    /// How far a step came.
    #[must_use]
    pub fn standing<'a>(&'a self, step: &'a str) -> Standing<'a> {
        let last = |phase: &str| {
            self.deeds(step)
                .rev()
                .find(|deed| deed.action.phase == phase)
        };
        let verified = last("verified").filter(|deed| verdict(deed).is_some());
        if let Some(undone) = last("undone") {
            return Standing::Undone { undone, verified };
        }
        if let Some(outcome) = last("outcome") {
            let proven =
                verified.filter(|deed| verdict(deed) != Some(VerificationVerdict::NotProvable));
            return match (outcome.action.details.succeeded, proven) {
                _ if outcome.action.details.dry_run => Standing::DryRun(outcome),
                (Some(true), Some(verified)) => Standing::Applied { outcome, verified },
                (Some(true), None) => Standing::Executed(outcome),
                (Some(false), _) => Standing::Failed(outcome),
                (None, _) => Standing::Begun(outcome),
            };
        }
        if let Some(intent) = last("intent") {
            return match self.stopped(step) {
                Some(refused) => Standing::Refused(refused),
                None => Standing::Begun(intent),
            };
        }
        match (last("refused"), last("approved")) {
            (Some(refused), Some(approved)) if approved.action.at_ms > refused.action.at_ms => {
                Standing::Approved(approved)
            }
            (Some(refused), _) => Standing::Refused(refused),
            (None, Some(approved)) => Standing::Approved(approved),
            (None, None) => Standing::Proposed,
        }
    }

    /// What kept a step from being done after its intent was told: the executor's
    /// own refusal, which names no credential, or a person's no that came in
    /// time. Somebody's command that came too late is refused as well, and stops
    /// nothing.
    fn stopped<'a>(&'a self, step: &'a str) -> Option<&'a Deed> {
        self.deeds(step)
            .rev()
            .take_while(|deed| deed.action.phase != "intent")
            .find(|deed| {
                let is_in_time =
                    deed.action.result == REJECTED || deed.action.details.credential_id.is_empty();
                deed.action.phase == "refused" && is_in_time
            })
    }

    /// Each step's id with how far it came.
    pub fn standings(&self) -> impl Iterator<Item = (&str, Standing<'_>)> {
        self.plan
            .iter()
            .flat_map(|plan| &plan.action_steps)
            .map(|step| (step.step_id.as_str(), self.standing(&step.step_id)))
    }

    /// Whether any step was begun in earnest, whatever became of it.
    #[must_use]
    pub fn began_a_step(&self) -> bool {
        self.actions.iter().any(|deed| {
            let begins = match deed.action.phase.as_str() {
                "intent" => self.stopped(&deed.action.step_id).is_none(),
                "outcome" | "undone" | "verified" => true,
                _ => false,
            };
            begins && !deed.action.details.dry_run
        })
    }
}

/// What the check of a step's effect found.
#[must_use]
pub fn verification(deed: &Deed) -> Option<&Verification> {
    deed.action.details.verification.as_deref()
}

fn verdict(deed: &Deed) -> Option<VerificationVerdict> {
    verification(deed).map(|verification| verification.verdict)
}
