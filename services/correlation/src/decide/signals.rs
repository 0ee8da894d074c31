//! The correlation signals: what the anomalies of a group have to do with each
//! other and with what was changed.

use super::state::Group;
use crate::config::Config;
use midwatch_events::anomaly::AnomalyType;
use midwatch_events::incident::{BlastRadius, CorrelationSignal, GroupedAnomaly};
use midwatch_events::raw::RawDeployment;
use std::collections::BTreeSet;

/// All signals of a group, strongest first.
#[must_use]
pub fn signals(config: &Config, group: &Group) -> Vec<CorrelationSignal> {
    let mut signals = Vec::new();
    signals.extend(deployments(config, group));
    signals.extend(upstream_degradation(group));
    signals.extend(cascade(config, group));
    signals.extend(amplification(group));
    signals.extend(kubernetes(group));
    signals.extend(log_patterns(group));
    signals.sort_by(|one, other| {
        other
            .strength
            .total_cmp(&one.strength)
            .then_with(|| one.signal_type.cmp(&other.signal_type))
            .then_with(|| one.description.cmp(&other.description))
    });
    signals
}

/// The onset of a service: of its first anomaly.
#[must_use]
pub fn onset(group: &Group, service: &str) -> Option<i64> {
    group
        .anomalies
        .iter()
        .filter(|anomaly| anomaly.service == service)
        .map(|anomaly| anomaly.onset_ms)
        .min()
}

/// The deployment nearest before the onset on a service of the group, and its
/// strength: 1 − Δt / window (REFERENCE: 60 minutes).
#[must_use]
pub fn suspect_deployment<'a>(
    config: &Config,
    group: &'a Group,
) -> Option<(&'a RawDeployment, f64)> {
    group
        .surroundings
        .deployments
        .iter()
        .filter_map(|deployment| {
            let age = onset(group, &deployment.service)? - deployment.timestamp_ms;
            #[expect(clippy::cast_precision_loss, reason = "minutes, far below 2^53")]
            let strength = 1.0 - age as f64 / config.deployment_window_ms as f64;
            (age >= 0 && strength > 0.0).then_some((deployment, strength))
        })
        .max_by(|one, other| one.1.total_cmp(&other.1))
}

fn deployments(config: &Config, group: &Group) -> Option<CorrelationSignal> {
    let (deployment, strength) = suspect_deployment(config, group)?;
    let age = onset(group, &deployment.service)? - deployment.timestamp_ms;
    Some(CorrelationSignal {
        signal_type: "DEPLOYMENT_CORRELATED".to_owned(),
        strength,
        description: format!(
            "{} {} was rolled out {:.1} min before {} left its range",
            deployment.service,
            deployment.version,
            minutes(age),
            deployment.service
        ),
        evidence: vec![format!("{}@{}", deployment.service, deployment.version)],
    })
}

/// A service that calls an impaired one and broke no earlier.
fn upstream_degradation(group: &Group) -> Vec<CorrelationSignal> {
    pairs(group)
        .into_iter()
        .filter_map(|(caller, callee)| {
            let lead = onset(group, &caller)? - onset(group, &callee)?;
            // Ten seconds: the usual distance of two samples.
            (lead >= -10_000).then(|| CorrelationSignal {
                signal_type: "UPSTREAM_DEGRADATION".to_owned(),
                strength: if lead > 0 { 0.9 } else { 0.7 },
                description: format!(
                    "{caller} depends on {callee}, which left its range {}",
                    if lead > 0 {
                        format!("{} s earlier", lead / 1000)
                    } else {
                        "at the same time".to_owned()
                    }
                ),
                evidence: anomaly_ids(group, &[&caller, &callee]),
            })
        })
        .collect()
}

/// Whether what was observed is a part of requests that fail, in percent: log
/// lines are counted and budgets are burnt in other units.
fn is_error_rate(anomaly: &GroupedAnomaly) -> bool {
    let counted = ["log:", "slo:", "kubernetes:"];
    anomaly.anomaly_type == AnomalyType::ErrorRateSpike
        && !counted
            .iter()
            .any(|prefix| anomaly.trigger_metric.starts_with(prefix))
}

/// A neighbour whose error rate passed the limit.
fn cascade(config: &Config, group: &Group) -> Option<CorrelationSignal> {
    let failing: Vec<&GroupedAnomaly> = group
        .anomalies
        .iter()
        .filter(|anomaly| {
            is_error_rate(anomaly)
                && anomaly.service != group.primary
                && anomaly.observed_value > config.cascade_error_percent
        })
        .collect();
    let worst = failing
        .iter()
        .max_by(|one, other| one.observed_value.total_cmp(&other.observed_value))?;
    Some(CorrelationSignal {
        signal_type: "CASCADE_FAILURE".to_owned(),
        strength: (worst.observed_value / 50.0).clamp(0.3, 1.0),
        description: format!(
            "errors spread beyond {}: {} fails {:.1} % of its requests",
            group.primary, worst.service, worst.observed_value
        ),
        evidence: failing
            .iter()
            .map(|anomaly| anomaly.anomaly_id.to_string())
            .collect(),
    })
}

/// A caller that fails more often than what it calls.
fn amplification(group: &Group) -> Vec<CorrelationSignal> {
    let rate = |service: &str| {
        group
            .anomalies
            .iter()
            .filter(|anomaly| anomaly.service == service && is_error_rate(anomaly))
            .map(|anomaly| anomaly.observed_value)
            .fold(None, |best: Option<f64>, value| {
                Some(best.map_or(value, |best| best.max(value)))
            })
    };
    pairs(group)
        .into_iter()
        .filter_map(|(caller, callee)| {
            let (outer, inner) = (rate(&caller)?, rate(&callee)?);
            (inner > 0.0 && outer > 1.5 * inner).then(|| CorrelationSignal {
                signal_type: "ERROR_AMPLIFICATION".to_owned(),
                strength: (outer / inner / 5.0).clamp(0.3, 1.0),
                description: format!(
                    "{caller} fails {outer:.1} % of its requests, {callee} behind it {inner:.1} %: retries or missing fallbacks multiply the errors"
                ),
                evidence: anomaly_ids(group, &[&caller, &callee]),
            })
        })
        .collect()
}

fn kubernetes(group: &Group) -> Vec<CorrelationSignal> {
    let services: BTreeSet<String> = group.services().into_iter().collect();
    let mut seen = BTreeSet::new();
    group
        .surroundings
        .kubernetes
        .iter()
        .rev()
        .filter(|event| services.contains(event.service()))
        .filter(|event| seen.insert((event.service().to_owned(), event.event_kind.clone())))
        .map(|event| CorrelationSignal {
            signal_type: "KUBERNETES_EVENT".to_owned(),
            strength: if event.critical { 0.9 } else { 0.5 },
            description: format!(
                "{} {}/{}: {} ({})",
                event.kind, event.namespace, event.name, event.reason, event.message
            ),
            evidence: vec![format!("{}/{}", event.namespace, event.name)],
        })
        .collect()
}

fn log_patterns(group: &Group) -> Vec<CorrelationSignal> {
    group
        .anomalies
        .iter()
        .filter_map(|anomaly| {
            let rule = anomaly.trigger_metric.strip_prefix("log:")?;
            Some(CorrelationSignal {
                signal_type: "LOG_PATTERN".to_owned(),
                strength: 0.6,
                description: format!("{} logs {}: {}", anomaly.service, rule, anomaly.description),
                evidence: vec![anomaly.anomaly_id.to_string()],
            })
        })
        .collect()
}

/// Pairs (caller, callee) of services of the group that call each other.
fn pairs(group: &Group) -> Vec<(String, String)> {
    let services: BTreeSet<String> = group.services().into_iter().collect();
    group
        .surroundings
        .topology
        .edges()
        .filter(|(caller, callee, _)| services.contains(*caller) && services.contains(*callee))
        .map(|(caller, callee, _)| (caller.to_owned(), callee.to_owned()))
        .collect()
}

fn anomaly_ids(group: &Group, services: &[&str]) -> Vec<String> {
    group
        .anomalies
        .iter()
        .filter(|anomaly| services.contains(&anomaly.service.as_str()))
        .map(|anomaly| anomaly.anomaly_id.to_string())
        .collect()
}

/// How far the trouble reaches, from the graph.
#[must_use]
pub fn blast_radius(group: &Group) -> BlastRadius {
    let impaired = group.services();
    let mut at_risk = Vec::new();
    for service in &impaired {
        for (caller, _) in group.surroundings.topology.transitive_callers(service) {
            if !impaired.contains(&caller) && !at_risk.contains(&caller) {
                at_risk.push(caller);
            }
        }
    }
    let rates: Vec<f64> = impaired
        .iter()
        .filter_map(|service| group.surroundings.request_rates.get(service).copied())
        .collect();
    let requests_per_second = (!rates.is_empty()).then(|| rates.iter().sum());
    let mut description = match impaired.as_slice() {
        [only] => format!("{only} alone is out of range"),
        [first, rest @ ..] => format!("{first} and {} are out of range", list(rest)),
        [] => "no service is out of range".to_owned(),
    };
    if !at_risk.is_empty() {
        description.push_str(&format!("; {} may follow", list(&at_risk)));
    }
    if let Some(rate) = requests_per_second {
        description.push_str(&format!("; about {rate:.0} requests/s pass through them"));
    }
    BlastRadius {
        impaired,
        at_risk,
        requests_per_second,
        description,
    }
}

/// `a`, `a and b`, `a, b and c`.
#[must_use]
pub fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "durations are far below 2^53 ms"
)]
fn minutes(ms: i64) -> f64 {
    ms as f64 / 60_000.0
}
