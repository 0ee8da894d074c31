//! What an incident is named after, deployments, and the copying of records.

use crate::story::{Story, T0, anomaly, busy, failing, slow};
use midwatch_correlation::decide::state::{Began, Phase};
use midwatch_events::anomaly::AnomalyType;
use midwatch_runtime::{Effect, Input, Job, Moment, Projection};
use serde_json::json;

#[test]
fn the_incident_is_named_after_the_resource_behind_the_symptoms() {
    let mut story = Story::new();
    story.hear(slow("api-gateway", 0));
    story.hear(slow("payment-service", 0));
    story.hear(anomaly(
        "payment-service",
        AnomalyType::DbConnectionExhaustion,
        "service_db_connections",
        10,
    ));
    story.settle();
    assert_eq!(
        story.opened[0].header.title(),
        "DB connection exhaustion on payment-service"
    );
    assert_eq!(story.opened[0].trigger_metric, "service_db_connections");
}

#[test]
fn a_fresh_deployment_makes_errors_a_failed_deployment() {
    let mut story = Story::new();
    story.deployment("user-service", -360);
    story.hear(failing("user-service", 0));
    story.settle();
    let opened = &story.opened[0];
    assert_eq!(opened.header.anomaly_type, AnomalyType::DeploymentFailure);
    // REFERENCE: 1 − Δt/60 with Δt = 6 min is 0.9.
    let signal = &opened.correlation_signals[0];
    assert_eq!(signal.signal_type, "DEPLOYMENT_CORRELATED");
    assert!((signal.strength - 0.9).abs() < 1e-9, "{}", signal.strength);
}

/// The threshold was crossed at 0 s, 40 s after a deployment; the readings say
/// when the change really began.
#[test]
fn a_deployment_is_judged_by_the_onset_and_not_by_the_crossing() {
    let began = |at_s: i64, earliest_s: i64, latest_s: i64| Began {
        at_ms: T0 + at_s * 1_000,
        earliest_ms: T0 + earliest_s * 1_000,
        latest_ms: T0 + latest_s * 1_000,
        crossed_ms: T0,
    };
    for (onset, is_suspect, kind) in [
        (None, true, AnomalyType::DeploymentFailure),
        (
            Some(began(-20, -30, -10)),
            true,
            AnomalyType::DeploymentFailure,
        ),
        (
            Some(began(-300, -320, -280)),
            false,
            AnomalyType::ErrorRateSpike,
        ),
        // It may have been either: suspected, and not strongly.
        (
            Some(began(-50, -60, -30)),
            true,
            AnomalyType::ErrorRateSpike,
        ),
    ] {
        let mut story = Story::new();
        story.deployment("user-service", -40);
        story.around.onset = onset;
        story.hear(failing("user-service", 0));
        story.settle();
        let opened = &story.opened[0];
        assert_eq!(opened.deployment_context.is_some(), is_suspect, "{onset:?}");
        assert_eq!(opened.left_out.is_empty(), is_suspect, "{onset:?}");
        assert_eq!(opened.header.anomaly_type, kind, "{onset:?}");
        let expected = onset.map_or(T0, |onset| onset.at_ms);
        assert_eq!(opened.grouped_anomalies[0].onset_ms, expected);
    }
}

#[test]
fn a_deployment_after_the_onset_is_no_suspect() {
    let mut story = Story::new();
    story.deployment("user-service", 60);
    story.hear(slow("user-service", 0));
    story.settle();
    assert!(story.opened[0].deployment_context.is_none());
}

/// A rollback within the trouble is a repair, before it a suspect; each sort is
/// told as what it is. Strengths: 1 − Δt/60 min, by half for a rollback and a
/// scale (`ChangeType::trust`), which is too little for a name.
#[test]
#[expect(clippy::too_many_lines, reason = "one table of sorts of change")]
fn each_sort_of_change_is_suspected_and_told_as_what_it_is() {
    let deployed = AnomalyType::DeploymentFailure;
    let failing_only = AnomalyType::ErrorRateSpike;
    for (sort, at_s, strength, kind, told) in [
        (
            "configuration",
            -360,
            Some(0.9),
            deployed,
            "the configuration of user-service was changed (v2.14.1) 6.0 min before",
        ),
        (
            "feature_flag",
            -360,
            Some(0.9),
            deployed,
            "a feature flag of user-service was changed (v2.14.1) 6.0 min before",
        ),
        (
            "scale",
            -360,
            Some(0.45),
            failing_only,
            "user-service was scaled (v2.14.1) 6.0 min before",
        ),
        (
            "rollback",
            -360,
            Some(0.45),
            failing_only,
            "user-service was rolled back to v2.14.1 6.0 min before",
        ),
        // Its callers had been slow for half a minute, the service itself was
        // fine yet.
        ("deployment", -20, Some(0.994), deployed, "was rolled out"),
        ("rollback", -20, None, failing_only, ""),
    ] {
        let mut story = Story::new();
        story.deployment("user-service", at_s);
        let last = story.around.deployments.last_mut().expect("it was added");
        sort.clone_into(&mut last.change_type);
        let mut members = vec![failing("user-service", 0)];
        if at_s == -20 {
            members.insert(0, slow("api-gateway", -50));
        }
        for member in members {
            story.hear(member);
        }
        story.settle();
        let opened = &story.opened[0];
        let signals = opened.correlation_signals.iter();
        let signal = signals
            .clone()
            .find(|one| one.signal_type == "DEPLOYMENT_CORRELATED");
        match (strength, signal) {
            (Some(strength), Some(signal)) => {
                assert!(
                    (signal.strength - strength).abs() < 0.001,
                    "{sort}: {signal:?}"
                );
                assert!(signal.description.contains(told), "{}", signal.description);
                assert_eq!(opened.header.anomaly_type, kind, "{sort}");
            }
            (None, None) => {
                let reasons: Vec<&str> = opened
                    .left_out
                    .iter()
                    .map(|one| one.reason.as_str())
                    .collect();
                assert_eq!(
                    reasons,
                    ["it is a rollback that was made when the trouble had begun"]
                );
                assert!(opened.deployment_context.is_none());
            }
            other => panic!("{sort} {at_s}: {other:?}"),
        }
    }
}

#[test]
fn records_are_copied_before_the_incident_is_announced() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    let id = *story.state.groups.keys().next().expect("one group");
    let at = Moment {
        event_ms: T0,
        wall_ms: T0,
    };
    let timer = Input::Timer {
        name: format!("open:{id}"),
        payload: json!({"incident_id": id}),
    };
    let effects = story.core.decide(&mut story.state, at, timer);
    assert!(matches!(effects.as_slice(), [Effect::StartJob(job)] if job.kind == "copy_records"));
}

#[test]
fn an_incident_whose_records_cannot_be_copied_is_announced_all_the_same() {
    let mut story = Story::new();
    story.hear(busy("payment-service", 0));
    let id = *story.state.groups.keys().next().expect("one group");
    story.state.groups.get_mut(&id).expect("the group").phase = Phase::Copying;
    let job = Job {
        id,
        scope: "simulation".to_owned(),
        kind: "copy_records".to_owned(),
        payload: json!({"incident_id": id}),
        attempt: 3,
        max_attempts: 3,
    };
    let result = Err("redis is away".to_owned());
    let effects = story.decide(Input::JobDone { job, result });
    let opens = effects
        .iter()
        .any(|effect| matches!(effect, Effect::Project(Projection::Open { .. })));
    let says = effects.iter().any(
        |effect| matches!(effect, Effect::Audit(line) if line.summary.contains("redis is away")),
    );
    assert!(opens && says);
}

#[test]
fn the_row_keeps_the_graph_as_readers_know_it_with_ages_beside() {
    use midwatch_events::topology::EdgeSource;
    let mut story = Story::new();
    let graph = &mut story.around.topology;
    graph.add_seen(
        "order-service",
        "payment-service",
        EdgeSource::Spans,
        T0 - 5_000,
    );
    story.hear(slow("payment-service", 0));
    let id = *story.state.groups.keys().next().expect("one group");
    story.state.groups.get_mut(&id).expect("the group").phase = Phase::Copying;
    let job = Job {
        id,
        scope: "simulation".to_owned(),
        kind: "copy_records".to_owned(),
        payload: json!({"incident_id": id}),
        attempt: 1,
        max_attempts: 3,
    };
    let effects = story.decide(Input::JobDone {
        job,
        result: Ok(json!({})),
    });
    let context = effects.iter().find_map(|effect| match effect {
        Effect::Project(Projection::Open {
            correlation_context,
            ..
        }) => Some(correlation_context.clone()),
        _ => None,
    });
    let graph = &context.expect("the row is opened")["topology"];
    let edges = graph["edges"].as_array().expect("a list");
    assert!(edges.contains(&json!([
        "order-service",
        "payment-service",
        ["catalogue", "spans"]
    ])));
    let ages = graph["ages"].as_array().expect("a list");
    let dated = json!(["order-service", "payment-service", {"catalogue": 0, "spans": T0 - 5_000}]);
    assert!(ages.contains(&dated), "{ages:?}");
}
