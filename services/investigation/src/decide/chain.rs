//! The investigation's links of the chain of artifacts: findings, their
//! summary, and the hypotheses that were concluded from both.

use super::facts::Facts;
use super::state::Case;
use midwatch_events::artifact::{Artifact, ArtifactKind, ArtifactStatus, SCHEMA_VERSION, id};
use midwatch_events::incident::{GroupedAnomaly, RootCauseCandidate, Verdict};
use midwatch_events::more::divided;
use midwatch_runtime::{Effect, Moment, Projection};
use serde_json::{Value, json};
use uuid::Uuid;

const PRODUCER: &str = "midwatch.investigation";
/// Who goes on from a finding or a summary, and from a hypothesis.
const NEXT: &str = "midwatch.investigation";
const AFTER: &str = "midwatch.remediation";
/// Records that a summary names; the facts themselves hold some hundred.
const RECORDS: usize = 200;

/// What was seen in the present look: one finding per anomaly as it is now, the
/// first listed ones of a storm, and the summary that groups them.
#[must_use]
pub fn observation(case: &Case, at: Moment) -> Effect {
    let mut artifacts: Vec<Artifact> = divided(&case.anomalies)
        .0
        .iter()
        .map(|member| finding(case, at, member))
        .collect();
    artifacts.push(summary(case, at));
    write(
        case,
        artifacts,
        vec![
            ArtifactKind::ObservationSummary,
            ArtifactKind::AnomalyFinding,
        ],
    )
}

/// What was concluded in the present revision, one per candidate.
#[must_use]
pub fn hypotheses(case: &Case, at: Moment, verdict: Verdict, method: &str) -> Effect {
    let artifacts = case
        .candidates
        .iter()
        .map(|candidate| hypothesis(case, at, candidate, verdict, method))
        .collect();
    write(case, artifacts, vec![ArtifactKind::RootCauseHypothesis])
}

fn write(case: &Case, artifacts: Vec<Artifact>, supersedes: Vec<ArtifactKind>) -> Effect {
    Effect::Project(Projection::Artifacts {
        incident_id: case.header.incident_id,
        artifacts,
        supersedes,
    })
}

fn artifact(case: &Case, at: Moment, artifact_id: Uuid, kind: ArtifactKind) -> Artifact {
    let is_whole = case
        .facts
        .as_ref()
        .is_some_and(|facts| facts.gaps.is_empty());
    Artifact {
        artifact_id,
        incident_id: case.header.incident_id,
        kind,
        schema_version: SCHEMA_VERSION,
        producer: PRODUCER.to_owned(),
        consumer: NEXT.to_owned(),
        status: if is_whole {
            ArtifactStatus::Complete
        } else {
            ArtifactStatus::Partial
        },
        inputs: Vec::new(),
        evidence: Vec::new(),
        created_at_ms: at.event_ms,
        replay: false,
        body: Value::Null,
    }
}

/// A finding that changes (an earlier onset, a graver reading) is another one.
fn finding_id(case: &Case, member: &GroupedAnomaly) -> Uuid {
    id(
        case.header.incident_id,
        ArtifactKind::AnomalyFinding,
        &[
            &member.anomaly_id.to_string(),
            &member.onset_ms.to_string(),
            member.anomaly_type.as_str(),
            member.severity.as_str(),
            &member.observed_value.to_string(),
        ],
    )
}

fn finding(case: &Case, at: Moment, member: &GroupedAnomaly) -> Artifact {
    let kind = ArtifactKind::AnomalyFinding;
    // When it cleared is no part of what was found, and would make another
    // finding of it.
    let mut body = json!(member);
    if let Some(body) = body.as_object_mut() {
        body.remove("cleared_at_ms");
    }
    Artifact {
        // A finding is one's own: it is whole even where records are missing.
        status: ArtifactStatus::Complete,
        evidence: vec![member.anomaly_id.to_string()],
        body,
        ..artifact(case, at, finding_id(case, member), kind)
    }
}

fn summary_id(case: &Case) -> Uuid {
    let look = case.gatherings.to_string();
    id(
        case.header.incident_id,
        ArtifactKind::ObservationSummary,
        &[&look],
    )
}

fn summary(case: &Case, at: Moment) -> Artifact {
    let kind = ArtifactKind::ObservationSummary;
    let nothing = Facts::default();
    let facts = case.facts.as_ref().unwrap_or(&nothing);
    let mut evidence: Vec<String> = case
        .anomalies
        .iter()
        .map(|member| member.anomaly_id.to_string())
        .collect();
    evidence.extend(facts.deployments.iter().map(|fact| fact.record_id.clone()));
    evidence.extend(facts.kubernetes.iter().map(|fact| fact.record_id.clone()));
    evidence.extend(facts.logs.iter().map(|fact| fact.record_id.clone()));
    evidence.extend(facts.series.iter().map(|fact| fact.record_id.clone()));
    evidence.truncate(RECORDS);
    Artifact {
        inputs: divided(&case.anomalies)
            .0
            .iter()
            .map(|member| finding_id(case, member))
            .collect(),
        evidence,
        body: json!({
            "look": case.gatherings,
            "because": case.reason,
            "title": case.header.title(),
            "severity": case.header.severity,
            "affected_services": case.header.affected_services,
            "trigger": case.trigger,
            "onset_ms": case.anomalies.iter().map(|member| member.onset_ms).min(),
            "detected_at_ms": case.header.detected_at_ms,
            "anomalies": case.anomalies.len() as u64 + case.beyond.unlisted,
            "anomalies_without_finding": divided(&case.anomalies).1.len() as u64
                + case.beyond.unlisted,
            "series": facts.series.len(),
            "log_templates": facts.logs.len(),
            "deployments": facts.deployments.len(),
            "kubernetes_events": facts.kubernetes.len(),
            "similar_incidents": facts.similar.len(),
            "runbooks": facts.runbooks.len(),
            "precedents": facts.precedents,
            "guides": facts.guides,
            "gaps": facts.gaps,
        }),
        ..artifact(case, at, summary_id(case), kind)
    }
}

fn hypothesis(
    case: &Case,
    at: Moment,
    candidate: &RootCauseCandidate,
    verdict: Verdict,
    method: &str,
) -> Artifact {
    let kind = ArtifactKind::RootCauseHypothesis;
    let artifact_id = id(
        case.header.incident_id,
        kind,
        &[&case.revision.to_string(), &candidate.rank.to_string()],
    );
    let mut inputs = vec![summary_id(case)];
    // The findings that it cites, and those of its own service.
    inputs.extend(
        case.anomalies
            .iter()
            .filter(|member| {
                let name = member.anomaly_id.to_string();
                member.service == candidate.service
                    || candidate.evidence.iter().any(|piece| piece.id == name)
            })
            .map(|member| finding_id(case, member)),
    );
    let records = candidate.evidence.iter().chain(&candidate.refuting);
    let mut body = json!(candidate);
    if let Some(body) = body.as_object_mut() {
        body.insert("revision".to_owned(), json!(case.revision));
        body.insert("method".to_owned(), json!(method));
        body.insert("verdict".to_owned(), json!(verdict));
    }
    Artifact {
        consumer: AFTER.to_owned(),
        inputs,
        evidence: records.map(|piece| piece.id.clone()).collect(),
        body,
        ..artifact(case, at, artifact_id, kind)
    }
}
