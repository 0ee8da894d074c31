//! An investigation whose surroundings a test plays.

use midwatch_events::anomaly::{
    Anomaly, AnomalyEvidence, AnomalyType, Direction, Severity, Transition,
};
use midwatch_events::artifact::{Artifact, ArtifactStatus};
use midwatch_events::incident::{
    BlastRadius, GroupedAnomaly, IncidentChange, IncidentHeader, IncidentOpened, IncidentResolved,
    IncidentUpdated, RcaCompleted,
};
use midwatch_events::topology::{Call, EdgeSource};
use midwatch_events::{
    Envelope, Event, IncidentState, Meta, OperatorCommand, RemediationAction, ids,
};
use midwatch_investigation::decide::Core;
use midwatch_investigation::decide::facts::{Facts, LogFact};
use midwatch_investigation::decide::state::State;
use midwatch_runtime::effect::Audit;
use midwatch_runtime::{Effect, Input, Job, Moment, Projection};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// When every story begins, event and wall time.
pub const T0: i64 = 1_767_225_600_000;

pub fn member(
    service: &str,
    kind: AnomalyType,
    metric: &str,
    at_s: i64,
    sigma: f64,
) -> GroupedAnomaly {
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
        observed_at_ms: None,
        cleared_at_ms: None,
    }
}

pub fn opened(members: &[GroupedAnomaly]) -> IncidentOpened {
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
        more_anomalies: None,
        description: String::new(),
        declared: None,
    }
}

pub fn edges(pairs: &[(&str, &str)]) -> Vec<Call> {
    pairs
        .iter()
        .map(|(caller, callee)| {
            let sources = [(EdgeSource::Catalogue, 0)].into();
            Call((*caller).to_owned(), (*callee).to_owned(), sources)
        })
        .collect()
}

#[derive(Default)]
pub struct Story {
    pub core: Core,
    pub state: State,
    pub facts: Facts,
    pub rcas: Vec<RcaCompleted>,
    pub resolved: Vec<IncidentResolved>,
    pub audits: Vec<Audit>,
    /// Jobs that were asked for and wait for [`Story::work`].
    pub jobs: Vec<Job>,
    /// Due time and payload by name.
    pub timers: BTreeMap<String, (i64, Value)>,
    pub moves: Vec<IncidentState>,
    pub channels: BTreeSet<String>,
    /// The table of artifacts, in the order of writing.
    pub artifacts: Vec<Artifact>,
    /// The incident's row: the resolution, where there is one.
    pub resolution: Option<Value>,
    /// Seconds since [`T0`], wall clock.
    pub wall_s: i64,
    /// Updates that correlation sent.
    pub updates: u32,
}

impl Story {
    pub fn decide(&mut self, input: Input) -> Vec<Effect> {
        let at = Moment {
            event_ms: T0,
            wall_ms: T0 + self.wall_s * 1_000,
        };
        let effects = self.core.decide(&mut self.state, at, input);
        for effect in &effects {
            match effect {
                Effect::Publish(Event::Rca(rca)) => self.rcas.push((**rca).clone()),
                Effect::Publish(Event::Resolved(end)) => self.resolved.push((**end).clone()),
                Effect::Audit(line) => self.audits.push(line.clone()),
                Effect::StartJob(job) => self.jobs.push(Job {
                    id: ids::derive(&[&job.name]),
                    scope: "s".to_owned(),
                    kind: job.kind.clone(),
                    payload: job.payload.clone(),
                    attempt: 1,
                    max_attempts: 3,
                }),
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
                Effect::Subscribe { channel } => {
                    self.channels.insert(channel.clone());
                }
                Effect::Unsubscribe { channel } => {
                    self.channels.remove(channel);
                }
                Effect::Project(projection) => self.project(projection),
                _ => {}
            }
        }
        effects
    }

    fn project(&mut self, projection: &Projection) {
        match projection {
            Projection::Move { to, .. } => self.moves.push(*to),
            Projection::Resolve { resolution, .. } => self.resolution = Some(resolution.clone()),
            Projection::Reopen { .. } => self.resolution = None,
            Projection::Artifacts {
                artifacts,
                supersedes,
                ..
            } => {
                let is_new = |known: &Artifact| {
                    artifacts
                        .iter()
                        .any(|new| new.artifact_id == known.artifact_id)
                };
                for known in &mut self.artifacts {
                    if supersedes.contains(&known.kind) && !is_new(known) {
                        known.status = ArtifactStatus::Superseded;
                    }
                }
                for new in artifacts {
                    match self
                        .artifacts
                        .iter_mut()
                        .find(|known| known.artifact_id == new.artifact_id)
                    {
                        Some(known) => known.status = new.status,
                        None => self.artifacts.push(new.clone()),
                    }
                }
            }
            _ => {}
        }
    }

    pub fn hear(&mut self, event: Event) -> Vec<Effect> {
        self.decide(Input::Event {
            envelope: envelope(event),
            context: Value::Null,
        })
    }

    /// Ends the jobs that wait: records are read, and no model answers.
    pub fn work(&mut self) {
        for job in std::mem::take(&mut self.jobs) {
            let result = if job.kind == "gather" {
                Ok(serde_json::to_value(&self.facts).expect("facts are JSON"))
            } else {
                Err("there is no model in this story".to_owned())
            };
            self.decide(Input::JobDone { job, result });
        }
    }

    pub fn open(&mut self, members: &[GroupedAnomaly]) {
        self.hear(Event::Opened(Box::new(opened(members))));
        self.work();
    }

    /// The timer of this name comes due, where it is set.
    pub fn ring(&mut self, name: &str) {
        let (due_ms, payload) = self.timers.remove(name).expect("the timer is set");
        self.wall_s = (due_ms - T0) / 1_000;
        let name = name.to_owned();
        self.decide(Input::Timer { name, payload });
    }

    /// Correlation says what the incident is now.
    pub fn update(&mut self, change: IncidentChange, members: &[GroupedAnomaly], reason: &str) {
        self.updates += 1;
        let update = self.updated(change, members, reason);
        self.hear(Event::Updated(Box::new(update)));
    }

    pub fn updated(
        &self,
        change: IncidentChange,
        members: &[GroupedAnomaly],
        reason: &str,
    ) -> IncidentUpdated {
        let case = self.state.case.as_ref().expect("it was opened");
        IncidentUpdated {
            snoozed_until_ms: None,
            header: case.header.clone(),
            change,
            reason: reason.to_owned(),
            revision: self.updates,
            updated_at_ms: T0 + 400_000,
            blast_radius: BlastRadius::default(),
            correlation_signals: Vec::new(),
            deployment_context: None,
            grouped_anomalies: members.to_vec(),
            more_anomalies: None,
            left_out: Vec::new(),
            related: Vec::new(),
        }
    }

    pub fn command(&mut self, command: &str, at_s: i64) -> Vec<Effect> {
        let incident_id = self
            .state
            .case
            .as_ref()
            .map_or_else(|| ids::derive(&["unknown"]), |case| case.header.incident_id);
        self.hear(Event::Command(OperatorCommand {
            incident_id,
            command: command.to_owned(),
            target: String::new(),
            by: "maria".to_owned(),
            credential_id: "k1".to_owned(),
            reason: "a drill".to_owned(),
            issued_at_ms: T0 + at_s * 1_000,
            expires_at_ms: T0 + (at_s + 60) * 1_000,
            environment: None,
            until_ms: None,
            details: midwatch_events::response::CommandDetails::default(),
        }))
    }

    pub fn action(&mut self, phase: &str, result: &str, at_s: i64) {
        let details = midwatch_events::response::ActionDetails::default();
        self.action_with(phase, result, at_s, details);
    }

    pub fn action_with(
        &mut self,
        phase: &str,
        result: &str,
        at_s: i64,
        details: midwatch_events::response::ActionDetails,
    ) {
        let case = self.state.case.as_ref().expect("it was opened");
        let header = case.header.clone();
        self.hear(Event::Action(Box::new(RemediationAction {
            header,
            plan_id: ids::derive(&["plan"]),
            step_id: "S1".to_owned(),
            phase: phase.to_owned(),
            by: "midwatch".to_owned(),
            reason: String::new(),
            result: result.to_owned(),
            at_ms: T0 + at_s * 1_000,
            details,
        })));
    }

    /// A transition with three readings where there are any.
    pub fn transition(&mut self, of: &GroupedAnomaly, transition: Transition, at_s: i64) {
        let readings = [1, 2, 3].map(|index| reading(at_s - 30 + index * 10));
        self.transition_with(of, transition, at_s, readings.to_vec());
    }

    pub fn transition_with(
        &mut self,
        of: &GroupedAnomaly,
        transition: Transition,
        at_s: i64,
        evidence: Vec<AnomalyEvidence>,
    ) {
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
            evidence,
        }));
    }

    /// The lines of the audit trail of this type.
    pub fn said(&self, event_type: &str) -> Vec<&Audit> {
        self.audits
            .iter()
            .filter(|line| line.event_type == event_type)
            .collect()
    }
}

pub fn envelope(event: Event) -> Box<Envelope> {
    let meta = Meta {
        event_id: Uuid::nil(),
        cause_id: None,
        schema_version: 1,
        event_time_ms: event.time_ms(),
        producer: "test".to_owned(),
    };
    Box::new(Envelope { meta, event })
}

pub fn reading(at_s: i64) -> AnomalyEvidence {
    AnomalyEvidence {
        kind: "metric".to_owned(),
        at_ms: T0 + at_s * 1_000,
        value: Some(380.0),
        text: String::new(),
        source_event_id: Uuid::nil(),
    }
}

pub fn pool_fault() -> (Vec<GroupedAnomaly>, Facts) {
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

/// A plain fault with one metric.
pub fn errors() -> GroupedAnomaly {
    member(
        "user-service",
        AnomalyType::ErrorRateSpike,
        "errors",
        0,
        9.0,
    )
}

/// A signal without readings beside it.
pub fn log_rule() -> GroupedAnomaly {
    member("user-service", AnomalyType::Unknown, "log:timeout", 5, 0.0)
}
