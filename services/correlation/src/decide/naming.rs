//! What an incident is named after.

use super::signals::{onsets, suspect_deployment};
use super::state::{Group, Trigger};
use crate::config::Config;
use midwatch_events::anomaly::AnomalyType;
use midwatch_events::incident::GroupedAnomaly;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A deployment this strong (within the first half of its window) makes errors
/// and slow answers a failed deployment.
const DEPLOYMENT_SUSPECT: f64 = 0.5;
/// Names the group after its best candidate: a service that nothing impaired
/// stands behind, the most telling type, the earliest onset, the largest
/// deviation. Only before the announcement: a name that changes under people's
/// hands would look like another incident.
pub(super) fn name_group(config: &Config, group: &mut Group) {
    // What a person declared keeps the name that it was given.
    if group.declared.is_some() {
        return;
    }
    let graph = group.graph(config);
    let onsets = onsets(group);
    let behind: BTreeMap<&str, usize> = onsets
        .keys()
        .map(|service| {
            let callees = graph.callees(service).into_iter();
            let impaired = callees.filter(|callee| onsets.contains_key(callee));
            (*service, impaired.count())
        })
        .collect();
    let best = group
        .anomalies
        .iter()
        .min_by_key(|anomaly| {
            let service = anomaly.service.as_str();
            (
                Reverse(specificity(anomaly.anomaly_type)),
                behind.get(service).copied(),
                is_textual(anomaly),
                onsets.get(service).copied(),
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

/// The name that a group is announced under.
pub(super) fn settle_name(config: &Config, group: &mut Group) {
    name_group(config, group);
    if group.declared.is_some() {
        return;
    }
    let Some((deployment, strength)) = suspect_deployment(config, group) else {
        return;
    };
    let symptom = matches!(
        group.anomaly_type,
        AnomalyType::ErrorRateSpike | AnomalyType::LatencySpike | AnomalyType::KubernetesFailure
    );
    if symptom && strength >= DEPLOYMENT_SUSPECT && deployment.service == group.primary {
        group.anomaly_type = AnomalyType::DeploymentFailure;
    }
}

/// How much an anomaly's type says about a cause: a resource that runs out
/// explains slow answers, and not the other way round.
#[must_use]
pub fn specificity(kind: AnomalyType) -> u8 {
    match kind {
        AnomalyType::DbConnectionExhaustion
        | AnomalyType::MemoryLeak
        | AnomalyType::CpuSaturation
        | AnomalyType::DeploymentFailure => 3,
        AnomalyType::KafkaConsumerLag | AnomalyType::KubernetesFailure => 2,
        AnomalyType::ErrorRateSpike
        | AnomalyType::LatencySpike
        | AnomalyType::DependencyOutage
        | AnomalyType::TrafficDrop
        | AnomalyType::MissingData => 1,
        AnomalyType::Unknown => 0,
    }
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
