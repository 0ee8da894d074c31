//! Which Kubernetes events are anomalies.
//!
//! Rollouts, scaling and whatever else Kubernetes reports in normal operation
//! are none: they are context for correlation. A kind that is not listed is
//! one only where its producer marked it as critical.

use crate::decide::occurrences::{Demand, Finding};
use midwatch_events::raw::RawKubernetes;
use midwatch_events::{AnomalyType, Severity};

const ONCE: Demand = Demand {
    times: 1,
    within_ms: 0,
};
/// Probes fail now and then while a pod starts.
const REPEATED: Demand = Demand {
    times: 3,
    within_ms: 120_000,
};

const fn finding(
    name: &'static str,
    kind: AnomalyType,
    severity: Severity,
    demand: Demand,
) -> Finding {
    Finding {
        name,
        kind,
        severity,
        demand,
    }
}

#[rustfmt::skip]
const KINDS: &[(&str, Finding)] = &[
    ("OOM_KILLED", finding("kubernetes:oom_killed", AnomalyType::MemoryLeak, Severity::Critical, ONCE)),
    ("CRASH_LOOP", finding("kubernetes:crash_loop", AnomalyType::KubernetesFailure, Severity::High, ONCE)),
    ("FAILED_SCHEDULING", finding("kubernetes:failed_scheduling", AnomalyType::KubernetesFailure, Severity::High, ONCE)),
    ("IMAGE_PULL", finding("kubernetes:image_pull", AnomalyType::KubernetesFailure, Severity::High, ONCE)),
    ("NODE_NOT_READY", finding("kubernetes:node_not_ready", AnomalyType::KubernetesFailure, Severity::Critical, ONCE)),
    ("EVICTED", finding("kubernetes:evicted", AnomalyType::KubernetesFailure, Severity::High, ONCE)),
    ("FAILED_MOUNT", finding("kubernetes:failed_mount", AnomalyType::KubernetesFailure, Severity::Medium, ONCE)),
    ("PROBE_FAILED", finding("kubernetes:probe_failed", AnomalyType::KubernetesFailure, Severity::Low, REPEATED)),
];

const CRITICAL: Finding = finding(
    "kubernetes:critical",
    AnomalyType::KubernetesFailure,
    Severity::High,
    ONCE,
);

/// Midwatch's kind of the event: the producer's, else told from Kubernetes'
/// own reason.
#[must_use]
pub fn kind(event: &RawKubernetes) -> String {
    if !event.event_kind.trim().is_empty() {
        return match event.event_kind.trim().to_ascii_uppercase().as_str() {
            "CRASH_LOOP_BACKOFF" | "CRASHLOOPBACKOFF" => "CRASH_LOOP".to_owned(),
            "IMAGE_PULL_BACKOFF" | "IMAGE_PULL_FAILED" | "IMAGEPULLBACKOFF" => {
                "IMAGE_PULL".to_owned()
            }
            "OOMKILLED" | "OOM_KILL" => "OOM_KILLED".to_owned(),
            other => other.to_owned(),
        };
    }
    let message = event.message.to_ascii_lowercase();
    match event.reason.as_str() {
        "OOMKilling" | "OOMKilled" | "SystemOOM" => "OOM_KILLED",
        "BackOff" | "CrashLoopBackOff" if message.contains("image") => "IMAGE_PULL",
        "BackOff" | "CrashLoopBackOff" => "CRASH_LOOP",
        "ErrImagePull" | "ImagePullBackOff" | "InspectFailed" => "IMAGE_PULL",
        "Failed" if message.contains("pull") => "IMAGE_PULL",
        "FailedScheduling" => "FAILED_SCHEDULING",
        "NodeNotReady" => "NODE_NOT_READY",
        "Evicted" => "EVICTED",
        "FailedMount" | "FailedAttachVolume" => "FAILED_MOUNT",
        "Unhealthy" | "ProbeWarning" => "PROBE_FAILED",
        "ScalingReplicaSet" => "ROLLOUT",
        other => other,
    }
    .to_owned()
}

/// The finding that the event stands for, if it is one.
#[must_use]
pub fn classify(event: &RawKubernetes) -> Option<Finding> {
    let kind = kind(event);
    if let Some((_, finding)) = KINDS.iter().find(|(name, _)| *name == kind) {
        let mut finding = *finding;
        if event.critical {
            finding.severity = Severity::Critical;
        }
        return Some(finding);
    }
    (event.critical && kind != "ROLLOUT").then_some(CRITICAL)
}

/// What the event says, in one line.
#[must_use]
pub fn line(event: &RawKubernetes) -> String {
    let container = event
        .container
        .as_ref()
        .map(|container| format!(" ({container})"))
        .unwrap_or_default();
    format!(
        "{} {}/{}{container} {}: {}",
        if event.kind.is_empty() {
            "object"
        } else {
            &event.kind
        },
        event.namespace,
        event.name,
        event.reason,
        event.message
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(reason: &str, event_kind: &str, message: &str, critical: bool) -> RawKubernetes {
        let value = serde_json::json!({
            "namespace": "shop", "name": "pod-1", "owner": "order-service", "kind": "Pod",
            "reason": reason, "event_kind": event_kind, "message": message, "critical": critical,
        });
        serde_json::from_value(value).expect("the minimum is there")
    }

    #[test]
    fn failures_are_told_from_routine() {
        for (given, name) in [
            (
                event("OOMKilling", "OOM_KILLED", "", false),
                Some("kubernetes:oom_killed"),
            ),
            (
                event("OOMKilling", "", "", false),
                Some("kubernetes:oom_killed"),
            ),
            (
                event("BackOff", "", "Back-off restarting failed container", false),
                Some("kubernetes:crash_loop"),
            ),
            (
                event("BackOff", "", "Back-off pulling image \"x\"", false),
                Some("kubernetes:image_pull"),
            ),
            (
                event("Failed", "", "Failed to pull image \"x\"", false),
                Some("kubernetes:image_pull"),
            ),
            (
                event("FailedScheduling", "", "0/3 nodes", false),
                Some("kubernetes:failed_scheduling"),
            ),
            (
                event("ScalingReplicaSet", "ROLLOUT", "Scaled up", true),
                None,
            ),
            (
                event("Pulled", "", "Container image already present", false),
                None,
            ),
            (event("Strange", "", "", true), Some("kubernetes:critical")),
        ] {
            assert_eq!(
                classify(&given).map(|finding| finding.name),
                name,
                "{given:?}"
            );
        }
        let critical = classify(&event("BackOff", "CRASH_LOOP", "", true)).map(|f| f.severity);
        assert_eq!(critical, Some(Severity::Critical));
    }
}
