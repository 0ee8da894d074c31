//! The rules that give a candidate support, and the records behind each.

use super::facts::{Facts, onset_of};
use super::rank::Support;
use super::state::Case;
use crate::config::Config;
use midwatch_events::anomaly::{AnomalyType, Severity};
use midwatch_events::incident::{EvidenceKind, EvidenceRef, GroupedAnomaly};
use midwatch_events::topology::Topology;
use std::collections::BTreeMap;

fn reference(
    id: impl Into<String>,
    kind: EvidenceKind,
    service: &str,
    at_ms: i64,
    summary: String,
) -> EvidenceRef {
    EvidenceRef {
        id: id.into(),
        kind,
        service: service.to_owned(),
        at_ms,
        summary,
    }
}

/// A number as people write it: three significant digits, no exponent.
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    let text = if size >= 100.0 || size == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// One support per kind of anomaly. A resource that ran out names itself
/// (0.55 to 0.7); a symptom says where it hurts (0.3 to 0.5).
#[must_use]
pub fn of_anomalies(own: &[&GroupedAnomaly]) -> Vec<(AnomalyType, Support)> {
    let mut by_kind: BTreeMap<AnomalyType, Vec<&GroupedAnomaly>> = BTreeMap::new();
    for anomaly in own {
        by_kind
            .entry(anomaly.anomaly_type)
            .or_default()
            .push(anomaly);
    }
    by_kind
        .into_iter()
        .map(|(kind, anomalies)| {
            let gravest = anomalies
                .iter()
                .map(|anomaly| anomaly.severity)
                .max()
                .unwrap_or(Severity::Low);
            let base = match kind {
                AnomalyType::DbConnectionExhaustion
                | AnomalyType::MemoryLeak
                | AnomalyType::CpuSaturation => 0.55,
                AnomalyType::KafkaConsumerLag | AnomalyType::KubernetesFailure => 0.45,
                AnomalyType::ErrorRateSpike | AnomalyType::LatencySpike => 0.35,
                _ => 0.25,
            };
            let extra = match gravest {
                Severity::Critical => 0.15,
                Severity::High => 0.08,
                Severity::Medium | Severity::Low => 0.0,
            };
            let evidence = anomalies
                .iter()
                .take(4)
                .map(|anomaly| {
                    let summary = format!(
                        "{} on {} read {} against a baseline of {} ({:+.1} σ)",
                        anomaly.trigger_metric,
                        anomaly.service,
                        number(anomaly.observed_value),
                        number(anomaly.baseline_value),
                        anomaly.deviation_sigma
                    );
                    let text = if anomaly.trigger_metric.contains(':') {
                        anomaly.description.clone()
                    } else {
                        summary
                    };
                    let id = anomaly.anomaly_id.to_string();
                    reference(
                        id,
                        EvidenceKind::Anomaly,
                        &anomaly.service,
                        anomaly.onset_ms,
                        text,
                    )
                })
                .collect();
            let strength = base + extra;
            (kind, Support { strength, evidence })
        })
        .collect()
}

/// The deployment nearest before a service's onset, and its age. One that came
/// after the onset is refuted by that.
#[must_use]
pub fn suspect_deployment<'a>(
    config: &Config,
    case: &Case,
    facts: &'a Facts,
    service: &str,
) -> Option<(&'a super::facts::DeploymentFact, i64)> {
    let onset = onset_of(&case.anomalies, service)?;
    facts
        .deployments
        .iter()
        .filter(|fact| fact.deployment.service == service)
        .map(|fact| (fact, onset - fact.deployment.timestamp_ms))
        .filter(|(_, age)| (0..=config.deployment_window_ms).contains(age))
        .min_by_key(|(_, age)| *age)
}

/// REFERENCE: confidence 1 − Δt / 60 min, scaled to what one kind of evidence
/// may carry.
#[must_use]
pub fn of_deployments(
    config: &Config,
    case: &Case,
    facts: &Facts,
    service: &str,
) -> Option<Support> {
    let (fact, age) = suspect_deployment(config, case, facts, service)?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "durations are far below 2^53 ms"
    )]
    let nearness = 1.0 - age as f64 / config.deployment_window_ms as f64;
    let deployment = &fact.deployment;
    let by = if deployment.deployed_by.is_empty() {
        String::new()
    } else {
        format!(" by {}", deployment.deployed_by)
    };
    let summary = format!(
        "{} {} was rolled out{by} {} s before the first anomaly of {service}: {}",
        deployment.service,
        deployment.version,
        age / 1_000,
        deployment.description
    );
    let id = fact.record_id.clone();
    let at = deployment.timestamp_ms;
    Some(Support {
        strength: 0.6 * nearness,
        evidence: vec![reference(
            id,
            EvidenceKind::Deployment,
            service,
            at,
            summary,
        )],
    })
}

/// What Kubernetes said about the service.
#[must_use]
pub fn of_kubernetes(facts: &Facts, service: &str) -> Option<Support> {
    let events: Vec<_> = facts
        .kubernetes
        .iter()
        .filter(|event| event.service == service && event.event_kind != "ROLLOUT")
        .collect();
    let critical = events.iter().any(|event| event.critical);
    let evidence: Vec<EvidenceRef> = events
        .iter()
        .take(3)
        .map(|event| {
            let summary = format!("{}: {}", event.object, event.text);
            let id = event.record_id.clone();
            reference(id, EvidenceKind::Kubernetes, service, event.at_ms, summary)
        })
        .collect();
    (!evidence.is_empty()).then_some(Support {
        strength: if critical { 0.45 } else { 0.2 },
        evidence,
    })
}

/// The service's own error lines that name no other service: it speaks of
/// itself.
#[must_use]
pub fn of_logs(facts: &Facts, service: &str) -> Option<Support> {
    let evidence: Vec<EvidenceRef> = facts
        .logs
        .iter()
        .filter(|line| line.service == service && line.names.is_empty())
        .take(3)
        .map(|line| {
            let summary = format!("{} × {} {:?}", line.count, line.level, line.message);
            reference(
                line.record_id.clone(),
                EvidenceKind::Log,
                service,
                line.at_ms,
                summary,
            )
        })
        .collect();
    (!evidence.is_empty()).then_some(Support {
        strength: 0.25,
        evidence,
    })
}

/// Lines of others that name the service as what failed them.
#[must_use]
pub fn of_accusations(facts: &Facts, service: &str) -> Option<Support> {
    let lines: Vec<_> = facts
        .logs
        .iter()
        .filter(|line| line.service != service && line.names.iter().any(|name| name == service))
        .collect();
    let accusers: std::collections::BTreeSet<&str> =
        lines.iter().map(|line| line.service.as_str()).collect();
    let evidence: Vec<EvidenceRef> = lines
        .iter()
        .take(3)
        .map(|line| {
            let summary = format!("{} logs {} × {:?}", line.service, line.count, line.message);
            reference(
                line.record_id.clone(),
                EvidenceKind::Log,
                &line.service,
                line.at_ms,
                summary,
            )
        })
        .collect();
    (!evidence.is_empty()).then_some(Support {
        strength: if accusers.len() > 1 { 0.4 } else { 0.3 },
        evidence,
    })
}

/// Callers that broke no earlier: the trouble flows from here.
#[must_use]
pub fn of_callers(
    config: &Config,
    case: &Case,
    topology: &Topology,
    service: &str,
) -> Option<Support> {
    let mine = onset_of(&case.anomalies, service)?;
    let callers: Vec<(String, i64)> = topology
        .callers(service)
        .into_iter()
        .filter_map(|caller| {
            let theirs = onset_of(&case.anomalies, caller)?;
            (theirs + config.same_moment_ms >= mine).then(|| (caller.to_owned(), theirs - mine))
        })
        .collect();
    let later = callers.iter().filter(|(_, lead)| *lead > 0).count();
    let evidence: Vec<EvidenceRef> = callers
        .iter()
        .take(3)
        .filter_map(|(caller, lead)| {
            let anomaly = case
                .anomalies
                .iter()
                .filter(|anomaly| anomaly.service == *caller)
                .min_by_key(|anomaly| anomaly.onset_ms)?;
            let when = if *lead > 0 {
                format!("{} s later", lead / 1_000)
            } else {
                "at the same moment".to_owned()
            };
            let summary = format!("{caller} calls {service} and left its range {when}");
            let id = anomaly.anomaly_id.to_string();
            Some(reference(
                id,
                EvidenceKind::Anomaly,
                caller,
                anomaly.onset_ms,
                summary,
            ))
        })
        .collect();
    (!evidence.is_empty()).then_some(Support {
        strength: if later > 0 { 0.4 } else { 0.25 },
        evidence,
    })
}

/// Past incidents of the same kind. Related texts lie at a cosine of 0.4 and
/// more with this model, unrelated ones below 0.24; 0.3 divides them.
#[must_use]
pub fn of_history(facts: &Facts, service: &str, cause: AnomalyType) -> Option<Support> {
    let best = facts
        .similar
        .iter()
        .filter(|incident| incident.score >= 0.3)
        .max_by(|one, other| one.score.total_cmp(&other.score))?;
    // The store was searched for this incident's type; it speaks for the
    // candidate of that type only.
    let says = format!("{} {}", best.title, best.root_cause).to_lowercase();
    let fits = says.contains(service) || says.contains(&cause.title().to_lowercase());
    let summary = format!(
        "{} resembles this one ({:.2}): {}",
        best.incident_id, best.score, best.root_cause
    );
    fits.then(|| Support {
        strength: 0.15,
        evidence: vec![reference(
            best.incident_id.clone(),
            EvidenceKind::Incident,
            service,
            0,
            summary,
        )],
    })
}

/// One sentence that says what is believed, with the readings behind it.
#[must_use]
pub fn hypothesis(
    case: &Case,
    facts: &Facts,
    service: &str,
    cause: AnomalyType,
    explained_by: Option<&str>,
) -> String {
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
    match explained_by {
        Some(other) => format!("{what}{reading}, though {other} behind it explains it as well"),
        None => format!("{what}{reading}"),
    }
}
