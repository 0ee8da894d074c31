//! What people say about steps: approvals count, everything else is refused by
//! a rule that is named.

use super::trail::{self, About};
use super::{Core, Progress, Published, Stage, State};
use crate::catalogue::{self, Refusal};
use crate::policy::{Approval, Ruling, Wish};
use midwatch_events::action::{TypedAction, plan_hash};
use midwatch_events::response::ActionDetails;
use midwatch_events::{ActionStep, OperatorCommand, RemediationPlan};
use midwatch_runtime::agent::Moment;
use midwatch_runtime::effect::Effect;
use serde_json::json;

/// How far ahead of ours the clock may be on which a command was issued.
const CLOCK_SKEW_MS: i64 = 300_000;
/// Most used links that are remembered of one incident. No incident has sent
/// out near as many; beyond it, links are refused rather than trusted.
const MAX_NONCES: usize = 1_000;
/// Longest name of a step that is repeated to people, characters.
const NAME: usize = 64;

/// A typed step of the current plan.
pub(super) struct Subject {
    pub plan: Box<RemediationPlan>,
    pub step: ActionStep,
    pub action: TypedAction,
}

impl Core {
    /// An operator's command; those for other agents are left to them.
    pub(super) fn command(
        &self,
        state: &mut State,
        at: Moment,
        command: &OperatorCommand,
        stopped: bool,
    ) -> Vec<Effect> {
        let heard = match command.command.as_str() {
            "approve" => self.approve(state, at, command, stopped),
            "reject" => self.reject(state, at, command),
            _ => return Vec::new(),
        };
        heard.unwrap_or_else(|refusal| refuse(state, at, command, &refusal))
    }

    fn approve(
        &self,
        state: &mut State,
        at: Moment,
        command: &OperatorCommand,
        stopped: bool,
    ) -> Result<Vec<Effect>, Refusal> {
        take_up(state, at, command)?;
        let subject = subject(state, command)?;
        if state.resolved_at_ms.is_some() {
            return Err(Refusal::new("incident_over", "the incident is over"));
        }
        let Subject { plan, step, action } = subject;
        let environment = plan.header.environment.clone();
        let wish = Wish {
            action: &action,
            environment: &environment,
            wall_ms: at.wall_ms,
            stopped,
        };
        let progress = state.steps.get(&step.step_id).cloned().unwrap_or_default();
        is_open(&progress)?;
        if let Some(published) = &state.plan {
            catalogue::check(&action, &published.known)?;
        }
        self.policy.admits(wish)?;
        let mut given = progress.approvals;
        given.retain(|one| one.until_ms > at.wall_ms);
        let approval = Approval {
            by: command.by.clone(),
            credential_id: command.credential_id.clone(),
            until_ms: at.wall_ms + self.policy.approval_ms,
        };
        self.policy.counts(&action, &given, &approval)?;
        let until_ms = approval.until_ms;
        given.push(approval);
        let missing = match self.policy.rule(wish, &given)? {
            Ruling::Run { .. } => 0,
            Ruling::Wait { missing } => missing,
        };
        let entry = state.steps.entry(step.step_id.clone()).or_default();
        entry.approvals = given;
        // After a rehearsal it waits anew: for the others, or for a no.
        entry.stage = Stage::Open;
        let mut effects = approved(at, &plan, &step, command, (missing, until_ms));
        if missing == 0 {
            effects.extend(self.ask_to_run(state, at, &step.step_id, stopped));
        }
        Ok(effects)
    }

    /// Starts the step, or lets it wait for the one that runs.
    fn ask_to_run(
        &self,
        state: &mut State,
        at: Moment,
        step_id: &str,
        stopped: bool,
    ) -> Vec<Effect> {
        if state.acting.is_none() {
            return self.start(state, at, step_id, stopped);
        }
        let entry = state.steps.entry(step_id.to_owned()).or_default();
        entry.stage = Stage::Queued;
        state.queue.push(step_id.to_owned());
        Vec::new()
    }

    /// Starts what the policy lets run without approval.
    pub(super) fn start_what_needs_nobody(&self, state: &mut State, at: Moment) -> Vec<Effect> {
        if state.resolved_at_ms.is_some() {
            return Vec::new();
        }
        let steps = state.plan.iter().filter_map(|one| one.plan.as_deref());
        let alone: Vec<String> = steps
            .flat_map(|plan| &plan.action_steps)
            .filter(|step| {
                let action = step.typed.as_deref();
                action.is_some_and(|action| self.policy.approvals_needed(action) == 0)
            })
            .map(|step| step.step_id.clone())
            .collect();
        let mut effects = Vec::new();
        for step_id in alone {
            effects.extend(self.ask_to_run(state, at, &step_id, false));
        }
        effects
    }
}

/// Whether a command may be looked at: it came in time, and its link was not
/// used before. Uses the link up.
pub(super) fn take_up(
    state: &mut State,
    at: Moment,
    command: &OperatorCommand,
) -> Result<(), Refusal> {
    if command.expires_at_ms <= at.wall_ms {
        return Err(Refusal::new("expired", "the command came after its time"));
    }
    if command.issued_at_ms > at.wall_ms.saturating_add(CLOCK_SKEW_MS) {
        return Err(Refusal::new(
            "issued_in_future",
            "the command says that it was issued in the future; check the clocks",
        ));
    }
    let nonce = &command.details.nonce;
    if nonce.is_empty() {
        return Ok(());
    }
    state
        .nonces
        .retain(|_, expires_ms| *expires_ms > at.wall_ms);
    if state.nonces.contains_key(nonce) || state.nonces.len() >= MAX_NONCES {
        return Err(Refusal::new(
            "reused_nonce",
            "this link was used before; ask for the newest mail or use the page",
        ));
    }
    state.nonces.insert(nonce.clone(), command.expires_at_ms);
    Ok(())
}

/// The typed step that a command is about.
pub(super) fn subject(state: &State, command: &OperatorCommand) -> Result<Subject, Refusal> {
    if state.merged {
        return Err(Refusal::new(
            "incident_over",
            "the incident was merged into another one; approve a step of that one's plan",
        ));
    }
    let no_plan = || Refusal::new("no_plan", "there is no plan that could be approved");
    let published: &Published = state.plan.as_ref().ok_or_else(no_plan)?;
    let plan = published.plan.as_ref().ok_or_else(no_plan)?;
    if plan.header.incident_id != command.incident_id {
        return Err(Refusal::new(
            "other_incident",
            "the command is about another incident than this plan",
        ));
    }
    if command.details.plan_hash != plan.plan_hash || plan.plan_hash.is_empty() {
        return Err(Refusal::new(
            "plan_hash",
            "it is for another plan than the current one; read that one and approve it",
        ));
    }
    if plan_hash(plan.plan_id, &plan.action_steps) != plan.plan_hash {
        return Err(Refusal::new(
            "altered_plan",
            "the plan was altered after it was published; wait for the next one",
        ));
    }
    let mut steps = plan.action_steps.iter();
    let step = steps.find(|step| step.step_id == command.target);
    let step = step.ok_or_else(|| Refusal::new("unknown_step", "the plan has no such step"))?;
    let action = step.typed.as_deref().ok_or_else(|| {
        Refusal::new(
            "by_hand",
            "this step is done by hand; nothing here could carry it out",
        )
    })?;
    Ok(Subject {
        plan: plan.clone(),
        step: step.clone(),
        action: action.clone(),
    })
}

/// Whether a step can take an approval.
fn is_open(progress: &Progress) -> Result<(), Refusal> {
    match progress.stage {
        // A rehearsal changed nothing, and may be repeated.
        Stage::Open | Stage::Rehearsed => Ok(()),
        Stage::Queued | Stage::Running => Err(Refusal::new(
            "already_approved",
            "this step is approved already and about to run or running",
        )),
        Stage::Done => Err(Refusal::new(
            "step_done",
            "this step was carried out already",
        )),
    }
}

/// An approval counts.
fn approved(
    at: Moment,
    plan: &RemediationPlan,
    step: &ActionStep,
    command: &OperatorCommand,
    (missing, until_ms): (u32, i64),
) -> Vec<Effect> {
    let result = match missing {
        0 => "approved".to_owned(),
        1 => "approved; 1 more approval is needed".to_owned(),
        more => format!("approved; {more} more approvals are needed"),
    };
    let details = ActionDetails {
        plan_hash: plan.plan_hash.clone(),
        typed: step.typed.clone(),
        credential_id: command.credential_id.clone(),
        channel: command.details.channel.clone(),
        approvals_missing: Some(missing),
        ..ActionDetails::default()
    };
    let about = About {
        header: &plan.header,
        plan_id: plan.plan_id,
        step_id: &step.step_id,
        by: &command.by,
        at_ms: at.event_ms,
    };
    let summary = format!(
        "{} approved {} ({}): {result}",
        command.by, step.step_id, step.action
    );
    vec![
        with_more(
            said(at, command, "ACTION_APPROVED", &summary, ""),
            (missing, until_ms),
        ),
        about.publish("approved", &command.reason, &result, details),
    ]
}

/// Says in an audit line how many approvals are still needed, and until when
/// this one counts.
fn with_more(mut line: Effect, (missing, until_ms): (u32, i64)) -> Effect {
    if let Effect::Audit(audit) = &mut line {
        audit.payload["approvals_missing"] = json!(missing);
        audit.payload["until_ms"] = json!(until_ms);
    }
    line
}

/// A command that is not obeyed, aloud.
pub(super) fn refuse(
    state: &State,
    at: Moment,
    command: &OperatorCommand,
    refusal: &Refusal,
) -> Vec<Effect> {
    let target: String = command.target.chars().take(NAME).collect();
    let summary = format!(
        "{} asked to {} {target:?}, which is refused ({}): {}",
        command.by, command.command, refusal.rule, refusal.words
    );
    let mut effects = vec![said(at, command, "ACTION_REFUSED", &summary, refusal.rule)];
    let plan = state.plan.as_ref().and_then(|one| one.plan.as_deref());
    let Some(plan) = plan.filter(|plan| plan.header.incident_id == command.incident_id) else {
        return effects;
    };
    let mut steps = plan.action_steps.iter();
    let step = steps.find(|step| step.step_id == command.target);
    let about = About {
        header: &plan.header,
        plan_id: plan.plan_id,
        step_id: &target,
        by: &command.by,
        at_ms: at.event_ms,
    };
    let details = ActionDetails {
        plan_hash: plan.plan_hash.clone(),
        typed: step.and_then(|step| step.typed.clone()),
        credential_id: command.credential_id.clone(),
        channel: command.details.channel.clone(),
        rule: refusal.rule.to_owned(),
        ..ActionDetails::default()
    };
    effects.push(about.publish("refused", &refusal.words, "refused", details));
    effects
}

/// The audit line of a command.
pub(super) fn said(
    at: Moment,
    command: &OperatorCommand,
    kind: &str,
    summary: &str,
    rule: &str,
) -> Effect {
    let details = &command.details;
    let payload = json!({
        "command": command.command,
        "target": command.target,
        "by": command.by,
        "credential_id": command.credential_id,
        "reason": command.reason,
        "channel": details.channel,
        "origin": details.origin,
        "plan_hash": details.plan_hash,
        "issued_at_ms": command.issued_at_ms,
        "expires_at_ms": command.expires_at_ms,
        "wall_ms": at.wall_ms,
        "rule": rule,
    });
    Effect::audit(command.incident_id, kind, at.event_ms, summary, payload)
}

/// Takes everything back that waits for a start or for more approvals, aloud.
pub(super) fn drop_open(
    state: &mut State,
    at: Moment,
    rule: &'static str,
    words: &str,
) -> Vec<Effect> {
    state.queue.clear();
    let Some(plan) = state.plan.as_ref().and_then(|one| one.plan.clone()) else {
        return Vec::new();
    };
    let refusal = Refusal::new(rule, words);
    let mut effects = Vec::new();
    for (step_id, progress) in &mut state.steps {
        // A look that the policy lets run by itself waits without approvals.
        let waits = match progress.stage {
            Stage::Queued => true,
            Stage::Open => !progress.approvals.is_empty(),
            Stage::Running | Stage::Rehearsed | Stage::Done => false,
        };
        if !waits {
            continue;
        }
        progress.stage = Stage::Open;
        let by = trail::names(&std::mem::take(&mut progress.approvals));
        effects.extend(trail::not_started(at, &plan, step_id, &by, &refusal));
    }
    effects
}
