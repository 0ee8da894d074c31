//! An incident that is reopened: what was done did not last, and can be done
//! anew.

mod fixtures;

use fixtures::{
    AT, NOW, actions, audits, command, connections, finish, found, hear, hear_rca, jobs, live_core,
    phases, plan_for, published, release, resolved, typed_pool_runbook,
};
use midwatch_clients::knowledge::{ActionTemplate, RunbookHit};
use midwatch_events::action::{ActionKind, Span, Verification, VerificationVerdict};
use midwatch_events::response::Priority;
use midwatch_events::{Event, RcaCompleted, RemediationPlan};
use midwatch_remediation::decide::{Core, Retrieved, State};
use midwatch_remediation::execution::{Check, EXECUTE, Execution, Outcome, OutcomeStatus, VERIFY};
use midwatch_remediation::steps::Effective;
use midwatch_runtime::effect::{Effect, JobRequest};
use serde_json::{Value, json};

const BACK: &str = "This was done in this incident before, and the fault came back.";
const END: i64 = NOW + 200_000;

/// The pool runbook with everything due at once: S1 restarts, for that helped
/// before, S2 raises the pool, S3 looks.
fn runbook() -> Retrieved {
    let mut sections = typed_pool_runbook();
    for step in sections.iter_mut().flat_map(|one| &mut one.steps) {
        step.priority = Priority::Immediate;
    }
    Retrieved {
        effective: vec![Effective {
            kind: ActionKind::RestartRollout,
            cause: "DB_CONNECTION_EXHAUSTION".to_owned(),
            improved: 3,
            tried: 3,
            incident: "INC-1".to_owned(),
        }],
        ..found(sections)
    }
}

fn kinds(plan: &RemediationPlan) -> Vec<Option<ActionKind>> {
    let steps = plan.action_steps.iter();
    steps
        .map(|step| step.typed.as_ref().map(|action| action.kind))
        .collect()
}

fn only(effects: &[Effect], kind: &str) -> JobRequest {
    let jobs = jobs(effects, kind);
    assert_eq!(jobs.len(), 1, "{effects:?}");
    jobs[0].clone()
}

fn approve(core: &Core, state: &mut State, step: &str) -> Vec<Effect> {
    let command = command(state, "approve", step);
    hear(core, state, Event::Command(command))
}

fn outcome(at_ms: i64) -> Value {
    json!(Outcome {
        status: OutcomeStatus::Done,
        rule: String::new(),
        output: "done".to_owned(),
        acted_at_ms: Some(at_ms),
        reconciled: false,
    })
}

fn effect(verdict: VerificationVerdict) -> Value {
    json!(Verification {
        service: "payment-service".to_owned(),
        metric: "service_db_connections".to_owned(),
        verdict,
        before: Span::default(),
        after: Span::default(),
        control: None,
        test: "a test".to_owned(),
        p_value: None,
        summary: "It was looked at.".to_owned(),
    })
}

/// Approves a step, carries it out and looks at its effect; what was executed
/// and what was looked at.
fn done(
    core: &Core,
    state: &mut State,
    step: &str,
    verdict: VerificationVerdict,
) -> (Execution, Check, Vec<Effect>) {
    let job = only(&approve(core, state, step), EXECUTE);
    let execution = serde_json::from_value(job.payload.clone()).expect("an execution");
    let effects = finish(core, state, job, Ok(outcome(NOW + 95_000)));
    let look = only(&effects, VERIFY);
    let check = serde_json::from_value(look.payload.clone()).expect("a check");
    let effects = finish(core, state, look, Ok(effect(verdict)));
    (execution, check, effects)
}

fn again(revision: u32, completed_at_ms: i64) -> RcaCompleted {
    RcaCompleted {
        revision,
        completed_at_ms,
        ..connections()
    }
}

#[test]
fn the_same_cause_after_a_reopening_gives_a_plan_that_can_be_carried_out_anew() {
    let core = live_core();
    let mut state = State::default();
    let effects = plan_for(&core, &mut state, &connections(), &runbook());
    let first = published(&effects).expect("a plan").clone();
    let (restart, raise) = (ActionKind::RestartRollout, ActionKind::RaisePoolSize);
    assert_eq!(kinds(&first), [Some(restart), Some(raise), None]);
    let (before, check, _) = done(&core, &mut state, "S1", VerificationVerdict::Improved);
    assert!(check.onset_ms < END);
    let stale = command(&state, "approve", "S2");
    hear(
        &core,
        &mut state,
        resolved(&connections(), END, "REMEDIATED"),
    );

    let back = again(2, END + 300_000);
    let effects = plan_for(&core, &mut state, &back, &runbook());
    let second = published(&effects)
        .expect("a plan for what came back")
        .clone();
    assert_ne!(
        (second.plan_id, &second.plan_hash),
        (first.plan_id, &first.plan_hash)
    );
    assert_eq!(second.rca_revision, 2);
    // What did not last comes last, however often it helped elsewhere.
    assert_eq!(kinds(&second), [Some(raise), None, Some(restart)]);
    assert!(second.action_steps[2].rationale.starts_with(BACK));
    for step in &second.action_steps[..2] {
        assert!(!step.rationale.contains(BACK), "{}", step.rationale);
    }
    // Delivered once more, or an older one late: nothing.
    let plan = state.plan.clone();
    assert_eq!(hear_rca(&core, &mut state, &back), Vec::new());
    assert_eq!(hear_rca(&core, &mut state, &connections()), Vec::new());
    assert_eq!(state.plan, plan);
    // An approval of the first plan is none of this one.
    let effects = hear(&core, &mut state, Event::Command(stale));
    assert_eq!(actions(&effects)[0].details.rule, "plan_hash");

    let (after, check, _) = done(&core, &mut state, "S3", VerificationVerdict::Improved);
    assert_eq!(after.action.kind, restart);
    assert_ne!(after.key, before.key);
    // Readings of the first outbreak say nothing about the second.
    assert_eq!(check.onset_ms, END);
    hear(
        &core,
        &mut state,
        resolved(&connections(), END + 600_000, "REMEDIATED"),
    );
    assert_eq!(hear_rca(&core, &mut state, &back), Vec::new());
    let effects = approve(&core, &mut state, "S1");
    assert_eq!(actions(&effects)[0].details.rule, "incident_over");
    // And once more.
    let effects = plan_for(&core, &mut state, &again(3, END + 900_000), &runbook());
    assert!(published(&effects).is_some());
}

#[test]
fn a_reopening_by_hand_needs_no_later_reading() {
    let core = live_core();
    let mut state = State::default();
    plan_for(&core, &mut state, &connections(), &runbook());
    let ended = |before: u32| {
        let Event::Resolved(mut end) = resolved(&connections(), END, "CLOSED_BY_OPERATOR") else {
            panic!("an end");
        };
        end.rca_revision = Some(before);
        Event::Resolved(end)
    };
    // The end is heard of before the last answer from before it.
    hear(&core, &mut state, ended(2));
    let back = again(2, END + 10_000);
    assert_eq!(hear_rca(&core, &mut state, &back), Vec::new());
    let mut state = State::default();
    plan_for(&core, &mut state, &connections(), &runbook());
    hear(&core, &mut state, ended(1));
    let back = again(2, END - 10_000);
    let effects = plan_for(&core, &mut state, &back, &runbook());
    assert_eq!(published(&effects).expect("a plan").rca_revision, 2);
    assert_eq!(
        phases(&approve(&core, &mut state, "S1")),
        ["approved", "intent"]
    );
}

#[test]
fn a_cause_from_before_the_end_reopens_nothing() {
    let core = live_core();
    let mut state = State::default();
    plan_for(&core, &mut state, &connections(), &runbook());
    // The readings were normal first; cause and end were told later, in one go,
    // and the end is heard of first.
    hear(
        &core,
        &mut state,
        resolved(&connections(), NOW + 30_000, "RECOVERED"),
    );
    let late = again(2, AT.event_ms);
    assert_eq!(hear_rca(&core, &mut state, &late), Vec::new());
    let effects = approve(&core, &mut state, "S1");
    assert_eq!(actions(&effects)[0].details.rule, "incident_over");
}

#[test]
fn what_was_taken_back_or_only_rehearsed_is_not_said_to_have_come_back() {
    let core = live_core();
    let mut state = State::default();
    plan_for(&core, &mut state, &connections(), &runbook());
    let (_, _, effects) = done(&core, &mut state, "S2", VerificationVerdict::Worse);
    let undo = only(&effects, EXECUTE);
    finish(&core, &mut state, undo, Ok(outcome(NOW + 99_000)));
    assert_eq!(state.deeds, Vec::new());
    hear(
        &core,
        &mut state,
        resolved(&connections(), END, "RECOVERED"),
    );
    let effects = plan_for(&core, &mut state, &again(2, END + 300_000), &runbook());
    let plan = published(&effects).expect("a plan");
    assert!(
        plan.action_steps
            .iter()
            .all(|step| !step.rationale.contains(BACK))
    );

    let mut core = live_core();
    core.policy.mode = midwatch_remediation::policy::Mode::DryRun;
    let mut state = State::default();
    plan_for(&core, &mut state, &connections(), &runbook());
    let job = only(&approve(&core, &mut state, "S1"), EXECUTE);
    let effects = finish(&core, &mut state, job, Ok(outcome(NOW + 95_000)));
    assert_eq!(audits(&effects)[0].0, "ACTION_EXECUTED");
    assert_eq!(state.deeds, Vec::new());
}

#[test]
fn a_rollback_that_did_not_last_is_not_fixed_in_the_first_place() {
    let core = live_core();
    let mut sections: Vec<RunbookHit> = fixtures::rollback_runbook();
    for step in sections.iter_mut().flat_map(|one| &mut one.steps) {
        if step.command.starts_with("kubectl rollout undo") {
            let text = "rollback_deployment namespace={{namespace}} workload={{service}}";
            step.typed = Some(ActionTemplate::parse(text).expect("well formed"));
        }
    }
    let found = found(sections);
    let mut state = State::default();
    let effects = plan_for(&core, &mut state, &release(), &found);
    let plan = published(&effects).expect("a plan");
    let rollback = Some(ActionKind::RollbackDeployment);
    assert_eq!(kinds(plan), [rollback, None, None]);
    let (_, _, _) = done(&core, &mut state, "S1", VerificationVerdict::Improved);
    hear(&core, &mut state, resolved(&release(), END, "REMEDIATED"));
    let back = RcaCompleted {
        revision: 2,
        completed_at_ms: END + 300_000,
        ..release()
    };
    let effects = plan_for(&core, &mut state, &back, &found);
    let plan = published(&effects).expect("a plan");
    assert_eq!(kinds(plan), [None, rollback, None]);
}
