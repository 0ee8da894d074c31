//! One incident that a model is asked about, driven through the decisions as the runtime would.

use midwatch_clients::llm::{LlmCall, LlmClient, Spent};
use midwatch_clients::postgres::KeptRecord;
use midwatch_events::anomaly::{AnomalyType, Direction, Severity};
use midwatch_events::incident::{
    BlastRadius, GroupedAnomaly, IncidentHeader, IncidentOpened, RcaCompleted, SimilarIncident,
};
use midwatch_events::{Envelope, Event, Meta, ids};
use midwatch_investigation::config::Config;
use midwatch_investigation::decide::Core;
use midwatch_investigation::decide::advice::Request;
use midwatch_investigation::decide::facts::{DeploymentFact, Facts, LogFact, SeriesFact};
use midwatch_investigation::decide::state::State;
use midwatch_investigation::shell::model::{Limits, consult};
use midwatch_investigation::shell::tools::{Library, Section};
use midwatch_runtime::{Effect, Input, Job, JobRequest, Moment};
use serde_json::{Value, json};
use std::sync::Mutex;
use uuid::Uuid;

/// The onset of the incident, event time.
pub const T0: i64 = 1_767_225_600_000;

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
        observed_at_ms: None,
        cleared_at_ms: None,
    }
}

/// The pool of payment-service is full; its callers follow 20 s later.
pub fn members() -> Vec<GroupedAnomaly> {
    let latency = "service_latency_p99_ms";
    let slow = AnomalyType::LatencySpike;
    vec![
        member(
            "payment-service",
            AnomalyType::DbConnectionExhaustion,
            "service_db_connections",
            0,
            8.0,
        ),
        member("payment-service", slow, latency, 10, 6.0),
        member("api-gateway", slow, latency, 20, 12.0),
        member("order-service", slow, latency, 20, 9.0),
    ]
}

/// What was gathered about it.
pub fn facts() -> Facts {
    let series = |service: &str, metric: &str, before: f64, extreme: f64| SeriesFact {
        service: service.to_owned(),
        metric: metric.to_owned(),
        before,
        extreme,
        record_id: format!("metric:{service}:{metric}"),
        at_ms: T0 + 60_000,
        counts: (30, 12),
    };
    let latency = "service_latency_p99_ms";
    let mut value = json!(Facts {
        series: vec![
            series("payment-service", "service_db_connections", 30.25, 100.0),
            series("payment-service", latency, 381.5, 7_380.4),
            series("api-gateway", latency, 120.0, 900.0),
            series("order-service", latency, 280.0, 900.0),
        ],
        logs: vec![LogFact {
            service: "payment-service".to_owned(),
            level: "ERROR".to_owned(),
            message: "HikariPool-1 - Connection is not available".to_owned(),
            count: 9,
            record_id: "log-1".to_owned(),
            at_ms: T0 + 20_000,
            names: Vec::new(),
        }],
        deployments: vec![DeploymentFact {
            deployment: serde_json::from_value(json!({"service": "order-service",
                "version": "v2.14.1", "timestamp_ms": T0 + 120_000, "environment": "simulation"}))
            .expect("a deployment"),
            record_id: "deployment-1".to_owned(),
        }],
        ..Facts::default()
    });
    // As JSON, because it is what the job brings, whatever an edge carries besides its source.
    value["edges"] = json!([
        ["api-gateway", "payment-service", ["catalogue"]],
        ["api-gateway", "order-service", ["catalogue"]],
        ["order-service", "payment-service", ["catalogue"]],
    ]);
    serde_json::from_value(value).expect("facts")
}

fn opened() -> IncidentOpened {
    let members = members();
    let incident_id = ids::incident(members[0].anomaly_id);
    let names = ["payment-service", "api-gateway", "order-service"];
    IncidentOpened {
        left_out: Vec::new(),
        header: IncidentHeader {
            incident_id,
            short_id: ids::short_incident(incident_id),
            environment: "simulation".to_owned(),
            severity: Severity::Critical,
            anomaly_type: members[0].anomaly_type,
            affected_services: names.map(str::to_owned).to_vec(),
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
        grouped_anomalies: members,
        more_anomalies: None,
        description: String::new(),
        declared: None,
    }
}

/// Stores that are small enough to be written down here.
pub struct Shelf {
    pub records: Vec<KeptRecord>,
    /// The model calls that were written down.
    pub kept: Mutex<Vec<LlmCall>>,
}

impl Shelf {
    pub fn of(records: Vec<KeptRecord>) -> Shelf {
        Shelf {
            records,
            kept: Mutex::default(),
        }
    }
}

#[async_trait::async_trait]
impl Library for Shelf {
    async fn records(&self) -> anyhow::Result<Vec<KeptRecord>> {
        Ok(self.records.clone())
    }

    async fn similar(&self, _query: &str) -> anyhow::Result<Vec<SimilarIncident>> {
        anyhow::bail!("the knowledge store is away")
    }

    async fn sections(&self, _query: &str, _cause: Option<&str>) -> anyhow::Result<Vec<Section>> {
        Ok(vec![Section {
            id: "database-connection-exhaustion#Symptoms".to_owned(),
            text: "Every connection of the pool is taken.".to_owned(),
            score: 0.6,
        }])
    }

    async fn keep(&self, call: &LlmCall) -> anyhow::Result<()> {
        let mut kept = self.kept.lock().expect("nobody panicked");
        kept.push(call.clone());
        Ok(())
    }
}

/// What came of it.
pub struct Outcome {
    pub rca: RcaCompleted,
    /// All effects of all inputs, in order.
    pub effects: Vec<Effect>,
}

impl Outcome {
    /// The recorded calls.
    pub fn model_calls(&self) -> Vec<&LlmCall> {
        let calls = self.effects.iter().filter_map(|effect| match effect {
            Effect::RecordModelCall { call, .. } => Some(&**call),
            _ => None,
        });
        calls.collect()
    }
}

/// Opens the incident and carries out its jobs until the cause is published.
pub async fn investigate(model: Option<&LlmClient>, rounds: u32) -> Outcome {
    let core = Core {
        model: model.is_some(),
        ..Core::default()
    };
    let mut state = State::default();
    let at = Moment {
        event_ms: T0,
        wall_ms: T0,
    };
    let event = Event::Opened(Box::new(opened()));
    let meta = Meta {
        event_id: Uuid::nil(),
        cause_id: None,
        schema_version: 1,
        event_time_ms: event.time_ms(),
        producer: "test".to_owned(),
    };
    let input = Input::Event {
        envelope: Box::new(Envelope { meta, event }),
        context: Value::Null,
    };
    let mut effects = core.decide(&mut state, at, input);
    let mut done = 0;
    while done < effects.len() {
        let effect = effects[done].clone();
        done += 1;
        if let Effect::StartJob(request) = effect {
            let (job, result) = perform(&request, model, rounds).await;
            effects.extend(core.decide(&mut state, at, Input::JobDone { job, result }));
        }
    }
    let rca = effects.iter().find_map(|effect| match effect {
        Effect::Publish(Event::Rca(rca)) => Some((**rca).clone()),
        _ => None,
    });
    Outcome {
        rca: rca.expect("a cause is published"),
        effects,
    }
}

async fn perform(
    request: &JobRequest,
    model: Option<&LlmClient>,
    rounds: u32,
) -> (Job, Result<Value, String>) {
    let job = Job {
        id: ids::derive(&[&request.name]),
        scope: "s".to_owned(),
        kind: request.kind.clone(),
        payload: request.payload.clone(),
        attempt: 1,
        max_attempts: 1,
    };
    let result = match (request.kind.as_str(), model) {
        ("gather", _) => json!(facts()),
        ("advise", Some(llm)) => {
            let asked: Request = serde_json::from_value(job.payload.clone()).expect("a request");
            let limits = Limits {
                rounds,
                sampling_ms: Config::default().same_moment_ms,
                spent: Spent::default(),
            };
            let shelf = Shelf::of(Vec::new());
            let advice = consult(llm, &shelf, job.id, &asked, limits).await;
            let kept = shelf.kept.into_inner().expect("nobody panicked");
            assert_eq!(kept, advice.calls, "each was written down when it was over");
            json!(advice)
        }
        (other, _) => panic!("no job {other} is expected"),
    };
    (job, Ok(result))
}
