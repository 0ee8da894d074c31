//! What waits for another step, and what is said of an undo.

mod fixtures;

use fixtures::{
    NOW, actions, command, connections, finish, found, hear, jobs, live_core, phases, plan_for,
    published, resolved, typed_pool_runbook,
};
use midwatch_events::action::{Span, Verification, VerificationVerdict};
use midwatch_events::incident::Verdict;
use midwatch_events::{Event, RcaCompleted, RemediationAction};
use midwatch_remediation::case::Observed;
use midwatch_remediation::decide::{Core, Retrieved, Stage, State};
use midwatch_remediation::execution::{EXECUTE, Outcome, OutcomeStatus, VERIFY};
use midwatch_runtime::effect::{Effect, JobRequest};
use serde_json::{Value, json};

fn only(effects: &[Effect], kind: &str) -> JobRequest {
    let jobs = jobs(effects, kind);
    assert_eq!(jobs.len(), 1, "{effects:?}");
    jobs[0].clone()
}

fn approve(core: &Core, state: &mut State, step: &str) -> Vec<Effect> {
    let command = command(state, "approve", step);
    hear(core, state, Event::Command(command))
}

fn outcome(status: OutcomeStatus) -> Value {
    json!(Outcome {
        status,
        rule: String::new(),
        output: "it was asked".to_owned(),
        acted_at_ms: (status == OutcomeStatus::Done).then_some(NOW + 95_000),
        reconciled: false,
    })
}

/// An incident that nobody understands, in an environment where the policy
/// lets looks run by themselves: S1 runs, S2 waits.
fn looking() -> (Core, State, RcaCompleted) {
    let mut core = live_core();
    core.policy = midwatch_remediation::policy::parse(
        r#"{"mode": "live", "classes": {"read-only": {"auto": true}}}"#,
    )
    .expect("well formed");
    let mut rca = connections();
    rca.header.environment = "production".to_owned();
    rca.verdict = Verdict::Inconclusive;
    let found = Retrieved {
        observed: Observed {
            pod: Some("payment-7d9c5b6f4-x2x9k".to_owned()),
            ..Observed::default()
        },
        ..found(Vec::new())
    };
    let mut state = State::default();
    let effects = plan_for(&core, &mut state, &rca, &found);
    assert!(published(&effects).is_some());
    assert_eq!(state.queue, ["S2"]);
    assert_eq!(state.steps["S2"].stage, Stage::Queued);
    (core, state, rca)
}

/// That S2 was said not to start, and is open.
fn assert_open_again(state: &State, told: &RemediationAction, rule: &str) {
    assert_eq!(
        (
            told.step_id.as_str(),
            told.phase.as_str(),
            told.by.as_str(),
            told.details.rule.as_str()
        ),
        ("S2", "refused", "policy", rule)
    );
    assert_eq!(state.steps["S2"].stage, Stage::Open);
    assert_eq!(state.queue, Vec::<String>::new());
}

#[test]
fn a_look_that_waited_for_nobody_is_told_when_it_does_not_run() {
    let (core, mut state, rca) = looking();
    let effects = hear(
        &core,
        &mut state,
        resolved(&rca, NOW + 200_000, "RECOVERED"),
    );
    let told = actions(&effects);
    assert_eq!(told.len(), 1, "{effects:?}");
    assert_open_again(&state, told[0], "incident_over");
}

#[test]
fn a_look_that_did_not_run_after_an_unknown_outcome_can_be_asked_for() {
    let (core, mut state, _) = looking();
    let running = state.acting.clone().expect("S1 runs");
    let job = JobRequest::new("execute".to_owned(), EXECUTE, json!({ "key": running.key }));
    let effects = finish(&core, &mut state, job, Err("the process ended".to_owned()));
    let told = actions(&effects);
    assert_eq!(phases(&effects), ["outcome", "refused"]);
    assert_open_again(&state, told[1], "after_unknown");
    let effects = approve(&core, &mut state, "S2");
    assert_eq!(phases(&effects), ["approved", "intent"]);
}

/// S3 made it worse and is being taken back; the job that does it.
fn undoing(core: &Core) -> (State, JobRequest, Vec<Effect>) {
    let mut state = State::default();
    let found = found(typed_pool_runbook());
    plan_for(core, &mut state, &connections(), &found);
    let mut told = approve(core, &mut state, "S3");
    let job = only(&told, EXECUTE);
    let effects = finish(core, &mut state, job, Ok(outcome(OutcomeStatus::Done)));
    let look = only(&effects, VERIFY);
    told.extend(effects);
    let worse = json!(Verification {
        service: "payment-service".to_owned(),
        metric: "service_db_connections".to_owned(),
        verdict: VerificationVerdict::Worse,
        before: Span::default(),
        after: Span::default(),
        control: None,
        test: "a test".to_owned(),
        p_value: None,
        summary: "It was looked at.".to_owned(),
    });
    let effects = finish(core, &mut state, look, Ok(worse));
    let undo = only(&effects, EXECUTE);
    told.extend(effects);
    (state, undo, told)
}

#[test]
fn every_line_about_an_undo_says_that_it_is_about_one() {
    let core = live_core();
    for (status, phase) in [
        (OutcomeStatus::Done, "undone"),
        (OutcomeStatus::Failed, "outcome"),
        (OutcomeStatus::Refused, "refused"),
        (OutcomeStatus::Unknown, "outcome"),
    ] {
        let (mut state, undo, mut told) = undoing(&core);
        // A person's no to the step, which is over, is no line about its undo.
        let no = command(&state, "reject", "S3");
        told.extend(hear(&core, &mut state, Event::Command(no)));
        told.extend(finish(&core, &mut state, undo, Ok(outcome(status))));
        let told: Vec<(&str, bool)> = actions(&told)
            .into_iter()
            .map(|line| (line.phase.as_str(), line.details.is_undo))
            .collect();
        assert_eq!(
            told,
            [
                ("approved", false),
                ("intent", false),
                ("outcome", false),
                ("verified", false),
                ("intent", true),
                ("refused", false),
                (phase, true),
            ]
        );
    }
}

#[test]
fn nothing_goes_on_after_an_undo_of_which_nobody_knows_what_became() {
    let core = live_core();
    let (mut state, undo, _) = undoing(&core);
    assert_eq!(phases(&approve(&core, &mut state, "S2")), ["approved"]);
    let unknown = Ok(outcome(OutcomeStatus::Unknown));
    let effects = finish(&core, &mut state, undo, unknown);
    assert_eq!(phases(&effects), ["outcome", "refused"]);
    let told = actions(&effects);
    assert_eq!(
        (told[1].step_id.as_str(), told[1].details.rule.as_str()),
        ("S2", "after_unknown")
    );
    assert_eq!(
        told[1].reason,
        "whether the step before was taken back is not known; a person must look first"
    );
    assert_eq!(
        (state.acting.is_none(), state.steps["S3"].stage),
        (true, Stage::Done)
    );
    // What ended either way holds nothing up.
    for status in [OutcomeStatus::Done, OutcomeStatus::Failed] {
        let (mut state, undo, _) = undoing(&core);
        approve(&core, &mut state, "S2");
        let effects = finish(&core, &mut state, undo, Ok(outcome(status)));
        assert_eq!(jobs(&effects, EXECUTE).len(), 1, "{effects:?}");
    }
}
