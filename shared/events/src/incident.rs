//! What correlation and investigation say: the incident and its cause.

use crate::anomaly::{AnomalyType, Direction, Severity};
use crate::more::More;
use crate::raw::RawDeployment;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What every lifecycle event carries, so that each can render its own mail
/// without a look-up. Flattened into the payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentHeader {
    pub incident_id: Uuid,
    /// `INC-A1B2C3D4`.
    pub short_id: String,
    pub environment: String,
    pub severity: Severity,
    pub anomaly_type: AnomalyType,
    /// The service that the incident is named after comes first.
    pub affected_services: Vec<String>,
    /// Event time of the first anomaly, epoch milliseconds.
    pub detected_at_ms: i64,
    /// Wall-clock time of the same moment, epoch milliseconds.
    pub detected_wall_ms: i64,
}

impl IncidentHeader {
    /// The service that the incident is named after.
    #[must_use]
    pub fn primary_service(&self) -> &str {
        self.affected_services
            .first()
            .map_or("unknown service", String::as_str)
    }

    /// `DB connection exhaustion on payment-service`.
    #[must_use]
    pub fn title(&self) -> String {
        format!(
            "{} on {}",
            self.anomaly_type.title(),
            self.primary_service()
        )
    }
}

/// What a piece of evidence is a record of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceKind {
    Anomaly,
    Metric,
    Log,
    Span,
    Deployment,
    Kubernetes,
    /// A past incident in the knowledge store.
    Incident,
    Runbook,
    /// An edge of the service graph.
    Topology,
}

impl EvidenceKind {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EvidenceKind::Anomaly => "anomaly",
            EvidenceKind::Metric => "metric",
            EvidenceKind::Log => "log",
            EvidenceKind::Span => "span",
            EvidenceKind::Deployment => "deployment",
            EvidenceKind::Kubernetes => "kubernetes",
            EvidenceKind::Incident => "incident",
            EvidenceKind::Runbook => "runbook",
            EvidenceKind::Topology => "topology",
        }
    }
}

/// A pointer to a record, with what it says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidenceRef {
    /// The record's id: an `incident_records` row, an anomaly id, or the id of
    /// a document in the knowledge store.
    pub id: String,
    pub kind: EvidenceKind,
    pub service: String,
    /// Event time of the record; 0 for documents.
    pub at_ms: i64,
    /// One sentence that quotes the record.
    pub summary: String,
}

/// A reason to believe that signals belong together, or what lies behind them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CorrelationSignal {
    /// `DEPLOYMENT_CORRELATED`, `CASCADE_FAILURE`, `UPSTREAM_DEGRADATION`,
    /// `ERROR_AMPLIFICATION`, `KUBERNETES_EVENT`, `LOG_PATTERN`.
    pub signal_type: String,
    /// 0..1.
    pub strength: f64,
    pub description: String,
    /// Ids of the anomalies, deployments and events behind it.
    pub evidence: Vec<String>,
}

/// How far the trouble reaches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BlastRadius {
    /// Services with anomalies of their own.
    pub impaired: Vec<String>,
    /// Services that call an impaired one, directly or through others, and
    /// show nothing yet.
    pub at_risk: Vec<String>,
    /// Requests per second that reach impaired services normally; absent
    /// where no rate was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    pub description: String,
}

/// An anomaly inside an incident, and why it is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupedAnomaly {
    pub anomaly_id: Uuid,
    pub service: String,
    pub trigger_metric: String,
    pub anomaly_type: AnomalyType,
    pub severity: Severity,
    pub direction: Direction,
    pub observed_value: f64,
    pub baseline_value: f64,
    pub deviation_sigma: f64,
    pub onset_ms: i64,
    /// Event time of its first detection, which `description` tells of.
    pub detected_at_ms: i64,
    /// Event time of `observed_value`, where it got worse after its detection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_at_ms: Option<i64>,
    pub description: String,
    /// Why correlation put it into this incident.
    pub reason: String,
    /// Event time of its clearing, where it has cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleared_at_ms: Option<i64>,
}

/// Something that was near an incident in time and is not part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// `anomaly`, `deployment`, `kubernetes` or `log`.
    pub kind: String,
    /// The id of the anomaly or of its record.
    pub id: String,
    pub service: String,
    /// Event time, epoch milliseconds: the onset of an anomaly.
    pub at_ms: i64,
    pub description: String,
    /// Why it was left out.
    pub reason: String,
    /// The short id of the incident that it belongs to, where there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub incident: String,
}

/// A reading that the incident was opened on, for the mail and the chart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricReading {
    pub service: String,
    pub metric_name: String,
    pub at_ms: i64,
    pub value: f64,
}

/// A log line that the incident was opened on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogExcerpt {
    pub service: String,
    pub at_ms: i64,
    pub level: String,
    pub message: String,
}

/// An incident begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentOpened {
    #[serde(flatten)]
    pub header: IncidentHeader,
    /// Event time at which correlation opened it, epoch milliseconds.
    pub opened_at_ms: i64,
    pub trigger_metric: String,
    pub observed_value: f64,
    pub baseline_value: f64,
    pub deviation_sigma: f64,
    pub anomaly_score: f64,
    pub blast_radius: BlastRadius,
    pub correlation_signals: Vec<CorrelationSignal>,
    /// The deployment nearest before the onset on an affected service.
    pub deployment_context: Option<RawDeployment>,
    pub recent_metrics: Vec<MetricReading>,
    pub recent_errors: Vec<LogExcerpt>,
    pub grouped_anomalies: Vec<GroupedAnomaly>,
    /// The members beyond [`crate::more::LISTED`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_anomalies: Option<Box<More>>,
    /// What was near in time and left out, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    pub description: String,
    /// Where a person declared it, what that person said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared: Option<Declared>,
}

/// What a person said who declared an incident by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declared {
    pub title: String,
    /// `LOW`, `MEDIUM`, `HIGH`, `CRITICAL`.
    pub severity: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

/// What a person said who closed an incident; recorded as stated, not as
/// measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stated {
    pub root_cause: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fix: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub category: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub component: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toil_minutes: Option<f64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub by: String,
}

/// What changed about an open incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IncidentChange {
    Grown,
    Merged,
    Split,
    Reopened,
    Severity,
    Acknowledged,
    Snoozed,
}

/// An open incident changed. Carries the whole of what correlation knows, so
/// that a reader needs no earlier message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentUpdated {
    #[serde(flatten)]
    pub header: IncidentHeader,
    pub change: IncidentChange,
    pub reason: String,
    /// Rises by one with each update of this incident, from 1.
    pub revision: u32,
    pub updated_at_ms: i64,
    pub blast_radius: BlastRadius,
    pub correlation_signals: Vec<CorrelationSignal>,
    pub deployment_context: Option<RawDeployment>,
    pub grouped_anomalies: Vec<GroupedAnomaly>,
    /// The members beyond [`crate::more::LISTED`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_anomalies: Option<Box<More>>,
    /// What was near in time and left out, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// The other incidents of a merge or a split.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<Uuid>,
    /// Until when somebody wants to hear nothing of it, wall clock; absent
    /// where nobody does, or does any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snoozed_until_ms: Option<i64>,
}

/// A past incident that resembles this one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SimilarIncident {
    pub incident_id: String,
    pub title: String,
    /// Cosine similarity, −1..1.
    pub score: f64,
    pub root_cause: String,
    pub resolution: String,
    pub mttr_minutes: f64,
}

/// A candidate for the root cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RootCauseCandidate {
    /// From 1.
    pub rank: u32,
    pub service: String,
    /// An anomaly type's wire name, or a cause that a runbook knows.
    pub cause: String,
    pub hypothesis: String,
    /// 0..1, computed by code.
    pub confidence: f64,
    pub evidence: Vec<EvidenceRef>,
    /// Records that speak against it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refuting: Vec<EvidenceRef>,
    /// The observation that would refute it, or separate it from the next
    /// candidate; one sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub discriminator: String,
    pub similar_incidents: Vec<SimilarIncident>,
    pub runbook_refs: Vec<String>,
}

/// Whether the evidence carries a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Conclusive,
    Inconclusive,
}

/// Something that a model claimed and that its check dropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RejectedClaim {
    /// The claim, as it was made, cut to a bounded length.
    pub claim: String,
    /// The rule that it broke.
    pub reason: String,
}

/// The investigation's answer, or a revision of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RcaCompleted {
    #[serde(flatten)]
    pub header: IncidentHeader,
    pub rca_id: Uuid,
    pub completed_at_ms: i64,
    pub root_cause_candidates: Vec<RootCauseCandidate>,
    /// One sentence: the first candidate's hypothesis.
    pub top_root_cause: String,
    /// 0..1.
    pub top_confidence: f64,
    pub verdict: Verdict,
    /// From 1; a later revision replaces the earlier ones.
    pub revision: u32,
    /// What changed since the previous revision; empty in the first.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub revision_reason: String,
    /// `deterministic`, or the model that ordered the candidates.
    pub method: String,
    /// Whether another cause came first than in the revision before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub top_changed: bool,
    /// What a model claimed in vain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected_claims: Vec<RejectedClaim>,
    /// What was meant to be looked at and could not be, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degradations: Vec<String>,
    /// What tells whether an action helps: the reading that triggered; where a
    /// log line or a Kubernetes event did, which measures nothing, that of the
    /// first candidate's own trouble, if it is the incident's first service.
    pub trigger_metric: String,
    pub observed_value: f64,
    pub baseline_value: f64,
    pub deployment_context: Option<RawDeployment>,
}

/// An incident is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentResolved {
    #[serde(flatten)]
    pub header: IncidentHeader,
    /// Event time of the reading that settled it, epoch milliseconds.
    pub resolved_at_ms: i64,
    /// Wall-clock time of the same moment, epoch milliseconds.
    pub resolved_wall_ms: i64,
    /// From detection to resolution, in event time.
    pub mttr_ms: i64,
    pub mttr_minutes: f64,
    /// From onset to detection, in event time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mttd_ms: Option<i64>,
    /// From detection to the first acknowledgement, wall clock; absent where
    /// nobody acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtta_ms: Option<i64>,
    /// `RECOVERED`, `REMEDIATED`, `MERGED`, `CLOSED_BY_OPERATOR`.
    pub resolution_method: String,
    pub top_root_cause: String,
    pub trigger_metric: String,
    /// The consecutive normal readings that settled it, oldest first.
    pub settling_readings: Vec<MetricReading>,
    pub baseline_value: f64,
    /// The last revision of `rca.completed` before the end, 0 without one: what
    /// has a later one was found after a reopening. Absent in events of older
    /// builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rca_revision: Option<u32>,
    /// Where a person closed it, what that person said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated: Option<Stated>,
}
