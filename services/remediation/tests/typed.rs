//! Typed actions in plans, and which of them come first.

mod fixtures;

use fixtures::{AT, connections, found, live_core, plan_for, published, typed_pool_runbook};
use midwatch_events::action::{ActionKind, Executor, RiskClass, plan_hash};
use midwatch_events::artifact::ArtifactKind;
use midwatch_remediation::decide::State;
use midwatch_runtime::effect::{Effect, Projection};

fn artifacts(effects: &[Effect]) -> Vec<ArtifactKind> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Project(Projection::Artifacts { artifacts, .. }) => Some(artifacts[0].kind),
            _ => None,
        })
        .collect()
}

#[test]
fn a_plan_carries_typed_actions_and_the_hash_that_approvals_name() {
    let core = live_core();
    let mut state = State::default();
    let effects = plan_for(
        &core,
        &mut state,
        &connections(),
        &found(typed_pool_runbook()),
    );
    let plan = published(&effects).expect("a plan");
    assert_eq!(plan.plan_hash, plan_hash(plan.plan_id, &plan.action_steps));
    assert_eq!(artifacts(&effects), [ArtifactKind::RemediationProposal]);
    assert!(plan.action_steps[0].typed.is_none());
    let restart = plan.action_steps[1].typed.as_deref().expect("typed");
    assert_eq!(restart.kind, ActionKind::RestartRollout);
    assert_eq!(
        (restart.risk, restart.executor),
        (RiskClass::Disruptive, Executor::Simulator)
    );
    assert_eq!(restart.undo, None);
    let pool = &plan.action_steps[2];
    let raise = pool.typed.as_deref().expect("typed");
    assert_eq!(
        (
            raise.arguments["from_size"].as_str(),
            raise.arguments["size"].as_str()
        ),
        ("100", "150")
    );
    assert_eq!(
        pool.command,
        "kubectl set env deployment/payment-service DB_POOL_MAX=150 -n production"
    );
    assert_eq!(
        pool.rollback,
        "kubectl set env deployment/payment-service DB_POOL_MAX=100 -n production"
    );
}

#[test]
fn what_worked_before_comes_first_and_says_so() {
    let core = live_core();
    let effective = |kind, improved, tried| midwatch_remediation::steps::Effective {
        kind,
        cause: "DB_CONNECTION_EXHAUSTION".to_owned(),
        improved,
        tried,
        incident: "INC-0A0B0C0D".to_owned(),
    };
    let mut retrieved = found(typed_pool_runbook());
    retrieved.effective = vec![effective(ActionKind::RestartRollout, 2, 3)];
    let (plan, _) = core.draft(&State::default(), AT, &connections(), &retrieved);
    assert_eq!(plan.action_steps[0].action, "Restart the pods");
    assert!(plan.action_steps[0].rationale.ends_with(
        "It worked before: against DB_CONNECTION_EXHAUSTION it helped in 2 of 3 tries, last in INC-0A0B0C0D."
    ));
    retrieved.effective = vec![effective(ActionKind::RestartRollout, 0, 2)];
    let (plan, _) = core.draft(&State::default(), AT, &connections(), &retrieved);
    assert_eq!(plan.action_steps[1].action, "Restart the pods");
    assert!(plan.action_steps[1].rationale.contains("helped in none"));
    let mut other = effective(ActionKind::RestartRollout, 2, 2);
    other.cause = "MEMORY_LEAK".to_owned();
    retrieved.effective = vec![other];
    let (plan, _) = core.draft(&State::default(), AT, &connections(), &retrieved);
    assert_eq!(plan.action_steps[0].action, "List the sessions");
}
