//! The committed knowledge is complete and consistent, and mistakes in it are
//! named by file and field.

use midwatch_events::AnomalyType;
use midwatch_events::response::Priority;
use midwatch_knowledge::{Knowledge, Runbook, chunk};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn knowledge() -> Knowledge {
    Knowledge::load(&folder()).expect("the committed knowledge is valid")
}

#[test]
fn there_are_20_incidents_11_runbooks_and_6_services() {
    let knowledge = knowledge();
    let names: Vec<&str> = knowledge
        .runbooks
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "cpu-saturation",
            "database-connection-exhaustion",
            "dependency-outage",
            "deployment-rollback",
            "error-rate-spike",
            "high-latency-api",
            "host-disk-full",
            "host-unit-hung",
            "kafka-consumer-lag",
            "memory-leak",
            "node-trouble",
        ]
    );
    let ids: Vec<String> = (1..=20).map(|n| format!("INC-2025-{n:03}")).collect();
    let found: Vec<&str> = knowledge
        .incidents
        .iter()
        .map(|one| one.incident_id.as_str())
        .collect();
    assert_eq!(found, ids);
    let services: BTreeSet<&str> = knowledge
        .services
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(
        services,
        BTreeSet::from([
            "api-gateway",
            "inventory-service",
            "notification-service",
            "order-service",
            "payment-service",
            "user-service",
        ])
    );
}

/// The table of the reference: rps, p99 ms, CPU %, memory %, DB connections,
/// lag, team, criticality, SLA.
#[test]
fn baselines_are_those_of_the_reference() {
    let expected = "\
api-gateway 150 120 30 45 20 0 platform P0 99.99
payment-service 80 380 22 45 30 0 payments P0 99.95
order-service 60 280 20 45 15 100 commerce P1 99.9
user-service 200 150 18 45 20 0 identity P0 99.95
inventory-service 30 220 15 45 10 0 commerce P1 99.9
notification-service 40 500 25 55 20 200 platform P2 99.5
";
    let mut found = String::new();
    for one in knowledge().services {
        let base = &one.baseline;
        let values = [
            base.rps,
            base.p99_ms,
            base.cpu_percent,
            base.memory_percent,
            base.db_connections,
            base.kafka_consumer_lag,
        ]
        .map(|value| value.to_string())
        .join(" ");
        let (name, team, level, sla) = (one.name, one.team, one.criticality, one.sla);
        writeln!(found, "{name} {values} {team} {level} {sla}").expect("a string takes all");
        assert_eq!(base.error_rate_percent, 0.5, "{name}");
        assert_eq!(one.limits.db_connections_max, 100.0, "{name}");
    }
    assert_eq!(found, expected);
}

#[test]
fn calls_are_those_of_the_reference() {
    let services = knowledge().services;
    let calls: BTreeMap<&str, Vec<&str>> = services
        .iter()
        .filter(|one| !one.calls.is_empty())
        .map(|one| {
            (
                one.name.as_str(),
                one.calls.iter().map(String::as_str).collect(),
            )
        })
        .collect();
    assert_eq!(
        calls,
        BTreeMap::from([
            (
                "api-gateway",
                vec!["payment-service", "order-service", "user-service"]
            ),
            (
                "order-service",
                vec!["payment-service", "inventory-service"]
            ),
        ])
    );
}

#[test]
fn every_scenario_has_two_to_four_incidents_and_a_runbook() {
    let knowledge = knowledge();
    for kind in [
        AnomalyType::LatencySpike,
        AnomalyType::ErrorRateSpike,
        AnomalyType::CpuSaturation,
        AnomalyType::MemoryLeak,
        AnomalyType::DbConnectionExhaustion,
        AnomalyType::KafkaConsumerLag,
        AnomalyType::DeploymentFailure,
    ] {
        let incidents = knowledge
            .incidents
            .iter()
            .filter(|one| one.anomaly_type == kind)
            .count();
        assert!(
            (2..=4).contains(&incidents),
            "{kind}: {incidents} incidents"
        );
    }
    for kind in AnomalyType::ALL {
        let runbook = knowledge
            .runbooks
            .iter()
            .any(|one| one.anomaly_types.contains(&kind));
        assert!(runbook, "no runbook for {kind}");
    }
}

#[test]
fn runbooks_have_all_sections_and_steps_of_every_urgency() {
    for runbook in knowledge().runbooks {
        let titles: Vec<&str> = runbook
            .sections
            .iter()
            .map(|one| one.title.as_str())
            .collect();
        assert_eq!(
            titles,
            [
                "Symptoms",
                "Diagnosis",
                "Immediate mitigation",
                "Within 15 minutes",
                "Within the hour",
                "Verification",
                "Rollback",
                "Prevention",
            ],
            "{}",
            runbook.name
        );
        let steps: Vec<_> = runbook.steps().collect();
        assert!(
            (3..=6).contains(&steps.len()),
            "{}: {} steps",
            runbook.name,
            steps.len()
        );
        let urgencies: BTreeSet<Priority> = steps.iter().map(|step| step.priority).collect();
        assert_eq!(urgencies.len(), 3, "{}", runbook.name);
        let listed: usize = runbook
            .sections
            .iter()
            .map(|one| one.text.matches("- **").count())
            .sum();
        // Diagnosis sections use "**" inside numbered lists, never "- **".
        assert_eq!(
            listed,
            steps.len(),
            "{}: an item was not read as a step",
            runbook.name
        );
    }
}

#[test]
fn read_only_steps_say_that_nothing_is_to_be_undone_and_others_say_how() {
    for runbook in knowledge().runbooks {
        for step in runbook.steps() {
            let undo = step.rollback.as_str();
            if step.risk == "read-only" {
                assert_eq!(undo, "none: read-only", "{}: {}", runbook.name, step.action);
            } else {
                let stated = undo.starts_with("kubectl ")
                    || undo.starts_with("kafka-")
                    || undo.starts_with("none: ");
                assert!(
                    stated && undo != "none: read-only",
                    "{}: {}",
                    runbook.name,
                    step.action
                );
            }
        }
    }
}

#[test]
fn every_step_is_filled_from_observed_names() {
    let values: BTreeMap<String, String> = [
        ("service", "order-service"),
        ("namespace", "production"),
        ("version", "4.2.3"),
        ("previous_version", "4.2.2"),
        ("consumer_group", "order-service"),
        ("topic", "order-events"),
        ("pod", "order-service-7d9c5b6f4-x2x9k"),
        ("node", "worker-3"),
        ("alertname", "NodeNotReady"),
        ("host", "web-1"),
        ("unit", "nginx.service"),
        ("path", "/var/cache/nginx"),
        ("log", "nginx"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    for runbook in knowledge().runbooks {
        for step in runbook.steps() {
            let filled = step
                .fill("S1", &values)
                .expect("all placeholders have values");
            assert!(!filled.command.contains("{{"), "{}", filled.command);
            assert!(!filled.rollback.contains("{{"), "{}", filled.rollback);
        }
    }
}

#[test]
fn documents_are_four_per_incident_one_per_section_and_service() {
    let knowledge = knowledge();
    let documents = chunk::documents(&knowledge);
    let counts: Vec<(&str, usize)> = documents
        .iter()
        .map(|(name, list)| (*name, list.len()))
        .collect();
    assert_eq!(
        counts,
        [("incidents", 80), ("runbooks", 88), ("architecture", 6)]
    );
    let ids: BTreeSet<_> = documents
        .iter()
        .flat_map(|(_, list)| list)
        .map(|one| one.id)
        .collect();
    assert_eq!(ids.len(), 174, "ids are unique");
    assert_eq!(
        documents,
        chunk::documents(&knowledge),
        "and the same each time"
    );
    let kinds: Vec<_> = documents[0].1[..4]
        .iter()
        .map(|one| &one.payload["chunk_type"])
        .collect();
    assert_eq!(
        kinds,
        [
            "summary",
            "root_cause",
            "resolution",
            "contributing_factors"
        ]
    );
    assert_eq!(
        documents[0].1[0].payload["record"]["incident_id"],
        "INC-2025-001"
    );
}

const RUNBOOK: &str = "---\nname: sample\ndescription: A sample.\nanomaly_types: [MEMORY_LEAK]\ntags: [a, b]\n---\n# Sample\n\n## Short\n\ntoo short\n\n## Immediate mitigation\n\n- **Restart it**\n  - command: `kubectl rollout restart deployment/{{service}}`\n  - why: It helps.\n  - expect: Quiet.\n  - rollback: none: restart\n  - risk: low\n  - owner: on-call\n";

fn with_all_sections(text: &str) -> String {
    let step = text
        .split("## Immediate mitigation\n")
        .nth(1)
        .expect("the step");
    format!("{text}\n## Within 15 minutes\n{step}\n## Within the hour\n{step}")
}

#[test]
fn a_small_runbook_is_read_and_its_short_section_dropped() {
    let runbook =
        Runbook::parse(Path::new("sample.md"), &with_all_sections(RUNBOOK)).expect("valid");
    assert_eq!(runbook.tags, ["a", "b"]);
    assert_eq!(runbook.anomaly_types, [AnomalyType::MemoryLeak]);
    assert_eq!(runbook.sections.len(), 3);
    let step = &runbook.sections[0].steps[0];
    assert_eq!(step.action, "Restart it");
    assert_eq!(
        step.command,
        "kubectl rollout restart deployment/{{service}}"
    );
    assert_eq!(step.rollback, "none: restart");
    assert_eq!(step.placeholders(), ["service"]);
}

#[test]
fn mistakes_in_a_runbook_are_named() {
    for (from, to, words) in [
        ("name: sample\n", "", "field `name` is missing"),
        ("MEMORY_LEAK", "MEMORY_LOSS", "MEMORY_LOSS"),
        (
            "  - why: It helps.\n",
            "",
            "Immediate mitigation / Restart it` lacks the entry `why`",
        ),
        ("risk: low", "risk: tiny", "has risk \"tiny\""),
        (
            "owner: on-call",
            "owner: somebody",
            "has owner \"somebody\"",
        ),
        ("{{service}}", "{{servcie}}", "uses {{servcie}}"),
        ("- why:", "- because:", "has the entry \"because\""),
        (
            "## Within the hour",
            "## Later",
            "field `Within the hour` has no steps",
        ),
        ("---\nname", "name", "front matter"),
    ] {
        let text = with_all_sections(RUNBOOK).replacen(from, to, 1);
        let error = Runbook::parse(Path::new("sample.md"), &text)
            .expect_err(words)
            .to_string();
        assert!(
            error.contains("sample.md") && error.contains(words),
            "{error}"
        );
    }
}

fn copy_of_knowledge() -> tempfile::TempDir {
    let copy = tempfile::tempdir().expect("a temporary folder");
    for part in ["incidents", "runbooks"] {
        std::fs::create_dir(copy.path().join(part)).expect("created");
        for entry in std::fs::read_dir(folder().join(part)).expect("the folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("files have names");
            std::fs::copy(&path, copy.path().join(part).join(name)).expect("copied");
        }
    }
    let services = "services.json";
    std::fs::copy(folder().join(services), copy.path().join(services)).expect("copied");
    copy
}

#[test]
fn mistakes_in_records_are_named_by_file_and_field() {
    let incident = "incidents/INC-2025-001.json";
    for (file, from, to, words) in [
        (
            incident,
            "\"runbook\": \"database-connection-exhaustion\"",
            "\"runbook\": \"none\"",
            "`runbook` names the runbook \"none\"",
        ),
        (
            incident,
            "\"mttr_minutes\": 34",
            "\"mttr_minutes\": 12",
            "`mttr_minutes` is 12",
        ),
        (
            incident,
            "\"order-service\"",
            "\"oder-service\"",
            "`affected_services` names the service \"oder-service\"",
        ),
        (
            incident,
            "INC-2025-001",
            "INC-2025-099",
            "`incident_id` is \"INC-2025-099\"",
        ),
        (
            incident,
            "2025-01-14T13:42:00Z",
            "yesterday",
            "`started_at` is \"yesterday\"",
        ),
        (
            incident,
            "\"severity\": \"CRITICAL\"",
            "\"severity\": \"BAD\"",
            "BAD",
        ),
        (
            incident,
            "\"root_cause\"",
            "\"cause\"",
            "missing field `root_cause`",
        ),
        (
            "services.json",
            "payments-oncall@example.com",
            "the payments team",
            "`payment-service.on_call`",
        ),
        (
            "services.json",
            "\"name\": \"user-service\"",
            "\"name\": \"order-service\"",
            "`name` appears twice",
        ),
    ] {
        let copy = copy_of_knowledge();
        let path = copy.path().join(file);
        let text = std::fs::read_to_string(&path).expect("a text file");
        assert!(text.contains(from), "{file} has no {from}");
        std::fs::write(&path, text.replacen(from, to, 1)).expect("written");
        let error = Knowledge::load(copy.path()).expect_err(words).to_string();
        assert!(error.contains(file) && error.contains(words), "{error}");
    }
}

#[test]
fn a_missing_folder_is_named_with_its_variable() {
    let error = Knowledge::load(Path::new("/nowhere"))
        .expect_err("missing")
        .to_string();
    assert!(
        error.contains("/nowhere/services.json") && error.contains("KNOWLEDGE_DIR"),
        "{error}"
    );
}

#[test]
fn a_runbook_is_looked_up_by_the_causes_that_it_knows_and_a_bad_one_is_named() {
    let knowledge = knowledge();
    let errors = knowledge
        .runbooks
        .iter()
        .find(|one| one.name == "error-rate-spike");
    let errors = errors.expect("it is there");
    let names: Vec<&str> = errors.causes.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["CERTIFICATE_EXPIRED", "DISK_FULL"]);
    for document in chunk::runbook_documents(errors) {
        let types = document.payload["anomaly_types"]
            .as_array()
            .expect("a list");
        for name in ["ERROR_RATE_SPIKE", "CERTIFICATE_EXPIRED", "DISK_FULL"] {
            assert!(types.iter().any(|one| one == name), "{name}: {types:?}");
        }
        assert_eq!(document.payload["causes"].as_array().map(Vec::len), Some(2));
    }
    let path = folder().join("runbooks/error-rate-spike.md");
    let text = std::fs::read_to_string(&path).expect("it is readable");
    let bad = text.replace(
        "CERTIFICATE_EXPIRED of ERROR_RATE_SPIKE",
        "Restart of ERRORS",
    );
    let error = Runbook::parse(&path, &bad).expect_err("no name of a cause");
    assert!(error.to_string().contains("field `causes`"), "{error}");
}
