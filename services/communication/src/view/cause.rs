//! 🔍 Why it is wrong, how sure that is, and on what evidence.

use super::{
    Deployment, Frame, NAME, QUOTE, Reading, Surroundings, deployment, frame, percent, reading,
    said,
};
use crate::units::{self, line};
use midwatch_events::incident::Verdict;
use midwatch_events::{AnomalyType, RcaCompleted, RootCauseCandidate};
use serde::Serialize;

/// The second mail.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CauseView {
    pub frame: Frame,
    pub preheader: String,
    pub confidence: u32,
    pub conclusive: bool,
    pub top: String,
    /// `2 min after detection`, by both clocks where they differ.
    pub took: String,
    pub trigger: Reading,
    pub candidates: Vec<CandidateView>,
    pub more_candidates: usize,
    pub similar: Vec<SimilarView>,
    pub runbooks: Vec<String>,
    pub deployment: Option<Deployment>,
    /// `ranked by fixed rules`.
    pub method: String,
    pub revision: u32,
    /// Whether people knew another cause before.
    pub changed: bool,
    pub revision_reason: Option<String>,
}

/// A candidate for the cause.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CandidateView {
    pub rank: u32,
    pub service: String,
    pub cause: String,
    pub hypothesis: String,
    pub confidence: u32,
    pub evidence: Vec<EvidenceView>,
    pub more_evidence: usize,
}

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvidenceView {
    pub id: String,
    pub kind: &'static str,
    /// Time of day; absent for documents.
    pub at: Option<String>,
    pub summary: String,
}

/// A past incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SimilarView {
    pub id: String,
    pub title: String,
    pub similarity: u32,
    pub mttr: String,
    pub root_cause: String,
    pub resolution: String,
}

const CANDIDATES: usize = 3;
const EVIDENCE: usize = 6;
const SIMILAR: usize = 3;

/// The view of the second mail. `onset_ms` is the first reading out of range,
/// where the first mail's event is known.
#[must_use]
pub fn cause(
    rca: &RcaCompleted,
    onset_ms: Option<i64>,
    wall_ms: i64,
    around: &Surroundings<'_>,
) -> CauseView {
    let header = &rca.header;
    let confidence = percent(rca.top_confidence);
    let conclusive = rca.verdict == Verdict::Conclusive;
    let top = line(&rca.top_root_cause, 2 * QUOTE);
    let took = units::both_durations(
        rca.completed_at_ms - header.detected_at_ms,
        wall_ms - header.detected_wall_ms,
    );
    let first = rca.root_cause_candidates.first();
    CauseView {
        frame: frame(header, around),
        preheader: if conclusive {
            format!("{confidence}%: {top}")
        } else {
            format!("No cause is established yet. Strongest lead: {top}")
        },
        confidence,
        conclusive,
        top,
        took,
        trigger: reading(
            header.primary_service(),
            &rca.trigger_metric,
            rca.observed_value,
            rca.baseline_value,
            None,
        ),
        candidates: rca
            .root_cause_candidates
            .iter()
            .take(CANDIDATES)
            .map(candidate)
            .collect(),
        more_candidates: rca.root_cause_candidates.len().saturating_sub(CANDIDATES),
        similar: first.map(similar).unwrap_or_default(),
        runbooks: first
            .map(|first| super::runbooks(&first.runbook_refs))
            .unwrap_or_default(),
        deployment: rca
            .deployment_context
            .as_ref()
            .map(|context| deployment(context, onset_ms.unwrap_or(header.detected_at_ms))),
        method: if rca.method == "deterministic" {
            "ranked by fixed rules".to_owned()
        } else {
            format!("ranked with {}", line(&rca.method, NAME))
        },
        revision: rca.revision,
        changed: false,
        revision_reason: said(&rca.revision_reason, QUOTE),
    }
}

fn candidate(candidate: &RootCauseCandidate) -> CandidateView {
    let cause = AnomalyType::parse(&candidate.cause).map_or_else(
        || line(&candidate.cause, NAME).replace(['_', '-'], " "),
        |kind| kind.title().to_owned(),
    );
    CandidateView {
        rank: candidate.rank,
        service: line(&candidate.service, NAME),
        cause,
        hypothesis: line(&candidate.hypothesis, 2 * QUOTE),
        confidence: percent(candidate.confidence),
        evidence: candidate
            .evidence
            .iter()
            .take(EVIDENCE)
            .map(|evidence| EvidenceView {
                id: line(&evidence.id, NAME),
                kind: evidence.kind.as_str(),
                at: (evidence.at_ms > 0).then(|| units::time_of_day(evidence.at_ms)),
                summary: line(&evidence.summary, QUOTE),
            })
            .collect(),
        more_evidence: candidate.evidence.len().saturating_sub(EVIDENCE),
    }
}

fn similar(candidate: &RootCauseCandidate) -> Vec<SimilarView> {
    let past = candidate.similar_incidents.iter().take(SIMILAR);
    past.map(|past| SimilarView {
        id: line(&past.incident_id, NAME),
        title: line(&past.title, QUOTE),
        similarity: percent(past.score),
        mttr: units::number(past.mttr_minutes),
        root_cause: line(&past.root_cause, QUOTE),
        resolution: line(&past.resolution, QUOTE),
    })
    .collect()
}
