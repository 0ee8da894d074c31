//! Every action of the catalogue is reached by a shipped runbook with the
//! shipped example of what is allowed.

mod fixtures;

use fixtures::{AT, NOW, core, rca};
use midwatch_clients::knowledge::RunbookHit;
use midwatch_events::action::ActionKind;
use midwatch_events::knowledge::Catalogue;
use midwatch_events::{AnomalyType, RawDeployment};
use midwatch_knowledge::Knowledge;
use midwatch_remediation::allowed::Allowed;
use midwatch_remediation::case::Observed;
use midwatch_remediation::decide::{Core, Retrieved, State};
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_action_is_reached_by_a_shipped_runbook_and_the_example() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../knowledge");
    let knowledge = Knowledge::load(&folder).expect("the committed knowledge is valid");
    let text = include_str!("../../../infrastructure/remediation/allowed.example.json");
    let catalogue = include_str!("../../../knowledge/services.json");
    let core = Core {
        allowed: Allowed::parse(text).expect("the example is well formed"),
        catalogue: Catalogue::parse(catalogue).expect("our catalogue is well formed"),
        ..core()
    };
    let some = |text: &str| Some(text.to_owned());
    let observed = Observed {
        namespace: some("shop"),
        pod: some("payment-7d9c5b6f4-x2x9k"),
        node: some("worker-3"),
        alertname: some("NodeNotReady"),
        ..Observed::default()
    };
    let mut reached = BTreeSet::new();
    for runbook in &knowledge.runbooks {
        let target = runbook.target.clone().unwrap_or_default();
        let (service, metric) = if target == "host" {
            ("host/web-1", "host_disk_percent{mount=/}")
        } else {
            ("payment-service", "service_error_rate_percent")
        };
        let kind = runbook.anomaly_types[0];
        let mut rca = rca(service, kind, metric, [97.0, 30.0]);
        rca.header.environment = "production".to_owned();
        rca.deployment_context = (kind == AnomalyType::DeploymentFailure).then(|| RawDeployment {
            timestamp_ms: NOW - 180_000,
            service: service.to_owned(),
            environment: "production".to_owned(),
            version: "3.8.0".to_owned(),
            change_type: "deployment".to_owned(),
            git_sha: String::new(),
            deployed_by: "maria".to_owned(),
            description: String::new(),
            known_risks: Vec::new(),
            previous_version: Some("3.7.4".to_owned()),
        });
        let sections = runbook.sections.iter().map(|section| RunbookHit {
            causes: runbook.causes.clone(),
            runbook_id: runbook.name.clone(),
            section_title: section.title.clone(),
            text: section.text.clone(),
            score: 0.5,
            anomaly_types: Vec::new(),
            position: 0,
            steps: section.steps.clone(),
            target: target.clone(),
        });
        let found = Retrieved {
            sections: sections.collect(),
            observed: observed.clone(),
            ..Retrieved::default()
        };
        let (plan, _) = core.draft(&State::default(), AT, &rca, &found);
        let steps = plan.action_steps.iter();
        reached.extend(steps.filter_map(|step| Some(step.typed.as_ref()?.kind)));
    }
    let missing: Vec<&str> = ActionKind::ALL
        .into_iter()
        .filter(|kind| !reached.contains(kind))
        .map(ActionKind::as_str)
        .collect();
    assert_eq!(missing, [""; 0], "no shipped runbook reaches them");
}

#[test]
fn the_scripts_that_the_example_names_are_shipped_and_may_be_run() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../infrastructure/remediation");
    let text = include_str!("../../../infrastructure/remediation/allowed.example.json");
    let lists = Allowed::parse(text).expect("well formed").of("host/web-1");
    for name in lists.scripts.iter().chain(&lists.diagnostics) {
        let found = folder.join("scripts").join(name).metadata();
        let mode = found
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .permissions()
            .mode();
        // As the executor wants them: nobody but the owner may change them.
        assert_eq!(mode & 0o122, 0o100, "{name} has mode {mode:o}");
    }
}
