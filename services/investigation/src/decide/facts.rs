//! What an investigation works on: the facts, with the id of each record.

use super::knowledge::{Guide, Precedent};
use crate::rca::{Answer, Weighed};
use midwatch_events::incident::{GroupedAnomaly, SimilarIncident};
use midwatch_events::raw::RawDeployment;
use midwatch_events::topology::{Call, Topology};
use serde::{Deserialize, Serialize};

/// Everything that was gathered about an incident, small enough to be
/// journalled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// One per series of an affected or neighbouring service.
    pub series: Vec<SeriesFact>,
    /// Log lines at WARN or above around the onset, by template.
    pub logs: Vec<LogFact>,
    pub deployments: Vec<DeploymentFact>,
    pub kubernetes: Vec<KubernetesFact>,
    pub similar: Vec<SimilarIncident>,
    /// `runbook#section` with its similarity.
    pub runbooks: Vec<(String, f64)>,
    /// The calls that correlation believes in, with how and when each was seen.
    pub edges: Vec<Call>,
    /// What could not be read, in words.
    pub gaps: Vec<String>,
    /// What the investigator found in the records; absent where none could be
    /// read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// What that answer was weighed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weighed: Option<Weighed>,
    /// Reviewed incidents that resemble this one, whatever their type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub precedents: Vec<Precedent>,
    /// Causes that the runbooks know which were found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guides: Vec<Guide>,
}

/// What the knowledge store found for an incident: with it a replay, which asks
/// no store, ranks as was ranked then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Known {
    pub similar: Vec<SimilarIncident>,
    pub precedents: Vec<Precedent>,
    pub guides: Vec<Guide>,
}

/// One series before and since the onset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeriesFact {
    pub service: String,
    pub metric: String,
    /// Mean of the readings before the onset.
    pub before: f64,
    /// The reading farthest from it since.
    pub extreme: f64,
    /// The record of that reading.
    pub record_id: String,
    pub at_ms: i64,
    /// Readings before and since.
    pub counts: (u32, u32),
}

/// Equal lines (numbers aside) of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogFact {
    pub service: String,
    pub level: String,
    /// The first such line, as it was.
    pub message: String,
    pub count: u32,
    pub record_id: String,
    pub at_ms: i64,
    /// Services of the incident that the line names besides its own.
    pub names: Vec<String>,
}

/// A deployment before or during the incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeploymentFact {
    pub deployment: RawDeployment,
    pub record_id: String,
}

/// A Kubernetes event of the incident's window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KubernetesFact {
    pub service: String,
    pub event_kind: String,
    pub object: String,
    pub text: String,
    pub critical: bool,
    pub record_id: String,
    pub at_ms: i64,
}

impl Facts {
    /// The graph that the facts hold.
    #[must_use]
    pub fn topology(&self) -> Topology {
        Topology::of(&self.edges)
    }
}

/// What a service shows, from the incident's anomalies.
#[must_use]
pub fn onset_of(anomalies: &[GroupedAnomaly], service: &str) -> Option<i64> {
    anomalies
        .iter()
        .filter(|anomaly| anomaly.service == service)
        .map(|anomaly| anomaly.onset_ms)
        .min()
}
