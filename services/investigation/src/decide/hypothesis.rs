//! What a candidate says, in a sentence for people.

use super::facts::Facts;
use super::state::{Case, has_readings};
use crate::rca::clues::number;
use midwatch_events::anomaly::AnomalyType;
use midwatch_events::cause::ChangeType;
use midwatch_events::incident::GroupedAnomaly;
use midwatch_events::raw::RawDeployment;

/// One sentence that says what is believed, with the readings behind it.
#[must_use]
pub fn hypothesis(
    case: &Case,
    facts: &Facts,
    service: &str,
    (cause, name): (AnomalyType, &str),
) -> String {
    let worst = worst(case, service, cause.as_str());
    let reading = worst.map_or_else(String::new, |anomaly| {
        format!(
            " ({} at {}, baseline {})",
            anomaly.trigger_metric,
            number(anomaly.observed_value),
            number(anomaly.baseline_value)
        )
    });
    let deployment = suspect(case, facts, service, name);
    let what = match (cause, deployment) {
        (AnomalyType::DeploymentFailure, Some(deployment)) => since(deployment),
        (AnomalyType::DeploymentFailure, None) => format!("{service} fails since it was changed"),
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

/// The change that the cause is named after: the newest of its sort before the
/// symptoms. A rollback that came when the incident had begun is a repair.
fn suspect<'a>(
    case: &Case,
    facts: &'a Facts,
    service: &str,
    name: &str,
) -> Option<&'a RawDeployment> {
    let onset_ms = onset(case, service);
    let first_ms = case.anomalies.iter().map(|one| one.onset_ms).min();
    let before = facts
        .deployments
        .iter()
        .map(|fact| &fact.deployment)
        .filter(|one| one.service == service && one.change().cause() == name)
        .filter(|one| onset_ms.is_none_or(|at| one.timestamp_ms < at));
    before
        .filter(|one| {
            let is_repair = first_ms.is_some_and(|at| one.timestamp_ms >= at);
            one.change() != ChangeType::Rollback || !is_repair
        })
        .max_by_key(|one| (one.change() == ChangeType::Release, one.timestamp_ms))
}

/// What a service has been doing since a change.
fn since(change: &RawDeployment) -> String {
    let RawDeployment {
        service, version, ..
    } = change;
    let named = if version.is_empty() {
        String::new()
    } else {
        format!(" ({version})")
    };
    match change.change() {
        ChangeType::Release => format!("{service} fails since version {version} was rolled out"),
        ChangeType::Rollback => format!("{service} fails since it was rolled back to {version}"),
        ChangeType::Configuration => {
            format!("{service} fails since its configuration was changed{named}")
        }
        ChangeType::FeatureFlag => {
            format!("{service} fails since a feature flag of it was changed{named}")
        }
        ChangeType::Scale => format!("{service} fails since it was scaled{named}"),
    }
}

/// The reading that shows a cause in a service best: one of its kind, the farthest out.
pub(super) fn worst<'a>(case: &'a Case, service: &str, cause: &str) -> Option<&'a GroupedAnomaly> {
    case.anomalies
        .iter()
        .filter(|anomaly| anomaly.service == service && has_readings(&anomaly.trigger_metric))
        .max_by(|one, other| {
            let fits = |anomaly: &GroupedAnomaly| anomaly.anomaly_type.as_str() == cause;
            fits(one).cmp(&fits(other)).then(
                one.deviation_sigma
                    .abs()
                    .total_cmp(&other.deviation_sigma.abs()),
            )
        })
}

/// When a service's symptoms began: what came later, a version that is rolled
/// back to above all, did not cause them. Without symptoms of its own, those of
/// the incident.
fn onset(case: &Case, service: &str) -> Option<i64> {
    let first = |fits: &dyn Fn(&GroupedAnomaly) -> bool| {
        let anomalies = case.anomalies.iter().filter(|one| fits(one));
        anomalies.map(|one| one.onset_ms).min()
    };
    first(&|one| one.service == service && !one.trigger_metric.contains(':'))
        .or_else(|| first(&|one| one.service == service))
        .or_else(|| first(&|_| true))
}
