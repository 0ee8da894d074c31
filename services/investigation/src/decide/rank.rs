//! The candidates of an incident: what the investigator found in its records,
//! with the documents that fit.

use super::facts::Facts;
use super::hypothesis::hypothesis;
use super::knowledge::{self, Heard, Shelf};
use super::recorded;
use super::state::Case;
use crate::rca::clues::Clue;
use crate::rca::quantity::Quantity;
use crate::rca::{self, Candidate};
use midwatch_events::anomaly::AnomalyType;
use midwatch_events::cause::{family, title};
use midwatch_events::incident::{
    EvidenceKind, EvidenceRef, GroupedAnomaly, RootCauseCandidate, SimilarIncident,
};

/// Records that are published with a candidate.
pub(super) const RECORDS: usize = 12;
/// Related texts lie at a cosine of 0.4 and more with the model that is used,
/// unrelated ones below 0.24; 0.3 divides them.
const SIMILAR: f64 = 0.3;
/// Past incidents and runbook sections that a candidate refers to.
const DOCUMENTS: usize = 3;

/// A processor from here on makes requests wait: at 85 % utilisation a queue
/// with one server takes six to seven times the service time (M/M/1, 1 / (1 − ρ)).
const NEARLY_FULL_PERCENT: f64 = 85.0;
/// A fraction may be a little above one, where a processor is lent more.
const LARGEST_FRACTION: f64 = 1.5;
/// The highest confidence where nobody is hurt: inconclusive.
const UNNOTICED: f64 = 0.45;

/// Ranks the candidates, best first.
#[must_use]
pub fn rank(case: &Case, facts: &Facts) -> Vec<RootCauseCandidate> {
    let (mut candidates, weighed) = match &facts.answer {
        Some(answer) => (
            answer.candidates.clone(),
            facts.weighed.clone().unwrap_or_default(),
        ),
        None => {
            let recording = recorded::of_facts(&case.anomalies, facts);
            let Some(question) = recorded::question(&recording) else {
                return Vec::new();
            };
            let (answer, weighed) = rca::weigh_up(&recording, &question);
            (answer.candidates, weighed)
        }
    };
    candidates.retain(|candidate| !candidate.evidence.is_empty());
    let shelf = Shelf {
        own: &case.header.short_id,
        precedents: &facts.precedents,
        guides: &facts.guides,
        graph: &facts.topology(),
    };
    let mut heard = knowledge::speak(&mut candidates, &weighed, &shelf);
    let mut found: Vec<RootCauseCandidate> = candidates
        .iter()
        .zip(1..)
        .map(|(candidate, rank)| {
            let heard = heard.remove(&candidate.service).unwrap_or_default();
            published(case, facts, (candidate, heard), rank)
        })
        .collect();
    if !case.anomalies.iter().any(is_noticed) {
        for candidate in &mut found {
            candidate.confidence = candidate.confidence.min(UNNOTICED);
        }
    }
    found
}

/// Whether users notice an anomaly, or will before long. A processor with room
/// left and connections that nobody waits for hurt no one: a nightly job or a
/// busy hour looks the same, so they alone prove no cause.
fn is_noticed(anomaly: &GroupedAnomaly) -> bool {
    match anomaly.anomaly_type {
        AnomalyType::CpuSaturation => {
            percent(&anomaly.trigger_metric, anomaly.observed_value) >= NEARLY_FULL_PERCENT
        }
        AnomalyType::DbConnectionExhaustion | AnomalyType::Unknown => false,
        _ => true,
    }
}

/// A share as percent, by what its name says that it is a share of. Many call
/// a percentage a utilisation: what is far above one is no fraction.
fn percent(metric: &str, value: f64) -> f64 {
    match Quantity::whole(metric) {
        Some(whole) if value <= LARGEST_FRACTION * whole => value / whole * 100.0,
        _ => value,
    }
}

fn published(
    case: &Case,
    facts: &Facts,
    (candidate, heard): (&Candidate, Heard),
    rank: u32,
) -> RootCauseCandidate {
    let service = &candidate.service;
    let kind = heard.measured.or_else(|| family(&candidate.cause));
    let kind = kind.unwrap_or(AnomalyType::Unknown);
    let mut evidence: Vec<EvidenceRef> = candidate.evidence.iter().map(reference).collect();
    evidence.truncate(RECORDS - heard.evidence.len().max(1));
    let similar: Vec<SimilarIncident> = facts
        .similar
        .iter()
        .filter(|incident| incident.score >= SIMILAR)
        .take(DOCUMENTS)
        .cloned()
        .collect();
    if heard.evidence.is_empty() {
        evidence.extend(precedent(&similar, service, kind));
    }
    evidence.extend(heard.evidence);
    let mut apart = vec![candidate.discriminator.clone()];
    apart.extend(heard.apart);
    apart.retain(|clause| !clause.is_empty());
    let mut said = hypothesis(case, facts, service, (kind, &candidate.cause));
    if heard.measured.is_some() {
        said.push_str(": ");
        said.push_str(&title(&candidate.cause).to_lowercase());
    }
    RootCauseCandidate {
        rank,
        service: service.clone(),
        cause: candidate.cause.clone(),
        hypothesis: said,
        confidence: candidate.confidence,
        evidence,
        refuting: candidate.refuting.iter().map(reference).collect(),
        discriminator: apart.join("; "),
        similar_incidents: similar,
        runbook_refs: facts
            .runbooks
            .iter()
            .take(DOCUMENTS)
            .map(|(name, _)| name.clone())
            .collect(),
    }
}

fn reference(clue: &Clue) -> EvidenceRef {
    EvidenceRef {
        id: clue.id.clone(),
        kind: clue.kind,
        service: clue.service.clone(),
        at_ms: clue.at_ms,
        summary: clue.summary.clone(),
    }
}

/// A past incident of the same kind or service.
fn precedent(
    similar: &[SimilarIncident],
    service: &str,
    cause: AnomalyType,
) -> Option<EvidenceRef> {
    let best = similar
        .iter()
        .max_by(|one, other| one.score.total_cmp(&other.score))?;
    let says = format!("{} {}", best.title, best.root_cause).to_lowercase();
    let fits = says.contains(service) || says.contains(&cause.title().to_lowercase());
    fits.then(|| EvidenceRef {
        id: best.incident_id.clone(),
        kind: EvidenceKind::Incident,
        service: service.to_owned(),
        at_ms: 0,
        summary: format!(
            "{} resembles this one ({:.2}): {}",
            best.incident_id, best.score, best.root_cause
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_told_in_percent_by_its_name() {
        for (metric, value, expected) in [
            ("service_cpu_percent", 97.0, 97.0),
            ("process_cpu_ratio", 0.99, 99.0),
            ("process_cpu_ratio{pod=a-0}", 0.5, 50.0),
            ("node_cpu_utilization", 0.9, 90.0),
            // A percentage that is called a utilisation.
            ("node_cpu_utilization", 40.0, 40.0),
            ("container_cpu_cores", 3.5, 3.5),
        ] {
            let told = percent(metric, value);
            assert!((told - expected).abs() < 1e-9, "{metric}: {told}");
        }
    }
}
