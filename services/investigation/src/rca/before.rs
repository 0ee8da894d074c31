//! What was changed before, and who broke first.

use super::portrait::{Findings, Kind, Note, onset_of};
use super::quantity::Quantity;
use super::recording::{ChangeKind, Question, Recording};
use std::collections::BTreeSet;

/// How likely a change of that age has to do with symptoms: one that fails
/// does so when it takes requests, within minutes; 1 − Δt / 60 min is what
/// remains for one that needs time.
fn nearness(age_ms: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "minutes in milliseconds")]
    let minutes = age_ms.max(0) as f64 / 60_000.0;
    let slowly = (1.0 - minutes / 60.0).clamp(0.0, 1.0);
    let at_once = (-(minutes - 1.0).max(0.0) / 2.0).exp();
    at_once.max(0.25 * slowly)
}

/// When a service began to fail or to be slow.
fn symptom_onset(recording: &Recording, findings: &Findings, service: &str) -> Option<i64> {
    let alarms = recording
        .alarms
        .iter()
        .filter(|alarm| alarm.service == service && !alarm.metric.contains(':'));
    let alarmed = alarms.map(|alarm| alarm.onset_ms).min();
    let is_symptom = |quantity: Quantity| {
        matches!(
            quantity,
            Quantity::Latency | Quantity::Errors | Quantity::ErrorRate | Quantity::Availability
        )
    };
    let changed = findings
        .changed
        .iter()
        .filter(|one| recording.series[one.series].service == service && is_symptom(one.quantity));
    let changed = changed
        .filter_map(|one| one.change.as_ref())
        .filter(|change| change.surprise >= 1.0)
        .map(|change| change.onset_ms)
        .min();
    alarmed.or(changed)
}

pub(super) fn by_changes(
    recording: &Recording,
    question: &Question,
    findings: &Findings,
    note: &mut Note<'_>,
) {
    for event in &recording.changes {
        let onset = symptom_onset(recording, findings, &event.service);
        let age_ms = onset.unwrap_or(question.start_ms) - event.at_ms;
        match event.kind {
            // A release takes requests only after it was announced: one that came
            // with the first sign of the symptoms or after it is refuted by that.
            // One without symptoms of its own service has done nothing yet.
            ChangeKind::Deployment if age_ms > 0 && onset.is_some() => {
                note(&event.service, Kind::Deployment, nearness(age_ms));
            }
            ChangeKind::KubernetesFailure => note(&event.service, Kind::Kubernetes, 0.8),
            _ => {}
        }
    }
    let series = recording.series.iter().map(|one| one.service.as_str());
    let alarms = recording.alarms.iter().map(|one| one.service.as_str());
    let services: BTreeSet<&str> = series.chain(alarms).collect();
    let mut onsets: Vec<(i64, &str)> = services
        .into_iter()
        .filter_map(|service| Some((onset_of(recording, findings, service)?, service)))
        .collect();
    onsets.sort_unstable();
    let Some((first, _)) = onsets.first().copied() else {
        return;
    };
    #[expect(clippy::cast_precision_loss, reason = "minutes in milliseconds")]
    let scale = ((question.end_ms - question.start_ms) as f64 / 10.0).max(1.0);
    for (onset, service) in onsets {
        #[expect(clippy::cast_precision_loss, reason = "minutes in milliseconds")]
        let late = (onset - first) as f64 / scale;
        note(service, Kind::First, (-late).exp());
    }
}
