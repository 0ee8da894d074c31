//! What happened: summary, impact, timeline.

use super::{series, services};
use crate::config::TIMELINE;
use crate::facts::Facts;
use crate::notes::{Notes, Sentence, quoted, sentence};
use crate::text::{about, both, code, duration, escape, number, stated, time_of_day};
use midwatch_events::GroupedAnomaly;

/// The summary, a few sentences.
pub(super) fn summary(facts: &Facts) -> Vec<Sentence> {
    let header = &facts.resolved.header;
    let incident = header.incident_id.to_string();
    let mut sentences = vec![began(facts)];
    let opened = facts
        .first("INCIDENT_OPENED")
        .map_or(incident.as_str(), |line| &line.id);
    // The first sentence may have said when it was detected.
    let told = facts
        .trigger_anomaly()
        .is_some_and(|anomaly| anomaly.detected_at_ms == header.detected_at_ms)
        && facts
            .trigger
            .as_ref()
            .is_some_and(|trigger| !trigger.metric.contains(':'));
    let start = if told {
        "It was".to_owned()
    } else {
        format!(
            "The incident was detected at {} and",
            time_of_day(header.detected_at_ms)
        )
    };
    sentences.push(sentence(
        format!(
            "{start} over at {}: {} from detection to the end.",
            time_of_day(facts.resolved.resolved_at_ms),
            both(facts.resolved.mttr_ms, facts.wall_mttr_ms())
        ),
        &[opened],
    ));
    sentences.push(match facts.candidates.first() {
        Some(first) => {
            let ids: Vec<&str> = first
                .evidence
                .iter()
                .take(3)
                .map(|one| one.id.as_str())
                .collect();
            sentence(
                format!(
                    "The most likely cause, with a confidence of {} %: {}",
                    number(first.confidence * 100.0),
                    stated(&first.hypothesis)
                ),
                &ids,
            )
        }
        None => sentence("The cause is unknown.", &[]),
    });
    sentences.push(ending(facts));
    sentences
}

/// The trigger's own onset and reading: another series may have left its range
/// earlier, and the two must not be told as one.
fn began(facts: &Facts) -> Sentence {
    let header = &facts.resolved.header;
    let own = facts.trigger_anomaly();
    let since = own.map_or_else(
        || "At an unrecorded time".to_owned(),
        |anomaly| format!("At {}", time_of_day(anomaly.onset_ms)),
    );
    let detected = own.map_or(header.detected_at_ms, |anomaly| anomaly.detected_at_ms);
    let id = own.map(|anomaly| anomaly.anomaly_id.to_string());
    let ids: Vec<&str> = id.iter().map(String::as_str).collect();
    match &facts.trigger {
        Some(trigger) if !trigger.metric.contains(':') => sentence(
            format!(
                "{since} {} left its normal range; it was detected at {} reading {} against a baseline of {}.",
                series(&trigger.metric, &trigger.service),
                time_of_day(detected),
                number(trigger.observed_value),
                number(trigger.baseline_value)
            ),
            &ids,
        ),
        _ => sentence(
            format!(
                "{since} {} showed the sign that opened the incident: {}.",
                escape(header.primary_service()),
                code(&facts.resolved.trigger_metric)
            ),
            &ids,
        ),
    }
}

fn ending(facts: &Facts) -> Sentence {
    let applied = facts.plan.iter().flat_map(|plan| &plan.action_steps);
    let applied = applied
        .filter(|step| facts.verified(&step.step_id).is_some())
        .count();
    let incident = facts.resolved.header.incident_id.to_string();
    let words = match (facts.resolved.resolution_method.as_str(), applied) {
        ("CLOSED_BY_OPERATOR", _) => "A person closed the incident.".to_owned(),
        (_, 0) => facts.unexplained_end().to_owned(),
        (_, 1) => "One step of the plan was carried out and verified.".to_owned(),
        (_, count) => format!("{count} steps of the plan were carried out and verified."),
    };
    sentence(words, &[&incident])
}

/// What was measured, and what was not.
pub(super) fn impact(facts: &Facts) -> Vec<Sentence> {
    let mut sentences = Vec::new();
    for peak in facts.peaks.iter().take(8) {
        let anomaly = facts.anomalies.iter().find(|anomaly| {
            anomaly.service == peak.service && anomaly.trigger_metric == peak.metric
        });
        let span = anomaly.map_or_else(String::new, |anomaly| out_of_range(facts, anomaly));
        let id = anomaly
            .map(|anomaly| anomaly.anomaly_id.to_string())
            .unwrap_or_default();
        sentences.push(sentence(
            format!(
                "{}: farthest recorded reading {} at {}, baseline {}.{span}",
                series(&peak.metric, &peak.service),
                number(peak.value),
                time_of_day(peak.at_ms),
                number(peak.baseline)
            ),
            &[&peak.record_id, &id],
        ));
    }
    let incident = facts.resolved.header.incident_id.to_string();
    sentences.push(sentence(
        format!(
            "Services with signs of their own: {}. At risk without a sign: {}.",
            services(&facts.resolved.header.affected_services),
            services(&facts.blast.at_risk)
        ),
        &[&incident],
    ));
    if let Some(rate) = facts.blast.requests_per_second.filter(|rate| *rate > 0.0) {
        sentences.push(sentence(
            format!(
                "About {} requests per second normally reach the impaired services.",
                about(rate)
            ),
            &[&incident],
        ));
    }
    for log in facts.logs.iter().take(3) {
        sentences.push(sentence(
            format!(
                "{} of this kind from {} {} kept: {}",
                if log.count == 1 {
                    "One error line".to_owned()
                } else {
                    format!("{} error lines", log.count)
                },
                escape(&log.service),
                if log.count == 1 { "is" } else { "are" },
                code(&log.text)
            ),
            &[&log.record_id],
        ));
    }
    sentences.push(sentence(
        "Failed requests, affected users and cost were not measured: unknown.",
        &[],
    ));
    sentences
}

/// How long a series was out of range, as far as that is recorded.
fn out_of_range(facts: &Facts, anomaly: &GroupedAnomaly) -> String {
    let settled = facts.settled_ms(&anomaly.service, &anomaly.trigger_metric);
    match (anomaly.cleared_at_ms, settled) {
        (Some(cleared), _) => format!(
            " It was out of range for {}.",
            duration(cleared - anomaly.onset_ms)
        ),
        (None, Some(settled)) => format!(
            " The first of the normal readings that settled it came at {}, {} after its onset.",
            time_of_day(settled),
            duration(settled - anomaly.onset_ms)
        ),
        (None, None) => format!(
            " It left its range at {}; when it returned is not recorded with the incident.",
            time_of_day(anomaly.onset_ms)
        ),
    }
}

/// One line of the timeline.
struct Moment {
    at_ms: i64,
    /// Absent for what was only read out of telemetry.
    wall_ms: Option<i64>,
    source: String,
    what: String,
    record: String,
}

/// The timeline as a table, by event time; with the wall clock where that ran
/// differently.
pub(super) fn timeline(facts: &Facts, notes: &mut Notes) -> String {
    let mut moments = telemetry(facts);
    moments.extend(facts.trail.iter().map(|line| Moment {
        at_ms: line.at_ms,
        wall_ms: Some(line.wall_ms),
        source: line.agent.clone(),
        what: escape(&line.summary),
        record: line.id.clone(),
    }));
    if moments.is_empty() {
        let reason = facts.gap.as_deref().unwrap_or("nothing is recorded");
        return format!("Unknown: {}.\n", escape(reason));
    }
    // Stable: lines of the same moment keep the order of the trail.
    moments.sort_by_key(|moment| moment.at_ms);
    let left_out = moments.len().saturating_sub(TIMELINE);
    let wall = facts.is_simulated();
    let mut table = if wall {
        String::from("| time (simulated) | wall clock | source | what | |\n|---|---|---|---|---|\n")
    } else {
        String::from("| time | source | what | |\n|---|---|---|---|\n")
    };
    for moment in moments.iter().take(TIMELINE) {
        let clock = match (wall, moment.wall_ms) {
            (true, Some(at)) => format!(" {} |", time_of_day(at)),
            (true, None) => " |".to_owned(),
            (false, _) => String::new(),
        };
        table.push_str(&format!(
            "| {} |{clock} {} | {} | {} |\n",
            time_of_day(moment.at_ms),
            escape(&moment.source),
            moment.what,
            notes.cite(&[&moment.record])
        ));
    }
    if left_out > 0 {
        table.push_str(&format!(
            "\n{left_out} later lines of the trail are left out here.\n"
        ));
    }
    table
}

/// What telemetry says about the time before the incident was opened.
fn telemetry(facts: &Facts) -> Vec<Moment> {
    let mut moments: Vec<Moment> = facts
        .anomalies
        .iter()
        // The trail tells of those that were detected with their first reading.
        .filter(|anomaly| {
            !facts
                .all("ANOMALY_DETECTED")
                .any(|line| line.at_ms == anomaly.onset_ms)
        })
        .take(8)
        .map(|anomaly| Moment {
            at_ms: anomaly.onset_ms,
            wall_ms: None,
            source: "telemetry".to_owned(),
            what: if anomaly.trigger_metric.contains(':') {
                format!(
                    "First {}",
                    series(&anomaly.trigger_metric, &anomaly.service)
                )
            } else {
                format!(
                    "First reading of {} out of range; detected as {} at {}",
                    series(&anomaly.trigger_metric, &anomaly.service),
                    number(anomaly.observed_value),
                    time_of_day(anomaly.detected_at_ms)
                )
            },
            record: anomaly.anomaly_id.to_string(),
        })
        .collect();
    if let Some(change) = &facts.deployment {
        let deployment = &change.deployment;
        let says = if deployment.description.is_empty() {
            String::new()
        } else {
            format!(": {}", quoted(&deployment.description))
        };
        moments.push(Moment {
            at_ms: deployment.timestamp_ms,
            wall_ms: None,
            source: "deployments".to_owned(),
            what: format!(
                "{} {} was rolled out{says}",
                escape(&deployment.service),
                code(&deployment.version)
            ),
            record: change.record_id.clone(),
        });
    }
    moments
}
