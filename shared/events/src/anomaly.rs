//! What detection says: an anomaly and its transitions.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// What kind of trouble an anomaly or an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AnomalyType {
    LatencySpike,
    ErrorRateSpike,
    CpuSaturation,
    MemoryLeak,
    DbConnectionExhaustion,
    KafkaConsumerLag,
    DeploymentFailure,
    DependencyOutage,
    TrafficDrop,
    MissingData,
    KubernetesFailure,
    Unknown,
}

impl AnomalyType {
    /// Every type, in the order of the reference.
    pub const ALL: [AnomalyType; 12] = [
        AnomalyType::LatencySpike,
        AnomalyType::ErrorRateSpike,
        AnomalyType::CpuSaturation,
        AnomalyType::MemoryLeak,
        AnomalyType::DbConnectionExhaustion,
        AnomalyType::KafkaConsumerLag,
        AnomalyType::DeploymentFailure,
        AnomalyType::DependencyOutage,
        AnomalyType::TrafficDrop,
        AnomalyType::MissingData,
        AnomalyType::KubernetesFailure,
        AnomalyType::Unknown,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AnomalyType::LatencySpike => "LATENCY_SPIKE",
            AnomalyType::ErrorRateSpike => "ERROR_RATE_SPIKE",
            AnomalyType::CpuSaturation => "CPU_SATURATION",
            AnomalyType::MemoryLeak => "MEMORY_LEAK",
            AnomalyType::DbConnectionExhaustion => "DB_CONNECTION_EXHAUSTION",
            AnomalyType::KafkaConsumerLag => "KAFKA_CONSUMER_LAG",
            AnomalyType::DeploymentFailure => "DEPLOYMENT_FAILURE",
            AnomalyType::DependencyOutage => "DEPENDENCY_OUTAGE",
            AnomalyType::TrafficDrop => "TRAFFIC_DROP",
            AnomalyType::MissingData => "MISSING_DATA",
            AnomalyType::KubernetesFailure => "KUBERNETES_FAILURE",
            AnomalyType::Unknown => "UNKNOWN",
        }
    }

    /// The words that a person reads: `DB connection exhaustion`.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            AnomalyType::LatencySpike => "Latency spike",
            AnomalyType::ErrorRateSpike => "Error rate spike",
            AnomalyType::CpuSaturation => "CPU saturation",
            AnomalyType::MemoryLeak => "Memory leak",
            AnomalyType::DbConnectionExhaustion => "DB connection exhaustion",
            AnomalyType::KafkaConsumerLag => "Kafka consumer lag",
            AnomalyType::DeploymentFailure => "Deployment failure",
            AnomalyType::DependencyOutage => "Dependency outage",
            AnomalyType::TrafficDrop => "Traffic drop",
            AnomalyType::MissingData => "Missing data",
            AnomalyType::KubernetesFailure => "Kubernetes failure",
            AnomalyType::Unknown => "Unclassified anomaly",
        }
    }

    /// The type of this wire name.
    #[must_use]
    pub fn parse(text: &str) -> Option<AnomalyType> {
        AnomalyType::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for AnomalyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How urgent something is. Ordered: `Low < Medium < High < Critical`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Low => "LOW",
            Severity::Medium => "MEDIUM",
            Severity::High => "HIGH",
            Severity::Critical => "CRITICAL",
        }
    }

    /// The severity of this wire name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Severity> {
        [
            Severity::Low,
            Severity::Medium,
            Severity::High,
            Severity::Critical,
        ]
        .into_iter()
        .find(|severity| severity.as_str() == text)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What changed about an anomaly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transition {
    /// The series left its normal range.
    Started,
    /// Its severity rose.
    Worsened,
    /// Three consecutive readings were normal again.
    Cleared,
    /// The series stopped reporting: neither normal nor abnormal.
    Missing,
}

/// Which side of the baseline a reading fell on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Above,
    Below,
    /// For findings that have no side: a log line, a Kubernetes event.
    None,
}

/// One thing that detection saw, kept as the reason for its decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnomalyEvidence {
    /// `metric`, `log` or `kubernetes`.
    pub kind: String,
    /// Event time, epoch milliseconds.
    pub at_ms: i64,
    /// The reading in the metric's unit, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// The log line or the event's message, as it was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The event id of the record it was read from.
    pub source_event_id: Uuid,
}

/// A transition of one anomaly. The first reading that broke the threshold
/// names the anomaly; later transitions carry the same `anomaly_id`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Anomaly {
    pub anomaly_id: Uuid,
    pub environment: String,
    pub transition: Transition,
    pub anomaly_type: AnomalyType,
    pub severity: Severity,
    pub service: String,
    /// The metric's name; `log:<rule>` or `kubernetes:<kind>` for the others.
    pub trigger_metric: String,
    pub observed_value: f64,
    pub baseline_value: f64,
    /// Signed distance from the baseline mean in standard deviations.
    pub deviation_sigma: f64,
    /// 0..1, comparable between series.
    pub anomaly_score: f64,
    pub direction: Direction,
    /// Event time of the reading that decided, epoch milliseconds.
    pub detected_at_ms: i64,
    /// Wall-clock time of the record that decided, epoch milliseconds: equal
    /// to event time unless a simulation compresses time.
    pub detected_wall_ms: i64,
    /// Event time of the first reading out of range, epoch milliseconds.
    pub onset_ms: i64,
    pub description: String,
    pub evidence: Vec<AnomalyEvidence>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_names_agree_with_serde_and_parse_back() {
        for kind in AnomalyType::ALL {
            let json = serde_json::to_value(kind).expect("a unit variant encodes");
            assert_eq!(json, kind.as_str());
            assert_eq!(AnomalyType::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Severity::parse("HIGH"), Some(Severity::High));
        assert_eq!(Severity::parse("high"), None);
        assert!(Severity::Critical > Severity::High);
    }
}
