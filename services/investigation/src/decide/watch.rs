//! The resolution watch: from transitions to the end of an incident.

use super::state::{Case, Normal, Recovery, Watched, channel};
use midwatch_events::anomaly::{Anomaly, Transition};
use midwatch_events::incident::{IncidentResolved, MetricReading};
use midwatch_events::{Event, IncidentState};
use midwatch_runtime::{Effect, Projection};
use serde_json::json;

/// Subscribes to every series of the incident that is not watched yet.
pub fn watch_all(case: &mut Case, wall_ms: i64) -> Vec<Effect> {
    let mut effects = Vec::new();
    let environment = case.header.environment.clone();
    for anomaly in &case.anomalies {
        let name = channel(&environment, &anomaly.service, &anomaly.trigger_metric);
        if case.watch.contains_key(&name) {
            continue;
        }
        let watched = Watched {
            service: anomaly.service.clone(),
            metric: anomaly.trigger_metric.clone(),
            // Words about an earlier trouble of the same series count for
            // nothing here.
            last_ms: anomaly.onset_ms,
            // It may have cleared before anybody watched it.
            normal: anomaly.cleared_at_ms.map(|at_ms| Normal {
                at_ms,
                wall_ms,
                readings: Vec::new(),
            }),
        };
        case.watch.insert(name.clone(), watched);
        effects.push(Effect::Subscribe { channel: name });
    }
    case.recovered = recovery(case);
    effects
}

/// Takes in a transition of a watched series.
pub fn transition(case: &mut Case, anomaly: &Anomaly) {
    let name = channel(
        &case.header.environment,
        &anomaly.service,
        &anomaly.trigger_metric,
    );
    let Some(watched) = case.watch.get_mut(&name) else {
        return;
    };
    // Transitions of the incident's own anomalies come in the order in which
    // they were decided (one partition), whatever times they name. Words about
    // an earlier trouble of the same series count for nothing here.
    let ours = case
        .anomalies
        .iter()
        .any(|member| member.anomaly_id == anomaly.anomaly_id);
    if !ours && anomaly.detected_at_ms < watched.last_ms {
        return;
    }
    watched.last_ms = watched.last_ms.max(anomaly.detected_at_ms);
    watched.normal = (anomaly.transition == Transition::Cleared).then(|| Normal {
        at_ms: anomaly.detected_at_ms,
        wall_ms: anomaly.detected_wall_ms,
        readings: anomaly
            .evidence
            .iter()
            .filter_map(|evidence| {
                Some(MetricReading {
                    service: anomaly.service.clone(),
                    metric_name: anomaly.trigger_metric.clone(),
                    at_ms: evidence.at_ms,
                    value: evidence.value?,
                })
            })
            .collect(),
    });
    case.recovered = recovery(case);
}

/// The recovery, where the trigger and every other metric of the incident are
/// normal. Log lines and Kubernetes events are no readings: they clear by
/// silence, which proves nothing, and so they do not hold an incident open,
/// unless it was opened on one.
fn recovery(case: &Case) -> Option<Recovery> {
    let is_trigger = |watched: &Watched| {
        watched.service == case.trigger.service && watched.metric == case.trigger.metric
    };
    let mut at_ms = 0;
    let mut wall_ms = 0;
    let mut readings = Vec::new();
    let mut trigger_seen = false;
    for watched in case.watch.values() {
        if watched.metric.contains(':') && !is_trigger(watched) {
            continue;
        }
        let normal = watched.normal.as_ref()?;
        if is_trigger(watched) {
            trigger_seen = true;
            readings.clone_from(&normal.readings);
        }
        at_ms = at_ms.max(normal.at_ms);
        wall_ms = wall_ms.max(normal.wall_ms);
    }
    trigger_seen.then_some(Recovery {
        at_ms,
        wall_ms,
        readings,
    })
}

/// Announces the end, once the cause is published.
pub fn resolve(case: &mut Case) -> Vec<Effect> {
    if case.resolved || case.revision == 0 || case.busy {
        return Vec::new();
    }
    let Some(recovery) = case.recovered.clone() else {
        return Vec::new();
    };
    case.resolved = true;
    let id = case.header.incident_id;
    let mttr_ms = (recovery.at_ms - case.header.detected_at_ms).max(0);
    #[expect(
        clippy::cast_precision_loss,
        reason = "durations are far below 2^53 ms"
    )]
    let mttr_minutes = mttr_ms as f64 / 60_000.0;
    let resolved = IncidentResolved {
        mttd_ms: None,
        mtta_ms: None,
        header: case.header.clone(),
        resolved_at_ms: recovery.at_ms,
        resolved_wall_ms: recovery.wall_ms,
        mttr_ms,
        mttr_minutes,
        resolution_method: "RECOVERED".to_owned(),
        top_root_cause: case.answer.clone(),
        trigger_metric: case.trigger.metric.clone(),
        settling_readings: recovery.readings,
        baseline_value: case.trigger.baseline_value,
    };
    let summary = format!(
        "{} on {} has had three consecutive normal readings, and so has every other metric of the incident.",
        case.trigger.metric, case.trigger.service
    );
    let mut effects = vec![
        Effect::Project(Projection::Resolve {
            incident_id: id,
            resolved_at_ms: resolved.resolved_at_ms,
            resolution: json!(resolved),
        }),
        Effect::Project(Projection::Move {
            incident_id: id,
            to: IncidentState::Resolved,
        }),
        Effect::audit(
            id,
            "RECOVERY_OBSERVED",
            recovery.at_ms,
            summary,
            json!({"readings": resolved.settling_readings, "wall_ms": recovery.wall_ms}),
        ),
        Effect::audit(
            id,
            "INCIDENT_RESOLVED",
            recovery.at_ms,
            format!(
                "Resolved after {mttr_minutes:.1} min; it recovered without a recorded action."
            ),
            json!({"mttr_ms": mttr_ms, "wall_ms": recovery.wall_ms, "resolution_method": "RECOVERED"}),
        ),
        Effect::CancelTimer {
            name: "watch".to_owned(),
        },
        Effect::Publish(Event::Resolved(Box::new(resolved))),
    ];
    effects.extend(case.watch.keys().map(|channel| Effect::Unsubscribe {
        channel: channel.clone(),
    }));
    effects
}
