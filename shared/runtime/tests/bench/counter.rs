//! An agent that counts what it hears, in a number whose digits tell the
//! inputs apart.

use async_trait::async_trait;
use midwatch_events::artifact::{self, Artifact, ArtifactKind, ArtifactStatus};
use midwatch_events::response::RemediationPlan;
use midwatch_events::{Envelope, Event, IncidentHeader, Topic, ids};
use midwatch_runtime::{
    Agent, AgentSpec, Effect, Input, Job, JobError, JobRequest, Moment, Projection, Route,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use uuid::Uuid;

#[derive(Default)]
pub struct Counter {
    looks: AtomicI64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct CounterState {
    pub count: u64,
    pub opened: bool,
}

fn plan(header: &IncidentHeader) -> Effect {
    Effect::Publish(Event::Plan(Box::new(RemediationPlan {
        header: header.clone(),
        plan_id: ids::derive(&["plan", &header.incident_id.to_string()]),
        planned_at_ms: header.detected_at_ms,
        root_cause: String::new(),
        confidence: 0.0,
        action_steps: Vec::new(),
        escalation_path: Vec::new(),
        runbook_references: Vec::new(),
        estimated_resolution_minutes: [1, 2],
        estimate_basis: String::new(),
        rca_revision: 1,
        plan_hash: String::new(),
        dry_run: None,
    })))
}

fn finding(incident_id: Uuid) -> Effect {
    let kind = ArtifactKind::AnomalyFinding;
    Effect::Project(Projection::Artifacts {
        incident_id,
        artifacts: vec![Artifact {
            artifact_id: artifact::id(incident_id, kind, &["1"]),
            incident_id,
            kind,
            schema_version: artifact::SCHEMA_VERSION,
            producer: "midwatch.counter".to_owned(),
            consumer: "midwatch.counter".to_owned(),
            status: ArtifactStatus::Complete,
            inputs: Vec::new(),
            evidence: vec!["record".to_owned()],
            created_at_ms: 1,
            replay: false,
            body: json!({"said": true}),
        }],
        supersedes: vec![kind],
    })
}

#[async_trait]
impl Agent for Counter {
    type State = CounterState;

    fn spec(&self) -> AgentSpec {
        AgentSpec {
            name: "counter",
            topics: &[
                Topic::IncidentsOpened,
                Topic::IncidentsResolved,
                Topic::AnomaliesDetected,
                Topic::OperatorCommands,
                Topic::RawLogs,
            ],
        }
    }

    fn route(&self, envelope: &Envelope) -> Route {
        match &envelope.event {
            Event::Anomaly(anomaly) => Route::Channel(anomaly.service.clone()),
            event => event
                .incident_id()
                .map_or(Route::Ignore, |id| Route::Scope(id.to_string())),
        }
    }

    fn decide(&self, state: &mut CounterState, at: Moment, input: Input) -> Vec<Effect> {
        match input {
            Input::Event { envelope, .. } => match envelope.event {
                Event::Opened(opened) => {
                    state.count += 1;
                    state.opened = true;
                    let mut effects = vec![plan(&opened.header)];
                    if let Some(failures) = opened.description.strip_prefix("job:") {
                        let (failures, waits) = match failures.strip_prefix("waits:") {
                            Some(looks) => (looks, true),
                            None => (failures, false),
                        };
                        let failures: u32 = failures.parse().expect("the test wrote a number");
                        let payload = json!({"failures": failures, "waits": waits});
                        effects.push(Effect::StartJob(JobRequest::new("work", "work", payload)));
                    }
                    if opened.description == "finding" {
                        effects.push(finding(opened.header.incident_id));
                    }
                    if let Some(channel) = opened.description.strip_prefix("listen:") {
                        let channel = channel.to_owned();
                        effects.push(Effect::Subscribe { channel });
                    }
                    effects
                }
                Event::Resolved(_) if !state.opened => vec![Effect::Park {
                    reason: "not opened yet".to_owned(),
                    ttl_ms: 60_000,
                }],
                Event::Resolved(_) => {
                    state.count += 10;
                    Vec::new()
                }
                Event::Command(command) => {
                    let id = command.incident_id;
                    vec![Effect::audit(id, "COMMAND", at.event_ms, "c", json!({}))]
                }
                Event::Anomaly(_) => {
                    state.count += 10_000;
                    Vec::new()
                }
                _ => Vec::new(),
            },
            Input::Expired { .. } => {
                state.count += 100;
                Vec::new()
            }
            Input::JobDone { result, .. } => {
                state.count += if result.is_ok() { 1_000 } else { 1_000_000 };
                Vec::new()
            }
            Input::Timer { .. } => Vec::new(),
        }
    }

    async fn perform(&self, job: &Job) -> Result<Value, JobError> {
        let failures = job.payload["failures"].as_i64().unwrap_or(0);
        if job.payload["waits"] == true {
            if self.looks.fetch_add(1, Ordering::SeqCst) < failures {
                return Err(JobError::Later {
                    error: anyhow::anyhow!("not ready, as the test asks"),
                    wait: Duration::from_millis(20),
                    give_up: Duration::from_secs(2),
                });
            }
        } else if i64::from(job.attempt) <= failures {
            let error = anyhow::anyhow!("try {} fails as the test asks", job.attempt);
            return Err(JobError::Transient(error));
        }
        Ok(json!({}))
    }
}
