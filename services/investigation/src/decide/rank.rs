//! The deterministic ranking of causes.
//!
//! A candidate is a service and a cause. Each rule below gives it support
//! between 0 and 1 and names the records behind it. Support of different kinds
//! is combined as independent chances that the candidate is right
//! (noisy-or, Pearl 1988: 1 − ∏(1 − sᵢ)), so that no single kind proves a case
//! and several agreeing ones do. What another service explains is discounted
//! by a factor, never subtracted, so that evidence of its own still counts.

use super::evidence;
use super::facts::{Facts, onset_of};
use super::state::Case;
use crate::config::Config;
use midwatch_events::anomaly::{AnomalyType, Severity};
use midwatch_events::incident::{EvidenceRef, GroupedAnomaly, RootCauseCandidate};
use midwatch_events::topology::Topology;
use std::collections::{BTreeMap, BTreeSet};

/// Candidates that are published.
const LIMIT: usize = 5;
/// What is left of the support of a symptom (slow answers, errors) that a
/// broken dependency explains.
const EXPLAINED: f64 = 0.3;
/// No evidence of ours is certain.
const CEILING: f64 = 0.97;

/// A kind of evidence, how strongly it speaks, and its records.
#[derive(Clone, Debug, PartialEq)]
pub struct Support {
    /// 0..1.
    pub strength: f64,
    pub evidence: Vec<EvidenceRef>,
}

/// Ranks the candidates, best first.
#[must_use]
pub fn rank(config: &Config, case: &Case, facts: &Facts) -> Vec<RootCauseCandidate> {
    let topology = facts.topology();
    let mut services: BTreeSet<&str> = case
        .anomalies
        .iter()
        .map(|anomaly| anomaly.service.as_str())
        .collect();
    // A service that shows nothing itself but was changed or restarted.
    services.extend(facts.kubernetes.iter().map(|event| event.service.as_str()));
    let mut candidates: Vec<RootCauseCandidate> = services
        .into_iter()
        .filter_map(|service| candidate(config, case, facts, &topology, service))
        .collect();
    candidates.sort_by(|one, other| {
        other
            .confidence
            .total_cmp(&one.confidence)
            .then_with(|| one.service.cmp(&other.service))
    });
    candidates.truncate(LIMIT);
    temper(&mut candidates);
    for (rank, candidate) in (1..).zip(candidates.iter_mut()) {
        candidate.rank = rank;
    }
    candidates
}

/// Two candidates that are equally good cannot both be believed: each is held
/// back by how near the next one comes.
fn temper(candidates: &mut [RootCauseCandidate]) {
    let support: Vec<f64> = candidates
        .iter()
        .map(|candidate| candidate.confidence)
        .collect();
    for (index, candidate) in candidates.iter_mut().enumerate() {
        let rival = support
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index)
            .map(|(_, strength)| *strength)
            .fold(0.0, f64::max);
        let share = candidate.confidence / (candidate.confidence + rival * rival);
        candidate.confidence = round(candidate.confidence * (0.55 + 0.45 * share));
    }
}

fn candidate(
    config: &Config,
    case: &Case,
    facts: &Facts,
    topology: &Topology,
    service: &str,
) -> Option<RootCauseCandidate> {
    let own: Vec<&GroupedAnomaly> = case
        .anomalies
        .iter()
        .filter(|anomaly| anomaly.service == service)
        .collect();
    let cause = cause_of(config, case, facts, service, &own)?;
    let explained_by = explanation(config, case, topology, service);
    let discount = |strength: f64, symptom: bool| {
        if symptom && explained_by.is_some() {
            strength * EXPLAINED
        } else {
            strength
        }
    };
    let mut supports = Vec::new();
    for (kind, support) in evidence::of_anomalies(&own) {
        let strength = discount(support.strength, is_symptom(kind));
        supports.push(Support {
            strength,
            ..support
        });
    }
    supports.extend(evidence::of_deployments(config, case, facts, service));
    supports.extend(evidence::of_kubernetes(facts, service));
    supports.extend(evidence::of_logs(facts, service).map(|support| Support {
        strength: discount(support.strength, true),
        ..support
    }));
    supports.extend(evidence::of_accusations(facts, service));
    supports.extend(evidence::of_callers(config, case, topology, service));
    supports.extend(evidence::of_history(facts, service, cause));
    let missed = supports.iter().fold(1.0, |missed, support| {
        missed * (1.0 - support.strength.clamp(0.0, 0.95))
    });
    let mut records: Vec<EvidenceRef> = Vec::new();
    for record in supports.into_iter().flat_map(|support| support.evidence) {
        if !records.iter().any(|known| known.id == record.id) {
            records.push(record);
        }
    }
    records.truncate(12);
    let similar = facts
        .similar
        .iter()
        .filter(|incident| incident.score >= 0.3)
        .take(3)
        .cloned()
        .collect();
    let mut runbooks: Vec<String> = facts
        .runbooks
        .iter()
        .map(|(name, _)| name.clone())
        .collect();
    runbooks.truncate(3);
    Some(RootCauseCandidate {
        refuting: Vec::new(),
        discriminator: String::new(),
        rank: 0,
        service: service.to_owned(),
        cause: cause.as_str().to_owned(),
        hypothesis: evidence::hypothesis(case, facts, service, cause, explained_by.as_deref()),
        confidence: round((1.0 - missed).min(CEILING)),
        evidence: records,
        similar_incidents: similar,
        runbook_refs: runbooks,
    })
}

/// Slow answers, errors and missing traffic are what a broken dependency looks
/// like from outside; a full pool or a full heap is not.
fn is_symptom(kind: AnomalyType) -> bool {
    matches!(
        kind,
        AnomalyType::LatencySpike
            | AnomalyType::ErrorRateSpike
            | AnomalyType::TrafficDrop
            | AnomalyType::DependencyOutage
            | AnomalyType::Unknown
    )
}

/// The broken dependency that explains a service's symptoms: one that it calls,
/// directly or through others, and that broke no later.
fn explanation(config: &Config, case: &Case, topology: &Topology, service: &str) -> Option<String> {
    let mine = onset_of(&case.anomalies, service)?;
    topology
        .transitive_callees(service)
        .into_iter()
        .filter(|(_, hops)| *hops <= 3)
        .find(|(callee, _)| {
            onset_of(&case.anomalies, callee)
                .is_some_and(|theirs| theirs <= mine + 2 * config.same_moment_ms)
                && !depends_on(topology, callee, service)
        })
        .map(|(callee, _)| callee)
}

/// Whether `service` is reached from `from` by calls.
fn depends_on(topology: &Topology, from: &str, service: &str) -> bool {
    topology
        .transitive_callees(from)
        .iter()
        .any(|(callee, _)| callee == service)
}

/// The cause that a service's own evidence points at, the most telling first.
fn cause_of(
    config: &Config,
    case: &Case,
    facts: &Facts,
    service: &str,
    own: &[&GroupedAnomaly],
) -> Option<AnomalyType> {
    let mut kinds: BTreeMap<AnomalyType, Severity> = BTreeMap::new();
    for anomaly in own {
        let gravest = kinds
            .entry(anomaly.anomaly_type)
            .or_insert(anomaly.severity);
        *gravest = (*gravest).max(anomaly.severity);
    }
    for telling in [
        AnomalyType::DbConnectionExhaustion,
        AnomalyType::MemoryLeak,
        AnomalyType::CpuSaturation,
    ] {
        if kinds.contains_key(&telling) {
            return Some(telling);
        }
    }
    if evidence::suspect_deployment(config, case, facts, service).is_some() {
        return Some(AnomalyType::DeploymentFailure);
    }
    for kind in [
        AnomalyType::KafkaConsumerLag,
        AnomalyType::KubernetesFailure,
        AnomalyType::MissingData,
        AnomalyType::ErrorRateSpike,
        AnomalyType::LatencySpike,
        AnomalyType::TrafficDrop,
        AnomalyType::DependencyOutage,
        AnomalyType::Unknown,
    ] {
        // Errors that come with slow answers at the same gravity are read as
        // what the incident was opened on.
        if kinds.contains_key(&kind) {
            let opened_on = case.header.anomaly_type;
            let both = kind == AnomalyType::ErrorRateSpike
                && opened_on == AnomalyType::LatencySpike
                && kinds.contains_key(&opened_on);
            return Some(if both { opened_on } else { kind });
        }
    }
    facts
        .kubernetes
        .iter()
        .any(|event| event.service == service && event.critical)
        .then_some(AnomalyType::KubernetesFailure)
}

/// Two decimals: more would claim more than the rules can tell.
fn round(confidence: f64) -> f64 {
    (confidence * 100.0).round() / 100.0
}
