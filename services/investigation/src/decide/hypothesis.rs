//! What a candidate says, in a sentence for people.

use super::facts::Facts;
use super::state::Case;
use crate::rca::clues::number;
use midwatch_events::anomaly::AnomalyType;
use midwatch_events::incident::GroupedAnomaly;

/// One sentence that says what is believed, with the readings behind it.
#[must_use]
pub fn hypothesis(case: &Case, facts: &Facts, service: &str, cause: AnomalyType) -> String {
    let worst = case
        .anomalies
        .iter()
        .filter(|anomaly| anomaly.service == service && !anomaly.trigger_metric.contains(':'))
        .max_by(|one, other| {
            let fits = |anomaly: &GroupedAnomaly| anomaly.anomaly_type == cause;
            fits(one).cmp(&fits(other)).then(
                one.deviation_sigma
                    .abs()
                    .total_cmp(&other.deviation_sigma.abs()),
            )
        });
    let reading = worst.map_or_else(String::new, |anomaly| {
        format!(
            " ({} at {}, baseline {})",
            anomaly.trigger_metric,
            number(anomaly.observed_value),
            number(anomaly.baseline_value)
        )
    });
    let deployment = facts
        .deployments
        .iter()
        .rev()
        .find(|fact| fact.deployment.service == service);
    let what = match (cause, deployment) {
        (AnomalyType::DeploymentFailure, Some(fact)) => {
            format!(
                "{service} fails since version {} was rolled out",
                fact.deployment.version
            )
        }
        (AnomalyType::DbConnectionExhaustion, _) => {
            format!("{service} runs out of database connections")
        }
        (AnomalyType::MemoryLeak, _) => format!("{service} leaks memory"),
        (AnomalyType::CpuSaturation, _) => format!("{service} is short of CPU"),
        (AnomalyType::KafkaConsumerLag, _) => {
            format!("{service} consumes its messages more slowly than they come in")
        }
        (AnomalyType::ErrorRateSpike, _) => format!("{service} itself answers with errors"),
        (AnomalyType::LatencySpike, _) => format!("{service} itself answers slowly"),
        (AnomalyType::TrafficDrop, _) => format!("requests no longer reach {service}"),
        (AnomalyType::MissingData, _) => format!("{service} has stopped reporting"),
        (AnomalyType::KubernetesFailure, _) => {
            format!("Kubernetes cannot keep {service} running")
        }
        _ => format!("{service} behaves out of its range"),
    };
    format!("{what}{reading}")
}
