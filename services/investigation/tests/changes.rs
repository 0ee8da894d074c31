//! A release, a rollback, a configuration, a flag and a scale are different
//! suspects, and what they break has different names.

mod scene;
#[path = "decide/story.rs"]
#[allow(dead_code, reason = "each test file uses what it needs")]
mod story;

use midwatch_events::anomaly::AnomalyType;
use midwatch_events::cause::ChangeType;
use midwatch_investigation::decide::facts::{DeploymentFact, Facts};
use midwatch_investigation::rca::{Candidate, ChangeEvent, ChangeKind};
use scene::{START_MS, STEADY, STEP_MS, Scene, first, shop};
use serde_json::json;
use story::{Story, T0, member};

/// Everybody waits for orders, whose own readings change `late` steps after the
/// start.
fn slow_orders(late: i64) -> Scene {
    let mut scene = shop()
        .service("entry", (60.0, 150.0), STEADY, 0.0)
        .service("shop", (40.0, 130.0), STEADY, 0.0)
        .service("orders", (10.0, 100.0), STEADY, 0.0)
        .service("stock", (10.0, 10.0), STEADY, 0.0);
    for series in &mut scene.0.series {
        if series.service == "orders" && series.metric == "latency_avg_ms" {
            for (at_ms, value) in &mut series.points {
                if (START_MS..START_MS + late * STEP_MS).contains(at_ms) {
                    *value /= 10.0;
                }
            }
        }
    }
    scene
}

fn changed(change: ChangeType, at_ms: i64) -> ChangeEvent {
    ChangeEvent {
        id: "change".to_owned(),
        service: "orders".to_owned(),
        at_ms,
        kind: ChangeKind::announced(change),
        reason: String::new(),
        text: format!("{change:?} of orders"),
    }
}

fn is_quoted(candidate: &Candidate) -> bool {
    candidate.evidence.iter().any(|clue| clue.id == "change")
}

#[test]
fn what_a_change_broke_is_called_by_its_sort() {
    for (change, expected) in [
        (ChangeType::Release, "DEPLOYMENT_FAILURE"),
        (ChangeType::Rollback, "DEPLOYMENT_FAILURE"),
        (ChangeType::Configuration, "CONFIG_CHANGE"),
        (ChangeType::FeatureFlag, "FEATURE_FLAG_CHANGE"),
        (ChangeType::Scale, "SCALE_CHANGE"),
    ] {
        let mut scene = slow_orders(0);
        scene.0.changes = vec![changed(change, START_MS - 60_000)];
        let answer = scene.ask("entry", "latency_avg_ms");
        assert_eq!(first(&answer), "orders");
        let top = &answer.candidates[0];
        assert_eq!(top.cause, expected, "{change:?}");
        assert!(is_quoted(top), "{change:?}");
        assert!(
            top.discriminator.contains("after the change is taken back"),
            "{}",
            top.discriminator
        );
    }
}

#[test]
fn a_rollback_when_the_trouble_had_begun_is_a_repair_and_a_release_is_none() {
    // Its callers have been slow for a minute; orders itself is a minute later.
    for (change, is_suspect) in [
        (ChangeType::Release, true),
        (ChangeType::Configuration, true),
        (ChangeType::Rollback, false),
    ] {
        let mut scene = slow_orders(12);
        scene.0.changes = vec![changed(change, START_MS + 60_000)];
        let answer = scene.ask("entry", "latency_avg_ms");
        let orders = answer.candidates.iter().find(|one| one.service == "orders");
        let orders = orders.expect("it is slow");
        assert_eq!(is_quoted(orders), is_suspect, "{change:?}");
        assert_eq!(orders.cause != "LATENCY_SPIKE", is_suspect, "{change:?}");
    }
}

#[test]
fn the_incident_says_which_sort_of_change_it_was() {
    let errors = member(
        "user-service",
        AnomalyType::ErrorRateSpike,
        "service_error_rate_percent",
        0,
        9.0,
    );
    for (change_type, cause, said) in [
        (
            "deployment",
            "DEPLOYMENT_FAILURE",
            "user-service fails since version r7 was rolled out",
        ),
        (
            "rollback",
            "DEPLOYMENT_FAILURE",
            "user-service fails since it was rolled back to r7",
        ),
        (
            "configuration",
            "CONFIG_CHANGE",
            "user-service fails since its configuration was changed (r7)",
        ),
        (
            "feature_flag",
            "FEATURE_FLAG_CHANGE",
            "user-service fails since a feature flag of it was changed (r7)",
        ),
        (
            "scale_down",
            "SCALE_CHANGE",
            "user-service fails since it was scaled (r7)",
        ),
    ] {
        let deployment = serde_json::from_value(json!({"service": "user-service",
            "version": "r7", "timestamp_ms": T0 - 30_000, "environment": "simulation",
            "change_type": change_type}))
        .expect("a deployment");
        let mut story = Story {
            facts: Facts {
                deployments: vec![DeploymentFact {
                    deployment,
                    record_id: "deployment-1".to_owned(),
                }],
                ..Facts::default()
            },
            ..Story::default()
        };
        story.open(std::slice::from_ref(&errors));
        let top = &story.rcas[0].root_cause_candidates[0];
        assert_eq!(top.cause, cause, "{change_type}");
        assert!(top.hypothesis.starts_with(said), "{}", top.hypothesis);
    }
}
