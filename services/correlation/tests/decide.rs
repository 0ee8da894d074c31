//! What correlation decides, told as stories: anomalies in, effects out.

use midwatch_correlation::config::Config;
use midwatch_correlation::decide::Core;
use midwatch_correlation::decide::state::{State, Surroundings};
use midwatch_events::anomaly::{Anomaly, AnomalyType, Direction, Severity, Transition};
use midwatch_events::incident::{
    IncidentChange, IncidentOpened, IncidentResolved, IncidentUpdated,
};
use midwatch_events::topology::{EdgeSource, Topology};
use midwatch_events::{Envelope, Event, Meta, RawDeployment, ids};
use midwatch_runtime::{Effect, Input, Job, Moment, Projection};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// 2026-01-01, in event time.
const T0: i64 = 1_767_225_600_000;

struct Story {
    core: Core,
    state: State,
    surroundings: Surroundings,
    opened: Vec<IncidentOpened>,
    updated: Vec<IncidentUpdated>,
    wall_ms: i64,
    /// What the copying of records finds, as (service, message).
    complaints: Vec<(&'static str, &'static str)>,
}

fn shop() -> Topology {
    let mut graph = Topology::default();
    for (caller, callee) in [
        ("api-gateway", "order-service"),
        ("api-gateway", "payment-service"),
        ("order-service", "payment-service"),
    ] {
        graph.add_call(caller, callee, EdgeSource::Catalogue);
    }
    graph
}

fn anomaly(service: &str, kind: AnomalyType, metric: &str, at_s: i64) -> Anomaly {
    Anomaly {
        anomaly_id: ids::derive(&[service, metric]),
        environment: "simulation".to_owned(),
        transition: Transition::Started,
        anomaly_type: kind,
        severity: Severity::High,
        service: service.to_owned(),
        trigger_metric: metric.to_owned(),
        observed_value: 900.0,
        baseline_value: 380.0,
        deviation_sigma: 4.0,
        anomaly_score: 0.63,
        direction: Direction::Above,
        detected_at_ms: T0 + at_s * 1_000,
        detected_wall_ms: T0 + at_s * 1_000,
        onset_ms: T0 + at_s * 1_000,
        description: format!("{metric} of {service} left its range"),
        evidence: Vec::new(),
    }
}

fn slow(service: &str, at_s: i64) -> Anomaly {
    anomaly(
        service,
        AnomalyType::LatencySpike,
        "service_latency_p99_ms",
        at_s,
    )
}

impl Story {
    fn new() -> Story {
        Story {
            core: Core {
                config: Config::default(),
                model: false,
            },
            state: State::default(),
            surroundings: Surroundings {
                topology: shop(),
                ..Surroundings::default()
            },
            opened: Vec::new(),
            updated: Vec::new(),
            wall_ms: T0,
            complaints: Vec::new(),
        }
    }

    fn decide(&mut self, input: Input) -> Vec<Effect> {
        let at = Moment {
            event_ms: self.wall_ms,
            wall_ms: self.wall_ms,
        };
        let effects = self.core.decide(&mut self.state, at, input);
        let mut follow = Vec::new();
        for effect in &effects {
            match effect {
                Effect::Publish(Event::Opened(opened)) => self.opened.push((**opened).clone()),
                Effect::Publish(Event::Updated(updated)) => self.updated.push((**updated).clone()),
                // Jobs end at once here, as if the copying took no time.
                Effect::StartJob(job) => follow.push(Input::JobDone {
                    job: Job {
                        id: ids::derive(&[&job.name]),
                        scope: "simulation".to_owned(),
                        kind: job.kind.clone(),
                        payload: job.payload.clone(),
                        attempt: 1,
                        max_attempts: 3,
                    },
                    result: Ok(self.copied()),
                }),
                _ => {}
            }
        }
        for input in follow {
            self.decide(input);
        }
        effects
    }

    fn copied(&self) -> Value {
        let complaint =
            |(service, message): &(&str, &str)| json!({"service": service, "message": message});
        let complaints: Vec<Value> = self.complaints.iter().map(complaint).collect();
        json!({"records": 7, "complaints": complaints})
    }

    fn hear(&mut self, anomaly: Anomaly) -> Vec<Effect> {
        let context = serde_json::to_value(&self.surroundings).expect("surroundings are JSON");
        self.hear_with(Event::Anomaly(anomaly), context)
    }

    fn hear_with(&mut self, event: Event, context: Value) -> Vec<Effect> {
        let meta = Meta {
            event_id: ids::derive(&["event"]),
            cause_id: None,
            schema_version: 1,
            event_time_ms: event.time_ms(),
            producer: "test".to_owned(),
        };
        let envelope = Box::new(Envelope { meta, event });
        self.decide(Input::Event { envelope, context })
    }

    /// Lets every timer fire that the state may be waiting for.
    fn settle(&mut self) {
        let groups: Vec<Uuid> = self.state.groups.keys().copied().collect();
        for id in groups {
            let open =
                self.state.groups[&id].phase == midwatch_correlation::decide::state::Phase::Open;
            let kind = if open { "grow" } else { "open" };
            if open && self.state.groups[&id].pending.is_empty() {
                continue;
            }
            self.decide(Input::Timer {
                name: format!("{kind}:{id}"),
                payload: json!({"incident_id": id}),
            });
        }
    }

    fn resolve(&mut self, incident: Uuid) {
        let opened = self
            .opened
            .iter()
            .find(|opened| opened.header.incident_id == incident);
        let resolved = IncidentResolved {
            mttd_ms: None,
            mtta_ms: None,
            header: opened.expect("it was opened").header.clone(),
            resolved_at_ms: T0,
            resolved_wall_ms: T0,
            mttr_ms: 1,
            mttr_minutes: 0.1,
            resolution_method: "RECOVERED".to_owned(),
            top_root_cause: String::new(),
            trigger_metric: String::new(),
            settling_readings: Vec::new(),
            baseline_value: 0.0,
        };
        self.hear_with(Event::Resolved(Box::new(resolved)), Value::Null);
    }

    /// Some seconds later.
    fn leave(&mut self, incident: Uuid) {
        self.decide(Input::Timer {
            name: format!("after:{incident}"),
            payload: json!({"incident_id": incident}),
        });
    }
}

#[test]
fn a_storm_along_the_graph_is_one_incident_with_a_reason_for_each_member() {
    let mut story = Story::new();
    for at in 0..5 {
        for service in ["payment-service", "order-service", "api-gateway"] {
            story.hear(anomaly(
                service,
                AnomalyType::LatencySpike,
                &format!("metric_{at}"),
                at * 10,
            ));
        }
    }
    story.settle();
    assert_eq!(story.opened.len(), 1);
    let opened = &story.opened[0];
    assert_eq!(opened.grouped_anomalies.len(), 15);
    assert!(
        opened
            .grouped_anomalies
            .iter()
            .all(|member| !member.reason.is_empty())
    );
    assert!(
        opened.grouped_anomalies.iter().any(|member| member
            .reason
            .contains("order-service calls payment-service (as the catalogue says)")),
        "{:?}",
        opened.grouped_anomalies
    );
}

#[test]
fn a_call_that_only_spans_know_joins_two_services() {
    let mut story = Story::new();
    story
        .surroundings
        .topology
        .add_call("user-service", "notification-service", EdgeSource::Spans);
    story.hear(slow("notification-service", 0));
    story.hear(slow("user-service", 10));
    story.settle();
    assert_eq!(story.opened.len(), 1);
    assert!(
        story.opened[0].grouped_anomalies[1]
            .reason
            .contains("as spans show")
    );
}

/// Neither catalogue nor spans know that user-service calls the third one.
fn after_complaints(complaints: Vec<(&'static str, &'static str)>) -> Story {
    let mut story = Story::new();
    story.hear(slow("notification-service", 0));
    story.settle();
    story.complaints = complaints;
    story.hear(slow("user-service", 20));
    story.settle();
    story
}

#[test]
fn a_complaint_about_the_broken_service_joins_its_caller_before_anybody_is_told() {
    let line = "timeout calling notification-service: no answer within 2000 ms";
    let mut story = after_complaints(vec![("user-service", line)]);
    assert_eq!(story.opened.len(), 1);
    story.settle();
    let update = story.updated.last().expect("the incident has grown");
    let services = &update.header.affected_services;
    assert_eq!(services, &["notification-service", "user-service"]);
    let group = story.state.groups.values().next().expect("one group");
    assert_eq!(story.state.groups.len(), 1);
    assert!(group.anomalies[1].reason.contains("as its log lines say"));
}

#[test]
fn complaints_about_anything_else_join_nothing() {
    for line in [
        "bad request from notification-service",
        "timeout calling notification-service-v2",
        "timeout calling billing",
    ] {
        let story = after_complaints(vec![("user-service", line)]);
        assert_eq!(story.opened.len(), 2, "{line}");
    }
}

#[test]
fn two_services_that_have_nothing_to_do_with_each_other_are_two_incidents() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.hear(slow("batch-reports", 5));
    story.settle();
    assert_eq!(story.opened.len(), 2);
}

#[test]
fn an_open_incident_grows_by_updates_and_opens_no_second_one() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    story.hear(slow("order-service", 20));
    story.hear(slow("api-gateway", 20));
    story.settle();
    assert_eq!((story.opened.len(), story.updated.len()), (1, 1));
    let updated = &story.updated[0];
    assert_eq!(
        updated.header.incident_id,
        story.opened[0].header.incident_id
    );
    assert_eq!(updated.change, IncidentChange::Grown);
    assert_eq!(
        updated.header.affected_services,
        ["payment-service", "api-gateway", "order-service"]
    );
}

#[test]
fn a_worse_anomaly_raises_the_severity_and_says_so() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    let worse = Anomaly {
        transition: Transition::Worsened,
        severity: Severity::Critical,
        ..slow("payment-service", 0)
    };
    story.hear(worse);
    story.settle();
    assert_eq!(story.updated[0].change, IncidentChange::Severity);
    assert_eq!(story.updated[0].header.severity, Severity::Critical);
}

#[test]
fn a_resolved_incident_takes_no_new_fault_and_a_late_word_opens_nothing() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    let cleared = Anomaly {
        transition: Transition::Cleared,
        ..slow("payment-service", 4)
    };
    story.hear(cleared);
    story.resolve(story.opened[0].header.incident_id);
    story.leave(story.opened[0].header.incident_id);
    let late = Anomaly {
        transition: Transition::Worsened,
        ..slow("payment-service", 5)
    };
    assert!(story.hear(late).is_empty());
    let fresh = anomaly(
        "payment-service",
        AnomalyType::CpuSaturation,
        "service_cpu_percent",
        60,
    );
    story.hear(fresh);
    story.settle();
    assert_eq!(story.opened.len(), 2);
}

#[test]
fn a_series_that_breaks_out_again_after_the_end_is_a_new_incident() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    let cleared = Anomaly {
        transition: Transition::Cleared,
        ..slow("payment-service", 100)
    };
    story.hear(cleared);
    story.resolve(story.opened[0].header.incident_id);
    // Detection keeps the anomaly's id for a while.
    let again = Anomaly {
        detected_at_ms: T0 + 290_000,
        onset_ms: T0,
        ..slow("payment-service", 0)
    };
    story.hear(again);
    story.settle();
    assert_eq!(story.opened.len(), 2);
    let ids: Vec<Uuid> = story
        .opened
        .iter()
        .map(|opened| opened.header.incident_id)
        .collect();
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn what_joined_too_late_to_be_watched_becomes_an_incident_of_its_own() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    let first = story.opened[0].header.incident_id;
    story.hear(Anomaly {
        transition: Transition::Cleared,
        ..slow("payment-service", 30)
    });
    // It joins, but the end is already on its way.
    story.hear(slow("order-service", 31));
    story.resolve(first);
    story.leave(first);
    story.settle();
    assert_eq!(story.opened.len(), 2);
    assert_eq!(story.opened[1].header.affected_services, ["order-service"]);
    assert_ne!(story.opened[1].header.incident_id, first);
}

#[test]
fn a_change_of_the_same_moment_is_announced_too() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 10));
    story.settle();
    story.hear(slow("order-service", 10));
    story.settle();
    assert_eq!(story.updated.len(), 1);
    let names: Vec<u32> = story
        .state
        .groups
        .values()
        .map(|group| group.copies)
        .collect();
    assert_eq!(
        names,
        [2],
        "each announcement copies under a name of its own"
    );
}

#[test]
fn a_cleared_anomaly_keeps_the_reading_that_it_was_opened_on() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    story.settle();
    story.hear(Anomaly {
        transition: Transition::Cleared,
        observed_value: 381.0,
        deviation_sigma: 0.0,
        ..slow("payment-service", 30)
    });
    story.settle();
    let member = &story.updated[0].grouped_anomalies[0];
    assert!((member.observed_value - 900.0).abs() < f64::EPSILON);
    assert_eq!(member.cleared_at_ms, Some(T0 + 30_000));
}

#[test]
fn an_anomaly_that_cleared_before_anybody_heard_of_it_opens_nothing() {
    let mut story = Story::new();
    let cleared = Anomaly {
        transition: Transition::Cleared,
        ..slow("payment-service", 0)
    };
    story.hear(cleared);
    story.settle();
    assert!(story.opened.is_empty());
}

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
    let deployment: RawDeployment = serde_json::from_value(json!({
        "timestamp_ms": T0 - 360_000, "service": "user-service", "environment": "simulation",
        "version": "v2.14.1", "deployed_by": "dana", "description": "session cache"
    }))
    .expect("a deployment");
    story.surroundings.deployments.push(deployment);
    story.hear(anomaly(
        "user-service",
        AnomalyType::ErrorRateSpike,
        "service_error_rate_percent",
        0,
    ));
    story.settle();
    let opened = &story.opened[0];
    assert_eq!(opened.header.anomaly_type, AnomalyType::DeploymentFailure);
    // REFERENCE: 1 − Δt/60 with Δt = 6 min is 0.9.
    let signal = &opened.correlation_signals[0];
    assert_eq!(signal.signal_type, "DEPLOYMENT_CORRELATED");
    assert!((signal.strength - 0.9).abs() < 1e-9, "{}", signal.strength);
}

#[test]
fn a_deployment_after_the_onset_is_no_suspect() {
    let mut story = Story::new();
    let deployment: RawDeployment = serde_json::from_value(json!({
        "timestamp_ms": T0 + 60_000, "service": "user-service", "environment": "simulation",
        "version": "v2.14.1"
    }))
    .expect("a deployment");
    story.surroundings.deployments.push(deployment);
    story.hear(slow("user-service", 0));
    story.settle();
    assert!(story.opened[0].deployment_context.is_none());
}

#[test]
fn records_are_copied_before_the_incident_is_announced() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    let id = *story.state.groups.keys().next().expect("one group");
    let effects = story.core.clone().decide(
        &mut story.state,
        Moment {
            event_ms: T0,
            wall_ms: T0,
        },
        Input::Timer {
            name: format!("open:{id}"),
            payload: json!({"incident_id": id}),
        },
    );
    assert!(matches!(effects.as_slice(), [Effect::StartJob(job)] if job.kind == "copy_records"));
}

#[test]
fn an_incident_whose_records_cannot_be_copied_is_announced_all_the_same() {
    let mut story = Story::new();
    story.hear(slow("payment-service", 0));
    let id = *story.state.groups.keys().next().expect("one group");
    story.state.groups.get_mut(&id).expect("the group").phase =
        midwatch_correlation::decide::state::Phase::Copying;
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

proptest! {
    /// However the anomalies of a connected fleet are ordered and repeated,
    /// each belongs to exactly one incident, and there is one.
    #[test]
    fn order_and_duplicates_change_nothing(order in proptest::collection::vec(0usize..6, 6..60)) {
        let services = ["payment-service", "order-service", "api-gateway"];
        let mut story = Story::new();
        for index in &order {
            let metric = ["service_latency_p99_ms", "service_error_rate_percent"][index / 3];
            story.hear(anomaly(services[index % 3], AnomalyType::LatencySpike, metric, *index as i64));
        }
        story.settle();
        prop_assert_eq!(story.opened.len(), 1);
        let mut members: Vec<Uuid> =
            story.opened[0].grouped_anomalies.iter().map(|member| member.anomaly_id).collect();
        let all = members.len();
        members.sort();
        members.dedup();
        prop_assert_eq!(members.len(), all);
        let mut distinct = order.clone();
        distinct.sort_unstable();
        distinct.dedup();
        prop_assert_eq!(all, distinct.len());
    }
}
