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

/// The limit that is known, and what it is raised to; nothing where it is not.
const LIMITS: [(&str, &str, &str); 9] = [
    ("cpu", "500m", "1000m"),
    ("cpu", "0.5", "1"),
    ("cpu", "2", "4"),
    ("cpu", "12", "16"),
    ("cpu", "16", ""),
    ("memory", "512M", "1024M"),
    ("memory", "512Mi", "1024Mi"),
    ("memory", "1e9", "2e9"),
    ("memory", "40Gi", "64Gi"),
];

#[test]
fn limits_are_raised_twofold_as_amounts_up_to_a_bound_and_set_back_as_written() {
    use midwatch_remediation::catalogue::{Known, build, check};
    for (resource, from, to) in LIMITS {
        let mut known = Known::default();
        for (name, value) in [
            ("service", "payment-service".to_owned()),
            ("workload", "payment-service".to_owned()),
            ("namespace", "shop".to_owned()),
            ("container", "app".to_owned()),
            ("limit", format!("app {resource} {from}")),
            (
                "measure",
                "payment-service service_db_connections".to_owned(),
            ),
        ] {
            known.see(name, value);
        }
        let given = [("resource".to_owned(), resource.to_owned())].into();
        let effect = fixtures::acts::effect();
        let kind = ActionKind::RaiseLimit;
        let built = build(kind, "payment-service", &given, effect, &known);
        let Ok(action) = built else {
            assert_eq!(to, "", "{from}: {built:?}");
            continue;
        };
        assert_eq!(action.arguments["limit"], to, "{resource} {from}");
        let undo = action.undo.as_ref().expect("it can be set back");
        assert_eq!(undo.arguments["limit"], from);
        assert_eq!(check(&action, &known), Ok(()));
        for more in ["3", "1000Gi", from, "1"] {
            let mut forged = action.clone();
            more.clone_into(forged.arguments.entry("limit".to_owned()).or_default());
            let refused = check(&forged, &known).is_err();
            assert!(
                refused
                    || more == to
                    || (from, more) == ("2", "3")
                    || (from, more) == ("500m", "1"),
                "{from} to {more}"
            );
        }
    }
}

#[test]
fn an_unexplained_incident_begins_with_looks_that_wait_for_the_policy_only() {
    use midwatch_events::incident::Verdict;
    let mut rca = connections();
    rca.header.environment = "production".to_owned();
    rca.verdict = Verdict::Inconclusive;
    let mut core = live_core();
    let looks = |core: &midwatch_remediation::decide::Core| {
        let mut state = State::default();
        let effects = plan_for(core, &mut state, &rca, &found(Vec::new()));
        let plan = published(&effects).expect("a plan").clone();
        (plan, fixtures::jobs(&effects, "execute_action"))
    };
    let (plan, begun) = looks(&core);
    let first = plan.action_steps[0].typed.as_deref().expect("typed");
    assert_eq!(first.kind, ActionKind::DescribeWorkload);
    assert_eq!((first.risk, &first.undo), (RiskClass::ReadOnly, &None));
    assert_eq!(plan.action_steps[0].rollback, "none: read-only");
    assert_eq!(begun.len(), 0, "the built-in policy asks for one approval");
    assert_eq!(plan.dry_run, Some(false));
    core.policy = midwatch_remediation::policy::parse(
        r#"{"mode": "live", "classes": {"read-only": {"auto": true}}}"#,
    )
    .expect("well formed");
    let (plan, begun) = looks(&core);
    assert_eq!(begun.len(), 1, "and where the policy lets it, none");
    assert_eq!(begun[0].payload["dry_run"], false);
    assert!(
        plan.action_steps
            .iter()
            .all(|step| step.risk_level == "read-only")
    );
    core.policy.mode = midwatch_remediation::policy::Mode::DryRun;
    assert_eq!(looks(&core).0.dry_run, Some(true));
    // The simulated fleet has no pods.
    rca.header.environment = "simulation".to_owned();
    let mut state = State::default();
    let effects = plan_for(&core, &mut state, &rca, &found(Vec::new()));
    let plan = published(&effects).expect("a plan");
    assert!(plan.action_steps.iter().all(|step| step.typed.is_none()));
}
