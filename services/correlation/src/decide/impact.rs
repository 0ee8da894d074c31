//! The impact in a sentence, worded by a model where one is configured.

use super::announce;
use super::signals::blast_radius;
use super::state::Group;
use crate::config::Config;
use midwatch_clients::llm::LlmCall;
use midwatch_runtime::{Effect, JobRequest, Moment};
use serde_json::{Value, json};

/// Asks the model to word the impact.
pub(super) fn ask(config: &Config, group: &Group) -> Effect {
    Effect::StartJob(JobRequest {
        max_attempts: 1,
        // Nobody waits for a model.
        lane: Some(format!("impact:{}", group.incident_id)),
        ..JobRequest::new(
            format!("impact:{}", group.incident_id),
            "assess_impact",
            json!({
                "incident_id": group.incident_id,
                "severity": group.severity,
                "facts": {
                    "services": group.services(),
                    "anomalies": group.anomalies.iter().take(20).map(|anomaly| json!({
                        "service": anomaly.service, "metric": anomaly.trigger_metric,
                        "observed": anomaly.observed_value, "baseline": anomaly.baseline_value,
                    })).collect::<Vec<_>>(),
                    "blast_radius": blast_radius(config, group).description,
                },
            }),
        )
    })
}

/// Takes the model's sentence; the deterministic description stands beside it.
pub(super) fn take(
    config: &Config,
    group: &mut Group,
    at: Moment,
    result: Result<Value, String>,
) -> Vec<Effect> {
    let Ok(value) = result else {
        return Vec::new();
    };
    let mut effects = Vec::new();
    if let Ok(call) = serde_json::from_value::<LlmCall>(value["call"].clone()) {
        effects.push(Effect::RecordModelCall {
            incident_id: Some(group.incident_id),
            call: Box::new(call),
        });
    }
    if let Some(sentence) = value["impact"].as_str() {
        group.impact = Some(sentence.chars().take(600).collect());
        effects.push(announce::row(config, group));
        effects.push(Effect::audit(
            group.incident_id,
            "IMPACT_ASSESSED",
            at.event_ms,
            "A model worded the impact; the measured description stands beside it.",
            json!({"impact": group.impact}),
        ));
    }
    if let Some(reason) = value["rejected"].as_str() {
        let summary = format!(
            "What a model said about the impact does not hold and was dropped ({reason}); the measured description stands."
        );
        effects.push(Effect::audit(
            group.incident_id,
            "IMPACT_REJECTED",
            at.event_ms,
            summary,
            json!({"claim": value["claim"], "reason": reason}),
        ));
    }
    effects
}
