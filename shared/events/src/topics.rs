//! Every topic, declared once.

use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 24 * 3_600_000;
/// Retention of every topic with a time limit: seven days.
pub const RETENTION_MS: i64 = 7 * DAY_MS;
/// Largest message on a `raw.*` topic. Collectors batch nothing, but a log
/// line with a stack trace or a Kubernetes object can reach megabytes.
pub const RAW_MAX_BYTES: u32 = 6 * 1024 * 1024;
/// Largest message on a dead-letter topic: a raw message plus its headers.
pub const DLQ_MAX_BYTES: u32 = 8 * 1024 * 1024;
/// Largest message everywhere else.
pub const MAX_BYTES: u32 = 1024 * 1024;
/// The topic, kept for ever, that holds the broker's epoch id under [`EPOCH_KEY`].
pub const EPOCH_TOPIC: &str = "midwatch.epoch";
/// The key of the first record, the one that counts, in [`EPOCH_TOPIC`].
pub const EPOCH_KEY: &str = "epoch";

/// A topic that Midwatch reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Topic {
    RawMetrics,
    RawLogs,
    RawSpans,
    RawDeployments,
    RawKubernetes,
    AnomaliesDetected,
    IncidentsOpened,
    IncidentsUpdated,
    RcaCompleted,
    RemediationPlans,
    RemediationActions,
    IncidentsResolved,
    OperatorCommands,
    PostmortemsGenerated,
    /// What the simulator really did. The scorer reads it; no agent may.
    GroundTruth,
}

/// How a topic is set up and who uses it.
#[derive(Clone, Copy, Debug)]
pub struct TopicSpec {
    pub topic: Topic,
    pub name: &'static str,
    /// What the message key is; messages with equal keys keep their order.
    pub key: &'static str,
    /// The payload's type in this crate.
    pub payload: &'static str,
    /// CloudEvents `ce_type` of the payload.
    pub ce_type: &'static str,
    pub producers: &'static str,
    pub consumers: &'static str,
    /// `retention.ms` of the topic and of its dead-letter topic.
    pub retention_ms: i64,
    /// `max.message.bytes` of the topic.
    pub max_bytes: u32,
}

#[expect(clippy::too_many_arguments, reason = "the columns of one table")]
const fn spec(
    topic: Topic,
    name: &'static str,
    key: &'static str,
    payload: &'static str,
    ce_type: &'static str,
    producers: &'static str,
    consumers: &'static str,
    max_bytes: u32,
) -> TopicSpec {
    TopicSpec {
        topic,
        name,
        key,
        payload,
        ce_type,
        producers,
        consumers,
        retention_ms: RETENTION_MS,
        max_bytes,
    }
}

/// All topics, in the order in which data flows.
#[rustfmt::skip]
pub const TOPICS: &[TopicSpec] = &[
    spec(Topic::RawMetrics, "raw.metrics", "service", "RawMetric", "io.midwatch.raw.metric", "collectors, simulator", "detection", RAW_MAX_BYTES),
    spec(Topic::RawLogs, "raw.logs", "service", "RawLog", "io.midwatch.raw.log", "collectors, simulator", "detection", RAW_MAX_BYTES),
    spec(Topic::RawSpans, "raw.spans", "service", "RawSpan", "io.midwatch.raw.span", "collectors, simulator", "detection, correlation", RAW_MAX_BYTES),
    spec(Topic::RawDeployments, "raw.deployments", "service", "RawDeployment", "io.midwatch.raw.deployment", "collectors, simulator", "correlation", RAW_MAX_BYTES),
    spec(Topic::RawKubernetes, "raw.kubernetes", "namespace/owner", "RawKubernetes", "io.midwatch.raw.kubernetes", "collectors, simulator", "detection, correlation", RAW_MAX_BYTES),
    spec(Topic::AnomaliesDetected, "anomalies.detected", "environment", "Anomaly", "io.midwatch.anomaly.detected", "detection", "correlation, investigation", MAX_BYTES),
    spec(Topic::IncidentsOpened, "incidents.opened", "incident id", "IncidentOpened", "io.midwatch.incident.opened", "correlation", "investigation, communication", MAX_BYTES),
    spec(Topic::IncidentsUpdated, "incidents.updated", "incident id", "IncidentUpdated", "io.midwatch.incident.updated", "correlation", "investigation, communication", MAX_BYTES),
    spec(Topic::RcaCompleted, "rca.completed", "incident id", "RcaCompleted", "io.midwatch.rca.completed", "investigation", "remediation, communication", MAX_BYTES),
    spec(Topic::RemediationPlans, "remediation.plans", "incident id", "RemediationPlan", "io.midwatch.remediation.plan", "remediation", "communication", MAX_BYTES),
    spec(Topic::RemediationActions, "remediation.actions", "incident id", "RemediationAction", "io.midwatch.remediation.action", "remediation", "communication, postmortem, investigation", MAX_BYTES),
    spec(Topic::IncidentsResolved, "incidents.resolved", "incident id", "IncidentResolved", "io.midwatch.incident.resolved", "investigation", "postmortem, communication, correlation, remediation", MAX_BYTES),
    spec(Topic::OperatorCommands, "operator.commands", "incident id", "OperatorCommand", "io.midwatch.operator.command", "api, CLI, chat", "correlation, investigation, remediation, communication, postmortem", MAX_BYTES),
    spec(Topic::PostmortemsGenerated, "postmortems.generated", "incident id", "PostmortemGenerated", "io.midwatch.postmortem.generated", "postmortem", "communication", MAX_BYTES),
    spec(Topic::GroundTruth, "simulator.ground-truth", "service", "GroundTruth", "io.midwatch.simulator.fault", "simulator", "scorer only", MAX_BYTES),
];

impl Topic {
    /// The topic's declaration.
    ///
    /// # Panics
    /// Never: a test holds that every variant is declared.
    #[must_use]
    pub fn spec(self) -> &'static TopicSpec {
        TOPICS
            .iter()
            .find(|spec| spec.topic == self)
            .expect("every topic is declared in TOPICS")
    }

    /// The name on the broker, without any configured prefix.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// The name of the topic that holds what could not be read.
    #[must_use]
    pub fn dlq_name(self) -> String {
        format!("{}.dlq", self.name())
    }

    /// The topic of this name, if Midwatch knows it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Topic> {
        TOPICS
            .iter()
            .find(|spec| spec.name == name)
            .map(|spec| spec.topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_declared_once_under_its_own_name() {
        for (index, spec) in TOPICS.iter().enumerate() {
            assert_eq!(spec.topic.name(), spec.name);
            assert_eq!(Topic::from_name(spec.name), Some(spec.topic));
            assert!(
                TOPICS[index + 1..]
                    .iter()
                    .all(|other| other.topic != spec.topic
                        && other.name != spec.name
                        && other.ce_type != spec.ce_type)
            );
        }
        assert_eq!(Topic::GroundTruth.dlq_name(), "simulator.ground-truth.dlq");
    }

    #[test]
    fn no_agent_is_declared_as_reader_of_the_ground_truth() {
        assert_eq!(Topic::GroundTruth.spec().consumers, "scorer only");
    }
}
