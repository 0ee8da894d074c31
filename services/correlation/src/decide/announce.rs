//! Naming, opening and updating an incident.

use super::signals::{blast_radius, onset, signals, suspect_deployment};
use super::specificity;
use super::state::{Group, Phase, Trigger};
use crate::config::Config;
use midwatch_clients::llm::LlmCall;
use midwatch_events::anomaly::AnomalyType;
use midwatch_events::incident::{
    GroupedAnomaly, IncidentChange, IncidentHeader, IncidentOpened, IncidentUpdated,
};
use midwatch_events::{Event, ids};
use midwatch_runtime::{Effect, JobRequest, Moment, Projection};
use serde_json::{Value, json};
use std::cmp::Reverse;

/// A deployment this strong (within the first half of its window) makes errors
/// and slow answers a failed deployment.
const DEPLOYMENT_SUSPECT: f64 = 0.5;
/// How much of the time before the onset is kept with the incident.
const BEFORE_MS: i64 = 15 * 60_000;

/// Names the group after its best candidate: a service that nothing impaired
/// stands behind, the most telling type, the earliest onset, the largest
/// deviation. Only before the announcement: a name that changes under people's
/// hands would look like another incident.
pub(super) fn name_group(group: &mut Group) {
    let best = group
        .anomalies
        .iter()
        .min_by_key(|anomaly| {
            let behind = group
                .surroundings
                .topology
                .callees(&anomaly.service)
                .iter()
                .filter(|callee| onset(group, callee).is_some())
                .count();
            (
                Reverse(specificity(anomaly.anomaly_type)),
                behind,
                is_textual(anomaly),
                onset(group, &anomaly.service),
                Reverse(anomaly.severity),
                Reverse(ordered(anomaly.deviation_sigma.abs())),
                anomaly.anomaly_id,
            )
        })
        .cloned();
    if let Some(best) = best {
        group.primary.clone_from(&best.service);
        group.anomaly_type = best.anomaly_type;
        if group.trigger.service != best.service || group.trigger.metric != best.trigger_metric {
            let score = 1.0 - (-best.deviation_sigma.abs() / 4.0).exp();
            group.trigger = Trigger::of(&best, score);
        }
    }
}

/// A log line or Kubernetes event names a trouble well but measures nothing.
fn is_textual(anomaly: &GroupedAnomaly) -> bool {
    anomaly.trigger_metric.contains(':')
}

fn ordered(value: f64) -> u64 {
    // Thousandths of a sigma: enough to order, and totally ordered.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates; the input is not negative"
    )]
    let thousandths = (value * 1_000.0) as u64;
    thousandths
}

fn header(group: &Group) -> IncidentHeader {
    IncidentHeader {
        incident_id: group.incident_id,
        short_id: ids::short_incident(group.incident_id),
        environment: group.environment.clone(),
        severity: group.severity,
        anomaly_type: group.anomaly_type,
        affected_services: group.services(),
        detected_at_ms: group.detected_at_ms,
        detected_wall_ms: group.detected_wall_ms,
    }
}

/// Copies the records of the window, under a name of their own for each
/// announcement.
pub(super) fn copy_records(group: &mut Group) -> Effect {
    group.copies += 1;
    let first = group
        .anomalies
        .iter()
        .map(|anomaly| anomaly.onset_ms)
        .min()
        .unwrap_or(group.detected_at_ms);
    let mut services = group.services();
    for service in services.clone() {
        let topology = &group.surroundings.topology;
        let neighbours = topology.callees(&service).into_iter();
        for neighbour in neighbours.chain(topology.callers(&service)) {
            if !services.iter().any(|known| known == neighbour) {
                services.push(neighbour.to_owned());
            }
        }
    }
    let request = JobRequest::new(
        format!("copy:{}:{}", group.incident_id, group.copies),
        "copy_records",
        json!({
            "incident_id": group.incident_id,
            "environment": group.environment,
            "services": services,
            "from_ms": first - BEFORE_MS,
            "anomalies": group.anomalies,
        }),
    );
    // One incident's records do not wait for another's.
    Effect::StartJob(JobRequest {
        lane: Some(format!("copy:{}", group.incident_id)),
        ..request
    })
}

/// What became of the copying, where it failed: people must know that evidence
/// is missing.
pub(super) fn copied(group: &Group, at: Moment, result: &Result<Value, String>) -> Vec<Effect> {
    match result {
        Ok(_) => Vec::new(),
        Err(error) => vec![Effect::audit(
            group.incident_id,
            "RECORDS_UNAVAILABLE",
            at.event_ms,
            format!("The records around the incident could not be copied: {error}"),
            json!({"error": error}),
        )],
    }
}

fn context(config: &Config, group: &Group) -> Value {
    let edges: Vec<Value> = group
        .surroundings
        .topology
        .edges()
        .map(|(caller, callee, sources)| json!([caller, callee, sources]))
        .collect();
    json!({
        "trigger": {
            "service": group.trigger.service, "metric": group.trigger.metric,
            "observed_value": group.trigger.observed_value,
            "baseline_value": group.trigger.baseline_value,
            "deviation_sigma": group.trigger.deviation_sigma,
            "anomaly_score": group.trigger.anomaly_score,
        },
        "signals": signals(config, group),
        "grouped_anomalies": group.anomalies,
        "unlisted_anomalies": group.unlisted,
        "deployment": suspect_deployment(config, group).map(|(deployment, _)| deployment),
        "recent_metrics": group.surroundings.recent_metrics,
        "recent_errors": group.surroundings.recent_errors,
        "description": description(group),
        "impact": group.impact,
        "revision": group.revision,
        "topology": {"edges": edges},
    })
}

fn description(group: &Group) -> String {
    let first = group
        .anomalies
        .iter()
        .find(|anomaly| {
            anomaly.service == group.trigger.service
                && anomaly.trigger_metric == group.trigger.metric
        })
        .map(|anomaly| anomaly.description.clone());
    first.unwrap_or_else(|| {
        format!(
            "{} left its range on {}",
            group.trigger.metric, group.primary
        )
    })
}

/// Announces the incident.
pub(super) fn open(config: &Config, group: &mut Group, at: Moment) -> Vec<Effect> {
    group.phase = Phase::Open;
    group.pending.clear();
    group.pending_severity = false;
    name_group(group);
    if let Some((deployment, strength)) = suspect_deployment(config, group) {
        let symptom = matches!(
            group.anomaly_type,
            AnomalyType::ErrorRateSpike
                | AnomalyType::LatencySpike
                | AnomalyType::KubernetesFailure
        );
        if symptom && strength >= DEPLOYMENT_SUSPECT && deployment.service == group.primary {
            group.anomaly_type = AnomalyType::DeploymentFailure;
        }
    }
    let header = header(group);
    let radius = blast_radius(group);
    let opened = IncidentOpened {
        left_out: Vec::new(),
        header: header.clone(),
        opened_at_ms: group.last_ms,
        trigger_metric: group.trigger.metric.clone(),
        observed_value: group.trigger.observed_value,
        baseline_value: group.trigger.baseline_value,
        deviation_sigma: group.trigger.deviation_sigma,
        anomaly_score: group.trigger.anomaly_score,
        blast_radius: radius.clone(),
        correlation_signals: signals(config, group),
        deployment_context: suspect_deployment(config, group)
            .map(|(deployment, _)| deployment.clone()),
        recent_metrics: group.surroundings.recent_metrics.clone(),
        recent_errors: group.surroundings.recent_errors.clone(),
        grouped_anomalies: group.anomalies.clone(),
        description: description(group),
    };
    let summary = format!(
        "{} {}: {} ({} anomalies on {} services)",
        header.severity,
        header.short_id,
        header.title(),
        group.anomalies.len(),
        header.affected_services.len()
    );
    vec![
        Effect::Project(Projection::Open {
            header: header.clone(),
            blast_radius: json!(radius),
            correlation_context: context(config, group),
        }),
        Effect::audit(
            group.incident_id,
            "INCIDENT_OPENED",
            opened.opened_at_ms,
            summary,
            json!({"wall_ms": at.wall_ms, "anomalies": group.anomalies.len(),
                   "detected_wall_ms": group.detected_wall_ms}),
        ),
        Effect::Publish(Event::Opened(Box::new(opened))),
    ]
}

/// Announces what changed about an open incident.
pub(super) fn update(config: &Config, group: &mut Group, at: Moment) -> Vec<Effect> {
    group.revision += 1;
    let reason = std::mem::take(&mut group.pending).join("; ");
    let change = if std::mem::take(&mut group.pending_severity) {
        IncidentChange::Severity
    } else {
        IncidentChange::Grown
    };
    let header = header(group);
    let radius = blast_radius(group);
    let updated = IncidentUpdated {
        left_out: Vec::new(),
        related: Vec::new(),
        header: header.clone(),
        change,
        reason: reason.clone(),
        revision: group.revision,
        updated_at_ms: group.last_ms,
        blast_radius: radius.clone(),
        correlation_signals: signals(config, group),
        deployment_context: suspect_deployment(config, group)
            .map(|(deployment, _)| deployment.clone()),
        grouped_anomalies: group.anomalies.clone(),
    };
    vec![
        Effect::Project(Projection::Correlate {
            header,
            blast_radius: json!(radius),
            correlation_context: context(config, group),
        }),
        Effect::audit(
            group.incident_id,
            "INCIDENT_UPDATED",
            updated.updated_at_ms,
            reason,
            json!({"change": change, "revision": group.revision, "wall_ms": at.wall_ms,
                   "severity": group.severity}),
        ),
        Effect::Publish(Event::Updated(Box::new(updated))),
    ]
}

/// Asks the model to word the impact.
pub(super) fn ask_impact(group: &Group) -> Effect {
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
                    "blast_radius": blast_radius(group).description,
                },
            }),
        )
    })
}

/// Takes the model's sentence; the deterministic description stands beside it.
pub(super) fn impact(
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
        effects.push(Effect::Project(Projection::Correlate {
            header: header(group),
            blast_radius: json!(blast_radius(group)),
            correlation_context: context(config, group),
        }));
        effects.push(Effect::audit(
            group.incident_id,
            "IMPACT_ASSESSED",
            at.event_ms,
            "A model worded the impact; the measured description stands beside it.",
            json!({"impact": group.impact}),
        ));
    }
    effects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_deviations_survives_the_rounding() {
        assert!(ordered(2.501) > ordered(2.5));
        assert!(ordered(f64::MAX) >= ordered(1e9));
    }
}
