//! The chain of typed artifacts that an incident leaves behind: what each agent
//! concluded, from which earlier artifacts and on which records.

use crate::ids;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// The version of every artifact's envelope and bodies.
pub const SCHEMA_VERSION: u32 = 1;

/// What an artifact says. Declared in the order of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// Which signals were seen, and how they were grouped.
    ObservationSummary,
    /// One anomaly with its onset.
    AnomalyFinding,
    /// One candidate for the root cause.
    RootCauseHypothesis,
    RemediationProposal,
    ExecutionPlan,
    ExecutionResult,
    VerificationResult,
    IncidentReport,
}

impl ArtifactKind {
    /// Every kind, in the order of the chain.
    pub const ALL: [ArtifactKind; 8] = [
        ArtifactKind::ObservationSummary,
        ArtifactKind::AnomalyFinding,
        ArtifactKind::RootCauseHypothesis,
        ArtifactKind::RemediationProposal,
        ArtifactKind::ExecutionPlan,
        ArtifactKind::ExecutionResult,
        ArtifactKind::VerificationResult,
        ArtifactKind::IncidentReport,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ArtifactKind::ObservationSummary => "observation_summary",
            ArtifactKind::AnomalyFinding => "anomaly_finding",
            ArtifactKind::RootCauseHypothesis => "root_cause_hypothesis",
            ArtifactKind::RemediationProposal => "remediation_proposal",
            ArtifactKind::ExecutionPlan => "execution_plan",
            ArtifactKind::ExecutionResult => "execution_result",
            ArtifactKind::VerificationResult => "verification_result",
            ArtifactKind::IncidentReport => "incident_report",
        }
    }
}

/// How much an artifact may be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactStatus {
    /// It says what its producer concluded.
    Complete,
    /// Something that it should rest on could not be read.
    Partial,
    /// A later artifact of the same kind replaces it.
    Superseded,
    /// It was checked and did not hold.
    Rejected,
}

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Artifact {
    pub artifact_id: Uuid,
    pub incident_id: Uuid,
    pub kind: ArtifactKind,
    pub schema_version: u32,
    /// The agent that wrote it.
    pub producer: String,
    /// The agent that it is for.
    pub consumer: String,
    pub status: ArtifactStatus,
    /// The artifacts that it was concluded from.
    pub inputs: Vec<Uuid>,
    /// Ids of the records that it rests on.
    pub evidence: Vec<String>,
    /// Event time, epoch milliseconds.
    pub created_at_ms: i64,
    /// Whether it was written by a replay and not by the live pipeline.
    pub replay: bool,
    /// What it says; the shape depends on the kind.
    pub body: Value,
}

/// The id of an artifact: `parts` tell those of one kind and incident apart,
/// for example a revision and a rank.
#[must_use]
pub fn id(incident: Uuid, kind: ArtifactKind, parts: &[&str]) -> Uuid {
    let incident = incident.to_string();
    let mut all = vec!["artifact", &incident, kind.as_str()];
    all.extend(parts);
    ids::derive(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_names_agree_with_serde() {
        for kind in ArtifactKind::ALL {
            let json = serde_json::to_value(kind).expect("a unit variant encodes");
            assert_eq!(json, kind.as_str());
        }
    }

    #[test]
    fn an_artifact_is_named_by_incident_kind_and_parts() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let kind = ArtifactKind::RootCauseHypothesis;
        assert_eq!(id(one, kind, &["1", "2"]), id(one, kind, &["1", "2"]));
        assert_ne!(id(one, kind, &["1", "2"]), id(one, kind, &["12"]));
        assert_ne!(id(one, kind, &["1"]), id(other, kind, &["1"]));
        assert_ne!(
            id(one, kind, &["1"]),
            id(one, ArtifactKind::IncidentReport, &["1"])
        );
    }
}
