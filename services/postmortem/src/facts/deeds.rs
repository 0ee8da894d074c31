//! What became of the plan's steps.

use super::Facts;
use midwatch_events::action::{Verification, VerificationVerdict};
use midwatch_events::{ActionStep, RemediationAction, RemediationPlan};
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

/// A step, and the plan that it stands in: each plan counts its steps anew.
#[derive(Clone, Copy, Debug)]
pub struct Planned<'a> {
    pub plan: &'a RemediationPlan,
    pub step: &'a ActionStep,
}

/// How far a step came. Each variant names the deeds that show it.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing<'a> {
    Proposed,
    Approved(&'a Deed),
    Refused(&'a Deed),
    /// The outcome says what would have been done.
    DryRun(&'a Deed),
    /// It only looked; the outcome, where there is one, says what it saw.
    Looked(&'a Deed),
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

impl Standing<'_> {
    /// Whether it was done, and its effect judged as an improvement.
    #[must_use]
    pub fn helped(&self) -> bool {
        match self {
            Standing::Applied { verified, .. } => {
                verdict(verified) == Some(VerificationVerdict::Improved)
            }
            _ => false,
        }
    }
}

impl Facts {
    /// What of earlier plans was decided on or done, and then every step of the
    /// newest plan.
    pub fn steps(&self) -> impl Iterator<Item = Planned<'_>> {
        let earlier = self.earlier.iter().flat_map(planned);
        let earlier = earlier.filter(|one| self.deeds(*one).next().is_some());
        earlier.chain(self.plan.iter().flat_map(planned))
    }

    /// The step that an action is about.
    #[must_use]
    pub fn step_of(&self, action: &RemediationAction) -> Option<Planned<'_>> {
        let plans = self.earlier.iter().chain(&self.plan);
        let mut steps = plans.flat_map(planned);
        steps.find(|one| is_about(action, *one))
    }

    /// Whether a step stands in another plan than the newest.
    #[must_use]
    pub fn is_earlier(&self, planned: Planned<'_>) -> bool {
        let newest = self.plan.as_ref().map(|plan| plan.plan_id);
        newest != Some(planned.plan.plan_id)
    }

    /// The deeds of a step, oldest first.
    pub fn deeds<'a>(&'a self, planned: Planned<'a>) -> impl DoubleEndedIterator<Item = &'a Deed> {
        let actions = self.actions.iter();
        actions.filter(move |deed| is_about(&deed.action, planned))
    }

    /// How far a step came.
    #[must_use]
    pub fn standing<'a>(&'a self, planned: Planned<'a>) -> Standing<'a> {
        let last = |phase: &str| {
            self.deeds(planned)
                .rev()
                .find(|deed| deed.action.phase == phase && !is_of_undo(deed))
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
                _ if outcome.action.only_looks() => Standing::Looked(outcome),
                (Some(true), Some(verified)) => Standing::Applied { outcome, verified },
                (Some(true), None) => Standing::Executed(outcome),
                (Some(false), _) => Standing::Failed(outcome),
                (None, _) => Standing::Begun(outcome),
            };
        }
        if let Some(intent) = last("intent") {
            return match self.stopped(&intent.action) {
                Some(refused) => Standing::Refused(refused),
                None if intent.action.only_looks() => Standing::Looked(intent),
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

    /// What says that a step was not taken back though that was begun: the
    /// undo's failure, its refusal, or an end of it that nobody knows.
    #[must_use]
    pub fn undo_in_vain<'a>(&'a self, planned: Planned<'a>) -> Option<&'a Deed> {
        let mut told = self.deeds(planned).rev();
        let last = told.find(|deed| match deed.action.phase.as_str() {
            "undone" => true,
            "outcome" | "refused" => is_of_undo(deed),
            _ => false,
        });
        last.filter(|deed| deed.action.phase != "undone")
    }

    /// What kept a step from being done after its intent was told: the executor's
    /// own refusal, which names no credential, or a person's no that came in
    /// time. Somebody's command that came too late is refused as well, and stops
    /// nothing.
    fn stopped(&self, intent: &RemediationAction) -> Option<&Deed> {
        let same = |deed: &&Deed| {
            deed.action.plan_id == intent.plan_id
                && deed.action.step_id == intent.step_id
                && !is_of_undo(deed)
        };
        self.actions
            .iter()
            .filter(same)
            .rev()
            .take_while(|deed| deed.action.phase != "intent")
            .find(|deed| {
                let is_in_time =
                    deed.action.result == REJECTED || deed.action.details.credential_id.is_empty();
                deed.action.phase == "refused" && is_in_time
            })
    }

    /// Each of the steps with how far it came.
    pub fn standings(&self) -> impl Iterator<Item = (Planned<'_>, Standing<'_>)> {
        self.steps().map(|one| (one, self.standing(one)))
    }

    /// Whether any step was begun in earnest, whatever became of it.
    #[must_use]
    pub fn began_a_step(&self) -> bool {
        self.actions.iter().any(|deed| {
            let begins = match deed.action.phase.as_str() {
                "intent" => self.stopped(&deed.action).is_none(),
                "outcome" | "undone" | "verified" => true,
                _ => false,
            };
            begins && !deed.action.details.dry_run && !deed.action.only_looks()
        })
    }
}

fn planned(plan: &RemediationPlan) -> impl Iterator<Item = Planned<'_>> {
    let steps = plan.action_steps.iter();
    steps.map(move |step| Planned { plan, step })
}

fn is_about(action: &RemediationAction, planned: Planned<'_>) -> bool {
    action.plan_id == planned.plan.plan_id && action.step_id == planned.step.step_id
}

/// Whether a line is about taking a step back. That it came to an end has a
/// phase of its own.
pub(crate) fn is_of_undo(deed: &Deed) -> bool {
    deed.action.details.is_undo && deed.action.phase != "undone"
}

/// What the check of a step's effect found.
#[must_use]
pub fn verification(deed: &Deed) -> Option<&Verification> {
    deed.action.details.verification.as_deref()
}

fn verdict(deed: &Deed) -> Option<VerificationVerdict> {
    verification(deed).map(|verification| verification.verdict)
}
