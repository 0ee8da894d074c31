//! A fault that comes again: what the first occurrence teaches for the second.

#[path = "decide/story.rs"]
#[allow(dead_code, reason = "each test file uses what it needs")]
mod story;

use midwatch_clients::postgres::KeptRecord;
use midwatch_events::anomaly::{AnomalyType, Severity};
use midwatch_events::incident::{EvidenceKind, RcaCompleted};
use midwatch_investigation::decide::gathered;
use midwatch_investigation::decide::knowledge::Precedent;
use serde_json::{Value, json};
use story::{Story, T0, edges, member};

const SLOW: &str = "LATENCY_SPIKE";
const LEAKS: &str = "MEMORY_LEAK";

fn past(service: &str, cause: &str, score: f64) -> Precedent {
    Precedent {
        incident_id: "INC-0A1B2C3D".to_owned(),
        service: service.to_owned(),
        cause: cause.to_owned(),
        score,
        reviewed: true,
    }
}

fn reading(service: &str, metric: &str, at_s: i64, value: f64) -> KeptRecord {
    KeptRecord {
        record_id: format!("{service}/{metric}/{at_s}"),
        kind: "metric".to_owned(),
        service: service.to_owned(),
        name: metric.to_owned(),
        at_ms: T0 + at_s * 1_000,
        value: Some(value),
        text: String::new(),
        payload: Value::Null,
    }
}

/// notification-service answers more slowly since T0. Its memory has begun to
/// rise; with `far` to where detection would call it a leak, else by little.
fn occurrence(far: bool, precedents: Vec<Precedent>) -> (RcaCompleted, Story) {
    let service = "notification-service";
    let mut records = Vec::new();
    for index in -60..20_i64 {
        let stray = if index % 2 == 0 { 1.01 } else { 0.99 };
        let since = f64::from(i32::try_from(index.max(0)).expect("small"));
        let slow = if index < 0 { 500.0 } else { 700.0 };
        let memory = 45.0 + since * if far { 2.4 } else { 0.25 };
        let at_s = index * 10;
        records.push(reading(
            service,
            "service_latency_p99_ms",
            at_s,
            slow * stray,
        ));
        records.push(reading(service, "service_request_rate", at_s, 40.0 * stray));
        records.push(reading(
            service,
            "service_memory_percent",
            at_s,
            memory * stray,
        ));
    }
    records.sort_by_key(|record| record.at_ms);
    let mut slow = member(
        service,
        AnomalyType::LatencySpike,
        "service_latency_p99_ms",
        0,
        5.0,
    );
    slow.observed_value = 700.0;
    slow.baseline_value = 500.0;
    let mut members = vec![slow];
    if far {
        let mut leak = member(
            service,
            AnomalyType::MemoryLeak,
            "service_memory_percent",
            20,
            9.0,
        );
        leak.observed_value = 93.0;
        leak.baseline_value = 45.0;
        leak.severity = Severity::Critical;
        members.push(leak);
    }
    let known = gathered::Known {
        edges: edges(&[("api-gateway", service)]),
        ..gathered::Known::default()
    };
    let mut facts = gathered::facts(&records, &members, known);
    facts.precedents = precedents;
    // As the journal holds it.
    let journalled = serde_json::to_string(&facts).expect("facts are JSON");
    let facts = serde_json::from_str(&journalled).expect("and are read again");
    let mut story = Story {
        facts,
        ..Story::default()
    };
    story.open(&members);
    (story.rcas[0].clone(), story)
}

#[test]
fn the_second_occurrence_is_told_by_the_first_where_its_evidence_is_thin() {
    // The first time memory ran full before anybody looked.
    let (first, _) = occurrence(true, Vec::new());
    let learnt = &first.root_cause_candidates[0];
    assert_eq!(learnt.cause, LEAKS);
    // The second time it has only begun to rise.
    let (blind, _) = occurrence(false, Vec::new());
    assert_eq!(blind.root_cause_candidates[0].cause, SLOW);
    let lesson = past(&learnt.service, &learnt.cause, 0.72);
    let (second, story) = occurrence(false, vec![lesson.clone()]);
    let top = &second.root_cause_candidates[0];
    assert_eq!(
        (top.service.as_str(), top.cause.as_str()),
        ("notification-service", LEAKS)
    );
    assert!(
        top.hypothesis.contains("leaks memory"),
        "{}",
        top.hypothesis
    );
    assert_eq!(top.confidence, blind.root_cause_candidates[0].confidence);
    assert_eq!(second.verdict, blind.verdict);
    let cited = top.evidence.iter().find(|one| one.id == "INC-0A1B2C3D");
    let cited = cited.expect("the first occurrence is cited");
    assert_eq!(cited.kind, EvidenceKind::Incident);
    assert!(
        cited.summary.contains("similarity 0.72"),
        "{}",
        cited.summary
    );
    assert!(
        top.discriminator.contains("service_memory_percent"),
        "{}",
        top.discriminator
    );
    // A replay from what was journalled says the same.
    let (again, replayed) = occurrence(false, vec![lesson]);
    assert_eq!(json!(again), json!(second));
    assert_eq!(replayed.state, story.state);
    // What nobody reviewed changes nothing.
    let unread = Precedent {
        reviewed: false,
        ..past("notification-service", LEAKS, 0.95)
    };
    let (third, _) = occurrence(false, vec![unread]);
    assert_eq!(third.root_cause_candidates, blind.root_cause_candidates);
}
