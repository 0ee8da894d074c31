//! An operator's no to a step that was handed to an executor: whatever the
//! record of actions answers, in whatever order the replies come.

mod fixtures;

use fixtures::{
    actions, audits, command, connections, finish, found, hear, jobs, live_core, phases, plan_for,
    published, typed_pool_runbook,
};
use midwatch_events::{Event, OperatorCommand};
use midwatch_remediation::decide::{Core, Stage, State};
use midwatch_remediation::execution::{
    EXECUTE, Execution, IN_PART, NOT_OURS, Outcome, OutcomeStatus, REJECTED, Rejection, VERIFY,
    WITHDRAW, Withdrawal,
};
use midwatch_runtime::effect::{Effect, JobRequest};
use serde_json::{Value, json};

fn planned(core: &Core) -> State {
    let mut state = State::default();
    let sections = found(typed_pool_runbook());
    let effects = plan_for(core, &mut state, &connections(), &sections);
    assert!(published(&effects).is_some());
    state
}

fn say(core: &Core, state: &mut State, what: &str, step: &str) -> Vec<Effect> {
    let command = OperatorCommand {
        reason: "not now".to_owned(),
        ..command(state, what, step)
    };
    hear(core, state, Event::Command(command))
}

fn only(effects: &[Effect], kind: &str) -> JobRequest {
    let jobs = jobs(effects, kind);
    assert_eq!(jobs.len(), 1, "{effects:?}");
    jobs[0].clone()
}

fn execution(job: &JobRequest) -> Execution {
    serde_json::from_value(job.payload.clone()).expect("an execution")
}

fn outcome(status: OutcomeStatus, rule: &str) -> Value {
    json!(Outcome {
        status,
        rule: rule.to_owned(),
        output: "maria rejected it before it began: not now".to_owned(),
        acted_at_ms: None,
        reconciled: false,
    })
}

/// S2 waits in its lane and S3 for it; S2 is rejected.
fn asked(core: &Core) -> (State, JobRequest, JobRequest) {
    let mut state = planned(core);
    let act = only(&say(core, &mut state, "approve", "S2"), EXECUTE);
    say(core, &mut state, "approve", "S3");
    let effects = say(core, &mut state, "reject", "S2");
    let no = only(&effects, WITHDRAW);
    assert_eq!(
        effects.len(),
        1,
        "nothing is said before the record answers"
    );
    assert!(no.lane.is_some() && no.lane != act.lane);
    let rejection: Rejection = serde_json::from_value(no.payload.clone()).expect("a rejection");
    assert_eq!(rejection.execution, execution(&act));
    // The executor asks the policy about them again.
    assert_eq!(rejection.execution.approvals[0].by, "maria");
    (state, act, no)
}

#[test]
fn a_step_that_has_not_begun_is_taken_out_and_the_next_one_starts() {
    let core = live_core();
    let (mut state, act, no) = asked(&core);
    let effects = finish(&core, &mut state, no, Ok(json!(Withdrawal::Withdrawn)));
    assert_eq!(phases(&effects), ["refused", "intent"]);
    let refused = actions(&effects)[0];
    assert_eq!(
        (
            refused.by.as_str(),
            refused.reason.as_str(),
            refused.details.rule.as_str()
        ),
        ("maria", "not now", "rejected")
    );
    // Whoever heard of the intent hears by its key that nothing came of it.
    assert_eq!(refused.details.idempotency_key, execution(&act).key);
    assert_eq!(audits(&effects)[0].0, "ACTION_REFUSED");
    assert_eq!(execution(&only(&effects, EXECUTE)).step_id, "S3");
    assert_eq!(state.steps["S2"].stage, Stage::Open);
    assert_eq!(state.steps["S2"].approvals, []);
    // The job comes out of its lane later, and nobody waits for it.
    let key = execution(&act).key;
    let late = finish(
        &core,
        &mut state,
        act,
        Ok(outcome(OutcomeStatus::Refused, REJECTED)),
    );
    assert_eq!(late, Vec::new());
    assert_eq!(
        state.acting.as_ref().map(|one| one.step.step_id.as_str()),
        Some("S3")
    );
    // Approved anew, it is another action.
    say(&core, &mut state, "approve", "S2");
    let acting = state.acting.clone().expect("S3");
    let s3 = json!({"key": acting.key});
    let s3 = JobRequest::new("s3", EXECUTE, s3);
    let effects = finish(
        &core,
        &mut state,
        s3,
        Ok(outcome(OutcomeStatus::Failed, "")),
    );
    assert_ne!(execution(&only(&effects, EXECUTE)).key, key);
}

#[test]
fn a_step_that_has_begun_is_not_changed_by_a_rejection() {
    let core = live_core();
    let status = "done".to_owned();
    for answer in [Withdrawal::HasBegun, Withdrawal::HasEnded { status }] {
        let (mut state, act, no) = asked(&core);
        let before = state.clone();
        let effects = finish(&core, &mut state, no, Ok(json!(answer)));
        assert_eq!(phases(&effects), ["refused"]);
        let refused = actions(&effects)[0];
        assert_eq!(refused.details.rule, "has_begun");
        assert!(
            refused.reason.contains("it has begun"),
            "{}",
            refused.reason
        );
        assert_eq!(refused.details.idempotency_key, "");
        assert_eq!(state, before);
        let mut done = outcome(OutcomeStatus::Done, "");
        done["acted_at_ms"] = json!(1);
        let effects = finish(&core, &mut state, act, Ok(done));
        only(&effects, VERIFY);
    }
    let (mut state, _, no) = asked(&core);
    let before = state.clone();
    let effects = finish(&core, &mut state, no, Err("it is away".to_owned()));
    assert_eq!(actions(&effects)[0].details.rule, "not_decided");
    assert_eq!(state, before);
}

#[test]
fn the_executor_may_find_the_rejection_before_its_sender_hears_of_it() {
    let core = live_core();
    let (mut state, act, no) = asked(&core);
    let refused = outcome(OutcomeStatus::Refused, REJECTED);
    let effects = finish(&core, &mut state, act, Ok(refused));
    assert_eq!(phases(&effects), ["refused", "intent"]);
    assert_eq!(actions(&effects)[0].details.rule, "rejected");
    let effects = finish(&core, &mut state, no, Ok(json!(Withdrawal::Withdrawn)));
    assert_eq!(phases(&effects), Vec::<&str>::new());
    assert_eq!(audits(&effects)[0].0, "ACTION_REFUSED");
    assert_eq!(jobs(&effects, EXECUTE), Vec::new());
}

#[test]
fn a_rejection_after_the_outcome_comes_too_late() {
    let core = live_core();
    let mut state = planned(&core);
    let act = only(&say(&core, &mut state, "approve", "S2"), EXECUTE);
    finish(&core, &mut state, act, Ok(outcome(OutcomeStatus::Done, "")));
    let effects = say(&core, &mut state, "reject", "S2");
    assert_eq!(actions(&effects)[0].details.rule, "has_begun");
    assert_eq!(jobs(&effects, WITHDRAW), Vec::new());
    assert_eq!(state.steps["S2"].stage, Stage::Done);
}

#[test]
fn what_somebody_else_did_is_no_merit_of_ours() {
    let core = live_core();
    for (status, rule, succeeded, told) in [
        (OutcomeStatus::Failed, NOT_OURS, Some(false), "not ours"),
        (OutcomeStatus::Unknown, IN_PART, None, "done in part only"),
    ] {
        let mut state = planned(&core);
        let act = only(&say(&core, &mut state, "approve", "S2"), EXECUTE);
        let effects = finish(&core, &mut state, act, Ok(outcome(status, rule)));
        assert_eq!(jobs(&effects, VERIFY), Vec::new(), "nothing to be credited");
        let line = actions(&effects)[0];
        assert_eq!(
            (line.phase.as_str(), line.details.succeeded),
            ("outcome", succeeded)
        );
        assert!(line.result.starts_with(told), "{}", line.result);
        assert!(line.reason.starts_with(rule), "{}", line.reason);
    }
}
