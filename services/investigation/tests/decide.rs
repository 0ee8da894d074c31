//! What the investigation decides, told as stories.

#[path = "decide/chain.rs"]
mod chain;
#[path = "decide/declared.rs"]
mod declared;
#[path = "decide/ends.rs"]
mod ends;
#[path = "decide/life.rs"]
mod life;
#[path = "decide/storm.rs"]
mod storm;
#[path = "decide/story.rs"]
mod story;

use midwatch_events::Event;
use midwatch_events::anomaly::{AnomalyType, Severity, Transition};
use midwatch_events::ids;
use midwatch_events::incident::{BlastRadius, Verdict};
use midwatch_investigation::config::Config;
use midwatch_investigation::decide::facts::{DeploymentFact, Facts};
use midwatch_runtime::{Effect, Input};
use serde_json::json;
use story::{Story, T0, member, opened, pool_fault};

#[test]
fn the_dependency_is_blamed_and_not_its_louder_callers() {
    let (members, facts) = pool_fault();
    let mut story = Story {
        facts,
        ..Story::default()
    };
    story.open(&members);
    let rca = &story.rcas[0];
    let ranking: Vec<&str> = rca
        .root_cause_candidates
        .iter()
        .map(|candidate| candidate.service.as_str())
        .collect();
    assert_eq!(ranking[0], "payment-service", "{ranking:?}");
    assert_eq!(
        rca.root_cause_candidates[0].cause,
        "DB_CONNECTION_EXHAUSTION"
    );
    assert_eq!(rca.verdict, Verdict::Conclusive);
    let cited: Vec<&str> = rca.root_cause_candidates[0]
        .evidence
        .iter()
        .map(|record| record.id.as_str())
        .collect();
    assert!(
        cited.contains(&"log-1"),
        "the caller's complaint is cited: {cited:?}"
    );
    let confidences: Vec<f64> = rca
        .root_cause_candidates
        .iter()
        .map(|candidate| candidate.confidence)
        .collect();
    assert!(
        confidences
            .iter()
            .all(|confidence| (0.0..=1.0).contains(confidence))
    );
    assert!(confidences[0] > confidences[1] + 0.1, "{confidences:?}");
}

#[test]
fn one_faint_symptom_alone_is_inconclusive() {
    let mut faint = member("payment-service", AnomalyType::LatencySpike, "p99", 0, 2.6);
    faint.severity = Severity::Medium;
    let mut story = Story::default();
    story.open(&[faint]);
    assert_eq!(story.rcas[0].verdict, Verdict::Inconclusive);
    assert!(story.rcas[0].top_root_cause.starts_with("inconclusive"));
}

#[test]
fn a_deployment_before_the_onset_is_the_cause_and_one_after_it_is_refuted() {
    let errors = member(
        "user-service",
        AnomalyType::ErrorRateSpike,
        "service_error_rate_percent",
        0,
        9.0,
    );
    for (offset_ms, expected) in [
        (-30_000, "DEPLOYMENT_FAILURE"),
        (30_000, "ERROR_RATE_SPIKE"),
    ] {
        let deployment = serde_json::from_value(json!({"service": "user-service",
            "version": "v2.14.1", "timestamp_ms": T0 + offset_ms, "environment": "simulation"}))
        .expect("a deployment");
        let facts = Facts {
            deployments: vec![DeploymentFact {
                deployment,
                record_id: "deployment-1".to_owned(),
            }],
            ..Facts::default()
        };
        let mut story = Story {
            facts,
            ..Story::default()
        };
        story.open(std::slice::from_ref(&errors));
        assert_eq!(story.rcas[0].root_cause_candidates[0].cause, expected);
    }
}

#[test]
fn only_readings_of_every_metric_end_an_incident() {
    let (members, facts) = pool_fault();
    let mut story = Story {
        facts,
        ..Story::default()
    };
    story.open(&members);
    for (index, of) in members.iter().enumerate() {
        assert!(story.resolved.is_empty(), "after {index} cleared series");
        story.transition(of, Transition::Cleared, 300 + index as i64 * 10);
    }
    let end = &story.resolved[0];
    // The last series cleared at 330 s; detection was at 0 s.
    assert_eq!(end.mttr_ms, 330_000);
    assert!((end.mttr_minutes - 5.5).abs() < 1e-9);
    assert_eq!(end.settling_readings.len(), 3);
    assert_eq!(story.resolved.len(), 1);
}

#[test]
fn no_data_is_not_recovery_and_a_relapse_takes_it_back() {
    let errors = member(
        "user-service",
        AnomalyType::ErrorRateSpike,
        "errors",
        0,
        9.0,
    );
    let other = member("user-service", AnomalyType::LatencySpike, "latency", 0, 9.0);
    let mut story = Story::default();
    story.open(&[errors.clone(), other.clone()]);
    story.transition(&errors, Transition::Cleared, 100);
    story.transition(&errors, Transition::Started, 110);
    story.transition(&other, Transition::Cleared, 120);
    assert!(story.resolved.is_empty(), "it broke out again");
    story.transition(&errors, Transition::Missing, 130);
    assert!(story.resolved.is_empty(), "no data is not normal");
    // A word about another, earlier anomaly of the same series changes nothing.
    let mut earlier = errors.clone();
    earlier.anomaly_id = ids::derive(&["earlier"]);
    story.transition(&earlier, Transition::Cleared, 100);
    assert!(story.resolved.is_empty());
    story.transition(&errors, Transition::Cleared, 160);
    assert_eq!(story.resolved.len(), 1);
}

#[test]
fn readings_that_a_late_source_brings_after_a_silence_end_the_incident() {
    let errors = member(
        "user-service",
        AnomalyType::ErrorRateSpike,
        "errors",
        0,
        9.0,
    );
    let mut story = Story::default();
    story.open(std::slice::from_ref(&errors));
    // The silence is dated by the environment's clock, the readings by their own.
    story.transition(&errors, Transition::Missing, 180);
    story.transition(&errors, Transition::Cleared, 60);
    assert_eq!(story.resolved.len(), 1);
}

#[test]
fn a_member_that_cleared_before_anybody_watched_it_counts_as_normal() {
    let errors = member(
        "user-service",
        AnomalyType::ErrorRateSpike,
        "errors",
        0,
        9.0,
    );
    let mut gone = member("user-service", AnomalyType::LatencySpike, "latency", 0, 9.0);
    gone.cleared_at_ms = Some(T0 + 30_000);
    let mut story = Story::default();
    story.open(&[errors.clone(), gone]);
    assert!(story.resolved.is_empty());
    story.transition(&errors, Transition::Cleared, 100);
    assert_eq!(story.resolved.len(), 1);
}

#[test]
fn recovery_waits_for_the_cause_to_be_published() {
    let errors = member(
        "user-service",
        AnomalyType::ErrorRateSpike,
        "errors",
        0,
        9.0,
    );
    let mut story = Story::default();
    story.hear(Event::Opened(Box::new(opened(std::slice::from_ref(
        &errors,
    )))));
    story.transition(&errors, Transition::Cleared, 60);
    assert!(story.resolved.is_empty() && story.rcas.is_empty());
    story.work();
    assert_eq!((story.rcas.len(), story.resolved.len()), (1, 1));
}

#[test]
fn an_update_before_the_opening_is_parked() {
    let members = pool_fault().0;
    let full = opened(&members);
    let updated = serde_json::from_value(json!({
        "incident_id": full.header.incident_id, "short_id": "INC-1", "environment": "simulation",
        "severity": "HIGH", "anomaly_type": "UNKNOWN", "affected_services": [], "detected_at_ms": T0,
        "detected_wall_ms": T0, "change": "grown", "reason": "r", "revision": 1,
        "updated_at_ms": T0, "blast_radius": BlastRadius::default(), "correlation_signals": [],
        "deployment_context": null, "grouped_anomalies": []
    }))
    .expect("an update");
    let mut story = Story::default();
    let effects = story.hear(Event::Updated(Box::new(updated)));
    assert!(matches!(effects.as_slice(), [Effect::Park { .. }]));
}

#[test]
fn records_that_cannot_be_read_leave_an_answer_that_says_so() {
    let errors = member(
        "user-service",
        AnomalyType::ErrorRateSpike,
        "errors",
        0,
        9.0,
    );
    let mut story = Story::default();
    story.hear(Event::Opened(Box::new(opened(&[errors]))));
    let job = story.jobs.remove(0);
    let result = Err("postgres is away".to_owned());
    story.decide(Input::JobDone { job, result });
    assert_eq!(story.rcas.len(), 1);
    assert_eq!(story.said("EVIDENCE_GAP").len(), 1);
    assert_eq!(
        story.rcas[0].degradations,
        ["the records could not be read: postgres is away"]
    );
}

#[test]
fn config_defaults_are_those_of_the_reference() {
    let config = Config::default();
    assert_eq!(config.max_rounds, 8);
}
