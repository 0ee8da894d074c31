//! 🛠️ What to do, in which order, with which command.

use super::{Frame, NAME, QUOTE, Reading, Surroundings, frame, names, percent, trigger};
use crate::links::Unsigned;
use crate::units::line;
use midwatch_events::response::Priority;
use midwatch_events::{ActionStep, IncidentOpened, RemediationPlan};
use serde::Serialize;

/// The third mail.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanView {
    pub frame: Frame,
    pub preheader: String,
    /// `5 steps`.
    pub count: String,
    /// `15–30 min`.
    pub eta: String,
    pub basis: String,
    pub root_cause: String,
    pub confidence: u32,
    /// Absent where the first mail's event never came.
    pub trigger: Option<Reading>,
    pub groups: Vec<StepGroup>,
    pub escalation: Vec<String>,
    pub runbooks: Vec<String>,
    /// Whether every step only looks.
    pub read_only: bool,
    /// Whether an approval leads to a dry run only.
    pub dry_run: bool,
    /// Whether people knew another plan before.
    pub changed: bool,
    /// What the one recipient of this mail may approve.
    pub approve: Option<ApproveView>,
}

/// A step that can be approved from the mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApproveView {
    pub step: String,
    pub action: String,
    /// Opens a page that shows what would be done; nothing happens before
    /// somebody presses its button.
    pub link: String,
    pub until: String,
    /// What the link will be good for; no template needs it.
    #[serde(skip)]
    pub unsigned: Box<Unsigned>,
}

/// The steps of one priority.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepGroup {
    pub name: &'static str,
    pub steps: Vec<StepView>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepView {
    pub id: String,
    pub action: String,
    pub command: String,
    pub rationale: String,
    pub risk: String,
    pub risk_colour: &'static str,
    pub owner: String,
    pub expected: String,
    pub rollback: String,
}

/// Commands are quoted whole up to this length: half a command is worse than
/// none.
const COMMAND: usize = 1000;

/// `15–30 min`, or one figure where both ends agree.
#[must_use]
pub fn eta([low, high]: [u32; 2]) -> String {
    if low == high {
        format!("{low} min")
    } else {
        format!("{low}–{high} min")
    }
}

/// `1 step`, `5 steps`.
#[must_use]
pub fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The view of the third mail.
#[must_use]
pub fn plan(
    plan: &RemediationPlan,
    opened: Option<&IncidentOpened>,
    around: &Surroundings<'_>,
) -> PlanView {
    let groups = [
        (Priority::Immediate, "Now"),
        (Priority::Within15Min, "Within 15 minutes"),
        (Priority::Within1Hour, "Within the hour"),
    ];
    let preheader = plan.action_steps.first().map_or_else(
        || "The plan has no steps".to_owned(),
        |step| format!("First: {}", line(&step.action, QUOTE)),
    );
    PlanView {
        frame: frame(&plan.header, around),
        preheader,
        count: counted(plan.action_steps.len(), "step", "steps"),
        eta: eta(plan.estimated_resolution_minutes),
        basis: line(&plan.estimate_basis, QUOTE),
        root_cause: line(&plan.root_cause, 2 * QUOTE),
        confidence: percent(plan.confidence),
        trigger: opened.map(trigger),
        groups: groups
            .into_iter()
            .map(|(priority, name)| StepGroup {
                name,
                steps: plan
                    .action_steps
                    .iter()
                    .filter(|step| step.priority == priority)
                    .map(step)
                    .collect(),
            })
            .filter(|group| !group.steps.is_empty())
            .collect(),
        escalation: names(&plan.escalation_path, 6),
        runbooks: super::runbooks(&plan.runbook_references),
        read_only: plan
            .action_steps
            .iter()
            .all(|step| step.risk_level == "read-only"),
        dry_run: plan.dry_run.unwrap_or(false),
        changed: false,
        approve: None,
    }
}

fn step(step: &ActionStep) -> StepView {
    StepView {
        id: line(&step.step_id, NAME),
        action: line(&step.action, QUOTE),
        command: line(&step.command, COMMAND),
        rationale: line(&step.rationale, 2 * QUOTE),
        risk: line(&step.risk_level, NAME),
        risk_colour: match step.risk_level.as_str() {
            "read-only" | "low" => "#2b8a3e",
            "medium" => "#b8690a",
            _ => "#c92a2a",
        },
        owner: line(&step.owner, NAME),
        expected: line(&step.expected_outcome, 2 * QUOTE),
        rollback: match step.rollback.strip_prefix("none: ") {
            Some(reason) => format!("nothing to undo ({})", line(reason, QUOTE)),
            None => line(&step.rollback, COMMAND),
        },
    }
}
