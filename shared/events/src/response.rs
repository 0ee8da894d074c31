//! What remediation, people and the postmortem agent say.

use crate::action::{TypedAction, Verification};
use crate::incident::{Declared, IncidentHeader, Stated};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// When a step is due, counted from the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Priority {
    #[serde(rename = "IMMEDIATE")]
    Immediate,
    #[serde(rename = "WITHIN_15MIN")]
    Within15Min,
    #[serde(rename = "WITHIN_1HOUR")]
    Within1Hour,
}

impl Priority {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Priority::Immediate => "IMMEDIATE",
            Priority::Within15Min => "WITHIN_15MIN",
            Priority::Within1Hour => "WITHIN_1HOUR",
        }
    }
}

/// One step of a plan. Nothing in it is carried out without approval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionStep {
    /// Unique within the plan: `S1`, `S2`, …
    pub step_id: String,
    pub priority: Priority,
    pub action: String,
    /// What a person would type, with the actual object's name.
    pub command: String,
    pub rationale: String,
    /// `read-only`, `low`, `medium`, `high`.
    pub risk_level: String,
    pub owner: String,
    pub expected_outcome: String,
    /// The command that undoes it, or `none: ` and why there is none.
    pub rollback: String,
    /// What would be executed; absent where a person has to do it by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typed: Option<Box<TypedAction>>,
}

/// What to do about an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemediationPlan {
    #[serde(flatten)]
    pub header: IncidentHeader,
    pub plan_id: Uuid,
    pub planned_at_ms: i64,
    pub root_cause: String,
    pub confidence: f64,
    pub action_steps: Vec<ActionStep>,
    /// Whom to call, nearest first.
    pub escalation_path: Vec<String>,
    /// `runbook#section`.
    pub runbook_references: Vec<String>,
    /// Lower and upper estimate, minutes.
    pub estimated_resolution_minutes: [u32; 2],
    /// Where the estimate comes from.
    pub estimate_basis: String,
    /// The revision of the root cause that the plan answers.
    pub rca_revision: u32,
    /// [`crate::action::plan_hash`]; what approvals are bound to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub plan_hash: String,
    /// Whether an approval leads to a dry run only, by the policy at the time
    /// of the plan; absent in plans of older builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RemediationAction {
    #[serde(flatten)]
    pub header: IncidentHeader,
    pub plan_id: Uuid,
    pub step_id: String,
    /// `approved`, `refused`, `intent`, `outcome`, `verified`, `undone`.
    pub phase: String,
    pub by: String,
    pub reason: String,
    pub result: String,
    pub at_ms: i64,
    #[serde(flatten)]
    pub details: ActionDetails,
}

impl RemediationAction {
    /// Whether the step only looks: it changes nothing, so no effect of it is
    /// waited for, verified or told as a deed.
    #[must_use]
    pub fn only_looks(&self) -> bool {
        let typed = self.details.typed.as_deref();
        typed.is_some_and(|action| action.kind.only_looks())
    }
}

/// What is known of a phase beyond its words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActionDetails {
    /// The plan as it was approved.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub plan_hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typed: Option<Box<TypedAction>>,
    /// The credential of whoever approved or was refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub credential_id: String,
    /// Where a command came from: `api`, `page`, `link`, `slack`, `cli`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub channel: String,
    /// The rule that refused, by its name in the policy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// Approvals still missing after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals_missing: Option<u32>,
    /// One for each step of a plan; whoever acts twice under it acts once.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub idempotency_key: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// The line is about taking the step back, and not about the step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_undo: bool,
    /// Whether an outcome is a success; absent in other phases, and where a
    /// crash left it unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<bool>,
    /// What the executor printed or answered, redacted and cut.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// Event time at which the action took effect, epoch milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acted_at_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Box<Verification>>,
}

/// What a person asks for. `maintain` is about no incident: its id is nil.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatorCommand {
    pub incident_id: Uuid,
    /// `approve`, `reject`, `acknowledge`, `snooze`, `merge`, `split`,
    /// `reopen`, `close`, `maintain`, `declare`, `review`, `publish`, `resend`.
    pub command: String,
    /// What it is about beside the incident. `merge`: the incident that goes
    /// into `incident_id`; `split`: the anomaly ids that leave, separated by
    /// commas, or one service; `maintain`: a service, or `*` for all;
    /// `approve`, `reject`: a step; `declare`: a service; `resend`: the
    /// Message-ID of what failed; `review`, `publish`: the version that was read,
    /// or nothing.
    pub target: String,
    pub by: String,
    pub credential_id: String,
    #[serde(default)]
    pub reason: String,
    /// Wall clock, epoch milliseconds.
    pub issued_at_ms: i64,
    /// Wall clock; a command that comes later is not obeyed.
    pub expires_at_ms: i64,
    /// The environment of the incident, or the one that `maintain` is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Until when a `snooze` or `maintain` lasts, wall clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    #[serde(flatten)]
    pub details: CommandDetails,
}

/// What only some commands carry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CommandDetails {
    /// `approve`, `reject`: the hash of the plan that was shown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub plan_hash: String,
    /// Where it came from: `api`, `page`, `link`, `slack`, `pagerduty`,
    /// `telegram`, `cli`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub channel: String,
    /// The network address that it came from, where one is known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// Of a one-time link: a second command with it is refused.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub nonce: String,
    /// `declare`: what the person says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<Box<Declared>>,
    /// `close`: what the person says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated: Option<Box<Stated>>,
}

/// Something to do so that it does not happen again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActionItem {
    pub title: String,
    pub owner: String,
    /// `YYYY-MM-DD`.
    pub due: String,
    pub priority: String,
    /// The record ids that give the reason.
    pub evidence: Vec<String>,
    /// What would prove that it was done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub check: String,
}

/// The postmortem is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PostmortemGenerated {
    #[serde(flatten)]
    pub header: IncidentHeader,
    pub generated_at_ms: i64,
    /// Markdown.
    pub postmortem: String,
    pub summary: String,
    pub mttr_minutes: f64,
    pub action_items: Vec<ActionItem>,
    /// Counts from 1; an incident that ended again has a new version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// `draft`, `reviewed`, `published`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
}
