//! What the investigation decides, told as stories.

use midwatch_events::anomaly::{
    Anomaly, AnomalyEvidence, AnomalyType, Direction, Severity, Transition,
};
use midwatch_events::incident::{
    BlastRadius, GroupedAnomaly, IncidentHeader, IncidentOpened, IncidentResolved, RcaCompleted,
    Verdict,
};
use midwatch_events::topology::EdgeSource;
use midwatch_events::{Envelope, Event, Meta, ids};
use midwatch_investigation::config::Config;
use midwatch_investigation::decide::Core;
use midwatch_investigation::decide::facts::{DeploymentFact, Facts, LogFact};
use midwatch_investigation::decide::state::State;
use midwatch_runtime::{Effect, Input, Job, Moment};
use serde_json::{Value, json};
use uuid::Uuid;

const T0: i64 = 1_767_225_600_000;

fn member(service: &str, kind: AnomalyType, metric: &str, at_s: i64, sigma: f64) -> GroupedAnomaly {
    GroupedAnomaly {
        anomaly_id: ids::derive(&[service, metric]),
        service: service.to_owned(),
        trigger_metric: metric.to_owned(),
        anomaly_type: kind,
        severity: Severity::Critical,
        direction: Direction::Above,
        observed_value: 900.0,
        baseline_value: 380.0,
        deviation_sigma: sigma,
        onset_ms: T0 + at_s * 1_000,
        detected_at_ms: T0 + at_s * 1_000,
        description: format!("{metric} of {service} left its range"),
        reason: "test".to_owned(),
        cleared_at_ms: None,
    }
}

fn opened(members: &[GroupedAnomaly]) -> IncidentOpened {
    let incident_id = ids::incident(members[0].anomaly_id);
    IncidentOpened {
        left_out: Vec::new(),
        header: IncidentHeader {
            incident_id,
            short_id: ids::short_incident(incident_id),
            environment: "simulation".to_owned(),
            severity: Severity::Critical,
            anomaly_type: members[0].anomaly_type,
            affected_services: vec![members[0].service.clone()],
            detected_at_ms: T0,
            detected_wall_ms: T0,
        },
        opened_at_ms: T0,
        trigger_metric: members[0].trigger_metric.clone(),
        observed_value: 900.0,
        baseline_value: 380.0,
        deviation_sigma: 4.0,
        anomaly_score: 0.6,
        blast_radius: BlastRadius::default(),
        correlation_signals: Vec::new(),
        deployment_context: None,
        recent_metrics: Vec::new(),
        recent_errors: Vec::new(),
        grouped_anomalies: members.to_vec(),
        description: String::new(),
    }
}

fn edges(pairs: &[(&str, &str)]) -> Vec<(String, String, Vec<EdgeSource>)> {
    pairs
        .iter()
        .map(|(caller, callee)| {
            (
                (*caller).to_owned(),
                (*callee).to_owned(),
                vec![EdgeSource::Catalogue],
            )
        })
        .collect()
}

#[derive(Default)]
struct Story {
    core: Core,
    state: State,
    facts: Facts,
    rcas: Vec<RcaCompleted>,
    resolved: Vec<IncidentResolved>,
    audits: Vec<String>,
    /// Jobs that were asked for and wait for [`Story::work`].
    jobs: Vec<Job>,
}

impl Story {
    fn decide(&mut self, input: Input) -> Vec<Effect> {
        let at = Moment {
            event_ms: T0,
            wall_ms: T0,
        };
        let effects = self.core.decide(&mut self.state, at, input);
        for effect in &effects {
            match effect {
                Effect::Publish(Event::Rca(rca)) => self.rcas.push((**rca).clone()),
                Effect::Publish(Event::Resolved(end)) => self.resolved.push((**end).clone()),
                Effect::Audit(line) => self.audits.push(line.event_type.clone()),
                Effect::StartJob(job) => self.jobs.push(Job {
                    id: ids::derive(&[&job.name]),
                    scope: "s".to_owned(),
                    kind: job.kind.clone(),
                    payload: job.payload.clone(),
                    attempt: 1,
                    max_attempts: 3,
                }),
                _ => {}
            }
        }
        effects
    }

    fn hear(&mut self, event: Event) -> Vec<Effect> {
        let meta = Meta {
            event_id: Uuid::nil(),
            cause_id: None,
            schema_version: 1,
            event_time_ms: event.time_ms(),
            producer: "test".to_owned(),
        };
        self.decide(Input::Event {
            envelope: Box::new(Envelope { meta, event }),
            context: Value::Null,
        })
    }

    fn work(&mut self) {
        for job in std::mem::take(&mut self.jobs) {
            let result = Ok(serde_json::to_value(&self.facts).expect("facts are JSON"));
            self.decide(Input::JobDone { job, result });
        }
    }

    fn open(&mut self, members: &[GroupedAnomaly]) {
        self.hear(Event::Opened(Box::new(opened(members))));
        self.work();
    }

    fn transition(&mut self, of: &GroupedAnomaly, transition: Transition, at_s: i64) {
        let readings = [1, 2, 3].map(|index| AnomalyEvidence {
            kind: "metric".to_owned(),
            at_ms: T0 + (at_s - 30 + index * 10) * 1_000,
            value: Some(380.0),
            text: String::new(),
            source_event_id: Uuid::nil(),
        });
        self.hear(Event::Anomaly(Anomaly {
            anomaly_id: of.anomaly_id,
            environment: "simulation".to_owned(),
            transition,
            anomaly_type: of.anomaly_type,
            severity: of.severity,
            service: of.service.clone(),
            trigger_metric: of.trigger_metric.clone(),
            observed_value: 380.0,
            baseline_value: 380.0,
            deviation_sigma: 0.0,
            anomaly_score: 0.0,
            direction: Direction::None,
            detected_at_ms: T0 + at_s * 1_000,
            detected_wall_ms: T0 + at_s * 100,
            onset_ms: of.onset_ms,
            description: String::new(),
            evidence: readings.to_vec(),
        }));
    }
}

fn pool_fault() -> (Vec<GroupedAnomaly>, Facts) {
    let members = vec![
        member(
            "payment-service",
            AnomalyType::DbConnectionExhaustion,
            "service_db_connections",
            0,
            8.0,
        ),
        member(
            "payment-service",
            AnomalyType::LatencySpike,
            "service_latency_p99_ms",
            10,
            6.0,
        ),
        member(
            "api-gateway",
            AnomalyType::LatencySpike,
            "service_latency_p99_ms",
            20,
            12.0,
        ),
        member(
            "order-service",
            AnomalyType::LatencySpike,
            "service_latency_p99_ms",
            20,
            9.0,
        ),
    ];
    let facts = Facts {
        edges: edges(&[
            ("api-gateway", "payment-service"),
            ("api-gateway", "order-service"),
            ("order-service", "payment-service"),
        ]),
        logs: vec![LogFact {
            service: "order-service".to_owned(),
            level: "ERROR".to_owned(),
            message: "timeout calling payment-service after 5000 ms".to_owned(),
            count: 9,
            record_id: "log-1".to_owned(),
            at_ms: T0 + 20_000,
            names: vec!["payment-service".to_owned()],
        }],
        ..Facts::default()
    };
    (members, facts)
}

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
    assert!(story.audits.contains(&"EVIDENCE_GAP".to_owned()));
}

#[test]
fn config_defaults_are_those_of_the_reference() {
    let config = Config::default();
    assert_eq!(config.deployment_window_ms, 60 * 60_000);
    assert_eq!(config.max_rounds, 8);
}
