//! What plans say.

mod fixtures;

use fixtures::{AT, connections, core, found, pool_runbook, rca, release, rollback_runbook};
use midwatch_clients::postgres::KeptRecord;
use midwatch_events::incident::Verdict;
use midwatch_events::response::Priority;
use midwatch_events::{AnomalyType, RcaCompleted, RemediationPlan};
use midwatch_remediation::case::Observed;
use midwatch_remediation::decide::{Retrieved, State};
use proptest::prelude::*;
use serde_json::json;

fn draft(rca: &RcaCompleted, found: &Retrieved) -> (RemediationPlan, Vec<String>) {
    core().draft(&State::default(), AT, rca, found)
}

fn shown(plan: &RemediationPlan, dropped: &[String]) -> String {
    let plan = serde_json::to_string_pretty(plan).expect("encodes");
    format!("{plan}\nleft out: {dropped:#?}")
}

#[test]
fn the_plan_against_exhausted_connections() {
    let (plan, dropped) = draft(&connections(), &found(pool_runbook()));
    insta::assert_snapshot!(shown(&plan, &dropped));
}

#[test]
fn the_plan_against_a_failed_release() {
    let (plan, dropped) = draft(&release(), &found(rollback_runbook()));
    insta::assert_snapshot!(shown(&plan, &dropped));
}

#[test]
fn steps_come_by_priority_and_are_numbered_in_that_order() {
    let (plan, _) = draft(&connections(), &found(pool_runbook()));
    let order: Vec<(&str, Priority)> = plan
        .action_steps
        .iter()
        .map(|step| (step.step_id.as_str(), step.priority))
        .collect();
    assert_eq!(
        order,
        [
            ("S1", Priority::Immediate),
            ("S2", Priority::Immediate),
            ("S3", Priority::Within15Min)
        ]
    );
}

#[test]
fn a_failed_release_is_rolled_back_first_also_without_a_known_predecessor() {
    for (previous, to) in [(Some("3.7.4"), "3.7.4"), (None, "its previous revision")] {
        let mut rca = release();
        let context = rca.deployment_context.as_mut().expect("the release");
        context.previous_version = previous.map(str::to_owned);
        let (plan, _) = draft(&rca, &found(rollback_runbook()));
        let first = &plan.action_steps[0];
        assert_eq!(
            first.action,
            format!("Roll back user-service from 3.8.0 to {to}")
        );
        assert_eq!(
            first.command,
            "kubectl rollout undo deployment/user-service -n shop"
        );
        // An executor looks for the version, and the command only goes back one
        // revision: a limit that was raised since the release is one, too.
        let fits = previous.map(|to| {
            format!(
                "The command goes back one revision: type it only if that one runs {to}, else \
                 add --to-revision=N from kubectl rollout history deployment/user-service -n shop. "
            )
        });
        assert_eq!(
            first.rationale.starts_with("The command goes back"),
            fits.is_some()
        );
        assert!(first.rationale.starts_with(&fits.unwrap_or_default()));
        let undos = plan
            .action_steps
            .iter()
            .filter(|step| step.command.contains("rollout undo"));
        assert_eq!(undos.count(), 1);
        assert_eq!(first.risk_level, "medium");
        assert!(
            first
                .expected_outcome
                .contains("returns from 39.8 to near its baseline of 0.5")
        );
    }
}

#[test]
fn a_step_without_its_object_is_left_out_and_said_so() {
    let (plan, dropped) = draft(&connections(), &found(pool_runbook()));
    assert_eq!(
        dropped,
        ["\"Look into the pod\" was left out: no pod was observed"]
    );
    assert!(
        plan.action_steps
            .iter()
            .all(|step| !step.command.contains("{{"))
    );

    let mut with_pod = found(pool_runbook());
    with_pod.observed.pod = Some("payment-service-7d9f-x2x".to_owned());
    let (plan, dropped) = draft(&connections(), &with_pod);
    assert_eq!(dropped, Vec::<String>::new());
    assert!(
        plan.action_steps
            .iter()
            .any(|step| step.command.contains("exec payment-service-7d9f-x2x"))
    );
}

#[test]
fn names_are_read_out_of_the_incidents_own_records() {
    let record = |kind: &str, service: &str, payload: serde_json::Value| KeptRecord {
        record_id: "r".to_owned(),
        kind: kind.to_owned(),
        service: service.to_owned(),
        name: String::new(),
        at_ms: 0,
        value: None,
        text: String::new(),
        payload,
    };
    let records = [
        record(
            "kubernetes",
            "a",
            json!({"kind": "Pod", "name": "a-1", "namespace": "live"}),
        ),
        record(
            "kubernetes",
            "b",
            json!({"kind": "Pod", "name": "b-1", "namespace": "other"}),
        ),
        record(
            "metric",
            "a",
            json!({"labels": {"consumer_group": "a-group", "topic": "a-topic"}}),
        ),
        record(
            "kubernetes",
            "a",
            json!({"kind": "Deployment", "name": "a", "namespace": "live"}),
        ),
    ];
    let observed = Observed::read(&records, "a");
    assert_eq!(
        observed,
        Observed {
            namespace: Some("live".to_owned()),
            pod: Some("a-1".to_owned()),
            consumer_group: Some("a-group".to_owned()),
            topic: Some("a-topic".to_owned()),
            ..Observed::default()
        }
    );
}

#[test]
fn an_inconclusive_cause_and_a_missing_runbook_give_steps_that_only_look() {
    let mut inconclusive = connections();
    inconclusive.verdict = Verdict::Inconclusive;
    let mut without_candidates = inconclusive.clone();
    without_candidates.root_cause_candidates.clear();
    let cases = [
        (inconclusive, found(pool_runbook())),
        (without_candidates, found(Vec::new())),
        (connections(), found(Vec::new())),
        (release(), Retrieved::default()),
    ];
    for (rca, found) in &cases {
        let (plan, dropped) = draft(rca, found);
        assert!(
            plan.action_steps
                .iter()
                .all(|step| step.risk_level == "read-only")
        );
        assert!(plan.action_steps.len() >= 3, "{plan:?}");
        if found.sections.is_empty() {
            assert!(
                dropped
                    .iter()
                    .any(|reason| reason.contains("no runbook was found")),
                "{dropped:?}"
            );
        }
    }
}

#[test]
fn a_machine_is_not_treated_as_a_workload() {
    let rca = rca(
        "host/node-7",
        AnomalyType::CpuSaturation,
        "host_cpu_percent",
        [99.0, 20.0],
    );
    let (plan, _) = draft(&rca, &found(pool_runbook()));
    assert!(
        plan.action_steps
            .iter()
            .all(|step| !step.command.contains("kubectl"))
    );
    assert!(
        plan.action_steps
            .iter()
            .all(|step| step.risk_level == "read-only")
    );
}

#[test]
fn the_same_fault_on_two_services_names_its_own_objects() {
    let kind = AnomalyType::DbConnectionExhaustion;
    for service in ["payment-service", "inventory-service"] {
        let rca = rca(service, kind, "service_db_connections", [100.0, 30.0]);
        let (plan, _) = draft(&rca, &found(pool_runbook()));
        let other = if service == "payment-service" {
            "inventory-service"
        } else {
            "payment-service"
        };
        for step in &plan.action_steps {
            assert!(step.command.contains(service), "{}", step.command);
            assert!(step.rationale.contains(service) && step.expected_outcome.contains(service));
        }
        assert!(
            !serde_json::to_string(&plan)
                .expect("encodes")
                .contains(other)
        );
    }
}

#[test]
fn the_estimate_says_where_it_comes_from() {
    let (plan, _) = draft(&connections(), &found(pool_runbook()));
    assert_eq!(plan.estimated_resolution_minutes, [12, 23]);
    assert_eq!(
        plan.estimate_basis,
        "2 similar incidents: INC-2025-001 12 min, INC-2025-002 22.5 min."
    );
    let mut unknown = connections();
    unknown.root_cause_candidates[0].similar_incidents.clear();
    let (plan, _) = draft(&unknown, &found(pool_runbook()));
    assert_eq!(plan.estimated_resolution_minutes, [15, 60]);
    assert!(
        plan.estimate_basis
            .starts_with("No similar incident is known")
    );
}

proptest! {
    /// Whatever telemetry calls a service, a pod or a version: what ends up in
    /// a command is a plain word, or the command is not written.
    #[test]
    fn no_name_from_telemetry_can_write_a_command(name in ".{0,40}", pod in ".{0,40}", version in ".{0,20}") {
        let mut rca = release();
        rca.header.affected_services[0].clone_from(&name);
        rca.root_cause_candidates[0].service.clone_from(&name);
        let context = rca.deployment_context.as_mut().expect("the release");
        context.service.clone_from(&name);
        context.version.clone_from(&version);
        context.previous_version = Some(version.clone());
        for sections in [rollback_runbook(), pool_runbook()] {
            let mut found = found(sections);
            found.observed.pod = Some(pod.clone());
            found.observed.namespace = Some(name.clone());
            let (plan, _) = draft(&rca, &found);
            for step in &plan.action_steps {
                // The templates' own characters; nothing else may appear.
                let own = |c: char| c.is_ascii_alphanumeric() || " ._-/:='".contains(c);
                prop_assert!(step.command.chars().all(own), "{}", step.command);
                prop_assert!(!step.command.contains(" --all"), "{}", step.command);
            }
        }
    }
}
