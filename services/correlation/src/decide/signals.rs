//! The correlation signals: what the anomalies of a group have to do with each
//! other and with what was changed.

use super::state::Group;
use crate::config::Config;
use midwatch_events::anomaly::AnomalyType;
use midwatch_events::cause::ChangeType;
use midwatch_events::incident::{BlastRadius, CorrelationSignal, GroupedAnomaly};
use midwatch_events::raw::RawDeployment;
use midwatch_events::topology::Topology;
use std::collections::{BTreeMap, BTreeSet};

/// Signals that are told, strongest first: a storm has hundreds.
const LIMIT: usize = 40;
/// Ids that one signal names.
const IDS: usize = 20;
/// Services that a sentence names.
const NAMED: usize = 12;

/// The signals of a group, strongest first; where there are more than
/// [`LIMIT`], the last one says how many.
#[must_use]
pub fn signals(config: &Config, group: &Group) -> Vec<CorrelationSignal> {
    let graph = group.graph(config);
    let pairs = pairs(&graph, group);
    let mut signals = Vec::new();
    signals.extend(deployments(config, group));
    signals.extend(upstream_degradation(group, &pairs));
    signals.extend(cascade(config, group));
    signals.extend(amplification(group, &pairs));
    signals.extend(kubernetes(group));
    signals.extend(log_patterns(group));
    signals.extend(flapping(group));
    signals.sort_by(|one, other| {
        other
            .strength
            .total_cmp(&one.strength)
            .then_with(|| one.signal_type.cmp(&other.signal_type))
            .then_with(|| one.description.cmp(&other.description))
    });
    let more = signals.len().saturating_sub(LIMIT);
    if more > 0 {
        signals.truncate(LIMIT);
        signals.push(CorrelationSignal {
            signal_type: "FURTHER_SIGNALS".to_owned(),
            strength: 0.0,
            description: format!("{more} weaker signals are not listed"),
            evidence: Vec::new(),
        });
    }
    for signal in &mut signals {
        let more = signal.evidence.len().saturating_sub(IDS);
        if more > 0 {
            signal.evidence.truncate(IDS);
            signal
                .description
                .push_str(&format!(" (and {more} more pieces of evidence)"));
        }
    }
    signals
}

/// The onset of each service: of its first anomaly.
#[must_use]
pub fn onsets(group: &Group) -> BTreeMap<&str, i64> {
    let mut onsets: BTreeMap<&str, i64> = BTreeMap::new();
    for member in &group.anomalies {
        let first = onsets.entry(&member.service).or_insert(member.onset_ms);
        *first = member.onset_ms.min(*first);
    }
    onsets
}

/// What a deployment has to do with a group.
#[derive(Clone, Debug, PartialEq)]
pub enum Suspicion {
    /// It came before the change; how strongly it is suspected, 0..1, and how
    /// long before.
    Suspect { strength: f64, age_ms: i64 },
    /// Why it cannot be behind it.
    Refuted(String),
    /// It touched no service of the group.
    Elsewhere,
}

/// Judges a deployment by when its service really began to change:
/// 1 − Δt / window (REFERENCE: 60 minutes), refuted where the change came
/// first. Where the interval of the onset reaches beyond the deployment, the
/// strength falls with the part of it that lies before.
#[must_use]
pub fn suspicion(config: &Config, group: &Group, deployment: &RawDeployment) -> Suspicion {
    let graph = &group.surroundings.topology;
    let service = graph.service_of(&deployment.service);
    let first = group
        .anomalies
        .iter()
        .filter(|member| graph.service_of(&member.service) == service)
        .min_by_key(|member| (member.onset_ms, member.anomaly_id));
    let Some(first) = first else {
        return Suspicion::Elsewhere;
    };
    let absolved = group.absolved.get(service);
    if absolved.is_some_and(|ended_ms| deployment.timestamp_ms < *ended_ms) {
        return Suspicion::Refuted(format!(
            "{service} recovered from what had followed it while it stayed in place"
        ));
    }
    let began = group.began.get(&first.anomaly_id);
    let (earliest, latest) = began.map_or((first.onset_ms, first.onset_ms), |began| {
        (
            began.earliest_ms.min(first.onset_ms),
            began.latest_ms.max(first.onset_ms),
        )
    });
    let at = deployment.timestamp_ms;
    // Somebody takes a version back because there is trouble: what its service
    // shows a little later is why, and no sign against it.
    if deployment.change() == ChangeType::Rollback && at > group.onset_ms().min(earliest) {
        return Suspicion::Refuted(
            "it is a rollback that was made when the trouble had begun".to_owned(),
        );
    }
    if latest < at {
        return Suspicion::Refuted(format!(
            "{} on {service} began to change {} s before it",
            first.trigger_metric,
            (at - first.onset_ms) / 1_000
        ));
    }
    let age_ms = (first.onset_ms - at).max(0);
    let mut strength = 1.0 - ratio(age_ms, config.deployment_window_ms);
    if at > first.onset_ms {
        strength *= ratio(latest - at, latest - earliest);
    }
    strength *= deployment.change().trust();
    if strength > 0.0 {
        Suspicion::Suspect { strength, age_ms }
    } else {
        let minutes = minutes(config.deployment_window_ms);
        Suspicion::Refuted(format!(
            "{service} began to change more than {minutes:.0} min after it"
        ))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "durations are far below 2^53 ms"
)]
fn ratio(part_ms: i64, whole_ms: i64) -> f64 {
    part_ms as f64 / whole_ms.max(1) as f64
}

/// The deployment that is suspected most, and how strongly.
#[must_use]
pub fn suspect_deployment<'a>(
    config: &Config,
    group: &'a Group,
) -> Option<(&'a RawDeployment, f64)> {
    let deployments = group.surroundings.deployments.iter();
    deployments
        .filter_map(|deployment| match suspicion(config, group, deployment) {
            Suspicion::Suspect { strength, .. } => Some((deployment, strength)),
            Suspicion::Refuted(_) | Suspicion::Elsewhere => None,
        })
        .max_by(|one, other| one.1.total_cmp(&other.1))
}

fn deployments(config: &Config, group: &Group) -> Option<CorrelationSignal> {
    let (deployment, strength) = suspect_deployment(config, group)?;
    let Suspicion::Suspect { age_ms, .. } = suspicion(config, group, deployment) else {
        return None;
    };
    Some(CorrelationSignal {
        signal_type: "DEPLOYMENT_CORRELATED".to_owned(),
        strength,
        description: format!(
            "{} {:.1} min before {} began to change",
            deployment.told(),
            minutes(age_ms),
            deployment.service
        ),
        evidence: vec![format!("{}@{}", deployment.service, deployment.version)],
    })
}

/// A service that calls an impaired one and broke no earlier.
fn upstream_degradation(group: &Group, pairs: &[(String, String)]) -> Vec<CorrelationSignal> {
    let onsets = onsets(group);
    pairs
        .iter()
        .filter_map(|(caller, callee)| {
            let lead = onsets.get(caller.as_str())? - onsets.get(callee.as_str())?;
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
                evidence: anomaly_ids(group, &[caller, callee]),
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
fn amplification(group: &Group, pairs: &[(String, String)]) -> Vec<CorrelationSignal> {
    let mut rates: BTreeMap<&str, f64> = BTreeMap::new();
    for one in group.anomalies.iter().filter(|one| is_error_rate(one)) {
        let worst = rates.entry(&one.service).or_insert(one.observed_value);
        *worst = one.observed_value.max(*worst);
    }
    let rate = |service: &str| rates.get(service).copied();
    pairs
        .iter()
        .filter_map(|(caller, callee)| {
            let (outer, inner) = (rate(caller)?, rate(callee)?);
            (inner > 0.0 && outer > 1.5 * inner).then(|| CorrelationSignal {
                signal_type: "ERROR_AMPLIFICATION".to_owned(),
                strength: (outer / inner / 5.0).clamp(0.3, 1.0),
                description: format!(
                    "{caller} fails {outer:.1} % of its requests, {callee} behind it {inner:.1} %: retries or missing fallbacks multiply the errors"
                ),
                evidence: anomaly_ids(group, &[caller, callee]),
            })
        })
        .collect()
}

/// A trouble that comes and goes.
fn flapping(group: &Group) -> Option<CorrelationSignal> {
    let score = group.flapping?;
    Some(CorrelationSignal {
        signal_type: "FLAPPING".to_owned(),
        strength: (score / 6.0).min(1.0),
        description: format!(
            "{} on {} comes and goes (flap score {score:.1}): further outbreaks are kept quiet \
             unless they last, get graver or show something new",
            group.trigger.metric, group.primary
        ),
        evidence: vec![group.fingerprint()],
    })
}

fn kubernetes(group: &Group) -> Vec<CorrelationSignal> {
    let graph = &group.surroundings.topology;
    let members = group.services();
    let services: BTreeSet<&str> = members.iter().map(|one| graph.service_of(one)).collect();
    let mut seen = BTreeSet::new();
    group
        .surroundings
        .kubernetes
        .iter()
        .rev()
        .filter(|event| services.contains(graph.service_of(event.service())))
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
fn pairs(graph: &Topology, group: &Group) -> Vec<(String, String)> {
    let services: BTreeSet<String> = group.services().into_iter().collect();
    graph
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
pub fn blast_radius(config: &Config, group: &Group) -> BlastRadius {
    let impaired = group.services();
    let graph = group.graph(config);
    let mut at_risk = Vec::new();
    for service in &impaired {
        for (caller, _) in graph.transitive_callers(service) {
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
        [first, rest @ ..] => format!("{first} and {} are out of range", some_of(rest)),
        [] => "no service is out of range".to_owned(),
    };
    if !at_risk.is_empty() {
        description.push_str(&format!("; {} may follow", some_of(&at_risk)));
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

/// As [`list`]; of many the first, and how many more there are.
fn some_of(names: &[String]) -> String {
    if names.len() <= NAMED {
        return list(names);
    }
    let more = names.len() - NAMED;
    format!("{} and {more} more services", names[..NAMED].join(", "))
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
