//! The lines of remediation in the audit trail, as what happened to a step.

use super::{Happening, Void, hash_of};
use midwatch_clients::postgres::read::AgentEvent;
use midwatch_events::action::Verification;
use midwatch_events::response::RemediationPlan;
use serde::Deserialize;
use uuid::Uuid;

/// What remediation writes about a step, read leniently: what it says of a
/// person's command names the step `target`, all else `step_id`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    plan_id: Option<Uuid>,
    plan_hash: String,
    step_id: String,
    target: String,
    /// What a person asked for; empty where nobody did.
    command: String,
    by: String,
    reason: String,
    credential_id: String,
    channel: String,
    rule: String,
    approvals_missing: Option<u32>,
    /// Until when an approval counts, wall clock.
    until_ms: Option<i64>,
    dry_run: bool,
    is_undo: bool,
    details: Option<Details>,
}

/// How an execution ended, or what the check of it found.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    /// `done`, `failed`, `refused`, `unknown`.
    status: String,
    rule: String,
    output: String,
    summary: String,
    verification: Option<Verification>,
}

impl Told {
    fn is_about(&self, plan: &RemediationPlan, step_id: &str) -> bool {
        let is_of_plan = match self.plan_id {
            Some(id) => id == plan.plan_id,
            None => self.plan_hash == hash_of(plan),
        };
        let step = if self.step_id.is_empty() {
            &self.target
        } else {
            &self.step_id
        };
        is_of_plan && step == step_id
    }
}

/// What happened to a step of this plan, oldest first.
pub(super) fn happened(
    plan: &RemediationPlan,
    step_id: &str,
    timeline: &[AgentEvent],
) -> Vec<Happening> {
    let lines = timeline
        .iter()
        .filter(|event| event.agent == "remediation" && event.event_type.starts_with("ACTION_"));
    lines
        .filter_map(|event| Some((event, Told::deserialize(&event.payload).ok()?)))
        .filter(|(_, told)| told.is_about(plan, step_id))
        .filter_map(|(event, told)| happening(event, told))
        .collect()
}

fn happening(event: &AgentEvent, told: Told) -> Option<Happening> {
    let details = told.details.unwrap_or_default();
    let (phase, succeeded) = match event.event_type.as_str() {
        "ACTION_APPROVED" => ("approved", None),
        "ACTION_REFUSED" => ("refused", None),
        "ACTION_STARTED" => ("intent", None),
        "ACTION_EXECUTED" => ("outcome", Some(true)),
        "ACTION_FAILED" if details.status == "unknown" => ("outcome", None),
        "ACTION_FAILED" => ("outcome", Some(false)),
        "ACTION_VERIFIED" => ("verified", None),
        "ACTION_UNDONE" => ("undone", Some(true)),
        "ACTION_NOT_UNDONE" => ("not_undone", None),
        _ => return None,
    };
    let rule = if told.rule.is_empty() {
        details.rule
    } else {
        told.rule
    };
    Some(Happening {
        phase: phase.to_owned(),
        at_ms: event.at_ms,
        wall_ms: event.wall_ms,
        by: told.by,
        credential_id: told.credential_id,
        channel: told.channel,
        rule,
        // A refusal's words are in its line; the reason is the person's.
        reason: if phase == "approved" {
            told.reason
        } else {
            event.summary.clone()
        },
        result: details.summary,
        output: details.output,
        dry_run: told.dry_run,
        is_undo: told.is_undo,
        was_asked: !told.command.is_empty(),
        is_approval: told.command == "approve",
        until_ms: told.until_ms,
        succeeded,
        approvals_missing: told.approvals_missing,
        verification: details.verification,
    })
}

/// Approvals that were meant for another plan than this one, oldest first,
/// unless the same person has approved something of this one since.
pub(super) fn of_other_plans(plan: &RemediationPlan, timeline: &[AgentEvent]) -> Vec<Void> {
    let mut found: Vec<Void> = Vec::new();
    let lines = timeline.iter().filter(|event| event.agent == "remediation");
    for event in lines {
        let Ok(told) = Told::deserialize(&event.payload) else {
            continue;
        };
        match (event.event_type.as_str(), told.rule.as_str()) {
            ("ACTION_REFUSED", "plan_revised" | "plan_hash") if told.command != "reject" => found
                .push(Void {
                    by: told.by,
                    credential_id: told.credential_id,
                    wall_ms: event.wall_ms,
                    why: event.summary.clone(),
                }),
            ("ACTION_APPROVED", _) if told.plan_hash == hash_of(plan) => {
                found.retain(|one| one.by != told.by);
            }
            _ => {}
        }
    }
    found.split_off(found.len().saturating_sub(SHOWN))
}

/// So many of them are shown.
const SHOWN: usize = 5;
