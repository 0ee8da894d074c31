//! An incident's records as a recording for the investigator.

use super::facts::Facts;
use crate::rca::{
    Alarm, ChangeEvent, ChangeKind, Kept, Line, Question, Recording, Series, Span, clues,
};
use midwatch_clients::postgres::KeptRecord;
use midwatch_clients::redis::{RECENT_INFO_LINES, RECENT_LOGS, RECENT_SPANS};
use midwatch_events::incident::GroupedAnomaly;
use midwatch_events::raw::{LogLevel, RawDeployment, RawKubernetes, RawSpan, SpanStatus};
use midwatch_events::topology::{Call, Topology};
use std::collections::BTreeMap;

/// A threshold is crossed a little after the change began; readings of that
/// time belong to neither side.
const BEFORE_ONSET_MS: i64 = 20_000;

/// What a deployment looks like from the cluster.
const ROLLOUT: &str = "ROLLOUT";

/// The recording that the records of an incident are.
#[must_use]
pub fn of_records(
    kept: &[KeptRecord],
    anomalies: &[GroupedAnomaly],
    edges: &[Call],
    elsewhere: &BTreeMap<String, String>,
) -> Recording {
    let mut recording = Recording {
        topology: Topology::of(edges),
        alarms: anomalies.iter().map(alarm).collect(),
        elsewhere: elsewhere.clone(),
        kept: Kept::Newest {
            lines: RECENT_LOGS.into(),
            ordinary: RECENT_INFO_LINES.into(),
            spans: RECENT_SPANS.into(),
        },
        ..Recording::default()
    };
    let mut series: BTreeMap<(&str, &str), Series> = BTreeMap::new();
    for record in kept {
        match record.kind.as_str() {
            "metric" => {
                let key = (record.service.as_str(), record.name.as_str());
                let known = series.entry(key).or_insert_with(|| Series {
                    service: record.service.clone(),
                    metric: record.name.clone(),
                    ..Series::default()
                });
                let is_next = known.points.last().is_none_or(|(at, _)| *at < record.at_ms);
                if let Some(value) = record.value.filter(|_| is_next) {
                    known.points.push((record.at_ms, value));
                    known.ids.push(record.record_id.clone());
                }
            }
            "log" => recording.lines.push(line(record)),
            "span" => recording.spans.extend(span(record)),
            "deployment" | "kubernetes" => recording.changes.extend(change(record)),
            _ => {}
        }
    }
    recording.series = series.into_values().collect();
    recording
}

/// What is left to look at where no record could be read: what detection and
/// correlation said.
#[must_use]
pub fn of_facts(anomalies: &[GroupedAnomaly], facts: &Facts) -> Recording {
    let lines = facts.logs.iter().flat_map(|fact| {
        let line = Line {
            id: fact.record_id.clone(),
            service: fact.service.clone(),
            at_ms: fact.at_ms,
            level: level(&fact.level),
            message: fact.message.clone(),
        };
        std::iter::repeat_n(line, fact.count.min(100) as usize)
    });
    let deployments = facts
        .deployments
        .iter()
        .map(|fact| rolled_out(fact.record_id.clone(), &fact.deployment));
    let kubernetes = facts.kubernetes.iter().map(|event| ChangeEvent {
        id: event.record_id.clone(),
        service: event.service.clone(),
        at_ms: event.at_ms,
        kind: kind_of(event.critical && event.event_kind != ROLLOUT),
        reason: event.event_kind.clone(),
        text: format!("{}: {}", event.object, event.text),
    });
    Recording {
        topology: facts.topology(),
        alarms: anomalies.iter().map(alarm).collect(),
        lines: lines.collect(),
        changes: deployments.chain(kubernetes).collect(),
        elsewhere: facts.elsewhere.clone(),
        kept: Kept::Picked,
        ..Recording::default()
    }
}

/// What was asked: the gravest anomaly of the incident, since the first onset.
#[must_use]
pub fn question(recording: &Recording) -> Option<Question> {
    let first = recording.alarms.iter().min_by_key(|alarm| alarm.onset_ms)?;
    let gravest = recording
        .alarms
        .iter()
        .max_by_key(|alarm| (alarm.severity, std::cmp::Reverse(alarm.onset_ms)))?;
    let at_ms = gravest.onset_ms;
    Some(Question {
        target: gravest.service.clone(),
        target_metric: gravest.metric.clone(),
        start_ms: first.onset_ms - BEFORE_ONSET_MS,
        at_ms,
        end_ms: recording.last_ms().unwrap_or(at_ms).max(at_ms),
    })
}

fn alarm(anomaly: &GroupedAnomaly) -> Alarm {
    let text = if anomaly.trigger_metric.contains(':') {
        anomaly.description.clone()
    } else {
        format!(
            "{} on {} read {} against a baseline of {} ({:+.1} σ)",
            anomaly.trigger_metric,
            anomaly.service,
            clues::number(anomaly.observed_value),
            clues::number(anomaly.baseline_value),
            anomaly.deviation_sigma
        )
    };
    Alarm {
        id: anomaly.anomaly_id.to_string(),
        service: anomaly.service.clone(),
        metric: anomaly.trigger_metric.clone(),
        cause: anomaly.anomaly_type,
        severity: anomaly.severity,
        onset_ms: anomaly.onset_ms,
        text,
    }
}

fn level(name: &str) -> LogLevel {
    match name {
        "DEBUG" => LogLevel::Debug,
        "WARN" => LogLevel::Warn,
        "ERROR" => LogLevel::Error,
        "FATAL" => LogLevel::Fatal,
        _ => LogLevel::Info,
    }
}

fn line(record: &KeptRecord) -> Line {
    Line {
        id: record.record_id.clone(),
        service: record.service.clone(),
        at_ms: record.at_ms,
        level: level(&record.name),
        message: record.text.clone(),
    }
}

fn span(record: &KeptRecord) -> Option<Span> {
    let span: RawSpan = serde_json::from_value(record.payload.clone()).ok()?;
    Some(Span {
        trace: span.trace_id,
        id: record.record_id.clone(),
        own: span.span_id,
        parent: span.parent_span_id,
        service: span.service,
        operation: span.operation,
        start_ms: span.start_ms,
        duration_ms: span.duration_ms,
        failed: span.status == SpanStatus::Error,
    })
}

fn kind_of(critical: bool) -> ChangeKind {
    if critical {
        ChangeKind::KubernetesFailure
    } else {
        ChangeKind::Kubernetes
    }
}

fn rolled_out(id: String, deployment: &RawDeployment) -> ChangeEvent {
    let mut text = deployment.told();
    if !deployment.deployed_by.is_empty() {
        text.push_str(&format!(" by {}", deployment.deployed_by));
    }
    if !deployment.description.is_empty() {
        text.push_str(&format!(": {}", deployment.description));
    }
    ChangeEvent {
        id,
        service: deployment.service.clone(),
        at_ms: deployment.timestamp_ms,
        kind: ChangeKind::announced(deployment.change()),
        reason: String::new(),
        text,
    }
}

fn change(record: &KeptRecord) -> Option<ChangeEvent> {
    let payload = record.payload.clone();
    if record.kind == "deployment" {
        let deployment: RawDeployment = serde_json::from_value(payload).ok()?;
        return Some(rolled_out(record.record_id.clone(), &deployment));
    }
    let event: RawKubernetes = serde_json::from_value(payload).ok()?;
    let is_failure = event.critical && event.event_kind != ROLLOUT;
    let reason = if event.event_kind.is_empty() {
        event.reason
    } else {
        event.event_kind
    };
    Some(ChangeEvent {
        id: record.record_id.clone(),
        service: record.service.clone(),
        at_ms: record.at_ms,
        kind: kind_of(is_failure),
        reason,
        text: format!("{} {}", event.name, record.text),
    })
}
