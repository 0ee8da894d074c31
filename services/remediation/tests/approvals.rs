//! From an approval to a verified effect, and everything that can come between.

mod fixtures;

use fixtures::{
    AT, NOW, actions, audits, command, connections, finish, found, hear, jobs, live_core, phases,
    plan_for, published, resolved, typed_pool_runbook,
};
use midwatch_events::action::{Executor, RiskClass, Span, Verification, VerificationVerdict};
use midwatch_events::artifact::ArtifactKind;
use midwatch_events::response::CommandDetails;
use midwatch_events::{Event, OperatorCommand};
use midwatch_remediation::decide::{Core, Stage, State};
use midwatch_remediation::execution::{EXECUTE, Execution, Outcome, OutcomeStatus, VERIFY};
use midwatch_remediation::policy::Mode;
use midwatch_runtime::agent::Input;
use midwatch_runtime::effect::{Effect, JobRequest, Projection};
use serde_json::{Value, json};

/// A published plan: S1 looks, S2 restarts, S3 raises the pool (which can be
/// undone).
fn planned(core: &Core) -> State {
    let mut state = State::default();
    let effects = plan_for(
        core,
        &mut state,
        &connections(),
        &found(typed_pool_runbook()),
    );
    assert!(published(&effects).is_some());
    state
}

fn say(core: &Core, state: &mut State, command: OperatorCommand) -> Vec<Effect> {
    hear(core, state, Event::Command(command))
}

fn approve(core: &Core, state: &mut State, step: &str) -> Vec<Effect> {
    let command = command(state, "approve", step);
    say(core, state, command)
}

fn outcome(status: OutcomeStatus) -> Value {
    json!(Outcome {
        status,
        rule: String::new(),
        output: "deployment restarted".to_owned(),
        acted_at_ms: (status == OutcomeStatus::Done).then_some(NOW + 95_000),
        reconciled: false,
    })
}

fn found_effect(verdict: VerificationVerdict) -> Value {
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

fn only(effects: &[Effect], kind: &str) -> JobRequest {
    let jobs = jobs(effects, kind);
    assert_eq!(jobs.len(), 1, "{effects:?}");
    jobs[0].clone()
}

fn execution(job: &JobRequest) -> Execution {
    serde_json::from_value(job.payload.clone()).expect("an execution")
}

/// Approves a step and brings its execution to a good end; the job that looks
/// at the effect.
fn done(core: &Core, state: &mut State, step: &str) -> JobRequest {
    let job = only(&approve(core, state, step), EXECUTE);
    let effects = finish(core, state, job, Ok(outcome(OutcomeStatus::Done)));
    only(&effects, VERIFY)
}

fn artifacts(effects: &[Effect]) -> Vec<ArtifactKind> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Project(Projection::Artifacts { artifacts, .. }) => Some(artifacts[0].kind),
            _ => None,
        })
        .collect()
}

fn rule_of(effects: &[Effect]) -> String {
    assert_eq!(jobs(effects, EXECUTE), Vec::new());
    let refused = audits(effects);
    assert!(
        refused.iter().any(|(kind, _)| *kind == "ACTION_REFUSED"),
        "{effects:?}"
    );
    let actions = actions(effects);
    assert_eq!(actions.len(), 1, "{effects:?}");
    assert_eq!(actions[0].phase, "refused");
    actions[0].details.rule.clone()
}

#[test]
fn without_the_simulators_endpoint_its_steps_stay_by_hand() {
    let core = Core {
        has_simulator: false,
        ..live_core()
    };
    let mut state = State::default();
    let effects = plan_for(
        &core,
        &mut state,
        &connections(),
        &found(typed_pool_runbook()),
    );
    let plan = published(&effects).expect("a plan");
    assert!(plan.action_steps.iter().all(|step| step.typed.is_none()));
    let effects = approve(&core, &mut state, "S2");
    assert_eq!(rule_of(&effects), "by_hand");
    // In a real environment the same step is for Kubernetes.
    let mut rca = connections();
    rca.header.environment = "production".to_owned();
    let mut state = State::default();
    let effects = plan_for(&core, &mut state, &rca, &found(typed_pool_runbook()));
    let plan = published(&effects).expect("a plan");
    let restart = plan.action_steps[1].typed.as_deref().expect("typed");
    assert_eq!(restart.executor, Executor::Kubernetes);
}

#[test]
fn an_approval_leads_to_intent_outcome_and_verification() {
    let core = live_core();
    let mut state = planned(&core);
    let effects = approve(&core, &mut state, "S2");
    assert_eq!(phases(&effects), ["approved", "intent"]);
    assert_eq!(artifacts(&effects), [ArtifactKind::ExecutionPlan]);
    let approved = actions(&effects)[0];
    assert_eq!(
        (approved.by.as_str(), approved.details.approvals_missing),
        ("maria", Some(0))
    );
    assert_eq!(approved.details.credential_id, "sha256:maria");
    assert_eq!(approved.details.channel, "api");
    let job = only(&effects, EXECUTE);
    assert_eq!(job.lane.as_deref(), Some("act simulation payment-service"));
    let asked = execution(&job);
    assert!(!asked.dry_run && !asked.is_undo);
    assert_eq!((asked.cool_down_ms, asked.hourly_limit), (300_000, 10));
    assert_eq!(actions(&effects)[1].details.idempotency_key, asked.key);

    let effects = finish(&core, &mut state, job, Ok(outcome(OutcomeStatus::Done)));
    assert_eq!(phases(&effects), ["outcome"]);
    let told = actions(&effects)[0];
    assert_eq!(
        (told.details.succeeded, told.details.acted_at_ms),
        (Some(true), Some(NOW + 95_000))
    );
    assert_eq!(told.details.output, "deployment restarted");
    assert_eq!(audits(&effects)[0].0, "ACTION_EXECUTED");
    let look = only(&effects, VERIFY);
    assert_eq!(look.payload["acted_at_ms"], NOW + 95_000);
    assert_eq!(look.payload["effect"]["within_ms"], 180_000);

    let improved = found_effect(VerificationVerdict::Improved);
    let effects = finish(&core, &mut state, look, Ok(improved));
    assert_eq!(phases(&effects), ["verified"]);
    assert_eq!(actions(&effects)[0].result, "improved");
    assert_eq!(artifacts(&effects), [ArtifactKind::VerificationResult]);
    assert_eq!(state.acting, None);
}

#[test]
fn the_same_approval_twice_changes_nothing() {
    let core = live_core();
    let mut state = planned(&core);
    approve(&core, &mut state, "S2");
    let before = state.clone();
    let effects = approve(&core, &mut state, "S2");
    assert_eq!(rule_of(&effects), "already_approved");
    assert_eq!(state, before);
    let mut state = planned(&core);
    done(&core, &mut state, "S2");
    let before = state.clone();
    assert_eq!(rule_of(&approve(&core, &mut state, "S2")), "step_done");
    assert_eq!(state, before);
}

#[test]
fn a_dry_run_says_what_it_would_do_and_verifies_nothing() {
    let mut core = live_core();
    core.policy.mode = Mode::DryRun;
    let mut state = planned(&core);
    let effects = approve(&core, &mut state, "S2");
    let job = only(&effects, EXECUTE);
    assert!(execution(&job).dry_run);
    let effects = finish(&core, &mut state, job, Ok(outcome(OutcomeStatus::Done)));
    assert_eq!(phases(&effects), ["outcome"]);
    assert!(actions(&effects)[0].details.dry_run);
    assert_eq!(actions(&effects)[0].result, "dry run: nothing was changed");
    assert_eq!(jobs(&effects, VERIFY), Vec::new());
    assert_eq!(state.steps["S2"].stage, Stage::Rehearsed);
    // A rehearsal may be repeated, under another key: it changed nothing.
    let again = only(&approve(&core, &mut state, "S2"), EXECUTE);
    let repeated = execution(&again).key;
    assert!(execution(&again).dry_run);
    assert_ne!(repeated, actions(&effects)[0].details.idempotency_key);
    finish(&core, &mut state, again, Ok(outcome(OutcomeStatus::Done)));
    // Once the policy is live, people still see a plan that says dry run, and
    // their approval means that; a plan that is made since is live.
    core.policy.mode = Mode::Live;
    let still = only(&approve(&core, &mut state, "S2"), EXECUTE);
    assert!(execution(&still).dry_run);
    finish(&core, &mut state, still, Ok(outcome(OutcomeStatus::Done)));
    let mut since = planned(&core);
    let live = execution(&only(&approve(&core, &mut since, "S2"), EXECUTE));
    assert!(!live.dry_run);
}

#[test]
fn what_was_rehearsed_waits_anew_for_the_second_approval_and_for_a_no() {
    let mut core = live_core();
    core.policy.mode = Mode::DryRun;
    let mut state = planned(&core);
    let job = only(&approve(&core, &mut state, "S2"), EXECUTE);
    finish(&core, &mut state, job, Ok(outcome(OutcomeStatus::Done)));
    assert_eq!(state.steps["S2"].stage, Stage::Rehearsed);
    let no = command(&state, "reject", "S2");
    let effects = say(&core, &mut state, no);
    assert_eq!(actions(&effects)[0].details.rule, "rejected");
    assert_eq!(state.steps["S2"].stage, Stage::Open);
}

#[test]
fn what_made_it_worse_is_undone_and_waiting_steps_need_new_approval() {
    let core = live_core();
    let mut state = planned(&core);
    let look = done(&core, &mut state, "S3");
    let effects = approve(&core, &mut state, "S2");
    assert_eq!(
        (phases(&effects), state.queue.as_slice()),
        (vec!["approved"], &["S2".to_owned()][..])
    );
    let worse = found_effect(VerificationVerdict::Worse);
    let effects = finish(&core, &mut state, look, Ok(worse));
    assert_eq!(phases(&effects), ["verified", "refused", "intent"]);
    assert_eq!(actions(&effects)[1].details.rule, "after_worse");
    let job = only(&effects, EXECUTE);
    let undo = execution(&job);
    assert!(undo.is_undo && undo.cool_down_ms == 0);
    assert_eq!(undo.action.arguments["size"], "100");
    assert_eq!(undo.action.arguments["from_size"], "150");
    let effects = finish(&core, &mut state, job, Ok(outcome(OutcomeStatus::Done)));
    assert_eq!(phases(&effects), ["undone"]);
    assert_eq!(audits(&effects)[0].0, "ACTION_UNDONE");
    assert_eq!(state.acting, None);
    assert_eq!(state.steps["S2"].stage, Stage::Open);
}

#[test]
fn what_nothing_takes_back_is_said_to_stay() {
    let core = live_core();
    let mut state = planned(&core);
    let look = done(&core, &mut state, "S2");
    let effects = finish(
        &core,
        &mut state,
        look,
        Ok(found_effect(VerificationVerdict::Worse)),
    );
    assert_eq!(phases(&effects), ["verified"]);
    let kinds: Vec<&str> = audits(&effects).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, ["ACTION_VERIFIED", "ACTION_NOT_UNDONE"]);
    // Without an improvement an undo needs the policy's word.
    let mut state = planned(&core);
    let look = done(&core, &mut state, "S3");
    let flat = found_effect(VerificationVerdict::NotImproved);
    let effects = finish(&core, &mut state, look, Ok(flat.clone()));
    assert_eq!(jobs(&effects, EXECUTE), Vec::new());
    let mut eager = live_core();
    eager.policy.undo.on_not_improved = true;
    let mut state = planned(&eager);
    let look = done(&eager, &mut state, "S3");
    let effects = finish(&eager, &mut state, look, Ok(flat));
    assert!(execution(&only(&effects, EXECUTE)).is_undo);
}

#[test]
fn steps_run_one_after_the_other_in_the_order_of_approval() {
    let core = live_core();
    let mut state = planned(&core);
    let look = done(&core, &mut state, "S3");
    approve(&core, &mut state, "S2");
    let effects = finish(&core, &mut state, look, Err("redis is away".to_owned()));
    assert_eq!(phases(&effects), ["verified", "intent"]);
    assert_eq!(actions(&effects)[0].result, "not_provable");
    assert_eq!(execution(&only(&effects, EXECUTE)).step_id, "S2");
    assert_eq!(state.queue, Vec::<String>::new());
}

#[test]
fn a_waiting_step_is_looked_at_again_before_it_starts() {
    let core = live_core();
    let mut state = planned(&core);
    let look = done(&core, &mut state, "S3");
    approve(&core, &mut state, "S2");
    // Meanwhile somebody stopped everything.
    let mut improved = found_effect(VerificationVerdict::Improved);
    improved["stopped"] = json!(true);
    let effects = finish(&core, &mut state, look, Ok(improved));
    assert_eq!(phases(&effects), ["verified", "refused"]);
    assert_eq!(actions(&effects)[1].details.rule, "global_stop");
    assert_eq!(state.acting, None);
}

#[test]
fn failed_refused_and_unknown_outcomes_are_told_apart() {
    let core = live_core();
    for (status, phase, succeeded, stage) in [
        (OutcomeStatus::Failed, "outcome", Some(false), Stage::Open),
        (OutcomeStatus::Refused, "refused", None, Stage::Open),
        (OutcomeStatus::Unknown, "outcome", None, Stage::Done),
    ] {
        let mut state = planned(&core);
        let job = only(&approve(&core, &mut state, "S2"), EXECUTE);
        let first = execution(&job).key;
        let effects = finish(&core, &mut state, job, Ok(outcome(status)));
        assert_eq!(phases(&effects), [phase]);
        assert_eq!(actions(&effects)[0].details.succeeded, succeeded);
        assert_eq!(jobs(&effects, VERIFY), Vec::new());
        assert_eq!(
            (state.acting.is_none(), state.steps["S2"].stage),
            (true, stage)
        );
        let again = approve(&core, &mut state, "S2");
        match stage {
            Stage::Open => assert_ne!(execution(&only(&again, EXECUTE)).key, first),
            _ => assert_eq!(rule_of(&again), "step_done"),
        }
    }
    // A job that died may have acted.
    let mut state = planned(&core);
    let job = only(&approve(&core, &mut state, "S2"), EXECUTE);
    let effects = finish(&core, &mut state, job, Err("the process ended".to_owned()));
    assert_eq!(actions(&effects)[0].details.succeeded, None);
    assert_eq!(audits(&effects)[0].0, "ACTION_FAILED");
}

#[test]
fn a_revised_plan_drops_open_approvals_aloud_and_its_steps_start_anew() {
    let mut core = live_core();
    if let Some(rule) = core.policy.classes.get_mut(&RiskClass::Disruptive) {
        rule.approvals = 2;
    }
    let mut state = planned(&core);
    let old = command(&state, "approve", "S2");
    let effects = say(&core, &mut state, old.clone());
    assert_eq!(actions(&effects)[0].details.approvals_missing, Some(1));
    let mut other = connections();
    other.revision = 2;
    other.root_cause_candidates[0].cause = "LATENCY_SPIKE".to_owned();
    let effects = plan_for(&core, &mut state, &other, &found(typed_pool_runbook()));
    assert_eq!(phases(&effects), ["refused"]);
    assert_eq!(actions(&effects)[0].details.rule, "plan_revised");
    let second = OperatorCommand {
        by: "jan".to_owned(),
        credential_id: "sha256:jan".to_owned(),
        ..old
    };
    assert_eq!(rule_of(&say(&core, &mut state, second)), "plan_hash");
}

#[test]
fn two_approvals_need_two_people_with_two_credentials() {
    let mut core = live_core();
    if let Some(rule) = core.policy.classes.get_mut(&RiskClass::Disruptive) {
        rule.approvals = 2;
    }
    let mut state = planned(&core);
    let maria = command(&state, "approve", "S2");
    assert_eq!(phases(&say(&core, &mut state, maria.clone())), ["approved"]);
    let by = |by: &str, credential: &str| OperatorCommand {
        by: by.to_owned(),
        credential_id: credential.to_owned(),
        ..maria.clone()
    };
    assert_eq!(
        rule_of(&say(&core, &mut state, by("jan", "sha256:maria"))),
        "same_credential"
    );
    assert_eq!(
        rule_of(&say(&core, &mut state, by("Maria ", "link:maria@x.org"))),
        "same_person"
    );
    assert_eq!(
        rule_of(&say(
            &core,
            &mut state,
            by("ops@x.org", "mailbox:ops@x.org")
        )),
        "mailbox"
    );
    assert_eq!(
        rule_of(&say(&core, &mut state, by(" ", "sha256:x"))),
        "approver"
    );
    // An operator may be called by an address; the link to it is a person's.
    let effects = say(&core, &mut state, by("jan@x.org", "link:jan@x.org"));
    assert_eq!(phases(&effects), ["approved", "intent"]);
    assert_eq!(actions(&effects)[1].by, "maria, jan@x.org");
}

#[test]
fn a_rejection_takes_approvals_back() {
    let core = live_core();
    let mut state = planned(&core);
    let look = done(&core, &mut state, "S3");
    approve(&core, &mut state, "S2");
    let no = command(&state, "reject", "S2");
    let effects = say(&core, &mut state, no);
    assert_eq!(rule_of(&effects), "rejected");
    let improved = found_effect(VerificationVerdict::Improved);
    let effects = finish(&core, &mut state, look, Ok(improved));
    assert_eq!(phases(&effects), ["verified"]);
    assert_eq!(jobs(&effects, EXECUTE), Vec::new());
}

#[test]
fn the_end_of_the_incident_drops_what_waits_and_finishes_what_runs() {
    let core = live_core();
    let mut state = planned(&core);
    let look = done(&core, &mut state, "S3");
    approve(&core, &mut state, "S2");
    let effects = hear(
        &core,
        &mut state,
        resolved(&connections(), NOW + 200_000, "RECOVERED"),
    );
    assert_eq!(rule_of(&effects), "incident_over");
    let improved = found_effect(VerificationVerdict::Improved);
    let effects = finish(&core, &mut state, look, Ok(improved));
    assert_eq!(phases(&effects), ["verified"]);
    assert_eq!(rule_of(&approve(&core, &mut state, "S2")), "incident_over");
}

#[test]
fn the_stop_file_refuses_a_command() {
    let core = live_core();
    let mut state = planned(&core);
    let approve = command(&state, "approve", "S2");
    let envelope = fixtures::envelope(Event::Command(approve));
    let input = Input::Event {
        envelope,
        context: json!({"stopped": true}),
    };
    assert_eq!(rule_of(&core.decide(&mut state, AT, input)), "global_stop");
}

#[test]
fn a_link_works_once() {
    let core = live_core();
    let mut state = planned(&core);
    let link = |state: &State| {
        let command = command(state, "approve", "S2");
        OperatorCommand {
            details: CommandDetails {
                nonce: "n-1".to_owned(),
                ..command.details.clone()
            },
            ..command
        }
    };
    let first = link(&state);
    let effects = say(&core, &mut state, first);
    let job = only(&effects, EXECUTE);
    finish(&core, &mut state, job, Ok(outcome(OutcomeStatus::Failed)));
    let again = link(&state);
    assert_eq!(rule_of(&say(&core, &mut state, again)), "reused_nonce");
}
