//! What was changed before, and who broke first.

use super::lines::Kind as Told;
use super::portrait::{Findings, Kind, Note, onset_of};
use super::quantity::Quantity;
use super::recording::{Question, Recording};
use super::sorts;
use std::collections::BTreeSet;

/// How likely a change of that age has to do with symptoms: one that fails
/// does so when it takes requests, within minutes; 1 − Δt / 60 min is what
/// remains for one that needs time.
pub(super) fn nearness(age_ms: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "minutes in milliseconds")]
    let minutes = age_ms.max(0) as f64 / 60_000.0;
    let slowly = (1.0 - minutes / 60.0).clamp(0.0, 1.0);
    let at_once = (-(minutes - 1.0).max(0.0) / 2.0).exp();
    at_once.max(0.25 * slowly)
}

/// When a service began to fail or to be slow, by what is measured of it.
pub(super) fn measured_onset(
    recording: &Recording,
    findings: &Findings,
    service: &str,
) -> Option<i64> {
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

/// When the first reading was missing of a service whose series stopped.
fn silent_onset(recording: &Recording, findings: &Findings, service: &str) -> Option<i64> {
    let own = findings
        .changed
        .iter()
        .filter(|one| recording.series[one.series].service == service);
    own.filter_map(|one| {
        let last_ms = one.silent_ms?;
        let points = &recording.series[one.series].points;
        let pause = points
            .windows(2)
            .last()
            .map_or(0, |two| two[1].0 - two[0].0);
        Some(last_ms + pause)
    })
    .min()
}

/// The first sign of trouble in what a service says: a failed span, a complaint
/// of its own, an alarm about its logs or its pods. Spans that take longer do so
/// since the start.
fn told_onset(
    recording: &Recording,
    question: &Question,
    findings: &Findings,
    service: &str,
) -> Option<i64> {
    let spoken = findings.traces.services.get(service);
    let failed = spoken
        .and_then(|one| one.failed.as_ref())
        .map(|one| one.at_ms);
    let slower = spoken.and_then(|one| one.slowest.as_ref());
    let slower = slower.map(|_| question.start_ms);
    let told = findings.lines.get(service);
    let complaints = told.iter().flat_map(|one| &one.templates);
    let complaints = complaints
        .filter(|template| template.kind == Told::Complaint)
        .map(|template| template.at_ms);
    let alarms = recording
        .alarms
        .iter()
        .filter(|alarm| alarm.service == service)
        .map(|alarm| alarm.onset_ms);
    let signs = complaints.chain(alarms).chain(failed).chain(slower);
    signs.min()
}

/// When a service's symptoms began. One whose latencies and failures are
/// measured and normal has none. One that nobody measures shows them in what it
/// says, or, where it leaves no spans either, in what its callers show.
pub(super) fn symptom_onset(
    recording: &Recording,
    question: &Question,
    findings: &Findings,
    service: &str,
) -> Option<i64> {
    let own = measured_onset(recording, findings, service)
        .or_else(|| silent_onset(recording, findings, service));
    if own.is_some() || findings.metered.contains(service) {
        return own;
    }
    let leaves_spans = findings.traces.services.contains_key(service);
    told_onset(recording, question, findings, service).or_else(|| {
        let callers = findings.graph.callers(service);
        let callers = callers.iter().filter(|_| !leaves_spans);
        callers
            .filter_map(|caller| measured_onset(recording, findings, caller))
            .min()
    })
}

/// Deployments that came before the symptoms of their service, the newest first:
/// their index, and milliseconds from them to the symptoms. A release takes
/// requests only after it was announced: one that came with the first sign of
/// the symptoms or after it is refuted by that. One without symptoms of its own
/// service has done nothing yet.
pub(super) fn rollouts(
    recording: &Recording,
    question: &Question,
    findings: &Findings,
) -> Vec<(usize, i64)> {
    let deployments = recording.changes.iter().enumerate();
    let mut found: Vec<(usize, i64)> = deployments
        .filter(|(_, event)| sorts::is_suspect(event, question))
        .filter_map(|(index, event)| {
            let onset_ms = symptom_onset(recording, question, findings, &event.service)?;
            Some((index, onset_ms - event.at_ms))
        })
        .filter(|(_, age_ms)| *age_ms > 0)
        .collect();
    found.sort_by_key(|(_, age_ms)| *age_ms);
    found
}

pub(super) fn by_changes(
    recording: &Recording,
    question: &Question,
    findings: &Findings,
    note: &mut Note<'_>,
) {
    for (index, age_ms) in &findings.rollouts {
        let service = &recording.changes[*index].service;
        let trust = sorts::trust(recording.changes[*index].kind);
        note(service, Kind::Deployment, trust * nearness(*age_ms));
    }
    for (event, size) in findings.kills.events(recording) {
        note(&event.service, Kind::Kubernetes, size);
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
