//! Incidents that people declare.

use crate::story::{Story, T0, anomaly, busy, cleared, slow};
use midwatch_correlation::decide::declare::Seen;
use midwatch_events::anomaly::{Anomaly, AnomalyType, Severity};
use midwatch_events::incident::{Declared, IncidentChange};
use midwatch_events::response::CommandDetails;
use midwatch_events::{Event, OperatorCommand, ids};
use serde_json::json;
use uuid::Uuid;

/// The event id of everything that a story hears.
fn declared_id() -> Uuid {
    ids::declared(ids::derive(&["event"]))
}

fn command(story: &Story, severity: &str) -> OperatorCommand {
    OperatorCommand {
        details: CommandDetails {
            declared: Some(Box::new(Declared {
                title: "Nobody can pay".to_owned(),
                severity: severity.to_owned(),
                by: "whoever wrote this".to_owned(),
            })),
            channel: "cli".to_owned(),
            ..CommandDetails::default()
        },
        ..story.command("declare", Uuid::nil(), "payment-service")
    }
}

/// Somebody declares it; the newest reading there is of second `at_s`.
fn declare(story: &mut Story, command: OperatorCommand, at_s: i64) {
    let seen = Seen {
        around: story.around.clone(),
        now_ms: Some(T0 + at_s * 1_000),
    };
    let context = serde_json::to_value(seen).expect("it is JSON");
    story.hear_with(Event::Command(command), context);
}

#[test]
fn a_declaration_opens_an_incident_as_it_was_stated() {
    let mut story = Story::new();
    story.stored = true;
    let said = command(&story, "HIGH");
    declare(&mut story, said.clone(), 7);
    let opened = &story.opened[0];
    let header = &opened.header;
    assert_eq!(header.incident_id, declared_id());
    assert_eq!(
        (
            header.severity,
            header.anomaly_type,
            header.affected_services.as_slice()
        ),
        (
            Severity::High,
            AnomalyType::Unknown,
            &["payment-service".to_owned()][..]
        )
    );
    assert_eq!(
        (header.detected_at_ms, header.detected_wall_ms),
        (T0 + 7_000, T0)
    );
    let declared = opened.declared.as_ref().expect("what was said");
    // Whoever gave the command said it, whatever the words claim.
    assert_eq!(
        (declared.by.as_str(), declared.title.as_str()),
        ("dana", "Nobody can pay")
    );
    assert_eq!(
        opened.description,
        "dana declared on payment-service: Nobody can pay"
    );
    assert!(opened.grouped_anomalies.is_empty() && opened.trigger_metric.is_empty());
    assert_eq!(
        opened.blast_radius.at_risk,
        ["api-gateway", "order-service"]
    );
    let line = story
        .audits
        .iter()
        .find(|line| line.event_type == "INCIDENT_DECLARED");
    let line = line.expect("a line");
    assert_eq!(line.payload["stated"]["by"], json!("dana"));
    assert_eq!(line.payload["credential_id"], json!("c1"));
    let line = story
        .audits
        .iter()
        .find(|line| line.event_type == "INCIDENT_OPENED");
    assert_eq!(
        line.expect("a line").payload["severity_reason"],
        json!("stated by dana")
    );
    declare(&mut story, said, 8);
    assert_eq!((story.opened.len(), story.refusals().len()), (1, 1));
}

#[test]
fn what_is_measured_there_joins_it_and_may_make_it_graver_only() {
    let mut story = Story::new();
    let said = command(&story, "MEDIUM");
    declare(&mut story, said, 0);
    let grave = Anomaly {
        severity: Severity::Critical,
        ..busy("payment-service", 60)
    };
    story.hear(grave.clone());
    story.settle();
    assert_eq!(story.opened.len(), 1, "it is no second incident");
    let grown = story.updated.last().expect("it has grown");
    assert_eq!(
        (
            grown.header.incident_id,
            grown.header.severity,
            grown.grouped_anomalies.len()
        ),
        (declared_id(), Severity::Critical, 1)
    );
    assert!(
        grown.grouped_anomalies[0]
            .reason
            .contains("dana declared an incident")
    );
    assert_eq!(
        grown.header.anomaly_type,
        AnomalyType::Unknown,
        "it keeps its name"
    );
    let mild = Anomaly {
        severity: Severity::Low,
        ..slow("payment-service", 70)
    };
    story.hear(mild);
    story.hear(cleared(grave, 80));
    story.settle();
    let told = story.updated.last().expect("it was told");
    assert_eq!(told.header.severity, Severity::Medium);
    // Long after, or on another service that nothing connects: another one.
    let kind = AnomalyType::CpuSaturation;
    story.hear(anomaly("batch-reports", kind, "service_cpu_percent", 90));
    story.settle();
    assert_eq!(story.opened.len(), 2);
}

#[test]
fn it_is_closed_reopened_and_merged_as_every_other_one() {
    let mut story = Story::new();
    let said = command(&story, "HIGH");
    declare(&mut story, said, 0);
    let id = declared_id();
    story.end(id, "CLOSED_BY_OPERATOR", 100);
    story.ask(story.command("reopen", id, ""));
    let reopened = story.updated.last().expect("it goes on");
    assert_eq!(
        (reopened.change, reopened.header.severity),
        (IncidentChange::Reopened, Severity::High)
    );
    story.hear(slow("batch-reports", 2_000));
    story.settle();
    let host = story.incident(1);
    story.ask(story.command("merge", host, &id.to_string()));
    let changes: Vec<(Uuid, IncidentChange)> = story.updated[1..]
        .iter()
        .map(|one| (one.header.incident_id, one.change))
        .collect();
    assert_eq!(
        changes,
        [(id, IncidentChange::Merged), (host, IncidentChange::Merged)]
    );
    assert!(story.refusals().is_empty(), "{:?}", story.refusals());
}

#[test]
fn a_declaration_that_says_too_little_or_too_late_is_refused_aloud() {
    let story = Story::new();
    let said = command(&story, "HIGH");
    let with = |change: fn(&mut OperatorCommand)| {
        let mut other = said.clone();
        change(&mut other);
        other
    };
    for (wrong, words) in [
        (with(|one| one.expires_at_ms = 0), "after it had expired"),
        (with(|one| one.target.clear()), "must be a service"),
        (with(|one| one.target = "*".to_owned()), "must be a service"),
        (
            with(|one| one.details.declared = None),
            "`declared` is missing",
        ),
        (command(&story, "BAD"), "is no severity"),
        (
            with(|one| {
                if let Some(declared) = &mut one.details.declared {
                    declared.title.clear();
                }
            }),
            "its title is empty",
        ),
    ] {
        let mut story = Story::new();
        declare(&mut story, wrong, 0);
        assert!(story.opened.is_empty());
        assert!(
            story.refusals()[0].contains(words),
            "{:?}",
            story.refusals()
        );
    }
    // Without surroundings the wall clock is the only one.
    let mut alone = Story::new();
    let said = command(&alone, "LOW");
    alone.ask(said);
    assert_eq!(alone.opened[0].header.detected_at_ms, T0);
}
