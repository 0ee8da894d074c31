//! Sorts of change: a release, a rollback, a configuration, a flag and a scale
//! are suspected differently, and what they break is called differently.

use super::before;
use super::portrait::Findings;
use super::recording::{ChangeEvent, ChangeKind, Question, Recording};
use midwatch_events::anomaly::AnomalyType;
use midwatch_events::cause::ChangeType;

/// Whether a change that people announced may be behind the symptoms at all. A
/// rollback that was made when the trouble had begun is somebody's repair: that
/// its own service shows symptoms a little later is why it was made.
pub(super) fn is_suspect(event: &ChangeEvent, question: &Question) -> bool {
    match event.kind.change() {
        None => false,
        Some(ChangeType::Rollback) => event.at_ms < question.start_ms,
        Some(_) => true,
    }
}

/// [`ChangeType::trust`]; 0 for what a cluster tells.
pub(super) fn trust(kind: ChangeKind) -> f64 {
    kind.change().map_or(0.0, ChangeType::trust)
}

/// The name of a service's cause: of a failed change, by the sort of the one
/// that is suspected most, the nearest where several are alike.
pub(super) fn cause_name(
    recording: &Recording,
    findings: &Findings,
    service: &str,
    cause: AnomalyType,
) -> &'static str {
    if cause != AnomalyType::DeploymentFailure {
        return cause.as_str();
    }
    let suspects = findings.rollouts.iter().filter_map(|(index, age_ms)| {
        let event = &recording.changes[*index];
        let weight = trust(event.kind) * before::nearness(*age_ms);
        (event.service == service).then_some((weight, event.kind, *age_ms))
    });
    suspects
        .max_by(|one, other| one.0.total_cmp(&other.0).then(other.2.cmp(&one.2)))
        .and_then(|(_, kind, _)| kind.change())
        .unwrap_or_default()
        .cause()
}
