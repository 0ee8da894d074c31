//! Raw telemetry: what collectors, the simulator and outside producers send.
//!
//! The bare minimum is accepted. A metric needs `service`, `metric_name` and
//! `metric_value`; whatever else is missing has a stated default, and unknown
//! fields do no harm.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Free-form labels, in key order so that encodings are stable.
pub type Labels = BTreeMap<String, String>;

/// The environment of a record that names none.
pub const DEFAULT_ENVIRONMENT: &str = "default";

fn default_environment() -> String {
    DEFAULT_ENVIRONMENT.to_owned()
}

/// One reading of one metric of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawMetric {
    /// When it was read, epoch milliseconds; the record's time where missing.
    #[serde(default)]
    pub timestamp_ms: i64,
    pub service: String,
    /// Cluster and stage, for example `production-eu`.
    #[serde(default = "default_environment")]
    pub environment: String,
    pub metric_name: String,
    /// In the unit that the metric's name ends with. Must be finite.
    pub metric_value: f64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
}

/// How grave the writer of a log line thought it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LogLevel {
    #[serde(alias = "debug", alias = "TRACE", alias = "trace")]
    Debug,
    #[serde(alias = "info")]
    Info,
    #[serde(alias = "warn", alias = "WARNING", alias = "warning")]
    Warn,
    #[serde(alias = "error")]
    Error,
    #[serde(alias = "fatal", alias = "CRITICAL", alias = "critical")]
    Fatal,
}

fn default_level() -> LogLevel {
    LogLevel::Info
}

/// One log line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawLog {
    #[serde(default)]
    pub timestamp_ms: i64,
    pub service: String,
    #[serde(default = "default_environment")]
    pub environment: String,
    #[serde(default = "default_level")]
    pub level: LogLevel,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
}

/// Whether the spanned operation succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SpanStatus {
    #[default]
    #[serde(alias = "ok", alias = "UNSET")]
    Ok,
    #[serde(alias = "error")]
    Error,
}

/// One unit of work of one service, part of a trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawSpan {
    pub trace_id: String,
    pub span_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<String>,
    pub service: String,
    #[serde(default = "default_environment")]
    pub environment: String,
    pub operation: String,
    /// Epoch milliseconds; the record's time where missing.
    #[serde(default)]
    pub start_ms: i64,
    pub duration_ms: f64,
    #[serde(default)]
    pub status: SpanStatus,
    /// `peer.service` names the callee of a client span, `caller` the caller
    /// of a server span; correlation learns call edges from both.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Labels,
}

/// A change that somebody rolled out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawDeployment {
    #[serde(default)]
    pub timestamp_ms: i64,
    pub service: String,
    #[serde(default = "default_environment")]
    pub environment: String,
    pub version: String,
    /// `deployment`, `rollback`, `configuration`, `feature_flag`, `scale`; read
    /// by [`crate::cause::ChangeType::of`].
    #[serde(default)]
    pub change_type: String,
    #[serde(default)]
    pub git_sha: String,
    #[serde(default)]
    pub deployed_by: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub known_risks: Vec<String>,
    /// The version that ran before, where the producer knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_version: Option<String>,
}

/// A Kubernetes event (never a gauge: those are metrics).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RawKubernetes {
    #[serde(default)]
    pub timestamp_ms: i64,
    #[serde(default = "default_environment")]
    pub environment: String,
    #[serde(default)]
    pub cluster: String,
    pub namespace: String,
    /// `Pod`, `Deployment`, `Node`, …
    #[serde(default)]
    pub kind: String,
    pub name: String,
    /// The workload that owns the object; its name is the service's name.
    #[serde(default)]
    pub owner: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Kubernetes' own word: `OOMKilling`, `BackOff`, `ScalingReplicaSet`, …
    pub reason: String,
    /// Midwatch's kind: `OOM_KILLED`, `CRASH_LOOP`, `ROLLOUT`, …
    #[serde(default)]
    pub event_kind: String,
    #[serde(default)]
    pub severity: String,
    #[serde(default)]
    pub message: String,
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    pub critical: bool,
}

impl RawKubernetes {
    /// The service that the event is about: the owner, else the object.
    #[must_use]
    pub fn service(&self) -> &str {
        if self.owner.is_empty() {
            &self.name
        } else {
            &self.owner
        }
    }
}

/// A fault that the simulator really injected. No agent reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroundTruth {
    pub fault_id: String,
    pub scenario: String,
    pub service: String,
    pub environment: String,
    /// `started`, `ended`, or `ended_by_action` where somebody ended it before
    /// its time.
    pub phase: String,
    /// Simulated time, epoch milliseconds.
    pub timestamp_ms: i64,
    /// Wall-clock time of the same moment, epoch milliseconds.
    pub wall_ms: i64,
    /// How long the fault lasts if nobody does anything.
    pub duration_ms: i64,
    /// The services that the fault reaches along the simulator's own graph.
    pub affected: Vec<String>,
    pub seed: u64,
}
