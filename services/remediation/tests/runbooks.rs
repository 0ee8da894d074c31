//! The committed runbooks and the committed service catalogue make plans whose
//! typed actions pass the action catalogue, for every service of the fleet.

mod fixtures;

use fixtures::{AT, NOW, live_core, rca};
use midwatch_clients::knowledge::RunbookHit;
use midwatch_events::action::ActionKind;
use midwatch_events::knowledge::Catalogue;
use midwatch_events::{AnomalyType, RawDeployment, RemediationPlan};
use midwatch_knowledge::Knowledge;
use midwatch_remediation::decide::{Core, Retrieved, State};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn knowledge() -> Knowledge {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../knowledge");
    Knowledge::load(&folder).expect("the committed knowledge is valid")
}

fn core() -> Core {
    let text = include_str!("../../../knowledge/services.json");
    Core {
        catalogue: Catalogue::parse(text).expect("our catalogue is well formed"),
        ..live_core()
    }
}

fn sections(knowledge: &Knowledge, runbook: &str) -> Vec<RunbookHit> {
    let mut runbooks = knowledge.runbooks.iter();
    let runbook = runbooks
        .find(|one| one.name == runbook)
        .expect("it is there");
    let kinds = runbook.anomaly_types.iter();
    let kinds: Vec<String> = kinds.map(|kind| kind.as_str().to_owned()).collect();
    let sections = runbook.sections.iter().map(|section| RunbookHit {
        runbook_id: runbook.name.clone(),
        section_title: section.title.clone(),
        text: section.text.clone(),
        score: 0.5,
        anomaly_types: kinds.clone(),
        position: 0,
        steps: section.steps.clone(),
        causes: runbook.causes.clone(),
        target: runbook.target.clone().unwrap_or_default(),
    });
    sections.collect()
}

/// Runbook, cause, metric, values, and the kinds that its plan should carry.
type Scenario = (
    &'static str,
    AnomalyType,
    &'static str,
    [f64; 2],
    &'static [ActionKind],
);
const SCENARIOS: [Scenario; 7] = [
    (
        "cpu-saturation",
        AnomalyType::CpuSaturation,
        "service_cpu_percent",
        [97.0, 30.0],
        &[ActionKind::Scale, ActionKind::RaiseLimit],
    ),
    (
        "database-connection-exhaustion",
        AnomalyType::DbConnectionExhaustion,
        "service_db_connections",
        [100.0, 30.0],
        &[ActionKind::RestartRollout, ActionKind::RaisePoolSize],
    ),
    (
        "deployment-rollback",
        AnomalyType::DeploymentFailure,
        "service_error_rate_percent",
        [39.8, 0.5],
        &[ActionKind::RollbackDeployment],
    ),
    (
        "error-rate-spike",
        AnomalyType::ErrorRateSpike,
        "service_error_rate_percent",
        [45.0, 0.5],
        &[ActionKind::ToggleFlag, ActionKind::RestartRollout],
    ),
    (
        "high-latency-api",
        AnomalyType::LatencySpike,
        "service_latency_p99_ms",
        [7380.0, 380.0],
        &[ActionKind::Scale],
    ),
    (
        "kafka-consumer-lag",
        AnomalyType::KafkaConsumerLag,
        "kafka_consumer_lag",
        [50_000.0, 100.0],
        &[ActionKind::Scale],
    ),
    (
        "memory-leak",
        AnomalyType::MemoryLeak,
        "service_memory_percent",
        [98.0, 55.0],
        &[
            ActionKind::RestartRollout,
            ActionKind::RaiseLimit,
            ActionKind::RollbackDeployment,
        ],
    ),
];

fn plan(core: &Core, knowledge: &Knowledge, service: &str, scenario: &Scenario) -> RemediationPlan {
    let (runbook, kind, metric, values, _) = scenario;
    let mut rca = rca(service, *kind, metric, *values);
    rca.header.affected_services = vec![service.to_owned()];
    rca.deployment_context = Some(RawDeployment {
        timestamp_ms: NOW - 180_000,
        service: service.to_owned(),
        environment: "simulation".to_owned(),
        version: "3.8.0".to_owned(),
        change_type: "deployment".to_owned(),
        git_sha: String::new(),
        deployed_by: "maria".to_owned(),
        description: String::new(),
        known_risks: Vec::new(),
        previous_version: Some("3.7.4".to_owned()),
    });
    let found = Retrieved {
        sections: sections(knowledge, runbook),
        ..Retrieved::default()
    };
    core.draft(&State::default(), AT, &rca, &found).0
}

#[test]
fn every_typed_step_of_the_runbooks_fits_every_service() {
    let (core, knowledge) = (core(), knowledge());
    for service in &knowledge.services {
        for scenario in &SCENARIOS {
            let plan = plan(&core, &knowledge, &service.name, scenario);
            let typed = plan
                .action_steps
                .iter()
                .filter_map(|step| step.typed.as_ref());
            let kinds: BTreeSet<ActionKind> = typed.map(|action| action.kind).collect();
            let expected: BTreeSet<ActionKind> = scenario.4.iter().copied().collect();
            assert_eq!(kinds, expected, "{} on {}", scenario.0, service.name);
        }
    }
}

#[test]
fn the_same_scenario_on_two_services_acts_on_their_own_objects() {
    let (core, knowledge) = (core(), knowledge());
    for scenario in &SCENARIOS {
        let mut arguments: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (service, other) in [
            ("order-service", "notification-service"),
            ("notification-service", "order-service"),
        ] {
            let plan = plan(&core, &knowledge, service, scenario);
            for step in &plan.action_steps {
                let text = format!("{step:?}");
                assert!(text.contains(service) && !text.contains(other), "{text}");
            }
            let typed = plan
                .action_steps
                .iter()
                .filter_map(|step| step.typed.as_ref());
            let all = typed.map(|action| format!("{:?}", action.arguments));
            arguments.insert(service, all.collect());
        }
        assert_ne!(
            arguments["order-service"],
            arguments["notification-service"]
        );
    }
}

#[test]
fn commands_and_rollbacks_are_those_of_the_typed_action() {
    let (core, knowledge) = (core(), knowledge());
    let plan = plan(&core, &knowledge, "api-gateway", &SCENARIOS[0]);
    let scale = plan
        .action_steps
        .iter()
        .find(|step| step.typed.is_some())
        .expect("typed");
    assert_eq!(scale.action, "Scale out to twice the replicas");
    assert_eq!(
        scale.command,
        "kubectl scale deployment/api-gateway --current-replicas=3 --replicas=6 -n shop"
    );
    assert_eq!(
        scale.rollback,
        "kubectl scale deployment/api-gateway --current-replicas=6 --replicas=3 -n shop"
    );
}
