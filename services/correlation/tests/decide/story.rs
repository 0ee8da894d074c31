//! A world in which correlation decides: its timers fire, its jobs end at once.

use midwatch_correlation::config::Config;
use midwatch_correlation::decide::Core;
use midwatch_correlation::decide::state::{Phase, State, Surroundings};
use midwatch_events::anomaly::{Anomaly, AnomalyType, Direction, Severity, Transition};
use midwatch_events::incident::{IncidentOpened, IncidentResolved, IncidentUpdated};
use midwatch_events::topology::{EdgeSource, Topology};
use midwatch_events::{Envelope, Event, Meta, OperatorCommand, RawDeployment, ids};
use midwatch_runtime::{Audit, Effect, Input, Job, Moment, Projection};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// 2026-01-01, in event time.
pub const T0: i64 = 1_767_225_600_000;

pub struct Story {
    pub core: Core,
    pub state: State,
    pub around: Surroundings,
    pub opened: Vec<IncidentOpened>,
    pub updated: Vec<IncidentUpdated>,
    pub audits: Vec<Audit>,
    pub moves: Vec<Uuid>,
    /// The incidents' rows: severity, services and correlation context.
    pub rows: BTreeMap<Uuid, (Severity, Vec<String>, Value)>,
    pub wall_ms: i64,
    pub event_ms: i64,
    timers: BTreeMap<String, (i64, Value)>,
    /// What the copying of records finds, as (service, message).
    pub complaints: Vec<(&'static str, &'static str)>,
    /// Records that the copying leaves out, as it answers.
    pub left_out: Value,
    /// Whether the state goes through its stored form before each decision.
    pub stored: bool,
}

pub fn shop() -> Topology {
    let mut graph = Topology::default();
    for (caller, callee) in [
        ("api-gateway", "order-service"),
        ("api-gateway", "payment-service"),
        ("api-gateway", "user-service"),
        ("order-service", "payment-service"),
    ] {
        graph.add_call(caller, callee, EdgeSource::Catalogue);
    }
    graph
}

pub fn anomaly(service: &str, kind: AnomalyType, metric: &str, at_s: i64) -> Anomaly {
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
        anomaly_score: 0.5,
        direction: Direction::Above,
        detected_at_ms: T0 + at_s * 1_000,
        detected_wall_ms: T0 + at_s * 1_000,
        onset_ms: T0 + at_s * 1_000,
        description: format!("{metric} of {service} left its range"),
        evidence: Vec::new(),
    }
}

pub fn slow(service: &str, at_s: i64) -> Anomaly {
    let metric = "service_latency_p99_ms";
    anomaly(service, AnomalyType::LatencySpike, metric, at_s)
}

pub fn failing(service: &str, at_s: i64) -> Anomaly {
    let metric = "service_error_rate_percent";
    anomaly(service, AnomalyType::ErrorRateSpike, metric, at_s)
}

pub fn busy(service: &str, at_s: i64) -> Anomaly {
    let metric = "service_cpu_percent";
    anomaly(service, AnomalyType::CpuSaturation, metric, at_s)
}

pub fn cleared(anomaly: Anomaly, at_s: i64) -> Anomaly {
    Anomaly {
        transition: Transition::Cleared,
        detected_at_ms: T0 + at_s * 1_000,
        ..anomaly
    }
}

/// The same series, in another outbreak with an id of its own.
pub fn again(anomaly: Anomaly, at_s: i64) -> Anomaly {
    let id = anomaly.anomaly_id.to_string();
    Anomaly {
        anomaly_id: ids::derive(&[&id, &at_s.to_string()]),
        detected_at_ms: T0 + at_s * 1_000,
        onset_ms: T0 + at_s * 1_000,
        ..anomaly
    }
}

impl Story {
    pub fn new() -> Story {
        Story {
            core: Core {
                config: Config::default(),
                model: false,
            },
            state: State::default(),
            around: Surroundings {
                topology: shop(),
                ..Surroundings::default()
            },
            opened: Vec::new(),
            updated: Vec::new(),
            audits: Vec::new(),
            moves: Vec::new(),
            rows: BTreeMap::new(),
            wall_ms: T0,
            event_ms: T0,
            timers: BTreeMap::new(),
            complaints: Vec::new(),
            left_out: json!([]),
            stored: false,
        }
    }

    pub fn decide(&mut self, input: Input) -> Vec<Effect> {
        if self.stored {
            let text = serde_json::to_string(&self.state).expect("the state is JSON");
            self.state = serde_json::from_str(&text).expect("what was stored is read");
        }
        let at = Moment {
            event_ms: self.event_ms,
            wall_ms: self.wall_ms,
        };
        let effects = self.core.decide(&mut self.state, at, input);
        self.check_membership(&effects);
        let mut follow = Vec::new();
        for effect in &effects {
            match effect {
                Effect::Publish(Event::Opened(opened)) => self.opened.push((**opened).clone()),
                Effect::Publish(Event::Updated(updated)) => self.updated.push((**updated).clone()),
                Effect::Audit(line) => self.audits.push(line.clone()),
                Effect::Project(Projection::Move { incident_id, .. }) => {
                    self.moves.push(*incident_id);
                }
                Effect::Project(
                    Projection::Open {
                        header,
                        correlation_context,
                        ..
                    }
                    | Projection::Correlate {
                        header,
                        correlation_context,
                        ..
                    },
                ) => {
                    let services = header.affected_services.clone();
                    let row = (header.severity, services, correlation_context.clone());
                    self.rows.insert(header.incident_id, row);
                }
                Effect::SetTimer {
                    name,
                    due_ms,
                    payload,
                } => {
                    self.timers.insert(name.clone(), (*due_ms, payload.clone()));
                }
                Effect::CancelTimer { name } => {
                    self.timers.remove(name);
                }
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

    /// No anomaly is in two incidents that go on.
    fn check_membership(&self, effects: &[Effect]) {
        let mut seen = BTreeMap::new();
        for group in self.state.groups.values() {
            for member in group
                .anomalies
                .iter()
                .filter(|_| group.phase != Phase::Resolved)
            {
                let other = seen.insert(member.anomaly_id, group.incident_id);
                assert_eq!(
                    other, None,
                    "{} of {} is in {} as well, after {effects:?}",
                    member.trigger_metric, member.service, group.incident_id
                );
            }
        }
    }

    fn copied(&self) -> Value {
        let complaint =
            |(service, message): &(&str, &str)| json!({"service": service, "message": message});
        let complaints: Vec<Value> = self.complaints.iter().map(complaint).collect();
        json!({"records": 7, "complaints": complaints, "left_out": self.left_out})
    }

    pub fn hear(&mut self, anomaly: Anomaly) -> Vec<Effect> {
        self.event_ms = self.event_ms.max(anomaly.detected_at_ms);
        let context = serde_json::to_value(&self.around).expect("surroundings are JSON");
        self.hear_with(Event::Anomaly(anomaly), context)
    }

    pub fn hear_with(&mut self, event: Event, context: Value) -> Vec<Effect> {
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

    /// Wall clock passes; timers that come due fire in order.
    pub fn pass(&mut self, ms: i64) {
        let until_ms = self.wall_ms + ms;
        while let Some((name, due_ms)) = self
            .timers
            .iter()
            .map(|(name, (due_ms, _))| (name.clone(), *due_ms))
            .filter(|(_, due_ms)| *due_ms <= until_ms)
            .min_by_key(|(name, due_ms)| (*due_ms, name.clone()))
        {
            let (_, payload) = self.timers.remove(&name).expect("it was found there");
            self.wall_ms = self.wall_ms.max(due_ms);
            self.decide(Input::Timer { name, payload });
        }
        self.wall_ms = until_ms;
    }

    /// Lets what waits for company or growth be announced.
    pub fn settle(&mut self) {
        self.pass(5_000);
    }

    /// The investigation ends an incident at this event time, and its last
    /// words are in.
    pub fn end(&mut self, incident: Uuid, method: &str, at_s: i64) {
        self.resolve(incident, method, at_s);
        self.pass(11_000);
    }

    pub fn resolve(&mut self, incident: Uuid, method: &str, at_s: i64) {
        let opened = self
            .opened
            .iter()
            .find(|opened| opened.header.incident_id == incident);
        let resolved = IncidentResolved {
            rca_revision: None,
            mttd_ms: None,
            mtta_ms: None,
            header: opened.expect("it was opened").header.clone(),
            resolved_at_ms: T0 + at_s * 1_000,
            resolved_wall_ms: T0,
            mttr_ms: 1,
            mttr_minutes: 0.1,
            resolution_method: method.to_owned(),
            top_root_cause: String::new(),
            trigger_metric: String::new(),
            settling_readings: Vec::new(),
            baseline_value: 0.0,
            stated: None,
        };
        self.hear_with(Event::Resolved(Box::new(resolved)), Value::Null);
    }

    /// One fault from its first anomaly to its end.
    pub fn live_through(&mut self, anomaly: Anomaly, from_s: i64, until_s: i64) -> Uuid {
        let outbreak = again(anomaly, from_s);
        self.hear(outbreak.clone());
        self.settle();
        let updated = self
            .updated
            .last()
            .map(|updated| updated.header.incident_id);
        let opened = self.opened.last().map(|opened| opened.header.incident_id);
        let goes_on = updated.filter(|id| self.state.groups.contains_key(id));
        let incident = goes_on.or(opened).expect("somebody was told of it");
        self.hear(cleared(outbreak, until_s));
        self.settle();
        self.end(incident, "RECOVERED", until_s);
        incident
    }

    pub fn ask(&mut self, command: OperatorCommand) -> Vec<Effect> {
        self.hear_with(Event::Command(command), Value::Null)
    }

    pub fn command(&self, name: &str, incident: Uuid, target: &str) -> OperatorCommand {
        OperatorCommand {
            incident_id: incident,
            command: name.to_owned(),
            target: target.to_owned(),
            by: "dana".to_owned(),
            credential_id: "c1".to_owned(),
            reason: String::new(),
            issued_at_ms: self.wall_ms,
            expires_at_ms: self.wall_ms + 60_000,
            environment: Some("simulation".to_owned()),
            until_ms: None,
            details: midwatch_events::response::CommandDetails::default(),
        }
    }

    pub fn incident(&self, index: usize) -> Uuid {
        self.opened[index].header.incident_id
    }

    pub fn refusals(&self) -> Vec<&str> {
        let lines = self.audits.iter();
        lines
            .filter(|line| line.event_type == "COMMAND_REFUSED")
            .map(|line| line.summary.as_str())
            .collect()
    }

    pub fn deployment(&mut self, service: &str, at_s: i64) {
        let deployment: RawDeployment = serde_json::from_value(json!({
            "timestamp_ms": T0 + at_s * 1_000, "service": service, "environment": "simulation",
            "version": "v2.14.1", "deployed_by": "dana", "description": "session cache"
        }))
        .expect("a deployment");
        self.around.deployments.push(deployment);
    }
}
