//! What real processes say, read for the judge.

use midwatch_score::collected::{incident, incidents, truths};
use midwatch_score::judge::{Candidate, Incident, Return, faults, judge};
use serde_json::Value;

fn answer() -> Value {
    serde_json::from_str(include_str!("fixtures/incident.json")).expect("the fixture is JSON")
}

fn messages() -> Vec<Value> {
    serde_json::from_str(include_str!("fixtures/ground-truth.json")).expect("the fixture is JSON")
}

#[test]
fn an_answer_of_the_api_becomes_an_incident() {
    let candidate = |service: &str, cause: &str, confidence| Candidate {
        service: service.to_owned(),
        cause: cause.to_owned(),
        confidence,
    };
    let expected = Incident {
        id: "INC-A1B2C3D4".to_owned(),
        environment: "simulation".to_owned(),
        detected_ms: 1_795_306_690_000,
        onset_ms: Some(1_795_306_680_000),
        opened_ms: 1_795_306_710_000,
        // Announced at wall second 63, answered at 64, thirty times as fast.
        decided_ms: Some(1_795_306_740_000),
        conclusive: Some(true),
        resolved_ms: Some(1_795_306_920_000),
        services: ["payment-service", "api-gateway", "order-service"]
            .map(str::to_owned)
            .to_vec(),
        anomaly_type: "DB_CONNECTION_EXHAUSTION".to_owned(),
        candidates: vec![
            candidate("payment-service", "DB_CONNECTION_EXHAUSTION", 0.9),
            candidate("api-gateway", "LATENCY_SPIKE", 0.21),
        ],
        // Two rows under one Message-ID are one mail; one was never sent.
        mails: Some(2),
        merged: false,
        returns: Vec::new(),
    };
    assert_eq!(incident(&answer(), 30).expect("it is readable"), expected);
}

#[test]
fn an_incident_that_has_only_begun_is_readable_too() {
    let mut young = answer();
    for field in ["resolved_at_ms", "rca_candidates", "resolution"] {
        young[field] = Value::Null;
    }
    young["correlation_context"] = serde_json::json!({});
    young["timeline"] = serde_json::json!([]);
    young["mails"] = serde_json::json!([]);
    let young = incident(&young, 30).expect("it is readable");
    assert_eq!((young.onset_ms, young.resolved_ms), (None, None));
    assert_eq!(young.opened_ms, young.detected_ms);
    assert_eq!((young.candidates.len(), young.mails), (0, Some(0)));
}

#[test]
fn an_incident_that_was_opened_again_says_when_and_when_it_was_answered() {
    let mut back = answer();
    let line = |at_ms: i64, wall_ms: i64, event_type: &str| {
        serde_json::json!({
            "at_ms": at_ms, "wall_ms": wall_ms, "agent": "-", "event_type": event_type,
            "summary": "-",
        })
    };
    let (again_ms, wall_ms) = (1_795_308_000_000, 1_795_306_703_000);
    let timeline = back["timeline"].as_array_mut().expect("a list");
    timeline.push(line(again_ms, wall_ms, "INCIDENT_REOPENED"));
    timeline.push(line(again_ms, wall_ms + 2_000, "RCA_REVISED"));
    timeline.push(line(
        again_ms + 600_000,
        wall_ms + 20_000,
        "INCIDENT_REOPENED",
    ));
    let back = incident(&back, 30).expect("it is readable");
    let returns = [
        (again_ms, Some(again_ms + 60_000)),
        (again_ms + 600_000, None),
    ];
    let returns = returns.map(|(at_ms, decided_ms)| Return { at_ms, decided_ms });
    assert_eq!(back.returns, returns);
    assert_eq!(back.decided_ms, Some(1_795_306_740_000), "the first answer");

    let slot = again_ms - 5_000..again_ms + 900_000;
    let seen = back.within(&slot).expect("the slot saw it come back");
    let times = (seen.detected_ms, seen.opened_ms, seen.decided_ms);
    assert_eq!(times, (again_ms, again_ms, Some(again_ms + 60_000)));
    assert_eq!(seen.candidates, back.candidates);
    let whole = back.detected_ms..slot.end;
    assert_eq!(back.within(&whole), Some(back.clone()), "it begins there");
    assert_eq!(back.within(&(0..back.detected_ms)), None);
}

#[test]
fn a_merged_incident_is_known_by_its_resolution() {
    let mut merged = answer();
    merged["resolution"]["resolution_method"] = "MERGED".into();
    assert!(incident(&merged, 30).expect("it is readable").merged);
}

#[test]
fn incidents_of_other_environments_are_left_out() {
    let mut host = answer();
    host["environment"] = "local".into();
    let kept = incidents(&[answer(), host], "simulation", 30).expect("both are readable");
    assert_eq!(kept.len(), 1);
}

#[test]
fn what_is_not_readable_is_named() {
    let mut broken = answer();
    broken["detected_at_ms"] = "yesterday".into();
    let error = incident(&broken, 30).expect_err("no time").to_string();
    assert!(error.contains("INC-A1B2C3D4"), "{error}");
    let error = incident(&serde_json::json!({"error": "not found"}), 30).expect_err("no incident");
    assert!(error.to_string().contains("(unnamed)"), "{error}");
    let mut told = messages();
    told[1]["timestamp_ms"] = Value::Null;
    let error = truths(&told).expect_err("no time").to_string();
    assert!(
        error.starts_with("message 1 of simulator.ground-truth"),
        "{error}"
    );
}

#[test]
fn fault_and_incident_from_real_messages_meet() {
    let truths = truths(&messages()).expect("the messages are readable");
    let found = incidents(&[answer()], "simulation", 30).expect("the answer is readable");
    let judgement = judge(&faults(&truths), &found);
    let row = &judgement.rows[0];
    assert_eq!(row.incident.as_deref(), Some("INC-A1B2C3D4"));
    let times = (
        row.onset_after_ms,
        row.detected_after_ms,
        row.opened_after_ms,
    );
    assert_eq!(times, (Some(10_000), Some(20_000), Some(40_000)));
    assert!(row.right_service && row.right_type && row.right_cause && row.resolved);
    assert_eq!(judgement.totals.false_incidents, 0);
}
